"""`Link` to a station over ZeroMQ: DEALER here, ROUTER at the station (`protocols/bus/link.py`).

The station keeps each chunk until it is acknowledged and sends at most a window of them ahead, so
that every buffer is bounded.  A HELLO names the last chunk of each stream that is on disk here;
whatever the station sent before it and did not arrive, it sends again.
"""

from __future__ import annotations

import time
from collections import Counter

import zmq
from zmq.utils.monitor import parse_monitor_message

from ground.curve import Curve
from ground.keyring import Keyring
from ground.ports import LinkChunk, LinkState, LinkStatistics
from protocols.bus.link import (
    LINK_VERSION,
    WINDOW,
    Chunk,
    State,
    build_acknowledge,
    build_hello,
    build_uplink,
    parse_downlink,
)
from protocols.bus.messages import RadiatedMessage, UplinkMessage
from protocols.errors import LocalError, RemoteError

#: The station says how it is about once a second; after so long without a word it is away.
SILENCE_S = 3.0
#: A HELLO that nothing answers is repeated.
HELLO_S = 0.5
#: Where chunks keep coming, whether there still is a connection is asked this often.
WATCH_S = 0.005
#: A chunk is some frames; with the window it bounds what the socket holds.
MAX_CHUNK_OCTETS = 1024 * 1024


