"""The table: sorting, filtering, watchlists, columns, rows that exist only in view, keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Serve = Callable[..., Any]
OpenTab = Callable[..., Any]
Until = Callable[..., Any]

SYMBOLS = "() => [...document.querySelectorAll('tr[data-symbol]')].map(r => r.dataset.symbol).join(' ')"
HELPS = "() => document.getElementById('help').open"
TOP = "() => [...document.querySelectorAll('tr[data-symbol]')].slice(0, 2).map(r => r.dataset.symbol)"
SCROLL = """async (frames) => {
    const scroller = document.getElementById("scroller");
    const started = performance.now();
    for (let frame = 1; frame <= frames; frame++) {
      scroller.scrollTop = frame * 20 * 34;
      await new Promise(requestAnimationFrame);
    }
    return (performance.now() - started) / 1000;
}"""
SELECTED = "() => document.querySelector('tr.selected')?.dataset.symbol ?? null"


def market(serve: Serve) -> Any:
    """Return a server of four symbols whose names, prices and changes sort differently."""
    server = serve(["AAPL", "BA", "MSFT", "TSLA"])
    for symbol, opened, last in (
        ("AAPL", "100.00", "101.00"),
        ("BA", "69.00", "60.00"),
        ("MSFT", "500.00", "520.00"),
        ("TSLA", "400.00", "399.00"),
    ):
        server.trade(symbol, opened)
        server.trade(symbol, last)
    return server


async def test_a_click_on_a_heading_sorts_and_another_turns_the_order(serve: Serve, open_tab: OpenTab) -> None:
    server = market(serve)
    tab = await open_tab(server.url)
    await tab.becomes(SYMBOLS, "AAPL BA MSFT TSLA")
    assert await tab.attribute("th.c-symbol[scope=col]", "aria-sort") == "ascending"

    await tab.page.click("th.c-last button")
    await tab.becomes(SYMBOLS, "MSFT TSLA AAPL BA")
    await tab.page.click("th.c-percent button")
    await tab.becomes(SYMBOLS, "MSFT AAPL TSLA BA")
    await tab.page.click("th.c-percent button")
    await tab.becomes(SYMBOLS, "BA TSLA AAPL MSFT")
    assert await tab.attribute("th.c-percent", "aria-sort") == "ascending"
    assert await tab.attribute("th.c-symbol[scope=col]", "aria-sort") == "none"

    server.trade("AAPL", "50.00")

    await tab.becomes(SYMBOLS, "AAPL BA TSLA MSFT")  # -50 %


async def test_typing_filters_and_says_if_nothing_is_left(serve: Serve, open_tab: OpenTab) -> None:
    tab = await open_tab(market(serve).url)
    await tab.becomes(SYMBOLS, "AAPL BA MSFT TSLA")

    await tab.page.keyboard.press("/")
    await tab.page.keyboard.type("a")
    await tab.becomes(SYMBOLS, "AAPL BA TSLA")
    await tab.page.keyboard.type("a, ms")
    await tab.becomes(SYMBOLS, "AAPL MSFT")
    await tab.page.keyboard.type("x")
    await tab.becomes(SYMBOLS, "AAPL")
    await tab.page.fill("#search", "nope")
    await tab.becomes(SYMBOLS, "")
    await tab.sees("empty", "No symbol contains “nope”.")
    await tab.page.keyboard.press("Escape")

    await tab.becomes(SYMBOLS, "AAPL BA MSFT TSLA")


async def test_the_address_is_a_watchlist(serve: Serve, open_tab: OpenTab) -> None:
    server = market(serve)
    tab = await open_tab(f"{server.url}#TSLA,AAPL,XXXX")
    await tab.becomes(SYMBOLS, "AAPL TSLA")
    await tab.sees("watched-count", "3")

    await tab.page.click("tr[data-symbol=AAPL] .star")
    await tab.becomes(SYMBOLS, "TSLA")
    await tab.becomes("() => location.hash", "#TSLA,XXXX")
    await tab.page.click("#all")
    await tab.becomes(SYMBOLS, "AAPL BA MSFT TSLA")
    await tab.becomes("() => location.hash", "")
    await tab.page.click("tr[data-symbol=BA] .star")
    await tab.page.evaluate("location.hash = '#MSFT'")
    await tab.becomes(SYMBOLS, "MSFT")
    await tab.page.goto("about:blank")
    await tab.page.goto(server.url)  # kept in the browser: what was marked last

    await tab.becomes(SYMBOLS, "AAPL BA MSFT TSLA")
    await tab.sees("watched-count", "3")
    assert await tab.attribute("tr[data-symbol=BA] .star", "aria-pressed") == "true"
    assert await tab.attribute("tr[data-symbol=BA] .star", "aria-label") == "Watch BA"


async def test_only_rows_in_view_exist_and_only_they_are_followed(
    serve: Serve, open_tab: OpenTab, until: Until
) -> None:
    symbols = [f"S{number:04}" for number in range(2500)]
    server = serve(symbols)
    for symbol in symbols[::100]:
        server.trade(symbol, "10.00")
    tab = await open_tab(server.url)
    await tab.sees("S0000 last", "10.00")
    await tab.sees("all-count", "2500")
    assert len(await tab.symbols()) < 50
    assert await tab.attribute("#grid", "aria-rowcount") == "2501"

    await tab.page.evaluate("document.getElementById('scroller').scrollTop = 2000 * 34")
    await tab.sees("S2000 last", "10.00")
    assert await tab.attribute("tr[data-symbol=S2000]", "aria-rowindex") == "2002"
    (connection,) = server.connections
    await until(lambda: ("trades", "S2000") in connection.modes)
    assert ("trades", "S0000") not in connection.modes
    assert ("quotes", "*") not in connection.modes
    server.trade("S2000", "11.00")

    await tab.sees("S2000 last", "11.00")
    await tab.page.keyboard.press("End")
    await tab.becomes(SELECTED, "S2499")
    assert await tab.is_shown("tr[data-symbol=S2499]")


async def test_a_large_market_is_sorted_rightly_by_what_only_ticks_tell(
    serve: Serve, open_tab: OpenTab, until: Until
) -> None:
    symbols = [f"S{number:04}" for number in range(300)]
    server = serve(symbols)
    for number, symbol in enumerate(symbols):
        server.trade(symbol, "10.00")
        server.quote(symbol, f"{1 + number}.00", f"{2 + number}.00")
    tab = await open_tab(server.url)
    await tab.sees("all-count", "300")
    (connection,) = server.connections
    await until(lambda: connection.mode("quotes", "S0000"))
    assert connection.mode("quotes", "S0299") is None  # far below what is in view

    await tab.page.click("th.c-bid button")
    await tab.becomes(TOP, ["S0299", "S0298"])
    server.quote("S0001", "999.00", "1000.00")
    await tab.becomes(TOP, ["S0001", "S0299"])
    await tab.page.click("th.c-volume button")
    await tab.becomes("() => document.querySelector('th.c-volume').ariaSort", "descending")

    await until(lambda: ("quotes", "*") not in connection.modes)
    server.trade("S0150", "10.00", "5000")
    await tab.becomes("() => document.querySelector('tr[data-symbol]').dataset.symbol", "S0150")


async def test_scrolling_stays_within_the_commands_that_a_server_takes(
    serve: Serve, open_tab: OpenTab, until: Until
) -> None:
    symbols = [f"S{number:04}" for number in range(2500)]
    server = serve(symbols)
    tab = await open_tab(server.url)
    await tab.sees("all-count", "2500")
    (connection,) = server.connections
    await until(lambda: connection.mode("quotes", "S0000"))
    before = len(server.commands)

    took_s = await tab.page.evaluate(SCROLL, 90)

    await until(lambda: connection.mode("quotes", "S1800"))
    sent = [each for each in server.commands[before:] if each["op"] != "ping"]
    assert len(sent) <= 40 * (took_s + 1)  # of 50 a second


async def test_the_page_can_be_used_with_keys_alone(serve: Serve, open_tab: OpenTab) -> None:
    tab = await open_tab(market(serve).url)
    await tab.becomes(SYMBOLS, "AAPL BA MSFT TSLA")
    press = tab.page.keyboard.press

    await press("ArrowDown")
    await tab.becomes(SELECTED, "AAPL")
    await press("ArrowDown")
    await press("ArrowDown")
    await press("ArrowUp")
    await tab.becomes(SELECTED, "BA")
    await tab.becomes("() => document.activeElement.dataset.symbol ?? null", "BA")
    await press("w")
    await press("l")
    await tab.becomes(SYMBOLS, "BA")
    await press("l")
    await tab.becomes(SYMBOLS, "AAPL BA MSFT TSLA")
    await press("?")
    await tab.becomes(HELPS, True)
    await press("Escape")
    await tab.becomes(HELPS, False)
    await press("Escape")

    await tab.becomes(SELECTED, None)


async def test_columns_are_picked_and_kept_and_else_as_many_as_fit(serve: Serve, open_tab: OpenTab) -> None:
    headings = "() => [...document.querySelectorAll('thead button')].map(b => b.textContent).join(' ')"
    server = market(serve)
    tab = await open_tab(server.url, viewport={"width": 390, "height": 844})
    await tab.becomes(headings, "Symbol Last Chg % Trend")
    await tab.becomes("() => document.documentElement.scrollWidth <= innerWidth", True)

    await tab.page.set_viewport_size({"width": 1440, "height": 900})
    everything = "Symbol Last Change Chg % Bid Ask Low Range High Volume VWAP Trend Age"
    await tab.becomes(headings, everything)
    await tab.page.click("#columns-button")
    for name in ("vwap", "range", "bid", "ask", "trend"):
        await tab.page.click(f"#columns-list input[value={name}]")
    await tab.becomes(headings, "Symbol Last Change Chg % Low High Volume Age")
    await tab.page.reload()
    await tab.becomes(headings, "Symbol Last Change Chg % Low High Volume Age")
    await tab.page.click("#columns-button")
    await tab.page.click("#columns-reset")

    await tab.becomes(headings, everything)


async def test_the_table_is_one_for_a_screen_reader(serve: Serve, open_tab: OpenTab) -> None:
    tab = await open_tab(market(serve).url)
    await tab.sees("AAPL last", "101.00")

    tree = await tab.page.locator("#grid").aria_snapshot()

    assert 'table "Prices"' in tree
    assert 'columnheader "Last"' in tree
    assert 'rowheader "Watch AAPL' in tree
    assert 'cell "101.00"' in tree
