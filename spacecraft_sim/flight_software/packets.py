"""Telemetry packets: sampled when due, encoded by the block with the dictionary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from protocols.dictionary.l4 import DICTIONARY
from protocols.identifiers import Apid, VirtualChannel

_SEQUENCE_MODULUS = 1 << 14

#: Virtual channel of each APID.
CHANNELS = {
    Apid.EVENTS: VirtualChannel.EVENTS,
    Apid.PROTON_FLUX: VirtualChannel.SCIENCE,
    Apid.SOLAR_WIND: VirtualChannel.SCIENCE,
    Apid.MAGNETOMETER: VirtualChannel.SCIENCE,
}


@dataclass(frozen=True, slots=True)
class Packet:
    """An encoded packet and when it was generated, by TAI and by the on-board clock."""

    t_ns: int
    vc: VirtualChannel
    octets: bytes
    scet_ns: int


class PacketStore:
    """Samples wait here until `flush` encodes them, one batch a definition."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        self._counts: dict[str, list[int]] = defaultdict(list)
        self._sequence: dict[int, int] = defaultdict(int)
        self._order: list[tuple[int, int, str]] = []
        #: Packets put since the start.
        self.count = 0

    def put(self, name: str, t_ns: int, scet_ns: int, values: Mapping[str, Any]) -> None:
        """One packet of definition `name`; states as members of their enumeration."""
        apid = DICTIONARY.by_name[name].apid
        assert apid is not None
        self._rows[name].append(values)
        self._counts[name].append(self._sequence[apid])
        self._sequence[apid] = (self._sequence[apid] + 1) % _SEQUENCE_MODULUS
        self._order.append((t_ns, scet_ns, name))
        self.count += 1

    def flush(self) -> list[Packet]:
        """Everything put since the last flush, in that order."""
        encoded = {}
        times: dict[str, list[int]] = defaultdict(list)
        for _, scet_ns, name in self._order:
            times[name].append(scet_ns)
        for name, rows in self._rows.items():
            columns: dict[str, Any] = {"SCET": np.array(times[name], np.int64)}
            for key, first in rows[0].items():
                column = [row[key] for row in rows]
                if isinstance(first, IntEnum):
                    column = [state.name for state in column]
                columns[key] = column
            # A sensor beyond its field's range reads the range's end, as a converter does.
            encoded[name] = iter(
                DICTIONARY.encode_batch(
                    name,
                    columns,
                    sequence_count=np.array(self._counts[name], np.int64),
                    saturate=True,
                )
            )
        packets = []
        for t_ns, scet_ns, name in self._order:
            apid = DICTIONARY.by_name[name].apid
            assert apid is not None
            vc = CHANNELS.get(Apid(apid), VirtualChannel.HOUSEKEEPING)
            packets.append(Packet(t_ns, vc, next(encoded[name]), scet_ns))
        self._rows.clear()
        self._counts.clear()
        self._order.clear()
        return packets
