"""`l4 time`: the on-board clock against UTC.  Heavy imports stay inside."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ground.timing.correlation import Correlation

EPILOG = """
Examples:

`l4 time` — offset, drift and error of the on-board clock now

`l4 time --onboard 2026-12-01T08:15:30.5` — when, in UTC, the clock showed that

`l4 time --utc 2026-12-01T12:00:00Z` — what it will show then, for a time-tagged command

`l4 time --png clock.png` — residuals of the time reports, and the error as it grows in gaps
"""

#: Instants of the error's curve.
_POINTS = 1_200


def time_(
    run_dir: Annotated[Path, typer.Option("--run-dir", help="Directory of the run.")] = Path(
        "var/run"
    ),
    onboard: Annotated[
        str | None,
        typer.Option(help="On-board time, as its packets say it: date and time, or nanoseconds."),
    ] = None,
    utc: Annotated[str | None, typer.Option(help="UTC, as 2026-12-01T12:00:00Z.")] = None,
    png: Annotated[Path | None, typer.Option(help="Draw residuals and error here.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """The on-board clock against UTC: offset, drift, error; conversions both ways; a plot.

    From what the service `timing` has saved, at most seconds ago; the run need not be running.
    """
    from ground.config import TIMING, load_settings
    from ground.timing.service import load_correlation
    from ground.wiring import open_clock, open_state
    from protocols.errors import LocalError
    from protocols.timecodes.tai import tai_ns_from_utc_iso

    settings = load_settings(run_dir)
    correlation = load_correlation(open_state(settings, TIMING))
    if correlation is None:
        raise LocalError(f"{run_dir}: no time report has been received yet")
    now_ns = open_clock(settings).now_ns()
    answer: dict[str, Any] = _now(correlation, now_ns)
    lines = _lines(answer)
    if onboard is not None:
        onboard_ns = _instant(onboard, tai_ns_from_utc_iso)
        answer["conversion"] = _said(onboard_ns, *_reversed(correlation.tai_of(onboard_ns)))
        lines = [_conversion(answer["conversion"])]
    if utc is not None:
        tai_ns = _instant(utc, tai_ns_from_utc_iso)
        shown_ns, error_ns = correlation.onboard_of(tai_ns)
        answer["conversion"] = _said(shown_ns, error_ns, tai_ns)
        lines = [_conversion(answer["conversion"])]
    if png is not None:
        _draw(correlation, now_ns, png)
        lines.append(f"drawn: {png}")
    print(json.dumps(answer, indent=2) if json_ else "\n".join(lines))


def _reversed(found: tuple[int, int]) -> tuple[int, int]:
    return found[1], found[0]


def _instant(text: str, parse: Callable[[str], int]) -> int:
    """Nanoseconds since 1958 TAI, or a date; LocalError for neither."""
    return int(text) if re.fullmatch(r"\d{12,}", text) else parse(text)


def _now(correlation: Correlation, now_ns: int) -> dict[str, Any]:
    from ground.timing.service import describe
    from protocols.timecodes.tai import utc_iso_from_tai_ns

    message = describe(correlation, now_ns)
    assert message is not None
    return {
        "utc": utc_iso_from_tai_ns(message.time_ns),
        "offset_ns": message.offset_ns,
        "error_ns": round(message.error_ns),
        "sigma_ns": round(message.sigma_ns, 1),
        "drift_ppb": round(message.drift_ppb, 4),
        "drift_sigma_ppb": round(message.drift_sigma_ppb, 4),
        "last_report_utc": utc_iso_from_tai_ns(message.last_report_ns),
        "age_s": round(message.age_s, 3),
        "reports": message.reports,
        "outliers": message.outliers,
        "suspected": message.suspected,
        "segments": [
            {
                "start_utc": utc_iso_from_tai_ns(one.start_ns),
                "end_utc": utc_iso_from_tai_ns(one.end_ns),
                "reports": one.reports,
                "offset_ns": round(one.states[-1].offset_ns),
            }
            for one in correlation.segments
        ],
    }


def _lines(now: dict[str, Any]) -> list[str]:
    count = len(now["segments"])
    lines = [
        f"on-board clock at {now['utc']}: {now['offset_ns'] / 1e6:+,.6f} ms from TAI, "
        f"± {now['error_ns'] / 1e3:,.2f} µs (1σ {now['sigma_ns'] / 1e3:,.3f} µs)",
        f"drift {now['drift_ppb']:+.3f} ± {now['drift_sigma_ppb']:.3f} ppb (1σ)",
        f"last report left {now['last_report_utc']}, {now['age_s']:,.1f} s ago; "
        f"{now['reports']:,} used, {now['outliers']:,} outliers, "
        f"{count} segment{'s' if count > 1 else ''}",
    ]
    if now["suspected"]:
        lines.append("the last report does not fit: an outlier, or the clock was set")
    return lines


def _said(onboard_ns: int, error_ns: int, tai_ns: int) -> dict[str, Any]:
    from protocols.timecodes.tai import unix_ns_from_tai_ns, utc_iso_from_tai_ns

    return {
        "onboard_ns": onboard_ns,
        "onboard": utc_iso_from_tai_ns(onboard_ns, decimals=9),
        "utc": utc_iso_from_tai_ns(tai_ns, decimals=9),
        "utc_unix_ns": int(unix_ns_from_tai_ns(tai_ns)),
        "tai_ns": tai_ns,
        "error_ns": error_ns,
    }


def _conversion(found: dict[str, Any]) -> str:
    return f"on-board {found['onboard']} = UTC {found['utc']} ± {found['error_ns'] / 1e3:,.2f} µs"


def _draw(correlation: Correlation, now_ns: int, path: Path) -> None:
    import numpy as np
    from matplotlib.figure import Figure

    from protocols.timecodes.tai import unix_ns_from_tai_ns

    def dates(tai_ns: list[int]) -> Any:
        return np.array([int(unix_ns_from_tai_ns(t)) for t in tai_ns], dtype="datetime64[ns]")

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    # The first reports of a segment meet an estimate that knows no drift yet.
    residuals = [one for one in correlation.residuals[1:] if one.error_ns < 1e6]
    for fate, colour in (("used", "C0"), ("set_aside", "C3"), ("jump", "C1")):
        mine = [one for one in residuals if one.fate == fate]
        if mine:
            at = dates([one.emission_ns for one in mine])
            above.plot(at, [one.residual_ns for one in mine], ".", ms=3, color=colour, label=fate)
    if residuals:
        at = dates([one.emission_ns for one in residuals])
        gate = np.array([one.error_ns for one in residuals])
        above.plot(at, gate, lw=0.5, color="0.6")
        above.plot(at, -gate, lw=0.5, color="0.6", label="gate")
        above.set_yscale("symlog", linthresh=1_000, linscale=3)
    above.set_ylabel("residual of reports, ns")
    above.legend(loc="upper left", fontsize="small")
    start_ns = residuals[0].emission_ns if residuals else correlation.segments[0].start_ns
    instants = np.linspace(start_ns, max(now_ns, start_ns + 1), _POINTS).astype(np.int64).tolist()
    answers = [correlation.offset(t) for t in instants]
    below.semilogy(dates(instants), [one[2] for one in answers], label="greatest error")
    below.semilogy(dates(instants), [one[1] for one in answers], label="1σ")
    for segment in correlation.segments[1:]:
        below.axvline(dates([segment.start_ns])[0], color="C1", lw=0.8)
    below.set_ylabel("error of the correlation, ns")
    below.set_xlabel("UTC at the spacecraft")
    below.legend(loc="upper left", fontsize="small")
    figure.savefig(path, format="png", dpi=120)
