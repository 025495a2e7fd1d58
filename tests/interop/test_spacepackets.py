"""Our packets and frames as independent programs read them, and theirs as we do.

spacepackets for space packets, TM and USLP frames; space-packet-parser for packets; tshark for the
fields of the space packet header.
"""

from __future__ import annotations

import io
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from space_packet_parser.generators import ccsds_generator
from spacepackets.ccsds import PacketType, SequenceFlags, SpacePacketHeader
from spacepackets.ccsds.tm_frame import TmTransferFrame
from spacepackets.uslp import frame as theirs
from spacepackets.uslp.header import (
    BypassSequenceControlFlag,
    PrimaryHeader,
    ProtocolCommandFlag,
    SourceOrDestField,
    TruncatedPrimaryHeader,
)

from protocols.frames import tm, uslp
from protocols.frames.parameters import FrameParameters
from protocols.packets.space_packet import SpacePacket, build_packet, parse_packet, split
from tests.strategies import space_packets, tm_frames, uslp_frames


@given(space_packets())
def test_space_packets_equal_spacepackets(packet: SpacePacket) -> None:
    header = SpacePacketHeader(
        packet_type=PacketType(int(packet.telecommand)),
        apid=packet.apid,
        seq_count=packet.sequence_count,
        data_len=len(packet.data) - 1,
        sec_header_flag=packet.secondary_header_flag,
        seq_flags=SequenceFlags(packet.sequence_flags),
    )
    octets = bytes(header.pack()) + packet.data
    assert build_packet(packet) == octets
    assert parse_packet(octets) == packet


@settings(max_examples=50, deadline=None)
@given(st.lists(space_packets(), min_size=1, max_size=10))
def test_splitting_equals_space_packet_parser(packets: list[SpacePacket]) -> None:
    octets = b"".join(build_packet(packet) for packet in packets)
    found = list(ccsds_generator(io.BytesIO(octets)))
    batch = split(octets).packets
    assert [bytes(packet) for packet in found] == list(batch)
    for i, packet in enumerate(found):
        assert packet.apid == batch.apid[i]
        assert packet.sequence_count == batch.sequence_count[i]
        assert packet.sequence_flags == batch.sequence_flags[i]
        assert packet.version_number == batch.version[i]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_tm_frames_equal_spacepackets(data: st.DataObject) -> None:
    parameters = FrameParameters(
        "tm",
        data.draw(st.integers(40, 200)),
        fecf=data.draw(st.sampled_from(["absent", "crc16"])),
        scid=data.draw(st.integers(0, 1023)),
    )
    frame = data.draw(tm_frames(parameters))
    octets = tm.build(frame, parameters)
    length = parameters.frame_length
    found = TmTransferFrame.unpack(octets, length, parameters.fecf == "crc16")
    header, status = found.primary_header, found.primary_header.frame_datafield_status
    assert header.master_channel_id.spacecraft_id == frame.scid
    assert header.master_channel_id.transfer_frame_version == 0
    assert (header.vc_id, header.vc_frame_count) == (frame.vcid, frame.vc_count)
    assert header.master_ch_frame_count == frame.mc_count
    assert status.first_header_pointer == frame.first_header_pointer
    assert (status.sync_flag, status.packet_order_flag) == (
        frame.sync_flag,
        frame.packet_order_flag,
    )
    assert status.segment_len_id == frame.segment_length_id
    assert found.op_ctrl_field == frame.ocf
    assert (found.secondary_header is None) == (frame.secondary_header is None)
    if found.secondary_header is not None:
        assert found.secondary_header.data_field == frame.secondary_header
    assert found.data_field == frame.data
    assert found.pack() == octets


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_uslp_frames_equal_spacepackets(data: st.DataObject) -> None:
    parameters = FrameParameters(
        "uslp",
        data.draw(st.integers(50, 200)),
        fecf=data.draw(st.sampled_from(["absent", "crc16"])),
        insert_zone_length=data.draw(st.sampled_from([0, 5])),
        truncated_length=20,
    )
    frame = data.draw(uslp_frames(parameters))
    octets = uslp.build(frame, parameters)
    has_pointer = frame.construction_rule <= 2 and not frame.truncated
    if frame.truncated:
        header = TruncatedPrimaryHeader(
            frame.scid, SourceOrDestField(frame.destination_flag), frame.vcid, frame.map_id
        )
    else:
        header = PrimaryHeader(
            frame.scid,
            SourceOrDestField(frame.destination_flag),
            frame.vcid,
            frame.map_id,
            frame_len=0,
            bypass_seq_ctrl_flag=BypassSequenceControlFlag(frame.bypass_flag),
            prot_ctrl_cmd_flag=ProtocolCommandFlag(frame.protocol_control_flag),
            op_ctrl_flag=frame.ocf is not None,
            vcf_count_len=frame.vc_count_length,
            vcf_count=frame.vc_count if frame.vc_count_length else None,
        )
    insert = frame.insert_zone if parameters.insert_zone_length and not frame.truncated else None
    other = theirs.TransferFrame(
        header=header,
        tfdf=theirs.TransferFrameDataField(
            theirs.TfdzConstructionRules(frame.construction_rule),
            frame.protocol_id,  # type: ignore[arg-type]
            frame.data,
            frame.pointer,
        ),
        insert_zone=insert,
        op_ctrl_field=frame.ocf,
        # The caller of spacepackets has to know that truncated frames have none (annex D).
        has_fecf=parameters.fecf == "crc16" and not frame.truncated,
    )
    other.set_frame_len_in_header()
    kind = theirs.FrameType.FIXED if has_pointer else theirs.FrameType.VARIABLE
    assert bytes(other.pack(truncated=frame.truncated, frame_type=kind)) == octets
    assert uslp.parse(octets, parameters) == frame


def pcap_of(packets: list[bytes]) -> bytes:
    """A pcap of user link type 147, which tshark is told to read as CCSDS."""
    records = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 147)]
    for packet in packets:
        records += [struct.pack("<IIII", 0, 0, len(packet), len(packet)), packet]
    return b"".join(records)


@pytest.mark.program("tshark")
def test_space_packets_as_tshark_reads_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    packets = [
        SpacePacket(
            apid=int(rng.integers(0, 2048)),
            data=rng.bytes(int(rng.integers(10, 60))),
            sequence_count=int(rng.integers(0, 16384)),
            sequence_flags=int(rng.integers(0, 4)),
            telecommand=bool(rng.integers(0, 2)),
        )
        for _ in range(40)
    ]
    capture = tmp_path / "packets.pcap"
    capture.write_bytes(pcap_of([build_packet(packet) for packet in packets]))
    names = ["version", "type", "secheader", "apid", "seqflag", "seqnum", "length"]
    run = subprocess.run(
        [
            "tshark", "-r", str(capture), "-T", "fields",
            "-o", 'uat:user_dlts:"User 0 (DLT=147)","ccsds","0","","0",""',
            *(option for name in names for option in ("-e", f"ccsds.{name}")),
        ],
        capture_output=True,
        check=True,
        timeout=60,
    )  # fmt: skip
    rows = [line.split("\t") for line in run.stdout.decode().splitlines()]
    assert len(rows) == len(packets)
    for row, packet in zip(rows, packets, strict=True):
        values = [int(text, 0) if text.isdigit() or text[:2] == "0x" else text for text in row]
        version, kind, secondary, apid, flags, count, length = values
        assert (version, apid, flags, count) == (
            0,
            packet.apid,
            packet.sequence_flags,
            packet.sequence_count,
        )
        assert kind == int(packet.telecommand)
        assert secondary in (0, "False")
        assert length == len(packet.data) - 1
