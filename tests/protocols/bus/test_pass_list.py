"""The pass list comes back from its JSON; what is none is refused by name, never half believed."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.bus.messages import Pass, PassesMessage
from protocols.bus.pass_list import FORMAT, build_pass_list, parse_pass_list
from protocols.errors import LocalError, RemoteError
from protocols.timecodes.tai import tai_ns_from_utc_iso

S = 10**9
BEGIN_NS = tai_ns_from_utc_iso("2027-01-01T00:00:00Z")
#: What UTC text can say: the years 1958 to 9999 of the calendar.
TIMES = st.integers(0, 10**17).map(lambda ns: BEGIN_NS + ns)


def a_pass(aos_s: int = 100, los_s: int = 900, **more: Any) -> Pass:
    values = {
        "aos_ns": BEGIN_NS + aos_s * S,
        "los_ns": BEGIN_NS + los_s * S,
        "id": f"r.{aos_s}",
        "mission": "L4",
        "station": "Yeoju",
        "antenna": "KDSA",
        "setup_ns": BEGIN_NS + (aos_s - 60) * S,
        "release_ns": BEGIN_NS + (los_s + 60) * S,
        "uplink_from_ns": BEGIN_NS + aos_s * S,
        "uplink_to_ns": BEGIN_NS + los_s * S,
    }
    return Pass(**{**values, **more})


def a_list(*passes: Pass) -> PassesMessage:
    return PassesMessage("relay", 1, BEGIN_NS, BEGIN_NS, BEGIN_NS + 86_400 * S, passes)


@st.composite
def pass_lists(draw: st.DrawFn) -> PassesMessage:
    passes: list[Pass] = []
    for number in range(draw(st.integers(0, 4))):
        times = sorted(draw(st.lists(TIMES, min_size=6, max_size=6, unique=True)))
        setup, aos, up, down, los, release = times
        owlt = draw(st.sampled_from([(-1, -1), (0, 0), (499 * S, 500 * S)]))
        names = (str(number), draw(st.text(max_size=5)), "Yeoju", "KDSA")
        passes.append(Pass(aos, los, *names, setup, release, up, down, *owlt))
    return a_list(*sorted(passes))


@given(pass_lists())
def test_a_list_comes_back(message: PassesMessage) -> None:
    assert parse_pass_list(build_pass_list(message)) == message


@given(pass_lists(), st.data())
def test_damage_raises_remote_error_only(message: PassesMessage, data: st.DataObject) -> None:
    text = bytearray(build_pass_list(message).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RemoteError):
        parse_pass_list(bytes(text))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "l4-pass-list-2"}, FORMAT),
        ({"version": 0}, "version 0, 1 or more"),
        ({"version": True}, "version = True"),
        ({"passes": {}}, "a list wanted"),
        ({"passes": [{}]}, "pass 0: .*one_way_light_time"),
        ({"horizon_start_tai_ns": 2**63}, "64 bits"),
        ({"schedule": None}, "schedule = None; text"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], words: str) -> None:
    document = json.loads(build_pass_list(a_list(a_pass()))) | change
    with pytest.raises(RemoteError, match=words):
        parse_pass_list(json.dumps(document))


def test_times_of_a_pass_are_in_order() -> None:
    with pytest.raises(LocalError, match="AOS < LOS"):
        a_pass(900, 100)
    with pytest.raises(LocalError, match="uplink window between AOS and LOS"):
        a_pass(uplink_to_ns=BEGIN_NS + 901 * S)
    with pytest.raises(LocalError, match="light time at both ends"):
        a_pass(owlt_aos_ns=5)
    with pytest.raises(LocalError, match="out of order"):
        a_list(a_pass(200, 300), a_pass(100, 150))


def test_the_pass_that_is_on_and_the_next_one() -> None:
    message = a_list(a_pass(100, 200), a_pass(150, 400), a_pass(600, 700))
    ids = {
        at_s: tuple(
            p.id if p else None
            for p in (
                message.receiving(BEGIN_NS + at_s * S),
                message.next_after(BEGIN_NS + at_s * S),
            )
        )
        for at_s in (99, 100, 160, 399, 400, 600, 700)
    }
    assert ids == {
        99: (None, "r.100"),
        100: ("r.100", "r.150"),
        160: ("r.150", "r.600"),
        399: ("r.150", "r.600"),
        400: (None, "r.600"),
        600: ("r.600", None),
        700: (None, None),
    }


def test_the_last_command_that_is_answered_within_the_pass() -> None:
    owlt = {"owlt_aos_ns": 100 * S, "owlt_los_ns": 101 * S}
    assert a_pass(**owlt).last_answered_ns == BEGIN_NS + (900 - 202) * S
    assert a_pass(**owlt).uplink_arrival_ns == (BEGIN_NS + 200 * S, BEGIN_NS + 1001 * S)
    assert a_pass(100, 250, **owlt).last_answered_ns is None
