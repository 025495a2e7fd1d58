"""The relaxation behind the proven bound, and the proof: decision 0006 has it in prose.

Let every schedule be worth sum_r (worth_r x tracking seconds of r + bonus_r if r gets anything).
Prices, any numbers of the right sign, take the rules that span antennas into the objective:

    phi_r >= 0       request r is given once: whole tracks + splits <= 1
    lam_r            seconds of a split's segments, between least and most
    sigma_r(t) >= 0  segments of one split do not overlap
    pi_m(t) >= 0     tracks of mission m at time t <= its links
    tau, delta       the members of an array track at the same time, equally often

What is left falls apart into antennas, each of which packs tracks on its own, and the best week of
one antenna is a longest path (`bound_kernels.best_path`).  So

    bound = sum_a best_path(a) + sum_r phi_r + sum_m,t links_m pi_m(t)

is at least the worth of every schedule that keeps the rules, whatever the prices.  A split of n
segments (2 <= n <= N) with h seconds in all is charged nu n + lam h + sum sigma; nu is chosen so
that this is never above phi_r - bonus_r, and the segments are paid what the split is charged.

Left out, which only raises the bound: gaps, quotas, locks, whether an antenna takes the same
request twice, and how many spacecraft share a beam (tracks of a beam on an antenna with `mspa` > 1
do not compete for it at all).

Times: problems whose instants are whole seconds apart are solved exactly in seconds.  For given
tracks in a given order the best times are a linear program over differences of instants with whole
bounds, whose corners are whole (and cells begin at whole seconds), so whole seconds lose nothing
against continuous time.  Other instants are rounded outwards: windows grow, commitments shrink.
The coarser grids are for seeking prices only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from ground.scheduling import bound_kernels as kernels
from ground.scheduling.bound_kernels import FIRST, LAST, LEAST, MOST, ROW, SETUP, TEARDOWN
from ground.scheduling.model import S_NS, Choice, Problem, Request

#: Whole units of the proof in a unit of worth or price: prices are rounded to this, then exact.
UNIT = 1 << 20

# Longest that leaves the horizon 100 cells: prices by the hour for a week.
_CELLS_S = (1, 2, 5, 10, 20, 60, 120, 300, 600, 900, 1800, 3600)
_COARSE, _FINE = 12, 60  # steps in a cell


@dataclass(frozen=True)
class Prices:
    """The dual variables, as parts of one vector `x` (so that a step is one loop)."""

    x: np.ndarray
    phi: np.ndarray
    lam: np.ndarray
    delta: np.ndarray
    weight: np.ndarray
    sigma: np.ndarray
    tau: np.ndarray
    pi: np.ndarray

    def copy(self, relaxation: Relaxation) -> Prices:
        return relaxation.prices(self.x.copy())


@dataclass(frozen=True)
class Grid:
    """Families in steps of `step_s`, and the kernel's working memory for them."""

    step_s: int
    steps: int
    cell: int
    starts: np.ndarray
    blocks: np.ndarray
    families: np.ndarray
    arc: np.ndarray
    arc_on: np.ndarray
    ring_on: np.ndarray

    @cached_property
    def float_memory(self) -> tuple[np.ndarray, np.ndarray]:
        return np.empty(self.steps + 1), np.empty(self.ring_on.shape)

    @cached_property
    def whole_memory(self) -> tuple[np.ndarray, np.ndarray]:
        return np.empty(self.steps + 1, np.int64), np.empty(self.ring_on.shape, np.int64)


