"""Where the L4 relay's event packet says what happened."""

from __future__ import annotations

from typing import Final

from ground.monitor.decoding import EventPacket
from protocols.bus.messages import Severity
from protocols.dictionary import l4_states
from protocols.identifiers import Apid

EVENT_PACKET: Final = EventPacket(
    definition=Apid.EVENTS.name,
    identifier="EVT_ID",
    severity="EVT_SEVERITY",
    text="EVT_TEXT",
    severities={
        l4_states.Severity.INFORMATION.name: Severity.INFO,
        l4_states.Severity.LOW.name: Severity.INFO,
        l4_states.Severity.MEDIUM.name: Severity.WARNING,
        l4_states.Severity.HIGH.name: Severity.CRITICAL,
    },
)
