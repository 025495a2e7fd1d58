"""Cyclic redundancy checks: CRC-16 of TM, AOS, USLP and packets; CRC-32 of USLP and Proximity-1;
CRC-16/X.25 and CRC-32C of bundles.

crcmod computes the single values and is the reference.  The batch form uses no tables.  In
characteristic 2, squaring keeps a polynomial's number of terms: from x^16 = x^12 + x^5 + 1 follows
y^16 = y^12 + y^5 + 1 for y = x^64.  So a message, taken as 64-bit words, shrinks to 16 words by
exclusive-or of whole words at three distances; the same identity for y = x^32, x^16, … x ends at
the remainder.  The first step runs along a frame, the others across `_GROUP` frames at a time,
where they are vector operations.  (Slicing by sixteen tables, the usual way, was half as fast.)
"""

# numba and crcmod ship no types: what comes out of them is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUntypedFunctionDecorator=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, cast

import crcmod
import google_crc32c
import numpy as np
import numpy.typing as npt
from numba import njit

from protocols.coding.rows import flat_rows

U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Crc:
    """A check without reflection or final inversion, most significant bit first.

    exponents: the generator polynomial's, leading one first; preset: initial register.
    """

    name: str
    clause: str
    exponents: tuple[int, ...]
    preset: int

    @property
    def width(self) -> int:
        """Bits of the check."""
        return self.exponents[0]

    @property
    def polynomial(self) -> int:
        """Generator polynomial, leading term included."""
        return sum(1 << exponent for exponent in self.exponents)

    @cached_property
    def function(self) -> Callable[[bytes], int]:
        """Reference implementation, by crcmod."""
        return cast(
            Callable[[bytes], int],
            crcmod.mkCrcFun(self.polynomial, initCrc=self.preset, rev=False, xorOut=0),
        )

    @cached_property
    def distances(self) -> npt.NDArray[np.int64]:
        """How far down each term of the polynomial lies from the leading one, in units of y."""
        return np.array([self.width - exponent for exponent in self.exponents[1:]], np.int64)


#: Frame error control field, and packet error control.
CRC16: Final = Crc(
    "CRC-16", "132.0-B-3 §4.1.6, 732.0-B-4 §4.1.6, 732.1-B-3 annex B", (16, 12, 5, 0), 0xFFFF
)
#: 32-bit frame error control field of USLP, and of Proximity-1 transfer units.
CRC32: Final = Crc("CRC-32", "732.1-B-3 annex B, 211.2-B-3 annex C", (32, 23, 21, 11, 2, 0), 0)


def crc16(data: bytes) -> int:
    """CRC-16 of the octets; 0 over data with its check appended.

    >>> hex(crc16(b"123456789"))
    '0x29b1'
    """
    return CRC16.function(bytes(data))


def crc32(data: bytes) -> int:
    """CRC-32 of the octets; 0 over data with its check appended.

    >>> hex(crc32(bytes.fromhex("12345678")))
    '0x34d74cb3'
    """
    return CRC32.function(bytes(data))


def crc16_batch(frames: U8) -> npt.NDArray[np.uint16]:
    """CRC-16 of every row; uint8 [n, length] to uint16 [n]."""
    out = np.empty(len(frames), np.uint64)
    flat, stride = flat_rows(frames)
    _crc_rows_3(flat, stride, frames.shape[1], CRC16.preset, CRC16.width, CRC16.distances, out)
    return out.astype(np.uint16)


def crc32_batch(frames: U8) -> npt.NDArray[np.uint32]:
    """CRC-32 of every row; uint8 [n, length] to uint32 [n]."""
    out = np.empty(len(frames), np.uint64)
    flat, stride = flat_rows(frames)
    _crc_rows_5(flat, stride, frames.shape[1], CRC32.preset, CRC32.width, CRC32.distances, out)
    return out.astype(np.uint32)


