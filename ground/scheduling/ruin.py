"""Ruin and recreate on an answer: what `ruin_kernels.py` needs as arrays, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ground.scheduling import ruin_kernels as kernels
from ground.scheduling.compiled import Answer, Compiled
from ground.scheduling.objective import Judge


def _int64(values: ArrayLike) -> np.ndarray:
    return np.ascontiguousarray(np.array(values, dtype=np.int64))


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
        flat = [those for r in requests for those in r.antennas]
        self.choice_antenna0 = _starts([len(those) for those in flat])
        self.choice_antenna = _int64([a for those in flat for a in those])

    def load(self, answer: Answer) -> None:
        """The answer becomes the present one and the best one."""
        compiled, requests = self.compiled, self.compiled.requests
        slots = [max(2 if r.segments > 1 else 1, len(answer[r.index])) for r in requests]
        slot0 = _starts(slots)
        self.data = self._data(slots, slot0)
        count = int(slot0[-1])
        antennas, missions = len(compiled.antennas), len(compiled.missions)
        self.state = kernels.State(
            on=np.zeros(count, np.int64),
            off=np.zeros(count, np.int64),
            window=np.full(count, -1, np.int64),
            choice=np.zeros(count, np.int64),
            antenna_slots=np.zeros((antennas, self._most(slots, antennas)), np.int64),
            antenna_count=np.zeros(antennas, np.int64),
            mission_slots=np.zeros(
                (missions, max(sum(slots[i] for i in m) for m in compiled.mission_requests) + 1),
                np.int64,
            ),
            mission_count=np.zeros(missions, np.int64),
            given=np.zeros(len(requests), np.int64),
            missing=np.array(self.judge.requested, np.float64),
            group_missing=np.array(self.judge.agency_requested, np.float64),
            touched=np.zeros(count, np.int64),
            touched_at=np.full(count, -1, np.int64),
            old=np.zeros((count, 4), np.int64),
            counters=np.zeros(1, np.int64),
        )
        for request, placements in zip(requests, answer, strict=True):
            for number, (choice, on, off) in enumerate(placements):
                kernels.place(
                    self.data,
                    self.state,
                    int(slot0[request.index]) + number,
                    self._window(request.index, choice, on, off),
                    int(self.choice0[request.index]) + choice,
                    on,
                    off,
                )
        kernels._forget(self.state)
        self._remember()

    def _most(self, slots: list[int], antennas: int) -> int:
        """Most slots that an antenna may hold at a time."""
        held = [0] * antennas
        for request in self.compiled.requests:
            for antenna in {a for those in request.antennas for a in those}:
                held[antenna] += slots[request.index]
        return max(held, default=0) + 1

    def _remember(self) -> None:
        self.best_on = self.state.on.copy()
        self.best_off = self.state.off.copy()
        self.best_window = self.state.window.copy()

    def _window(self, index: int, choice: int, on: int, off: int) -> int:
        first = int(self.data.window0[index])
        if self.movable[index]:
            for number, (other, lo, hi) in enumerate(self.compiled.requests[index].windows):
                if other == choice and lo <= on and off <= hi:
                    return first + number
        return -2

    def _data(self, slots: list[int], slot0: np.ndarray) -> kernels.Data:
        compiled, requests, objective = self.compiled, self.compiled.requests, self.judge.objective
        windows = [(r.index, *w) for r in requests for w in r.windows]
        window_choice = [int(self.choice0[r]) + c for r, c, _, _ in windows]
        users: list[list[int]] = [[] for _ in compiled.antennas]
        for number, (index, choice, _, _) in enumerate(windows):
            for antenna in requests[index].antennas[choice]:
                users[antenna].append(number)
        published = [self.judge.published.get(r.index, []) for r in requests]
        flat = [
            (int(self.choice0[i]) + c, on, off)
            for i, those in enumerate(published)
            for c, on, off in those
        ]
        return kernels.Data(
            duration=_int64([r.duration for r in requests]),
            minimum=_int64([r.minimum for r in requests]),
            setup=_int64([r.setup for r in requests]),
            teardown=_int64([r.teardown for r in requests]),
            segment=_int64([r.segment_minimum if r.segments > 1 else 0 for r in requests]),
            mission=_int64([r.mission for r in requests]),
            movable=self.movable,
            weight=np.array([objective.hours * r.priority / 3600 for r in requests]),
            slot0=slot0,
            slot_request=_int64(np.repeat(np.arange(len(requests)), slots)),
            window0=_starts([len(r.windows) for r in requests]),
            window_lo=_int64([w[2] for w in windows]),
            window_hi=_int64([w[3] for w in windows]),
            window_choice=_int64(window_choice),
            choice0=self.choice_antenna0,
            choice_antenna=self.choice_antenna,
            antenna0=_starts([len(those) for those in users]),
            antenna_window=_int64([w for those in users for w in those]),
            window_request=_int64([w[0] for w in windows]),
            requested=np.array(self.judge.requested, np.float64),
            group=_int64(compiled.agency),
            group_requested=np.array(self.judge.agency_requested, np.float64),
            published0=_starts([len(those) for those in published]),
            published_choice=_int64([f[0] for f in flat]),
            published_on=_int64([f[1] for f in flat]),
            published_off=_int64([f[2] for f in flat]),
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
        )

    def run(
        self, seed: int, steps: int, hot: float, cold: float, strength: float = 4.0
    ) -> tuple[float, float]:
        """(value of the best, value of the present answer) after so many steps."""
        self._remember_choice()
        return kernels.anneal(
            self.data,
            self.state,
            seed % (1 << 31),
            steps,
            hot,
            cold,
            strength,
            self.best_on,
            self.best_off,
            self.best_window,
        )

    def _remember_choice(self) -> None:
        self.best_on[:] = self.state.on
        self.best_off[:] = self.state.off
        self.best_window[:] = self.state.window

    def answer(self) -> Answer:
        """The best of the last `run`."""
        found: Answer = []
        for request in self.compiled.requests:
            index = request.index
            first, last = int(self.data.slot0[index]), int(self.data.slot0[index + 1])
            placements = []
            for slot in range(first, last):
                window = int(self.best_window[slot])
                if window == -1:
                    continue
                if window == -2:
                    choice = int(self.state.choice[slot])
                else:
                    choice = int(self.data.window_choice[window])
                choice -= int(self.choice0[index])
                placements.append((choice, int(self.best_on[slot]), int(self.best_off[slot])))
            found.append(tuple(sorted(placements, key=lambda p: p[1])))
        return found
