"""Inputs: what is detected and said, and network captures checked against Wireshark's tools."""

from __future__ import annotations

import io
import os
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ground.ports import LinkChunk
from ground.receive import datagrams
from ground.receive.capture import CaptureWriter
from ground.receive.inputs import Input, open_input
from ground.receive.profile import LinkProfile, load_profile
from ground.receive.replay import replay
from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_utc_iso

MARS = "Mars2020__mars2020_frames.u8"
T0 = 1_700_000_000_000_000_000
T0_TAI = tai_ns_from_utc_iso("2023-11-14T22:13:20Z")


def udp(payload: bytes, port: int = 5000) -> bytes:
    return struct.pack(">HHHH", 4000, port, 8 + len(payload), 0) + payload


def ipv4(body: bytes, *, protocol: int = 17, fragment: int = 0, total: int | None = None) -> bytes:
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(body) if total is None else total, 7, fragment, 64,
        protocol, 0, bytes([127, 0, 0, 1]), bytes([127, 0, 0, 1]),
    )  # fmt: skip
    return header + body


def ipv6(body: bytes, *, following: int = 17) -> bytes:
    return struct.pack(">IHBB", 6 << 28, len(body), following, 64) + bytes(32) + body


LINK_LAYERS = {
    "ethernet": (1, lambda ip, kind: bytes(12) + kind.to_bytes(2, "big") + ip),
    "vlan": (1, lambda ip, kind: bytes(12) + b"\x81\x00\x00\x05" + kind.to_bytes(2, "big") + ip),
    "raw": (101, lambda ip, kind: ip),
    "null": (0, lambda ip, kind: (2 if kind == 0x800 else 10).to_bytes(4, "little") + ip),
    "loop": (108, lambda ip, kind: (2 if kind == 0x800 else 24).to_bytes(4, "big") + ip),
    "sll": (113, lambda ip, kind: bytes([0, 0, 3, 4]) + bytes(10) + kind.to_bytes(2, "big") + ip),
    "sll2": (276, lambda ip, kind: kind.to_bytes(2, "big") + bytes(18) + ip),
}


def pcap(
    packets: list[bytes], link_type: int, *, order: str = "<", nanoseconds: bool = True
) -> bytes:
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link_type)
    for i, packet in enumerate(packets):
        fraction = 1_000 * i if nanoseconds else i
        out += struct.pack(order + "IIII", T0 // 10**9, fraction, len(packet), len(packet)) + packet
    return out


def frames_of(shared: Path, count: int) -> list[bytes]:
    data = (shared / "captures" / MARS).read_bytes()[: count * 1115]
    return [data[at : at + 1115] for at in range(0, len(data), 1115)]


def everything(opened: Input) -> list[tuple[bytes, int]]:
    with opened:
        return [(piece.octets, piece.ert_ns) for piece in opened.pieces]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("layer", LINK_LAYERS)
def test_udp_payloads_of_every_link_layer(
    layer: str, order: str, version: int, tmp_path: Path, shared: Path
) -> None:
    link_type, wrap = LINK_LAYERS[layer]
    frames = frames_of(shared, 6)
    packets = [
        wrap(ipv4(udp(f)), 0x800) if version == 4 else wrap(ipv6(udp(f)), 0x86DD) for f in frames
    ]
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(packets, link_type, order=order))
    opened = open_input(path, load_profile("mars2020"))
    assert (opened.container, opened.kind) == ("pcap", "frames")
    assert "UDP port 5000" in opened.statement
    assert "--input says otherwise" in opened.statement
    assert everything(opened) == [(f, T0_TAI + 1000 * i) for i, f in enumerate(frames)]
    assert not opened.skipped


