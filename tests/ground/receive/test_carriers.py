"""Two carriers over one link: told apart by stream, decoded in the order of the capture."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ground.ports import LinkChunk
from ground.receive.capture import START, CapturedChunk, CaptureWriter
from ground.receive.carriers import CarrierChains, carrier_of, other_carriers
from ground.receive.chain import ReceiveChain
from ground.receive.output import ChainOutput
from ground.receive.profile import load_profile
from ground.receive.replay import replay
from protocols.errors import LocalError
from spacecraft_sim.channel import FixedLightTime
from spacecraft_sim.optical_channel import OpticalChannel
from spacecraft_sim.optical_settings import OpticalDownlink, OpticalSettings, OpticalStation
from spacecraft_sim.scenario import Scenario
from spacecraft_sim.spacecraft import Spacecraft

START_NS = 2_177_452_800 * 10**9
S = 10**9
PROFILE = load_profile("l4_relay")


@cache
def chunks() -> tuple[LinkChunk, ...]:
    """What the station hears of some two minutes, X band and light, in order of time."""
    settings_ = OpticalSettings(
        present=True,
        downlink=OpticalDownlink(information_rate_bit_s=32_000),
        station=(OpticalStation("Yeoju", 0.4, 8.0),),
    )
    spacecraft = Spacecraft(Scenario(optical=settings_), seed=2, start_ns=START_NS)
    sent = spacecraft.step(START_NS + 240 * S)
    assert sent.optical is not None
    late = slice(-400, None)
    cadus, times = sent.optical.cadus[late], sent.optical.cadu_ns[late]
    light = OpticalChannel(settings_, FixedLightTime(0.0), 7, START_NS).downlink(cadus, times)
    first = int(times[0])
    radio = [(t, 0, c) for t, c in zip(sent.cadu_ns.tolist(), sent.cadus, strict=True) if t > first]
    heard = radio + [(t, 1, c) for t, c in zip(light.ert_ns.tolist(), light.cadus, strict=True)]
    count, out = [0, 0], []
    for t_ns, carrier, cadu in sorted(heard, key=lambda one: one[:2]):
        stream = "run" + carrier * "/optical"
        out.append(LinkChunk(stream, count[carrier], t_ns, cadu.tobytes()))
        count[carrier] += 1
    return tuple(out)


def captured(some: tuple[LinkChunk, ...]) -> list[CapturedChunk]:
    return [CapturedChunk(START, chunk) for chunk in some]


def packets_of(outputs: list[ChainOutput]) -> list[bytes]:
    return [bytes(one) for output in outputs for one in output.packets]


def alone(name: str) -> ReceiveChain:
    """The chain of one carrier that hears nothing of the other."""
    chain = ReceiveChain(load_profile(f"l4_relay{name.replace('/', '_')}"))
    for chunk in chunks():
        if chunk.stream == f"run{name}":
            chain.push(chunk.octets, chunk.ert_ns)
    return chain


def test_each_carrier_is_decoded_as_if_alone_and_shown() -> None:
    both = CarrierChains(ReceiveChain(PROFILE), other_carriers(PROFILE))
    output = both.push(captured(chunks()))
    counts = both.statistics().counts
    radio, light = alone("").statistics(), alone("/optical").statistics()
    shown = counts.pop("carrier optical")
    assert counts == radio.counts
    assert both.statistics().virtual_channels == radio.virtual_channels
    assert shown["good"] == light.counts["frames"]["good"] > 50
    assert shown["missing"] == sum(one["missing"] for one in light.virtual_channels.values()) > 20
    assert shown["corrected_symbols"] == light.counts["coding"]["corrected_symbols"] > 0
    assert shown["last_ert_ns"] == [c for c in chunks() if c.stream != "run"][-1].ert_ns
    assert shown["uncorrectable"] == 0
    together = radio.counts["packets"]["packets"] + light.counts["packets"]["packets"]
    assert len(output.packets) == together
    assert light.counts["packets"]["packets"] > 5


@settings(max_examples=4)
@given(st.lists(st.integers(1, 60), max_size=8), st.booleans())
def test_the_order_of_packets_is_the_captures_alone(sizes: list[int], save: bool) -> None:
    others = other_carriers(PROFILE)
    whole = packets_of([CarrierChains(ReceiveChain(PROFILE), others).push(captured(chunks()))])
    chains, outputs, at = CarrierChains(ReceiveChain(PROFILE), others), [], 0
    for size in [*sizes, len(chunks())]:
        outputs.append(chains.push(captured(chunks()[at : at + size])))
        at += size
        if save:
            state: dict[str, Any] = msgpack.unpackb(
                msgpack.packb(chains.snapshot()), strict_map_key=False
            )
            chains = CarrierChains(ReceiveChain(PROFILE), others)
            chains.restore(state)
    assert packets_of(outputs) == whole


def test_a_capture_of_both_is_replayed_carrier_by_carrier(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path, link="main") as writer:
        writer.append(list(chunks()))
        writer.sync()
    left = {"": "chunks of carrier optical", "/optical": "chunks of carrier one"}
    for name, reason in left.items():
        profile = load_profile(f"l4_relay{name.replace('/', '_')}")
        found = replay(tmp_path, profile)
        chain = alone(name)
        chain.finish()
        assert found.summary["frames"] == chain.statistics().counts["frames"]["frames"]
        others = sum(chunk.stream != f"run{name}" for chunk in chunks())
        assert found.summary["skipped"] == {reason: others}


def test_carriers_that_are_not_agreed_are_refused(tmp_path: Path) -> None:
    assert carrier_of("a/b/optical", {"optical": 1}) == "optical"
    assert carrier_of("scenarios/optical.toml-1", {"optical": 1}) == ""
    mine = tmp_path / "mine.toml"
    mine.write_text('[frames]\nframe_length = 100\n[link]\ncarriers = ["other.toml"]\n')
    (tmp_path / "other.toml").write_text("[frames]\nframe_length = 100\n")
    with pytest.raises(LocalError, match="a name of its own wanted"):
        other_carriers(load_profile(mine))
    state = CarrierChains(ReceiveChain(PROFILE), {}).snapshot()
    with pytest.raises(LocalError, match="not \\['optical'\\]"):
        CarrierChains(ReceiveChain(PROFILE), other_carriers(PROFILE)).restore(state)
