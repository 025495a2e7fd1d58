"""The contract finds what is wrong: adapters with one fault each, and the check that names it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ground.adapters.radio import bench, contract
from ground.adapters.radio.adapter import STATES, Adapter, Block, Event, Result, State
from ground.adapters.radio.contract import Outcome, run_check, run_contract
from ground.adapters.radio.loopback import LoopbackAdapter
from protocols.errors import LocalError


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "PATIENCE_S", 0.6)


class FlipsABit(LoopbackAdapter):
    def read(self, timeout_s: float) -> Sequence[Result]:
        return [
            Block(bytes([found.octets[0] ^ 1]) + found.octets[1:])
            if isinstance(found, Block)
            else found
            for found in super().read(timeout_s)
        ]


class GivesTwice(LoopbackAdapter):
    def read(self, timeout_s: float) -> Sequence[Result]:
        return [*super().read(timeout_s)] * 2


class JoinsBlocks(LoopbackAdapter):
    def read(self, timeout_s: float) -> Sequence[Result]:
        found = [*super().read(timeout_s), *super().read(timeout_s)]
        return [Block(b"".join(block.octets for block in found))] if found else []


class RaisesOnSilence(LoopbackAdapter):
    def read(self, timeout_s: float) -> Sequence[Result]:
        found = super().read(timeout_s)
        if not found:
            raise TimeoutError
        return found


class GivesNonsense(LoopbackAdapter):
    def read(self, timeout_s: float) -> Sequence[Result]:
        return [Block(found.octets) for found in super().read(timeout_s)]  # type: ignore[union-attr]


class ConnectsOnce(LoopbackAdapter):
    connected = False

    def connect(self) -> None:
        if self.connected:
            raise ConnectionRefusedError("cannot be connected again")
        self.connected = True
        super().connect()


class NoticesNothing(LoopbackAdapter):
    def read(self, timeout_s: float) -> Sequence[Result]:
        try:
            return super().read(timeout_s)
        except ConnectionResetError:
            return ()


class SendsHalf(LoopbackAdapter):
    def write(self, octets: bytes) -> bool:
        return super().write(octets[: len(octets) // 2])


class HangsWhenClosed(LoopbackAdapter):
    def read(self, timeout_s: float) -> Sequence[Result]:
        return super().read(4)


@pytest.mark.parametrize(
    ("adapter", "check"),
    [
        (FlipsABit, contract.delivers_every_bit),
        (GivesTwice, contract.delivers_every_bit),
        (JoinsBlocks, contract.delivers_every_bit),
        (RaisesOnSilence, contract.silence_is_a_result),
        (GivesNonsense, contract.nonsense_is_a_result),
        (ConnectsOnce, contract.lost_connection_is_made_again),
        (ConnectsOnce, contract.disabled_lets_go),
        (NoticesNothing, contract.other_end_leaves_and_comes_back),
        (SendsHalf, contract.sends_every_bit),
        (HangsWhenClosed, contract.opens_and_closes),
    ],
)
def test_a_fault_is_found_and_named(adapter: type[Adapter], check: contract.Check) -> None:
    result = run_check(check, adapter)
    assert result.outcome is Outcome.FAILED, result
    assert result.detail


def test_by_an_address_what_needs_another_end_is_not_run() -> None:
    results = {result.name: result for result in run_contract(LoopbackAdapter, uri="loopback:dev")}
    assert results["opens_and_closes"].outcome is Outcome.PASSED
    assert results["delivers_every_bit"].outcome is Outcome.NOT_RUN
    # Nobody sends, which a device that is there would.
    assert results["something_comes"].outcome is Outcome.FAILED


def test_without_another_end_and_address_it_says_so() -> None:
    class Alone(LoopbackAdapter):
        @classmethod
        def peer(cls) -> None:  # type: ignore[override]
            return None

    with pytest.raises(LocalError, match="Alone has no other end"):
        run_contract(Alone)


def test_the_table_of_states_is_whole() -> None:
    assert set(STATES) == set(State)
    reached = {State.CLOSED}
    while True:
        more = {STATES[state][event] for state in reached for event in STATES[state]} | reached
        if more == reached:
            break
        reached = more
    assert reached == set(State)
    for state in set(State) - {State.CLOSED}:
        assert STATES[state][Event.CLOSE] is State.CLOSED
