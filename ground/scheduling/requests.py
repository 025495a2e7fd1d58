"""Request files (TOML or JSON, one structure) that people write -> Problem, and out again.

>>> file = parse_requests('''
... name = "a day of cruise"
... start = 2026-12-07T00:00:00Z
... end = 2026-12-08T00:00:00Z
... [[antenna]]
... name = "DSS-25"
... complex = "Goldstone"
... [[mission]]
... name = "Relay"
... [[request]]
... id = "relay-pass"
... mission = "Relay"
... duration = "6h"
... minimum = "4h30m"
... setup = "1h"
... antennas = ["any at Goldstone"]
... views = {"DSS-25" = [["2026-12-07T08:00:00Z", "2026-12-07T16:00:00Z"]]}
... ''', "cruise.toml")
>>> problem = build_problem(file)
>>> problem.requests[0].choices[0].name, problem.requests[0].minimum_s
('DSS-25', 16200)

Tables and keys: docs/howto/plan-a-week.md.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from ground.scheduling.model import (
    S_NS,
    Choice,
    Commitment,
    Gap,
    Interval,
    Mission,
    Problem,
    Quota,
    Request,
    Schedule,
    Track,
    ViewPeriod,
    track_of,
)
from ground.scheduling.requests_antennas import AntennaRow, expand
from ground.scheduling.requests_fields import TEXTS, RequestFileError, utc_text
from ground.scheduling.requests_file import (
    CommitmentRow,
    GapRow,
    Header,
    MissionRow,
    QuotaRow,
    RequestFile,
    RequestRow,
    TrackRow,
    parse_requests,
    read_requests,
    write_requests,
)
from protocols.errors import LocalError

__all__ = ["build_problem", "parse_requests", "read_requests", "request_file", "write_requests"]

#: (mission, antenna, span) -> when the antenna may track the mission's target in it.
ViewFunction = Callable[[MissionRow, str, Interval], Sequence[Interval]]


def build_problem(
    file: RequestFile,
    view_periods: ViewFunction | None = None,
    stations: Iterable[AntennaRow] = (),
) -> Problem:
    """The problem of a request file.

    `view_periods` is asked where a request gives no `views`; `stations` are the antennas known
    besides the file's own, which win.  Raises RequestFileError.
    """
    antennas = {row.name: row for row in stations}
    antennas |= {row.name: row for row in file.antenna}
    missions = {row.name: row for row in file.mission}
    horizon = Interval(file.header.start, file.header.end)
    builder = _Builder(file, antennas, missions, horizon, view_periods)
    requests, gaps = builder.requests()
    commitments = builder.commitments()
    used = {a for r in requests for c in r.choices for a in c.antennas}
    used |= {c.antenna for c in commitments} - {row.name for row in file.antenna}
    named = [row.name for row in file.antenna]
    names = [*named, *sorted(used - set(named))]
    by_id = {r.id: r for r in requests}
    try:
        problem = Problem(
            name=file.header.name,
            horizon=horizon,
            antennas=tuple(antennas[name].antenna() for name in names),
            missions=tuple(Mission(m.name, m.agency, m.links) for m in file.mission),
            requests=tuple(requests),
            commitments=commitments,
            gaps=(*gaps, *(Gap(g.first, g.second, *g.gap) for g in file.gap)),
            locks=tuple(_track(by_id, row, f"{file.source}: lock") for row in file.lock),
            published=Schedule(
                tuple(_track(by_id, row, f"{file.source}: published") for row in file.published)
            )
            if file.published
            else None,
        )
        return replace(problem, quotas=builder.quotas(problem))
    except RequestFileError:
        raise
    except LocalError as error:
        raise RequestFileError(f"{file.source}: {error}") from error


class _Builder:
    def __init__(
        self,
        file: RequestFile,
        antennas: Mapping[str, AntennaRow],
        missions: Mapping[str, MissionRow],
        horizon: Interval,
        view_periods: ViewFunction | None,
    ) -> None:
        self.file = file
        self.antennas = antennas
        self.missions = missions
        self.horizon = horizon
        self.view_periods = view_periods
        self._seen: dict[tuple[str, str], tuple[Interval, ...]] = {}

    def requests(self) -> tuple[list[Request], list[Gap]]:
        requests: list[Request] = []
        gaps: list[Gap] = []
        for number, row in enumerate(self.file.request, start=1):
            where = f"{self.file.source}: request {number} ({row.id})"
            if row.mission not in self.missions:
                near = difflib.get_close_matches(row.mission, self.missions, 1)
                hint = f"; {near[0]} meant?" if near else ""
                raise RequestFileError(
                    f"{where}: mission = {row.mission!r}: no such [[mission]]{hint} "
                    f"Known: {', '.join(self.missions) or 'none'}"
                )
            if row.window is not None and row.windows:
                raise RequestFileError(f"{where}: window and windows: one of them wanted")
            choices = self._choices(row, where)
            try:
                made = self._expand(row, choices)
            except LocalError as error:
                raise RequestFileError(f"{where}: {error}") from error
            if row.gap is not None and not row.every:
                raise RequestFileError(f"{where}: gap: only with every, as every = '24h'")
            if row.gap is not None:
                gaps += [Gap(a.id, b.id, *row.gap) for a, b in pairwise(made)]
            requests += made
        return requests, gaps

    def _choices(self, row: RequestRow, where: str) -> list[tuple[tuple[str, ...], list[Interval]]]:
        """Antenna sets with view periods, not yet cut to the request's windows."""
        named = expand(row.antennas, self.antennas, self.file.sets, f"{where}: antennas")
        if row.views is None:
            if not named:
                raise RequestFileError(
                    f"{where}: antennas is missing: {TEXTS.allowed}, or views, wanted"
                )
            return [(names, self._together(row, names, where)) for names in named]
        given = {
            expand((text,), self.antennas, {}, f"{where}: views")[0]: list(periods)
            for text, periods in row.views
        }
        return [(names, given.get(names, [])) for names in named or given]

    def _together(self, row: RequestRow, names: tuple[str, ...], where: str) -> list[Interval]:
        """When all antennas of the set see the mission's target."""
        if self.view_periods is None:
            raise RequestFileError(f"{where}: views is missing, and no visibility to ask was given")
        mission = self.missions[row.mission]
        if not mission.target:
            raise RequestFileError(
                f"{where}: mission {row.mission} has no target to look for, and views is missing"
            )
        periods: list[Interval] | None = None
        for name in names:
            if (row.mission, name) not in self._seen:
                try:
                    seen = tuple(self.view_periods(mission, name, self.horizon))
                except LocalError as error:
                    raise RequestFileError(f"{where}: {error}") from error
                self._seen[row.mission, name] = seen
            seen = self._seen[row.mission, name]
            periods = list(seen) if periods is None else intersect(periods, seen)
        return periods or []

    def _expand(
        self, row: RequestRow, choices: list[tuple[tuple[str, ...], list[Interval]]]
    ) -> list[Request]:
        """One request, or one a period."""
        for window in (*row.windows, *((row.window,) if row.window else ())):
            if not window.overlaps(self.horizon):
                begin, end = utc_text(self.horizon.start_ns), utc_text(self.horizon.end_ns)
                raise LocalError(
                    f"window {utc_text(window.start_ns)} … {utc_text(window.end_ns)}: "
                    f"outside of the plan, which is {begin} … {end}"
                )
        if not row.every:
            windows = row.windows or ((row.window,) if row.window else ())
            return [_request(row, row.id, choices, windows)]
        span = row.window or self.horizon
        made = []
        start_ns, number = span.start_ns, 1
        shortest_ns = (row.minimum or row.duration) * S_NS
        while span.end_ns - start_ns >= shortest_ns:
            period = Interval(start_ns, min(start_ns + row.every * S_NS, span.end_ns))
            windows = intersect([period], row.windows) if row.windows else [period]
            if windows:
                made.append(_request(row, f"{row.id}.{number}", choices, windows))
            start_ns, number = period.end_ns, number + 1
        return made

    def commitments(self) -> tuple[Commitment, ...]:
        found = []
        for number, row in enumerate(self.file.commitment, start=1):
            where = f"{self.file.source}: commitment {number} ({row.antenna})"
            sets = expand((row.antenna,), self.antennas, self.file.sets, where)
            names = dict.fromkeys(name for those in sets for name in those)
            if row.start >= row.end:
                raise RequestFileError(f"{where}: end: a time after start wanted")
            found += [
                Commitment(name, Interval(row.start, row.end), row.kind, row.label)
                for name in names
            ]
        return tuple(found)

    def quotas(self, problem: Problem) -> tuple[Quota, ...]:
        found = []
        for number, row in enumerate(self.file.quota, start=1):
            where = f"{self.file.source}: quota {number} ({row.agency})"
            agencies = sorted({m.agency for m in problem.missions} - {""})
            if row.agency not in agencies:
                raise RequestFileError(
                    f"{where}: agency = {row.agency!r}: no mission has it. "
                    f"Known: {', '.join(agencies) or 'none'}"
                )
            if (row.maximum is None) == (row.share is None):
                raise RequestFileError(f"{where}: maximum or share, one of them, wanted")
            sets = expand(row.antennas, self.antennas, self.file.sets, f"{where}: antennas")
            names = tuple(dict.fromkeys(name for those in sets for name in those))
            maximum_s = row.maximum
            if maximum_s is None:
                maximum_s = int((row.share or 0) * available_s(problem, names))
            found.append(Quota(row.agency, maximum_s, names))
        return tuple(found)


