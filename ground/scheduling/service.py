"""scheduling: keeps the spacecraft's passes planned for days ahead and tells everybody.

Input is the clock, output the pass list: in a file, which stations read and which is the state that
a restart goes on from, and on the bus.  A published pass is never changed, but by an operator who
publishes another one that takes its place (`pass_desk.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ground.answering import Calls
from ground.config import SCHEDULING
from ground.durable_files import make_directory, replace_file
from ground.ports import Bus, Clock, Stop
from ground.scheduling import export, relay_plan
from ground.scheduling.export.publication import Publication
from ground.scheduling.pass_desk import PassDesk, Wanted, plain
from ground.scheduling.requests import request_file
from ground.scheduling.requests_file import write_requests
from ground.scheduling.shared import enter
from ground.scheduling.stations import Station
from ground.status import StatusReporter
from protocols.bus.messages import PassesMessage, ServiceState
from protocols.bus.pass_list import build_pass_list, parse_pass_list
from protocols.errors import LocalError
from protocols.identifiers import Topic
from protocols.timecodes.tai import utc_iso_from_tai_ns

#: Longest wait for the bus; operators' questions wait as long.
TURN_S = 0.2
#: The list is told again so often, wall seconds: a broker that was restarted has forgotten it.
REPEAT_S = 2.0
#: For people, beside the pass list.
FOR_PEOPLE = ("schedule.html", "schedule.ics")
#: For `l4 schedule`: what was asked and what was given.
REQUESTS, SCHEDULE = "requests.json", "schedule.json"

Planner = Callable[[int, PassesMessage | None], Publication]


class SchedulingService:
    """pass_list: the file, made with its directory; plan: `relay_plan.plan` with its stations.

    desk, server: for operators who plan a pass (none: nobody asks); shared: the schedule of all
    missions, if there is one (`shared.py`)."""

    def __init__(
        self,
        plan: Planner,
        bus: Bus,
        clock: Clock,
        pass_list: Path,
        *,
        desk: PassDesk | None = None,
        server: Calls | None = None,
        shared: Path | None = None,
    ) -> None:
        self._plan = plan
        self._bus = bus
        self._clock = clock
        self._path = pass_list
        self._desk, self._server, self._shared = desk, server, shared
        self._status = StatusReporter(SCHEDULING, clock, bus)
        self._told: PassesMessage | None = None
        self._repeat_s = 0.0

    def run(self, stop: Stop) -> None:
        self._told = self._recover()
        while not stop():
            now_ns = self._clock.now_ns()
            if relay_plan.is_due(self._told, now_ns):
                self._publish(self._plan(now_ns, self._told))
            if self._told is not None and time.monotonic() >= self._repeat_s:
                self._tell(self._told)
            self._status.state = ServiceState.RUNNING
            self._tick(now_ns)
            self._bus.receive(TURN_S)
            if self._server is not None:
                self._server.turn(self._operate)
        self._status.state = ServiceState.STOPPED
        self._tick(self._clock.now_ns(), now=True)

    def _recover(self) -> PassesMessage | None:
        """The list that stations have; RemoteError if it is not ours: what they follow must not be
        overwritten by guess."""
        if not self._path.is_file():
            return None
        return parse_pass_list(self._path.read_bytes())

    # Operators -----------------------------------------------------------------------------------

    def _operate(self, key: str, operation: str, arguments: dict[str, Any]) -> Any:
        """`views`; `try` and `publish` a pass: antenna, begin_ns, end_ns; to publish also actor,
        why, and the version that it was tried on.  Times TAI ns."""
        now_ns, told = self._clock.now_ns(), self._told
        if self._desk is None or told is None:
            raise LocalError("nothing is planned yet")
        if operation == "views":
            views = self._desk.views(now_ns, told)
            return {"version": told.version, "horizon_end_ns": told.horizon_end_ns, "views": views}
        if operation not in ("try", "publish"):
            raise LocalError(f"operation {operation!r}; views, try, publish are")
        wanted = Wanted(
            str(arguments["antenna"]), int(arguments["begin_ns"]), int(arguments["end_ns"])
        )
        done = self._done(told, wanted, operation)
        if done is not None:
            return done
        planned = self._desk.plan(now_ns, told, wanted)
        shown = plain(planned, now_ns)
        if operation == "try":
            return shown
        actor, why = str(arguments["actor"]), str(arguments["why"]).strip()
        if not actor or not why:
            raise LocalError("publish without a name or a reason: say who and why")
        if arguments["version"] != told.version:
            raise LocalError(
                f"tried on version {arguments['version']}, version {told.version} has been "
                "published since: try it again"
            )
        if planned.publication is None or planned.request is None or planned.track is None:
            raise LocalError("; ".join(planned.problems))
        # First where it may be refused.
        shared = self._shared is not None and enter(
            self._shared, planned.request, planned.track, actor, why, now_ns
        )
        self._publish(planned.publication)
        return shown | {"published": told.version + 1, "shared": shared}

    def _done(self, told: PassesMessage, wanted: Wanted, operation: str) -> dict[str, Any] | None:
        """Asked again for want of an answer: the pass is there."""
        same = (
            one
            for one in told.passes
            if (one.antenna, one.aos_ns, one.los_ns)
            == (wanted.antenna, wanted.begin_ns, wanted.end_ns)
        )
        found = next(same, None)
        if found is None or operation == "try":
            return None
        return {"id": found.id, "published": told.version}

    def _publish(self, publication: Publication) -> None:
        message = relay_plan.published_passes(publication, self._told)
        make_directory(self._path.parent)
        for name in FOR_PEOPLE:
            path = self._path.with_name(name)
            export.write(publication, export.format_of(None, path), path)
        requests = write_requests(request_file(publication.problem), "json")
        path = self._path.with_name(REQUESTS)
        partial = path.with_name(path.name + ".part")
        partial.write_text(requests)
        partial.replace(path)
        export.write(publication, "satnet", self._path.with_name(SCHEDULE))
        # The list last, and at once: a station that sees it finds all the rest there.
        # A restart goes on from this file: after a power cut it is the old list or this one.
        replace_file(self._path, (build_pass_list(message) + "\n").encode())
        self._tell(message)

    def _tell(self, message: PassesMessage) -> None:
        self._told = message
        self._repeat_s = time.monotonic() + REPEAT_S
        self._bus.publish(Topic.PASSES, message.build(), time_ns=message.generated_ns)

    def _tick(self, now_ns: int, *, now: bool = False) -> None:
        told = self._told
        counters = {"version": 0, "passes_ahead": 0}
        if told is not None:
            ahead = sum(p.los_ns > now_ns for p in told.passes)
            counters = {"version": told.version, "passes_ahead": ahead}
            self._status.detail = summary(told, now_ns)
        self._status.tick(counters, now=now)


def summary(told: PassesMessage, now_ns: int) -> str:
    """The pass that is on or the next one, in a line.

    >>> from ground.scheduling.service import summary
    >>> summary(PassesMessage("l4", 1, 0, 0, 0, ()), 0)
    'no pass, and none planned'
    """
    on, following = told.receiving(now_ns), told.next_after(now_ns)
    if on is not None:
        return f"pass over {on.place} until {_clock(on.los_ns)} UTC"
    if following is not None:
        return f"no pass; next over {following.place} at {_clock(following.aos_ns)} UTC"
    return "no pass, and none planned"


def _clock(tai_ns: int) -> str:
    return utc_iso_from_tai_ns(tai_ns, decimals=0)[:16].replace("T", " ")


def relay_planner(stations: list[Station]) -> Planner:
    return lambda now_ns, published: relay_plan.plan(now_ns, stations, published)
