"""The user of an SLE transfer service: octets in, PDUs out; no socket, no clock.

    user = User(ServiceType.RAF, Binding(instance="sagr=1.spack=7.rsl-fg=1.raf=onlc1", …), security)
    user.connected(now_ns)                              # binds
    for pdu in user.receive(now_ns, octets): …          # BindReturn, AnnotatedFrame, SyncNotify, …
    user.start_raf(now_ns); user.stop(now_ns); user.unbind(now_ns)
    to_send = user.take_output(); user.timeout(now_ns); user.next_deadline_ns

What `receive` gives are the PDUs themselves, of transfer buffers their content; what cannot be
authenticated is discarded (911.1-B), as if it had not come, and `Discarded` says so.  RemoteError
from `receive` and `timeout`: the association has ended; `urgent` is then what the provider is to be
told (see `tml`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast

from protocols.errors import LocalError, RemoteError
from protocols.sle import cltu, common, frames, pdus
from protocols.sle.common import VERSIONS, AbortDiagnostic, Refused, ServiceType, UnbindReason
from protocols.sle.credentials import Security
from protocols.sle.parameters import Channel, GetParameterReturn, Name
from protocols.sle.tml import S_NS, Heartbeat, Tml


@dataclass(frozen=True, slots=True)
class Discarded:
    """In the place of a PDU whose credentials do not prove who says it."""

    octets: bytes
    why: str


class State(StrEnum):
    """Of association and service in one (911.1-B §4), with those in which a return is awaited."""

    UNBOUND = "unbound"
    BINDING = "bind pending"
    READY = "ready"
    STARTING = "start pending"
    ACTIVE = "active"
    STOPPING = "stop pending"
    UNBINDING = "unbind pending"
    ENDED = "ended"


class Event(StrEnum):
    BIND = "BIND"
    START = "START"
    STOP = "STOP"
    UNBIND = "UNBIND"
    DONE = "positive return"
    REFUSED = "negative return"
    ABORTED = "aborted, or the connection is lost"


#: {state: {event: next}}; what is not named is not allowed.
STATES: Final = {
    State.UNBOUND: {Event.BIND: State.BINDING, Event.ABORTED: State.ENDED},
    State.BINDING: {
        Event.DONE: State.READY,
        Event.REFUSED: State.ENDED,
        Event.ABORTED: State.ENDED,
    },
    State.READY: {
        Event.START: State.STARTING,
        Event.UNBIND: State.UNBINDING,
        Event.ABORTED: State.ENDED,
    },
    State.STARTING: {
        Event.DONE: State.ACTIVE,
        Event.REFUSED: State.READY,
        Event.ABORTED: State.ENDED,
    },
    State.ACTIVE: {Event.STOP: State.STOPPING, Event.ABORTED: State.ENDED},
    State.STOPPING: {
        Event.DONE: State.READY,
        Event.REFUSED: State.ACTIVE,
        Event.ABORTED: State.ENDED,
    },
    State.UNBINDING: {Event.DONE: State.ENDED, Event.ABORTED: State.ENDED},
    State.ENDED: {},
}
#: Returns that end a pending state, and the states in which the others may come.
_PENDING: Final[dict[type[object], State]] = {
    common.BindReturn: State.BINDING,
    common.UnbindReturn: State.UNBINDING,
    frames.FramesStartReturn: State.STARTING,
    cltu.CltuStartReturn: State.STARTING,
    common.StopReturn: State.STOPPING,
}
_DATA: Final = frozenset({State.ACTIVE, State.STOPPING})
_BOUND: Final = frozenset({State.READY, State.STARTING, State.ACTIVE, State.STOPPING})
_ALLOWED: Final[dict[type[object], frozenset[State]]] = {
    frames.TransferBuffer: _DATA,
    cltu.TransferDataReturn: _DATA,
    # A provider that has been told to UNBIND may have sent them before it heard of that.
    **dict.fromkeys(
        (
            frames.RafStatusReport,
            frames.RcfStatusReport,
            cltu.CltuStatusReport,
            cltu.AsyncNotify,
            cltu.ThrowEventReturn,
            common.ScheduleStatusReportReturn,
            GetParameterReturn,
        ),
        _BOUND | {State.UNBINDING},
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What BIND says.  instance: as sagr=1.spack=PASS-7.rsl-fg=1.raf=onlc1; port: the provider's
    logical name of the port; return_s: how long a return may take."""

    instance: str
    port: str
    version: int = 4
    return_s: float = 30.0

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise LocalError(
                f"version {self.version}, {VERSIONS[0]}..{VERSIONS[-1]} of the services are known"
            )
        if self.return_s <= 0:
            raise LocalError(f"return_s {self.return_s}: above 0 wanted")
        # LocalError for an identifier that makes no sense: now, not when it is sent.
        common.INSTANCE_IDENTIFIER.build(self.instance)


