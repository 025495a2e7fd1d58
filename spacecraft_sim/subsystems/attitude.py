"""Attitude: quaternion of an Earth-pointing frame, four wheels in a pyramid, star tracker."""

from __future__ import annotations

import math

from protocols.dictionary.l4_states import AttitudeMode, EventId, Mode, Severity, StarTracker
from spacecraft_sim.subsystems.common import TICK_S, Environment, Event
from spacecraft_sim.subsystems.noise import Drift, Noise

#: The Earth, seen from L4, goes round once a sidereal year; the high-gain antenna follows it.
ORBIT_RATE_RAD_S = 2 * math.pi / (365.256_363 * 86_400)
#: In safe mode the spacecraft turns slowly about the Sun line.
SAFE_SPIN_RAD_S = math.radians(0.25)
WHEEL_INERTIA_KG_M2 = 0.032
WHEEL_LIMIT_RPM = 4_200.0
UNLOAD_AT_RPM = 3_600.0
#: Sunlight on an asymmetric spacecraft, N·m about each axis.
SOLAR_TORQUE_NM = (3.6e-5, -1.9e-5, 0.8e-5)
#: Wheel axes of the pyramid (35.26° from the z plane): rows give each wheel's share of x, y, z.
_PYRAMID = ((0.612, 0.0, 0.433), (0.0, 0.612, 0.433), (-0.612, 0.0, 0.433), (0.0, -0.612, 0.433))
_RPM = 60.0 / (2 * math.pi)
#: 12 N·m·s a second would be violent; the thrusters' torque takes the wheels down in a minute.
_UNLOAD_TORQUE_NM = 0.21


Quaternion = tuple[float, float, float, float]


