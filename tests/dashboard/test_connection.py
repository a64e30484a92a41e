"""Lost connections: coming back, resuming by position, starting anew, giving up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

Serve = Callable[..., Any]
OpenTab = Callable[..., Any]
Until = Callable[..., Any]


def subscriptions(server: Any, kind: str) -> list[dict[str, Any]]:
    return [each for each in server.commands if each["op"] == "subscribe" and each["kind"] == kind]


async def test_a_page_that_was_cut_off_resumes_where_it_was(serve: Serve, open_tab: OpenTab, until: Until) -> None:
    server = serve(["AAPL", "MSFT"])
    server.trade("AAPL", "100.00")
    tab = await open_tab(server.url)
    await until(lambda: server.is_followed)
    server.trade("AAPL", "101.00")
    await tab.sees("AAPL last", "101.00")

    server.cut()
    await until(lambda: not server.connections)
    server.trade("AAPL", "102.00")
    server.trade("AAPL", "103.00")

    await tab.sees("AAPL last", "103.00")
    await tab.sees("AAPL volume", "400")
    await until(lambda: len(subscriptions(server, "trades")) == 2)
    resumed = subscriptions(server, "trades")[-1]
    assert resumed["since"] == {"AAPL": 2, "MSFT": 0}
    assert resumed["epoch"] == "first"
    await tab.sees("state-text", "Live")
    await tab.sees("complete-text", "2 rows, 0 lost")  # one row that counts two
    tab.forgive_lost_connections()


async def test_a_restarted_server_is_taken_as_it_is_now(serve: Serve, open_tab: OpenTab, until: Until) -> None:
    server = serve(["AAPL", "GONE"])
    server.trade("AAPL", "100.00")
    server.trade("GONE", "7.00")
    tab = await open_tab(f"{server.url}#AAPL,GONE,NEW")
    await tab.sees("GONE last", "7.00")
    await tab.page.evaluate("window.isTheSamePage = true")

    await server.stop()
    await until(lambda: not server.connections)
    await tab.becomes("() => document.getElementById('state').dataset.state", "waiting")
    await tab.becomes("() => document.getElementById('state-text').innerText.startsWith('Reconnecting')", True)
    again = serve(["AAPL", "NEW"], epoch="second", port=server.port)
    again.trade("AAPL", "55.00")

    await tab.sees("AAPL last", "55.00")
    await tab.sees("AAPL high", "55.00")
    await tab.sees("NEW last", "—")
    await tab.becomes("() => document.querySelectorAll('tr[data-symbol]').length", 2)
    assert await tab.symbols() == ["AAPL", "NEW"]
    assert all("since" not in each for each in subscriptions(again, "trades"))
    assert await tab.page.evaluate("window.isTheSamePage")
    tab.forgive_lost_connections()


async def test_a_goodbye_says_when_to_come_back(serve: Serve, open_tab: OpenTab, until: Until) -> None:
    server = serve(["AAPL"])
    tab = await open_tab(server.url)
    await tab.sees("state-text", "Live")

    server.say({"type": "goodbye", "reason": "shutdown", "reconnect_ms": 60_000})
    server.connections[0].close(1001)

    await until(lambda: not server.connections)
    await tab.becomes("() => document.getElementById('state').dataset.state", "waiting")
    await tab.becomes(
        "() => /^Reconnecting in [1-6][0-9] s$/.test(document.getElementById('state-text').innerText)", True
    )
    await tab.page.click("#retry")
    await tab.sees("state-text", "Live")
    assert server.accepted == 2


async def test_a_server_that_does_not_understand_the_page_is_left_alone(serve: Serve, open_tab: OpenTab) -> None:
    server = serve(["AAPL"])
    tab = await open_tab(server.url)
    await tab.sees("state-text", "Live")

    server.connections[0].close(4000)

    await tab.sees("state-text", "Not connected: the server did not understand this page")
    assert await tab.is_shown("#retry")


async def test_an_unreadable_message_is_counted_and_what_was_in_it_asked_for_again(
    serve: Serve, open_tab: OpenTab, until: Until
) -> None:
    server = serve(["AAPL"])
    server.trade("AAPL", "100.00")
    tab = await open_tab(server.url)
    await until(lambda: server.is_followed)
    (connection,) = server.connections

    connection.send_rows = lambda *_, **__: connection.deliver(b"\x99\x07")
    server.trade("AAPL", "101.00")

    await tab.sees("AAPL last", "101.00")
    await tab.sees("AAPL volume", "200")
    await until(lambda: len(subscriptions(server, "trades")) == 2)
    assert subscriptions(server, "trades")[-1]["since"] == {"AAPL": 1}
    await tab.becomes(
        "() => document.getElementById('complete-text').textContent.endsWith('0 lost, 1 unreadable')", True
    )


async def test_nothing_that_a_server_sends_kills_the_page(serve: Serve, open_tab: OpenTab, until: Until) -> None:
    server = serve(["AAPL"])
    server.trade("AAPL", "100.00")
    tab = await open_tab(server.url)
    channel = server.number("trades", "AAPL", "conflated")

    for message in (
        b"",
        msgpack.packb({"type": "subscribed", "channels": [{"symbol": 7}]}),
        msgpack.packb([channel, 1, 1, 5, b""]),
    ):
        await until(lambda: server.is_followed)
        accepted = server.accepted
        server.send(message)
        await until(lambda accepted=accepted: server.accepted > accepted)
    await tab.sees("state-text", "Live")
    server.trade("AAPL", "101.00")

    await tab.sees("AAPL last", "101.00")


async def test_messages_of_a_later_version_are_passed_over(serve: Serve, open_tab: OpenTab) -> None:
    server = serve(["AAPL"])
    server.trade("AAPL", "100.00")
    tab = await open_tab(server.url)
    await tab.sees("AAPL last", "100.00")

    server.say({"type": "weather", "text": "fine"})
    server.say({"type": "heartbeat", "time": 1, "rows": 0, "mood": [None, 1.5, True]})
    server.send(msgpack.packb([9999, 0, 1, 5, b""]))  # a channel that isn't ours
    server.trade("AAPL", "101.00")

    await tab.sees("AAPL last", "101.00")
    assert server.accepted == 1
