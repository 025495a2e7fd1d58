"""What extraction gives: packets, zones that are not packets, and the account of every octet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.frames.columns import I64, U8
from protocols.packets.batch import PacketBatch

#: Names of the counters that every channel keeps, in the kernel's order.
COUNTERS = (
    "frames",
    "discontinuities",
    "repeats",
    "backward_jumps",
    "missing_frames",
    "pointer_frames",
    "continuation_frames",
    "idle_frames",
    "opaque_frames",
    "space_packets",
    "fhp_match",
    "fhp_mismatch",
    "bad_fhp",
    "partial_dropped_gap",
    "orphan_continuation_frames",
    "orphan_heads",
    "bad_pvn",
    "bad_length",
    "zone_octets",
    "packet_octets",
    "idle_octets",
    "opaque_octets",
    "gap_octets",
    "mismatch_octets",
    "orphan_octets",
    *(f"bad_pvn_{version}" for version in range(8)),
)
#: Why a zone is opaque, in the kernel's order.
OPAQUE_REASONS = ("not_packets", "bad_pvn", "bad_fhp", "bad_length")


@dataclass(frozen=True, slots=True)
class OpaqueZone:
    """A data zone, or the rest of one, that is not packets."""

    scid: int
    vcid: int
    frame: int
    ert_ns: int
    reason: str
    octets: bytes


@dataclass(frozen=True, eq=False)
class OpaqueZones:
    """Many opaque zones as arrays; iterating gives `OpaqueZone`s.

    octets: uint8 [total], zones back to back; zone i is `octets[offsets[i]:offsets[i + 1]]`.
    scid: uint16 [n]; vcid: uint8 [n]; frame: int64 [n], number of the frame among all pushed;
    ert_ns: int64 [n]; reason: uint8 [n], index into OPAQUE_REASONS.
    """

    octets: U8
    offsets: I64
    scid: np.ndarray[Any, np.dtype[np.uint16]]
    vcid: U8
    frame: I64
    ert_ns: I64
    reason: U8

    def __len__(self) -> int:
        return len(self.vcid)

    def __getitem__(self, i: int) -> OpaqueZone:
        return OpaqueZone(
            scid=int(self.scid[i]),
            vcid=int(self.vcid[i]),
            frame=int(self.frame[i]),
            ert_ns=int(self.ert_ns[i]),
            reason=OPAQUE_REASONS[int(self.reason[i])],
            octets=self.octets[self.offsets[i] : self.offsets[i + 1]].tobytes(),
        )

    def __iter__(self) -> Iterator[OpaqueZone]:
        return (self[i] for i in range(len(self)))

    @classmethod
    def concatenate(cls, parts: list[OpaqueZones]) -> OpaqueZones:
        if len(parts) == 1:
            return parts[0]
        lengths = np.concatenate([np.zeros(1, np.int64), *(np.diff(p.offsets) for p in parts)])
        return cls(
            np.concatenate([np.zeros(0, np.uint8), *(p.octets for p in parts)]),
            np.cumsum(lengths),
            np.concatenate([np.zeros(0, np.uint16), *(p.scid for p in parts)]),
            np.concatenate([np.zeros(0, np.uint8), *(p.vcid for p in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(p.frame for p in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(p.ert_ns for p in parts)]),
            np.concatenate([np.zeros(0, np.uint8), *(p.reason for p in parts)]),
        )


NO_ZONES = OpaqueZones.concatenate([])


@dataclass(frozen=True, eq=False)
class Extracted:
    """What one push gave.

    packets: in order of completion; `ert_ns` is that of the frame holding the first octet.
    first_frame: int64 [n], number of that frame among all pushed.
    opaque: zones that are not packets.
    """

    packets: PacketBatch
    first_frame: I64
    opaque: OpaqueZones


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """Counts of one virtual channel since the beginning.

    counts: by the names in COUNTERS.  `zone_octets` is the sum of `packet_octets`, `idle_octets`,
    `opaque_octets`, `gap_octets`, `mismatch_octets`, `orphan_octets` and of `partial_octets`, the
    octets of packets begun and not yet complete (`partial_packets` of them).
    first_count, last_count: frame counts, −1 if the channel has no counter.
    ocf: how often each OCF value came; `ocf_other` counts those beyond MAX_OCF_VALUES.
    zone_lengths: the data field lengths seen, the first MAX_ZONE_LENGTHS of them.
    """

    scid: int
    vcid: int
    counts: dict[str, int]
    first_count: int
    last_count: int
    partial_packets: int
    partial_octets: int
    ocf: dict[int, int]
    ocf_other: int
    zone_lengths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MasterChannelStatistics:
    """Master channel frame counter of one spacecraft (TM): 132.0-B-3 §4.1.2.5."""

    discontinuities: int
    repeats: int
    missing_frames: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class ExtractionStatistics:
    """frames: all pushed; crc_failed, foreign, malformed, refused: those left out, each once, in
    this order of reasons.  channels: by (SCID, VCID); master_channels: by SCID."""

    frames: int
    crc_failed: int
    foreign: int
    malformed: int
    refused: int
    channels: dict[tuple[int, int], ChannelStatistics]
    master_channels: dict[int, MasterChannelStatistics]

    def vc(self, vcid: int) -> ChannelStatistics:
        """The channel of this VCID; KeyError unless exactly one spacecraft has it."""
        (found,) = [value for (_, vc), value in self.channels.items() if vc == vcid] or [None]
        if found is None:
            raise KeyError(vcid)
        return found
