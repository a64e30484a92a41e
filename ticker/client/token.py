"""What a client proves itself with: a token, or a function that gives a fresh one each time it is asked."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

from ticker.client.errors import ConnectionFailed

Token = str | Callable[[], str | Awaitable[str]]

REFRESH_S = 60.0
"""How long before it expires a token is renewed; one that is valid for less than five minutes, after 4/5 of that."""
LEAST_S = 0.25


async def fresh(token: Token | None) -> str | None:
    """Return a token to connect with, None if there is none. Raises ConnectionFailed where the function fails: what it
    asks may be back later, as a server may."""
    if token is None or isinstance(token, str):
        return token
    try:
        given = token()
        if inspect.isawaitable(given):
            given = await given
    except Exception as error:
        raise ConnectionFailed(f"no token: {error!r}") from error
    if not isinstance(given, str) or not given:
        raise ConnectionFailed(f"no token: expected a string, not {type(given).__name__}")
    return given


def refresh_delay(left_s: float) -> float:
    """Return when to renew a token that is valid for so long."""
    return max(LEAST_S, 0.8 * left_s, left_s - REFRESH_S)
