"""Makes of the settings what lets clients in: the gate, the doorway, the certificate, Alpaca's credentials."""

from __future__ import annotations

from ticker.access.errors import AccessError
from ticker.access.gate import Gate
from ticker.access.opening import open_gate
from ticker.clock import Clock
from ticker.config import Settings, UsageError
from ticker.protocol.alpaca import Credentials
from ticker.server.doorway import Doorway
from ticker.server.proxies import Proxies
from ticker.server.tls import Certificate, CertificateError


def gate(settings: Settings, clock: Clock) -> Gate:
    """Return who is let in. Raises UsageError."""
    try:
        return open_gate(
            host=settings.host,
            token_file=settings.token_file,
            tokens=settings.tokens,
            jwt_key=settings.jwt_key,
            jwt_algorithm=settings.jwt_algorithm,
            jwt_audience=settings.jwt_audience,
            no_auth=settings.no_auth,
            connections=settings.max_connections_per_principal,
            now_s=lambda: clock.now() / 1e9,
        )
    except AccessError as error:
        raise UsageError(str(error)) from error


def doorway(settings: Settings) -> Doorway:
    """Return which requests are let in. Raises UsageError."""
    try:
        proxies = Proxies(_list(settings.trusted_proxy))
    except ValueError as error:
        raise UsageError(f"--trusted-proxy: {error}") from error
    hosts, origins = _list(settings.allow_host), _list(settings.allow_origin)
    return Doorway(settings.host, hosts, origins, proxies, settings.max_header_kib * 1024)


def certificate(settings: Settings) -> Certificate | None:
    """Return what connections are encrypted with; None if they aren't. Raises UsageError."""
    if not settings.tls_cert:
        if settings.tls_key:
            raise UsageError("--tls-key: belongs to a certificate; name that with --tls-cert")
        return None
    try:
        return Certificate(settings.tls_cert, settings.tls_key)
    except CertificateError as error:
        raise UsageError(str(error)) from error


def _list(text: str) -> list[str]:
    return [each for each in text.split(",") if each]


def credentials(text: str) -> list[Credentials]:
    """Return the credentials of `--alpaca-key`."""
    pairs = (each.partition(":") for each in text.split(",") if each)
    return [Credentials.of(key, secret) for key, _, secret in pairs]
