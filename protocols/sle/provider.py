"""The provider of SLE transfer services: octets in, PDUs out; no socket, no clock.

    instance = FrameService(ServiceType.RAF, "sagr=1.spack=7.rsl-fg=1.raf=onlc1")
    provider = Provider([instance], {"L4RG": security})      # one a TCP connection
    provider.connected(now_ns)
    for pdu in provider.receive(now_ns, octets): …           # BindInvocation, RafStart, …
    instance.deliver(now_ns, frame, ert_ns)                  # while it is started
    to_send = provider.take_output(); provider.timeout(now_ns); provider.next_deadline_ns

Service instances live longer than connections; one is bound to one connection at a time.  What
`receive` gives has been accepted and answered.  RemoteError: the association has ended; `urgent` is
then what the user is to be told (see `tml`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from protocols.errors import LocalError, RemoteError
from protocols.sle import common, pdus
from protocols.sle.ber import OneOf
from protocols.sle.common import (
    VERSIONS,
    AbortDiagnostic,
    BindDiagnostic,
    Refused,
    ServiceType,
)
from protocols.sle.credentials import Security
from protocols.sle.parameters import GetParameterReturn, Name, Parameter, table
from protocols.sle.tml import S_NS, Heartbeat, Tml


class State(StrEnum):
    """Of a service instance (911.1-B §4)."""

    UNBOUND = "unbound"
    READY = "ready"
    ACTIVE = "active"


class Event(StrEnum):
    BOUND = "BIND accepted"
    STARTED = "START accepted"
    STOPPED = "STOP"
    UNBOUND = "UNBIND, abort, or the connection is lost"


#: {state: {event: next}}; what is not named is not allowed.
STATES: Final = {
    State.UNBOUND: {Event.BOUND: State.READY},
    State.READY: {Event.STARTED: State.ACTIVE, Event.UNBOUND: State.UNBOUND},
    State.ACTIVE: {Event.STOPPED: State.READY, Event.UNBOUND: State.UNBOUND},
}

#: Send a PDU of which all is known but the credentials, which come first.
Sender = Callable[..., None]


class Service(ABC):
    """One service instance; see `FrameService` and `CltuService`.

    minimum_cycle_s: between status reports, at least.
    """

    def __init__(
        self,
        service: ServiceType,
        identifier: str,
        *,
        versions: Sequence[int] = VERSIONS,
        minimum_cycle_s: int = 2,
        return_timeout_s: int = 30,
    ) -> None:
        common.INSTANCE_IDENTIFIER.build(identifier)
        self.service = service
        self.identifier = identifier
        self.versions = tuple(versions)
        self.state = State.UNBOUND
        self.version = self.versions[-1]
        self.provider: Provider | None = None
        #: Why START is refused, if it is.
        self.out_of_service: Refused | None = None
        self._minimum_cycle_s = minimum_cycle_s
        self._return_timeout_s = return_timeout_s
        self._cycle_s = 0
        self._report_ns: int | None = None

    def go(self, event: Event) -> None:
        """LocalError: the state does not allow it."""
        following = STATES[self.state].get(event)
        if following is None:
            raise LocalError(f"{event} in state {self.state}")
        self.state = following

    def bind(self, provider: Provider, version: int) -> None:
        self.go(Event.BOUND)
        self.provider, self.version = provider, version

    def unbind(self) -> None:
        """Of whatever way the association ends."""
        self.go(Event.UNBOUND)
        self.stopped()
        self.provider = None
        self._cycle_s, self._report_ns = 0, None

    def _send(self, now_ns: int, of: Callable[..., Any], *values: Any) -> None:
        """An invocation to the user, if one is bound."""
        if self.provider is not None:
            self.provider.send(now_ns, of(self.provider.sign(now_ns), *values))

    # ------------------------------------------------------------ the service's own

    @abstractmethod
    def start(self, now_ns: int, pdu: Any) -> tuple[Callable[..., Any], Any]:
        """The return's class, and its result: `Refused` or a positive one."""

    @abstractmethod
    def stopped(self) -> None:
        """It is not active any more."""

    @abstractmethod
    def report(self, now_ns: int) -> None:
        """Send a status report."""

    @abstractmethod
    def parameters(self) -> dict[Name, Any]:
        """Values of GET-PARAMETER, but for the reporting cycle and what all services have."""

    def other(self, now_ns: int, pdu: Any) -> None:
        """An operation that this service alone has.  RemoteError: not now."""
        raise RemoteError(f"{type(pdu).__name__} in state {self.state}")

    def service_deadline_ns(self) -> int | None:
        return None

    def service_timeout(self, now_ns: int) -> None:
        """Its deadline may be over."""
        return

    # ------------------------------------------------------------ operations of all services

    def take(self, now_ns: int, pdu: Any) -> None:
        """Carry out an invocation and answer it.  RemoteError: it is not allowed now."""
        if hasattr(pdu, "start_ns") or hasattr(pdu, "first_cltu"):
            self._start(now_ns, pdu)
        elif isinstance(pdu, common.StopInvocation):
            if self.state is not State.ACTIVE:
                raise RemoteError(f"STOP in state {self.state}")
            self.stopping(now_ns)
            self.go(Event.STOPPED)
            self.stopped()
            self._send(now_ns, common.StopReturn, pdu.invoke_id)
        elif isinstance(pdu, common.ScheduleStatusReport):
            self._schedule(now_ns, pdu)
        elif isinstance(pdu, common.GetParameter):
            self._get_parameter(now_ns, pdu)
        else:
            self.other(now_ns, pdu)

    def stopping(self, now_ns: int) -> None:
        """What is still held goes before the return of STOP."""
        return

    def _start(self, now_ns: int, pdu: Any) -> None:
        if self.state is not State.READY:
            raise RemoteError(f"START in state {self.state}")
        of, result = self.start(now_ns, pdu)
        if not isinstance(result, Refused):
            self.go(Event.STARTED)
        self._send(now_ns, of, pdu.invoke_id, result)

    def _schedule(self, now_ns: int, pdu: common.ScheduleStatusReport) -> None:
        refused: Refused | None = None
        if pdu.request == common.STOP_REPORTS:
            refused = None if self._cycle_s else Refused(1)
            self._cycle_s, self._report_ns = 0, None
        elif pdu.request > 0:
            if pdu.request < self._minimum_cycle_s:
                refused = Refused(2)
            else:
                self._cycle_s, self._report_ns = pdu.request, now_ns + pdu.request * S_NS
        self._send(now_ns, common.ScheduleStatusReportReturn, pdu.invoke_id, refused)
        if refused is None and pdu.request != common.STOP_REPORTS:
            self.report(now_ns)

    def _get_parameter(self, now_ns: int, pdu: common.GetParameter) -> None:
        values = {
            **self.parameters(),
            Name.REPORTING_CYCLE: self._cycle_s or None,
            Name.RETURN_TIMEOUT: self._return_timeout_s,
            Name.MINIMUM_REPORTING_CYCLE: self._minimum_cycle_s,
        }
        known = {name for name, _ in table(self.service, self.version).values()}
        result: Parameter | Refused = Refused(0)
        if pdu.name in known and pdu.name in values:
            name = Name(pdu.name)
            result = Parameter(name, values[name])
        self._send(now_ns, GetParameterReturn, pdu.invoke_id, result)

    @property
    def next_deadline_ns(self) -> int | None:
        found = (self._report_ns, self.service_deadline_ns())
        return min((deadline for deadline in found if deadline is not None), default=None)

    def timeout(self, now_ns: int) -> None:
        if self._report_ns is not None and self._report_ns <= now_ns:
            self._report_ns = now_ns + self._cycle_s * S_NS
            self.report(now_ns)
        self.service_timeout(now_ns)


