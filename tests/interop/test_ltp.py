"""Our LTP as tshark reads it, and what ION and HDTN sent, played to our engine.

The captures are in the shared folder (captures/dtn); what they are is written there.
"""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from protocols.dtn.bundle import Bundle, CreationTimestamp, Primary, parse_bundle, payload_block
from protocols.dtn.eid import ipn
from protocols.dtn.ltp_blocks import (
    DataUnit,
    aggregate,
    packet_from_segment,
    segment_from_packet,
    split_block,
)
from protocols.dtn.ltp_engine import LtpEngine
from protocols.dtn.ltp_parameters import (
    LtpParameters,
    RedPartReceived,
    ReportScope,
    TransmissionComplete,
)
from protocols.dtn.ltp_segments import (
    LTP_UDP_PORT,
    CancelAckSegment,
    CancelSegment,
    ClientService,
    DataSegment,
    ReportAckSegment,
    ReportSegment,
    Segment,
    SegmentType,
    SessionId,
    build_segment,
    parse_segment,
)
from protocols.errors import LocalError, RemoteError
from tests.long.ltp_span import SECOND_NS, Span


def bundle(number: int, size: int = 3_000) -> bytes:
    primary = Primary(
        0, 1, ipn(2, 1), ipn(1, 1), ipn(1, 0), CreationTimestamp(848_690_581_653, number), 3_600_000
    )
    return Bundle(primary, (payload_block(bytes([number]) * size),)).build()


# --- tshark ----------------------------------------------------------------------------------


#: tshark 4.0 takes a discretionary checkpoint for the end of its block (packet-ltp.c: every type
#: from 1 to 3) and calls the bundle that is not whole yet malformed: without its bundles.
WITHOUT_BUNDLES = ("--disable-protocol", "bundle", "--disable-protocol", "bpv7")


#: tshark 4.0 marks an octet too many as the session's (packet-ltp.c) and calls every segment that
#: is a header alone malformed: with one octet more it is read as any other.
HEADER_ALONE = (SegmentType.CANCEL_ACK_TO_SENDER, SegmentType.CANCEL_ACK_TO_RECEIVER)


def dissect(folder: Path, segments: list[bytes], *options: str) -> list[dict[str, Any]]:
    """tshark's fields of each segment, in a datagram each; malformed marks and warnings fail."""
    capture = folder / "ltp.pcap"
    octets = bytearray(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 101))
    for number, segment in enumerate(segments):
        if SegmentType(segment[0] & 15) in HEADER_ALONE:
            segment += b"\0"
        udp = struct.pack(">HHHH", 4000, LTP_UDP_PORT, 8 + len(segment), 0) + segment
        address = bytes((127, 0, 0, 1))
        ip = struct.pack(
            ">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), number & 0xFFFF, 0, 64, 17, 0, address, address
        )
        size = 20 + len(udp)
        octets += struct.pack("<IIII", number, 0, size, size) + ip + udp
    capture.write_bytes(octets)
    run = subprocess.run(
        ["tshark", "-r", capture, "-T", "json", "--no-duplicate-keys", *options],
        capture_output=True,
        check=True,
    )
    frames = [frame["_source"]["layers"] for frame in json.loads(run.stdout)]
    assert len(frames) == len(segments)
    text = run.stdout.decode()
    assert "_ws.malformed" not in text
    assert all("ltp" in frame for frame in frames)
    # What tshark remarks about bundles (it knows few payloads) is not of LTP.
    remarks = {name for frame in frames for name in expert_remarks(frame)}
    assert not {name for name in remarks if not name.startswith(("bpv7.", "_ws.expert."))}
    return frames


