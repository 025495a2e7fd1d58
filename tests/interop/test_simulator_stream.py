"""The simulator's downlink read by independent programs alone.

spacepackets dissects TM and USLP frames and every packet header, space-packet-parser decodes the
packets with our exported XTCE, tshark dissects them.  For AOS no independent package exists: a
reader of twenty lines written from 732.0-B's figures stands in, with spacepackets behind it.  None
of the code under `protocols` touches the octets before they are compared.
"""

from __future__ import annotations

import io
import struct
import subprocess
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from typing import Any

import crcmod.predefined
import numpy as np
import pytest
import reedsolo
from space_packet_parser.xtce.definitions import XtcePacketDefinition
from spacepackets.ccsds import SpacePacketHeader
from spacepackets.ccsds.tm_frame import TmTransferFrame
from spacepackets.uslp import frame as uslp

from protocols.dictionary.l4 import DICTIONARY
from protocols.telemetry.xtce import export_xtce
from spacecraft_sim import scenario as scenarios
from spacecraft_sim.scenario import Scenario
from spacecraft_sim.spacecraft import DownlinkFrames, Spacecraft

START_NS = 2_177_452_837 * 10**9
SECONDS = 400
IDLE_APID = 0x7FF
NO_START = {"tm": 0x7FF, "aos": 0x7FF, "uslp": 0xFFFF}


class Flight:
    """A downlink, and the values that went into it."""

    def __init__(self, kind: str) -> None:
        storm = scenarios.load("storm")
        timing = replace(storm.storm[0], start_s=20.0, rise_s=60.0, shock_s=200.0)
        self.scenario: Scenario = replace(
            storm,
            downlink=replace(storm.downlink, frame_kind=kind),
            storm=(timing,),
            # Telemetry: what the relay carries is compared in test_relay_stream.py.
            mars=replace(storm.mars, present=False),
            # Time packets have no secondary header, without which tshark takes them for malformed.
            flight_software=replace(storm.flight_software, time_report_exponent=-1),
        )
        self.values: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        spacecraft = Spacecraft(
            self.scenario,
            seed=7,
            start_ns=START_NS,
            observer=lambda name, t_ns, values: self.values[name].append((t_ns, dict(values))),
        )
        self.downlink: DownlinkFrames = spacecraft.step(START_NS + SECONDS * 10**9)


@pytest.fixture(scope="module", params=["aos", "tm", "uslp"])
def flight(request: pytest.FixtureRequest) -> Flight:
    return Flight(request.param)


def tm_zone(frame: bytes) -> tuple[int, int, int, bytes]:
    found = TmTransferFrame.unpack(frame, len(frame), True)
    header = found.primary_header
    assert header.master_channel_id.spacecraft_id == 0x4C
    assert found.op_ctrl_field is not None
    pointer = header.frame_datafield_status.first_header_pointer
    return header.vc_id, header.vc_frame_count, pointer, bytes(found.data_field)


def uslp_zone(frame: bytes) -> tuple[int, int, int, bytes]:
    properties = uslp.FixedFrameProperties(len(frame), has_insert_zone=False, has_fecf=True)
    found = uslp.TransferFrame.unpack(frame, uslp.FrameType.FIXED, properties)
    header: Any = found.header
    assert header.scid == 0x4C
    assert found.op_ctrl_field is not None
    assert found.tfdf.fhp_or_lvop is not None
    return header.vcid, header.vcf_count, found.tfdf.fhp_or_lvop, bytes(found.tfdf.tfdz)


def aos_zone(frame: bytes) -> tuple[int, int, int, bytes]:
    """732.0-B-4 figures 4-2 and 4-8, by hand."""
    assert crcmod.predefined.mkCrcFun("crc-ccitt-false")(frame) == 0
    identification, count_and_signalling, m_pdu = struct.unpack(">HIH", frame[:8])
    assert identification >> 14 == 1
    assert identification >> 6 & 0xFF == 0x4C
    return identification & 0x3F, count_and_signalling >> 8, m_pdu & 0x7FF, frame[8:-6]


