"""Extraction: equal to the rule written out, to itself however cut; every octet accounted for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.frames import aos, tm, uslp
from protocols.frames.columns import FHP_IDLE, FHP_NONE, FHP_NOT_PACKETS, FrameIndex
from protocols.frames.index import index_frames
from protocols.frames.parameters import FrameParameters
from protocols.packets import encapsulation
from protocols.packets.assembly import FrameMultiplexer
from protocols.packets.batch import PacketBatch
from protocols.packets.extraction import (
    MAX_OCF_VALUES,
    MAX_ZONE_LENGTHS,
    Extracted,
    ExtractionStatistics,
    PacketExtractor,
)
from protocols.packets.space_packet import LONGEST_PACKET, SpacePacket, build_packet, idle_packet
from tests.strategies import encapsulation_packets, space_packets

# --- the rule, one frame and one octet string at a time ------------------------------------------


@dataclass
class Reference:
    """The reassembly rule of the captures' truth, written without arrays."""

    last: dict[Any, int] = field(default_factory=dict)
    partial: dict[Any, tuple[bytes, int]] = field(default_factory=dict)
    packets: list[tuple[bytes, int, int]] = field(default_factory=list)
    opaque: list[tuple[int, bytes]] = field(default_factory=list)

    def frame(self, number: int, index: FrameIndex, i: int, octets: bytes) -> None:
        vc = (int(index.scid[i]), int(index.vcid[i]))
        channel = int(index.channel[i])
        counter = (vc, channel & 1)
        zone = octets[index.zone_start[i] : index.zone_end[i]]
        modulus = int(index.vc_count_modulus[i])
        if modulus > 1:
            count = int(index.vc_count[i])
            if counter in self.last and (count - self.last[counter]) % modulus != 1:
                for other in [c for c in self.partial if (c[1], c[2]) == counter]:
                    del self.partial[other]
            self.last[counter] = count
        key = (channel, *counter)
        fhp = int(index.first_header_pointer[i])
        if fhp == FHP_IDLE:
            return
        if fhp == FHP_NOT_PACKETS or (fhp >= len(zone) and fhp != FHP_NONE):
            if fhp != FHP_NOT_PACKETS:
                self.partial.pop(key, None)
            self.opaque.append((number, zone))
            return
        if key in self.partial:
            begun, born = self.partial.pop(key)
            begun += zone if fhp == FHP_NONE else zone[:fhp]
            wanted = 7 + int.from_bytes(begun[4:6], "big") if len(begun) >= 6 else None
            if wanted == len(begun):
                self.packets.append((begun, vc[1], born))
            elif fhp == FHP_NONE and (wanted is None or wanted > len(begun)):
                self.partial[key] = (begun, born)
        if fhp == FHP_NONE:
            return
        rest = zone[fhp:]
        while rest:
            if rest[0] >> 5:
                self.opaque.append((number, rest))
                return
            wanted = 7 + int.from_bytes(rest[4:6], "big") if len(rest) >= 6 else len(rest) + 1
            if wanted > len(rest):
                self.partial[key] = (rest, number)
                return
            self.packets.append((rest[:wanted], vc[1], number))
            rest = rest[wanted:]


# --- streams of frames, whole and damaged --------------------------------------------------------


