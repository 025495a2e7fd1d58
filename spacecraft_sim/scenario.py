"""Scenarios: TOML files read into frozen objects, every value checked and named when wrong."""

from __future__ import annotations

import math
import tomllib
from dataclasses import MISSING, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

from protocols.dictionary.l4_link import SIMULATION_KEYS, CommandKeys
from protocols.dictionary.l4_states import Mode
from protocols.errors import LocalError
from protocols.identifiers import Carrier
from protocols.physical.waveform import Modulation
from spacecraft_sim.downlink import Downlink
from spacecraft_sim.optical_settings import OpticalSettings
from spacecraft_sim.scenario_fields import choice, number


class ScenarioError(LocalError):
    """A scenario that cannot be used; the message says value, allowed range and file."""


@dataclass(frozen=True, slots=True)
class SpacecraftStart:
    """State of the spacecraft at scenario time 0."""

    mode: str = choice("NOMINAL", *(mode.name for mode in Mode))
    battery_charge: float = number(0.93, 0.05, 1.0)
    array_health: float = number(0.94, 0.1, 1.0)
    wheel_momentum: float = number(0.45, 0.0, 0.99)
    propellant_kg: float = number(96.0, 0.0, 150.0)
    boot_count: int = number(7, 0, 65_535)
    recorder_octets: int = number(8_388_608, 0, 1 << 30)


@dataclass(frozen=True, slots=True)
class UplinkRates:
    """Bits a second of each carrier of the station's transmitters."""

    command_bit_s: int = number(16_000, 8, 10_000_000)
    relay_bit_s: int = number(1_000_000, 8, 1_000_000_000)

    @property
    def rates_bit_s(self) -> dict[Carrier, int]:
        return {Carrier.COMMAND: self.command_bit_s, Carrier.RELAY: self.relay_bit_s}


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """The relay payload: its store, and the rate of each of its links."""

    store_octets: int = number(64 << 20, 100_000, 1 << 32)
    #: Of the downlink's frames; what telemetry leaves free is more.
    to_earth_bit_s: int = number(10_000, 100, 100_000_000)
    to_mars_bit_s: int = number(2_000, 100, 100_000_000)


@dataclass(frozen=True, slots=True)
class FileSettings:
    """The mass memory for files, and their part of the downlink's frames."""

    store_octets: int = number(64 << 20, 0, 1 << 32)
    to_earth_bit_s: int = number(4_000, 100, 100_000_000)


@dataclass(frozen=True, slots=True)
class Periods:
    """Seconds between packets of each kind; 0: never."""

    status: int = number(8, 0, 86_400)
    power: int = number(1, 0, 86_400)
    thermal: int = number(8, 0, 86_400)
    attitude: int = number(1, 0, 86_400)
    propulsion: int = number(10, 0, 86_400)
    transponder: int = number(4, 0, 86_400)
    optical: int = number(4, 0, 86_400)
    relay: int = number(5, 0, 86_400)
    proton_flux: int = number(4, 0, 86_400)
    solar_wind: int = number(4, 0, 86_400)
    magnetometer: int = number(1, 0, 86_400)


@dataclass(frozen=True, slots=True)
class Latency:
    """A frame that is not full leaves after so many seconds, filled with an idle packet."""

    events: float = number(2.0, 0.0, 3_600.0)
    housekeeping: float = number(8.0, 0.0, 3_600.0)
    science: float = number(20.0, 0.0, 3_600.0)
    playback: float = number(5.0, 0.0, 3_600.0)
    relay: float = number(2.0, 0.0, 3_600.0)
    files: float = number(5.0, 0.0, 3_600.0)


@dataclass(frozen=True, slots=True)
class Storm:
    """Protons rise from `start_s` to `peak` (1: 3,000 pfu) within `rise_s` and fade; the shock
    of the same eruption comes at `shock_s`.  Times are scenario seconds, far shorter than the
    Sun's own so that they can be watched."""

    start_s: float = number(0.0, -1e7, 1e7)
    rise_s: float = number(900.0, 1.0, 1e6)
    decay_s: float = number(7_200.0, 1.0, 1e7)
    peak: float = number(1.0, 0.0, 1.2)
    shock_s: float = number(3_600.0, -1e7, 1e7)
    shock: float = number(1.0, 0.0, 1.5)
    shock_decay_s: float = number(5_400.0, 1.0, 1e7)

    def level(self, t_s: float) -> float:
        """Of the proton event, 0..peak; `proton_intensity` takes it as a logarithm."""
        x = t_s - self.start_s
        if x <= 0:
            return 0.0
        return self.peak * (
            x / self.rise_s if x < self.rise_s else math.exp(-(x - self.rise_s) / self.decay_s)
        )

    def shock_level(self, t_s: float) -> float:
        """Jump within a few seconds, then an exponential fade."""
        x = t_s - self.shock_s
        return 0.0 if x <= 0 else self.shock * min(1.0, x / 6.0) * math.exp(-x / self.shock_decay_s)


