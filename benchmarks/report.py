"""Writes the table of benchmarks/README.md and the chart, from what is in results/.

python benchmarks/report.py
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from contenders import LIBRARIES, LIMIT
from figures import PUBLISHED, number
from harness import HERE, median

ORDER = ("send", "fanout", "latency", "memory", "connections", "wire", "encoding", "replay", "stalled", "soak")
TRIALS = ("order", "cut", "kill", "herd", "trickle", "churn", "fuzz", "bombs")
"""The trials of soak/, whose results are soak_NAME.json."""
README = HERE / "README.md"
BEGIN, END = "<!-- table -->", "<!-- /table -->"
BEGIN_SOAK, END_SOAK = "<!-- soak -->", "<!-- /soak -->"
CLOSE = 0.03
"""A peer that is ahead by less than this share is level with us: rounds differ by more."""


def results(names: Iterable[str] = ORDER) -> list[dict[str, Any]]:
    """Return what the benchmarks have written, in the table's order."""
    paths = [PUBLISHED / f"{name}.json" for name in names]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def table(all_results: Sequence[dict[str, Any]]) -> str:
    """Return the table as Markdown, and below it what it was measured on and what was void."""
    lines = [
        "| | What | Must | Aim | Measured, median (spread) | Where we stand | In the same run |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in all_results:
        lines += [_row(figure) for figure in result["figures"]]
    return "\n".join([*lines, "", *_notes(all_results)])


def trials(all_results: Sequence[dict[str, Any]]) -> str:
    """Return the table of the trials as Markdown."""
    lines = ["| | Trial | To show | Measured | Script | On |", "| --- | --- | --- | --- | --- | --- |"]
    for result in all_results:
        name = result["benchmark"].removeprefix("soak_")
        script, when = f"[soak/{name}.py](soak/{name}.py)", f"{result['when'][:10]}, {result['machine']['commit']}"
        lines += [_trial_row(figure, script, when) for figure in result["figures"]]
    return "\n".join(lines)


def _trial_row(figure: dict[str, Any], script: str, when: str) -> str:
    must = "" if figure["must"] is None else f"at most {number(figure['must'])}"
    value = "not measured"
    if figure["value"] is not None:
        low, high = number(figure["low"]), number(figure["high"])
        value = f"**{number(figure['value'])}** {figure['unit']}".strip() + (
            f" ({low} to {high})" if low != high else ""
        )
    missed = " **not reached**" if figure["reaches"] == "nothing" else ""
    return f"| {figure['key']} | {figure['what']} | {must} | {value}{missed} | {script} | {when} |"


def _row(figure: dict[str, Any]) -> str:
    bounds = " | ".join("" if figure[bound] is None else number(figure[bound]) for bound in ("must", "aim"))
    if figure["value"] is None:
        return f"| {figure['key']} | {figure['what']} | {bounds} | not measured | | |"
    value = f"**{number(figure['value'])}** {figure['unit']} ({number(figure['low'])} to {number(figure['high'])})"
    others = ", ".join(f"{name} {number(median(values))}" for name, values in figure["others"].items() if values)
    note = f"{others}. {figure['note']}".strip(". ") if figure["note"] else others
    return f"| {figure['key']} | {figure['what']} | {bounds} | {value} | {_standing(figure)} | {note} |"


def _standing(figure: dict[str, Any]) -> str:
    """Say which bound is reached, and which peers are ahead."""
    reached = {"aim": "aim reached", "must": "must reached", "nothing": "**behind the must**"}
    said = [reached[figure["reaches"]]] if figure["reaches"] else []
    sign = 1 if figure["more_is_better"] else -1
    libraries = {peer.name for peer in LIBRARIES}
    ahead = [
        name
        for name, values in figure["others"].items()
        if values and name in libraries and sign * (median(values) - figure["value"]) > CLOSE * abs(figure["value"])
    ]
    if ahead:
        said.append(f"behind {', '.join(ahead)}")
    return "; ".join(said)


def _notes(all_results: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not all_results:
        return
    commits = sorted({result["machine"]["commit"] for result in all_results})
    newest = max(all_results, key=lambda result: result["when"])
    what = newest["machine"]
    rounds = sorted({result["settings"]["rounds"] for result in all_results})
    yield (
        f"Measured {newest['when'][:10]} at commit {', '.join(commits)} on {what['cpu']}, {what['cores']} cores, Linux "
        f"{what['kernel']}, Python {what['python']}, numpy {what['numpy']}; {' or '.join(map(str, rounds))} rounds."
    )
    versions = {name: version for result in all_results for name, version in result.get("peers", {}).items()}
    if versions:
        yield "Peers: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."
    void = [f"{result['benchmark']}: {each}" for result in all_results for each in result["void"]]
    yield f"Rounds that were void: {'; '.join(void) if void else 'none'}."


def rewrite() -> None:
    """Put the tables between the markers of the README."""
    page = _replaced(README.read_text(), BEGIN, END, table(results()))
    soak = trials(results(f"soak_{name}" for name in TRIALS))
    README.write_text(_replaced(page, BEGIN_SOAK, END_SOAK, soak))


def _replaced(page: str, begin: str, end: str, text: str) -> str:
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}" if rest else page


class Bar(NamedTuple):
    """A bar of the chart: a length, and its class in the style sheet."""

    value: float
    style: str


LEFT, WIDTH, ROW, THICK = 190, 880, 46, 15
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 }
.small { font-size: 12px; fill: #57606a }
.name { font-weight: 600 }
.ours { fill: #0969da }
.joined { fill: #8c959f }
.tick { fill: #d0d7de }
.limit { stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 4 3 }
"""
LEGEND = (
    ("ours", "Tickercast: the whole server"),
    ("joined", "sending alone, our bytes, one message a flush"),
    ("tick", "sending alone, one message a tick"),
)
PANELS = (
    ("b 20000", "1,000 clients, 20 of 500 symbols each; 20,000 ticks a second in"),
    ("c 20000", "1,000 clients, the same 100 symbols; 20,000 ticks a second in"),
)


def chart(fanout: dict[str, Any]) -> str:
    """Return the chart: rows delivered per CPU second, ours beside each peer in both of its ways."""
    body = [_text(20, 30, "Rows delivered per CPU second of the server, millions", "title")]
    x = 20.0
    for style, words in LEGEND:
        body += [_rect(x, 44, 12, 12, style), _text(x + 18, 54, words, "small")]
        x += 40 + 6.4 * len(words)
    y = 90
    for case, title in PANELS:
        part, y = _panel(fanout["measured"], case, title, y)
        body += part
    size = f'viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    title = "<title>Rows delivered per CPU second</title>"
    paper = f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>'
    return "\n".join([head, title, f"<style>{STYLE}</style>", paper, *body, "</svg>\n"])


def _panel(measured: dict[str, list[dict[str, Any]]], case: str, title: str, y: int) -> tuple[list[str], int]:
    """Return the bars of a case from `y` on, and where they end."""

    def middle(name: str) -> float | None:
        values = [each[case] for each in measured.get(name, []) if case in each]
        return median(values) if values else None

    key = case[0]
    ours, limit = middle(f"ours, {case}"), middle(f"{LIMIT.name}, {key}, joined")
    rows = [("Tickercast", [Bar(ours, "ours")])] if ours else []
    for peer in LIBRARIES:
        ways = ((mode, middle(f"{peer.name}, {key}, {mode}")) for mode in ("joined", "tick"))
        if bars := [Bar(value, mode) for mode, value in ways if value]:
            rows.append((peer.name, bars))
    longest = max([bar.value for _, bars in rows for bar in bars] + [limit or 0.0])
    scale = (WIDTH - LEFT - 70) / longest if longest else 0.0
    out = [_text(20, y, title)]
    top = y = y + 14
    for name, bars in rows:
        out.append(_text(LEFT - 10, y + THICK + 3, name, "name" if name == "Tickercast" else "", "end"))
        at = y + (ROW - THICK * len(bars)) / 2 - 5
        for bar in bars:
            length = max(1.0, bar.value * scale)
            out += [
                _rect(LEFT, at, length, THICK - 2, bar.style),
                _text(LEFT + length + 6, at + THICK - 4, number(bar.value), "small"),
            ]
            at += THICK
        y += ROW
    if limit:
        x = LEFT + limit * scale
        out.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{y}"/>')
        out.append(_text(x, top - 4, f"{LIMIT.name}: {number(limit)}", "small", "end"))
    return out, y + 30


def _rect(x: float, y: float, width: float, height: float, style: str) -> str:
    return f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2"/>'


def _text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'


def main() -> None:
    rewrite()
    fanout = PUBLISHED / "fanout.json"
    if fanout.exists():
        (PUBLISHED / "fanout.svg").write_text(chart(json.loads(fanout.read_text())))


if __name__ == "__main__":
    main()
