"""Packets and parameters of the L4 relay: the simulator builds from them, the ground decodes.

Every packet begins with its SCET as CUC, 4 octets of TAI seconds and 3 of fractions (60 ns), no
P-field.  Names: subsystem, underscore, quantity.
"""

from __future__ import annotations

from typing import Final

from protocols.dictionary import l4_payload, l4_platform
from protocols.dictionary.l4_fields import SCET, TIME_FORMAT
from protocols.telemetry.declaration import Dictionary

__all__ = ["DICTIONARY", "SCET", "TIME_FORMAT"]

DICTIONARY: Final = Dictionary(
    "L4_RELAY",
    (
        l4_platform.STATUS,
        l4_platform.POWER,
        l4_platform.THERMAL,
        l4_platform.ATTITUDE,
        l4_platform.PROPULSION,
        l4_platform.TRANSPONDER,
        l4_payload.OPTICAL,
        l4_payload.RELAY,
        l4_payload.EVENTS,
        l4_payload.PROTON_FLUX,
        l4_payload.SOLAR_WIND,
        l4_payload.MAGNETOMETER_FINE,
        l4_payload.MAGNETOMETER_COARSE,
    ),
    "Telemetry of the L4 relay spacecraft",
)
