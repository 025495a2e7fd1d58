"""The present as the bus says it, in the form in which browsers get it, and what has changed.

Times for browsers are milliseconds since 1970 UTC: JavaScript has no integers of 64 bits.  Which
packets are stale is the monitor's judgement.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from ground.config import ARCHIVE
from ground.console.alarms import Alarm, Alarms
from ground.console.archived import Archived
from ground.ports import Message
from protocols.bus.messages import (
    BundlesMessage,
    CommandMessage,
    DeliveredBundle,
    Event,
    EventKind,
    EventMessage,
    LinkMessage,
    ParametersMessage,
    ParameterTable,
    Pass,
    PassesMessage,
    RadioMessage,
    StatusMessage,
    TimeMessage,
    parse,
)
from protocols.identifiers import Topic
from protocols.telemetry.limits import LimitState
from protocols.timecodes.tai import unix_ns_from_tai_ns, utc_iso_from_tai_ns

#: Events and command changes that a page begins with.
RECENT: Final = 200
#: Delivered bundles that are shown.
BUNDLES: Final = 50
#: A receiver's spectrum and constellation are told so seldom, wall seconds, and with so many bins:
#: eyes need no more, and every browser gets them.
RADIO_S: Final = 0.4
SHOWN_BINS: Final = 512


def ms(tai_ns: int) -> float:
    """Milliseconds since 1970 UTC; 0 stays 0."""
    return 0.0 if not tai_ns else int(unix_ns_from_tai_ns(tai_ns)) / 1e6


@dataclass(slots=True)
class _Block:
    """Newest live values of a packet definition: [value, unit, limit state, since ms] by name."""

    ert_ns: int = 0
    scet_ns: int = 0
    packets: int = 0
    values: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])


#: A service that has not been heard since the console began to listen.
_UNHEARD: Final[dict[str, Any]] = {
    "state": "unknown",
    "detail": "not heard since the console began to listen",
    **dict.fromkeys(("time", "started", "lag"), 0),
    "mib": 0.0,
    "counters": {},
}


class ConsoleModel:
    """`take` what the bus says; `snapshot` is all of it, `changes` what is new since the last
    call."""

    def __init__(
        self, alarms: Alarms, stale: Iterable[str] = (), expected: Iterable[str] = ()
    ) -> None:
        """expected: services that belong to the site: one that is never heard is shown, too."""
        self.alarms = alarms
        self.archived = Archived()
        #: Packet definitions that have stopped coming.
        self.stale = set(stale)
        self._blocks: dict[str, _Block] = {}
        self._events: deque[dict[str, Any]] = deque(maxlen=RECENT)
        self._commands: deque[dict[str, Any]] = deque(maxlen=RECENT)
        #: At their destination, newest last.
        self._bundles: deque[dict[str, Any]] = deque(maxlen=BUNDLES)
        #: By topic, as browsers get it: link, passes, time, antennas' links; services by name.
        self._last: dict[str, Any] = {
            "link": None,
            "passes": None,
            "time": None,
            "antennas": {},
        }
        self._services: dict[str, Any] = dict.fromkeys(expected, _UNHEARD)
        #: Receivers by name, those not told yet, and when some were told last.
        self._radios: dict[str, Any] = {}
        self._radios_new: set[str] = set()
        self._radios_told_s = 0.0
        self._changed: dict[str, Any] = {}
        self._parameters: set[str] = set()

    def take(self, message: Message, now_ns: int) -> None:
        """RemoteError for what is no such message."""
        topic = message.topic
        if topic == Topic.PARAMETERS:
            for table in parse(ParametersMessage, message.body).tables:
                self._table(table)
        elif topic == Topic.EVENTS:
            for one in parse(EventMessage, message.body).events:
                self._hear(one, now_ns)
        elif topic == Topic.LINK:
            self._set("link", _link(parse(LinkMessage, message.body)))
        elif topic.startswith(f"{Topic.LINK}."):
            link = parse(LinkMessage, message.body)
            before = self._last["antennas"].get(link.link)
            # The broker says the last word of a receiver that has ended again and again.
            if before is None or before["time"] != ms(link.time_ns):
                self._set("antennas", {**self._last["antennas"], link.link: _antenna(link)})
        elif topic == Topic.PASSES:
            self._set("passes", _passes(parse(PassesMessage, message.body)))
        elif topic == Topic.TIME:
            self._set("time", _time(parse(TimeMessage, message.body)))
        elif topic == Topic.COMMANDS:
            change = _command(parse(CommandMessage, message.body))
            self._commands.append(change)
            self._changed.setdefault("commands", []).append(change)
        elif topic.startswith(Topic.RADIO):
            radio = parse(RadioMessage, message.body)
            known = self._radios.get(radio.receiver, {})
            shown = _radio(radio)
            # Its samples may be of another day, and it goes on saying how the last of them were.
            moved = known.get("time") != shown["time"]
            shown["heard"] = ms(now_ns) if moved else known["heard"]
            self._radios[radio.receiver] = shown
            self._radios_new.add(radio.receiver)
        elif topic == Topic.BUNDLES:
            self._bundles.extend(map(_bundle, parse(BundlesMessage, message.body).bundles))
            self._changed["bundles"] = list(self._bundles)
        elif topic.startswith(Topic.STATUS):
            status = parse(StatusMessage, message.body)
            self._services[status.service] = _status(status)
            if status.service == ARCHIVE:
                self.archived.told(status.counters, status.started_ns, time.monotonic())
            self._changed["services"] = self._services

    def _set(self, name: str, value: Any) -> None:
        self._last[name] = self._changed[name] = value

    def _hear(self, event: Event, now_ns: int) -> None:
        if event.kind == EventKind.STALE:
            self.stale.add(event.name)
        elif event.kind == EventKind.FRESH:
            self.stale.discard(event.name)
        if event.kind in (EventKind.STALE, EventKind.FRESH):
            self._parameters.add(event.name)
        shown = _event(event)
        self._events.append(shown)
        self._changed.setdefault("events", []).append(shown)
        self.alarms.hear(event, now_ns)

    def _table(self, table: ParameterTable) -> None:
        live = np.flatnonzero(~table.playback)
        if not len(live):
            return
        row = int(live[np.argmax(table.scet_ns[live])])
        block = self._blocks.setdefault(table.definition, _Block())
        scet_ns = int(table.scet_ns[row])
        if scet_ns < block.scet_ns:
            return  # late data belongs to the archive: the newest by SCET stays on show
        block.ert_ns, block.scet_ns = int(table.ert_ns[row]), scet_ns
        block.packets += len(live)
        for column in table.columns:
            if column.raw is None or column.name == "SCET":
                continue  # shown for the whole packet
            state = LimitState(int(column.limit_state[row])).name if len(column.limit_state) else ""
            before = block.values.get(column.name)
            since = before[3] if before is not None and before[2] == state else ms(scet_ns)
            value = shown(column.engineering[row], column.unit)
            block.values[column.name] = [value, column.unit, state, since]
        self._parameters.add(table.definition)

    @property
    def parameters(self) -> dict[str, Any]:
        """All definitions, as browsers get them."""
        return self._shown(self._blocks)

    @property
    def services(self) -> dict[str, Any]:
        return self._services

    def last(self, name: str) -> Any:
        """link, passes or time, None: not heard; antennas, of several, by name."""
        return self._last[name]

    @property
    def events(self) -> list[dict[str, Any]]:
        """Newest last."""
        return list(self._events)

    def alarms_changed(self) -> None:
        """Tell them with the next changes."""
        self._changed["alarms"] = self.alarms_shown

    def snapshot(self) -> dict[str, Any]:
        return {
            "parameters": self.parameters,
            "events": self.events,
            **self._last,
            "commands": list(self._commands),
            "bundles": list(self._bundles),
            "services": self._services,
            "radios": self._radios,
            "alarms": self.alarms_shown,
        }

    @property
    def alarms_shown(self) -> list[dict[str, Any]]:
        """Those that are not normal, worst first."""
        return [_alarm(one) for one in self.alarms.shown]

    @property
    def changed(self) -> bool:
        """Whether there are changes to be told."""
        return bool(self._changed or self._parameters or self._radios_new)

    @property
    def radios(self) -> dict[str, Any]:
        """Receivers by name, as browsers get them."""
        return self._radios

    def changes(self, wall_s: float | None = None) -> dict[str, Any]:
        """Empty if there is nothing new.  wall_s: receivers are told every `RADIO_S` of it; None:
        at once."""
        out, self._changed = self._changed, {}
        if self._radios_new and (wall_s is None or wall_s - self._radios_told_s >= RADIO_S):
            out["radios"] = {name: self._radios[name] for name in self._radios_new}
            self._radios_new = set()
            self._radios_told_s = wall_s or 0.0
        if self._parameters:
            out["parameters"] = self._shown(self._parameters)
            self._parameters = set()
        return out

    def _shown(self, definitions: Iterable[str]) -> dict[str, Any]:
        return {
            name: {
                "ert": ms(block.ert_ns),
                "scet": ms(block.scet_ns),
                "packets": block.packets,
                "stale": name in self.stale,
                "values": block.values,
            }
            for name, block in self._blocks.items()
            if name in definitions
        }


def plain(value: Any) -> Any:
    """For JSON: a number, a text, octets in hexadecimal; what is no number is null."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return [plain(one) for one in value.tolist()]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def shown(value: Any, unit: str) -> Any:
    """As `plain`, an instant as UTC."""
    value = plain(value)
    if unit == "ns" and isinstance(value, int) and value > 10**17:
        return utc_iso_from_tai_ns(value)
    return value


