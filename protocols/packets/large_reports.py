"""Reports too long for one packet, put together from their parts (ECSS-E-ST-70-41C service 13).

TM[13,1], TM[13,2] and TM[13,3] carry the first, the intermediate and the last parts of a report,
each with the number of its transfer and of itself, from 1 on.  What comes out is the report's own
packet, behind the packet that completes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np

from protocols.errors import RemoteError
from protocols.packets.batch import PacketBatch
from protocols.packets.pus import PUS_FORMAT, PusFormat, check_error_control, parse_report
from protocols.packets.space_packet import LONGEST_PACKET, SHORTEST_PACKET

SERVICE: Final = 13
FIRST, INTERMEDIATE, LAST = 1, 2, 3
#: Transfers that are open at a time; of more, the oldest is given up.
MOST_TRANSFERS: Final = 32
#: Of the packet, where service and subtype stand (§7.4.3.1).
_SERVICE_AT, _SUBTYPE_AT = 7, 8
_NUMBERS: Final = 4


class LargeReports:
    """apids: whose packets are PUS reports; a transfer belongs to its APID and virtual channel.

    statistics: `parts`, `joined`, `incomplete` (transfers with a part missing), `damaged` (whose
    packet is none, or has an error control that does not agree), `orphans` (parts of transfers
    whose beginning was not there).
    """

    def __init__(self, apids: Collection[int], form: PusFormat = PUS_FORMAT) -> None:
        self._apids = np.array(sorted(apids), np.uint16)
        self._form = form
        #: (vcid, APID, transfer) → parts so far, in the order of their beginning.
        self._open: dict[tuple[int, int, int], list[bytes]] = {}
        self.statistics: Counter[str] = Counter(
            parts=0, joined=0, incomplete=0, damaged=0, orphans=0
        )

    def push(self, packets: PacketBatch) -> PacketBatch:
        """The packets with the reports that they complete, each behind its last part."""
        rows = self._parts(packets)
        if not len(rows):
            return packets
        pieces: list[PacketBatch] = []
        done = 0
        for row in rows.tolist():
            whole = self._part(packets, row)
            if whole is not None:
                pieces += [
                    packets.slice(done, row + 1),
                    PacketBatch.from_packets(
                        [whole], vcid=int(packets.vcid[row]), ert_ns=int(packets.ert_ns[row])
                    ),
                ]
                done = row + 1
        return PacketBatch.concatenate([*pieces, packets.slice(done, len(packets))])

    def _parts(self, packets: PacketBatch) -> Any:
        """Rows of the packets that carry parts."""
        possible = packets.has_secondary_header & (packets.length > _SUBTYPE_AT + _NUMBERS)
        possible &= np.isin(packets.apid, self._apids)
        rows = np.flatnonzero(possible)
        begin = packets.offsets[rows]
        service, subtype = (packets.octets[begin + at] for at in (_SERVICE_AT, _SUBTYPE_AT))
        return rows[(service == SERVICE) & (subtype >= FIRST) & (subtype <= LAST)]

    def _part(self, packets: PacketBatch, row: int) -> bytes | None:
        """The report that this part completes."""
        self.statistics["parts"] += 1
        try:
            report = parse_report(packets.packet(row), self._form)
        except RemoteError:
            self.statistics["damaged"] += 1
            return None
        transfer, number = (int.from_bytes(report.data[at : at + 2], "big") for at in (0, 2))
        key = int(packets.vcid[row]), report.apid, transfer
        if report.subtype == FIRST:
            self.statistics["incomplete"] += self._open.pop(key, None) is not None
            self._open[key] = []
            if len(self._open) > MOST_TRANSFERS:
                del self._open[next(iter(self._open))]
                self.statistics["incomplete"] += 1
        parts = self._open.get(key)
        if parts is None:
            self.statistics["orphans"] += 1
            return None
        parts.append(report.data[_NUMBERS:])
        if number != len(parts) or sum(map(len, parts)) > LONGEST_PACKET:
            del self._open[key]
            self.statistics["incomplete"] += 1
            return None
        if report.subtype != LAST:
            return None
        return self._whole(b"".join(self._open.pop(key)))

    def _whole(self, octets: bytes) -> bytes | None:
        try:
            # 133.0-B-2 §4.1.3.5.3: octets of the data field less one.
            said = int.from_bytes(octets[4:6], "big") + SHORTEST_PACKET
            if len(octets) < SHORTEST_PACKET or said != len(octets):
                raise RemoteError(f"{len(octets)} octets, {said} by its header", data=octets)
            check_error_control(octets)
        except RemoteError:
            self.statistics["damaged"] += 1
            return None
        self.statistics["joined"] += 1
        return octets

    # Across restarts -----------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """For `restore`; msgpack-able."""
        return {
            "open": [[*key, parts] for key, parts in self._open.items()],
            "statistics": dict(self.statistics),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        self._open = {
            (vcid, apid, transfer): list(parts) for vcid, apid, transfer, parts in snapshot["open"]
        }
        self.statistics = Counter(snapshot["statistics"])
