"""Our bundles as independent programs read them, and theirs as we do.

pyD3TN's codec in both directions; tshark's dissector on everything that we build, BPSec included;
captures of ION, pyD3TN and HDTN.  (pyD3TN computes CRCs and does not check them.)
"""

from __future__ import annotations

import itertools
import struct
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyd3tn import bundle7 as theirs

from protocols.dtn.bpsec_contexts import Keys, add_confidentiality, add_integrity
from protocols.dtn.bundle import (
    BlockType,
    Bundle,
    CrcType,
    CreationTimestamp,
    Primary,
    parse_bundle,
    payload_block,
    read_bundle,
)
from protocols.dtn.bundle_extensions import BUNDLE_AGE, HOP_COUNT, PREVIOUS_NODE, HopCount
from protocols.dtn.bundle_fragments import fragment
from protocols.dtn.bundle_processing import PROCESSABLE, forwarded, receive, violations
from protocols.dtn.bundle_reports import Reason, Status, StatusReport
from protocols.dtn.eid import eid
from tests.protocols.dtn.pcap import ltp_blocks, packets, streams
from tests.protocols.dtn.test_bpsec import A1, A2, A3, A4
from tests.strategies import bundles

#: Block type of ION's quality of service, whose use the registry leaves to experiments.
ION_QOS = 193


@given(bundles())
def test_pyd3tn_reads_ours(bundle: Bundle) -> None:
    """It knows the block types of RFC 9171, one of each, and the flags that are assigned."""
    primary = replace(
        bundle.primary, flags=bundle.primary.flags & 0x34067, creation=CreationTimestamp(10**12, 3)
    )
    extensions = zip(bundle.blocks[:-1], (6, 7, 10), strict=False)
    blocks = [replace(block, type=kind, flags=block.flags & 0x17) for block, kind in extensions]
    sent = Bundle(primary, (*blocks, replace(bundle.blocks[-1], flags=0)))
    read = theirs.Bundle.parse(sent.build())
    found = read.primary_block
    assert int(found.bundle_proc_flags) == primary.flags
    assert int(found.crc_type) == primary.crc_type
    assert found.lifetime == primary.lifetime_ms
    assert found.fragment_offset == primary.fragment_offset
    assert found.total_payload_length == primary.total_length
    if primary.crc_type:
        assert found.crc_provided == found.calculate_crc()
    for ours, block in zip(sent.blocks, list(read)[1:], strict=True):
        assert (int(block.block_type), block.block_number) == (ours.type, ours.number)
        assert int(block.block_proc_flags) == ours.flags
        assert block.data == ours.data
        if ours.crc_type:
            assert block.crc_provided == block.calculate_crc()


crc_types = st.sampled_from([theirs.CRCType.NONE, theirs.CRCType.CRC16, theirs.CRCType.CRC32])


@given(
    st.binary(max_size=200),
    crc_types,
    crc_types,
    st.integers(0, 2**40),
    st.integers(0, 2**32),
    st.booleans(),
)
def test_we_read_pyd3tns(
    payload: bytes, primary_crc: int, payload_crc: int, time: int, sequence: int, fragmented: bool
) -> None:
    sent = theirs.Bundle(
        theirs.PrimaryBlock(
            bundle_proc_flags=theirs.BundleProcFlag(fragmented),
            crc_type=primary_crc,
            destination="dtn://mars.l4/storm",
            source="ipn:7.1",
            report_to="ipn:977000.3.1",
            creation_time=tuple.__new__(theirs.CreationTimestamp, (time, sequence)),
            lifetime=sequence,
            fragment_offset=time if fragmented else None,
            total_payload_length=time + len(payload) if fragmented else None,
        ),
        theirs.PayloadBlock(payload, crc_type=payload_crc),
        [
            theirs.PreviousNodeBlock("dtn://relay/"),
            theirs.BundleAgeBlock(sequence, crc_type=payload_crc),
            theirs.HopCountBlock(30, 3),
        ],
    )
    octets = bytes(sent)
    bundle = parse_bundle(octets)
    anew = Bundle(replace(bundle.primary), tuple(replace(block) for block in bundle.blocks))
    assert anew.build() == octets
    assert str(bundle.primary.destination) == "dtn://mars.l4/storm"
    assert str(bundle.primary.report_to) == "ipn:977000.3.1"
    assert bundle.primary.creation == (time, sequence)
    assert bundle.payload == payload
    assert PREVIOUS_NODE.find(bundle) == eid("dtn://relay/")
    assert BUNDLE_AGE.find(bundle) == 1000 * sequence  # seconds there
    assert HOP_COUNT.find(bundle) == HopCount(30, 3)


def udp_capture(datagrams: list[bytes]) -> bytes:
    """A pcap of raw IPv4 with UDP to port 4556, UDPCL's."""
    records = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101)]
    for datagram in datagrams:
        udp = struct.pack(">HHHH", 4556, 4556, 8 + len(datagram), 0) + datagram
        ip = struct.pack(
            ">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\x7f\0\0\1", b"\x7f\0\0\2"
        )
        octets = ip + udp
        records += [struct.pack("<IIII", 0, 0, len(octets), len(octets)), octets]
    return b"".join(records)


def dissected(octets: list[bytes], path: Path) -> list[dict[str, list[str]]]:
    """Fields that tshark finds in each bundle."""
    path.write_bytes(udp_capture(octets))
    names = [
        *("bpv7.crc_status", "bpv7.canonical.type_code", "bpv7.canonical.block_num"),
        *("bpsec.asb.target", "_ws.malformed", "_ws.expert.message", "_ws.expert.severity"),
    ]
    run = subprocess.run(
        [
            *(
                "tshark",
                "-r",
                str(path),
                "-T",
                "fields",
                "-E",
                "occurrence=a",
                "-E",
                "aggregator=|",
            ),
            *(option for name in names for option in ("-e", name)),
        ],
        capture_output=True,
        check=True,
        timeout=120,
    )
    rows = [line.split("\t") for line in run.stdout.decode().splitlines()]
    return [
        {name: [v for v in text.split("|") if v] for name, text in zip(names, row, strict=True)}
        for row in rows
    ]


