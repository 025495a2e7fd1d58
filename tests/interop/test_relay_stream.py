"""What the relay sends down, as tshark reads it; the code under `protocols` touches none of it."""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from spacecraft_sim import scenario as scenarios
from spacecraft_sim.spacecraft import Spacecraft
from tests.interop.test_ltp import dissect

START_NS = 2_177_452_837 * 10**9
RELAY_CHANNEL = 4


def relay_octets(frames: list[bytes]) -> bytes:
    """Data zones of virtual channel 4 back to back: 732.0-B-4 figures 4-2 and 4-8, by hand."""
    zones: list[bytes] = []
    for frame in frames:
        identification, count = struct.unpack(">HI", frame[:6])
        if identification & 0x3F == RELAY_CHANNEL:
            assert count >> 8 == len(zones)
            zones.append(frame[8:-6])
    return b"".join(zones)


def ltp_segments(octets: bytes) -> Iterator[bytes]:
    """133.1-B-3 figure 4-1: protocol 1 behind headers of 2 or 4 octets; space packets between."""
    at = 0
    while at + 6 <= len(octets):
        first = octets[at]
        if first >> 5 == 0:
            at += 7 + struct.unpack_from(">H", octets, at + 4)[0]
            continue
        assert first >> 2 == 0b111_001
        header, length = 2, octets[at + 1]
        if first & 3 == 2:
            header, (length,) = 4, struct.unpack_from(">H", octets, at + 2)
        if at + length <= len(octets):
            yield octets[at + header : at + length]
        at += length


@pytest.mark.program("tshark")
def test_segments_and_bundles_of_the_downlink_are_good_to_tshark(tmp_path: Path) -> None:
    nominal = scenarios.load("nominal")
    short = replace(nominal, mars=replace(nominal.mars, science_octets=600, loss=0.0))
    downlink = Spacecraft(short, seed=5, start_ns=START_NS).step(START_NS + 400 * 10**9)
    segments = list(ltp_segments(relay_octets([frame.tobytes() for frame in downlink.frames])))
    assert len(segments) > 30
    frames = dissect(tmp_path, segments)
    text = json.dumps(frames)
    bundles = text.count('"bpv7.primary.version": "7"')
    assert bundles >= 20
    # Primary block and payload have a CRC each; status 1 is good.
    statuses: defaultdict[str, int] = defaultdict(int)
    for part in text.split('"bpv7.crc_status": "')[1:]:
        statuses[part[0]] += 1
    assert set(statuses) == {"1"}
    assert statuses["1"] >= 2 * bundles
    for name, value in (
        ("bpv7.primary.src_uri", "ipn:40.1"),
        ("bpv7.primary.dst_uri", "ipn:100.1"),
        ("bpv7.previous_node.uri", "ipn:20.0"),
    ):
        assert f'"{name}": "{value}"' in text, name
