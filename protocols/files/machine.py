"""What sender and receiver of one file have in common."""

# cfdp-py and spacepackets are annotated, but without py.typed.
# pyright: reportMissingTypeStubs=false
from __future__ import annotations

from collections import deque
from typing import Final

from cfdppy.mib import LocalEntityConfig, RemoteEntityConfigTable
from spacepackets.cfdp.defs import ConditionCode

from protocols.files.listening import INDICATIONS, Faults, Listener
from protocols.files.pdus import Peer, entity_id
from protocols.files.records import Record, TransferStore
from protocols.files.timers import CheckTimers, Timer, TransactionClock

_NS: Final = 1_000_000_000


def timer(clock: TransactionClock, seconds: float) -> Timer:
    return Timer(clock, round(seconds * _NS))


class Machine:
    """Mixed into a handler of cfdp-py.

    out: PDUs that wait to leave.  While any does no timer is looked at, and when the last one
    leaves timers begin anew: how often a thing was sent counts, not how long there was no pass.
    """

    record: Record
    out: deque[bytes]

    def prepare(
        self, record: Record, local: int, peer: Peer, store: TransferStore, clock: TransactionClock
    ) -> None:
        self.record = record
        self.store = store
        self.clock = clock
        self.peer = peer
        self.out = deque()
        self.faults = Faults()
        self.listener = Listener(store, record.key)
        self.local = LocalEntityConfig(entity_id(local), INDICATIONS, self.faults)
        self.remotes = RemoteEntityConfigTable([peer.configuration()])
        self.checks = CheckTimers(clock, peer.timing.interval_ns)
        self._heard_ns = clock.now_ns

    def retime(self) -> None:
        """The peer's timing has changed; timers that run keep theirs."""
        config = self.remotes.get_cfg(entity_id(self.peer.number))
        assert config is not None
        config.positive_ack_timer_interval_seconds = self.peer.timing.interval_ns / _NS
        config.nak_timer_interval_seconds = self.peer.timing.interval_ns / _NS

    def heard(self) -> None:
        self._heard_ns = self.clock.now_ns

    @property
    def inactive_ns(self) -> int:
        """When silence becomes a fault."""
        return self._heard_ns + self.peer.timing.inactivity_ns

    @property
    def done(self) -> bool:
        raise NotImplementedError

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        raise NotImplementedError

    def next_pdu(self, room: int) -> bytes | None:
        """What leaves next; None: nothing, or it is longer than `room`."""
        raise NotImplementedError

    def deadlines(self) -> list[int]:
        """Of the transaction's clock."""
        raise NotImplementedError

    def tick(self) -> None:
        """To be called when a deadline has passed."""
        raise NotImplementedError

    def left(self) -> None:
        """The last PDU of `out` has been taken."""
        raise NotImplementedError

    def cancel(self) -> None:
        raise NotImplementedError

    def condition(self) -> ConditionCode:
        """Of the end."""
        if self.listener.finished is not None:
            return self.listener.finished.finished_params.condition_code
        if self.record.cancelled:
            return ConditionCode.CANCEL_REQUEST_RECEIVED
        return self.faults.condition
