"""FOP-1 and FARM-1 together, the short form of `make trial-cop1` and `make trial-forgeries`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.long.cop1 import COMMANDS, VARIANTS, summary, trial
from tests.long.cop1_link import Channel, CopLink, check
from tests.long.forgeries import trial as forgeries


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_every_command_is_executed_once_or_reported_failed(variant: str) -> None:
    outcomes = [trial(variant, seed) for seed in range(6)]
    assert sum(outcome.lockouts for outcome in outcomes) == len(outcomes)
    confirmed = sum(len(outcome.confirmed) for outcome in outcomes)
    # Old reports end the service again and again: hardly a command is confirmed.
    least = 0 if "old" in variant else COMMANDS * len(outcomes) // 2
    assert confirmed > least, summary(outcomes)


def test_without_a_fault_everything_is_confirmed() -> None:
    quiet = Channel(loss=0.0, duplication=0.0, jitter_s=0.0)
    outcome = CopLink(1, commands=300, channel=quiet).run()
    check(outcome, 300)
    assert outcome.confirmed == list(range(300))
    assert outcome.frames_sent == 300


def test_loss_alone_costs_frames_but_no_command() -> None:
    lossy = replace(Channel(), jitter_s=0.0, duplication=0.0)
    outcome = CopLink(2, commands=100, channel=lossy, transmission_limit=30).run()
    check(outcome, 100)
    assert outcome.confirmed == list(range(100))


def test_refused_frames_change_nothing() -> None:
    refused = forgeries(2_000, seed=1)
    assert {"BAD_MAC", "REPLAYED", "UNKNOWN_SPI", "BEYOND_WINDOW"} <= set(refused)
