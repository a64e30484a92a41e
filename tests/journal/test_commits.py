"""The file of commits: what is read of it when it is cut short, and when a byte of it is another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.journal.commits import ENDED, OPEN, End, Flush, Gap, Head, Piece, Record, Symbols, pack, read

HEAD = Head("9f2c51d0", [["trades", 0], ["bars", 60]], "simulated", None, "boot", False, 7, 1, None, [0, 0], [])  # type: ignore[list-item]
numbers = st.integers(0, 2**63 - 1)
pieces = st.lists(st.builds(Piece, st.integers(0, 7), numbers, st.integers(0, 2**32 - 1), numbers), max_size=3)
taken = st.lists(numbers, min_size=2, max_size=2)
records = st.one_of(
    st.builds(Flush, numbers, numbers, st.none() | numbers, taken, pieces),
    st.builds(Symbols, pieces),
    st.builds(Gap, st.integers(1, 7), numbers, numbers),
    st.just(End()),
)
files = st.lists(records, max_size=6).map(lambda rest: [HEAD, *rest])


def packed(parts: list[Record]) -> list[bytes]:
    return [pack(each) for each in parts]


@given(files)
def test_what_was_written_is_read(written: list[Record]) -> None:
    commits = read(OPEN + b"".join(packed(written)))

    assert commits.records == written
    assert (commits.torn, commits.damage, commits.has_ended) == (0, "", False)


@given(files, st.data())
def test_a_file_that_was_cut_short_is_read_up_to_its_last_whole_record(
    written: list[Record], data: st.DataObject
) -> None:
    whole = OPEN + b"".join(packed(written))
    size = data.draw(st.integers(0, len(whole)))

    commits = read(whole[:size])

    assert commits.records == written[: len(commits.records)]
    assert commits.damage == ""
    assert commits.size + commits.torn == size
    rest = packed(written)[len(commits.records) :]
    assert not rest or commits.torn < (len(rest[0]) if commits.size else len(OPEN))


@given(files, st.data())
def test_a_byte_that_is_another_is_found_wherever_it_is(written: list[Record], data: st.DataObject) -> None:
    changed = bytearray(OPEN + b"".join(packed(written)))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))

    commits = read(bytes(changed))

    assert commits.damage
    assert commits.records == written[: len(commits.records)]
    assert len(commits.records) < len(written)


@given(files, st.integers(1, 5000))
def test_zeros_behind_the_last_record_are_a_machine_that_crashed(written: list[Record], zeros: int) -> None:
    commits = read(OPEN + b"".join(packed(written)) + bytes(zeros))

    assert commits.records == written
    assert commits.is_at_end


def test_a_damaged_record_is_the_last_one_only_if_nothing_comes_behind_it() -> None:
    first, last = packed([HEAD, End()])
    middle = bytearray(pack(Symbols([])))
    middle[-1] ^= 1

    assert read(OPEN + first + middle).is_at_end
    assert not read(OPEN + first + middle + last).is_at_end


def test_a_first_line_that_was_written_over_tells_that_rows_are_missing() -> None:
    assert len(ENDED) == len(OPEN)
    assert read(ENDED + pack(HEAD)).has_ended


@pytest.mark.parametrize("payload", [End(), Gap(1, 2, 3)])
def test_a_file_that_does_not_begin_with_a_head_is_damaged(payload: Record) -> None:
    commits = read(OPEN + pack(payload))

    assert (commits.records, bool(commits.damage)) == ([], True)


def test_the_epoch_has_had_as_many_flushes_as_the_last_one_says() -> None:
    flush = Flush(11, 1, None, [0, 0], [])

    assert read(OPEN + pack(HEAD)).flushes == 7
    assert read(OPEN + b"".join(packed([HEAD, flush, Symbols([])]))).flushes == 12
