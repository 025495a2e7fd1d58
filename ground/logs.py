"""Logs of a service: lines of text, or of JSON for a log store, on standard error.

What is logged is what is said on the bus: `MessageLog` is called with each message that a service
publishes, and writes down changes of state, limit transitions, on-board events, commands and
radiations.  So a line can be followed by what the messages carry: an event names its number and the
place in `receive`'s journal that it comes from (`packets_journal`, `packets_sequence`), and
`receive` says, at level DEBUG, which frames and octets of the capture each place there came from.
`l4 trace EVENT` walks the same way.  No message that is logged carries a key or a password.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from typing import Any, Final

import numpy as np

from ground.ports import LinkState, Message
from protocols.bus.messages import (
    CommandMessage,
    EventMessage,
    LinkMessage,
    PacketsMessage,
    RadiatedMessage,
    ServiceState,
    Severity,
    StatusMessage,
    parse,
)
from protocols.errors import LocalError
from protocols.identifiers import Topic
from protocols.timecodes.tai import tai_ns_from_unix_ns, utc_iso_from_tai_ns

FORMATS = ("text", "json")
#: Attribute of a record that holds what a line says besides its message.
_FIELDS = "l4_fields"
_SEVERITIES = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.CRITICAL: logging.ERROR,
}
#: Lines of one level that a process may write at once, and for good in a second; those beyond are
#: left out and counted.  The journals have what is left out here.
FLOOD_LINES: Final = 1000
FLOOD_LINES_S: Final = 10.0
#: What others sent stands in messages: theirs must not look like more lines, or steer a terminal.
_CONTROLS: Final = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160))}


class FloodGate(logging.Filter):
    """Bounds the log by level, so that a flood of warnings hides no error; DEBUG was asked for."""

    def __init__(self) -> None:
        super().__init__()
        #: Level → (lines that may be written at once, since when, lines left out).
        self._room: dict[int, tuple[float, float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno <= logging.DEBUG:
            return True
        now_s = time.monotonic()
        room, since_s, left_out = self._room.get(record.levelno, (FLOOD_LINES, now_s, 0))
        room = min(FLOOD_LINES, room + (now_s - since_s) * FLOOD_LINES_S)
        if room < 1:
            self._room[record.levelno] = room, now_s, left_out + 1
            return False
        self._room[record.levelno] = room - 1, now_s, left_out
        left_out = sum(one[2] for one in self._room.values())
        if left_out:
            self._room = {level: (*one[:2], 0) for level, one in self._room.items()}
            said = {**getattr(record, _FIELDS, {}), "lines_left_out": left_out}
            setattr(record, _FIELDS, said)
        return True


class JsonLines(logging.Formatter):
    """One object a line: time (UTC, wall), level, logger, message, then the line's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _utc(int(tai_ns_from_unix_ns(int(record.created * 1e9)))),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line, ensure_ascii=False)


class TextLines(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        now = _utc(int(tai_ns_from_unix_ns(int(record.created * 1e9))))
        fields = getattr(record, _FIELDS, {})
        said = record.getMessage() + "".join(f" {name}={value}" for name, value in fields.items())
        said = said.translate(_CONTROLS)
        line = f"{now} {record.levelname.lower():7} {record.name}: {said}"
        if record.exc_info:
            line += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
        return line


class JournalLines(logging.Formatter):
    """Lines of another formatter, each with its priority as sd-daemon(3) has it: systemd's journal
    takes it off again, and `journalctl --priority warning` finds what is one."""

    def __init__(self, lines: logging.Formatter) -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        priority = journal_priority(record.levelno)
        return priority + self._lines.format(record).replace("\n", f"\n{priority}")


def journal_priority(level: int) -> str:
    """`<3>` for an error …, after syslog's priorities."""
    priorities = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}
    return f"<{next((number for least, number in priorities.items() if level >= least), 7)}>"


