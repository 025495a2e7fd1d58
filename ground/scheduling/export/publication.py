"""What is exported: a schedule with its problem, and what only the publisher knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from ground.scheduling.model import Interval, Problem, Request, Schedule, Track
from protocols.errors import LocalError

#: (mission, antenna, TAI ns of a signal at the ground) -> one-way light time in ns; None: unknown.
LightTime = Callable[[str, str, int], int | None]

#: 902.1-B status of a schedule.
Status = Literal["TEST", "PROVISIONAL", "OPERATIONAL", "OTHER"]


def no_light_time(mission: str, antenna: str, ground_ns: int) -> int | None:
    return None


@dataclass(frozen=True)
class BookedTrack:
    """A track with its request and an identity that survives replanning.

    id: `REQUEST.N`, N counting the request's tracks in order of time from 1: a pass that is moved
    keeps its name, which is what calendars and stations compare.
    """

    id: str
    track: Track
    request: Request

    @property
    def antenna(self) -> str:
        return "_".join(self.track.antennas)


@dataclass(frozen=True)
class Publication:
    """version: counts publications from 1; generated_ns: TAI ns of this one.

    uplink: by mission and antenna, when it may transmit to reach the spacecraft; who is not in it
    may during all of a track.
    """

    problem: Problem
    schedule: Schedule
    generated_ns: int
    version: int = 1
    status: Status = "OPERATIONAL"
    organisation: str = "L4 Relay Ground"
    light_time: LightTime = no_light_time
    uplink: Mapping[tuple[str, str], tuple[Interval, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.version < 1:
            raise LocalError(f"schedule version {self.version}: 1 or more wanted")
        for track in self.schedule.tracks:
            if track.request not in self.problem.request_by_id:
                raise LocalError(
                    f"schedule: request {track.request} is not one of {self.problem.name}"
                )

    @cached_property
    def booked(self) -> tuple[BookedTrack, ...]:
        """In order of begin."""
        return book(self.problem, self.schedule)

    @cached_property
    def withdrawn(self) -> tuple[BookedTrack, ...]:
        """Of the schedule published before: what this one no longer holds."""
        if self.problem.published is None:
            return ()
        kept = {booked.id for booked in self.booked}
        known = [
            track
            for track in self.problem.published.tracks
            if track.request in self.problem.request_by_id
        ]
        before = book(self.problem, Schedule(tuple(known)))
        return tuple(booked for booked in before if booked.id not in kept)

    def station_of(self, track: Track) -> str:
        """Complex of the track's first antenna, or that antenna's name."""
        first = track.antennas[0]
        return self.problem.antenna_by_name[first].complex or first

    def owlt_ns(self, booked: BookedTrack, ground_ns: int) -> int | None:
        return self.light_time(booked.request.mission, booked.track.antennas[0], ground_ns)


def book(problem: Problem, schedule: Schedule) -> tuple[BookedTrack, ...]:
    def named() -> Iterator[BookedTrack]:
        count: dict[str, int] = {}
        for track in schedule.tracks:
            count[track.request] = number = count.get(track.request, 0) + 1
            yield BookedTrack(
                f"{track.request}.{number}", track, problem.request_by_id[track.request]
            )

    return tuple(named())


def light_time_table(seconds: dict[str, float], otherwise: LightTime = no_light_time) -> LightTime:
    """Fixed light times by mission ("" for every other), over a model."""
    fixed = {mission: round(value * 1e9) for mission, value in seconds.items()}

    def light_time(mission: str, antenna: str, ground_ns: int) -> int | None:
        if mission in fixed:
            return fixed[mission]
        modelled = otherwise(mission, antenna, ground_ns)
        return modelled if modelled is not None else fixed.get("")

    return light_time
