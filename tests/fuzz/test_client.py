"""Servers that say anything: the library for bots raises what it promises, and nothing else."""

from __future__ import annotations

import pytest

from tests.fuzz.hostile import Servers

MESSAGES = 5000


@pytest.mark.parametrize("seed", range(2))
def test_a_client_of_a_mad_server_raises_protocol_errors_only(seed: int) -> None:
    servers = Servers(seed)

    servers.speak(MESSAGES)

    assert {"taken", "ProtocolError", "RowsLost", "MissedRows", "SymbolsRefused"} <= set(servers.seen)
