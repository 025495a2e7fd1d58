"""Nothing that was acknowledged is needed, nothing else is lost: the station's buffer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.bus.link import WINDOW
from protocols.errors import LocalError
from spacecraft_sim.station_buffer import StationBuffer

actions = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 40)),
        st.tuples(st.just("send"), st.integers(0, 60)),
        st.tuples(st.just("acknowledge"), st.integers(-5, 5)),
        st.tuples(st.just("reconnect"), st.integers(0, 60)),
        st.tuples(st.just("fail"), st.just(0)),
    ),
    max_size=80,
)


@settings(max_examples=200, deadline=None)
@given(actions)
def test_every_chunk_arrives_once_and_in_order(script: list[tuple[str, int]]) -> None:
    buffer = StationBuffer("s")
    wire: list[int] = []
    disk: list[int] = []
    stored = 0

    def deliver(count: int) -> None:
        for sequence in wire[:count]:
            if sequence == len(disk):
                disk.append(sequence)
        del wire[:count]

    for action, value in script:
        if action == "put":
            for _ in range(value):
                buffer.put(stored, b"%d" % stored)
                stored += 1
        elif action == "send":
            wire += [chunk.sequence for chunk in buffer.unsent()]
            assert not wire or wire[-1] - buffer.acknowledged <= WINDOW
            deliver(value)
        elif action == "acknowledge":
            # Only what is on disk is acknowledged; late and repeated ones come too.
            buffer.acknowledge(min(len(disk) - 1, len(disk) - 1 + min(value, 0)))
        elif action == "reconnect":
            deliver(value)
            wire.clear()
            buffer.resume(len(disk) - 1 if disk else None)
        else:
            for chunk in buffer.unsent():
                assert chunk.octets == b"%d" % chunk.sequence
                buffer.put_back()
                break
    # The connection comes back and stays: all of it arrives.
    buffer.resume(len(disk) - 1 if disk else None)
    wire.clear()
    while len(disk) < stored:
        wire += [chunk.sequence for chunk in buffer.unsent()]
        assert wire, "the station has stopped"
        deliver(len(wire))
        buffer.acknowledge(len(disk) - 1)
    assert disk == list(range(stored))
    assert buffer.lost == 0
    assert len(buffer) == 0 or buffer.acknowledged == stored - 1


def test_a_full_buffer_gives_up_the_oldest_and_counts() -> None:
    buffer = StationBuffer("s", capacity=100)
    for number in range(15):
        buffer.put(number, bytes(10))
    assert (len(buffer), buffer.octets, buffer.lost) == (10, 100, 5)
    assert [chunk.sequence for chunk in buffer.unsent()] == list(range(5, 15))
    buffer.put(15, bytes(10))
    assert buffer.lost == 6
    assert [chunk.sequence for chunk in buffer.unsent()] == [15]
    with pytest.raises(LocalError, match="0 octets"):
        StationBuffer("s", capacity=0)


def test_no_more_than_the_window_is_under_way() -> None:
    buffer = StationBuffer("s")
    for number in range(3 * WINDOW):
        buffer.put(number, b"x")
    assert len(list(buffer.unsent())) == WINDOW
    assert not list(buffer.unsent())
    buffer.acknowledge(9)
    assert [chunk.sequence for chunk in buffer.unsent()] == list(range(WINDOW, WINDOW + 10))


def test_positions_that_cannot_be_are_not_believed() -> None:
    buffer = StationBuffer("s")
    for number in range(5):
        buffer.put(number, b"x")
    list(buffer.unsent())
    buffer.acknowledge(1_000_000)
    buffer.resume(77)
    assert len(buffer) == 5
    assert [chunk.sequence for chunk in buffer.unsent()] == [0, 1, 2, 3, 4]