@dataclass(frozen=True, slots=True)
class FlightSoftwareSettings:
    """contact_loss_h: FSW_CONTACT_LOSS at the start.  clock: how the on-board clock differs from
    TAI: an oven-controlled crystal (0.08 ppm off, 0.3 ppb a day, 2 ppb over temperature).
    time_report_exponent: a time report every 2^n seconds, −1: none.  key, management_key,
    master_key: AES keys of the command link, in hexadecimal."""

    contact_loss_h: float = number(168.0, 1.0, 720.0)
    clock_drift_ppm: float = number(0.08, -1_000.0, 1_000.0)
    clock_offset_s: float = number(0.0, -1e6, 1e6)
    clock_ageing_ppb_day: float = number(0.3, -100.0, 100.0)
    clock_temperature_ppb: float = number(2.0, 0.0, 1_000.0)
    time_report_exponent: int = number(6, -1, 16)
    key: str = SIMULATION_KEYS.command.hex()
    management_key: str = (SIMULATION_KEYS.management or b"").hex()
    master_key: str = (SIMULATION_KEYS.master or b"").hex()

    @property
    def keys(self) -> CommandKeys:
        texts = (self.key, self.management_key, self.master_key)
        return CommandKeys(*(bytes.fromhex(text) for text in texts))


@dataclass(frozen=True, slots=True)
class Fault:
    """Something breaks.

    receiver_deaf: nothing is received by `antenna` for `duration_s`.  memory_failure: two wrong
    bits in one word.  array_stuck: the array stands `angle_deg` off the Sun.  clock_jump: the
    on-board clock goes `offset_s` ahead.
    """

    at_s: float = number(0.0, 0.0, 1e8)
    kind: str = choice(
        "receiver_deaf", "receiver_deaf", "memory_failure", "array_stuck", "clock_jump"
    )
    antenna: str = choice("HIGH_GAIN", "HIGH_GAIN", "LOW_GAIN_1", "LOW_GAIN_2")
    duration_s: float = number(1e9, 0.0, 1e9)
    angle_deg: float = number(0.0, 0.0, 180.0)
    offset_s: float = number(0.0, -1e6, 1e6)


@dataclass(frozen=True, slots=True)
class Mars:
    """A spacecraft in orbit about Mars that reaches the Earth by way of the relay.

    science: a bundle of so many octets every so often, bulk; 0: never.  bulletin: what its particle
    detector measures, expedited, every so often and at once when a storm begins there.
    storm: eruptions that Mars sees; those on the far side nobody else does.
    loss: of packets on the way between Mars and L4, each way.
    """

    present: bool = True
    science_octets: int = number(4_000, 100, 1_000_000)
    science_period_s: int = number(20, 0, 86_400)
    bulletin_period_s: int = number(300, 0, 86_400)
    to_relay_bit_s: int = number(32_000, 100, 100_000_000)
    loss: float = number(0.01, 0.0, 0.9)
    storm: tuple[Storm, ...] = ()


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """Something scripted: a command of the on-board schedule or a fault.

    mode: go to `mode`.  array_angle: the array stands `angle_deg` off the Sun from now on.
    playback: dump the recorder's packets from `from_s` to `to_s`.
    """

    at_s: float = number(0.0, 0.0, 1e8)
    action: str = choice("mode", "mode", "array_angle", "playback")
    mode: str = choice("NOMINAL", "SAFE", "STANDBY", "NOMINAL")
    angle_deg: float = number(0.0, 0.0, 180.0)
    from_s: float = number(0.0, -1e7, 1e8)
    to_s: float = number(0.0, -1e7, 1e8)