def to_journal() -> bool:
    """Whether standard error is systemd's journal: JOURNAL_STREAM (systemd.exec(5)) is inherited
    by children whose standard error is another."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def say_why(text: str) -> None:
    """The one line on standard error why this process ends."""
    print(journal_priority(logging.ERROR) * to_journal() + text, file=sys.stderr)


def set_up(form: str | None = None) -> None:
    """Standard error gets the logs of this process; L4_LOG_FORMAT, L4_LOG_LEVEL where nothing is
    said.  LocalError: neither names a format or level."""
    form = form or os.environ.get("L4_LOG_FORMAT") or "text"
    level = os.environ.get("L4_LOG_LEVEL") or "info"
    if form not in FORMATS:
        raise LocalError(f"L4_LOG_FORMAT {form!r}: {' or '.join(FORMATS)} wanted")
    levels = logging.getLevelNamesMapping()
    if level.upper() not in levels:
        raise LocalError(f"L4_LOG_LEVEL {level!r}: one of {', '.join(levels).lower()} wanted")
    handler = logging.StreamHandler(sys.stderr)
    lines = JsonLines() if form == "json" else TextLines()
    handler.setFormatter(JournalLines(lines) if to_journal() else lines)
    handler.addFilter(FloodGate())
    logger = logging.getLogger("l4")
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    # Other people's libraries: what they warn of.
    logging.getLogger().handlers = [handler]
    logging.getLogger().setLevel(logging.WARNING)


class MessageLog:
    """Writes down what a service's messages tell."""

    def __init__(self, service: str) -> None:
        self._parent = logging.getLogger("l4")
        self._logger = logging.getLogger(f"l4.{service}")
        self._state: str | None = None
        self._link: tuple[str, bool] | None = None
        self._link_was_ok = False

    def __call__(self, message: Message) -> None:
        if not self._parent.handlers:
            return  # nobody has called `set_up`
        if message.topic.startswith(Topic.STATUS):
            self._status(parse(StatusMessage, message.body))
        elif message.topic == Topic.EVENTS:
            self._events(message)
        elif message.topic.partition(".")[0] == Topic.LINK:
            self._link_state(parse(LinkMessage, message.body))
        elif message.topic == Topic.COMMANDS:
            self._command(parse(CommandMessage, message.body))
        elif message.topic == Topic.RADIATED:
            self._radiated(parse(RadiatedMessage, message.body))
        elif message.topic == Topic.PACKETS and self._logger.isEnabledFor(logging.DEBUG):
            self._packets(message)

    def _say(self, level: int, text: str, /, **fields: Any) -> None:
        said = {name: value for name, value in fields.items() if value != ""}
        self._logger.log(level, "%s", text, extra={_FIELDS: said})

    def _status(self, status: StatusMessage) -> None:
        if status.state == self._state:
            return
        before, self._state = self._state, status.state
        level = logging.ERROR if status.state == ServiceState.FAILED else logging.INFO
        self._say(level, status.state, detail=status.detail, before=before or "")

    def _events(self, message: Message) -> None:
        told = parse(EventMessage, message.body)
        for number, event in enumerate(told.events, told.first_event):
            self._say(
                _SEVERITIES[Severity(event.severity)],
                event.text,
                event=number,
                kind=event.kind,
                name=event.name,
                value=event.value,
                before=event.before,
                after=event.after,
                playback=event.playback,
                scet=_utc(event.scet_ns),
                ert=_utc(event.ert_ns),
                events_journal=message.journal,
                events_sequence=message.sequence,
                packets_journal=told.journal,
                packets_sequence=told.sequence,
            )

    def _packets(self, message: Message) -> None:
        told = parse(PacketsMessage, message.body)
        if not len(told.packets):
            return
        self._say(
            logging.DEBUG,
            f"{len(told.packets)} packets",
            packets_journal=message.journal,
            packets_sequence=message.sequence,
            first_packet=told.first_packet,
            vcids=sorted({int(one) for one in np.unique(told.packets.vcid)}),
            ert_first=_utc(int(told.packets.ert_ns[0])),
            ert_last=_utc(int(told.packets.ert_ns[-1])),
            capture_file=told.capture_file,
            capture_offset=told.capture_offset,
        )

    def _link_state(self, link: LinkMessage) -> None:
        now = (link.state, link.carrier)
        if now == self._link:
            return
        self._link = now
        lost = link.state == LinkState.FAILED
        if link.state == LinkState.UNAVAILABLE:
            lost = self._link_was_ok  # and not at its start, when it is yet to be reached
        self._link_was_ok |= link.state == LinkState.OK
        level = logging.WARNING if lost else logging.INFO
        carrier = "carrier locked" if link.carrier else "no carrier"
        self._say(level, f"link {link.state}, {carrier}", link=link.link, detail=link.detail)

    def _command(self, told: CommandMessage) -> None:
        request = f"command {told.number} {told.command}: {told.state}"
        self._say(
            logging.INFO,
            request if told.number else told.text,
            command=told.number or "",
            what=told.event,
            text=told.text if told.number else "",
            actor=told.actor,
            time=_utc(told.time_ns),
        )

    def _radiated(self, told: RadiatedMessage) -> None:
        level = logging.WARNING if told.refused else logging.INFO
        text = f"refused: {told.refused}" if told.refused else "radiated"
        self._say(level, text, uplink=told.id, asked_by=told.service, station=told.station)


def _utc(tai_ns: int) -> str:
    return utc_iso_from_tai_ns(tai_ns, decimals=6) if tai_ns else ""
