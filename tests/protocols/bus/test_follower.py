"""A follower gives out each record once, in order, whatever the live path and the answers do."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.bus.envelope import Envelope
from protocols.bus.follower import CHECK_NS, RETRY_NS, Follower
from protocols.bus.replay import (
    PullReply,
    PullRequest,
    build_data,
    build_pull,
    build_record,
    parse_data,
    parse_pull,
    parse_record,
)
from protocols.errors import LocalError, RemoteError

MS = 1_000_000


class Owner:
    """A journal in memory that answers as a service does, a few records at a time."""

    def __init__(self, identity: str = "aa", page: int = 5) -> None:
        self.identity = identity
        self.records: list[bytes] = []
        self.first = 0
        self.page = page

    def append(self) -> Envelope:
        sequence = len(self.records)
        body = f"{self.identity}{sequence}".encode()
        self.records.append(build_record(sequence, body))
        return Envelope("t", "s", self.identity, sequence, sequence, body)

    def answer(self, request: PullRequest) -> tuple[PullReply, list[bytes]]:
        wanted = request.sequence if request.journal == self.identity else 0
        first = min(max(wanted, self.first), len(self.records))
        records = self.records[first : first + self.page]
        reply = PullReply(request.number, "t", self.identity, first, len(self.records))
        parsed, octets = parse_data(build_data(reply, records))
        return parsed, list(octets)


def settle(follower: Follower, owner: Owner, now_ns: int) -> list[Envelope]:
    """Let the follower ask until it has nothing more to ask."""
    given: list[Envelope] = []
    for _ in range(1000):
        request = follower.request(now_ns)
        if request is None:
            return given
        given += follower.reply(*owner.answer(request), now_ns)
    raise AssertionError("the follower never stops asking")


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.integers(0, 60), st.integers(-1, 20))
def test_loss_repetition_and_reordering_on_the_way_change_nothing(
    seed: int, count: int, start: int
) -> None:
    chance = random.Random(seed)
    owner = Owner()
    for _ in range(start + 1):
        owner.append()
    follower = Follower("t", "s", owner.identity if start >= 0 else "", start)
    given: list[Envelope] = []
    on_the_way: list[Envelope] = []
    answers: list[tuple[PullReply, list[bytes]]] = []
    now_ns = 0
    for _ in range(count):
        now_ns += chance.choice([0, MS, 300 * MS])
        if chance.random() < 0.9:
            on_the_way.append(owner.append())
        if chance.random() < 0.2:
            chance.shuffle(on_the_way)
        while on_the_way and chance.random() < 0.7:
            message = on_the_way.pop(0)
            fate = chance.random()
            if fate > 0.2:
                given += follower.live(message, now_ns)
            if fate > 0.9:
                given += follower.live(message, now_ns)
        request = follower.request(now_ns)
        if request is not None:
            answers.append(owner.answer(request))
        if answers and chance.random() < 0.6:
            answer = answers.pop(chance.randrange(len(answers)))
            given += follower.reply(*answer, now_ns)
            if chance.random() < 0.2:
                given += follower.reply(*answer, now_ns)
    given += settle(follower, owner, now_ns + CHECK_NS + RETRY_NS)
    assert [message.sequence for message in given] == list(range(start + 1, len(owner.records)))
    assert all(message.body == f"aa{message.sequence}".encode() for message in given)
    assert follower.lost == follower.restarts == 0


def test_a_new_journal_is_given_from_its_start() -> None:
    old, new = Owner("aa"), Owner("bb")
    for _ in range(7):
        old.append()
    follower = Follower("t", "s", "", -1)
    settle(follower, old, 0)
    new.append()
    assert follower.live(new.append(), MS) == []
    given = settle(follower, new, 2 * MS)
    assert [(message.journal, message.sequence) for message in given] == [("bb", 0), ("bb", 1)]
    assert follower.restarts == 1
    # What is still under way from the old journal does not take it back.
    assert follower.live(Envelope("t", "s", "aa", 7, 0, b""), 3 * MS) == []
    assert settle(follower, new, 4 * MS) == []
    assert [m.sequence for m in follower.live(new.append(), 5 * MS)] == [2]


def test_what_the_journal_has_forgotten_is_counted_as_lost() -> None:
    owner = Owner()
    for _ in range(20):
        owner.append()
    owner.first = 8
    follower = Follower("t", "s", "aa", 2)
    assert [message.sequence for message in settle(follower, owner, 0)] == list(range(8, 20))
    assert follower.lost == 5


def test_a_journal_that_lost_its_end_goes_on_where_it_now_ends() -> None:
    owner = Owner()
    for _ in range(10):
        owner.append()
    follower = Follower("t", "s", "", -1)
    settle(follower, owner, 0)
    del owner.records[6:]
    assert settle(follower, owner, CHECK_NS) == []
    assert [m.sequence for m in follower.live(owner.append(), CHECK_NS + MS)] == [6]


def test_an_answer_on_its_way_while_live_messages_pass_it_takes_nothing_back() -> None:
    owner = Owner()
    owner.append()
    follower = Follower("t", "s", "aa", 0)
    request = follower.request(0)
    assert request is not None
    answer = owner.answer(request)
    assert [m.sequence for m in follower.live(owner.append(), 0)] == [1]
    assert follower.reply(*answer, 0) == []
    assert follower.next_sequence == 2
    assert follower.restarts == 0


def test_the_last_message_lost_in_silence_is_found() -> None:
    owner = Owner()
    follower = Follower("t", "s", "", -1)
    settle(follower, owner, 0)
    owner.append()
    assert follower.request(CHECK_NS - 1) is None
    assert [message.sequence for message in settle(follower, owner, CHECK_NS)] == [0]


def test_an_unanswered_request_is_repeated_and_its_late_answer_is_good() -> None:
    owner = Owner()
    owner.append()
    follower = Follower("t", "s", "", -1)
    first = follower.request(0)
    assert first is not None
    assert follower.request(RETRY_NS - 1) is None
    second = follower.request(RETRY_NS)
    assert second is not None
    assert second.number != first.number
    assert [m.sequence for m in follower.reply(*owner.answer(first), RETRY_NS)] == [0]
    # The same answer again, the answer to the other request, and one that was never asked for.
    assert follower.reply(*owner.answer(first), RETRY_NS) == []
    assert follower.reply(*owner.answer(second), RETRY_NS) == []
    assert follower.reply(PullReply(99, "t", "bb", 0, 5), [bytes(8)], RETRY_NS) == []


def test_positions_that_are_none_are_refused() -> None:
    for journal, sequence in (("", 3), ("aa", -2)):
        with pytest.raises(LocalError):
            Follower("t", "s", journal, sequence)


@given(st.lists(st.binary(max_size=40), max_size=4))
@settings(max_examples=150)
def test_noise_on_the_replay_sockets_raises_remote_error_only(parts: list[bytes]) -> None:
    for head, parser in ((b"PULL", parse_pull), (b"DATA", parse_data)):
        for message in (parts, [head, *parts]):
            with pytest.raises(RemoteError):
                parser(message)


@given(st.integers(0, 2**63 - 1), st.text(max_size=9), st.text(max_size=9))
def test_requests_come_back_as_they_were(sequence: int, topic: str, journal: str) -> None:
    request = PullRequest(7, topic, journal, sequence)
    assert parse_pull(build_pull(request)) == request


@pytest.mark.parametrize(
    ("reply", "records"),
    [
        (PullReply(0, "t", "", 0, 0), []),
        (PullReply(0, "t", "aa", -1, 0), []),
        (PullReply(0, "t", "aa", 0, 1), [bytes(8), bytes(8)]),
        (PullReply(0, "t", "aa", 0, 1), [bytes(7)]),
    ],
)
def test_answers_that_contradict_themselves_are_refused(
    reply: PullReply, records: list[bytes]
) -> None:
    with pytest.raises(RemoteError):
        parse_data(build_data(reply, records))


def test_records_keep_times_before_the_epoch() -> None:
    assert parse_record(build_record(-5, b"x")) == (-5, b"x")
    with pytest.raises(RemoteError):
        parse_record(bytes(7))
