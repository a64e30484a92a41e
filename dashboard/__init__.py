"""The page: its files, and the headers they are served with. An ordinary client of the public protocol."""

from __future__ import annotations

import gzip
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files as resources
from pathlib import Path, PurePath

from dashboard.smaller import smaller

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class File:
    """What is sent for one path."""

    body: bytes
    content_type: str
    cache_control: str = "no-cache"
    """`no-cache`: the browser keeps it, and asks each time whether its ETag still holds: updates show at once."""

    @cached_property
    def gzipped(self) -> bytes:
        """The body for those who accept the encoding gzip."""
        return gzip.compress(self.body, 9, mtime=0)


def files() -> dict[str, File]:
    """Read the page's files. Return them by URL path: `/` is the page itself, `/static/…` all that it loads.

    They come without what only their readers need (see `smaller`). The chart library is among them if it is
    installed, as its vendor made it, under a name that changes with it.
    """
    texts = {
        entry.name: (CONTENT_TYPES[PurePath(entry.name).suffix], entry.read_text("utf-8"))
        for entry in sorted((resources(__name__) / "static").iterdir(), key=lambda entry: entry.name)
        if PurePath(entry.name).suffix in CONTENT_TYPES
    }
    kinds = {name: kind for name, (kind, _) in texts.items()}
    page = texts.pop("index.html")[1]
    found = {f"/static/{name}": File(text.encode(), kinds[name]) for name, text in smaller(texts).items()}
    modules = [path for path in found if path.endswith(".js")]
    page = "\n".join(_each_module(line.strip(), modules) for line in page.splitlines())
    library = _chart_library()
    if library is not None:
        path = f"/static/chart-{sha256(library).hexdigest()[:16]}.js"
        found[path] = File(library, CONTENT_TYPES[".js"], "public, max-age=31536000, immutable")
        page = page.replace(_NO_LIBRARY, _NO_LIBRARY.replace('""', f'"{path}"'))
    return {"/": File(page.encode(), CONTENT_TYPES[".html"]), **found}


def _each_module(line: str, modules: list[str]) -> str:
    """Announce every module where the page has a line for `*.js`: they load side by side, not one behind the other."""
    return "\n".join(line.replace("/static/*.js", path) for path in modules) if "/static/*.js" in line else line


_NO_LIBRARY = '<meta name="chart-library" content="">'


def _chart_library() -> bytes | None:
    """Return Lightweight Charts as its vendor made it, out of the package litecharts; None where that is missing."""
    try:
        return Path(str(distribution("litecharts").locate_file("litecharts/js/lightweight-charts.js"))).read_bytes()
    except (PackageNotFoundError, FileNotFoundError):
        return None


def _style_of_logo(library: bytes | None) -> str:
    """Return the style sheet that the library writes for its logo; an empty text if there is none such."""
    found = re.findall(r'\.innerText="(a#tv-attr-logo\{[^"\\]+)"', (library or b"").decode())
    return found[0] if len(found) == 1 else ""


def _policy() -> str:
    """Return the Content-Security-Policy."""
    style = _style_of_logo(_chart_library())
    hashed = f" 'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" if style else ""
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        # One style sheet is written by a script: that of the chart library's logo, these very characters.
        "style-src": f"'self'{hashed}",
        "img-src": "'self'",
        # The stream too: 'self' means this host and port in ws: and wss: as well.
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        # No text becomes markup or code, whatever a symbol is called, not even by a mistake of ours. The one policy
        # that there may be lets the markup of that logo pass (chart.js).
        "require-trusted-types-for": "'script'",
        "trusted-types": "default" if style else "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in policy.items())


HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _policy(),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every file, besides its Content-Type and Cache-Control."""
