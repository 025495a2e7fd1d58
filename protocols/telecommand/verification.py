"""Request verification, ECSS-E-ST-70-41C §6.1: what becomes of a command, stage by stage."""
# construct ships no types.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, Final

from construct import GreedyBytes, Int8ub, Int16ub

from protocols.errors import LocalError, RemoteError
from protocols.packets.pus import Acknowledgement, RequestId
from protocols.telemetry.calibration import Enumeration
from protocols.telemetry.declaration import Parameter

SERVICE: Final = 1


class Stage(Enum):
    """§6.1.2: stages of a request's life, in their order, by name of their reports."""

    ROUTING = "routing"
    ACCEPTANCE = "acceptance"
    START = "start"
    PROGRESS = "progress"
    COMPLETION = "completion"

    @property
    def acknowledgement(self) -> Acknowledgement:
        """The flag with which a request asks for this stage's success."""
        return Acknowledgement.NONE if self is Stage.ROUTING else Acknowledgement[self.name]


#: §8.1.2: subtype of each report by stage and success.
SUBTYPES: Final[Mapping[tuple[Stage, bool], int]] = {
    (Stage.ACCEPTANCE, True): 1,
    (Stage.ACCEPTANCE, False): 2,
    (Stage.START, True): 3,
    (Stage.START, False): 4,
    (Stage.PROGRESS, True): 5,
    (Stage.PROGRESS, False): 6,
    (Stage.COMPLETION, True): 7,
    (Stage.COMPLETION, False): 8,
    (Stage.ROUTING, False): 10,
}
_MEANING: Final = {subtype: key for key, subtype in SUBTYPES.items()}


class FailureCode(IntEnum):
    """Why a request failed; the standard leaves the numbers to the mission."""

    NONE = 0
    # Acceptance: the packet itself.
    BAD_CRC = 1
    UNKNOWN_APID = 2
    UNKNOWN_COMMAND = 3
    WRONG_LENGTH = 4
    ILLEGAL_ARGUMENT = 5
    NOT_AUTHORISED = 6
    # Start: the state of the spacecraft.
    WRONG_MODE = 16
    UNKNOWN_IDENTIFIER = 17
    ALREADY_EXISTS = 18
    NO_ROOM = 19
    TOO_LATE = 20
    STILL_ENABLED = 21
    IN_PROGRESS = 22
    SECURITY_PROCEDURE = 23
    # Completion: what happened.
    EQUIPMENT_OFF = 32
    EQUIPMENT_FAILED = 33
    ABORTED = 34
    NOT_REACHED = 35


_PACKET_ID = Parameter(
    "VER_PACKET_ID", Int16ub, description="First header word of the request reported on"
)
_SEQUENCE = Parameter(
    "VER_SEQUENCE", Int16ub, description="Second header word of the request reported on"
)
_STEP = Parameter("VER_STEP", Int8ub, description="Step of the execution, from 1")
_CODE = Parameter(
    "VER_CODE",
    Int16ub,
    calibration=Enumeration({code.value: code.name for code in FailureCode}),
    description="Why the request failed",
)
_DATA = Parameter("VER_DATA", GreedyBytes, description="What is to be known of the failure")


def report_fields(subtype: int) -> tuple[Parameter, ...]:
    """§8.1.2: source data of TM[1,subtype]; LocalError for a subtype that is no such report."""
    if subtype not in _MEANING:
        raise LocalError(f"verification report subtype {subtype}; {sorted(_MEANING)} allowed")
    stage, success = _MEANING[subtype]
    step = (_STEP,) if stage is Stage.PROGRESS else ()
    return (_PACKET_ID, _SEQUENCE, *step, *(() if success else (_CODE, _DATA)))


@dataclass(frozen=True, slots=True)
class Verification:
    """One report on a request.

    step: of a progress report; code, data: of a failure.
    """

    request: RequestId
    stage: Stage
    success: bool = True
    step: int = 0
    code: int = FailureCode.NONE
    data: bytes = b""

    @property
    def subtype(self) -> int:
        """LocalError for a routing success, of which there is no report."""
        if (self.stage, self.success) not in SUBTYPES:
            raise LocalError(f"no report says that {self.stage.value} succeeded")
        return SUBTYPES[self.stage, self.success]

    @property
    def values(self) -> dict[str, Any]:
        """Raw values under the names of `report_fields`."""
        everything = {
            "VER_PACKET_ID": self.request.packet_id,
            "VER_SEQUENCE": self.request.sequence,
            "VER_STEP": self.step,
            "VER_CODE": int(self.code),
            "VER_DATA": self.data,
        }
        return {field.name: everything[field.name] for field in report_fields(self.subtype)}

    @classmethod
    def from_values(cls, subtype: int, values: Mapping[str, Any]) -> Verification:
        """From a report's raw values; RemoteError for a subtype that is no such report.

        >>> request = RequestId(packet_id=0x1864, sequence=0xC007)
        >>> late = Verification(request, Stage.START, False, code=FailureCode.TOO_LATE)
        >>> Verification.from_values(4, late.values) == late
        True
        """
        if subtype not in _MEANING:
            raise RemoteError(f"verification report of subtype {subtype}; {sorted(_MEANING)} known")
        stage, success = _MEANING[subtype]
        return cls(
            RequestId(int(values["VER_PACKET_ID"]), int(values["VER_SEQUENCE"])),
            stage,
            success,
            int(values.get("VER_STEP", 0)),
            int(values.get("VER_CODE", 0)),
            bytes(values.get("VER_DATA", b"")),
        )
