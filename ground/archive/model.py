"""What goes into an archive and what comes out of it, and the port that every store fits.

All times are integer TAI nanoseconds since 1958-01-01: SCET (generation on board), ERT (arrival at
the antenna), reception (when `receive` processed it).  The three are kept apart everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from protocols.bus.messages import Event
from protocols.errors import LocalError
from protocols.packets.batch import PacketBatch
from protocols.timecodes.tai import TIME_INVALID_NS

I64 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Axis = Literal["scet", "ert"]
Progress = Callable[[int, int], None]

#: In a SCET column: the packet does not tell its generation time.
NO_SCET = TIME_INVALID_NS

MIN_NS, MAX_NS = NO_SCET + 1, int(np.iinfo(np.int64).max)


@dataclass(frozen=True, slots=True)
class Position:
    """The last message of a followed journal whose result is in the archive."""

    topic: str
    source: str
    journal: str
    sequence: int


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """What is known of a parameter besides its values; labels: code → text of an enumeration."""

    unit: str = ""
    description: str = ""
    labels: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class TableColumns:
    """Parameters of m packets of one packet definition.

    rows: int64 [m], the packets of the batch that they came from (several rows may name one
        packet); None for values that come without packets, then `ert_ns` must be given.
    scet_ns: int64 [m].  columns: name → array [m]: bool, integers, floats, or text (unicode or
    object arrays of `str`; bytes are kept as hexadecimal text).
    valid: name → bool [m] for the parameters that have invalid values; absent means all valid.
    """

    definition: str
    rows: I64 | None
    scet_ns: I64
    columns: Mapping[str, npt.NDArray[Any]]
    valid: Mapping[str, Flags] = field(default_factory=dict)
    info: Mapping[str, ColumnInfo] = field(default_factory=dict)
    ert_ns: I64 | None = None

    def __post_init__(self) -> None:
        m = len(self.scet_ns)
        if self.rows is None and self.ert_ns is None:
            raise LocalError(f"{self.definition}: neither rows nor ert_ns given")
        for what, column in (
            ("rows", self.rows),
            ("ert_ns", self.ert_ns),
            *self.columns.items(),
            *self.valid.items(),
        ):
            if column is not None and column.shape != (m,):
                raise LocalError(f"{self.definition}.{what}: shape {column.shape}, ({m},) wanted")


@dataclass(frozen=True, slots=True)
class Appended:
    """What one `append` did.

    replayed: the position was in the archive already, nothing was stored.
    duplicates: packets dropped because stream, VC, APID, sequence count and SCET were known.
    copies: packets kept although another virtual channel brought them before (playback of what
        was heard live); their parameter samples were not stored again.
    """

    replayed: bool = False
    packets: int = 0
    duplicates: int = 0
    copies: int = 0
    samples: int = 0


@dataclass(frozen=True, eq=False)
class Samples:
    """One parameter over a range, ordered by the axis asked for; every column has length n.

    values: in the parameter's own dtype; codes (int) where `labels` is not empty.
    packet: archive number of the packet that carried each sample, −1 if there was none.
    """

    name: str
    unit: str
    scet_ns: I64
    ert_ns: I64
    reception_ns: I64
    packet: I64
    values: npt.NDArray[Any]
    valid: Flags
    labels: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.scet_ns)

    def texts(self) -> list[str]:
        """The values as text: labels of codes, numbers as they print."""
        if not self.labels:
            return [str(value) for value in self.values.tolist()]
        return [self.labels.get(code, f"#{code}") for code in self.values.tolist()]


@dataclass(frozen=True, eq=False)
class Plot:
    """One parameter reduced for display, in SCET order.

    time_ns: start of each non-empty bin; width_ns: width of all bins.  Bins lie on a grid anchored
    at the epoch, so the first and the last may reach beyond the range asked for, and panning does
    not make values jump.  width_ns == 0: no reduction was needed, each entry is one valid sample.
    minimum, maximum: exact, in the parameter's dtype; mean: float64; count: valid samples in the
    bin.  NaN and invalid samples count nowhere.
    """

    name: str
    unit: str
    width_ns: int
    time_ns: I64
    minimum: npt.NDArray[Any]
    maximum: npt.NDArray[Any]
    mean: npt.NDArray[np.float64]
    count: I64
    labels: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.time_ns)


@dataclass(frozen=True, slots=True)
class ParameterInfo:
    """One archived parameter; kind: "number", "enumeration" or "text"."""

    name: str
    unit: str
    description: str
    kind: str
    definitions: tuple[str, ...]
    count: int
    first_scet_ns: int
    last_scet_ns: int
    first_ert_ns: int
    last_ert_ns: int


@dataclass(frozen=True, slots=True)
class StoredPacket:
    """One archived packet.  apid and sequence_count are −1 for what is not a space packet;
    scet_ns is None if the packet does not tell it."""

    number: int
    stream: str
    vcid: int
    apid: int
    sequence_count: int
    scet_ns: int | None
    ert_ns: int
    reception_ns: int
    playback: bool
    octets: bytes


@dataclass(frozen=True, slots=True)
class Integrity:
    """Result of a check; problems are sentences for an operator, empty if all is well."""

    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


class Store(Protocol):
    """An archive: one writer, many readers.  `tests/contracts/test_store.py` is its definition."""

    def append(
        self,
        position: Position | None,
        packets: PacketBatch,
        *,
        stream: str,
        scet_ns: I64,
        reception_ns: int | I64,
        playback: Flags | None = None,
        tables: Sequence[TableColumns] = (),
    ) -> Appended: ...

    def append_events(self, position: Position | None, events: Sequence[Event]) -> int: ...

    def group(self) -> AbstractContextManager[None]: ...

    def remember(self, key: str, value: str) -> None: ...

    def recall(self, key: str) -> str | None: ...

    def position(self, topic: str, source: str) -> Position | None: ...

    def counters(self) -> dict[str, int]: ...

    def parameters(self) -> list[ParameterInfo]: ...

    def query(
        self, name: str, start_ns: int = MIN_NS, stop_ns: int = MAX_NS, axis: Axis = "scet"
    ) -> Samples: ...

    def plot(
        self, name: str, start_ns: int, stop_ns: int, points: int = 1600, axis: Axis = "scet"
    ) -> Plot: ...

    def latest(self, name: str) -> Samples: ...

    def packets(
        self,
        *,
        apid: int | None = None,
        vcid: int | None = None,
        stream: str | None = None,
        playback: bool | None = None,
        start_ns: int = MIN_NS,
        stop_ns: int = MAX_NS,
        axis: Axis = "ert",
    ) -> Iterator[StoredPacket]: ...

    def events(
        self,
        *,
        start_ns: int = MIN_NS,
        stop_ns: int = MAX_NS,
        axis: Axis = "scet",
        name: str | None = None,
    ) -> Iterator[Event]: ...

    def compact(self, steps: int = 1) -> int: ...

    def integrity(self) -> Integrity: ...

    def export_parquet(
        self,
        target: Path,
        *,
        names: Sequence[str] | None = None,
        start_ns: int = MIN_NS,
        stop_ns: int = MAX_NS,
        progress: Progress | None = None,
    ) -> list[Path]: ...

    def export_csv(
        self,
        target: Path,
        *,
        names: Sequence[str] | None = None,
        start_ns: int = MIN_NS,
        stop_ns: int = MAX_NS,
        progress: Progress | None = None,
    ) -> list[Path]: ...

    def close(self) -> None: ...
