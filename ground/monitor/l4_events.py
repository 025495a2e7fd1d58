"""What the L4 relay's packets say of events, and which of them come only when there is a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ground.monitor.decoding import EventPacket, OnBoard
from protocols.bus.messages import Severity
from protocols.dictionary import l4_states
from protocols.dictionary.l4_reports import REPORTS
from protocols.identifiers import Apid
from protocols.packets.pus import RequestId
from protocols.telecommand.verification import SUBTYPES

#: Subsystems' events, and flight software's, TM[5,1] to TM[5,4].
EVENT_PACKET: Final = EventPacket(
    definitions=frozenset(
        {Apid.EVENTS.name, *(f"EVENT_{severity.name}" for severity in l4_states.Severity)}
    ),
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


def _refused(stage: str, values: Mapping[str, Any]) -> str:
    request = RequestId(int(values["VER_PACKET_ID"]), int(values["VER_SEQUENCE"]))
    step = f" {values['VER_STEP']}" if "VER_STEP" in values else ""
    data = np.asarray(values["VER_DATA"], np.uint8).tobytes().decode("ascii", "replace")
    why = f"{values['VER_CODE']}{f', {data}' if data else ''}"
    return f"request {request.sequence_count} of APID {request.apid}: {stage}{step} failed: {why}"


#: Of requests' verification reports those that an operator must not miss.
FAILURES: Final = {
    f"VERIFY_{stage.name}_FAILURE": lambda values, stage=stage.value: _refused(stage, values)
    for stage, success in SUBTYPES
    if not success
}
#: Reports of services come when they are asked for, or when something happens.
ON_BOARD: Final = OnBoard(
    EVENT_PACKET,
    FAILURES,
    EVENT_PACKET.definitions
    | {one.name for one in REPORTS.definitions if one.apid == Apid.FLIGHT_SOFTWARE},
)
#: Decoded every one, also where others are sampled.
ALWAYS: Final = frozenset(one.name for one in REPORTS.definitions) | EVENT_PACKET.definitions
