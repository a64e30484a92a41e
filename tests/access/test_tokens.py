"""Tokens in a file and in the environment: what is right, and what each mistake is told as."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ticker.access.errors import AccessError, BadToken
from ticker.access.principal import Principal
from ticker.access.tokens import Tokens, entries_of, read_token_file

TOKEN, OTHER = "A" * 43, "B" * 43
NOON_S = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()


def sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def write(path: Path, text: str) -> str:
    path.write_text(text.replace("{hash}", sha256(TOKEN)).replace("{other}", sha256(OTHER)), "utf-8")
    return str(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.toml"


def test_a_token_stands_for_what_its_table_says(path: Path) -> None:
    tokens = Tokens.of_file(
        write(
            path,
            """
            [[token]]
            name = "bot-1"
            sha256 = "{hash}"
            symbols = ["AAPL", "BTC*"]
            expires = 2026-11-24T13:00:00+01:00
            connections = 2
            channels = 30
            commands_per_s = 5

            [[token]]
            name = "bot-1"
            sha256 = "{other}"
            """,
        )
    )

    grant, other = tokens.authenticate(TOKEN, NOON_S - 1), tokens.authenticate(OTHER, NOON_S)

    assert grant is not None
    assert grant.principal == Principal("bot-1", ("AAPL", "BTC*"), NOON_S, 2, 30, 5)
    assert other is not None
    assert other.principal == Principal("bot-1")
    assert tokens.authenticate(TOKEN + "A", NOON_S) is None
    assert tokens.authenticate(sha256(TOKEN), NOON_S) is None


def test_an_expired_token_is_told_to_have_expired(path: Path) -> None:
    tokens = Tokens.of_file(write(path, '[[token]]\nname = "a"\nsha256 = "{hash}"\nexpires = "2026-11-24T12:00:00Z"\n'))

    assert tokens.authenticate(TOKEN, NOON_S - 0.001) is not None
    with pytest.raises(BadToken, match="expired"):
        tokens.authenticate(TOKEN, NOON_S)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("token = 5", "each token begins with [[token]], in two pairs of brackets"),
        ("[token]\nname = 'a'", "each token begins with [[token]], in two pairs of brackets"),
        ("[[tokens]]\nname = 'a'", "unknown key 'tokens'; each token begins with [[token]]"),
        ("token = ['a']", "token 1: expected a table"),
        ("[[token]]\nname = 'a'", "token 1 (a): sha256: missing"),
        ("[[token]]\nsha256 = '{hash}'", "token 1: name: missing"),
        ("[[token]]\nname = ''\nsha256 = '{hash}'", "token 1 (): name: expected 1 to 100 visible characters"),
        ("[[token]]\nname = 'a:b'\nsha256 = '{hash}'", "token 1 (a:b): name: expected"),
        ("[[token]]\nname = 'a\u2028'\nsha256 = '{hash}'", "name: expected"),
        ("[[token]]\nname = 7\nsha256 = '{hash}'", "token 1: name: expected"),
        ("[[token]]\nname = 'a'\nsha256 = 'abc'", "token 1 (a): sha256: expected the 64 hexadecimal digits"),
        ("[[token]]\nname = 'a'\nsha256 = 5", "token 1 (a): sha256: expected the 64 hexadecimal digits"),
        ("[[token]]\nname = 'a'\nsha256 = '{hash}'\nsymbol = ['A']", "unknown key 'symbol'; did you mean symbols?"),
        ("[[token]]\nname = 'a'\nsha256 = '{hash}'\ntoken = 'A'", "unknown key 'token'; expected some of name, sha256"),
        ("[[token]]\nname = 'a'\nsha256 = '{hash}'\nsymbols = 'A'", "symbols: expected a list of patterns"),
        ("[[token]]\nname = 'a'\nsha256 = '{hash}'\nsymbols = [1]", "symbols: expected a list of patterns"),
        ("[[token]]\nname = 'a'\nsha256 = '{hash}'\nsymbols = ['']", "symbols: expected a list of patterns"),
        ("[[token]]\nname = 'a'\nsha256 = '{hash}'\nexpires = 5", "expires: expected a time with its zone"),
        ("[[token]]\nname = 'a'\nsha256 = '{hash}'\nexpires = 2026-01-01", "expires: expected a time with its zone"),
        (
            "[[token]]\nname = 'a'\nsha256 = '{hash}'\nexpires = 2026-01-01T00:00:00",
            "expires: expected a time with its",
        ),
        ("[[token]]\nname = 'a'\nsha256 = '{hash}'\nexpires = 'soon'", "expires: expected a time with its zone"),
        ("[[token]]\nname = 'a'\nsha256 = '{hash}'\nconnections = 0", "connections: expected a whole number between 1"),
        ("[[token]]\nname = 'a'\nsha256 = '{hash}'\nchannels = true", "channels: expected a whole number between 1"),
        ("[[token]]\nname = 'a'\nsha256 = '{hash}'\ncommands_per_s = 1.5", "commands_per_s: expected a whole number"),
        (
            "[[token]]\nname = 'a'\nsha256 = '{hash}'\n[[token]]\nname = 'b'\nsha256 = '{hash}'",
            "token 2 (b): sha256: the same as that of a",
        ),
        ("[[token", "Expected ']]'"),
    ],
)
def test_each_mistake_is_one_line_that_names_file_and_entry(text: str, message: str, path: Path) -> None:
    file = write(path, text)

    with pytest.raises(AccessError) as caught:
        read_token_file(file)

    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_token_in_the_place_of_its_hash_is_not_repeated(path: Path) -> None:
    with pytest.raises(AccessError) as caught:
        read_token_file(write(path, f"[[token]]\nname = 'a'\nsha256 = '{TOKEN}'"))

    assert TOKEN not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_told(path: Path) -> None:
    with pytest.raises(AccessError, match="No such file"):
        read_token_file(str(path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(AccessError, match="utf-8"):
        read_token_file(str(path))


def test_a_reread_takes_away_changes_and_adds(path: Path) -> None:
    entry = '[[token]]\nname = "a"\nsha256 = "{hash}"\n'
    tokens = Tokens.of_file(write(path, entry + '[[token]]\nname = "b"\nsha256 = "{other}"\n'))
    first, second = tokens.authenticate(TOKEN, NOON_S), tokens.authenticate(OTHER, NOON_S)
    assert first is not None
    assert second is not None

    write(path, entry)
    tokens.reload()
    assert tokens.renewed(first) is first
    assert tokens.renewed(second) is None
    assert tokens.authenticate(OTHER, NOON_S) is None

    write(path, entry + 'symbols = ["AAPL"]\n')
    tokens.reload()
    renewed = tokens.renewed(first)
    assert renewed is not None
    assert renewed.principal == Principal("a", ("AAPL",))


def test_a_bad_file_on_a_reread_changes_nothing(path: Path) -> None:
    tokens = Tokens.of_file(write(path, '[[token]]\nname = "a"\nsha256 = "{hash}"\n'))
    grant = tokens.authenticate(TOKEN, NOON_S)
    assert grant is not None

    write(path, '[[token]]\nname = "a"\nsha256 = "{hash}"\n[[token]]\n')
    with pytest.raises(AccessError):
        tokens.reload()

    assert tokens.renewed(grant) is grant


def test_the_environment_has_tokens_with_and_without_names() -> None:
    entries = entries_of(f"bot:{TOKEN}, {OTHER}")

    assert [(each.digest.hex(), each.principal) for each in entries] == [
        (sha256(TOKEN), Principal("bot")),
        (sha256(OTHER), Principal("token-2")),
    ]


def test_a_token_of_the_environment_may_have_colons_behind_its_name() -> None:
    (entry,) = entries_of(f"bot:{TOKEN}:x")

    assert entry.digest.hex() == sha256(f"{TOKEN}:x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("short", "token 1 of 1: a token has at least 16 characters; python -m ticker.access NAME makes one"),
        (f"{TOKEN},", "token 2 of 2: a token is of visible ASCII characters"),
        (f"a b:{TOKEN}", "token 1 of 1: name: expected"),
        (f":{TOKEN}", "token 1 of 1: name: expected"),
        (f"{TOKEN},x:{TOKEN}", "token 2 of 2: the same token stands there twice"),
        ("schlüssel-der-lang-genug-wäre", "token 1 of 1: a token is of visible ASCII characters"),
    ],
)
def test_a_mistake_in_the_environment_is_told_without_the_token(text: str, message: str) -> None:
    with pytest.raises(AccessError) as caught:
        entries_of(text)

    assert str(caught.value).startswith(message)
    assert TOKEN not in str(caught.value)
    assert "schl" not in str(caught.value)


def test_text_that_no_utf_8_has_is_just_wrong() -> None:
    assert Tokens(lambda: entries_of(TOKEN)).authenticate("\ud800", 0) is None
