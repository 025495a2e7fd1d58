"""PUS requests and reports as spacepackets, tshark and space-packet-parser read them, and theirs
as we do."""

from __future__ import annotations

import io
import struct
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from space_packet_parser.xtce.definitions import XtcePacketDefinition
from spacepackets.ccsds import CdsShortTimestamp
from spacepackets.ecss.pus_1_verification import (
    ManagedParamsVerification,
    Service1Tm,
)
from spacepackets.ecss.pus_17_test import Service17Tm
from spacepackets.ecss.tc import PusTc
from spacepackets.ecss.tm import ManagedParams, MiscParams, PusTm

from protocols.dictionary.l4_commands import COMMANDS
from protocols.dictionary.l4_reports import REPORTS
from protocols.packets.pus import (
    PusFormat,
    Report,
    Request,
    RequestId,
    build_report,
    build_request,
    parse_report,
    parse_request,
    with_error_control,
)
from protocols.telecommand.verification import FailureCode, Stage, Verification
from protocols.telemetry.xtce import export_xtce
from protocols.timecodes.cds import CdsFormat

U8, U14, U16 = st.integers(0, 255), st.integers(0, 0x3FFF), st.integers(0, 0xFFFF)
APID = st.integers(0, 0x7FE)


@settings(max_examples=100)
@given(APID, U8, U8, st.binary(max_size=64), U14, U16, st.integers(0, 15))
def test_requests_equal_spacepackets(
    apid: int, service: int, subtype: int, data: bytes, count: int, source: int, flags: int
) -> None:
    request = Request(apid, service, subtype, data, count, source, flags)
    theirs = PusTc(
        service,
        subtype,
        apid=apid,
        app_data=data,
        seq_count=count,
        source_id=source,
        ack_flags=flags,
    )
    octets = bytes(theirs.pack())
    assert build_request(request) == octets
    assert parse_request(octets) == request
    back = PusTc.unpack(build_request(request))
    assert (back.apid, back.service, back.message_subtype) == (apid, service, subtype)
    assert (bytes(back.app_data), back.source_id) == (data, source)


@settings(max_examples=100)
@given(APID, U8, U8, st.binary(max_size=64), U14, U16, U16, st.integers(0, 15), st.integers(0))
def test_reports_equal_spacepackets(
    apid: int,
    service: int,
    subtype: int,
    data: bytes,
    count: int,
    messages: int,
    destination: int,
    status: int,
    instant: int,
) -> None:
    form = PusFormat()
    time = (instant % 2**56).to_bytes(7, "big")
    report = Report(
        apid, service, subtype, form.time.parse(time), data, count, messages, destination, status
    )
    theirs = PusTm(
        service,
        subtype,
        time,
        apid=apid,
        source_data=data,
        seq_count=count,
        message_counter=messages,
        destination_id=destination,
        misc_params=MiscParams(spacecraft_time_ref=status),
    )
    octets = bytes(theirs.pack())
    assert build_report(report, form) == octets
    assert parse_report(octets, form) == report
    back = PusTm.unpack_generic(octets, ManagedParams(7))
    assert bytes(back.timestamp) == time
    assert bytes(back.source_data) == data


def test_a_mission_with_cds_time() -> None:
    form = PusFormat(time=CdsFormat(p_field=True, epoch_tai_ns=0))
    stamp = CdsShortTimestamp(ccsds_days=24_000, ms_of_day=43_200_123)
    theirs = Service17Tm(apid=5, message_subtype=2, timestamp=bytes(stamp.pack()))
    report = parse_report(bytes(theirs.pack()), form)
    assert report.time_ns == form.time.parse(bytes(stamp.pack()))
    assert build_report(report, form) == bytes(theirs.pack())


def verification_octets(verification: Verification) -> bytes:
    name = next(
        d.name
        for d in REPORTS.definitions
        if {(c.parameter, c.value) for c in d.conditions}
        >= {("PUS_SERVICE", 1), ("PUS_SUBTYPE", verification.subtype)}
    )
    return with_error_control(
        REPORTS.encode(name, {**HEADER, **verification.values}, raw=True, sequence_count=9)
    )


