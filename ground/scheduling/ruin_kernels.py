"""Ruin and recreate, the kernels: some tens of thousands of steps a second on one core.

A step takes a few neighbouring tracks out, moves or shortens those beside the hole, puts requests
back where they fit, stretches what can be stretched, and keeps the result or undoes it by
simulated annealing (after Christiaens & Vanden Berghe 2020, slack induction by string removals).
All work is local to the hole: a step does not cost more in a larger problem.

Times are int64 seconds from the horizon's begin.  A slot is one possible track of a request.
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
def _find_place(held, slot, at):
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
    at = _find_place(held, slot, slot[new, ON])
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
def _retime(data, state, slot, on, off):
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
def _room(data, state, slot):
    """[lo, hi] in which a placed track may lie between its present neighbours."""
    request = state.slot[slot, REQUEST]
    window = state.slot[slot, WINDOW]
    lo, hi = data.window[window, LO], data.window[window, HI]
    choice = state.slot[slot, CHOICE]
    for k in range(1, data.choice[choice, 0] + 1):
        antenna = data.choice[choice, k]
        slots = state.held[antenna]
        count = slots[0]
        at = _find_place(slots, state.slot, state.slot[slot, ON])
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
    at = _find_place(slots, state.slot, state.slot[slot, ON])
    if at > 1:
        lo = max(lo, state.slot[slots[at - 1], OFF])
    if at < count:
        hi = min(hi, state.slot[slots[at + 1], ON])
    return lo, hi


@njit(cache=True)
def _stretch(data, state, slot):
    request = state.slot[slot, REQUEST]
    if not data.request[request, MOVABLE] or state.slot[slot, WINDOW] < 0:
        return
    wanted = data.request[request, DURATION] - state.given[request]
    if wanted <= 0:
        return
    lo, hi = _room(data, state, slot)
    on, off = state.slot[slot, ON], state.slot[slot, OFF]
    later = min(wanted, hi - off)
    earlier = min(wanted - later, on - lo)
    if later + earlier > 0:
        _retime(data, state, slot, on - earlier, off + later)


@njit(cache=True)
def _yield(data, state, slot, to_left, shorten):
    """A track beside the hole moves away from it, and may shrink to its shortest."""
    request = state.slot[slot, REQUEST]
    if not data.request[request, MOVABLE] or state.slot[slot, WINDOW] < 0:
        return
    lo, hi = _room(data, state, slot)
    on, off = state.slot[slot, ON], state.slot[slot, OFF]
    length = off - on
    if shorten:
        both = state.given[request] > length
        least = data.request[request, SEGMENT] if both else data.request[request, MINIMUM]
        least = max(least, data.request[request, MINIMUM] - (state.given[request] - length))
        least = min(least, length)
        length = least + np.int64(np.random.random() * (length - least + 1))
    if to_left:
        _retime(data, state, slot, lo, lo + length)
    else:
        _retime(data, state, slot, hi - length, hi)


@njit(cache=True)
def _block(block_lo, block_hi, count, lo, hi):
    k = count
    while k > 0 and block_lo[k - 1] > lo:
        block_lo[k], block_hi[k] = block_lo[k - 1], block_hi[k - 1]
        k -= 1
    block_lo[k], block_hi[k] = lo, hi
    return count + 1


@njit(cache=True)
def _blocks(data, state, request, window, block_lo, block_hi):
    """Where in the window tracking may not lie, sorted by begin."""
    lo, hi = data.window[window, LO], data.window[window, HI]
    setup, teardown = data.request[request, SETUP], data.request[request, TEARDOWN]
    choice = data.window[window, CHOICE_OF]
    found = 0
    for k in range(1, data.choice[choice, 0] + 1):
        antenna = data.choice[choice, k]
        slots = state.held[antenna]
        count = slots[0]
        at = max(1, _find_place(slots, state.slot, lo) - 1)
        while at <= count:
            other = slots[at]
            whose = state.slot[other, REQUEST]
            begin = state.slot[other, ON] - data.request[whose, SETUP] - teardown
            if begin >= hi:
                break
            end = state.slot[other, OFF] + data.request[whose, TEARDOWN] + setup
            if end > lo:
                found = _block(block_lo, block_hi, found, begin, end)
            at += 1
    mission = data.request[request, MISSION]
    slots = state.held[data.antennas + mission]
    count = slots[0]
    at = max(1, _find_place(slots, state.slot, lo) - 1)
    while at <= count:
        other = slots[at]
        if state.slot[other, ON] >= hi:
            break
        if state.slot[other, OFF] > lo:
            found = _block(block_lo, block_hi, found, state.slot[other, ON], state.slot[other, OFF])
        at += 1
    return found


@njit(cache=True)
def _search(data, state, request, shortest, longest, noise, block_lo, block_hi):
    """Best (window, on, off) for a track of the request, or window -1."""
    best, best_on, best_off, best_score = np.int64(-1), np.int64(0), np.int64(0), -1e18
    occupied = data.request[request, SETUP] + data.request[request, TEARDOWN]
    for window in range(data.request[request, WINDOW0], data.request[request + 1, WINDOW0]):
        lo, hi = data.window[window, LO], data.window[window, HI]
        if hi - lo < shortest or np.random.random() < 0.04:
            continue
        found = _blocks(data, state, request, window, block_lo, block_hi)
        choice = data.window[window, CHOICE_OF]
        extra = data.choice[choice, 0] - 1
        at = lo
        for k in range(found + 1):
            end = hi if k == found else min(hi, block_lo[k])
            if end - at >= shortest:
                length = min(longest, end - at)
                left = end - at - length
                score = length - 0.8 * extra * (length + occupied) - 0.1 * min(left, 14400)
                score += noise * np.random.random()
                if score > best_score:
                    best_score, best = score, window
                    # Against the one neighbour or the other: no room is cut in two.
                    best_on = at if np.random.random() < 0.5 else end - length
                    best_off = best_on + length
            if k < found:
                at = max(at, block_hi[k])
    return best, best_on, best_off


@njit(cache=True)
def _recreate(data, state, request, block_lo, block_hi):
    """Places the request if it can be; True if so."""
    if state.given[request] > 0:
        return False
    noise = 0.25 * data.request[request, DURATION]
    slot = data.request[request, SLOT0]
    duration, minimum = data.request[request, DURATION], data.request[request, MINIMUM]
    longest = duration
    if minimum < duration and np.random.random() < 0.15:
        longest = minimum + np.int64(np.random.random() * (duration - minimum))
    several = data.request[request + 1, SLOT0] - slot > 1 and data.request[request, SEGMENT] > 0
    early = several and np.random.random() < 0.15
    if early and _split(data, state, request, block_lo, block_hi):
        return True
    window, on, off = _search(data, state, request, minimum, longest, noise, block_lo, block_hi)
    if window >= 0:
        place(data, state, slot, window, data.window[window, CHOICE_OF], on, off)
        return True
    return several and _split(data, state, request, block_lo, block_hi)


@njit(cache=True)
def _split(data, state, request, block_lo, block_hi):
    slot, segment = data.request[request, SLOT0], data.request[request, SEGMENT]
    longest = data.request[request, DURATION] - segment
    if longest < segment:
        return False
    noise = 0.5 * data.request[request, DURATION]
    window, on, off = _search(data, state, request, segment, longest, noise, block_lo, block_hi)
    if window < 0:
        return False
    place(data, state, slot, window, data.window[window, CHOICE_OF], on, off)
    given = off - on
    shortest = max(segment, data.request[request, MINIMUM] - given)
    longest = data.request[request, DURATION] - given
    if shortest <= longest:
        window, on, off = _search(
            data, state, request, shortest, longest, noise, block_lo, block_hi
        )
        if window >= 0:
            place(data, state, slot + 1, window, data.window[window, CHOICE_OF], on, off)
            return True
    remove(data, state, slot)
    return False


@njit(cache=True)
def _request_value(data, state, request):
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
def _unfairness(missing, requested, square, worst):
    total, top = 0.0, 0.0
    for k in range(missing.shape[0]):
        if requested[k] > 0:
            u = missing[k] / requested[k]
            total += u * u
            top = max(top, u)
    return square * total + worst * top


@njit(cache=True)
def value(data, state):
    total = 0.0
    for request in range(data.weight.shape[0]):
        total += _request_value(data, state, request)
    return total - _fair(data, state)


@njit(cache=True)
def _fair(data, state):
    total = 0.0
    if data.terms[1] > 0 or data.terms[2] > 0:
        total += _unfairness(state.missing, data.requested, data.terms[1], data.terms[2])
    if data.terms[3] > 0 or data.terms[4] > 0:
        total += _unfairness(
            state.group_missing, data.group_requested, data.terms[3], data.terms[4]
        )
    return total


@njit(cache=True)
def forget(state):
    for k in range(state.log[0, 0]):
        state.slot[state.log[k + 1, 0], LOGGED] = -1
    state.log[0, 0] = 0


@njit(cache=True)
def _undo(data, state):
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
def _take_out(data, state, request, queue, count, holes, hole_count):
    """All tracks of the request go; it joins the queue, its places the holes."""
    some = False
    for slot in range(data.request[request, SLOT0], data.request[request + 1, SLOT0]):
        if state.slot[slot, WINDOW] >= 0:
            some = True
            choice = state.slot[slot, CHOICE]
            for k in range(1, data.choice[choice, 0] + 1):
                if hole_count < holes.shape[0]:
                    holes[hole_count, 0] = data.choice[choice, k]
                    holes[hole_count, 1] = state.slot[slot, ON]
                    hole_count += 1
            remove(data, state, slot)
    if some:
        queue[count] = request
        count += 1
    return count, hole_count


@njit(cache=True)
def _clear(data, state, antenna, at, most, queue, count, holes, hole_count):
    """Up to `most` tracks of the antenna around a time."""
    for _ in range(most):
        slots = state.held[antenna]
        held = slots[0]
        if held == 0 or count + 2 >= queue.shape[0]:
            break
        place_at = _find_place(slots, state.slot, at)
        near, least = np.int64(-1), np.int64(1) << 60
        for k in range(max(1, place_at - 2), min(held + 1, place_at + 2)):
            slot = slots[k]
            if state.slot[slot, WINDOW] < 0 or not data.request[state.slot[slot, REQUEST], MOVABLE]:
                continue
            apart = max(state.slot[slot, ON] - at, at - state.slot[slot, OFF])
            if apart < least:
                near, least = slot, apart
        if near < 0 or least > 43200:
            break
        count, hole_count = _take_out(
            data, state, state.slot[near, REQUEST], queue, count, holes, hole_count
        )
    return count, hole_count


@njit(cache=True)
def _ruin(data, state, queue, holes, strength, absent, absent_count):
    """Returns requests taken out (in `queue`), holes (antenna, time), and the centre."""
    count, hole_count = 0, 0
    windows = data.window.shape[0]
    window = np.random.randint(windows)
    kind = np.random.random()
    if absent_count > 0 and kind < 0.6:
        request = absent[np.random.randint(absent_count)]
        first, last = data.request[request, WINDOW0], data.request[request + 1, WINDOW0]
        if last > first:
            window = np.random.randint(first, last)
    elif kind < 0.7:
        # A mission as a whole, as far as the strength goes.
        mission = data.request[data.window[window, REQUEST_OF], MISSION]
        held = state.held[data.antennas + mission, 0]
        most = 1 + np.random.randint(np.int64(strength))
        for _ in range(min(most, held)):
            held = state.held[data.antennas + mission, 0]
            if held == 0:
                break
            slot = state.held[data.antennas + mission, 1 + np.random.randint(held)]
            if state.slot[slot, WINDOW] >= 0 and data.request[state.slot[slot, REQUEST], MOVABLE]:
                count, hole_count = _take_out(
                    data, state, state.slot[slot, REQUEST], queue, count, holes, hole_count
                )
    lo, hi = data.window[window, LO], data.window[window, HI]
    at = lo + np.int64(np.random.random() * (hi - lo))
    total = 1 + np.int64(np.random.random() * 2 * strength)
    choice = data.window[window, CHOICE_OF]
    request = data.window[window, REQUEST_OF]
    for k in range(1, data.choice[choice, 0] + 1):
        most = 1 + np.random.randint(3)
        count, hole_count = _clear(
            data, state, data.choice[choice, k], at, most, queue, count, holes, hole_count
        )
    tries = 0
    while count < total and tries < 12:
        tries += 1
        # Another antenna that one of those in the queue (or the first) could use about now.
        whose = queue[np.random.randint(count)] if count > 0 else request
        first, last = data.request[whose, WINDOW0], data.request[whose + 1, WINDOW0]
        if last <= first:
            continue
        other = np.random.randint(first, last)
        if data.window[other, LO] > at + 14400 or data.window[other, HI] < at - 14400:
            continue
        choice = data.window[other, CHOICE_OF]
        k = np.random.randint(1, data.choice[choice, 0] + 1)
        most = 1 + np.random.randint(3)
        count, hole_count = _clear(
            data, state, data.choice[choice, k], at, most, queue, count, holes, hole_count
        )
    return count, hole_count, request


@njit(cache=True)
def _beside(data, state, holes, hole_count, what):
    """0: those beside the holes yield, 1: yield and shrink, 2: stretch."""
    for h in range(hole_count):
        antenna, at = holes[h, 0], holes[h, 1]
        slots = state.held[antenna]
        count = slots[0]
        k = _find_place(slots, state.slot, at)
        for q in (k - 1, k):
            if 1 <= q <= count:
                if what == 2:
                    _stretch(data, state, slots[q])
                else:
                    _yield(data, state, slots[q], q < k, what == 1)


@njit(cache=True)
def _sort_queue(data, state, queue, count, way):
    """Order of recreation: 0 random, 1 long first, 2 little freedom first, 3 most missing first."""
    keys = np.empty(count)
    for k in range(count):
        request = queue[k]
        if way == 1:
            keys[k] = -data.request[request, DURATION]
        elif way == 2:
            keys[k] = data.request[request + 1, WINDOW0] - data.request[request, WINDOW0]
        elif way == 3:
            mission = data.request[request, MISSION]
            keys[k] = -state.missing[mission] / max(1.0, data.requested[mission])
        else:
            keys[k] = np.random.random()
    for i in range(1, count):
        request, key = queue[i], keys[i]
        k = i
        while k > 0 and keys[k - 1] > key:
            queue[k], keys[k] = queue[k - 1], keys[k - 1]
            k -= 1
        queue[k], keys[k] = request, key


@njit(cache=True)
def _join_absent(data, state, queue, count, holes, hole_count, first, extra):
    """Requests with nothing that could use a hole join the queue."""
    if state.given[first] == 0 and data.request[first, MOVABLE] and count < queue.shape[0]:
        queue[count] = first
        count += 1
    for _ in range(extra * 6):
        if hole_count == 0 or extra == 0 or count >= queue.shape[0]:
            break
        h = np.random.randint(hole_count)
        antenna, at = holes[h, 0], holes[h, 1]
        lo, hi = 1, data.users[antenna, 0] + 1
        window = data.users[antenna, np.random.randint(lo, hi)]
        request = data.window[window, REQUEST_OF]
        if state.given[request] > 0 or not data.request[request, MOVABLE]:
            continue
        if data.window[window, LO] > at + 21600 or data.window[window, HI] < at - 7200:
            continue
        known = False
        for k in range(count):
            if queue[k] == request:
                known = True
        if not known:
            queue[count] = request
            count += 1
            extra -= 1
    return count


@njit(cache=True)
def absentees(data, state, absent):
    count = 0
    for request in range(data.weight.shape[0]):
        some = data.request[request + 1, WINDOW0] > data.request[request, WINDOW0]
        if some and data.request[request, MOVABLE] and state.given[request] == 0:
            absent[count] = request
            count += 1
    return count


@njit(cache=True)
def anneal(data, state, seed, steps, hot, cold, strength, best_slots):
    """`steps` steps from temperature `hot` to `cold`; the best found goes to `best_slots`.

    Returns (value of the best, value of the last).  `best_slots` must hold the first three
    columns of the state's slots at entry.
    """
    np.random.seed(seed)
    now = value(data, state)
    best = now
    queue = np.empty(64, np.int64)
    holes = np.empty((96, 2), np.int64)
    block_lo, block_hi = np.empty(512, np.int64), np.empty(512, np.int64)
    requests = data.weight.shape[0]
    absent = np.empty(requests, np.int64)
    touched = np.empty(512, np.int64)
    seen = np.zeros(requests, np.bool_)
    absent_count = absentees(data, state, absent)
    ratio = (cold / hot) ** (1.0 / max(1, steps))
    temperature = hot
    changed_best = np.zeros(state.slot.shape[0], np.bool_)
    fair_now = _fair(data, state)
    for step in range(steps):
        temperature *= ratio
        if step % 64 == 0:
            absent_count = absentees(data, state, absent)
        count, hole_count, first = _ruin(data, state, queue, holes, strength, absent, absent_count)
        draw = np.random.random()
        if draw < 0.35:
            _beside(data, state, holes, hole_count, 0)
        elif draw < 0.6:
            _beside(data, state, holes, hole_count, 1)
        count = _join_absent(data, state, queue, count, holes, hole_count, first, 3)
        _sort_queue(data, state, queue, count, np.random.randint(4))
        for k in range(count):
            if np.random.random() < 0.97:
                _recreate(data, state, queue[k], block_lo, block_hi)
        for k in range(count):
            for slot in range(data.request[queue[k], SLOT0], data.request[queue[k] + 1, SLOT0]):
                _stretch(data, state, slot)
        _beside(data, state, holes, hole_count, 2)
        # Value of what changed: after, then before, from the log.
        log = state.log[0, 0]
        requests_touched = 0
        delta = 0.0
        for k in range(log):
            request = state.slot[state.log[k + 1, 0], REQUEST]
            if not seen[request]:
                seen[request] = True
                touched[requests_touched] = request
                requests_touched += 1
                delta += _request_value(data, state, request)
        for k in range(requests_touched):
            seen[touched[k]] = False
            delta -= _old_value(data, state, touched[k])
        fair = _fair(data, state)
        delta -= fair - fair_now
        if delta >= 0 or np.random.random() < np.exp(delta / temperature):
            now += delta
            fair_now = fair
            for k in range(log):
                changed_best[state.log[k + 1, 0]] = True
            forget(state)
            if now > best + 1e-9:
                best = now
                for slot in range(state.slot.shape[0]):
                    if changed_best[slot]:
                        best_slots[slot, ON] = state.slot[slot, ON]
                        best_slots[slot, OFF] = state.slot[slot, OFF]
                        best_slots[slot, WINDOW] = state.slot[slot, WINDOW]
                        changed_best[slot] = False
        else:
            _undo(data, state)
    return best, now


@njit(cache=True)
def _old_value(data, state, request):
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