@st.composite
def streams(draw: st.DrawFn) -> tuple[FrameParameters, np.ndarray]:
    """Frames of several channels, then lost, repeated, exchanged, flipped and overwritten."""
    kind = draw(st.sampled_from(["tm", "aos", "uslp"]))
    length = draw(st.integers(30, 90))
    parameters = FrameParameters(
        kind,
        length,
        fecf=draw(st.sampled_from(["absent", "absent", "crc16"])),
        ocf=draw(st.booleans()),
        scid=draw(st.sampled_from([None, 76])),
        vc_content=draw(st.sampled_from([{}, {2: "opaque"}])),
    )
    sender = FrameMultiplexer(parameters, scid=76, vc_count_length=draw(st.integers(0, 2)))
    pieces = []
    for _ in range(draw(st.integers(1, 5))):
        vcid = draw(st.integers(0, 2))
        if parameters.content_of(vcid) == "opaque":
            size = sender.zone_length(vcid)
            sender.push(vcid, draw(st.binary(min_size=size, max_size=size)))
        else:
            for packet in draw(st.lists(space_packets(200), min_size=1, max_size=4)):
                sender.push(vcid, build_packet(packet))
        pieces.append(sender.take(fill=draw(st.booleans())))
    pieces.append(sender.take(draw(st.integers(0, 3)), fill=True))
    frames = np.concatenate(pieces)
    n = len(frames)
    order = draw(
        st.just(list(range(n)))
        | st.lists(st.integers(0, max(n - 1, 0)), max_size=2 * n if n else 0)
        | st.sets(st.integers(0, max(n - 1, 0)), max_size=n).map(sorted)
    )
    frames = frames[np.array(order, np.int64)].copy() if n else frames
    for _ in range(draw(st.sampled_from([0, 0, 1, 4, 12]))):
        if len(frames):
            row = draw(st.integers(0, len(frames) - 1))
            column = draw(st.integers(0, length - 1) | st.integers(0, 12))
            frames[row, column] ^= draw(st.integers(1, 255))
    return parameters, frames


def push_all(
    extractor: PacketExtractor, parameters: FrameParameters, frames: np.ndarray, cuts: list[int]
) -> list[Extracted]:
    """Frames pushed in pieces; the receive time of a frame is 1000 and its number."""
    parts = []
    ends = [*sorted(c for c in cuts if c <= len(frames)), len(frames)]
    for low, high in zip([0, *ends[:-1]], ends, strict=True):
        index = index_frames(frames[low:high], parameters)
        parts.append(extractor.push(frames[low:high], index, 1000 + np.arange(low, high)))
    return parts


def told(parts: list[Extracted]) -> tuple[list[Any], list[Any]]:
    packets = [
        (octets, int(part.packets.vcid[i]), int(part.first_frame[i]), int(part.packets.ert_ns[i]))
        for part in parts
        for i, octets in enumerate(part.packets)
    ]
    return packets, [zone for part in parts for zone in part.opaque]


def check_account(statistics: ExtractionStatistics) -> None:
    """Every frame and every octet of every zone is somewhere, once."""
    frames = 0
    for channel in statistics.channels.values():
        counts = channel.counts
        assert counts["zone_octets"] == channel.partial_octets + sum(
            counts[name]
            for name in (
                "packet_octets",
                "idle_octets",
                "opaque_octets",
                "gap_octets",
                "mismatch_octets",
                "orphan_octets",
            )
        )
        assert counts["frames"] == sum(
            counts[name]
            for name in ("pointer_frames", "continuation_frames", "idle_frames", "opaque_frames")
        )
        assert counts["bad_pvn"] == sum(counts[f"bad_pvn_{version}"] for version in range(8))
        assert counts["discontinuities"] >= counts["repeats"] + counts["backward_jumps"]
        frames += counts["frames"]
    left_out = statistics.crc_failed + statistics.foreign + statistics.malformed
    assert statistics.frames == frames + left_out + statistics.refused


@settings(max_examples=200, deadline=None)
@given(streams())
def test_extraction_follows_the_rule(stream: tuple[FrameParameters, np.ndarray]) -> None:
    parameters, frames = stream
    extractor = PacketExtractor()
    packets, opaque = told(push_all(extractor, parameters, frames, []))
    index = index_frames(frames, parameters)
    reference = Reference()
    for number in np.flatnonzero(index.usable).tolist():
        reference.frame(number, index, number, frames[number].tobytes())
    assert packets == [(*packet, 1000 + packet[2]) for packet in reference.packets]
    assert [(zone.frame, zone.octets) for zone in opaque] == reference.opaque
    statistics = extractor.statistics
    check_account(statistics)
    for (_, vcid), channel in statistics.channels.items():
        mine = [p for p in packets if p[1] == vcid]
        if len({name[0] for name in statistics.channels}) == 1:
            assert channel.counts["space_packets"] == len(mine)
            assert channel.counts["packet_octets"] == sum(len(p[0]) for p in mine)
    assert sum(c.partial_octets for c in statistics.channels.values()) == sum(
        len(octets) for octets, _ in reference.partial.values()
    )


