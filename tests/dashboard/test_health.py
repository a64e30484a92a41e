"""How fresh and how complete the data are, and how often they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Serve = Callable[..., Any]
OpenTab = Callable[..., Any]
Until = Callable[..., Any]

COMPLETE = "() => document.getElementById('complete').dataset.state"
HIDE = """(isHidden) => {
    Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def wants_all(command: dict[str, Any], kind: str) -> bool:
    return command["kind"] == kind and command["symbols"] == ["*"]


def wanted(server: Any, kind: str) -> tuple[str, int | None]:
    """Return mode and interval of the last subscription of all symbols of a kind."""
    command = [each for each in server.commands if each["op"] == "subscribe" and wants_all(each, kind)][-1]
    return command["mode"], command.get("interval_ms")


async def test_rows_received_are_held_against_those_the_server_counted(
    serve: Serve, open_tab: OpenTab, until: Until
) -> None:
    server = serve(["AAPL"])
    server.trade("AAPL", "100.00")
    tab = await open_tab(server.url)
    await until(lambda: server.is_followed and server.connections[0].mode("bars 60", "AAPL"))
    server.trade("AAPL", "101.00")
    server.quote("AAPL", "100.99", "101.01")
    await tab.sees("complete-text", "4 rows, 0 lost")  # a trade, a quote, the bars of a day and of a minute
    await tab.becomes(COMPLETE, "complete")

    server.say({"type": "gap", "channel": server.number("trades", "AAPL", "conflated"), "seq": 9, "missed": 7})
    await tab.sees("complete-text", "4 rows, 7 lost")
    await tab.becomes(COMPLETE, "incomplete")
    server.connections[0].rows += 1

    await tab.sees("complete-text", "4 rows, 7 lost, some missing")


async def test_the_age_of_data_is_measured_by_the_servers_clock(serve: Serve, open_tab: OpenTab) -> None:
    server = serve(["AAPL"])
    tab = await open_tab(server.url)
    await tab.sees("complete-text", "0 rows, 0 lost")  # the clocks have been compared

    server.trade("AAPL", "100.00", at=server.now() - 5_400_000_000)  # half past one hour: no moment's delay shows

    await tab.sees("age-median", "1 h")
    await tab.becomes("() => document.querySelector('td.c-age').innerText", "1 h")


async def test_the_slider_changes_the_subscriptions_without_a_new_connection(
    serve: Serve, open_tab: OpenTab, until: Until
) -> None:
    server = serve(["AAPL"])
    server.trade("AAPL", "100.00")
    tab = await open_tab(server.url)
    await until(lambda: server.is_followed)
    assert wanted(server, "trades") == ("conflated", 250)

    await tab.page.focus("#rate")
    await tab.page.keyboard.press("ArrowLeft")
    await tab.sees("rate-text", "10 a second")
    await until(lambda: wanted(server, "quotes") == ("conflated", 100))
    assert wanted(server, "bars") == ("conflated", 100)
    await tab.page.check("#every")
    await tab.sees("rate-text", "as they come")
    await until(lambda: wanted(server, "quotes") == ("all", None))
    server.trade("AAPL", "100.50")

    await tab.sees("AAPL last", "100.50")
    await tab.sees("AAPL volume", "200")
    assert server.accepted == 1


async def test_a_hidden_page_asks_for_little_and_comes_back_with_the_state(
    serve: Serve, open_tab: OpenTab, until: Until
) -> None:
    server = serve(["AAPL"])
    server.trade("AAPL", "100.00")
    tab = await open_tab(server.url)
    await until(lambda: server.is_followed)

    await tab.page.evaluate(HIDE, True)
    await until(lambda: wanted(server, "quotes") == ("conflated", 5000))
    assert wanted(server, "bars") == ("conflated", 5000)
    server.trade("AAPL", "105.00")
    await tab.page.evaluate(HIDE, False)

    await until(lambda: wanted(server, "quotes") == ("conflated", 250))
    await tab.sees("AAPL last", "105.00")


async def test_the_theme_follows_the_system_until_a_person_chooses(serve: Serve, open_tab: OpenTab) -> None:
    back = "() => getComputedStyle(document.body).backgroundColor"
    tab = await open_tab(serve(["AAPL"]).url, color_scheme="light")
    await tab.becomes(back, "rgb(255, 255, 255)")
    await tab.sees("state-text", "Live")  # the style sheet alone has the right colours: the page is there now, too

    await tab.page.emulate_media(color_scheme="dark")
    await tab.becomes(back, "rgb(11, 16, 23)")
    await tab.page.keyboard.press("t")
    await tab.becomes(back, "rgb(255, 255, 255)")
    await tab.page.reload()

    await tab.becomes(back, "rgb(255, 255, 255)")
