"""Finds feeds: by the entry-point group `ticker.feeds`, as the built-in ones are, or as `package.module:Class`."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import os
import sys
import traceback
from typing import NamedTuple

from ticker.feed import Feed

GROUP = "ticker.feeds"


class PluginError(Exception):
    """A feed cannot be had; the message is one line for the person who named it."""


class Installed(NamedTuple):
    """A feed that is installed. `error` tells why it cannot be loaded, None if it can."""

    name: str
    summary: str
    error: str | None = None


def names() -> list[str]:
    """Return the names of all installed feeds, sorted, without loading them."""
    return sorted(importlib.metadata.entry_points(group=GROUP).names)


def installed() -> list[Installed]:
    """Load every installed feed and return what there is; one that is broken disturbs no other."""
    return [_look(name) for name in names()]


def load(name: str) -> type[Feed]:
    """Return the feed class of an installed feed's name or of `package.module:Class`. Raises PluginError.

    In the second form the current directory can be imported from, as `python -m` does it.
    """
    if ":" in name:
        return _load_path(name)
    found = sorted(set(importlib.metadata.entry_points(group=GROUP, name=name)), key=lambda entry: entry.value)
    if not found:
        raise PluginError(_unknown(name))
    if len(found) > 1:
        either = " or ".join(entry.value for entry in found)
        raise PluginError(f"feed {name!r} is installed more than once: name {either} instead")
    return _load_path(found[0].value, f"feed {name!r}")


def _look(name: str) -> Installed:
    try:
        return Installed(name, load(name).summary)
    except PluginError as error:
        return Installed(name, "", str(error))


def _unknown(name: str) -> str:
    known = names()
    close = difflib.get_close_matches(name.lower(), known, 1)
    guess = f"did you mean {close[0]}? " if close else ""
    return f"feed {name!r} is unknown: {guess}There are {', '.join(known)}, and yours as package.module:Class"


def _load_path(path: str, what: str = "") -> type[Feed]:
    module_name, _, attributes = path.partition(":")
    if not what:
        what = f"feed {path!r}"
        if os.getcwd() not in sys.path and "" not in sys.path:
            sys.path.insert(0, os.getcwd())
    if not all(part.isidentifier() for part in f"{module_name}.{attributes}".split(".")):
        raise PluginError(f"{what}: expected package.module:Class, such as my_feeds.kraken:KrakenFeed")
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise PluginError(f"{what}: {_whose_module(error, module_name)}") from error
    except Exception as error:
        raise PluginError(f"{what} cannot be imported: {_in_one_line(error)}") from error
    try:
        found = functools.reduce(getattr, attributes.split("."), found)
    except AttributeError as error:
        raise PluginError(f"{what}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Feed)):
        raise PluginError(f"{what}: {attributes} is no feed; expected a subclass of ticker.feed.Feed")
    return found


def _whose_module(error: ModuleNotFoundError, wanted: str) -> str:
    """Tell a module that isn't there from one that needs another which isn't."""
    if error.name is not None and f"{wanted}.".startswith(f"{error.name}."):
        return f"there is no module {error.name!r}, neither installed nor in the current directory"
    return f"it needs the module {error.name!r}, which is not installed"


def _in_one_line(error: Exception) -> str:
    """Return an error and where it was raised, which is what its author needs without the whole traceback."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames:
        return text
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})"
