"""I/Q samples in chunks to packets: cut and killed anywhere, with gaps, and with a prediction."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import msgpack
import numpy as np
import pytest

from ground.ports import LinkChunk
from ground.receive.capture import CaptureWriter
from ground.receive.output import ChainOutput
from ground.receive.profile import LinkProfile, load_profile
from ground.receive.radio_receiver import SEGMENT_S
from ground.receive.replay import replay
from ground.receive.sample_chain import SampleChain, expectation, open_chain
from protocols.errors import LocalError
from protocols.physical.sample_block import UNKNOWN, SampleBlock, build_sample_block
from protocols.physical.samples import sample_format
from spacecraft_sim.channel import FixedLightTime
from spacecraft_sim.radio_wave import RadioWave, waveform
from spacecraft_sim.scenario import Mars, RadioSettings, Scenario

START = 2_000_000_000_000_000_000
S = 10**9
CI16 = sample_format("ci16_le")


def profile(**radio: object) -> LinkProfile:
    known = load_profile("l4_relay")
    assert known.radio is not None
    told = {"target": "", "frequency_hz": 0.0, "range_hz": 2e3, "rate_hz_s": 0.0} | radio
    return replace(known, input="samples", radio=replace(known.radio, **told))  # type: ignore[arg-type]


@cache
def wave(seconds: float, tuned_hz: float = 0.0) -> tuple[np.ndarray, float]:
    scenario = Scenario(mars=Mars(present=False), radio=RadioSettings())
    rate = 4 * waveform(scenario).symbol_rate
    made = RadioWave(
        scenario, FixedLightTime(499.0), start_ns=START, seed=2, sample_rate=rate, tuned_hz=tuned_hz
    )
    return made.read(round(seconds * rate)), rate


def chunk(
    samples: np.ndarray, at: int, rate: float, lost: int = 0, centre_hz: float = 0.0
) -> tuple[bytes, int]:
    octets = CI16.to_octets(samples)
    block = SampleBlock(CI16, rate, centre_hz, lost, octets)
    return build_sample_block(block), START + round(at / rate * S)


def chunks(samples: np.ndarray, rate: float, size: int) -> list[tuple[bytes, int]]:
    starts = range(0, len(samples), size)
    return [chunk(samples[at : at + size], at, rate) for at in starts]


def packets(outputs: list[ChainOutput]) -> list[tuple[bytes, int]]:
    joined = ChainOutput.join(outputs).packets
    return list(zip(joined, joined.ert_ns.tolist(), strict=True))


def good(chain: SampleChain) -> int:
    return chain.statistics().counts["frames"]["good"]


def test_a_snapshot_anywhere_goes_on_to_the_same_packets_and_times() -> None:
    samples, rate = wave(6.0)
    # Samples that are missing in the middle: fewer than silence is put for.
    parts = chunks(samples[:200_000], rate, 9_973)
    parts += [chunk(samples[200_300:], 200_300, rate, lost=300)]

    def expect(ert_ns: int, seconds: float) -> tuple[float, ...]:
        return ((ert_ns - START) / S, 1.0)

    whole = SampleChain(profile(), predict=expect)
    wanted = packets([whole.push_chunks(parts), whole.finish()])
    assert good(whole) >= 6
    killed = SampleChain(profile(), predict=expect)
    got: list[ChainOutput] = []
    for one in parts:
        got.append(killed.push_chunks([one]))
        state = msgpack.unpackb(msgpack.packb(killed.snapshot()), strict_map_key=False)
        killed = SampleChain(profile(), predict=expect)
        killed.restore(state)
    got.append(killed.finish())
    assert packets(got) == wanted
    assert killed.statistics() == whole.statistics()
    counts = whole.statistics().counts["radio"]
    assert (counts["lost"], counts["silent"], counts["breaks"]) == (300, 300, 1)
    with pytest.raises(LocalError, match="snapshot"):
        SampleChain(profile(range_hz=1e3)).restore(whole.snapshot())
    with pytest.raises(LocalError, match="not of a chain of samples"):
        whole.restore({"version": 3})


def test_a_gap_nobody_knows_the_length_of_costs_what_was_in_it() -> None:
    samples, rate = wave(6.0)
    half = len(samples) // 2
    chain = SampleChain(profile())
    chain.push_chunks([chunk(samples[:half], 0, rate)])
    before = good(chain)
    ert = half + 5_000
    chain.push_chunks([chunk(samples[ert:], ert, rate, lost=UNKNOWN), (b"none of ours", START)])
    chain.finish()
    counts = chain.statistics().counts
    assert counts["radio"]["breaks"] == 2
    assert counts["radio"]["locks"] == 2
    assert counts["radio"]["malformed"] == 1
    # The receiver at the break held frames that came out all the same.
    assert good(chain) > before
    assert good(chain) >= 6
    message = SampleChain(profile()).message("CEB", "downlink")
    assert message is None


def test_another_rate_or_frequency_begins_anew_and_what_the_tuner_leaves_is_known() -> None:
    """Tuned 20 kHz beside the carrier, which is looked for within 500 Hz."""
    samples, rate = wave(3.0, tuned_hz=-20e3)
    told = profile(frequency_hz=8.42e9, range_hz=500.0)
    chain = SampleChain(told)
    chain.push_chunks([chunk(samples, 0, rate, centre_hz=8.42e9)])
    assert good(chain) == 0
    shown = chain.message("CEB", "downlink")
    assert shown is not None
    assert not shown.carrier_lock
    chain.push_chunks([chunk(samples, 0, rate, centre_hz=8.42e9 - 20e3)])
    shown = chain.message("CEB", "downlink")
    assert shown is not None
    assert (shown.carrier_lock, shown.symbol_lock, shown.frame_lock) == (True, True, True)
    assert shown.carrier_offset_hz == pytest.approx(20e3, abs=5)
    assert good(chain) >= 2
    assert told.radio is not None
    assert expectation(told.radio, 0.0, None) is None


def test_a_trajectory_that_has_ended_does_not_end_the_receiver() -> None:
    samples, rate = wave(3.0)

    def ended(ert_ns: int, seconds: float) -> tuple[float, ...]:
        raise LocalError("the trajectory ends before this")

    chain = SampleChain(profile(), predict=ended)
    chain.push_chunks([chunk(samples, 0, rate)])
    chain.finish()
    assert good(chain) >= 3
    assert chain.statistics().counts["radio"]["unpredicted"] == -(-3 // int(SEGMENT_S))


def test_a_capture_of_samples_is_replayed(tmp_path) -> None:
    samples, rate = wave(3.0)
    parts = chunks(samples, rate, 30_000)
    with CaptureWriter(tmp_path, link="downlink") as writer:
        numbered = enumerate(parts)
        writer.append([LinkChunk("run", n, ert_ns, octets) for n, (octets, ert_ns) in numbered])
    result = replay(tmp_path, profile(), input=None)
    assert result.summary["input"] == "samples"
    assert "hold I/Q samples" in result.statement
    chain = open_chain(profile())
    assert isinstance(chain, SampleChain)
    chain.push_chunks(parts)
    chain.finish()
    assert result.statistics == chain.statistics()
    assert result.statistics.counts["frames"]["good"] >= 3


def test_a_profile_without_a_radio_is_refused() -> None:
    with pytest.raises(LocalError, match="does not say how its carrier is modulated"):
        SampleChain(replace(profile(), radio=None))
