"""Compiled loops of the proven bound: the best week of one antenna under prices, and the duals.

A *row* is what is priced alike: the whole tracks, or the segments, of a request, on single antennas
or on one member of one array.  Its `rate` is what a second of tracking earns after prices, constant
over a cell of time; all rows lie behind each other in one vector, row q's cell c at
`base[q] + c`, and reach one cell beyond their last window.  A *family* is a row in one window of
one antenna: int64 columns ROW, FIRST, LAST (tracking lies inside, in steps), LEAST, MOST (its
length), SETUP, TEARDOWN.

Kernels run on float64 while duals are sought, on int64 for the proof: exact arithmetic.
"""

from __future__ import annotations

import numpy as np
from numba import njit

ROW, FIRST, LAST, LEAST, MOST, SETUP, TEARDOWN = range(7)


@njit(cache=True, nogil=True)
def _cumulative(rate, base, cell, start, end):
    total = rate[0] * 0
    while start < end:
        c = start // cell
        stop = min(end, (c + 1) * cell)
        total += rate[base + c] * (stop - start)
        start = stop
    return total


@njit(cache=True, nogil=True)
def best_path(steps, families, base, rate, fixed, cell, block, value, arc, arc_on, ring, ring_on):
    """Most that one antenna earns: value[t] is the best of tracks that end (torn down) by step t.

    A track [on, off) of row q earns G(off) - G(on) - fixed[q], G the running sum of its rate, after
    value[on - setup].  The best `on` for every `off` is the maximum of value[on - setup] - G(on)
    over the sliding window [off - most, off - least]: a monotonic queue per family, so that a step
    of a family costs a few operations whatever the lengths.  Families take turns in blocks of
    `block` steps, no longer than the shortest occupation: then all they need is settled before.

    `families` ordered by FIRST + LEAST + TEARDOWN; `ring` [queues, length], more queues than
    families with a choice of length are open at a time.  arc[t] is the family that ends at t, -1 if
    waiting is as good; arc_on[t] its on.
    """
    n = families.shape[0]
    size = ring.shape[1]
    zero = rate[0] * 0
    open_ = np.empty(n, np.int64)
    n_open = 0
    queue = np.full(n, -1)
    head = np.zeros(n, np.int64)
    held = np.zeros(n, np.int64)
    next_on = np.empty(n, np.int64)
    sum_on = np.zeros(n, rate.dtype)
    sum_off = np.zeros(n, rate.dtype)
    free = np.arange(ring.shape[0])
    n_free = ring.shape[0]
    new = 0
    value[0] = 0
    begin = 0
    while begin < steps:
        end = min(begin + block, steps)
        for t in range(begin + 1, end + 1):
            value[t] = value[begin]
            arc[t] = -1
        while (
            new < n and families[new, FIRST] + families[new, LEAST] + families[new, TEARDOWN] <= end
        ):
            i = new
            new += 1
            first = families[i, FIRST]
            if families[i, LAST] - first < families[i, LEAST]:
                continue
            open_[n_open] = i
            n_open += 1
            if families[i, MOST] > families[i, LEAST]:
                n_free -= 1
                queue[i] = free[n_free]
            next_on[i] = first
            sum_off[i] = _cumulative(
                rate, base[families[i, ROW]], cell, first, first + families[i, LEAST]
            )
        k = 0
        while k < n_open:
            i = open_[k]
            row = families[i, ROW]
            least, most = families[i, LEAST], families[i, MOST]
            setup, teardown = families[i, SETUP], families[i, TEARDOWN]
            cost = fixed[row]
            at = base[row]
            t = max(begin + 1, families[i, FIRST] + least + teardown)
            last = min(end, families[i, LAST] + teardown)
            off = t - teardown
            on = next_on[i]
            g_on, g_off = sum_on[i], sum_off[i]
            c_on, c_off = on // cell, off // cell
            turn_on, turn_off = (c_on + 1) * cell, (c_off + 1) * cell
            rate_on, rate_off = rate[at + c_on], rate[at + c_off]
            fixed_length = most == least
            q = max(queue[i], 0)
            h, m = head[i], held[i]
            while t <= last:
                earned = value[on - setup] - g_on
                best_on = on
                if not fixed_length:
                    while m > 0:
                        j = h + m - 1
                        if j >= size:
                            j -= size
                        if ring[q, j] > earned:
                            break
                        m -= 1
                    j = h + m
                    if j >= size:
                        j -= size
                    ring[q, j] = earned
                    ring_on[q, j] = on
                    m += 1
                    if ring_on[q, h] < off - most:
                        h += 1
                        if h == size:
                            h = 0
                        m -= 1
                    earned = ring[q, h]
                    best_on = ring_on[q, h]
                earned += g_off - cost
                if earned > value[t]:
                    value[t] = earned
                    arc[t] = i
                    arc_on[t] = best_on
                if on >= turn_on:
                    c_on += 1
                    turn_on += cell
                    rate_on = rate[at + c_on]
                g_on += rate_on
                on += 1
                if off >= turn_off:
                    c_off += 1
                    turn_off += cell
                    rate_off = rate[at + c_off]
                g_off += rate_off
                off += 1
                t += 1
            head[i], held[i] = h, m
            next_on[i], sum_on[i], sum_off[i] = on, g_on, g_off
            if families[i, LAST] + teardown <= end:
                if queue[i] >= 0:
                    free[n_free] = queue[i]
                    n_free += 1
                n_open -= 1
                open_[k] = open_[n_open]
            else:
                k += 1
        for t in range(begin + 1, end + 1):
            if value[t - 1] >= value[t]:
                value[t] = value[t - 1]
                arc[t] = -1
        begin = end
    return value[steps] + zero


