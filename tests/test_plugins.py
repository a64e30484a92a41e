"""Feeds found by entry point and by path, and what is said when they aren't."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from feeds.simulated import SimulatedFeed
from ticker import plugins
from ticker.plugins import Installed, PluginError

WriteModule = Callable[[str, str], None]

A_FEED = '''
from ticker.feed import Feed

class Nothing(Feed):
    """Says nothing, but in style."""

    class Inner(Feed):
        pass

number = 7
'''


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteModule:
    """Return `write(name, text)`, which makes a module in a directory that is the current one of this test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(name: str, text: str) -> None:
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        for each in (name, name.partition(".")[0]):
            monkeypatch.delitem(sys.modules, each, raising=False)

    return write


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return `install(name=value)`, which makes these the only entry points there are."""

    def replace(*pairs: tuple[str, str]) -> None:
        entries = [EntryPoint(name, value, plugins.GROUP) for name, value in pairs]
        monkeypatch.setattr(importlib.metadata, "entry_points", EntryPoints(entries).select)

    return replace


def refusal(name: str) -> str:
    with pytest.raises(PluginError) as error:
        plugins.load(name)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_built_in_feed_is_found_by_its_name() -> None:
    assert plugins.load("simulated") is SimulatedFeed


def test_the_built_in_feeds_are_installed_as_a_strangers_would_be() -> None:
    assert {"simulated", "csv"} <= set(plugins.names())
    assert Installed("simulated", SimulatedFeed.summary) in plugins.installed()


def test_an_unknown_name_gets_a_guess_and_the_list() -> None:
    assert refusal("simulted") == (
        "feed 'simulted' is unknown: did you mean simulated? "
        f"There are {', '.join(plugins.names())}, and yours as package.module:Class"
    )
    assert "did you mean" not in refusal("quux")


def test_a_feed_is_found_by_its_path_from_the_current_directory(write_module: WriteModule) -> None:
    write_module("venues.nothing", A_FEED)

    feed = plugins.load("venues.nothing:Nothing")

    assert (feed.name, feed.summary) == ("nothing", "Says nothing, but in style.")
    assert plugins.load("venues.nothing:Nothing.Inner").__qualname__ == "Nothing.Inner"


@pytest.mark.parametrize("path", ["nothing:", ":Nothing", "not/hing.py:Nothing", "nothing:Nothing:Nothing", "a-b:C"])
def test_a_path_of_another_shape_is_told_the_right_one(path: str) -> None:
    assert "expected package.module:Class, such as" in refusal(path)


def test_a_module_that_is_not_there_is_told_from_one_that_it_needs(write_module: WriteModule) -> None:
    write_module("needy", "import not_there_either")

    assert refusal("not_there:Feed") == (
        "feed 'not_there:Feed': there is no module 'not_there', neither installed nor in the current directory"
    )
    assert refusal("needy.more:Feed").startswith("feed 'needy.more:Feed': it needs the module 'not_there_either'")
    assert refusal("needy:Feed") == (
        "feed 'needy:Feed': it needs the module 'not_there_either', which is not installed"
    )


def test_an_error_inside_the_module_is_told_with_its_place(write_module: WriteModule) -> None:
    write_module("broken", "one = 1\ntwo = 1 / 0\n")

    message = refusal("broken:Feed")

    assert message.startswith("feed 'broken:Feed' cannot be imported: ZeroDivisionError: division by zero (")
    assert message.endswith("broken.py, line 2)")


def test_an_error_of_syntax_is_told_with_its_place(write_module: WriteModule) -> None:
    write_module("unfinished", "def run(:\n")

    assert "SyntaxError: invalid syntax (unfinished.py, line 1)" in refusal("unfinished:Feed")


def test_a_class_that_is_not_in_the_module_is_missed_by_name(write_module: WriteModule) -> None:
    write_module("nothing", A_FEED)

    assert refusal("nothing:Something") == "feed 'nothing:Something': module 'nothing' has no attribute 'Something'"


@pytest.mark.parametrize("thing", ["number", "Feed.run"])
def test_what_is_no_feed_is_refused(thing: str, write_module: WriteModule) -> None:
    write_module("nothing", A_FEED)

    assert f"{thing} is no feed; expected a subclass of ticker.feed.Feed" in refusal(f"nothing:{thing}")


def test_a_broken_feed_is_listed_with_its_error_and_disturbs_no_other(
    install: Callable[..., None], write_module: WriteModule
) -> None:
    write_module("good", A_FEED)
    write_module("bad", "1 / 0")
    sys.path.insert(0, str(Path.cwd()))
    install(("good", "good:Nothing"), ("bad", "bad:Feed"), ("gone", "not_there:Feed"))

    bad, gone, good = plugins.installed()

    assert good == Installed("good", "Says nothing, but in style.")
    assert bad.error is not None
    assert bad.error.startswith("feed 'bad' cannot be imported: ZeroDivisionError")
    assert gone.error is not None
    assert gone.error.startswith("feed 'gone': there is no module 'not_there'")


def test_two_feeds_of_one_name_are_told_apart_by_path(install: Callable[..., None]) -> None:
    install(("same", "b:Feed"), ("same", "a:Feed"), ("same", "a:Feed"))

    assert refusal("same") == "feed 'same' is installed more than once: name a:Feed or b:Feed instead"
    assert [feed.name for feed in plugins.installed()] == ["same"]