HEADER = {
    "SCET": 1_700_000_000_000_000_000,
    "PUS_TIME_STATUS": 0,
    "PUS_MESSAGE_COUNT": 3,
    "PUS_DESTINATION_ID": 0,
    "PACKET_CRC": 0,
}
STAGES = [
    (stage, success)
    for stage in (Stage.ACCEPTANCE, Stage.START, Stage.PROGRESS, Stage.COMPLETION)
    for success in (True, False)
]


@pytest.mark.parametrize(("stage", "success"), STAGES)
def test_verification_reports_equal_spacepackets(stage: Stage, success: bool) -> None:
    request = RequestId.of(COMMANDS.build("TEST_CONNECTION", sequence_count=77))
    ours = Verification(
        request,
        stage,
        success,
        step=3 if stage is Stage.PROGRESS else 0,
        code=FailureCode.NONE if success else FailureCode.WRONG_MODE,
        data=b"" if success else b"\x05",
    )
    octets = verification_octets(ours)
    theirs = Service1Tm.unpack(
        octets, ManagedParams(7), ManagedParamsVerification(bytes_step_id=1, bytes_err_code=2)
    )
    assert theirs.tc_req_id.as_u32() == int.from_bytes(request.build(), "big")
    if theirs.step_id is not None:
        assert theirs.step_id.val == ours.step
    assert (theirs.step_id is not None) == (stage is Stage.PROGRESS)
    if success:
        assert theirs.failure_notice is None
    else:
        assert theirs.failure_notice is not None
        assert theirs.failure_notice.code.val == FailureCode.WRONG_MODE
        assert theirs.failure_notice.data == b"\x05"
    definition = REPORTS.definition(f"VERIFY_{stage.name}_{'SUCCESS' if success else 'FAILURE'}")
    packed = bytes(theirs.pack())
    assert packed == octets
    assert Verification.from_values(ours.subtype, definition.parse(packed)) == ours


def test_space_packet_parser_reads_reports_by_our_xtce() -> None:
    peer = XtcePacketDefinition.from_xtce(io.BytesIO(export_xtce(REPORTS)))
    late = Verification(
        RequestId(0x1864, 0xC007), Stage.START, False, code=FailureCode.TOO_LATE, data=b"ab"
    )
    event = {
        "EVT_ID": "CONTACT_LOST",
        "EVT_SEVERITY": "HIGH",
        "EVT_COUNT": 7,
        "EVT_TEXT": "no command for 168 h",
    }
    octets = with_error_control(REPORTS.encode("EVENT_HIGH", {**HEADER, **event}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found: Any = peer.parse_bytes(octets)
        assert [str(found[key]) for key in event] == [str(value) for value in event.values()]
        found = peer.parse_bytes(verification_octets(late))
    assert (found["PUS_SERVICE"], found["PUS_SUBTYPE"]) == (1, 4)
    assert str(found["VER_CODE"]) == "TOO_LATE"
    assert bytes(found["VER_DATA"]) == b"ab"
    assert found["PACKET_CRC"] == int.from_bytes(verification_octets(late)[-2:], "big")


@pytest.mark.program("tshark")
def test_tshark_reads_the_header_of_every_command(tmp_path: Path) -> None:
    """tshark knows no ECSS headers: it reads the space packet's, of type telecommand."""
    packets = [
        COMMANDS.build("MODE_SET", {"MODE": "SAFE"}, sequence_count=9),
        COMMANDS.build(
            "HK_CREATE",
            {"STRUCTURE": 4, "INTERVAL": 60, "PARAMETERS": ["SC_MODE", "PWR_BUS_VOLTAGE"]},
            sequence_count=0x3FFF,
        ),
    ]
    capture = tmp_path / "packets.pcap"
    records = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 147)]
    for packet in packets:
        records += [struct.pack("<IIII", 0, 0, len(packet), len(packet)), packet]
    capture.write_bytes(b"".join(records))
    names = ["ccsds.version", "ccsds.type", "ccsds.secheader", "ccsds.apid", "ccsds.seqflag"]
    names += ["ccsds.seqnum", "ccsds.length"]
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
    read = [[_number(text) for text in row] for row in rows]
    assert read == [
        [0, 1, 1, 100, 3, count, len(packet) - 7]
        for count, packet in zip((9, 0x3FFF), packets, strict=True)
    ]


def _number(text: str) -> int:
    return {"True": 1, "False": 0}[text] if text in ("True", "False") else int(text, 0)
