"""Commands and their answers: each question has a number, is answered once, and may outlive a connection. No I/O."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgpack

from ticker.client.errors import ClientError, CommandRefused, ProtocolError

Message = dict[Any, Any]
Answer = Callable[[Message | ClientError], None]
"""Takes the server's answer, or why there is none."""

LIMIT_S = 1.0
"""How long to wait before a command that was refused for `limit` is sent again."""


class Outgoing(NamedTuple):
    """A command as a message, and how many seconds to wait before it is sent."""

    message: bytes
    after_s: float = 0.0


class Question(NamedTuple):
    """A command that waits for its answer.

    If the connection is lost first, `if_lost` is called or, where there is none, it is asked again on the next one.
    """

    command: dict[str, Any]
    answer: Answer
    if_lost: Callable[[], None] | None


def nothing() -> None:
    """Do nothing: what was asked dies with the connection, since the next one begins anew."""


class Questions:
    """What was asked and not answered yet. `outgoing` is what is to be sent, in order."""

    def __init__(self) -> None:
        self.outgoing: deque[Outgoing] = deque()
        self._open: dict[int, Question] = {}
        self._ids = itertools.count(1)
        self._is_connected = False

    def connected(self) -> None:
        """Ask again what a lost connection has left unanswered, and from now on ask at once."""
        self._is_connected = True
        for id, question in self._open.items():
            self._send(id, question)

    def lost(self) -> None:
        """Ask nothing until the next connection."""
        self._is_connected = False
        self.outgoing.clear()
        for id, question in list(self._open.items()):
            if question.if_lost is not None:
                self._open.pop(id, None)
                question.if_lost()

    def fail(self, error: ClientError) -> None:
        """Answer every open question with an error: there will be no other connection."""
        questions, self._open = self._open, {}
        for question in questions.values():
            if question.if_lost is not None:
                question.if_lost()
            else:
                question.answer(error)

    def ask(self, command: dict[str, Any], answer: Answer, if_lost: Callable[[], None] | None = None) -> None:
        """Ask a question; `answer` gets the map, or a CommandRefused."""
        id = next(self._ids)
        question = self._open[id] = Question(command, answer, if_lost)
        if self._is_connected:
            self._send(id, question)

    def ask_all(
        self,
        commands: Iterable[dict[str, Any]],
        done: Callable[[list[Message]], None],
        each: Answer | None = None,
        if_lost: Callable[[], None] = nothing,
    ) -> None:
        """Ask several questions; call `each` with every answer, `done` with all. They die with the connection."""
        asked = list(commands)
        answers: list[Message] = []

        def take(message: Message | ClientError) -> None:
            if each is not None:
                each(message)
            answers.append(message if isinstance(message, dict) else {})
            if len(answers) == len(asked):
                done(answers)

        for command in asked:
            self.ask(command, take, if_lost)

    def answered(self, id: Any, message: Message) -> None:
        """Take an answer. Raises ProtocolError if that was not asked."""
        question = self._open.get(id) if type(id) is int else None
        if question is None:
            raise ProtocolError(f"an answer to {id!r}, which was not asked")
        if message.get("type") != "error":
            del self._open[id]
            question.answer(message)
        elif message.get("code") == "limit":
            self._send(id, question, LIMIT_S)
        else:
            del self._open[id]
            question.answer(CommandRefused(str(message.get("code")), str(message.get("message"))))

    def _send(self, id: int, question: Question, after_s: float = 0.0) -> None:
        self.outgoing.append(Outgoing(msgpack.packb({"id": id, **question.command}), after_s))
