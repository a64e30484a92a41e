"""Keeps Blocks on disk before anyone is offered them, and begins again from there: the same epoch after a crash."""


class JournalError(Exception):
    """The journal cannot be kept where it is wanted; the message is one line for the person who started the server."""
