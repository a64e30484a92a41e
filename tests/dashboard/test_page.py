"""What a person sees: prices as the server has them, flashes, feeds of every sort."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Serve = Callable[..., Any]
OpenTab = Callable[..., Any]
Until = Callable[..., Any]

VALUE = "tr[data-symbol='AAPL'] .c-last .value"
ARROW_AND_ANIMATION = "e => [getComputedStyle(e, '::before').content, getComputedStyle(e).animationName]"

IS_CUT_OFF = """([symbol]) => {
    const cell = document.querySelector(`tr[data-symbol=${symbol}] .c-last`);
    return cell === null || cell.scrollWidth > cell.clientWidth;
}"""
INK = """() => {
    const canvas = document.querySelector("tr[data-symbol=AAPL] canvas");
    const drawn = canvas?.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data ?? [];
    const columns = new Set();
    drawn.forEach((alpha, at) => at % 4 === 3 && alpha > 0 && columns.add(Math.floor(at / 4) % canvas.width));
    return columns.size > canvas?.width / 2;  // a course, and not a single point
}"""
COURSES = """async () => {
    const { Spark } = await import("/static/spark.js");
    const few = new Spark();
    for (const point of [[2000, 2], [9000, 5], [1000, 1], [3500, 4], [3200, 3], [NaN, 7]]) few.push(...point);
    const many = new Spark();
    for (let second = 0; second <= 86_400; second++) many.push(1000 * second, second);
    const times = many.times.subarray(0, many.length);
    return [
      Array.from({ length: few.length }, (_, i) => [few.times[i], few.prices[i]]),
      many.length,
      times.at(-1),
      times.every((time, i) => i === 0 || time > times[i - 1]),
    ];
}"""


async def test_the_first_prices_are_those_of_the_snapshot(serve: Serve, open_tab: OpenTab) -> None:
    server = serve(["AAPL"])
    server.trade("AAPL", "189.31", "300")
    server.trade("AAPL", "190.02", "100")
    server.trade("AAPL", "187.55", "50")
    server.quote("AAPL", "187.54", "187.56")

    tab = await open_tab(server.url)

    shown = {
        "symbol": "AAPL",
        "last": "187.55",
        "change": "−1.76",
        "percent": "−0.93%",
        "bid": "187.54",
        "ask": "187.56",
        "low": "187.55",
        "high": "190.02",
        "volume": "450",
        "vwap": "189.272",  # 85172.5 / 450 = 189.2722…
    }
    for column, text in shown.items():
        await tab.sees(f"AAPL {column}", text)
    await tab.sees("state-text", "Live")
    assert tab.page.url == server.url


async def test_a_price_is_shown_with_every_digit(serve: Serve, open_tab: OpenTab) -> None:
    prices = {
        "TINY": ("0.00141342", "0.00141342", 8),
        "BTC": ("61234.50", "61,234.50", 2),
        "HUGE": ("123456789.12345678", "123,456,789.12345678", 8),  # 1.2e16 at scale 8: more than a double holds
        "OIL": ("-37", "−37", 0),
        "SPREAD": ("-0.0001", "−0.0001", 4),
    }
    server = serve(prices, scale={symbol: scale for symbol, (_, _, scale) in prices.items()})
    for symbol in prices:
        server.trade(symbol, "1")
    tab = await open_tab(server.url)
    await tab.sees("SPREAD last", "1.0000")

    for symbol, (price, _, _) in prices.items():
        server.trade(symbol, price)

    for symbol, (_, shown, _) in prices.items():
        await tab.sees(f"{symbol} last", shown)
        await tab.becomes(IS_CUT_OFF, symbol, False)


async def test_a_new_price_flashes_up_or_down_and_leaves_an_arrow(serve: Serve, open_tab: OpenTab) -> None:
    server = serve(["AAPL", "MSFT"])
    server.trade("AAPL", "100.00")
    server.trade("MSFT", "200.00")
    tab = await open_tab(server.url)
    await tab.sees("AAPL last", "100.00")
    await tab.flashes("AAPL", None)

    server.trade("AAPL", "100.01")
    await tab.flashes("AAPL", "up-0")
    assert await tab.page.locator(VALUE).evaluate(ARROW_AND_ANIMATION) == ['"▲"', "flash-0"]

    server.trade("AAPL", "100.02")
    await tab.flashes("AAPL", "up-1")
    server.trade("AAPL", "100.00")
    await tab.flashes("AAPL", "down-0")
    server.trade("AAPL", "100.00")
    await tab.sees("AAPL volume", "500")
    await tab.flashes("AAPL", "down-0")
    await tab.flashes("MSFT", None)


async def test_nothing_moves_for_those_who_asked_for_stillness(serve: Serve, open_tab: OpenTab) -> None:
    server = serve(["AAPL"])
    server.trade("AAPL", "100.00")
    tab = await open_tab(server.url, reduced_motion="reduce")
    await tab.sees("AAPL last", "100.00")

    server.trade("AAPL", "99.00")

    await tab.sees("AAPL last", "99.00")
    assert await tab.page.locator(VALUE).evaluate(ARROW_AND_ANIMATION) == ['"▼"', "none"]


async def test_a_symbol_is_text_whatever_it_is_called(serve: Serve, open_tab: OpenTab) -> None:
    symbols = ["<img src=x onerror=alert(1)>", "__proto__", "constructor", "Ω/€ 🚀", "a" * 60]
    server = serve(symbols)
    for symbol in symbols:
        server.trade(symbol, "1.50")

    tab = await open_tab(server.url)

    for symbol in symbols:
        await tab.sees(f"{symbol} symbol", symbol)
        await tab.sees(f"{symbol} last", "1.50")
    assert await tab.page.locator("#grid img").count() == 0
    await tab.page.fill("#search", "<b>")
    await tab.sees("empty", "No symbol contains “<b>”.")


async def test_a_feed_without_trades_lives_on_the_middle_of_its_quotes(serve: Serve, open_tab: OpenTab) -> None:
    server = serve(["EURUSD"], kinds=["quotes"], scale=5, time_scale=9)
    server.quote("EURUSD", "1.38684", "1.38691")
    tab = await open_tab(server.url)
    await tab.sees("EURUSD last", "1.386875")

    server.quote("EURUSD", "1.38690", "1.38691")

    await tab.sees("EURUSD last", "1.386905")
    await tab.sees("EURUSD change", "+0.000030")
    await tab.sees("EURUSD low", "1.386875")
    await tab.sees("EURUSD age", "now")
    await tab.sees("EURUSD volume", "—")
    assert "quotes only" in await tab.page.inner_text("#note")


async def test_a_feed_of_bars_lives_on_their_closes(serve: Serve, open_tab: OpenTab) -> None:
    server = serve(["SPY"], kinds=["bars"])
    server.bar("SPY", "130.00", "131.50", "129.50", "131.00")
    tab = await open_tab(server.url)
    await tab.sees("SPY last", "131.00")

    server.bar("SPY", "130.00", "131.50", "128.00", "128.25", "2500")

    await tab.sees("SPY last", "128.25")
    await tab.sees("SPY change", "−1.75")
    await tab.sees("SPY low", "128.00")
    await tab.sees("SPY volume", "2,500")
    await tab.sees("SPY vwap", "—")  # the file tells no notional
    assert "no trades" in await tab.page.inner_text("#note")
    assert {command["kind"] for command in server.commands if command["op"] == "subscribe"} == {"bars"}


async def test_a_replay_shows_its_clock_and_speed_instead_of_ages(serve: Serve, open_tab: OpenTab) -> None:
    start = 1_381_154_400_000_000  # 2013-10-07 14:00:00 UTC
    server = serve(["IBM"], clock={"time": start * 1000, "speed": 10})
    server.trade("IBM", "183.98", at=start)
    tab = await open_tab(server.url)
    await tab.sees("state-text", "Replay × 10")
    await tab.sees("clock", "2013-10-07 14:00:00")

    server.trade("IBM", "184.02", at=start + 61_000_000)

    await tab.sees("clock", "2013-10-07 14:01:01")
    assert not await tab.is_shown("#item-age")
    await tab.sees("IBM age", "—")
    await tab.sees("IBM change", "+0.04")


async def test_what_the_feed_does_is_said_and_announced(serve: Serve, open_tab: OpenTab) -> None:
    server = serve(["AAPL"])
    tab = await open_tab(server.url)
    await tab.sees("state-text", "Live")

    states = {"stalled": "Feed is silent", "failed": "Feed has failed", "ended": "Feed has ended", "live": "Live"}
    for state, text in states.items():
        server.state = state  # which it says behind each `subscribed`, too
        server.say({"type": "status", "state": state, "clock": None})

        await tab.sees("state-text", text)
        assert await tab.page.inner_text("[role=status]") == text


async def test_a_symbol_that_appears_later_is_listed(serve: Serve, open_tab: OpenTab, until: Until) -> None:
    server = serve(["AAPL", "MSFT"])
    tab = await open_tab(server.url)
    await tab.sees("MSFT symbol", "MSFT")
    await until(lambda: server.is_followed)

    server.say({"type": "channel", **server.descriptor("trades", "BA", "conflated", None)[0]})
    server.trade("BA", "69.39")

    await tab.sees("BA last", "69.39")
    assert await tab.symbols() == ["AAPL", "BA", "MSFT"]


async def test_a_feed_that_ends_a_day_shows_the_last_one_until_a_trade_begins_another(
    serve: Serve, open_tab: OpenTab
) -> None:
    day = 86_400_000_000
    start = 1_381_154_400_000_000
    server = serve(["IBM"], clock={"time": start * 1000, "speed": None})
    server.trade("IBM", "180.00", at=start)
    server.trade("IBM", "182.50", at=start + 1)
    tab = await open_tab(server.url)
    await tab.sees("IBM change", "+2.50")
    await tab.sees("state-text", "Replay, full speed")

    server.trade("IBM", "183.00", at=start + day)

    await tab.sees("IBM last", "183.00")
    await tab.sees("IBM change", "0.00")
    await tab.sees("IBM low", "183.00")


async def test_the_course_of_a_price_begins_before_the_page_was_opened(
    serve: Serve, open_tab: OpenTab, until: Until
) -> None:
    server = serve(["AAPL", "MSFT"])
    minute = 60_000_000
    for ago in range(200, 0, -1):
        server.trade("AAPL", f"{100 + ago % 7}.00", at=server.now() - ago * minute)
    tab = await open_tab(server.url)

    await tab.becomes(INK, True)

    recalls = [each for each in server.commands if each.get("interval_s") == 60 and "since" in each]
    assert [each["since"] for each in recalls] == [{"AAPL": 199 - 90}]  # the newest 90 minutes that have ended
    assert {each["interval_ms"] for each in recalls} == {5000}


async def test_points_of_a_course_are_in_order_however_they_come_and_never_too_many(
    serve: Serve, open_tab: OpenTab
) -> None:
    tab = await open_tab(f"{serve().url}empty")

    points, many, last, ordered = await tab.page.evaluate(COURSES)

    assert points == [[1000, 1], [2000, 2], [3500, 4], [9000, 5]]
    assert 48 <= many <= 96
    assert last == 86_400_000
    assert ordered
