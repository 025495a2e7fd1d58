"""Copies are told from repetitions: each transmission once, as often as it was sent."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from ground.receive.seen import SAME_NS, Seen

S = 1_000_000_000


def fresh(seen: Seen, antenna: int, *heard: tuple[bytes, int], vcid: int = 1) -> list[bool]:
    parts, times = [octets for octets, _ in heard], [at_ns for _, at_ns in heard]
    return seen.fresh(antenna, parts, [vcid] * len(parts), times).tolist()


def test_the_same_is_what_another_antenna_heard_at_that_time() -> None:
    seen = Seen()
    assert fresh(seen, 0, (b"one", 0), (b"two", S)) == [True, True]
    assert fresh(seen, 1, (b"one", SAME_NS), (b"two", S)) == [False, False]
    # Another channel, another time, and the same antenna again: transmissions of their own.
    assert fresh(seen, 1, (b"one", 0), vcid=2) == [True]
    assert fresh(seen, 1, (b"two", 2 * S)) == [True]
    assert fresh(seen, 0, (b"one", 10)) == [True]
    again = Seen()
    again.restore(seen.kept())
    assert fresh(again, 2, (b"one", 20), (b"one", 20)) == [False, False]
    assert fresh(again, 2, (b"one", 20)) == [True]


def test_a_repetition_that_one_antenna_alone_heard_is_no_copy() -> None:
    seen = Seen()
    assert fresh(seen, 1, (b"x", 0)) == [True]
    assert fresh(seen, 0, (b"x", 15), (b"x", 100)) == [False, True]
    assert fresh(seen, 1, (b"x", 85)) == [False]


def test_what_was_sent_twice_is_known_to_whoever_comes_late() -> None:
    seen = Seen()
    assert fresh(seen, 0, (b"dump", 0), (b"dump", 60 * S)) == [True, True]
    assert fresh(seen, 1, (b"dump", 15), (b"dump", 60 * S + 15)) == [False, False]


def test_after_a_restart_what_was_told_is_told() -> None:
    seen = Seen()
    # b's second was told since its first was a copy of a's, which nobody remembers.
    seen.tell(0, [b"x"], [1], [0])
    seen.tell(1, [b"x"], [1], [100])
    assert fresh(seen, 0, (b"x", 90)) == [False]


def test_clocks_that_are_apart_are_noticed() -> None:
    seen = Seen()
    for i in range(20):
        packet = b"%d" % i
        assert fresh(seen, 0, (packet, i * S)) == [True]
        assert fresh(seen, 1, (packet, i * S + 3 * S)) == [True]
    assert (seen.apart_ns(0), seen.apart_ns(1)) == (None, 3 * S)
    # It is set right.
    assert fresh(seen, 0, (b"a", 100 * S)) + fresh(seen, 1, (b"a", 100 * S)) == [True, False]
    assert seen.apart_ns(1) is None


def test_the_oldest_are_forgotten() -> None:
    seen = Seen(10)
    fresh(seen, 0, *((b"%d" % i, i * S) for i in range(20)))
    assert fresh(seen, 1, (b"9", 9 * S), (b"10", 10 * S)) == [True, True]
    assert fresh(seen, 1, (b"19", 19 * S)) == [False]


@pytest.mark.parametrize("seed", range(20))
def test_as_often_as_whoever_heard_it_most(seed: int) -> None:
    """Few octets, many repetitions, clocks that wander: as many as a count by hand says."""
    rng = random.Random(seed)
    sent = sorted((rng.randrange(200) * S, rng.choice([b"a", b"b"])) for _ in range(100))
    sent = [(at + n, octets) for n, (at, octets) in enumerate(sent)]
    heard = {
        antenna: [
            (octets, at + rng.randrange(40_000_000)) for at, octets in sent if rng.random() < 0.7
        ]
        for antenna in range(3)
    }
    seen = Seen()
    told: Counter[bytes] = Counter()
    left = {antenna: list(those) for antenna, those in heard.items()}
    while any(left.values()):
        antenna = rng.choice([one for one, those in left.items() if those])
        part, left[antenna] = left[antenna][:7], left[antenna][7:]
        told.update(o for (o, _), new in zip(part, fresh(seen, antenna, *part), strict=True) if new)
    # By hand: of one second and octets, the most that one antenna heard.
    most: Counter[tuple[int, bytes]] = Counter()
    for those in heard.values():
        for key, count in Counter((at // S, octets) for octets, at in those).items():
            most[key] = max(most[key], count)
    wanted: Counter[bytes] = Counter()
    for (_, octets), count in most.items():
        wanted[octets] += count
    assert told == wanted
    assert np.all([count > 0 for count in told.values()])
