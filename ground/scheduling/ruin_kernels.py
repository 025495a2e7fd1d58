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


class Data(NamedTuple):
    """What does not change: R requests, W windows, C choices, M missions, A antennas, S slots."""

    duration: I64  # [R]
    minimum: I64
    setup: I64
    teardown: I64
    segment: I64  # shortest segment of a split, 0: none
    mission: I64
    movable: NDArray[np.bool_]
    weight: F64  # [R] value of a second
    slot0: I64  # [R + 1] slots of a request
    slot_request: I64  # [S]
    window0: I64  # [R + 1] windows of a request
    window_lo: I64  # [W]
    window_hi: I64
    window_choice: I64
    choice0: I64  # [C + 1] antennas of a choice
    choice_antenna: I64
    antenna0: I64  # [A + 1] windows that use an antenna
    antenna_window: I64
    window_request: I64
    requested: F64  # [M]
    group: I64  # [M] agency
    group_requested: F64
    published0: I64  # [R + 1] published placements of a request
    published_choice: I64
    published_on: I64
    published_off: I64
    #: satisfied, u_square, u_max, agency_square, agency_max, change
    terms: F64


class State(NamedTuple):
    """What a step changes."""

    on: I64  # [S]
    off: I64
    window: I64  # -1: not placed, -2: held without a window
    choice: I64
    antenna_slots: I64  # [A, S'] in order of begin
    antenna_count: I64
    mission_slots: I64  # [M, S']
    mission_count: I64
    given: I64  # [R]
    missing: F64  # [M]
    group_missing: F64
    # Undo log of the step.
    touched: I64  # [S] slots
    touched_at: I64  # [S] position in the log or -1
    old: I64  # [S, 4] on, off, window, choice
    counters: I64  # [1] length of the log


@njit(cache=True)
def _find_place(slots, count, on, at):
    lo, hi = 0, count
    while lo < hi:
        middle = (lo + hi) // 2
        if on[slots[middle]] < at:
            lo = middle + 1
        else:
            hi = middle
    return lo


@njit(cache=True)
def _insert(slots, count, on, slot):
    at = _find_place(slots, count, on, on[slot])
    for k in range(count, at, -1):
        slots[k] = slots[k - 1]
    slots[at] = slot


@njit(cache=True)
def _delete(slots, count, slot):
    k = 0
    while slots[k] != slot:
        k += 1
    for q in range(k, count - 1):
        slots[q] = slots[q + 1]


@njit(cache=True)
def _log(state, slot):
    if state.touched_at[slot] < 0:
        count = state.counters[0]
        state.touched[count] = slot
        state.touched_at[slot] = count
        state.old[count, 0] = state.on[slot]
        state.old[count, 1] = state.off[slot]
        state.old[count, 2] = state.window[slot]
        state.old[count, 3] = state.choice[slot]
        state.counters[0] = count + 1


@njit(cache=True)
def _account(data, state, request, seconds):
    state.given[request] += seconds
    mission = data.mission[request]
    state.missing[mission] -= seconds
    state.group_missing[data.group[mission]] -= seconds


@njit(cache=True)
def place(data, state, slot, window, choice, on, off):
    _log(state, slot)
    request = data.slot_request[slot]
    state.on[slot], state.off[slot] = on, off
    state.window[slot], state.choice[slot] = window, choice
    for k in range(data.choice0[choice], data.choice0[choice + 1]):
        antenna = data.choice_antenna[k]
        _insert(state.antenna_slots[antenna], state.antenna_count[antenna], state.on, slot)
        state.antenna_count[antenna] += 1
    mission = data.mission[request]
    _insert(state.mission_slots[mission], state.mission_count[mission], state.on, slot)
    state.mission_count[mission] += 1
    _account(data, state, request, off - on)


