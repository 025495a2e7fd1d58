"""DIFI, IEEE-ISTO 4900-2021: I/Q samples in VITA 49.2 packets, one a UDP datagram.

Signal data packets are 7 words of header and samples, signal context packets say what the samples
are; version packets tell a receiver nothing.  Words are 32 bits, big-endian.  Clauses after DIFI
v1.1; those of VITA 49.2 where it refers to them.
"""

# construct ships no types: what comes out of it is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false, reportUnknownLambdaType=false

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import construct as c
import numpy as np

from protocols.errors import LocalError, RemoteError
from protocols.timecodes.tai import tai_ns_from_unix_ns, unix_ns_from_tai_ns

#: §3.1: DIFI's company identifier.
OUI: Final = 0x6A621E
#: §2.1.1: of an Ethernet frame's payload; 28 octets of it are IPv4's and UDP's headers.
LONGEST_PACKET: Final = 9000 - 28
#: 1980-01-06T00:00:00 UTC as TAI ns; GPS has kept TAI − 19 s ever since.
GPS_EPOCH_TAI_NS: Final = tai_ns_from_unix_ns(315_964_800 * 10**9)
#: VITA 49.2 §9.5: frequencies and rates are fixed point, the radix point right of bit 20.
HZ: Final = 1 << 20
DECIBEL: Final = 1 << 7

DATA, CONTEXT = 0x1, 0x4
CLASS_DATA, CLASS_CONTEXT = 0x0000, 0x0001
#: §3.1.2.2: the fields that every signal context packet has, without the change indicator.
CIF0: Final = 0x7BB98000
CIF0_CHANGED: Final = 1 << 31
REFERENCE_POINT: Final = 0x64

HEADER: Final = c.BitStruct(
    "packet_type" / c.BitsInteger(4),
    "has_class" / c.Flag,
    "reserved" / c.BitsInteger(2),
    "mode" / c.BitsInteger(1),
    "tsi" / c.BitsInteger(2),
    "tsf" / c.BitsInteger(2),
    "sequence" / c.BitsInteger(4),
    "words" / c.BitsInteger(16),
    "stream" / c.BitsInteger(32),
    "pad_bits" / c.BitsInteger(5),
    "reserved_class" / c.BitsInteger(3),
    "oui" / c.BitsInteger(24),
    "information_class" / c.BitsInteger(16),
    "packet_class" / c.BitsInteger(16),
    "seconds" / c.BitsInteger(32),
    "picoseconds" / c.BitsInteger(64),
)
HEADER_OCTETS: Final = HEADER.sizeof()
#: The same words, for `_parse_data`.
_WORDS: Final = struct.Struct(">IIIIIQ")

CONTEXT_FIELDS: Final = c.Struct(
    "cif0" / c.Int32ub,
    "reference_point" / c.Int32ub,
    "bandwidth" / c.Int64ub,
    "if_reference" / c.Int64sb,
    "rf_reference" / c.Int64sb,
    "if_band_offset" / c.Int64sb,
    "reference_level" / c.Int32sb,
    "gain_2" / c.Int16sb,
    "gain_1" / c.Int16sb,
    "sample_rate" / c.Int64ub,
    "timestamp_adjustment" / c.Int64sb,
    "timestamp_calibration" / c.Int32ub,
    "state" / c.Int32ub,
    "payload"
    / c.BitStruct(
        "link_efficient" / c.Flag,
        "complexity" / c.BitsInteger(2),
        "item_format" / c.BitsInteger(5),
        "repeats" / c.Flag,
        "event_tag" / c.BitsInteger(3),
        "channel_tag" / c.BitsInteger(4),
        "fraction" / c.BitsInteger(4),
        "field_size" / c.BitsInteger(6),
        "item_size" / c.BitsInteger(6),
        "repeat_count" / c.BitsInteger(16),
        "vector_size" / c.BitsInteger(16),
    ),
)
CONTEXT_OCTETS: Final = HEADER_OCTETS + CONTEXT_FIELDS.sizeof()


class TimeScale(IntEnum):
    """TSI, VITA 49.2 §5.1.4."""

    UTC = 1
    GPS = 2
    POSIX = 3


@dataclass(frozen=True, slots=True)
class DataPacket:
    """ert_ns: of the first sample, TAI ns; picoseconds: what nanoseconds leave of it, 0 to 999.
    samples: as packed on the wire."""

    stream: int
    sequence: int
    ert_ns: int
    samples: bytes
    picoseconds: int = 0
    scale: TimeScale = TimeScale.POSIX


