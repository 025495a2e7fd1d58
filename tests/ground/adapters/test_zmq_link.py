"""What a station may do wrong on the wire, and what the link makes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import zmq

from ground.adapters.zmq_link import ZmqLink
from ground.config import RunSettings, free_base_port
from ground.ports import LinkChunk, LinkState
from protocols.bus.link import (
    Acknowledge,
    Chunk,
    Hello,
    State,
    build_chunk,
    build_state,
    parse_to_station,
)
from protocols.bus.messages import UplinkMessage
from protocols.identifiers import Carrier


class RawStation:
    """A ROUTER driven by hand."""

    def __init__(self, endpoint: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.bind(endpoint)
        self._client = b""

    def hear(self, link: ZmqLink, kind: type) -> object:
        """The next message of this kind; the link is served meanwhile and gives nothing."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            assert link.receive(0.01) == []
            while self._socket.poll(10):
                self._client, *parts = self._socket.recv_multipart()
                message = parse_to_station(parts)
                if isinstance(message, kind):
                    return message
        raise AssertionError(f"no {kind.__name__}")

    def say(self, parts: list[bytes]) -> None:
        self._socket.send_multipart([self._client, *parts])

    def chunks(self, *sequences: int, stream: str = "s") -> None:
        for sequence in sequences:
            self.say(build_chunk(Chunk(stream, sequence, sequence, bytes([sequence]))))

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def ends() -> Iterator[tuple[RawStation, ZmqLink]]:
    endpoint = RunSettings("", base_port=free_base_port()).link_endpoint  # type: ignore[arg-type]
    station, link = RawStation(endpoint), ZmqLink("downlink", endpoint)
    yield station, link
    link.close()
    station.close()


def take(link: ZmqLink, count: int) -> list[int]:
    found: list[LinkChunk] = []
    deadline = time.monotonic() + 10
    while len(found) < count:
        assert time.monotonic() < deadline
        found += link.receive(0.05)
    return [chunk.sequence for chunk in found]


def test_a_chunk_dropped_on_the_way_is_asked_for_again(ends: tuple[RawStation, ZmqLink]) -> None:
    station, link = ends
    link.open({})
    station.hear(link, Hello)
    station.chunks(0, 1)
    assert take(link, 2) == [0, 1]
    link.acknowledge("s", 1)
    station.hear(link, Acknowledge)
    station.chunks(3, 4, 5)
    hello = station.hear(link, Hello)
    assert isinstance(hello, Hello)
    assert hello.resume == {"s": 1}
    station.chunks(6, 2, 3, 4, 5, 6)
    assert take(link, 5) == [2, 3, 4, 5, 6]
    assert link.statistics().gaps == 1


def test_chunks_that_the_station_has_forgotten_are_passed_over(
    ends: tuple[RawStation, ZmqLink],
) -> None:
    station, link = ends
    link.open({})
    station.hear(link, Hello)
    station.chunks(0)
    assert take(link, 1) == [0]
    station.chunks(5, 6)
    station.hear(link, Hello)
    station.chunks(5, 6, 7)
    assert take(link, 3) == [5, 6, 7]
    station.say(build_state(State("s", 4, True, 1.5)))
    deadline = time.monotonic() + 10
    while link.statistics().lost_chunks != 4:
        assert time.monotonic() < deadline
        link.receive(0.02)
    assert (link.statistics().carrier, link.statistics().owlt_s) == (True, 1.5)


def test_uplink_is_handed_over_whether_or_not_the_station_transmits(
    ends: tuple[RawStation, ZmqLink],
) -> None:
    """Its time may be yet to come: the station decides, and says what became of it."""
    station, link = ends
    link.open({})
    station.hear(link, Hello)
    for number, state in enumerate(
        (
            State("s", 0, True, 1.5, "Yeoju", True),
            State("s", 0, False, 1.5, "", False),
            State("s", 0, True, 1.5, "DSS-56 Madrid", True),
        )
    ):
        station.say(build_state(state))
        deadline = time.monotonic() + 10
        detail = f"tracked by {state.station}" if state.station else ""
        while link.statistics().state is not LinkState.OK or link.statistics().detail != detail:
            assert time.monotonic() < deadline
            link.receive(0.02)
        message = UplinkMessage(f"command-{number}", "command", Carrier.COMMAND, b"octets", 1, 2)
        assert link.send(message)
        assert station.hear(link, UplinkMessage) == message


def test_repeated_chunks_are_dropped_and_acknowledged_again(
    ends: tuple[RawStation, ZmqLink],
) -> None:
    station, link = ends
    link.open({"s": 9})
    station.hear(link, Hello)
    station.chunks(8)
    again = station.hear(link, Acknowledge)
    assert again == Acknowledge("s", 9)
    # Taken but not on disk: dropped, and not acknowledged before it is.
    station.chunks(10, 10, 11)
    assert take(link, 2) == [10, 11]
    assert link.statistics().repeated_chunks == 2
    link.acknowledge("s", 11)
    assert station.hear(link, Acknowledge) == Acknowledge("s", 11)


def test_noise_from_the_station_is_counted(ends: tuple[RawStation, ZmqLink]) -> None:
    station, link = ends
    link.open({})
    station.hear(link, Hello)
    for noise in ([b""], [b"CHUNK"], [b"CHUNK", b"\xc1", b""], [b"STATE", b"\x80"], [b"x"] * 40):
        station.say(noise)
    station.chunks(0)
    assert take(link, 1) == [0]
    assert link.statistics().malformed == 5
    assert link.statistics().state is LinkState.OK


def test_a_new_run_of_the_station_is_a_new_stream(ends: tuple[RawStation, ZmqLink]) -> None:
    station, link = ends
    link.open({"s": 9})
    station.hear(link, Hello)
    station.chunks(0, 1, stream="s2")
    assert take(link, 2) == [0, 1]
