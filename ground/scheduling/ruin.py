"""Ruin and recreate on an answer: the arrays of `ruin_state.py` from it, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ground.scheduling import ruin_state as arrays
from ground.scheduling.compiled import Answer, Compiled
from ground.scheduling.objective import Judge
from ground.scheduling.ruin_kernels import anneal


def _padded(lists: Sequence[Sequence[int]]) -> np.ndarray:
    """Each row: how many, which, zeros."""
    table = np.zeros((len(lists), 1 + max(map(len, lists), default=0)), np.int64)
    for row, those in zip(table, lists, strict=True):
        row[0] = len(those)
        row[1 : 1 + len(those)] = those
    return table


def _starts(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def movable(compiled: Compiled) -> np.ndarray:
    """Requests whose rules the kernels know; the others stay as they are, for CP-SAT to move.

    They do not know gaps, quotas, missions with several links, or antennas shared in a beam.
    """
    shared = {a for a, places in enumerate(compiled.mspa) if places > 1}
    if not any(request.beam for request in compiled.requests):
        shared = set()
    bound = {i for quota in compiled.quotas for i in quota.requests}
    return np.array(
        [
            request.index not in compiled.locked
            and request.index not in bound
            and not compiled.gaps_of[request.index]
            and compiled.links[request.mission] == 1
            and not any(shared.intersection(those) for those in request.antennas)
            for request in compiled.requests
        ],
        dtype=np.bool_,
    )


class Annealer:
    """Holds an answer as arrays; `run` improves it, `answer` reads the best one found."""

    def __init__(self, judge: Judge, answer: Answer) -> None:
        self.judge = judge
        self.compiled = judge.compiled
        self.movable = movable(self.compiled)
        self._choices()
        self.load(answer)

    def _choices(self) -> None:
        requests = self.compiled.requests
        self.choice0 = _starts([len(r.antennas) for r in requests])
        self.choice = _padded([those for r in requests for those in r.antennas])

    def load(self, answer: Answer) -> None:
        """The answer becomes the present one and the best one."""
        compiled, requests = self.compiled, self.compiled.requests
        slots = [max(2 if r.segments > 1 else 1, len(answer[r.index])) for r in requests]
        slot0 = _starts(slots)
        self.data = self._data(slot0)
        count = int(slot0[-1])
        slot = np.zeros((count, 6), np.int64)
        slot[:, arrays.WINDOW] = slot[:, arrays.LOGGED] = -1
        slot[:, arrays.REQUEST] = np.repeat(np.arange(len(requests)), slots)
        antennas, missions = len(compiled.antennas), len(compiled.missions)
        self.state = arrays.State(
            slot=slot,
            held=np.zeros((antennas + missions, 1 + self._most(slots)), np.int64),
            given=np.zeros(len(requests), np.int64),
            missing=np.array(self.judge.requested, np.float64),
            group_missing=np.array(self.judge.agency_requested, np.float64),
            log=np.zeros((count + 1, 5), np.int64),
        )
        for request, placements in zip(requests, answer, strict=True):
            for number, (choice, on, off) in enumerate(placements):
                arrays.place(
                    self.data,
                    self.state,
                    int(slot0[request.index]) + number,
                    self._window(request.index, choice, on, off),
                    int(self.choice0[request.index]) + choice,
                    on,
                    off,
                )
        arrays.forget(self.state)
        self.value = self.best_value = arrays.value(self.data, self.state)
        self._run_best = self.state.slot[:, :3].copy()
        self.best = self._run_best.copy()

    def _most(self, slots: list[int]) -> int:
        """Most slots that an antenna or a mission may hold."""
        held = [0] * len(self.compiled.antennas)
        for request in self.compiled.requests:
            for antenna in {a for those in request.antennas for a in those}:
                held[antenna] += slots[request.index]
        missions = [sum(slots[i] for i in those) for those in self.compiled.mission_requests]
        return max([*held, *missions], default=0)

    def _window(self, index: int, choice: int, on: int, off: int) -> int:
        first = int(self.data.request[index, arrays.WINDOW0])
        if self.movable[index]:
            for number, (other, lo, hi) in enumerate(self.compiled.requests[index].windows):
                if other == choice and lo <= on and off <= hi:
                    return first + number
        return -2

    def _data(self, slot0: np.ndarray) -> arrays.Data:
        compiled, requests, objective = self.compiled, self.compiled.requests, self.judge.objective
        windows = [(r.index, *w) for r in requests for w in r.windows]
        users: list[list[int]] = [[] for _ in compiled.antennas]
        for number, (index, choice, _, _) in enumerate(windows):
            for antenna in requests[index].antennas[choice]:
                users[antenna].append(number)
        published = [self.judge.published.get(r.index, []) for r in requests]
        table = np.zeros((len(requests) + 1, 10), np.int64)
        table[:-1, : arrays.SLOT0] = np.array(
            [
                (
                    r.duration,
                    r.minimum,
                    r.setup,
                    r.teardown,
                    r.segment_minimum if r.segments > 1 else 0,
                    r.mission,
                    self.movable[r.index],
                )
                for r in requests
            ],
            np.int64,
        ).reshape(-1, arrays.SLOT0)
        table[:, arrays.SLOT0] = slot0
        table[:, arrays.WINDOW0] = _starts([len(r.windows) for r in requests])
        table[:, arrays.PUBLISHED0] = _starts([len(those) for those in published])
        return arrays.Data(
            request=table,
            window=np.array(
                [(lo, hi, int(self.choice0[r]) + c, r) for r, c, lo, hi in windows], np.int64
            ).reshape(-1, 4),
            choice=self.choice,
            users=_padded(users),
            published=np.array(
                [
                    (int(self.choice0[i]) + c, on, off)
                    for i, those in enumerate(published)
                    for c, on, off in those
                ],
                np.int64,
            ).reshape(-1, 3),
            weight=np.array([objective.hours * r.priority / 3600 for r in requests]),
            requested=np.array(self.judge.requested, np.float64),
            group_of=np.array(compiled.agency, np.int64),
            group_requested=np.array(self.judge.agency_requested, np.float64),
            terms=np.array(
                [
                    objective.satisfied,
                    objective.u_square,
                    objective.u_max,
                    objective.agency_square,
                    objective.agency_max,
                    objective.change,
                ]
            ),
            antennas=len(compiled.antennas),
        )

    def run(self, seed: int, steps: int, hot: float, cold: float, strength: float = 4.0) -> None:
        """So many steps; `value` is then that of the present answer, `best_value` of the best."""
        self._run_best[:] = self.state.slot[:, :3]
        best, self.value = anneal(
            self.data,
            self.state,
            seed % (1 << 31),
            steps,
            hot,
            cold,
            strength,
            self._run_best,
        )
        if best > self.best_value:
            self.best_value = best
            self.best[:] = self._run_best

    def answer(self) -> Answer:
        """The best since `load`."""
        found: Answer = []
        slot0 = self.data.request[:, arrays.SLOT0]
        for request in self.compiled.requests:
            index = request.index
            placements = []
            for slot in range(int(slot0[index]), int(slot0[index + 1])):
                on, off, window = (int(x) for x in self.best[slot])
                if window == -1:
                    continue
                if window == -2:
                    choice = int(self.state.slot[slot, arrays.CHOICE])
                else:
                    choice = int(self.data.window[window, arrays.CHOICE_OF])
                placements.append((choice - int(self.choice0[index]), on, off))
            found.append(tuple(sorted(placements, key=lambda p: p[1])))
        return found
