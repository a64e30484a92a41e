"""The way out to one client: order, sharing, limits and pressure."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.stream.reference import frames
from ticker.protocol.frames import BINARY, frame
from ticker.stream import outbox as outbox_module
from ticker.stream.outbox import JOINED_BYTES, Entry, Outbox, Pressure, Totals

LIMIT = 1000


class Socket:
    """Takes whole frames while it has room, one at least, as the server's does."""

    def __init__(self, outbox: Outbox, room: int | None = None) -> None:
        self.outbox = outbox
        self.room = room
        self.calls: list[bytes] = []
        outbox.write = self.write

    @property
    def taken(self) -> bytes:
        return b"".join(self.calls)

    def write(self, data: bytes, taken: int) -> int:
        assert taken == 0
        assert not self.outbox.blocked
        size = len(data)
        if self.room is not None and self.room < size:
            size = 0
            for _, payload in frames(data):
                size += 2 + len(payload)
                if size > self.room:
                    break
            self.outbox.blocked = True
            self.room = 0
        elif self.room is not None:
            self.room -= size
        self.calls.append(data[:size])
        return size


def message(number: int, size: int = 8) -> bytes:
    """Return a frame that can be told from others."""
    return frame(BINARY, number.to_bytes(4, "big") + bytes(size - 4))


@pytest.fixture
def pressure() -> Pressure:
    return Pressure()


@pytest.fixture
def outbox(pressure: Pressure) -> Outbox:
    return Outbox(LIMIT, pressure)


def test_a_frame_goes_to_a_free_socket_at_once_by_reference(outbox: Outbox) -> None:
    socket, data = Socket(outbox), message(1)

    outbox.offer(data, rows=3)

    assert socket.calls[0] is data
    assert (outbox.rows, outbox.sent, outbox.queued, outbox.is_free) == (3, len(data), 0, True)


def test_what_a_busy_socket_does_not_take_is_kept_by_reference(outbox: Outbox) -> None:
    data = message(1, 100)
    taken: list[bytes] = []
    outbox.blocked = True

    outbox.offer(data)
    outbox.write = lambda each, _: taken.append(each) or len(each)
    outbox.drain()

    assert taken[0] is data
    assert outbox.is_free


def test_frames_that_wait_are_joined_up_to_a_size(outbox: Outbox) -> None:
    outbox = Outbox(1 << 20, Pressure())
    socket = Socket(outbox)
    outbox.blocked = True
    sent = [message(number, 10_000 if number % 3 else 100) for number in range(30)]

    for each in sent:
        outbox.offer(each)
    outbox.drain()

    assert socket.taken == b"".join(sent)
    assert len(socket.calls) < 5
    assert all(len(call) <= JOINED_BYTES for call in socket.calls)


def test_more_than_the_limit_is_dropped_with_all_that_waited_and_all_that_follows(
    outbox: Outbox, pressure: Pressure
) -> None:
    socket = Socket(outbox, room=0)
    outbox.offer(message(0))
    for number in range(1, 200):
        outbox.offer(message(number))

    assert outbox.overflowed
    assert not outbox.is_free
    outbox.drain()
    socket.room = None
    outbox.offer(message(200))
    outbox.offer_beyond_limit(message(201))

    assert socket.taken == message(0)
    assert (outbox.queued, pressure.count) == (0, 0)


