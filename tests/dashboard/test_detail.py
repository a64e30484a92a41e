"""The symbol that is looked at closely: its chart and its trades."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dashboard

Serve = Callable[..., Any]
OpenTab = Callable[..., Any]
StartServer = Callable[..., Any]
Until = Callable[..., Any]

TRADES = "() => [...document.querySelectorAll('#trades tr')].map(r => r.className + ' ' + r.cells[1].textContent)"
LABEL = "() => document.getElementById('chart').getAttribute('aria-label')"
CHOOSE = """([seconds]) => {
    const select = document.getElementById("interval");
    select.value = String(seconds);
    select.dispatchEvent(new Event("change"));
}"""


async def test_every_trade_of_the_chosen_symbol_is_shown_and_its_row_lives_on_them(
    serve: Serve, open_tab: OpenTab, until: Until
) -> None:
    server = serve(["AAPL", "MSFT"])
    server.trade("AAPL", "100.00")
    tab = await open_tab(server.url)
    await until(lambda: server.is_followed)

    await tab.page.click("tr[data-symbol=AAPL] .c-last")
    (connection,) = server.connections
    await until(lambda: connection.mode("trades", "AAPL") == "all")
    for price in ("100.01", "100.01", "99.50"):
        server.trade("AAPL", price)
    await tab.becomes(TRADES, ["down 99.50", "flat 100.01", "flat 100.01"])
    await tab.sees("AAPL last", "99.50")
    await tab.sees("detail-last", "99.50")

    await tab.page.hover("#trades")
    await tab.becomes("() => document.getElementById('paused').hidden", False)
    server.trade("AAPL", "98.00")
    await tab.sees("AAPL last", "98.00")
    assert len(await tab.page.evaluate(TRADES)) == 3
    await tab.page.hover("h1")
    await tab.becomes(TRADES, ["down 98.00", "down 99.50", "flat 100.01", "flat 100.01"])
    await tab.page.keyboard.press("Escape")

    await until(lambda: connection.mode("trades", "AAPL") == "conflated")
    assert not await tab.is_shown("#detail")


async def test_the_running_candle_moves_with_the_market(serve: Serve, open_tab: OpenTab, until: Until) -> None:
    server = serve(["AAPL"])
    server.trade("AAPL", "100.00", "10")
    tab = await open_tab(server.url)
    await until(lambda: server.is_followed)
    await tab.sees("AAPL last", "100.00")  # there is no row to go down to before it is painted
    await tab.page.keyboard.press("ArrowDown")
    await tab.page.keyboard.press("Enter")
    await tab.page.evaluate(CHOOSE, [86400])
    await tab.sees("legend", "O 100.00  H 100.00  L 100.00  C 100.00  V 10")

    server.trade("AAPL", "103.00", "20")
    server.trade("AAPL", "99.00", "30")

    await tab.sees("legend", "O 100.00  H 103.00  L 99.00  C 99.00  V 60")
    await tab.becomes(LABEL, "Chart of AAPL, 1 candles")
    assert await tab.page.locator("#chart canvas").count() > 0


@pytest.mark.parametrize("scheme", ["dark"])
async def test_the_chart_is_filled_with_what_the_server_has(
    scheme: str, start_server: StartServer, open_tab: OpenTab, tmp_path: Path
) -> None:
    prices = ["183.98", "184.02", "183.50", "185.25", "184.75", "184.80"]  # two each in three minutes
    file = tmp_path / "IBM.csv"
    rows = [f"2013-10-07T14:0{n // 2}:{n % 2}0Z,IBM,{price},{100 + n}" for n, price in enumerate(prices)]
    file.write_text("\n".join(["time,symbol,price,size", *rows]) + "\n")
    server = start_server("--feed", "csv", str(file), "--speed", "max")
    tab = await open_tab(server.url, color_scheme=scheme)
    await tab.sees("state-text", "Replay has ended")

    await tab.page.click("tr[data-symbol=IBM] .c-last")

    await tab.becomes(LABEL, "Chart of IBM, 3 candles")
    await tab.sees("legend", "O 184.75  H 184.80  L 184.75  C 184.80  V 209")
    await tab.page.evaluate(CHOOSE, [3600])
    await tab.becomes(LABEL, "Chart of IBM, 1 candles")
    await tab.sees("legend", "O 183.98  H 185.25  L 183.50  C 184.80  V 615")
    await tab.page.keyboard.press("t")
    await tab.becomes(LABEL, "Chart of IBM, 1 candles")


async def test_the_chart_bears_its_makers_logo_and_nothing_else_may_become_markup(
    serve: Serve, open_tab: OpenTab, until: Until
) -> None:
    server = serve(["AAPL"])
    server.trade("AAPL", "100.00")
    tab = await open_tab(server.url)
    await until(lambda: server.is_followed)
    await tab.page.click("tr[data-symbol=AAPL] .c-last")

    logo = tab.page.locator("#chart a#tv-attr-logo")
    await logo.wait_for()
    assert (await logo.get_attribute("href")).startswith("https://www.tradingview.com/")
    assert await logo.evaluate("a => [getComputedStyle(a).position, a.offsetWidth, a.offsetHeight]") == [
        "absolute",
        35,
        19,
    ]
    assert await logo.locator("svg path").count() == 3
    assert tab.complaints == []
    refused = await tab.page.evaluate(
        "() => { try { document.body.innerHTML = '<b>no</b>'; } catch (error) { return error.name; } }"
    )

    assert refused == "TypeError"
    await until(lambda: len(tab.complaints) == 2)  # the browser and TELL_VIOLATIONS say so in the console
    tab.complaints.clear()


async def test_a_chart_keeps_no_more_candles_than_it_needs(serve: Serve, open_tab: OpenTab, until: Until) -> None:
    server = serve(["AAPL"])
    second = 1_000_000
    for ago in range(7000, 0, -1):
        server.put("AAPL", "100.00", at=server.now() - ago * second)
    tab = await open_tab(server.url)
    await until(lambda: server.is_followed)
    await tab.page.evaluate("localStorage.setItem('tickercast.interval', '1')")

    await tab.page.click("tr[data-symbol=AAPL] .c-symbol .name")

    await tab.becomes("() => Number(document.getElementById('chart').ariaLabel?.match(/[0-9]+/)) > 4000", True)
    await tab.becomes("() => Number(document.getElementById('chart').ariaLabel?.match(/[0-9]+/)) <= 6000", True)


async def test_a_new_epoch_begins_chart_and_trades_anew(serve: Serve, open_tab: OpenTab, until: Until) -> None:
    server = serve(["AAPL"])
    server.trade("AAPL", "100.00", "10")
    tab = await open_tab(server.url)
    await until(lambda: server.is_followed)
    await tab.page.click("tr[data-symbol=AAPL] .c-last")
    (connection,) = server.connections
    await until(lambda: connection.mode("trades", "AAPL") == "all")
    server.trade("AAPL", "101.00")
    await tab.becomes(TRADES, ["flat 101.00"])

    await server.stop()
    again = serve(["AAPL"], epoch="second", port=server.port)
    again.trade("AAPL", "55.00", "1")
    await until(lambda: again.connections and again.connections[0].mode("trades", "AAPL") == "all")
    again.trade("AAPL", "56.00", "2")

    await tab.becomes(TRADES, ["flat 56.00"])
    await tab.sees("detail-last", "56.00")
    tab.forgive_lost_connections()


async def test_without_the_chart_library_the_page_says_so_and_works(
    serve: Serve, open_tab: OpenTab, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "_chart_library", lambda: None)
    server = serve(["AAPL"])
    server.trade("AAPL", "100.00")
    tab = await open_tab(server.url)
    await until(lambda: server.is_followed)

    await tab.page.click("tr[data-symbol=AAPL] .c-last")

    await tab.sees("no-chart", "The chart needs the Python package litecharts on the server; all else works without.")
    await tab.sees("detail-last", "100.00")
