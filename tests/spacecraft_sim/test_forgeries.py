"""The simulated spacecraft refuses what is not authentic: short form of its long trial."""

from __future__ import annotations

import pytest

from protocols.frames.sdls import Processed
from protocols.frames.tc import TcFrame
from spacecraft_sim.flight_software import command_receiver
from tests.long.spacecraft_forgeries import trial


def test_nothing_forged_is_executed_and_every_refusal_is_in_telemetry() -> None:
    result = trial(1_000, seed=1)
    assert len(result.attacks) == 12
    assert min(result.attacks.values()) > 40
    assert result.malformed + result.discarded + result.insecure == 1_000
    assert len(result.refusals) >= 7, "a reason of link security that was never met"


def test_the_trial_sees_a_spacecraft_that_does_not_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def credulous(_: object, frame: TcFrame, __: object) -> Processed:
        return Processed(frame.data[6:-16], None, 1)

    monkeypatch.setattr(command_receiver, "process_tc", credulous)
    with pytest.raises(AssertionError):
        trial(200, seed=1)