@dataclass(frozen=True, slots=True)
class ContextPacket:
    """What the samples of a stream are.  centre_hz: the frequency that stands at 0 Hz of them.

    bits: of I and of Q, 4 to 16.  reference_level_dbm: of full scale; gain_db: of stage 1.
    """

    stream: int
    sequence: int
    ert_ns: int
    sample_rate_hz: float
    centre_hz: float
    bandwidth_hz: float
    bits: int = 16
    reference_level_dbm: float = 0.0
    gain_db: float = 0.0
    changed: bool = False
    scale: TimeScale = TimeScale.POSIX

    def __post_init__(self) -> None:
        if not 4 <= self.bits <= 16:
            raise LocalError(f"DIFI: samples of {self.bits} bits; 4..16 wanted")


def parse_packet(octets: bytes) -> DataPacket | ContextPacket | None:
    """None: a packet that says nothing of samples (a version packet).

    RemoteError: no VITA 49 packet, or one that DIFI does not allow.
    """
    if len(octets) < HEADER_OCTETS:
        raise RemoteError(f"{len(octets)} octets; DIFI's header has {HEADER_OCTETS}", data=octets)
    return _parse_data(octets) or _parse_declared(octets)


def _parse_data(octets: bytes) -> DataPacket | None:
    """A data packet as nearly all are, ten times faster than by the declaration, which has the last
    word on all others; a test compares the two."""
    first, stream, oui, classes, seconds, picoseconds = _WORDS.unpack_from(octets)
    tsi = first >> 22 & 3
    if first >> 20 & 0xFF3 != 0x182 or not tsi or classes or oui != OUI:
        return None
    if 4 * (first & 0xFFFF) != len(octets) or picoseconds >= 10**12:
        return None
    scale = TimeScale(tsi)
    ert_ns = _tai_ns(scale, seconds) + picoseconds // 1000
    sequence = first >> 16 & 15
    return DataPacket(stream, sequence, ert_ns, octets[HEADER_OCTETS:], picoseconds % 1000, scale)


def _parse_declared(octets: bytes) -> DataPacket | ContextPacket | None:
    header: Any = HEADER.parse(octets[:HEADER_OCTETS])
    if header.packet_type not in (DATA, CONTEXT, CONTEXT + 1) or not header.has_class:
        raise _wrong(octets, f"packet type {header.packet_type}; 1, 4 or 5 with a class wanted")
    if 4 * header.words != len(octets):
        raise _wrong(octets, f"{header.words} words said, {len(octets)} octets came")
    if header.oui not in (OUI, 0x12A2):
        # 00-12-A2 is VITA's own, which early DIFI senders put there.
        raise _wrong(octets, f"OUI {header.oui:06X}; {OUI:06X} wanted")
    if header.tsi == 0 or header.tsf != 2:
        raise _wrong(octets, f"TSI {header.tsi}, TSF {header.tsf}; 1..3 and 2 (picoseconds) wanted")
    if header.picoseconds >= 10**12:
        raise _wrong(octets, f"{header.picoseconds} ps; less than a second wanted")
    scale = TimeScale(header.tsi)
    ert_ns = _tai_ns(scale, header.seconds) + header.picoseconds // 1000
    if header.packet_type == DATA:
        return DataPacket(
            header.stream,
            header.sequence,
            ert_ns,
            octets[HEADER_OCTETS:],
            header.picoseconds % 1000,
            scale,
        )
    if header.packet_type != CONTEXT or header.packet_class != CLASS_CONTEXT:
        return None
    return _parse_context(octets, header, ert_ns, scale)


def _parse_context(octets: bytes, header: Any, ert_ns: int, scale: TimeScale) -> ContextPacket:
    if len(octets) != CONTEXT_OCTETS:
        raise _wrong(octets, f"a context of {len(octets)} octets; {CONTEXT_OCTETS} wanted")
    fields: Any = CONTEXT_FIELDS.parse(octets[HEADER_OCTETS:])
    if fields.cif0 & ~CIF0_CHANGED != CIF0:
        raise _wrong(octets, f"CIF 0 {fields.cif0:08X}; {CIF0:08X} wanted")
    payload = fields.payload
    plain = payload.complexity == 1 and payload.item_format == 0 and not payload.repeats
    if not plain or payload.event_tag or payload.channel_tag:
        raise _wrong(octets, "samples that are not complex signed fixed point without tags")
    # §2.2.2: link-efficient packing alone.  With 8 and 16 bits the other is the same octets.
    bits = payload.item_size + 1
    if not 4 <= bits <= 16 or (not payload.link_efficient and bits not in (8, 16)):
        raise _wrong(octets, f"samples of {bits} bits, link-efficient {payload.link_efficient}")
    return ContextPacket(
        header.stream,
        header.sequence,
        ert_ns,
        fields.sample_rate / HZ,
        (fields.rf_reference + fields.if_band_offset) / HZ,
        fields.bandwidth / HZ,
        bits,
        fields.reference_level / DECIBEL,
        fields.gain_1 / DECIBEL,
        bool(fields.cif0 & CIF0_CHANGED),
        scale,
    )


