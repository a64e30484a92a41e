"""What can go wrong for a reader of the stream, one class for each thing to understand."""

from __future__ import annotations

from collections.abc import Mapping

from ticker.columns import Batch
from ticker.model import Channel, Position


class ClientError(Exception):
    """The base of all errors that this library raises."""


class ConnectionFailed(ClientError):
    """No connection to the server: at the first attempt, or after trying again for `patience_s`."""


class ConnectionClosed(ClientError):
    """The server ended the connection in a way that trying again would not mend. `code` is the WebSocket close code."""

    def __init__(self, code: int | None, message: str) -> None:
        super().__init__(message)
        self.code = code


class Unauthenticated(ConnectionClosed):
    """The server wants a token, and this one is missing, wrong or expired (close code 4001)."""


class ProtocolError(ClientError):
    """The server sent what the protocol does not allow."""


class CommandRefused(ClientError):
    """The server answered a command with an `error`. `code` is one of section 10 of the protocol."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class SymbolsRefused(ClientError):
    """Some symbols of a subscription cannot be had; the others are subscribed all the same, so iterating may go on.

    `symbols` maps each to `unknown_symbol`, `forbidden` or `limit`.
    """

    def __init__(self, symbols: Mapping[str, str]) -> None:
        named = [f"{symbol} ({code})" for symbol, code in list(symbols.items())[:10]]
        more = f" and {len(symbols) - 10} more" if len(symbols) > 10 else ""
        super().__init__(f"cannot be had: {', '.join(named)}{more}")
        self.symbols = dict(symbols)


class MissedRows(ClientError):
    """Rows of a channel that happened and cannot be had. The subscription lives: iterating may go on.

    `missed` is their number, None where it cannot be known (the server began a new numbering). `position` is the row
    that comes next. `snapshot` is a Batch of one row, the state of the channel before that row as the server tells it;
    None where it tells none, as for a gap in the middle of a connection.
    """

    def __init__(self, channel: Channel, missed: int | None, position: Position, snapshot: Batch | None = None) -> None:
        rows = "an unknown number of rows" if missed is None else f"{missed} row{'s' * (missed != 1)}"
        super().__init__(
            f"{channel.symbol} {channel.kind}: {rows} missed before row {position.seq} of {position.epoch}"
        )
        self.channel = channel
        self.missed = missed
        self.position = position
        self.snapshot = snapshot