@settings(max_examples=100, deadline=None)
@given(streams(), st.lists(st.integers(0, 40), max_size=6), st.integers(0, 6))
def test_any_cut_gives_the_same_and_so_does_a_restart(
    stream: tuple[FrameParameters, np.ndarray], cuts: list[int], restart: int
) -> None:
    parameters, frames = stream
    whole = PacketExtractor()
    expected = told(push_all(whole, parameters, frames, []))

    cut = PacketExtractor()
    assert told(push_all(cut, parameters, frames, cuts)) == expected
    assert cut.statistics == whole.statistics

    before = PacketExtractor()
    restart = min(restart, len(frames))
    first = push_all(before, parameters, frames[:restart], [])
    stored = msgpack.unpackb(msgpack.packb(before.snapshot()), strict_map_key=False)
    after = PacketExtractor()
    after.restore(stored)
    rest = frames[restart:]
    index = index_frames(rest, parameters)
    second = after.push(rest, index, 1000 + restart + np.arange(len(rest)))
    assert told([*first, second]) == expected
    assert after.statistics == whole.statistics


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_noise_raises_nothing_and_is_accounted_for(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["tm", "aos", "uslp"]))
    length = data.draw(st.integers(24, 60))
    parameters = FrameParameters(kind, length)
    n = data.draw(st.integers(0, 12))
    frames = np.frombuffer(
        data.draw(st.binary(min_size=n * length, max_size=n * length)), np.uint8
    ).reshape(n, length)
    if data.draw(st.booleans()) and n:
        frames = frames.copy()
        frames[:, 0] = {"tm": 0, "aos": 0x40, "uslp": 0xC0}[kind]
        frames[:, 4:7] = [0, length - 1, 0] if kind == "uslp" else frames[:, 4:7]
    extractor = PacketExtractor(accept_encapsulation=data.draw(st.booleans()), longest_packet=500)
    push_all(extractor, parameters, frames, data.draw(st.lists(st.integers(0, 12), max_size=3)))
    check_account(extractor.statistics)


@settings(max_examples=60, deadline=None)
@given(st.lists(space_packets(100) | encapsulation_packets(100), min_size=1, max_size=12))
def test_encapsulation_packets_come_out_where_they_are_accepted(packets: list[Any]) -> None:
    whole = [
        build_packet(p) if isinstance(p, SpacePacket) else encapsulation.build_packet(p)
        for p in packets
    ]
    parameters = FrameParameters("aos", 40, scid=76)
    sender = FrameMultiplexer(parameters)
    sender.push(5, PacketBatch.from_packets(whole))
    frames = sender.take(fill=True)
    (got,) = push_all(PacketExtractor(accept_encapsulation=True), parameters, frames, [])
    end = got.packets.packet(len(got.packets) - 1)
    fill = len(got.packets) > len(whole)
    assert list(got.packets)[: len(whole)] == whole
    assert not fill or end == idle_packet(len(end))


def test_versions_not_accepted_are_opaque() -> None:
    parameters = FrameParameters("aos", 40, scid=76)
    sender = FrameMultiplexer(parameters)
    sender.push(1, b"\xf1\x20" + bytes(30))
    extractor = PacketExtractor()
    (got,) = push_all(extractor, parameters, sender.take(), [])
    assert len(got.packets) == 0
    assert [(z.reason, z.octets) for z in got.opaque] == [("bad_pvn", b"\xf1\x20" + bytes(30))]
    assert extractor.statistics.vc(1).counts["bad_pvn_7"] == 1


