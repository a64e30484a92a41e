"""What `make soak` shows at length holds in short. Times are not asked for here: machines that run tests are busy."""

from __future__ import annotations

import churn
import cut
import herd
import order
import trickle


def test_everyone_gets_every_row_once_in_order_and_right_whatever_they_do() -> None:
    options = ["--rows", "30000", "--rate", "7500", "--clients", "24", "--busy-s", "0.2", "--bars-s", "1"]
    measured = order.measure(order.parser().parse_args(options))

    assert measured["kinds"] == {}
    assert min(measured[what] for what in ("delivered", "merged", "alpaca_rows", "values")) > 1000
    assert measured["missed"] == 0
    assert min(measured["did"][what] for what in ("subscribe", "unsubscribe", "resumed", "stall", "left by rst")) > 0


def test_who_is_cut_at_any_byte_and_resumes_misses_nothing_and_gets_nothing_twice() -> None:
    measured = cut.measure(cut.parser().parse_args(["--cuts", "500"]))

    assert (measured["missing"], measured["twice"], measured["violations"]) == (0, 0, 0)
    assert measured["cuts"] == 500
    assert min(measured["places"][place] for place in ("the handshake", "control messages", "rows", "FIN", "RST")) > 20
    assert measured["outstanding"] >= 1


def test_a_herd_that_is_cut_at_once_comes_back_whole() -> None:
    measured = herd.measure(herd.parser().parse_args(["--clients", "100", "--seconds", "0.5", "--fresh-s", "5"]))

    assert (measured["violations"], measured["missed"]) == (0, 0)
    assert measured["rows"] > 100


def test_who_reads_by_a_trickle_gets_sums_of_all_that_happened_and_is_not_closed() -> None:
    measured = trickle.measure(trickle.parser().parse_args(["--seconds", "2"]))

    assert measured["violations"] == 0
    assert measured["updates"] > 100


def test_nothing_stays_of_those_who_connect_and_go() -> None:
    measured = churn.measure(churn.parser().parse_args(["--seconds", "2", "--warm-s", "1"]))

    assert (measured["descriptors"], measured["tasks"], measured["grown"]) == (0, 0, {})
    assert measured["violations"] == 0
    assert measured["ends"].keys() == churn.ENDS.keys()
