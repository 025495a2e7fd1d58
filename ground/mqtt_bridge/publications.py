"""Bodies of the bus as MQTT topics and JSON; the tree and each body stand in docs/howto/mqtt.md.

Times are UTC in ISO 8601.  `id` is the same however often a message is sent: journal, sequence of
the message in it, place in the message.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from ground.mqtt_bridge.outbox import Publication
from ground.mqtt_bridge.settings import BrokerSettings
from ground.ports import Message
from protocols.bus.columns import ParameterColumn
from protocols.bus.messages import (
    CommandMessage,
    Event,
    EventKind,
    EventMessage,
    LinkMessage,
    ParametersMessage,
    ParameterTable,
    PassesMessage,
    StatusMessage,
    TimeMessage,
    parse,
)
from protocols.identifiers import Topic
from protocols.telemetry.limits import LimitState
from protocols.timecodes.tai import utc_iso_from_tai_ns

#: Kinds of event that change how something is.
TRANSITIONS: Final = (EventKind.LIMIT, EventKind.STALE, EventKind.FRESH)


class Publisher:
    """Makes publications of messages of the bus."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._base = settings.base
        self._telemetry_qos = settings.telemetry_qos
        self._listed = frozenset(settings.topics)
        self._makers: dict[str, Callable[[Message], list[Publication]]] = {
            Topic.PARAMETERS: self._parameters,
            Topic.EVENTS: self._events,
            Topic.COMMANDS: self._command,
            Topic.LINK: self._link,
            Topic.PASSES: self._passes,
            Topic.TIME: self._time,
        }

    def online(self, online: bool) -> Publication:
        """Retained; the last will says the opposite of a connection that was lost."""
        return self._publication("bridge/online", {"online": online}, qos=1, state=True)

    def publications(self, message: Message) -> list[Publication]:
        """RemoteError: a body that is none we know."""
        make = self._makers.get(message.topic)
        if make is None and message.topic.startswith(f"{Topic.STATUS}."):
            make = self._status
        return [] if make is None else make(message)

    def _publication(
        self, topic: str, body: Mapping[str, Any], *, qos: int = 0, state: bool = False
    ) -> Publication:
        octets = json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
        return Publication(f"{self._base}/{topic}", octets, qos, state)

    def _parameters(self, message: Message) -> list[Publication]:
        made: list[Publication] = []
        for table in parse(ParametersMessage, message.body).tables:
            # The packet's own time code is its SCET, which is told as such.
            columns = [_column(c) for c in table.columns if c.raw is not table.scet_ns]
            for row in range(len(table)):
                playback = bool(table.playback[row])
                body = _packet(f"{_id(message)}:{len(made)}", table, row, columns)
                made.append(
                    # What was stored on board is not how it is now.
                    self._publication(
                        f"telemetry/{level(table.definition)}",
                        body,
                        qos=self._telemetry_qos,
                        state=not playback,
                    )
                )
        return made

    def _events(self, message: Message) -> list[Publication]:
        made: list[Publication] = []
        for number, event in enumerate(parse(EventMessage, message.body).events):
            body = {"id": f"{_id(message)}:{number}", **_event(event)}
            if "events" in self._listed:
                topic = f"events/{level(event.kind)}/{level(event.name)}"
                made.append(self._publication(topic, body, qos=1))
            # Stored data played back raises no alarm and ends none.
            if "alarms" in self._listed and event.kind in TRANSITIONS and not event.playback:
                kind = "limit" if event.kind == EventKind.LIMIT else "staleness"
                topic = f"alarms/{kind}/{level(event.name)}"
                made.append(self._publication(topic, body, qos=1, state=True))
        return made

    def _command(self, message: Message) -> list[Publication]:
        change = parse(CommandMessage, message.body)
        body = {"id": f"{_id(message)}:0", **_utc(asdict(change), without=("id",))}
        return [self._publication(f"commands/{change.number}", body, qos=1)]

    def _link(self, message: Message) -> list[Publication]:
        link = parse(LinkMessage, message.body)
        body = _utc(asdict(link), without=("capture",))
        return [self._publication(f"link/{level(link.link)}", body, state=True)]

    def _passes(self, message: Message) -> list[Publication]:
        told = parse(PassesMessage, message.body)
        passes = [_utc(asdict(one)) for one in told.passes]
        body = {**_utc(asdict(told), without=("passes",)), "passes": passes}
        return [self._publication("passes", body, qos=1, state=True)]

    def _time(self, message: Message) -> list[Publication]:
        body = _utc(asdict(parse(TimeMessage, message.body)))
        return [self._publication("time", body, state=True)]

    def _status(self, message: Message) -> list[Publication]:
        status = parse(StatusMessage, message.body)
        lag = sum(position.lag for position in status.positions)
        body = {**_utc(asdict(status), without=("positions",)), "lag_messages": lag}
        return [self._publication(f"status/{level(status.service)}", body, state=True)]


def level(name: str) -> str:
    """A name as one level of a topic: what MQTT gives a meaning to becomes an underscore.

    >>> level("PWR_BUS_VOLTAGE"), level("a/b #1+")
    ('PWR_BUS_VOLTAGE', 'a_b__1_')
    """
    return "".join("_" if c in "+#/ $" or not c.isprintable() else c for c in name) or "_"


def _id(message: Message) -> str:
    return f"{message.journal or message.source}:{message.sequence}"


def _event(event: Event) -> dict[str, Any]:
    return _utc(asdict(event))


#: Fields in nanoseconds that are no instants.
_INTERVALS: Final = ("offset_ns", "sigma_ns", "error_ns", "lag_ns", "owlt_aos_ns", "owlt_los_ns")


def _utc(values: Mapping[str, Any], without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Instants as UTC under their name without `_ns`; those that are 0 say nothing: null."""
    made: dict[str, Any] = {}
    for name, value in values.items():
        if name in without:
            continue
        if name.endswith("_ns") and name not in _INTERVALS:
            made[name.removesuffix("_ns")] = _iso(value)
        else:
            made[name] = plain(value)
    return made


def _iso(tai_ns: int) -> str | None:
    return utc_iso_from_tai_ns(tai_ns, decimals=6) if tai_ns > 0 else None


LIMIT_NAMES: Final = {state.value: state.name for state in LimitState}
Cell = Callable[[int], dict[str, Any]]


def _column(column: ParameterColumn) -> tuple[str, Cell]:
    raw, values = column.raw, column.engineering

    def cell(row: int) -> dict[str, Any]:
        made: dict[str, Any] = {"value": plain(values[row])}
        if column.calibration is not None:
            made["raw"] = plain(raw[row])
        if column.unit:
            made["unit"] = column.unit
        if len(column.limit_state):
            # A number that we do not know says as little as no value does.
            made["limit"] = LIMIT_NAMES.get(int(column.limit_state[row]), "UNDEFINED")
        return made

    return column.name, cell


def _packet(
    identity: str, table: ParameterTable, row: int, columns: list[tuple[str, Cell]]
) -> dict[str, Any]:
    return {
        "id": identity,
        "definition": table.definition,
        "scet": _iso(int(table.scet_ns[row])),
        "ert": _iso(int(table.ert_ns[row])),
        "playback": bool(table.playback[row]),
        "parameters": {name: cell(row) for name, cell in columns},
    }


def plain(value: Any) -> Any:
    """What JSON can say of it: arrays as lists, octets in hexadecimal, no number as null.

    >>> plain(np.array([1.5, np.nan])), plain(np.uint8(3)), plain(b"L4")
    ([1.5, None], 3, '4c34')
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