class Provider:
    """One association, the responder's end."""

    def __init__(
        self,
        services: Sequence[Service],
        users: Mapping[str, Security],
        *,
        identifier: str,
        port: str = "",
        heartbeat: Heartbeat | None = None,
    ) -> None:
        """users: who may bind, and what was agreed with each; identifier: ours; port: the logical
        name that BIND has to say, empty: any."""
        self.service: Service | None = None
        self.ended = False
        self._services = {service.identifier: service for service in services}
        self._users = users
        self._identifier = identifier
        self._port = port
        self._tml = Tml(initiator=False, heartbeat=heartbeat)
        self._security = Security(identifier)
        self._in: OneOf | None = None
        self._out: OneOf | None = None

    def connected(self, now_ns: int) -> None:
        self._tml.connected(now_ns)

    def sign(self, now_ns: int) -> bytes | None:
        return self._security.sign(now_ns)

    def send(self, now_ns: int, pdu: Any) -> None:
        """A PDU of the service that is bound."""
        assert self._out is not None
        self._tml.send(now_ns, self._out.build(pdu))

    def receive(self, now_ns: int, octets: bytes) -> list[Any]:
        found: list[Any] = []
        try:
            for pdu in self._tml.receive(now_ns, octets):
                found.append(self._take(now_ns, pdu))
        except RemoteError:
            self.lost()
            raise
        return found

    def _take(self, now_ns: int, octets: bytes) -> Any:
        try:
            # Before BIND the service is not known, but BIND itself is the same in all.
            pdu = (self._in or pdus.to_provider(ServiceType.RAF)).parse(octets)
        except RemoteError:
            self._tml.abort(AbortDiagnostic.ENCODING_ERROR)
            raise
        if isinstance(pdu, common.PeerAbort):
            raise self._tml.aborted(pdu.diagnostic)
        if isinstance(pdu, common.BindInvocation):
            self._bind(now_ns, pdu, octets)
            return pdu
        if self.service is None:
            self._tml.abort(AbortDiagnostic.PROTOCOL_ERROR)
            raise RemoteError(f"{type(pdu).__name__} before BIND", data=octets)
        self._check(pdu.credentials, now_ns, bind=False)
        try:
            if isinstance(pdu, common.UnbindInvocation):
                self._unbind(now_ns)
            else:
                self.service.take(now_ns, pdu)
        except RemoteError:
            self._tml.abort(AbortDiagnostic.PROTOCOL_ERROR)
            raise
        return pdu

    def _check(self, credentials: bytes | None, now_ns: int, *, bind: bool) -> None:
        try:
            self._security.check(credentials, now_ns, bind=bind)
        except RemoteError:
            self._tml.abort(AbortDiagnostic.ACCESS_DENIED)
            raise

    def _bind(self, now_ns: int, pdu: common.BindInvocation, octets: bytes) -> None:
        if self.service is not None:
            self._tml.abort(AbortDiagnostic.PROTOCOL_ERROR)
            raise RemoteError("BIND twice", data=octets)
        refused = self._refusal(pdu)
        if pdu.initiator in self._users:
            self._security = self._users[pdu.initiator]
            self._check(pdu.credentials, now_ns, bind=True)
        kind = ServiceType(pdu.service) if pdu.service in list(ServiceType) else ServiceType.RAF
        version = pdu.version if pdu.version in VERSIONS else VERSIONS[-1]
        self._in, self._out = pdus.to_provider(kind), pdus.to_user(kind, version)
        if refused is None:
            self.service = self._services[pdu.instance]
            self.service.bind(self, version)
        self.send(
            now_ns,
            common.BindReturn(
                self._security.sign(now_ns, bind=True),
                self._identifier,
                version if refused is None else Refused(refused),
            ),
        )
        if refused is not None:
            self._in = None

    def _refusal(self, pdu: common.BindInvocation) -> BindDiagnostic | None:
        service = self._services.get(pdu.instance)
        if pdu.initiator not in self._users or (self._port and pdu.responder_port != self._port):
            return BindDiagnostic.ACCESS_DENIED
        if pdu.service not in list(ServiceType):
            return BindDiagnostic.SERVICE_TYPE_NOT_SUPPORTED
        if service is None:
            return BindDiagnostic.NO_SUCH_SERVICE_INSTANCE
        if service.service != pdu.service:
            return BindDiagnostic.INCONSISTENT_SERVICE_TYPE
        if pdu.version not in service.versions:
            return BindDiagnostic.VERSION_NOT_SUPPORTED
        return None if service.state is State.UNBOUND else BindDiagnostic.ALREADY_BOUND

    def _unbind(self, now_ns: int) -> None:
        assert self.service is not None
        if self.service.state is not State.READY:
            raise RemoteError(f"UNBIND in state {self.service.state}")
        self.send(now_ns, common.UnbindReturn(self.sign(now_ns)))
        self.lost()

    def abort(self, diagnostic: AbortDiagnostic) -> None:
        self._tml.abort(diagnostic)
        self.lost()

    def aborted(self, diagnostic: int) -> RemoteError:
        """The peer's urgent octet has come; what to raise."""
        self.lost()
        return self._tml.aborted(diagnostic)

    def lost(self) -> None:
        """The connection is no more, or of no more use: the service instance is free."""
        self.ended = True
        if self.service is not None:
            self.service.unbind()
            self.service = None

    @property
    def urgent(self) -> int | None:
        return self._tml.urgent

    def take_output(self) -> list[bytes]:
        return self._tml.take_output()

    @property
    def next_deadline_ns(self) -> int | None:
        found = [None if self.ended else self._tml.next_deadline_ns]
        if self.service is not None:
            found.append(self.service.next_deadline_ns)
        return min((deadline for deadline in found if deadline is not None), default=None)

    def timeout(self, now_ns: int) -> None:
        """Heartbeats, reports, buffers.  RemoteError: the user has been silent for too long."""
        if self.ended:
            return
        if self.service is not None:
            self.service.timeout(now_ns)
        try:
            self._tml.timeout(now_ns)
        except RemoteError:
            self.lost()
            raise


__all__ = ["STATES", "Event", "Provider", "Service", "State"]
