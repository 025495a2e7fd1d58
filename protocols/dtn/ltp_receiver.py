"""The receiving side of one LTP session, RFC 5326 §6 and §8.2."""

from __future__ import annotations

from enum import Enum, auto
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from protocols.dtn.ltp_parameters import (
    GreenSegmentReceived,
    ReceptionCancelled,
    RedPartReceived,
    ReportScope,
)
from protocols.dtn.ltp_segments import (
    CancelReason,
    CancelSegment,
    Claim,
    DataSegment,
    ReportSegment,
    SegmentType,
    SessionId,
    build_sdnv,
    build_segment,
)
from protocols.dtn.ltp_spans import Spans
from protocols.dtn.ltp_timers import Timer
from protocols.errors import LocalError

if TYPE_CHECKING:
    from protocols.dtn.ltp_engine import LtpEngine

#: Memory that a piece of a block costs beside its octets: counted against the receive buffer, so
#: that blocks sent octet by octet do not take a hundred times what they say.
PART_OVERHEAD: Final = 128
#: A claim of a block below 2^63 octets has two SDNVs of nine octets at most.
_REPORT_FIELDS_OCTETS: Final = 7


class ReceiverState(Enum):
    """§8.2; its RCV_RP and RCV_GP are passed within the arrival of one segment."""

    RECEIVING = auto()
    #: The whole red part is delivered and the block's end is known: reports may be unacknowledged.
    WAIT_ACKNOWLEDGEMENT = auto()
    CANCEL_SENT = auto()
    CLOSED = auto()


class ReceiverEvent(Enum):
    BLOCK_RECEIVED = auto()
    ACKNOWLEDGED = auto()
    CANCEL = auto()
    CANCELLED_BY_SENDER = auto()
    CANCEL_ENDED = auto()
    #: Nothing came for the inactivity limit after the red part was delivered.
    GIVEN_UP = auto()


RECEIVER_TABLE: Final[dict[ReceiverState, dict[ReceiverEvent, ReceiverState]]] = {
    ReceiverState.RECEIVING: {
        ReceiverEvent.BLOCK_RECEIVED: ReceiverState.WAIT_ACKNOWLEDGEMENT,
        ReceiverEvent.CANCEL: ReceiverState.CANCEL_SENT,
        ReceiverEvent.CANCELLED_BY_SENDER: ReceiverState.CLOSED,
        ReceiverEvent.GIVEN_UP: ReceiverState.CLOSED,
    },
    ReceiverState.WAIT_ACKNOWLEDGEMENT: {
        ReceiverEvent.ACKNOWLEDGED: ReceiverState.CLOSED,
        ReceiverEvent.CANCEL: ReceiverState.CANCEL_SENT,
        ReceiverEvent.CANCELLED_BY_SENDER: ReceiverState.CLOSED,
        ReceiverEvent.GIVEN_UP: ReceiverState.CLOSED,
    },
    ReceiverState.CANCEL_SENT: {
        ReceiverEvent.CANCELLED_BY_SENDER: ReceiverState.CLOSED,
        ReceiverEvent.CANCEL_ENDED: ReceiverState.CLOSED,
    },
    ReceiverState.CLOSED: {},
}


class Report:
    """One report segment that was issued; `lower` is where its scope begins."""

    __slots__ = ("acknowledged", "lower", "octets", "serial", "timer")

    def __init__(self, serial: int, lower: int, octets: bytes) -> None:
        self.serial = serial
        self.lower = lower
        self.octets = octets
        self.timer: Timer | None = None
        self.acknowledged = False