def build_packet(packet: DataPacket | ContextPacket) -> bytes:
    """LocalError: samples that are no whole words, or too many of them."""
    if isinstance(packet, DataPacket):
        if len(packet.samples) % 4 or len(packet.samples) > LONGEST_PACKET - HEADER_OCTETS:
            raise LocalError(
                f"DIFI: {len(packet.samples)} octets of samples; whole words, at most "
                f"{LONGEST_PACKET - HEADER_OCTETS} octets wanted"
            )
        body, kind, packet_class, mode = packet.samples, DATA, CLASS_DATA, 0
        picoseconds = packet.picoseconds
    else:
        body, kind, packet_class, mode = _build_context(packet), CONTEXT, CLASS_CONTEXT, 1
        picoseconds = 0
    seconds, nanoseconds = _seconds(packet.scale, packet.ert_ns)
    return (
        HEADER.build(
            {
                "packet_type": kind,
                "has_class": True,
                "reserved": 0,
                "mode": mode,
                "tsi": packet.scale,
                "tsf": 2,
                "sequence": packet.sequence % 16,
                "words": (HEADER_OCTETS + len(body)) // 4,
                "stream": packet.stream,
                "pad_bits": 0,
                "reserved_class": 0,
                "oui": OUI,
                "information_class": 0,
                "packet_class": packet_class,
                "seconds": seconds,
                "picoseconds": nanoseconds * 1000 + picoseconds,
            }
        )
        + body
    )


def _build_context(packet: ContextPacket) -> bytes:
    return CONTEXT_FIELDS.build(
        {
            "cif0": CIF0 | (CIF0_CHANGED if packet.changed else 0),
            "reference_point": REFERENCE_POINT,
            "bandwidth": round(packet.bandwidth_hz) * HZ,
            "if_reference": 0,
            # §3.1.2.2: no fractional Hz in reference frequency and sample rate.
            "rf_reference": round(packet.centre_hz) * HZ,
            "if_band_offset": 0,
            "reference_level": round(packet.reference_level_dbm * DECIBEL),
            "gain_2": 0,
            "gain_1": round(packet.gain_db * DECIBEL),
            "sample_rate": round(packet.sample_rate_hz) * HZ,
            "timestamp_adjustment": 0,
            "timestamp_calibration": 0,
            "state": 0,
            "payload": {
                "link_efficient": True,
                "complexity": 1,
                "item_format": 0,
                "repeats": False,
                "event_tag": 0,
                "channel_tag": 0,
                "fraction": 0,
                # §3.1.2.1: an item packing field holds I or Q, as in all that was seen to be sent.
                "field_size": packet.bits - 1,
                "item_size": packet.bits - 1,
                "repeat_count": 0,
                "vector_size": 0,
            },
        }
    )


def unpack_samples(octets: bytes, bits: int) -> bytes:
    """Samples of 4 to 16 bits as ci16_be, the highest bit of each on top, so that full scale stays.

    >>> unpack_samples(bytes([0x7F, 0x80]), 8).hex()
    '7f008000'
    """
    if bits == 16:
        return octets
    values = np.unpackbits(np.frombuffer(octets, np.uint8))
    values = values[: len(values) // (2 * bits) * 2 * bits].reshape(-1, bits)
    whole = np.zeros((len(values), 16), np.uint8)
    whole[:, :bits] = values
    return np.packbits(whole).tobytes()


def pack_samples(octets: bytes, bits: int) -> bytes:
    """The reverse; what does not fit in so many bits is cut off below."""
    if bits == 16:
        return octets
    values = np.unpackbits(np.frombuffer(octets, np.uint8)).reshape(-1, 16)
    return np.packbits(values[:, :bits]).tobytes()


def _tai_ns(scale: TimeScale, seconds: int) -> int:
    # TSI 1 is sent by many as time.time(), which is POSIX; where leap seconds are counted in, the
    # two are 27 s apart since 2017, and nothing in the packet tells.
    if scale is TimeScale.GPS:
        return GPS_EPOCH_TAI_NS + seconds * 10**9
    return tai_ns_from_unix_ns(seconds * 10**9)


def _seconds(scale: TimeScale, tai_ns: int) -> tuple[int, int]:
    if scale is TimeScale.GPS:
        return divmod(tai_ns - GPS_EPOCH_TAI_NS, 10**9)
    return divmod(unix_ns_from_tai_ns(tai_ns), 10**9)


def _wrong(octets: bytes, why: str) -> RemoteError:
    return RemoteError(f"no DIFI packet: {why}", data=octets[:64])


__all__ = [
    "HEADER_OCTETS",
    "LONGEST_PACKET",
    "ContextPacket",
    "DataPacket",
    "TimeScale",
    "build_packet",
    "pack_samples",
    "parse_packet",
    "unpack_samples",
]
