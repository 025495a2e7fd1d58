"""The sending side of one LTP session, RFC 5326 §6 and §8.1."""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from protocols.dtn.ltp_parameters import TransmissionCancelled, TransmissionComplete
from protocols.dtn.ltp_segments import (
    CancelReason,
    CancelSegment,
    ReportAckSegment,
    ReportSegment,
    SegmentType,
    SessionId,
    build_header,
    build_sdnv,
    build_segment,
)
from protocols.dtn.ltp_spans import Spans
from protocols.dtn.ltp_timers import Timer
from protocols.errors import LocalError

if TYPE_CHECKING:
    from protocols.dtn.ltp_engine import LtpEngine

#: Two serial numbers of 32 bits, as SDNVs.
_SERIALS_OCTETS: Final = 10
_KINDS: Final = tuple(bytes((kind,)) for kind in range(8))


class SenderState(Enum):
    """§8.1: `SENDING` is its RP_XMIT and GP_XMIT, which differ in what the next segment is."""

    SENDING = auto()
    WAIT_REPORT = auto()
    CANCEL_SENT = auto()
    CLOSED = auto()


class SenderEvent(Enum):
    BLOCK_SENT = auto()
    COMPLETE = auto()
    CANCEL = auto()
    CANCELLED_BY_RECEIVER = auto()
    CANCEL_ENDED = auto()


SENDER_TABLE: Final[dict[SenderState, dict[SenderEvent, SenderState]]] = {
    SenderState.SENDING: {
        SenderEvent.BLOCK_SENT: SenderState.WAIT_REPORT,
        SenderEvent.COMPLETE: SenderState.CLOSED,
        SenderEvent.CANCEL: SenderState.CANCEL_SENT,
        SenderEvent.CANCELLED_BY_RECEIVER: SenderState.CLOSED,
    },
    SenderState.WAIT_REPORT: {
        SenderEvent.COMPLETE: SenderState.CLOSED,
        SenderEvent.CANCEL: SenderState.CANCEL_SENT,
        SenderEvent.CANCELLED_BY_RECEIVER: SenderState.CLOSED,
    },
    SenderState.CANCEL_SENT: {
        SenderEvent.CANCELLED_BY_RECEIVER: SenderState.CLOSED,
        SenderEvent.CANCEL_ENDED: SenderState.CLOSED,
    },
    SenderState.CLOSED: {},
}


class Checkpoint:
    """One checkpoint of the session; `cycle` counts the reports that led to it."""

    __slots__ = ("cycle", "kind", "report_serial", "serial", "start", "stop", "timer")

    def __init__(
        self, serial: int, kind: int, start: int, stop: int, cycle: int, report_serial: int
    ) -> None:
        self.serial = serial
        self.kind = kind
        self.start = start
        self.stop = stop
        self.cycle = cycle
        self.report_serial = report_serial
        self.timer: Timer | None = None


