"""What is scheduled: antennas, missions, requests, commitments; and the answer, a schedule.

Instants are integer TAI nanoseconds (`_ns`, as everywhere), lengths are integer seconds (`_s`): a
request's lengths are people's numbers, and a solver must not lose a nanosecond in rounding.  All
classes are frozen and validated when constructed; `Problem` validates what spans objects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from protocols.errors import LocalError
from protocols.timecodes.tai import utc_iso_from_tai_ns

S_NS = 1_000_000_000


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise LocalError(message)


def _utc(tai_ns: int) -> str:
    return utc_iso_from_tai_ns(tai_ns, 0 if tai_ns % S_NS == 0 else 9)


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """Half-open [start_ns, end_ns) in TAI nanoseconds; never empty."""

    start_ns: int
    end_ns: int

    def __post_init__(self) -> None:
        _check(
            isinstance(self.start_ns, int) and isinstance(self.end_ns, int),
            f"interval [{self.start_ns!r}, {self.end_ns!r}): integer TAI nanoseconds wanted",
        )
        if self.start_ns >= self.end_ns:
            begin, end = _utc(self.start_ns), _utc(self.end_ns)
            raise LocalError(f"interval {begin} … {end}: its end must lie after its start")

    @property
    def length_s(self) -> float:
        return (self.end_ns - self.start_ns) / S_NS

    def overlaps(self, other: Interval) -> bool:
        return self.start_ns < other.end_ns and other.start_ns < self.end_ns

    def contains(self, other: Interval) -> bool:
        return self.start_ns <= other.start_ns and other.end_ns <= self.end_ns

    def intersection(self, other: Interval) -> Interval | None:
        start_ns, end_ns = max(self.start_ns, other.start_ns), min(self.end_ns, other.end_ns)
        return Interval(start_ns, end_ns) if start_ns < end_ns else None


class ViewPeriod(Interval):
    """Tracking [on, off) may lie anywhere inside: masks, Sun and window are applied already.

    Set-up and tear-down need no view and may lie outside.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Antenna:
    """One physical antenna.  `mspa`: so many spacecraft of one beam it can track at a time."""

    name: str
    complex: str = ""
    agency: str = ""
    mspa: int = 1

    def __post_init__(self) -> None:
        _check(bool(self.name), "antenna without a name")
        # Files join the antennas of a set by these: SatNet and pass lists, and request files.
        _check(
            not set("_+").intersection(self.name),
            f"antenna {self.name!r}: a name without _ and + wanted, which join names of a set",
        )
        _check(self.mspa >= 1, f"antenna {self.name}: mspa {self.mspa}: 1 or more wanted")


@dataclass(frozen=True, slots=True)
class Mission:
    """A mission with its agency.  `links`: so many tracks at a time it can hold (DDOR counts 1)."""

    name: str
    agency: str = ""
    links: int = 1

    def __post_init__(self) -> None:
        _check(bool(self.name), "mission without a name")
        _check(self.links >= 1, f"mission {self.name}: links {self.links}: 1 or more wanted")


@dataclass(frozen=True, slots=True)
class Choice:
    """A set of antennas used together (one antenna, an array, a DDOR baseline) and when it sees."""

    antennas: tuple[str, ...]
    view_periods: tuple[ViewPeriod, ...]

    def __post_init__(self) -> None:
        _check(len(self.antennas) > 0, "choice without an antenna")
        _check(
            list(self.antennas) == sorted(set(self.antennas)),
            f"choice {self.antennas}: each antenna once, in sorted order",
        )

    @property
    def name(self) -> str:
        """`DSS-25_DSS-26`, as SatNet writes it."""
        return "_".join(self.antennas)


