"""What every `Link` adapter does."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from ground.adapters.loopback import LoopbackLink, LoopbackStation
from ground.adapters.zmq_link import ZmqLink
from ground.config import RunSettings, free_base_port
from ground.ports import Link, LinkChunk, LinkState
from protocols.bus.messages import RadiatedMessage, UplinkMessage
from protocols.identifiers import Carrier
from spacecraft_sim.adapters.curve import StationKeys
from spacecraft_sim.adapters.zmq_link import ZmqStation
from spacecraft_sim.passes import AlwaysTracking
from spacecraft_sim.station_buffer import StationBuffer
from spacecraft_sim.station_uplink import StationUplink
from tests.site_keys import keyring, make_keys

PATIENCE_S = 10.0


class Station(Protocol):
    """The other end, as the tests drive it."""

    stream: str

    def put(self, octets: bytes, ert_ns: int) -> None: ...

    def leave(self) -> None:
        """Stop, keeping what is not acknowledged."""
        ...

    def come_back(self) -> None: ...

    def uplink(self) -> list[bytes]: ...

    def unacknowledged(self) -> int: ...

    def link(self) -> Link: ...

    def close(self) -> None: ...


class LoopbackEnd:
    def __init__(self, stream: str) -> None:
        self.stream = stream
        self._station = LoopbackStation(stream)

    def put(self, octets: bytes, ert_ns: int) -> None:
        self._station.put(octets, ert_ns)

    def leave(self) -> None:
        self._station.present = False

    def come_back(self) -> None:
        self._station.present = True

    def uplink(self) -> list[bytes]:
        return list(self._station.uplink)

    def unacknowledged(self) -> int:
        return len(self._station.held)

    def link(self) -> Link:
        return LoopbackLink("downlink", self._station)

    def close(self) -> None: ...


class ZmqEnd:
    """The simulator's own station, in a thread that alone touches its socket and buffer."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self._buffer = StationBuffer(stream)
        self._endpoint = RunSettings("", base_port=free_base_port()).link_endpoint  # type: ignore[arg-type]
        self._lock = threading.Lock()
        self._uplink: list[bytes] = []
        rates = dict.fromkeys(Carrier, 10**9)
        self._transmitters = StationUplink(AlwaysTracking(), rates)
        self._thread: threading.Thread | None = None
        self.come_back()

    def _run(self, station: ZmqStation) -> None:
        state_s = 0.0
        while not self._stop.is_set():
            with self._lock:
                for message in station.exchange(0.005):
                    self._transmitters.request(message.earliest_ns, message)
                for radiation in self._transmitters.advance(1 << 62):
                    self._uplink.append(radiation.uplink.octets)
                station.send_radiated(self._transmitters.answers())
                if time.monotonic() - state_s > 0.2:
                    state_s = time.monotonic()
                    station.send_state(carrier=True, owlt_s=499.0)
            time.sleep(0.001)
        station.close()

    def put(self, octets: bytes, ert_ns: int) -> None:
        with self._lock:
            self._buffer.put(ert_ns, octets)

    def leave(self) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None

    def come_back(self) -> None:
        self._stop = threading.Event()
        station = ZmqStation(self._endpoint, self._buffer, self._station_keys())
        self._thread = threading.Thread(target=self._run, args=(station,))
        self._thread.start()

    def uplink(self) -> list[bytes]:
        with self._lock:
            return list(self._uplink)

    def unacknowledged(self) -> int:
        with self._lock:
            return len(self._buffer)

    def _station_keys(self) -> StationKeys | None:
        return None

    def link(self) -> Link:
        return ZmqLink("downlink", self._endpoint)

    def close(self) -> None:
        self.leave()


class CurveEnd(ZmqEnd):
    """The same with keys: authenticated and encrypted."""

    def __init__(self, stream: str) -> None:
        self._scratch = tempfile.TemporaryDirectory()
        self._keys = Path(self._scratch.name)
        make_keys(self._keys, "receive", "spacecraft_sim")
        super().__init__(stream)

    def _station_keys(self) -> StationKeys:
        return StationKeys(self._keys)

    def link(self) -> Link:
        return ZmqLink("downlink", self._endpoint, keyring=keyring(self._keys, "receive"))

    def close(self) -> None:
        super().close()
        self._scratch.cleanup()


ENDS: dict[str, Callable[[str], Station]] = {
    "curve": CurveEnd,
    "loopback": LoopbackEnd,
    "zmq": ZmqEnd,
}


@pytest.fixture(params=sorted(ENDS))
def station(request: pytest.FixtureRequest) -> Iterator[Station]:
    end = ENDS[request.param]("run-1")
    yield end
    end.close()


@pytest.fixture
def link(station: Station) -> Iterator[Link]:
    link = station.link()
    yield link
    link.close()


def up(octets: str) -> UplinkMessage:
    return UplinkMessage(octets, "command", Carrier.COMMAND, octets.encode(), 1, 10**9)


def take(link: Link, count: int, *, acknowledge: bool = True) -> list[LinkChunk]:
    found: list[LinkChunk] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} chunks"
        chunks = link.receive(0.02)
        found += chunks
        if chunks and acknowledge:
            link.acknowledge(chunks[-1].stream, chunks[-1].sequence)
    return found


def until(condition: Callable[[], bool], link: Link) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        assert link.receive(0.02) == []


