"""Numba kernels that walk packets: back to back, and through the data zones of frames.

Compiled on first use and cached on disk; every call passes the same types, so each compiles once.
"""

# Numba gives kernels no types that pyright could follow; the docstrings state them.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false
# pyright: reportMissingTypeStubs=false
from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from protocols.frames.columns import FHP_IDLE, FHP_NONE, FHP_NOT_PACKETS

#: Space packet: header 6 octets, at least 1 of data, length field is count − 1 (133.0-B-2 §4.1.3).
HEADER_LENGTH = 6
SHORTEST_PACKET = 7
#: 133.0-B-2 §4.1.1.2: 6 + 65,536 octets.
LONGEST_SPACE_PACKET = 65542
#: Octets that tell any packet's length: the longest encapsulation header (133.1-B-3 §4.1.2).
LONGEST_HEADER = 8

_BLOCK = 16384
#: Where the count of missing frames stops: seven-octet counters of garbled frames would overflow
#: it, and so would the sum over a thousand channels.
_MOST_MISSING = 1 << 52

# Columns of a channel's statistics, in the order of extraction.COUNTERS.
(
    FRAMES,
    DISCONTINUITIES,
    REPEATS,
    BACKWARD_JUMPS,
    MISSING_FRAMES,
    POINTER_FRAMES,
    CONTINUATION_FRAMES,
    IDLE_FRAMES,
    OPAQUE_FRAMES,
    PACKETS,
    FHP_MATCH,
    FHP_MISMATCH,
    BAD_FHP,
    PARTIAL_DROPPED_GAP,
    ORPHAN_CONTINUATION_FRAMES,
    ORPHAN_HEADS,
    BAD_PVN,
    BAD_LENGTH,
    ZONE_OCTETS,
    PACKET_OCTETS,
    IDLE_OCTETS,
    OPAQUE_OCTETS,
    GAP_OCTETS,
    MISMATCH_OCTETS,
    ORPHAN_OCTETS,
    BAD_PVN_BY_VALUE,
) = range(26)
COLUMNS = BAD_PVN_BY_VALUE + 8

# Columns of a channel's state.
(
    LAST_COUNT,
    FIRST_COUNT,
    GENERATION,
    PARTIAL_GENERATION,
    PARTIAL_LENGTH,
    PARTIAL_ERT,
    PARTIAL_FRAME,
) = range(7)
STATE_COLUMNS = 7

# Why a zone, or the rest of it, is opaque.
NOT_PACKETS = 0
BAD_VERSION = 1
BAD_POINTER = 2
BAD_PACKET_LENGTH = 3


