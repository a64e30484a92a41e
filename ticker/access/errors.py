"""What can be wrong with a token, and with what the server is told about tokens."""

from __future__ import annotations


class BadToken(Exception):
    """A token that lets nobody in. The message is for the one who sent it, and tells only what that one knows already:
    it never holds the token, nor why a forged one failed."""


class AccessError(ValueError):
    """Tokens or keys that the server cannot work with; one line, without any secret."""
