"""What is said on the bus: one frozen dataclass a topic (docs/ARCHITECTURE.md, table of topics).

Each class has `.build() -> bytes` and `parse(class, octets)`; both directions come from the
fields' declarations.  Positions are part of the messages, so that a receiver can store one with
its result in one transaction.  All times are integer TAI nanoseconds.
"""

# ruff: noqa: RUF009 — `declare` returns a `dataclasses.field`
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from protocols.bus.columns import COLUMNS, ParameterColumn, ParameterColumns, joined
from protocols.bus.fields import (
    BATCH,
    FLAG,
    INTEGER,
    NUMBER,
    OCTETS,
    TEXT,
    array,
    build_message,
    check_offsets,
    declare,
    list_of,
    map_of,
    mostly_zero,
    nested,
    parse_message,
)
from protocols.errors import LocalError
from protocols.identifiers import Carrier
from protocols.packets.batch import PacketBatch

I64 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
LimitStates = npt.NDArray[np.uint8]

_FLAGS, _INT64, _UINT8 = array("|b1"), array("<i8"), array("|u1")


class BusMessage:
    """What all bodies share.

    VERSION: raised when a field changes its meaning or disappears.
    """

    VERSION: ClassVar[int] = 1

    def build(self) -> bytes:
        """Octets of the body.  LocalError if a value does not fit its field."""
        return build_message(self, self.VERSION)  # type: ignore[arg-type]


M = TypeVar("M", bound=BusMessage)


def parse(kind: type[M], body: bytes) -> M:
    """The message of this kind in a body; RemoteError for anything else."""
    return parse_message(kind, kind.VERSION, body)  # type: ignore[type-var]


@dataclass(frozen=True, eq=False)
class PacketsMessage(BusMessage):
    """Packets of one link, in the order in which they were completed.

    packets: their octets, virtual channel and ERT.
    playback: bool [n]; stored data dumped later, which says nothing about the present.
    reception_ns: when `receive` decoded them.
    first_packet: packets in this journal before these; packet i of the journal is the same packet
        for ever, however often the chain was restarted.
    capture_file, capture_offset: how far the capture was decoded when these came out.
    origin, origin_journal, origin_sequence: of a receiver's message that these were taken from,
        where several antennas' are merged.
    """

    link: str = declare(TEXT)
    packets: PacketBatch = declare(BATCH)
    playback: Flags = declare(_FLAGS)
    reception_ns: int = declare(INTEGER)
    first_packet: int = declare(INTEGER)
    capture_file: int = declare(INTEGER, default=0)
    capture_offset: int = declare(INTEGER, default=0)
    origin: str = declare(TEXT, default="")
    origin_journal: str = declare(TEXT, default="")
    origin_sequence: int = declare(INTEGER, default=-1)

    def __post_init__(self) -> None:
        _require(len(self.playback) == len(self.packets), "playback: one flag a packet wanted")
        _require(self.first_packet >= 0, f"first_packet {self.first_packet} is negative")
        _require(not np.count_nonzero(self.packets.length < 1), "a packet of no octets")


_ZONE_COLUMNS = ("scid", "vcid", "frame", "ert_ns", "reason")


