"""Which housekeeping report structures the L4 relay has: what makes its TM[3,25] readable.

A report says the number of its structure and then values alone.  What these are the spacecraft
says in TM[3,10], when a structure is created or changed and when it is asked; whoever decodes
learns from that report on, and keeps what was learnt beside his position in the packets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from protocols.dictionary.l4_parameters import NAMES, ON_BOARD
from protocols.dictionary.l4_reports import EVERYTHING, housekeeping_definition
from protocols.errors import LocalError, RemoteError
from protocols.identifiers import Apid
from protocols.packets.batch import PacketBatch
from protocols.packets.pus import check_error_control
from protocols.telemetry.declaration import Condition, Dictionary

#: Octets of a report that say what it is: behind primary header and PUS version.
_SERVICE_AT: Final = 7
_TYPE: Final = bytes((3, 10))
_APID_LOW: Final = int(Apid.FLIGHT_SOFTWARE) & 0xFF
_DESCRIPTION: Final = EVERYTHING.definition("HK_STRUCTURE")
#: The structure that flight software begins with.
_AT_THE_START: Final = {1: tuple(name for name in ON_BOARD if name.startswith("FSW_"))}
_NAME_OF: Final = dict(NAMES.labels)


def with_structures(structures: Mapping[int, tuple[str, ...]]) -> Dictionary:
    """`EVERYTHING`, with a definition `HK_n` for each structure; `HK_REPORT` is what remains.

    LocalError for a parameter that is none.
    """
    general = EVERYTHING.definition("HK_REPORT")
    others = tuple(Condition("HKS_STRUCTURE", number, "!=") for number in sorted(structures))
    rest = type(general)(
        general.name,
        general.apid,
        general.fields,
        (*general.conditions, *others),
        time=general.time,
        description=general.description,
    )
    return Dictionary(
        EVERYTHING.name,
        (
            *(rest if one is general else one for one in EVERYTHING.definitions),
            *(housekeeping_definition(n, names) for n, names in sorted(structures.items())),
        ),
        EVERYTHING.description,
        foreign=EVERYTHING.foreign,
    )


class KnownStructures:
    """A structure's newest description by SCET holds: one that comes late, from a packet store, is
    passed over.  So a stored TM[3,25] from before a change is read by what came after it: its
    length tells, unless the two are as long.

    refused: reports that were damaged or named what is no parameter.
    """

    def __init__(self) -> None:
        self._structures = dict(_AT_THE_START)
        self._since_ns: dict[int, int] = {}
        self.dictionary = with_structures(self._structures)
        self.refused = 0

    def pieces(self, batch: PacketBatch) -> Iterator[tuple[int, int, Dictionary]]:
        """The batch as ranges of packets, each with the dictionary in force: what a TM[3,10] says
        holds from the next packet on, however packets were cut into batches."""
        start = 0
        # Hot: every batch is looked through, and hardly one has such a report.
        low = batch.octets.take(batch.offsets[:-1] + 1, mode="clip")
        for row in (low == _APID_LOW).nonzero()[0].tolist():
            octets = batch.packet(row)
            told = octets[_SERVICE_AT : _SERVICE_AT + 2] == _TYPE
            if not told or int.from_bytes(octets[:2], "big") & 0x7FF != Apid.FLIGHT_SOFTWARE:
                continue
            said = self._read(octets)
            if said is None:
                continue
            number, names, scet_ns = said
            if scet_ns < self._since_ns.get(number, scet_ns):
                continue
            if self._structures.get(number) == names:
                self._since_ns[number] = scet_ns
                continue
            changed = {**self._structures, number: names}
            try:
                dictionary = with_structures(changed)
            except LocalError:
                self.refused += 1
                continue
            yield start, row + 1, self.dictionary
            start = row + 1
            self._structures, self.dictionary = changed, dictionary
            self._since_ns[number] = scet_ns
        if start < len(batch) or not start:
            yield start, len(batch), self.dictionary

    def _read(self, octets: bytes) -> tuple[int, tuple[str, ...], int] | None:
        try:
            check_error_control(octets)
            values = _DESCRIPTION.parse(octets)
        except RemoteError:
            self.refused += 1
            return None
        numbers = cast("list[int]", values["HKS_PARAMETER"])
        unknown = [number for number in numbers if number not in _NAME_OF]
        if unknown or len(set(numbers)) != len(numbers):
            self.refused += 1
            return None
        names = tuple(_NAME_OF[number] for number in numbers)
        return int(values["HKS_STRUCTURE"]), names, int(values["SCET"])

    def snapshot(self) -> dict[str, Any]:
        """Of types that msgpack and JSON can store."""
        return {
            str(number): [self._since_ns.get(number, 0), list(names)]
            for number, names in self._structures.items()
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """LocalError for a parameter that is none."""
        structures = {int(number): tuple(names) for number, (_, names) in snapshot.items()}
        self.dictionary = with_structures(structures)
        self._structures = structures
        self._since_ns = {int(number): since_ns for number, (since_ns, _) in snapshot.items()}
