"""JSON web tokens, checked by PyJWT: one algorithm, pinned by configuration, and keys that only the operator gives.

What a token's header says of keys (`jku`, `x5u`, `jwk`, `x5c`) is never followed, and what it says of the algorithm is
only compared. `exp`, `aud` and `sub` must be there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from ticker.access.errors import AccessError, BadToken
from ticker.access.grant import Grant
from ticker.access.principal import Principal
from ticker.access.tokens import limits_of, patterns_of

ALGORITHMS = ("HS256", "RS256", "ES256")
LEEWAY_S = 5.0
"""How far the issuer's clock may be ahead of ours (`nbf`, `iat`). `exp` has no leeway: what has expired is over."""
LEAST_SECRET_BYTES = 32
LEAST_RSA_BITS = 2048
MOST_NAME = 256

Key = bytes | rsa.RSAPublicKey | ec.EllipticCurvePublicKey
_PUBLIC = (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)


class JwtKeys:
    """The keys of a file: a secret, a public key (PEM), or a JWKS, whose keys are chosen by the token's `kid`.

    Raises AccessError for a file that doesn't suit the algorithm.
    """

    def __init__(self, path: str, algorithm: str, audience: str) -> None:
        if algorithm not in ALGORITHMS:
            raise AccessError(f"jwt_algorithm: expected one of {', '.join(ALGORITHMS)}")
        self._path = path
        self._algorithm = algorithm
        self._audience = audience
        self._keys: Mapping[str | None, Key] = {}
        self._proofs: Mapping[str | None, str] = {}
        self.reload()

    @property
    def summary(self) -> str:
        return f"{len(self._keys)} key{'s' * (len(self._keys) != 1)} of {self._path}"

    def reload(self) -> None:
        try:
            keys = _read(Path(self._path).read_bytes(), self._algorithm)
        except OSError as error:
            raise AccessError(f"{self._path}: {error.strerror or error}") from None
        except AccessError as error:
            raise AccessError(f"{self._path}: {error}") from None
        self._keys, self._proofs = keys, {kid: _proof(key) for kid, key in keys.items()}

    def authenticate(self, token: str, now_s: float) -> Grant | None:
        """Return what a token gives; None for one that has not the three parts of a JWT."""
        if token.count(".") != 2:
            return None
        kid = self._kid(token)
        try:
            claims = jwt.decode(
                token,
                self._keys[kid],
                algorithms=[self._algorithm],
                audience=self._audience,
                # The times are compared below, by the server's own clock, and so is `sub`.
                options={
                    "require": ["exp", "aud", "sub"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_sub": False,
                },
            )
        except jwt.MissingRequiredClaimError as error:
            raise BadToken(f"token: {error.claim} is missing") from None
        except jwt.InvalidAudienceError:
            raise BadToken("token: it is for another audience") from None
        except Exception:  # whatever else PyJWT makes of what a stranger sends
            raise BadToken("token: not valid here") from None
        return Grant(_principal(claims, now_s), self, self._proofs[kid])

    def renewed(self, grant: Grant) -> Grant | None:
        """Return the grant as long as the key that had signed it is still one of ours."""
        return grant if grant.proof in self._proofs.values() else None

    def _kid(self, token: str) -> str | None:
        """Return which of the keys a token is to be checked with. Raises BadToken."""
        if None in self._keys:
            return None
        try:
            kid = jwt.get_unverified_header(token).get("kid")
        except Exception:
            raise BadToken("token: not valid here") from None
        if not isinstance(kid, str) or kid not in self._keys:
            raise BadToken("token: not valid here")
        return kid


def _principal(claims: Mapping[str, Any], now_s: float) -> Principal:
    """Return whom the claims of a verified token speak of. Raises BadToken."""
    expires_s = _time(claims, "exp")
    if now_s >= expires_s:
        raise BadToken("token: it has expired")
    for name in ("nbf", "iat"):
        if name in claims and now_s + LEEWAY_S < _time(claims, name):
            raise BadToken("token: it is not valid yet")
    name, symbols = claims["sub"], claims.get("symbols", ["*"])
    if not isinstance(name, str) or not 0 < len(name) <= MOST_NAME or not name.isprintable():
        raise BadToken(f"token: sub: expected 1 to {MOST_NAME} printable characters")
    if isinstance(symbols, str):
        symbols = symbols.split()
    try:
        return Principal(name, symbols=patterns_of(symbols), expires_s=expires_s, **limits_of(claims))
    except AccessError as error:
        raise BadToken(f"token: {error}") from None


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e12 < value < 1e12:
        raise BadToken(f"token: {name}: expected seconds of UNIX time")
    return float(value)


def _read(data: bytes, algorithm: str) -> dict[str | None, Key]:
    """Return the keys of a file by `kid`; a file of one key without a name has it under None. Raises AccessError."""
    if data.lstrip().startswith(b"{"):
        return _jwks(data, algorithm)
    if algorithm == "HS256":
        if b"-----BEGIN " in data:
            raise AccessError("a PEM key is no secret for HS256; for a public key choose RS256 or ES256")
        return {None: _secret(data.strip())}
    if b"PRIVATE KEY-----" in data:
        raise AccessError("a private key; the server needs the public one only")
    try:
        key = load_pem_public_key(data.strip())
    except (ValueError, UnsupportedAlgorithm):
        raise AccessError(f"no public key in PEM (-----BEGIN PUBLIC KEY-----) for {algorithm}") from None
    return {None: _suiting(key, algorithm)}


def _jwks(data: bytes, algorithm: str) -> dict[str | None, Key]:
    """Return those keys of a JWKS that suit the algorithm."""
    try:
        entries = json.loads(data).get("keys")
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise AccessError('no JWKS: expected {"keys": [...]}')
    wanted = {"HS256": "oct", "RS256": "RSA", "ES256": "EC"}[algorithm]
    keys: dict[str | None, Key] = {}
    for place, entry in enumerate(entries, 1):
        if entry.get("kty") != wanted or entry.get("alg", algorithm) != algorithm or entry.get("use", "sig") != "sig":
            continue  # a key of another sort, as an issuer's set may hold several
        kid = entry.get("kid")
        if not isinstance(kid, str) or not kid:
            raise AccessError(f"key {place}: kid: missing; a token says by it which key it is signed with")
        if kid in keys:
            raise AccessError(f"key {place}: kid: the same as that of another key")
        if wanted != "oct" and "d" in entry:
            raise AccessError(f"key {place}: a private key; the server needs the public one only")
        try:
            key = jwt.PyJWK(entry, algorithm).key
        except Exception:
            raise AccessError(f"key {place}: not a key of {algorithm}") from None
        try:
            keys[kid] = _secret(key) if isinstance(key, bytes) else _suiting(key, algorithm)
        except AccessError as error:
            raise AccessError(f"key {place}: {error}") from None
    if not keys:
        raise AccessError(f"no key for {algorithm} among {len(entries)}")
    return keys


def _secret(secret: bytes) -> bytes:
    if len(secret) < LEAST_SECRET_BYTES:
        raise AccessError(f"a secret of HS256 has at least {LEAST_SECRET_BYTES} bytes, this one {len(secret)}")
    return secret


def _suiting(key: object, algorithm: str) -> Key:
    """Return a public key if it is one of the algorithm's. Raises AccessError."""
    if algorithm == "RS256" and isinstance(key, rsa.RSAPublicKey):
        if key.key_size < LEAST_RSA_BITS:
            raise AccessError(f"a key of RS256 has at least {LEAST_RSA_BITS} bits, this one {key.key_size}")
        return key
    if algorithm == "ES256" and isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    wanted = {"HS256": "a secret", "RS256": "an RSA key", "ES256": "a key of the curve P-256"}[algorithm]
    raise AccessError(f"not a key of {algorithm}, which wants {wanted}")


def _proof(key: Key) -> str:
    """Return what tells a key from others, without telling the key."""
    if isinstance(key, _PUBLIC):
        return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    return sha256(b"HS256" + key).hexdigest()
