"""LTP with one remote engine, RFC 5326 and CCSDS 734.1-B: sessions both ways, without I/O or clock.

    engine = LtpEngine(1, 2, LtpParameters(one_way_light_time_s=499), entropy=os.urandom(32))
    engine.send(now_ns, block)              # a session of its own for each block
    for segment in engine.take(now_ns): …   # whenever the link can transmit
    engine.receive(now_ns, segment)         # whenever one has come
    engine.timeout(now_ns)                  # at engine.next_deadline_ns
    for notice in engine.notices(): …       # after each of these

Link state cues (§5) are `take` (a segment leaves), `link` (we may transmit or not, §6.1, §6.4) and
`remote_link` (the remote may, §6.5, §6.6), from the contact plan.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, NamedTuple

from protocols.dtn.ltp_parameters import SECOND_NS, LtpParameters, Notice
from protocols.dtn.ltp_receiver import ReceiverSession
from protocols.dtn.ltp_segments import (
    SDNV_LIMIT,
    SERIAL_LIMIT,
    CancelAckSegment,
    CancelReason,
    CancelSegment,
    Claim,
    ClientService,
    DataSegment,
    ReportAckSegment,
    ReportSegment,
    Segment,
    SegmentType,
    SessionId,
    build_header,
    build_sdnv,
    build_segment,
    parse_segment,
)
from protocols.dtn.ltp_sender import SenderSession, acknowledge
from protocols.dtn.ltp_timers import Timer, Timers
from protocols.errors import LocalError, RemoteError

#: First serial and session numbers are drawn below this: four octets as SDNVs, and no overflow of
#: 32 bits within a session.
FIRST_NUMBERS: Final = 1 << 28


class _Control(NamedTuple):
    """A segment of the internal operations traffic, which goes before data."""

    octets: bytes
    timer: Timer | None
    copies: int


class _Closed(NamedTuple):
    """What a receiving session leaves behind.

    red_length: what a late checkpoint is told to have arrived, 0: nothing is said.  reason: we
    cancelled it, and say so again.
    """

    closed_ns: int
    red_length: int
    next_serial: int
    end_serials: tuple[int, ...]
    reason: int | None


@dataclass(frozen=True, slots=True)
class LtpStatistics:
    """`sent` and `received` by segment type's name; `dropped` by why."""

    sending: int
    receiving: int
    closed: int
    timers: int
    queued_control: int
    send_buffer: int
    receive_buffer: int
    segments_sent: int
    segments_received: int
    dropped: dict[str, int]


def _is_reused(segment: DataSegment, closed: _Closed) -> bool:
    """A sender that was restarted counts its sessions from 1 again: this is another block.

    The end of its red part has another serial number than the one that we knew, and does not
    answer a report of ours.  What came before is dropped, is reported missing, and comes again.
    """
    return (
        closed.red_length > 0
        and SegmentType.RED_EORP <= segment.kind <= SegmentType.RED_EOB
        and not segment.report_serial
        and segment.checkpoint_serial not in closed.end_serials
    )