@dataclass(frozen=True, eq=False)
class OpaqueMessage(BusMessage):
    """Data zones of transfer frames that are no packets, as arrays of n zones.

    octets: uint8, zones back to back; zone i is `octets[offsets[i]:offsets[i + 1]]`.
    scid, vcid: [n]; frame: int64 [n], number of the frame among all of the link; ert_ns: int64 [n];
    reason: uint8 [n], index into `protocols.packets.extraction.OPAQUE_REASONS`.
    first_zone: zones in this journal before these.
    """

    link: str = declare(TEXT)
    reception_ns: int = declare(INTEGER)
    first_zone: int = declare(INTEGER)
    octets: npt.NDArray[np.uint8] = declare(_UINT8)
    offsets: I64 = declare(_INT64)
    scid: npt.NDArray[np.uint16] = declare(array("<u2"))
    vcid: npt.NDArray[np.uint8] = declare(_UINT8)
    frame: I64 = declare(_INT64)
    ert_ns: I64 = declare(_INT64)
    reason: npt.NDArray[np.uint8] = declare(_UINT8)
    origin: str = declare(TEXT, default="")
    origin_journal: str = declare(TEXT, default="")
    origin_sequence: int = declare(INTEGER, default=-1)

    def __post_init__(self) -> None:
        lengths = {len(getattr(self, name)) for name in _ZONE_COLUMNS}
        _require(lengths == {len(self)}, f"{len(self)} zones and columns of {lengths}")
        _require(self.first_zone >= 0, f"first_zone {self.first_zone} is negative")
        check_offsets(self.offsets, len(self.octets), "opaque zones")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def select(self, which: Flags) -> OpaqueMessage:
        """The zones that are true in which, bool [n]."""
        lengths = np.diff(self.offsets)
        return replace(
            self,
            octets=self.octets[np.repeat(which, lengths)],
            offsets=np.concatenate([[0], np.cumsum(lengths[which])]).astype(np.int64),
            **{name: getattr(self, name)[which] for name in _ZONE_COLUMNS},
        )


@dataclass(frozen=True, eq=False)
class ParameterTable(BusMessage):
    """The parameters of m packets of one definition, one row a packet.

    packet: int64 [m], number of the packet in `receive`'s journal (`first_packet` + row).
    """

    VERSION: ClassVar[int] = 3

    definition: str = declare(TEXT)
    packet: I64 = declare(_INT64)
    scet_ns: I64 = declare(_INT64)
    ert_ns: I64 = declare(_INT64)
    playback: Flags = declare(mostly_zero("|b1"))
    columns: Sequence[ParameterColumn] = declare(COLUMNS)

    def __post_init__(self) -> None:
        m = len(self.scet_ns)
        _require(
            len(self.packet) == len(self.ert_ns) == len(self.playback) == m,
            f"{self.definition}: columns of other lengths than {m}",
        )
        columns = self.columns
        if not isinstance(columns, ParameterColumns):
            columns = joined(columns, self.scet_ns)
            object.__setattr__(self, "columns", columns)
        _require(columns.rows == m, f"{self.definition}: {columns.rows} of {m} values")
        columns.scet_ns = self.scet_ns

    def __len__(self) -> int:
        return len(self.scet_ns)

    def column(self, name: str) -> ParameterColumn:
        """LocalError if the table has no such parameter."""
        for column in self.columns:
            if column.name == name:
                return column
        raise LocalError(f"{self.definition} has no parameter {name!r}")


@dataclass(frozen=True, eq=False)
class ParametersMessage(BusMessage):
    """Everything decoded from the `PacketsMessage`s that came since the message before.

    journal, sequence: position of the last of them in `receive`'s journal.
    first_row: rows (packets decoded) in this journal before these.
    """

    VERSION: ClassVar[int] = 3

    link: str = declare(TEXT)
    journal: str = declare(TEXT)
    sequence: int = declare(INTEGER)
    reception_ns: int = declare(INTEGER)
    first_row: int = declare(INTEGER)
    tables: tuple[ParameterTable, ...] = declare(list_of(nested(ParameterTable)))

    @property
    def rows(self) -> int:
        return sum(len(table) for table in self.tables)


