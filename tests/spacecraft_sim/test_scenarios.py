"""Scenarios: what comes with the package plays as its description says; wrong ones are named."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dictionary.l4_states import EventId, Mode
from protocols.frames.index import index_frames
from protocols.identifiers import VirtualChannel
from protocols.packets.extraction import PacketExtractor
from spacecraft_sim import scenario as scenarios
from spacecraft_sim.scenario import ScenarioError
from spacecraft_sim.spacecraft import Spacecraft

START_NS = 2_177_452_837 * 10**9
SECOND = 10**9


class Play:
    """A scenario flown for some seconds, with everything that its subsystems said."""

    def __init__(self, name: str, seconds: int) -> None:
        self.rows: dict[str, list[tuple[float, dict[str, Any]]]] = defaultdict(list)
        self.scenario = scenarios.load(name)
        spacecraft = Spacecraft(self.scenario, seed=1, start_ns=START_NS, observer=self._observe)
        self.downlink = spacecraft.step(START_NS + seconds * SECOND)
        self.spacecraft = spacecraft

    def _observe(self, name: str, t_ns: int, values: Any) -> None:
        # The on-board clock gains a millisecond in hours.
        self.rows[name].append((round((t_ns - START_NS) / SECOND, 2), dict(values)))

    def series(self, packet: str, name: str) -> list[Any]:
        return [values[name] for _, values in self.rows[packet]]

    def times(self, event: EventId) -> list[float]:
        return [t for t, values in self.rows["EVENTS"] if values["EVT_ID"] == event]


def test_nominal_is_quiet() -> None:
    play = Play("nominal", 3600)
    assert set(play.series("STATUS", "SC_MODE")) == {Mode.NOMINAL}
    assert {v["EVT_SEVERITY"].name for _, v in play.rows["EVENTS"]} <= {"INFORMATION", "LOW"}
    q = np.array([play.series("ATTITUDE", f"ATT_QUATERNION_{axis}") for axis in "XYZW"])
    np.testing.assert_allclose((q**2).sum(axis=0), 1.0, atol=1e-12)
    assert min(play.series("POWER", "PWR_BUS_VOLTAGE")) > 25
    charge = play.series("POWER", "PWR_BATTERY_CHARGE")
    assert charge[-1] > charge[0]


def test_storm_raises_protons_wind_and_field() -> None:
    play = Play("storm", 3600)
    flux = play.rows["PROTON_FLUX"]
    before = [v["PRO_INTEGRAL_FLUX"] for t, v in flux if t < 300]
    peak = max(v["PRO_INTEGRAL_FLUX"] for _, v in flux)
    assert max(before) < 1 < 1000 < peak < 10_000  # an S3 storm
    assert {len(v["PRO_COUNTS"]) for _, v in flux} == {6, 12}
    wind = play.rows["SOLAR_WIND"]
    assert max(v["SWP_WIND_SPEED"] for t, v in wind if t > 2110) > 850
    assert max(v["SWP_WIND_SPEED"] for t, v in wind if t < 2100) < 600
    assert play.rows["MAGNETOMETER_COARSE"]
    assert min(t for t, _ in play.rows["MAGNETOMETER_COARSE"]) >= 2100
    modes = play.series("STATUS", "SC_MODE")
    assert modes[0] == Mode.NOMINAL
    assert modes[-1] == Mode.STORM
    assert play.series("OPTICAL", "OPT_OPTICAL_STATE")[-1].name == "STOWED"
    (shock,) = play.times(EventId.SHOCK_ARRIVAL)
    assert 2100 <= shock <= 2110
    assert play.times(EventId.STAR_TRACKER_LOST)


def test_safe_mode_is_entered_by_the_spacecraft_itself() -> None:
    play = Play("safe_mode", 9600)
    (low,) = play.times(EventId.BATTERY_LOW)
    modes = [(t, v["SC_MODE"]) for t, v in play.rows["STATUS"]]
    entered = min(t for t, mode in modes if mode == Mode.SAFE)
    assert 600 < low <= entered <= low + 8
    charge = {t: v["PWR_BATTERY_CHARGE"] for t, v in play.rows["POWER"]}
    assert charge[entered] == pytest.approx(40, abs=0.5)
    assert charge[7000.0] > charge[entered] + 5
    assert not play.series("POWER", "PWR_OPTICAL_SWITCH")[7000]
    assert modes[-1][1] == Mode.NOMINAL
    # Instruments are off in safe mode: nothing of theirs is sent.
    assert not [t for t, _ in play.rows["SOLAR_WIND"] if entered + 1 < t < 7200]


def test_conjunction_fills_the_store() -> None:
    play = Play("conjunction", 1200)
    used = play.series("RELAY", "RLY_STORE_OCCUPANCY")
    assert used[0] < 5 < 95 < used[-1] <= 100
    assert len(play.times(EventId.STORE_WATERMARK)) == 3
    assert play.series("RELAY", "RLY_BUNDLES_REFUSED")[-1] > 0


def test_lost_station_plays_back_what_was_lost() -> None:
    play = Play("lost_station", 2700)
    parameters = play.scenario.downlink.frame_parameters
    index = index_frames(play.downlink.frames, parameters)
    packets = PacketExtractor().push(play.downlink.frames, index, play.downlink.emission_ns).packets
    back = packets.select((packets.vcid == VirtualChannel.PLAYBACK) & ~packets.is_idle)
    live = packets.select((packets.vcid != VirtualChannel.PLAYBACK) & ~packets.is_idle)
    assert back.ert_ns.min() >= START_NS + 1800 * SECOND
    sent = set(live)
    assert len(back) > 3000
    assert all(packet in sent for packet in back)
    # Every packet of the outage comes again, and none from outside the window.
    window = {values for t, values in _stamped(play) if 570 <= t <= 1530}
    assert len(back) == len(window)


def _stamped(play: Play) -> list[tuple[float, tuple[str, int]]]:
    return [
        (t, (name, number))
        for name, rows in play.rows.items()
        for number, (t, _) in enumerate(rows)
    ]


WRONG = [
    ("[downlink]\nframe_length = 70000", "downlink.frame_length = 70000; 64..65536 allowed"),
    ("[downlink]\nframe_kind = 'proximity'", "'proximity'; one of tm, aos, uslp allowed"),
    ("[downlink]\nframe_length = 1113", "multiple of 5 up to 1115 wanted"),
    ("[downlink]\nreed_solomon_parity = 8", "one of 0, 16, 32 allowed"),
    ("[downlink]\nfecf = 'crc32'", "crc32"),
    ("[downlink]\nsync_marker = 'xyz'", "downlink"),
    ("[downlink]\nocf = 1", "downlink.ocf = 1; bool wanted"),
    ("[spacecraft]\nbattery_charge = 1.5", "spacecraft.battery_charge = 1.5; 0.05..1 allowed"),
    ("[spacecraft]\nbatery_charge = 0.5", "spacecraft.batery_charge is unknown"),
    ("[[storm]]\npeak = 'high'", "storm[0].peak = 'high'; float wanted"),
    ("storm = 3", "storm = 3; a list of tables wanted"),
    ("channel = 3", "channel = 3; a table wanted"),
    ("[channel]\noutage = [{from_s = 5, to_s = 5}]", "above from_s = 5.0 wanted"),
    ("[[timeline]]\naction = 'explode'", "one of mode, array_angle, playback allowed"),
    ("[downlink]\nturbo = '1/2'", "one code alone, the other's parity is 0"),
    ("[downlink]\nreed_solomon_parity = 0\nturbo = '1/3'", "no whole number of octets"),
    ("[downlink]\nreed_solomon_parity = 0\nldpc = 'C2'", "carries 892 octets"),
    ("[downlink]\nreed_solomon_parity = 0\nldpc = 'C3'", "one of none, AR4JA 1/2 1024"),
    ("[downlink]\nldpc_slice = 2", "ldpc_slice and code_sync_marker want an LDPC code"),
    (
        "[downlink]\nreed_solomon_parity = 0\nturbo = '1/2'",
        "radio.convolutional = '1/2' with TurboCode(rate='1/2', length=8920); none allowed",
    ),
    ("not toml", "not TOML"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_wrong_scenario_names_value_range_and_file(text: str, message: str) -> None:
    with pytest.raises(ScenarioError) as raised:
        scenarios.loads(text, "mine.toml")
    assert message in str(raised.value)
    assert "mine.toml" in str(raised.value)


def test_scenarios_load_by_name_and_by_file(tmp_path: Path) -> None:
    assert scenarios.names() == [
        "conjunction",
        "lost_station",
        "nominal",
        "optical",
        "safe_mode",
        "storm",
        "storm_safe",
    ]
    file = tmp_path / "mine.toml"
    file.write_text("title = 'mine'\n[period_s]\npower = 0\n")
    assert scenarios.load(str(file)).period_s.power == 0
    with pytest.raises(ScenarioError, match="neither a file nor one of conjunction"):
        scenarios.load("norminal")


@settings(max_examples=100, deadline=None)
@given(st.integers(64, 3000), st.integers(1, 8), st.sampled_from(["tm", "aos", "uslp"]))
def test_any_frame_length_flies_or_is_named(length: int, interleave: int, kind: str) -> None:
    text = f"[downlink]\nframe_length={length}\ninterleave={interleave}\nframe_kind='{kind}'"
    room = 223 * interleave
    fits = length % interleave == 0 and 0 <= room - length < room
    if not fits:
        with pytest.raises(ScenarioError, match=r"any\.toml: downlink"):
            scenarios.loads(text, "any.toml")
        return
    scenario = scenarios.loads(text, "any.toml")
    spacecraft = Spacecraft(scenario, seed=1, start_ns=START_NS)
    downlink = spacecraft.step(START_NS + 3 * SECOND)
    assert downlink.cadus.shape[1] == scenario.downlink.cadu_length
    index = index_frames(downlink.frames, scenario.downlink.frame_parameters)
    assert index.crc_ok.all()
    assert not index.malformed.any()
