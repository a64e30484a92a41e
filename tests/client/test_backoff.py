"""Delays between attempts: jittered, capped, and as the server asks."""

from __future__ import annotations

import random

from ticker.client import Backoff


def backoff() -> Backoff:
    return Backoff(first_s=0.25, cap_s=30.0, random=random.Random(5))


def test_delays_are_spread_below_a_bound_that_doubles_up_to_the_cap() -> None:
    tries = [[each.delay(None, None, False) for _ in range(12)] for each in (Backoff() for _ in range(300))]

    for failures, delays in enumerate(zip(*tries, strict=True)):
        bound = min(30.0, 0.25 * 2**failures)
        assert bound * 0.8 < max(delays) <= bound
        assert min(delays) < bound * 0.2


def test_after_progress_it_begins_again() -> None:
    patient = backoff()
    for _ in range(20):
        patient.delay(None, None, False)

    assert patient.delay(None, None, True) <= 0.25
    assert patient.delay(None, None, False) <= 0.5


def test_a_goodbyes_delay_is_kept_to_the_millisecond() -> None:
    assert backoff().delay(1001, 2300, True) == 2.3
    assert backoff().delay(1001, 0, True) == 0.0


def test_a_goodbye_cannot_ask_for_ever() -> None:
    assert backoff().delay(1001, 10**12, True) == 300.0


def test_too_many_connections_or_commands_is_a_longer_wait() -> None:
    delays = [backoff().delay(4029, None, True) for _ in range(50)]

    assert all(10.0 <= delay <= 20.0 for delay in delays)


def test_thousands_of_failures_are_still_at_the_cap() -> None:
    patient = backoff()

    assert all(0 <= patient.delay(None, None, False) <= 30.0 for _ in range(5000))