def packets_of(flight: Flight) -> dict[int, list[bytes]]:
    """Packets of each virtual channel, cut by spacepackets' reading of the headers."""
    kind = flight.scenario.downlink.frame_kind
    read = {"tm": tm_zone, "aos": aos_zone, "uslp": uslp_zone}[kind]
    zones: dict[int, list[tuple[int, int, bytes]]] = defaultdict(list)
    for frame in flight.downlink.frames:
        vcid, count, pointer, zone = read(frame.tobytes())
        zones[vcid].append((count, pointer, zone))
    idle = 7 if kind == "tm" else 63
    assert zones.pop(idle)
    modulus = 256 if kind == "tm" else 1 << 24
    packets: dict[int, list[bytes]] = defaultdict(list)
    for vcid, parts in zones.items():
        assert [count for count, _, _ in parts] == [n % modulus for n in range(len(parts))]
        octets = b"".join(zone for _, _, zone in parts)
        starts = []
        at = 0
        while at + 6 <= len(octets):
            header = SpacePacketHeader.unpack(octets[at : at + 6])
            starts.append(at)
            if at + header.packet_len <= len(octets):
                packets[vcid].append(octets[at : at + header.packet_len])
            at += header.packet_len
        # The pointers of the frames say the same as the lengths of the packets.
        length = len(parts[0][2])
        for row, (_, pointer, _) in enumerate(parts):
            inside = [s - row * length for s in starts if row * length <= s < (row + 1) * length]
            if inside:
                assert pointer == inside[0]
            else:
                assert pointer == NO_START[kind] or row == len(parts) - 1
    return packets


def test_frames_and_packets_dissect_without_error(flight: Flight) -> None:
    packets = packets_of(flight)
    assert sorted(packets) == [0, 1, 2]
    counts: dict[int, list[int]] = defaultdict(list)
    for channel in packets.values():
        for packet in channel:
            header = SpacePacketHeader.unpack(packet)
            assert header.ccsds_version == 0
            assert header.packet_type == 0
            if header.apid != IDLE_APID:
                counts[header.apid].append(header.seq_count)
                assert header.sec_header_flag
    assert sorted(counts) == sorted({d.apid for d in DICTIONARY.definitions})
    for apid, found in counts.items():
        assert found == list(range(len(found))), apid


def test_codewords_are_reed_solomon_to_reedsolo() -> None:
    """Another program's code and, for the dual basis, the standard's own matrix."""
    nominal = scenarios.load("nominal")
    conventional = replace(
        nominal, downlink=replace(nominal.downlink, basis="conventional", randomiser="none")
    )
    cadus = Spacecraft(conventional, seed=1, start_ns=START_NS).step(START_NS + 5 * 10**9).cadus
    # 131.0-B-5 §4.3: field 0x187, code generator α^11, first root 112.
    code = reedsolo.RSCodec(32, fcr=112, generator=0xAD, prim=0x187)
    for cadu in cadus:
        block = cadu[4:]
        for word in range(5):
            codeword = bytearray(block[word::5].tobytes())
            assert code.check(codeword) == [True]


def parsed(flight: Flight) -> Iterator[tuple[bytes, Any]]:
    peer = XtcePacketDefinition.from_xtce(io.BytesIO(export_xtce(DICTIONARY)))
    for channel in packets_of(flight).values():
        for packet in channel:
            if SpacePacketHeader.unpack(packet).apid == IDLE_APID:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                yield packet, (peer, peer.parse_bytes(packet))


def definition_name(found: Any) -> str:
    apid = found["PKT_APID"].raw_value
    if apid == 66:
        return "MAGNETOMETER_COARSE" if found["MAG_RANGE"].raw_value else "MAGNETOMETER_FINE"
    return next(d.name for d in DICTIONARY.definitions if d.apid == apid)


