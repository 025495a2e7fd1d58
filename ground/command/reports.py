"""Verification reports, TM[1,x], and replies of link security in the packets of the downlink."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from protocols.bus.messages import PacketsMessage
from protocols.dictionary.l4_reports import REPORTS
from protocols.errors import RemoteError
from protocols.identifiers import Apid
from protocols.packets.pus import check_error_control
from protocols.telecommand.verification import SERVICE, SUBTYPES, Verification

#: Octets of a report that say what it is: behind primary header and PUS version.
_SERVICE_AT: Final = 7
#: Of replies to link security's procedures.
_SECURITY: Final = 128
_DEFINITIONS: Final = {
    subtype: REPORTS.definition(f"VERIFY_{stage.name}_{'SUCCESS' if success else 'FAILURE'}")
    for (stage, success), subtype in SUBTYPES.items()
}


_REPLY: Final = REPORTS.definition("SECURITY_REPLY")


def security_replies(message: PacketsMessage) -> Iterator[tuple[int, bytes]]:
    """Sequence count of the request, and the PDU of 355.1-B that answers it."""
    for octets, _ in _of_service(message, _SECURITY):
        try:
            check_error_control(octets)
            values = _REPLY.parse(octets)
        except RemoteError:
            continue
        yield values["SEC_SEQUENCE"] & 0x3FFF, bytes(values["SEC_PDU"])


def _of_service(message: PacketsMessage, service: int) -> Iterator[tuple[bytes, int]]:
    packets = message.packets
    for row in np.flatnonzero(packets.apid == Apid.FLIGHT_SOFTWARE):
        octets = packets.packet(int(row))
        if len(octets) >= _SERVICE_AT + 2 and octets[_SERVICE_AT] == service:
            yield octets, int(packets.ert_ns[row])


def verifications(message: PacketsMessage) -> Iterator[tuple[Verification, int]]:
    """Each with the ERT of its packet.  What is damaged is passed over: its octets are archived."""
    for octets, ert_ns in _of_service(message, SERVICE):
        subtype = octets[_SERVICE_AT + 1]
        try:
            check_error_control(octets)
            if subtype in _DEFINITIONS:
                values = _DEFINITIONS[subtype].parse(octets)
                yield Verification.from_values(subtype, values), ert_ns
        except RemoteError:
            continue
