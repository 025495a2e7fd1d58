"""LTP engines with each other through loss, doubling and reordering, and each rule by itself."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dtn.ltp_engine import LtpEngine
from protocols.dtn.ltp_parameters import (
    DEEP_SPACE,
    GreenSegmentReceived,
    LtpParameters,
    ReceptionCancelled,
    RedPartReceived,
    ReportScope,
    TransmissionCancelled,
    TransmissionComplete,
)
from protocols.dtn.ltp_receiver import RECEIVER_TABLE, ReceiverState
from protocols.dtn.ltp_segments import (
    CancelAckSegment,
    CancelReason,
    CancelSegment,
    Claim,
    DataSegment,
    ReportAckSegment,
    ReportSegment,
    Segment,
    SegmentType,
    SessionId,
    build_segment,
    parse_segment,
)
from protocols.dtn.ltp_sender import SENDER_TABLE, SenderState
from protocols.errors import LocalError
from tests.long.ltp import DEADLINE_NS, early_delivery, many_sessions
from tests.long.ltp_span import SECOND_NS, Span

PARAMETERS = LtpParameters(one_way_light_time_s=100.0, margin_s=2.0, segment_size=200)
ANSWER_NS = 202 * SECOND_NS
BLOCK = bytes(range(250)) * 4


def engine(parameters: LtpParameters = PARAMETERS, engine_id: int = 1) -> LtpEngine:
    return LtpEngine(engine_id, 3 - engine_id, parameters, entropy=b"test")


def taken(own: LtpEngine, now_ns: int = 0) -> list[Segment]:
    return [parse_segment(octets) for octets in own.take(now_ns)]


def is_empty(own: LtpEngine) -> bool:
    left = own.statistics()
    return not (
        left.sending
        or left.receiving
        or left.timers
        or left.queued_control
        or left.send_buffer
        or left.receive_buffer
    )


# --- pairs ---------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    seed=st.integers(0, 1 << 32),
    loss=st.sampled_from([0.0, 0.1, 0.3, 0.5]),
    duplication=st.sampled_from([0.0, 0.2]),
    jitter_s=st.sampled_from([0, 1, 150]),
    blocks=st.lists(
        st.tuples(st.integers(1, 3_000), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=6
    ),
    final_checkpoints=st.integers(1, 4),
    checkpoint_every=st.sampled_from([0, 1, 3]),
    copies=st.integers(1, 3),
    claims=st.sampled_from([1, 2, 64]),
    scope=st.sampled_from(ReportScope),
)
def test_every_red_part_arrives_once_and_nothing_is_left(
    seed: int,
    loss: float,
    duplication: float,
    jitter_s: int,
    blocks: list[tuple[int, float]],
    final_checkpoints: int,
    checkpoint_every: int,
    copies: int,
    claims: int,
    scope: ReportScope,
) -> None:
    parameters = replace(
        PARAMETERS,
        final_checkpoints=final_checkpoints,
        checkpoint_every=checkpoint_every,
        checkpoint_copies=copies,
        report_copies=copies,
        claims=claims,
        report_scope=scope,
        retransmission_limit=100,
        cycle_limit=200,
        reports=100_000,
    )
    span = Span(
        parameters,
        seed,
        loss=loss,
        duplication=duplication,
        jitter_ns=jitter_s * SECOND_NS,
        segment_ns=1_000_000,
    )
    sent: dict[int, tuple[bytes, int]] = {}
    for length, red_share in blocks:
        block = span.random.randbytes(length)
        red = round(length * red_share)
        sent[span.engines[1].send(block, red_length=red).number] = (block, red)
    span.run(10_000_000 * SECOND_NS)

    for number, (block, red) in sent.items():
        if red:
            assert span.data[number] == block[:red]
        green = [
            notice
            for _, notice in span.notices[2]
            if isinstance(notice, GreenSegmentReceived) and notice.session.number == number
        ]
        octets = [notice.offset + i for notice in green for i in range(len(notice.data))]
        assert len(octets) == len(set(octets))
        for notice in green:
            assert notice.offset >= red
            assert block[notice.offset :].startswith(notice.data)
        if not loss:
            assert len(octets) == len(block) - red
    complete = {n.session.number for _, n in span.notices[1] if isinstance(n, TransmissionComplete)}
    assert complete == set(sent)
    assert is_empty(span.engines[1])
    assert is_empty(span.engines[2])


def test_early_delivery_at_499_s_and_20_per_cent() -> None:
    """The short form of `python -m tests.long.ltp`."""
    early, _, _, _ = early_delivery(DEEP_SPACE, range(25))
    assert early >= 12
    assert DEADLINE_NS == 3 * 499 * SECOND_NS


def test_many_sessions_leave_nothing() -> None:
    lines = list(many_sessions(1_500))
    assert lines[-1].startswith("1500 delivered, each once")


def test_both_directions_at_once() -> None:
    span = Span(replace(PARAMETERS, retransmission_limit=50), 1, loss=0.2)
    for _ in range(20):
        span.engines[1].send(BLOCK)
    back = [span.engines[2].send(BLOCK[:500]) for _ in range(20)]
    span.run(1_000_000 * SECOND_NS)
    assert len(span.delivered) == 40
    got = [n for _, n in span.notices[1] if isinstance(n, RedPartReceived)]
    assert {n.session for n in got} == set(back)
    assert span.is_idle()


def test_the_same_seed_gives_the_same_segments() -> None:
    def log(seed: int) -> list[tuple[int, bytes]]:
        seen: list[tuple[int, bytes]] = []
        span = Span(PARAMETERS, seed, loss=0.3, watch=lambda e, octets: seen.append((e, octets)))
        span.engines[1].send(BLOCK)
        span.run(100_000 * SECOND_NS)
        return seen

    assert log(5) == log(5)
    assert log(5) != log(6)


# --- what a sender sends -----------------------------------------------------------------


def test_checkpoints_of_the_first_transmission() -> None:
    own = engine(replace(PARAMETERS, final_checkpoints=2))
    own.send(BLOCK, red_length=900)
    segments = taken(own)
    assert all(isinstance(segment, DataSegment) for segment in segments)
    data = [segment for segment in segments if isinstance(segment, DataSegment)]
    assert b"".join(segment.data for segment in data) == BLOCK
    kinds = [segment.kind for segment in data]
    assert kinds[-3:] == [SegmentType.RED_CHECKPOINT, SegmentType.RED_EORP, SegmentType.GREEN_EOB]
    assert set(kinds[:-3]) == {SegmentType.RED}
    serials = [s.checkpoint_serial for s in data if s.checkpoint_serial]
    assert serials == [serials[0], serials[0] + 1]
    assert all(len(build_segment(segment)) <= 200 for segment in data)


def test_what_is_built_in_pieces_is_what_the_codec_builds() -> None:
    own = engine(replace(PARAMETERS, final_checkpoints=3))
    own.send(BLOCK, red_length=800)
    for octets in own.take(0):
        assert build_segment(parse_segment(octets)) == octets


def test_missing_data_is_sent_again_with_one_checkpoint_at_its_end() -> None:
    own = engine()
    session = own.send(BLOCK)
    last = taken(own)[-1]
    assert isinstance(last, DataSegment)
    report = ReportSegment(
        session, 77, last.checkpoint_serial, 1_000, 100, (Claim(0, 200), Claim(850, 50))
    )
    own.receive(ANSWER_NS, build_segment(report))
    acknowledgement, *again = taken(own, ANSWER_NS)
    assert acknowledgement == ReportAckSegment(session, 77)
    data = [segment for segment in again if isinstance(segment, DataSegment)]
    assert data[0].offset == 300
    assert b"".join(s.data for s in data) == BLOCK[300:950]
    assert [s.kind for s in data[:-1]] == [SegmentType.RED] * (len(data) - 1)
    assert data[-1].kind is SegmentType.RED_CHECKPOINT
    assert data[-1].report_serial == 77
    assert data[-1].checkpoint_serial == last.checkpoint_serial + 1
    # The same report again is only acknowledged, and a loss told twice is mended once a cycle.
    own.receive(ANSWER_NS, build_segment(report))
    own.receive(ANSWER_NS, build_segment(report._replace(report_serial=78)))
    assert {type(segment) for segment in taken(own, ANSWER_NS)} == {ReportAckSegment}


def test_reports_of_unknown_sessions_are_acknowledged() -> None:
    own = engine()
    report = ReportSegment(SessionId(1, 999), 5, 6, 10, 0, (Claim(0, 10),))
    own.receive(0, build_segment(report))
    assert taken(own) == [ReportAckSegment(SessionId(1, 999), 5)]


def test_checkpoint_is_repeated_until_the_limit_then_cancelled() -> None:
    own = engine(replace(PARAMETERS, retransmission_limit=3))
    session = own.send(b"x" * 50)
    first = own.take(0)
    now_ns = 0
    for _ in range(3):
        assert own.next_deadline_ns == now_ns + ANSWER_NS
        now_ns += ANSWER_NS
        own.timeout(now_ns)
        assert own.take(now_ns) == first
    now_ns += ANSWER_NS
    own.timeout(now_ns)
    assert own.notices() == [
        TransmissionCancelled(session, CancelReason.RETRANSMISSION_LIMIT, False)
    ]
    assert own.statistics().send_buffer == 0
    for _ in range(4):
        assert taken(own, now_ns) == [
            CancelSegment(session, True, CancelReason.RETRANSMISSION_LIMIT)
        ]
        now_ns += ANSWER_NS
        own.timeout(now_ns)
    assert is_empty(own)


def test_a_split_report_lost_for_good_does_not_leave_the_session_open() -> None:
    """ION issue 14: the part that names the checkpoint comes, the other part never does."""
    own = engine()
    session = own.send(BLOCK)
    last = taken(own)[-1]
    assert isinstance(last, DataSegment)
    part = ReportSegment(session, 9, last.checkpoint_serial, 600, 0, (Claim(0, 600),))
    own.receive(ANSWER_NS, build_segment(part))
    taken(own, ANSWER_NS)
    assert own.next_deadline_ns == 3 * ANSWER_NS
    own.timeout(3 * ANSWER_NS)
    again = [s for s in taken(own, 3 * ANSWER_NS) if isinstance(s, DataSegment)]
    assert b"".join(s.data for s in again) == BLOCK[600:]
    assert again[-1].kind is SegmentType.RED_EOB
    assert again[-1].report_serial == 9


def test_cycle_limit_cancels() -> None:
    own = engine(replace(PARAMETERS, cycle_limit=2))
    session = own.send(BLOCK)
    segments = taken(own)
    for serial in range(1, 4):
        checkpoint = segments[-1]
        assert isinstance(checkpoint, DataSegment)
        report = ReportSegment(
            session, serial, checkpoint.checkpoint_serial, 1_000, 0, (Claim(500, 100),)
        )
        own.receive(ANSWER_NS, build_segment(report))
        segments = taken(own, ANSWER_NS)
    assert CancelSegment(session, True, CancelReason.RETRANSMISSION_CYCLES) in segments


def test_reports_that_claim_what_was_never_sent_change_nothing() -> None:
    own = engine()
    session = own.send(BLOCK)
    own.take(0)
    own.receive(1, build_segment(ReportSegment(session, 1, 0, 2_000, 0, (Claim(0, 2_000),))))
    assert own.statistics().dropped == {"reports_beyond_block": 1}
    assert own.notices() == []


# --- what a receiver answers -------------------------------------------------------------


def data_segment(
    start: int,
    stop: int,
    kind: SegmentType = SegmentType.RED,
    checkpoint: int = 0,
    report: int = 0,
    number: int = 5,
) -> bytes:
    return build_segment(
        DataSegment(kind, SessionId(1, number), 1, start, BLOCK[start:stop], checkpoint, report)
    )


def reports(segments: list[Segment]) -> list[ReportSegment]:
    return [segment for segment in segments if isinstance(segment, ReportSegment)]


def test_scope_of_primary_and_secondary_reports() -> None:
    own = engine(engine_id=2)
    own.receive(0, data_segment(0, 100))
    own.receive(0, data_segment(200, 300, SegmentType.RED_CHECKPOINT, 1))
    own.receive(0, data_segment(400, 500, SegmentType.RED_EOB, 2))
    first, second = reports(taken(own))
    assert (first.lower_bound, first.upper_bound) == (0, 300)
    assert first.claims == (Claim(0, 100), Claim(200, 100))
    assert (second.lower_bound, second.upper_bound) == (300, 500)
    assert second.claims == (Claim(100, 100),)
    own.receive(0, data_segment(300, 400, SegmentType.RED_CHECKPOINT, 3, second.report_serial))
    (third,) = reports(taken(own))
    assert (third.lower_bound, third.upper_bound) == (300, 400)
    assert third.report_serial == second.report_serial + 1
    # A checkpoint that was answered is answered by the same report.
    own.receive(0, data_segment(400, 500, SegmentType.RED_EOB, 2))
    assert taken(own) == [second]


def test_full_scope_tells_everything_in_every_report() -> None:
    own = engine(replace(PARAMETERS, report_scope=ReportScope.FULL), engine_id=2)
    own.receive(0, data_segment(0, 100))
    own.receive(0, data_segment(200, 300, SegmentType.RED_CHECKPOINT, 1))
    own.receive(0, data_segment(400, 500, SegmentType.RED_EOB, 2))
    first, second = reports(taken(own))
    assert (first.lower_bound, first.upper_bound) == (0, 300)
    assert (second.lower_bound, second.upper_bound) == (0, 500)
    assert second.claims == (Claim(0, 100), Claim(200, 100), Claim(400, 100))


def test_long_reports_are_split_and_stand_on_their_own() -> None:
    own = engine(replace(PARAMETERS, claims=3), engine_id=2)
    for start in range(0, 980, 20):
        own.receive(0, data_segment(start, start + 10))
    own.receive(0, data_segment(980, 1_000, SegmentType.RED_EOB, 1))
    issued = reports(taken(own))
    assert len(issued) == 17
    assert issued[0].lower_bound == 0
    assert issued[-1].upper_bound == 1_000
    edges = [(r.lower_bound, r.upper_bound) for r in issued]
    assert all(a[1] == b[0] for a, b in pairwise(edges))
    claimed = {
        r.lower_bound + claim.offset + i
        for r in issued
        for claim in r.claims
        for i in range(claim.length)
    }
    assert len(claimed) == 49 * 10 + 20
    assert own.statistics().timers == 17 + 1


def test_report_is_repeated_until_acknowledged_then_the_session_closes() -> None:
    own = engine(engine_id=2)
    own.receive(0, data_segment(0, 100, SegmentType.RED_EOB, 1))
    assert [type(n) for n in own.notices()] == [RedPartReceived]
    (report,) = reports(taken(own))
    own.timeout(ANSWER_NS)
    assert taken(own, ANSWER_NS) == [report]
    own.receive(ANSWER_NS, build_segment(ReportAckSegment(SessionId(1, 5), report.report_serial)))
    assert is_empty(own)
    assert own.statistics().closed == 1


def test_late_segments_of_a_closed_session_are_answered_and_delivered_no_more() -> None:
    own = engine(engine_id=2)
    own.receive(0, data_segment(0, 100, SegmentType.RED_EOB, 1))
    (report,) = reports(taken(own))
    own.receive(1, build_segment(ReportAckSegment(SessionId(1, 5), report.report_serial)))
    own.notices()
    own.receive(2, data_segment(0, 50))
    assert taken(own) == []
    own.receive(2, data_segment(0, 100, SegmentType.RED_EOB, 1))
    (late,) = reports(taken(own))
    assert late.claims == (Claim(0, 100),)
    assert late.report_serial == report.report_serial + 1
    assert own.notices() == []
    assert is_empty(own)


def test_a_sender_that_counts_from_one_again_is_not_told_that_all_is_there() -> None:
    own = engine(engine_id=2)
    own.receive(0, data_segment(0, 100, SegmentType.RED_EOB, 1))
    (report,) = reports(taken(own))
    own.receive(1, build_segment(ReportAckSegment(SessionId(1, 5), report.report_serial)))
    own.notices()
    own.receive(2, data_segment(0, 300))
    own.receive(2, data_segment(300, 500, SegmentType.RED_EOB, 4_000))
    (again,) = reports(taken(own))
    assert again.claims == (Claim(300, 200),)
    own.receive(3, data_segment(0, 300, SegmentType.RED_CHECKPOINT, 4_001, again.report_serial))
    (notice,) = own.notices()
    assert isinstance(notice, RedPartReceived)
    assert notice.data == BLOCK[:500]


@pytest.mark.parametrize(
    "segments",
    [
        [data_segment(100, 200, SegmentType.GREEN), data_segment(150, 250)],
        [data_segment(100, 200), data_segment(50, 60, SegmentType.GREEN)],
        [data_segment(0, 200, SegmentType.RED_EOB, 1), data_segment(200, 250)],
    ],
)
def test_miscoloured_segments_cancel(segments: list[bytes]) -> None:
    own = engine(engine_id=2)
    for octets in segments:
        own.receive(0, octets)
    assert CancelSegment(SessionId(1, 5), False, CancelReason.MISCOLORED) in taken(own)
    own.receive(1, build_segment(CancelAckSegment(SessionId(1, 5), False)))
    assert is_empty(own)


def test_unknown_client_services_are_unreachable() -> None:
    own = engine(engine_id=2)
    own.receive(0, build_segment(DataSegment(SegmentType.RED, SessionId(1, 5), 9, 0, b"x")))
    assert taken(own) == [CancelSegment(SessionId(1, 5), False, CancelReason.UNREACHABLE)]
    assert is_empty(own)


def test_cancellation_by_the_sender() -> None:
    one, two = engine(), engine(engine_id=2)
    session = one.send(BLOCK)
    for octets in one.take(0)[:3]:
        two.receive(0, octets)
    one.cancel(1, session)
    (octets,) = one.take(1)
    two.receive(1, octets)
    assert two.notices() == [ReceptionCancelled(session, CancelReason.USER_CANCELLED, True)]
    (acknowledgement,) = two.take(1)
    two.receive(2, octets)
    assert two.take(2) == [acknowledgement]
    one.receive(2, acknowledgement)
    assert is_empty(one)
    assert is_empty(two)


def test_cancellation_by_the_receiver() -> None:
    one, two = engine(), engine(engine_id=2)
    session = one.send(BLOCK)
    for octets in one.take(0)[:3]:
        two.receive(0, octets)
    two.cancel(1, session)
    assert two.statistics().receive_buffer == 0
    (octets,) = two.take(1)
    one.receive(1, octets)
    assert one.notices() == [TransmissionCancelled(session, CancelReason.USER_CANCELLED, True)]
    (acknowledgement,) = one.take(1)
    two.receive(2, acknowledgement)
    assert is_empty(one)
    assert is_empty(two)
    two.receive(3, data_segment(0, 10, number=session.number))
    assert taken(two) == [CancelSegment(session, False, CancelReason.USER_CANCELLED)]


def test_silence_ends_a_reception() -> None:
    own = engine(replace(PARAMETERS, inactivity_limit_s=1_000), engine_id=2)
    own.receive(0, data_segment(0, 100))
    own.receive(900 * SECOND_NS, data_segment(100, 200))
    own.timeout(1_000 * SECOND_NS)
    assert own.notices() == []
    assert own.next_deadline_ns == 1_900 * SECOND_NS
    own.timeout(1_900 * SECOND_NS)
    assert own.notices() == [
        ReceptionCancelled(SessionId(1, 5), CancelReason.SYSTEM_CANCELLED, False)
    ]


# --- contacts ------------------------------------------------------------------------------


def test_nothing_leaves_while_our_link_is_down() -> None:
    own = engine()
    own.send(BLOCK)
    own.link(False)
    assert own.take(0) == []
    assert not own.has_segments
    assert own.next_deadline_ns is None
    own.link(True)
    assert own.take(10)
    assert own.next_deadline_ns == 10 + ANSWER_NS


def test_timers_stand_still_while_the_remote_cannot_transmit() -> None:
    own = engine()
    own.send(b"x")
    own.take(0)
    # The answer leaves the remote at 100 s: a cessation after that leaves the timer alone.
    own.remote_link(101 * SECOND_NS, False)
    assert own.next_deadline_ns == ANSWER_NS
    own.remote_link(102 * SECOND_NS, True)

    own.send(b"y")
    own.timeout(ANSWER_NS)
    own.take(ANSWER_NS)
    own.remote_link(ANSWER_NS + 50 * SECOND_NS, False)
    assert own.next_deadline_ns is None
    own.timeout(10**18)
    # Resumed at 5,000 s the answer can leave then, and takes the way back and the margin.
    own.remote_link(5_000 * SECOND_NS, True)
    assert own.next_deadline_ns == 5_102 * SECOND_NS


def test_timers_started_outside_of_a_contact_wait_for_it() -> None:
    own = engine()
    own.remote_link(0, False)
    own.send(b"x")
    own.take(0)
    assert own.next_deadline_ns is None
    own.remote_link(20 * SECOND_NS, True)
    # Resumed before the segment even arrives: nothing is shortened.
    assert own.next_deadline_ns == ANSWER_NS


def test_a_reception_outlives_an_outage() -> None:
    own = engine(replace(PARAMETERS, inactivity_limit_s=1_000), engine_id=2)
    own.receive(0, data_segment(0, 100))
    own.remote_link(SECOND_NS, False)
    own.timeout(10**15)
    own.remote_link(10**15, True)
    assert own.next_deadline_ns == 10**15 + 1_000 * SECOND_NS
    assert own.notices() == []


def test_light_time_changes_with_geometry() -> None:
    own = engine()
    own.light_time(300.0)
    own.send(b"x")
    own.take(0)
    assert own.next_deadline_ns == 602 * SECOND_NS


# --- bounds --------------------------------------------------------------------------------


def test_a_far_offset_reserves_nothing() -> None:
    own = engine(replace(PARAMETERS, longest_block=10_000), engine_id=2)
    far = DataSegment(SegmentType.RED, SessionId(1, 5), 1, 1 << 60, b"x")
    own.receive(0, build_segment(far))
    assert own.statistics().receive_buffer == 0
    assert taken(own) == [CancelSegment(SessionId(1, 5), False, CancelReason.SYSTEM_CANCELLED)]


def test_the_receive_buffer_counts_what_small_pieces_cost() -> None:
    own = engine(replace(PARAMETERS, receive_buffer=10_000), engine_id=2)
    for number in range(1, 1_000):
        own.receive(0, data_segment(0, 1, number=number))
    held = own.statistics()
    assert held.receive_buffer <= 10_000 + 129
    assert held.dropped["receive_buffer_full"] > 900


def test_sessions_reports_and_answers_are_bounded() -> None:
    parameters = replace(PARAMETERS, receiving_sessions=3, control_queue=10, reports=4)
    own = engine(parameters, engine_id=2)
    for number in range(1, 10):
        own.receive(0, data_segment(0, 1, number=number))
    assert own.statistics().receiving == 3
    assert own.statistics().dropped["too_many_sessions"] == 6
    for serial in range(1, 20):
        own.receive(0, data_segment(10, 20, SegmentType.RED_CHECKPOINT, serial, number=1))
    assert own.statistics().receiving == 3
    assert sum(isinstance(n, ReceptionCancelled) for n in own.notices()) == 1
    for serial in range(1, 100):
        own.receive(
            0, build_segment(ReportSegment(SessionId(2, serial), serial, 1, 1, 0, (Claim(0, 1),)))
        )
    assert own.statistics().queued_control <= 10 + 4


def test_a_block_in_more_pieces_than_can_be_told_is_cancelled() -> None:
    own = engine(replace(PARAMETERS, claims=2, reports=5), engine_id=2)
    for start in range(0, 900, 20):
        own.receive(0, data_segment(start, start + 1))
    own.receive(0, data_segment(990, 1_000, SegmentType.RED_EOB, 1))
    assert taken(own) == [CancelSegment(SessionId(1, 5), False, CancelReason.SYSTEM_CANCELLED)]
    assert own.statistics().receive_buffer == 0


def test_the_memory_of_closed_sessions_is_bounded() -> None:
    own = engine(replace(PARAMETERS, closed_sessions=10), engine_id=2)
    for number in range(1, 100):
        own.receive(0, data_segment(0, 10, SegmentType.GREEN_EOB, number=number))
    assert own.statistics().closed == 10
    own.receive(10**17, data_segment(0, 10, SegmentType.GREEN_EOB, number=1_000))
    assert own.statistics().closed == 1


def test_a_full_send_buffer_says_so() -> None:
    own = engine(replace(PARAMETERS, send_buffer=1_500, sending_sessions=2))
    assert own.can_send(1_000)
    own.send(BLOCK)
    assert not own.can_send(1_000)
    with pytest.raises(LocalError, match="send buffer is full"):
        own.send(BLOCK)
    with pytest.raises(LocalError, match="0 octets"):
        own.send(b"")
    with pytest.raises(LocalError, match="red"):
        own.send(b"abc", red_length=4)


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(0, 1 << 30))
def test_any_octets_are_counted_and_survived(rubbish: list[bytes], seed: int) -> None:
    span = Span(PARAMETERS, seed)
    session = span.engines[1].send(BLOCK)
    for octets in rubbish:
        for own in span.engines.values():
            own.receive(0, octets)
    span.run(100_000 * SECOND_NS)
    assert span.data[session.number] == BLOCK


@given(st.integers(0, 1 << 30), st.sampled_from([0.0, 0.3]))
def test_the_quick_way_does_what_the_long_way_does(seed: int, loss: float) -> None:
    """The engine of the second run forgets after each segment which session it was of."""

    def outcome(quick: bool) -> tuple[list[tuple[int, bytes]], object]:
        seen: list[tuple[int, bytes]] = []
        span = Span(
            PARAMETERS,
            seed,
            loss=loss,
            duplication=0.1,
            jitter_ns=SECOND_NS,
            watch=lambda e, octets: seen.append((e, octets)),
        )
        if not quick:
            for own in span.engines.values():
                own._receive_plain = lambda *_: False  # type: ignore[method-assign]
        for length in (1_000, 300, 999):
            span.engines[1].send(BLOCK[:length], red_length=length - 100)
        span.run(1_000_000 * SECOND_NS)
        return seen, span.notices

    assert outcome(True) == outcome(False)


# --- the tables ----------------------------------------------------------------------------


def test_tables_name_every_state_and_lead_to_the_end() -> None:
    for states, table in ((SenderState, SENDER_TABLE), (ReceiverState, RECEIVER_TABLE)):
        assert set(table) == set(states)
        for state in states:
            reached, new = {state}, {state}
            while new:
                new = {after for s in new for after in table[s].values()} - reached
                reached |= new
            assert states.CLOSED in reached
        assert table[states.CLOSED] == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"segment_size": 95},
        {"segment_size": 65_508},
        {"final_checkpoints": 0},
        {"margin_s": 0},
        {"inactivity_limit_s": 0},
        {"control_queue": 0},
    ],
)
def test_parameters_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(LocalError, match=next(iter(wrong))):
        LtpParameters(**wrong)  # type: ignore[arg-type]


def test_engines_have_two_identifiers() -> None:
    with pytest.raises(LocalError, match="two identifiers"):
        LtpEngine(1, 1, PARAMETERS, entropy=b"")
    with pytest.raises(LocalError, match="remote_id"):
        LtpEngine(1, 1 << 64, PARAMETERS, entropy=b"")
