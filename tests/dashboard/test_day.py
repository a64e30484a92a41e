"""A page that is left open: the day ends under it, the night cuts it off, and it does not grow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Serve = Callable[..., Any]
OpenTab = Callable[..., Any]
Until = Callable[..., Any]

TRADES = "() => document.querySelectorAll('#trades tr').length"
NEWEST = "() => document.querySelector('#trades .tick')?.textContent ?? null"
ELEMENTS = "() => document.querySelectorAll('*').length"
HOUR_MS = 3_600_000


async def test_a_new_day_begins_with_its_first_trade(serve: Serve, open_tab: OpenTab, until: Until) -> None:
    server = serve(["AAPL", "MSFT"])
    for price in ("100.00", "95.00", "110.00"):
        server.trade("AAPL", price)
    server.trade("MSFT", "200.00")
    server.trade("MSFT", "202.00")
    tab = await open_tab(server.url)
    await tab.sees("AAPL change", "+10.00")
    await tab.sees("AAPL low", "95.00")
    await until(lambda: server.is_followed)

    server.let_pass(hours=12.5)
    await tab.sees("AAPL change", "+10.00")  # nothing has been traded since midnight
    server.trade("AAPL", "120.00", "7")

    for column, text in {"last": "120.00", "change": "0.00", "percent": "0.00%", "low": "120.00"}.items():
        await tab.sees(f"AAPL {column}", text)
    for column, text in {"high": "120.00", "volume": "7", "vwap": "120.000"}.items():
        await tab.sees(f"AAPL {column}", text)
    await tab.sees("MSFT change", "+2.00")
    server.trade("AAPL", "117.00", "3")

    await tab.sees("AAPL change", "−3.00")
    await tab.sees("AAPL low", "117.00")
    await tab.sees("AAPL high", "120.00")
    await tab.sees("AAPL volume", "10")
    await tab.sees("AAPL vwap", "119.100")
    assert server.accepted == 1


async def test_a_page_sleeps_through_a_night_and_is_no_larger_in_the_morning(
    serve: Serve, open_tab: OpenTab, until: Until
) -> None:
    server = serve(["AAPL"])
    server.trade("AAPL", "100.00")
    tab = await open_tab("about:blank")
    await tab.page.clock.install()
    await tab.page.goto(server.url)
    await tab.sees("AAPL last", "100.00")
    await tab.page.click("tr[data-symbol=AAPL] .c-last")
    await tab.page.hover("h1")
    await fill_tape(server, until)
    await tab.becomes(TRADES, 60)
    await tab.page.locator("#tv-attr-logo").wait_for()
    elements = await tab.page.evaluate(ELEMENTS)

    for hour in (4, 8, 12, 16):
        accepted = server.accepted
        server.let_pass(hours=4)
        await tab.page.clock.fast_forward(4 * HOUR_MS)  # a silence that long is a dead connection
        await until(lambda accepted=accepted: server.accepted > accepted)
        await fill_tape(server, until)
        server.trade("AAPL", f"{100 + hour}.00")
        await tab.sees("AAPL last", f"{100 + hour}.00")
        await tab.becomes(NEWEST, f"{100 + hour}.00")

    assert await tab.page.evaluate(TRADES) == 60
    assert await tab.page.evaluate(ELEMENTS) == elements
    await tab.sees("AAPL low", "100.00")
    await tab.sees("AAPL volume", "13,200")  # of two rounds: midnight was before the third
    await tab.page.keyboard.press("Escape")
    await tab.sees("AAPL age", "now")
    await tab.sees("state-text", "Live")
    tab.forgive_lost_connections()


async def fill_tape(server: Any, until: Until) -> None:
    """Trade more than the tape shows, once somebody looks at every trade."""
    await until(lambda: any(each.mode("trades", "AAPL") == "all" for each in server.connections))
    for _ in range(65):
        server.trade("AAPL", "100.00")
