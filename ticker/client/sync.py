"""The stream for scripts: a plain iterator that runs a private event loop in the calling thread.

Between two batches nothing is received: a loop body that takes its time makes the server wait, and one that takes
longer than the server's patience (30 s) is cut off, and resumed at its next step. Inside a running event loop (a
notebook's) use `connect` instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

from ticker.client.conversation import Status
from ticker.client.errors import MissedRows, SymbolsRefused
from ticker.client.stream import connect
from ticker.client.subscription import Subscription
from ticker.client.token import Token
from ticker.columns import Batch
from ticker.model import Position


class Reader(Iterator[Batch]):
    """Batches of one subscription, without `async`. `subscription` and `stream` are those behind it.

    The arguments are those of `connect` and of `Stream.subscribe`; what these raise is raised here at once.
    Closed by `with`, by `close`, at the iteration's end, or when nobody holds it any more.
    """

    def __init__(
        self,
        url: str,
        symbols: str | Iterable[str],
        kind: str = "trades",
        mode: str = "all",
        *,
        interval_s: int | None = None,
        interval_ms: int | None = None,
        since: Mapping[str, Position] | int | None = None,
        on_missed: Callable[[MissedRows], object] | None = None,
        on_refused: Callable[[SymbolsRefused], object] | None = None,
        token: Token | None = None,
        buffer_bytes: int = 1 << 20,
        patience_s: float | None = None,
        on_status: Callable[[Status], object] | None = None,
    ) -> None:
        if _is_in_a_loop():
            raise RuntimeError("an event loop runs here already: use connect instead")
        self.stream = connect(url, token=token, buffer_bytes=buffer_bytes, patience_s=patience_s, on_status=on_status)
        self._runner = asyncio.Runner()
        self._loop = self._runner.get_loop()
        self._is_open = True

        async def begin() -> Subscription:
            await self.stream.__aenter__()
            return await self.stream.subscribe(
                symbols,
                kind,
                mode,
                interval_s=interval_s,
                interval_ms=interval_ms,
                since=since,
                on_missed=on_missed,
                on_refused=on_refused,
            )

        try:
            self.subscription = self._loop.run_until_complete(begin())
        except BaseException:
            self.close()
            raise

    def __next__(self) -> Batch:
        if not self._is_open:
            raise StopIteration
        batch = self.subscription.take()
        if batch is not None:
            return batch
        try:
            return self._loop.run_until_complete(self.subscription.__anext__())
        except StopAsyncIteration:
            self.close()
            raise StopIteration from None

    def close(self) -> None:
        """Leave the server."""
        if self._is_open:
            self._is_open = False
            try:
                self._loop.run_until_complete(self.stream.close())
            finally:
                self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_is_open", False):
            self.close()


def _is_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


subscribe = Reader
