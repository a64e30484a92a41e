"""Opens the gate as the operator wants it, and refuses what would let in more, or other, people than they think."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable, Sequence

from ticker.access.errors import AccessError
from ticker.access.gate import Gate
from ticker.access.grant import Source
from ticker.access.jwt import JwtKeys
from ticker.access.tokens import Entry, Tokens

log = logging.getLogger(__name__)


def open_gate(
    *,
    host: str,
    token_file: str = "",
    tokens: Sequence[Entry] = (),
    jwt_key: str = "",
    jwt_algorithm: str = "",
    jwt_audience: str = "tickercast",
    no_auth: bool = False,
    connections: int = 1000,
    now_s: Callable[[], float],
) -> Gate:
    """Return the gate of a server that listens on `host`. Raises AccessError, whose line begins with the option."""
    asking = [
        name
        for name, given in (("--token-file", token_file), ("TICKER_TOKENS", tokens), ("--jwt-key", jwt_key))
        if given
    ]
    if no_auth and asking:
        raise AccessError(f"--no-auth: contradicts {asking[0]}, which asks for a token; leave one of them out")
    if jwt_algorithm and not jwt_key:
        raise AccessError("--jwt-algorithm: there is no key to use it with; name its file with --jwt-key")
    if jwt_key and not jwt_algorithm:
        raise AccessError("--jwt-key: say with --jwt-algorithm which one of HS256, RS256 and ES256 is right for it")
    if not asking and not no_auth and not is_loopback(host):
        raise AccessError(
            f"--host: {host} can be reached from other machines, and nobody is asked for a token: set --token-file,"
            " TICKER_TOKENS or --jwt-key, or let everyone read everything with --no-auth"
        )
    sources: list[Source] = []
    if token_file:
        sources.append(_named("--token-file", lambda: _token_file(token_file)))
    if tokens:
        sources.append(Tokens(lambda: tokens))
    if jwt_key:
        sources.append(_named("--jwt-key", lambda: JwtKeys(jwt_key, jwt_algorithm, jwt_audience)))
    return Gate(sources, now_s, connections)


def is_loopback(host: str) -> bool:
    """Tell whether an address, or all that a name stands for, can be reached from this machine only."""
    try:
        found = [str(each[4][0]) for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(ipaddress.ip_address(each.partition("%")[0]).is_loopback for each in found)


def _named(option: str, make: Callable[[], Source]) -> Source:
    try:
        return make()
    except AccessError as error:
        raise AccessError(f"{option}: {error}") from None


def _token_file(path: str) -> Tokens:
    tokens = Tokens.of_file(path)
    if not len(tokens):
        log.warning("%s holds no token: it lets nobody in", path)
    return tokens
