"""Link security managed from the ground: procedures of 355.1-B, their replies and events.

They come as requests of service 128 on the management MAP, through an association of its own
(decision 0011); nothing else is executed from there, and no procedure from anywhere else, the
schedule and events' actions included.
"""

from __future__ import annotations

from collections.abc import Callable

from protocols.dictionary.l4_states import EventId, Severity
from protocols.errors import LocalError, RemoteError
from protocols.frames.sdls import SecurityEndpoint
from protocols.frames.sdls_initiator import describe
from protocols.frames.sdls_procedures import Procedure, SecurityUnit, parse_pdu
from protocols.packets.pus import RequestId
from protocols.telecommand.verification import FailureCode
from spacecraft_sim.flight_software.execution import Refusal
from spacecraft_sim.flight_software.reports import ReportWriter
from spacecraft_sim.subsystems.common import Event

#: Procedures that change nothing, and are no event.
_QUESTIONS = frozenset(
    {
        Procedure.VERIFY_KEYS,
        Procedure.KEY_INVENTORY,
        Procedure.READ_ARSN,
        Procedure.SA_STATUS,
        Procedure.PING,
    }
)


class SecurityManagement:
    def __init__(
        self,
        endpoint: SecurityEndpoint,
        reports: ReportWriter,
        raise_event: Callable[[Event], None],
    ) -> None:
        self._unit = SecurityUnit(endpoint)
        self._reports = reports
        self._raise = raise_event

    @property
    def executed(self) -> int:
        return self._unit.executed.total()

    @property
    def refused(self) -> int:
        return self._unit.refused

    def execute(self, request: RequestId, pdu: bytes, spi: int) -> None:
        """spi: what the request came through.  Raises Refusal; the reason holds no key."""
        try:
            reply = self._unit.perform(pdu, spi)
        except (LocalError, RemoteError) as error:
            self._raise(
                Event(
                    EventId.SECURITY_REFUSED, Severity.MEDIUM, f"security procedure: {error}"[:200]
                )
            )
            raise Refusal(FailureCode.SECURITY_PROCEDURE, str(error)) from error
        if parse_pdu(pdu).procedure not in _QUESTIONS:
            self._raise(Event(EventId.SECURITY_CHANGED, Severity.LOW, describe(pdu)))
        if reply:
            values = {
                "SEC_PACKET_ID": request.packet_id,
                "SEC_SEQUENCE": request.sequence,
                "SEC_PDU": reply,
            }
            self._reports.put("SECURITY_REPLY", values)