def test_chunks_come_in_order_each_once(station: Station, link: Link) -> None:
    link.open({})
    for number in range(1000):
        station.put(bytes([number % 256]) * 10, ert_ns=number)
    chunks = take(link, 1000)
    assert [chunk.sequence for chunk in chunks] == list(range(1000))
    assert [chunk.ert_ns for chunk in chunks] == list(range(1000))
    assert all(chunk.octets == bytes([chunk.sequence % 256]) * 10 for chunk in chunks)
    assert {chunk.stream for chunk in chunks} == {"run-1"}
    assert link.receive(0.1) == []
    statistics = link.statistics()
    assert (statistics.chunks_in, statistics.octets_in) == (1000, 10_000)
    assert (statistics.state, statistics.last_ert_ns) == (LinkState.OK, 999)


def test_acknowledged_chunks_are_forgotten_by_the_station(station: Station, link: Link) -> None:
    link.open({})
    for number in range(10):
        station.put(b"x", ert_ns=number)
    take(link, 10, acknowledge=False)
    assert station.unacknowledged() == 10
    link.acknowledge("run-1", 6)
    until(lambda: station.unacknowledged() == 3, link)


def test_what_was_not_acknowledged_comes_again_to_the_next(station: Station, link: Link) -> None:
    link.open({})
    for number in range(10):
        station.put(bytes([number]), ert_ns=number)
    take(link, 10, acknowledge=False)
    link.acknowledge("run-1", 3)
    until(lambda: station.unacknowledged() == 6, link)
    link.close()
    again = station.link()
    again.open({"run-1": 3})
    assert [chunk.sequence for chunk in take(again, 6)] == [4, 5, 6, 7, 8, 9]
    again.close()


def test_what_is_on_disk_is_not_sent_even_if_unacknowledged(station: Station, link: Link) -> None:
    for number in range(10):
        station.put(bytes([number]), ert_ns=number)
    link.open({"run-1": 7, "an older run": 1000})
    assert [chunk.sequence for chunk in take(link, 2)] == [8, 9]


def test_a_station_that_goes_and_comes_back_loses_nothing(station: Station, link: Link) -> None:
    link.open({})
    station.put(b"a", ert_ns=1)
    take(link, 1)
    station.leave()
    until(lambda: link.statistics().state is LinkState.UNAVAILABLE, link)
    assert not link.statistics().carrier
    station.put(b"b", ert_ns=2)
    station.come_back()
    assert [(c.sequence, c.octets) for c in take(link, 1)] == [(1, b"b")]
    assert link.statistics().state is LinkState.OK


def test_a_disabled_link_takes_nothing_and_forgets_nothing(station: Station, link: Link) -> None:
    link.open({})
    station.put(b"a", ert_ns=1)
    take(link, 1)
    link.disable()
    assert link.statistics().state is LinkState.DISABLED
    station.put(b"b", ert_ns=2)
    assert link.receive(0.2) == []
    assert not link.send(up("disabled"))
    link.enable()
    assert [c.octets for c in take(link, 1)] == [b"b"]
    assert link.statistics().chunks_in == 2


def test_uplink_reaches_the_station(station: Station, link: Link) -> None:
    assert not link.send(up("too early"))
    link.open({})
    station.put(b"a", ert_ns=1)
    take(link, 1)
    for name in ("one", "two"):
        assert link.send(up(name))
    until(lambda: len(station.uplink()) == 2, link)
    assert station.uplink() == [b"one", b"two"]
    statistics = link.statistics()
    assert (statistics.chunks_out, statistics.octets_out) == (2, 6)


def test_uplink_said_again_goes_up_once_and_is_answered_alike(station: Station, link: Link) -> None:
    link.open({})
    station.put(b"a", ert_ns=1)
    take(link, 1)
    fates: list[RadiatedMessage] = []

    def told(count: int) -> None:
        def enough() -> bool:
            fates.extend(link.radiated())
            return len(fates) >= count

        until(enough, link)

    assert link.send(up("one"))
    told(1)
    again = station.link()
    again.open({"run-1": 0})
    station.put(b"b", ert_ns=2)
    take(again, 1)
    link.close()
    link = again
    assert link.send(up("one"))
    assert link.send(up("two"))
    told(3)
    assert station.uplink() == [b"one", b"two"]
    assert [(fate.id, fate.service, fate.refused) for fate in fates] == [
        ("one", "command", ""),
        ("one", "command", ""),
        ("two", "command", ""),
    ]
    assert fates[0] == fates[1]
    assert fates[0].start_ns == 1
    link.close()


def test_receive_waits_no_longer_than_asked(link: Link) -> None:
    link.open({})
    began = time.monotonic()
    assert link.receive(0.05) == []
    assert 0.045 <= time.monotonic() - began < 2


def test_each_carrier_is_a_stream_of_its_own() -> None:
    """Both come, each is acknowledged for itself, and what the link says is the first one's."""
    buffers = StationBuffer("run"), StationBuffer("run/optical")
    station = ZmqStation("tcp://127.0.0.1:*", buffers[0], others=buffers[1:])
    link = ZmqLink("downlink", station.endpoint)
    try:
        for number in range(5):
            buffers[0].put(number, b"x%d" % number)
            buffers[1].put(number, b"o%d" % number)
        link.open({"run/optical": 1})
        found: list[LinkChunk] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(found) < 8 or not link.statistics().carrier:
            assert time.monotonic() < deadline
            station.exchange(0.02)
            station.send_state(carrier=True, owlt_s=499.0, station="Yeoju", others=[False])
            found += link.receive(0.02)
        assert [c.octets for c in found if c.stream == "run"] == [b"x%d" % n for n in range(5)]
        assert [c.octets for c in found if c.stream != "run"] == [b"o2", b"o3", b"o4"]
        assert link.statistics().detail == "tracked by Yeoju"
        link.acknowledge("run/optical", 4)
        while len(buffers[1]):
            assert time.monotonic() < deadline
            station.exchange(0.02)
        assert len(buffers[0]) == 5
    finally:
        link.close()
        station.close()