def _request(
    row: RequestRow,
    name: str,
    choices: list[tuple[tuple[str, ...], list[Interval]]],
    windows: Sequence[Interval],
) -> Request:
    return Request(
        id=name,
        mission=row.mission,
        duration_s=row.duration,
        minimum_s=row.minimum or row.duration,
        choices=tuple(
            Choice(
                names,
                tuple(
                    ViewPeriod(p.start_ns, p.end_ns)
                    for p in (intersect(periods, windows) if windows else periods)
                ),
            )
            for names, periods in choices
        ),
        setup_s=row.setup,
        teardown_s=row.teardown,
        segment_minimum_s=row.segment_minimum,
        segments=row.segments,
        priority=row.priority,
        beam=row.beam,
        window=Interval(min(w.start_ns for w in windows), max(w.end_ns for w in windows))
        if windows
        else None,
    )


def intersect(one: Iterable[Interval], other: Iterable[Interval]) -> list[Interval]:
    """Where both hold, in order."""
    others = list(other)
    found = [part for a in one for b in others if (part := a.intersection(b)) is not None]
    return sorted(Interval(p.start_ns, p.end_ns) for p in found)


def available_s(problem: Problem, antennas: Iterable[str] = ()) -> int:
    """Antenna-seconds of the horizon that no commitment takes; all antennas if none are named."""
    free_ns = 0
    for name in antennas or problem.antenna_by_name:
        edge_ns = problem.horizon.start_ns
        for commitment in problem.commitments_by_antenna[name]:
            if taken := commitment.interval.intersection(problem.horizon):
                free_ns += max(0, taken.start_ns - edge_ns)
                edge_ns = max(edge_ns, taken.end_ns)
        free_ns += problem.horizon.end_ns - edge_ns
    return free_ns // S_NS