@dataclass(frozen=True, slots=True)
class Interval:
    """Spacecraft seconds of the scenario from..to, at the time of emission."""

    from_s: float = number(0.0, -1e7, 1e8)
    to_s: float = number(0.0, -1e7, 1e8)
    bit_error_rate: float = number(0.0, 0.0, 0.5)


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """What the way to the ground does to frames, and the way up to uplink messages."""

    bit_error_rate: float = number(0.0, 0.0, 0.5)
    frame_loss: float = number(0.0, 0.0, 1.0)
    #: On the way up; what is lost there is a whole uplink message, or one in an outage.
    uplink_bit_error_rate: float = number(0.0, 0.0, 0.5)
    uplink_loss: float = number(0.0, 0.0, 1.0)
    noise: tuple[Interval, ...] = ()
    outage: tuple[Interval, ...] = ()


@dataclass(frozen=True, slots=True)
class RadioSettings:
    """The X-band downlink as a radio wave: modulation, code, power, and who hears it."""

    modulation: str = choice("qpsk", *Modulation)
    #: Of BPSK, QPSK and OQPSK: root-raised-cosine, or rectangular.
    shaping: str = choice("rrc", "rrc", "nrz")
    rolloff: float = number(0.5, 0.1, 1.0)
    #: Peak phase deviation where a carrier is left over, and the subcarrier of `pm/psk`.
    index_rad: float = number(1.0, 0.1, 1.5)
    subcarrier_hz: float = number(0.0, 0.0, 10_000_000.0)
    subcarrier: str = choice("sine", "sine", "square")
    #: Of GMSK's Gaussian filter, times one bit.
    bt: float = number(0.5, 0.2, 1.0)
    #: Convolutional code (131.0-B) outside of the Reed-Solomon code.
    convolutional: str = choice("1/2", "none", "1/2", "2/3", "3/4", "5/6", "7/8")
    transmit_w: float = number(55.0, 1e-6, 10_000.0)
    antenna_m: float = number(1.5, 0.01, 20.0)
    antenna_efficiency: float = number(0.55, 0.01, 1.0)
    #: Pointing, polarisation, circuits.
    losses_db: float = number(2.0, 0.0, 60.0)
    station_m: float = number(34.0, 0.01, 100.0)
    station_efficiency: float = number(0.71, 0.01, 1.0)
    #: Noise of the station without the sky.
    receiver_k: float = number(20.0, 1.0, 10_000.0)
    #: Weather: attenuation straight up, and the temperature of what attenuates.
    zenith_db: float = number(0.05, 0.0, 30.0)
    weather_k: float = number(270.0, 0.0, 320.0)
    #: Both oscillators', single sideband 1 kHz from the carrier, dBc/Hz; 0: none.
    phase_noise_dbc_hz: float = number(-80.0, -200.0, 0.0)
    #: Of the samples against full scale, signal and noise together.
    level_db: float = number(-12.0, -60.0, 0.0)


