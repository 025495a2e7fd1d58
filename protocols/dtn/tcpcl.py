"""One TCPCL session (RFC 9174), either side: octets in, octets and events out; no socket, no clock.

    session = TcpclSession(settings, active=True)
    session.connected(now_ns)
    to_send = session.take_output()                   # buffers, for `writev`
    for event in session.receive(now_ns, octets): …
    session.secured(now_ns, names)                    # after StartTls
    transfer = session.send(now_ns, segments)         # if session.window > 0
    session.accept(transfer) / session.refuse(transfer, reason)
    session.terminate(now_ns); session.timeout(now_ns); session.next_deadline_ns

A received bundle is acknowledged as a whole only when its owner says `accept`: then it is on disk.
Segments before the last are acknowledged as they come (§5.2.3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from protocols.dtn.tcpcl_messages import (
    ACK,
    CONTACT_HEADER_OCTETS,
    MAGIC,
    MESSAGES,
    SEGMENT_BEGINNING,
    TRANSFER_LENGTH,
    VERSION,
    ContactFlags,
    MessageType,
    RefuseReason,
    RejectReason,
    SegmentFlags,
    TermFlags,
    TermReason,
    contact_header,
    message,
    read_extensions,
    segment_head,
)
from protocols.errors import LocalError, RemoteError

Buffer = bytes | memoryview
S_NS: Final = 1_000_000_000

#: Longest session initialisation or set of extension items believed: names and a few items.
MOST_CONTROL_OCTETS: Final = 64 << 10
#: §4.6: HDTN ends the session where a transfer MRU of 2^64 − 1 is offered.
TRANSFER_MRU: Final = 1 << 30
#: A segment is not held back until it is whole, so its size costs no memory.
SEGMENT_MRU: Final = 1 << 24


class State(StrEnum):
    """§3.1: of one session."""

    CONNECTING = "connecting"
    CONTACT = "contact header awaited"
    SECURING = "TLS handshake"
    INITIALISING = "session initialisation awaited"
    ESTABLISHED = "established"
    ENDING = "ending: transfers under way go on"
    CLOSED = "closed"


class Event(StrEnum):
    CONNECTED = "TCP connected"
    HEADER = "contact header, no TLS"
    HEADER_TLS = "contact header, TLS agreed"
    SECURED = "TLS handshake done"
    INITIALISED = "session initialisation"
    ENDED = "SESS_TERM sent or received"
    FINISHED = "nothing is under way any more"
    LOST = "connection lost, or the peer broke the protocol"


#: {state: {event: next}}
STATES: Final = {
    State.CONNECTING: {Event.CONNECTED: State.CONTACT, Event.LOST: State.CLOSED},
    State.CONTACT: {
        Event.HEADER: State.INITIALISING,
        Event.HEADER_TLS: State.SECURING,
        Event.ENDED: State.ENDING,
        Event.LOST: State.CLOSED,
    },
    State.SECURING: {Event.SECURED: State.INITIALISING, Event.LOST: State.CLOSED},
    State.INITIALISING: {
        Event.INITIALISED: State.ESTABLISHED,
        Event.ENDED: State.ENDING,
        Event.LOST: State.CLOSED,
    },
    State.ESTABLISHED: {Event.ENDED: State.ENDING, Event.LOST: State.CLOSED},
    State.ENDING: {
        Event.ENDED: State.ENDING,
        Event.FINISHED: State.CLOSED,
        Event.LOST: State.CLOSED,
    },
    State.CLOSED: {},
}


class TlsPolicy(StrEnum):
    """What CAN_TLS is to be answered with (§4.4)."""

    REFUSE = "refuse"
    ALLOW = "allow"
    REQUIRE = "require"


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpclSettings:
    """node_id: ours, `ipn:N.0`.  keepalive_s: offered; the smaller of both holds, 0 is none.
    window: transfers that may be under way unacknowledged.  segment_octets: of segments that we
    send, at most what the peer takes.  patience_s: for the peer's header and initialisation, and
    for the end of an ended session."""

    node_id: str
    keepalive_s: int = 15
    segment_mru: int = SEGMENT_MRU
    transfer_mru: int = TRANSFER_MRU
    segment_octets: int = 1 << 20
    window: int = 256
    tls: TlsPolicy = TlsPolicy.REFUSE
    patience_s: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.keepalive_s <= 0xFFFF:
            raise LocalError(f"keepalive of {self.keepalive_s} s, 0..65535 wanted")
        if self.window < 1 or self.segment_octets < 1:
            raise LocalError(
                f"window of {self.window}, segments of {self.segment_octets} octets: at least 1"
            )


@dataclass(frozen=True, slots=True)
class Established:
    """peer: its node id as it gave it."""

    peer: str


@dataclass(frozen=True, slots=True)
class StartTls:
    """The TLS handshake is due, we as its client if active."""

    client: bool


@dataclass(frozen=True, slots=True)
class Arrived:
    """A bundle; `accept` or `refuse` it by its transfer."""

    transfer: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """The peer acknowledged all of a transfer (or had it already: §5.2.4 reason Completed)."""

    transfer: int


@dataclass(frozen=True, slots=True)
class Failed:
    """refused: the peer's `RefuseReason`, None where the session ended before."""

    transfer: int
    refused: int | None


