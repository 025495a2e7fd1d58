"""Packets out of transfer frames: the reassembly of every virtual channel, in batches.

The rule (132.0-B-3 §4.3.2, 732.0-B §4.3.2), the same for every protocol:

* frames are taken in order, per channel, after those that fail their FECF, are foreign or malformed
  have been left out;
* a frame count step other than +1 discards the packet begun in that channel;
* an idle zone is skipped, what was begun is kept; a zone without a packet's start continues what
  was begun (and is dropped if nothing was);
* otherwise the octets before the first header pointer complete what was begun; if the length in its
  header disagrees it is dropped, and packets chain from the pointer to the zone's end;
* a packet version that is not accepted ends that zone: its rest is delivered as opaque octets.

Nothing depends on how the frames are cut into pushes.
"""

# numba ships no types for what njit returns.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from protocols.errors import LocalError
from protocols.frames.columns import I64, U8, FrameIndex, counter_key, key_scid_vcid
from protocols.packets import kernels
from protocols.packets.batch import PacketBatch
from protocols.packets.extracted import (
    COUNTERS,
    NO_ZONES,
    OPAQUE_REASONS,
    ChannelStatistics,
    Extracted,
    ExtractionStatistics,
    MasterChannelStatistics,
    OpaqueZone,
    OpaqueZones,
)

#: Channels kept apart at most; each may hold one packet begun.  A link has a few dozen; headers
#: garbled without a FECF could name 2^26.  Frames beyond are counted and left out.
MAX_CHANNELS = 1024
#: Distinct OCF values remembered per virtual channel; further ones are counted together.
MAX_OCF_VALUES = 1024
#: Distinct data field lengths remembered per virtual channel; the pointers of USLP SDUs can make
#: as many as a frame has octets.
MAX_ZONE_LENGTHS = 64
#: Up to so many numbers Python counts them faster than NumPy sorts them.
FEW = 64
#: Octets of frames that one kernel call takes: it bounds the room reserved for its result.
_OCTETS_PER_CALL = 1 << 28


__all__ = [
    "COUNTERS",
    "OPAQUE_REASONS",
    "ChannelStatistics",
    "Extracted",
    "ExtractionStatistics",
    "MasterChannelStatistics",
    "OpaqueZone",
    "OpaqueZones",
    "PacketExtractor",
]


