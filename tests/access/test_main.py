"""`python -m ticker.access`: what it prints is what a server reads."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from ticker.access.__main__ import main
from ticker.access.principal import Principal
from ticker.access.tokens import Tokens


def test_the_token_is_told_once_and_the_lines_hold_only_its_hash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--symbols", 'AAPL, BTC*,"é', "--expires", "2027-01-31T13:00:00+01:00", "--connections", "2"]
    assert main(["bot-1", *arguments, "--channels", "30", "--commands-per-s", "5"]) == 0
    made = capsys.readouterr()
    token = made.err.splitlines()[-1]

    assert len(token) == 43
    assert token not in made.out
    assert hashlib.sha256(token.encode()).hexdigest() in made.out
    (tmp_path / "tokens.toml").write_text(made.out)
    grant = Tokens.of_file(str(tmp_path / "tokens.toml")).authenticate(token, 0)
    assert grant is not None
    assert grant.principal == Principal("bot-1", ("AAPL", "BTC*", '"é'), 1801396800, 2, 30, 5)


def test_the_lines_can_be_appended_and_no_two_tokens_are_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["a"])
    main(["a"])
    made = capsys.readouterr()

    (tmp_path / "tokens.toml").write_text(made.out)

    assert len(Tokens.of_file(str(tmp_path / "tokens.toml"))) == 2


def test_a_span_of_days_or_hours_is_counted_from_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before_s = int(time.time())
    main(["a", "--expires", "30d"])
    made = capsys.readouterr()
    (tmp_path / "tokens.toml").write_text(made.out)

    grant = Tokens.of_file(str(tmp_path / "tokens.toml")).authenticate(made.err.splitlines()[-1], before_s)

    assert grant is not None
    assert grant.principal.expires_s is not None
    assert before_s <= grant.principal.expires_s - 30 * 86400 <= time.time()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a b"], "name: expected"),
        (["a", "--symbols", ""], "symbols: expected"),
        (["a", "--expires", "soon"], "expires: expected"),
        (["a", "--expires", "2027-01-31"], "expires: expected"),
        (["a", "--connections", "0"], "connections: expected"),
    ],
)
def test_a_mistake_makes_no_token(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    made = capsys.readouterr()

    assert caught.value.code == 2
    assert message in made.err
    assert made.out == ""
    assert "shown only now" not in made.err
