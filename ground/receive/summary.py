"""What came through a link, counted as it passes: the numbers of `l4 replay --summary json`.

The keys are those of the truth file that describes the public captures (see the README of the
shared captures).  Frames and virtual channels are counted by the packet extractor; here stand the
frames that it never sees, the corrections, and the packets by APID.  State stays small however
long the stream is: a few integers and two running hashes per APID; nothing that passed is kept.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from ground.receive.counting import Of, PacketCounts
from protocols.coding.reed_solomon import IN_VIRTUAL_FILL, UNCORRECTABLE, ReedSolomon
from protocols.errors import LocalError
from protocols.packets.batch import PacketBatch
from protocols.packets.extraction import ChannelStatistics

#: Indices of rejected frames kept by value; beyond it they are only counted.
KEPT_INDICES = 1000

#: Why a frame takes no part in extraction; a frame is counted under the first that applies.
REJECTIONS = ("uncorrectable", "crc_fail", "foreign", "insecure", "malformed")


def _bits(seen: int) -> list[int]:
    return [bit for bit in range(4) if seen >> bit & 1]


class StreamSummary:
    """Counts rejected frames and packets; with `digests`, hashes the packets as well.

    `snapshot()` wants `digests` off: a running SHA-256 cannot be saved.
    """

    def __init__(self, *, digests: bool = False) -> None:
        self.digests = digests
        self.frames = 0
        self.rejected: dict[str, int] = dict.fromkeys(REJECTIONS, 0)
        self.rejected_indices: dict[str, list[int]] = {name: [] for name in REJECTIONS}
        self.versions: Counter[int] = Counter()
        self.corrections: Counter[int] = Counter()
        self.standard_corrections: Counter[int] = Counter()
        self._counts = PacketCounts()
        self._apid_hash: dict[tuple[int, int], Any] = {}
        self._channel_hash: dict[int, Any] = {}

    def add_frames(
        self, versions: npt.NDArray[np.uint8], rejected: dict[str, npt.NDArray[np.bool_]]
    ) -> None:
        """Count a batch of n frames: their version numbers uint8 [n], and for names of REJECTIONS
        a mask [n] each; the masks exclude each other."""
        for name, mask in rejected.items():
            if np.count_nonzero(mask):
                found = np.flatnonzero(mask)
                self.rejected[name] += len(found)
                kept = self.rejected_indices[name]
                room = max(KEPT_INDICES - len(kept), 0)
                kept.extend(int(i) + self.frames for i in found[:room])
        self.frames += len(versions)
        for value, count in enumerate(np.bincount(versions).tolist()):
            if count:
                self.versions[value] += count

    def add_corrections(
        self, corrections: npt.NDArray[np.integer], *, standard: bool = False
    ) -> None:
        """Count symbols corrected per codeword; negative values name why there was no decoding.

        standard: of the reading that the standard gives, where the link has another.
        """
        counts_of = self.standard_corrections if standard else self.corrections
        if not np.count_nonzero(corrections):
            # The usual case, and for a frame or two the search for distinct values is dear.
            if corrections.size:
                counts_of[0] += corrections.size
            return
        values, counts = np.unique(corrections, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            counts_of[value] += count

    def corrections_summary(self, code: ReedSolomon | None, known_prefix: bytes) -> dict[str, Any]:
        """Of Reed-Solomon codewords, by symbols corrected; with a known prefix both readings, by
        the names of the truth file."""

        # The truth file has other numbers for what a decoder could not do.
        names = {UNCORRECTABLE: -3, IN_VIRTUAL_FILL: -2}

        def histogram(corrections: Counter[int]) -> dict[str, int]:
            found = sorted((names.get(value, value), n) for value, n in corrections.items())
            return {str(value): n for value, n in found}

        result: dict[str, Any] = {
            "codewords": sum(self.corrections.values()),
            "corrections_histogram": histogram(self.corrections),
        }
        if code is not None and known_prefix:
            name = f"rs{code.block_length}_{code.data_length}_{code.basis}"
            standard = histogram(self.standard_corrections)
            result[f"naive_{name}_corrected_symbol_histogram"] = standard
            result[f"with_asm_tail_prefix_{known_prefix.hex()}_histogram"] = histogram(
                self.corrections
            )
        return result

    def add_packets(self, batch: PacketBatch) -> None:
        """Count a batch, in order of arrival."""
        self._counts.add(batch)
        if self.digests and len(batch):
            self._hash(batch)

    def _hash(self, batch: PacketBatch) -> None:
        space = batch.version == 0
        if not space.all():
            batch = batch.select(space)
        key = batch.vcid.astype(np.int64) << 11 | batch.apid
        for one in np.unique(key).tolist():
            octets = batch.select(key == one).octets
            name = one >> 11, one & 0x7FF
            self._apid_hash.setdefault(name, hashlib.sha256()).update(octets)
        for channel in np.unique(batch.vcid).tolist():
            mine = batch.vcid == channel
            part = batch if mine.all() else batch.select(mine)
            self._channel_hash.setdefault(channel, hashlib.sha256()).update(part.octets)

    # -- result ------------------------------------------------------------------------------

    @property
    def packets(self) -> int:
        return self._counts.packets

    @property
    def packet_octets(self) -> int:
        return self._counts.octets

    def channel(
        self, vcid: int, frames: ChannelStatistics | None, *, modulus_256: bool = False
    ) -> dict[str, Any]:
        """The entry of one virtual channel.

        frames: None for packets that came without frames.  modulus_256: frames are counted in 8
        bits (TM).
        """
        result: dict[str, Any] = {} if frames is None else _frame_entry(frames, modulus_256)
        apids = {apid: row for vc, apid, row in self._counts.rows() if vc == vcid}
        result["space_packets"] = sum(row[Of.COUNT] for row in apids.values())
        others = self._counts.others()
        if vcid in others:
            result["other_packets"], result["other_packet_bytes"] = others[vcid]
        result["apids"] = {
            str(number): self._apid_entry(vcid, number, row) for number, row in apids.items()
        }
        if frames is not None:
            result["reassembly"] = _reassembly(frames)
        if self.digests:
            digest = self._channel_hash.get(vcid, hashlib.sha256())
            result["sha256_all_packets_concat"] = digest.hexdigest()
        return result

    def _apid_entry(self, vcid: int, number: int, row: list[int]) -> dict[str, Any]:
        result: dict[str, Any] = {
            "count": row[Of.COUNT],
            "bytes": row[Of.OCTETS],
            "sec_hdr": _bits(row[Of.SECONDARY_HEADER]),
            "type_tc": _bits(row[Of.TYPES]),
            "seq_flags": _bits(row[Of.FLAGS]),
            "seq_discontinuities": row[Of.DISCONTINUITIES],
            "min_len": row[Of.SHORTEST],
            "max_len": row[Of.LONGEST],
        }
        if self.digests:
            result["sha256_concat"] = self._apid_hash[vcid, number].hexdigest()
        return result

    # -- state -------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """All counts, as values that msgpack can store.  LocalError with digests on."""
        if self.digests:
            raise LocalError("a summary with digests cannot be saved: a running hash has no form")
        return {
            "frames": self.frames,
            "rejected": dict(self.rejected),
            "rejected_indices": {name: list(v) for name, v in self.rejected_indices.items()},
            "versions": sorted(self.versions.items()),
            "corrections": sorted(self.corrections.items()),
            "standard_corrections": sorted(self.standard_corrections.items()),
            **self._counts.snapshot(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the counts of a snapshot."""
        self.frames = state["frames"]
        self.rejected = dict(state["rejected"])
        self.rejected_indices = {name: list(v) for name, v in state["rejected_indices"].items()}
        self.versions = Counter(dict(state["versions"]))
        self.corrections = Counter(dict(state["corrections"]))
        self.standard_corrections = Counter(dict(state["standard_corrections"]))
        self._counts.restore(state["apids"], state["others"])


