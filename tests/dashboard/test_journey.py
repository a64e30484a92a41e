"""The page and the real server together."""

from __future__ import annotations

import signal
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

OpenTab = Callable[..., Any]
StartServer = Callable[..., Any]

FILLED = """() => {
    const prices = [...document.querySelectorAll("td.c-last")];
    return prices.length > 10 && prices.every((price) => /[0-9]/.test(price.textContent));
}"""
STATE = "() => document.getElementById('state').dataset.state"
SYMBOLS_WITH_PRICES = """() => [...document.querySelectorAll("tr[data-symbol]")]
    .filter((row) => /[0-9]/.test(row.querySelector(".c-last").textContent)).map((row) => row.dataset.symbol).join()"""
FITS = (
    "() => document.documentElement.scrollWidth <= innerWidth && document.documentElement.scrollHeight <= innerHeight"
)


async def test_the_page_shows_what_the_server_knows_and_outlives_it(
    start_server: StartServer, open_tab: OpenTab
) -> None:
    server = start_server("--feed", "simulated", "--symbols", "AAPL,MSFT", "--rate", "50")
    tab = await open_tab(server.url)
    await tab.becomes("() => /^[0-9]+\\.[0-9]{2}$/.test(document.querySelector('td.c-last')?.innerText)", True)
    await tab.becomes("() => document.getElementById('complete').dataset.state", "complete")
    await tab.page.evaluate("window.isTheSamePage = true")

    server.stop()
    await tab.becomes(STATE, "waiting")
    again = start_server(
        "--feed", "simulated", "--symbols", "IBM,KO", "--rate", "50", "--port", str(urlsplit(server.url).port)
    )

    await tab.becomes(STATE, "live")
    await tab.becomes(
        "() => [...document.querySelectorAll('tr[data-symbol]')].map(r => r.dataset.symbol).join()", "IBM,KO"
    )
    await tab.becomes("() => document.getElementById('complete').dataset.state", "complete")
    assert await tab.page.evaluate("window.isTheSamePage")
    assert again.url == server.url
    tab.forgive_lost_connections()


async def test_a_replay_ends_with_the_figures_of_its_file(
    start_server: StartServer, open_tab: OpenTab, tmp_path: Path
) -> None:
    file = tmp_path / "trades.csv"
    rows = [
        "2024-08-08T10:00:00Z,BTC,0.00141342,2",
        "2024-08-08T10:00:01Z,BTC,0.00142,1.5",
        "2024-08-08T10:00:02Z,BTC,0.0014,1",
    ]
    file.write_text("\n".join(["time,symbol,price,size", *rows]) + "\n")
    server = start_server("--feed", "csv", str(file), "--speed", "max", "--wait-for", "0")

    tab = await open_tab(server.url)

    await tab.sees("state-text", "Replay has ended")
    shown = {"last": "0.00140000", "low": "0.00140000", "high": "0.00142000", "change": "−0.00001342", "volume": "4.5"}
    for column, text in shown.items():
        await tab.sees(f"BTC {column}", text)
    await tab.sees("clock", "2024-08-08 10:00:02")


async def test_a_token_opens_its_symbols_until_it_is_taken_away(
    start_server: StartServer, open_tab: OpenTab, tmp_path: Path
) -> None:
    tokens = {"some": "some-" + "s" * 40, "every": "every-" + "e" * 40}
    entries = {
        name: f'[[token]]\nname = "{name}"\nsha256 = "{sha256(token.encode()).hexdigest()}"\n'
        for name, token in tokens.items()
    }
    file = tmp_path / "tokens.toml"
    file.write_text(f'{entries["some"]}symbols = ["AA*"]\n{entries["every"]}')
    feed = ("--feed", "simulated", "--symbols", "AAPL,MSFT", "--rate", "50")
    server = start_server(*feed, "--token-file", str(file))
    tab = await open_tab(f"{server.url}#AAPL,MSFT")

    await tab.enter(tokens["some"])
    await tab.sees("note", "Not for this token: MSFT.")
    await tab.becomes(SYMBOLS_WITH_PRICES, "AAPL")
    file.write_text(entries["every"])
    server.process.send_signal(signal.SIGHUP)
    await tab.sees("token-reason", "The token has expired, or is no longer valid.")
    await tab.enter("not-" + tokens["every"])
    await tab.sees("token-reason", "The server refused this token.")
    await tab.enter(tokens["every"])

    await tab.becomes(SYMBOLS_WITH_PRICES, "AAPL,MSFT")
    await tab.becomes(STATE, "live")
    await tab.becomes("() => document.getElementById('complete').dataset.state", "complete")


@pytest.mark.parametrize("scheme", ["dark", "light"])
async def test_the_page_fits_a_desk_and_a_hand(scheme: str, start_server: StartServer, open_tab: OpenTab) -> None:
    server = start_server("--feed", "simulated", "--rate", "2000")
    tab = await open_tab(server.url, color_scheme=scheme)
    await tab.page.evaluate("localStorage.setItem('tickercast.interval', '1')")  # many candles soon
    pictures = Path("build/screenshots")
    pictures.mkdir(parents=True, exist_ok=True)

    for width, height in ((1440, 900), (390, 844)):
        await tab.page.set_viewport_size({"width": width, "height": height})
        await tab.becomes(FILLED, True)
        await tab.becomes("() => document.getElementById('complete').dataset.state", "complete")
        await tab.becomes(FITS, True)
        await picture(tab, pictures / f"{scheme}-{width}.png")
        await tab.page.click("td.c-last")
        await tab.becomes(
            "() => /[4-9] candles|[0-9]{2} candles/.test(document.getElementById('chart').ariaLabel)", True
        )
        await tab.becomes("() => document.querySelectorAll('#trades tr').length > 5", True)
        await tab.becomes(FITS, True)
        await picture(tab, pictures / f"{scheme}-{width}-chart.png")
        await tab.page.keyboard.press("Escape")
        await tab.becomes("() => document.getElementById('detail').hidden", True)


async def picture(tab: Any, path: Path) -> None:
    """Take a picture for people to look at."""
    await tab.page.screenshot(path=path)
    assert path.stat().st_size > 20_000
