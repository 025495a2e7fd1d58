"""Many packets as arrays: the unit in which packets flow."""

# numba ships no types for what njit returns.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalError

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PacketBatch:
    """`n` packets stored back to back.

    octets:  uint8 [total], all packets concatenated, headers included.
    offsets: int64 [n + 1]; packet i is `octets[offsets[i]:offsets[i + 1]]`.
    vcid:    uint8 [n], virtual channel that carried the packet.
    ert_ns:  int64 [n], Earth receive time (TAI ns) of the frame holding the packet's first octet.

    Header columns are views computed once, on first use (133.0-B-2 §4.1.3).
    """

    octets: U8
    offsets: I64
    vcid: U8
    ert_ns: I64

    def __post_init__(self) -> None:
        n = len(self.offsets) - 1
        if n < 0 or len(self.vcid) != n or len(self.ert_ns) != n:
            raise LocalError(
                f"packet batch columns disagree: {len(self.offsets)} offsets, "
                f"{len(self.vcid)} vcid, {len(self.ert_ns)} ert_ns; n+1, n and n wanted"
            )
        if n and (self.offsets[0] != 0 or self.offsets[-1] != len(self.octets)):
            raise LocalError(
                f"packet batch offsets run {self.offsets[0]}..{self.offsets[-1]}, "
                f"0..{len(self.octets)} wanted"
            )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def empty(cls) -> PacketBatch:
        return cls(
            np.empty(0, np.uint8),
            np.zeros(1, np.int64),
            np.empty(0, np.uint8),
            np.empty(0, np.int64),
        )

    @classmethod
    def from_packets(
        cls,
        packets: Sequence[bytes],
        *,
        vcid: int | Sequence[int] = 0,
        ert_ns: int | Sequence[int] = 0,
    ) -> PacketBatch:
        """Batch of whole packets given as bytes; `vcid` and `ert_ns` one for all or one each."""
        offsets = np.zeros(len(packets) + 1, np.int64)
        np.cumsum([len(packet) for packet in packets], out=offsets[1:])
        n = len(packets)
        return cls(
            np.frombuffer(b"".join(packets), np.uint8),
            offsets,
            np.broadcast_to(np.asarray(vcid, np.uint8), n).copy(),
            np.broadcast_to(np.asarray(ert_ns, np.int64), n).copy(),
        )

    @classmethod
    def concatenate(cls, batches: Iterable[PacketBatch]) -> PacketBatch:
        parts = [batch for batch in batches if len(batch)]
        if not parts:
            return cls.empty()
        if len(parts) == 1:
            return parts[0]
        offsets = [np.zeros(1, np.int64)]
        base = 0
        for part in parts:
            offsets.append(part.offsets[1:] + base)
            base += len(part.octets)
        return cls(
            np.concatenate([part.octets for part in parts]),
            np.concatenate(offsets),
            np.concatenate([part.vcid for part in parts]),
            np.concatenate([part.ert_ns for part in parts]),
        )

    def packet(self, index: int) -> bytes:
        return self.octets[self.offsets[index] : self.offsets[index + 1]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        for index in range(len(self)):
            yield self.packet(index)

    def slice(self, start: int, stop: int) -> PacketBatch:
        """Packets start..stop without copying octets."""
        low, high = self.offsets[start], self.offsets[stop]
        return PacketBatch(
            self.octets[low:high],
            self.offsets[start : stop + 1] - low,
            self.vcid[start:stop],
            self.ert_ns[start:stop],
        )

    def select(self, which: npt.NDArray[np.bool_] | npt.NDArray[np.integer]) -> PacketBatch:
        """Packets named by a mask or by indices, in that order (octets copied)."""
        index = np.flatnonzero(which) if which.dtype == np.bool_ else which.astype(np.int64)
        length = self.length[index]
        offsets = np.zeros(len(index) + 1, np.int64)
        np.cumsum(length, out=offsets[1:])
        octets = np.empty(int(offsets[-1]), np.uint8)
        if len(index):
            # Here, not above: who only looks at batches does not wait a second for Numba.
            from protocols.packets import kernels

            kernels.copy_packets(
                kernels.unwritable(self.octets), kernels.unwritable(self.offsets), index, octets
            )
        return PacketBatch(octets, offsets, self.vcid[index], self.ert_ns[index])

    @cached_property
    def length(self) -> I64:
        """Octets of each packet, header included; int64 [n]."""
        return self.offsets[1:] - self.offsets[:-1]

    def _word(self, at: int) -> npt.NDArray[np.uint16]:
        # An idle encapsulation packet is one octet: it has no such word, and reads as zero there.
        start = self.offsets[:-1] + at
        inside = start + 1 < self.offsets[1:]
        if inside.all():
            return ((self.octets[start].astype(np.uint16) << 8) | self.octets[start + 1]).astype(
                np.uint16, copy=False
            )
        word = np.zeros(len(self), np.uint16)
        start = start[inside]
        word[inside] = (self.octets[start].astype(np.uint16) << 8) | self.octets[start + 1]
        return word

    @cached_property
    def version(self) -> U8:
        """Packet version number, uint8 [n]; 0 is the space packet."""
        return (self.octets[self.offsets[:-1]] >> 5).astype(np.uint8, copy=False)

    @cached_property
    def apid(self) -> npt.NDArray[np.uint16]:
        return (self._word(0) & 0x7FF).astype(np.uint16, copy=False)

    @cached_property
    def has_secondary_header(self) -> npt.NDArray[np.bool_]:
        return (self.octets[self.offsets[:-1]] & 0x08) != 0

    @cached_property
    def sequence_flags(self) -> npt.NDArray[np.uint16]:
        return (self._word(2) >> 14).astype(np.uint16, copy=False)

    @cached_property
    def sequence_count(self) -> npt.NDArray[np.uint16]:
        return (self._word(2) & 0x3FFF).astype(np.uint16, copy=False)

    @cached_property
    def is_idle(self) -> npt.NDArray[np.bool_]:
        """Space packets whose APID is all ones (133.0-B-2 §4.1.3.3.4.4) and encapsulation packets
        of protocol identifier 0 (133.1-B-3 §4.1.2.3): they fill a link and mean nothing."""
        first = self.octets[self.offsets[:-1]]
        encapsulation = (first & 0xFC) == 0xE0
        # Version 0 and the upper bits of that APID: what is not so needs no look at the rest.
        if not np.count_nonzero((first & 0xE7) == 0x07):
            return encapsulation
        return ((self.version == 0) & (self.apid == 0x7FF)) | encapsulation
