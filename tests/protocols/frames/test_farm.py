"""FARM-1: each event, the whole window, any frames at all."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.frames.farm import FARM_TABLE, Farm, FarmEvent, FarmState
from protocols.frames.tc import FrameType, SetVr, TcFrame, Unlock

CAPTURES = Path(__file__).resolve().parents[2] / "captures"


def ad(number: int, data: bytes = b"x") -> TcFrame:
    return TcFrame(0, data, sequence_number=number % 256)


def bc(data: bytes) -> TcFrame:
    return TcFrame(0, data, FrameType.BC)


def test_every_event_in_every_state() -> None:
    missing = {(s, e) for s in FarmState for e in FarmEvent if e not in FARM_TABLE[s]}
    # "Not applicable": a buffer cannot be free while FARM-1 waits for one.
    assert missing == {(FarmState.WAIT, FarmEvent.EXPECTED_BUFFER)}


GOLDEN = tomllib.loads((CAPTURES / "cop1.toml").read_text())


def take(farm: Farm, what: str) -> None:
    """A step of the golden sequences."""
    if what[0] == "A":
        farm.receive(ad(int(what[1:])))
    elif what[0] == "B":
        farm.receive(TcFrame(0, b"x", FrameType.BD))
    else:
        farm.receive(bc(Unlock().build() if what == "U" else SetVr(int(what[1:])).build()))


def test_reports_are_those_of_ccsds_cop() -> None:
    """A random walk through windows, commands and lockouts, as another FARM-1 took it."""
    farm = Farm(0, window=GOLDEN["farm"]["window"])
    for step in GOLDEN["farm"]["steps"].split():
        what, wanted = step.split(":")
        take(farm, what)
        flags = f"{farm.retransmit:d}{farm.wait:d}{farm.lockout:d}"
        report = f"{farm.state.value[1]}/{farm.vr}/{flags}/{farm.farm_b_counter % 4}"
        assert report == wanted, step


@pytest.mark.parametrize("name", sorted(set(GOLDEN["reports"]) - {"window"}))
def test_reports_are_those_of_astro(name: str) -> None:
    farm = Farm(0, window=GOLDEN["reports"]["window"])
    for step in GOLDEN["reports"][name].split():
        what, wanted = step.split(":")
        take(farm, what)
        assert farm.clcw().build().hex() == wanted, step


def test_in_order_and_once() -> None:
    farm = Farm(0, window=10)
    for number in range(300):
        assert farm.receive(ad(number)) == b"x"
        assert farm.receive(ad(number)) is None
    assert (farm.vr, farm.state, farm.retransmit) == (300 % 256, FarmState.OPEN, False)
    assert farm.receive(ad(302)) is None
    assert farm.clcw().retransmit
    assert farm.receive(ad(300)) == b"x"
    assert not farm.clcw().retransmit


@pytest.mark.parametrize("window", [2, 10, 254])
def test_sliding_window(window: int) -> None:
    half = window // 2
    for vr in (0, 1, 100, 250, 255):
        for number in range(256):
            farm = Farm(0, window=window)
            farm.receive(bc(SetVr(vr).build()))
            assert farm.vr == vr
            accepted = farm.receive(ad(number)) is not None
            ahead, behind = (number - vr) % 256, (vr - number) % 256
            assert accepted == (number == vr)
            assert farm.lockout == (ahead >= half and behind > half)
            assert farm.retransmit == (0 < ahead < half)


def test_lockout_and_unlock() -> None:
    farm = Farm(0, window=10)
    assert farm.receive(ad(128)) is None
    assert farm.clcw().lockout
    assert farm.receive(ad(0)) is None
    farm.receive(bc(SetVr(9).build()))
    assert (farm.vr, farm.lockout) == (0, True)
    assert farm.receive(TcFrame(0, b"bd", FrameType.BD)) == b"bd"
    farm.receive(bc(Unlock().build()))
    assert not farm.clcw().lockout
    assert farm.clcw().farm_b_counter == 3
    assert farm.receive(ad(0)) == b"x"
    assert farm.statistics.lockouts == 1


def test_wait_and_release() -> None:
    farm = Farm(0)
    assert farm.receive(ad(0), buffer_available=False) is None
    assert (farm.clcw().wait, farm.clcw().retransmit) == (True, True)
    assert farm.receive(ad(0)) is None
    farm.release_buffer()
    assert (farm.clcw().wait, farm.clcw().retransmit) == (False, True)
    assert farm.receive(ad(0)) == b"x"
    assert not farm.retransmit


def test_unknown_commands_and_invalid_frames_change_nothing() -> None:
    farm = Farm(0)
    farm.receive(ad(0))
    before = farm.clcw()
    farm.receive(bc(b"\x01"))
    farm.invalid_frame()
    assert farm.clcw() == before
    assert farm.statistics.discarded == 2


@given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(0, 255), st.booleans()),
            st.sampled_from([b"\x00", b"\x82\x00\x05", b"\x82\x01\x05"]),
            st.none(),
        ),
        max_size=60,
    ),
    st.sampled_from([2, 20, 254]),
)
def test_what_it_reports_is_what_it_did(
    steps: list[tuple[int, bool] | bytes | None], window: int
) -> None:
    """V(R) counts what was accepted; the flags are the states."""
    farm = Farm(0, window=window)
    expected = 0
    for step in steps:
        if step is None:
            farm.release_buffer()
        elif isinstance(step, tuple):
            got = farm.receive(ad(step[0], b"d"), buffer_available=step[1])
            if got is not None:
                assert step[0] == expected
                expected = (expected + 1) % 256
        else:
            locked = farm.lockout
            farm.receive(bc(step))
            if step == b"\x82\x00\x05" and not locked:
                expected = 5
        assert farm.vr == expected
        clcw = farm.clcw()
        assert clcw.lockout == (farm.state is FarmState.LOCKOUT)
        assert clcw.wait == (farm.state is FarmState.WAIT) or clcw.lockout


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Farm(64),
        lambda: Farm(0, window=1),
        lambda: Farm(0, window=11),
        lambda: Farm(0, window=256),
        lambda: Farm(1).receive(ad(0)),
    ],
)
def test_mistakes_are_named(wrong: object) -> None:
    with pytest.raises(LocalError):
        wrong()  # type: ignore[operator]
