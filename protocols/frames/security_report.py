"""Frame security report, CCSDS 355.1-B-1 §4.2.2: what link security made of the last frame.

It takes turns with the CLCW in the operational control field; its first bit, 1, tells them apart.

    >>> report = FrameSecurityReport(alarm=True, bad_mac=True, last_spi=5, number=0x1234)
    >>> report.build().hex()
    'ca000534'
    >>> FrameSecurityReport.parse(bytes.fromhex("ca000534")).bad_mac
    True
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocols.errors import LocalError, RemoteError

#: Control word type 1, then version '100'.
_TYPE_AND_VERSION: Final = 0b1100


@dataclass(frozen=True, slots=True)
class FrameSecurityReport:
    """alarm: a frame was refused since the alarm was last reset; the other flags, the SPI and the
    sequence number (its last eight bits are sent) are those of the last frame."""

    alarm: bool = False
    bad_sequence_number: bool = False
    bad_mac: bool = False
    bad_sa: bool = False
    last_spi: int = 0
    number: int = 0

    def build(self) -> bytes:
        """Four octets.  Raises LocalError for an SPI that is none."""
        if not 0 <= self.last_spi < 1 << 16:
            raise LocalError(f"SPI {self.last_spi}: 0..65535")
        flags = (self.alarm, self.bad_sequence_number, self.bad_mac, self.bad_sa)
        first = _TYPE_AND_VERSION
        for flag in flags:
            first = first << 1 | flag
        return bytes((first, *self.last_spi.to_bytes(2, "big"), self.number & 0xFF))

    @classmethod
    def parse(cls, octets: bytes) -> FrameSecurityReport:
        """Raises RemoteError for another length, and what is no report of this version."""
        if len(octets) != 4 or octets[0] >> 4 != _TYPE_AND_VERSION:
            raise RemoteError(f"{octets.hex()} is no frame security report", data=octets)
        alarm, bad_number, bad_mac, bad_sa = (bool(octets[0] & bit) for bit in (8, 4, 2, 1))
        spi = int.from_bytes(octets[1:3], "big")
        return cls(alarm, bad_number, bad_mac, bad_sa, spi, octets[3])
