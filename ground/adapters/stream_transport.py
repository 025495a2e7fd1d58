"""Bundles over TCP by STCP or MTCP: one way on each connection, nothing acknowledged.

We connect to neighbours that we send to; whoever connects to us is read.  These layers do not say
who speaks: a bundle's previous-node block does, if it has one.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector
from typing import Any, Final

from ground.adapters.sockets import (
    Address,
    address_of,
    connect_error,
    connecting,
    listening,
    send_some,
)
from ground.ports import (
    BundleArrived,
    BundleFailed,
    BundleSent,
    LinkState,
    LinkStatistics,
    PeerDown,
    PeerUp,
    TransportEvent,
)
from protocols.dtn.simple_layers import Framing, StreamFramer, framed
from protocols.errors import LocalError, RemoteError

_RECEIVE_OCTETS: Final = 1 << 18
#: Octets that wait for a slow peer before it is given no more bundles.
_WAITING_OCTETS: Final = 4 << 20
_WINDOW: Final = 256
_RETRY_S: Final = 2.0
#: Until a bundle that found no room is offered again; its connection is not read till then.
_AGAIN_S: Final = 1.0
#: Connections that are read, and of one address: more are closed at once.
_READERS: Final = 64
_PER_ADDRESS: Final = 16
#: A peer in the middle of a bundle that says nothing for so long has stalled; one that is between
#: bundles may be silent, but gives way where all are taken.
_STALLED_S: Final = 60.0
#: Octets of bundles that are not whole, of all peers together; beyond, whoever holds most of them
#: is let go.
_INCOMING_OCTETS: Final = 2 << 30


@dataclass(eq=False)
class _Sender:
    """A neighbour that we send to.  ends: (position of a bundle's last octet, its token)."""

    number: int
    address: Address
    sock: socket.socket | None = None
    up: bool = False
    next_s: float = 0.0
    detail: str = ""
    output: list[bytes | memoryview] = field(default_factory=list[bytes | memoryview])
    queued: int = 0
    written: int = 0
    ends: list[tuple[int, Any]] = field(default_factory=list[tuple[int, Any]])
    bundles: int = 0
    reconnects: int = 0


@dataclass(eq=False)
class _Reader:
    """A connection that was made to us.  held: bundles that found no room."""

    sock: socket.socket
    framer: StreamFramer
    held: list[bytes] = field(default_factory=list[bytes])
    again_s: float = 0.0
    reading: bool = True
    host: str = ""
    heard_s: float = 0.0
    bundles: int = 0
    octets: int = 0


class StreamTransport:
    """connect: address by neighbour's number."""

    def __init__(
        self,
        framing: Framing,
        *,
        listen: Address | None = None,
        connect: dict[int, Address] | None = None,
    ) -> None:
        self.name = str(framing)
        self.events: list[TransportEvent] = []
        self.listening: Address | None = None
        self._framing = framing
        self._listen = listen
        self._senders = {n: _Sender(n, address) for n, address in (connect or {}).items()}
        self._readers: list[_Reader] = []
        self._selector: BaseSelector | None = None
        self._listener: socket.socket | None = None
        self.damaged = 0

    @property
    def _registry(self) -> BaseSelector:
        if self._selector is None:
            raise LocalError(f"{self.name} is not open")
        return self._selector

    def open(self, selector: BaseSelector) -> None:
        """See the port."""
        self._selector = selector
        if self._listen is None:
            return
        listener = listening(self.name, self._listen)
        self.listening = listener.getsockname()[:2]
        selector.register(listener, EVENT_READ, self._take_connections)
        self._listener = listener

    def close(self) -> None:
        """See the port."""
        for sender in self._senders.values():
            self._drop(sender, "closed here")
        for reader in list(self._readers):
            self._forget(reader)
        if self._listener is not None:
            self._registry.unregister(self._listener)
            self._listener.close()
            self._listener = None

    # ------------------------------------------------------------ receiving

    def _take_connections(self, mask: int) -> None:
        listener = self._listener
        while listener is not None:
            try:
                sock, _ = listener.accept()
            except OSError:
                # Nobody any more, or no descriptor left: the node goes on with those it has.
                return
            host, now_s = address_of(sock), time.monotonic()
            if not self._has_room(host, now_s):
                sock.close()
                continue
            sock.setblocking(False)
            reader = _Reader(sock, StreamFramer(self._framing), host=host, heard_s=now_s)
            self._readers.append(reader)
            self._registry.register(
                sock, EVENT_READ, lambda mask, reader=reader: self._read(reader)
            )

    def _has_room(self, host: str, now_s: float) -> bool:
        """For one more connection, whoever it is; the longest silent may have to go for it."""
        if not host or sum(reader.host == host for reader in self._readers) >= _PER_ADDRESS:
            return False
        if len(self._readers) < _READERS:
            return True
        silent = [r for r in self._readers if r.reading and now_s - r.heard_s > _STALLED_S]
        if silent:
            self._forget(min(silent, key=lambda reader: reader.heard_s))
        return len(self._readers) < _READERS

    def _read(self, reader: _Reader) -> None:
        try:
            octets = reader.sock.recv(_RECEIVE_OCTETS)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        try:
            bundles = reader.framer.push(octets)
        except RemoteError:
            bundles = []
        reader.octets += len(octets)
        reader.heard_s = time.monotonic()
        self._arrived(reader, bundles)
        # What is no frame cannot be followed by one.
        self.damaged += reader.framer.damaged
        if not octets or reader.framer.damaged:
            self._forget(reader)
        elif sum(one.framer.held for one in self._readers) > _INCOMING_OCTETS:
            self._forget(max(self._readers, key=lambda one: one.framer.held))

    def _arrived(self, reader: _Reader, bundles: list[bytes]) -> None:
        for octets in bundles:
            reader.bundles += 1
            self.events.append(BundleArrived(0, octets, (reader, octets)))

    def _forget(self, reader: _Reader) -> None:
        if reader.reading:
            self._registry.unregister(reader.sock)
            reader.reading = False
        reader.sock.close()
        if not reader.held and reader in self._readers:
            self._readers.remove(reader)

    def accept(self, receipt: Any) -> None:
        """Nobody waits to hear it."""

    def refuse(self, receipt: Any) -> None:
        """The peer counts it as sent: it is kept here and offered again, and TCP holds the peer."""
        reader, octets = receipt
        reader.held.append(octets)
        reader.again_s = time.monotonic() + _AGAIN_S
        if reader not in self._readers:
            # Its peer has gone: what it left is kept all the same.
            self._readers.append(reader)
        if reader.reading:
            self._registry.unregister(reader.sock)
            reader.reading = False

    def pause(self, neighbour: int, paused: bool) -> None:
        """Each connection is held back by itself (`refuse`)."""

    # ------------------------------------------------------------ sending

    def window(self, neighbour: int) -> int:
        """See the port."""
        sender = self._senders.get(neighbour)
        if sender is None or not sender.up or sender.queued - sender.written > _WAITING_OCTETS:
            return 0
        return _WINDOW - len(sender.ends)

    def send(self, neighbour: int, token: Any, segments: Sequence[bytes | memoryview]) -> None:
        """See the port; sent when the kernel has all of it."""
        sender = self._senders[neighbour]
        total = sum(map(len, segments))
        head = framed(self._framing, total)
        sender.output += [head, *segments]
        sender.queued += len(head) + total
        sender.ends.append((sender.queued, token))

    def _connect(self, sender: _Sender) -> None:
        sock, why = connecting(sender.address)
        if sock is None:
            self._drop(sender, why)
            return
        sender.sock = sock
        self._registry.register(
            sock, EVENT_READ | EVENT_WRITE, lambda mask: self._ready(sender, mask)
        )

    def _ready(self, sender: _Sender, mask: int) -> None:
        sock = sender.sock
        if sock is None:
            return
        if why := connect_error(sock):
            self._drop(sender, why)
        elif not sender.up and mask & EVENT_WRITE:
            sender.up, sender.detail = True, ""
            self.events.append(PeerUp(sender.number))
            self._registry.modify(sock, EVENT_READ, self._registry.get_key(sock).data)
        elif mask & EVENT_READ:
            try:
                if not sock.recv(4_096):
                    self._drop(sender, "the peer closed the connection")
            except BlockingIOError:
                pass
            except OSError as error:
                self._drop(sender, str(error.strerror))
        if mask & EVENT_WRITE:
            self._write(sender)

    def _write(self, sender: _Sender) -> None:
        output, sock = sender.output, sender.sock
        if not sender.up or sock is None:
            return
        try:
            while output and (written := send_some(sock, output)) is not None:
                sender.written += written
        except OSError as error:
            self._drop(sender, str(error.strerror))
            return
        while sender.ends and sender.ends[0][0] <= sender.written:
            sender.bundles += 1
            self.events.append(BundleSent(sender.ends.pop(0)[1]))
        mask = EVENT_READ | (EVENT_WRITE if output else 0)
        key = self._registry.get_key(sock)
        if key.events != mask:
            self._registry.modify(sock, mask, key.data)

    def _drop(self, sender: _Sender, why: str) -> None:
        if sender.sock is not None:
            with contextlib.suppress(KeyError):
                self._registry.unregister(sender.sock)
            sender.sock.close()
            sender.sock = None
        if sender.up:
            self.events.append(PeerDown(sender.number, why))
            sender.reconnects += 1
        self.events += [BundleFailed(token, False) for _, token in sender.ends]
        sender.ends.clear()
        sender.output.clear()
        sender.queued = sender.written = 0
        sender.up, sender.detail = False, why
        sender.next_s = time.monotonic() + _RETRY_S

    # ------------------------------------------------------------ the rest of the port

    def turn(self) -> None:
        """See the port."""
        now_s = time.monotonic()
        for sender in self._senders.values():
            if sender.sock is None and now_s >= sender.next_s:
                self._connect(sender)
            self._write(sender)
        for reader in list(self._readers):
            stalled = reader.reading and reader.framer.held
            if stalled and now_s - reader.heard_s > _STALLED_S:
                self._forget(reader)
                continue
            if reader.held and now_s >= reader.again_s:
                held, reader.held = reader.held, []
                self.events += [BundleArrived(0, octets, (reader, octets)) for octets in held]
            elif not reader.held and not reader.reading:
                if reader.sock.fileno() < 0:
                    self._readers.remove(reader)
                    continue
                reader.reading = True
                self._registry.register(
                    reader.sock, EVENT_READ, lambda mask, reader=reader: self._read(reader)
                )

    def wait_s(self) -> float | None:
        """See the port."""
        times = [s.next_s for s in self._senders.values() if s.sock is None]
        times += [r.heard_s + _STALLED_S for r in self._readers if r.reading and r.framer.held]
        times += [reader.again_s for reader in self._readers if reader.held]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def statistics(self) -> tuple[LinkStatistics, ...]:
        """See the port."""
        return (
            *(
                LinkStatistics(
                    name=f"{self.name} ipn:{s.number}.0",
                    state=LinkState.OK if s.up else LinkState.UNAVAILABLE,
                    detail=s.detail,
                    chunks_out=s.bundles,
                    octets_out=s.written,
                    reconnects=s.reconnects,
                    carrier=s.up,
                )
                for s in self._senders.values()
            ),
            *(
                LinkStatistics(
                    name=f"{self.name} from a peer",
                    state=LinkState.OK,
                    detail="held back" if reader.held else "",
                    chunks_in=reader.bundles,
                    octets_in=reader.octets,
                    malformed=self.damaged,
                    carrier=True,
                )
                for reader in self._readers
            ),
        )
