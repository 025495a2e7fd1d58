"""A service that starts is ready, whatever link it is for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ground import missions
from ground.receive import warming
from ground.receive.chain import ChainOutput, ReceiveChain
from ground.receive.profile import load_profile

MISSIONS = sorted(path.stem for path in Path(str(missions.__path__[0])).glob("*.toml"))


@pytest.mark.parametrize("mission", MISSIONS)
def test_no_link_profile_keeps_a_service_from_starting(mission: str) -> None:
    warming.warm_chain(load_profile(mission))


def test_a_link_whose_first_channels_are_no_packets_is_warmed_as_well() -> None:
    profile = load_profile("l4_relay")
    warming.warm_chain(replace(profile, vc_content={0: "opaque", 1: "bitstream"}))
    warming.warm_chain(replace(profile, content="opaque"))


def test_frames_go_the_whole_way(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs: list[ChainOutput] = []

    class Watched(ReceiveChain):
        def push(self, octets, ert_ns):  # type: ignore[no-untyped-def]
            outputs.append(super().push(octets, ert_ns))
            return outputs[-1]

        def finish(self) -> ChainOutput:
            outputs.append(super().finish())
            assert self.statistics().counts["coding"]["corrected"] == 1
            return outputs[-1]

    monkeypatch.setattr(warming, "ReceiveChain", Watched)
    warming.warm_chain(load_profile("l4_relay"))
    assert sum(output.frames for output in outputs) == warming.FRAMES
    assert any(len(output.packets) for output in outputs)
