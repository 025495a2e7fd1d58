"""The optical downlink of a scenario: its frames, what travels on it, who receives it."""

from __future__ import annotations

from dataclasses import dataclass, field

from protocols.errors import LocalError
from spacecraft_sim.downlink import LDPC_CHOICES, Downlink
from spacecraft_sim.scenario_fields import choice, number


@dataclass(frozen=True, slots=True)
class OpticalDownlink(Downlink):
    """Faster than X band, and coded for itself: a frame is an LDPC codeword.  It carries no
    operational control field, so that those of X band stay in order."""

    frame_length: int = number(892, 64, 65_536)
    ocf: bool = False
    information_rate_bit_s: int = number(256_000, 100, 100_000_000)
    reed_solomon_parity: int = field(default=0, metadata={"allowed": (0, 16, 32)})
    ldpc: str = choice("C2", *LDPC_CHOICES)


@dataclass(frozen=True, slots=True)
class OpticalStation:
    """A telescope and the sky over it (`clouds.Clouds`)."""

    name: str = "Yeoju"
    cloud_fraction: float = number(0.4, 0.0, 1.0)
    correlation_s: float = number(1_800.0, 1.0, 1e7)


@dataclass(frozen=True, slots=True)
class OpticalSettings:
    """Where it is present, the payload's bundles and files leave by light while the terminal tracks
    its partner, at these rates, and by X band at its own otherwise.

    station: a frame reaches the ground if the sky over any of them is clear when it arrives; that
    they see the spacecraft is taken for granted.
    """

    present: bool = False
    downlink: OpticalDownlink = field(default_factory=OpticalDownlink)
    relay_bit_s: int = number(160_000, 100, 100_000_000)
    files_bit_s: int = number(64_000, 100, 100_000_000)
    #: Of the detector, before the code.
    bit_error_rate: float = number(0.001, 0.0, 0.5)
    station: tuple[OpticalStation, ...] = (OpticalStation(),)

    def check(self) -> None:
        """LocalError, or ValueError for what is not hexadecimal, if values do not go together."""
        self.downlink.check()
        if self.downlink.ldpc_slice or self.downlink.ocf:
            raise LocalError("ldpc_slice and ocf: the optical downlink has neither")
        if not self.station:
            raise LocalError("no station; one or more wanted")
