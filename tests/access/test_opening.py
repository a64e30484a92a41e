"""Who must be asked for a token, and which wishes contradict one another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ticker.access.errors import AccessError
from ticker.access.opening import is_loopback, open_gate
from ticker.access.tokens import entries_of

TOKENS = entries_of("bot:" + "A" * 43)


def opened(host: str = "127.0.0.1", **wishes: Any) -> Any:
    return open_gate(host=host, now_s=lambda: 0.0, **wishes)


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.7", False),
        ("10.0.0.1", False),
        ("169.254.0.1", False),
        ("::ffff:192.0.2.7", False),
        ("no such name", False),
        ("x" * 300, False),
    ],
)
def test_an_address_of_this_machine_alone_is_loopback(host: str, is_here: bool) -> None:
    assert is_loopback(host) is is_here


def test_on_this_machine_nobody_is_asked_unless_there_are_tokens() -> None:
    assert not opened().is_required
    assert not opened(no_auth=True).is_required
    assert opened(tokens=TOKENS).is_required


def test_other_machines_are_let_in_with_tokens_or_if_that_is_said() -> None:
    with pytest.raises(AccessError) as caught:
        opened("0.0.0.0")
    assert str(caught.value) == (
        "--host: 0.0.0.0 can be reached from other machines, and nobody is asked for a token: set --token-file,"
        " TICKER_TOKENS or --jwt-key, or let everyone read everything with --no-auth"
    )
    assert opened("0.0.0.0", tokens=TOKENS).is_required
    assert not opened("0.0.0.0", no_auth=True).is_required


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"no_auth": True, "tokens": TOKENS}, "--no-auth: contradicts TICKER_TOKENS"),
        ({"no_auth": True, "token_file": "f"}, "--no-auth: contradicts --token-file"),
        ({"no_auth": True, "jwt_key": "f", "jwt_algorithm": "HS256"}, "--no-auth: contradicts --jwt-key"),
        ({"jwt_key": "f"}, "--jwt-key: say with --jwt-algorithm which one of"),
        ({"jwt_algorithm": "HS256"}, "--jwt-algorithm: there is no key"),
        ({"token_file": "/no/such/file"}, "--token-file: /no/such/file: No such file"),
        ({"jwt_key": "/no/such/file", "jwt_algorithm": "HS256"}, "--jwt-key: /no/such/file: No such file"),
    ],
)
def test_what_cannot_be_is_one_line_that_begins_with_the_option(wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(AccessError) as caught:
        opened(**wishes)

    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_file_without_tokens_lets_nobody_in_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text("# none yet\n")

    assert opened(token_file=str(path)).is_required
    assert "holds no token: it lets nobody in" in caplog.text