class LtpEngine:
    """This engine's sessions with one remote engine (a span).

    engine_id, remote_id: below 2^64.  entropy: octets that nobody else knows, for serial and
    session numbers (§3.2); another at every start, so that numbers of before are not used again.
    """

    def __init__(
        self, engine_id: int, remote_id: int, parameters: LtpParameters, *, entropy: bytes
    ) -> None:
        for name, value in (("engine_id", engine_id), ("remote_id", remote_id)):
            if not 0 <= value < SDNV_LIMIT:
                raise LocalError(f"LTP {name} {value}: 0 to 2^64 - 1 wanted")
        if engine_id == remote_id:
            raise LocalError(f"LTP engine {engine_id} with itself: two identifiers wanted")
        self.engine_id = engine_id
        self.remote_id = remote_id
        self.parameters = parameters
        self.timers = Timers(
            round(parameters.one_way_light_time_s * SECOND_NS),
            round(parameters.margin_s * SECOND_NS),
        )
        self._entropy = blake2b(entropy, digest_size=32).digest()
        self._drawn = 0
        self._next_session = self._draw()
        self._senders: dict[int, SenderSession] = {}
        self._receivers: dict[int, ReceiverSession] = {}
        self._closed: OrderedDict[int, _Closed] = OrderedDict()
        self._control: deque[_Control] = deque()
        self._data: deque[SenderSession] = deque()
        self._notices: list[Notice] = []
        self._transmits = True
        self._send_octets = 0
        self._held_octets = 0
        self._sent = 0
        self._received = 0
        self._dropped: Counter[str] = Counter()
        #: The session of the last data segment, and what stands between type and offset in its
        #: segments: most segments follow one of the same session.
        self._recent: tuple[bytes, ReceiverSession] | None = None
        #: The latest time that we were told.
        self._now_ns = 0

    # --- the client ------------------------------------------------------------------------

    def can_send(self, octets: int) -> bool:
        """Whether `send` takes a block of that length now; if not, wait for a notice."""
        parameters = self.parameters
        return (
            len(self._senders) < parameters.sending_sessions
            and self._send_octets + octets <= parameters.send_buffer
        )

    def send(
        self,
        block: bytes,
        *,
        red_length: int | None = None,
        client_service: int = ClientService.BUNDLE,
    ) -> SessionId:
        """Open a session for a block; `red_length` octets of it reliably, all if None.

        Raises LocalError for an empty block, and where `can_send` is false.
        """
        length = len(block)
        if red_length is None:
            red_length = length
        if not length or not 0 <= red_length <= length:
            raise LocalError(f"LTP block of {length} octets with {red_length} red")
        if length > self.parameters.longest_block:
            raise LocalError(
                f"LTP block of {length} octets, at most {self.parameters.longest_block}"
            )
        if not self.can_send(length):
            raise LocalError(
                f"LTP send buffer is full: {len(self._senders)} sessions, "
                f"{self._send_octets} octets"
            )
        while self._next_session in self._senders:
            self._next_session = self._next_session % (SERIAL_LIMIT - 1) + 1
        session = SessionId(self.engine_id, self._next_session)
        self._next_session = self._next_session % (SERIAL_LIMIT - 1) + 1
        sender = SenderSession(self, session, client_service, block, red_length, self._draw())
        self._senders[session.number] = sender
        self._send_octets += length
        self.enqueue(sender)
        return session

    def cancel(
        self, now_ns: int, session: SessionId, reason: int = CancelReason.USER_CANCELLED
    ) -> None:
        """§4.2: give a session up, ours or the remote's.  One that is over is left alone."""
        if session.originator == self.engine_id:
            sender = self._senders.get(session.number)
            if sender is not None:
                sender.cancel(now_ns, reason)
        else:
            receiver = self._receivers.get(session.number)
            if receiver is not None:
                receiver.cancel(reason)

    def notices(self) -> list[Notice]:
        """What happened since the last call."""
        notices, self._notices = self._notices, []
        return notices

    # --- the link --------------------------------------------------------------------------

    def link(self, transmits: bool) -> None:
        """§6.1, §6.4: our transmission to the remote starts or stops."""
        self._transmits = transmits

    def remote_link(self, now_ns: int, transmits: bool) -> None:
        """§6.5, §6.6: the remote's transmission to us starts or stops at its place, at `now_ns`."""
        if transmits and not self.timers.remote_transmits:
            self.timers.resume(now_ns)
        elif not transmits and self.timers.remote_transmits:
            self.timers.suspend(now_ns)

    def light_time(self, one_way_light_time_s: float) -> None:
        """The geometry has changed; timers started from now on go by it."""
        if not 0 <= one_way_light_time_s <= 1e6:
            raise LocalError(f"one-way light time {one_way_light_time_s} s: 0 to 1e6 wanted")
        self.timers.light_time_ns = round(one_way_light_time_s * SECOND_NS)

    @property
    def inactivity_limit_ns(self) -> int:
        limit_s = self.parameters.inactivity_limit_s
        if limit_s is not None:
            return round(limit_s * SECOND_NS)
        return 3 * self.parameters.retransmission_limit * self.timers.answer_time_ns

    def take(self, now_ns: int, limit: int = 1 << 30) -> list[bytes]:
        """Segments for the link, about `limit` at most (copies of one are not torn apart).

        Their timers start: what is taken leaves now.  Nothing while the link is down.
        """
        segments: list[bytes] = []
        if not self._transmits:
            return segments
        control = self._control
        while control and len(segments) < limit:
            octets, timer, copies = control.popleft()
            if timer is not None:
                timer.queued = False
                if timer.abandoned:
                    continue
                self.timers.start(now_ns, timer)
            segments.extend([octets] * copies)
        data = self._data
        while data and len(segments) < limit:
            sender = data[0]
            while sender.has_segments and len(segments) < limit:
                sender.take(now_ns, segments)
            if not sender.has_segments:
                sender.queued = False
                data.popleft()
        self._sent += len(segments)
        return segments

    @property
    def has_segments(self) -> bool:
        """Whether `take` has something to give."""
        return self._transmits and bool(self._control or self._data)

    @property
    def next_deadline_ns(self) -> int | None:
        """When `timeout` wants to be called; None: only a segment or the client can do anything."""
        return self.timers.next_due_ns

    def timeout(self, now_ns: int) -> None:
        """Every timer that is due."""
        self._now_ns = now_ns
        while (timer := self.timers.take_due(now_ns)) is not None:
            timer.expired(now_ns)

    def receive(self, now_ns: int, octets: bytes) -> None:
        """One segment.  What is malformed or none of ours is counted, see `statistics`."""
        self._received += 1
        self._now_ns = now_ns
        if self._recent is not None and self._receive_plain(now_ns, octets, *self._recent):
            return
        try:
            segment = parse_segment(octets)
        except RemoteError:
            self.count("malformed")
            return
        originator, number = segment.session
        if isinstance(segment, DataSegment):
            if originator != self.remote_id:
                self.count("not_from_remote")
            else:
                self._receive_data(now_ns, number, segment)
        elif originator == self.engine_id:
            self._receive_for_sender(now_ns, number, segment)
        elif originator == self.remote_id:
            self._receive_for_receiver(number, segment)
        else:
            self.count("other_engines")

    def _receive_plain(
        self, now_ns: int, octets: bytes, head: bytes, receiver: ReceiverSession
    ) -> bool:
        """Red data of the session that the last segment was of, without extensions; else False.

        Does what the way through `parse_segment` does, in a third of the time (a test compares).
        """
        if octets[:1] != b"\0" or not octets.startswith(head, 1):
            return False
        at = 1 + len(head)
        size = len(octets)
        numbers: list[int] = []
        while len(numbers) < 2:
            value = 0
            octet = 0x80
            end = min(at + 4, size)
            while octet & 0x80:
                if at >= end:
                    return False
                octet = octets[at]
                at += 1
                value = value << 7 | octet & 0x7F
            numbers.append(value)
        start, length = numbers
        if at + length != size or self._held_octets + length > self.parameters.receive_buffer:
            return False
        return receiver.plain_red(now_ns, start, octets[at:])

    def _receive_for_sender(self, now_ns: int, number: int, segment: Segment) -> None:
        sender = self._senders.get(number)
        if isinstance(segment, ReportSegment):
            self.send_control(acknowledge(segment))
            if sender is not None:
                sender.report(now_ns, segment)
        elif isinstance(segment, CancelSegment) and not segment.by_sender:
            self.send_control(build_segment(CancelAckSegment(segment.session, False)))
            if sender is not None:
                sender.cancelled(segment.reason)
        elif isinstance(segment, CancelAckSegment) and segment.to_sender:
            if sender is not None:
                sender.cancel_acknowledged()
        else:
            self.count("wrong_direction")

    def _receive_for_receiver(self, number: int, segment: Segment) -> None:
        receiver = self._receivers.get(number)
        if isinstance(segment, ReportAckSegment):
            if receiver is not None:
                receiver.acknowledged(segment.report_serial)
        elif isinstance(segment, CancelSegment) and segment.by_sender:
            self.send_control(build_segment(CancelAckSegment(segment.session, True)))
            if receiver is not None:
                receiver.cancelled(segment.reason)
        elif isinstance(segment, CancelAckSegment) and not segment.to_sender:
            if receiver is not None:
                receiver.cancel_ended()
        else:
            self.count("wrong_direction")

    def _receive_data(self, now_ns: int, number: int, segment: DataSegment) -> None:
        receiver = self._receivers.get(number)
        if receiver is None:
            closed = self._closed.get(number)
            if closed is not None:
                if not _is_reused(segment, closed):
                    self._answer_late(segment, number, closed)
                    return
                del self._closed[number]
            if segment.client_service not in self.parameters.client_services:
                # §6: for red data it must be said, for green it should.
                self.count("unreachable_client")
                cancel = CancelSegment(segment.session, False, CancelReason.UNREACHABLE)
                self.send_control(build_segment(cancel))
                return
            if len(self._receivers) >= self.parameters.receiving_sessions:
                self.count("too_many_sessions")
                return
            receiver = ReceiverSession(
                self, segment.session, segment.client_service, self._draw(), now_ns
            )
            self._receivers[number] = receiver
        if self._held_octets + len(segment.data) > self.parameters.receive_buffer:
            # As if lost on the way: the report will say so, and there may be room then.
            self.count("receive_buffer_full")
            return
        receiver.data(now_ns, segment)
        if segment.kind is SegmentType.RED and not segment.header_extensions:
            head = build_header(0, segment.session)[1:] + build_sdnv(segment.client_service)
            self._recent = (head, receiver) if number in self._receivers else None

    def _answer_late(self, segment: DataSegment, number: int, closed: _Closed) -> None:
        """A session that is over: nothing is delivered again, but a checkpoint is answered."""
        self.count("after_close")
        if closed.reason is not None:
            if segment.kind <= SegmentType.RED_EOB:
                cancel = CancelSegment(segment.session, False, closed.reason)
                self.send_control(build_segment(cancel))
            return
        if SegmentType.RED_CHECKPOINT <= segment.kind <= SegmentType.RED_EOB and closed.red_length:
            self._closed[number] = closed._replace(next_serial=closed.next_serial + 1)
            whole = (Claim(0, closed.red_length),)
            report = ReportSegment(
                segment.session,
                closed.next_serial,
                segment.checkpoint_serial,
                closed.red_length,
                0,
                whole,
            )
            self.send_control(build_segment(report))

    # --- what sessions ask for -------------------------------------------------------------

    def _draw(self) -> int:
        """A number from 1 on that nobody can guess."""
        self._drawn += 1
        digest = blake2b(self._drawn.to_bytes(8, "big"), key=self._entropy, digest_size=8).digest()
        return int.from_bytes(digest, "big") % (FIRST_NUMBERS - 1) + 1

    def notify(self, notice: Notice) -> None:
        self._notices.append(notice)

    def count(self, why: str) -> None:
        self._dropped[why] += 1

    def hold(self, octets: int) -> None:
        self._held_octets += octets

    def released(self, octets: int) -> None:
        self._send_octets -= octets

    def enqueue(self, sender: SenderSession) -> None:
        if not sender.queued:
            sender.queued = True
            self._data.append(sender)

    def send_control(self, octets: bytes, timer: Timer | None = None, *, copies: int = 1) -> None:
        """Queue a segment; its timer starts when the link takes it.

        What has no timer is dropped when the queue is full: it answers something that will be
        sent again.  What has one stands in the queue once as an obligation (sessions and reports
        are bounded) and is repeated only while there is room.
        """
        if len(self._control) >= self.parameters.control_queue and (timer is None or timer.queued):
            self.count("control_queue_full")
            return
        if timer is not None:
            timer.queued = True
        self._control.append(_Control(octets, timer, copies))

    def send_cancel(self, octets: bytes, ended: Callable[[], None]) -> Timer:
        """§6.15, §6.16: until its timer is abandoned, or it was sent too often: then `ended`."""

        def expired(_now_ns: int) -> None:
            timer.expiries += 1
            if timer.expiries > self.parameters.retransmission_limit:
                ended()
            else:
                self.send_control(octets, timer)

        timer = Timer(expired)
        self.send_control(octets, timer)
        return timer

    def close_sender(self, sender: SenderSession) -> None:
        self._senders.pop(sender.session.number, None)

    def close_receiver(
        self, receiver: ReceiverSession, red_length: int, reason: int | None
    ) -> None:
        number = receiver.session.number
        if self._receivers.pop(number, None) is None:
            return
        self._closed[number] = _Closed(
            self._now_ns, red_length, receiver.next_serial, receiver.end_serials, reason
        )
        if self._recent is not None and self._recent[1] is receiver:
            self._recent = None
        self._forget()

    def _forget(self) -> None:
        """Sessions that closed long ago, and those that are too many."""
        closed = self._closed
        before_ns = self._now_ns - self.inactivity_limit_ns
        while closed:
            oldest = next(iter(closed.values()))
            if len(closed) <= self.parameters.closed_sessions and oldest.closed_ns >= before_ns:
                return
            closed.popitem(last=False)

    def statistics(self) -> LtpStatistics:
        return LtpStatistics(
            len(self._senders),
            len(self._receivers),
            len(self._closed),
            len(self.timers),
            len(self._control),
            self._send_octets,
            self._held_octets,
            self._sent,
            self._received,
            dict(self._dropped),
        )
