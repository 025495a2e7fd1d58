"""The downlink is determined by seed, scenario and start, and says what the subsystems had."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from enum import IntEnum
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.coding.randomiser import randomise
from protocols.coding.reed_solomon import ReedSolomon
from protocols.dictionary.l4 import DICTIONARY
from protocols.frames.clcw import CLCW
from protocols.frames.index import index_frames
from protocols.identifiers import SCID_L4_RELAY, Apid, Carrier, VirtualChannel
from protocols.packets.extraction import PacketExtractor
from protocols.telemetry.calibration import Polynomial, Spline
from protocols.telemetry.tables import Ragged
from spacecraft_sim import scenario as scenarios
from spacecraft_sim.scenario import Scenario
from spacecraft_sim.spacecraft import DownlinkFrames, Spacecraft
from spacecraft_sim.subsystems.common import Uplink

START_NS = 2_177_452_837 * 10**9  # 2027-01-01T00:00:00 UTC
SECOND = 10**9


def fly(scenario: Scenario, seconds: int, seed: int = 1, **more: Any) -> DownlinkFrames:
    return Spacecraft(scenario, seed=seed, start_ns=START_NS, **more).step(
        START_NS + seconds * SECOND
    )


def with_frames(kind: str, **more: Any) -> Scenario:
    nominal = scenarios.load("nominal")
    return replace(nominal, downlink=replace(nominal.downlink, frame_kind=kind, **more))


def test_same_seed_same_octets_other_seed_others() -> None:
    nominal = scenarios.load("nominal")
    first, second = fly(nominal, 120), fly(nominal, 120)
    assert first.octets == second.octets
    np.testing.assert_array_equal(first.emission_ns, second.emission_ns)
    assert fly(nominal, 120, seed=2).octets != first.octets


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 90 * SECOND), max_size=12))
def test_downlink_does_not_depend_on_how_often_step_is_called(times: list[int]) -> None:
    storm = scenarios.load("storm")
    whole = fly(storm, 90)
    spacecraft = Spacecraft(storm, seed=1, start_ns=START_NS)
    parts = [spacecraft.step(START_NS + t) for t in [*sorted(times), 90 * SECOND]]
    assert b"".join(part.octets for part in parts) == whole.octets


def test_blocks_longer_than_one_batch_are_the_same_too() -> None:
    nominal = scenarios.load("nominal")
    whole = fly(nominal, 1500)
    spacecraft = Spacecraft(nominal, seed=1, start_ns=START_NS)
    parts = [spacecraft.step(START_NS + t * SECOND) for t in (7, 613, 1499, 1500)]
    assert b"".join(part.octets for part in parts) == whole.octets


def test_time_that_stands_or_goes_back_gives_nothing() -> None:
    spacecraft = Spacecraft(scenarios.load("nominal"), seed=1, start_ns=START_NS)
    spacecraft.step(START_NS + 30 * SECOND)
    assert len(spacecraft.step(START_NS + 30 * SECOND)) == 0
    assert len(spacecraft.step(START_NS - 5)) == 0


def test_frames_leave_at_the_information_rate_without_drift() -> None:
    downlink = fly(scenarios.load("nominal"), 3600)
    bits = 1115 * 8
    exact = [START_NS + n * bits * SECOND // 16_000 for n in range(len(downlink))]
    assert downlink.emission_ns.tolist() == exact
    assert len(downlink) == 3600 * 16_000 // bits + 1


class Recording:
    """What the subsystems had, by definition, in the order of generation."""

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)

    def __call__(self, name: str, t_ns: int, values: Any) -> None:
        self.rows[name].append((t_ns, dict(values)))


def step_of(parameter: Any, raw: np.ndarray) -> np.ndarray:
    """Engineering width of one raw count: the quantisation that a packet may add."""
    if parameter.type.is_integer and isinstance(parameter.calibration, Polynomial | Spline):
        wide = raw.astype(np.float64)
        low = parameter.calibration.apply(np.maximum(wide - 1, parameter.type.minimum))
        high = parameter.calibration.apply(np.minimum(wide + 1, parameter.type.maximum))
        return np.abs(high - low)
    if parameter.type.is_integer:
        return np.ones(raw.shape)
    return np.abs(raw) * 1e-6 + 1e-12


def compare(table: Any, recorded: list[tuple[int, dict[str, Any]]]) -> int:
    """Every value of every packet; returns how many were compared."""
    n = len(table)
    recorded = recorded[:n]
    # The clock to the nearest step of the time code, 2⁻²⁴ s.
    assert np.abs(table.scet_ns - [t for t, _ in recorded]).max() <= 30
    compared = 0
    for name in recorded[0][1]:
        parameter = table.definition.parameters[name]
        wanted = [values[name] for _, values in recorded]
        found = table.engineering(name)
        if isinstance(wanted[0], IntEnum):
            assert found.tolist() == [state.name for state in wanted], name
        elif isinstance(wanted[0], str):
            assert [str(text) for text in found] == wanted, name
        elif isinstance(found, Ragged):
            assert found.lengths.tolist() == [len(row) for row in wanted], name
            flat = np.array([value for row in wanted for value in row], np.float64)
            tolerance = step_of(parameter, table.raw[name].values)
            assert np.all(np.abs(found.values - flat) <= tolerance * 0.5000001), name
        else:
            raw = np.asarray(table.raw[name])
            error = np.abs(np.asarray(found, np.float64) - np.array(wanted, np.float64))
            assert np.all(error <= step_of(parameter, raw) * 0.5000001), name
        compared += n
    return compared


KINDS = [
    pytest.param("aos", {}, id="aos"),
    pytest.param("tm", {}, id="tm"),
    pytest.param("uslp", {"fecf": "crc32"}, id="uslp"),
    pytest.param(
        "aos", {"frame_length": 220, "interleave": 1, "insert_zone_length": 8}, id="short"
    ),
]


@pytest.mark.parametrize(("kind", "more"), KINDS)
@pytest.mark.parametrize("base", ["nominal", "storm"])
def test_packets_say_what_the_subsystems_had(base: str, kind: str, more: dict[str, Any]) -> None:
    scenario = scenarios.load(base)
    scenario = replace(scenario, downlink=replace(scenario.downlink, frame_kind=kind, **more))
    recording = Recording()
    seconds = 2400 if base == "storm" else 300
    downlink = fly(scenario, seconds, observer=recording)
    parameters = scenario.downlink.frame_parameters
    index = index_frames(downlink.frames, parameters)
    assert index.crc_ok.all()
    assert not index.foreign.any()
    assert not index.malformed.any()
    assert set(index.scid.tolist()) == {SCID_L4_RELAY}
    extractor = PacketExtractor()
    packets = extractor.push(downlink.frames, index, downlink.emission_ns).packets
    # Time reports are made with their frames, not by the subsystems.
    real = packets.select(~packets.is_idle & (packets.apid != Apid.TIME))
    decoded = DICTIONARY.decode(real)
    assert len(decoded.unmatched) == 0
    assert len(decoded.wrong_length) == 0
    compared = 0
    for table in decoded:
        compared += compare(table, recording.rows[table.definition.name])
    assert compared > 50 * len(real) / 10
    wanted = {name for name, rows in recording.rows.items() if rows}
    assert {table.definition.name for table in decoded} == wanted
    # Only what waits for its frame at the end is missing.
    generated = sum(len(rows) for rows in recording.rows.values())
    assert 0 <= generated - len(real) < 80
    # Each APID counts without a gap.
    for apid in np.unique(real.apid):
        counts = real.sequence_count[real.apid == apid].astype(int)
        assert np.all(np.diff(counts) % 16384 == 1)


def test_channel_coding_is_undone_to_the_same_frames() -> None:
    downlink = fly(scenarios.load("nominal"), 60)
    assert np.all(downlink.cadus[:, :4] == [0x1A, 0xCF, 0xFC, 0x1D])
    blocks = randomise(downlink.cadus[:, 4:], "ccsds")
    result = ReedSolomon(parity=32, interleave=5, basis="dual").decode(blocks)
    assert not result.corrections.any()
    np.testing.assert_array_equal(result.data, downlink.frames)


def test_virtual_channels_carry_what_they_are_for() -> None:
    downlink = fly(scenarios.load("nominal"), 600)
    index = index_frames(downlink.frames, scenarios.load("nominal").downlink.frame_parameters)
    packets = PacketExtractor().push(downlink.frames, index, downlink.emission_ns).packets
    by_channel = defaultdict(set)
    for vcid, apid in zip(packets.vcid.tolist(), packets.apid.tolist(), strict=True):
        by_channel[vcid].add(Apid(apid))
    assert by_channel[VirtualChannel.EVENTS] == {Apid.EVENTS, Apid.TIME, Apid.IDLE}
    assert by_channel[VirtualChannel.SCIENCE] - {Apid.IDLE} == {
        Apid.PROTON_FLUX,
        Apid.SOLAR_WIND,
        Apid.MAGNETOMETER,
    }
    assert {Apid.STATUS, Apid.POWER, Apid.ATTITUDE} <= by_channel[VirtualChannel.HOUSEKEEPING]
    assert Counter(index.vcid.tolist())[VirtualChannel.IDLE] > 0


@pytest.mark.parametrize("kind", ["aos", "tm", "uslp"])
def test_idle_frames_count_too_and_hold_no_packets(kind: str) -> None:
    scenario = with_frames(kind)
    downlink = fly(scenario, 120)
    index = index_frames(downlink.frames, scenario.downlink.frame_parameters)
    for vcid in np.unique(index.vcid):
        counts = index.vc_count[index.vcid == vcid]
        np.testing.assert_array_equal(counts, np.arange(len(counts)) % index.vc_count_modulus[0])
    if kind == "tm":
        np.testing.assert_array_equal(index.mc_count, np.arange(len(index)) % 256)


def test_uplink_is_counted_and_seen_in_the_clcw() -> None:
    scenario = scenarios.load("nominal")
    recording = Recording()
    spacecraft = Spacecraft(scenario, seed=1, start_ns=START_NS, observer=recording)
    before = spacecraft.step(START_NS + 20 * SECOND)
    after = spacecraft.step(
        START_NS + 60 * SECOND,
        [Uplink(Carrier.COMMAND, bytes(57)), Uplink(Carrier.RELAY, bytes(1024))],
    )
    parameters = scenario.downlink.frame_parameters
    words = index_frames(np.concatenate([before.frames, after.frames]), parameters).ocf
    first, last = (CLCW.parse(int(words[i]).to_bytes(4, "big")) for i in (0, -1))
    assert first.no_bit_lock
    assert not last.no_bit_lock
    assert not last.no_rf_available
    assert recording.rows["TRANSPONDER"][-1][1]["TRX_UPLINK_OCTETS"] == 57
    assert any(v["EVT_ID"].name == "UPLINK_LOCK" for _, v in recording.rows["EVENTS"])


def test_partial_frames_leave_when_their_time_is_up() -> None:
    nominal = scenarios.load("nominal")
    index_of = nominal.downlink.frame_parameters
    downlink = fly(nominal, 60)
    index = index_frames(downlink.frames, index_of)
    first = downlink.emission_ns[np.flatnonzero(index.vcid == VirtualChannel.EVENTS)[0]]
    # The boot event comes at 0 s; it waits its two seconds and at most one frame more.
    assert 2 * SECOND <= first - START_NS <= 2 * SECOND + nominal.downlink.frame_time_ns(1)


def test_a_sliced_stream_leaves_as_its_frames_fill_it() -> None:
    """Codeblocks at even steps, none before its last frame began, however it is called; their
    information is the frames, each behind its marker."""
    text = """
    [downlink]
    reed_solomon_parity = 0
    frame_length = 300
    ldpc = "AR4JA 4/5 1024"
    ldpc_slice = 3
    [radio]
    convolutional = "none"
    [mars]
    present = false
    """
    scenario = scenarios.loads(text)
    downlink = scenario.downlink
    whole = Spacecraft(scenario, seed=1, start_ns=START_NS).step(START_NS + 20 * SECOND)
    spacecraft = Spacecraft(scenario, seed=1, start_ns=START_NS)
    until = [START_NS + k * 777_000_001 for k in range(25)] + [START_NS + 20 * SECOND]
    parts = []
    for now_ns in until:
        part = spacecraft.step(now_ns)
        assert (part.cadu_ns <= now_ns).all()
        parts.append(part)
    assert b"".join(part.octets for part in parts) == whole.octets
    np.testing.assert_array_equal(np.concatenate([p.cadu_ns for p in parts]), whole.cadu_ns)
    elapsed = whole.cadu_ns - START_NS
    steps = np.diff(elapsed)
    assert steps.max() - steps.min() <= 1
    counts = [downlink.cadus_before_ns(int(t) + more) for t in elapsed[:9] for more in (0, 1)]
    assert counts == [n + more for n in range(9) for more in (0, 1)]
    coding = downlink.codeblocks
    assert coding is not None
    assert downlink.channel_bit_s == pytest.approx(coding.period / (steps.mean() / 1e9))
    blocks = np.unpackbits(whole.cadus, axis=1)[:, 64:]
    found = coding.decode(1.0 - 2.0 * blocks.astype(np.float32))
    stream = b"".join(bytes.fromhex("1acffc1d") + frame.tobytes() for frame in whole.frames)
    assert stream.startswith(found.data.tobytes())
    # What is not out yet is less than a codeblock, and the frame that has just begun.
    assert len(stream) - found.data.size < coding.data_length + 304
