"""Forward CLTU on the provider's side: CLTUs that are accepted, and what became of them.

for pdu in provider.receive(now_ns, octets): …      # accepted ones wait in `service.waiting`
service.radiated(now_ns, cltu_id, start_ns, stop_ns)
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from protocols.sle import cltu
from protocols.sle.ber import Chosen
from protocols.sle.cltu import (
    CltuProduction,
    CltuStatus,
    EventDiagnostic,
    StartDiagnostic,
    TransferDiagnostic,
    Uplink,
)
from protocols.sle.common import Refused, ServiceType
from protocols.sle.parameters import DeliveryMode, Name
from protocols.sle.provider import Service, State

_NOTIFIED: Final = {
    CltuProduction.OPERATIONAL: "operational",
    CltuProduction.INTERRUPTED: "interrupted",
    CltuProduction.HALTED: "halted",
}


class CltuService(Service):
    """One instance.  buffer: octets of CLTUs that may wait; longest: octets of one; events: those
    that THROW-EVENT knows."""

    def __init__(
        self,
        identifier: str,
        *,
        buffer: int = 1 << 20,
        longest: int = 4096,
        events: Collection[int] = (),
        **more: Any,
    ) -> None:
        super().__init__(ServiceType.CLTU, identifier, **more)
        self.production = CltuProduction.OPERATIONAL
        self.uplink = Uplink.NOMINAL
        #: Accepted, by their ids; `radiated` and `expired` take them out.
        self.waiting: dict[int, cltu.TransferData] = {}
        self._buffer = buffer
        self._longest = longest
        self._events = events
        self._expected = self._expected_event = 0
        self._last_processed: cltu.LastProcessed | None = None
        self._last_ok: cltu.LastOk | None = None
        self._received = self._processed = self._radiated = 0

    # ------------------------------------------------------------ the owner's

    def radiated(self, now_ns: int, cltu_id: int, start_ns: int, stop_ns: int) -> None:
        """It has gone up."""
        pdu = self.waiting.pop(cltu_id)
        self._processed += 1
        self._radiated += 1
        self._last_processed = cltu.LastProcessed(cltu_id, start_ns, CltuStatus.RADIATED)
        self._last_ok = cltu.LastOk(cltu_id, stop_ns)
        if pdu.notification is cltu.SlduNotification.PRODUCE:
            self._notify(now_ns, Chosen("cltu_radiated"))
        if not self.waiting:
            self._notify(now_ns, Chosen("buffer_empty"))

    def expired(self, now_ns: int, cltu_id: int) -> None:
        """Its latest time was over before its radiation could begin."""
        self.waiting.pop(cltu_id)
        self._processed += 1
        self._last_processed = cltu.LastProcessed(cltu_id, None, CltuStatus.EXPIRED)
        self._notify(now_ns, Chosen("expired"))

    def event_done(self, now_ns: int, invocation: int, *, completed: bool) -> None:
        """The actions of an event are over."""
        name = "actions_completed" if completed else "actions_not_completed"
        self._notify(now_ns, Chosen(name, invocation))

    def set_production(self, now_ns: int, production: CltuProduction) -> None:
        """Also told to the user, if it changes."""
        if production is not self.production:
            self.production = production
            if production in _NOTIFIED:
                self._notify(now_ns, Chosen(_NOTIFIED[production]))

    def _notify(self, now_ns: int, notification: Chosen) -> None:
        self._send(now_ns, cltu.AsyncNotify, notification, *self._state())

    def _state(self) -> tuple[Any, ...]:
        return self._last_processed, self._last_ok, self.production, self.uplink

    # ------------------------------------------------------------ the service's

    def start(self, now_ns: int, pdu: cltu.CltuStart) -> tuple[Callable[..., Any], Any]:
        refused = self.out_of_service
        if refused is None and self.production is not CltuProduction.OPERATIONAL:
            refused = Refused(StartDiagnostic.UNABLE_TO_COMPLY)
        if refused is None:
            self._expected = pdu.first_cltu
        # Times of an answer are to the microsecond in all versions.
        now_ns -= now_ns % 1_000
        return cltu.CltuStartReturn, refused or cltu.RadiationTimes(now_ns, None)

    def stopped(self) -> None:
        self.waiting.clear()

    def report(self, now_ns: int) -> None:
        counts = (self._received, self._processed, self._radiated, self._free)
        self._send(now_ns, cltu.CltuStatusReport, *self._state(), *counts)

    @property
    def _free(self) -> int:
        return self._buffer - sum(len(pdu.data) for pdu in self.waiting.values())

    def other(self, now_ns: int, pdu: Any) -> None:
        if isinstance(pdu, cltu.ThrowEvent):
            self._throw(now_ns, pdu)
        elif self.state is State.ACTIVE:
            self._transfer(now_ns, pdu)
        else:
            super().other(now_ns, pdu)

    def _transfer(self, now_ns: int, pdu: cltu.TransferData) -> None:
        refused = self._refusal(now_ns, pdu)
        if refused is None:
            self._expected = (pdu.cltu + 1) & 0xFFFF_FFFF
            self._received += 1
            self.waiting[pdu.cltu] = pdu
        result = None if refused is None else Refused(refused)
        self._send(
            now_ns, cltu.TransferDataReturn, pdu.invoke_id, self._expected, self._free, result
        )

    def _refusal(self, now_ns: int, pdu: cltu.TransferData) -> TransferDiagnostic | None:
        if self.production is not CltuProduction.OPERATIONAL:
            return TransferDiagnostic.UNABLE_TO_PROCESS
        if pdu.cltu != self._expected:
            return TransferDiagnostic.OUT_OF_SEQUENCE
        if pdu.latest_ns is not None:
            if pdu.earliest_ns is not None and pdu.earliest_ns > pdu.latest_ns:
                return TransferDiagnostic.INCONSISTENT_TIME_RANGE
            if pdu.latest_ns < now_ns:
                return TransferDiagnostic.LATE
        if len(pdu.data) > self._longest:
            return TransferDiagnostic.CLTU_ERROR
        if len(pdu.data) > self._free:
            return TransferDiagnostic.UNABLE_TO_STORE
        return None

    def _throw(self, now_ns: int, pdu: cltu.ThrowEvent) -> None:
        refused: EventDiagnostic | None = None
        if not self._events:
            refused = EventDiagnostic.OPERATION_NOT_SUPPORTED
        elif pdu.invocation != self._expected_event:
            refused = EventDiagnostic.EVENT_INVOCATION_ID_OUT_OF_SEQUENCE
        elif pdu.event not in self._events:
            refused = EventDiagnostic.NO_SUCH_EVENT
        else:
            self._expected_event += 1
        result = None if refused is None else Refused(refused)
        self._send(now_ns, cltu.ThrowEventReturn, pdu.invoke_id, self._expected_event, result)

    def parameters(self) -> dict[Name, Any]:
        values: dict[Name, Any] = {
            Name.ACQUISITION_SEQUENCE_LENGTH: 0,
            Name.BIT_LOCK_REQUIRED: 1,
            Name.DELIVERY_MODE: DeliveryMode.FORWARD_ONLINE,
            Name.EXPECTED_CLTU_ID: self._expected,
            Name.EXPECTED_EVENT_INVOCATION_ID: self._expected_event,
            Name.MAXIMUM_CLTU_LENGTH: self._longest,
            Name.MINIMUM_DELAY_TIME: 0,
            Name.NOTIFICATION_MODE: 1,
            Name.PLOP_1_IDLE_LENGTH: 0,
            Name.PLOP_IN_EFFECT: 1,
            Name.PROTOCOL_ABORT_MODE: 0,
            Name.RF_AVAILABLE_REQUIRED: 1,
        }
        if self.version > 4:
            values[Name.CLCW_CHANNEL] = values[Name.CLCW_PHYSICAL_CHANNEL] = None
        return values


__all__ = ["CltuService"]
