"""The station's end of the link: a ZeroMQ ROUTER that hands out chunks and takes uplink.

One `receive` at a time is served: the one that said HELLO last.  Uplink is taken from any client.
Each carrier down is a stream of its own, with a buffer of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import zmq

from protocols.bus.access import literal_endpoint
from protocols.bus.link import (
    LINK_VERSION,
    WINDOW,
    Acknowledge,
    Hello,
    State,
    build_chunk,
    build_radiated,
    build_state,
    parse_to_station,
)
from protocols.bus.messages import RadiatedMessage, UplinkMessage
from protocols.errors import RemoteError
from spacecraft_sim.adapters.curve import StationKeys, require_loopback
from spacecraft_sim.station_buffer import StationBuffer

_LARGEST_MESSAGE = 1 << 20


class ZmqStation:
    """keys: of the station; None: LocalError for an endpoint that is not loopback.

    Binds at once; `exchange` does everything that is to be done now and never blocks longer
    than asked."""

    def __init__(
        self,
        endpoint: str,
        buffer: StationBuffer,
        keys: StationKeys | None = None,
        others: Sequence[StationBuffer] = (),
    ) -> None:
        if keys is None:
            require_loopback(endpoint)
        endpoint = literal_endpoint(endpoint)
        self._buffers = (buffer, *others)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        # A client whose connection died must not stop the others: what cannot be routed raises
        # and stays in the buffer.
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.SNDHWM, 2 * WINDOW)
        self._socket.setsockopt(zmq.RCVHWM, 2 * WINDOW)
        self._socket.setsockopt(zmq.MAXMSGSIZE, _LARGEST_MESSAGE)
        try:
            if keys is not None:
                keys.secure(self._context, self._socket)
            if "[" in endpoint:
                self._socket.setsockopt(zmq.IPV6, 1)
            self._socket.bind(endpoint)
        except zmq.ZMQError:
            self.close()
            raise
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._keys = keys
        self._client: bytes | None = None
        self.malformed = 0
        self.chunks_sent = 0

    @property
    def connected(self) -> bool:
        return self._client is not None

    def exchange(self, timeout_s: float) -> list[UplinkMessage]:
        """Send what may be sent, wait up to `timeout_s` for messages, return uplink requests."""
        if self._keys is not None and self._keys.changed():
            # Every connection ends; who is trusted comes again, and says HELLO.
            self._keys.renew(self._socket, self.endpoint)
        self._send_chunks()
        uplink: list[UplinkMessage] = []
        if not self._socket.poll(max(0, round(1000 * timeout_s))):
            return uplink
        # Bounded, so that a flood of messages cannot stop the spacecraft's time.
        for _ in range(4 * WINDOW):
            try:
                address, *frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            if self._keys is not None and not (frames and self._keys.trusts(frames[0])):
                continue
            client = address.bytes
            try:
                message = parse_to_station([frame.bytes for frame in frames])
            except RemoteError:
                self.malformed += 1
                continue
            if isinstance(message, Hello):
                self._greet(client, message)
            elif isinstance(message, Acknowledge):
                for buffer in self._buffers:
                    if message.stream == buffer.stream and client == self._client:
                        buffer.acknowledge(message.sequence)
            else:
                uplink.append(message)
        self._send_chunks()
        return uplink

    def _greet(self, client: bytes, hello: Hello) -> None:
        if hello.version != LINK_VERSION:
            self.malformed += 1
            return
        self._client = client
        for buffer in self._buffers:
            buffer.resume(hello.resume.get(buffer.stream))

    def _send(self, parts: list[bytes]) -> bool:
        if self._client is None:
            return False
        try:
            self._socket.send_multipart([self._client, *parts], zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            # The client has gone; its next HELLO says from where to go on.
            self._client = None
            return False
        return True

    def _send_chunks(self) -> None:
        if self._client is None:
            return
        for buffer in self._buffers:
            for chunk in buffer.unsent():
                if not self._send(build_chunk(chunk)):
                    buffer.put_back()
                    return
                self.chunks_sent += 1

    def send_state(
        self,
        *,
        carrier: bool,
        owlt_s: float,
        station: str = "",
        transmits: bool = True,
        others: Sequence[bool] = (),
    ) -> None:
        """To be called about once a second; others: whether the other carriers are heard."""
        for number, heard in enumerate((carrier, *others)):
            stream, lost, first = (
                self._buffers[number].stream,
                self._buffers[number].lost,
                not number,
            )
            self._send(build_state(State(stream, lost, heard, owlt_s, station, transmits, first)))

    def send_radiated(self, messages: Iterable[RadiatedMessage]) -> None:
        """What does not reach a `receive` that is away is said again when it is asked again."""
        for message in messages:
            self._send(build_radiated(message))

    def close(self) -> None:
        self._socket.close()
        self._context.term()
