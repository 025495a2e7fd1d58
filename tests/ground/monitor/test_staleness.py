"""Staleness by ERT, by the clock, and through a restart."""

from __future__ import annotations

import msgpack
import numpy as np

from ground.monitor.staleness import PERIODS, SHORTEST_PERIOD_NS, Staleness
from protocols.bus.messages import EventKind

S = 1_000_000_000
GRACE = 300 * S


def times(*seconds: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([round(s * S) for s in seconds], np.int64)


def feed(staleness: Staleness, name: str, *seconds: float, light_s: float = 499.0) -> bool:
    return staleness.seen(name, times(*seconds), times(*(s + light_s for s in seconds)))


def test_a_packet_that_stops_while_others_go_on_is_stale_by_ert_alone() -> None:
    staleness = Staleness()
    feed(staleness, "SLOW", *range(0, 100, 10))
    feed(staleness, "QUICK", *range(100))
    now = 600 * S
    assert staleness.due(now, GRACE) == []
    feed(staleness, "QUICK", *range(100, 141))
    # SLOW was last seen at 90; five periods of 10 s are over at 140.
    assert staleness.due(now, GRACE) == []
    feed(staleness, "QUICK", 141)
    assert staleness.due(now, GRACE) == ["SLOW"]
    assert staleness.due(now, GRACE) == []
    assert feed(staleness, "SLOW", 150)
    assert not feed(staleness, "SLOW", 160)


def test_a_silent_link_is_judged_by_the_clock_with_grace() -> None:
    staleness = Staleness()
    feed(staleness, "HK", *range(0, 100, 10))
    last = 90 * S + 499 * S
    assert staleness.due(last, GRACE) == []
    assert staleness.due(last + GRACE + PERIODS * 10 * S, GRACE) == []
    assert staleness.due(last + GRACE + PERIODS * 10 * S + 1, GRACE) == ["HK"]


def test_a_ground_that_starts_with_a_backlog_raises_no_alarm() -> None:
    staleness = Staleness()
    feed(staleness, "HK", *range(0, 100, 10))
    assert staleness.due(10**6 * S, GRACE) == []
    feed(staleness, "HK", *range(100, 200, 10))
    assert staleness.due(200 * S + 499 * S, GRACE) == []
    assert staleness.due(10**6 * S, GRACE) == ["HK"]


def test_what_a_station_kept_while_it_was_not_reached_comes_back_once() -> None:
    """Not stale and fresh again with each batch of it, for every packet: an alarm storm."""
    staleness = Staleness()
    feed(staleness, "HK", *range(0, 100, 10))
    up_to_date = 90 * S + 499 * S
    assert staleness.due(up_to_date, GRACE) == []
    hour = up_to_date + 3600 * S
    assert staleness.due(hour, GRACE) == ["HK"]
    told = 0
    for n, begin in enumerate(range(100, 3_000, 50)):
        told += feed(staleness, "HK", *range(begin, begin + 50, 10))
        assert staleness.due(hour + n * S, GRACE) == []
    assert told == 1
    # And it stops again before it is up to date: that is no backlog any more.
    assert staleness.due(hour + 57 * S + GRACE, GRACE) == []
    assert staleness.due(hour + 57 * S + GRACE + 1, GRACE) == ["HK"]


def test_fast_packets_are_judged_as_if_slower_than_the_frames_that_carry_them() -> None:
    staleness = Staleness()
    feed(staleness, "FAST", *np.arange(0, 10, 0.1))
    feed(staleness, "OTHER", 0, 1, 2, 9.9 + PERIODS * SHORTEST_PERIOD_NS / S)
    assert staleness.due(0, GRACE) == []
    feed(staleness, "OTHER", 10 + PERIODS * SHORTEST_PERIOD_NS / S)
    assert staleness.due(0, GRACE) == ["FAST"]


def test_one_pause_is_not_taken_for_a_new_rhythm_and_two_are() -> None:
    staleness = Staleness()
    feed(staleness, "HK", 0, 10, 20, 30, 40, 540, 550)
    assert staleness.rhythms["HK"].period_ns == 10 * S
    feed(staleness, "HK", 1050)
    assert staleness.rhythms["HK"].period_ns == 500 * S


def test_a_packet_seen_once_has_no_rhythm_to_miss() -> None:
    staleness = Staleness()
    feed(staleness, "ONCE", 0)
    assert staleness.due(10**6 * S, GRACE) == []


def test_a_restart_remembers_and_takes_back_what_was_told_meanwhile() -> None:
    staleness = Staleness()
    feed(staleness, "A", *range(0, 100, 10))
    feed(staleness, "B", *range(0, 100, 10))
    assert staleness.due(600 * S, GRACE) == []
    again = Staleness()
    again.restore(msgpack.unpackb(msgpack.packb(staleness.snapshot())))
    again.told(EventKind.STALE, "A")
    again.told(EventKind.STALE, "B")
    again.told(EventKind.FRESH, "B")
    again.told(EventKind.LIMIT, "B")
    assert again.due(10**6 * S, GRACE) == ["B"]