def well_formed() -> list[Bundle]:
    """Bundles of every kind that a node sends, each with an identity of its own: tshark 4.0 crashes
    on a capture in which fragments, the whole and reports on them meet."""
    sequence = itertools.count()
    payload = payload_block(b"proton storm " * 9)
    blocks = (
        PREVIOUS_NODE.block(eid("ipn:4.0"), 2, crc_type=CrcType.X25),
        BUNDLE_AGE.block(499_000, 3, flags=1),
        HOP_COUNT.block(HopCount(30, 2), 4, crc_type=CrcType.CRC32C),
    )

    def primary(flags: int = 0x74040, crc_type: int = CrcType.CRC32C) -> Primary:
        return Primary(
            flags, crc_type, eid("ipn:2.1"), eid("ipn:1.1"), eid("dtn://earth/mail"),
            CreationTimestamp(848_689_507_005, next(sequence)), 300_000,
        )  # fmt: skip

    def full() -> Bundle:
        return Bundle(primary(), (*blocks, payload))

    made = [full(), Bundle(primary(crc_type=CrcType.X25), (payload_block(b"", crc_type=0),))]
    made.append(forwarded(full(), eid("dtn://relay/"), 1234))
    made += [fragment(full(), 20)[0], fragment(full(), 20)[1]]
    for status in Status:
        for subject in (full(), fragment(full(), 20)[1]):
            report = StatusReport.about(subject, status, Reason.TRAFFIC_PARED, 848_689_507_999)
            made.append(Bundle(primary(flags=2), (payload_block(report.build()),)))
    keys = Keys(bytes(range(32)), bytes(16))
    for scope in range(8):
        made.append(add_integrity(full(), [0, 1, 4], keys, eid("ipn:1.1"), scope=scope))
        ivs = {number: bytes([number] * 12) for number in (1, 3)}
        made.append(add_confidentiality(full(), ivs, keys, eid("ipn:1.1"), scope=scope))
    alone = add_integrity(full(), [1], keys, eid("ipn:1.1"), number=5)
    made.append(add_confidentiality(alone, {5: bytes(12), 1: bytes(12)}, keys, eid("ipn:1.1")))
    return made


@pytest.mark.program("tshark")
def test_tshark_dissects_every_bundle(tmp_path: Path) -> None:
    made = well_formed()
    examples = [parse_bundle(octets) for octets in (A1, A2, A3, A4)]
    rows = dissected([bundle.build() for bundle in made + examples], tmp_path / "bundles.pcap")
    assert len(rows) == len(made + examples)
    for row, bundle in zip(rows, made + examples, strict=True):
        assert row["_ws.malformed"] == []
        assert not any("not present" in text for text in row["_ws.expert.message"])
        checked = [bundle.primary.crc_type, *(block.crc_type for block in bundle.blocks)]
        # 1 is good; tshark says nothing of a block without CRC.
        assert row["bpv7.crc_status"] == ["1"] * sum(kind > 0 for kind in checked)
        numbers = [int(text) for text in row["bpv7.canonical.block_num"]]
        assert numbers == [block.number for block in bundle.blocks]


def capture_bundles(path: Path) -> list[bytes]:
    """Octets of every bundle in a capture: of LTP blocks, UDP datagrams, TCP streams."""
    found: list[bytes] = []
    for block in ltp_blocks(path):
        at = 0
        while at < len(block):
            end = read_bundle(block, at)[1]
            found.append(block[at:end])
            at = end
    found += [data for kind, _, _, data in packets(path) if kind == 17 and data[:1] == b"\x9f"]
    for stream in streams(path).values():
        at = stream.find(b"\x9f\x89\x07")
        while at >= 0:
            end = read_bundle(stream, at)[1]
            found.append(stream[at:end])
            at = stream.find(b"\x9f\x89\x07", end)
    return found


@pytest.mark.parametrize(
    ("name", "bundles_in_it"),
    [
        ("ion_to_hdtn_ltp.pcap", 6),
        ("ion_ltp_499s_20pct_loss.pcap", 30),
        ("ion_ltp_stcp_tcpclv3_udp.pcap", None),
        ("pyd3tn_to_hdtn_tcpclv4.pcap", 12),
    ],
)
def test_captures_of_other_implementations(
    shared: Path, name: str, bundles_in_it: int | None
) -> None:
    found = capture_bundles(shared / "captures" / "dtn" / name)
    assert len(found) == bundles_in_it or (bundles_in_it is None and len(found) >= 6)
    for octets in found:
        bundle = parse_bundle(octets)
        assert bundle.build() == octets
        anew = Bundle(replace(bundle.primary), tuple(replace(block) for block in bundle.blocks))
        assert anew.build() == octets
        assert violations(bundle) == []
        for block in bundle.of_type(ION_QOS):
            assert block.flags & 1
        result = receive(bundle)
        assert (result.delete, result.report) == (False, False)
        # pyD3TN's first block is of a type that is not known, and asks to be discarded.
        kept = [b.type for b in bundle.blocks if b.type in PROCESSABLE or not b.flags & 0x10]
        assert [block.type for block in result.bundle.blocks] == kept
        kinds = Counter(block.type for block in forwarded(bundle, eid("ipn:9.0"), 5).blocks)
        assert kinds[BlockType.PREVIOUS_NODE] == 1
        assert kinds[BlockType.PAYLOAD] == 1