_X25 = cast(
    Callable[..., int],
    crcmod.mkCrcFun(CRC16.polynomial, initCrc=0, rev=True, xorOut=0xFFFF),
)
#: Octets with their bits in reverse order.
_REVERSED: Final = bytes(int(f"{octet:08b}"[::-1], 2) for octet in range(256))
#: From here on the batch kernel is faster than crcmod (measured: 35 and 43 µs at 10 kB, 166 and
#: 452 µs at 100 kB).
_X25_BY_KERNEL: Final = 16384


def crc16_x25(data: bytes, crc: int = 0) -> int:
    """CRC-16/X.25, the bundle protocol's CRC type 1 (RFC 9171 §4.2.1).

    crc: that of the octets before `data`, to go on from.

    >>> hex(crc16_x25(b"6789", crc16_x25(b"12345")))
    '0x906e'
    """
    if len(data) < _X25_BY_KERNEL:
        return _X25(data, crc)
    # The same generator as CRC16, with the bits of octets and check in reverse order.  What went
    # before is as good as an exclusive-or into the first two octets: the register starts so.
    first = int.from_bytes(data[:2], "little") ^ crc
    turned = (first.to_bytes(2, "little") + data[2:]).translate(_REVERSED)
    check = int(crc16_batch(np.frombuffer(turned, np.uint8)[None])[0])
    return int(f"{check:016b}"[::-1], 2) ^ 0xFFFF


#: CRC-32C of whole octets, without the price of a call of ours.
crc32c_whole: Final = cast(Callable[[bytes], int], google_crc32c.value)


def crc32c(data: bytes, crc: int = 0) -> int:
    """CRC-32C (Castagnoli), the bundle protocol's CRC type 2 (RFC 9171 §4.2.1).

    crc: that of the octets before `data`, to go on from.

    >>> hex(crc32c(b"6789", crc32c(b"12345")))
    '0xe3069283'
    """
    return google_crc32c.extend(crc, data)


#: Frames reduced together: 16 or 32 words of each stay in the first-level cache.
_GROUP: Final = 64


@njit(cache=True, nogil=True)
def _byte_swapped(x: Any) -> Any:
    x = ((x & np.uint64(0x00FF00FF00FF00FF)) << np.uint64(8)) | (
        (x >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF)
    )
    x = ((x & np.uint64(0x0000FFFF0000FFFF)) << np.uint64(16)) | (
        (x >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF)
    )
    return (x << np.uint64(32)) | (x >> np.uint64(32))


@njit(cache=True, nogil=True)
def _load(flat: U8, start: int, length: int, room: U8, preset: int, width: int) -> None:
    """Row and `width` zero bits to the end of `room`, preset added.

    Zeros stand before it; the first `width` words of `room` are never written.
    """
    check_octets = width // 8
    begin = len(room) - length - check_octets
    for i in range(8 * width, begin):
        room[i] = 0
    # Slices, since an index known to count from 0 is what lets LLVM vectorise the copy.
    row = flat[start : start + length]
    target = room[begin:]
    for i in range(length):
        target[i] = row[i]
    for i in range(check_octets):
        target[length + i] = 0
    for i in range(check_octets):
        target[i] ^= np.uint8((preset >> (width - 8 - 8 * i)) & 0xFF)


