"""The server's certificate, which can be read anew while it serves."""

from __future__ import annotations

import logging
import ssl

log = logging.getLogger(__name__)

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Those of TLS 1.2 with forward secrecy and authenticated encryption; TLS 1.3 has no others."""


class CertificateError(Exception):
    """A certificate or its key cannot be used; the message is one line that says why."""


class Certificate:
    """A certificate chain and its key, as PEM files. `key` may be empty if it is in the same file as the chain.

    Raises CertificateError.
    """

    def __init__(self, chain: str, key: str = "") -> None:
        self._chain = chain
        self._key = key
        self.context = _context(chain, key)
        """What new connections are to use."""

    def reload(self) -> None:
        """Read the files anew, for new connections. If they cannot be used, what was read before stays."""
        try:
            self.context = _context(self._chain, self._key)
        except CertificateError as error:
            log.error("the certificate stays as it was: %s", error)
        else:
            log.info("certificate read anew from %s", self._chain)


def _context(chain: str, key: str) -> ssl.SSLContext:
    _check_readable(chain, "--tls-cert")
    _check_readable(key or chain, "--tls-key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(chain, key or None, _refuse_to_ask)
    except _EncryptedError:
        raise CertificateError(
            f"--tls-key: {key or chain} is encrypted; it must be readable without a password"
        ) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CertificateError(f"--tls-key: {key or chain} is not the key of {chain}") from error
        files = f"{chain} and {key}" if key else f"{chain}, without a --tls-key,"
        raise CertificateError(f"--tls-cert: {files} cannot be used ({_reason(error)})") from error
    return context


class _EncryptedError(Exception):
    """OpenSSL asks for a password."""


def _refuse_to_ask() -> str:
    raise _EncryptedError


def _check_readable(path: str, option: str) -> None:
    """Raise CertificateError if a file cannot be read, naming it: OpenSSL's error does not say which it was."""
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        raise CertificateError(f"{option}: {path}: {error.strerror}") from error


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "not PEM").lower().replace("_", " ")
