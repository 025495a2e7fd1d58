"""Batch builders equal `build`, and extraction undoes assembly."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.frames import aos, tm, uslp
from protocols.frames.index import index_frames
from protocols.frames.parameters import FrameParameters
from protocols.packets.assembly import FrameMultiplexer
from protocols.packets.batch import PacketBatch
from protocols.packets.extraction import PacketExtractor
from protocols.packets.space_packet import build_packet
from tests.strategies import frame_parameters, space_packets

MODULES: dict[str, ModuleType] = {"tm": tm, "aos": aos, "uslp": uslp}


def sender_of(
    data: st.DataObject, parameters: FrameParameters
) -> tuple[FrameMultiplexer, dict[str, Any]]:
    secondary = data.draw(st.integers(0, 12)) if parameters.kind == "tm" else 0
    sender = FrameMultiplexer(
        parameters,
        scid=data.draw(st.integers(0, 1023)) if parameters.scid is None else None,
        secondary_header_length=secondary,
        vc_count_length=data.draw(st.integers(0, 7)),
    )
    extra: dict[str, Any] = {"ocf": data.draw(st.integers(0, (1 << 32) - 1))}
    if secondary:
        extra["secondary_header"] = data.draw(st.binary(min_size=secondary, max_size=secondary))
    if parameters.insert_zone_length:
        size = parameters.insert_zone_length
        extra["insert_zone"] = data.draw(st.binary(min_size=size, max_size=size))
    return sender, extra


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_frames_in_batches_equal_the_declaration(data: st.DataObject) -> None:
    """Every frame parses, says what was asked for, and builds to the same octets."""
    parameters = data.draw(frame_parameters())
    sender, extra = sender_of(data, parameters)
    carriers = [v for v in range(3) if parameters.content_of(v) == "packets"]
    sent: dict[int, list[bytes]] = {vcid: [] for vcid in carriers}
    counts: dict[int, int] = {}
    frames = []
    for _ in range(data.draw(st.integers(1, 4))):
        for vcid in carriers:
            packets = data.draw(st.lists(space_packets(150).map(build_packet), max_size=3))
            sent[vcid] += packets
            sender.push(vcid, PacketBatch.from_packets(packets))
        frames.append(sender.take(data.draw(st.none() | st.integers(0, 5)), **extra))
    frames.append(sender.take(fill=True, **extra))
    frames.append(sender.take(2, fill=True, **extra))
    every = np.concatenate(frames)

    codec = MODULES[parameters.kind]
    for octets in every:
        frame = codec.parse(octets.tobytes(), parameters)
        assert codec.build(frame, parameters) == octets.tobytes()
        if parameters.ocf:
            assert frame.ocf == extra["ocf"].to_bytes(4, "big")
        if "insert_zone" in extra:
            assert frame.insert_zone == extra["insert_zone"]
        if "secondary_header" in extra:
            assert frame.secondary_header == extra["secondary_header"]
        expected = counts.get(frame.vcid, -1) + 1
        counts[frame.vcid] = expected
        if frame.vc_count >= 0:
            assert frame.vc_count == expected % (1 << 24 if parameters.kind == "aos" else 256)

    index = index_frames(every, parameters)
    assert index.usable.all()
    extractor = PacketExtractor()
    got = extractor.push(every, index, np.zeros(len(every), np.int64)).packets
    for vcid in carriers:
        # Packets of APID 2047 may be the user's own: the fill is what follows them.
        mine = list(got.select(got.vcid == vcid))
        assert [packet for packet in mine if packet in sent[vcid]][: len(sent[vcid])] == sent[vcid]
        assert sender.waiting(vcid) == 0
    for channel in extractor.statistics.channels.values():
        assert channel.counts["discontinuities"] == 0
        assert channel.counts["fhp_mismatch"] == 0
        assert channel.partial_octets == 0


@pytest.mark.parametrize("kind", ["tm", "aos", "uslp"])
def test_opaque_channels_carry_whole_zones(kind: Any) -> None:
    parameters = FrameParameters(kind, 50, fecf="crc16", scid=9, vc_content={3: "opaque"})
    sender = FrameMultiplexer(parameters)
    size = sender.zone_length(3)
    sdus = np.random.default_rng(1).bytes(2 * size)
    sender.push(3, sdus)
    frames = sender.take()
    got = PacketExtractor().push(frames, index_frames(frames, parameters), np.zeros(2, np.int64))
    assert [zone.octets for zone in got.opaque] == [sdus[:size], sdus[size:]]
    assert {zone.reason for zone in got.opaque} == {"not_packets"}
    with pytest.raises(LocalError, match="SDU"):
        sender.push(3, sdus[:-1])
    assert sender.waiting(3) == 0


@pytest.mark.parametrize("kind", ["tm", "aos", "uslp"])
def test_counters_wrap(kind: Any) -> None:
    parameters = FrameParameters(kind, 30, scid=9)
    sender = FrameMultiplexer(parameters, vc_count_length=1)
    frames = np.concatenate([sender.take(n, fill=True) for n in (100, 155, 1, 1, 300)])
    index = index_frames(frames, parameters)
    if kind == "aos":
        assert index.vc_count.tolist() == list(range(557))
    else:
        assert index.vc_count.tolist() == [n % 256 for n in range(557)]
    extractor = PacketExtractor()
    extractor.push(frames, index, np.zeros(557, np.int64))
    (channel,) = extractor.statistics.channels.values()
    assert channel.counts["idle_frames"] == 557
    assert channel.counts["discontinuities"] == 0


def test_fill_shorter_than_a_packet_goes_on_into_the_next_frame() -> None:
    parameters = FrameParameters("tm", 26, scid=9)
    sender = FrameMultiplexer(parameters)
    packet = build_packet(next_packet(17 - 6))
    sender.push(0, packet)
    frames = sender.take(fill=True)
    assert len(frames) == 2
    got = PacketExtractor().push(frames, index_frames(frames, parameters), np.zeros(2, np.int64))
    assert got.packets.length.tolist() == [17, 23]
    assert got.packets.is_idle.tolist() == [False, True]


def next_packet(size: int) -> Any:
    from protocols.packets.space_packet import SpacePacket

    return SpacePacket(1, bytes(size))


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"scid": None}, "no spacecraft"),
        ({"scid": 1, "secondary_header_length": 64}, "secondary"),
        ({"scid": 1, "vc_count_length": 8}, "0..7"),
        ({"scid": 1, "secondary_header_length": 40}, "no room"),
    ],
)
def test_settings_that_cannot_be(settings_: dict[str, Any], message: str) -> None:
    with pytest.raises(LocalError, match=message):
        FrameMultiplexer(FrameParameters("tm", 40), **settings_)
