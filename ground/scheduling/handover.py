"""Whether antennas get from one track to the next in the time between them.

A set-up is a number that people give: it holds calibration and usually the slew too, but no rule
says that it is long enough, nor which way round the cable wrap leaves.  Here the antenna is driven
from track to track.  What does not fit is said, and is no broken rule: rates and wraps of the
package's stations are in part assumed, and who operates an antenna knows better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ground.scheduling.model import S_NS, Problem, Schedule, Track
from ground.scheduling.sky import Sky
from ground.scheduling.slewing import Turn, turns
from ground.scheduling.stations import Station
from ground.scheduling.targets import Target
from protocols.timecodes.tai import utc_iso_from_tai_ns


@dataclass(frozen=True)
class Handover:
    """A slew that does not fit, or a track that the wrap does not hold.

    before       None: the track is the first, only its wrap was judged
    available_s  from the end of the tear-down before to the begin of tracking
    interrupted  no wrap position holds the whole track
    """

    antenna: str
    before: Track | None
    after: Track
    slew_s: float
    available_s: float
    unwrap: bool
    interrupted: bool

    @property
    def text(self) -> str:
        at = f"{self.antenna} {utc_iso_from_tai_ns(self.after.on_ns, 0)} {self.after.request}"
        said = []
        if self.before is not None and self.slew_s > self.available_s:
            back = ", unwrapping" if self.unwrap else ""
            said.append(
                f"the slew from {self.before.request} takes {self.slew_s:.0f} s{back}; "
                f"{self.available_s:.0f} s lie between tear-down and tracking"
            )
        if self.interrupted:
            said.append("no wrap position holds the whole track: it is interrupted to unwrap")
        return f"{at}: {'; '.join(said)}"


def late_handovers(
    problem: Problem,
    schedule: Schedule,
    stations: Mapping[str, Station],
    targets: Mapping[str, Target],
) -> list[Handover]:
    """What does not fit, by antenna and time; `targets` by mission.

    Left out: antennas that are no station, and tracks of missions without a target, from and to
    which no slew is known.  Tracks that overlap are of one beam: the first stands for all.
    """
    found = []
    for antenna, tracks in schedule.by_antenna.items():
        if antenna not in stations:
            continue
        for run in _runs(problem, tracks, targets):
            sky = Sky(run[0].on_ns, max(t.off_ns for t in run))
            missions = [problem.request_by_id[t.request].mission for t in run]
            moves = turns(
                stations[antenna],
                [(targets[m], t.tracking) for m, t in zip(missions, run, strict=True)],
                sky,
            )
            found += _late(antenna, run, moves)
    return found


def _runs(
    problem: Problem, tracks: tuple[Track, ...], targets: Mapping[str, Target]
) -> Iterator[list[Track]]:
    """Tracks that follow each other, unbroken by one whose target is not known."""
    run: list[Track] = []
    for track in sorted(tracks, key=lambda t: t.on_ns):
        request = problem.request_by_id.get(track.request)
        if request is None or request.mission not in targets:
            if run:
                yield run
            run = []
        elif not run or track.on_ns >= run[-1].off_ns:
            run.append(track)
    if run:
        yield run


def _late(antenna: str, run: list[Track], moves: list[Turn]) -> Iterator[Handover]:
    before: Track | None = None
    for track, move in zip(run, moves, strict=True):
        free_s = float("inf") if before is None else (track.on_ns - before.end_ns) / S_NS
        if move.slew_s > free_s or move.interrupted:
            yield Handover(
                antenna, before, track, move.slew_s, free_s, move.unwrap, move.interrupted
            )
        before = track