@dataclass(frozen=True, slots=True)
class Closed:
    """why: in words.  The TCP connection is to be closed after the output."""

    why: str


SessionEvent = Established | StartTls | Arrived | Sent | Failed | Closed


@dataclass(slots=True)
class _Incoming:
    """A transfer being received."""

    transfer: int
    parts: list[bytes] = field(default_factory=list[bytes])
    octets: int = 0
    wanted: int | None = None
    refused: bool = False


class TcpclSession:
    """active: we connected (the TLS client, and the side that speaks first)."""

    def __init__(self, settings: TcpclSettings, *, active: bool) -> None:
        self.settings = settings
        self.active = active
        self.state = State.CONNECTING
        self.peer = ""
        self.secure = False
        self.rejected = 0
        self._events: list[SessionEvent] = []
        self._output: list[Buffer] = []
        self._input = b""
        self._left = 0
        self._segment_flags = 0
        self._incoming: _Incoming | None = None
        self._unaccepted: dict[int, int] = {}
        self._outgoing: dict[int, int] = {}
        self._next_transfer = 0
        self._peer_segment = settings.segment_octets
        self._peer_transfer = TRANSFER_MRU
        self._keepalive_ns = 0
        self._heard_ns = self._spoke_ns = 0
        self._deadline_ns: int | None = None
        self._peer_ended = False
        self._readers: dict[State, Callable[[int, bytes, int], int | None]] = {
            State.CONTACT: self._read_contact,
            State.INITIALISING: self._read_message,
            State.ESTABLISHED: self._read_message,
            State.ENDING: self._read_message,
        }

    # ------------------------------------------------------------ life

    def _on(self, event: Event) -> None:
        following = STATES[self.state].get(event)
        if following is None:
            raise LocalError(f"TCPCL session: {event} while {self.state}")
        self.state = following

    def connected(self, now_ns: int) -> None:
        """The TCP connection stands."""
        self._on(Event.CONNECTED)
        self._heard_ns = self._spoke_ns = now_ns
        self._deadline_ns = now_ns + round(self.settings.patience_s * S_NS)
        if self.active:
            self._say_hello()

    def _say_hello(self) -> None:
        self._output.append(contact_header(can_tls=self.settings.tls is not TlsPolicy.REFUSE))

    def secured(self, now_ns: int) -> None:
        """The TLS handshake is done, and the peer's certificate was judged."""
        self._on(Event.SECURED)
        self.secure = True
        self._heard_ns = now_ns
        if self.active:
            self._initialise()

    def _initialise(self) -> None:
        s = self.settings
        self._output.append(
            message(
                MessageType.SESS_INIT,
                keepalive_s=s.keepalive_s,
                segment_mru=s.segment_mru,
                transfer_mru=s.transfer_mru,
                node_id=s.node_id.encode(),
                extensions=b"",
            )
        )

    def terminate(self, now_ns: int, reason: TermReason = TermReason.UNKNOWN) -> list[SessionEvent]:
        """End it in good order (§6.1): no new transfers; those under way may finish."""
        if self.state in (State.CONTACT, State.INITIALISING, State.ESTABLISHED):
            self._term(now_ns, 0, reason)
            self._finish()
        elif self.state is not State.CLOSED:
            self.lost("ended here")
        return self._taken()

    def _term(self, now_ns: int, flags: int, reason: int) -> None:
        self._output.append(message(MessageType.SESS_TERM, flags=flags, reason=reason))
        self._deadline_ns = now_ns + round(self.settings.patience_s * S_NS)
        self._on(Event.ENDED)

    def _finish(self) -> None:
        """Closed once both sides have said so and nothing is under way."""
        if self.state is State.ENDING and self._peer_ended and not self._busy:
            self._on(Event.FINISHED)
            self._close("ended in good order")

    @property
    def _busy(self) -> bool:
        incoming = self._incoming is not None and not self._incoming.refused
        return bool(self._outgoing or self._unaccepted or incoming)

    def lost(self, why: str) -> list[SessionEvent]:
        """The connection is gone, or is to go at once."""
        if self.state is not State.CLOSED:
            self._on(Event.LOST)
            self._close(why)
        return self._taken()

    def _close(self, why: str) -> None:
        self._events += [Failed(transfer, None) for transfer in self._outgoing]
        self._outgoing.clear()
        self._unaccepted.clear()
        self._incoming = None
        self._deadline_ns = None
        self._events.append(Closed(why))

    def _taken(self) -> list[SessionEvent]:
        events, self._events = self._events, []
        return events

    # ------------------------------------------------------------ time

    @property
    def next_deadline_ns(self) -> int | None:
        """When `timeout` is to be called."""
        times = [] if self._deadline_ns is None else [self._deadline_ns]
        if self._keepalive_ns and self.state in (State.ESTABLISHED, State.ENDING):
            times += [self._spoke_ns + self._keepalive_ns, self._heard_ns + 2 * self._keepalive_ns]
        return min(times, default=None)

    def timeout(self, now_ns: int) -> list[SessionEvent]:
        """Keepalives (§5.1.1), and the end of patience."""
        if self._deadline_ns is not None and now_ns >= self._deadline_ns:
            return self.lost(f"no answer while {self.state}")
        if self._keepalive_ns and self.state in (State.ESTABLISHED, State.ENDING):
            if now_ns >= self._heard_ns + 2 * self._keepalive_ns:
                if self.state is State.ESTABLISHED:
                    self._term(now_ns, 0, TermReason.IDLE_TIMEOUT)
                return self.lost("the peer is silent")
            if now_ns >= self._spoke_ns + self._keepalive_ns:
                self._spoke_ns = now_ns
                self._output.append(message(MessageType.KEEPALIVE))
        return self._taken()

    # ------------------------------------------------------------ sending

    @property
    def window(self) -> int:
        """Transfers that may be begun now."""
        if self.state is not State.ESTABLISHED:
            return 0
        return self.settings.window - len(self._outgoing)

    def send(self, now_ns: int, segments: Sequence[Buffer]) -> int | None:
        """Begin a transfer; its number, None if the peer takes none so large.

        Raises LocalError while there is no window.
        """
        if self.window <= 0:
            raise LocalError(
                f"no transfer can begin: {self.state}, {len(self._outgoing)} under way"
            )
        total = sum(map(len, segments))
        if total > self._peer_transfer:
            return None
        transfer = self._next_transfer
        self._next_transfer += 1
        self._outgoing[transfer] = total
        self._spoke_ns = now_ns
        output = self._output
        if total <= self._peer_segment:
            output.append(segment_head(transfer, total, start=True, end=True, total=total))
            output += segments
            return transfer
        whole = memoryview(b"".join(segments))
        for at in range(0, total, self._peer_segment):
            part = whole[at : at + self._peer_segment]
            end = at + len(part) == total
            output.append(segment_head(transfer, len(part), start=at == 0, end=end, total=total))
            output.append(part)
        return transfer

    def accept(self, transfer: int) -> None:
        """The bundle is in safe keeping: acknowledge its end.  Nothing if the session is over."""
        octets = self._unaccepted.pop(transfer, None)
        if octets is not None:
            self._output.append(ACK.pack(2, _end_flags(octets), transfer, octets >> 2))

    def refuse(self, transfer: int, reason: int = RefuseReason.NO_RESOURCES) -> None:
        """It is not wanted, or there is no room."""
        if self._unaccepted.pop(transfer, None) is not None:
            self._output.append(
                message(MessageType.XFER_REFUSE, reason=reason, transfer_id=transfer)
            )

    def settle(self) -> list[SessionEvent]:
        """After `accept` and `refuse`: whether an ending session is over now."""
        self._finish()
        return self._taken()

    def take_output(self) -> list[Buffer]:
        """What is to be written, in order."""
        output, self._output = self._output, []
        return output

    # ------------------------------------------------------------ receiving

    def receive(self, now_ns: int, octets: bytes) -> list[SessionEvent]:
        """Octets in whatever pieces.  What breaks the protocol ends the session, with `Closed`."""
        if self.state is State.CLOSED:
            return []
        self._heard_ns = now_ns
        data = self._input + octets if self._input else octets
        at = 0
        try:
            while at < len(data):
                if self._left:
                    at = self._read_data(data, at)
                    continue
                reader = self._readers.get(self.state)
                if reader is None:
                    break
                after = reader(now_ns, data, at)
                if after is None:
                    break
                at = after
        except RemoteError as error:
            self._input = b""
            return self.lost(str(error))
        self._input = data[at:]
        self._finish()
        return self._taken()

    @property
    def incoming_octets(self) -> int:
        """Held of a bundle that is not whole."""
        return 0 if self._incoming is None else self._incoming.octets

    def take_input(self) -> bytes:
        """Octets received but not read: those behind a contact header that agrees on TLS."""
        data, self._input = self._input, b""
        return data

    def _read_contact(self, now_ns: int, data: bytes, at: int) -> int | None:
        have = data[at : at + CONTACT_HEADER_OCTETS]
        if have[: len(MAGIC)] != MAGIC[: len(have)]:
            raise RemoteError(f"contact header begins {have[:4].hex()}, no TCPCL", data=have)
        if len(have) < CONTACT_HEADER_OCTETS:
            return None
        if have[4] != VERSION:
            # §4.3: told, then closed.
            if not self.active:
                self._say_hello()
            self._term(now_ns, 0, TermReason.VERSION_MISMATCH)
            raise RemoteError(f"TCPCL version {have[4]}, {VERSION} wanted", data=have)
        if not self.active:
            self._say_hello()
        policy = self.settings.tls
        tls = policy is not TlsPolicy.REFUSE and bool(have[5] & ContactFlags.CAN_TLS)
        if policy is TlsPolicy.REQUIRE and not tls:
            self._term(now_ns, 0, TermReason.CONTACT_FAILURE)
            raise RemoteError("the peer offers no TLS, and it is required", data=have)
        self._on(Event.HEADER_TLS if tls else Event.HEADER)
        if tls:
            self._events.append(StartTls(self.active))
        elif self.active:
            self._initialise()
        return at + CONTACT_HEADER_OCTETS

    def _read_message(self, now_ns: int, data: bytes, at: int) -> int | None:
        kind = data[at]
        if kind == MessageType.XFER_SEGMENT:
            if self.state is State.INITIALISING:
                # §5.1.2; nothing more is read, so its length need not be known.
                self._reject(RejectReason.UNEXPECTED, kind)
                raise RemoteError(f"message {kind} before the session is initialised")
            return self._read_segment(data, at)
        if kind == 2 and self.state is not State.INITIALISING:
            if len(data) - at < ACK.size:
                return None
            _, flags, transfer, acknowledged = ACK.unpack_from(data, at)
            self._acknowledged(transfer, acknowledged, flags)
            return at + ACK.size
        layout = MESSAGES.get(kind)
        if layout is None:
            # §5.1.2: its length is unknown, so nothing behind it can be read.
            self._reject(RejectReason.TYPE_UNKNOWN, kind)
            raise RemoteError(f"message of unknown type {kind:#04x}", data=data[at : at + 32])
        size = self._control_size(kind, data, at)
        if size is None:
            return None
        fields = layout.parse(data[at + 1 : at + size])
        if (kind == MessageType.SESS_INIT) != (self.state is State.INITIALISING) and kind not in (
            MessageType.SESS_TERM,
            MessageType.MSG_REJECT,
        ):
            self._reject(RejectReason.UNEXPECTED, kind)
            if self.state is State.INITIALISING:
                raise RemoteError(f"message {kind} before the session is initialised")
        elif kind == MessageType.SESS_INIT:
            self._initialised(now_ns, fields)
        elif kind == MessageType.XFER_REFUSE:
            self._refused(fields.transfer_id, fields.reason)
        elif kind == MessageType.SESS_TERM:
            self._ended(now_ns, fields.flags, fields.reason)
        elif kind == MessageType.MSG_REJECT:
            self.rejected += 1
            if fields.header != MessageType.KEEPALIVE:
                raise RemoteError(
                    f"the peer rejects message {fields.header:#04x}, reason {fields.reason}"
                )
        return at + size

    def _control_size(self, kind: int, data: bytes, at: int) -> int | None:
        """Octets of a control message with its type; None until they are known and here."""
        if kind == MessageType.SESS_INIT:
            # Type, keepalive, MRUs; then the name's length, and behind the name that of the items.
            size = 21
            if len(data) < at + size:
                return None
            size += int.from_bytes(data[at + 19 : at + 21], "big") + 4
            if len(data) >= at + size:
                size += int.from_bytes(data[at + size - 4 : at + size], "big")
            if size > MOST_CONTROL_OCTETS:
                raise RemoteError(f"SESS_INIT of {size} octets, {MOST_CONTROL_OCTETS} at most")
        else:
            size = 1 + MESSAGES[kind].sizeof()
        return size if len(data) >= at + size else None

    def _initialised(self, now_ns: int, fields: Any) -> None:
        node_id: bytes = fields.node_id
        try:
            self.peer = node_id.decode("ascii")
        except UnicodeDecodeError as error:
            raise RemoteError(f"node id {node_id!r} is no URI", data=node_id) from error
        for item in read_extensions(fields.extensions):
            if item.critical:
                self._term(now_ns, 0, TermReason.CONTACT_FAILURE)
                raise RemoteError(f"critical session extension {item.type:#06x} is not known")
        segment, transfer = fields.segment_mru, fields.transfer_mru
        if not segment or not transfer:
            raise RemoteError(f"segment MRU {segment}, transfer MRU {transfer}: above 0 wanted")
        self._peer_segment = min(self.settings.segment_octets, segment)
        self._peer_transfer = transfer
        offered: int = fields.keepalive_s
        self._keepalive_ns = min(offered, self.settings.keepalive_s) * S_NS
        self._on(Event.INITIALISED)
        self._deadline_ns = None
        if not self.active:
            self._initialise()
        self._events.append(Established(self.peer))

    def _ended(self, now_ns: int, flags: int, reason: int) -> None:
        self._peer_ended = True
        if self.state is not State.ENDING:
            if not flags & TermFlags.REPLY:
                self._term(now_ns, TermFlags.REPLY, reason)
            else:
                self._on(Event.ENDED)

    def _reject(self, reason: RejectReason, kind: int) -> None:
        self._output.append(message(MessageType.MSG_REJECT, reason=reason, header=kind))

    # ------------------------------------------------------------ transfers

    def _read_segment(self, data: bytes, at: int) -> int | None:
        if len(data) - at < SEGMENT_BEGINNING.size:
            return None
        _, flags, transfer = SEGMENT_BEGINNING.unpack_from(data, at)
        after = at + SEGMENT_BEGINNING.size
        extensions = b""
        if flags & SegmentFlags.START:
            size = int.from_bytes(data[after : after + 4], "big")
            if size > MOST_CONTROL_OCTETS:
                raise RemoteError(f"transfer extensions of {size} octets")
            extensions = data[after + 4 : after + 4 + size]
            after += 4 + size
        if len(data) < after + 8:
            return None
        length = int.from_bytes(data[after : after + 8], "big")
        if length > self.settings.segment_mru:
            raise RemoteError(f"segment of {length} octets, {self.settings.segment_mru} at most")
        incoming = self._incoming
        if flags & SegmentFlags.START:
            # Of one that we refused, the peer may leave the rest out.
            if incoming is not None and not incoming.refused:
                raise RemoteError(f"transfer {transfer} begins within {incoming.transfer}")
            incoming = self._incoming = self._began(transfer, extensions)
        elif incoming is None or incoming.transfer != transfer:
            raise RemoteError(f"segment of transfer {transfer}, which has not begun")
        self._segment_flags = flags
        self._left = length
        after += 8
        if not length:
            self._segment_done(incoming)
        return after

    def _began(self, transfer: int, extensions: bytes) -> _Incoming:
        incoming = _Incoming(transfer)
        if len(extensions) == 13 and extensions[:5] == b"\x00\x00\x01\x00\x08":
            incoming.wanted = int.from_bytes(extensions[5:], "big")
        elif extensions:
            for item in read_extensions(extensions):
                if item.type == TRANSFER_LENGTH and len(item.value) == 8:
                    incoming.wanted = int.from_bytes(item.value, "big")
                elif item.critical:
                    self._refuse_incoming(incoming, RefuseReason.EXTENSION_FAILURE)
        if incoming.wanted is not None and incoming.wanted > self.settings.transfer_mru:
            self._refuse_incoming(incoming, RefuseReason.NOT_ACCEPTABLE)
        if self.state is State.ENDING:
            self._refuse_incoming(incoming, RefuseReason.SESSION_TERMINATING)
        return incoming

    def _refuse_incoming(self, incoming: _Incoming, reason: RefuseReason) -> None:
        """§5.2.4: what still comes of it is passed over."""
        if not incoming.refused:
            incoming.refused = True
            incoming.parts.clear()
            self._output.append(
                message(MessageType.XFER_REFUSE, reason=reason, transfer_id=incoming.transfer)
            )

    def _read_data(self, data: bytes, at: int) -> int:
        incoming = self._incoming
        if incoming is None:
            raise LocalError("data of a transfer that has not begun")
        end = min(at + self._left, len(data))
        if not incoming.refused:
            incoming.parts.append(data[at:end])
        incoming.octets += end - at
        if incoming.octets > self.settings.transfer_mru:
            self._refuse_incoming(incoming, RefuseReason.NOT_ACCEPTABLE)
        self._left -= end - at
        if not self._left:
            self._segment_done(incoming)
        return end

    def _segment_done(self, incoming: _Incoming) -> None:
        flags = self._segment_flags
        transfer = incoming.transfer
        if not flags & SegmentFlags.END:
            if not incoming.refused:
                self._output.append(
                    ACK.pack(2, flags & SegmentFlags.START, transfer, incoming.octets)
                )
            return
        self._incoming = None
        if incoming.refused:
            return
        if incoming.wanted not in (None, incoming.octets):
            self._refuse_incoming(incoming, RefuseReason.NOT_ACCEPTABLE)
            return
        parts = incoming.parts
        octets = parts[0] if len(parts) == 1 else b"".join(parts)
        self._unaccepted[transfer] = incoming.octets << 2 | flags & 3
        self._events.append(Arrived(transfer, octets))

    def _acknowledged(self, transfer: int, octets: int, flags: int) -> None:
        total = self._outgoing.get(transfer)
        if total is None:
            # Of a transfer that was refused or never was.
            self._reject(RejectReason.UNEXPECTED, MessageType.XFER_ACK)
            return
        if octets > total:
            raise RemoteError(f"{octets} octets of transfer {transfer} acknowledged, {total} sent")
        if flags & SegmentFlags.END and octets == total:
            del self._outgoing[transfer]
            self._events.append(Sent(transfer))

    def _refused(self, transfer: int, reason: int) -> None:
        if self._outgoing.pop(transfer, None) is None:
            return
        if reason == RefuseReason.COMPLETED:
            self._events.append(Sent(transfer))
        else:
            self._events.append(Failed(transfer, reason))


def _end_flags(unaccepted: int) -> int:
    """Flags of the segment that ended the transfer: its acknowledgement repeats them (§5.2.3)."""
    return unaccepted & 3