def _event(one: Event) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "severity": one.severity,
        "name": one.name,
        "text": one.text,
        "scet": ms(one.scet_ns),
        "ert": ms(one.ert_ns),
        "playback": one.playback,
        "value": one.value,
    }


def _alarm(one: Alarm) -> dict[str, Any]:
    return {
        "name": one.name,
        "state": str(one.state),
        "severity": one.severity,
        "text": one.text,
        "value": one.value,
        "active": one.active,
        "raised": ms(one.raised_ns),
        "since": ms(one.since_ns),
        "count": one.count,
        "acknowledged_by": one.acknowledged_by,
        "shelved_by": one.shelved_by,
        "shelved_until": ms(one.shelved_until_ns),
        "reason": one.reason,
    }


def _pass(one: Pass) -> dict[str, Any]:
    arrival = one.uplink_arrival_ns or (0, 0)
    return {
        "id": one.id,
        "mission": one.mission,
        "station": one.station,
        "antenna": one.antenna,
        "place": one.place,
        "aos": ms(one.aos_ns),
        "los": ms(one.los_ns),
        "uplink_from": ms(one.uplink_from_ns),
        "uplink_to": ms(one.uplink_to_ns),
        "arrives_from": ms(arrival[0]),
        "arrives_to": ms(arrival[1]),
        "owlt_s": one.owlt_aos_ns / 1e9,
    }


