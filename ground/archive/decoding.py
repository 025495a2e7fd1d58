"""Packets to the columns that the archive keeps.

The archive decodes for itself, so that it depends on one log only (`receive`'s).  It keeps
engineering values; raw values are in the packets, which it keeps as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ground.archive.model import NO_SCET, ColumnInfo, TableColumns
from ground.ports import Dictionaries
from ground.warming import warm_dictionary
from protocols.packets.batch import PacketBatch
from protocols.telemetry.calibration import Enumeration, Text
from protocols.telemetry.declaration import Dictionary, PacketDefinition, Parameter
from protocols.telemetry.fields import Kind
from protocols.telemetry.sampling import Sampler
from protocols.telemetry.tables import ParameterTable, Ragged

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class DecodedBatch:
    """scet_ns: int64 [n], `NO_SCET` for packets that do not tell it."""

    scet_ns: npt.NDArray[np.int64]
    tables: list[TableColumns]


class Decoder:
    """One dictionary (None: the mission has none, packets are archived without parameters), or one
    that packets change (`Dictionaries`).

    sampler: which packets give parameters; None: all that have a definition.
    counts: undefined, wrong_length (packets that gave no parameters).
    """

    def __init__(
        self,
        dictionary: Dictionary | Dictionaries | None,
        *,
        sampler: Sampler | None = None,
    ) -> None:
        self._dictionaries = None if isinstance(dictionary, Dictionary) else dictionary
        self._dictionary = dictionary if isinstance(dictionary, Dictionary) else None
        if self._dictionaries is not None:
            self._dictionary = self._dictionaries.dictionary
        self.sampler = sampler
        self._info: dict[str, dict[str, ColumnInfo]] = {}
        self.counts: Counter[str] = Counter(undefined=0, wrong_length=0)

    def warm(self) -> None:
        """Have the kernels ready."""
        warm_dictionary(self._dictionary)

    def decode(self, packets: PacketBatch) -> DecodedBatch:
        scet_ns = np.full(len(packets), NO_SCET, np.int64)
        if self._dictionary is None:
            return DecodedBatch(scet_ns, [])
        pieces: Iterable[tuple[int, int, Dictionary]] = [(0, len(packets), self._dictionary)]
        if self._dictionaries is not None:
            pieces = self._dictionaries.pieces(packets)
        tables: list[TableColumns] = []
        for start, stop, dictionary in pieces:
            if dictionary is not self._dictionary:
                self._dictionary = dictionary
                self._info.clear()
            whole = (start, stop) == (0, len(packets))
            piece = packets if whole else packets.slice(start, stop)
            tables += self._piece(dictionary, piece, start, scet_ns[start:stop])
        return DecodedBatch(scet_ns, tables)

    def _piece(
        self,
        dictionary: Dictionary,
        packets: PacketBatch,
        first: int,
        scet_ns: npt.NDArray[np.int64],
    ) -> list[TableColumns]:
        """first: of the packets in the batch; scet_ns: written."""
        decoded = dictionary.decode(packets, self.sampler)
        self.counts["undefined"] += dictionary.undefined(packets, decoded.unmatched)
        self.counts["wrong_length"] += len(decoded.wrong_length)
        tables: list[TableColumns] = []
        for table in decoded:
            # Without a time code a packet has no SCET of its own; its samples stand at its ERT.
            if table.definition.time is not None:
                scet_ns[table.rows] = table.scet_ns
            tables += self._columns(table, first)
        return tables

    def snapshot(self) -> dict[str, Any]:
        """What was learnt of the dictionary; empty if it does not change."""
        return {} if self._dictionaries is None else self._dictionaries.snapshot()

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        if self._dictionaries is not None:
            self._dictionaries.restore(snapshot)

    def _columns(self, table: ParameterTable, first: int) -> list[TableColumns]:
        """One table of what every packet has once, and one for each variable repeat: as many rows
        a packet as it has elements, all at the packet's SCET and in the packet's order."""
        definition, in_batch = table.definition, table.rows + first if first else table.rows
        single: dict[str, Array] = {}
        ragged: dict[bytes, tuple[npt.NDArray[np.int64], dict[str, Array]]] = {}
        for name, parameter in definition.parameters.items():
            if not _archived(parameter, definition):
                continue
            # Enumerations are kept by code; the labels are in the catalogue.
            labelled = isinstance(parameter.calibration, Enumeration)
            column = table.raw[name] if labelled else table.engineering(name)
            if isinstance(column, Ragged):
                lengths = column.lengths
                _, columns = ragged.setdefault(lengths.tobytes(), (lengths, {}))
                columns[name] = column.values
            elif column.ndim == 1:
                single[name] = column
            else:
                for at, place in enumerate(np.ndindex(column.shape[1:])):
                    index = ",".join(str(i) for i in place)
                    single[f"{name}[{index}]"] = column.reshape(len(column), -1)[:, at]
        info = self._described(definition, single)
        found = [TableColumns(definition.name, in_batch, table.scet_ns, single, info=info)]
        for lengths, columns in ragged.values():
            name = f"{definition.name}.{next(iter(columns))}"
            rows = np.repeat(in_batch, lengths)
            scet_ns = np.repeat(table.scet_ns, lengths)
            of_name = self._info.setdefault(name, _info(definition, columns))
            found.append(TableColumns(name, rows, scet_ns, columns, info=of_name))
        return found

    def _described(
        self, definition: PacketDefinition, columns: Mapping[str, Array]
    ) -> Mapping[str, ColumnInfo]:
        """The same object for a definition every time: the store registers it once."""
        if definition.name not in self._info:
            self._info[definition.name] = _info(definition, columns)
        return self._info[definition.name]


def _archived(parameter: Parameter, definition: PacketDefinition) -> bool:
    """Everything but the packet's own time code, which is the SCET, and octets without a
    character set, which are no value: both are in the packet."""
    octets = parameter.type.kind is Kind.OCTETS and not isinstance(parameter.calibration, Text)
    return parameter.name != definition.time and not octets


def _info(definition: PacketDefinition, columns: Mapping[str, Array]) -> dict[str, ColumnInfo]:
    found: dict[str, ColumnInfo] = {}
    for name in columns:
        parameter = definition.parameters[name.partition("[")[0]]
        labels: dict[int, str] = {}
        if isinstance(parameter.calibration, Enumeration):
            labels = dict(parameter.calibration.labels)
        found[name] = ColumnInfo(parameter.unit, parameter.description, labels)
    return found


__all__ = ["DecodedBatch", "Decoder"]
