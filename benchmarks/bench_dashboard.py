"""Does the page stay fluent, and does it stay small?

Opens it in headless Chromium, served by a real server, and prints

- its frame rate with 500 symbols that each have 10 updates a second, against an empty page's in the same browser just
  before and after, and how long a frame's scripting takes;
- how long 5,000 symbols take from the navigation to a painted table;
- the JavaScript heap after the ticks of 30 minutes (500 symbols, 10 a second each), sent faster, against that after
  those of 3.

Every number is of this machine, on which browser and server share the cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median, quantiles
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VIEWPORT = {"width": 1440, "height": 900}
COUNT_FRAMES = """(seconds) => new Promise((resolve) => {
    let frames = 0;
    const start = performance.now();
    const step = (now) => {
      if (now - start > 1000 * seconds) return resolve((1000 * frames) / (now - start));
      frames++;
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
})"""
EMPTY_PAGE = "<!doctype html><title>empty</title>"
ROWS_READ = "Number(document.getElementById('complete-text').textContent.split(' ')[0].replaceAll(',', '')) || 0"
FILLED = """() => {
    const prices = [...document.querySelectorAll("td.c-last")];
    return prices.length > 20 && prices.every((price) => /[0-9]/.test(price.textContent));
}"""


@contextmanager
def server(*options: str) -> Iterator[str]:
    """Run a server of simulated symbols; yield its address."""
    command = [sys.executable, "-m", "ticker", "--feed", "simulated", "--port", "0", "--seed", "1", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().removeprefix("listening on ").strip()
    finally:
        process.terminate()
        process.wait()


async def open_page(browser: Browser, url: str, **kept: Any) -> Page:
    """Open the page in a fresh context whose storage has `kept`."""
    context = await browser.new_context(viewport=VIEWPORT)
    for name, value in kept.items():
        await context.add_init_script(f"localStorage.setItem('tickercast.{name}', {json.dumps(json.dumps(value))})")
    page = await context.new_page()
    await page.goto(url)
    return page


async def until(page: Page, function: str) -> None:
    while not await page.evaluate(function):
        await asyncio.sleep(0.02)


async def empty_rate(browser: Browser, seconds: float) -> float:
    context = await browser.new_context(viewport=VIEWPORT)
    page = await context.new_page()
    await page.set_content(EMPTY_PAGE)
    rate: float = await page.evaluate(COUNT_FRAMES, seconds)
    await context.close()
    return rate


def scripting_per_frame(trace: bytes) -> list[float]:
    """Return, by frame, the milliseconds that the busiest thread's functions had of the processor."""
    events = [each for each in json.loads(trace)["traceEvents"] if "dur" in each]
    calls = [each for each in events if each["name"] == "FunctionCall"]
    thread, _ = Counter((each["pid"], each["tid"]) for each in calls).most_common(1)[0]
    mine = sorted((each for each in events if (each["pid"], each["tid"]) == thread), key=lambda each: each["ts"])
    spent, inside_until = [0.0], 0
    for event in mine:
        if event["name"] == "PrePaint":  # once a frame
            spent.append(0.0)
        elif event["name"] == "FunctionCall" and event["ts"] >= inside_until:
            spent[-1] += event["tdur"] / 1000
            inside_until = event["ts"] + event["dur"]
    return spent[1:-1]


async def fluency(browser: Browser, seconds: float) -> None:
    # Twice as many trades as there are updates, so that nearly every symbol has one in nearly every interval.
    with server("--symbols", "500", "--rate", "20000") as url:
        page = await open_page(browser, url, rate=1)
        await until(page, FILLED)
        await asyncio.sleep(2)
        ratios = []
        for _ in range(3):
            before = await empty_rate(browser, seconds / 3)
            await page.bring_to_front()
            rows = await page.evaluate(ROWS_READ)
            started = time.monotonic()
            rate = await page.evaluate(COUNT_FRAMES, seconds / 3)
            read = (await page.evaluate(ROWS_READ) - rows) / (time.monotonic() - started)
            after = await empty_rate(browser, seconds / 3)
            ratios.append(rate / ((before + after) / 2))
            print(
                f"  {rate:5.1f} frames/s, empty page {before:5.1f} and {after:5.1f}: {ratios[-1]:.3f}; "
                f"{read:,.0f} rows/s counted"
            )
        print(
            f"500 symbols, 10 updates/s each: {median(ratios):.3f} of an empty page's frame rate (spread "
            f"{min(ratios):.3f} to {max(ratios):.3f})"
        )
        await page.bring_to_front()
        await browser.start_tracing(
            page=page, categories=["devtools.timeline", "disabled-by-default-devtools.timeline"]
        )
        await page.evaluate(COUNT_FRAMES, seconds / 2)
        spent = scripting_per_frame(await browser.stop_tracing())
        print(
            f"scripting a frame: median {median(spent):.2f} ms, p95 {quantiles(spent, n=20)[-1]:.2f} ms, "
            f"{len(spent)} frames"
        )
        await page.context.close()


async def first_paint(browser: Browser, tries: int) -> None:
    with server("--symbols", "5000", "--rate", "20000") as url:
        await asyncio.sleep(3)  # let every symbol have traded
        took = []
        for _ in range(tries):
            page = await open_page(browser, url)
            await until(page, FILLED)
            # The next frame is the one in which what is there now has been painted.
            took.append(
                await page.evaluate("new Promise((done) => requestAnimationFrame(() => done(performance.now())))")
            )
            await page.context.close()
    print(f"5,000 symbols: first full paint after {median(took):.0f} ms (spread {min(took):.0f} to {max(took):.0f})")


async def heap(browser: Browser, ticks_per_minute: int) -> None:
    # 100 symbols, which the page follows all of, with the ticks of 500.
    with server("--symbols", "100", "--rate", "40000", "--history-mib", "64", "--bars-mib", "32") as url:
        page = await open_page(browser, url, every=True)
        session = await page.context.new_cdp_session(page)
        await session.send("Performance.enable")
        used = {}
        for minutes in (3, 30):
            while await page.evaluate(ROWS_READ) < minutes * ticks_per_minute:
                await asyncio.sleep(0.5)
            await session.send("HeapProfiler.collectGarbage")
            metrics = (await session.send("Performance.getMetrics"))["metrics"]
            used[minutes] = next(each["value"] for each in metrics if each["name"] == "JSHeapUsedSize") / 2**20
        await page.context.close()
    print(
        f"heap after the ticks of 3 minutes {used[3]:.1f} MiB, "
        f"of 30 minutes {used[30]:.1f} MiB: {used[30] / used[3]:.2f}"
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15, help="how long frames are counted (default 15)")
    parser.add_argument("--only", choices=("fluency", "paint", "heap"))
    options = parser.parse_args()
    path = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "google-chrome-stable"))), None)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        print(f"Chromium {browser.version}")
        if options.only in (None, "fluency"):
            await fluency(browser, options.seconds)
        if options.only in (None, "paint"):
            await first_paint(browser, 5)
        if options.only in (None, "heap"):
            await heap(browser, 500 * 10 * 60)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
