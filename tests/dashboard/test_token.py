"""A server that asks for a token: the dialog, what becomes of the token, and what a token does not allow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Serve = Callable[..., Any]
OpenTab = Callable[..., Any]
Until = Callable[..., Any]

ASKS = "() => document.getElementById('token-dialog').open"
KEPT = """async () => JSON.stringify([
    {...localStorage}, {...sessionStorage}, document.cookie, location.href, document.documentElement.outerHTML,
    document.getElementById("token").value, (await indexedDB.databases()).length, (await caches.keys()).length,
])"""


async def test_a_token_is_asked_for_and_opens_the_market(serve: Serve, open_tab: OpenTab) -> None:
    server = serve(["AAPL"], tokens=["let-me-in"])
    server.trade("AAPL", "100.00")
    tab = await open_tab(server.url)
    await tab.sees("token-reason", "This server asks for a token.")
    await tab.sees("state-text", "Waiting for a token")

    await tab.enter("let-me-in")

    await tab.sees("AAPL last", "100.00")
    await tab.sees("state-text", "Live")
    await tab.becomes(ASKS, False)
    server.trade("AAPL", "101.00")
    await tab.sees("AAPL last", "101.00")


async def test_a_token_is_kept_in_memory_alone(serve: Serve, open_tab: OpenTab, until: Until) -> None:
    server = serve(["AAPL"], tokens=["let-me-in"])
    server.trade("AAPL", "100.00")
    requests: list[str] = []
    tab = await open_tab(server.url)
    tab.page.on("request", lambda request: requests.append(request.url))
    await tab.enter("let-me-in")
    await tab.sees("AAPL last", "100.00")

    assert "let-me-in" not in await tab.page.evaluate(KEPT)
    assert not [url for url in requests if "let-me-in" in url]
    server.cut()
    await until(lambda: [each["token"] for each in server.commands if each["op"] == "auth"] == ["let-me-in"] * 2)
    await tab.sees("state-text", "Live")
    await tab.page.reload()

    await tab.becomes(ASKS, True)
    tab.forgive_lost_connections()


async def test_a_refused_token_is_said_to_be_and_asked_for_again(serve: Serve, open_tab: OpenTab) -> None:
    server = serve(["AAPL"], tokens=["right"])
    server.trade("AAPL", "100.00")
    tab = await open_tab(server.url)

    for attempt in ("wrong", "wrong again"):
        await tab.becomes(ASKS, True)
        await tab.enter(attempt)
        await tab.sees("token-reason", "The server refused this token.")
        assert await tab.page.input_value("#token") == ""
    assert await tab.attribute("#token-reason", "role") == "alert"
    assert await tab.page.evaluate("document.querySelectorAll('tr[data-symbol]').length") == 0
    await tab.enter("right")

    await tab.sees("AAPL last", "100.00")
    assert [each["token"] for each in server.commands if each["op"] == "auth"] == ["wrong", "wrong again", "right"]


async def test_a_token_that_ends_while_the_page_runs_is_replaced_and_no_row_is_lost(
    serve: Serve, open_tab: OpenTab, until: Until
) -> None:
    server = serve(["AAPL"], tokens=["first"])
    server.trade("AAPL", "100.00")
    tab = await open_tab(server.url)
    await tab.enter("first")
    await tab.sees("AAPL last", "100.00")
    await until(lambda: server.is_followed)

    server.tokens = {"second"}
    server.connections[0].close(4001)
    await tab.sees("token-reason", "The token has expired, or is no longer valid.")
    await tab.sees("AAPL last", "100.00")  # what was there stays, dimmed
    await tab.sees("state-text", "Waiting for a token")
    await until(lambda: not server.connections)
    server.trade("AAPL", "101.00")
    server.trade("AAPL", "102.00")
    await tab.enter("second")

    await tab.sees("AAPL last", "102.00")
    await tab.sees("AAPL volume", "300")
    await tab.becomes("() => document.getElementById('complete-text').textContent.includes(' 0 lost')", True)
    resumed = [each for each in server.commands if each["op"] == "subscribe" and each["kind"] == "trades"][-1]
    assert resumed["since"] == {"AAPL": 1}


async def test_the_dialog_can_be_put_off_and_waits_for_as_long_as_it_takes(
    serve: Serve, open_tab: OpenTab, until: Until
) -> None:
    server = serve(["AAPL"], tokens=["let-me-in"])
    server.trade("AAPL", "100.00")
    tab = await open_tab(server.url)
    await tab.becomes(ASKS, True)

    server.connections[0].close(4001)  # no token in time
    await until(lambda: not server.connections)
    await tab.sees("token-reason", "This server asks for a token.")
    await tab.page.keyboard.press("Escape")
    await tab.becomes(ASKS, False)
    await tab.sees("retry", "Enter token")
    await tab.page.click("#retry")
    await tab.page.click("#token-later")
    await tab.becomes(ASKS, False)
    await tab.page.click("#retry")
    await tab.enter("let-me-in")

    await tab.sees("AAPL last", "100.00")
    assert server.accepted == 2


async def test_the_dialog_tells_a_screen_reader_and_a_password_manager_what_it_wants(
    serve: Serve, open_tab: OpenTab
) -> None:
    tab = await open_tab(serve(["AAPL"], tokens=["let-me-in"]).url)
    await tab.becomes(ASKS, True)

    tree = await tab.page.locator("#token-dialog").aria_snapshot()

    assert 'dialog "Token"' in tree
    assert "alert: This server asks for a token." in tree
    assert 'textbox "Token"' in tree
    assert await tab.attribute("#token", "type") == "password"
    assert await tab.attribute("#token", "autocomplete") == "current-password"


async def test_watched_symbols_that_cannot_be_had_are_named_with_the_reason(serve: Serve, open_tab: OpenTab) -> None:
    server = serve(["AAPL", "MSFT", "SECRET"], forbidden=["SECRET"])
    server.trade("AAPL", "100.00")

    tab = await open_tab(f"{server.url}#AAPL,SECRET,NOPE")

    await tab.sees("AAPL last", "100.00")
    await tab.sees("note", "Not for this token: SECRET. Not in this feed: NOPE.")
    assert await tab.symbols() == ["AAPL"]
    await tab.page.click("#all")
    await tab.becomes("() => document.querySelectorAll('tr[data-symbol]').length", 2)