def multiply(a: Quaternion, b: Quaternion) -> Quaternion:
    """Hamilton product, scalar last."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def _small(x: float, y: float, z: float) -> Quaternion:
    """Rotation vector (radians) as a unit quaternion, to third order."""
    square = x * x + y * y + z * z
    w = math.sqrt(max(0.0, 1.0 - square / 4))
    return (x / 2, y / 2, z / 2, w)


class Attitude:
    def __init__(self, noise: Noise, start_ns: int, momentum_share: float) -> None:
        self._noise = noise
        phase = (start_ns / 1e9 * ORBIT_RATE_RAD_S) % (2 * math.pi)
        self._phase = phase
        self._spin = 0.0
        # 25 µrad of pointing error with half a minute of memory: the control loop's residue.
        self._error = [Drift(noise, 25e-6, 30.0) for _ in range(3)]
        self._last_error = [drift.value for drift in self._error]
        self.rate_rad_s = [0.0, 0.0, ORBIT_RATE_RAD_S]
        self.quaternion: Quaternion = (0.0, 0.0, math.sin(phase / 2), math.cos(phase / 2))
        limit = UNLOAD_AT_RPM / _RPM * WHEEL_INERTIA_KG_M2
        self._momentum = [momentum_share * limit * s for s in (0.9, -0.6, 0.3)]
        self.wheel_rpm = [0.0] * 4
        self.wheel_torque_nm = [0.0] * 4
        self.mode = AttitudeMode.EARTH_POINTING
        self.star_tracker = StarTracker.TRACKING
        self._blind_s = 0
        self.thruster_demand = 0.0
        self.sun_cosine = 1.0
        self._set_wheels(first=True)

    def _set_wheels(self, *, first: bool = False) -> None:
        for index, (x, y, z) in enumerate(_PYRAMID):
            h = x * self._momentum[0] + y * self._momentum[1] + z * self._momentum[2]
            rpm = h / WHEEL_INERTIA_KG_M2 * _RPM
            rpm = min(max(rpm, -WHEEL_LIMIT_RPM), WHEEL_LIMIT_RPM)
            if not first:
                change = (rpm - self.wheel_rpm[index]) / _RPM
                self.wheel_torque_nm[index] = change * WHEEL_INERTIA_KG_M2 / TICK_S
            self.wheel_rpm[index] = rpm

    def step(self, environment: Environment, mode: Mode) -> list[Event]:
        """One second."""
        events: list[Event] = []
        self._phase += ORBIT_RATE_RAD_S * TICK_S
        safe = mode.minimal
        if safe:
            self._spin += SAFE_SPIN_RAD_S * TICK_S
            self.mode = AttitudeMode.SUN_ACQUISITION
        elif self.mode == AttitudeMode.SUN_ACQUISITION:
            self._spin = 0.0
            self.mode = AttitudeMode.EARTH_POINTING

        scale = 40.0 if safe else 1.0
        error = [drift.step() * scale for drift in self._error]
        for axis in range(3):
            self.rate_rad_s[axis] = (error[axis] - self._last_error[axis]) / TICK_S
        self._last_error = error
        if safe:
            self.rate_rad_s[0] += SAFE_SPIN_RAD_S
        self.rate_rad_s[2] += ORBIT_RATE_RAD_S
        half = self._phase / 2
        pointing = (0.0, 0.0, math.sin(half), math.cos(half))
        if safe:
            pointing = multiply(
                pointing, (math.sin(self._spin / 2), 0.0, 0.0, math.cos(self._spin / 2))
            )
        x, y, z, w = multiply(pointing, _small(*error))
        norm = math.sqrt(x * x + y * y + z * z + w * w)
        self.quaternion = (x / norm, y / norm, z / norm, w / norm)
        # Earth and Sun stand 60° apart; the array is driven to the Sun within its error.
        self.sun_cosine = math.cos(0.01 + math.sqrt(error[0] ** 2 + error[1] ** 2))

        self.thruster_demand = 0.0
        if self.mode == AttitudeMode.UNLOADING:
            total = math.sqrt(sum(h * h for h in self._momentum))
            if total <= _UNLOAD_TORQUE_NM * TICK_S:
                self._momentum = [0.0, 0.0, 0.0]
                self.mode = AttitudeMode.EARTH_POINTING
            else:
                keep = 1.0 - _UNLOAD_TORQUE_NM * TICK_S / total
                self._momentum = [h * keep for h in self._momentum]
                self.thruster_demand = 1.0
        else:
            pressure = 1.0 / environment.sun_distance_au**2
            for axis in range(3):
                self._momentum[axis] += SOLAR_TORQUE_NM[axis] * pressure * TICK_S
                self._momentum[axis] += self._noise.normal(1e-6)
        self._set_wheels()
        if self.mode == AttitudeMode.EARTH_POINTING and (
            max(abs(rpm) for rpm in self.wheel_rpm) > UNLOAD_AT_RPM
        ):
            self.mode = AttitudeMode.UNLOADING
            events.append(
                Event(
                    EventId.WHEEL_UNLOADING,
                    Severity.LOW,
                    "wheels at "
                    + ", ".join(f"{rpm:.0f}" for rpm in self.wheel_rpm)
                    + f" rpm, unloading above {UNLOAD_AT_RPM:.0f}",
                )
            )
        events += self._track_stars(environment)
        return events

    def _track_stars(self, environment: Environment) -> list[Event]:
        """Protons light up pixels: at a storm's peak the tracker is blinded every few minutes."""
        if self.star_tracker == StarTracker.TRACKING:
            if environment.storm > 0.2 and self._noise.uniform() < 0.006 * environment.storm:
                self.star_tracker = StarTracker.BLINDED
                self._blind_s = 8 + int(40 * self._noise.uniform())
                return [
                    Event(
                        EventId.STAR_TRACKER_LOST,
                        Severity.MEDIUM,
                        f"star tracker lost: {200 + int(4000 * environment.storm)} hot pixels",
                    )
                ]
            return []
        self._blind_s -= 1
        if self._blind_s <= 0:
            self.star_tracker = StarTracker.TRACKING
            return [
                Event(EventId.STAR_TRACKER_TRACKING, Severity.INFORMATION, "star tracker tracking")
            ]
        if self._blind_s < 6:
            self.star_tracker = StarTracker.ACQUIRING
        return []

    def telemetry(self) -> dict[str, float]:
        values: dict[str, float] = {
            "attitude_mode": self.mode,
            "star_tracker_state": self.star_tracker,
            "sun_angle": math.degrees(math.acos(min(1.0, self.sun_cosine))),
        }
        for axis, value in zip("xyzw", self.quaternion, strict=True):
            values[f"quaternion_{axis}"] = value
        for axis, value in zip("xyz", self.rate_rad_s, strict=True):
            values[f"rate_{axis}"] = math.degrees(value)
        for index in range(4):
            values[f"wheel_{index + 1}_speed"] = self.wheel_rpm[index] + self._noise.normal(0.3)
            values[f"wheel_{index + 1}_torque"] = self.wheel_torque_nm[index]
        return values
