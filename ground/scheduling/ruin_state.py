"""An answer as arrays: placing, moving and taking out tracks, with an undo log and its value.

Kernels in the terms of `ruin_kernels.py`, which decides what to do with them.  Times are int64
seconds from the horizon's begin.  A slot is one possible track of a request.

Numba's cache on disk looks only at the file of the kernel that is called: whoever changes this file
removes `__pycache__/ruin_kernels.anneal*.nb?`, or saves `ruin_kernels.py` too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


(DURATION, MINIMUM, SETUP, TEARDOWN, SEGMENT, MISSION, MOVABLE, SLOT0, WINDOW0, PUBLISHED0) = range(
    10
)
LO, HI, CHOICE_OF, REQUEST_OF = range(4)
ON, OFF, WINDOW, CHOICE, REQUEST, LOGGED = range(6)


class Data(NamedTuple):
    """What does not change.  Few and wide arrays: each one costs in every call of a kernel.

    request      int64[R + 1, 10]; the last row holds only the ends of slots, windows, published.
                 SEGMENT: shortest segment of a split, 0: none
    window       int64[W, 4]
    choice       int64[C, 1 + K]: how many antennas, which
    users        int64[A, 1 + U]: how many windows use the antenna, which
    published    int64[P, 3]: choice, on, off
    weight       float64[R], value of a second
    requested    float64[M] seconds; group_of int64[M] agency; group_requested float64[G]
    terms        float64[6]: satisfied, u_square, u_max, agency_square, agency_max, change
    antennas     A: rows of `State.held` before those of the missions
    """

    request: I64
    window: I64
    choice: I64
    users: I64
    published: I64
    weight: F64
    requested: F64
    group_of: I64
    group_requested: F64
    terms: F64
    antennas: int


class State(NamedTuple):
    """What a step changes.

    slot     int64[S, 6]; WINDOW -1: not placed, -2: held without a window; LOGGED: row of the log
             or -1
    held     int64[A + M, 1 + n]: of an antenna, then of a mission: how many slots, which, in order
    given    int64[R] seconds; missing float64[M], group_missing float64[G]
    log      int64[1 + S, 5]: undo log of a step: how many, then slot, on, off, window, choice
    """

    slot: I64
    held: I64
    given: I64
    missing: F64
    group_missing: F64
    log: I64


@njit(cache=True)
def find_place(held, slot, at):
    """First place of a list whose track begins at `at` or later."""
    lo, hi = 1, held[0] + 1
    while lo < hi:
        middle = (lo + hi) // 2
        if slot[held[middle], ON] < at:
            lo = middle + 1
        else:
            hi = middle
    return lo


@njit(cache=True)
def _insert(held, slot, new):
    at = find_place(held, slot, slot[new, ON])
    held[0] += 1
    for k in range(held[0], at, -1):
        held[k] = held[k - 1]
    held[at] = new


@njit(cache=True)
def _delete(held, old):
    k = 1
    while held[k] != old:
        k += 1
    for q in range(k, held[0]):
        held[q] = held[q + 1]
    held[0] -= 1


@njit(cache=True)
def _log(state, slot):
    if state.slot[slot, LOGGED] < 0:
        count = state.log[0, 0]
        state.log[count + 1, 0] = slot
        state.slot[slot, LOGGED] = count
        state.log[count + 1, 1] = state.slot[slot, ON]
        state.log[count + 1, 2] = state.slot[slot, OFF]
        state.log[count + 1, 3] = state.slot[slot, WINDOW]
        state.log[count + 1, 4] = state.slot[slot, CHOICE]
        state.log[0, 0] = count + 1


@njit(cache=True)
def _account(data, state, request, seconds):
    state.given[request] += seconds
    mission = data.request[request, MISSION]
    state.missing[mission] -= seconds
    state.group_missing[data.group_of[mission]] -= seconds


@njit(cache=True)
def place(data, state, slot, window, choice, on, off):
    _log(state, slot)
    request = state.slot[slot, REQUEST]
    state.slot[slot, ON], state.slot[slot, OFF] = on, off
    state.slot[slot, WINDOW], state.slot[slot, CHOICE] = window, choice
    for k in range(1, data.choice[choice, 0] + 1):
        antenna = data.choice[choice, k]
        _insert(state.held[antenna], state.slot, slot)
    mission = data.request[request, MISSION]
    _insert(state.held[data.antennas + mission], state.slot, slot)
    _account(data, state, request, off - on)


@njit(cache=True)
def remove(data, state, slot):
    _log(state, slot)
    request = state.slot[slot, REQUEST]
    choice = state.slot[slot, CHOICE]
    for k in range(1, data.choice[choice, 0] + 1):
        antenna = data.choice[choice, k]
        _delete(state.held[antenna], slot)
    mission = data.request[request, MISSION]
    _delete(state.held[data.antennas + mission], slot)
    _account(data, state, request, state.slot[slot, ON] - state.slot[slot, OFF])
    state.slot[slot, WINDOW] = -1


@njit(cache=True)
def retime(data, state, slot, on, off):
    """Neighbours stay neighbours: the sorted lists keep their order."""
    _log(state, slot)
    _account(
        data,
        state,
        state.slot[slot, REQUEST],
        (off - on) - (state.slot[slot, OFF] - state.slot[slot, ON]),
    )
    state.slot[slot, ON], state.slot[slot, OFF] = on, off


@njit(cache=True)
def room(data, state, slot):
    """[lo, hi] in which a placed track may lie between its present neighbours."""
    request = state.slot[slot, REQUEST]
    window = state.slot[slot, WINDOW]
    lo, hi = data.window[window, LO], data.window[window, HI]
    choice = state.slot[slot, CHOICE]
    for k in range(1, data.choice[choice, 0] + 1):
        antenna = data.choice[choice, k]
        slots = state.held[antenna]
        count = slots[0]
        at = find_place(slots, state.slot, state.slot[slot, ON])
        if at > 1:
            other = slots[at - 1]
            ends = state.slot[other, OFF] + data.request[state.slot[other, REQUEST], TEARDOWN]
            lo = max(lo, ends + data.request[request, SETUP])
        if at < count:
            other = slots[at + 1]
            begins = state.slot[other, ON] - data.request[state.slot[other, REQUEST], SETUP]
            hi = min(hi, begins - data.request[request, TEARDOWN])
    mission = data.request[request, MISSION]
    slots = state.held[data.antennas + mission]
    count = slots[0]
    at = find_place(slots, state.slot, state.slot[slot, ON])
    if at > 1:
        lo = max(lo, state.slot[slots[at - 1], OFF])
    if at < count:
        hi = min(hi, state.slot[slots[at + 1], ON])
    return lo, hi


@njit(cache=True)
def stretch(data, state, slot):
    request = state.slot[slot, REQUEST]
    if not data.request[request, MOVABLE] or state.slot[slot, WINDOW] < 0:
        return
    wanted = data.request[request, DURATION] - state.given[request]
    if wanted <= 0:
        return
    lo, hi = room(data, state, slot)
    on, off = state.slot[slot, ON], state.slot[slot, OFF]
    later = min(wanted, hi - off)
    earlier = min(wanted - later, on - lo)
    if later + earlier > 0:
        retime(data, state, slot, on - earlier, off + later)


@njit(cache=True)
def give_way(data, state, slot, to_left, shorten):
    """A track beside the hole moves away from it, and may shrink to its shortest."""
    request = state.slot[slot, REQUEST]
    if not data.request[request, MOVABLE] or state.slot[slot, WINDOW] < 0:
        return
    lo, hi = room(data, state, slot)
    on, off = state.slot[slot, ON], state.slot[slot, OFF]
    length = off - on
    if shorten:
        both = state.given[request] > length
        least = data.request[request, SEGMENT] if both else data.request[request, MINIMUM]
        least = max(least, data.request[request, MINIMUM] - (state.given[request] - length))
        least = min(least, length)
        length = least + np.int64(np.random.random() * (length - least + 1))
    if to_left:
        retime(data, state, slot, lo, lo + length)
    else:
        retime(data, state, slot, hi - length, hi)


@njit(cache=True)
def forget(state):
    for k in range(state.log[0, 0]):
        state.slot[state.log[k + 1, 0], LOGGED] = -1
    state.log[0, 0] = 0


@njit(cache=True)
def undo(data, state):
    count = state.log[0, 0]
    for k in range(count):
        slot = state.log[k + 1, 0]
        if state.slot[slot, WINDOW] != -1:
            remove(data, state, slot)
    for k in range(count):
        slot = state.log[k + 1, 0]
        if state.log[k + 1, 3] != -1:
            place(
                data,
                state,
                slot,
                state.log[k + 1, 3],
                state.log[k + 1, 4],
                state.log[k + 1, 1],
                state.log[k + 1, 2],
            )
    forget(state)


@njit(cache=True)
def request_value(data, state, request):
    total = data.weight[request] * state.given[request]
    if state.given[request] > 0:
        total += data.terms[0]
    if data.terms[5] > 0:
        for k in range(data.request[request, PUBLISHED0], data.request[request + 1, PUBLISHED0]):
            kept = False
            for slot in range(data.request[request, SLOT0], data.request[request + 1, SLOT0]):
                if (
                    state.slot[slot, WINDOW] != -1
                    and state.slot[slot, CHOICE] == data.published[k, 0]
                    and state.slot[slot, ON] == data.published[k, 1]
                    and state.slot[slot, OFF] == data.published[k, 2]
                ):
                    kept = True
            if not kept:
                total -= data.terms[5]
    return total


@njit(cache=True)
def old_value(data, state, request):
    """`_request_value` before the step."""
    given, kept_value = np.int64(0), 0.0
    for slot in range(data.request[request, SLOT0], data.request[request + 1, SLOT0]):
        at = state.slot[slot, LOGGED]
        if at >= 0:
            if state.log[at + 1, 3] != -1:
                given += state.log[at + 1, 2] - state.log[at + 1, 1]
        elif state.slot[slot, WINDOW] != -1:
            given += state.slot[slot, OFF] - state.slot[slot, ON]
    if data.terms[5] > 0:
        for k in range(data.request[request, PUBLISHED0], data.request[request + 1, PUBLISHED0]):
            kept = False
            for slot in range(data.request[request, SLOT0], data.request[request + 1, SLOT0]):
                at = state.slot[slot, LOGGED]
                if at >= 0:
                    same = (
                        state.log[at + 1, 3] != -1
                        and state.log[at + 1, 4] == data.published[k, 0]
                        and state.log[at + 1, 1] == data.published[k, 1]
                        and state.log[at + 1, 2] == data.published[k, 2]
                    )
                else:
                    same = (
                        state.slot[slot, WINDOW] != -1
                        and state.slot[slot, CHOICE] == data.published[k, 0]
                        and state.slot[slot, ON] == data.published[k, 1]
                        and state.slot[slot, OFF] == data.published[k, 2]
                    )
                kept = kept or same
            if not kept:
                kept_value -= data.terms[5]
    total = data.weight[request] * given + kept_value
    if given > 0:
        total += data.terms[0]
    return total


@njit(cache=True)
def unfairness_of(missing, requested, square, worst):
    total, top = 0.0, 0.0
    for k in range(missing.shape[0]):
        if requested[k] > 0:
            u = missing[k] / requested[k]
            total += u * u
            top = max(top, u)
    return square * total + worst * top


@njit(cache=True)
def unfairness(data, state):
    total = 0.0
    if data.terms[1] > 0 or data.terms[2] > 0:
        total += unfairness_of(state.missing, data.requested, data.terms[1], data.terms[2])
    if data.terms[3] > 0 or data.terms[4] > 0:
        total += unfairness_of(
            state.group_missing, data.group_requested, data.terms[3], data.terms[4]
        )
    return total


@njit(cache=True)
def value(data, state):
    total = 0.0
    for request in range(data.weight.shape[0]):
        total += request_value(data, state, request)
    return total - unfairness(data, state)