def test_exactly_the_limit_may_wait(outbox: Outbox) -> None:
    outbox.blocked = True
    for number in range(LIMIT // 10):
        outbox.offer(message(number))

    assert (outbox.queued, outbox.overflowed) == (LIMIT, False)
    outbox.offer(message(1))
    assert outbox.overflowed


def test_rows_of_a_resume_may_wait_beyond_the_limit_but_do_not_lift_it_for_others(outbox: Outbox) -> None:
    outbox.blocked = True
    outbox.offer_beyond_limit(message(0, 5000))
    outbox.offer(message(1, LIMIT - 6))

    assert not outbox.overflowed
    outbox.offer(message(2))
    assert outbox.overflowed


def test_what_a_free_socket_took_at_once_does_not_lift_the_limit_later(outbox: Outbox) -> None:
    Socket(outbox)
    for number in range(100):
        outbox.offer_beyond_limit(message(number, 5000))
    outbox.blocked = True

    outbox.offer(message(1, LIMIT + 100))

    assert outbox.overflowed


def test_what_has_waited_beyond_the_limit_does_not_lift_it_once_it_is_sent(outbox: Outbox) -> None:
    Socket(outbox)
    outbox.blocked = True
    outbox.offer_beyond_limit(message(0, 5000))
    outbox.drain()
    outbox.blocked = True

    outbox.offer(message(1, LIMIT + 100))

    assert outbox.overflowed


def test_a_socket_that_took_less_and_has_room_again_gets_the_rest(outbox: Outbox) -> None:
    taken: list[bytes] = []
    outbox.write = lambda data, _: taken.append(data[:10]) or len(taken[-1])

    outbox.offer(message(1) + message(2) + message(3))

    assert taken == [message(1), message(2), message(3)]
    assert outbox.is_free


def test_what_waits_beyond_the_limit_is_bounded_too(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "MOST_EXEMPT", 10_000)
    outbox.blocked = True
    for number in range(12):
        outbox.offer_beyond_limit(message(number, 998))

    assert outbox.overflowed


def test_pressure_is_told_from_half_full_on_and_relieved_when_nobody_is_any_more(pressure: Pressure) -> None:
    relieved: list[int] = []
    pressure.relieved = lambda: relieved.append(pressure.count)
    outboxes = [Outbox(LIMIT, pressure) for _ in range(2)]
    for each in outboxes:
        each.blocked = True
        each.offer(message(1, LIMIT // 2 - 5))
    assert pressure.count == 0

    for each in outboxes:
        each.offer(message(2))
    assert pressure.count == 2
    outboxes[0].drain()
    assert (pressure.count, relieved) == (1, [])
    outboxes[1].close()

    assert (pressure.count, relieved) == (0, [0])


def test_an_outbox_without_room_presses_only_while_something_waits(pressure: Pressure) -> None:
    outbox = Outbox(0, pressure)
    Socket(outbox)

    outbox.offer(message(1))
    outbox.drain()

    assert pressure.count == 0


def test_a_closed_outbox_takes_nothing(outbox: Outbox) -> None:
    socket = Socket(outbox)
    outbox.close()

    outbox.offer(message(1))
    outbox.drain()
    outbox.offer(message(2))

    assert (socket.calls, outbox.is_free) == ([], False)


def test_what_is_no_row_of_its_own_is_entered_apart(pressure: Pressure) -> None:
    totals = Totals()
    outbox = Outbox(LIMIT, pressure, totals)
    socket = Socket(outbox, room=0)
    outbox.offer(message(0))

    outbox.offer(message(1), rows=10, entry=Entry(merged=6, running=1, missed=4))
    waiting = totals.delivered
    socket.room = None
    outbox.drain()

    assert outbox.rows == 10
    assert (waiting, totals.delivered) == (0, 3)
    assert (totals.merged, totals.running, totals.missed) == (6, 1, 4)


def test_rows_of_a_piece_that_is_cut_short_are_abandoned(pressure: Pressure) -> None:
    totals = Totals()
    outbox = Outbox(LIMIT, pressure, totals)
    socket = Socket(outbox, room=10)
    outbox.offer(message(1) + message(2) + message(3), rows=3)

    outbox.close()

    assert socket.taken == message(1) + message(2)
    assert (totals.delivered, totals.abandoned, totals.waiting) == (0, 3, set())


def test_an_outbox_that_passes_its_limit_is_counted_once(pressure: Pressure) -> None:
    totals = Totals()
    outbox = Outbox(LIMIT, pressure, totals)
    Socket(outbox, room=0)

    for number in range(3):
        outbox.offer(message(number, LIMIT))

    assert totals.overflowed == 1


class Traffic(RuleBasedStateMachine):
    """Frames of any size, and a socket that blocks and frees up at any of them."""

    @initialize()
    def begin(self) -> None:
        self.pressure = Pressure()
        self.totals = Totals()
        self.outbox = Outbox(LIMIT, self.pressure, self.totals)
        self.socket = Socket(self.outbox)
        self.offered: list[bytes] = []
        self.closed = False
        self.delivered = 0

    @rule(size=st.integers(4, 120), rows=st.integers(0, 3), exempt=st.booleans(), count=st.integers(1, 4))
    def offer(self, size: int, rows: int, exempt: bool, count: int) -> None:
        data = b"".join(message(len(self.offered) * 10 + i, size) for i in range(count))
        was_alive = not self.outbox.overflowed
        before = self.outbox.rows
        (self.outbox.offer_beyond_limit if exempt else self.outbox.offer)(data, rows)
        if was_alive:
            self.offered.append(data)
            assert self.outbox.rows == before + rows
        else:
            assert self.outbox.rows == before

    @rule(room=st.one_of(st.none(), st.integers(0, 400)))
    def change_room(self, room: int | None) -> None:
        self.socket.room = room

    @precondition(lambda self: self.outbox.blocked)
    @rule(room=st.one_of(st.none(), st.integers(0, 400)))
    def free(self, room: int | None) -> None:
        self.socket.room = room
        self.outbox.drain()

    @precondition(lambda self: not self.closed)
    @rule()
    def close(self) -> None:
        self.closed = True
        self.outbox.close()

    @invariant()
    def what_the_socket_got_is_a_beginning_of_what_was_offered(self) -> None:
        if not hasattr(self, "outbox"):
            return
        offered = b"".join(self.offered)
        assert offered.startswith(self.socket.taken)
        assert self.outbox.sent == len(self.socket.taken)
        if not self.outbox.overflowed:
            assert self.outbox.sent + self.outbox.queued == len(offered)
            assert self.outbox.blocked or not self.outbox.queued
        else:
            assert self.outbox.queued == 0
        assert self.pressure.count == (self.outbox.queued > 0 and self.outbox.queued * 2 >= LIMIT)

    @invariant()
    def every_row_offered_is_delivered_waits_or_was_abandoned(self) -> None:
        if not hasattr(self, "outbox"):
            return
        totals = self.totals
        waiting = self.outbox.rows - totals.delivered - totals.abandoned
        assert waiting >= 0
        if not self.outbox.queued:
            assert waiting == 0
        assert self.delivered <= totals.delivered
        self.delivered = totals.delivered
        assert totals.sent == self.outbox.sent
        assert (totals.queued, totals.most_waiting) == (self.outbox.queued, self.outbox.queued)
        assert totals.waiting == ({self.outbox} if self.outbox.queued else set())


TestTraffic = Traffic.TestCase
TestTraffic.settings = hypothesis.settings(max_examples=80, stateful_step_count=40, deadline=None)
