"""Service 13, uplink: a packet that comes in parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from protocols.telecommand.verification import FailureCode
from spacecraft_sim.flight_software.execution import Handlers, Refusal
from spacecraft_sim.flight_software.reports import ReportWriter

#: §6.13.4: a part that does not come for so long ends the transfer.
TIME_OUT_S: Final = 600
#: A space packet is no longer (133.0-B-2 §4.1.3.5.3).
LONGEST: Final = 65_542
_TIMED_OUT, _OUT_OF_ORDER, _TOO_LONG = 1, 2, 3


class LargePackets:
    """One transfer at a time; `execute` is given the packet when the last part is there."""

    def __init__(self, reports: ReportWriter, execute: Callable[[bytes], None]) -> None:
        self._reports = reports
        self._execute = execute
        self._transfer = 0
        self._parts: list[bytes] = []
        self._idle_s = 0
        self.handlers: Handlers = {
            "LARGE_FIRST": self._first,
            "LARGE_INTERMEDIATE": self._next,
            "LARGE_LAST": self._last,
        }

    def tick(self) -> None:
        """A second without a part, unless one comes."""
        if self._transfer:
            self._idle_s += 1
            if self._idle_s > TIME_OUT_S:
                self._abort(_TIMED_OUT)

    def _first(self, arguments: Mapping[str, Any]) -> None:
        if self._transfer:
            raise Refusal(FailureCode.IN_PROGRESS, f"transfer {self._transfer} is in progress")
        if arguments["PART_NUMBER"] != 1:
            raise Refusal(FailureCode.ILLEGAL_ARGUMENT, "the first part is number 1")
        self._transfer, self._parts, self._idle_s = arguments["TRANSFER"], [], 0
        self._parts.append(bytes(arguments["PART"]))

    def _next(self, arguments: Mapping[str, Any]) -> None:
        if arguments["TRANSFER"] != self._transfer:
            raise Refusal(FailureCode.UNKNOWN_IDENTIFIER, f"no transfer {arguments['TRANSFER']}")
        if arguments["PART_NUMBER"] != len(self._parts) + 1:
            self._abort(_OUT_OF_ORDER)
            raise Refusal(FailureCode.ABORTED, "part out of order")
        self._parts.append(bytes(arguments["PART"]))
        self._idle_s = 0
        if sum(map(len, self._parts)) > LONGEST:
            self._abort(_TOO_LONG)
            raise Refusal(FailureCode.ABORTED, f"more than {LONGEST} octets")

    def _last(self, arguments: Mapping[str, Any]) -> None:
        self._next(arguments)
        packet = b"".join(self._parts)
        self._transfer = 0
        self._execute(packet)

    def _abort(self, reason: int) -> None:
        values = {"LPT_TRANSFER": self._transfer, "LPT_REASON": reason}
        self._reports.put("LARGE_ABORTED", values)
        self._transfer, self._parts = 0, []