class EventKind(StrEnum):
    LIMIT = "limit"
    SPACECRAFT = "spacecraft"
    STALE = "stale"
    FRESH = "fresh"


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing worth telling an operator.

    name: parameter, packet definition or on-board event; value, threshold: as text with unit (empty
    if there is none); before, after: limit states by name.
    """

    kind: str = declare(TEXT)
    severity: str = declare(TEXT)
    name: str = declare(TEXT)
    text: str = declare(TEXT)
    scet_ns: int = declare(INTEGER)
    ert_ns: int = declare(INTEGER)
    reception_ns: int = declare(INTEGER)
    playback: bool = declare(FLAG, default=False)
    value: str = declare(TEXT, default="")
    threshold: str = declare(TEXT, default="")
    before: str = declare(TEXT, default="")
    after: str = declare(TEXT, default="")

    def __post_init__(self) -> None:
        _require(self.kind in set(EventKind), f"event kind {self.kind!r}")
        _require(self.severity in set(Severity), f"event severity {self.severity!r}")


@dataclass(frozen=True)
class EventMessage(BusMessage):
    """All events of the `PacketsMessage`s of one `ParametersMessage`, or those that time alone
    brought (staleness).

    journal, sequence: position in `receive`'s journal up to which all events have been told.
    first_event: events in this journal before these.
    """

    journal: str = declare(TEXT)
    sequence: int = declare(INTEGER)
    first_event: int = declare(INTEGER)
    events: tuple[Event, ...] = declare(list_of(nested(Event)))


@dataclass(frozen=True, eq=False)
class OcfMessage(BusMessage):
    """Operational control fields of usable frames in the order of the frames, equal ones in a row
    once: n runs.

    word: uint32 [n], CLCWs and type-2 reports; frames: int64 [n], how many frames said so;
    first_ert_ns, last_ert_ns: int64 [n], of the first and last of them.
    """

    link: str = declare(TEXT)
    word: npt.NDArray[np.uint32] = declare(array("<u4"))
    frames: I64 = declare(_INT64)
    first_ert_ns: I64 = declare(_INT64)
    last_ert_ns: I64 = declare(_INT64)

    def __post_init__(self) -> None:
        lengths = {len(self.frames), len(self.first_ert_ns), len(self.last_ert_ns)}
        _require(lengths == {len(self.word)}, f"{len(self.word)} words and columns of {lengths}")


@dataclass(frozen=True)
class LinkMessage(BusMessage):
    """Counts of every stage of one link since the stream's beginning; the newest one is kept.

    counts: stage → count name → value, e.g. `counts["sync"]["frames"]`.
    virtual_channels: VC → count name → value (frames, missing, packets, drops …).
    owlt_s: one-way light time that the station reports; −1 if unknown.
    carrier: receiver locked on the carrier.  transmits: what the station is given now goes up.
    """

    link: str = declare(TEXT)
    time_ns: int = declare(INTEGER)
    state: str = declare(TEXT)
    detail: str = declare(TEXT)
    carrier: bool = declare(FLAG, default=False)
    owlt_s: float = declare(NUMBER, default=-1.0)
    last_ert_ns: int = declare(INTEGER, default=0)
    capture: str = declare(TEXT, default="")
    counts: dict[str, dict[str, int]] = declare(map_of(map_of(INTEGER)), default_factory=dict)
    virtual_channels: dict[str, dict[str, int]] = declare(
        map_of(map_of(INTEGER)), default_factory=dict
    )
    transmits: bool = declare(FLAG, default=True)


#: Of one radio message: what a page can draw.
MAX_SPECTRUM_BINS = 4096
MAX_CONSTELLATION_POINTS = 512


@dataclass(frozen=True, eq=False)
class RadioMessage(BusMessage):
    """How one receiver hears its carrier, a few times a second; the newest one of each is kept.

    station: where it stands; receiver: its name there.
    carrier_lock, symbol_lock: of the demodulator; frame_lock: sync markers stand where they should.
    carrier_offset_hz: of the carrier from the centre of the I/Q it is given, the aiding included.
    symbol_rate: as recovered, symbols/s.  ebn0_db: a bit of data, the code's rate taken off;
        NaN without symbol lock.  level_db: mean power of the input against full scale (1.0).
    spectrum: float32 [bins], dB against full scale in one bin, lowest frequency first;
        bin i stands at `spectrum_centre_hz + spectrum_span_hz (i / bins − 1/2)`; empty: none.
    constellation: int8 [points, 2], I and Q after all corrections, 64 being the amplitude that a
        symbol has without noise (the decided axes of QPSK each 64/√2); empty without symbol lock.
    """

    station: str = declare(TEXT)
    receiver: str = declare(TEXT)
    time_ns: int = declare(INTEGER)
    modulation: str = declare(TEXT)
    carrier_lock: bool = declare(FLAG)
    symbol_lock: bool = declare(FLAG)
    frame_lock: bool = declare(FLAG)
    carrier_offset_hz: float = declare(NUMBER)
    symbol_rate: float = declare(NUMBER)
    ebn0_db: float = declare(NUMBER)
    level_db: float = declare(NUMBER)
    spectrum_centre_hz: float = declare(NUMBER)
    spectrum_span_hz: float = declare(NUMBER)
    spectrum: npt.NDArray[np.float32] = declare(array("<f4"))
    constellation: npt.NDArray[np.int8] = declare(array("|i1", dimensions=2))

    def __post_init__(self) -> None:
        _require(
            self.spectrum.ndim == 1 and len(self.spectrum) <= MAX_SPECTRUM_BINS,
            f"spectrum of shape {self.spectrum.shape}; at most {MAX_SPECTRUM_BINS} bins wanted",
        )
        shape = self.constellation.shape
        _require(
            len(shape) == 2 and shape[1] == 2 and shape[0] <= MAX_CONSTELLATION_POINTS,
            f"constellation of shape {shape}; [at most {MAX_CONSTELLATION_POINTS}, 2] wanted",
        )
        _require(self.symbol_rate >= 0, f"symbol rate {self.symbol_rate} is negative")
        _require(self.spectrum_span_hz >= 0, f"span {self.spectrum_span_hz} Hz is negative")


@dataclass(frozen=True)
class TimeMessage(BusMessage):
    """The on-board clock against TAI, extrapolated to `time_ns`; the newest one is kept.

    offset_ns: on-board − TAI; drift_ppb: ns a second; sigma_ns, drift_sigma_ppb: standard
    deviations; error_ns: greatest error of offset_ns, what all reports share included.
    last_report_ns: when the newest report that was used left the spacecraft.
    segment_start_ns: since when the clock has run without being set, as far as is known.
    segments, reports, outliers: so far; suspected: the last report did not fit.
    """

    time_ns: int = declare(INTEGER)
    offset_ns: int = declare(INTEGER)
    drift_ppb: float = declare(NUMBER)
    drift_sigma_ppb: float = declare(NUMBER)
    sigma_ns: float = declare(NUMBER)
    error_ns: float = declare(NUMBER)
    last_report_ns: int = declare(INTEGER)
    segment_start_ns: int = declare(INTEGER)
    segments: int = declare(INTEGER)
    reports: int = declare(INTEGER)
    outliers: int = declare(INTEGER)
    suspected: bool = declare(FLAG, default=False)

    @property
    def age_s(self) -> float:
        """Of the last report when this was said."""
        return (self.time_ns - self.last_report_ns) / 1e9


@dataclass(frozen=True, slots=True, order=True)
class Pass:
    """One spacecraft over one station, times at the ground.

    aos_ns, los_ns: downlink is received in [aos, los); setup_ns, release_ns: when the antenna is
    taken and given back.  uplink_from_ns, uplink_to_ns: when the station may transmit (equal:
    never).  owlt_aos_ns, owlt_los_ns: one-way light time at both ends, −1 if not known.
    antenna: names joined by `_` where several track together.
    """

    aos_ns: int = declare(INTEGER)
    los_ns: int = declare(INTEGER)
    id: str = declare(TEXT)
    mission: str = declare(TEXT)
    station: str = declare(TEXT)
    antenna: str = declare(TEXT)
    setup_ns: int = declare(INTEGER)
    release_ns: int = declare(INTEGER)
    uplink_from_ns: int = declare(INTEGER)
    uplink_to_ns: int = declare(INTEGER)
    owlt_aos_ns: int = declare(INTEGER, default=-1)
    owlt_los_ns: int = declare(INTEGER, default=-1)

    def __post_init__(self) -> None:
        _require(
            self.setup_ns <= self.aos_ns < self.los_ns <= self.release_ns,
            f"pass {self.id}: setup <= AOS < LOS <= release wanted",
        )
        _require(
            self.aos_ns <= self.uplink_from_ns <= self.uplink_to_ns <= self.los_ns,
            f"pass {self.id}: an uplink window between AOS and LOS wanted",
        )
        _require(
            (self.owlt_aos_ns < 0) == (self.owlt_los_ns < 0),
            f"pass {self.id}: light time at both ends wanted, or at none",
        )

    @property
    def place(self) -> str:
        """For people: the antenna, with its station where that says more."""
        same = self.antenna.casefold() == self.station.casefold()
        return self.station if same else f"{self.antenna} {self.station}"

    def receives(self, ert_ns: int) -> bool:
        return self.aos_ns <= ert_ns < self.los_ns

    def transmits(self, ground_ns: int) -> bool:
        return self.uplink_from_ns <= ground_ns < self.uplink_to_ns

    @property
    def uplink_arrival_ns(self) -> tuple[int, int] | None:
        """The uplink window as the spacecraft hears it; None without light time."""
        if self.owlt_aos_ns < 0:
            return None
        return self.uplink_from_ns + self.owlt_aos_ns, self.uplink_to_ns + self.owlt_los_ns

    @property
    def last_answered_ns(self) -> int | None:
        """Until when a command's answer is still heard in this pass; None if in none of it."""
        if self.owlt_aos_ns < 0:
            return None
        last_ns = min(self.uplink_to_ns, self.los_ns - 2 * self.owlt_los_ns)
        return last_ns if last_ns > self.uplink_from_ns else None