@pytest.mark.program("tshark")
@pytest.mark.parametrize("layer", LINK_LAYERS)
def test_tshark_finds_the_same_payloads(layer: str, tmp_path: Path) -> None:
    """The captures that these tests make are what Wireshark takes them for."""
    link_type, wrap = LINK_LAYERS[layer]
    payloads = [b"%d" % i * 20 for i in range(3)]
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap([wrap(ipv4(udp(p)), 0x800) for p in payloads], link_type))
    run = subprocess.run(
        ["tshark", "-r", str(path), "-T", "fields", "-e", "udp.payload", "-e", "udp.dstport"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    found = [line.split() for line in run.stdout.splitlines()]
    assert [(bytes.fromhex(hexadecimal), int(port)) for hexadecimal, port in found] == [
        (p, 5000) for p in payloads
    ]


@pytest.mark.program("editcap")
@pytest.mark.parametrize("form", ["pcap", "nsecpcap", "pcapng", "modpcap"])
def test_files_converted_by_editcap(form: str, tmp_path: Path, shared: Path) -> None:
    frames = frames_of(shared, 5)
    made, converted = tmp_path / "made.pcap", tmp_path / "converted"
    made.write_bytes(pcap([LINK_LAYERS["ethernet"][1](ipv4(udp(f)), 0x800) for f in frames], 1))
    subprocess.run(["editcap", "-F", form, made, converted], check=True, timeout=120)
    if form == "modpcap":
        # A variant with larger record headers and a magic number of its own; refused by name.
        with pytest.raises(LocalError, match="neither"):
            open_input(converted, load_profile("mars2020"), choice="pcap")
        return
    opened = open_input(converted, load_profile("mars2020"))
    assert opened.container == ("pcapng" if form == "pcapng" else "pcap")
    # editcap keeps nanoseconds where the format has them.
    unit = 1 if form != "pcap" else 1000
    wanted = [(f, T0_TAI + 1000 * i // unit * unit) for i, f in enumerate(frames)]
    assert everything(opened) == wanted


@pytest.mark.program("tshark")
def test_a_capture_taken_by_dumpcap_style_loopback(tmp_path: Path, shared: Path) -> None:
    """Our own capture, read back as the pcapng that it is, without the capture reader."""
    frames = frames_of(shared, 9)
    with CaptureWriter(tmp_path / "capture", link="downlink") as writer:
        writer.append([LinkChunk("run1", i, T0_TAI + i, f) for i, f in enumerate(frames)])
        path = writer.path
    opened = open_input(io.BytesIO(path.read_bytes()), load_profile("mars2020"))
    assert (opened.container, opened.kind) == ("pcapng", "frames")
    assert everything(opened) == [(f, T0_TAI + i) for i, f in enumerate(frames)]


def test_what_is_left_out_is_counted_by_reason(tmp_path: Path, shared: Path) -> None:
    ethernet = LINK_LAYERS["ethernet"][1]
    frames = frames_of(shared, 4)
    large = frames[3] * 2
    body = udp(large)
    packets = [
        ethernet(ipv4(udp(frames[0])), 0x800),
        ethernet(b"arp", 0x806),
        ethernet(ipv4(b"x" * 20, protocol=6), 0x800),
        ethernet(ipv4(udp(frames[1]))[:100], 0x800),
        ethernet(ipv4(udp(frames[1][:-1])), 0x800),
        ethernet(ipv4(udp(b"z" * 1115, port=6000)), 0x800),
        ethernet(ipv6(b"", following=44), 0x86DD),
        b"short",
        # In two fragments, the second first: RFC 791 offsets count 8 octets.
        ethernet(ipv4(body[1480:], fragment=1480 // 8), 0x800),
        ethernet(ipv4(body[:1480], fragment=0x2000), 0x800),
        ethernet(ipv4(udp(frames[2])), 0x800),
    ]
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(packets, 1) + b"torn")
    opened = open_input(path, load_profile("mars2020"), port=5000)
    assert [octets for octets, _ert in everything(opened)] == [frames[0], large, frames[2]]
    assert dict(opened.skipped) == {
        "packets that are not IP": 2,
        "packets that are not UDP": 1,
        "packets cut short": 1,
        "payloads that are no multiple of 1115 octets": 1,
        "payloads to other ports": 1,
        "IPv6 fragments": 1,
        "octets of a torn record": 4,
    }


def test_packets_in_udp_and_back_to_back(tmp_path: Path, shared: Path) -> None:
    """JPSS geolocation packets: count, APID and octets as their publisher says."""
    data = next((shared / "captures" / "jpss").glob("*.DAT1")).read_bytes()
    packets = [data[at : at + 71] for at in range(0, len(data), 71)]
    assert len(packets) == 7200
    plain, in_udp = tmp_path / "x.bin", tmp_path / "x.pcap"
    plain.write_bytes(data)
    in_udp.write_bytes(pcap([ipv4(udp(p)) for p in packets], 101))
    for path, container in ((plain, "file"), (in_udp, "pcap")):
        with open_input(path) as opened:
            assert (opened.container, opened.kind) == (container, "packets")
        summary = replay(path).summary
        assert summary["space_packets"] == 7200
        (apid,) = summary["apids"].values()
        assert apid["bytes"] == len(data)
        assert apid["count"] == 7200


def test_detection_of_frames_and_overriding_it(shared: Path, tmp_path: Path) -> None:
    path = shared / "captures" / MARS

    def told(profile: LinkProfile, choice: str | None = None) -> tuple[str, str]:
        with open_input(path, profile, choice=choice) as opened:
            return opened.kind, opened.statement

    assert told(load_profile(frame_length=1115)) == (
        "frames",
        "taken for frames of 1115 octets; --input says otherwise",
    )
    assert "100 octets, 50 octets left over" in told(load_profile(frame_length=100))[1]
    assert told(load_profile("mars2020"), "codewords")[0] == "codewords"
    assert told(load_profile("queqiao"))[0] == "codewords"
    with pytest.raises(LocalError, match="--mission NAME or --frame-length"):
        open_input(path)
    with pytest.raises(LocalError, match="--input tape: one of cadu, codewords"):
        open_input(path, choice="tape")
    with pytest.raises(LocalError, match="which is neither"):
        open_input(path, choice="pcap")
    with pytest.raises(LocalError, match="No such file"):
        open_input(tmp_path / "absent")
    with pytest.raises(LocalError, match="no capture files"):
        open_input(tmp_path)


def test_live_pipe_gives_what_has_come(shared: Path) -> None:
    """A pipe is read as it fills: the first frames come out before the end."""
    frames = frames_of(shared, 40)
    ours, theirs = socket.socketpair()
    with ours, theirs, theirs.makefile("rb") as stream:
        ours.sendall(b"".join(frames[:20]))
        opened = open_input(stream, load_profile("mars2020"))
        assert opened.total_octets is None
        first = next(opened.pieces)
        ours.sendall(b"".join(frames[20:]))
        ours.shutdown(socket.SHUT_WR)
        rest = [piece.octets for piece in opened.pieces]
    assert len(first.octets) <= 20 * 1115
    assert b"".join([first.octets, *rest]) == b"".join(frames)


@settings(max_examples=150, deadline=None)
@given(
    noise=st.binary(max_size=400),
    cut=st.integers(0, 2000),
    flips=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 255)), max_size=8),
    form=st.sampled_from(["pcap", "pcapng", "frames", "packets", "noise"]),
    how=st.sampled_from([None, "frames", "packets", "pcap", "cadu", "codewords", "capture"]),
)
def test_damaged_input_of_any_kind_raises_nothing_unhandled(
    noise: bytes, cut: int, flips: list[tuple[int, int]], form: str, how: str | None
) -> None:
    packets = [ipv4(udp(bytes([8, 1, 0xC0, i, 0, 20]) + bytes(21))) for i in range(20)]
    octets: Any = {
        "pcap": lambda: pcap(packets, 101),
        "pcapng": lambda: own_capture(packets),
        "frames": lambda: bytes(range(256)) * 9,
        "packets": lambda: b"".join(p[28:] for p in packets),
        "noise": lambda: b"",
    }[form]()
    damaged = bytearray(octets[:cut] + noise + octets[cut:])
    for at, mask in flips:
        if damaged:
            damaged[at % len(damaged)] ^= mask
    profile = load_profile("danuri", rs_parity=0)
    try:
        result = replay(io.BytesIO(bytes(damaged)), profile, input=how)
    except LocalError:
        return  # neither told nor detected
    assert result.summary["bytes"] <= len(damaged)


def own_capture(packets: list[bytes]) -> bytes:
    """A pcapng of raw IP packets, of the blocks that the capture writer builds."""
    from ground.receive import pcapng

    end = pcapng.build_option(pcapng.OPTION_END, b"")
    out = pcapng.build_block(
        pcapng.SECTION_HEADER,
        pcapng.SECTION_HEADER_BODY.build({"minor": 0, "section_length": -1}),
    )
    body = pcapng.INTERFACE_DESCRIPTION_BODY.build(
        {"link_type": 101, "reserved": 0, "snap_length": 0}
    )
    out += pcapng.build_block(
        pcapng.INTERFACE_DESCRIPTION,
        body + pcapng.build_option(pcapng.OPTION_IF_TSRESOL, b"\x09") + end,
    )
    for packet in packets:
        body = pcapng.ENHANCED_PACKET_BODY.build(
            {
                "interface": 0,
                "timestamp_high": T0 >> 32,
                "timestamp_low": T0 & 0xFFFFFFFF,
                "captured_length": len(packet),
                "original_length": len(packet),
            }
        )
        out += pcapng.build_block(pcapng.ENHANCED_PACKET, body + pcapng.padded(packet))
    return out


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 400), max_size=12), st.sampled_from(["pcap", "pcapng"]))
def test_parsers_take_any_cut(sizes: list[int], form: str) -> None:
    packets = [ipv4(udp(os.urandom(i * 13 % 90))) for i in range(12)]
    octets = pcap(packets, 101) if form == "pcap" else own_capture(packets)
    parser: Any = datagrams.PcapParser() if form == "pcap" else datagrams.PcapngParser()
    found: list[bytes] = []
    at = 0
    for size in [*sizes, len(octets)]:
        found += [record.octets for record in parser.push(octets[at : at + size])]
        at += size
    found += [record.octets for record in parser.finish() or ()]
    assert found == packets
    assert not parser.skipped


