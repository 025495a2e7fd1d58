"""Bundles over UDP: one a datagram (UDPCL), or by LTP (RFC 5326) with a neighbour each.

UDPCL neither acknowledges nor holds anybody back: what finds no room is lost, as on the way.  LTP's
reports leave only when all that they acknowledge is on disk.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Sequence
from selectors import EVENT_READ, BaseSelector
from typing import Any, Final

from ground.adapters.sockets import Address, cannot_listen, family_of
from ground.adapters.udp_batches import UdpBatches
from ground.ports import (
    BundleArrived,
    BundleFailed,
    BundleSent,
    LinkState,
    LinkStatistics,
    PeerUp,
    TransportEvent,
)
from protocols.dtn.ltp_blocks import split_block
from protocols.dtn.ltp_engine import LtpEngine
from protocols.dtn.ltp_parameters import (
    RedPartReceived,
    TransmissionCancelled,
    TransmissionComplete,
)
from protocols.dtn.ltp_segments import ClientService, SessionId
from protocols.dtn.simple_layers import LONGEST_DATAGRAM, UDP_KEEPALIVE
from protocols.errors import LocalError

_SOCKET_OCTETS: Final = 4 << 20
_WINDOW: Final = 64
#: Segments taken from an engine and given to the kernel at once.
_SEGMENTS: Final = 512
#: While the kernel's buffer is full.
_FULL_S: Final = 0.002
_AGAIN_S: Final = 1.0


def _resolved(name: str, address: Address, family: int) -> Address:
    """Looked up once: no datagram waits for a name.  LocalError for one that is not known."""
    try:
        found = socket.getaddrinfo(*address, family=family, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise LocalError(f"{name}: {address[0]}: {error.strerror}") from error
    return str(found[0][4][0]), address[1]


def _bound(name: str, address: Address) -> socket.socket:
    sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
    sock.setblocking(False)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_OCTETS)
    try:
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise cannot_listen(name, address, error) from error
    return sock


class UdpTransport:
    """connect: address by neighbour's number.  Bundles larger than a datagram fail for good."""

    def __init__(self, listen: Address, connect: dict[int, Address] | None = None) -> None:
        self.name = "udp"
        self.events: list[TransportEvent] = []
        self.listening: Address | None = None
        self._listen = listen
        self._addresses = connect or {}
        self._sock: socket.socket | None = None
        self._selector: BaseSelector | None = None
        self._hold_s = 0.0
        self._detail = ""
        self._counts = dict.fromkeys(("in", "in_octets", "out", "out_octets", "lost"), 0)

    def open(self, selector: BaseSelector) -> None:
        """See the port."""
        family = family_of(self._listen)
        self._addresses = {n: _resolved(self.name, a, family) for n, a in self._addresses.items()}
        self._sock = _bound(self.name, self._listen)
        self.listening = self._sock.getsockname()[:2]
        self._selector = selector
        selector.register(self._sock, EVENT_READ, self._read)
        self.events += [PeerUp(number) for number in self._addresses]

    def close(self) -> None:
        """See the port."""
        if self._sock is not None and self._selector is not None:
            self._selector.unregister(self._sock)
            self._sock.close()
            self._sock = None

    def _read(self, mask: int) -> None:
        sock = self._sock
        while sock is not None:
            try:
                octets = sock.recv(LONGEST_DATAGRAM)
            except OSError:
                # Nothing there, or what the network answers to a datagram of ours.
                return
            if octets != UDP_KEEPALIVE:
                self._counts["in"] += 1
                self._counts["in_octets"] += len(octets)
                self.events.append(BundleArrived(0, octets, None))

    def window(self, neighbour: int) -> int:
        """See the port."""
        known = neighbour in self._addresses and self._sock is not None
        return _WINDOW if known and time.monotonic() >= self._hold_s else 0

    def send(self, neighbour: int, token: Any, segments: Sequence[bytes | memoryview]) -> None:
        """See the port; sent when the kernel has it."""
        octets = b"".join(segments)
        if len(octets) > LONGEST_DATAGRAM or self._sock is None:
            self.events.append(BundleFailed(token, True))
            return
        try:
            self._sock.sendto(octets, self._addresses[neighbour])
        except OSError as error:
            # No network, or the kernel's buffer is full: not at once again.
            self._hold_s = time.monotonic() + (
                _FULL_S if isinstance(error, BlockingIOError) else _AGAIN_S
            )
            self._detail = str(error.strerror)
            self.events.append(BundleFailed(token, False))
            return
        self._detail = ""
        self._counts["out"] += 1
        self._counts["out_octets"] += len(octets)
        self.events.append(BundleSent(token))

    def accept(self, receipt: Any) -> None:
        """Nobody waits to hear it."""

    def refuse(self, receipt: Any) -> None:
        """Lost, as a datagram may be."""
        self._counts["lost"] += 1

    def pause(self, neighbour: int, paused: bool) -> None:
        """Nobody can be held back."""

    def turn(self) -> None:
        """Nothing waits."""

    def wait_s(self) -> float | None:
        """See the port."""
        return None

    def statistics(self) -> tuple[LinkStatistics, ...]:
        """See the port."""
        counts = self._counts
        return (
            LinkStatistics(
                name=self.name,
                state=LinkState.OK if self._sock is not None else LinkState.DISABLED,
                detail=self._detail,
                chunks_in=counts["in"],
                octets_in=counts["in_octets"],
                chunks_out=counts["out"],
                octets_out=counts["out_octets"],
                lost_chunks=counts["lost"],
                carrier=self._sock is not None,
            ),
        )