@dataclass(frozen=True)
class PassesMessage(BusMessage):
    """The published schedule as passes, in order of AOS; the newest one is kept.

    version: counts publications of this schedule from 1.  [horizon_start_ns, horizon_end_ns): what
    was planned; outside it the list says nothing.
    """

    schedule: str = declare(TEXT)
    version: int = declare(INTEGER)
    generated_ns: int = declare(INTEGER)
    horizon_start_ns: int = declare(INTEGER)
    horizon_end_ns: int = declare(INTEGER)
    passes: tuple[Pass, ...] = declare(list_of(nested(Pass)))

    def __post_init__(self) -> None:
        _require(self.version >= 1, f"{self.schedule}: version {self.version}, 1 or more wanted")
        _require(list(self.passes) == sorted(self.passes), f"{self.schedule}: passes out of order")

    def of(self, mission: str) -> PassesMessage:
        """The same list with the passes of one mission only."""
        return replace(self, passes=tuple(p for p in self.passes if p.mission == mission))

    def receiving(self, now_ns: int) -> Pass | None:
        """The pass that is on; of several the one that lasts longest."""
        on = [p for p in self.passes if p.receives(now_ns)]
        return max(on, key=lambda p: p.los_ns, default=None)

    def next_after(self, now_ns: int) -> Pass | None:
        return next((p for p in self.passes if p.aos_ns > now_ns), None)