@dataclass(frozen=True, slots=True)
class Request:
    """Tracking time wanted by a mission.

    duration_s   requested tracking; more than that is never given
    minimum_s    less than that in total is nothing: the request is then left out entirely
    setup_s, teardown_s   directly before and after every track, on every antenna of the set
    choices      antenna sets with view periods; one of them for each track
    segment_minimum_s   0: may not be split; else a request may be given in several tracks, each of
                 at least so long (a single track only needs `minimum_s`)
    segments     at most so many tracks
    priority     weight of its hours, 1 is normal
    beam         spacecraft of one non-empty beam may share an antenna with `mspa` > 1
    window       as the requester gave it; the view periods lie inside
    """

    id: str
    mission: str
    duration_s: int
    minimum_s: int
    choices: tuple[Choice, ...]
    setup_s: int = 0
    teardown_s: int = 0
    segment_minimum_s: int = 0
    segments: int = 1
    priority: float = 1.0
    beam: str = ""
    window: Interval | None = None

    def __post_init__(self) -> None:
        where = f"request {self.id}"
        _check(bool(self.id), "request without an id")
        for name in ("duration_s", "minimum_s", "setup_s", "teardown_s", "segment_minimum_s"):
            value = getattr(self, name)
            _check(
                isinstance(value, int) and value >= 0,
                f"{where}: {name} {value!r}: whole seconds, 0 or more, wanted",
            )
        _check(
            0 < self.minimum_s <= self.duration_s,
            f"{where}: minimum_s {self.minimum_s}: 1 … duration_s {self.duration_s} wanted",
        )
        _check(self.segments >= 1, f"{where}: segments {self.segments}: 1 or more wanted")
        _check(
            self.segments == 1 or self.segment_minimum_s > 0,
            f"{where}: {self.segments} segments need a segment_minimum_s above 0",
        )
        _check(self.priority > 0, f"{where}: priority {self.priority}: above 0 wanted")
        names = [choice.antennas for choice in self.choices]
        _check(len(names) == len(set(names)), f"{where}: the same antenna set stands twice")
        if self.window is not None:
            for choice in self.choices:
                for period in choice.view_periods:
                    _check(
                        self.window.contains(period),
                        f"{where}: view period of {choice.name} outside the request's window",
                    )

    @property
    def splittable(self) -> bool:
        return self.segments > 1

    def choice(self, antennas: tuple[str, ...]) -> Choice | None:
        return next((c for c in self.choices if c.antennas == antennas), None)


@dataclass(frozen=True, slots=True)
class Commitment:
    """An antenna that is not to be had: maintenance, an outage, a pass of someone else."""

    antenna: str
    interval: Interval
    kind: str = "maintenance"
    label: str = ""


@dataclass(frozen=True, slots=True)
class Gap:
    """From the end of tracking of `first` to the begin of `second`: minimum_s … maximum_s.

    Periodic requests become one request a period and gaps between neighbours.  It binds only where
    both are scheduled; a split request counts with its last (first) track.
    """

    first: str
    second: str
    minimum_s: int
    maximum_s: int

    def __post_init__(self) -> None:
        _check(
            0 <= self.minimum_s <= self.maximum_s,
            f"gap {self.first} to {self.second}: 0 <= {self.minimum_s} <= {self.maximum_s} wanted",
        )


@dataclass(frozen=True, slots=True)
class Quota:
    """An agency's tracks occupy its antennas for at most `maximum_s` antenna-seconds in all.

    Set-up and tear-down count; `antennas` empty: all antennas of the problem.
    """

    agency: str
    maximum_s: int
    antennas: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Track:
    """One track of a request: set-up [start, on), tracking [on, off), tear-down [off, end)."""

    on_ns: int
    off_ns: int
    request: str
    antennas: tuple[str, ...]
    start_ns: int
    end_ns: int

    def __post_init__(self) -> None:
        _check(
            self.start_ns <= self.on_ns < self.off_ns <= self.end_ns,
            f"track of {self.request}: start <= on < off <= end wanted",
        )

    @property
    def tracking(self) -> Interval:
        return Interval(self.on_ns, self.off_ns)

    @property
    def occupied(self) -> Interval:
        return Interval(self.start_ns, self.end_ns)

    @property
    def length_s(self) -> float:
        return (self.off_ns - self.on_ns) / S_NS


