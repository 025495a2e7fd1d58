"""Several antennas' packets become one stream: each once, through kills and backlogs."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ground.adapters.clock import ScaledClock
from ground.adapters.journal import FileJournal
from ground.adapters.loopback import LoopbackBus, LoopbackExchange
from ground.adapters.state_file import StateFile
from ground.answering import Handler
from ground.config import RunSettings
from ground.receive import merge
from ground.receive.merge import MergeService
from protocols.bus.messages import LinkMessage, OcfMessage, OpaqueMessage, PacketsMessage, parse
from protocols.packets.batch import PacketBatch

S = 1_000_000_000
ANTENNAS = ("receive.a", "receive.b", "receive.c")


class Killed(Exception):
    pass


class NoCalls:
    """No operator asks anything."""

    def turn(self, handle: Handler) -> None: ...


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
        settings = RunSettings(self.directory, sync=False)
        service = MergeService(
            ANTENNAS, bus, self.clock, state, settings, NoCalls(), service="receive"
        )
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
    assert (now.origin, now.playback.tolist()) == ("receive.a", [False])
    assert (late.origin, late.playback.tolist()) == ("receive.b", [True, False])
    # The archive knows a packet that is played back by another antenna, since the stream is one.
    assert now.link == late.link == "downlink"


class Links:
    """A merging service that takes what the test says; what it passes on."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._viewer = LoopbackBus("viewer", world.exchange)
        for topic in ("link", "ocf"):
            self._viewer.subscribe(topic)
        self.bus = world.bus("receive")
        state = StateFile(world.directory / "receive.state")
        settings = RunSettings(world.directory, sync=False)
        self.service = MergeService(
            ANTENNAS, self.bus, world.clock, state, settings, NoCalls(), service="receive"
        )
        for topic in ("link.", "ocf."):
            self.bus.subscribe(topic)
        self.now_ns = world.clock.now_ns()
        self._words = 0
        for antenna in ANTENNAS:
            # The broker's, of whoever was there once.
            self.say(antenna, "OK", True)

    def say(
        self, antenna: str, state: str, carrier: bool, ert_ns: int = 0, *, word: int = 0
    ) -> int:
        """word: said again as it was."""
        self._words += 1
        word = word or self._words
        ert_ns = ert_ns or self.now_ns
        link = LinkMessage(antenna[-1], word, state, "", carrier, 499.0, ert_ns, "", {}, {})
        self.world.receivers[antenna].publish(f"link.{antenna[-1]}", link.build(), time_ns=0)
        return word

    def ocf(self, antenna: str, *runs: tuple[int, int, int]) -> None:
        """runs: word, first and last ERT in ns from the beginning."""
        words, first, last = (np.array(column, np.int64) for column in zip(*runs, strict=True))
        times = first + self.now_ns, last + self.now_ns
        ones = np.ones(len(words), np.int64)
        message = OcfMessage(antenna[-1], words.astype(np.uint32), ones, *times)
        self.world.receivers[antenna].publish(f"ocf.{antenna[-1]}", message.build(), time_ns=0)

    def passed(self) -> tuple[list[str], list[int]]:
        """Links and words of OCFs since the last time."""
        for message in self.bus.receive(0):
            self.service._take(message)
        told = self._viewer.receive(0)
        ocfs = [parse(OcfMessage, m.body).word.tolist() for m in told if m.topic == "ocf"]
        links = [parse(LinkMessage, m.body).link for m in told if m.topic == "link"]
        return links, [word for words in ocfs for word in words]

    def close(self) -> None:
        self.bus.close()
        self.world.close()


def test_the_link_is_that_of_the_first_antenna_that_hears(tmp_path: Path) -> None:
    links = Links(World(tmp_path))
    # Nobody is alive for being remembered by the broker.
    assert links.passed() == ([], [])
    seen: list[str] = []
    for a_hears, b_hears in ((True, True), (False, True), (False, False), (True, False)):
        links.say("receive.a", "OK" if a_hears else "UNAVAILABLE", a_hears)
        links.say("receive.b", "OK", b_hears)
        seen.append(links.passed()[0][-1])
    assert seen == ["a", "b", "b", "a"]
    links.close()


def test_a_word_that_is_said_again_is_no_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = Links(World(tmp_path))
    last = links.say("receive.a", "OK", True)
    links.say("receive.b", "OK", True)
    assert links.passed()[0] == ["a"]
    # a is killed; the broker says its last word to each viewer that comes, and we hear it, too.
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 6.0)
    links.say("receive.b", "OK", True)
    for _ in range(3):
        links.say("receive.a", "OK", True, word=last)
    assert links.passed()[0] == ["b"]
    assert "no word from a, c" in links.service._detail()
    links.close()


def test_clcws_of_an_antenna_that_is_late_are_never_passed_on(tmp_path: Path) -> None:
    links = Links(World(tmp_path))
    for antenna in ("receive.a", "receive.b"):
        links.say(antenna, "OK", True)
    links.ocf("receive.a", (1, -9 * S, -8 * S), (2, S, 2 * S))
    # What was before this process may have been passed on by the one before it.
    assert links.passed()[1] == [2]
    # a loses its line; b goes on; a comes back with its backlog.
    links.say("receive.a", "UNAVAILABLE", False)
    links.say("receive.b", "OK", True, links.now_ns)
    links.ocf("receive.b", (2, S, 2 * S), (3, 2 * S, 4 * S))
    assert links.passed()[1] == [3]
    links.say("receive.a", "OK", True, links.now_ns - 60 * S)
    links.ocf("receive.a", (2, 2 * S, 3 * S))
    assert links.passed() == ([], [])
    # It has caught up: it is the first again, and says nothing that was said.
    links.say("receive.a", "OK", True, links.now_ns - S)
    links.ocf("receive.a", (2, 2 * S, 3 * S), (3, 3 * S, 4 * S), (4, 4 * S, 5 * S))
    assert links.passed() == (["a"], [4])
    links.close()


def test_a_clock_that_is_ahead_makes_nobody_late(tmp_path: Path) -> None:
    world = World(tmp_path)
    links = Links(world)
    ahead_ns = links.now_ns + 3600 * S
    links.say("receive.b", "OK", True)
    links.say("receive.a", "OK", True, ahead_ns)
    links.ocf("receive.a", (1, 3600 * S, 3600 * S))
    links.ocf("receive.b", (2, S, S))
    assert links.passed() == (["b"], [2])
    links.bus.close()
    packets = [bytes((8, 1, 192, 0, 0, 0, i)) for i in range(12)]
    world.hear("receive.a", packets, [ahead_ns + i for i in range(12)])
    world.hear("receive.b", packets, [links.now_ns + i for i in range(12)])
    world.merge(6, kill=False)
    world.close()
    assert [message.playback.any() for message in world.told()] == [False, False]


def test_a_receiver_that_tells_all_anew_tells_nobody_twice(tmp_path: Path) -> None:
    """Its disk was lost but for the capture, or a power failure took its journal's end."""
    packets = [bytes((8, 1, 192, i, 0, 0, i)) for i in range(6)]
    times = [i * S for i in range(6)]
    world = World(tmp_path)
    world.hear("receive.a", packets[:4], times[:4])
    world.merge(4, kill=True)
    world.receivers["receive.a"].close()
    shutil.rmtree(tmp_path / "receive.a")
    world.receivers["receive.a"] = world.bus("receive.a")
    world.hear("receive.a", packets, times)
    world.merge(6, kill=True)
    world.hear("receive.b", packets, times)
    world.merge(6, kill=False)
    world.close()
    assert [packet for message in world.told() for packet in message.packets] == packets


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
