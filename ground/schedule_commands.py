"""`l4 schedule …`: antennas among missions, with the proven bound beside the answer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ground.schedule_export_command import EPILOG as EXPORT_EPILOG
from ground.schedule_export_command import export
from ground.schedule_files import AsJson, Maintenance, print_json, save_schedule
from ground.schedule_plan_commands import COMMANDS as PLAN_COMMANDS
from ground.schedule_version_commands import COMMANDS as VERSION_COMMANDS
from ground.schedule_visibility_command import EPILOG, visibility
from protocols.errors import LocalError

schedule_app = typer.Typer(
    help="Schedule deep-space antennas, and say how near to the best possible the schedule is.",
    no_args_is_help=True,
)


@schedule_app.callback()
def _schedule() -> None: ...


schedule_app.command(epilog=EPILOG, no_args_is_help=True)(visibility)
for _command, _epilog in (*PLAN_COMMANDS, *VERSION_COMMANDS):
    schedule_app.command(epilog=_epilog)(_command)
schedule_app.command(epilog=EXPORT_EPILOG, no_args_is_help=True)(export)


@schedule_app.command(
    epilog="Example: l4 schedule benchmark problems.json --maintenance maintenance.csv "
    "--week W10_2018 --objective hours --seconds 60 --out schedule.json"
)
def benchmark(
    problems: Annotated[Path, typer.Argument(help="SatNet problem file (JSON), by week.")],
    week: Annotated[str, typer.Option(help="Week of the file, like W10_2018.")],
    maintenance: Maintenance = None,
    objective: Annotated[
        str, typer.Option(help="hours, satisfied, or fairness (U_RMS and U_MAX together).")
    ] = "hours",
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Stop after so many seconds. [default: 60]")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Instead of --seconds: count work; the same for a seed."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the schedule here (SatNet JSON).")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 1,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Searching processes. [default: cores]")
    ] = None,
    bound_seconds: Annotated[
        float | None,
        typer.Option(
            min=0, help="So long a process of its own proves a bound; 0: none. [default: a quarter]"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Solve a week of the SatNet benchmark; print value, proven bound and gap.

    The first answer is a greedy one, at once. Then kernels are compiled on a machine's first run;
    that is not counted as --seconds. The bound's process shares the cores with the searching ones.
    """
    begin = time.monotonic()
    import os

    from ground.scheduling.objective import OBJECTIVES
    from ground.scheduling.satnet import read_problem

    kinds = ("hours", "satisfied", "fairness")
    if objective not in kinds:
        raise LocalError(f"--objective {objective!r}: one of {', '.join(kinds)} wanted")
    if seconds is not None and steps is not None:
        raise LocalError("--seconds and --steps: one of the two wanted")
    if seconds is None and steps is None:
        seconds = 60.0
    problem = read_problem(problems, maintenance, week)
    if bound_seconds is None:
        bound_seconds = min(150.0, (seconds or 60.0) / 4)
    report = _solve(
        problem,
        OBJECTIVES[objective],
        objective,
        seconds,
        steps,
        seed,
        workers or os.cpu_count() or 1,
        bound_seconds,
        quiet=as_json,
        begin=begin,
    )
    schedule = report.pop("schedule")
    if out is not None:
        save_schedule(problem, schedule, out)
    if as_json:
        print_json({"week": week, "objective": objective, **report})
    else:
        _print(week, report, out)


def _solve(
    problem: Any,
    objective: Any,
    kind: str,
    seconds: float | None,
    steps: int | None,
    seed: int,
    workers: int,
    bound_seconds: float,
    quiet: bool,
    begin: float,
) -> dict[str, Any]:
    from ground.scheduling.bounding import BoundProcess
    from ground.scheduling.rules import violations
    from ground.scheduling.solve import Progress, solve

    bounds: BoundProcess | None = None
    first: Progress | None = None
    first_s = 0.0
    try:
        with _view(quiet, seconds) as view:

            def on_progress(progress: Progress) -> None:
                nonlocal bounds, first, first_s
                if first is None:
                    first, first_s = progress, time.monotonic() - begin
                    view.first(progress, first_s)
                    # Only now: its imports and its compiling would take a core from that answer.
                    if bound_seconds > 0:
                        bounds = BoundProcess(problem, kind, bound_seconds)
                elif progress.phase == "compiling":
                    view.compiling()
                else:
                    view.show(progress, bounds)

            solution = solve(
                problem,
                objective,
                seconds=seconds,
                steps=steps,
                seed=seed,
                workers=workers,
                on_progress=on_progress,
            )
            searched = time.monotonic()
            if bounds is None:
                proven = {}
            else:
                proven = (
                    bounds.latest() if solution.interrupted else bounds.finish(view.waits_for_bound)
                )
    finally:
        if bounds:
            bounds.close()
    assert first is not None, "solve reports its greedy answer"
    bound_wait_s = time.monotonic() - searched
    metrics = solution.metrics
    broken = violations(problem, solution.schedule)
    if broken:
        raise LocalError(f"the solver broke a rule, which is a fault in it: {broken[0]}")
    return {
        "schedule": solution.schedule,
        "hours": metrics.hours,
        "requested_hours": metrics.requested_hours,
        "satisfied": metrics.satisfied,
        "requests": metrics.requests,
        "u_rms": metrics.u_rms,
        "u_max": metrics.u_max,
        "tracks": metrics.tracks,
        "first_answer": {"hours": first.metrics.hours, "satisfied": first.metrics.satisfied},
        "first_answer_s": first_s,
        "bounds": proven,
        "trivial_bounds": sorted(bounds.trivial) if bounds else [],
        "gap": {name: _gap(name, metrics, bound) for name, bound in proven.items()},
        "elapsed_s": solution.elapsed_s,
        "prepared_s": solution.prepared_s,
        "bound_wait_s": bound_wait_s,
        "steps": solution.steps,
        "interrupted": solution.interrupted,
        "seed": seed,
        "workers": workers,
        "curve": [
            {
                "elapsed_s": p.elapsed_s,
                "hours": p.metrics.hours,
                "satisfied": p.metrics.satisfied,
                "u_rms": p.metrics.u_rms,
                "u_max": p.metrics.u_max,
                "phase": p.phase,
            }
            for p in solution.curve
        ],
    }


