"""What subsystems tell each other, and the events they raise."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.dictionary.l4_states import EventId, Severity
from protocols.identifiers import Carrier

#: One simulation step.  Physics, packets and modes advance on whole seconds of TAI.
TICK_S = 1.0
TICK_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Event:
    """One event as raised on board."""

    event_id: EventId
    severity: Severity
    text: str


@dataclass(frozen=True, slots=True)
class Uplink:
    """Octets as one carrier brings them to the spacecraft."""

    carrier: Carrier
    octets: bytes


@dataclass(slots=True)
class Environment:
    """What the world does to the spacecraft in one step.

    storm: 0 quiet .. 1 peak of the proton event; shock: 0 ambient .. 1 at the shock's passage.
    """

    sun_distance_au: float = 1.0
    storm: float = 0.0
    shock: float = 0.0
