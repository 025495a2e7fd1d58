"""Packets to parameters, limit transitions and events: a function of the packets and its state.

No clock and no bus here: the same `PacketsMessage`s in the same order give the same output, which
is what lets a restarted monitor take up where the journal ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ground.monitor.staleness import Staleness
from ground.ports import Dictionaries
from ground.warming import warm_dictionary
from protocols.bus.columns import ParameterColumn, ParameterColumns, TableHead, table_head
from protocols.bus.messages import (
    Event,
    EventKind,
    PacketsMessage,
    ParameterTable,
    Severity,
)
from protocols.telemetry import tables
from protocols.telemetry.declaration import Dictionary, PacketDefinition, Parameter
from protocols.telemetry.limits import LimitMonitor, Limits, LimitState, LimitTransition
from protocols.telemetry.limits import severity as severity_of
from protocols.telemetry.sampling import Sampler

_SEVERITY = (Severity.INFO, Severity.WARNING, Severity.CRITICAL)
_BOUND = {
    LimitState.CRITICAL_LOW: (0, "below"),
    LimitState.WARNING_LOW: (1, "below"),
    LimitState.WARNING_HIGH: (2, "above"),
    LimitState.CRITICAL_HIGH: (3, "above"),
}


NO_STATES = np.empty(0, np.uint8)
COUNTS = ("packets", "playback", "undefined", "wrong_length", "values", "transitions")


@dataclass(frozen=True, slots=True)
class EventPacket:
    """Which packets of a dictionary report on-board events, and where they say what.

    definitions: all with the same parameters; severities: label of the severity parameter → ours.
    """

    definitions: frozenset[str]
    identifier: str
    severity: str
    text: str
    severities: Mapping[str, Severity]


@dataclass(frozen=True, slots=True)
class OnBoard:
    """What is particular to a spacecraft's packets.

    failures: definition of a packet that says that something did not work → what failed, from the
    engineering values of one packet; irregular: definitions that come when there is a reason, so
    that their absence says nothing.
    """

    events: EventPacket
    failures: Mapping[str, Callable[[Mapping[str, Any]], str]]
    irregular: frozenset[str]


@dataclass(frozen=True, slots=True)
class Decoded:
    tables: tuple[ParameterTable, ...]
    events: tuple[Event, ...]


@dataclass
class _Samples:
    """Live samples of one parameter in one message, perhaps from several definitions.

    parts: for each definition, its table and which of its rows are live (None: all).
    """

    parameter: Parameter
    parts: list[tuple[tables.ParameterTable, npt.NDArray[np.intp] | None]] = field(
        default_factory=list
    )

    def column(
        self, of_table: Callable[[tables.ParameterTable], npt.NDArray[Any]]
    ) -> npt.NDArray[Any]:
        found = [
            of_table(table) if live is None else of_table(table)[live] for table, live in self.parts
        ]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def value(self, number: int) -> Any:
        for table, live in self.parts:
            rows = len(table) if live is None else len(live)
            if number < rows:
                row = number if live is None else int(live[number])
                return table.engineering(self.parameter.name)[row]
            number -= rows
        raise IndexError(number)


class Decoder:
    """State of all parameters of one dictionary (None: the mission has none, nothing is decoded).

    on_board: None if nothing is known of the spacecraft but its dictionary.
    sampler: which packets are decoded; None: all of them.  (One that it leaves out changes no limit
    state and tells no event.)
    counts: names of COUNTS; `undefined` packets have no definition.
    """

    def __init__(
        self,
        dictionary: Dictionary | Dictionaries | None,
        on_board: OnBoard | None = None,
        *,
        sampler: Sampler | None = None,
    ) -> None:
        self._dictionaries = None if isinstance(dictionary, Dictionary) else dictionary
        self._dictionary = dictionary if isinstance(dictionary, Dictionary) else None
        if self._dictionaries is not None:
            self._dictionary = self._dictionaries.dictionary
        self.sampler = sampler
        self._event_packet = None if on_board is None else on_board.events
        self._failures = {} if on_board is None else on_board.failures
        self._irregular = frozenset[str]() if on_board is None else on_board.irregular
        # By name of the packet definition.
        self._heads: dict[str, TableHead] = {}
        self._with_limits: dict[str, tuple[str, ...]] = {}
        self.limits = LimitMonitor()
        self.staleness = Staleness()
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))

    def warm(self) -> None:
        """Have the kernels ready; no state changes."""
        warm_dictionary(self._dictionary)

    def decode(self, message: PacketsMessage) -> Decoded:
        """Tables of all packets; events of the live ones, and on-board events of all."""
        self.counts["packets"] += len(message.packets)
        if self._dictionary is None:
            return Decoded((), ())
        if self._dictionaries is None:
            return self._decode(message)
        pieces = self._dictionaries.pieces(message.packets)
        decoded = [self._piece(message, *piece) for piece in pieces]
        if len(decoded) == 1:
            return decoded[0]
        return Decoded(
            tuple(table for one in decoded for table in one.tables),
            tuple(event for one in decoded for event in one.events),
        )

    def _piece(
        self, message: PacketsMessage, start: int, stop: int, dictionary: Dictionary
    ) -> Decoded:
        if dictionary is not self._dictionary:
            self._dictionary = dictionary
            self._heads.clear()
            self._with_limits.clear()
        if (start, stop) != (0, len(message.packets)):
            message = replace(
                message,
                packets=message.packets.slice(start, stop),
                playback=message.playback[start:stop],
                first_packet=message.first_packet + start,
            )
        return self._decode(message)

    def _decode(self, message: PacketsMessage) -> Decoded:
        assert self._dictionary is not None
        decoded = self._dictionary.decode(message.packets, self.sampler)
        self.counts["playback"] += int(np.count_nonzero(message.playback))
        self.counts["undefined"] += self._dictionary.undefined(message.packets, decoded.unmatched)
        self.counts["wrong_length"] += len(decoded.wrong_length)
        sent: list[ParameterTable] = []
        events: list[Event] = []
        judged: list[tuple[tables.ParameterTable, npt.NDArray[np.intp] | None]] = []
        loud: set[str] = set()
        for table in decoded:
            states = table.judge()
            playback = message.playback[table.rows]
            ert_ns = table.ert_ns
            sent.append(self._table(table, states, ert_ns, playback, message.first_packet))
            events += self._reported(table, playback, message.reception_ns)
            recorded = np.count_nonzero(playback)
            if recorded == len(playback):
                continue
            live = np.flatnonzero(~playback) if recorded else None
            name, scet_ns = table.definition.name, table.scet_ns
            if live is not None:
                scet_ns, ert_ns = scet_ns[live], ert_ns[live]
            if name not in self._irregular and self.staleness.seen(name, scet_ns, ert_ns):
                events.append(_fresh(name, int(scet_ns[0]), int(ert_ns[0]), message.reception_ns))
            judged.append((table, live))
            loud.update(self._loud(table, states, live))
        if loud:
            for sample in self._collect(judged, loud).values():
                events += self._limit_events(sample, message.reception_ns)
        return Decoded(tuple(sent), tuple(events))

    def _table(
        self,
        table: tables.ParameterTable,
        judged: tables.Judged,
        ert_ns: npt.NDArray[np.int64],
        playback: npt.NDArray[np.bool_],
        first_packet: int,
    ) -> ParameterTable:
        limited = self._limited(table.definition)
        states = judged.states
        if judged.names != limited:
            rows = [table.limit_state(name) for name in limited]
            states = np.array(rows, np.uint8).reshape(len(rows), len(table))
        columns = ParameterColumns(self._head(table), len(table), list(table.raw.values()), states)
        self.counts["values"] += len(columns) * len(table)
        return ParameterTable(
            definition=table.definition.name,
            packet=first_packet + table.rows,
            scet_ns=table.scet_ns,
            ert_ns=ert_ns,
            playback=playback,
            columns=columns,
        )

    def _head(self, table: tables.ParameterTable) -> TableHead:
        """What the columns of a definition are is the same in every message."""
        name = table.definition.name
        if name not in self._heads:
            described = [
                ParameterColumn(
                    parameter.name,
                    table.raw[parameter.name],
                    NO_STATES if parameter.limits is None else np.zeros(len(table), np.uint8),
                    parameter.calibration,
                    parameter.unit,
                )
                for parameter in table.definition.parameters.values()
            ]
            self._heads[name] = table_head(described, table.scet_ns)
        return self._heads[name]

    # ------------------------------------------------------------ limits

    def _limited(self, definition: PacketDefinition) -> tuple[str, ...]:
        """Names of a definition's parameters with limits."""
        if definition.name not in self._with_limits:
            parameters = definition.parameters.items()
            named = tuple(name for name, p in parameters if p.limits is not None)
            self._with_limits[definition.name] = named
        return self._with_limits[definition.name]

    def _loud(
        self,
        table: tables.ParameterTable,
        judged: tables.Judged,
        live: npt.NDArray[np.intp] | None,
    ) -> list[str]:
        """Parameters of which not all samples are in the state that was reported: few."""
        told, limited = self._event_packet, self._limited(table.definition)
        if told and table.definition.name in told.definitions:
            # An on-board event is told as itself; its severity going back and forth is no alarm.
            limited = tuple(name for name in limited if name != told.severity)
        if live is not None:
            return list(limited)
        steady = self.limits.steady
        quiet = {
            name
            for name, (least, most) in zip(judged.names, judged.extremes.tolist(), strict=True)
            if least == most and steady(name, least)
        }
        return [name for name in limited if name not in quiet]

    def _collect(
        self,
        judged: list[tuple[tables.ParameterTable, npt.NDArray[np.intp] | None]],
        loud: set[str],
    ) -> dict[str, _Samples]:
        """All samples of those parameters, from whatever packets."""
        told = self._event_packet
        samples: dict[str, _Samples] = {}
        for table, live in judged:
            for name in self._limited(table.definition):
                if name not in loud or (
                    told and table.definition.name in told.definitions and name == told.severity
                ):
                    continue
                parameter = table.definition.parameters[name]
                samples.setdefault(name, _Samples(parameter)).parts.append((table, live))
        return samples

    def _limit_events(self, sample: _Samples, reception_ns: int) -> list[Event]:
        scet_ns = sample.column(lambda table: table.scet_ns)
        state = sample.column(lambda table: table.limit_state(sample.parameter.name))
        # The sample's number stands for its value: a repeated parameter has several.
        order = np.arange(len(scet_ns))
        if np.any(scet_ns[1:] < scet_ns[:-1]):
            # Virtual channels and definitions interleave; the parameter has one time line.
            order = np.argsort(scet_ns, kind="stable")
            scet_ns, state = scet_ns[order], state[order]
        found = self.limits.push(sample.parameter, scet_ns, order, state)
        if not found:
            return []
        ert_ns = sample.column(lambda table: table.ert_ns)
        self.counts["transitions"] += len(found)
        events: list[Event] = []
        for transition in found:
            row = int(transition.value)
            value = format_value(sample.value(row), sample.parameter.unit)
            events.append(
                _limit_event(transition, sample.parameter, value, int(ert_ns[row]), reception_ns)
            )
        return events

    # ------------------------------------------------------------ on-board events

    def _reported(
        self, table: tables.ParameterTable, playback: npt.NDArray[np.bool_], reception_ns: int
    ) -> list[Event]:
        told, name = self._event_packet, table.definition.name
        if name in self._failures:
            return self._failed(table, playback, reception_ns)
        if told is None or name not in told.definitions:
            return []
        identifiers, texts = table.engineering(told.identifier), table.engineering(told.text)
        severities = table.engineering(told.severity)
        return [
            Event(
                kind=EventKind.SPACECRAFT,
                severity=told.severities.get(str(severities[row]), Severity.WARNING),
                name=str(identifiers[row]),
                text=str(texts[row]),
                scet_ns=int(table.scet_ns[row]),
                ert_ns=int(table.ert_ns[row]),
                reception_ns=reception_ns,
                playback=bool(playback[row]),
            )
            for row in range(len(table))
        ]

    def _failed(
        self, table: tables.ParameterTable, playback: npt.NDArray[np.bool_], reception_ns: int
    ) -> list[Event]:
        name = table.definition.name
        columns = {parameter: table.engineering(parameter) for parameter in table.raw}
        return [
            Event(
                kind=EventKind.SPACECRAFT,
                severity=Severity.WARNING,
                name=name,
                text=self._failures[name]({key: column[row] for key, column in columns.items()}),
                scet_ns=int(table.scet_ns[row]),
                ert_ns=int(table.ert_ns[row]),
                reception_ns=reception_ns,
                playback=bool(playback[row]),
            )
            for row in range(len(table))
        ]

    # ------------------------------------------------------------ time alone

    def silence(self, now_ns: int, grace_ns: int, *, expected: bool = False) -> tuple[Event, ...]:
        """Events for definitions that have become stale by `now_ns`; expected: no pass is on."""
        severity = Severity.INFO if expected else Severity.WARNING
        why = ": no pass" if expected else ""
        return tuple(
            Event(
                kind=EventKind.STALE,
                severity=severity,
                name=name,
                text=f"{name} packets have stopped{why}",
                scet_ns=self.staleness.rhythms[name].scet_ns,
                ert_ns=self.staleness.rhythms[name].ert_ns,
                reception_ns=now_ns,
            )
            for name in self.staleness.due(now_ns, grace_ns)
        )

    def snapshot(self) -> dict[str, Any]:
        return {
            "limits": self.limits.snapshot(),
            "staleness": self.staleness.snapshot(),
            "counts": dict(self.counts),
            "sampler": None if self.sampler is None else self.sampler.snapshot(),
            "structures": None if self._dictionaries is None else self._dictionaries.snapshot(),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        self.limits.restore(snapshot["limits"])
        self.staleness.restore(snapshot["staleness"])
        self.counts = Counter(snapshot["counts"])
        if self.sampler is not None:
            self.sampler.restore(snapshot.get("sampler"))
        structures = snapshot.get("structures")
        if self._dictionaries is not None and structures is not None:
            self._dictionaries.restore(structures)


def _fresh(name: str, scet_ns: int, ert_ns: int, reception_ns: int) -> Event:
    return Event(
        kind=EventKind.FRESH,
        severity=Severity.INFO,
        name=name,
        text=f"{name} packets are back",
        scet_ns=scet_ns,
        ert_ns=ert_ns,
        reception_ns=reception_ns,
    )


def _limit_event(
    transition: LimitTransition, parameter: Parameter, value: str, ert_ns: int, reception_ns: int
) -> Event:
    threshold = threshold_text(parameter, transition.state)
    if transition.state == LimitState.NOMINAL:
        text = f"{parameter.name} {value} is back within limits"
    else:
        text = f"{parameter.name} {value} is {transition.state.name}"
        text += f" ({threshold})" if threshold else ""
    return Event(
        kind=EventKind.LIMIT,
        severity=_SEVERITY[severity_of(transition.state)],
        name=parameter.name,
        text=text,
        scet_ns=transition.scet_ns,
        ert_ns=ert_ns,
        reception_ns=reception_ns,
        value=value,
        threshold=threshold,
        before=transition.previous.name,
        after=transition.state.name,
    )


def threshold_text(parameter: Parameter, state: LimitState) -> str:
    """What the operator compares the value with, e.g. "below 24.5 V"; "" where no number is."""
    if not isinstance(parameter.limits, Limits) or state not in _BOUND:
        return ""
    at, side = _BOUND[state]
    return f"{side} {format_value(parameter.limits.bounds[at], parameter.unit)}"


def format_value(value: Any, unit: str) -> str:
    """Value for people; a repeated parameter's values in brackets, long ones cut."""
    if isinstance(value, np.ndarray):
        listed = " ".join(format_value(item, "") for item in value[:8])
        text = f"[{listed}{' …' if len(value) > 8 else ''}]"
    elif isinstance(value, float | np.floating):
        text = f"{value:.6g}"
    else:
        text = str(value)
    return f"{text} {unit}" if unit else text