def _gap(name: str, metrics: Any, bound: float) -> float:
    """Of the bound, for hours and requests; the difference, for U_RMS and U_MAX."""
    value = getattr(metrics, name)
    if name in ("hours", "satisfied"):
        return (bound - value) / bound if bound else 0.0
    return value - bound


class _view:
    """On stderr: the first answer, then one line that follows the search; nothing with --json."""

    def __init__(self, quiet: bool, seconds: float | None) -> None:
        self.quiet, self.seconds = quiet, seconds
        self.console: Any = None
        self.status: Any = None

    def __enter__(self) -> _view:
        if not self.quiet:
            from rich.console import Console

            self.console = Console(stderr=True, highlight=False, soft_wrap=True)
            self.status = self.console.status("greedy")
            self.status.__enter__()
        return self

    def _say(self, text: str) -> None:
        """A line that stays, also where stderr is no terminal."""
        if self.console is not None:
            self.console.print(text, style="dim")

    def first(self, progress: Any, after_s: float) -> None:
        self._say(f"first answer, greedy, after {after_s:.2f} s: {self._values(progress.metrics)}")

    def compiling(self) -> None:
        text = "loading the search's kernels; on a machine's first run they are compiled, some 10 s"
        self._say(text + (" (not counted as --seconds)" if self.seconds else ""))
        if self.status is not None:
            self.status.update("loading or compiling kernels")

    def waits_for_bound(self, most_s: float) -> None:
        self._say(f"search done; the bound's process has its seconds left: {most_s:.0f} at most")
        if self.status is not None:
            self.status.update("proving the bound")

    def show(self, progress: Any, bounds: Any) -> None:
        if self.status is None:
            return
        limit = f" of {self.seconds:.0f}" if self.seconds else ""
        bound = "".join(
            f", {name} {'≤' if name in ('hours', 'satisfied') else '≥'} {value:.4g} proven"
            for name, value in (bounds.latest() if bounds else {}).items()
            if name not in bounds.trivial
        )
        self.status.update(
            f"{progress.elapsed_s:.0f}{limit} s: {self._values(progress.metrics)}{bound}"
        )

    @staticmethod
    def _values(metrics: Any) -> str:
        return (
            f"{metrics.hours:,.1f} h, {metrics.satisfied}/{metrics.requests} requests, "
            f"U_RMS {metrics.u_rms:.3f}, U_MAX {metrics.u_max:.3f}"
        )

    def __exit__(self, *error: object) -> None:
        if self.status is not None:
            self.status.__exit__(*error)


def _print(week: str, report: dict[str, Any], out: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    names = {"hours": "tracking hours", "satisfied": "requests satisfied"}
    names |= {"u_rms": "U_RMS", "u_max": "U_MAX"}
    table = Table(box=None, header_style="dim", title=week, title_justify="left")
    table.add_column("")
    for title in ("value", "asked", "proven bound", "gap"):
        table.add_column(title, justify="right")
    asked = {"hours": f"{report['requested_hours']:,.1f}", "satisfied": str(report["requests"])}
    for name, title in names.items():
        value = report[name]
        bound, gap = report["bounds"].get(name), report["gap"].get(name)
        whole = name in asked
        table.add_row(
            title,
            f"{value:,.1f}" if name == "hours" else f"{value}" if whole else f"{value:.4f}",
            asked.get(name, ""),
            "" if bound is None else f"≤ {bound:,.1f}" if whole else f"≥ {bound:.4f}",
            "" if gap is None else f"{gap:.2%}" if whole else f"{gap:.4f}",
        )
    console = Console()
    console.print(table)
    if report["trivial_bounds"]:
        trivial = " and ".join(names[name] for name in report["trivial_bounds"])
        console.print(
            f"of {trivial} nothing better was proven in time than what all that is asked gives",
            style="dim",
            soft_wrap=True,
        )
    where = f", written to {out}" if out else ""
    console.print(
        f"{report['tracks']} tracks in {report['elapsed_s']:.1f} s "
        f"({report['steps']:,} steps, {report['workers']} workers, seed {report['seed']}){where}; "
        f"besides, {report['prepared_s']:.1f} s for kernels and "
        f"{report['bound_wait_s']:.1f} s for the bound to end",
        style="dim",
        soft_wrap=True,
    )
