"""Bundles over TCP by TCPCL version 4: listens, connects, comes back; TLS by node certificates.

transport = TcpclTransport(settings, listen=("127.0.0.1", 4556), connect=[("127.0.0.1", 4557)])
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector
from typing import Any, Final

from ground.adapters.node_certificate import node_ids
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
from protocols.dtn.eid import eid
from protocols.dtn.tcpcl import (
    Arrived,
    Closed,
    Established,
    Failed,
    Sent,
    SessionEvent,
    StartTls,
    State,
    TcpclSession,
    TcpclSettings,
    TlsPolicy,
)
from protocols.dtn.tcpcl_messages import RefuseReason
from protocols.errors import LocalError

#: Taken off a socket in one call.
_RECEIVE_OCTETS: Final = 1 << 18
#: Octets that wait for a slow peer before it is given no more bundles.
_WAITING_OCTETS: Final = 8 << 20
_SOCKET_OCTETS: Final = 1 << 20
#: Between attempts to connect: doubled from the first to the last.
_RETRY_S: Final = (1.0, 30.0)
#: §9.5: reasons that will be the same next time; after another the peer is left alone for a while.
_FOR_GOOD: Final = frozenset((RefuseReason.NOT_ACCEPTABLE, RefuseReason.EXTENSION_FAILURE))
_HOLD_S: Final = 1.0
#: Connections that were made to us, and of one address, and those that have not said who they are
#: (for `patience_s` at most): more are closed at once.
_CONNECTIONS: Final = 256
_PER_ADDRESS: Final = 16
_STRANGERS: Final = 64
#: Octets of bundles that are not whole, of all peers together; beyond, whoever holds most of them
#: is let go.
_INCOMING_OCTETS: Final = 2 << 30


@dataclass(eq=False)
class _Connection:
    sock: socket.socket
    session: TcpclSession
    target: Address | None
    host: str = ""
    neighbour: int = 0
    connecting: bool = False
    closing: bool = False
    hold_ns: int = 0
    paused: bool = False
    mask: int = 0
    output: list[bytes | memoryview] = field(default_factory=list[bytes | memoryview])
    waiting: int = 0
    tokens: dict[int, Any] = field(default_factory=dict[int, Any])
    tls: ssl.SSLObject | None = None
    shaking: bool = False
    incoming: ssl.MemoryBIO | None = None
    outgoing: ssl.MemoryBIO | None = None
    chunks_in: int = 0
    octets_in: int = 0
    chunks_out: int = 0
    octets_out: int = 0


@dataclass(slots=True)
class _Target:
    """An address that we keep connected."""

    address: Address
    delay_s: float = _RETRY_S[0]
    next_ns: int = 0
    connection: _Connection | None = None
    reconnects: int = 0
    detail: str = ""
    #: Who answered there last.
    neighbour: int = 0


class TcpclTransport:
    """listen, connect: addresses.  tls_server, tls_client: contexts, wanted by a policy that allows
    TLS; certificates must name the node that the peer says it is (RFC 9174 §4.4.2)."""

    def __init__(
        self,
        settings: TcpclSettings,
        *,
        name: str = "tcpcl",
        listen: Address | None = None,
        connect: Sequence[Address] = (),
        tls_server: ssl.SSLContext | None = None,
        tls_client: ssl.SSLContext | None = None,
    ) -> None:
        if settings.tls is not TlsPolicy.REFUSE:
            if listen is not None and tls_server is None:
                raise LocalError(
                    f"{name}: TLS policy {settings.tls} without a server's certificate"
                )
            if connect and tls_client is None:
                raise LocalError(
                    f"{name}: TLS policy {settings.tls} without a client's certificate"
                )
        self.name = name
        self.settings = settings
        self.events: list[TransportEvent] = []
        self.listening: Address | None = None
        self._listen = listen
        self._targets = [_Target(address) for address in connect]
        self._tls = (tls_server, tls_client)
        self._selector: BaseSelector | None = None
        self._listener: socket.socket | None = None
        self._connections: list[_Connection] = []
        self._by_neighbour: dict[int, _Connection] = {}
        self._dirty: set[_Connection] = set()
        self._now_ns = 0

    # ------------------------------------------------------------ opening and closing

    def open(self, selector: BaseSelector) -> None:
        """Listen; connecting begins with the first `turn`."""
        self._selector = selector
        self._now_ns = time.monotonic_ns()
        if self._listen is None:
            return
        listener = listening(self.name, self._listen)
        self.listening = listener.getsockname()[:2]
        selector.register(listener, EVENT_READ, self._accept_connections)
        self._listener = listener

    def close(self) -> None:
        """End the sessions as well as can be without waiting, and close the sockets."""
        for connection in list(self._connections):
            self._heard(connection, connection.session.terminate(self._now_ns))
            self._flush(connection)
            if connection in self._connections:
                self._heard(connection, connection.session.lost("closed here"))
                self._discard(connection)
        if self._listener is not None:
            self._registry.unregister(self._listener)
            self._listener.close()
            self._listener = None

    @property
    def _registry(self) -> BaseSelector:
        if self._selector is None:
            raise LocalError(f"{self.name} is not open")
        return self._selector

    def _accept_connections(self, mask: int) -> None:
        listener = self._listener
        while listener is not None:
            try:
                sock, _ = listener.accept()
            except OSError:
                # Nobody any more, or no descriptor left: the node goes on with those it has.
                return
            host = address_of(sock)
            if not self._has_room(host):
                sock.close()
                continue
            session = TcpclSession(self.settings, active=False)
            self._begin(_Connection(sock, session, None, host=host))

    def _has_room(self, host: str) -> bool:
        """For one more that came to us, whoever it is."""
        came = [c for c in self._connections if c.target is None]
        return (
            bool(host)
            and len(came) < _CONNECTIONS
            and sum(c.host == host for c in came) < _PER_ADDRESS
            and sum(not c.neighbour for c in came) < _STRANGERS
        )

    def _connect(self, target: _Target) -> None:
        sock, why = connecting(target.address)
        if sock is None:
            self._try_again(target, why)
            return
        session = TcpclSession(self.settings, active=True)
        connection = _Connection(sock, session, target.address, connecting=True)
        target.connection = connection
        self._begin(connection)

    def _try_again(self, target: _Target, why: str) -> None:
        target.connection = None
        target.detail = why
        target.next_ns = self._now_ns + round(target.delay_s * 1e9)
        target.delay_s = min(2 * target.delay_s, _RETRY_S[1])

    def _begin(self, connection: _Connection) -> None:
        sock = connection.sock
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_OCTETS)
        self._connections.append(connection)
        connection.mask = EVENT_WRITE if connection.connecting else EVENT_READ
        self._registry.register(sock, connection.mask, self._ready(connection))
        if not connection.connecting:
            connection.session.connected(self._now_ns)
            self._dirty.add(connection)

    def _ready(self, connection: _Connection) -> Callable[[int], None]:
        def ready(mask: int) -> None:
            if connection.connecting:
                self._connected(connection)
                return
            if mask & EVENT_READ:
                self._read(connection)
            if mask & EVENT_WRITE:
                self._dirty.add(connection)

        return ready

    def _connected(self, connection: _Connection) -> None:
        why = connect_error(connection.sock)
        if why:
            self._heard(connection, connection.session.lost(why))
            return
        connection.connecting = False
        connection.session.connected(self._now_ns)
        self._dirty.add(connection)

    # ------------------------------------------------------------ octets

    def _read(self, connection: _Connection) -> None:
        try:
            octets = connection.sock.recv(_RECEIVE_OCTETS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._heard(connection, connection.session.lost(str(error.strerror)))
            return
        if not octets:
            self._heard(connection, connection.session.lost("the peer closed the connection"))
            return
        connection.octets_in += len(octets)
        self._bound_incoming()
        if connection.tls is None:
            self._heard(connection, connection.session.receive(self._now_ns, octets))
        else:
            self._decrypt(connection, octets)
        self._dirty.add(connection)

    def _bound_incoming(self) -> None:
        """Bundles are held in memory until they are whole: peers together get so much of it."""
        if sum(c.session.incoming_octets for c in self._connections) <= _INCOMING_OCTETS:
            return
        most = max(self._connections, key=lambda c: c.session.incoming_octets)
        self._heard(most, most.session.lost("too many octets of bundles that are not whole"))

    def _decrypt(self, connection: _Connection, octets: bytes) -> None:
        tls, incoming = connection.tls, connection.incoming
        if tls is None or incoming is None:
            raise LocalError("no TLS on this connection")
        incoming.write(octets)
        try:
            if connection.shaking:
                tls.do_handshake()
                connection.shaking = False
                connection.session.secured(self._now_ns)
            while clear := tls.read(_RECEIVE_OCTETS):
                self._heard(connection, connection.session.receive(self._now_ns, clear))
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._heard(connection, connection.session.lost(f"TLS: {error.reason or error}"))

    def _start_tls(self, connection: _Connection, client: bool) -> None:
        context = self._tls[1 if client else 0]
        if context is None:
            raise LocalError(f"{self.name}: no certificate for TLS")
        # What the session said before goes out in the clear.
        connection.output += connection.session.take_output()
        self._write(connection)
        connection.incoming, connection.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        connection.tls = context.wrap_bio(
            connection.incoming, connection.outgoing, server_side=not client
        )
        connection.shaking = True
        if client:
            with contextlib.suppress(ssl.SSLWantReadError):
                connection.tls.do_handshake()
        left = connection.session.take_input()
        if left:
            self._decrypt(connection, left)

    def _flush(self, connection: _Connection) -> None:
        """Write what the session has to say, and watch for room if it does not all go."""
        if connection.sock.fileno() < 0 or connection.connecting:
            return
        fresh = connection.session.take_output()
        tls, outgoing = connection.tls, connection.outgoing
        if tls is not None and outgoing is not None:
            if fresh and not connection.shaking:
                # After a record that was damaged there is nobody to write to.
                with contextlib.suppress(ssl.SSLError):
                    tls.write(b"".join(fresh))
            fresh = [outgoing.read()] if outgoing.pending else []
        if fresh:
            connection.output += fresh
            connection.waiting += sum(map(len, fresh))
        self._write(connection)
        if connection.closing and not connection.output:
            self._discard(connection)
            return
        mask = (0 if connection.paused else EVENT_READ) | (EVENT_WRITE if connection.output else 0)
        self._watch(connection, mask)

    def _watch(self, connection: _Connection, mask: int) -> None:
        if mask == connection.mask:
            return
        if not connection.mask:
            self._registry.register(connection.sock, mask, self._ready(connection))
        elif not mask:
            self._registry.unregister(connection.sock)
        else:
            data = self._registry.get_key(connection.sock).data
            self._registry.modify(connection.sock, mask, data)
        connection.mask = mask

    def _write(self, connection: _Connection) -> None:
        output = connection.output
        try:
            while output and (written := send_some(connection.sock, output)) is not None:
                connection.octets_out += written
                connection.waiting = max(0, connection.waiting - written)
        except OSError as error:
            output.clear()
            self._heard(connection, connection.session.lost(str(error.strerror)))

    # ------------------------------------------------------------ what sessions say

    def _heard(self, connection: _Connection, events: list[SessionEvent]) -> None:
        for event in events:
            if isinstance(event, Arrived):
                connection.chunks_in += 1
                receipt = (connection, event.transfer)
                self.events.append(BundleArrived(connection.neighbour, event.octets, receipt))
            elif isinstance(event, Sent):
                self.events.append(BundleSent(connection.tokens.pop(event.transfer)))
            elif isinstance(event, Failed):
                token = connection.tokens.pop(event.transfer)
                self.events.append(BundleFailed(token, event.refused in _FOR_GOOD))
                if event.refused is not None and event.refused not in _FOR_GOOD:
                    connection.hold_ns = self._now_ns + round(_HOLD_S * 1e9)
            elif isinstance(event, Established):
                self._established(connection, event.peer)
            elif isinstance(event, StartTls):
                self._start_tls(connection, event.client)
            else:
                self._closed(connection, event)

    def _established(self, connection: _Connection, peer: str) -> None:
        try:
            number = eid(peer).node_number
            if number is None:
                raise LocalError(f"{peer}: only ipn nodes are routed to")
            if eid(peer).node == eid(self.settings.node_id):
                # A loop in the configuration, or a connection that met itself.
                raise LocalError(f"{peer} is this node")
            if connection.tls is not None:
                certificate = connection.tls.getpeercert(binary_form=True)
                names = node_ids(certificate) if certificate else frozenset()
                if eid(peer).node not in names:
                    named = ", ".join(map(str, names)) or "no node"
                    raise LocalError(f"the certificate names {named}, the peer says {peer}")
        except LocalError as error:
            self._heard(connection, connection.session.lost(str(error)))
            return
        target = self._target_of(connection)
        if target is not None:
            target.delay_s, target.detail, target.neighbour = _RETRY_S[0], "", number
        older = self._by_neighbour.get(number)
        if older is not None:
            if self._is_better(older, connection, number):
                self._heard(connection, connection.session.lost("a session with it stands"))
                return
            self._heard(older, older.session.lost("replaced by another session"))
        connection.neighbour = number
        self._by_neighbour[number] = connection
        self.events.append(PeerUp(number))

    def _is_better(self, older: _Connection, newer: _Connection, number: int) -> bool:
        """Which of two sessions with a neighbour stays: §4.1 leaves it to us.

        Where both sides connect, the one that the lower node number began: both come to the same.
        Of two that one side began, the newer is the one that the peer believes in.
        """
        if older.session.active == newer.session.active:
            return False
        ours_stay = (eid(self.settings.node_id).node_number or 0) < number
        return older.session.active == ours_stay

    def _waits(self, target: _Target) -> bool:
        """Nobody is reached there, and its node did not come to us either."""
        return target.connection is None and target.neighbour not in self._by_neighbour

    def _closed(self, connection: _Connection, event: Closed) -> None:
        connection.closing = True
        neighbour = connection.neighbour
        if neighbour and self._by_neighbour.get(neighbour) is connection:
            del self._by_neighbour[neighbour]
            self.events.append(PeerDown(neighbour, event.why))
        target = self._target_of(connection)
        if target is not None:
            target.reconnects += 1
            self._try_again(target, event.why)
        if connection.connecting or connection.sock.fileno() < 0:
            self._discard(connection)
        else:
            self._dirty.add(connection)

    def _target_of(self, connection: _Connection) -> _Target | None:
        return next((t for t in self._targets if t.connection is connection), None)

    def _discard(self, connection: _Connection) -> None:
        if connection.mask:
            self._registry.unregister(connection.sock)
            connection.mask = 0
        connection.sock.close()
        self._dirty.discard(connection)
        if connection in self._connections:
            self._connections.remove(connection)

    # ------------------------------------------------------------ the port

    def window(self, neighbour: int) -> int:
        """Transfers that may begin; none while much waits for a slow peer."""
        connection = self._by_neighbour.get(neighbour)
        if (
            connection is None
            or connection.waiting > _WAITING_OCTETS
            or self._now_ns < connection.hold_ns
        ):
            return 0
        return connection.session.window

    def send(self, neighbour: int, token: Any, segments: Sequence[bytes | memoryview]) -> None:
        """See the port.  A bundle larger than the peer takes fails at once."""
        connection = self._by_neighbour[neighbour]
        transfer = connection.session.send(self._now_ns, segments)
        if transfer is None:
            self.events.append(BundleFailed(token, True))
            return
        connection.tokens[transfer] = token
        connection.chunks_out += 1
        self._dirty.add(connection)

    def accept(self, receipt: Any) -> None:
        """See the port."""
        connection, transfer = receipt
        connection.session.accept(transfer)
        self._dirty.add(connection)

    def refuse(self, receipt: Any) -> None:
        """See the port."""
        connection, transfer = receipt
        connection.session.refuse(transfer)
        self._dirty.add(connection)

    def pause(self, neighbour: int, paused: bool) -> None:
        """See the port."""
        connection = self._by_neighbour.get(neighbour)
        if connection is not None and connection.paused != paused:
            connection.paused = paused
            self._dirty.add(connection)

    def turn(self) -> None:
        """See the port."""
        now_ns = self._now_ns = time.monotonic_ns()
        for target in self._targets:
            if self._waits(target) and now_ns >= target.next_ns:
                self._connect(target)
        for connection in list(self._connections):
            deadline_ns = connection.session.next_deadline_ns
            if deadline_ns is not None and now_ns >= deadline_ns:
                self._heard(connection, connection.session.timeout(now_ns))
                self._dirty.add(connection)
        while self._dirty:
            connection = self._dirty.pop()
            if connection.session.state is State.ENDING:
                self._heard(connection, connection.session.settle())
            self._flush(connection)

    def wait_s(self) -> float | None:
        """See the port."""
        times = [t.next_ns for t in self._targets if self._waits(t)]
        for connection in self._connections:
            if (deadline_ns := connection.session.next_deadline_ns) is not None:
                times.append(deadline_ns)
        return max(0.0, (min(times) - time.monotonic_ns()) / 1e9) if times else None

    def statistics(self) -> tuple[LinkStatistics, ...]:
        """Each session, and each address that is not reached."""
        found = [
            LinkStatistics(
                name=f"{self.name} ipn:{connection.neighbour}.0",
                state=LinkState.OK,
                detail="TLS" if connection.tls is not None else "",
                chunks_in=connection.chunks_in,
                octets_in=connection.octets_in,
                chunks_out=connection.chunks_out,
                octets_out=connection.octets_out,
                carrier=True,
            )
            for connection in self._by_neighbour.values()
        ]
        found += [
            LinkStatistics(
                name=f"{self.name} {target.address[0]}:{target.address[1]}",
                state=LinkState.UNAVAILABLE,
                detail=target.detail,
                reconnects=target.reconnects,
            )
            for target in self._targets
            if target.neighbour not in self._by_neighbour
        ]
        return tuple(found)