@dataclass(frozen=True, slots=True)
class TrackingSettings:
    """What stations measure of the carrier: how often, how well, and from which elevation on."""

    interval_s: float = number(60.0, 1.0, 3_600.0)
    mask_deg: float = number(10.0, 0.0, 90.0)
    #: One sigma, one way; a deep-space station's in X band near L4's angle from the Sun.
    range_noise_m: float = number(1.0, 0.0, 1_000.0)
    #: Over 60 s; it falls with the root of the interval.
    doppler_noise_mm_s: float = number(0.05, 0.0, 1_000.0)
    transponder_delay_ns: float = number(1_400.0, 0.0, 1e6)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that, with the seed and the start time, determines the downlink."""

    title: str = ""
    description: str = ""
    spacecraft: SpacecraftStart = SpacecraftStart()
    downlink: Downlink = field(default_factory=Downlink)
    uplink: UplinkRates = UplinkRates()
    relay: RelaySettings = RelaySettings()
    files: FileSettings = FileSettings()
    mars: Mars = Mars()
    period_s: Periods = Periods()
    max_latency_s: Latency = Latency()
    channel: ChannelSettings = ChannelSettings()
    tracking: TrackingSettings = TrackingSettings()
    radio: RadioSettings = RadioSettings()
    optical: OpticalSettings = field(default_factory=OpticalSettings)
    flight_software: FlightSoftwareSettings = FlightSoftwareSettings()
    fault: tuple[Fault, ...] = ()
    storm: tuple[Storm, ...] = ()
    timeline: tuple[TimelineEntry, ...] = ()


def names() -> list[str]:
    """Scenarios that come with the package."""
    folder = resources.files("spacecraft_sim.scenarios")
    return sorted(
        p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")
    )


def load(name: str) -> Scenario:
    """A scenario by name, or from a TOML file.

    Raises ScenarioError, naming the value, what is allowed and the file.
    """
    if name in names():
        source = f"{name}.toml"
        text = resources.files("spacecraft_sim.scenarios").joinpath(source).read_text("utf-8")
    else:
        path, source = Path(name), name
        if not path.is_file():
            raise ScenarioError(
                f"scenario {name!r}: neither a file nor one of {', '.join(names())}"
            )
        text = path.read_text("utf-8")
    return loads(text, source)


def loads(text: str, source: str = "scenario") -> Scenario:
    """A scenario from TOML text; `source` stands in messages."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ScenarioError(f"{source}: not TOML: {error}") from error
    scenario = _read(Scenario, table, "", source)
    for name, checked in (("downlink", scenario.downlink), ("optical", scenario.optical)):
        try:
            checked.check()
        except ValueError as error:
            raise ScenarioError(f"{source}: {name}: {error}") from error
    coded, radio = scenario.downlink.codeblocks, scenario.radio
    if coded is not None and radio.convolutional != "none":
        raise ScenarioError(
            f"{source}: radio.convolutional = {radio.convolutional!r} with {coded.code}; "
            "none allowed"
        )
    for name in ("key", "management_key", "master_key"):
        _check_key(f"flight_software.{name}", getattr(scenario.flight_software, name), source)
    _check_key("downlink.security_key", scenario.downlink.security_key, source)
    for kind, intervals in (("noise", scenario.channel.noise), ("outage", scenario.channel.outage)):
        for interval in intervals:
            if interval.to_s <= interval.from_s:
                raise ScenarioError(
                    f"{source}: channel.{kind}: to_s = {interval.to_s}; "
                    f"above from_s = {interval.from_s} wanted"
                )
    return scenario


def _check_key(name: str, text: str, source: str) -> None:
    try:
        octets = len(bytes.fromhex(text))
    except ValueError:
        octets = 0
    if octets not in (16, 24, 32):
        raise ScenarioError(
            f"{source}: {name} has {octets} octets in hexadecimal; 16, 24 or 32 allowed"
        )


def _read(kind: type, table: Any, where: str, source: str) -> Any:
    """A table as a dataclass; unknown keys are refused, since a misspelt one would do nothing."""
    if not isinstance(table, dict):
        raise ScenarioError(f"{source}: {where or 'scenario'} = {table!r}; a table wanted")
    known = {f.name: f for f in fields(kind)}
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, value in table.items():
        here = f"{where}.{name}" if where else name
        if name not in known:
            raise ScenarioError(f"{source}: {here} is unknown; allowed here are {', '.join(known)}")
        hint = hints[name]
        element = getattr(hint, "__args__", (None,))[0]
        if element is not None:
            if not isinstance(value, list):
                raise ScenarioError(f"{source}: {here} = {value!r}; a list of tables wanted")
            values[name] = tuple(
                _read(element, item, f"{here}[{i}]", source) for i, item in enumerate(value)
            )
        elif hasattr(hint, "__dataclass_fields__"):
            values[name] = _read(hint, value, here, source)
        else:
            values[name] = _checked(value, hint, known[name].metadata, here, source)
    missing = [
        f.name
        for f in known.values()
        if f.default is MISSING and f.default_factory is MISSING and f.name not in values
    ]
    if missing:
        raise ScenarioError(f"{source}: {where}: {', '.join(missing)} wanted")
    return kind(**values)


def _checked(value: Any, hint: type, limits: Any, where: str, source: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not hint:
        raise ScenarioError(f"{source}: {where} = {value!r}; {hint.__name__} wanted")
    if "allowed" in limits and value not in limits["allowed"]:
        allowed = ", ".join(str(item) for item in limits["allowed"])
        raise ScenarioError(f"{source}: {where} = {value!r}; one of {allowed} allowed")
    if "low" in limits and not limits["low"] <= value <= limits["high"]:
        raise ScenarioError(
            f"{source}: {where} = {value}; {limits['low']:g}..{limits['high']:g} allowed"
        )
    return value