#: Of one uplink message: 5 minutes of 7 kbit/s, far below the bound on bodies.
MAX_UPLINK_OCTETS = 256 * 1024


@dataclass(frozen=True, slots=True)
class UplinkMessage(BusMessage):
    """Octets to be radiated once, between two instants of the ground.

    id: one radiation's name, never used again; a station that hears it twice radiates once, so
        whoever heard no `RadiatedMessage` says it again.  service: who asks.
    carrier: of `protocols.identifiers.Carrier`.
    earliest_ns, latest_ns: radiation begins in [earliest, latest], at once if `earliest` is over.
    """

    id: str = declare(TEXT)
    service: str = declare(TEXT)
    carrier: str = declare(TEXT)
    octets: bytes = declare(OCTETS)
    earliest_ns: int = declare(INTEGER)
    latest_ns: int = declare(INTEGER)

    def __post_init__(self) -> None:
        _require(0 < len(self.id) <= 128, f"uplink id {self.id[:40]!r}: 1..128 characters wanted")
        _require(self.carrier in set(Carrier), f"uplink {self.id}: carrier {self.carrier!r}")
        _require(
            0 < len(self.octets) <= MAX_UPLINK_OCTETS,
            f"uplink {self.id}: {len(self.octets)} octets; 1..{MAX_UPLINK_OCTETS} wanted",
        )
        _require(self.earliest_ns <= self.latest_ns, f"uplink {self.id}: earliest <= latest wanted")