class SenderSession:
    """Segments of one block, and what its receiver said of them."""

    __slots__ = (
        "_acknowledged",
        "_block",
        "_cancel",
        "_checkpoints",
        "_cycles",
        "_engine",
        "_final_room",
        "_lowest_report",
        "_next_serial",
        "_offset",
        "_reports",
        "_resend",
        "_resent",
        "_room",
        "_room_sdnv",
        "_since_checkpoint",
        "_stall",
        "_tail",
        "queued",
        "red_length",
        "session",
        "state",
    )

    def __init__(
        self,
        engine: LtpEngine,
        session: SessionId,
        client_service: int,
        block: bytes,
        red_length: int,
        first_serial: int,
    ) -> None:
        self._engine = engine
        self.session = session
        self.red_length = red_length
        self.state = SenderState.SENDING
        #: The engine has this session in its queue for the link.
        self.queued = False
        self._block = block
        self._offset = 0
        self._acknowledged = Spans()
        #: Checkpoints by serial number: all of them, so that a late report still tells its cycle.
        self._checkpoints: dict[int, Checkpoint] = {}
        self._next_serial = first_serial
        self._reports: set[int] = set()
        #: (lower bound, serial number) of the report that reaches lowest.
        self._lowest_report: tuple[int, int] | None = None
        self._resend: deque[tuple[int, int, Checkpoint | None]] = deque()
        #: What was sent again, by cycle: one loss told by several reports is mended once a cycle.
        self._resent: dict[int, Spans] = {}
        self._cycles = 0
        self._since_checkpoint = 0
        #: Runs while nothing else would ever wake the session (a report lost for good).
        self._stall = Timer(self._stalled)
        self._cancel: Timer | None = None
        self._tail = build_header(0, session)[1:] + build_sdnv(client_service)
        length = len(build_sdnv(len(block)))
        self._room = engine.parameters.segment_size - 1 - len(self._tail) - 2 * length
        self._final_room = self._room - _SERIALS_OCTETS
        self._room_sdnv = build_sdnv(self._room)

    @property
    def block_octets(self) -> int:
        return len(self._block)

    def _move(self, event: SenderEvent) -> None:
        following = SENDER_TABLE[self.state].get(event)
        if following is None:
            raise LocalError(f"LTP session {self.session}: {event.name} while {self.state.name}")
        self.state = following

    @property
    def has_segments(self) -> bool:
        if self.state in (SenderState.CANCEL_SENT, SenderState.CLOSED):
            return False
        return bool(self._resend) or self._offset < len(self._block)

    # --- segments for the link -------------------------------------------------------------

    def take(self, now_ns: int, segments: list[bytes]) -> None:
        """Append the next data segment, and the copies of it that its parameters ask for."""
        if self._resend:
            start, stop, checkpoint = self._resend.popleft()
            if checkpoint is None:
                segments.append(self._build(SegmentType.RED, start, stop))
                return
        elif self._offset < self.red_length:
            start = self._offset
            stop, is_checkpoint = self._next_red(start)
            self._offset = stop
            if not is_checkpoint:
                segments.append(self._build(SegmentType.RED, start, stop))
                return
            checkpoint = self._checkpoint(start, stop, cycle=0, report_serial=0)
        else:
            start = self._offset
            stop = min(start + self._room, len(self._block))
            self._offset = stop
            last = stop == len(self._block)
            kind = SegmentType.GREEN_EOB if last else SegmentType.GREEN
            segments.append(self._build(kind, start, stop))
            if last:
                self._all_sent(now_ns)
            return
        self._send_checkpoint(now_ns, checkpoint, segments)
        if self._offset == len(self._block) and self.state is SenderState.SENDING:
            self._all_sent(now_ns)

    def _next_red(self, start: int) -> tuple[int, bool]:
        """The end of the next segment of the red part, and whether it is a checkpoint."""
        parameters = self._engine.parameters
        left = self.red_length - start
        final = parameters.final_checkpoints * self._final_room
        if left <= final:
            return start + min(left, self._final_room), True
        self._since_checkpoint += 1
        if self._since_checkpoint == parameters.checkpoint_every:
            self._since_checkpoint = 0
            return start + self._final_room, True
        return start + min(self._room, left - final), False

    def _checkpoint(self, start: int, stop: int, *, cycle: int, report_serial: int) -> Checkpoint:
        kind = SegmentType.RED_CHECKPOINT
        if stop == self.red_length:
            whole = self.red_length == len(self._block)
            kind = SegmentType.RED_EOB if whole else SegmentType.RED_EORP
        checkpoint = Checkpoint(self._next_serial, kind, start, stop, cycle, report_serial)
        self._next_serial += 1
        self._checkpoints[checkpoint.serial] = checkpoint
        return checkpoint

    def _build(self, kind: int, start: int, stop: int) -> bytes:
        length = stop - start
        return b"".join(
            (
                _KINDS[kind],
                self._tail,
                build_sdnv(start),
                self._room_sdnv if length == self._room else build_sdnv(length),
                self._block[start:stop],
            )
        )

    def _send_checkpoint(self, now_ns: int, checkpoint: Checkpoint, segments: list[bytes]) -> None:
        start, stop = checkpoint.start, checkpoint.stop
        segment = b"".join(
            (
                _KINDS[checkpoint.kind],
                self._tail,
                build_sdnv(start),
                build_sdnv(stop - start),
                build_sdnv(checkpoint.serial),
                build_sdnv(checkpoint.report_serial),
                self._block[start:stop],
            )
        )
        segments.extend([segment] * self._engine.parameters.checkpoint_copies)
        if checkpoint.timer is None:
            checkpoint.timer = Timer(lambda now: self._checkpoint_expired(now, checkpoint))
        self._engine.timers.start(now_ns, checkpoint.timer)

    def _all_sent(self, now_ns: int) -> None:
        if self._acknowledged.octets == self.red_length:
            self._complete()
        else:
            self._move(SenderEvent.BLOCK_SENT)
            self._watch(now_ns)

    def _complete(self) -> None:
        """§6.12: all is sent and the red part is known to be received."""
        self._move(SenderEvent.COMPLETE)
        self._close()
        self._engine.notify(TransmissionComplete(self.session))

    # --- reports -----------------------------------------------------------------------------

    def report(self, now_ns: int, report: ReportSegment) -> None:
        """§6.13.  The acknowledgement is the engine's: it is due for unknown sessions too."""
        if self.state in (SenderState.CANCEL_SENT, SenderState.CLOSED):
            return
        if report.report_serial in self._reports:
            return
        if report.upper_bound > self.red_length:
            self._engine.count("reports_beyond_block")
            return
        if len(self._reports) >= self._engine.parameters.reports:
            self.cancel(now_ns, CancelReason.RETRANSMISSION_CYCLES)
            return
        self._reports.add(report.report_serial)
        checkpoint = self._checkpoints.get(report.checkpoint_serial)
        if checkpoint is not None and checkpoint.timer is not None:
            self._engine.timers.stop(checkpoint.timer)
        lower = report.lower_bound
        lowest = (lower, report.report_serial)
        self._lowest_report = min(lowest, self._lowest_report or lowest)
        for offset, length in report.claims:
            self._acknowledged.add(lower + offset, lower + offset + length)
        if self._acknowledged.octets == self.red_length and self._offset == len(self._block):
            self._complete()
            return
        cycle = self._cycles if checkpoint is None else checkpoint.cycle
        self._mend(now_ns, lower, report.upper_bound, cycle + 1, report.report_serial)
        self._watch(now_ns)

    def _mend(self, now_ns: int, lower: int, upper: int, cycle: int, report_serial: int) -> None:
        """Queue again what the receiver lacks in the scope; the last segment is a checkpoint."""
        upper = min(upper, self._offset)
        missing = self._acknowledged.gaps(lower, upper)
        if not missing:
            return
        resent = self._resent.setdefault(cycle, Spans())
        again = [gap for span in missing for gap in resent.gaps(*span)]
        if not again:
            return
        if cycle > self._engine.parameters.cycle_limit:
            self.cancel(now_ns, CancelReason.RETRANSMISSION_CYCLES)
            return
        self._cycles = max(self._cycles, cycle)
        # A cycle two before is over: its reports can say nothing that is not known.
        self._resent.pop(cycle - 2, None)
        for start, stop in again:
            resent.add(start, stop)
        last_start, last_stop = again.pop()
        split = last_start + max(
            0, -(-(last_stop - last_start - self._final_room) // self._room) * self._room
        )
        if split > last_start:
            split = min(split, last_stop - 1)
            again.append((last_start, split))
        for start, stop in again:
            for at in range(start, stop, self._room):
                self._resend.append((at, min(at + self._room, stop), None))
        checkpoint = self._checkpoint(split, last_stop, cycle=cycle, report_serial=report_serial)
        self._resend.append((split, last_stop, checkpoint))
        self._engine.enqueue(self)

    # --- timers ----------------------------------------------------------------------------

    def _checkpoint_expired(self, now_ns: int, checkpoint: Checkpoint) -> None:
        """§6.7."""
        timer = checkpoint.timer
        if timer is None or self.state in (SenderState.CANCEL_SENT, SenderState.CLOSED):
            return
        timer.expiries += 1
        discretionary = checkpoint.kind == SegmentType.RED_CHECKPOINT
        if discretionary and self._acknowledged.covers(checkpoint.start, checkpoint.stop):
            self._watch(now_ns)
            return
        if timer.expiries > self._engine.parameters.retransmission_limit:
            self.cancel(now_ns, CancelReason.RETRANSMISSION_LIMIT)
            return
        self._resend.append((checkpoint.start, checkpoint.stop, checkpoint))
        self._engine.enqueue(self)

    def _watch(self, now_ns: int) -> None:
        """If nothing is queued and no checkpoint awaits its report, wait for reports' own timers.

        A receiver that split a report over several segments and lost one for good would leave the
        session open for ever: after two times to an answer we ask again.
        """
        if self._is_waiting_for_nothing():
            timers = self._engine.timers
            timers.start(now_ns, self._stall, 2 * timers.answer_time_ns)

    def _is_waiting_for_nothing(self) -> bool:
        running = self._engine.timers.is_running
        return (
            self.state is SenderState.WAIT_REPORT
            and not self._resend
            and not any(c.timer and running(c.timer) for c in self._checkpoints.values())
        )

    def _stalled(self, now_ns: int) -> None:
        if not self._is_waiting_for_nothing():
            return
        self._stall.expiries += 1
        if self._stall.expiries > self._engine.parameters.retransmission_limit:
            self.cancel(now_ns, CancelReason.RETRANSMISSION_LIMIT)
            return
        # A checkpoint that answers a report is of this session beyond doubt, even to a receiver
        # that has closed it and looks out for numbers used again.
        serial = self._lowest_report[1] if self._lowest_report else 0
        self._mend(now_ns, 0, self.red_length, self._cycles + 1, serial)

    # --- cancellation ------------------------------------------------------------------------

    def cancel(self, now_ns: int, reason: int) -> None:
        """§6.19: the block's sender gives up, or its client does."""
        if self.state in (SenderState.CANCEL_SENT, SenderState.CLOSED):
            return
        self._move(SenderEvent.CANCEL)
        self._release()
        segment = build_segment(CancelSegment(self.session, True, reason))
        self._cancel = self._engine.send_cancel(segment, self._cancel_ended)
        self._engine.notify(TransmissionCancelled(self.session, reason, False))

    def _cancel_ended(self) -> None:
        """Acknowledged (§6.18), or sent as often as the limit allows (§6.16)."""
        if self.state is SenderState.CANCEL_SENT:
            self._move(SenderEvent.CANCEL_ENDED)
            self._close()

    def cancel_acknowledged(self) -> None:
        if self.state is SenderState.CANCEL_SENT:
            self._cancel_ended()

    def cancelled(self, reason: int) -> None:
        """§6.17: the receiver cancelled."""
        if self.state is SenderState.CLOSED:
            return
        told = self.state is SenderState.CANCEL_SENT
        self._move(SenderEvent.CANCELLED_BY_RECEIVER)
        self._close()
        if not told:
            self._engine.notify(TransmissionCancelled(self.session, reason, True))

    def _release(self) -> None:
        """Give up the block and every timer."""
        self._engine.released(len(self._block))
        self._block = b""
        self._offset = 0
        self._resend.clear()
        self._resent.clear()
        self._engine.timers.stop(self._stall)
        for checkpoint in self._checkpoints.values():
            if checkpoint.timer is not None:
                self._engine.timers.stop(checkpoint.timer)
        self._checkpoints.clear()

    def _close(self) -> None:
        self._release()
        if self._cancel is not None:
            self._engine.timers.abandon(self._cancel)
        self._engine.close_sender(self)


def acknowledge(report: ReportSegment) -> bytes:
    """§6.13: every report is acknowledged, known session or not."""
    return build_segment(ReportAckSegment(report.session, report.report_serial))
