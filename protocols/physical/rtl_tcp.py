"""rtl_tcp: samples of an RTL2832 receiver over TCP, as librtlsdr's `rtl_tcp.c` serves them.

The server says what its tuner is (12 octets), then sends samples (cu8) without an end; the client
sends commands of 5 octets at any time and gets no answer.  All numbers are big-endian.
"""

# construct ships no types: what comes out of it is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false, reportUnknownLambdaType=false

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import construct as c

from protocols.errors import LocalError, RemoteError

MAGIC: Final = b"RTL0"

DONGLE_INFO: Final = c.Struct(
    "magic" / c.Bytes(4),
    "tuner" / c.Int32ub,
    "gains" / c.Int32ub,
)
COMMAND: Final = c.Struct("command" / c.Int8ub, "value" / c.Int32ub)


class Command(IntEnum):
    """value: Hz, samples a second, 0 or 1, tenths of a decibel, parts per million."""

    FREQUENCY = 0x01
    SAMPLE_RATE = 0x02
    MANUAL_GAIN = 0x03
    GAIN = 0x04
    FREQUENCY_CORRECTION = 0x05
    AGC = 0x08
    DIRECT_SAMPLING = 0x09
    OFFSET_TUNING = 0x0A
    GAIN_BY_INDEX = 0x0D
    BIAS_TEE = 0x0E


#: rtl-sdr.h, enum rtlsdr_tuner.
TUNERS: Final = ("unknown", "E4000", "FC0012", "FC0013", "FC2580", "R820T", "R828D")


@dataclass(frozen=True, slots=True)
class DongleInfo:
    """tuner: number in `TUNERS`; gains: how many steps it has."""

    tuner: int
    gains: int

    @property
    def tuner_name(self) -> str:
        return TUNERS[self.tuner] if self.tuner < len(TUNERS) else f"tuner {self.tuner}"


def parse_dongle_info(octets: bytes) -> DongleInfo:
    """RemoteError unless these are its 12 octets.

    >>> parse_dongle_info(b"RTL0" + bytes([0, 0, 0, 5, 0, 0, 0, 29])).tuner_name
    'R820T'
    """
    if len(octets) != DONGLE_INFO.sizeof() or octets[:4] != MAGIC:
        raise RemoteError(f"no rtl_tcp: it begins {octets[:12].hex(' ')}", data=octets)
    found = DONGLE_INFO.parse(octets)
    return DongleInfo(found.tuner, found.gains)


def build_dongle_info(info: DongleInfo) -> bytes:
    return DONGLE_INFO.build({"magic": MAGIC, "tuner": info.tuner, "gains": info.gains})


def build_command(command: Command, value: int) -> bytes:
    """LocalError: a value beyond 32 bits; negative ones (a correction) go as two's complement."""
    if not -(1 << 31) <= value < 1 << 32:
        raise LocalError(f"rtl_tcp {command.name} {value}: 32 bits wanted")
    return COMMAND.build({"command": command, "value": value % (1 << 32)})


def parse_command(octets: bytes) -> tuple[int, int]:
    """Number of the command and its value, unsigned.  RemoteError unless it is 5 octets."""
    if len(octets) != COMMAND.sizeof():
        raise RemoteError(f"{len(octets)} octets; a command of rtl_tcp has 5", data=octets)
    found = COMMAND.parse(octets)
    return found.command, found.value


__all__ = [
    "TUNERS",
    "Command",
    "DongleInfo",
    "build_command",
    "build_dongle_info",
    "parse_command",
    "parse_dongle_info",
]
