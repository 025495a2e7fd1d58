"""Service 11: requests that wait on board for their time."""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from protocols.dictionary.l4_command_fields import PUS_FORMAT
from protocols.packets.pus import RequestId, parse_request
from protocols.telecommand.verification import FailureCode
from spacecraft_sim.flight_software.execution import Handlers, Refusal
from spacecraft_sim.flight_software.reports import ReportWriter

#: Activities that fit the memory set aside for them.
MOST_ACTIVITIES: Final = 500
#: A request nearer than this could be released before its insertion is reported.
_SOONEST_NS: Final = 1_000_000_000


@dataclass(frozen=True, order=True, slots=True)
class Activity:
    """Ordered by release time (on-board clock, ns), then as inserted.

    source: of the request; with its APID and sequence count what names it (figure 8-92).
    """

    release_ns: int
    number: int
    source: int = field(compare=False)
    request: RequestId = field(compare=False)
    packet: bytes = field(compare=False)

    @property
    def name(self) -> tuple[int, int, int]:
        return self.source, self.request.apid, self.request.sequence_count


class Schedule:
    """now_ns: the on-board clock, set by `due`."""

    def __init__(self, reports: ReportWriter, check: Any) -> None:
        self._reports = reports
        self._check = check
        self._activities: list[Activity] = []
        self._inserted = 0
        self.enabled = True
        self.now_ns = 0
        self.handlers: Handlers = {
            "SCHEDULE_ENABLE": lambda _: self._switch(on=True),
            "SCHEDULE_DISABLE": lambda _: self._switch(on=False),
            "SCHEDULE_RESET": self._reset,
            "SCHEDULE_INSERT": self._insert,
            "SCHEDULE_DELETE": lambda a: self._activities.remove(self._find(a)),
            "SCHEDULE_SHIFT": self._shift,
            "SCHEDULE_SHIFT_ALL": self._shift_all,
            "SCHEDULE_REPORT": self._report,
            "SCHEDULE_SUMMARY": self._summary,
        }

    def __len__(self) -> int:
        return len(self._activities)

    def due(self, now_ns: int) -> list[Activity]:
        """Activities whose time has come, taken out of the schedule."""
        self.now_ns = now_ns
        out: list[Activity] = []
        while self._activities and self._activities[0].release_ns <= now_ns:
            out.append(self._activities.pop(0))
        return out

    def lose_last(self) -> Activity | None:
        """What an upset does to the end of the table."""
        return self._activities.pop() if self._activities else None

    def _switch(self, *, on: bool) -> None:
        self.enabled = on

    def _reset(self, _: Mapping[str, Any]) -> None:
        self._activities.clear()
        self.enabled = False

    def _insert(self, arguments: Mapping[str, Any]) -> None:
        packet = bytes(arguments["REQUEST"])
        self._check(packet)
        self._soon(arguments["RELEASE_TIME"])
        if len(self._activities) >= MOST_ACTIVITIES:
            raise Refusal(FailureCode.NO_ROOM, f"{MOST_ACTIVITIES} activities are scheduled")
        self._inserted += 1
        insort(
            self._activities,
            Activity(
                arguments["RELEASE_TIME"],
                self._inserted,
                parse_request(packet, PUS_FORMAT).source_id,
                RequestId.of(packet),
                packet,
            ),
        )

    def _soon(self, release_ns: int) -> None:
        if release_ns < self.now_ns + _SOONEST_NS:
            late = (self.now_ns - release_ns) / 1e9
            raise Refusal(FailureCode.TOO_LATE, f"release time is {late:.1f} s ago")

    def _find(self, arguments: Mapping[str, Any]) -> Activity:
        wanted = arguments["SOURCE"], arguments["APID"], arguments["SEQUENCE_COUNT"]
        for activity in self._activities:
            if activity.name == wanted:
                return activity
        source, apid, count = wanted
        text = f"request {count} of APID {apid} from source {source} is not scheduled"
        raise Refusal(FailureCode.UNKNOWN_IDENTIFIER, text)

    def _shift(self, arguments: Mapping[str, Any]) -> None:
        activity = self._find(arguments)
        moved = replace(activity, release_ns=activity.release_ns + arguments["OFFSET"] * 10**9)
        self._soon(moved.release_ns)
        self._activities.remove(activity)
        insort(self._activities, moved)

    def _shift_all(self, arguments: Mapping[str, Any]) -> None:
        by_ns = arguments["OFFSET"] * 10**9
        for activity in self._activities[:1]:
            self._soon(activity.release_ns + by_ns)
        self._activities = [replace(a, release_ns=a.release_ns + by_ns) for a in self._activities]

    def _report(self, _: Mapping[str, Any]) -> None:
        for activity in self._activities:
            self._reports.put(
                "SCHEDULE_DETAIL",
                {
                    "SCH_NUMBER": 1,
                    "SCH_TIME": activity.release_ns,
                    "SCH_REQUEST": activity.packet,
                },
            )

    def _summary(self, _: Mapping[str, Any]) -> None:
        # The count is one octet.
        for start in range(0, max(1, len(self._activities)), 255):
            part = self._activities[start : start + 255]
            self._reports.put(
                "SCHEDULE_SUMMARY",
                {
                    "SCH_RELEASE": [a.release_ns for a in part],
                    "SCH_SOURCE": [a.source for a in part],
                    "SCH_APID": [a.request.apid for a in part],
                    "SCH_SEQUENCE_COUNT": [a.request.sequence_count for a in part],
                },
            )
