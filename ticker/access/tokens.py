"""Tokens: long random strings with a name and what they allow. The server keeps their hashes only.

One SHA-256 is enough, without salt or a slow key derivation: these are no passwords. `python -m ticker.access` makes
them of 256 random bits, which nobody finds by trying, however fast the hash. So to check one costs a microsecond, not
the tenth of a second that a password's hash would let strangers make the server spend.
"""

from __future__ import annotations

import difflib
import hmac
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from ticker.access.errors import AccessError, BadToken
from ticker.access.grant import Grant
from ticker.access.principal import Principal

LEAST_CHARACTERS = 16
"""A token that is shorter could be guessed."""
MOST_PATTERNS = 1000
MOST_LIMIT = 10_000_000
KEYS = ("name", "sha256", "symbols", "expires", "connections", "channels", "commands_per_s")
LIMITS = ("connections", "channels", "commands_per_s")
_NAME = re.compile(r"[^\s:,\x00-\x1f\x7f]{1,100}")
_TOKEN = re.compile(r"[\x21-\x2b\x2d-\x7e]+")


class Entry(NamedTuple):
    """One token: its SHA-256, and whom it stands for."""

    digest: bytes
    principal: Principal


class Tokens:
    """The tokens that `load` returns, asked again by `reload`. Raises AccessError."""

    def __init__(self, load: Callable[[], Iterable[Entry]], where: str = "the environment") -> None:
        """Load them. `where` they are from is for the log."""
        self._load = load
        self._where = where
        self._grants: dict[str, Grant] = {}
        self.reload()

    @classmethod
    def of_file(cls, path: str) -> Tokens:
        """Return those of a token file. Raises AccessError."""
        return cls(partial(read_token_file, path), path)

    def __len__(self) -> int:
        return len(self._grants)

    @property
    def summary(self) -> str:
        return f"{len(self)} token{'s' * (len(self) != 1)} of {self._where}"

    def authenticate(self, token: str, now_s: float) -> Grant | None:
        """Return what a token gives. All hashes are compared, so that the time it takes says nothing."""
        digest = hash_of(token).hex()
        found = None
        for known, grant in self._grants.items():
            if hmac.compare_digest(known, digest):
                found = grant
        if found is not None and found.principal.has_expired(now_s):
            raise BadToken("token: it has expired")
        return found

    def renewed(self, grant: Grant) -> Grant | None:
        return self._grants.get(grant.proof)

    def reload(self) -> None:
        fresh = {}
        for digest, principal in self._load():
            proof = digest.hex()
            grant, old = Grant(principal, self, proof), self._grants.get(proof)
            fresh[proof] = old if old is not None and old == grant else grant
        self._grants = fresh


def hash_of(token: str) -> bytes:
    """Return a token's SHA-256."""
    return sha256(token.encode(errors="surrogatepass")).digest()


def entries_of(text: str) -> tuple[Entry, ...]:
    """Return the tokens of `TICKER_TOKENS`: `NAME:TOKEN` or `TOKEN`, with commas between. Raises AccessError."""
    entries: dict[bytes, Entry] = {}
    for place, each in enumerate(text.split(","), 1):
        name, colon, token = each.strip().partition(":")
        if not colon:
            name, token = f"token-{place}", name
        try:
            check_name(name)
            if not _TOKEN.fullmatch(token):
                raise AccessError("a token is of visible ASCII characters, without commas")
            if len(token) < LEAST_CHARACTERS:
                raise AccessError(
                    f"a token has at least {LEAST_CHARACTERS} characters; python -m ticker.access NAME makes one"
                )
            digest = hash_of(token)
            if digest in entries:
                raise AccessError("the same token stands there twice")
        except AccessError as error:
            raise AccessError(f"token {place} of {text.count(',') + 1}: {error}") from None
        entries[digest] = Entry(digest, Principal(name))
    return tuple(entries.values())


def read_token_file(path: str) -> list[Entry]:
    """Return the tokens of a TOML file. Raises AccessError, which names file and entry."""
    try:
        document = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise AccessError(f"{path}: {reason}") from None
    entries: dict[bytes, Entry] = {}
    try:
        for unknown in document.keys() - {"token"}:
            raise AccessError(f"unknown key {unknown[:40]!r}; each token begins with [[token]]")
        tables = document.get("token", [])
        if not isinstance(tables, list):
            raise AccessError("each token begins with [[token]], in two pairs of brackets")
        for place, table in enumerate(tables, 1):
            with _Place(place, table):
                entry = _entry(table)
                if entry.digest in entries:
                    raise AccessError(f"sha256: the same as that of {entries[entry.digest].principal.name}")
                entries[entry.digest] = entry
    except AccessError as error:
        raise AccessError(f"{path}: {error}") from None
    return list(entries.values())


class _Place:
    """Names the entry in what is wrong with it."""

    def __init__(self, place: int, table: object) -> None:
        name = table.get("name") if isinstance(table, dict) else None
        self._where = f"token {place}" + (f" ({name[:40]})" if isinstance(name, str) else "")

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if isinstance(error, AccessError):
            raise AccessError(f"{self._where}: {error}") from None


def _entry(table: object) -> Entry:
    if not isinstance(table, dict):
        raise AccessError("expected a table")
    for key in table:
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, 1)
            raise AccessError(f"unknown key {key[:40]!r}; " + (f"did you mean {close[0]}?" if close else _known()))
    for key in ("name", "sha256"):
        if key not in table:
            raise AccessError(f"{key}: missing")
    check_name(table["name"])
    digest = table["sha256"]
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-fA-F]{64}", digest):
        # What stands there may be the token itself: it is not repeated.
        raise AccessError("sha256: expected the 64 hexadecimal digits of the token's SHA-256")
    return Entry(
        bytes.fromhex(digest),
        Principal(
            table["name"],
            symbols=patterns_of(table.get("symbols", ["*"])),
            expires_s=expiry_of(table["expires"]) if "expires" in table else None,
            **limits_of(table),
        ),
    )


def _known() -> str:
    return f"expected some of {', '.join(KEYS)}"


def check_name(name: object) -> None:
    """Raise AccessError for what cannot be a name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not name.isprintable():
        raise AccessError("name: expected 1 to 100 visible characters, without spaces, colons and commas")


def patterns_of(value: object) -> tuple[str, ...]:
    """Return the patterns of `symbols`, each once. Raises AccessError."""
    if not isinstance(value, list) or not all(isinstance(each, str) and 0 < len(each) <= 200 for each in value):
        raise AccessError('symbols: expected a list of patterns such as ["AAPL", "BTC*"]')
    if len(value) > MOST_PATTERNS:
        raise AccessError(f"symbols: expected at most {MOST_PATTERNS} patterns")
    return tuple(dict.fromkeys(value))


def limits_of(table: Mapping[str, Any]) -> dict[str, int]:
    """Return the limits that are given. Raises AccessError."""
    limits = {}
    for name in LIMITS:
        if name in table:
            value = table[name]
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_LIMIT:
                raise AccessError(f"{name}: expected a whole number between 1 and {MOST_LIMIT:,}")
            limits[name] = value
    return limits


def expiry_of(value: object) -> float:
    """Return a time of TOML, or as RFC 3339 text, as UNIX seconds. Raises AccessError."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise AccessError("expires: expected a time with its zone, such as 2027-01-31T12:00:00Z")
    return value.timestamp()
