"""The solver's answers: allowed by two checkers, best on small problems, the same for a seed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ground.scheduling.compiled import Compiled
from ground.scheduling.metrics import measure
from ground.scheduling.model import (
    S_NS,
    Antenna,
    Choice,
    Gap,
    Interval,
    Mission,
    Problem,
    Quota,
    Request,
    Schedule,
    ViewPeriod,
    track_of,
)
from ground.scheduling.objective import FAIRNESS, HOURS, LEAST_CHANGE, OBJECTIVES, Judge
from ground.scheduling.remote import Remote
from ground.scheduling.rules import violations
from ground.scheduling.satnet import read_problem, read_schedule, write_schedule
from ground.scheduling.solve import Progress, Solution, solve
from protocols.errors import LocalError
from tests.ground.scheduling.exact import optimum, random_problem

WEEKS = ("W10_2018", "W20_2018", "W50_2018")


@pytest.fixture(scope="module")
def satnet(shared: Path) -> Path:
    folder = shared / "satnet"
    if not folder.is_dir():
        pytest.skip("shared satnet folder is missing")
    return folder


def read(folder: Path, week: str) -> Problem:
    return read_problem(folder / "problems.json", folder / "maintenance.csv", week)


def check(folder: Path, problem: Problem, schedule: Schedule, path: Path) -> dict:
    """The independent checker's report."""
    path.write_text(json.dumps(write_schedule(problem, schedule)))
    command = [sys.executable, str(folder / "check.py"), str(folder / "problems.json")]
    command += [str(folder / "maintenance.csv"), problem.name, str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout)


def agrees(problem: Problem, solution: Solution, report: dict) -> None:
    assert violations(problem, solution.schedule) == []
    assert report["valid"], report["errors"]
    metrics = measure(problem, solution.schedule)
    assert metrics == solution.metrics
    assert metrics.hours == pytest.approx(report["hours"])
    assert metrics.satisfied == report["satisfied"]
    assert metrics.tracks == report["tracks"]
    assert metrics.u_rms == pytest.approx(report["u_rms"])
    assert metrics.u_max == pytest.approx(report["u_max"])


@pytest.mark.parametrize("week", WEEKS)
@pytest.mark.parametrize("name", ["hours", "fairness"])
def test_weeks_of_the_dsn(satnet: Path, tmp_path: Path, week: str, name: str) -> None:
    problem = read(satnet, week)
    greedy = solve(problem, OBJECTIVES[name], steps=1)
    solution = solve(problem, OBJECTIVES[name], steps=20_000, workers=1)
    report = check(satnet, problem, solution.schedule, tmp_path / "schedule.json")
    agrees(problem, solution, report)
    assert solution.value > greedy.value
    assert [p.value for p in solution.curve] == sorted(p.value for p in solution.curve)
    rows = json.loads((tmp_path / "schedule.json").read_text())
    assert read_schedule(problem, rows) == solution.schedule


@pytest.mark.parametrize("seed", range(40))
def test_small_problems_are_solved_exactly(seed: int) -> None:
    problem = random_problem(seed, unit_s=1)
    optimum_s, _ = optimum(problem, "seconds")
    solution = solve(problem, HOURS, steps=1000)
    assert violations(problem, solution.schedule) == []
    assert solution.optimal
    assert solution.metrics.tracking_s == round(optimum_s)


