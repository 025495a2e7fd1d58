"""One antenna transmits; another takes over when nothing of the first can be on its way."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from ground.receive.transmitter import LOST_S, TABLE, Event, State, Transmitter
from protocols.bus.messages import UplinkMessage
from protocols.errors import LocalError
from protocols.identifiers import Carrier
from spacecraft_sim.passes import AlwaysTracking
from spacecraft_sim.station_uplink import StationUplink

S = 1_000_000_000
A, B = "receive.a", "receive.b"
#: Octets that take one second at the least rate.
OCTETS = bytes(125)


class Wall:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


_open: list[Transmitter] = []


@pytest.fixture(autouse=True)
def _closing() -> Iterator[None]:
    yield
    while _open:
        _open.pop().close()


def opened(path: Path, wall: Wall, now_ns: int = 0) -> Transmitter:
    one = Transmitter((A, B), path, margin_ns=2 * S, sync=False, clock_s=wall)
    one.open(now_ns)
    _open.append(one)
    return one


def message(
    name: str, now_s: float, *, latest_s: float = 10, octets: bytes = OCTETS
) -> UplinkMessage:
    now_ns = round(now_s * S)
    return UplinkMessage(
        name, "command", Carrier.COMMAND, octets, now_ns, now_ns + round(latest_s * S)
    )


def test_every_state_has_its_events() -> None:
    assert set(TABLE) == set(State)
    for state, row in TABLE.items():
        assert set(row) <= set(Event)
        assert set(row.values()) <= set(State), state


def test_another_takes_over_when_what_was_given_is_over(tmp_path: Path) -> None:
    wall = Wall()
    one = opened(tmp_path / "given", wall)
    one.turn(0, [A, B])
    assert one.route(0, message("1", 0)) == A
    # a is gone: at first perhaps for a moment.
    wall.s = LOST_S - 1
    assert not one.turn(0, [B])
    assert one.state is State.TRANSMITS
    assert one.route(0, message("2", 0)) is None
    wall.s += 1.5
    one.turn(12 * S, [B])
    # Radiated by 10 s at the latest, over at 11 s, clocks 2 s apart.
    assert (one.state, one.active, one.over_ns) == (State.CHANGES, A, 13 * S)
    # Nobody is said to transmit to whom nothing is given.
    assert one.gives_to == ""
    assert one.route(12 * S, message("2", 0)) is None
    assert not one.turn(13 * S, [B])
    assert one.turn(13 * S + 1, [B])
    assert B.endswith(f".{one.gives_to}")
    assert one.route(13 * S + 1, message("2", 13)) == B
    # a alone knows whether it has radiated this one.
    assert one.route(14 * S, message("1", 0)) == A
    # Who was away does not take it back.
    assert not one.turn(15 * S, [A, B])
    assert one.route(15 * S, message("3", 15)) == B


def test_who_is_back_before_that_goes_on(tmp_path: Path) -> None:
    wall = Wall()
    one = opened(tmp_path / "given", wall)
    one.turn(0, [A, B])
    one.route(0, message("1", 0))
    wall.s = LOST_S
    one.turn(S, [B])
    assert one.state is State.CHANGES
    one.turn(2 * S, [A, B])
    assert (one.state, one.route(2 * S, message("2", 2))) == (State.TRANSMITS, A)


def test_nobody_waits_for_a_station_that_says_itself_that_it_does_not_transmit(
    tmp_path: Path,
) -> None:
    one = opened(tmp_path / "given", Wall())
    one.turn(0, [A, B])
    one.route(0, message("1", 0))
    # Refused: its window closes.
    one.settled(A, "1", 0)
    one.turn(S, [B], [A])
    assert one.state is State.CHANGES
    assert one.turn(S, [B], [A])
    assert one.active == B


def test_an_operators_word(tmp_path: Path) -> None:
    one = opened(tmp_path / "given", Wall())
    one.turn(0, [A])
    with pytest.raises(LocalError, match="antenna 'b' cannot transmit now"):
        one.order(B, [A])
    with pytest.raises(LocalError, match="antenna 'c': one of a, b wanted"):
        one.order("receive.c", [A])
    one.route(0, message("1", 0))
    one.order(B, [A, B])
    assert not one.turn(S, [A, B])
    # Who heard another's word of it is not believed.
    one.settled(B, "1", 2 * S)
    assert one.over_ns == 13 * S
    one.settled(A, "1", 2 * S)
    assert one.over_ns == 4 * S
    assert one.turn(4 * S + 1, [A, B])
    assert one.active == B
    # Whom he wanted is gone before he could take over: the one before goes on.
    one.order(A, [A, B])
    one.turn(5 * S, [B])
    assert (one.state, one.active) == (State.TRANSMITS, B)


def test_a_restart_knows_who_was_given_what(tmp_path: Path) -> None:
    wall = Wall()
    one = opened(tmp_path / "given", wall)
    one.turn(0, [A, B])
    one.route(0, message("1", 0))
    wall.s = LOST_S
    one.turn(20 * S, [B])
    one.turn(20 * S, [B])
    assert one.route(20 * S, message("2", 20)) == B
    one.close()
    with (tmp_path / "given").open("ab") as file:
        file.write(b'{"id": "torn", "to": "rec')
    again = opened(tmp_path / "given", wall, 21 * S)
    again.turn(21 * S, [A, B])
    assert again.active == B
    assert again.over_ns == 33 * S
    assert [again.route(22 * S, message(name, 22)) for name in ("1", "2", "torn")] == [A, B, B]


@pytest.mark.parametrize("seed", range(8))
def test_never_two_at_once_and_never_one_twice(tmp_path: Path, seed: int) -> None:
    """Stations that radiate by themselves what they were given, links that break, a `receive` that
    is killed, senders that repeat what they have heard nothing of."""
    rng = random.Random(seed)
    rates = dict.fromkeys(Carrier, 2_000)
    stations = {name: StationUplink(AlwaysTracking(), rates) for name in (A, B)}
    wall = Wall()
    one = opened(tmp_path / "given", wall)
    up = {A: True, B: True}
    unknown: dict[str, UplinkMessage] = {}
    radiated: list[tuple[int, int, str, str]] = []
    waiting: dict[str, list[UplinkMessage]] = {A: [], B: []}
    names = 0
    for tick in range(600):
        now_ns, wall.s = tick * S // 2, tick / 2
        for name in up:
            up[name] = up[name] if rng.random() > 0.04 else not up[name]
        if rng.random() < 0.03:
            one.close()
            one = opened(tmp_path / "given", wall, now_ns)
        if rng.random() < 0.02 and up[B] and up[A]:
            one.order(rng.choice([A, B]), [A, B])
        one.turn(now_ns, [name for name in (A, B) if up[name]])
        if rng.random() < 0.3:
            names += 1
            unknown[str(names)] = message(
                str(names),
                now_ns / S,
                latest_s=rng.randrange(1, 9),
                octets=bytes(rng.randrange(1, 400)),
            )
        for sent in list(unknown.values()):
            if rng.random() < 0.5 and (to := one.route(now_ns, sent)) is not None:
                # Lost on the way to the receiver, now and then.
                waiting[to] += [sent] if rng.random() < 0.8 else []
        for name, station in stations.items():
            if up[name]:
                for sent in waiting[name]:
                    station.request(now_ns, sent)
                waiting[name].clear()
            found = station.advance(now_ns)
            radiated += [(r.start_ns, r.end_ns, name, r.uplink.octets.hex()) for r in found]
            for fate in station.answers():
                if up[name] and rng.random() < 0.9:
                    one.settled(name, fate.id, fate.end_ns)
                    unknown.pop(fate.id, None)
    radiated.sort()
    assert len({name for *_, name, _ in radiated}) == 2
    assert len(radiated) > 40
    assert sum(station.radiated for station in stations.values()) == len(radiated)
    for before, after in pairwise(radiated):
        assert before[1] <= after[0]
    ids = [i for station in stations.values() for i, f in station._fates.items() if not f.refused]
    assert len(ids) == len(set(ids))
    one.close()
