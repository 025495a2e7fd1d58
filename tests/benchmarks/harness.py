"""Our code beside a named peer: same input, outputs checked equal, same run, one core.

A benchmark module `bench_*.py` offers `cases() -> Iterable[Case]`.  `python -m tests.benchmarks`
runs them all and prints one table; `--json FILE` keeps it.  A peer that is not installed is named
in the table instead of measured.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

#: Odd, so that the median is a run that happened.
RUNS = 7
#: One run lasts at least this long: short work is repeated inside it.
SHORTEST_RUN_S = 0.05
LONG_RUN_S = 1.0
#: glibc returns large freed arrays to the system, whose fresh pages then cost more than the work
#: (measured: columns of 2 M packets at 10 instead of 41 M packets/s, NumPy's at 12 instead of 16).
#: Ours and the peers keep what they free.  (Read as a process starts; only glibc knows it.)
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "8000000000",
    "MALLOC_TRIM_THRESHOLD_": "16000000000",
}


def keep_freed_memory(module: str) -> None:
    """Start `python -m module` again in this process with that policy, unless it has it."""
    if any(name not in os.environ for name in KEEP_FREED_MEMORY):
        os.environ.update(KEEP_FREED_MEMORY | dict(os.environ))
        os.execv(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]])


def one_core() -> None:
    """Keep this process and those it starts on one core, before Numba is imported."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")


class PeerMissing(Exception):
    """Raised by a peer's set-up: says which package or library is wanted."""


@dataclass(frozen=True, slots=True)
class Case:
    """One line of work.

    units: amount of work in one call (e.g. packets); unit: its name, e.g. "Mpacket/s" with
    scale 1e6.  ours and peers take nothing and return their output; `equal(ours, peer's)` compares
    the outputs before anything is timed.  A peer may do less work in one call, `peer_units` says
    how much.  goals: peer → least ratio wanted; goal_rate: least rate wanted, in `unit`.
    """

    name: str
    units: float
    unit: str
    ours: Callable[[], object]
    peers: Mapping[str, Callable[[], Callable[[], object]]] = field(default_factory=dict)
    scale: float = 1e6
    equal: Callable[[object, object], bool] | None = None
    peer_units: Mapping[str, float] = field(default_factory=dict)
    goals: Mapping[str, float] = field(default_factory=dict)
    goal_rate: float | None = None


@dataclass(slots=True)
class Result:
    case: Case
    rate: float
    peers: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    checked: list[str] = field(default_factory=list)


def _once(work: Callable[[], object], repeat: int) -> float:
    start = time.perf_counter()
    for _ in range(repeat):
        work()
    return (time.perf_counter() - start) / repeat


def _repeats(work: Callable[[], object]) -> int:
    """Calls that fill one run; also the warm-up (kernels compile here).

    The output has been made once before; what takes seconds is not warmed again.
    """
    took = _once(work, 1)
    if took < LONG_RUN_S:
        took = _once(work, 1)
    return max(1, round(SHORTEST_RUN_S / max(took, 1e-9)))


def measure(case: Case, runs: int = RUNS) -> Result:
    """Ours and each peer in turn, A B A B …, so that a drift of the machine meets both."""
    result = Result(case, 0.0)
    ready: dict[str, Callable[[], object]] = {}
    output = case.ours()
    for name, set_up in case.peers.items():
        try:
            ready[name] = set_up()
        except PeerMissing as missing:
            result.missing[name] = str(missing)
            continue
        if case.equal is not None:
            if not case.equal(output, ready[name]()):
                raise AssertionError(f"{case.name}: output differs from {name}'s")
            result.checked.append(name)
    del output
    repeats = {name: _repeats(work) for name, work in ready.items()}
    ours_repeat = _repeats(case.ours)
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(runs):
        ours.append(case.units / _once(case.ours, ours_repeat))
        for name, work in ready.items():
            units = case.peer_units.get(name, case.units)
            theirs[name].append(units / _once(work, repeats[name]))
    result.rate = statistics.median(ours)
    for name, rates in theirs.items():
        result.peers[name] = statistics.median(rates)
        result.ratios[name] = statistics.median(a / b for a, b in zip(ours, rates, strict=True))
    return result


def verdict(result: Result) -> list[tuple[str, float, float, bool]]:
    """(goal, wanted, reached, met) for each goal that could be measured."""
    lines = [
        (f"× {peer}", wanted, result.ratios[peer], result.ratios[peer] >= wanted)
        for peer, wanted in result.case.goals.items()
        if peer in result.ratios
    ]
    if result.case.goal_rate is not None:
        rate = result.rate / result.case.scale
        lines.append((result.case.unit, result.case.goal_rate, rate, rate >= result.case.goal_rate))
    return lines
