"""What came through a link, counted as it passes: the numbers of `l4 replay --summary json`.

The keys are those of the truth file that describes the public captures (see the README of the
shared captures).  State stays small however long the stream is: a few integers and two running
hashes per APID; nothing that passed is kept.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalError
from protocols.frames.columns import FHP_IDLE, FHP_NONE, FHP_NOT_PACKETS, FrameIndex
from protocols.packets.batch import PacketBatch

#: Indices and OCF values kept by value; beyond it they are only counted.
KEPT_INDICES = 1000
KEPT_OCF_VALUES = 4096

#: Space packet sequence counts wrap here (133.0-B-2 §4.1.3.4.3.4).
SEQUENCE_MODULUS = 1 << 14


@dataclass(slots=True)
class _Apid:
    count: int = 0
    octets: int = 0
    last_sequence: int = -1
    discontinuities: int = 0
    shortest: int = 0
    longest: int = 0
    secondary_header: int = 0  # bit 0: seen absent, bit 1: seen present
    types: int = 0
    flags: int = 0

    def as_list(self) -> list[int]:
        return [getattr(self, name) for name in self.__slots__]


@dataclass(slots=True)
class _Channel:
    frames: int = 0
    first: int = -1
    last: int = -1
    modulus: int = 1
    discontinuities: int = 0
    repeats: int = 0
    missing: int = 0
    backward: int = 0
    pointer: int = 0
    idle: int = 0
    no_start: int = 0
    not_packets: int = 0
    apids: dict[int, _Apid] = field(default_factory=dict[int, _Apid])
    other_packets: int = 0
    other_octets: int = 0
    zone_lengths: set[int] = field(default_factory=set[int])
    ocf: Counter[int] = field(default_factory=Counter[int])


#: Counters of a channel that go into a snapshot as plain integers.
_CHANNEL_INTEGERS = (
    "frames",
    "first",
    "last",
    "modulus",
    "discontinuities",
    "repeats",
    "missing",
    "backward",
    "pointer",
    "idle",
    "no_start",
    "not_packets",
    "other_packets",
    "other_octets",
)


class StreamSummary:
    """Counts frames and packets; with `digests`, hashes the packets as well.

    `snapshot()` wants `digests` off: a running SHA-256 cannot be saved.
    """

    def __init__(self, *, digests: bool = False) -> None:
        self.digests = digests
        self.frames = 0
        self.crc_fail = 0
        self.foreign = 0
        self.malformed = 0
        self.uncorrectable = 0
        self.crc_fail_indices: list[int] = []
        self.foreign_indices: list[int] = []
        self.malformed_indices: list[int] = []
        self.uncorrectable_indices: list[int] = []
        self.versions: Counter[int] = Counter()
        self.corrections: Counter[int] = Counter()
        self.channels: dict[int, _Channel] = {}
        self._apid_hash: dict[tuple[int, int], Any] = {}
        self._channel_hash: dict[int, Any] = {}

    # -- frames ------------------------------------------------------------------------------

    def add_frames(self, index: FrameIndex, rejected: dict[str, npt.NDArray[np.bool_]]) -> None:
        """Count a batch of n frames.

        rejected: for each of "uncorrectable", "crc_fail", "foreign" and "malformed" a mask [n];
        they exclude each other, and what none of them names is good.
        """
        n = len(index)
        good = np.ones(n, bool)
        for name, mask in rejected.items():
            found = np.flatnonzero(mask)
            if len(found):
                good &= ~mask
                setattr(self, name, getattr(self, name) + len(found))
                kept: list[int] = getattr(self, f"{name}_indices")
                room = KEPT_INDICES - len(kept)
                kept.extend(int(i) + self.frames for i in found[: max(room, 0)])
        self.frames += n
        values, counts = np.unique(index.version, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self.versions[value] += count
        for vcid in np.unique(index.vcid[good]).tolist():
            self._add_channel(vcid, index, np.flatnonzero(good & (index.vcid == vcid)))

    def _add_channel(self, vcid: int, index: FrameIndex, rows: npt.NDArray[np.intp]) -> None:
        channel = self.channels.setdefault(vcid, _Channel())
        counts = index.vc_count[rows].astype(np.int64)
        modulus = max(int(index.vc_count_modulus[rows[-1]]), 1)
        channel.modulus = modulus
        if channel.first < 0:
            channel.first = int(counts[0])
            steps = np.diff(counts) % modulus
        else:
            steps = np.diff(counts, prepend=channel.last) % modulus
        channel.last = int(counts[-1])
        channel.frames += len(rows)
        channel.discontinuities += int(np.count_nonzero(steps != 1))
        channel.repeats += int(np.count_nonzero(steps == 0))
        # With 8 bits a step back cannot be told from a long gap; with 24 it can.
        forward = steps[(steps > 1) & ((steps < modulus // 2) | (modulus <= 256))]
        channel.backward += int(np.count_nonzero((steps >= modulus // 2) & (modulus > 256)))
        channel.missing += int(np.sum(forward - 1))
        pointer = index.first_header_pointer[rows]
        idle = int(np.count_nonzero(pointer == FHP_IDLE))
        no_start = int(np.count_nonzero(pointer == FHP_NONE))
        not_packets = int(np.count_nonzero(pointer == FHP_NOT_PACKETS))
        channel.idle += idle
        channel.no_start += no_start
        channel.not_packets += not_packets
        channel.pointer += len(rows) - idle - no_start - not_packets
        if len(channel.zone_lengths) < 64:
            lengths = index.zone_end[rows] - index.zone_start[rows]
            channel.zone_lengths.update(np.unique(lengths).tolist())
        with_ocf = index.has_ocf[rows]
        if with_ocf.any() and len(channel.ocf) < KEPT_OCF_VALUES:
            values, times = np.unique(index.ocf[rows][with_ocf], return_counts=True)
            for value, count in zip(values.tolist(), times.tolist(), strict=True):
                channel.ocf[value] += count

    def add_corrections(self, corrections: npt.NDArray[np.int16]) -> None:
        """Count symbols corrected per codeword; negative values name why there was no decoding."""
        values, counts = np.unique(corrections, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self.corrections[value] += count

    # -- packets -----------------------------------------------------------------------------

    def add_packets(self, batch: PacketBatch) -> None:
        if not len(batch):
            return
        space = batch.version == 0
        key = (batch.vcid.astype(np.int64) << 11) | np.where(space, batch.apid, 0)
        key[~space] = -1 - batch.vcid[~space]
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        stops = np.r_[starts[1:], len(ordered)]
        length = batch.length
        octets = batch.octets
        grouped = batch.select(order) if self.digests and len(starts) > 1 else batch
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            value = int(ordered[start])
            rows = order[start:stop]
            if value < 0:
                channel = self.channels.setdefault(-1 - value, _Channel())
                channel.other_packets += stop - start
                channel.other_octets += int(length[rows].sum())
                continue
            vcid, apid = value >> 11, value & 0x7FF
            channel = self.channels.setdefault(vcid, _Channel())
            first = octets[batch.offsets[:-1][rows]]
            self._count(channel.apids.setdefault(apid, _Apid()), batch, rows, length[rows], first)
            if self.digests:
                if (vcid, apid) not in self._apid_hash:
                    self._apid_hash[vcid, apid] = hashlib.sha256()
                low, high = grouped.offsets[start], grouped.offsets[stop]
                self._apid_hash[vcid, apid].update(grouped.octets[low:high])
        if self.digests:
            for vcid in np.unique(batch.vcid[space]).tolist():
                if vcid not in self._channel_hash:
                    self._channel_hash[vcid] = hashlib.sha256()
                mine = space & (batch.vcid == vcid)
                part = batch if mine.all() else batch.select(mine)
                self._channel_hash[vcid].update(np.ascontiguousarray(part.octets))

    @staticmethod
    def _count(
        apid: _Apid,
        batch: PacketBatch,
        rows: npt.NDArray[np.intp],
        length: npt.NDArray[np.int64],
        first: npt.NDArray[np.uint8],
    ) -> None:
        sequence = batch.sequence_count[rows].astype(np.int64)
        if apid.last_sequence >= 0:
            sequence_steps = np.diff(sequence, prepend=apid.last_sequence)
        else:
            sequence_steps = np.diff(sequence)
        apid.discontinuities += int(np.count_nonzero(sequence_steps % SEQUENCE_MODULUS != 1))
        apid.last_sequence = int(sequence[-1])
        low, high = int(length.min()), int(length.max())
        apid.shortest = low if apid.count == 0 else min(apid.shortest, low)
        apid.longest = max(apid.longest, high)
        apid.count += len(rows)
        apid.octets += int(length.sum())
        has_header = batch.has_secondary_header[rows]
        apid.secondary_header |= (2 if has_header.any() else 0) | (0 if has_header.all() else 1)
        telecommand = (first & 0x10) != 0
        apid.types |= (2 if telecommand.any() else 0) | (0 if telecommand.all() else 1)
        for flags in np.unique(batch.sequence_flags[rows]).tolist():
            apid.flags |= 1 << flags

    # -- result ------------------------------------------------------------------------------

    def channel_integers(self) -> dict[int, dict[str, int]]:
        """VC -> counter -> value, for the link display."""
        return {
            vcid: {
                "frames": channel.frames,
                "discontinuities": channel.discontinuities,
                "repeats": channel.repeats,
                "missing": channel.missing,
                "idle_frames": channel.idle,
                "packets": sum(a.count for a in channel.apids.values()) + channel.other_packets,
                "octets": sum(a.octets for a in channel.apids.values()) + channel.other_octets,
            }
            for vcid, channel in sorted(self.channels.items())
        }

    def channels_summary(
        self, reassembly: dict[int, dict[str, int]], *, frames: bool = True
    ) -> dict[str, Any]:
        """The `vcs` entry: VC (decimal, as text) -> counts; `frames` off for bare packets."""
        return {
            str(vcid): self._channel_summary(
                vcid, self.channels[vcid], reassembly.get(vcid, {}), frames
            )
            for vcid in sorted(self.channels)
        }

    def _channel_summary(
        self, vcid: int, channel: _Channel, reassembly: dict[str, int], frames: bool
    ) -> dict[str, Any]:
        result: dict[str, Any] = {}
        if frames:
            counter = {"discontinuities": channel.discontinuities, "repeats": channel.repeats}
            if channel.modulus > 256:
                counter["backward_jumps"] = channel.backward
                counter["missing_frames"] = channel.missing
            else:
                counter["missing_frames_mod256_lower_bound"] = channel.missing
            counter |= {"first": channel.first, "last": channel.last}
            classes = {
                "pointer": channel.pointer,
                "idle_7FE": channel.idle,
                "nostart_7FF": channel.no_start,
                "not_packets": channel.not_packets,
            }
            result |= {
                "frames": channel.frames,
                "counter": counter,
                "data_field_len": sorted(channel.zone_lengths),
                "fhp_classes": {name: count for name, count in classes.items() if count},
            }
            if channel.ocf:
                top = sorted(channel.ocf.items(), key=lambda item: (-item[1], item[0]))[:8]
                result["ocf_distinct"] = len(channel.ocf)
                result["ocf_top"] = {f"{value:08x}": count for value, count in top}
        result["space_packets"] = sum(apid.count for apid in channel.apids.values())
        if channel.other_packets:
            result["other_packets"] = channel.other_packets
            result["other_packet_bytes"] = channel.other_octets
        result["apids"] = {
            str(number): self._apid_summary(vcid, number, channel.apids[number])
            for number in sorted(channel.apids)
        }
        if reassembly:
            result["reassembly"] = reassembly
        if self.digests:
            digest = self._channel_hash.get(vcid, hashlib.sha256())
            result["sha256_all_packets_concat"] = digest.hexdigest()
        return result

    def _apid_summary(self, vcid: int, number: int, apid: _Apid) -> dict[str, Any]:
        result: dict[str, Any] = {
            "count": apid.count,
            "bytes": apid.octets,
            "sec_hdr": [bit for bit in (0, 1) if apid.secondary_header >> bit & 1],
            "type_tc": [bit for bit in (0, 1) if apid.types >> bit & 1],
            "seq_flags": [bit for bit in range(4) if apid.flags >> bit & 1],
            "seq_discontinuities": apid.discontinuities,
            "min_len": apid.shortest,
            "max_len": apid.longest,
        }
        if self.digests:
            result["sha256_concat"] = self._apid_hash[vcid, number].hexdigest()
        return result

    # -- state -------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """All counts as plain values.  LocalError with digests on."""
        if self.digests:
            raise LocalError("a summary with digests cannot be saved: a running hash has no form")
        return {
            "frames": self.frames,
            "crc_fail": self.crc_fail,
            "foreign": self.foreign,
            "malformed": self.malformed,
            "uncorrectable": self.uncorrectable,
            "crc_fail_indices": list(self.crc_fail_indices),
            "foreign_indices": list(self.foreign_indices),
            "malformed_indices": list(self.malformed_indices),
            "uncorrectable_indices": list(self.uncorrectable_indices),
            "versions": sorted(self.versions.items()),
            "corrections": sorted(self.corrections.items()),
            "channels": [
                [
                    vcid,
                    [getattr(channel, name) for name in _CHANNEL_INTEGERS],
                    [[number, apid.as_list()] for number, apid in channel.apids.items()],
                    sorted(channel.zone_lengths),
                    sorted(channel.ocf.items()),
                ]
                for vcid, channel in self.channels.items()
            ],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the counts of a snapshot."""
        for name in ("frames", "crc_fail", "foreign", "malformed", "uncorrectable"):
            setattr(self, name, int(state[name]))
        for name in (
            "crc_fail_indices",
            "foreign_indices",
            "malformed_indices",
            "uncorrectable_indices",
        ):
            setattr(self, name, [int(i) for i in state[name]])
        self.versions = Counter({int(k): int(v) for k, v in state["versions"]})
        self.corrections = Counter({int(k): int(v) for k, v in state["corrections"]})
        self.channels = {}
        for vcid, integers, apids, lengths, ocf in state["channels"]:
            channel = _Channel(
                apids={int(number): _Apid(*values) for number, values in apids},
                zone_lengths=set(lengths),
                ocf=Counter({int(value): int(count) for value, count in ocf}),
            )
            for name, value in zip(_CHANNEL_INTEGERS, integers, strict=True):
                setattr(channel, name, int(value))
            self.channels[int(vcid)] = channel
