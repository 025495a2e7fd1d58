"""What the chain gives: packets, what are none and why, control fields; and its counts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from protocols.frames.columns import FrameIndex
from protocols.packets.batch import PacketBatch
from protocols.packets.extraction import OpaqueZones

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rejected:
    """Frames that took no part in extraction.

    reason: one of `summary.REJECTIONS`; frames: uint8 [m, frame_length]; ert_ns: int64 [m].
    """

    reason: str
    frames: U8
    ert_ns: I64


@dataclass(frozen=True, eq=False)
class OcfRuns:
    """Operational control fields of usable frames in a row, equal ones once: arrays [n].

    CLCWs and type-2 reports take turns; of each kind equal ones are one run, whatever lies between,
    and runs are in the order of their first frames.
    frames: how many frames said so; first_ert_ns, last_ert_ns: of the first and last of them.
    """

    word: npt.NDArray[np.uint32]
    frames: I64
    first_ert_ns: I64
    last_ert_ns: I64

    @classmethod
    def of_frames(cls, index: FrameIndex, ert_ns: I64) -> list[OcfRuns]:
        """Of those of these frames that are usable and have one; none or one."""
        usable = index.usable & index.has_ocf
        count = np.count_nonzero(usable)
        if not count:
            return []
        if count == len(usable):
            return [cls.of(index.ocf, ert_ns)]
        return [cls.of(index.ocf[usable], ert_ns[usable])]

    @classmethod
    def of(cls, word: npt.NDArray[np.uint32], ert_ns: I64) -> OcfRuns:
        parts: list[OcfRuns] = []
        firsts: list[npt.NDArray[np.intp]] = []
        for kind in (0, 1):
            rows = np.flatnonzero(word >> 31 == kind)
            if not len(rows):
                continue
            mine = word[rows]
            first = np.flatnonzero(np.concatenate([[True], mine[1:] != mine[:-1]]))
            end = np.append(first[1:], len(rows))
            firsts.append(rows[first])
            parts.append(cls(mine[first], end - first, ert_ns[rows[first]], ert_ns[rows[end - 1]]))
        order = np.argsort(np.concatenate(firsts))
        columns = ("word", "frames", "first_ert_ns", "last_ert_ns")
        return cls(
            *(np.concatenate([getattr(part, name) for part in parts])[order] for name in columns)
        )


@dataclass(frozen=True, eq=False)
class ChainOutput:
    """What one push gave.

    packets: in order of completion, `ert_ns` that of the frame with the packet's first octet.
    opaque: data zones that are not packets, `rejected`: frames that could not be used.
    frames: frames that came out of synchronisation, rejected ones included.
    damaged: octets of a packet input that are no packets.
    ocf: operational control fields of usable frames.
    """

    packets: PacketBatch
    opaque: OpaqueZones
    rejected: list[Rejected]
    frames: int
    damaged: list[bytes] = field(default_factory=list[bytes])
    ocf: list[OcfRuns] = field(default_factory=list["OcfRuns"])

    @classmethod
    def join(cls, parts: list[ChainOutput]) -> ChainOutput:
        if len(parts) == 1:
            return parts[0]
        return cls(
            PacketBatch.concatenate(part.packets for part in parts),
            OpaqueZones.concatenate([part.opaque for part in parts]),
            [one for part in parts for one in part.rejected],
            sum(part.frames for part in parts),
            [one for part in parts for one in part.damaged],
            [one for part in parts for one in part.ocf],
        )


@dataclass(frozen=True, slots=True)
class ChainStatistics:
    """Counts since the beginning, in the form of the bus's `LinkMessage`.

    counts: stage -> counter -> value, stages `input`, `sync`, `coding`, `frames`, `packets`.
    virtual_channels: VC (decimal) -> counter -> value.
    """

    counts: dict[str, dict[str, int]]
    virtual_channels: dict[str, dict[str, int]]


def trimmed(batch: PacketBatch) -> PacketBatch:
    """The batch without the room that extraction left for the shortest of packets: whoever holds
    outputs (a queue, a sink) would hold that room, up to seventeen times the octets, with them."""
    if not len(batch):
        return _NO_PACKETS
    return PacketBatch(
        batch.octets.copy(), batch.offsets.copy(), batch.vcid.copy(), batch.ert_ns.copy()
    )


_NO_PACKETS = PacketBatch.empty()
_NO_ZONES = OpaqueZones.concatenate([])


def nothing() -> ChainOutput:
    return ChainOutput(_NO_PACKETS, _NO_ZONES, [], 0)
