"""The page: its files, and the headers they are served with. An ordinary client of the public protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files as resources
from pathlib import Path, PurePath

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    # The stream too: 'self' means this host and port in ws: and wss: as well.
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    # No text becomes markup or code, whatever a symbol is called, not even by a mistake of ours.
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every file, besides its Content-Type and Cache-Control."""


@dataclass(frozen=True, slots=True)
class File:
    """What is sent for one path."""

    body: bytes
    content_type: str
    cache_control: str = "no-cache"
    """`no-cache`: the browser keeps it, and asks each time whether its ETag still holds: updates show at once."""


def files() -> dict[str, File]:
    """Read the page's files. Return them by URL path: `/` is the page itself, `/static/…` all that it loads.

    The chart library is among them if it is installed, under a name that changes with it.
    """
    static = resources(__name__) / "static"
    found = {
        f"/static/{entry.name}": File(entry.read_bytes(), CONTENT_TYPES[PurePath(entry.name).suffix])
        for entry in static.iterdir()
        if PurePath(entry.name).suffix in CONTENT_TYPES
    }
    page = found.pop("/static/index.html")
    library = _chart_library()
    if library is not None:
        path = f"/static/chart-{sha256(library).hexdigest()[:16]}.js"
        found[path] = File(library, CONTENT_TYPES[".js"], "public, max-age=31536000, immutable")
        page = replace(page, body=page.body.replace(_NO_LIBRARY, _NO_LIBRARY.replace(b'""', f'"{path}"'.encode())))
    return {"/": page, **dict(sorted(found.items()))}


_NO_LIBRARY = b'<meta name="chart-library" content="">'


def _chart_library() -> bytes | None:
    """Return Lightweight Charts as its vendor made it, out of the package litecharts; None where that is missing."""
    try:
        return Path(str(distribution("litecharts").locate_file("litecharts/js/lightweight-charts.js"))).read_bytes()
    except (PackageNotFoundError, FileNotFoundError):
        return None
