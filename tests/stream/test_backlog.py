"""What is kept for those who are behind: every flush they lack, once, and nothing that nobody lacks."""

from __future__ import annotations

from tests.stream.conftest import World
from tests.stream.reference import frames
from ticker.model import Series
from ticker.protocol.native import MsgpackCodec
from ticker.stream.audience import Audience, Encoded
from ticker.stream.backlog import Backlog

TRADES = Series("trades")
CODEC = MsgpackCodec()


class Stage:
    """A backlog of flushes of one trade each, and an audience of everything."""

    def __init__(self, flushes: int) -> None:
        world = World()
        self.encodings = 0
        self.blocks = []
        world.broker.subscribe(self.blocks.append)
        self.directory = world.directory
        self.backlog = Backlog(self._encode)
        self.audience = Audience(CODEC, 0, ((TRADES, None),), -1)
        for _ in range(flushes):
            world.trade("AAPL")
            world.flush()
            self.backlog.append([block for block in self.blocks[-1] if block.series == TRADES])

    def _encode(self, codec: MsgpackCodec, block: object) -> Encoded:
        self.encodings += 1
        return Encoded(codec, block, self.directory)  # type: ignore[arg-type]

    def due(self, position: int) -> tuple[int, int]:
        """Return how many frames and rows an audience gets that stands at a flush."""
        data, rows, _ = self.backlog.due(self.audience, position)
        return len(list(frames(data))), rows


def test_one_who_stands_anywhere_gets_all_flushes_after_it_at_once() -> None:
    stage = Stage(flushes=5)
    numbers = [blocks[0].number for blocks in stage.blocks]

    assert [stage.due(number) for number in numbers] == [(4, 4), (3, 3), (2, 2), (1, 1), (0, 0)]
    assert stage.due(numbers[0] - 1) == (5, 5)


def test_a_flush_is_encoded_once_for_all_who_are_behind() -> None:
    stage = Stage(flushes=3)

    for _ in range(10):
        stage.due(-1)

    assert stage.encodings == 3


def test_flushes_that_nobody_lacks_are_forgotten_and_others_keep_only_their_bytes() -> None:
    stage = Stage(flushes=4)
    numbers = [blocks[0].number for blocks in stage.blocks]
    stage.due(-1)

    stage.backlog.release(numbers[1], is_offered=True)

    assert len(stage.backlog) == 2
    assert stage.backlog.nbytes > 0
    assert stage.due(numbers[1]) == (2, 2)
    assert all(not flush.blocks for flush in stage.backlog._flushes)
    stage.backlog.release(numbers[3], is_offered=True)
    assert (len(stage.backlog), stage.backlog.nbytes) == (0, 0)