@njit(cache=True, nogil=True)
def _trace(steps, families, base, arc, arc_on, cell, count, length, cover):
    """Adds the tracks of the best path to its rows: how many, their steps, their steps by cell."""
    t = steps
    while t > 0:
        i = arc[t]
        if i < 0:
            t -= 1
            continue
        row = families[i, ROW]
        on = arc_on[t]
        off = t - families[i, TEARDOWN]
        count[row] += 1
        length[row] += off - on
        start = on
        while start < off:
            c = start // cell
            stop = min(off, (c + 1) * cell)
            cover[base[row] + c] += stop - start
            start = stop
        t = on - families[i, SETUP]


@njit(cache=True, nogil=True)
def best_paths(
    steps, starts, blocks, families, base, rate, fixed, cell, value, arc, arc_on, ring, ring_on,
    earned, count, length, cover,
):  # fmt: skip
    """`best_path` of every antenna (families starts[a]:starts[a + 1]), and what the paths hold."""
    count[:] = 0
    length[:] = 0
    cover[:] = 0
    for a in range(len(starts) - 1):
        earned[a] = 0
        if starts[a] == starts[a + 1]:
            continue
        those = families[starts[a] : starts[a + 1]]
        earned[a] = best_path(
            steps, those, base, rate, fixed, cell, blocks[a],
            value, arc, arc_on, ring, ring_on,
        )  # fmt: skip
        _trace(steps, those, base, arc, arc_on, cell, count, length, cover)


@njit(cache=True, nogil=True)
def price_rows(
    row_request, row_mission, row_segment, row_share, row_start, row_cell, row_tau, request_sigma,
    request_cell, worth, bonus, most, least, segments, phi, lam, sigma, sigma_sum, pi, tau, delta,
    rate, fixed, split_number, split_length,
):  # fmt: skip
    """Rates and fixed costs of the rows from the duals, in float64 (bound_relaxation.py says why).

    split_number, split_length: segments and seconds that a split request is best charged for.
    """
    for r in range(len(phi)):
        split_length[r] = most[r] if lam[r] >= 0 else least[r]
        left = phi[r] - bonus[r] - lam[r] * split_length[r] - sigma_sum[r]
        split_number[r] = segments[r] if left >= 0 else 2
    for q in range(len(row_request)):
        r = row_request[q]
        share = row_share[q]
        earns = worth[r]
        if row_segment[q]:
            earns -= lam[r]
            left = phi[r] - bonus[r] - lam[r] * split_length[r] - sigma_sum[r]
            fixed[q] = share * left / split_number[r]
        else:
            fixed[q] = share * (phi[r] - bonus[r])
        own = row_tau[q]
        if own >= 0:
            fixed[q] += delta[q]
        for k in range(row_start[q + 1] - row_start[q]):
            c = row_cell[q] + k
            x = earns - pi[row_mission[q], c]
            if row_segment[q]:
                x -= sigma[request_sigma[r] + c - request_cell[r]]
            x *= share
            if own >= 0:
                x += tau[own + k]
            rate[row_start[q] + k] = x


