"""Communications link control word, CCSDS 232.0-B-4 §4.2: the ground's echo of its commands."""

# construct ships no types: what comes out of it is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false, reportUnknownLambdaType=false
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from construct import BitsInteger, BitStruct, Flag
from construct.core import ConstructError

from protocols.errors import LocalError, RemoteError

#: 232.0-B-4 §4.2.1; a control word type of 1 in the first bit would be a type-2 report instead.
CLCW_WORD = BitStruct(
    "control_word_type" / BitsInteger(1),
    "version" / BitsInteger(2),
    "status" / BitsInteger(3),
    "cop_in_effect" / BitsInteger(2),
    "vcid" / BitsInteger(6),
    "spare_1" / BitsInteger(2),
    "no_rf_available" / Flag,
    "no_bit_lock" / Flag,
    "lockout" / Flag,
    "wait" / Flag,
    "retransmit" / Flag,
    "farm_b_counter" / BitsInteger(2),
    "spare_2" / BitsInteger(1),
    "report_value" / BitsInteger(8),
)


@dataclass(frozen=True, slots=True)
class CLCW:
    """One communications link control word.

    vcid: telecommand virtual channel it reports on; report_value: V(R), the next frame number
    that FARM-1 expects.
    """

    vcid: int = 0
    report_value: int = 0
    cop_in_effect: int = 1
    status: int = 0
    no_rf_available: bool = False
    no_bit_lock: bool = False
    lockout: bool = False
    wait: bool = False
    retransmit: bool = False
    farm_b_counter: int = 0
    spare_1: int = 0
    spare_2: int = 0
    version: int = 0

    @classmethod
    def parse(cls, octets: bytes) -> CLCW:
        """CLCW of an OCF of 4 octets.  Raises RemoteError for another size or word type."""
        if len(octets) != 4:
            raise RemoteError(f"CLCW of {len(octets)} octets, 4 wanted", data=octets)
        word: Any = CLCW_WORD.parse(octets)
        if word.control_word_type != 0:
            raise RemoteError(
                "OCF holds a type-2 report, no CLCW (132.0-B-3 §4.1.5.3)", data=octets
            )
        values: dict[str, Any] = {name: word[name] for name in cls.__slots__}
        return cls(**values)

    def build(self) -> bytes:
        """OCF of 4 octets.  Raises LocalError for a value outside its field.

        >>> CLCW(vcid=1, report_value=5, no_bit_lock=True).build().hex()
        '01044005'
        """
        values: dict[str, int] = {name: getattr(self, name) for name in self.__slots__}
        try:
            return CLCW_WORD.build({"control_word_type": 0, **values})
        except ConstructError as error:
            raise LocalError(f"CLCW: {error}") from error
