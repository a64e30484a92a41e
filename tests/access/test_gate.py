"""The gate: several sources, how often a principal may connect, when a grant ends."""

from __future__ import annotations

import logging
import math

import pytest

from ticker.access.errors import AccessError, BadToken
from ticker.access.gate import Gate
from ticker.access.grant import TO_ANYONE, Grant
from ticker.access.principal import Principal
from ticker.access.tokens import Entry, Tokens, hash_of

FIRST, SECOND = "A" * 43, "B" * 43


def tokens(**principals: Principal) -> Tokens:
    return Tokens(lambda: [Entry(hash_of(token), principal) for token, principal in principals.items()])


class Now:
    """A clock that a test moves."""

    s = 1000.0

    def __call__(self) -> float:
        return self.s


def test_without_sources_everyone_is_let_in() -> None:
    gate = Gate(connections=1)

    assert not gate.is_required
    assert gate.authenticate("anything") is TO_ANYONE
    assert all(gate.enter(TO_ANYONE.principal) for _ in range(10))
    assert gate.renewed(TO_ANYONE) is TO_ANYONE
    assert gate.next_expiry_s() == math.inf


def test_each_source_may_know_a_token() -> None:
    gate = Gate([tokens(**{FIRST: Principal("a")}), tokens(**{SECOND: Principal("b")})])

    assert gate.is_required
    assert gate.authenticate(FIRST).principal.name == "a"
    assert gate.authenticate(SECOND).principal.name == "b"
    for wrong in ("", FIRST + SECOND, "x" * 9000):
        with pytest.raises(BadToken):
            gate.authenticate(wrong)


def test_a_gate_without_any_token_lets_nobody_in() -> None:
    gate = Gate([tokens()])

    assert gate.is_required
    with pytest.raises(BadToken):
        gate.authenticate(FIRST)


def test_connections_are_counted_by_name_and_the_token_may_say_how_many() -> None:
    gate = Gate([tokens()], connections=2)
    one, other = Principal("a"), Principal("a", connections=3)

    assert [gate.enter(one) for _ in range(3)] == [True, True, False]
    assert gate.is_full(one)
    assert not gate.is_full(other)
    assert [gate.enter(other) for _ in range(2)] == [True, False]
    assert gate.enter(Principal("b"))
    gate.leave(one)
    assert not gate.enter(one)
    gate.leave(other)
    assert gate.enter(one)


def test_a_grant_ends_when_its_time_is_over() -> None:
    now = Now()
    gate = Gate([tokens(**{FIRST: Principal("a", expires_s=1010.5), SECOND: Principal("b")})], now)
    grant, forever = gate.authenticate(FIRST), gate.authenticate(SECOND)

    assert gate.next_expiry_s() == 10.5
    now.s = 1010.25
    assert gate.renewed(grant) is grant
    now.s = 1010.5
    assert gate.next_expiry_s() == 0
    assert gate.renewed(grant) is None
    assert gate.renewed(forever) is forever
    assert gate.next_expiry_s() == math.inf
    with pytest.raises(BadToken, match="expired"):
        gate.authenticate(FIRST)


def test_the_next_expiry_is_the_earliest_and_never_told_too_early() -> None:
    now = Now()
    principals = {"A" * 20: 1002.1, "B" * 20: 1001.3, "C" * 20: 1001.4}
    gate = Gate([tokens(**{token: Principal(token, expires_s=end) for token, end in principals.items()})], now)
    for token in principals:
        gate.authenticate(token)

    assert gate.next_expiry_s() == 1.5
    now.s = 1001.5
    assert gate.next_expiry_s() == 0
    assert gate.next_expiry_s() == 0.75


def test_a_bad_reread_is_one_line_and_the_other_sources_are_read_all_the_same(
    errors: list[logging.LogRecord], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        summary = "broken"

        def authenticate(self, token: str, now_s: float) -> None:
            return None

        def renewed(self, grant: Grant) -> Grant:
            return grant

        def reload(self) -> None:
            raise AccessError("tokens.toml: token 1: sha256: missing")

    entries = [Entry(hash_of(FIRST), Principal("a"))]
    gate = Gate([Broken(), Tokens(lambda: entries)])
    grant = gate.authenticate(FIRST)

    entries.clear()
    with caplog.at_level(logging.INFO):
        gate.reload()

    assert [record.getMessage() for record in errors] == [
        "not read again, what was known stays: tokens.toml: token 1: sha256: missing"
    ]
    errors.clear()
    assert caplog.messages[1:] == ["read again: 0 tokens of the environment"]
    assert gate.renewed(grant) is None
