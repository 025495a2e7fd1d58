"""DIFI packets against tshark's VITA 49 dissector and the published table of words."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError, RemoteError
from protocols.physical import difi
from protocols.physical.difi import (
    ContextPacket,
    DataPacket,
    TimeScale,
    build_packet,
    pack_samples,
    parse_packet,
    unpack_samples,
)
from protocols.timecodes.tai import tai_ns_from_utc_iso

T = tai_ns_from_utc_iso("2026-11-22T21:00:00.123456789Z")
#: The same instant by date(1).
UNIX_S = 1795381200
SCALES = st.sampled_from(TimeScale)
TIMES = st.integers(1_300_000_000 * 10**9, 3_000_000_000 * 10**9)
DATA = st.builds(
    DataPacket,
    st.integers(0, 2**32 - 1),
    st.integers(0, 15),
    TIMES,
    st.integers(0, 50).flatmap(lambda words: st.binary(min_size=4 * words, max_size=4 * words)),
    st.integers(0, 999),
    SCALES,
)
CONTEXT = st.builds(
    ContextPacket,
    st.integers(0, 2**32 - 1),
    st.integers(0, 15),
    TIMES,
    st.integers(1, 10**9).map(float),
    st.integers(0, 40 * 10**9).map(float),
    st.integers(0, 10**9).map(float),
    st.integers(4, 16),
    st.integers(-100 * 128, 100 * 128).map(lambda value: value / 128),
    st.integers(-100 * 128, 100 * 128).map(lambda value: value / 128),
    st.booleans(),
    SCALES,
)


@given(st.one_of(DATA, CONTEXT))
def test_parse_gives_what_was_built(packet: DataPacket | ContextPacket) -> None:
    octets = build_packet(packet)
    assert parse_packet(octets) == packet
    assert build_packet(packet) == octets


@given(
    st.one_of(DATA, CONTEXT),
    st.lists(st.tuples(st.integers(0, 27), st.integers(0, 255)), max_size=2),
)
def test_the_fast_path_says_what_the_declaration_says(
    packet: DataPacket | ContextPacket, changes: list[tuple[int, int]]
) -> None:
    octets = bytearray(build_packet(packet))
    for at, value in changes:
        octets[at] = value
    fast = difi._parse_data(bytes(octets))
    if not changes:
        assert (fast is not None) is isinstance(packet, DataPacket)
    if fast is not None:
        assert fast == difi._parse_declared(bytes(octets))


@given(st.one_of(DATA, CONTEXT), st.data())
def test_damaged_octets_raise_only_remote_errors(
    packet: DataPacket | ContextPacket, data: st.DataObject
) -> None:
    octets = bytearray(build_packet(packet))
    at = data.draw(st.integers(0, len(octets) - 1))
    octets[at] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(octets), bytes(octets[: data.draw(st.integers(0, len(octets)))])):
        try:
            parse_packet(damaged)
        except RemoteError as error:
            assert error.data == damaged[:64] or error.data == damaged  # noqa: PT017


def test_words_are_where_the_standard_puts_them() -> None:
    """DIFI v1.1, tables of §2.2.2 and §2.3.1, word by word."""
    data = struct.unpack(">IIIHHIQ8s", build_packet(DataPacket(7, 3, T, b"8 octets", 5)))
    assert data == (*(0x18E30009, 7, 0x006A621E, 0, 0, UNIX_S, 123_456_789_005, b"8 octets"),)
    context = build_packet(ContextPacket(7, 4, T, 2e6, 8.42e9, 1.6e6, 12, -30.0, 10.5))
    assert len(context) == 4 * 27
    words = struct.unpack(">27I", context)
    assert words[:5] == (0x49E4001B, 7, 0x006A621E, 1, UNIX_S)
    assert words[7:9] == (0x7BB98000, 0x64)
    bandwidth, intermediate, carrier, offset = struct.unpack(">QqqQ", context[36:68])
    assert (bandwidth, intermediate, carrier, offset) == (
        1_600_000 << 20,
        0,
        8_420_000_000 << 20,
        0,
    )
    assert struct.unpack(">i", context[68:72]) == (-30 * 128,)
    assert struct.unpack(">Q", context[76:84]) == (2_000_000 << 20,)
    assert words[25] == 0xA0000000 | 11 << 6 | 11


@pytest.mark.program("tshark", "text2pcap")
def test_tshark_reads_the_same_headers(tmp_path: Path) -> None:
    packets = [DataPacket(0x1234, 9, T, bytes(range(32)), 7, scale) for scale in TimeScale] + [
        ContextPacket(0x1234, 1, T, 1e6, 8.4e9, 1e6)
    ]
    dump = "".join(f"0000 {build_packet(packet).hex(' ')}\n" for packet in packets)
    capture = tmp_path / "difi.pcap"
    subprocess.run(
        ["text2pcap", "-q", "-u", "4991,4991", "-", str(capture)],
        input=dump,
        text=True,
        check=True,
        capture_output=True,
    )
    fields = ("type", "seq", "len", "sid", "oui", "icc", "pcc", "tsi", "tsf", "ts_int")
    fields += ("ts_frac_picosecond", "data")
    command = ["tshark", "-r", str(capture), "-d", "udp.port==4991,vrt", "-T", "fields"]
    for field in fields:
        command += ["-e", f"vrt.{field}"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [dict(zip(fields, line.split("\t"), strict=True)) for line in told.splitlines()]
    assert len(rows) == len(packets)
    for row, packet in zip(rows, packets, strict=True):
        octets = build_packet(packet)
        data = isinstance(packet, DataPacket)
        assert int(row["type"], 0) == (1 if data else 4)
        assert int(row["seq"], 0) == packet.sequence
        assert int(row["len"], 0) == len(octets) // 4
        assert int(row["sid"], 0) == packet.stream
        assert int(row["oui"], 0) == 0x6A621E
        assert (int(row["icc"], 0), int(row["pcc"], 0)) == (0, 0 if data else 1)
        assert int(row["tsi"], 0) == packet.scale
        assert int(row["tsf"], 0) == 2
        if packet.scale is not TimeScale.GPS:
            assert int(row["ts_int"], 0) == UNIX_S
        assert int(row["ts_frac_picosecond"], 0) == 123_456_789_000 + (7 if data else 0)
        if data:
            assert bytes.fromhex(row["data"].replace(":", "")) == packet.samples


def test_gps_time_is_without_leap_seconds() -> None:
    octets = build_packet(DataPacket(0, 0, T, b"", scale=TimeScale.GPS))
    # GPS − UTC has been 18 s since 2017.
    assert struct.unpack(">I", octets[16:20]) == (UNIX_S - 315_964_800 + 18,)


@pytest.mark.parametrize("bits", range(4, 17))
def test_samples_of_every_size_are_packed_without_gaps(bits: int) -> None:
    octets = bytes(range(256))[: 4 * bits]
    whole = unpack_samples(octets, bits)
    assert pack_samples(whole, bits) == octets
    stream = int.from_bytes(octets)
    for number in range(len(whole) // 2):
        field = stream >> 8 * len(octets) - bits * (number + 1) & (1 << bits) - 1
        assert int.from_bytes(whole[2 * number : 2 * number + 2]) == field << 16 - bits


def test_what_difi_does_not_allow_is_named() -> None:
    good = build_packet(DataPacket(0, 0, T, b"abcd"))
    for at, value, says in (
        (0, 0x78, "packet type 7"),
        (1, 0x20, "TSI 0"),
        (3, 9, "9 words said, 32 octets came"),
        (11, 0, "OUI 6A6200"),
    ):
        octets = bytearray(good)
        octets[at] = value
        with pytest.raises(RemoteError, match=says):
            parse_packet(bytes(octets))
    with pytest.raises(LocalError, match="3 octets of samples"):
        build_packet(DataPacket(0, 0, T, b"abc"))
    with pytest.raises(LocalError, match="3 bits"):
        ContextPacket(0, 0, T, 1, 1, 1, 3)
