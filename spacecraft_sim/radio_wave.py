"""The downlink as it comes out of the station's receiver: I/Q samples, with everything that light
time, distance, weather and oscillators do to it.

Frames → codes → modulation; the wave arrives when and as fast as the changing distance says: the
carrier's phase is that of the sender's oscillator one light time ago, and so is the symbols' clock.
The noise is the link budget's, elevation by elevation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from protocols.coding.convolutional import ConvolutionalCode, ConvolutionalEncoder
from protocols.errors import LocalError
from protocols.navigation.geometry import F64, SPEED_OF_LIGHT_KM_S
from protocols.navigation.interpolation import UniformTable
from protocols.physical import channel
from protocols.physical.link_budget import Dish, RadioLink, Weather
from protocols.physical.modulator import Modulator
from protocols.physical.waveform import Modulation, Waveform
from spacecraft_sim.channel import LightTime
from spacecraft_sim.scenario import RadioSettings, Scenario
from spacecraft_sim.spacecraft import Spacecraft
from spacecraft_sim.subsystems.transponder import X_TURNAROUND, X_UPLINK_HZ

C64 = npt.NDArray[np.complex64]
S: Final = 10**9
X_DOWNLINK_HZ: Final = X_UPLINK_HZ * X_TURNAROUND[0] / X_TURNAROUND[1]
#: Before the first sample arrives, the spacecraft has lived so long.
_WARM_UP_S: Final = 30
#: Light time is solved at such steps; a polynomial of degree 7 between them is exact.
_NODE_S: Final = 10.0
_NODES: Final = 64
#: Within a block the light time is a parabola: what is left in 0.25 s is 1e-7 of a turn.
_BLOCK_S: Final = 0.25
_BLOCK_SAMPLES: Final = 1 << 16


def waveform(scenario: Scenario) -> Waveform:
    """What the transmitter sends; LocalError for settings that do not go together."""
    radio = scenario.radio
    rails = 2 if radio.modulation in (Modulation.QPSK, Modulation.OQPSK) else 1
    return Waveform(
        Modulation(radio.modulation),
        channel_symbols_s(scenario) / rails,
        shaping=radio.shaping,
        rolloff=radio.rolloff,
        index_rad=radio.index_rad,
        subcarrier_hz=radio.subcarrier_hz,
        subcarrier=radio.subcarrier,
        bt=radio.bt,
    )


def channel_symbols_s(scenario: Scenario) -> float:
    """Bits a second after all codes."""
    radio = scenario.radio
    rate = scenario.downlink.channel_bit_s
    if radio.convolutional == "none":
        return rate
    bits, _, symbols = radio.convolutional.partition("/")
    return rate * int(symbols) / int(bits)


def radio_link(radio: RadioSettings) -> tuple[RadioLink, Weather]:
    """The link budget of a scenario."""
    link = RadioLink(
        X_DOWNLINK_HZ,
        radio.transmit_w,
        Dish(radio.antenna_m, radio.antenna_efficiency),
        Dish(radio.station_m, radio.station_efficiency),
        radio.receiver_k,
        radio.losses_db,
    )
    return link, Weather(radio.zenith_db, radio.weather_k)


@dataclass(frozen=True, slots=True)
class Hearing:
    """How it is heard at an instant; doppler_hz: against the carrier that was sent."""

    doppler_hz: float
    cn0_db_hz: float
    ebn0_db: float
    elevation_deg: float


class RadioWave:
    """scenario, light_time, seed and the reception time of the first sample determine everything.

    tuned_hz: what becomes 0 Hz, against the carrier without Doppler.  Outages of the scenario's
    channel, in spacecraft time since its start, are silence but for the noise.
    Raises LocalError for a sample rate under twice the symbol rate, with that of a subcarrier.
    """

    def __init__(
        self,
        scenario: Scenario,
        light_time: LightTime,
        *,
        start_ns: int,
        seed: int,
        sample_rate: float,
        tuned_hz: float = 0.0,
    ) -> None:
        self.waveform = waveform(scenario)
        least = 2 * self.waveform.edge_hz
        if sample_rate < least:
            raise LocalError(
                f"sample rate {sample_rate:g}: {least:g} or more wanted, twice the "
                f"{self.waveform.edge_hz:g} Hz of this scenario's symbols and subcarrier"
            )
        self.scenario, self.sample_rate, self.start_ns = scenario, float(sample_rate), start_ns
        self._light_time = light_time
        self._tuned_hz = tuned_hz
        self._link, self._weather = radio_link(scenario.radio)
        self._table: UniformTable | None = None
        self._table_end_s = 0.0
        emission_ns = start_ns - light_time.before_reception_ns(start_ns)
        self.spacecraft = Spacecraft(scenario, seed=seed, start_ns=emission_ns - _WARM_UP_S * S)
        downlink = scenario.downlink
        #: Number of the first frame (of a sliced stream: codeblock) that is heard from its
        #: beginning on, and when it left.
        self.first_frame = downlink.cadus_before_ns(emission_ns - self.spacecraft.start_ns)
        self._first_ns = self.spacecraft.start_ns + downlink.cadu_time_ns(self.first_frame)
        self._frames_taken = 0
        self._cadus: list[npt.NDArray[np.uint8]] = []
        code = scenario.radio.convolutional
        self._encoder = (
            None if code == "none" else ConvolutionalEncoder(ConvolutionalCode(rate=code))  # type: ignore[arg-type]
        )
        delay_s = self._arrival_s((self._first_ns - start_ns) / S)
        self._modulator = Modulator(self.waveform, sample_rate, delay=delay_s * sample_rate)
        self._noise = np.random.default_rng([seed, *b"radio noise"])
        density = scenario.radio.phase_noise_dbc_hz
        wander = np.random.default_rng([seed, *b"phase noise"])
        self._wander = channel.PhaseNoise(density, sample_rate, wander) if density else None
        self._waiting: list[C64] = []
        self._held = self._given = 0
        hearing = self.hearing(start_ns)
        #: Of signal and noise together, so that neither automatic gain nor clipping is needed.
        total = 1 + 2 * channel.noise_deviation(self._esn0_db(hearing.cn0_db_hz), self._sps) ** 2
        self._gain = 10 ** (scenario.radio.level_db / 20) / math.sqrt(total)

    # What comes out ------------------------------------------------------------------------------

    def read(self, count: int) -> C64:
        """The next samples."""
        while self._held < count:
            fresh = self._next()
            self._waiting.append(fresh)
            self._held += len(fresh)
        samples = np.concatenate(self._waiting)
        self._waiting, self._held = [samples[count:]], len(samples) - count
        return samples[:count]

    def hearing(self, reception_ns: int) -> Hearing:
        """By the link budget and the geometry."""
        t_s = (reception_ns - self.start_ns) / S
        early, late = self._delay_s(np.array([t_s - 0.5, t_s + 0.5]))
        elevation = self._light_time.elevation_deg(np.array([reception_ns]))
        range_km = (early + late) / 2 * SPEED_OF_LIGHT_KM_S
        cn0 = float(self._link.cn0_db_hz(max(range_km, 1.0), self._weather, elevation)[0])
        information = 10 * math.log10(self.scenario.downlink.information_rate_bit_s)
        doppler_hz = -X_DOWNLINK_HZ * float(late - early)
        return Hearing(doppler_hz, cn0, cn0 - information, float(elevation[0]))

    # Inside --------------------------------------------------------------------------------------

    @property
    def _sps(self) -> float:
        return self.sample_rate / self.waveform.symbol_rate

    def _esn0_db(self, cn0_db_hz: float) -> float:
        return cn0_db_hz - 10 * math.log10(self.waveform.symbol_rate)

    def _delay_s(self, t_s: F64) -> F64:
        """Light time of what arrives at seconds from the first sample on; around there it is
        solved, elsewhere it is interpolated."""
        if self._table is None or t_s.min() < self._table.start_s or t_s.max() > self._table_end_s:
            begin_s = math.floor(float(t_s.min()) / _NODE_S) * _NODE_S - 4 * _NODE_S
            nodes_s = begin_s + _NODE_S * np.arange(_NODES)
            nodes_ns = self.start_ns + np.rint(nodes_s * S).astype(np.int64)
            _, down_s = self._light_time.round_trip_s(nodes_ns)
            self._table = UniformTable(begin_s, _NODE_S, down_s[:, np.newaxis])
            self._table_end_s = float(nodes_s[-5])
            if t_s.max() > self._table_end_s:
                raise LocalError(f"samples over {t_s.max() - t_s.min():.0f} s in one block")
        return self._table(t_s)[:, 0]

    def _arrival_s(self, emission_s: float) -> float:
        """When arrives what left at seconds from the first sample's reception on."""
        arrival_s = emission_s
        for _ in range(4):
            # Each turn gains a factor c/v.
            arrival_s = emission_s + float(self._delay_s(np.array([max(arrival_s, 0.0)]))[0])
        return arrival_s

    def _next(self) -> C64:
        """Samples that the next frame completes."""
        cadu = self._next_cadu()
        bits = self._encoder.push(cadu) if self._encoder is not None else np.unpackbits(cadu)
        modulator = self._modulator
        symbols = len(bits) // self.waveform.rails
        # The symbols' clock as it is heard: their place at the far end of these samples.
        ahead = symbols * modulator.samples_per_symbol
        end_s = (modulator.samples + ahead) / self.sample_rate
        emission_s = end_s - float(self._delay_s(np.array([end_s]))[0])
        first_s = (self._first_ns - self.start_ns) / S
        place = (emission_s - first_s) * self.waveform.symbol_rate
        if modulator.samples and place > modulator.place:
            modulator.retime(ahead / (place - modulator.place))
        made = modulator.push(bits)
        parts = [
            self._heard(made[at : at + self._block]) for at in range(0, len(made), self._block)
        ]
        return np.concatenate([np.empty(0, np.complex64), *parts])

    @property
    def _block(self) -> int:
        return max(1, min(_BLOCK_SAMPLES, int(_BLOCK_S * self.sample_rate)))

    def _next_cadu(self) -> npt.NDArray[np.uint8]:
        while not self._cadus:
            self._frames_taken += 1
            number = self.first_frame + self._frames_taken
            until_ns = self.spacecraft.start_ns + self.scenario.downlink.cadu_time_ns(number)
            sent = self.spacecraft.step(until_ns - 1)
            self._cadus += [
                cadu
                for cadu, left_ns in zip(sent.cadus, sent.cadu_ns.tolist(), strict=True)
                if left_ns >= self._first_ns
            ]
        return self._cadus.pop(0)

    def _heard(self, sent: C64) -> C64:
        """A block of the modulator's samples after its way."""
        n, rate = len(sent), self.sample_rate
        begin_s = self._given / rate
        self._given += n
        middle_s, half_s = begin_s + n / rate / 2, max(n, 2) / rate / 2
        early, now, late = self._delay_s(middle_s + half_s * np.array([-1.0, 0.0, 1.0]))
        x = (np.arange(n) / rate + begin_s - middle_s) / half_s
        delay_s = now + x * ((late - early) / 2 + x * ((late + early) / 2 - now))
        # In turns; whole ones are taken off while they are few enough to be exact.
        whole = math.floor(now * X_DOWNLINK_HZ)
        turns = whole - delay_s * X_DOWNLINK_HZ
        turns -= self._tuned_hz * (x * half_s + middle_s)
        wave = sent * np.exp(2j * np.pi * (turns - np.floor(turns)))
        if self._wander is not None:
            wave = self._wander.apply(wave.astype(np.complex64))
        wave = np.where(self._silent(begin_s + np.arange(n) / rate - delay_s), 0, wave)
        reception_ns = self.start_ns + round(middle_s * S)
        esn0 = self._esn0_db(self.hearing(reception_ns).cn0_db_hz)
        wave = wave + channel.noise(n, channel.noise_deviation(esn0, self._sps), self._noise)
        return (wave * self._gain).astype(np.complex64)

    def _silent(self, emission_s: F64) -> npt.NDArray[np.bool_]:
        """What left in an outage."""
        since_s = emission_s + (self.start_ns - self.spacecraft.start_ns) / S
        silent = np.zeros(len(emission_s), np.bool_)
        for one in self.scenario.channel.outage:
            silent |= (since_s >= one.from_s) & (since_s < one.to_s)
        return silent