def counted(counts: list[int], modulus: int) -> PacketExtractor:
    """An extractor that saw idle-free TM or AOS frames with these counts on VC 1."""
    if modulus == 256:
        parameters = FrameParameters("tm", 20, scid=76)
        octets = [tm.build(tm.TmFrame(76, 1, 0, c, 0x7FF, bytes(14)), parameters) for c in counts]
    else:
        parameters = FrameParameters("aos", 20, scid=76)
        octets = [aos.build(aos.AosFrame(76, 1, c, bytes(12), 0x7FF), parameters) for c in counts]
    frames = np.array([list(o) for o in octets], np.uint8)
    extractor = PacketExtractor()
    push_all(extractor, parameters, frames, [])
    return extractor


@pytest.mark.parametrize(
    ("modulus", "counts", "discontinuities", "repeats", "backward", "missing"),
    [
        (256, [254, 255, 0, 1], 0, 0, 0, 0),
        (256, [0, 0, 0], 2, 2, 0, 0),
        (256, [5, 8], 1, 0, 0, 2),
        (256, [5, 4], 1, 0, 0, 254),
        (1 << 24, [(1 << 24) - 1, 0, 1], 0, 0, 0, 0),
        (1 << 24, [9, 9, 12], 2, 1, 0, 2),
        (1 << 24, [9, 4, 5], 1, 0, 1, 0),
    ],
)
def test_counters(
    modulus: int,
    counts: list[int],
    discontinuities: int,
    repeats: int,
    backward: int,
    missing: int,
) -> None:
    channel = counted(counts, modulus).statistics.vc(1)
    assert channel.counts["discontinuities"] == discontinuities
    assert channel.counts["repeats"] == repeats
    assert channel.counts["backward_jumps"] == backward
    assert channel.counts["missing_frames"] == missing
    assert (channel.first_count, channel.last_count) == (counts[0], counts[-1])


def test_maps_of_a_uslp_channel_share_the_counter_and_not_the_packet_begun() -> None:
    parameters = FrameParameters("uslp", 30, scid=76)
    packet = build_packet(
        __import__("protocols.packets.space_packet", fromlist=["x"]).SpacePacket(
            9, bytes(range(30))
        )
    )
    size = 30 - 8 - 3

    def frame(count: int, map_id: int, data: bytes, pointer: int) -> bytes:
        return uslp.build(
            uslp.UslpFrame(76, 1, data.ljust(size, b"\xff"), map_id, count, 1, pointer=pointer),
            parameters,
        )

    first, second = packet[:size], packet[size:]

    def run(counts: list[int]) -> Extracted:
        octets = [
            frame(counts[0], 0, first, 0),
            frame(counts[1], 1, first, 0),
            frame(counts[2], 0, second, len(second)),
            frame(counts[3], 1, second, len(second)),
        ]
        frames = np.array([list(o) for o in octets], np.uint8)
        (got,) = push_all(PacketExtractor(), parameters, frames, [])
        return got

    assert list(run([0, 1, 2, 3]).packets) == [packet, packet]
    # Lost between the second and the third frame: both packets begun are gone.
    assert list(run([0, 1, 3, 4]).packets) == []


def test_channels_beyond_the_bound_are_refused_and_counted() -> None:
    parameters = FrameParameters("aos", 20)
    frames = np.array(
        [
            list(aos.build(aos.AosFrame(scid, 1, 0, bytes(12), 0), parameters))
            for scid in (1, 2, 3, 1, 4)
        ],
        np.uint8,
    )
    for cuts in ([], [1, 2, 3, 4]):
        extractor = PacketExtractor(max_channels=2)
        push_all(extractor, parameters, frames, cuts)
        statistics = extractor.statistics
        assert sorted(statistics.channels) == [(1, 1), (2, 1)]
        assert (statistics.frames, statistics.refused) == (5, 2)
        check_account(statistics)


