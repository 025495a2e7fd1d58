"""ISP1's transport mapping layer (913.1-B §3.3), either side: octets in, PDUs out; no socket.

    tml = Tml(initiator=True)
    tml.connected(now_ns)
    to_send = tml.take_output()
    for pdu in tml.receive(now_ns, octets): …
    tml.send(now_ns, pdu); tml.timeout(now_ns); tml.next_deadline_ns

What a peer may not send raises RemoteError, and so does its silence; `urgent` is then the octet
that is to go out as TCP's urgent data, before the connection is closed.  The same octet of the
peer's goes to `aborted`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Final

import construct as c

from protocols.errors import LocalError, RemoteError
from protocols.sle.common import AbortDiagnostic, words

# construct ships no types: what comes out of it is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false

S_NS: Final = 1_000_000_000
#: Longest PDU believed: a transfer buffer of some hundred frames is below 1 MB.
LONGEST_PDU: Final = 16 << 20
#: Of the responder: how long the context message may take.
STARTUP_S: Final = 30.0
PROTOCOL: Final = b"ISP1"
VERSION: Final = 1


class Message(IntEnum):
    """Types of TML messages (§3.3.2)."""

    PDU = 1
    CONTEXT = 2
    HEARTBEAT = 3


HEADER: Final = c.Struct("type" / c.Int8ub, "reserved" / c.Const(bytes(3)), "length" / c.Int32ub)
CONTEXT: Final = c.Struct(
    "protocol" / c.Bytes(4),
    "reserved" / c.Const(bytes(3)),
    "version" / c.Int8ub,
    "heartbeat_s" / c.Int16ub,
    "dead_factor" / c.Int16ub,
)
_HEADER_OCTETS: Final = HEADER.sizeof()
_CONTEXT_OCTETS: Final = CONTEXT.sizeof()


class State(StrEnum):
    """As far as they differ in what may be sent and come."""

    CLOSED = "closed"
    STARTING = "starting"
    TRANSFER = "data transfer"


class Event(StrEnum):
    CONNECTED = "TCP connected, initiator"
    ACCEPTED = "TCP connected, responder"
    CONTEXT = "context message"
    ABORTED = "aborted, or the connection is lost"


#: {state: {event: next}}
STATES: Final = {
    State.CLOSED: {Event.CONNECTED: State.TRANSFER, Event.ACCEPTED: State.STARTING},
    State.STARTING: {Event.CONTEXT: State.TRANSFER, Event.ABORTED: State.CLOSED},
    State.TRANSFER: {Event.ABORTED: State.CLOSED},
}


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """interval_s: a message at least so often, 0: no heartbeats; dead_factor: after so many
    intervals of silence the other end is gone.  The initiator's are offered and hold; a responder's
    are the shortest interval and the largest factor that it takes."""

    interval_s: int = 25
    dead_factor: int = 5

    def __post_init__(self) -> None:
        if not (0 <= self.interval_s <= 0xFFFF and 1 <= self.dead_factor <= 0xFFFF):
            raise LocalError(
                f"heartbeats every {self.interval_s} s, dead after {self.dead_factor} of them: "
                "0..65535 s, 1..65535 wanted"
            )


class Tml:
    """One TCP connection."""

    def __init__(
        self,
        *,
        initiator: bool,
        heartbeat: Heartbeat | None = None,
        longest_pdu: int = LONGEST_PDU,
        startup_s: float = STARTUP_S,
    ) -> None:
        self.state = State.CLOSED
        #: To be sent as urgent data, then the connection is closed; None: nothing is.
        self.urgent: int | None = None
        self.heartbeat = heartbeat or (Heartbeat() if initiator else Heartbeat(1, 100))
        self._initiator = initiator
        self._longest = longest_pdu
        self._startup_ns = int(startup_s * S_NS)
        self._buffer = bytearray()
        self._output: list[bytes] = []
        self._connected_ns = self._sent_ns = self._heard_ns = 0
        self._damage: RemoteError | None = None

    def _go(self, event: Event) -> None:
        self.state = STATES[self.state].get(event, self.state)

    def connected(self, now_ns: int) -> None:
        """TCP is connected; the initiator says first what holds."""
        self._connected_ns = self._sent_ns = self._heard_ns = now_ns
        self._go(Event.CONNECTED if self._initiator else Event.ACCEPTED)
        if self._initiator:
            fields = {
                "protocol": PROTOCOL,
                "version": VERSION,
                "heartbeat_s": self.heartbeat.interval_s,
                "dead_factor": self.heartbeat.dead_factor,
            }
            self._write(now_ns, Message.CONTEXT, CONTEXT.build(fields))

    def receive(self, now_ns: int, octets: bytes) -> list[bytes]:
        """PDUs that are whole now.  RemoteError: what came is no ISP1, at the next call if PDUs
        came before it."""
        if self._damage is not None:
            raise self._damage
        self._heard_ns = now_ns
        self._buffer += octets
        pdus: list[bytes] = []
        at = 0
        try:
            while self.state is not State.CLOSED and len(self._buffer) - at >= _HEADER_OCTETS:
                head = self._head(at)
                if len(self._buffer) - at - _HEADER_OCTETS < head.length:
                    break
                at += _HEADER_OCTETS
                content = bytes(self._buffer[at : at + head.length])
                at += head.length
                if head.type == Message.CONTEXT:
                    self._context(content)
                elif head.type == Message.PDU:
                    pdus.append(content)
        except RemoteError as error:
            self._damage = error
            if not pdus:
                raise
        del self._buffer[:at]
        return pdus

    def _head(self, at: int) -> Any:
        octets = bytes(self._buffer[at : at + _HEADER_OCTETS])
        try:
            head: Any = HEADER.parse(octets)
            kind = Message(head.type)
        except (c.ConstructError, ValueError) as error:
            raise self._refuse(
                AbortDiagnostic.TML_BAD_FORMAT, f"no message of ISP1: {octets.hex(' ')}", octets
            ) from error
        starting = self.state is State.STARTING
        if (kind is Message.CONTEXT) != starting:
            raise self._refuse(
                AbortDiagnostic.TML_PROTOCOL_ERROR, f"a {kind.name} message in {self.state}", octets
            )
        length = int(head.length)
        wanted = {Message.CONTEXT: _CONTEXT_OCTETS, Message.HEARTBEAT: 0}.get(kind, length)
        if length != wanted or length > self._longest:
            raise self._refuse(
                AbortDiagnostic.TML_BAD_FORMAT,
                f"a {kind.name} message of {length} octets",
                octets,
            )
        return head

    def _context(self, content: bytes) -> None:
        try:
            found: Any = CONTEXT.parse(content)
        except c.ConstructError:
            found = None
        if found is None or (found.protocol, found.version) != (PROTOCOL, VERSION):
            raise self._refuse(
                AbortDiagnostic.TML_BAD_FORMAT, f"context {content.hex(' ')}", content
            )
        least, most = self.heartbeat.interval_s, self.heartbeat.dead_factor
        if found.heartbeat_s and not (
            found.heartbeat_s >= least and 1 <= found.dead_factor <= most
        ):
            raise self._refuse(
                AbortDiagnostic.TML_HEARTBEAT_PARAMETERS,
                f"heartbeats every {found.heartbeat_s} s, dead after {found.dead_factor}; at least "
                f"{least} s and at most {most} accepted",
                content,
            )
        self.heartbeat = Heartbeat(found.heartbeat_s, max(found.dead_factor, 1))
        self._go(Event.CONTEXT)

    def _refuse(self, diagnostic: AbortDiagnostic, why: str, data: bytes) -> RemoteError:
        self.abort(diagnostic)
        return RemoteError(why, data=data)

    def heard(self, now_ns: int) -> None:
        """Something has come, which is not being read."""
        self._heard_ns = now_ns

    def send(self, now_ns: int, pdu: bytes) -> None:
        """LocalError: not connected, or the context is not there yet."""
        if self.state is not State.TRANSFER:
            raise LocalError(f"a PDU in {self.state}")
        self._write(now_ns, Message.PDU, pdu)

    def _write(self, now_ns: int, kind: Message, content: bytes) -> None:
        self._sent_ns = now_ns
        self._output += (HEADER.build({"type": kind, "length": len(content)}), content)

    def take_output(self) -> list[bytes]:
        """To be sent, in order."""
        output, self._output = self._output, []
        return output

    def abort(self, diagnostic: int) -> None:
        """PEER-ABORT: what has not been sent is thrown away."""
        if self.state is not State.CLOSED:
            self.urgent = diagnostic
            self._output.clear()
            self._go(Event.ABORTED)

    def aborted(self, diagnostic: int) -> RemoteError:
        """The peer's urgent octet has come; what to raise."""
        self._go(Event.ABORTED)
        return RemoteError(f"the peer has aborted: {words(diagnostic, AbortDiagnostic)}")

    @property
    def next_deadline_ns(self) -> int | None:
        """When `timeout` has something to do."""
        if self.state is State.STARTING:
            return self._connected_ns + self._startup_ns
        interval_ns = self.heartbeat.interval_s * S_NS
        if self.state is State.CLOSED or not interval_ns:
            return None
        return min(
            self._sent_ns + interval_ns, self._heard_ns + interval_ns * self.heartbeat.dead_factor
        )

    def timeout(self, now_ns: int) -> None:
        """A heartbeat, if it is due.  RemoteError: the peer has been silent for too long."""
        deadline_ns = self.next_deadline_ns
        if deadline_ns is None or now_ns < deadline_ns:
            return
        if self.state is State.STARTING:
            raise self._refuse(AbortDiagnostic.TML_ASSOCIATION_TIMEOUT, "no context message", b"")
        interval_ns = self.heartbeat.interval_s * S_NS
        silence_ns = now_ns - self._heard_ns
        if silence_ns >= interval_ns * self.heartbeat.dead_factor:
            raise self._refuse(
                AbortDiagnostic.TML_HEARTBEAT_TIMEOUT, f"silent for {silence_ns / S_NS:.0f} s", b""
            )
        self._write(now_ns, Message.HEARTBEAT, b"")


__all__ = ["LONGEST_PDU", "STATES", "Event", "Heartbeat", "Message", "State", "Tml"]
