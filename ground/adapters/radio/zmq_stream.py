"""ZeroMQ: `zmq://` messages of octets, `zmq-iq://` raw I/Q streams as of GNU Radio's ZMQ sinks.

GNU Radio's PUB and PUSH sinks send a stream's items as they lie in memory, any number in a message,
so that the format has to be said: complex64 unless told.  PUSH holds back where nobody takes; PUB
drops without a word, which only a wire with numbers of its own could notice.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Sequence
from typing import Any, Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from ground.adapters.radio.adapter import Adapter, Block, Face, Malformed, Result, Signal
from ground.adapters.radio.address import Option, choice, number, options
from ground.adapters.radio.octets import CARRIES, FRAME_LENGTH
from ground.adapters.radio.peer import Peer
from ground.curve import require_loopback
from protocols.bus.access import literal_endpoint
from protocols.errors import LocalError
from protocols.physical.samples import SAMPLE_FORMATS, sample_format

CONNECT_S: Final = 1.0
#: Messages that ZeroMQ holds on each side.
HELD: Final = 4096
#: Of one message: libzmq makes room for as much as a sender announces, and has no bound itself.
MAX_MESSAGE_OCTETS: Final = 16 << 20
#: Messages of one read.
_MOST: Final = 256

_PATTERN: Final = Option(choice("sub", "pull"), "sub", "sub to a PUB socket, or pull from a PUSH")
_BIND: Final = Option(choice("yes", "no"), "no", "yes: the other end connects to this address")
_TOPIC: Final = Option(str, "", "only messages that begin so (sub); GNU Radio's key")
_OUT: Final = Option(str, "", "HOST:PORT to transmit at (bound); none: only receives")
_OUT_PATTERN: Final = Option(choice("push", "pub"), "push", "of what is transmitted")

#: GNU Radio's blocks know no CURVE.
_UNPROTECTED: Final = Option(
    choice("yes", "no"), "no", "yes: on a network that is protected otherwise, not loopback"
)


class ZmqAdapter(Adapter):
    """A message is a block."""

    SUMMARY = "messages of octets over ZeroMQ"
    ADDRESS = "zmq://HOST:PORT"
    OPTIONS = options(
        pattern=_PATTERN,
        bind=_BIND,
        topic=_TOPIC,
        out=_OUT,
        out_pattern=_OUT_PATTERN,
        unprotected=_UNPROTECTED,
        frame_length=FRAME_LENGTH,
        carries=CARRIES,
    )
    TRANSMITS = True
    FRAMED = True

    _context: zmq.Context[Any] | None = None

    @property
    def waits(self) -> bool:
        return self.options["pattern"] == "pull"

    @property
    def transmits(self) -> bool:
        return bool(self.options["out"])

    def connect(self) -> None:
        host, port = self.address.host_and_port()
        endpoint = literal_endpoint(f"tcp://{host}:{port}")
        if self.options["unprotected"] == "no":
            out = [f"tcp://{self.options['out']}"] if self.options["out"] else []
            for one in (endpoint, *out):
                require_loopback(
                    one,
                    self.address.text,
                    "unprotected=yes says that the network is (GNU Radio speaks no CURVE)",
                )
        self._context = zmq.Context()
        try:
            self._in = self._context.socket(zmq.SUB if not self.waits else zmq.PULL)
            self._in.setsockopt(zmq.LINGER, 0)
            self._in.set_hwm(HELD)
            self._in.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_OCTETS)
            if not self.waits:
                self._in.subscribe(self.options["topic"])
            self._monitor = self._in.get_monitor_socket(
                zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED
            )
            self._bind_out()
            if self.options["bind"] == "yes":
                self._in.bind(endpoint)
            else:
                self._in.connect(endpoint)
                self._wait_for_connection(endpoint)
        except zmq.ZMQError as error:
            # An address that somebody else has may come free; one that makes no sense never does.
            if error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
                raise OSError(error.errno, str(error)) from error
            raise LocalError(f"{self.address.text}: {error}") from error

    def _bind_out(self) -> None:
        self._out: zmq.Socket[bytes] | None = None
        if self.options["out"]:
            assert self._context is not None
            push = self.options["out_pattern"] == "push"
            self._out = out = self._context.socket(zmq.PUSH if push else zmq.PUB)
            out.setsockopt(zmq.LINGER, 0)
            out.set_hwm(HELD)
            out.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_OCTETS)
            out.bind(literal_endpoint(f"tcp://{self.options['out']}"))

    def _wait_for_connection(self, endpoint: str) -> None:
        if not self._monitor.poll(int(CONNECT_S * 1000)):
            raise TimeoutError(f"nobody answers at {endpoint}")
        self._watch()

    def _watch(self) -> None:
        """ConnectionResetError: the other end has gone (one that connects to us may)."""
        while self._monitor.poll(0):
            event = parse_monitor_message(self._monitor.recv_multipart())["event"]
            if event == zmq.Event.DISCONNECTED and self.options["bind"] == "no":
                raise ConnectionResetError("the other end has closed the connection")

    def disconnect(self) -> None:
        if self._context is not None:
            self._context.destroy(linger=0)
            self._context = None

    def read(self, timeout_s: float) -> Sequence[Result]:
        if not self._in.poll(int(timeout_s * 1000)):
            self._watch()
            return ()
        results: list[Result] = []
        try:
            while len(results) < _MOST:
                results.append(self._result(self._in.recv_multipart(zmq.NOBLOCK)[-1]))
        except zmq.Again:
            pass
        return results

    def _result(self, octets: bytes) -> Result:
        wanted = self.options["frame_length"]
        if not octets or (wanted and len(octets) != wanted):
            return Malformed(
                octets, f"a message of {len(octets)} octets, {wanted or 'some'} wanted"
            )
        return Block(octets)

    def write(self, octets: bytes) -> bool:
        assert self._out is not None
        try:
            self._out.send(octets, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    @classmethod
    def peer(cls) -> Peer:
        return ZmqPeer("zmq")


class ZmqIqAdapter(ZmqAdapter):
    """Samples; a message is any number of them."""

    SUMMARY = "raw I/Q streams over ZeroMQ, as of GNU Radio's ZMQ sinks"
    ADDRESS = "zmq-iq://HOST:PORT"
    FACE = Face.SAMPLES
    FRAMED = False
    OPTIONS = options(
        pattern=_PATTERN,
        bind=_BIND,
        topic=_TOPIC,
        out=_OUT,
        out_pattern=_OUT_PATTERN,
        unprotected=_UNPROTECTED,
        format=Option(choice(*SAMPLE_FORMATS), "cf32_le", f"one of {', '.join(SAMPLE_FORMATS)}"),
        rate=Option(number, 0.0, "samples a second, as the sender sends; 0: not known"),
        freq=Option(number, 0.0, "centre frequency, Hz; 0: not known"),
    )

    def connect(self) -> None:
        chosen = self.options
        self.signal = Signal(sample_format(chosen["format"]), chosen["rate"], chosen["freq"])
        super().connect()

    def _result(self, octets: bytes) -> Result:
        assert self.signal is not None
        size = self.signal.format.octets
        if not octets or len(octets) % size:
            return Malformed(octets, f"{len(octets)} octets, no whole samples of {size}")
        return Block(octets)

    @classmethod
    def peer(cls) -> Peer:
        return ZmqPeer("zmq-iq")


class ZmqPeer(Peer):
    """A PUB socket that knows when somebody has subscribed, and a PULL socket."""

    can_leave = can_garble = True

    def __init__(self, scheme: str) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._in = self._context.socket(zmq.PULL)
        self._in.set_hwm(HELD)
        self._out = self._publisher()
        port = self._out.bind_to_random_port("tcp://127.0.0.1")
        self._endpoint = f"tcp://127.0.0.1:{port}"
        # Of the adapter's own; free a moment ago.
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            back = probe.getsockname()[1]
        self._in.connect(f"tcp://127.0.0.1:{back}")
        self.uri = f"{scheme}://127.0.0.1:{port}?out=127.0.0.1:{back}"
        self._received = bytearray()
        self._subscribers = 0

    def _publisher(self) -> zmq.Socket[bytes]:
        out = self._context.socket(zmq.XPUB)
        out.setsockopt(zmq.XPUB_VERBOSER, 1)
        out.set_hwm(HELD)
        return out

    def _wait_for_subscriber(self) -> None:
        deadline = time.monotonic() + 5
        while self._out.poll(0) or not self._subscribers:
            if self._out.poll(50):
                self._subscribers += 1 if self._out.recv()[0] else -1
            elif time.monotonic() > deadline:
                raise TimeoutError("nobody has subscribed")

    def send(self, blocks: Sequence[bytes]) -> None:
        self._wait_for_subscriber()
        for block in blocks:
            self._out.send(block)

    def received(self) -> bytes:
        while self._in.poll(0):
            self._received += self._in.recv()
        return bytes(self._received)

    def let_go(self) -> None:
        deadline = time.monotonic() + 5
        while self._subscribers:
            if self._out.poll(50):
                self._subscribers += 1 if self._out.recv()[0] else -1
            elif time.monotonic() > deadline:
                raise TimeoutError("it is still subscribed")

    def leave(self) -> None:
        self._out.close(linger=0)
        self._subscribers = 0

    def come_back(self) -> None:
        self._out = self._publisher()
        self._out.bind(self._endpoint)

    def garbage(self) -> None:
        self._wait_for_subscriber()
        self._out.send(b"")

    def close(self) -> None:
        self._context.destroy(linger=0)


__all__ = ["ZmqAdapter", "ZmqIqAdapter", "ZmqPeer"]