def expert_remarks(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for entry in node:
            yield from expert_remarks(entry)
    elif isinstance(node, dict):
        for name, value in node.items():
            if name == "_ws.expert":
                yield from (key for one in ([value] if isinstance(value, dict) else value)
                            for key in one)  # fmt: skip
            else:
                yield from expert_remarks(value)


@pytest.mark.program("tshark")
def test_every_segment_of_a_lossy_exchange_is_ltp_to_tshark(tmp_path: Path) -> None:
    log: list[bytes] = []
    parameters = LtpParameters(
        one_way_light_time_s=10.0,
        segment_size=500,
        final_checkpoints=2,
        claims=2,
        report_scope=ReportScope.FULL,
        retransmission_limit=40,
    )
    span = Span(parameters, 3, loss=0.25, watch=lambda _, octets: log.append(octets))
    for number in range(8):
        span.engines[1].send(bundle(number))
    given_up = span.engines[1].send(bundle(8))
    span.run(5 * SECOND_NS)
    span.engines[1].cancel(span.now_ns, given_up)
    span.run(15 * SECOND_NS)
    log.append(build_segment(CancelSegment(SessionId(1, 9), False, 2)))
    log.append(build_segment(CancelAckSegment(SessionId(1, 9), False)))
    span.run(100_000 * SECOND_NS)
    assert len(span.delivered) == 8

    frames = dissect(tmp_path, log, *WITHOUT_BUNDLES)
    kinds = {SegmentType(octets[0] & 15) for octets in log}
    assert kinds >= {
        SegmentType.RED,
        SegmentType.RED_CHECKPOINT,
        SegmentType.RED_EOB,
        SegmentType.REPORT,
        SegmentType.REPORT_ACK,
        SegmentType.CANCEL_BY_SENDER,
        SegmentType.CANCEL_ACK_TO_SENDER,
    }
    for octets, frame in zip(log, frames, strict=True):
        agree(parse_segment(octets), frame["ltp"])


def agree(ours: Segment, theirs: dict[str, Any]) -> None:
    found: dict[str, list[str]] = {}

    def walk(node: Any) -> None:
        for name, value in node.items():
            if isinstance(value, dict):
                walk(value)
            else:
                found[name] = value if isinstance(value, list) else [value]

    walk(theirs)
    assert int(found["ltp.session.orig"][0]) == ours.session.originator
    assert int(found["ltp.session.number"][0]) == ours.session.number
    wanted: dict[str, list[int]] = {}
    if isinstance(ours, DataSegment):
        wanted = {
            "ltp.data.client.id": [ours.client_service],
            "ltp.data.offset": [ours.offset],
            "ltp.data.length": [len(ours.data)],
        }
        if ours.checkpoint_serial:
            wanted["ltp.data.chkp"] = [ours.checkpoint_serial]
            wanted["ltp.data.rpt"] = [ours.report_serial]
    elif isinstance(ours, ReportSegment):
        wanted = {
            "ltp.rpt.sno": [ours.report_serial],
            "ltp.rpt.chkp": [ours.checkpoint_serial],
            "ltp.rpt.ub": [ours.upper_bound],
            "ltp.rpt.lb": [ours.lower_bound],
            "ltp.rpt.clm.off": [claim.offset for claim in ours.claims],
            "ltp.rpt.clm.len": [claim.length for claim in ours.claims],
        }
    elif isinstance(ours, ReportAckSegment):
        wanted = {"ltp.rpt.ack.sno": [ours.report_serial]}
    elif isinstance(ours, CancelSegment):
        wanted = {"ltp.cancel.code": [ours.reason]}
    for name, values in wanted.items():
        # Without duplicate keys tshark's JSON has a list where a field stands several times.
        assert [int(value, 0) for value in found[name]] == values, name


@pytest.mark.program("tshark")
def test_blocks_without_loss_are_bundles_to_tshark(tmp_path: Path) -> None:
    log: list[bytes] = []
    span = Span(LtpParameters(), 0, watch=lambda _, octets: log.append(octets))
    for number in range(3):
        span.engines[1].send(bundle(number))
    span.run(1_000 * SECOND_NS)
    frames = dissect(tmp_path, log)
    assert json.dumps(frames).count('"bpv7.primary.version"') == 3


@pytest.mark.program("tshark")
def test_aggregated_data_is_a_bundle_with_its_service_to_tshark(tmp_path: Path) -> None:
    units = [DataUnit(ClientService.BUNDLE, bundle(number, 50)) for number in range(3)]
    block = aggregate(units)
    own = LtpEngine(1, 2, LtpParameters(), entropy=b"")
    own.send(block, client_service=ClientService.AGGREGATION)
    dissect(tmp_path, own.take(0))
    shown = subprocess.run(
        ["tshark", "-r", tmp_path / "ltp.pcap", "-V"], capture_output=True, check=True, text=True
    ).stdout
    # tshark 4.0 shows the first bundle of a block alone, ION's blocks too.
    assert "Client service ID: 2 (CCSDS LTP Service Data Aggregation)" in shown
    assert shown.count("Client service ID: 1 (Bundle Protocol)") == 1
    assert shown.count("Protocol Version 7, Payload-Size: 50") == 1


# --- blocks and packets ------------------------------------------------------------------------


def test_blocks_of_one_or_many_bundles() -> None:
    bundles = [bundle(number, 10 + number) for number in range(5)]
    units = tuple(DataUnit(ClientService.BUNDLE, octets) for octets in bundles)
    assert split_block(ClientService.BUNDLE, bundles[0]).units == units[:1]
    together = split_block(ClientService.BUNDLE, b"".join(bundles))
    assert (together.units, together.damage) == (units, None)
    aggregated = split_block(ClientService.AGGREGATION, aggregate(units))
    assert (aggregated.units, aggregated.damage) == (units, None)
    cut = split_block(ClientService.BUNDLE, b"".join(bundles)[:-1])
    assert cut.units == units[:-1]
    assert cut.damage is not None
    assert split_block(ClientService.BUNDLE, b"rubbish").units == ()
    assert split_block(7, b"any").units == (DataUnit(7, b"any"),)
    with pytest.raises(LocalError, match="aggregated"):
        aggregate([DataUnit(7, b"any")])


def test_one_segment_in_one_encapsulation_packet() -> None:
    segment = build_segment(ReportAckSegment(SessionId(1, 300), 7))
    packet = packet_from_segment(segment)
    assert packet[0] >> 2 == 0b111_001
    assert segment_from_packet(packet) == segment
    long = packet_from_segment(bytes(60_000))
    assert long[0] == 0xE6
    assert segment_from_packet(long) == bytes(60_000)
    with pytest.raises(RemoteError, match="protocol 4"):
        segment_from_packet(bytes.fromhex("f1039f"))


# --- captures ----------------------------------------------------------------------------------


class Datagram(NamedTuple):
    time_ns: int
    source: int
    port: int
    payload: bytes


def datagrams(capture: Path) -> Iterator[Datagram]:
    """UDP over IPv4 in Ethernet, of a classic pcap."""
    octets = capture.read_bytes()
    nanoseconds = octets[:4] == bytes.fromhex("4d3cb2a1")
    at = 24
    while at < len(octets):
        seconds, fraction, size, _ = struct.unpack_from("<IIII", octets, at)
        frame = octets[at + 16 : at + 16 + size]
        at += 16 + size
        if frame[12:14] != b"\x08\0" or frame[23] != 17:
            continue
        begin = 14 + 4 * (frame[14] & 15)
        source, port, length = struct.unpack_from(">HHH", frame, begin)
        time_ns = seconds * SECOND_NS + fraction * (1 if nanoseconds else 1_000)
        yield Datagram(time_ns, source, port, frame[begin + 8 : begin + length])


def ltp_only(found: Iterator[Datagram], *ports: int) -> list[Datagram]:
    """Without the empty datagrams by which ION's tasks end themselves."""
    return [d for d in found if d.port in ports and len(d.payload) > 1]


def test_segments_of_ion_and_hdtn_are_built_again_to_the_octet(shared: Path) -> None:
    counted = 0
    for name in ("ion_ltp_499s_20pct_loss", "ion_to_hdtn_ltp", "ion_ltp_stcp_tcpclv3_udp"):
        for found in ltp_only(
            datagrams(shared / f"captures/dtn/{name}.pcap"), 15101, 15102, 11131, 11132
        ):
            assert build_segment(parse_segment(found.payload)) == found.payload
            counted += 1
    assert counted > 400


def whole_blocks(sent: list[Datagram]) -> dict[int, bytes]:
    """Blocks from all that was sent, lost or not; by session number."""
    blocks: dict[int, bytearray] = {}
    for found in sent:
        segment = parse_segment(found.payload)
        if isinstance(segment, DataSegment):
            block = blocks.setdefault(segment.session.number, bytearray())
            end = segment.offset + len(segment.data)
            block.extend(bytes(max(0, end - len(block))))
            block[segment.offset : end] = segment.data
    return {number: bytes(block) for number, block in blocks.items()}


def received(report: ReportSegment) -> set[int]:
    """Octets of the block that a report claims."""
    return {
        report.lower_bound + offset + i for offset, length in report.claims for i in range(length)
    }


def receiving(parameters: LtpParameters, remote_id: int, local_id: int) -> LtpEngine:
    return LtpEngine(local_id, remote_id, parameters, entropy=b"replay")


def test_ion_through_499_s_and_loss_is_received_and_reported_as_ion_reported(shared: Path) -> None:
    capture = list(datagrams(shared / "captures/dtn/ion_ltp_499s_20pct_loss.pcap"))
    blocks = whole_blocks(ltp_only(iter(capture), 15102))
    theirs = {
        (segment.session.number, segment.checkpoint_serial): segment
        for segment in (parse_segment(d.payload) for d in ltp_only(iter(capture), 15101))
        if isinstance(segment, ReportSegment)
    }
    own = receiving(LtpParameters(one_way_light_time_s=499.5, margin_s=5.0), 1, 2)
    got: dict[int, bytes] = {}
    compared = 0
    # ION dropped the first transmission of the last three: it does not report on 19, and of 20 and
    # 21 it claims the repeated checkpoint alone, though six and seven of eight had arrived.
    not_held_by_ion = {19, 20, 21}
    for found in ltp_only(iter(capture), 11132):
        own.receive(found.time_ns, found.payload)
        for octets in own.take(found.time_ns):
            ours = parse_segment(octets)
            if not isinstance(ours, ReportSegment):
                continue
            number = ours.session.number
            if number in not_held_by_ion:
                continue
            ion = theirs[number, ours.checkpoint_serial]
            # ION reports on all that it has, we up to the checkpoint: §6.11 allows both.
            assert ours.lower_bound == ion.lower_bound == 0
            assert ours.upper_bound <= ion.upper_bound
            assert received(ours) == received(ion) & set(range(ours.upper_bound))
            compared += 1
        for notice in own.notices():
            assert isinstance(notice, RedPartReceived)
            assert notice.session.number not in got
            got[notice.session.number] = notice.data
    assert compared >= 20
    assert len(got) >= 8
    assert all(blocks[number] == data for number, data in got.items())
    for data in got.values():
        units = split_block(ClientService.BUNDLE, data)
        assert units.damage is None
        for unit in units.units:
            parse_bundle(unit.data)
    assert own.statistics().dropped.keys() <= {"after_close"}


def test_ions_reports_are_answered_by_what_they_lack_until_the_block_is_there(shared: Path) -> None:
    """We send ION's blocks; ION's reports of them come to us with our numbers put in."""
    capture = list(datagrams(shared / "captures/dtn/ion_ltp_499s_20pct_loss.pcap"))
    blocks = whole_blocks(ltp_only(iter(capture), 15102))
    own = receiving(LtpParameters(one_way_light_time_s=499.5, margin_s=1e5), 2, 1)
    sessions = {number: own.send(block) for number, block in blocks.items()}
    names = {session.number: number for number, session in sessions.items()}
    latest: dict[int, int] = {}
    claimed: dict[int, set[int]] = {number: set() for number in blocks}

    def note(octets: bytes) -> Segment:
        segment = parse_segment(octets)
        if isinstance(segment, DataSegment) and segment.checkpoint_serial:
            latest[names[segment.session.number]] = segment.checkpoint_serial
        return segment

    for octets in own.take(capture[0].time_ns):
        note(octets)
    complete: set[int] = set()
    for found in ltp_only(iter(capture), 11131):
        theirs = parse_segment(found.payload)
        assert isinstance(theirs, ReportSegment)
        number = theirs.session.number
        own.receive(
            found.time_ns,
            build_segment(
                theirs._replace(session=sessions[number], checkpoint_serial=latest[number])
            ),
        )
        for offset, length in theirs.claims:
            first = theirs.lower_bound + offset
            claimed[number] |= set(range(first, first + length))
        answers = [note(octets) for octets in own.take(found.time_ns)]
        assert ReportAckSegment(sessions[number], theirs.report_serial) in answers
        again = [segment for segment in answers if isinstance(segment, DataSegment)]
        sent = {s.offset + i for s in again for i in range(len(s.data))}
        lacking = set(range(theirs.lower_bound, theirs.upper_bound)) - claimed[number]
        assert sent == lacking
        assert all(blocks[number][s.offset : s.offset + len(s.data)] == s.data for s in again)
        if again:
            assert again[-1].report_serial == theirs.report_serial
        complete |= {
            names[n.session.number] for n in own.notices() if isinstance(n, TransmissionComplete)
        }
    whole = {n for n, octets in claimed.items() if octets == set(range(len(blocks[n])))}
    assert complete == whole


def test_ion_to_hdtn_is_reported_as_hdtn_reported(shared: Path) -> None:
    capture = list(datagrams(shared / "captures/dtn/ion_to_hdtn_ltp.pcap"))
    sent = ltp_only(iter(capture), 11132)
    (theirs, *repeated) = [
        segment
        for segment in (parse_segment(d.payload) for d in ltp_only(iter(capture), 11131))
        if isinstance(segment, ReportSegment)
    ]
    # HDTN repeats its report: the acknowledgement went to the port that it was sent from.
    assert set(repeated) <= {theirs}
    data = [d for d in sent if d.payload[0] < 8]
    originator = parse_segment(data[0].payload).session.originator
    own = receiving(LtpParameters(), originator, originator + 1)
    for found in data:
        own.receive(found.time_ns, found.payload)
    (ours,) = [parse_segment(octets) for octets in own.take(0)]
    assert isinstance(ours, ReportSegment)
    assert ours == theirs._replace(report_serial=ours.report_serial)
    (notice,) = own.notices()
    assert isinstance(notice, RedPartReceived)
    content = split_block(notice.client_service, notice.data)
    assert content.damage is None
    # ION put all six bundles into one block.
    assert len([parse_bundle(unit.data) for unit in content.units]) == 6


def test_ion_with_as_many_segments_lost_again_still_completes(shared: Path) -> None:
    """ION's first transmission to our receiver; our sender takes over with the same blocks."""
    capture = list(datagrams(shared / "captures/dtn/ion_ltp_499s_20pct_loss.pcap"))
    blocks = whole_blocks(ltp_only(iter(capture), 15102))
    parameters = replace(LtpParameters(one_way_light_time_s=499.0), retransmission_limit=50)
    span = Span(parameters, 11, loss=0.2)
    sent = {span.engines[1].send(block).number: block for block in blocks.values()}
    span.run(1_000_000 * SECOND_NS)
    assert span.data == sent
    assert span.is_idle()
