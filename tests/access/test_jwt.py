"""JSON web tokens: those that are right, every trick that is known, and keys that are no good.

Tokens are made here by hand, so that they can be wrong in ways that a library would refuse to make.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from ticker.access.errors import AccessError, BadToken
from ticker.access.gate import Gate
from ticker.access.jwt import JwtKeys
from ticker.access.principal import Principal

NOW_S = 1_795_521_600
SECRET = b"0123456789abcdef0123456789abcdef"
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
GOOD = {"sub": "bot", "aud": "tickercast", "exp": NOW_S + 60}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def pem(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signature(algorithm: str, key: Any, data: bytes) -> bytes:
    if algorithm == "HS256":
        return hmac.digest(key, data, hashlib.sha256)
    if algorithm == "RS256":
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def token(claims: Any = GOOD, algorithm: str = "HS256", key: Any = SECRET, **header: Any) -> str:
    """Return a token; `alg` in the header is the algorithm unless given."""
    parts = [{"alg": algorithm, "typ": "JWT"} | header, claims]
    signed = ".".join(b64(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in parts)
    return f"{signed}.{b64(signature(algorithm, key, signed.encode()))}"


def keys(path: Path, content: bytes | dict[str, Any], algorithm: str = "HS256") -> JwtKeys:
    file = path / "key"
    file.write_bytes(json.dumps(content).encode() if isinstance(content, dict) else content)
    return JwtKeys(str(file), algorithm, "tickercast")


def gate(path: Path, content: bytes | dict[str, Any] = SECRET, algorithm: str = "HS256") -> Gate:
    return Gate([keys(path, content, algorithm)], now_s=lambda: NOW_S)


def rsa_jwk(key: rsa.RSAPrivateKey, **more: Any) -> dict[str, Any]:
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "n": b64(numbers.n.to_bytes(256, "big")), "e": b64(numbers.e.to_bytes(3, "big"))} | more


@pytest.mark.parametrize(
    ("algorithm", "key", "content"),
    [("HS256", SECRET, SECRET + b"\n"), ("RS256", RSA, pem(RSA)), ("ES256", EC, pem(EC))],
)
def test_each_algorithm_lets_in_whom_its_key_signed(algorithm: str, key: Any, content: bytes, tmp_path: Path) -> None:
    claims = GOOD | {"symbols": ["AAPL", "BTC*"], "connections": 2, "channels": 30, "commands_per_s": 5}

    grant = gate(tmp_path, content, algorithm).authenticate(token(claims, algorithm, key))

    assert grant.principal == Principal("bot", ("AAPL", "BTC*"), NOW_S + 60, 2, 30, 5)


@pytest.mark.parametrize(
    ("symbols", "patterns"),
    [("AAPL  BTC*", ("AAPL", "BTC*")), ([], ()), ("", ()), (["A", "A"], ("A",)), (["*"], ("*",))],
)
def test_symbols_are_a_list_or_words_and_none_are_none(symbols: Any, patterns: tuple[str, ...], tmp_path: Path) -> None:
    grant = gate(tmp_path).authenticate(token(GOOD | {"symbols": symbols}))

    assert grant.principal.symbols == patterns


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "none ", "", None, 5, ["HS256"], {"a": 1}])
def test_a_token_without_a_signature_is_refused_however_it_spells_that(alg: Any, tmp_path: Path) -> None:
    unsigned = token(alg=alg).rpartition(".")[0] + "."

    for each in (unsigned, unsigned + "AA", token(alg=alg)):
        with pytest.raises(BadToken, match="not valid here"):
            gate(tmp_path).authenticate(each)


@pytest.mark.parametrize("content", [pem(RSA), pem(RSA).strip(), pem(RSA).replace(b"\n", b"\r\n")])
def test_the_public_key_is_no_secret_to_sign_with(content: bytes, tmp_path: Path) -> None:
    confused = gate(tmp_path, pem(RSA), "RS256")

    for algorithm in ("HS256", "RS256"):
        with pytest.raises(BadToken, match="not valid here"):
            confused.authenticate(token(key=content, alg=algorithm))


@pytest.mark.parametrize(("pinned", "content"), [("RS256", pem(RSA)), ("ES256", pem(EC)), ("HS256", SECRET)])
def test_only_the_pinned_algorithm_is_right(pinned: str, content: bytes, tmp_path: Path) -> None:
    here = gate(tmp_path, content, pinned)

    for algorithm, key in (("HS256", SECRET), ("RS256", RSA), ("ES256", EC)):
        for alg in ("HS256", "HS384", "HS512", "RS256", "RS384", "PS256", "ES256", "ES256K", "EdDSA"):
            if (pinned, pinned) != (algorithm, alg):
                with pytest.raises(BadToken):
                    here.authenticate(token(GOOD, algorithm, key, alg=alg))


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        (GOOD | {"exp": NOW_S}, "expired"),
        (GOOD | {"exp": 1}, "expired"),
        (GOOD | {"exp": -5}, "expired"),
        (GOOD | {"nbf": NOW_S + 6}, "not valid yet"),
        (GOOD | {"iat": NOW_S + 6}, "not valid yet"),
        (GOOD | {"aud": "other"}, "another audience"),
        (GOOD | {"aud": ["a", "b"]}, "another audience"),
        (GOOD | {"aud": "tickercast2"}, "another audience"),
        (GOOD | {"aud": []}, "aud is missing"),
        (GOOD | {"aud": None}, "aud is missing"),
        (GOOD | {"aud": 5}, "another audience"),
        (GOOD | {"aud": {"tickercast": 1}}, "another audience"),
        ({key: GOOD[key] for key in ("sub", "aud")}, "exp is missing"),
        ({key: GOOD[key] for key in ("sub", "exp")}, "aud is missing"),
        ({key: GOOD[key] for key in ("aud", "exp")}, "sub is missing"),
        (GOOD | {"exp": str(NOW_S + 60)}, "exp: expected seconds"),
        (GOOD | {"exp": True}, "exp: expected seconds"),
        (GOOD | {"exp": 1e300}, "exp: expected seconds"),
        (GOOD | {"exp": [NOW_S + 60]}, "exp: expected seconds"),
        (GOOD | {"nbf": "0"}, "nbf: expected seconds"),
        (GOOD | {"nbf": None}, "nbf: expected seconds"),
        (GOOD | {"sub": 5}, "sub: expected"),
        (GOOD | {"sub": ""}, "sub: expected"),
        (GOOD | {"sub": "a\nb"}, "sub: expected"),
        (GOOD | {"sub": "a" * 257}, "sub: expected"),
        (GOOD | {"symbols": None}, "symbols: expected"),
        (GOOD | {"symbols": 5}, "symbols: expected"),
        (GOOD | {"symbols": {"AAPL": 1}}, "symbols: expected"),
        (GOOD | {"symbols": ["AAPL", 5]}, "symbols: expected"),
        (GOOD | {"symbols": ["A"] * 1001}, "symbols: expected"),
        (GOOD | {"connections": 0}, "connections: expected"),
        (GOOD | {"connections": "2"}, "connections: expected"),
        (GOOD | {"channels": True}, "channels: expected"),
        (GOOD | {"commands_per_s": 1.5}, "commands_per_s: expected"),
        (GOOD | {"commands_per_s": None}, "commands_per_s: expected"),
        ([], "not valid here"),
        ("bot", "not valid here"),
        (None, "not valid here"),
        (b"{", "not valid here"),
        (b"\xff", "not valid here"),
        (b'{"exp": ' + b"9" * 5000 + b"}", "not valid here"),
        (b"[" * 2000, "not valid here"),
    ],
)
def test_claims_that_are_wrong_are_refused(claims: Any, why: str, tmp_path: Path) -> None:
    with pytest.raises(BadToken, match=why):
        gate(tmp_path).authenticate(token(claims))


def test_the_issuers_clock_may_be_a_little_ahead_and_what_has_expired_is_over(tmp_path: Path) -> None:
    here = gate(tmp_path)

    assert here.authenticate(token(GOOD | {"nbf": NOW_S + 5, "iat": NOW_S + 5}))
    assert here.authenticate(token(GOOD | {"exp": NOW_S + 0.5}))
    assert here.authenticate(token(GOOD | {"aud": ["other", "tickercast"]}))


def test_a_forged_token_is_not_told_what_else_is_wrong_with_it(tmp_path: Path) -> None:
    with pytest.raises(BadToken, match="not valid here"):
        gate(tmp_path).authenticate(token(GOOD | {"exp": 1}, key=b"x" * 32))


def test_a_changed_token_is_refused(tmp_path: Path) -> None:
    header, claims, signed = token().split(".")
    other = b64(json.dumps(GOOD | {"sub": "root"}).encode())

    for each in (
        f"{header}.{other}.{signed}",
        f"{header}.{claims}.{signed[:-4]}",
        f"{header}.{claims}.",
        f"{header}..",
    ):
        with pytest.raises(BadToken, match="not valid here"):
            gate(tmp_path).authenticate(each)


@pytest.mark.parametrize(
    "garbage", ["", ".", "..", "...", "a.b.c", "....", "\ud800.\ud800.", "é.é.é", "a.b", "{}.{}.{}"]
)
def test_garbage_is_just_refused(garbage: str, tmp_path: Path) -> None:
    with pytest.raises(BadToken):
        gate(tmp_path).authenticate(garbage)


def test_a_huge_token_is_not_even_looked_at(tmp_path: Path) -> None:
    with pytest.raises(BadToken, match="too long"):
        gate(tmp_path).authenticate(token(GOOD | {"x": "x" * 9000}))


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": rsa_jwk(RSA)},
        {"jku": "http://127.0.0.1:1/keys"},
        {"x5u": "http://127.0.0.1:1/certificate"},
        {"x5c": ["MII="]},
        {"kid": "../../../../dev/null"},
        {"kid": "' OR 1=1"},
    ],
)
def test_keys_that_a_header_brings_or_points_at_are_ignored(header: dict[str, Any], tmp_path: Path) -> None:
    theirs = rsa.generate_private_key(65537, 2048)
    if "jwk" in header:
        header = {"jwk": rsa_jwk(theirs)}
    here = gate(tmp_path, pem(RSA), "RS256")

    with pytest.raises(BadToken, match="not valid here"):
        here.authenticate(token(GOOD, "RS256", theirs, **header))
    assert here.authenticate(token(GOOD, "RS256", RSA, **header)).principal.name == "bot"


def test_a_critical_extension_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadToken, match="not valid here"):
        gate(tmp_path).authenticate(token(crit=["magic"], magic=1))


def test_a_jwks_has_the_key_that_the_token_names(tmp_path: Path) -> None:
    old, new = RSA, rsa.generate_private_key(65537, 2048)
    elliptic = {"kty": "EC", "crv": "P-256", "kid": "new", "x": "AA", "y": "AA"}
    jwks = {"keys": [elliptic, rsa_jwk(old, kid="old"), rsa_jwk(new, kid="new"), rsa_jwk(new, kid="enc", use="enc")]}
    here = gate(tmp_path, jwks, "RS256")

    assert here.authenticate(token(GOOD, "RS256", old, kid="old")).principal.name == "bot"
    assert here.authenticate(token(GOOD, "RS256", new, kid="new")).principal.name == "bot"
    for kid in ("old", "other", "enc", "", None, 5, ["new"], {"a": 1}):
        with pytest.raises(BadToken, match="not valid here"):
            here.authenticate(token(GOOD, "RS256", new, kid=kid))
    with pytest.raises(BadToken, match="not valid here"):
        here.authenticate(token(GOOD, "RS256", new))


def test_a_jwks_may_hold_secrets_and_curves(tmp_path: Path) -> None:
    numbers = EC.public_key().public_numbers()
    curve = {"kty": "EC", "crv": "P-256", "kid": "k"} | {
        name: b64(getattr(numbers, name).to_bytes(32, "big")) for name in "xy"
    }

    secrets = gate(tmp_path, {"keys": [{"kty": "oct", "k": b64(SECRET), "kid": "k"}]})
    assert secrets.authenticate(token(kid="k")).principal.name == "bot"
    curves = gate(tmp_path, {"keys": [curve]}, "ES256")
    assert curves.authenticate(token(GOOD, "ES256", EC, kid="k")).principal.name == "bot"


def test_a_grant_stands_as_long_as_its_key_is_known(tmp_path: Path) -> None:
    other = rsa.generate_private_key(65537, 2048)
    here = keys(tmp_path, {"keys": [rsa_jwk(RSA, kid="a"), rsa_jwk(other, kid="b")]}, "RS256")
    first = here.authenticate(token(GOOD, "RS256", RSA, kid="a"), NOW_S)
    second = here.authenticate(token(GOOD, "RS256", other, kid="b"), NOW_S)
    assert first is not None
    assert second is not None

    (tmp_path / "key").write_text(json.dumps({"keys": [rsa_jwk(RSA, kid="renamed")]}))
    here.reload()

    assert here.renewed(first) is first
    assert here.renewed(second) is None


def test_a_bad_key_on_a_reread_changes_nothing(tmp_path: Path) -> None:
    here = keys(tmp_path, SECRET)
    grant = here.authenticate(token(), NOW_S)
    assert grant is not None

    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(AccessError, match="at least 32 bytes, this one 5"):
        here.reload()

    assert here.renewed(grant) is grant
    assert here.authenticate(token(), NOW_S) == grant


def private(key: Any) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("algorithm", "content", "message"),
    [
        ("HS256", b"x" * 31, "at least 32 bytes, this one 31"),
        ("HS256", b"", "at least 32 bytes, this one 0"),
        ("HS256", pem(RSA), "a PEM key is no secret"),
        ("HS256", pem(EC), "a PEM key is no secret"),
        ("RS256", SECRET, "no public key in PEM"),
        ("RS256", pem(EC), "not a key of RS256, which wants an RSA key"),
        ("RS256", pem(rsa.generate_private_key(65537, 1024)), "at least 2048 bits, this one 1024"),
        ("RS256", private(RSA), "a private key; the server needs the public one only"),
        ("ES256", pem(RSA), "not a key of ES256, which wants a key of the curve P-256"),
        ("ES256", pem(ec.generate_private_key(ec.SECP384R1())), "not a key of ES256"),
        ("ES256", pem(ed25519.Ed25519PrivateKey.generate()), "not a key of ES256"),
        ("ES256", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key in PEM"),
        ("RS256", {"keys": []}, "no key for RS256 among 0"),
        ("RS256", {"kes": []}, "no JWKS"),
        ("RS256", {"keys": [5]}, "no JWKS"),
        ("RS256", b"{", "no JWKS"),
        ("RS256", {"keys": [rsa_jwk(RSA)]}, "key 1: kid: missing"),
        ("RS256", {"keys": [rsa_jwk(RSA, kid="a"), rsa_jwk(RSA, kid="a")]}, "key 2: kid: the same"),
        ("RS256", {"keys": [rsa_jwk(RSA, kid="a", d="AA")]}, "key 1: a private key"),
        ("RS256", {"keys": [{"kty": "RSA", "kid": "a"}]}, "key 1: not a key of RS256"),
        ("HS256", {"keys": [{"kty": "oct", "kid": "a", "k": b64(b"short")}]}, "key 1: a secret of HS256 has at least"),
        ("ES256", {"keys": [rsa_jwk(RSA, kid="a")]}, "no key for ES256 among 1"),
        ("none", SECRET, "expected one of HS256, RS256, ES256"),
    ],
)
def test_a_key_that_does_not_suit_is_one_line(algorithm: str, content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(AccessError, match=message) as caught:
        keys(tmp_path, content, algorithm)

    assert "\n" not in str(caught.value)
    assert SECRET.decode() not in str(caught.value)


def test_a_key_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="No such file"):
        JwtKeys(str(tmp_path / "none"), "HS256", "tickercast")
