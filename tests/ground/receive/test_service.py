"""receive ends at any instant, starts again, and its journals hold everything once and in order."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ground import status as ground_status
from ground.adapters.clock import ScaledClock
from ground.adapters.journal import FileJournal
from ground.adapters.loopback import LoopbackBus, LoopbackExchange, LoopbackLink, LoopbackStation
from ground.adapters.state_file import StateFile
from ground.config import RunSettings
from ground.ports import LinkChunk
from ground.receive import service
from ground.receive.capture import CaptureReader
from ground.receive.chain import ReceiveChain
from ground.receive.profile import LinkProfile, load_profile
from ground.receive.service import ReceiveService
from protocols.bus.messages import (
    LinkMessage,
    OpaqueMessage,
    PacketsMessage,
    ServiceState,
    StatusMessage,
    parse,
)
from protocols.identifiers import Topic, VirtualChannel

S = 1_000_000_000
GOLDEN = Path(__file__).parents[2] / "captures" / "l4_relay_nominal_aos.cadu"
L4 = load_profile("l4_relay")
#: The same frames with the housekeeping channel taken for one that carries no packets.
OPAQUE = load_profile("l4_relay", opaque_vc="0")


class Crash(Exception):
    pass


class DyingBus(LoopbackBus):
    """Dies at its n-th publication into a journal: `die_at` 2n before, 2n + 1 after it is in."""

    die_at: int | None = None
    journaled = 0

    def publish(self, topic: str, body: bytes, *, time_ns: int) -> int:
        if topic not in (Topic.PACKETS, Topic.OPAQUE):
            return super().publish(topic, body, time_ns=time_ns)
        self.journaled += 1
        if self.die_at == 2 * self.journaled:
            raise Crash
        sequence = super().publish(topic, body, time_ns=time_ns)
        if self.die_at == 2 * self.journaled + 1:
            raise Crash
        return sequence


class DyingLink(LoopbackLink):
    """Gives a few chunks at a time; dies instead of acknowledging for the n-th time."""

    die_at: int | None = None
    acknowledged = 0
    at_once = 3

    def receive(self, timeout_s: float) -> list[LinkChunk]:
        held = self._station.held
        last = self._taken.get(self._station.stream, -1)
        ahead = [chunk for chunk in held if chunk.sequence > last + self.at_once]
        for chunk in ahead:
            held.remove(chunk)
        chunks = super().receive(0)
        held.extend(ahead)
        return chunks

    def acknowledge(self, stream: str, sequence: int) -> None:
        self.acknowledged += 1
        if self.acknowledged == self.die_at:
            raise Crash
        super().acknowledge(stream, sequence)


class Site:
    """A station that holds the golden capture in chunks, and a receiver that can be made to die."""

    def __init__(
        self,
        directory: Path,
        profile: LinkProfile,
        *,
        seed: int = 1,
        playback: VirtualChannel = VirtualChannel.PLAYBACK,
    ) -> None:
        self.profile = profile
        self.playback = playback
        self.settings = RunSettings(
            directory, capture_octets=1 << 16, snapshot_octets=1 << 16, sync=False
        )
        self.exchange = LoopbackExchange()
        self.station = LoopbackStation("run-1")
        octets = GOLDEN.read_bytes()
        chance = random.Random(seed)
        start = 0
        while start < len(octets):
            size = chance.choice([7, 300, 1279, 5000, 20000])
            self.station.put(octets[start : start + size], ert_ns=start * S)
            start += size

    def run(
        self,
        turns: int = 10_000,
        *,
        dying_bus: int | None = None,
        dying_link: int | None = None,
    ) -> None:
        """Until the station has nothing left, or for so many turns, or until it dies."""
        bus = DyingBus("receive", self.exchange, self.journals())
        link = DyingLink("downlink", self.station)
        bus.die_at, link.die_at = dying_bus, dying_link
        count = itertools.count()
        receiver = ReceiveService(
            self.profile,
            link,
            bus,
            ScaledClock.wall(),
            StateFile(self.settings.state_file("receive")),
            self.settings,
            playback=(self.playback,),
        )
        try:
            receiver.run(lambda: next(count) >= turns or not self.station.held)
        except Crash:
            pass
        finally:
            bus.close()

    def journals(self) -> dict[str, FileJournal]:
        return {
            topic: FileJournal(self.settings.journal_dir("receive", topic))
            for topic in (Topic.PACKETS, Topic.OPAQUE)
        }

    def outcome(self) -> tuple[bytes, list[int], bytes, list[int]]:
        """Octets and lengths of all packets, then of all zones, as the journals hold them."""
        bus = LoopbackBus("reader", self.exchange, self.journals())
        try:
            packets = [parse(PacketsMessage, m.body) for m in bus.history(Topic.PACKETS, 0)]
            zones = [parse(OpaqueMessage, m.body) for m in bus.history(Topic.OPAQUE, 0)]
        finally:
            bus.close()
        count = 0
        for message in packets:
            assert message.first_packet == count
            count += len(message.packets)
        count = 0
        for zone in zones:
            assert zone.first_zone == count
            count += len(zone)
        return (
            b"".join(m.packets.octets.tobytes() for m in packets),
            np.concatenate([np.zeros(0, int), *(m.packets.length for m in packets)]).tolist(),
            b"".join(zone.octets.tobytes() for zone in zones),
            np.concatenate([np.zeros(0, int), *(np.diff(z.offsets) for z in zones)]).tolist(),
        )


def expected(profile: LinkProfile) -> tuple[bytes, list[int], bytes, list[int]]:
    """One push of everything."""
    output = ReceiveChain(profile).push(GOLDEN.read_bytes(), 0)
    packets = output.packets.select(~output.packets.is_idle)
    assert len(packets) + len(output.opaque) > 20
    return (
        packets.octets.tobytes(),
        packets.length.tolist(),
        output.opaque.octets.tobytes(),
        np.diff(output.opaque.offsets).tolist(),
    )


@pytest.fixture(autouse=True)
def _small_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MESSAGE_OCTETS", 700)
    monkeypatch.setattr(ground_status, "CONNECTING_S", 0.0)


def test_all_packets_and_zones_are_told_in_order(tmp_path: Path) -> None:
    for number, profile in enumerate((L4, OPAQUE)):
        site = Site(tmp_path / str(number), profile)
        site.run()
        assert site.outcome() == expected(profile)
    # The second is worth its place only if there are zones.
    assert expected(OPAQUE)[3]


@pytest.mark.parametrize("profile", [L4, OPAQUE], ids=["packets", "packets and zones"])
def test_dying_at_any_publication_changes_nothing_that_is_told(
    tmp_path: Path, profile: LinkProfile
) -> None:
    whole = Site(tmp_path / "whole", profile)
    whole.run()
    total = sum(journal.next_sequence for journal in _opened(whole.journals()))
    wanted = expected(profile)
    # An odd step meets both instants, before and after the journal has it.
    for die_at in range(2, 2 * total + 2, 2 * (total // 7) + 1):
        site = Site(tmp_path / str(die_at), profile, seed=die_at)
        site.run(dying_bus=die_at)
        site.run(dying_bus=5)
        site.run(dying_link=2)
        site.run()
        assert site.outcome() == wanted, die_at


def _opened(journals: dict[str, FileJournal]) -> list[FileJournal]:
    for journal in journals.values():
        journal.close()
    return list(journals.values())


def test_chunks_are_on_disk_before_they_are_acknowledged(tmp_path: Path) -> None:
    site = Site(tmp_path, L4)
    count = len(site.station.held)
    for die_at in range(1, 12):
        site.run(dying_link=die_at)
        on_disk = [c.chunk.sequence for c in CaptureReader(site.settings.capture_dir).read()]
        held = [chunk.sequence for chunk in site.station.held]
        assert on_disk == list(range(len(on_disk)))
        # Whatever the station has forgotten is on disk.
        assert set(range(count)) <= set(on_disk) | set(held)
    site.run()
    assert site.outcome() == expected(L4)


def _forget_state(site: Site) -> None:
    site.settings.state_file("receive").unlink(missing_ok=True)


def _forget_journals(site: Site) -> None:
    for topic in (Topic.PACKETS, Topic.OPAQUE):
        for file in site.settings.journal_dir("receive", topic).iterdir():
            file.unlink()


def _damage_state(site: Site) -> None:
    path = site.settings.state_file("receive")
    path.write_bytes(path.read_bytes()[:-1])


def _tear_capture(site: Site) -> None:
    last = max(site.settings.capture_dir.glob("*.pcapng"))
    with last.open("ab") as file:
        file.write(b"\x06\x00\x00\x00\x00\x10\x00\x00 torn")


@pytest.mark.parametrize("harm", [_forget_state, _forget_journals, _damage_state, _tear_capture])
def test_what_is_lost_can_be_made_again_from_the_capture(
    tmp_path: Path, harm: Callable[[Site], None]
) -> None:
    site = Site(tmp_path, OPAQUE)
    site.run(6)
    site.run(6)
    harm(site)
    site.run()
    assert site.outcome() == expected(OPAQUE)


def test_another_profile_decodes_all_again_and_says_so(tmp_path: Path) -> None:
    site = Site(tmp_path, L4)
    site.run(6)
    site.profile = load_profile("l4_relay", name="other name")
    site.run()
    assert site.outcome() == expected(L4)
    status = parse(StatusMessage, site.exchange.last["status.receive"].body)
    assert "decoding all again" in status.detail
    assert status.state == ServiceState.STOPPED


def test_counts_of_every_stage_are_shown(tmp_path: Path) -> None:
    site = Site(tmp_path, L4)
    site.run()
    message = parse(LinkMessage, site.exchange.last["link"].body)
    octets = len(GOLDEN.read_bytes())
    assert message.counts["link"]["octets_in"] == message.counts["input"]["octets"] == octets
    frames = message.counts["sync"]["frames"]
    assert frames == message.counts["frames"]["frames"]
    assert sum(channel["frames"] for channel in message.virtual_channels.values()) == frames
    assert message.counts["coding"]["uncorrectable"] == 0
    told = parse(StatusMessage, site.exchange.last["status.receive"].body).counters["packets"]
    assert told == message.counts["packets"]["packets"] - message.counts["packets"]["idle"]
    assert message.last_ert_ns > 0


def test_stored_data_is_marked(tmp_path: Path) -> None:
    # Taken for this test as if the science channel were the one that carries it.
    site = Site(tmp_path, L4, playback=VirtualChannel.SCIENCE)
    site.run()
    bus = LoopbackBus("reader", site.exchange, site.journals())
    messages = [parse(PacketsMessage, m.body) for m in bus.history(Topic.PACKETS, 0)]
    bus.close()
    playback = np.concatenate([message.playback for message in messages])
    vcid = np.concatenate([message.packets.vcid for message in messages])
    assert playback.any()
    assert playback.tolist() == (vcid == VirtualChannel.SCIENCE).tolist()
