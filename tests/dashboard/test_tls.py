"""The page where TLS is: served by the server itself, and seen by a browser that keeps all its rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.server import certificates


async def test_the_page_of_a_server_with_tls_streams_by_wss(
    start_server: Callable[..., Any], open_tab: Callable[..., Any], tmp_path: Path
) -> None:
    chain, key = certificates.make(tmp_path)
    server = start_server(
        "--feed", "simulated", "--symbols", "AAPL", "--rate", "50", "--tls-cert", chain, "--tls-key", key
    )

    tab = await open_tab(server.url, ignore_https_errors=True)

    await tab.becomes("() => document.getElementById('state').dataset.state", "live")
    await tab.becomes("() => /^[0-9]+\\.[0-9]{2}$/.test(document.querySelector('td.c-last')?.innerText)", True)
    assert await tab.page.evaluate("location.protocol") == "https:"
