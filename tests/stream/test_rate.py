"""What one client may ask in a second, and for how long it may ask too much."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ticker.stream.rate import Rate


@given(st.lists(st.floats(0, 5), max_size=40).map(sorted), st.integers(0, 4))
def test_each_second_has_so_many_and_no_more(times: list[float], most: int) -> None:
    rate = Rate()
    granted = [time for time in times if rate.take(time, most)]

    for second in range(6):
        asked = sum(int(time) == second for time in times)
        assert sum(int(time) == second for time in granted) == min(asked, most)


def test_spare_ones_are_taken_once_and_only_when_a_second_is_used_up() -> None:
    rate = Rate()
    rate.spare = 3

    assert [rate.take(7.5, 2) for _ in range(4)] == [True] * 4
    assert [rate.take(8.0, 2) for _ in range(4)] == [True, True, True, False]
    assert rate.spare == 0


def test_ten_seconds_on_end_are_excessive_and_one_without_begins_anew() -> None:
    rate = Rate()
    for second in [*range(9), *range(10, 19)]:
        assert not rate.take(second, 0)
    assert not rate.is_excessive

    assert not rate.take(19.9, 0)

    assert rate.is_excessive


def test_many_refusals_in_one_second_are_one_second() -> None:
    rate = Rate()
    for _ in range(100):
        rate.take(3.3, 0)

    assert not rate.is_excessive
