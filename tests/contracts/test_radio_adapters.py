"""Every radio adapter that is installed passes the contract, against the other end of its wire."""

from __future__ import annotations

import pytest

from ground.adapters.radio.contract import CHECKS, Check, Outcome, run_check
from ground.adapters.radio.registry import adapter_class, schemes

#: Checks that say nothing about a wire; any other that is not run is a failure.
NO_FAULTS = {"nonsense_is_a_result", "other_end_leaves_and_comes_back"}
NOT_RUN: dict[str, set[str]] = {
    "difi": {"something_comes", "other_end_leaves_and_comes_back"},
    "file": {"something_comes", "gap_on_the_wire", *NO_FAULTS},
    "loopback": {"something_comes", "gap_on_the_wire"},
    "rtl-tcp": {
        *("something_comes", "gap_on_the_wire", "nonsense_is_a_result"),
        "sends_every_bit",
    },
    "sigmf": {"something_comes", "gap_on_the_wire", *NO_FAULTS},
    "sle-cltu": {
        *("delivers_every_bit", "something_comes", "silence_is_a_result", "overflow_is_a_result"),
        *("gap_is_a_result", "gap_on_the_wire", "lost_connection_is_made_again"),
        *("captures_before_it_gives", "ends_when_it_cannot_capture", "holds_back_or_counts"),
        *("a_bug_ends_the_adapter_alone", "nonsense_is_a_result"),
    },
    "sle-raf": {"something_comes"},
    "sle-rcf": {"something_comes"},
    "tcp": {"something_comes", "gap_on_the_wire", "nonsense_is_a_result"},
    "tcp-frames": {"something_comes", "gap_on_the_wire"},
    "udp": {"something_comes", "gap_on_the_wire", "other_end_leaves_and_comes_back"},
    "zmq": {"something_comes", "gap_on_the_wire"},
    "zmq-iq": {"something_comes", "gap_on_the_wire"},
}


#: It has an other end only where tests have built a device: tests/ground/adapters/radio.
ELSEWHERE = {"soapy"}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("scheme", sorted(set(schemes()) - ELSEWHERE))
def test_contract(scheme: str, check: Check) -> None:
    result = run_check(check, adapter_class(scheme))
    assert result.outcome is not Outcome.FAILED, f"{result.says}: {result.detail}"
    expected = Outcome.NOT_RUN if check.__name__ in NOT_RUN[scheme] else Outcome.PASSED
    assert result.outcome is expected, result.detail


def test_adapters_are_installed() -> None:
    # Older metadata of the installation than pyproject.toml: install it again.
    assert set(NOT_RUN) | ELSEWHERE == set(schemes())