@dataclass(frozen=True, slots=True)
class RadiatedMessage(BusMessage):
    """What became of an `UplinkMessage`; the same however often it is asked.

    start_ns, end_ns: the first octet left the antenna and the last had left, ground time; 0 if
    refused.  refused: why it was not and never will be radiated, empty if it was.  station: whose
    pass it was.
    """

    id: str = declare(TEXT)
    service: str = declare(TEXT)
    carrier: str = declare(TEXT)
    start_ns: int = declare(INTEGER, default=0)
    end_ns: int = declare(INTEGER, default=0)
    refused: str = declare(TEXT, default="")
    station: str = declare(TEXT, default="")


@dataclass(frozen=True, slots=True)
class CommandMessage(BusMessage):
    """A request to the spacecraft has changed; `l4 command show` has all of it.

    number: of the request; state: of `ground.command.requests.State`; event: what happened;
    text: for people; actor: who did it, empty if nobody did.  id: in the store's history.
    """

    number: int = declare(INTEGER)
    command: str = declare(TEXT)
    state: str = declare(TEXT)
    event: str = declare(TEXT)
    time_ns: int = declare(INTEGER)
    text: str = declare(TEXT, default="")
    actor: str = declare(TEXT, default="")
    id: int = declare(INTEGER, default=0)


@dataclass(frozen=True, slots=True)
class DeliveredBundle:
    """A bundle at its destination.

    source, destination: endpoints as text; created_ns: TAI ns, 0 if its source has no clock;
    reception_ns: when it was complete here.
    """

    source: str = declare(TEXT)
    destination: str = declare(TEXT)
    created_ns: int = declare(INTEGER)
    reception_ns: int = declare(INTEGER)
    octets: bytes = declare(OCTETS)


@dataclass(frozen=True, slots=True)
class BundlesMessage(BusMessage):
    """Bundles for applications here, each once, in the order in which they were complete.

    first_bundle: bundles in this journal before these.
    """

    first_bundle: int = declare(INTEGER)
    bundles: tuple[DeliveredBundle, ...] = declare(list_of(nested(DeliveredBundle)))


class ServiceState(StrEnum):
    STARTING = "starting"
    RECOVERING = "recovering"
    RUNNING = "running"
    WAITING = "waiting"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Position:
    """How far a follower has come: `sequence` is the last message finished (−1: none), `head` the
    last that the journal is known to hold."""

    topic: str = declare(TEXT)
    source: str = declare(TEXT)
    journal: str = declare(TEXT)
    sequence: int = declare(INTEGER)
    head: int = declare(INTEGER)

    @property
    def lag(self) -> int:
        return max(0, self.head - self.sequence)


@dataclass(frozen=True)
class StatusMessage(BusMessage):
    """How a service is, about once a second; the newest one is kept.

    lag_ns: age of the newest input finished, −1 if there was none; counters: name → count.
    """

    service: str = declare(TEXT)
    state: str = declare(TEXT)
    time_ns: int = declare(INTEGER)
    started_ns: int = declare(INTEGER)
    pid: int = declare(INTEGER)
    rss_octets: int = declare(INTEGER)
    detail: str = declare(TEXT, default="")
    lag_ns: int = declare(INTEGER, default=-1)
    positions: tuple[Position, ...] = declare(list_of(nested(Position)), default=())
    counters: dict[str, int] = declare(map_of(INTEGER), default_factory=dict)

    def __post_init__(self) -> None:
        _require(self.state in set(ServiceState), f"service state {self.state!r}")


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise LocalError(otherwise)


__all__ = [
    "BundlesMessage",
    "BusMessage",
    "CommandMessage",
    "DeliveredBundle",
    "Event",
    "EventKind",
    "EventMessage",
    "LinkMessage",
    "OcfMessage",
    "OpaqueMessage",
    "PacketsMessage",
    "ParameterTable",
    "ParametersMessage",
    "Pass",
    "PassesMessage",
    "Position",
    "RadiatedMessage",
    "RadioMessage",
    "ServiceState",
    "Severity",
    "StatusMessage",
    "TimeMessage",
    "UplinkMessage",
    "parse",
]