class Relaxation:
    """Windows and rows of a problem, and the dual function over them."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        requests = problem.requests
        self.horizon_s = self._up(problem.horizon.end_ns)
        self.cell_s = max(c for c in _CELLS_S if c * 100 <= max(self.horizon_s, 100))
        self.cells = self.horizon_s // self.cell_s + 1
        self.free = {antenna.name: self._free(antenna.name) for antenna in problem.antennas}
        mission = {m.name: i for i, m in enumerate(problem.missions)}
        self.mission = np.array([mission[r.mission] for r in requests], np.int64)
        self.links = np.array([float(m.links) for m in problem.missions])
        self.most = np.array([float(r.duration_s) for r in requests])
        self.least = np.array([float(r.minimum_s) for r in requests])
        self.segments = np.array([float(r.segments) for r in requests])
        self.requested = np.bincount(self.mission, self.most, len(problem.missions))
        self._collect()

    def _down(self, instant_ns: int) -> int:
        return (instant_ns - self.problem.horizon.start_ns) // S_NS

    def _up(self, instant_ns: int) -> int:
        return -((self.problem.horizon.start_ns - instant_ns) // S_NS)

    def _free(self, antenna: str) -> list[tuple[int, int]]:
        free, at = [], 0
        for commitment in self.problem.commitments_by_antenna[antenna]:
            begin = self._up(commitment.interval.start_ns)
            end = self._down(commitment.interval.end_ns)
            if begin < end:
                if begin > at:
                    free.append((at, min(begin, self.horizon_s)))
                at = max(at, end)
        if at < self.horizon_s:
            free.append((at, self.horizon_s))
        return free

    def _windows(self, request: Request, choice: Choice) -> list[tuple[int, int]]:
        """Where tracking may lie: view periods less what the commitments and their margins take."""
        windows = [(self._down(v.start_ns), self._up(v.end_ns)) for v in choice.view_periods]
        for antenna in choice.antennas:
            windows = [
                (max(first, begin + request.setup_s), min(last, end - request.teardown_s))
                for first, last in windows
                for begin, end in self.free[antenna]
                if begin < last and first < end
            ]
        return [w for w in windows if w[0] < w[1]]

    def _resource(self, antenna: str, request: Request) -> str:
        """The path that a track is part of; tracks of a beam have one of their own."""
        shared = request.beam and self.problem.antenna_by_name[antenna].mspa > 1
        return f"{antenna} {request.id}" if shared else antenna

    def _collect(self) -> None:
        resources = {antenna.name: i for i, antenna in enumerate(self.problem.antennas)}
        rows: list[tuple[int, bool, float, int, int, int]] = []
        families: list[tuple[int, ...]] = []
        arrays = 0
        for index, request in enumerate(self.problem.requests):
            single: dict[bool, int] = {}
            windows = {c.antennas: self._windows(request, c) for c in request.choices}
            for segment in (False, True):
                if segment and not request.splittable:
                    continue
                least, most = request.minimum_s, request.duration_s
                if segment:
                    least = request.segment_minimum_s
                    most -= least
                if least > most:
                    continue
                for choice in request.choices:
                    fit = [w for w in windows[choice.antennas] if w[1] - w[0] >= least]
                    if not fit:
                        continue
                    span = (
                        min(w[0] for w in fit) // self.cell_s,
                        max(w[1] for w in fit) // self.cell_s + 1,
                    )
                    members = len(choice.antennas)
                    for k, antenna in enumerate(choice.antennas):
                        if members == 1 and segment in single:
                            row = single[segment]
                            old = rows[row]
                            span = (min(span[0], old[4]), max(span[1], old[5]))
                            rows[row] = (*old[:4], *span)
                        else:
                            row = len(rows)
                            array = -1 if members == 1 else arrays
                            rows.append((index, segment, 1 / members, array, *span))
                            if members == 1:
                                single[segment] = row
                        resource = self._resource(antenna, request)
                        at = resources.setdefault(resource, len(resources))
                        own = resource == antenna
                        setup, teardown = (request.setup_s, request.teardown_s) if own else (0, 0)
                        families += [
                            (at, row, a, b, least, min(most, b - a), setup, teardown)
                            for a, b in fit
                        ]
                        arrays += members > 1 and k == members - 1
        self.resources = tuple(resources)
        self._set_rows(rows)
        self.families = np.array(families, np.int64).reshape(-1, 8)

    def _set_rows(self, rows: list[tuple[int, bool, float, int, int, int]]) -> None:
        columns = list(zip(*rows, strict=True)) if rows else [()] * 6
        self.row_request = np.array(columns[0], np.int64)
        self.row_segment = np.array(columns[1], np.bool_)
        self.row_share = np.array(columns[2], np.float64)
        self.row_array = np.array(columns[3], np.int64)
        self.row_cell = np.array(columns[4], np.int64)
        length = np.array(columns[5], np.int64) - self.row_cell
        self.row_start = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
        self.row_mission = self.mission[self.row_request]
        in_array = self.row_array >= 0
        own = np.cumsum(np.where(in_array, length, 0))
        self.row_tau = np.where(in_array, own - length, -1)
        self.base = self.row_start[:-1] - self.row_cell
        first, last = np.full(len(self.most), self.cells), np.zeros(len(self.most), np.int64)
        segment = self.row_segment
        np.minimum.at(first, self.row_request[segment], self.row_cell[segment])
        np.maximum.at(last, self.row_request[segment], (self.row_cell + length)[segment])
        self.request_cell = np.where(last > 0, first, 0)
        spans = np.where(last > 0, last - first, 0)
        self.request_sigma = np.concatenate([[0], np.cumsum(spans)]).astype(np.int64)
        taus = int(own[-1]) if len(own) else 0
        missions = len(self.links)
        requests = len(self.most)
        sizes = [requests, requests, len(rows), missions, self.request_sigma[-1], taus]
        self._parts = np.cumsum([0, *sizes, missions * self.cells])
        self._longest = int(length.max()) if len(length) else 0

    def prices(self, x: np.ndarray | None = None) -> Prices:
        """A vector (all zero if not given) seen as prices."""
        if x is None:
            x = np.zeros(int(self._parts[-1]))
        phi, lam, delta, weight, sigma, tau, pi = (x[a:b] for a, b in pairwise(self._parts))
        return Prices(x, phi, lam, delta, weight, sigma, tau, pi.reshape(-1, self.cells))

    @cached_property
    def positive(self) -> np.ndarray:
        """Which entries of the vector must not be negative."""
        marks = self.prices()
        for part in (marks.phi, marks.weight, marks.sigma, marks.pi):
            part[...] = 1.0
        return marks.x > 0

    @cached_property
    def coarse(self) -> Grid:
        return self._grid(max(1, self.cell_s // _COARSE))

    @cached_property
    def fine(self) -> Grid:
        return self._grid(max(1, self.cell_s // _FINE))

    @cached_property
    def seconds(self) -> Grid:
        return self._grid(1)

    def _grid(self, step_s: int) -> Grid:
        all_ = self.families
        steps = -(-self.horizon_s // step_s)
        f = np.empty((len(all_), 7), np.int64)
        f[:, ROW] = all_[:, 1]
        f[:, FIRST], f[:, LAST] = -(-all_[:, 2] // step_s), all_[:, 3] // step_s
        f[:, [LEAST, MOST, SETUP, TEARDOWN]] = (all_[:, 4:8] + step_s // 2) // step_s
        if step_s > 1:
            f[:, FIRST] = np.maximum(f[:, FIRST], f[:, SETUP])
            f[:, LAST] = np.minimum(f[:, LAST], steps - f[:, TEARDOWN])
            room = f[:, LAST] - f[:, FIRST]
            f[:, LEAST] = np.minimum(np.maximum(f[:, LEAST], 1), np.maximum(room, 1))
            f[:, MOST] = np.maximum(f[:, LEAST], np.minimum(f[:, MOST], room))
        order = np.lexsort((f[:, FIRST] + f[:, LEAST] + f[:, TEARDOWN], all_[:, 0]))
        f, antenna = f[order], all_[order, 0]
        starts = np.searchsorted(antenna, np.arange(len(self.resources) + 1))
        occupied = f[:, LEAST] + f[:, SETUP] + f[:, TEARDOWN]
        blocks = np.ones(len(self.resources), np.int64)
        queues = 1
        for a, (begin, end) in enumerate(pairwise(starts)):
            if begin < end:
                blocks[a] = occupied[begin:end].min()
                queues = max(queues, _most_open(f[begin:end], int(blocks[a])))
        room = int((f[:, MOST] - f[:, LEAST]).max(initial=0)) + 2
        return Grid(
            step_s,
            steps,
            self.cell_s // step_s,
            starts,
            blocks,
            np.ascontiguousarray(f),
            np.empty(steps + 1, np.int32),
            np.empty(steps + 1, np.int32),
            np.empty((queues, room), np.int32),
        )

    @property
    def earned(self) -> np.ndarray:
        """float64[resources]: what the best path of each makes, as last evaluated."""
        return self._held[0]

    @cached_property
    def _held(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        rows = len(self.row_request)
        return (
            np.zeros(len(self.resources)),
            np.zeros(rows, np.int64),
            np.zeros(rows, np.int64),
            np.zeros(int(self.row_start[-1]), np.int64),
        )

    def evaluate(
        self, prices: Prices, worth: np.ndarray, bonus: np.ndarray, grid: Grid, slope: Prices
    ) -> tuple[float, np.ndarray]:
        """The dual function on a grid, its slope (written; not by weight), and seconds a request.

        worth, bonus   float64[requests]: value of a second of tracking, and of being given at all
        """
        rate = np.empty(int(self.row_start[-1]))
        fixed = np.empty(len(self.row_request))
        number, length_s, given = np.empty((3, len(self.most)))
        padded = np.concatenate([[0.0], np.cumsum(prices.sigma)])
        sigma_sum = self.cell_s * np.diff(padded[self.request_sigma])
        kernels.price_rows(
            self.row_request, self.row_mission, self.row_segment, self.row_share, self.row_start,
            self.row_cell, self.row_tau, self.request_sigma, self.request_cell, worth, bonus,
            self.most, self.least, self.segments, prices.phi, prices.lam, prices.sigma, sigma_sum,
            prices.pi, prices.tau, prices.delta, rate, fixed, number, length_s,
        )  # fmt: skip
        value, ring = grid.float_memory
        earned, count, length, cover = self._held
        kernels.best_paths(
            grid.steps, grid.starts, grid.blocks, grid.families, self.base, rate * grid.step_s,
            fixed, grid.cell, value, grid.arc, grid.arc_on, ring, grid.ring_on,
            earned, count, length, cover,
        )  # fmt: skip
        kernels.slopes(
            self.row_request, self.row_mission, self.row_segment, self.row_share, self.row_start,
            self.row_cell, self.row_tau, self.row_array, self.request_sigma, self.request_cell,
            number, length_s, grid.step_s, self.cell_s, self.links, count, length, cover,
            slope.phi, slope.lam, slope.sigma, slope.pi, slope.tau, slope.delta, given,
            np.empty(self._longest),
        )  # fmt: skip
        total = earned.sum() + prices.phi.sum()
        total += self.cell_s * float(self.links @ prices.pi.sum(1))
        return float(total), given

    def balance(self, prices: Prices) -> None:
        """Members' own prices add up to nothing again after a step."""
        kernels.balance(self.row_array, self.row_tau, self.row_start, prices.tau, prices.delta)

    def prove(self, prices: Prices, worth: np.ndarray, bonus: np.ndarray) -> int:
        """The bound for these prices in whole seconds and exact arithmetic, in units of 1 / UNIT.

        worth, bonus   int64[requests] in those units
        """
        phi, lam, delta, sigma, tau, pi = (
            np.rint(part * UNIT).astype(np.int64)
            for part in (
                prices.phi, prices.lam, prices.delta, prices.sigma, prices.tau, prices.pi,
            )
        )  # fmt: skip
        for part in (phi, sigma, pi):
            np.maximum(part, 0, out=part)
        most, least = self.most.astype(np.int64), self.least.astype(np.int64)
        sums = np.concatenate([[0], np.cumsum(sigma)])
        split_s = np.where(lam >= 0, most, least)
        left = phi - bonus - lam * split_s - self.cell_s * np.diff(sums[self.request_sigma])
        # Rounded down: the split may be charged less than phi, never more.
        nu = left // np.where(left >= 0, self.segments.astype(np.int64), 2)
        rate = np.empty(int(self.row_start[-1]), np.int64)
        fixed = np.empty(len(self.row_request), np.int64)
        q = 0
        while q < len(fixed):
            r, begin, end = self.row_request[q], self.row_start[q], self.row_start[q + 1]
            cells = end - begin
            at = self.row_cell[q]
            earns = worth[r] - pi[self.row_mission[q], at : at + cells]
            cost = phi[r] - bonus[r]
            if self.row_segment[q]:
                s = self.request_sigma[r] + at - self.request_cell[r]
                earns = earns - lam[r] - sigma[s : s + cells]
                cost = nu[r]
            members = 1 if self.row_array[q] < 0 else round(1 / self.row_share[q])
            # The last member gets what the others leave: the parts are exactly the whole.
            for i in range(q, q + members - 1):
                own = self.row_tau[i]
                part = earns // (members - (i - q)) + tau[own : own + cells]
                cost_part = cost // (members - (i - q)) + delta[i]
                rate[self.row_start[i] : self.row_start[i + 1]] = part
                fixed[i] = cost_part
                earns, cost = earns - part, cost - cost_part
            last = q + members - 1
            rate[self.row_start[last] : self.row_start[last + 1]] = earns
            fixed[last] = cost
            q += members
        grid = self.seconds
        value, ring = grid.whole_memory
        total = int(phi.sum()) + self.cell_s * int(self.links.astype(np.int64) @ pi.sum(1))
        for a, (begin, end) in enumerate(pairwise(grid.starts)):
            if begin < end:
                total += int(
                    kernels.best_path(
                        grid.steps, grid.families[begin:end], self.base, rate, fixed, grid.cell,
                        grid.blocks[a], value, grid.arc, grid.arc_on, ring, grid.ring_on,
                    )
                )  # fmt: skip
        return total


def _most_open(families: np.ndarray, block: int) -> int:
    """Most queues that `best_path` holds at once: it opens and closes families by whole blocks."""
    opened = (families[:, FIRST] + families[:, LEAST] + families[:, TEARDOWN] - 1) // block
    closed = (families[:, LAST] + families[:, TEARDOWN] - 1) // block + 1
    events = np.zeros(int(closed.max(initial=0)) + 2, np.int64)
    np.add.at(events, opened, 1)
    np.add.at(events, closed, -1)
    return int(np.cumsum(events).max()) + 1