def test_pcapng_resolution_offset_and_other_blocks() -> None:
    """if_tsresol in powers of 2, if_tsoffset, simple and obsolete packet blocks, big-endian."""
    for order in "<>":

        def block(kind: int, body: bytes, order: str = order) -> bytes:
            total = len(body) + 12
            return struct.pack(order + "II", kind, total) + body + struct.pack(order + "I", total)

        def option(code: int, value: bytes, order: str = order) -> bytes:
            return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)

        def stamp(units: int, order: str = order) -> bytes:
            return struct.pack(order + "II", units >> 32, units & 0xFFFFFFFF)

        section = block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
        described = block(
            1,
            struct.pack(order + "HHI", 147, 0, 3)
            + option(9, bytes([0x80 | 10]))
            + option(14, struct.pack(order + "q", 1000))
            + option(0, b""),
        )
        enhanced = block(
            6,
            struct.pack(order + "I", 0)
            + stamp(1536)
            + struct.pack(order + "II", 5, 5)
            + b"abcde\0\0\0",
        )
        obsolete = block(
            2,
            struct.pack(order + "HH", 0, 9)
            + stamp(512)
            + struct.pack(order + "II", 2, 2)
            + b"fg\0\0",
        )
        simple = block(3, struct.pack(order + "I", 9) + b"hij\0")
        unknown = block(0xBAD, b"1234")
        parser = datagrams.PcapngParser()
        found = list(parser.push(section + described + unknown + enhanced + obsolete + simple))
        assert found == [
            (147, 1_001_500_000_000, b"abcde"),
            (147, 1_000_500_000_000, b"fg"),
            (147, 1_000_000_000_000, b"hij"),
        ]
        assert np.sum(list(parser.skipped.values())) == 0
