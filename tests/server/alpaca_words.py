"""What Alpaca's streams say, by the vendor's documentation, and a feed to say it of."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rig import AAPL, MSFT, HandFeed
from ticker.feed import Instrument, Replay

MSGPACK, JSON = "application/msgpack", "application/json"
BTC = Instrument("BTC/USD", size_scale=4, asset_class="crypto")
NOTHING = {
    "T": "subscription",
    **{channel: [] for channel in ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds")},
    **{channel: [] for channel in ("imbalances", "corrections", "cancelErrors")},
}
AUTHENTICATED = {"T": "success", "msg": "authenticated"}
codecs = pytest.mark.parametrize("codec", [MSGPACK, JSON])


def error(code: int, text: str) -> dict[str, Any]:
    return {"T": "error", "code": code, "msg": text}


def feed_of(*instruments: Instrument) -> HandFeed:
    """Return a feed whose clock is its own: bars end when it says so."""
    return HandFeed(instruments or (AAPL, MSFT), replay=Replay(1.0))


def subscription(**lists: list[str]) -> dict[str, Any]:
    trades = lists.get("trades", [])
    return {**NOTHING, **lists, "corrections": trades, "cancelErrors": trades}
