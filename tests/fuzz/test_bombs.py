"""Small inputs that ask for much: lengths that are declared and not there, nesting, entities,
aliases, compression.  Each is refused, within the memory and the time that docs/limits.md states.
"""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ground.command.procedures.yaml_procedures import read_yaml
from ground.receive.inputs import open_input
from ground.receive.profile import load_profile
from ground.scheduling.export import simple_schedule, tables
from ground.scheduling.requests_file import parse_requests
from protocols.bus.calls import unpack_map
from protocols.bus.fields import unpack_plain
from protocols.bus.messages import PacketsMessage, parse
from protocols.bus.pass_list import parse_pass_list
from protocols.dtn.bundle import parse_bundle
from protocols.dtn.cbor import ANY
from protocols.dtn.contact_plan_formats import read_hdtn
from protocols.dtn.ltp_engine import LtpEngine
from protocols.dtn.ltp_parameters import LtpParameters
from protocols.dtn.ltp_segments import DataSegment, SegmentType, SessionId, build_segment
from protocols.dtn.simple_layers import Framing, StreamFramer
from protocols.dtn.tcpcl import TcpclSession, TcpclSettings
from protocols.errors import LocalError, ProtocolError, RemoteError
from protocols.packets.encapsulation import parse_packet
from protocols.physical.sigmf import parse_metadata
from protocols.telemetry.xtce import import_xtce
from tests.ground.command.procedures.memory_world import DEFINITIONS
from tests.ground.scheduling.test_export import PUBLICATION

MIB = 1 << 20
HUGE_64 = b"\xff" * 8

BILLION_LAUGHS = (
    b'<!DOCTYPE x [<!ENTITY a "ha">'
    + b"".join(
        b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9)
    )
    + b"]><x>&j;</x>"
)  # fmt: skip
EXTERNAL = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'
QUADRATIC = b'<!DOCTYPE x [<!ENTITY a "' + b"a" * 50_000 + b'">]><x>' + b"&a;" * 50_000 + b"</x>"
ALIASES = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 10)}]\n" for n in range(9)
)


def read_xml_schedule(octets: bytes) -> object:
    return simple_schedule.read(PUBLICATION.problem, octets)


def procedure(octets: bytes) -> object:
    return read_yaml(octets.decode(), DEFINITIONS)


def requests(octets: bytes) -> object:
    return parse_requests(octets.decode(), "week.json")


def tcpcl(octets: bytes) -> object:
    session = TcpclSession(TcpclSettings(node_id="ipn:2.0"), active=False)
    session.connected(0)
    session.receive(0, b"dtn!\x04\x00" + struct.pack(">BHQQH", 7, 0, 1, 1 << 30, 7) + b"ipn:1.0")
    session.receive(0, bytes(4) + octets)
    assert session.incoming_octets <= len(octets)
    raise RemoteError("held, or the session has ended")


def ltp(octets: bytes) -> object:
    """A red block that is said to be of 2^60 octets, its end first."""
    engine = LtpEngine(2, 1, LtpParameters(), entropy=b"bomb")
    for n in range(100):
        end = DataSegment(
            SegmentType.RED_EOB, SessionId(1, n), 1, (1 << 60) - len(octets), octets, 1, 0
        )
        engine.receive(n, build_segment(end))
        engine.take(n)
    assert engine.statistics().receive_buffer <= LtpParameters().receive_buffer
    raise RemoteError("held, or refused")


def capture(octets: bytes) -> object:
    profile = load_profile(frames="aos", frame_length=60, fecf="absent", ocf="absent")
    opened = open_input(io.BytesIO(octets), profile)
    pieces = list(opened.pieces)
    assert not pieces
    raise RemoteError(str(opened.skipped))


NESTED = {"[": b"[" * 500_000, "{": b"{" + b'"a":{' * 100_000}
PCAP = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)