class ReceiverSession:
    """What has come of one block."""

    __slots__ = (
        "_by_checkpoint",
        "_cancel",
        "_client_service",
        "_delivered",
        "_engine",
        "_green",
        "_green_low",
        "_held",
        "_inactivity",
        "_last_ns",
        "_next_serial",
        "_parts",
        "_primary_upper",
        "_reason",
        "_red",
        "_repeats",
        "_reports",
        "_unacknowledged",
        "block_length",
        "end_serials",
        "red_length",
        "session",
        "state",
    )

    def __init__(
        self,
        engine: LtpEngine,
        session: SessionId,
        client_service: int,
        first_serial: int,
        now_ns: int,
    ) -> None:
        self._engine = engine
        self.session = session
        self.state = ReceiverState.RECEIVING
        self._client_service = client_service
        self._red = Spans()
        self._parts: list[tuple[int, bytes]] = []
        self._held = 0
        #: Known once the end of the red part, or of a block without one, has come.
        self.red_length: int | None = None
        self.block_length: int | None = None
        #: Serial numbers of the checkpoints that ended the red part unasked: a sender that numbers
        #: its sessions from 1 again after a restart is known by another one.
        self.end_serials: tuple[int, ...] = ()
        self._green = Spans()
        self._green_low: int | None = None
        self._delivered = False
        self._reports: dict[int, Report] = {}
        self._by_checkpoint: dict[int, list[Report]] = {}
        self._unacknowledged = 0
        self._repeats = 0
        self._next_serial = first_serial
        self._primary_upper = 0
        self._last_ns = now_ns
        self._cancel: Timer | None = None
        self._reason: int | None = None
        self._inactivity = Timer(self._inactive)
        engine.timers.start(now_ns, self._inactivity, engine.inactivity_limit_ns)

    def _move(self, event: ReceiverEvent) -> None:
        following = RECEIVER_TABLE[self.state].get(event)
        if following is None:
            raise LocalError(f"LTP session {self.session}: {event.name} while {self.state.name}")
        self.state = following

    @property
    def next_serial(self) -> int:
        return self._next_serial

    # --- data ------------------------------------------------------------------------------

    def data(self, now_ns: int, segment: DataSegment) -> None:
        if self.state is ReceiverState.CANCEL_SENT:
            return
        self._last_ns = now_ns
        if segment.client_service != self._client_service:
            self._engine.count("other_client_service")
            return
        start, stop = segment.offset, segment.offset + len(segment.data)
        red = segment.kind <= SegmentType.RED_EOB
        if self._is_miscoloured(start, stop, red):
            self.cancel(CancelReason.MISCOLORED)
            return
        if stop > self._engine.parameters.longest_block:
            self._engine.count("blocks_too_long")
            self.cancel(CancelReason.SYSTEM_CANCELLED)
            return
        if red:
            self._take_red(now_ns, segment, start, stop)
        else:
            self._take_green(segment, start, stop)

    def plain_red(self, now_ns: int, start: int, data: bytes) -> bool:
        """Red data that is no checkpoint, where `data` would do nothing but hold it; else False."""
        stop = start + len(data)
        ends = self.red_length
        if (
            self._delivered
            or self.state is not ReceiverState.RECEIVING
            or self._green_low is not None
            or stop > (self._engine.parameters.longest_block if ends is None else ends)
        ):
            return False
        self._last_ns = now_ns
        red = self._red
        if start == red.stop and start:
            red.add(start, stop)
            self._parts.append((start, data))
            held = stop - start + PART_OVERHEAD
            self._held += held
            self._engine.hold(held)
        else:
            self._hold(data, start, stop)
        if red.octets == ends:
            self._deliver()
            self._settle()
        return True

    def _is_miscoloured(self, start: int, stop: int, red: bool) -> bool:
        """§6.21, and data beyond the end that was said."""
        if red:
            low = self._green_low
            ends = self.red_length
            return (low is not None and stop > low) or (ends is not None and stop > ends)
        if self.block_length is not None and stop > self.block_length:
            return True
        return start < max(self._red.stop, self.red_length or 0)

    def _take_red(self, now_ns: int, segment: DataSegment, start: int, stop: int) -> None:
        if self.red_length is None and segment.kind >= SegmentType.RED_EORP:
            if stop < self._red.stop:
                self.cancel(CancelReason.MISCOLORED)
                return
            self.red_length = stop
        if segment.kind is SegmentType.RED_EOB:
            self.block_length = stop
        if not self._delivered:
            self._hold(segment.data, start, stop)
            if self._red.octets == self.red_length:
                self._deliver()
        if segment.kind is not SegmentType.RED:
            self._checkpoint(now_ns, segment, stop)
        self._settle()

    def _hold(self, data: bytes, start: int, stop: int) -> None:
        new = self._red.add(start, stop)
        for a, b in new:
            part = data if b - a == len(data) else data[a - start : b - start]
            self._parts.append((a, part))
        held = sum(b - a for a, b in new) + PART_OVERHEAD * len(new)
        self._held += held
        self._engine.hold(held)

    def _deliver(self) -> None:
        """§6.9, as soon as it is whole: not every sender's last segment is a checkpoint."""
        parts = self._parts
        if len(parts) > 1:
            parts.sort(key=itemgetter(0))
            data = b"".join([part for _, part in parts])
        else:
            data = parts[0][1] if parts else b""
        self._delivered = True
        self._parts = []
        self._engine.hold(-self._held)
        self._held = 0
        whole = self.block_length == self.red_length
        self._engine.notify(RedPartReceived(self.session, self._client_service, data, whole))

    def _take_green(self, segment: DataSegment, start: int, stop: int) -> None:
        last = segment.kind is SegmentType.GREEN_EOB
        if self._green_low is None or start < self._green_low:
            self._green_low = start
        if last:
            self.block_length = stop
        for a, b in self._green.add(start, stop):
            self._engine.notify(
                GreenSegmentReceived(
                    self.session,
                    self._client_service,
                    a,
                    segment.data[a - start : b - start],
                    last and b == stop,
                )
            )
        if len(self._green) * PART_OVERHEAD > self._engine.parameters.longest_block:
            self.cancel(CancelReason.SYSTEM_CANCELLED)
            return
        if self.red_length is None and self._green.covers(0, stop) and last:
            # All green: there is no end of a red part to wait for.
            self.red_length = 0
            self._delivered = True
        self._settle()

    def _settle(self) -> None:
        """Close when everything is there and every report is acknowledged, §6.14."""
        if self.state is ReceiverState.RECEIVING:
            length = self.block_length
            if not self._delivered or length is None or self.red_length is None:
                return
            if not self._green.covers(self.red_length, length):
                return
            self._move(ReceiverEvent.BLOCK_RECEIVED)
        if self.state is ReceiverState.WAIT_ACKNOWLEDGEMENT and not self._unacknowledged:
            self._move(ReceiverEvent.ACKNOWLEDGED)
            self._close(self.red_length or 0)

    # --- reports -----------------------------------------------------------------------------

    def _checkpoint(self, now_ns: int, segment: DataSegment, upper: int) -> None:
        """§6.11 for a new checkpoint, §6.8 for one that was answered before."""
        parameters = self._engine.parameters
        serial = segment.checkpoint_serial
        answered = self._by_checkpoint.get(serial)
        if answered is not None:
            self._repeats += 1
            if self._repeats > parameters.reports:
                self._stop(CancelReason.RETRANSMISSION_LIMIT)
                return
            for report in answered:
                self._send(report)
            return
        if len(self._reports) >= parameters.reports:
            self._stop(CancelReason.RETRANSMISSION_CYCLES)
            return
        lower = 0
        if parameters.report_scope is ReportScope.FULL:
            upper = max(upper, self._red.stop)
        elif segment.report_serial:
            answer_to = self._reports.get(segment.report_serial)
            lower = answer_to.lower if answer_to is not None else 0
        else:
            lower, self._primary_upper = self._primary_upper, max(upper, self._primary_upper)
        # Checkpoints out of order, and one sent anew without a report: from the beginning.
        if lower >= upper:
            lower = 0
        if segment.kind >= SegmentType.RED_EORP and not segment.report_serial:
            self.end_serials += (serial,)
        reports = self._issue(serial, lower, upper)
        if not reports:
            # So many pieces that no sender means to be told of them.
            self.cancel(CancelReason.SYSTEM_CANCELLED)
            return
        self._by_checkpoint[serial] = reports
        for report in reports:
            self._unacknowledged += 1
            self._send(report)

    def _issue(self, checkpoint_serial: int, lower: int, upper: int) -> list[Report]:
        """As many report segments as claims and size ask for, each with its part of the scope."""
        parameters = self._engine.parameters
        claim_octets = 2 * len(build_sdnv(upper))
        room = parameters.segment_size - 5 * 10 - _REPORT_FIELDS_OCTETS
        at_once = max(1, min(parameters.claims, room // claim_octets))
        spans = self._red.within(lower, upper)
        if len(spans) > at_once * (parameters.reports - len(self._reports)):
            return []
        reports: list[Report] = []
        for first in range(0, max(1, len(spans)), at_once):
            own = spans[first : first + at_once]
            is_last = first + at_once >= len(spans)
            stop = upper if is_last else own[-1][1]
            segment = ReportSegment(
                self.session,
                self._next_serial,
                checkpoint_serial,
                stop,
                lower,
                tuple([Claim(a - lower, b - a) for a, b in own]),
            )
            report = Report(self._next_serial, lower, build_segment(segment))
            self._reports[report.serial] = report
            reports.append(report)
            self._next_serial += 1
            lower = stop
        return reports

    def _send(self, report: Report) -> None:
        """To the link; the timer starts when the link takes it (§6.3)."""
        timer = None
        if not report.acknowledged:
            if report.timer is None:
                report.timer = Timer(lambda _now_ns: self._report_expired(report))
            timer = report.timer
        self._engine.send_control(
            report.octets, timer, copies=self._engine.parameters.report_copies
        )

    def _report_expired(self, report: Report) -> None:
        """§6.8 a."""
        timer = report.timer
        if timer is None or report.acknowledged:
            return
        timer.expiries += 1
        if timer.expiries > self._engine.parameters.retransmission_limit:
            self._stop(CancelReason.RETRANSMISSION_LIMIT)
            return
        self._send(report)

    def acknowledged(self, report_serial: int) -> None:
        """§6.14."""
        report = self._reports.get(report_serial)
        if report is None or report.acknowledged:
            return
        report.acknowledged = True
        self._unacknowledged -= 1
        if report.timer is not None:
            self._engine.timers.abandon(report.timer)
            report.timer = None
        self._settle()

    # --- the end ---------------------------------------------------------------------------

    def _inactive(self, now_ns: int) -> None:
        limit_ns = self._engine.inactivity_limit_ns
        if self.state is ReceiverState.CANCEL_SENT:
            return
        quiet_ns = now_ns - self._last_ns
        if quiet_ns < limit_ns:
            self._engine.timers.start(now_ns, self._inactivity, limit_ns - quiet_ns)
        else:
            self._stop(CancelReason.SYSTEM_CANCELLED)

    def _stop(self, reason: int) -> None:
        """A limit is reached.  Once the data is there, to cancel would have it sent again."""
        if not self._delivered:
            self.cancel(reason)
            return
        self._engine.count("sessions_given_up")
        self._move(ReceiverEvent.GIVEN_UP)
        self._close(self.red_length or 0)

    def cancel(self, reason: int) -> None:
        """§6.19 with a cancel segment from the receiver."""
        if self.state in (ReceiverState.CANCEL_SENT, ReceiverState.CLOSED):
            return
        self._move(ReceiverEvent.CANCEL)
        self._release()
        self._reason = reason
        segment = build_segment(CancelSegment(self.session, False, reason))
        self._cancel = self._engine.send_cancel(segment, self.cancel_ended)
        if not self._delivered:
            self._engine.notify(ReceptionCancelled(self.session, reason, False))

    def cancel_ended(self) -> None:
        """Acknowledged (§6.18), or sent as often as the limit allows (§6.16)."""
        if self.state is ReceiverState.CANCEL_SENT:
            self._move(ReceiverEvent.CANCEL_ENDED)
            self._close(0, self._reason)

    def cancelled(self, reason: int) -> None:
        """§6.17: the sender cancelled."""
        told = self.state is ReceiverState.CANCEL_SENT
        self._move(ReceiverEvent.CANCELLED_BY_SENDER)
        self._close(0)
        if not told and not self._delivered:
            self._engine.notify(ReceptionCancelled(self.session, reason, True))

    def _release(self) -> None:
        self._engine.hold(-self._held)
        self._held = 0
        self._parts = []
        self._engine.timers.stop(self._inactivity)
        for report in self._reports.values():
            if report.timer is not None:
                self._engine.timers.abandon(report.timer)
                report.timer = None
            report.acknowledged = True

    def _close(self, red_length: int, reason: int | None = None) -> None:
        """`red_length`: what a late checkpoint is told to have arrived, 0: it is told nothing."""
        self._release()
        if self._cancel is not None:
            self._engine.timers.abandon(self._cancel)
        self._engine.close_receiver(self, red_length, reason)
