"""The addresses of Alpaca's streams, and their handshake: the codec by Content-Type, credentials by header."""

from __future__ import annotations

import base64
import binascii
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.iostream import IOStream
from tornado.routing import Matcher, PathMatches, Rule
from tornado.websocket import _WebSocketParams

from ticker.protocol.alpaca import CRYPTO, STOCKS, Credentials, Offer
from ticker.protocol.alpaca_codec import AlpacaCodec
from ticker.protocol.alpaca_json import JsonAlpacaCodec
from ticker.protocol.alpaca_msgpack import MsgpackAlpacaCodec
from ticker.server import guard
from ticker.server.connections import Connections
from ticker.server.handshake import HandshakeHandler
from ticker.server.proxies import Proxies, is_loopback
from ticker.stream.alpaca_accounts import Accounts
from ticker.stream.alpaca_session import AlpacaSession, Endpoint, Guest
from ticker.stream.alpaca_subscriptions import Everything
from ticker.stream.market import Market
from ticker.stream.outbox import Outbox

log = logging.getLogger(__name__)

STOCK_FEEDS = ("iex", "sip", "delayed_sip")
TEST_FEED = "test"
DEFAULT_FEED = "iex"
CRYPTO_LOCATIONS = ("us", "us-1", "us-2", "bs-1", "global")
MESSAGE_BYTES = 1 << 20
"""The largest request, or what --max-message-kib says if that is more: some SDKs repeat all of a client's symbols."""


class Streams:
    """What is offered where: the endpoints by feed, and a pair of codecs for each market and asset class."""

    def __init__(
        self, connections: Connections, accounts: Accounts, test: Market, proxies: Proxies | None = None
    ) -> None:
        self._proxies = proxies or Proxies()
        self.accounts = accounts
        self.market = connections.market
        self.connections = connections
        self.params = _WebSocketParams(max_message_size=max(MESSAGE_BYTES, self.market.limits.message_bytes))
        self.endpoints: dict[str, tuple[Endpoint, Mapping[str, AlpacaCodec]]] = {}
        self._offer(STOCKS, self.market, STOCK_FEEDS)
        self._offer(CRYPTO, self.market, [f"crypto/{loc}" for loc in CRYPTO_LOCATIONS])
        self._offer(STOCKS, test, [TEST_FEED])
        self._history = {
            each.asset_class: JsonAlpacaCodec(each.asset_class, self.market.directory) for each in (STOCKS, CRYPTO)
        }
        self._told = False

    def _offer(self, offer: Offer, market: Market, feeds: Sequence[str]) -> None:
        """Offer the same on several feeds, with the same codecs: rows are encoded once for all of them."""
        codecs: dict[str, AlpacaCodec] = {
            "msgpack": MsgpackAlpacaCodec(offer.asset_class, market.directory),
            "json": JsonAlpacaCodec(offer.asset_class, market.directory),
        }
        everything = Everything(market.directory, offer.asset_class)
        for feed in feeds:
            self.endpoints[feed] = (Endpoint(feed, market, offer, everything), codecs)

    def routes(self) -> list[Rule]:
        """Return the addresses of the streams; `/` is one for those only who ask for a WebSocket."""
        feeds = "|".join((*STOCK_FEEDS, TEST_FEED))
        locations = "|".join(map(re.escape, CRYPTO_LOCATIONS))
        arguments = {"streams": self}
        return [
            Rule(PathMatches(rf"/(?:v2/)?(?P<feed>{feeds})"), AlpacaHandler, arguments),
            Rule(PathMatches(rf"/v1beta3/(?P<feed>crypto/(?:{locations}))"), AlpacaHandler, arguments),
            Rule(_UpgradeOfRoot(), AlpacaHandler, arguments),
        ]

    def codec_of_history(self, offer: Offer) -> JsonAlpacaCodec:
        """Return what writes the rows of an asset class in answers to requests for history."""
        return self._history[offer.asset_class]

    def guest(self, request: HTTPServerRequest) -> Guest:
        """Return who asks."""
        peer = str(request.remote_ip)
        guest = Guest(peer, self._proxies.is_local(request), credentials_of(request.headers))
        if self.accounts.is_open and not self.accounts.lets_in(guest.is_local) and not self._told:
            self._told = True
            by_proxy = is_loopback(peer)  # its headers say so
            whose = "that come by a proxy, as one from" if by_proxy else "of other machines, such as"
            log.warning("Alpaca clients %s %s, need credentials: set --alpaca-key", whose, peer)
        return guest


class AlpacaHandler(HandshakeHandler):
    """Shakes hands with a client of an Alpaca stream."""

    def initialize(self, streams: Streams) -> None:
        self._streams = streams

    async def get(self, feed: str = DEFAULT_FEED) -> None:
        refusal = guard.token_in_url(self._streams.market, self.request)
        if refusal is not None:
            self.refuse(refusal.status, refusal.message)
            return
        if self._streams.accounts.are_too_many(str(self.request.remote_ip)):
            self._streams.market.counts.refusals["strangers"] += 1
            self.refuse(429, "too many connections that have yet to authenticate")
            return
        self._feed = feed
        await super().get(feed)

    def hand_over(self, stream: IOStream) -> None:
        streams = self._streams
        endpoint, codecs = streams.endpoints[self._feed]
        codec, guest = codecs[format_of(self.request.headers)], streams.guest(self.request)

        def session(outbox: Outbox, now_s: float) -> AlpacaSession:
            return AlpacaSession(endpoint, codec, outbox, streams.accounts, guest, now_s)

        streams.connections.admit(stream, session, guest.peer, streams.params)


class _UpgradeOfRoot(Matcher):
    """Matches `/` for those who ask for a WebSocket: others get the page."""

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        asks = request.headers.get("Upgrade", "").lower() == "websocket"
        return {} if asks and request.path == "/" else None


def format_of(headers: HTTPHeaders) -> str:
    """Return how a client wants to be spoken to: by its Content-Type, whatever frames it sends."""
    content_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return "msgpack" if content_type == "application/msgpack" else "json"


def credentials_of(headers: HTTPHeaders) -> Credentials | None:
    """Return what the headers of a request say about who asks; None if nothing."""
    key = headers.get("APCA-API-KEY-ID")
    if key is not None:
        return Credentials.of(key, headers.get("APCA-API-SECRET-KEY", ""))
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return Credentials.of("oauth", value.strip())
    if scheme.lower() == "basic":
        try:
            key, _, secret = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return Credentials("", "")
        return Credentials.of(key, secret)
    return None