def _command(one: CommandMessage) -> dict[str, Any]:
    return {
        "number": one.number,
        "command": one.command,
        "state": one.state,
        "event": one.event,
        "time": ms(one.time_ns),
        "text": one.text,
        "actor": one.actor,
    }


def _bundle(one: DeliveredBundle) -> dict[str, Any]:
    return {
        "source": one.source,
        "destination": one.destination,
        "created": ms(one.created_ns),
        "arrived": ms(one.reception_ns),
        "octets": len(one.octets),
    }


def _passes(passes: PassesMessage) -> dict[str, Any]:
    return {
        "version": passes.version,
        "until": ms(passes.horizon_end_ns),
        "passes": [_pass(one) for one in passes.passes],
    }


def _link(link: LinkMessage) -> dict[str, Any]:
    return {**asdict(link), "time": ms(link.time_ns), "last_ert": ms(link.last_ert_ns)}


def _antenna(link: LinkMessage) -> dict[str, Any]:
    """What tells antennas apart; time: when its receiver said so."""
    frames = sum(counts.get("frames", 0) for counts in link.virtual_channels.values())
    return {
        "state": link.state,
        "detail": link.detail,
        "carrier": link.carrier,
        "transmits": link.transmits,
        "frames": frames,
        "time": ms(link.time_ns),
        "last_ert": ms(link.last_ert_ns),
    }


def _radio(radio: RadioMessage) -> dict[str, Any]:
    """The spectrum in at most `SHOWN_BINS` bins, each the greatest of its own: no line is lost."""
    bins = len(radio.spectrum)
    factor = -(-bins // SHOWN_BINS) or 1
    whole = np.pad(radio.spectrum, (0, -bins % factor), constant_values=-np.inf)
    spectrum = whole.reshape(-1, factor).max(axis=1)
    return {
        "station": radio.station,
        "receiver": radio.receiver,
        "time": ms(radio.time_ns),
        "modulation": radio.modulation,
        "carrier_lock": radio.carrier_lock,
        "symbol_lock": radio.symbol_lock,
        "frame_lock": radio.frame_lock,
        "carrier_offset_hz": plain(radio.carrier_offset_hz),
        "symbol_rate": plain(radio.symbol_rate),
        "ebn0_db": plain(radio.ebn0_db),
        "level_db": plain(radio.level_db),
        "centre_hz": plain(radio.spectrum_centre_hz),
        "span_hz": plain(radio.spectrum_span_hz),
        "spectrum": [plain(round(float(one), 1)) for one in spectrum],
        "constellation": radio.constellation.tolist(),
    }


def _status(status: StatusMessage) -> dict[str, Any]:
    return {
        "state": status.state,
        "detail": status.detail,
        "time": ms(status.time_ns),
        "started": ms(status.started_ns),
        "mib": round(status.rss_octets / 2**20, 1),
        "lag": sum(position.lag for position in status.positions),
        "counters": status.counters,
    }


def _time(one: TimeMessage) -> dict[str, Any]:
    instants = ("time_ns", "last_report_ns", "segment_start_ns")
    return {
        **asdict(one),
        **{name.removesuffix("_ns"): ms(getattr(one, name)) for name in instants},
    }