class LtpTransport:
    """One neighbour by LTP over UDP.  engine: made for it (`LtpEngine`); its time is the wall's."""

    def __init__(
        self, engine: LtpEngine, neighbour: int, listen: Address, connect: Address
    ) -> None:
        self.name = f"ltp ipn:{neighbour}.0"
        self.events: list[TransportEvent] = []
        self.listening: Address | None = None
        self._engine = engine
        self._neighbour = neighbour
        self._listen, self._address = listen, connect
        self._sock: socket.socket | None = None
        self._batches: UdpBatches | None = None
        self._selector: BaseSelector | None = None
        self._tokens: dict[SessionId, Any] = {}
        self._offered: dict[int, bytes] = {}
        self._refused: dict[int, float] = {}
        self._receipts = 0
        self._unsent: list[bytes] = []
        self._reading = True
        self._counts = dict.fromkeys(("in", "in_octets", "out", "out_octets", "damaged"), 0)

    def open(self, selector: BaseSelector) -> None:
        """See the port."""
        self._sock = _bound(self.name, self._listen)
        try:
            self._sock.connect(self._address)
        except OSError as error:
            self._sock.close()
            self._sock = None
            raise LocalError(
                f"{self.name}: cannot send to {self._address[0]}:{self._address[1]}: "
                f"{error.strerror}"
            ) from error
        self.listening = self._sock.getsockname()[:2]
        self._batches = UdpBatches(self._sock)
        self._selector = selector
        selector.register(self._sock, EVENT_READ, self._read)
        self.events.append(PeerUp(self._neighbour))

    def close(self) -> None:
        """See the port."""
        if self._sock is not None and self._selector is not None:
            if self._reading:
                self._selector.unregister(self._sock)
            self._sock.close()
            self._sock = self._batches = None

    def _read(self, mask: int) -> None:
        if self._batches is None:
            return
        now_ns = time.monotonic_ns()
        # Nobody listens there yet, or no network: what we sent is lost, as on the way.
        with contextlib.suppress(OSError):
            for segment in self._batches.receive():
                self._counts["in_octets"] += len(segment)
                self._engine.receive(now_ns, segment)
        self._hear()
        if self._offered and self._selector is not None and self._sock is not None:
            # The rest waits in the kernel: there must be an instant at which all is on disk.
            self._selector.unregister(self._sock)
            self._reading = False

    def _hear(self) -> None:
        for notice in self._engine.notices():
            if isinstance(notice, RedPartReceived):
                content = split_block(notice.client_service, notice.data)
                self._counts["damaged"] += content.damage is not None
                for unit in content.units:
                    if unit.client_service == ClientService.BUNDLE:
                        self._receipts += 1
                        self._counts["in"] += 1
                        self._offered[self._receipts] = unit.data
                        arrived = BundleArrived(self._neighbour, unit.data, self._receipts)
                        self.events.append(arrived)
            elif isinstance(notice, TransmissionComplete):
                self.events.append(BundleSent(self._tokens.pop(notice.session)))
            elif isinstance(notice, TransmissionCancelled):
                self.events.append(BundleFailed(self._tokens.pop(notice.session), False))

    def window(self, neighbour: int) -> int:
        """See the port."""
        free = neighbour == self._neighbour and self._sock is not None
        return _WINDOW - len(self._tokens) if free and self._engine.can_send(1 << 20) else 0

    def send(self, neighbour: int, token: Any, segments: Sequence[bytes | memoryview]) -> None:
        """See the port; a session of its own (a block of several is one too many for HDTN)."""
        octets = b"".join(segments)
        try:
            session = self._engine.send(octets)
        except LocalError:
            self.events.append(BundleFailed(token, not self._engine.can_send(len(octets))))
            return
        self._counts["out"] += 1
        self._tokens[session] = token

    def accept(self, receipt: Any) -> None:
        """See the port."""
        self._offered.pop(receipt, None)

    def refuse(self, receipt: Any) -> None:
        """LTP has taken it: it is kept, and no report leaves, until there is room."""
        self._refused[receipt] = time.monotonic() + _AGAIN_S

    def pause(self, neighbour: int, paused: bool) -> None:
        """Without reports the neighbour waits by itself."""

    def turn(self) -> None:
        """See the port."""
        now_ns = time.monotonic_ns()
        for receipt, again_s in list(self._refused.items()):
            if now_ns / 1e9 >= again_s:
                del self._refused[receipt]
                arrived = BundleArrived(self._neighbour, self._offered[receipt], receipt)
                self.events.append(arrived)
        deadline_ns = self._engine.next_deadline_ns
        if deadline_ns is not None and deadline_ns <= now_ns:
            self._engine.timeout(now_ns)
            self._hear()
        while self._batches is not None and not self._offered:
            segments = self._unsent or self._engine.take(now_ns, _SEGMENTS)
            if not segments:
                break
            try:
                sent = self._batches.send(segments)
            except OSError:
                # As lost on the way: the timers send it again.
                sent = len(segments)
            self._counts["out_octets"] += sum(map(len, segments[:sent]))
            self._unsent = segments[sent:]
            if self._unsent:
                break
        if not self._offered and not self._reading and self._selector and self._sock:
            self._selector.register(self._sock, EVENT_READ, self._read)
            self._reading = True
        self._hear()

    def wait_s(self) -> float | None:
        """See the port."""
        if self._unsent:
            return _FULL_S
        now_s = time.monotonic()
        waits = [again_s - now_s for again_s in self._refused.values()]
        if (deadline_ns := self._engine.next_deadline_ns) is not None:
            waits.append(deadline_ns / 1e9 - now_s)
        return max(0.0, min(waits)) if waits else None

    def statistics(self) -> tuple[LinkStatistics, ...]:
        """See the port."""
        counts = self._counts
        return (
            LinkStatistics(
                name=self.name,
                state=LinkState.OK if self._sock is not None else LinkState.DISABLED,
                detail=f"{len(self._tokens)} sessions under way" if self._tokens else "",
                chunks_in=counts["in"],
                octets_in=counts["in_octets"],
                chunks_out=counts["out"],
                octets_out=counts["out_octets"],
                malformed=counts["damaged"],
                carrier=self._sock is not None,
            ),
        )
