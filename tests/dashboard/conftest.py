"""One Chromium for all tests of the page, a tab of its own for each, and servers to open in it."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Playwright, async_playwright
from tornado.ioloop import IOLoop

sys.path.insert(0, str(Path(__file__).parent))  # for fake_server.py, which is no test

from fake_server import FakeServer

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_S = 30
"""How long a state may take to come: nothing waits so long but on a machine with other things to do."""
TELL_VIOLATIONS = """
    addEventListener("securitypolicyviolation", (event) => {
      console.error(`policy: ${event.violatedDirective} forbids ${event.blockedURI} in ${event.sourceFile}`);
    });
"""


@pytest.fixture(scope="session")
def io_loop() -> Iterator[IOLoop]:
    """Return one loop for all tests of the page, in place of the usual loop for each: a browser belongs to its loop."""
    loop = IOLoop(make_current=False)
    yield loop
    loop.close(all_fds=True)


@pytest.fixture(scope="session")
def browser(io_loop: IOLoop, chromium_path: str | None) -> Iterator[Browser]:
    """Return one Chromium, by Playwright's asynchronous interface."""

    async def start() -> tuple[Playwright, Browser]:
        playwright = await async_playwright().start()
        return playwright, await playwright.chromium.launch(executable_path=chromium_path, args=FLAGS)

    async def stop() -> None:
        await chromium.close()
        await playwright.stop()

    playwright, chromium = io_loop.run_sync(start)
    yield chromium
    io_loop.run_sync(stop)


TEXT_OF = """([what]) => {
    const place = what.lastIndexOf(" ");
    const [symbol, column] = [what.slice(0, place), what.slice(place + 1)];
    const rows = [...document.querySelectorAll("tr[data-symbol]")];
    const found = place < 0
      ? document.getElementById(what)
      : rows.find((row) => row.dataset.symbol === symbol)?.querySelector(`.c-${column}`);
    return found ? found.innerText : null;
}"""


def last(symbol: str) -> str:
    """Return the selector of a symbol's last price."""
    return f"tr[data-symbol='{symbol}'] .c-last"


class Tab:
    """A tab of the browser, and what the page in it complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))

    async def sees(self, what: str, text: str) -> None:
        """Wait until an element has a text: `state-text` is an id, `AAPL last` a symbol's cell."""
        await self.becomes(TEXT_OF, what, text)

    async def flashes(self, symbol: str, how: str | None) -> None:
        """Wait until the last price of a symbol flashes so: `up-0`, `down-1`, …; None: it has not flashed yet."""
        await self.becomes("([what]) => document.querySelector(what)?.dataset.flash ?? null", last(symbol), how)

    async def becomes(self, function: str, *arguments: Any) -> None:
        """Wait until a function of the page, called with a list of all `arguments` but the last, returns the last."""
        *given, expected = arguments
        deadline = time.monotonic() + PATIENCE_S
        while (found := await self.page.evaluate(function, given)) != expected:
            assert time.monotonic() < deadline, f"{given}: {found!r} instead of {expected!r}"
            await asyncio.sleep(0.01)

    async def enter(self, token: str) -> None:
        """Type a token and press Enter, once the page asks for one."""
        await self.becomes("() => document.getElementById('token-dialog').open", True)
        await self.becomes("() => document.activeElement.id", "token")
        await self.page.keyboard.type(token)
        await self.page.keyboard.press("Enter")

    async def attribute(self, selector: str, name: str) -> str | None:
        return await self.page.locator(selector).get_attribute(name)

    async def is_shown(self, selector: str) -> bool:
        return await self.page.locator(selector).is_visible()

    async def symbols(self) -> list[str]:
        """Return the symbols of the rows that exist, from top to bottom."""
        return await self.page.evaluate("[...document.querySelectorAll('tr[data-symbol]')].map(r => r.dataset.symbol)")

    def forgive_lost_connections(self) -> None:
        """Forget what the browser itself says when a server isn't there."""
        self.complaints = [each for each in self.complaints if "WebSocket connection to" not in each]


@pytest.fixture
def open_tab(io_loop: IOLoop, browser: Browser) -> Iterator[Callable[..., Any]]:
    """Return `await open_tab(url, **options of the browser's context)`, which opens the page in a Tab.

    A complaint in the console, of the page or of its security policy, fails the test, unless the test took it away.
    """
    tabs: list[Tab] = []

    async def open_(url: str, **options: Any) -> Tab:
        context = await browser.new_context(**{"viewport": {"width": 1440, "height": 500}, **options})
        await context.add_init_script(TELL_VIOLATIONS)
        tab = Tab(await context.new_page())
        tabs.append(tab)
        await tab.page.goto(url)
        return tab

    async def close() -> None:
        for tab in tabs:
            await tab.page.context.close()

    yield open_
    io_loop.run_sync(close)
    gc.collect()  # an exception that was lost in a task is logged now, and so fails this test
    for tab in tabs:
        assert tab.complaints == []


@pytest.fixture
def serve(io_loop: IOLoop) -> Iterator[Callable[..., FakeServer]]:
    """Return `serve(**options)`, which returns a FakeServer that listens."""
    servers: list[FakeServer] = []

    def start(*arguments: Any, **options: Any) -> FakeServer:
        servers.append(FakeServer(*arguments, **options))
        return servers[-1]

    yield start
    for server in servers:
        io_loop.run_sync(server.stop)