@njit(cache=True, nogil=True)
def _finish(words: Any, width: int, distances: Any, x: Any, out: Any) -> None:
    """Remainders of a group.

    words: uint64 [width, group], row i of all frames side by side, most significant first; only
    the last `width` rows of a message may be non-zero.  Level by level the upper half is folded
    into the lower, with y = x^32 down to x.
    """
    group = len(out)
    total = 64 * width
    done = 0
    for level in range(5, -1, -1):
        # 2 · width units are left; the upper `width` of them go.
        bits = width << level
        while bits > 0:
            at = done >> 6
            here = min(bits, 64 - (done & 63))
            mask = np.uint64(0xFFFFFFFFFFFFFFFF)
            if here < 64:
                mask = ((np.uint64(1) << np.uint64(here)) - np.uint64(1)) << np.uint64(
                    64 - here - (done & 63)
                )
            row = words[at]
            for g in range(group):
                x[g] = row[g] & mask
                row[g] &= ~mask
            # Distances below a word feed the word itself: multiply by 1 / (1 + u), which is
            # (1 + u)(1 + u²)(1 + u⁴) … until the powers leave the word.
            power = 0
            while (distances[0] << level << power) < here:
                for g in range(group):
                    t = x[g]
                    fed = t
                    for k in range(len(distances)):
                        shift = distances[k] << level << power
                        if shift < here:
                            fed ^= t >> np.uint64(shift)
                    x[g] = fed & mask
                power += 1
            for k in range(len(distances)):
                shift = distances[k] << level
                low = np.uint64(shift & 63)
                target = words[at + (shift >> 6)]
                if low == 0:
                    for g in range(group):
                        target[g] ^= x[g]
                    continue
                keep = np.uint64(0xFFFFFFFFFFFFFFFF)
                if shift < 64:
                    keep = ~mask
                for g in range(group):
                    target[g] ^= (x[g] >> low) & keep
                if at + (shift >> 6) + 1 < width:
                    target = words[at + (shift >> 6) + 1]
                    high = np.uint64(64) - low
                    for g in range(group):
                        target[g] ^= x[g] << high
            done += here
            bits -= here
    last = words[(total - 1) >> 6]
    for g in range(group):
        out[g] = last[g]


@njit(cache=True, nogil=True)
def _crc_rows_3(
    flat: U8, stride: int, length: int, preset: int, width: int, distances: Any, out: Any
) -> None:
    """Check of every row for a polynomial of three terms below the leading one."""
    count = max((length + width // 8 + 7) // 8, width)
    room = np.zeros(8 * (count + width), np.uint8)
    all_words = room.view(np.uint64)
    d0, d1 = width - distances[0], width - distances[1]
    words = np.empty((width, _GROUP), np.uint64)
    x = np.empty(_GROUP, np.uint64)
    for first in range(0, len(out), _GROUP):
        group = min(_GROUP, len(out) - first)
        for g in range(group):
            _load(flat, (first + g) * stride, length, room, preset, width)
            # `width` zero words stand before the message, so that no distance leaves the array.
            a, b, c, w = all_words[d0:], all_words[d1:], all_words, all_words[width:]
            for i in range(count - width):
                w[i] ^= a[i] ^ b[i] ^ c[i]
            a, b, c, w = (
                a[count - width :],
                b[count - width :],
                c[count - width :],
                w[count - width :],
            )
            for i in range(distances[0]):
                w[i] ^= a[i]
            for i in range(distances[1]):
                w[i] ^= b[i]
            for i in range(width):
                words[i, g] = _byte_swapped(w[i] ^ c[i])
        _finish(words, width, distances, x, out[first : first + group])


@njit(cache=True, nogil=True)
def _crc_rows_5(
    flat: U8, stride: int, length: int, preset: int, width: int, distances: Any, out: Any
) -> None:
    """Check of every row for a polynomial of five terms below the leading one."""
    count = max((length + width // 8 + 7) // 8, width)
    room = np.zeros(8 * (count + width), np.uint8)
    all_words = room.view(np.uint64)
    begin = width - distances
    words = np.empty((width, _GROUP), np.uint64)
    x = np.empty(_GROUP, np.uint64)
    for first in range(0, len(out), _GROUP):
        group = min(_GROUP, len(out) - first)
        for g in range(group):
            _load(flat, (first + g) * stride, length, room, preset, width)
            a, b, c = all_words[begin[0] :], all_words[begin[1] :], all_words[begin[2] :]
            d, e, w = all_words[begin[3] :], all_words, all_words[width:]
            for i in range(count - width):
                w[i] ^= a[i] ^ b[i] ^ c[i] ^ d[i] ^ e[i]
            tail = w[count - width :]
            for k in range(4):
                source = all_words[begin[k] + count - width :]
                for i in range(distances[k]):
                    tail[i] ^= source[i]
            e = e[count - width :]
            for i in range(width):
                words[i, g] = _byte_swapped(tail[i] ^ e[i])
        _finish(words, width, distances, x, out[first : first + group])
