"""What sender and receiver agree on about a carrier: one declaration for modulator and demodulator.

Symbols are those of the modulation: QPSK and OQPSK carry two soft symbols in each, the others one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from protocols.errors import LocalError
from protocols.physical import pulses
from protocols.physical.pulses import Pulse


class Modulation(StrEnum):
    """Modulations of 401.0-B.

    OQPSK's second rail is half a symbol late; GMSK is precoded, so that it is received as OQPSK of
    half its rate.  PM_PSK: PCM/PSK/PM, a subcarrier in phase modulation with residual carrier;
    PM_BIPHASE: PCM/PM/bi-phase-L, likewise without subcarrier.
    """

    BPSK = "bpsk"
    QPSK = "qpsk"
    OQPSK = "oqpsk"
    GMSK = "gmsk"
    PM_PSK = "pm/psk"
    PM_BIPHASE = "pm/bi-phase"


#: With a carrier that is left over for the receiver's loop.
RESIDUAL = frozenset({Modulation.PM_PSK, Modulation.PM_BIPHASE})
#: Whose rails are half a symbol apart.
STAGGERED = frozenset({Modulation.OQPSK, Modulation.GMSK})


@dataclass(frozen=True)
class Waveform:
    """symbol_rate: symbols/s, of GMSK bits/s.

    shaping: "rrc" with its roll-off, or "nrz" (rectangular), of BPSK, QPSK and OQPSK.
    bt: of GMSK's Gaussian filter, times one bit.
    index_rad: peak phase deviation of phase modulation; subcarrier_hz: of PM_PSK, "sine" or
    "square" (401.0-B, deep space).
    Raises LocalError for what cannot be.
    """

    modulation: Modulation
    symbol_rate: float
    shaping: str = "rrc"
    rolloff: float = 0.5
    bt: float = 0.5
    index_rad: float = 1.0
    subcarrier_hz: float = 0.0
    subcarrier: str = "sine"

    def __post_init__(self) -> None:
        if self.modulation not in set(Modulation):
            allowed = ", ".join(Modulation)
            raise LocalError(f"modulation is {self.modulation!r}, one of {allowed} wanted")
        object.__setattr__(self, "modulation", Modulation(self.modulation))
        _within("symbol rate", self.symbol_rate, 1e-3, 1e10, " symbols/s")
        if self.shaping not in ("rrc", "nrz"):
            raise LocalError(f"shaping is {self.shaping!r}, rrc or nrz wanted")
        if self.subcarrier not in ("sine", "square"):
            raise LocalError(f"subcarrier is {self.subcarrier!r}, sine or square wanted")
        _within("roll-off", self.rolloff, 0.1, 1.0, "")
        _within("BT", self.bt, 0.2, 1.0, "")
        _within("modulation index", self.index_rad, 0.1, 1.5, " rad")
        if self.modulation == Modulation.PM_PSK and self.subcarrier_hz < self.symbol_rate:
            raise LocalError(
                f"subcarrier of {self.subcarrier_hz} Hz for {self.symbol_rate} symbols/s;"
                " at least one period a symbol wanted"
            )

    @property
    def rails(self) -> int:
        """Soft symbols in a symbol."""
        return 2 if self.modulation in (Modulation.QPSK, Modulation.OQPSK) else 1

    @property
    def edge_hz(self) -> float:
        """From the carrier to the far end of the main lobe."""
        subcarrier = self.subcarrier_hz if self.modulation == Modulation.PM_PSK else 0.0
        return subcarrier + self.symbol_rate

    @property
    def residual(self) -> bool:
        return self.modulation in RESIDUAL

    @property
    def staggered(self) -> bool:
        return self.modulation in STAGGERED

    @cached_property
    def pulse(self) -> Pulse:
        """In units of `pulse_rate`'s period."""
        match self.modulation:
            case Modulation.GMSK:
                return pulses.laurent(self.bt)
            case Modulation.PM_PSK:
                return pulses.RECTANGULAR
            case Modulation.PM_BIPHASE:
                return pulses.BI_PHASE
            case _ if self.shaping == "nrz":
                return pulses.RECTANGULAR
            case _:
                return pulses.root_raised_cosine(self.rolloff)

    @property
    def pulse_rate(self) -> float:
        """Pulses of one rail a second: half the bits of GMSK, else the symbol rate."""
        return self.symbol_rate / 2 if self.modulation == Modulation.GMSK else self.symbol_rate


def _within(what: str, value: float, least: float, most: float, unit: str) -> None:
    if not least <= value <= most:
        raise LocalError(
            f"{what} is {value} {unit}; {least:g} to {most:g} wanted".replace(" ;", ";")
        )