@njit(cache=True)
def remove(data, state, slot):
    _log(state, slot)
    request = data.slot_request[slot]
    choice = state.choice[slot]
    for k in range(data.choice0[choice], data.choice0[choice + 1]):
        antenna = data.choice_antenna[k]
        _delete(state.antenna_slots[antenna], state.antenna_count[antenna], slot)
        state.antenna_count[antenna] -= 1
    mission = data.mission[request]
    _delete(state.mission_slots[mission], state.mission_count[mission], slot)
    state.mission_count[mission] -= 1
    _account(data, state, request, state.on[slot] - state.off[slot])
    state.window[slot] = -1


@njit(cache=True)
def _retime(data, state, slot, on, off):
    """Neighbours stay neighbours: the sorted lists keep their order."""
    _log(state, slot)
    _account(data, state, data.slot_request[slot], (off - on) - (state.off[slot] - state.on[slot]))
    state.on[slot], state.off[slot] = on, off


@njit(cache=True)
def _room(data, state, slot):
    """[lo, hi] in which a placed track may lie between its present neighbours."""
    request = data.slot_request[slot]
    window = state.window[slot]
    lo, hi = data.window_lo[window], data.window_hi[window]
    choice = state.choice[slot]
    for k in range(data.choice0[choice], data.choice0[choice + 1]):
        antenna = data.choice_antenna[k]
        slots, count = state.antenna_slots[antenna], state.antenna_count[antenna]
        at = _find_place(slots, count, state.on, state.on[slot])
        if at > 0:
            other = slots[at - 1]
            ends = state.off[other] + data.teardown[data.slot_request[other]]
            lo = max(lo, ends + data.setup[request])
        if at + 1 < count:
            other = slots[at + 1]
            begins = state.on[other] - data.setup[data.slot_request[other]]
            hi = min(hi, begins - data.teardown[request])
    mission = data.mission[request]
    slots, count = state.mission_slots[mission], state.mission_count[mission]
    at = _find_place(slots, count, state.on, state.on[slot])
    if at > 0:
        lo = max(lo, state.off[slots[at - 1]])
    if at + 1 < count:
        hi = min(hi, state.on[slots[at + 1]])
    return lo, hi


@njit(cache=True)
def _stretch(data, state, slot):
    request = data.slot_request[slot]
    if not data.movable[request] or state.window[slot] < 0:
        return
    wanted = data.duration[request] - state.given[request]
    if wanted <= 0:
        return
    lo, hi = _room(data, state, slot)
    on, off = state.on[slot], state.off[slot]
    later = min(wanted, hi - off)
    earlier = min(wanted - later, on - lo)
    if later + earlier > 0:
        _retime(data, state, slot, on - earlier, off + later)


@njit(cache=True)
def _yield(data, state, slot, to_left, shorten):
    """A track beside the hole moves away from it, and may shrink to its shortest."""
    request = data.slot_request[slot]
    if not data.movable[request] or state.window[slot] < 0:
        return
    lo, hi = _room(data, state, slot)
    on, off = state.on[slot], state.off[slot]
    length = off - on
    if shorten:
        both = state.given[request] > length
        least = data.segment[request] if both else data.minimum[request]
        least = max(least, data.minimum[request] - (state.given[request] - length))
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
    lo, hi = data.window_lo[window], data.window_hi[window]
    setup, teardown = data.setup[request], data.teardown[request]
    choice = data.window_choice[window]
    found = 0
    for k in range(data.choice0[choice], data.choice0[choice + 1]):
        antenna = data.choice_antenna[k]
        slots, count = state.antenna_slots[antenna], state.antenna_count[antenna]
        at = max(0, _find_place(slots, count, state.on, lo) - 1)
        while at < count:
            other = slots[at]
            whose = data.slot_request[other]
            begin = state.on[other] - data.setup[whose] - teardown
            if begin >= hi:
                break
            end = state.off[other] + data.teardown[whose] + setup
            if end > lo:
                found = _block(block_lo, block_hi, found, begin, end)
            at += 1
    mission = data.mission[request]
    slots, count = state.mission_slots[mission], state.mission_count[mission]
    at = max(0, _find_place(slots, count, state.on, lo) - 1)
    while at < count:
        other = slots[at]
        if state.on[other] >= hi:
            break
        if state.off[other] > lo:
            found = _block(block_lo, block_hi, found, state.on[other], state.off[other])
        at += 1
    return found


