"""What flight software can do to the spacecraft that it runs on."""

from __future__ import annotations

from typing import Protocol

from protocols.dictionary.l4_states import Mode


class Platform(Protocol):
    """Equipment as the services command it; the spacecraft implements it."""

    mode: Mode
    #: Degrees that the solar array stands off the Sun.
    array_angle_deg: float
    burning: bool

    def command_mode(self, mode: Mode) -> None:
        """Change the mode; what it switches follows in the next second."""
        ...

    def reachable(self, mode: Mode) -> bool:
        """Whether a command may lead from here to that mode."""
        ...

    def switch_instruments(self, *, on: bool) -> None: ...

    def set_coherent(self, *, on: bool) -> None: ...

    @property
    def tracking_stars(self) -> bool: ...