@pytest.mark.parametrize("seed", range(12))
def test_annealing_alone_comes_to_the_optimum(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CP-SAT on the whole: the kernels' own rules are the ones that are tested."""
    monkeypatch.setattr("ground.scheduling.solve.SMALL", 0)
    problem = one_link(random_problem(seed, unit_s=60))
    optimum_s, _ = optimum(problem, "seconds", unit_s=60)
    solution = solve(problem, HOURS, steps=60_000)
    assert violations(problem, solution.schedule) == []
    assert solution.metrics.tracking_s <= round(optimum_s)
    assert solution.metrics.tracking_s >= 0.97 * optimum_s


def one_link(problem: Problem) -> Problem:
    return replace(problem, missions=tuple(replace(m, links=1) for m in problem.missions))


def test_same_seed_and_steps_give_the_same(satnet: Path) -> None:
    problem = read(satnet, "W10_2018")
    runs = [solve(problem, HOURS, steps=6000, seed=7, workers=2).schedule for _ in range(2)]
    assert runs[0] == runs[1]
    other = solve(problem, HOURS, steps=6000, seed=8, workers=2).schedule
    assert other != runs[0]


def test_begins_with_what_it_is_given(satnet: Path) -> None:
    problem = read(satnet, "W50_2018")
    first = solve(problem, HOURS, steps=20_000)
    again = solve(problem, HOURS, steps=1, initial=first.schedule)
    assert again.value >= first.value - 1e-9


def test_interrupt_keeps_what_was_found(satnet: Path) -> None:
    problem = read(satnet, "W10_2018")
    found: list[float] = []

    def press(progress: Progress) -> None:
        found.append(progress.value)
        if len(found) == 3:
            # As Ctrl-C does, between two rounds.
            raise KeyboardInterrupt

    solution = solve(problem, HOURS, steps=100_000, workers=2, on_progress=press)
    assert solution.interrupted
    assert solution.value == found[-1]
    assert violations(problem, solution.schedule) == []


def test_a_search_that_dies_is_said(satnet: Path) -> None:
    """A lost process is not passed over in silence: its answers would be missing."""
    problem = read(satnet, "W10_2018")
    compiled = Compiled(problem)
    remote = Remote(problem, HOURS, compiled.empty(), seed=1)
    try:
        remote.process.kill()
        with pytest.raises(RuntimeError, match="ended by itself, status -9"):
            remote.is_ready(wait=True)
    finally:
        remote.close()


def test_a_process_reads_its_problem_before_it_loads_kernels() -> None:
    """Else the parent, which hands it over, stands still as long; short searches had no step."""
    program = "import sys, ground.scheduling.remote; print({'numba', 'ortools'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_least_change_holds_the_published_schedule(satnet: Path) -> None:
    problem = read(satnet, "W20_2018")
    published = solve(problem, HOURS, steps=10_000).schedule
    problem = replace(problem, published=published)
    after = solve(problem, LEAST_CHANGE, steps=20_000, initial=published).schedule
    kept = set(published.tracks) & set(after.tracks)
    assert len(kept) >= 0.9 * len(published.tracks)
    assert measure(problem, after).hours >= measure(problem, published).hours


# Rules that SatNet does not have: CP-SAT's models and the greedy must keep them too.

HOUR_NS = 3600 * S_NS


def interval(kind: type, begin_h: float, end_h: float):
    return kind(round(begin_h * HOUR_NS), round(end_h * HOUR_NS))


def request(name: str, mission: str, antennas: str, hours: float, **more) -> Request:
    see = (interval(ViewPeriod, *more.pop("view", (0, 24))),)
    return Request(
        id=name,
        mission=mission,
        duration_s=round(hours * 3600),
        minimum_s=round(more.pop("minimum", hours) * 3600),
        choices=tuple(Choice((antenna,), see) for antenna in antennas),
        **more,
    )


def problem_of(*requests: Request, **more) -> Problem:
    names = sorted({a for r in requests for c in r.choices for a in c.antennas})
    return Problem(
        name="own",
        horizon=interval(Interval, 0, 24),
        antennas=more.pop("antennas", tuple(Antenna(name) for name in names)),
        missions=more.pop(
            "missions", tuple(Mission(name) for name in sorted({r.mission for r in requests}))
        ),
        requests=requests,
        **more,
    )


@pytest.mark.parametrize("small", [16, 0])
def test_several_spacecraft_in_one_beam(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ground.scheduling.solve.SMALL", small)
    mars = [request(f"r{k}", f"m{k}", "A", 20, beam="Mars") for k in range(3)]
    venus = request("v", "venus", "A", 3, beam="Venus")
    problem = problem_of(*mars, venus, antennas=(Antenna("A", mspa=2),))
    solution = solve(problem, HOURS, steps=30_000)
    assert violations(problem, solution.schedule) == []
    # Two of Mars side by side, and the other beam before or after both.
    assert solution.metrics.hours == pytest.approx(43)


@pytest.mark.parametrize("small", [16, 0])
def test_gaps_of_periodic_requests(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ground.scheduling.solve.SMALL", small)
    requests = [request(f"r{k}", "m", "AB", 4, minimum=2) for k in range(3)]
    gaps = (Gap("r0", "r1", 5 * 3600, 6 * 3600), Gap("r1", "r2", 5 * 3600, 6 * 3600))
    problem = problem_of(*requests, gaps=gaps)
    solution = solve(problem, HOURS, steps=30_000)
    assert violations(problem, solution.schedule) == []
    assert solution.metrics.hours == pytest.approx(12)


@pytest.mark.parametrize("small", [16, 0])
def test_links_and_quotas(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ground.scheduling.solve.SMALL", small)
    requests = [request(f"r{k}", "m", "ABC", 10, view=(0, 10)) for k in range(3)]
    missions = (Mission("m", agency="KARI", links=2),)
    problem = problem_of(*requests, missions=missions)
    assert solve(problem, HOURS, steps=30_000).metrics.hours == pytest.approx(20)
    bounded = replace(problem, quotas=(Quota("KARI", 15 * 3600),))
    solution = solve(bounded, HOURS, steps=30_000)
    assert violations(bounded, solution.schedule) == []
    assert solution.metrics.hours == pytest.approx(10)


def test_locks_are_kept_and_checked() -> None:
    one, two = request("r0", "m", "A", 6), request("r1", "n", "A", 20)
    lock = track_of(one, ("A",), 9 * HOUR_NS, 15 * HOUR_NS)
    problem = problem_of(one, two, locks=(lock,))
    solution = solve(problem, HOURS, steps=1000)
    assert solution.schedule.tracks == (lock,)
    short = track_of(one, ("A",), 9 * HOUR_NS, 10 * HOUR_NS)
    with pytest.raises(LocalError, match="less than its minimum"):
        solve(problem_of(one, two, locks=(short,)), HOURS, steps=1)
    three = request("r2", "n", "A", 6)
    both = (lock, track_of(three, ("A",), 10 * HOUR_NS, 16 * HOUR_NS))
    with pytest.raises(LocalError, match="cannot be held: R4 A: r0 and r2 overlap"):
        solve(problem_of(one, three, locks=both), HOURS, steps=1)


def test_a_window_may_hold_any_number_of_tracks() -> None:
    """A window with more tracks in it than a week of any one antenna has ever had."""
    slot_ns, count = 1000 * S_NS, 700
    whole = ViewPeriod(0, count * slot_ns)

    def short(number: int) -> Request:
        view = ViewPeriod(number * slot_ns, number * slot_ns + 310 * S_NS)
        return Request(f"s{number}", f"m{number % 7}", 300, 300, (Choice(("A",), (view,)),))

    requests = [short(number) for number in range(count)]
    requests += [Request(f"w{k}", "wide", 600, 500, (Choice(("A",), (whole,)),)) for k in range(9)]
    problem = Problem(
        name="many",
        horizon=Interval(whole.start_ns, whole.end_ns),
        antennas=(Antenna("A"),),
        missions=(*(Mission(f"m{k}") for k in range(7)), Mission("wide")),
        requests=tuple(requests),
    )
    solution = solve(problem, HOURS, steps=1000)
    assert solution.metrics.satisfied == len(requests)
    assert violations(problem, solution.schedule) == []


def test_fairness_gives_to_the_one_that_has_least() -> None:
    """Ten hours for two missions: hours do not care, squares halve them."""
    requests = [request(f"r{k}", f"m{k}", "A", 10, minimum=1, view=(0, 10)) for k in range(2)]
    solution = solve(problem_of(*requests), FAIRNESS, steps=20_000)
    assert solution.metrics.u_max == pytest.approx(0.5, abs=0.02)
    assert solution.metrics.hours == pytest.approx(10)


def test_values_of_kernels_and_judge_agree(satnet: Path) -> None:
    """The kernels add up differences; the judge counts anew."""
    problem = read(satnet, "W10_2018")
    for objective in OBJECTIVES.values():
        solution = solve(problem, objective, steps=3000)
        compiled = Compiled(problem)
        answer = compiled.empty()
        for track in solution.schedule.tracks:
            index = compiled.index[track.request]
            answer[index] = (*answer[index], compiled.placement(track))
        assert Judge(compiled, objective).value(answer) == pytest.approx(solution.value)


@pytest.mark.parametrize(
    "limits", [{}, {"seconds": 1, "steps": 1}, {"seconds": 0}, {"steps": 1, "workers": 0}]
)
def test_limits_are_checked(limits: dict) -> None:
    with pytest.raises(LocalError, match="wanted"):
        solve(problem_of(request("r", "m", "A", 1)), HOURS, **limits)