def _frame_entry(channel: ChannelStatistics, modulus_256: bool) -> dict[str, Any]:
    counts = channel.counts
    counter = {name: counts[name] for name in ("discontinuities", "repeats")}
    if modulus_256:
        # A step back cannot be told from a gap, nor 256 missing frames from none.
        counter["missing_frames_mod256_lower_bound"] = counts["missing_frames"]
    else:
        counter |= {name: counts[name] for name in ("backward_jumps", "missing_frames")}
    counter |= {"first": channel.first_count, "last": channel.last_count}
    classes = {
        "pointer": counts["pointer_frames"],
        "idle_7FE": counts["idle_frames"],
        "nostart_7FF": counts["continuation_frames"],
        "opaque": counts["opaque_frames"],
    }
    result: dict[str, Any] = {
        "frames": counts["frames"],
        "counter": counter,
        "data_field_len": list(channel.zone_lengths),
        "fhp_classes": {name: count for name, count in classes.items() if count},
    }
    if channel.ocf:
        top = sorted(channel.ocf.items(), key=lambda item: (-item[1], item[0]))[:8]
        result["ocf_distinct"] = len(channel.ocf)
        result["ocf_top"] = {f"{value:08x}": count for value, count in top}
    return result


def _reassembly(channel: ChannelStatistics) -> dict[str, int]:
    """Everything that happened to packets on their way, by name; zeros left out."""
    wanted = (
        "fhp_match",
        "fhp_mismatch",
        "bad_fhp",
        "bad_length",
        "bad_pvn",
        *(name for name in channel.counts if name.startswith("bad_pvn_")),
        "orphan_heads",
        "orphan_octets",
        "gap_octets",
        "mismatch_octets",
        "idle_octets",
        "opaque_octets",
        "partial_dropped_gap",
    )
    found = {name: channel.counts[name] for name in wanted}
    found["orphan_continuation_frames"] = channel.counts["orphan_continuation_frames"]
    found["partial_at_end"] = channel.partial_packets
    return {name: count for name, count in found.items() if count}