@njit(cache=True, nogil=True)
def slopes(
    row_request, row_mission, row_segment, row_share, row_start, row_cell, row_tau, row_array,
    request_sigma, request_cell, split_number, split_length, step, cell_s, links,
    count, length, cover, d_phi, d_lam, d_sigma, d_pi, d_tau, d_delta, given, array_cover,
):  # fmt: skip
    """Subgradient of the dual function from what the best paths hold (`given`: seconds a request).

    An array's members are tied cell by cell (tau) and in number (delta): their slope is a member's
    own part less the mean of all.
    """
    d_phi[:] = 1.0
    d_lam[:] = 0.0
    d_sigma[:] = 0.0
    d_tau[:] = 0.0
    d_delta[:] = 0.0
    given[:] = 0.0
    for m in range(d_pi.shape[0]):
        for c in range(d_pi.shape[1]):
            d_pi[m, c] = links[m] * cell_s
    q = 0
    n = len(row_request)
    while q < n:
        # Members of an array stand behind each other; a single row is an array of one.
        end = q + 1
        while end < n and row_array[q] >= 0 and row_array[end] == row_array[q]:
            end += 1
        cells = row_start[q + 1] - row_start[q]
        mean_count = 0.0
        array_cover[:cells] = 0.0
        for i in range(q, end):
            share = row_share[i]
            r = row_request[i]
            mean_count += share * count[i]
            given[r] += share * length[i] * step
            if row_segment[i]:
                d_phi[r] -= share * count[i] / split_number[r]
                d_lam[r] += share * (
                    count[i] * split_length[r] / split_number[r] - length[i] * step
                )
            else:
                d_phi[r] -= share * count[i]
            for k in range(cells):
                array_cover[k] += share * cover[row_start[i] + k] * step
        r = row_request[q]
        for k in range(cells):
            c = row_cell[q] + k
            d_pi[row_mission[q], c] -= array_cover[k]
            if row_segment[q]:
                d_sigma[request_sigma[r] + c - request_cell[r]] -= array_cover[k]
        if row_segment[q]:
            for k in range(request_sigma[r + 1] - request_sigma[r]):
                d_sigma[request_sigma[r] + k] += cell_s * mean_count / split_number[r]
        if row_array[q] >= 0:
            for i in range(q, end):
                d_delta[i] = mean_count - count[i]
                for k in range(cells):
                    d_tau[row_tau[i] + k] = cover[row_start[i] + k] * step - array_cover[k]
        q = end


@njit(cache=True, nogil=True)
def descend(x, slope, mean, square, scale, rate, damping_mean, damping_square, positive):
    """One step of Adam (Kingma and Ba 2015) down the slope; `positive` duals stay at 0 or above.

    Its step is as long in a flat direction as in a steep one, which suits duals of a few seconds
    beside duals of hours; a plain subgradient needs a thousand times the steps here.
    """
    for i in range(len(x)):
        mean[i] = 0.9 * mean[i] + 0.1 * slope[i]
        square[i] = 0.99 * square[i] + 0.01 * slope[i] * slope[i]
        if square[i] > 0:
            x[i] -= (
                rate * scale[i] * (mean[i] / damping_mean)
                / (np.sqrt(square[i] / damping_square) + 1e-9)
            )  # fmt: skip
        if positive[i] and x[i] < 0:
            x[i] = 0.0


@njit(cache=True, nogil=True)
def balance(row_array, row_tau, row_start, tau, delta):
    """Takes the mean of the members' own parts out: those of an array add up to nothing."""
    q = 0
    n = len(row_array)
    while q < n:
        end = q + 1
        if row_array[q] >= 0:
            while end < n and row_array[end] == row_array[q]:
                end += 1
            members = end - q
            mean = 0.0
            for i in range(q, end):
                mean += delta[i] / members
            for i in range(q, end):
                delta[i] -= mean
            for k in range(row_start[q + 1] - row_start[q]):
                mean = 0.0
                for i in range(q, end):
                    mean += tau[row_tau[i] + k] / members
                for i in range(q, end):
                    tau[row_tau[i] + k] -= mean
        q = end