def unwritable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same contiguous array, read-only: received octets often are, and Numba would compile a
    kernel anew for each of the two kinds."""
    flags = array.flags
    if flags.c_contiguous and not flags.writeable:
        return array
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


@njit(cache=True, nogil=True)
def _copy(target, source):
    """Octets of `source` into `target`, of the same length."""
    # Over two slices counted from 0, which LLVM vectorises; assigning a slice to a slice does not
    # and takes ten times as long.
    for k in range(len(source)):
        target[k] = source[k]


@njit(cache=True, nogil=True)
def packet_length(octets, at, available, encapsulation, longest):
    """Octets of the packet at `at`; 0 if its header is cut short, −1 wrong version, −2 length."""
    version = octets[at] >> 5
    if version == 0:
        if available < 6:
            return 0
        length = 7 + (np.int64(octets[at + 4]) << 8) + np.int64(octets[at + 5])
    elif version == 7 and encapsulation:
        # 133.1-B-3 §4.1.2: length of length 0, 1, 2 or 4 octets in a header of 1, 2, 4 or 8;
        # the length counts the header.
        code = octets[at] & 3
        if code == 0:
            return 1
        header = 1 << code
        if available < header:
            return 0
        length = np.int64(0)
        for column in range(header // 2, header):
            length = (length << 8) | np.int64(octets[at + column])
        if length < header:
            return -2
    else:
        return -1
    if length > longest:
        return -2
    return length


@njit(cache=True, nogil=True)
def walk(octets, encapsulation, longest, offsets):
    """Offsets of back-to-back packets; returns their number, why it ended and a value of no use.

    offsets: int64, room for every packet that could be there, one more.  The reason is 1 at the end
    of the octets, else that of `packet_length`.
    """
    total = len(octets)
    at = 0
    n = 0
    touched = np.uint8(0)
    offsets[0] = 0
    while at < total:
        block = at
        first = n
        stop = min(at + _BLOCK, total)
        while at < stop:
            if not encapsulation:
                # The plain case written out: a call and its switch would halve the speed.
                if total - at < 6:
                    return n, 0, touched
                if octets[at] >= 32:
                    return n, -1, touched
                length = 7 + (np.int64(octets[at + 4]) << 8) + np.int64(octets[at + 5])
            else:
                length = packet_length(octets, at, total - at, True, longest)
                if length <= 0:
                    return n, length, touched
            if at + length > total:
                return n, 0, touched
            at += length
            n += 1
            offsets[n] = at
        # Each header says where the next one is, so a miss of the cache waits for memory.  Packets
        # of some cache lines defeat the hardware's prefetching: read the next block ahead, every
        # line of it at once (three to four times as fast at 250 octets a packet, measured).
        mean = (at - block) // (n - first)
        if 128 <= mean < 768:
            for line in range(at, min(at + _BLOCK, total), 64):
                touched |= octets[line]
    return n, 1, touched


@njit(cache=True, nogil=True)
def gather(frames, rows, start, end, out):
    """Octets [start, end) of the named rows, back to back into `out`."""
    at = 0
    for i in range(len(rows)):
        k = end[i] - start[i]
        _copy(out[at : at + k], frames[rows[i], start[i] : end[i]])
        at += k


@njit(cache=True, nogil=True)
def copy_packets(octets, offsets, which, out):
    """Packets named by index, int64 [m], back to back into `out`."""
    at = 0
    for i in range(len(which)):
        start, end = offsets[which[i]], offsets[which[i] + 1]
        _copy(out[at : at + end - start], octets[start:end])
        at += end - start


@njit(cache=True, nogil=True)
def admit(
    channel, ranked, order, crc_ok, foreign, malformed, zone_start, zone_end, width, slot, left_out
) -> tuple[int, bool]:
    """Row of each frame's channel in `slot`, −1 where it takes no part; frames whose channel has no
    row, and whether all zones lie within frames of `width` octets.

    ranked: int64 [m], the channels that have rows, sorted; order: their rows.  left_out: int64
    [4], set: failed FECF, foreign, malformed, without a row; a frame counts under the first.
    """
    left_out[:] = 0
    sound = True
    for i in range(len(slot)):
        slot[i] = -1
        if zone_start[i] < 0 or zone_start[i] > zone_end[i] or zone_end[i] > width:
            sound = False
        if not crc_ok[i]:
            left_out[0] += 1
        elif foreign[i]:
            left_out[1] += 1
        elif malformed[i]:
            left_out[2] += 1
        else:
            low, high = 0, len(ranked)
            while low < high:
                middle = (low + high) >> 1
                if ranked[middle] < channel[i]:
                    low = middle + 1
                else:
                    high = middle
            if low < len(ranked) and ranked[low] == channel[i]:
                slot[i] = order[low]
            else:
                left_out[3] += 1
    return int(left_out[3]), sound


@njit(cache=True, nogil=True)
def extract(
    frames,
    slot,
    counter_slot,
    vcid_of_slot,
    vc_count,
    modulus,
    pointer,
    zone_start,
    zone_end,
    ert_ns,
    first_frame,
    encapsulation,
    longest,
    state,
    partial,
    statistics,
    out,
    offsets,
    out_vcid,
    out_ert,
    out_frame,
    opaque_frame,
    opaque_start,
    opaque_end,
    opaque_reason,
):
    """Walk the zones of frames in order; returns numbers of packets and of opaque zones.

    frames: uint8 [n, L]; slot: int64 [n], the channel's row in state, partial and statistics, −1
    for frames that do not take part; first_frame: number of frames[0] since the beginning.
    """
    n_packets = 0
    n_opaque = 0
    at_out = 0
    offsets[0] = 0
    for i in range(len(slot)):
        s = slot[i]
        if s < 0:
            continue
        c = counter_slot[s]
        stat = statistics[s]
        mine = state[s]
        held = partial[s]
        stat[FRAMES] += 1

        # A step of the counter other than +1 discards what was begun in this channel.
        m = modulus[i]
        if m > 1:
            count = vc_count[i]
            last = state[c, LAST_COUNT]
            if last < 0:
                state[c, FIRST_COUNT] = count
            else:
                step = (count - last) % m
                if step != 1:
                    stat[DISCONTINUITIES] += 1
                    state[c, GENERATION] += 1
                    if step == 0:
                        stat[REPEATS] += 1
                    elif m > 256 and step > m // 2:
                        stat[BACKWARD_JUMPS] += 1
                    else:
                        stat[MISSING_FRAMES] = min(stat[MISSING_FRAMES] + step - 1, _MOST_MISSING)
            state[c, LAST_COUNT] = count
        if mine[PARTIAL_GENERATION] != state[c, GENERATION]:
            mine[PARTIAL_GENERATION] = state[c, GENERATION]
            if mine[PARTIAL_LENGTH] > 0:
                stat[PARTIAL_DROPPED_GAP] += 1
                stat[GAP_OCTETS] += mine[PARTIAL_LENGTH]
                mine[PARTIAL_LENGTH] = 0

        start = np.int64(zone_start[i])
        end = np.int64(zone_end[i])
        size = end - start
        stat[ZONE_OCTETS] += size
        fhp = np.int64(pointer[i])
        if fhp == FHP_IDLE:
            stat[IDLE_FRAMES] += 1
            stat[IDLE_OCTETS] += size
            continue
        if fhp == FHP_NOT_PACKETS:
            stat[OPAQUE_FRAMES] += 1
            stat[OPAQUE_OCTETS] += size
            opaque_frame[n_opaque] = i
            opaque_start[n_opaque] = start
            opaque_end[n_opaque] = end
            opaque_reason[n_opaque] = NOT_PACKETS
            n_opaque += 1
            continue

        length = mine[PARTIAL_LENGTH]
        begun = size if fhp == FHP_NONE else fhp
        if fhp == FHP_NONE:
            stat[CONTINUATION_FRAMES] += 1
            if length == 0:
                stat[ORPHAN_CONTINUATION_FRAMES] += 1
                stat[ORPHAN_OCTETS] += size
                continue
        else:
            stat[POINTER_FRAMES] += 1
            if fhp >= size:
                stat[BAD_FHP] += 1
                if length > 0:
                    stat[FHP_MISMATCH] += 1
                    stat[MISMATCH_OCTETS] += length
                    mine[PARTIAL_LENGTH] = 0
                stat[OPAQUE_OCTETS] += size
                opaque_frame[n_opaque] = i
                opaque_start[n_opaque] = start
                opaque_end[n_opaque] = end
                opaque_reason[n_opaque] = BAD_POINTER
                n_opaque += 1
                continue
            if length == 0 and fhp > 0:
                stat[ORPHAN_HEADS] += 1
                stat[ORPHAN_OCTETS] += fhp

        if length > 0:
            # The header itself may be cut by the zone's end: complete it before reading the length.
            if length < LONGEST_HEADER:
                for k in range(min(begun, LONGEST_HEADER - length)):
                    held[length + k] = frames[i, start + k]
            total = length + begun
            wanted = packet_length(held, 0, total, encapsulation, longest)
            if wanted == total:
                _copy(out[at_out : at_out + length], held[:length])
                _copy(out[at_out + length : at_out + total], frames[i, start : start + begun])
                at_out += total
                out_vcid[n_packets] = vcid_of_slot[s]
                out_ert[n_packets] = mine[PARTIAL_ERT]
                out_frame[n_packets] = mine[PARTIAL_FRAME]
                n_packets += 1
                offsets[n_packets] = at_out
                stat[PACKETS] += 1
                stat[PACKET_OCTETS] += total
                if fhp != FHP_NONE:
                    stat[FHP_MATCH] += 1
                mine[PARTIAL_LENGTH] = 0
            elif fhp == FHP_NONE and (wanted == 0 or wanted > total):
                _copy(held[length:total], frames[i, start:end])
                mine[PARTIAL_LENGTH] = total
            else:
                stat[FHP_MISMATCH] += 1
                stat[MISMATCH_OCTETS] += total
                mine[PARTIAL_LENGTH] = 0
        if fhp == FHP_NONE:
            continue

        row = frames[i]
        at = start + fhp
        run = at
        before = n_packets
        while at < end:
            wanted = packet_length(row, at, end - at, encapsulation, longest)
            if wanted < 0:
                stat[OPAQUE_OCTETS] += end - at
                opaque_frame[n_opaque] = i
                opaque_start[n_opaque] = at
                opaque_end[n_opaque] = end
                if wanted == -1:
                    stat[BAD_PVN] += 1
                    stat[BAD_PVN_BY_VALUE + (row[at] >> 5)] += 1
                    opaque_reason[n_opaque] = BAD_VERSION
                else:
                    stat[BAD_LENGTH] += 1
                    opaque_reason[n_opaque] = BAD_PACKET_LENGTH
                n_opaque += 1
                break
            if wanted == 0 or at + wanted > end:
                _copy(held[: end - at], row[at:end])
                mine[PARTIAL_LENGTH] = end - at
                mine[PARTIAL_ERT] = ert_ns[i]
                mine[PARTIAL_FRAME] = first_frame + i
                break
            at += wanted
            out_vcid[n_packets] = vcid_of_slot[s]
            out_ert[n_packets] = ert_ns[i]
            out_frame[n_packets] = first_frame + i
            n_packets += 1
            offsets[n_packets] = at_out + at - run
        # Whole packets lie back to back: one copy for all of them.
        whole = at - run
        if whole > 0:
            stat[PACKETS] += n_packets - before
            _copy(out[at_out : at_out + whole], row[run:at])
            at_out += whole
            stat[PACKET_OCTETS] += whole
    return n_packets, n_opaque
