"""Verification reports, TM[1,x], in the packets of the downlink."""

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
_DEFINITIONS: Final = {
    subtype: REPORTS.definition(f"VERIFY_{stage.name}_{'SUCCESS' if success else 'FAILURE'}")
    for (stage, success), subtype in SUBTYPES.items()
}


def verifications(message: PacketsMessage) -> Iterator[tuple[Verification, int]]:
    """Each with the ERT of its packet.  What is damaged is passed over: its octets are archived."""
    packets = message.packets
    for row in np.flatnonzero(packets.apid == Apid.FLIGHT_SOFTWARE):
        octets = packets.packet(int(row))
        if len(octets) < _SERVICE_AT + 2 or octets[_SERVICE_AT] != SERVICE:
            continue
        subtype = octets[_SERVICE_AT + 1]
        try:
            check_error_control(octets)
            if subtype in _DEFINITIONS:
                values = _DEFINITIONS[subtype].parse(octets)
                yield Verification.from_values(subtype, values), int(packets.ert_ns[row])
        except RemoteError:
            continue