def _track(requests: Mapping[str, Request], row: TrackRow, where: str) -> Track:
    if row.request not in requests:
        raise RequestFileError(f"{where}: request = {row.request!r}: no such request")
    return track_of(requests[row.request], tuple(sorted(row.antennas)), row.on, row.off)


# From a problem


def request_file(problem: Problem, version: int = 0) -> RequestFile:
    """The problem as a file with view periods; `build_problem` of it gives the problem again.
    `version` of a store, where it was read from one.

    >>> from ground.scheduling.model import Antenna
    >>> span = Interval(0, 3600 * S_NS)
    >>> problem = Problem("empty", span, (Antenna("DSS-25"),), (Mission("Relay"),), ())
    >>> build_problem(request_file(problem)) == problem
    True
    """
    return RequestFile(
        source=problem.name,
        header=Header(
            problem.name, problem.horizon.start_ns, problem.horizon.end_ns, version=version
        ),
        antenna=tuple(AntennaRow(a.name, a.complex, a.agency, a.mspa) for a in problem.antennas),
        mission=tuple(MissionRow(m.name, m.agency, m.links) for m in problem.missions),
        request=tuple(_request_row(r) for r in problem.requests),
        commitment=tuple(
            CommitmentRow(c.antenna, c.interval.start_ns, c.interval.end_ns, c.kind, c.label)
            for c in problem.commitments
        ),
        quota=tuple(QuotaRow(q.agency, q.maximum_s, antennas=q.antennas) for q in problem.quotas),
        gap=tuple(GapRow(g.first, g.second, (g.minimum_s, g.maximum_s)) for g in problem.gaps),
        lock=tuple(_track_row(t) for t in problem.locks),
        published=tuple(_track_row(t) for t in (problem.published or Schedule()).tracks),
    )


def _request_row(request: Request) -> RequestRow:
    return RequestRow(
        id=request.id,
        mission=request.mission,
        duration=request.duration_s,
        minimum=request.minimum_s if request.minimum_s != request.duration_s else 0,
        setup=request.setup_s,
        teardown=request.teardown_s,
        segments=request.segments,
        segment_minimum=request.segment_minimum_s,
        window=request.window,
        priority=request.priority,
        beam=request.beam,
        views=tuple(
            (" + ".join(c.antennas), tuple(Interval(p.start_ns, p.end_ns) for p in c.view_periods))
            for c in request.choices
        ),
    )


def _track_row(track: Track) -> TrackRow:
    return TrackRow(track.request, track.antennas, track.on_ns, track.off_ns)