class ZmqLink:
    """See `Link`.  Nothing is connected before `open`.

    station: whose key the other end must have where keyring, our keys, is given.
    """

    def __init__(
        self,
        name: str,
        endpoint: str,
        *,
        station: str = "spacecraft_sim",
        keyring: Keyring | None = None,
    ) -> None:
        self._name = name
        self._endpoint = endpoint
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._curve = Curve(self._context, keyring)
            self._curve.require(endpoint, station)
        except LocalError:
            self._context.term()
            raise
        self._station = station
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._poller = zmq.Poller()
        self._connected = False
        # By stream: last chunk given to the caller, and last that the caller has on disk.
        self._taken: dict[str, int] = {}
        self._on_disk: dict[str, int] = {}
        self._counts: Counter[str] = Counter()
        self._state = LinkState.UNAVAILABLE
        self._detail = "not opened"
        self._enabled = True
        self._last_ert_ns = 0
        # By stream, as the station says; few: one a run of the station.
        self._lost: dict[str, int] = {}
        self._carrier = False
        self._owlt_s = -1.0
        self._transmits = True
        self._radiated: list[RadiatedMessage] = []
        self._heard_s = 0.0
        self._hello_s = 0.0
        self._watched_s = 0.0
        self._connected_before = False
        # Streams of which something has come since the first HELLO of this connection.
        self._begun: set[str] = set()
        # Streams with a gap: highest chunk seen behind it.
        self._behind_gap: dict[str, int] = {}

    def open(self, resume: dict[str, int]) -> None:
        self._taken, self._on_disk = dict(resume), dict(resume)
        if self._enabled:
            self._connect()

    def _connect(self) -> None:
        socket = self._context.socket(zmq.DEALER)
        socket.set_hwm(2 * WINDOW)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_CHUNK_OCTETS + 4096)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        # Only the monitor says whether there is a connection.  (ZMQ_IMMEDIATE would keep messages
        # from being queued for a station that is away, but with it libzmq 4.3.5 drops the pipe
        # under a half-read multipart message and aborts: "!_more", fq.cpp.)
        monitor = socket.get_monitor_socket(zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED)
        self._curve.connect(socket, self._endpoint, self._station)
        self._socket, self._monitor = socket, monitor
        self._poller = zmq.Poller()
        self._poller.register(socket, zmq.POLLIN)
        self._poller.register(monitor, zmq.POLLIN)
        self._state, self._detail = LinkState.UNAVAILABLE, f"no word from {self._endpoint} yet"
        self._heard_s = self._hello_s = 0.0

    # ------------------------------------------------------------ downlink

    def receive(self, timeout_s: float) -> list[LinkChunk]:
        now_s = time.monotonic()
        end_s = now_s + timeout_s
        while True:
            chunks = self._drain(now_s)
            now_s = time.monotonic()
            if chunks or now_s >= end_s:
                return chunks
            wait_s = min(end_s - now_s, HELLO_S)
            if self._socket is None:
                # Disabled: the caller's turn lasts as long as ever.
                time.sleep(wait_s)
            else:
                self._poller.poll(max(1, round(wait_s * 1000)))

    def _drain(self, now_s: float) -> list[LinkChunk]:
        if self._socket is None:
            return []
        self._curve.refresh()
        if not self._connected or now_s - self._watched_s >= WATCH_S:
            self._watched_s = now_s
            self._watch_connection()
            self._greet()
        chunks: list[LinkChunk] = []
        while len(chunks) < WINDOW:
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            try:
                message = parse_downlink(parts)
            except RemoteError as error:
                self._counts["malformed"] += 1
                self._detail = f"the station sent what is no message: {error}"
                continue
            self._heard()
            if isinstance(message, State):
                self._take_state(message)
            elif isinstance(message, RadiatedMessage):
                self._radiated.append(message)
            else:
                chunk = self._take_chunk(message)
                if chunk is not None:
                    chunks.append(chunk)
        return chunks

    def _take_chunk(self, message: Chunk) -> LinkChunk | None:
        stream, last = message.stream, self._taken.get(message.stream, -1)
        if message.sequence <= last:
            # Sent again: our acknowledgement had not reached the station.
            self._counts["repeated_chunks"] += 1
            self._begun.add(stream)
            self._behind_gap.pop(stream, None)
            if message.sequence <= self._on_disk.get(stream, -1):
                self._send(build_acknowledge(stream, self._on_disk[stream]))
            return None
        if message.sequence > last + 1 and stream in self._begun:
            # Dropped on the way: the station is asked to go back, and what it sent before it
            # heard that is not taken.  It goes back when its numbers do; if even then they do
            # not join ours, it has forgotten the chunks between (and counts them as lost).
            seen = self._behind_gap.get(stream)
            if seen is None:
                self._counts["gaps"] += 1
                self._hello()
            if seen is None or message.sequence > seen:
                self._behind_gap[stream] = message.sequence
                return None
        self._behind_gap.pop(stream, None)
        self._begun.add(stream)
        self._taken[message.stream] = message.sequence
        self._counts["chunks_in"] += 1
        self._counts["octets_in"] += len(message.octets)
        self._last_ert_ns = max(self._last_ert_ns, message.ert_ns)
        return LinkChunk(message.stream, message.sequence, message.ert_ns, message.octets)

    def _take_state(self, message: State) -> None:
        self._lost[message.stream] = message.lost_chunks
        if not message.first:
            return
        self._carrier, self._owlt_s = message.carrier, message.owlt_s
        self._transmits = message.transmits
        if self._state is LinkState.OK:
            self._detail = f"tracked by {message.station}" if message.station else ""

    def last(self) -> list[LinkChunk]:
        return []

    def acknowledge(self, stream: str, sequence: int) -> None:
        self._on_disk[stream] = max(sequence, self._on_disk.get(stream, -1))
        self._send(build_acknowledge(stream, self._on_disk[stream]))

    # ------------------------------------------------------------ uplink

    def send(self, uplink: UplinkMessage) -> bool:
        # A station that has no pass takes it, too: its time may be yet to come.
        if self._state is not LinkState.OK or not self._send(build_uplink(uplink)):
            return False
        self._counts["chunks_out"] += 1
        self._counts["octets_out"] += len(uplink.octets)
        return True

    def radiated(self) -> list[RadiatedMessage]:
        radiated, self._radiated = self._radiated, []
        return radiated

    # ------------------------------------------------------------ state

    def _watch_connection(self) -> None:
        assert self._monitor is not None
        while self._monitor.poll(0):
            event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))["event"]
            self._connected = event == zmq.Event.HANDSHAKE_SUCCEEDED
            # A station that was reached anew knows nothing of us, even if it was away so briefly
            # that nobody noticed.
            self._hello_s = 0.0
            if self._state is LinkState.OK:
                self._fall_silent(f"connection to {self._endpoint} lost")

    def _fall_silent(self, detail: str) -> None:
        self._state, self._detail = LinkState.UNAVAILABLE, detail
        self._carrier = False

    def _greet(self) -> None:
        """Say HELLO while the station is silent; notice when it falls silent."""
        now_s = time.monotonic()
        if self._state is LinkState.OK and now_s - self._heard_s > SILENCE_S:
            self._fall_silent(f"no word from {self._endpoint} any more")
        if self._state is LinkState.UNAVAILABLE and now_s - self._hello_s >= HELLO_S:
            self._begun.clear()
            self._behind_gap.clear()
            self._hello()

    def _hello(self) -> None:
        if self._send(build_hello(LINK_VERSION, self._on_disk)):
            self._hello_s = time.monotonic()

    def _heard(self) -> None:
        self._heard_s = time.monotonic()
        # What a lost connection still delivers is taken, but says nothing about a new one.
        if self._state is LinkState.UNAVAILABLE and self._connected:
            if self._connected_before:
                self._counts["reconnects"] += 1
            self._connected_before = True
            self._state, self._detail = LinkState.OK, ""

    def _send(self, parts: list[bytes]) -> bool:
        if self._socket is None or not self._connected:
            return False
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def enable(self) -> None:
        if not self._enabled:
            self._enabled = True
            self._connect()

    def disable(self) -> None:
        self._enabled = False
        self._disconnect()
        self._state, self._detail = LinkState.DISABLED, "by the operator"

    def _disconnect(self) -> None:
        if self._socket is not None and self._monitor is not None:
            self._socket.disable_monitor()
            self._monitor.close(linger=0)
            self._socket.close()
            self._socket = self._monitor = None
            self._connected = False

    def statistics(self) -> LinkStatistics:
        return LinkStatistics(
            name=self._name,
            state=self._state,
            detail=self._detail,
            last_ert_ns=self._last_ert_ns,
            lost_chunks=sum(self._lost.values()),
            carrier=self._carrier,
            owlt_s=self._owlt_s,
            transmits=self._transmits,
            **{
                name: self._counts[name]
                for name in (
                    "chunks_in",
                    "octets_in",
                    "chunks_out",
                    "octets_out",
                    "reconnects",
                    "repeated_chunks",
                    "gaps",
                    "malformed",
                )
            },
        )

    def close(self) -> None:
        self._disconnect()
        self._state, self._detail = LinkState.UNAVAILABLE, "closed"
        self._context.term()
