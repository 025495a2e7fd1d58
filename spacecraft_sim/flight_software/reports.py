"""Service reports: collected in a second, numbered and encoded at its end.

Order within a second is that of `put`, or of `insert`: a start report belongs before what its
request then caused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from protocols.dictionary.l4_reports import REPORTS
from protocols.identifiers import VirtualChannel
from protocols.packets.pus import with_error_control
from protocols.telecommand.verification import Verification
from protocols.telemetry.declaration import Dictionary, PacketDefinition
from spacecraft_sim.flight_software.onboard_clock import OnBoardClock
from spacecraft_sim.flight_software.packets import Packet

#: ECSS-E-ST-70-41C §6.13: longer packets go in parts, so that none holds up others for long.
LONGEST_PACKET: Final = 1024
_PART_OCTETS: Final = 960
#: Services whose reports an operator waits for.
_URGENT: Final = frozenset({1, 5, 17})
_SEQUENCE_MODULUS: Final = 1 << 14
_VERIFICATION: Final = {
    next(c.value for c in d.conditions if c.parameter == "PUS_SUBTYPE"): d.name
    for d in REPORTS.definitions
    if ("PUS_SERVICE", 1) in {(c.parameter, c.value) for c in d.conditions}
}

_Waiting = tuple[PacketDefinition, Mapping[str, Any], bool]


class ReportWriter:
    """Counts of sequence and messages (§7.4.3.1) live here."""

    def __init__(self, clock: OnBoardClock) -> None:
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._sequence = 0
        self._messages: dict[tuple[int, int], int] = defaultdict(int)
        self._transfers = 0
        #: Names and values of all that was flushed last: for observers.
        self.last: list[tuple[str, Mapping[str, Any]]] = []

    def put(self, name: str, values: Mapping[str, Any], *, raw: bool = False) -> None:
        """A report of `l4_reports.REPORTS`."""
        self._waiting.append((REPORTS.by_name[name], values, raw))

    def put_definition(self, definition: PacketDefinition, values: Mapping[str, Any]) -> None:
        """A report declared at run time, with engineering values beyond range held at its end."""
        self._waiting.append((definition, values, False))

    def verify(self, verification: Verification, at: int | None = None) -> None:
        """A verification report, at a `mark` or after everything."""
        definition = REPORTS.by_name[_VERIFICATION[verification.subtype]]
        place = len(self._waiting) if at is None else at
        self._waiting.insert(place, (definition, verification.values, True))

    @property
    def mark(self) -> int:
        return len(self._waiting)

    def flush(self, t_ns: int) -> list[Packet]:
        """Everything put since the last flush, as packets generated at `t_ns`."""
        waiting, self._waiting = self._waiting, []
        self.last = [(definition.name, values) for definition, values, _ in waiting]
        packets: list[Packet] = []
        for definition, values, raw in waiting:
            octets = self._encode(definition, values, t_ns, raw=raw)
            if len(octets) <= LONGEST_PACKET:
                packets.append(self._packet(definition, octets, t_ns))
            else:
                packets += self._in_parts(octets, t_ns)
        return packets

    def _packet(self, definition: PacketDefinition, octets: bytes, t_ns: int) -> Packet:
        urgent = _type_of(definition)[0] in _URGENT
        channel = VirtualChannel.EVENTS if urgent else VirtualChannel.HOUSEKEEPING
        return Packet(t_ns, channel, octets, self._clock.read(t_ns))

    def _encode(
        self, definition: PacketDefinition, values: Mapping[str, Any], t_ns: int, *, raw: bool
    ) -> bytes:
        kind = _type_of(definition)
        header = {
            "PUS_TIME_STATUS": 0,
            "PUS_MESSAGE_COUNT": self._messages[kind],
            "PUS_DESTINATION_ID": 0,
            "SCET": self._clock.read(t_ns),
            "PACKET_CRC": 0,
        }
        octets = Dictionary("REPORT", (definition,)).encode(
            definition.name,
            {**header, **values},
            sequence_count=self._sequence,
            raw=raw,
            saturate=True,
        )
        self._messages[kind] = (self._messages[kind] + 1) % 65_536
        self._sequence = (self._sequence + 1) % _SEQUENCE_MODULUS
        return with_error_control(octets)

    def _in_parts(self, octets: bytes, t_ns: int) -> list[Packet]:
        self._transfers = self._transfers % 65_535 + 1
        parts = [octets[i : i + _PART_OCTETS] for i in range(0, len(octets), _PART_OCTETS)]
        names = ["LARGE_FIRST", *["LARGE_INTERMEDIATE"] * (len(parts) - 2), "LARGE_LAST"]
        packets: list[Packet] = []
        for number, (name, part) in enumerate(zip(names, parts, strict=True), 1):
            values = {
                "LPT_TRANSFER": self._transfers,
                "LPT_PART_NUMBER": number,
                "LPT_PART": part,
            }
            definition = REPORTS.by_name[name]
            octets = self._encode(definition, values, t_ns, raw=True)
            packets.append(self._packet(definition, octets, t_ns))
        return packets


def _type_of(definition: PacketDefinition) -> tuple[int, int]:
    found = {c.parameter: c.value for c in definition.conditions}
    return found["PUS_SERVICE"], found["PUS_SUBTYPE"]