def test_what_is_remembered_of_values_is_bounded_however_cut() -> None:
    """OCF values and data field lengths beyond the bounds: the first that came stay."""
    parameters = FrameParameters("uslp", 1600, scid=1)
    n = MAX_OCF_VALUES + 300
    rng = np.random.default_rng(5)
    ocf = rng.permutation(n).astype(np.uint32)
    frames = uslp.build_frames(
        np.zeros((n, 1600 - 7 - 3 - 3 - 4), np.uint8),
        parameters,
        scid=1,
        vcid=2,
        vc_count=np.arange(n),
        first_header_pointer=np.full(n, FHP_NOT_PACKETS, np.int32),
        ocf=ocf,
    )
    # Last valid octet pointers, each with its own length of the data field.
    last = rng.permutation(n)
    frames[:, 11], frames[:, 12] = last >> 8, last & 0xFF
    seen: list[ExtractionStatistics] = []
    for cuts in ([], list(range(7, n, 7))):
        extractor = PacketExtractor()
        push_all(extractor, parameters, frames, cuts)
        seen.append(extractor.statistics)
    assert seen[0] == seen[1]
    channel = seen[0].vc(2)
    assert set(channel.ocf) == set(ocf[:MAX_OCF_VALUES].tolist())
    assert channel.ocf_other == 300
    assert channel.zone_lengths == tuple(sorted((last[:MAX_ZONE_LENGTHS] + 1).tolist()))


def test_missing_frames_of_wide_counters_do_not_overflow() -> None:
    """Garbled counts of seven octets leap by 2^55 each; two hundred of them pass 2^63."""
    parameters = FrameParameters("uslp", 40, scid=1)
    n = 1000
    step = (1 << 55) - 1
    frames = uslp.build_frames(
        np.zeros((n, 40 - 7 - 7 - 3), np.uint8),
        parameters,
        scid=1,
        vcid=2,
        vc_count=np.arange(n) * step % (1 << 56),
        first_header_pointer=np.full(n, FHP_IDLE, np.int32),
        vc_count_length=7,
    )
    extractor = PacketExtractor()
    push_all(extractor, parameters, frames, [])
    counts = extractor.statistics.vc(2).counts
    assert counts["discontinuities"] == n - 1
    assert counts["missing_frames"] == 1 << 52


def test_longest_packet_passes_and_the_buffer_is_bounded() -> None:
    parameters = FrameParameters("tm", 2048, scid=76)
    sender = FrameMultiplexer(parameters)
    packet = build_packet(SpacePacket(3, bytes(65536)))
    assert len(packet) == LONGEST_PACKET == 65542
    sender.push(0, packet)
    sender.push(0, packet)
    frames = sender.take(fill=True)
    (got,) = push_all(PacketExtractor(), parameters, frames, [])
    assert list(got.packets)[:2] == [packet, packet]
    refusing = PacketExtractor(longest_packet=1000)
    push_all(refusing, parameters, frames, [])
    # Nothing tells where the packet after a refused one begins, but the next header pointer.
    too_long = int((got.packets.length > 1000).sum())
    assert refusing.statistics.vc(0).counts["bad_length"] == too_long >= 2
    check_account(refusing.statistics)


def test_index_of_other_frames_is_our_mistake() -> None:
    parameters = FrameParameters("tm", 30)
    frames = np.zeros((3, 30), np.uint8)
    index = index_frames(frames, parameters)
    with pytest.raises(LocalError, match="3 frames"):
        PacketExtractor().push(frames, index, np.zeros(2, np.int64))
    with pytest.raises(LocalError, match="other frames"):
        PacketExtractor().push(frames[:, :20], index, np.zeros(3, np.int64))
    with pytest.raises(LocalError, match="snapshot"):
        PacketExtractor().restore(PacketExtractor(longest_packet=100).snapshot())