class PacketExtractor:
    """Packets of all virtual channels out of indexed frames, pushed in batches.

    accept_encapsulation: packets of version 7 (133.1-B-3) too; else version 0 alone.
    longest_packet: packets that claim more octets are refused; it bounds the buffer of a channel.
        The default is the longest a space packet can be.
    """

    def __init__(
        self,
        *,
        accept_encapsulation: bool = False,
        longest_packet: int = kernels.LONGEST_SPACE_PACKET,
        max_channels: int = MAX_CHANNELS,
    ) -> None:
        if longest_packet < kernels.LONGEST_HEADER:
            raise LocalError(
                f"longest packet {longest_packet}: {kernels.LONGEST_HEADER} or more wanted"
            )
        self._encapsulation = accept_encapsulation
        self._longest = longest_packet
        self._max_channels = max_channels
        self._full = False
        self._frames = 0
        self._left_out = np.zeros(4, np.int64)
        self._keys = np.empty(0, np.int64)
        self._order = np.empty(0, np.int64)
        self._ranked = np.empty(0, np.int64)
        self._counter_slot = np.empty(0, np.int64)
        self._vcid = np.empty(0, np.uint8)
        self._state = np.empty((0, kernels.STATE_COLUMNS), np.int64)
        self._counts = np.empty((0, kernels.COLUMNS), np.int64)
        self._partial = np.empty((0, longest_packet), np.uint8)
        self._ocf: dict[tuple[int, int], dict[int, int]] = {}
        self._ocf_other: dict[tuple[int, int], int] = {}
        self._zone_lengths: dict[tuple[int, int], set[int]] = {}
        self._master: dict[int, list[int]] = {}

    # --- channels ---------------------------------------------------------------------------

    def _add_channels(self, keys: I64) -> None:
        """A row for each key, in order of appearance; a counter shared by MAPs before its users."""
        new: list[int] = []
        known = set(self._keys.tolist())
        for counter, key in zip(counter_key(keys).tolist(), keys.tolist(), strict=True):
            wanted = [k for k in (counter, key) if k not in known]
            if len(known) + len(set(wanted)) > self._max_channels:
                # For good: a later, smaller one would make the result depend on the cuts.
                self._full = True
            if self._full:
                break
            new += dict.fromkeys(wanted)
            known.update(wanted)
        self._keys = np.concatenate([self._keys, np.array(new, np.int64)])
        self._order = np.argsort(self._keys)
        self._ranked = self._keys[self._order]
        n = len(self._keys)
        self._counter_slot = self._order[np.searchsorted(self._ranked, counter_key(self._keys))]
        self._vcid = ((self._keys >> 5) & 0x3F).astype(np.uint8)
        state = np.zeros((n, kernels.STATE_COLUMNS), np.int64)
        state[:, [kernels.LAST_COUNT, kernels.FIRST_COUNT]] = -1
        state[: len(self._state)] = self._state
        counts = np.zeros((n, kernels.COLUMNS), np.int64)
        counts[: len(self._counts)] = self._counts
        if n > len(self._partial):
            # Room ahead: untouched rows cost address space alone.
            partial = np.zeros((2 * n, self._longest), np.uint8)
            for row in range(len(self._state)):
                held = self._state[row, kernels.PARTIAL_LENGTH]
                partial[row, :held] = self._partial[row, :held]
            self._partial = partial
        self._state, self._counts = state, counts

    def _slots(self, index: FrameIndex, width: int) -> I64:
        """Row of each frame's channel, −1 where it takes no part; those are counted.

        LocalError if the index is of other frames.
        """
        slot = np.empty(len(index), np.int64)
        left_out = np.empty(4, np.int64)
        missing, sound = self._admit(index, width, slot, left_out)
        if not sound:
            raise LocalError(f"index is of other frames: zones outside 0..{width}")
        if missing and not self._full:
            unseen, first = np.unique(index.channel[index.usable & (slot < 0)], return_index=True)
            self._add_channels(unseen[np.argsort(first)])
            self._admit(index, width, slot, left_out)
        self._left_out += left_out
        return slot

    def _admit(self, index: FrameIndex, width: int, slot: I64, left_out: I64) -> tuple[int, bool]:
        return kernels.admit(
            kernels.unwritable(index.channel),
            self._ranked,
            self._order,
            kernels.unwritable(index.crc_ok),
            kernels.unwritable(index.foreign),
            kernels.unwritable(index.malformed),
            kernels.unwritable(index.zone_start),
            kernels.unwritable(index.zone_end),
            width,
            slot,
            left_out,
        )

    # --- pushing ----------------------------------------------------------------------------

    def push(self, frames: U8, index: FrameIndex, ert_ns: I64) -> Extracted:
        """Take the next frames, uint8 [n, L], their index and Earth receive times, int64 [n].

        Whatever the frames hold, nothing is raised for it.  Raises LocalError if the three do not
        belong together.
        """
        n = len(frames)
        if len(index) != n or len(ert_ns) != n:
            raise LocalError(f"{n} frames, index of {len(index)}, {len(ert_ns)} receive times")
        slot = self._slots(index, frames.shape[1])
        taken = slot >= 0
        self._tally(index, taken)

        frames = kernels.unwritable(frames)
        ert = kernels.unwritable(ert_ns.astype(np.int64, copy=False))
        step = max(1, _OCTETS_PER_CALL // max(1, frames.shape[1]))
        parts = [
            self._extract(frames, index, ert, slot, low, min(low + step, n))
            for low in range(0, n, step)
        ]
        self._frames += n
        if len(parts) == 1:
            return parts[0]
        return Extracted(
            PacketBatch.concatenate(part.packets for part in parts),
            np.concatenate([np.zeros(0, np.int64), *(part.first_frame for part in parts)]),
            OpaqueZones.concatenate([part.opaque for part in parts]),
        )

    def _extract(
        self, frames: U8, index: FrameIndex, ert_ns: I64, slot: I64, low: int, high: int
    ) -> Extracted:
        part = slice(low, high)
        start, end = index.zone_start[part], index.zone_end[part]
        room = int((end - start).sum(dtype=np.int64)) + int(
            self._state[:, kernels.PARTIAL_LENGTH].sum()
        )
        n_room = room // (1 if self._encapsulation else kernels.SHORTEST_PACKET) + 1
        n = high - low
        out = np.empty(room, np.uint8)
        offsets = np.empty(n_room + 1, np.int64)
        vcid = np.empty(n_room, np.uint8)
        ert = np.empty(n_room, np.int64)
        first = np.empty(n_room, np.int64)
        opaque_frame = np.empty(n, np.int64)
        opaque_start = np.empty(n, np.int64)
        opaque_end = np.empty(n, np.int64)
        opaque_reason = np.empty(n, np.uint8)
        first_frame = self._frames + low
        n_packets, n_opaque = kernels.extract(
            frames[part],
            slot[part],
            self._counter_slot,
            self._vcid,
            index.vc_count[part],
            index.vc_count_modulus[part],
            index.first_header_pointer[part],
            start,
            end,
            ert_ns[part],
            first_frame,
            self._encapsulation,
            self._longest,
            self._state,
            self._partial,
            self._counts,
            out,
            offsets,
            vcid,
            ert,
            first,
            opaque_frame,
            opaque_start,
            opaque_end,
            opaque_reason,
        )
        packets = PacketBatch(
            out[: offsets[n_packets]],
            offsets[: n_packets + 1],
            vcid[:n_packets],
            ert[:n_packets],
        )
        if not n_opaque:
            return Extracted(packets, first[:n_packets], NO_ZONES)
        rows = opaque_frame[:n_opaque]
        zone_offsets = np.zeros(n_opaque + 1, np.int64)
        np.cumsum(opaque_end[:n_opaque] - opaque_start[:n_opaque], out=zone_offsets[1:])
        zones = np.empty(zone_offsets[-1], np.uint8)
        kernels.gather(frames[part], rows, opaque_start[:n_opaque], opaque_end[:n_opaque], zones)
        return Extracted(
            packets,
            first[:n_packets],
            OpaqueZones(
                zones,
                zone_offsets,
                index.scid[part][rows],
                index.vcid[part][rows],
                rows + first_frame,
                ert_ns[part][rows],
                opaque_reason[:n_opaque].copy(),
            ),
        )

    def _tally(self, index: FrameIndex, taken: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        """OCF values, zone lengths and the master channel counter; few distinct values expected."""
        vc = index.channel >> 5 << 32
        lengths = vc | (index.zone_end - index.zone_start)
        whole = np.count_nonzero(taken) == len(taken)
        for key in _distinct(lengths if whole else lengths[taken])[0].tolist():
            name = key_scid_vcid((key >> 32) << 5)
            seen = self._zone_lengths.setdefault(name, set())
            if len(seen) < MAX_ZONE_LENGTHS:
                seen.add(key & 0xFFFFFFFF)
        with_ocf = taken & index.has_ocf
        if count := np.count_nonzero(with_ocf):
            words = vc | index.ocf
            keys, counts = _distinct(words if count == len(words) else words[with_ocf])
            for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
                name = key_scid_vcid((key >> 32) << 5)
                values = self._ocf.setdefault(name, {})
                value = key & 0xFFFFFFFF
                if value in values or len(values) < MAX_OCF_VALUES:
                    values[value] = values.get(value, 0) + count
                else:
                    self._ocf_other[name] = self._ocf_other.get(name, 0) + count
        counted = taken & (index.mc_count >= 0)
        if np.count_nonzero(counted):
            for scid in np.unique(index.scid[counted]).tolist():
                counts = index.mc_count[counted & (index.scid == scid)].astype(np.int64)
                kept = self._master.setdefault(scid, [0, 0, 0, int(counts[0]), -1])
                if kept[4] >= 0:
                    counts = np.concatenate([np.array([kept[4]]), counts])
                step = np.diff(counts) % 256
                kept[0] += int(np.count_nonzero(step != 1))
                kept[1] += int(np.count_nonzero(step == 0))
                kept[2] += int((step[step > 1] - 1).sum())
                kept[4] = int(counts[-1])

    # --- what was seen ----------------------------------------------------------------------

    @property
    def statistics(self) -> ExtractionStatistics:
        channels: dict[tuple[int, int], ChannelStatistics] = {}
        names = [key_scid_vcid(key) for key in self._keys.tolist()]
        for name in dict.fromkeys(names):
            rows = [row for row, other in enumerate(names) if other == name]
            counts = self._counts[rows].sum(axis=0).tolist()
            held = self._state[rows, kernels.PARTIAL_LENGTH]
            counters = self._state[rows]
            counters = counters[counters[:, kernels.LAST_COUNT] >= 0]
            channels[name] = ChannelStatistics(
                scid=name[0],
                vcid=name[1],
                counts=dict(zip(COUNTERS, counts, strict=True)),
                first_count=int(counters[0, kernels.FIRST_COUNT]) if len(counters) else -1,
                last_count=int(counters[0, kernels.LAST_COUNT]) if len(counters) else -1,
                partial_packets=int(np.count_nonzero(held)),
                partial_octets=int(held.sum()),
                ocf=dict(self._ocf.get(name, {})),
                ocf_other=self._ocf_other.get(name, 0),
                zone_lengths=tuple(sorted(self._zone_lengths.get(name, ()))),
            )
        return ExtractionStatistics(
            self._frames,
            *self._left_out.tolist(),
            channels={name: value for name, value in channels.items() if value.counts["frames"]},
            master_channels={
                scid: MasterChannelStatistics(*kept) for scid, kept in self._master.items()
            },
        )

    def snapshot(self) -> dict[str, Any]:
        """Everything that decides the future, of types that msgpack can store."""
        held = self._state[:, kernels.PARTIAL_LENGTH].tolist()
        return {
            "version": 1,
            "accept_encapsulation": self._encapsulation,
            "longest_packet": self._longest,
            "full": self._full,
            "frames": self._frames,
            "left_out": self._left_out.tolist(),
            "keys": self._keys.tolist(),
            "state": self._state.tolist(),
            "counts": self._counts.tolist(),
            "partial": [self._partial[row, :size].tobytes() for row, size in enumerate(held)],
            "ocf": [[*name, list(values.items())] for name, values in self._ocf.items()],
            "ocf_other": [[*name, count] for name, count in self._ocf_other.items()],
            "zone_lengths": [[*name, sorted(v)] for name, v in self._zone_lengths.items()],
            "master": [[scid, *kept] for scid, kept in self._master.items()],
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot.  Raises LocalError if it was made with other settings."""
        settings = (1, self._encapsulation, self._longest)
        found = tuple(
            snapshot.get(k) for k in ("version", "accept_encapsulation", "longest_packet")
        )
        if found != settings:
            raise LocalError(f"snapshot of an extractor {found}, this one is {settings}")
        self.__init__(
            accept_encapsulation=self._encapsulation,
            longest_packet=self._longest,
            max_channels=self._max_channels,
        )
        self._frames = snapshot["frames"]
        self._left_out = np.array(snapshot["left_out"], np.int64)
        keys = np.array(snapshot["keys"], np.int64)
        if len(keys):
            self._add_channels(keys)
            self._state[:] = np.array(snapshot["state"], np.int64)
            self._counts[:] = np.array(snapshot["counts"], np.int64)
            for row, octets in enumerate(snapshot["partial"]):
                self._partial[row, : len(octets)] = np.frombuffer(octets, np.uint8)
        self._full = snapshot["full"]
        self._ocf = {(scid, vcid): dict(values) for scid, vcid, values in snapshot["ocf"]}
        self._ocf_other = {(scid, vcid): count for scid, vcid, count in snapshot["ocf_other"]}
        self._zone_lengths = {(scid, vcid): set(v) for scid, vcid, v in snapshot["zone_lengths"]}
        self._master = {scid: list(kept) for scid, *kept in snapshot["master"]}


def _distinct(keys: I64) -> tuple[I64, I64]:
    """Distinct keys in order of appearance and how often each stands there, cheap where neighbours
    are mostly equal.  (In another order, what a bound keeps would depend on the cuts.)"""
    if not len(keys):
        return keys, keys
    if len(keys) <= FEW:
        listed: list[int] = keys.tolist()
        counts = Counter(listed)
        return np.array(list(counts), np.int64), np.array(list(counts.values()), np.int64)
    edges = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    lengths = np.diff(np.append(edges, len(keys)))
    values, first, group = np.unique(keys[edges], return_index=True, return_inverse=True)
    order = np.argsort(first)
    return values[order], np.bincount(group, lengths).astype(np.int64)[order]
