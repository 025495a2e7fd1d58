"""What decoding gives: one array per parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalError
from protocols.telemetry.calibration import Calibration, Enumeration, Spline, Text
from protocols.telemetry.limits import EnumerationLimits, Limits

if TYPE_CHECKING:
    from protocols.packets.batch import PacketBatch
    from protocols.telemetry.declaration import PacketDefinition, Parameter

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of different lengths: row i is `values[offsets[i]:offsets[i + 1]]`.

    values: [total, …]; offsets: int64 [m + 1].
    """

    values: npt.NDArray[Any]
    offsets: I64

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> npt.NDArray[Any]:
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row %= len(self)
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        return (self[row] for row in range(len(self)))

    @property
    def lengths(self) -> I64:
        return np.diff(self.offsets)

    @classmethod
    def from_rows(cls, rows: Any, dtype: Any = None) -> Ragged:
        """From a sequence of arrays, lists or bytes."""
        arrays = [
            np.frombuffer(row, np.uint8) if isinstance(row, bytes) else np.asarray(row, dtype)
            for row in rows
        ]
        offsets = np.zeros(len(arrays) + 1, np.int64)
        np.cumsum([len(array) for array in arrays], out=offsets[1:])
        # An empty list has no type of its own: as float64 it would round its neighbours' integers.
        filled = [array for array in arrays if len(array)]
        values = np.concatenate(filled) if filled else np.empty(0, dtype or np.uint8)
        return cls(values, offsets)


Column = npt.NDArray[Any] | Ragged


def calibrated(calibration: Calibration | None, raw: Column) -> Column:
    """Engineering values of a column, shaped like it; text of octets has one axis less."""
    if calibration is None:
        return raw
    if not isinstance(raw, Ragged):
        return calibration.apply(raw)
    if isinstance(calibration, Text) and raw.values.ndim == 1:
        text = [calibration.decode(row.tobytes(), fixed=False) for row in raw]
        return np.array(text, np.str_)
    return Ragged(calibration.apply(raw.values), raw.offsets)


def frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A read-only view.

    Numba compiles a kernel anew for read-only arrays: octets out of `bytes` are, others are not.
    As all inputs are passed read-only, each kernel compiles once.
    """
    if not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class Judged:
    """Limit states of k parameters of a table.

    states: uint8 [k, m]; extremes: uint8 [k, 2], the least and greatest state of each.
    """

    names: tuple[str, ...]
    states: U8
    extremes: U8


NOTHING_JUDGED = Judged((), np.empty((0, 0), np.uint8), np.empty((0, 2), np.uint8))


def states_of_raw(parameter: Parameter, values: npt.NDArray[Any]) -> U8:
    """`LimitState` of each raw value of a parameter with limits."""
    limits, calibration = parameter.limits, parameter.calibration
    assert limits is not None
    if isinstance(limits, EnumerationLimits):
        # Told from the raw values: states of a few numbers, not of many strings.
        assert isinstance(calibration, Enumeration)
        return calibration.look_up(values, limits.state)
    return limits.state(parameter.engineering(values))


@dataclass(frozen=True, eq=False, repr=False)
class ParameterTable:
    """The packets of one definition in a batch, m of them, in the batch's order.

    rows: int64 [m], their indices in the batch; raw: parameter name → raw values, [m] for one
    value a packet, [m, count] for a fixed repeat, `Ragged` for a variable one; octets have one
    axis more (uint8 [m, length]); time codes are int64 TAI ns.
    """

    definition: PacketDefinition
    rows: I64
    raw: Mapping[str, Column]
    batch: PacketBatch
    _judge_all: Callable[[], Judged | None] | None = None
    _engineering: dict[str, Column] = field(default_factory=dict[str, Any], repr=False)
    _states: dict[str, U8] = field(default_factory=dict[str, Any], repr=False)
    _blocks: list[npt.NDArray[Any]] = field(default_factory=list[Any], repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        names = ", ".join(self.raw)
        return f"<ParameterTable {self.definition.name}: {len(self)} packets of {names}>"

    @property
    def scet_ns(self) -> I64:
        """Generation time, int64 [m] TAI ns; the ERT where the definition declares no time."""
        if self.definition.time is None:
            return self.ert_ns
        column = self.raw[self.definition.time]
        assert isinstance(column, np.ndarray)
        return column

    @property
    def ert_ns(self) -> I64:
        return self.batch.ert_ns[self.rows]

    def _column(self, name: str) -> Column:
        if name not in self.raw:
            raise LocalError(
                f"packet {self.definition.name}: no parameter {name!r}; {sorted(self.raw)}"
            )
        return self.raw[name]

    def header(self, name: str) -> npt.NDArray[Any]:
        """A field of the primary header, [m]."""
        from protocols.telemetry.columns import header_column

        return header_column(self, name)

    def engineering(self, name: str) -> Column:
        """Calibrated values, shaped like `raw`; numbers without calibration as they are.

        Polynomials and splines give float64, enumerations and text give str.
        """
        if name not in self._engineering:
            raw = self._column(name)
            self._engineering[name] = calibrated(self.definition.parameters[name].calibration, raw)
        return self._engineering[name]

    def limit_state(self, name: str) -> U8:
        """`LimitState` of each packet's value, uint8 [m]; the worst of a repeated parameter's.

        Zeros (nominal) for a parameter without limits.
        """
        if name not in self._states:
            self._judge(name)
        return self._states[name]

    def judge(self) -> Judged:
        """The states of all parameters whose `limit_state` can be told in one call, some or none
        of those that have limits."""
        if self._judge_all is None or not len(self):
            return NOTHING_JUDGED
        judged = self._judge_all() or NOTHING_JUDGED
        self._states.update(zip(judged.names, judged.states, strict=True))
        return judged

    def _room(self, name: str) -> tuple[npt.NDArray[np.float64], U8]:
        """Rows of two blocks that are reserved for all parameters at once.

        A block costs nothing until a row is written, and large blocks come from the system in
        large pages: the time is that of the arithmetic, not of page faults.
        """
        if not self._blocks:
            count = len(self.definition.parameters)
            self._blocks.append(np.empty((count, len(self)), np.float64))
            self._blocks.append(np.empty((count, len(self)), np.uint8))
        row = list(self.raw).index(name)
        return self._blocks[0][row], self._blocks[1][row]

    def _judge(self, name: str) -> None:
        column = self._column(name)
        parameter = self.definition.parameters[name]
        limits, calibration = parameter.limits, parameter.calibration
        if limits is None:
            state = np.zeros(len(self), np.uint8)
        elif (
            isinstance(limits, Limits)
            and isinstance(column, np.ndarray)
            and column.ndim == 1
            and not isinstance(calibration, Spline)
        ):
            from protocols.telemetry.columns import calibrate_and_judge

            engineering, state = self._room(name)
            self._engineering[name] = calibrate_and_judge(parameter, column, engineering, state)
        else:
            values = column.values if isinstance(column, Ragged) else column
            each = states_of_raw(parameter, values)
            if isinstance(column, Ragged):
                state = np.zeros(len(self), np.uint8)
                filled = column.lengths > 0
                if len(each):
                    state[filled] = np.maximum.reduceat(each, column.offsets[:-1][filled])
            else:
                state = each if each.ndim == 1 else each.max(axis=1, initial=0)
        self._states[name] = state


class DecodedPackets(list[ParameterTable]):
    """Tables of a batch, one per definition that occurred, and the packets that fit none.

    unmatched: int64 indices of packets that no definition names; wrong_length: indices of packets
    that a definition names but whose length it does not allow (truncated, or too long);
    wrong_length_of: definition name → those indices.
    """

    def __init__(
        self,
        tables: list[ParameterTable],
        unmatched: I64,
        wrong_length_of: Mapping[str, I64],
    ) -> None:
        super().__init__(tables)
        self.unmatched = unmatched
        self.wrong_length_of = wrong_length_of

    @property
    def wrong_length(self) -> I64:
        found = list(self.wrong_length_of.values())
        return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)

    def table(self, name: str) -> ParameterTable | None:
        """The table of a definition, None if no such packet came."""
        return next((table for table in self if table.definition.name == name), None)