class User:
    """One association, the initiator's end."""

    def __init__(
        self,
        service: ServiceType,
        binding: Binding,
        security: Security,
        *,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self.service = service
        self.state = State.UNBOUND
        self._binding = binding
        self._security = security
        self._tml = Tml(initiator=True, heartbeat=heartbeat)
        self._out = pdus.to_provider(service)
        self._in = pdus.to_user(service, binding.version)
        self._invoke_id = 0
        # What awaits a return: deadline by invoke id; of BIND and UNBIND, which have none, by -1.
        self._awaited: dict[int, int] = {}
        self._damage: RemoteError | None = None
        self._discarded = ""

    # ------------------------------------------------------------ operations

    def connected(self, now_ns: int) -> None:
        """TCP is connected: BIND."""
        self._tml.connected(now_ns)
        binding = self._binding
        self._go(Event.BIND)
        self._send(
            now_ns,
            common.BindInvocation(
                self._security.sign(now_ns, bind=True),
                self._security.user,
                binding.port,
                self.service,
                binding.version,
                binding.instance,
            ),
            -1,
        )

    def start_raf(
        self,
        now_ns: int,
        *,
        start_ns: int | None = None,
        stop_ns: int | None = None,
        quality: frames.RequestedQuality = frames.RequestedQuality.GOOD,
    ) -> int:
        """Frames of these Earth receive times.  The invoke id, as of all of these."""
        self._go(Event.START)
        return self._invoke(now_ns, frames.RafStart, start_ns, stop_ns, quality)

    def start_rcf(
        self,
        now_ns: int,
        channel: Channel,
        *,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> int:
        self._go(Event.START)
        return self._invoke(now_ns, frames.RcfStart, start_ns, stop_ns, channel)

    def start_cltu(self, now_ns: int, first_cltu: int) -> int:
        self._go(Event.START)
        return self._invoke(now_ns, cltu.CltuStart, first_cltu)

    def transfer(
        self,
        now_ns: int,
        cltu_id: int,
        data: bytes,
        *,
        earliest_ns: int | None = None,
        latest_ns: int | None = None,
        delay_us: int = 0,
        notify: bool = True,
    ) -> int:
        """CLTU-TRANSFER-DATA; `TransferDataReturn` with the same invoke id answers."""
        if self.state is not State.ACTIVE:
            raise LocalError(f"a CLTU in state {self.state}")
        told = cltu.SlduNotification(int(not notify))
        return self._invoke(
            now_ns, cltu.TransferData, cltu_id, earliest_ns, latest_ns, delay_us, told, data
        )

    def throw_event(self, now_ns: int, invocation: int, event: int, qualifier: bytes) -> int:
        self._bound("THROW-EVENT")
        return self._invoke(now_ns, cltu.ThrowEvent, invocation, event, qualifier)

    def schedule_status_report(self, now_ns: int, request: int) -> int:
        """request: seconds between reports, `common.IMMEDIATELY` or `common.STOP_REPORTS`."""
        self._bound("SCHEDULE-STATUS-REPORT")
        return self._invoke(now_ns, common.ScheduleStatusReport, request)

    def get_parameter(self, now_ns: int, name: Name) -> int:
        self._bound("GET-PARAMETER")
        return self._invoke(now_ns, common.GetParameter, name)

    def stop(self, now_ns: int) -> int:
        self._go(Event.STOP)
        return self._invoke(now_ns, common.StopInvocation)

    def unbind(self, now_ns: int, reason: UnbindReason = UnbindReason.SUSPEND) -> None:
        self._go(Event.UNBIND)
        self._send(now_ns, common.UnbindInvocation(self._security.sign(now_ns), reason), -1)

    def abort(self, diagnostic: AbortDiagnostic) -> None:
        self._tml.abort(diagnostic)
        self.state = State.ENDED

    def lost(self) -> None:
        """The connection is no more."""
        self.state = State.ENDED

    def _bound(self, what: str) -> None:
        if self.state not in _BOUND:
            raise LocalError(f"{what} in state {self.state}")

    def _go(self, event: Event) -> None:
        following = STATES[self.state].get(event)
        if following is None:
            raise LocalError(f"{event} in state {self.state}")
        self.state = following

    def _invoke(self, now_ns: int, of: Callable[..., Any], *values: Any) -> int:
        self._invoke_id = (self._invoke_id + 1) & 0xFFFF
        invocation = of(self._security.sign(now_ns), self._invoke_id, *values)
        self._send(now_ns, invocation, self._invoke_id)
        return self._invoke_id

    def _send(self, now_ns: int, pdu: Any, awaited: int) -> None:
        self._tml.send(now_ns, self._out.build(pdu))
        self._awaited[awaited] = now_ns + int(self._binding.return_s * S_NS)

    # ------------------------------------------------------------ what comes

    def receive(self, now_ns: int, octets: bytes) -> list[Any]:
        """RemoteError: see above; at the next call if something came before it."""
        if self._damage is not None:
            raise self._damage
        found: list[Any] = []
        try:
            for pdu in self._tml.receive(now_ns, octets):
                self._take(now_ns, pdu, found)
        except RemoteError as error:
            self.state = State.ENDED
            self._damage = error
            if not found:
                raise
        return found

    def _take(self, now_ns: int, octets: bytes, found: list[Any]) -> None:
        try:
            pdu: Any = self._in.parse(octets)
        except RemoteError:
            self._tml.abort(AbortDiagnostic.ENCODING_ERROR)
            raise
        kind = cast("type[object]", type(pdu))
        if isinstance(pdu, common.PeerAbort):
            raise self._tml.aborted(pdu.diagnostic)
        pending = _PENDING.get(kind)
        if self.state not in (_ALLOWED[kind] if pending is None else (pending,)):
            self._tml.abort(AbortDiagnostic.PROTOCOL_ERROR)
            raise RemoteError(f"{kind.__name__} in state {self.state}", data=octets)
        content: tuple[Any, ...] = pdu.content if kind is frames.TransferBuffer else (pdu,)
        content = tuple(self._authentic(now_ns, one, octets) for one in content)
        if content == (pdu,) or kind is frames.TransferBuffer:
            self._accept(pdu, kind, pending)
        found += content

    def _authentic(self, now_ns: int, pdu: Any, octets: bytes) -> Any:
        """It, or what stands in its place."""
        try:
            self._security.check(pdu.credentials, now_ns, bind=isinstance(pdu, common.BindReturn))
        except RemoteError as error:
            self._discarded = str(error)
            return Discarded(getattr(pdu, "data", octets), self._discarded)
        return pdu

    def _accept(self, pdu: Any, kind: type[object], pending: State | None) -> None:
        try:
            self._check_responder(pdu)
        except RemoteError:
            self._tml.abort(AbortDiagnostic.UNEXPECTED_RESPONDER_ID)
            raise
        if pending is not None or hasattr(pdu, "invoke_id"):
            self._answered(pdu)
        if pending is not None:
            self._go(Event.REFUSED if isinstance(pdu.result, Refused) else Event.DONE)
        if isinstance(pdu, common.BindReturn) and pdu.result in VERSIONS:
            # The provider may answer with another version than was asked for.
            self._in = pdus.to_user(self.service, cast("int", pdu.result))

    def _check_responder(self, pdu: Any) -> None:
        wanted = self._security.peer
        if isinstance(pdu, common.BindReturn) and wanted and pdu.responder != wanted:
            raise RemoteError(f"{pdu.responder!r} answers, {wanted!r} wanted")

    def _answered(self, pdu: Any) -> None:
        if self._awaited.pop(getattr(pdu, "invoke_id", -1), None) is None:
            self._tml.abort(AbortDiagnostic.UNSOLICITED_INVOKE_ID)
            raise RemoteError(f"{type(pdu).__name__} that nothing asked for")

    def aborted(self, diagnostic: int) -> RemoteError:
        """The peer's urgent octet has come; what to raise."""
        self.state = State.ENDED
        return self._tml.aborted(diagnostic)

    # ------------------------------------------------------------ output and time

    @property
    def urgent(self) -> int | None:
        return self._tml.urgent

    def take_output(self) -> list[bytes]:
        return self._tml.take_output()

    @property
    def next_deadline_ns(self) -> int | None:
        if self.state is State.ENDED:
            return None
        deadlines = list(self._awaited.values())
        if self._tml.next_deadline_ns is not None:
            deadlines.append(self._tml.next_deadline_ns)
        return min(deadlines, default=None)

    def not_reading(self, now_ns: int) -> None:
        """There is something to be received, and nobody receives it now: the provider is neither
        silent, nor late with what it may have sent."""
        self._tml.heard(now_ns)
        least_ns = now_ns + int(self._binding.return_s * S_NS)
        self._awaited = {of: max(ns, least_ns) for of, ns in self._awaited.items()}

    def timeout(self, now_ns: int) -> None:
        """Heartbeats.  RemoteError: a return has not come in time, or nothing at all."""
        if self.state is State.ENDED:
            return
        if any(deadline_ns <= now_ns for deadline_ns in self._awaited.values()):
            self.abort(AbortDiagnostic.RETURN_TIMEOUT)
            since = f"; what came was discarded: {self._discarded}" if self._discarded else ""
            raise RemoteError(f"no return within {self._binding.return_s:g} s{since}")
        try:
            self._tml.timeout(now_ns)
        except RemoteError:
            self.state = State.ENDED
            raise


__all__ = ["STATES", "Binding", "Discarded", "Event", "State", "User"]
