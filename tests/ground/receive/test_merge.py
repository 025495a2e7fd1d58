"""Several antennas' packets become one stream: each once, through kills and backlogs."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ground.adapters.clock import ScaledClock
from ground.adapters.journal import FileJournal
from ground.adapters.loopback import LoopbackBus, LoopbackExchange
from ground.adapters.state_file import StateFile
from ground.receive import merge
from ground.receive.merge import SAME_NS, MergeService, Seen
from protocols.bus.messages import LinkMessage, OpaqueMessage, PacketsMessage, parse
from protocols.packets.batch import PacketBatch

S = 1_000_000_000
ANTENNAS = ("receive.a", "receive.b", "receive.c")


def test_the_same_is_what_another_antenna_heard_at_that_time() -> None:
    seen = Seen()
    assert seen.fresh(0, [b"one", b"two"], [1, 1], [0, S]).tolist() == [True, True]
    assert seen.fresh(1, [b"one", b"two"], [1, 1], [SAME_NS, S]).tolist() == [False, False]
    # Another channel, another time, and the same antenna again: packets of their own.
    assert seen.fresh(1, [b"one", b"two"], [2, 1], [0, 2 * S]).tolist() == [True, True]
    assert seen.fresh(0, [b"one"], [1], [10]).tolist() == [True]
    again = Seen()
    again.restore(seen.kept())
    assert again.fresh(2, [b"one"], [1], [20]).tolist() == [False]


class Killed(Exception):
    pass


class World:
    """Receivers' journals, which the test writes, and the merging service, killed at will."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.exchange = LoopbackExchange()
        self.clock = ScaledClock.wall()
        self.receivers = {name: self.bus(name) for name in ANTENNAS}
        self.first = dict.fromkeys(ANTENNAS, 0)

    def bus(self, name: str) -> LoopbackBus:
        journals = {
            topic: FileJournal(self.directory / name / topic) for topic in ("packets", "opaque")
        }
        return LoopbackBus(name, self.exchange, journals)

    def hear(self, antenna: str, packets: list[bytes], ert_ns: list[int]) -> None:
        batch = PacketBatch.from_packets(packets, ert_ns=ert_ns)
        message = PacketsMessage(
            antenna.partition(".")[2], batch, np.zeros(len(batch), bool), 0, self.first[antenna]
        )
        self.first[antenna] += len(batch)
        self.receivers[antenna].publish("packets", message.build(), time_ns=0)

    def merge(self, turns: int, *, kill: bool) -> None:
        """So many turns of the service; killed, it keeps nothing on its way out."""
        bus = self.bus("receive")
        state = StateFile(self.directory / "receive.state")
        service = MergeService(ANTENNAS, bus, self.clock, state, service="receive")
        left = [turns]

        def stop() -> bool:
            left[0] -= 1
            if left[0] < 0 and kill:
                raise Killed
            return left[0] < 0

        try:
            service.run(stop)
        except Killed:
            pass
        finally:
            bus.close()

    def told(self) -> list[PacketsMessage]:
        bus = self.bus("receive")
        try:
            return [parse(PacketsMessage, message.body) for message in bus.history("packets", 0)]
        finally:
            bus.close()

    def close(self) -> None:
        for bus in self.receivers.values():
            bus.close()


@pytest.mark.parametrize("seed", range(6))
def test_every_packet_once_through_kills_and_backlogs(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Snapshots at some turns and not at others.
    monkeypatch.setattr(merge, "SNAPSHOT_S", 0.0 if seed % 2 else 1e9)
    monkeypatch.setattr(merge, "TURN_S", 0.0)
    rng = random.Random(seed)
    sent = [(b"\x08\x01\xc0\x00\x00\x03" + rng.randbytes(4), i * 20_000_000) for i in range(300)]
    world = World(tmp_path)
    at = dict.fromkeys(ANTENNAS, 0)
    heard: Counter[bytes] = Counter()
    while any(position < len(sent) for position in at.values()):
        antenna = rng.choice(ANTENNAS)
        part = sent[at[antenna] : at[antenna] + rng.randrange(1, 40)]
        at[antenna] += len(part)
        delay_ns = ANTENNAS.index(antenna) * 15_000_000
        kept = [one for one in part if rng.random() > 0.3]
        if kept:
            world.hear(antenna, [p for p, _ in kept], [t + delay_ns for _, t in kept])
            heard.update(p for p, _ in kept)
        if rng.random() < 0.3:
            world.merge(rng.randrange(1, 5), kill=rng.random() < 0.7)
    world.merge(20, kill=False)
    world.close()
    messages = world.told()
    told = Counter(packet for message in messages for packet in message.packets)
    assert told == Counter(set(heard))
    # The merged journal counts like a receiver's.
    first = 0
    for message in messages:
        assert message.first_packet == first
        first += len(message.packets)


def test_what_comes_late_says_nothing_about_the_present(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.hear("receive.a", [b"\x08\x01\xc0\x00\x00\x00n"], [100 * S])
    world.merge(4, kill=False)
    world.hear(
        "receive.b", [b"\x08\x01\xc0\x00\x00\x00o", b"\x08\x01\xc0\x00\x00\x00p"], [0, 98 * S]
    )
    world.merge(4, kill=False)
    world.close()
    now, late = world.told()
    assert (now.link, now.playback.tolist()) == ("a", [False])
    assert (late.link, late.playback.tolist()) == ("b", [True, False])


def test_the_link_is_that_of_the_first_antenna_that_hears(tmp_path: Path) -> None:
    world = World(tmp_path)
    viewer = LoopbackBus("viewer", world.exchange)
    viewer.subscribe("link")
    seen: list[str] = []

    def say(antenna: str, state: str, carrier: bool) -> None:
        link = LinkMessage(antenna[-1], 0, state, "", carrier, 499.0, 0, "", {}, {})
        world.receivers[antenna].publish(f"link.{antenna[-1]}", link.build(), time_ns=0)

    bus = world.bus("receive")
    state = StateFile(tmp_path / "receive.state")
    service = MergeService(ANTENNAS, bus, world.clock, state, service="receive")
    for topic in ("link.", "ocf."):
        bus.subscribe(topic)
    for a_hears, b_hears in ((True, True), (False, True), (False, False), (True, False)):
        say("receive.a", "OK" if a_hears else "UNAVAILABLE", a_hears)
        say("receive.b", "OK", b_hears)
        for message in bus.receive(0):
            service._take(message)
        told = [m for m in viewer.receive(0) if m.topic == "link"]
        seen.append(parse(LinkMessage, told[-1].body).link)
    assert seen == ["a", "b", "b", "a"]
    bus.close()
    world.close()


def test_zones_that_are_no_packets_are_selected_whole() -> None:
    kinds = {"scid": "u2", "vcid": "u1", "frame": "i8", "ert_ns": "i8", "reason": "u1"}
    columns = {name: np.arange(3, dtype=kind) for name, kind in kinds.items()}
    message = OpaqueMessage(
        link="l", reception_ns=0, first_zone=0,
        octets=np.frombuffer(b"aabbbc", np.uint8), offsets=np.array([0, 2, 5, 6]), **columns,
    )  # fmt: skip
    some = parse(OpaqueMessage, message.select(np.array([True, False, True])).build())
    assert bytes(some.octets) == b"aac"
    assert some.offsets.tolist() == [0, 2, 3]
    assert some.frame.tolist() == [0, 2]
