"""Service 8: functions of the equipment; those that take time go on a second at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from protocols.dictionary.l4_commands import Antenna
from protocols.dictionary.l4_states import Mode
from protocols.telecommand.verification import FailureCode
from spacecraft_sim.flight_software.contact import Contact
from spacecraft_sim.flight_software.execution import Handlers, Refusal, Running
from spacecraft_sim.flight_software.memory import Memory
from spacecraft_sim.flight_software.platform import Platform

#: The array drive's rate, degrees a second.
ARRAY_RATE_DEG_S: Final = 0.75
#: In standby, before the attitude is believed; then for so long the star tracker may search.
_SETTLE_S: Final = 60
_STARS_S: Final = 600
_SCRUB_QUARTER_S: Final = 45

#: Modes in which a command may begin; those that are not named are allowed in every mode.
ALLOWED: Final[Mapping[str, frozenset[Mode]]] = {
    "MODE_RECOVER": frozenset({Mode.SAFE}),
    "ARRAY_TURN": frozenset({Mode.STANDBY, Mode.NOMINAL, Mode.STORM}),
    "INSTRUMENTS_SWITCH": frozenset({Mode.STANDBY, Mode.NOMINAL, Mode.STORM}),
    "PROPULSION_BURN": frozenset({Mode.NOMINAL}),
    "MEMORY_SCRUB": frozenset({Mode.SAFE, Mode.STANDBY, Mode.NOMINAL, Mode.STORM}),
    "TRANSPONDER_COHERENT": frozenset({Mode.SAFE, Mode.STANDBY, Mode.NOMINAL, Mode.STORM}),
}


class Functions:
    """rearm: the monitors, before equipment comes on whose readings led to safe mode."""

    def __init__(
        self, platform: Platform, contact: Contact, memory: Memory, rearm: Callable[[], None]
    ) -> None:
        self._platform = platform
        self._rearm = rearm
        self._contact = contact
        self._memory = memory
        self.handlers: Handlers = {
            "MODE_SET": self._set_mode,
            "MODE_RECOVER": self._recover,
            "ARRAY_TURN": self._turn,
            "INSTRUMENTS_SWITCH": lambda a: platform.switch_instruments(on=a["SWITCH"] == "ON"),
            "ANTENNA_SELECT": lambda a: contact.select(Antenna[a["ANTENNA"]]),
            "TRANSPONDER_COHERENT": lambda a: platform.set_coherent(on=a["SWITCH"] == "ON"),
            "MEMORY_SCRUB": self._scrub,
            "PROPULSION_BURN": self._burn,
        }

    def _set_mode(self, arguments: Mapping[str, Any]) -> Running:
        wanted, mode = Mode[arguments["MODE"]], self._platform.mode
        if wanted != mode and not self._platform.reachable(wanted):
            raise Refusal(FailureCode.WRONG_MODE, f"no way from {mode.name} to {wanted.name}")
        return self._reach(wanted)

    def _reach(self, wanted: Mode) -> Running:
        self._platform.command_mode(wanted)
        yield 0
        if self._platform.mode != wanted:
            text = f"mode is {self._platform.mode.name}, not {wanted.name}"
            raise Refusal(FailureCode.NOT_REACHED, text)

    def _recover(self, _: Mapping[str, Any]) -> Running:
        return self._recovery()

    def _recovery(self) -> Running:
        self._rearm()
        self._platform.command_mode(Mode.STANDBY)
        yield 1
        for _ in range(_SETTLE_S):
            self._still(Mode.STANDBY)
            yield 0
        for _ in range(_STARS_S):
            self._still(Mode.STANDBY)
            if self._platform.tracking_stars:
                break
            yield 0
        else:
            raise Refusal(FailureCode.NOT_REACHED, f"no stars within {_STARS_S} s")
        yield 2
        self._platform.command_mode(Mode.NOMINAL)
        yield 3
        self._still(Mode.NOMINAL)

    def _still(self, mode: Mode) -> None:
        if self._platform.mode != mode:
            text = f"mode became {self._platform.mode.name} during {mode.name}"
            raise Refusal(FailureCode.ABORTED, text)

    def _turn(self, arguments: Mapping[str, Any]) -> Running:
        return self._turning(arguments["ANGLE"])

    def _turning(self, angle_deg: float) -> Running:
        platform = self._platform
        while platform.array_angle_deg != angle_deg:
            yield 0
            if platform.mode not in ALLOWED["ARRAY_TURN"]:
                raise Refusal(FailureCode.ABORTED, f"mode became {platform.mode.name}")
            missing = angle_deg - platform.array_angle_deg
            step = max(-ARRAY_RATE_DEG_S, min(ARRAY_RATE_DEG_S, missing))
            platform.array_angle_deg += step

    def _scrub(self, _: Mapping[str, Any]) -> Running:
        return self._scrubbing()

    def _scrubbing(self) -> Running:
        for quarter in range(1, 5):
            for _ in range(_SCRUB_QUARTER_S):
                yield 0
            yield quarter
        self._memory.scrubbed()

    def _burn(self, arguments: Mapping[str, Any]) -> Running:
        if self._platform.burning:
            raise Refusal(FailureCode.IN_PROGRESS, "a burn is in progress")
        return self._burning(arguments["DURATION"])

    def _burning(self, duration_s: float) -> Running:
        self._platform.burning = True
        try:
            # Thrusters are commanded by the second.
            for _ in range(max(1, round(duration_s))):
                yield 0
                self._still(Mode.NOMINAL)
        finally:
            self._platform.burning = False