#: name → (reader, octets, most memory in MiB)
BOMBS: dict[str, tuple[Callable[[bytes], object], bytes, int]] = {
    "billion laughs, XTCE": (import_xtce, BILLION_LAUGHS, 4),
    "external entity, XTCE": (import_xtce, EXTERNAL, 4),
    "quadratic entity, XTCE": (import_xtce, QUADRATIC, 4),
    "nested elements, XTCE": (import_xtce, b"<a>" * 40_000, 40),
    "billion laughs, simple schedule": (read_xml_schedule, BILLION_LAUGHS, 4),
    "external entity, simple schedule": (read_xml_schedule, EXTERNAL, 4),
    "aliases, procedure": (procedure, ALIASES.encode(), 4),
    "nested lists, procedure": (procedure, b"steps: " + b"[\n" * 20_000, 4),
    "long number, procedure": (procedure, b"steps: [{say: " + b"9" * 20_000 + b"}]", 8),
    "nested JSON, requests": (requests, NESTED["["], 8),
    "nested JSON, pass list": (parse_pass_list, NESTED["{"], 8),
    "nested JSON, SigMF": (parse_metadata, NESTED["["], 8),
    "nested JSON, HDTN's plan": (read_hdtn, NESTED["["], 8),
    "array of 2^32, call": (unpack_map, b"\xdd\xff\xff\xff\xff", 1),
    "map of 2^32, call": (unpack_map, b"\xdf\xff\xff\xff\xff", 1),
    "text of 2^32, call": (unpack_map, b"\xdb\xff\xff\xff\xff", 1),
    "arrays in arrays, call": (unpack_map, b"\xdd\x00\x0e\xff\x00" * 200_000, 100),
    "arrays in arrays, bus": (unpack_plain, b"\xdc\xff\xff" * 300_000, 100),
    "a message of zeros, bus": (lambda octets: parse(PacketsMessage, octets), bytes(MIB), 4),
    "string of 2^64, bundle": (parse_bundle, b"\x9f\x88\x07\x00\x00\x5b" + HUGE_64, 1),
    "array of 2^64, CBOR": (ANY.parse, b"\x9b" + HUGE_64, 1),
    "nested arrays, CBOR": (ANY.parse, b"\x81" * 1_000_000, 4),
    "nested maps, CBOR": (ANY.parse, b"\xa1" * 1_000_000, 4),
    "bundle of 2^32, STCP": (StreamFramer(Framing.STCP).push, b"\xff" * 4, 1),
    "bundle of 2^64, MTCP": (StreamFramer(Framing.MTCP).push, b"\x5b" + HUGE_64, 1),
    "segment of 2^64, TCPCL": (tcpcl, struct.pack(">BBQIQ", 1, 2, 1, 0, (1 << 64) - 1), 1),
    "extensions of 2^32, TCPCL": (tcpcl, struct.pack(">BBQI", 1, 2, 1, 0xFFFFFFFF), 1),
    "block of 2^60, LTP": (ltp, b"the end", 4),
    "packet of 2^32, encapsulation": (parse_packet, b"\xe7\x00\x00\x00" + b"\xff" * 4, 1),
    "record of 2^32, pcap": (capture, PCAP + struct.pack("<IIII", 0, 0, 0xFFFFFFFF, 0xFFFFFFFF), 4),
    "block of 2^32, pcapng": (
        capture,
        struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
        + struct.pack("<III", 6, 0xFFFFFFFC, 0),
        4,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_what_asks_for_much_is_refused_for_little(name: str) -> None:
    read, octets, most_mib = BOMBS[name]
    # What is loaded at first use is not counted.
    with suppress(ProtocolError):
        read(octets[:64])
    tracemalloc.start()
    try:
        began_s = time.process_time()
        with pytest.raises((RemoteError, LocalError)):
            read(octets)
        took_s = time.process_time() - began_s
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most_mib * MIB, f"{peak / MIB:.1f} MiB"
    # Tracing takes some ten times as long.
    assert took_s < 10


def test_a_compressed_table_is_measured_before_it_is_read(tmp_path: Path) -> None:
    """A million rows that are alike are some KiB of Parquet."""
    rows = tables.MOST_ROWS + 1
    zeros = pa.array(np.zeros(rows, np.int64))
    names = ["start", "on", "off", "end"]
    columns = {f"{name}_tai_ns": zeros for name in names}
    text = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int8), ["relay"])
    table = pa.table({"request": text, "antenna": text, **columns})
    path = tmp_path / "bomb.parquet"
    pq.write_table(table, path, compression="zstd")
    assert path.stat().st_size < MIB
    began_s = time.process_time()
    with pytest.raises(RemoteError, match="rows"):
        tables.read_parquet(path)
    assert time.process_time() - began_s < 2