@njit(cache=True)
def _search(data, state, request, shortest, longest, noise, block_lo, block_hi):
    """Best (window, on, off) for a track of the request, or window -1."""
    best, best_on, best_off, best_score = np.int64(-1), np.int64(0), np.int64(0), -1e18
    occupied = data.setup[request] + data.teardown[request]
    for window in range(data.window0[request], data.window0[request + 1]):
        lo, hi = data.window_lo[window], data.window_hi[window]
        if hi - lo < shortest or np.random.random() < 0.04:
            continue
        found = _blocks(data, state, request, window, block_lo, block_hi)
        choice = data.window_choice[window]
        extra = data.choice0[choice + 1] - data.choice0[choice] - 1
        at = lo
        for k in range(found + 1):
            end = hi if k == found else min(hi, block_lo[k])
            if end - at >= shortest:
                length = min(longest, end - at)
                left = end - at - length
                score = length - 0.5 * extra * (length + occupied) - 0.1 * min(left, 14400)
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
    noise = 0.25 * data.duration[request]
    slot = data.slot0[request]
    duration, minimum = data.duration[request], data.minimum[request]
    longest = duration
    if minimum < duration and np.random.random() < 0.3:
        longest = minimum + np.int64(np.random.random() * (duration - minimum))
    several = data.slot0[request + 1] - slot > 1 and data.segment[request] > 0
    early = several and np.random.random() < 0.15
    if early and _split(data, state, request, block_lo, block_hi):
        return True
    window, on, off = _search(data, state, request, minimum, longest, noise, block_lo, block_hi)
    if window >= 0:
        place(data, state, slot, window, data.window_choice[window], on, off)
        return True
    return several and _split(data, state, request, block_lo, block_hi)


@njit(cache=True)
def _split(data, state, request, block_lo, block_hi):
    slot, segment = data.slot0[request], data.segment[request]
    longest = data.duration[request] - segment
    if longest < segment:
        return False
    noise = 0.5 * data.duration[request]
    window, on, off = _search(data, state, request, segment, longest, noise, block_lo, block_hi)
    if window < 0:
        return False
    place(data, state, slot, window, data.window_choice[window], on, off)
    given = off - on
    shortest = max(segment, data.minimum[request] - given)
    longest = data.duration[request] - given
    if shortest <= longest:
        window, on, off = _search(
            data, state, request, shortest, longest, noise, block_lo, block_hi
        )
        if window >= 0:
            place(data, state, slot + 1, window, data.window_choice[window], on, off)
            return True
    remove(data, state, slot)
    return False