def test_space_packet_parser_reads_what_the_subsystems_had() -> None:
    flight = Flight("aos")
    seen: dict[str, int] = defaultdict(int)
    compared = 0
    for _, (peer, found) in parsed(flight):
        name = definition_name(found)
        _, values = flight.values[name][seen[name]]
        seen[name] += 1
        definition = DICTIONARY.by_name[name]
        for key, value in values.items():
            parameter = definition.parameters[key]
            if isinstance(value, IntEnum):
                assert str(found[key]) == value.name
                compared += 1
                continue
            if isinstance(value, str):
                assert str(found[key]) == value
                compared += 1
                continue
            # Half a step, as XTCE's own calibrator gives it one raw count further.
            for wanted, item in elements(peer, definition, key, value, found):
                tolerance = 0.5000001
                if parameter.calibration is not None:
                    raw = np.array([item.raw_value - 1, item.raw_value, item.raw_value + 1])
                    raw = np.clip(raw, parameter.type.minimum, parameter.type.maximum)
                    tolerance *= float(np.ptp(parameter.engineering(raw)))
                elif not parameter.type.is_integer:
                    tolerance = abs(wanted) * 1e-6 + 1e-12
                assert abs(float(item) - wanted) <= tolerance, (name, key)
                compared += 1
    assert set(seen) == {d.name for d in DICTIONARY.definitions}
    assert compared > 50_000


def elements(
    peer: XtcePacketDefinition, definition: Any, key: str, value: Any, found: Any
) -> Iterator[tuple[float, Any]]:
    """(what the subsystem had, what the peer read); one pair, or one for each of a repeat."""
    if not isinstance(value, list):
        yield value, found[key]
        return
    if f"{key}_0" in found:
        for number, wanted in enumerate(value):
            yield wanted, found[f"{key}_{number}"]
        return
    slots = next(
        part.slots
        for part in definition.layout.parts
        if any(slot.name == key for slot in part.slots)
    )
    octets = bytes(found[f"{slots[0].name}_ELEMENTS"])
    size = len(octets) // len(value)
    assert size * len(value) == len(octets)
    for number, wanted in enumerate(value):
        element = peer.parse_bytes(
            octets[number * size : (number + 1) * size],
            root_container_name=f"{slots[0].name}_ELEMENT",
        )
        yield wanted, element[key]


@pytest.mark.program("tshark")
def test_tshark_dissects_every_packet(flight: Flight, tmp_path: Path) -> None:
    packets = [packet for channel in packets_of(flight).values() for packet in channel]
    # Its CCSDS dissector takes every packet for the space station's: ten octets of secondary header
    # if there is one, and a checkword of two at the end.  Shorter packets, which 133.0-B allows
    # (idle ones of seven octets), it calls malformed; they alone are left out.
    packets = [p for p in packets if len(p) >= (16 if p[0] & 8 else 8)]
    capture = tmp_path / "packets.pcap"
    records = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 147)]
    for packet in packets:
        records += [struct.pack("<IIII", 0, 0, len(packet), len(packet)), packet]
    capture.write_bytes(b"".join(records))
    names = ["ccsds.version", "ccsds.apid", "ccsds.seqflag", "ccsds.seqnum", "ccsds.length"]
    names += ["ccsds.length.error", "_ws.malformed"]
    done = subprocess.run(
        [
            "tshark", "-r", str(capture), "-T", "fields",
            "-o", 'uat:user_dlts:"User 0 (DLT=147)","ccsds","0","","0",""',
            *(option for name in names for option in ("-e", name)),
        ],
        capture_output=True,
        check=True,
        timeout=120,
        text=True,
    )  # fmt: skip
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == len(packets) > 1000
    for row, packet in zip(rows, packets, strict=True):
        first, second, length = struct.unpack(">HHH", packet[:6])
        wanted = [first >> 13, first & 0x7FF, second >> 14, second & 0x3FFF, length]
        assert [int(text, 0) for text in row[:5]] == wanted
        assert row[5:] == ["", ""]
