"""Ruin and recreate, the kernels: some tens of thousands of steps a second on one core.

A step takes a few neighbouring tracks out, moves or shortens those beside the hole, puts requests
back where they fit, stretches what can be stretched, and keeps the result or undoes it by
simulated annealing (after Christiaens & Vanden Berghe 2020, slack induction by string removals).
All work is local to the hole: a step does not cost more in a larger problem.

Times are int64 seconds from the horizon's begin.  A slot is one possible track of a request.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ground.scheduling.ruin_state import (
    CHOICE,
    CHOICE_OF,
    DURATION,
    HI,
    LO,
    MINIMUM,
    MISSION,
    MOVABLE,
    OFF,
    ON,
    REQUEST,
    REQUEST_OF,
    SEGMENT,
    SETUP,
    SLOT0,
    TEARDOWN,
    WINDOW,
    WINDOW0,
    find_place,
    forget,
    give_way,
    old_value,
    place,
    remove,
    request_value,
    stretch,
    undo,
    unfairness,
    value,
)


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
        at = max(1, find_place(slots, state.slot, lo) - 1)
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
    at = max(1, find_place(slots, state.slot, lo) - 1)
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
        place_at = find_place(slots, state.slot, at)
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
        k = find_place(slots, state.slot, at)
        for q in (k - 1, k):
            if 1 <= q <= count:
                if what == 2:
                    stretch(data, state, slots[q])
                else:
                    give_way(data, state, slots[q], q < k, what == 1)


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
    # No window has more blocks than tracks that its antennas and its mission may hold.
    blocks = data.choice.shape[1] * state.held.shape[1]
    block_lo, block_hi = np.empty(blocks, np.int64), np.empty(blocks, np.int64)
    requests = data.weight.shape[0]
    absent = np.empty(requests, np.int64)
    touched = np.empty(requests, np.int64)
    seen = np.zeros(requests, np.bool_)
    absent_count = absentees(data, state, absent)
    ratio = (cold / hot) ** (1.0 / max(1, steps))
    temperature = hot
    changed_best = np.zeros(state.slot.shape[0], np.bool_)
    fair_now = unfairness(data, state)
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
                stretch(data, state, slot)
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
                delta += request_value(data, state, request)
        for k in range(requests_touched):
            seen[touched[k]] = False
            delta -= old_value(data, state, touched[k])
        fair = unfairness(data, state)
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
            undo(data, state)
    return best, now