@njit(cache=True)
def _request_value(data, state, request):
    total = data.weight[request] * state.given[request]
    if state.given[request] > 0:
        total += data.terms[0]
    if data.terms[5] > 0:
        for k in range(data.published0[request], data.published0[request + 1]):
            kept = False
            for slot in range(data.slot0[request], data.slot0[request + 1]):
                if (
                    state.window[slot] != -1
                    and state.choice[slot] == data.published_choice[k]
                    and state.on[slot] == data.published_on[k]
                    and state.off[slot] == data.published_off[k]
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
    for request in range(data.duration.shape[0]):
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
def _forget(state):
    for k in range(state.counters[0]):
        state.touched_at[state.touched[k]] = -1
    state.counters[0] = 0


@njit(cache=True)
def _undo(data, state):
    count = state.counters[0]
    for k in range(count):
        slot = state.touched[k]
        if state.window[slot] != -1:
            remove(data, state, slot)
    for k in range(count):
        slot = state.touched[k]
        if state.old[k, 2] != -1:
            place(
                data,
                state,
                slot,
                state.old[k, 2],
                state.old[k, 3],
                state.old[k, 0],
                state.old[k, 1],
            )
    _forget(state)


@njit(cache=True)
def _take_out(data, state, request, queue, count, holes, hole_count):
    """All tracks of the request go; it joins the queue, its places the holes."""
    some = False
    for slot in range(data.slot0[request], data.slot0[request + 1]):
        if state.window[slot] >= 0:
            some = True
            choice = state.choice[slot]
            for k in range(data.choice0[choice], data.choice0[choice + 1]):
                if hole_count < holes.shape[0]:
                    holes[hole_count, 0] = data.choice_antenna[k]
                    holes[hole_count, 1] = state.on[slot]
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
        slots, held = state.antenna_slots[antenna], state.antenna_count[antenna]
        if held == 0 or count + 2 >= queue.shape[0]:
            break
        place_at = _find_place(slots, held, state.on, at)
        near, least = np.int64(-1), np.int64(1) << 60
        for k in range(max(0, place_at - 2), min(held, place_at + 2)):
            slot = slots[k]
            if state.window[slot] < 0 or not data.movable[data.slot_request[slot]]:
                continue
            apart = max(state.on[slot] - at, at - state.off[slot])
            if apart < least:
                near, least = slot, apart
        if near < 0 or least > 43200:
            break
        count, hole_count = _take_out(
            data, state, data.slot_request[near], queue, count, holes, hole_count
        )
    return count, hole_count


@njit(cache=True)
def _ruin(data, state, queue, holes, strength, absent, absent_count):
    """Returns requests taken out (in `queue`), holes (antenna, time), and the centre."""
    count, hole_count = 0, 0
    windows = data.window_lo.shape[0]
    window = np.random.randint(windows)
    kind = np.random.random()
    if absent_count > 0 and kind < 0.6:
        request = absent[np.random.randint(absent_count)]
        first, last = data.window0[request], data.window0[request + 1]
        if last > first:
            window = np.random.randint(first, last)
    elif kind < 0.7:
        # A mission as a whole, as far as the strength goes.
        mission = data.mission[data.window_request[window]]
        held = state.mission_count[mission]
        most = 1 + np.random.randint(np.int64(strength))
        for _ in range(min(most, held)):
            held = state.mission_count[mission]
            if held == 0:
                break
            slot = state.mission_slots[mission, np.random.randint(held)]
            if state.window[slot] >= 0 and data.movable[data.slot_request[slot]]:
                count, hole_count = _take_out(
                    data, state, data.slot_request[slot], queue, count, holes, hole_count
                )
    lo, hi = data.window_lo[window], data.window_hi[window]
    at = lo + np.int64(np.random.random() * (hi - lo))
    total = 1 + np.int64(np.random.random() * 2 * strength)
    choice = data.window_choice[window]
    request = data.window_request[window]
    for k in range(data.choice0[choice], data.choice0[choice + 1]):
        most = 1 + np.random.randint(3)
        count, hole_count = _clear(
            data, state, data.choice_antenna[k], at, most, queue, count, holes, hole_count
        )
    tries = 0
    while count < total and tries < 12:
        tries += 1
        # Another antenna that one of those in the queue (or the first) could use about now.
        whose = queue[np.random.randint(count)] if count > 0 else request
        first, last = data.window0[whose], data.window0[whose + 1]
        if last <= first:
            continue
        other = np.random.randint(first, last)
        if data.window_lo[other] > at + 14400 or data.window_hi[other] < at - 14400:
            continue
        choice = data.window_choice[other]
        k = np.random.randint(data.choice0[choice], data.choice0[choice + 1])
        most = 1 + np.random.randint(3)
        count, hole_count = _clear(
            data, state, data.choice_antenna[k], at, most, queue, count, holes, hole_count
        )
    return count, hole_count, request


@njit(cache=True)
def _beside(data, state, holes, hole_count, what):
    """0: those beside the holes yield, 1: yield and shrink, 2: stretch."""
    for h in range(hole_count):
        antenna, at = holes[h, 0], holes[h, 1]
        slots, count = state.antenna_slots[antenna], state.antenna_count[antenna]
        k = _find_place(slots, count, state.on, at)
        for q in (k - 1, k):
            if 0 <= q < count:
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
            keys[k] = -data.duration[request]
        elif way == 2:
            keys[k] = data.window0[request + 1] - data.window0[request]
        elif way == 3:
            mission = data.mission[request]
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
    if state.given[first] == 0 and data.movable[first] and count < queue.shape[0]:
        queue[count] = first
        count += 1
    for _ in range(extra * 6):
        if hole_count == 0 or extra == 0 or count >= queue.shape[0]:
            break
        h = np.random.randint(hole_count)
        antenna, at = holes[h, 0], holes[h, 1]
        lo, hi = data.antenna0[antenna], data.antenna0[antenna + 1]
        window = data.antenna_window[np.random.randint(lo, hi)]
        request = data.window_request[window]
        if state.given[request] > 0 or not data.movable[request]:
            continue
        if data.window_lo[window] > at + 21600 or data.window_hi[window] < at - 7200:
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
    for request in range(data.duration.shape[0]):
        some = data.window0[request + 1] > data.window0[request]
        if some and data.movable[request] and state.given[request] == 0:
            absent[count] = request
            count += 1
    return count


@njit(cache=True)
def anneal(data, state, seed, steps, hot, cold, strength, best_on, best_off, best_window):
    """`steps` steps from temperature `hot` to `cold`; the best found goes to the best_ arrays.

    Returns (value of the best, value of the last).  The best_ arrays must hold the state's own
    placements at entry.
    """
    np.random.seed(seed)
    now = value(data, state)
    best = now
    queue = np.empty(64, np.int64)
    holes = np.empty((96, 2), np.int64)
    block_lo, block_hi = np.empty(512, np.int64), np.empty(512, np.int64)
    requests = data.duration.shape[0]
    absent = np.empty(requests, np.int64)
    touched = np.empty(512, np.int64)
    seen = np.zeros(requests, np.bool_)
    absent_count = absentees(data, state, absent)
    ratio = (cold / hot) ** (1.0 / max(1, steps))
    temperature = hot
    changed_best = np.zeros(state.on.shape[0], np.bool_)
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
            for slot in range(data.slot0[queue[k]], data.slot0[queue[k] + 1]):
                _stretch(data, state, slot)
        _beside(data, state, holes, hole_count, 2)
        # Value of what changed: after, then before, from the log.
        log = state.counters[0]
        requests_touched = 0
        delta = 0.0
        for k in range(log):
            request = data.slot_request[state.touched[k]]
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
                changed_best[state.touched[k]] = True
            _forget(state)
            if now > best + 1e-9:
                best = now
                for slot in range(state.on.shape[0]):
                    if changed_best[slot]:
                        best_on[slot], best_off[slot] = state.on[slot], state.off[slot]
                        best_window[slot] = state.window[slot]
                        changed_best[slot] = False
        else:
            _undo(data, state)
    return best, now


@njit(cache=True)
def _old_value(data, state, request):
    """`_request_value` before the step."""
    given, kept_value = np.int64(0), 0.0
    for slot in range(data.slot0[request], data.slot0[request + 1]):
        at = state.touched_at[slot]
        if at >= 0:
            if state.old[at, 2] != -1:
                given += state.old[at, 1] - state.old[at, 0]
        elif state.window[slot] != -1:
            given += state.off[slot] - state.on[slot]
    if data.terms[5] > 0:
        for k in range(data.published0[request], data.published0[request + 1]):
            kept = False
            for slot in range(data.slot0[request], data.slot0[request + 1]):
                at = state.touched_at[slot]
                if at >= 0:
                    same = (
                        state.old[at, 2] != -1
                        and state.old[at, 3] == data.published_choice[k]
                        and state.old[at, 0] == data.published_on[k]
                        and state.old[at, 1] == data.published_off[k]
                    )
                else:
                    same = (
                        state.window[slot] != -1
                        and state.choice[slot] == data.published_choice[k]
                        and state.on[slot] == data.published_on[k]
                        and state.off[slot] == data.published_off[k]
                    )
                kept = kept or same
            if not kept:
                kept_value -= data.terms[5]
    total = data.weight[request] * given + kept_value
    if given > 0:
        total += data.terms[0]
    return total