def track_of(request: Request, antennas: tuple[str, ...], on_ns: int, off_ns: int) -> Track:
    """A track of the request with exactly its set-up and tear-down."""
    return Track(
        on_ns=on_ns,
        off_ns=off_ns,
        request=request.id,
        antennas=antennas,
        start_ns=on_ns - request.setup_s * S_NS,
        end_ns=off_ns + request.teardown_s * S_NS,
    )


@dataclass(frozen=True)
class Schedule:
    """Tracks in order of begin.  Whether they are allowed is for `rules.violations` to say."""

    tracks: tuple[Track, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "tracks", tuple(sorted(self.tracks)))

    @cached_property
    def by_request(self) -> Mapping[str, tuple[Track, ...]]:
        found: dict[str, list[Track]] = {}
        for track in self.tracks:
            found.setdefault(track.request, []).append(track)
        return {request: tuple(tracks) for request, tracks in found.items()}

    @cached_property
    def by_antenna(self) -> Mapping[str, tuple[Track, ...]]:
        found: dict[str, list[Track]] = {}
        for track in self.tracks:
            for antenna in track.antennas:
                found.setdefault(antenna, []).append(track)
        return {antenna: tuple(tracks) for antenna, tracks in found.items()}


@dataclass(frozen=True)
class Problem:
    """Everything a solver needs.  `horizon`: set-up, tracking and tear-down lie inside.

    locks       tracks that every answer holds exactly
    published   the schedule that "least change" compares with
    """

    name: str
    horizon: Interval
    antennas: tuple[Antenna, ...]
    missions: tuple[Mission, ...]
    requests: tuple[Request, ...]
    commitments: tuple[Commitment, ...] = ()
    gaps: tuple[Gap, ...] = ()
    quotas: tuple[Quota, ...] = ()
    locks: tuple[Track, ...] = ()
    published: Schedule | None = None

    def __post_init__(self) -> None:
        for what, names in (
            ("antenna", [a.name for a in self.antennas]),
            ("mission", [m.name for m in self.missions]),
            ("request", [r.id for r in self.requests]),
        ):
            twice = [name for name, count in Counter(names).items() if count > 1]
            _check(not twice, f"{self.name}: {what} stands twice: {', '.join(sorted(twice))}")
        for request in self.requests:
            _check(
                request.mission in self.mission_by_name,
                f"request {request.id}: mission {request.mission} is not one of {self.name}",
            )
            for choice in request.choices:
                for antenna in choice.antennas:
                    _check(
                        antenna in self.antenna_by_name,
                        f"request {request.id}: antenna {antenna} is not one of {self.name}",
                    )
        for commitment in self.commitments:
            _check(
                commitment.antenna in self.antenna_by_name,
                f"{commitment.kind}: antenna {commitment.antenna} is not one of {self.name}",
            )
        for gap in self.gaps:
            for name in (gap.first, gap.second):
                _check(name in self.request_by_id, f"gap: request {name} is not one of {self.name}")
        for quota in self.quotas:
            for antenna in quota.antennas:
                _check(
                    antenna in self.antenna_by_name,
                    f"quota of {quota.agency}: antenna {antenna} is not one of {self.name}",
                )
        for lock in self.locks:
            _check(
                lock.request in self.request_by_id,
                f"lock: request {lock.request} is not one of {self.name}",
            )

    @cached_property
    def antenna_by_name(self) -> Mapping[str, Antenna]:
        return {antenna.name: antenna for antenna in self.antennas}

    @cached_property
    def mission_by_name(self) -> Mapping[str, Mission]:
        return {mission.name: mission for mission in self.missions}

    @cached_property
    def request_by_id(self) -> Mapping[str, Request]:
        return {request.id: request for request in self.requests}

    @cached_property
    def commitments_by_antenna(self) -> Mapping[str, tuple[Commitment, ...]]:
        found: dict[str, list[Commitment]] = {antenna.name: [] for antenna in self.antennas}
        for commitment in self.commitments:
            found[commitment.antenna].append(commitment)
        return {
            name: tuple(sorted(those, key=lambda c: c.interval)) for name, those in found.items()
        }

    def agency_of(self, request: Request) -> str:
        return self.mission_by_name[request.mission].agency
