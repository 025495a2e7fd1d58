"""Following one journal: live messages when they come in order, pulled ones where they do not.

Pure: live messages, replies and the time go in; messages in order and requests come out.  Each
record of the journal is given out once, in order, whatever the live path loses, repeats or
reorders, as long as the journal still holds it.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocols.bus.envelope import Envelope
from protocols.bus.replay import PullReply, PullRequest, parse_record
from protocols.errors import LocalError

#: An unanswered request is repeated: its receiver was away or busy, or the answer was dropped.
RETRY_NS = 1_000_000_000
#: After so much silence the journal is asked whether the last messages were lost on the live path.
CHECK_NS = 1_000_000_000

#: Late answers are as good as others, since records are numbered; those to older requests than
#: this are not waited for.
MAX_ASKED = 8

#: Messages ahead of a gap are kept within these bounds; beyond them they are pulled again later.
MAX_AHEAD_MESSAGES = 1024
MAX_AHEAD_OCTETS = 16 * 1024 * 1024


class Follower:
    """One journaled topic of one source, from after (`journal`, `sequence`).

    journal "" and sequence −1: from the start of whatever journal the source has.
    """

    def __init__(self, topic: str, source: str, journal: str, sequence: int) -> None:
        if sequence < -1 or (not journal and sequence != -1):
            raise LocalError(f"({journal!r}, {sequence}) is not a position in a journal")
        self.topic = topic
        self.source = source
        self.journal = journal
        self.next_sequence = sequence + 1
        self.head = sequence
        self.repeated = self.gaps = self.recovered = self.lost = self.restarts = 0
        self._ahead: dict[int, Envelope] = {}
        self._ahead_octets = 0
        self._behind = True
        self._number = 0
        self._asked_ns: int | None = None
        # Requests that an answer may still come to: number → first sequence asked for.
        self._asked: dict[int, int] = {}
        self._heard_ns: int | None = None

    def live(self, envelope: Envelope, now_ns: int) -> list[Envelope]:
        """Messages that can be given out now that this one came from the live bus."""
        if envelope.journal != self.journal:
            # A new journal, or a late message of an old one: its owner knows which.
            self._behind = True
            return []
        self.head = max(self.head, envelope.sequence)
        if envelope.sequence < self.next_sequence:
            self.repeated += 1
            return []
        if envelope.sequence > self.next_sequence:
            if not self._behind:
                self.gaps += 1
                self._behind = True
            self._keep(envelope)
            return []
        self._heard_ns = now_ns
        self.next_sequence += 1
        return [envelope, *self._drain()]

    def request(self, now_ns: int) -> PullRequest | None:
        """What to ask the journal's owner now, if anything."""
        if now_ns < self.deadline_ns(now_ns):
            return None
        self._number += 1
        self._asked_ns = now_ns
        self._asked[self._number] = self.next_sequence
        self._asked.pop(self._number - MAX_ASKED, None)
        return PullRequest(self._number, self.topic, self.journal, self.next_sequence)

    def deadline_ns(self, now_ns: int) -> int:
        """When `request` next has something to say (now or earlier: at once)."""
        if self._asked_ns is not None:
            return self._asked_ns + RETRY_NS
        if self._behind or self._heard_ns is None:
            return now_ns
        return self._heard_ns + CHECK_NS

    def reply(self, reply: PullReply, records: Sequence[bytes], now_ns: int) -> list[Envelope]:
        """Messages that can be given out now that the owner has answered."""
        asked = self._asked.pop(reply.number, None)
        if asked is None or reply.topic != self.topic:
            return []
        if reply.number == self._number:
            self._asked_ns = None
        self._heard_ns = now_ns
        if reply.journal != self.journal:
            if self.journal:
                self.restarts += 1
            self.journal = reply.journal
            self.next_sequence = 0
            self._forget_ahead()
        elif reply.next_sequence < asked:
            # The journal lost its end in a power failure.  What is written there from now on is
            # new to us, whatever its number.  (Not compared with where we are now: live messages
            # may have come since this answer was on its way.)
            self.restarts += 1
            self.next_sequence = reply.next_sequence
            self._forget_ahead()
        if reply.sequence > self.next_sequence:
            self.lost += reply.sequence - self.next_sequence
            self.next_sequence = reply.sequence
        self.head = reply.next_sequence - 1
        given: list[Envelope] = []
        for sequence, record in enumerate(records, reply.sequence):
            if sequence != self.next_sequence:
                continue
            time_ns, body = parse_record(record)
            given.append(Envelope(self.topic, self.source, self.journal, sequence, time_ns, body))
            self.next_sequence += 1
        self.recovered += len(given)
        given += self._drain()
        self.head = max([self.head, *self._ahead])
        self._behind = self.next_sequence <= self.head
        return given

    def _keep(self, envelope: Envelope) -> None:
        size = len(envelope.body)
        if (
            envelope.sequence not in self._ahead
            and len(self._ahead) < MAX_AHEAD_MESSAGES
            and self._ahead_octets + size <= MAX_AHEAD_OCTETS
        ):
            self._ahead[envelope.sequence] = envelope
            self._ahead_octets += size

    def _drain(self) -> list[Envelope]:
        given: list[Envelope] = []
        while self.next_sequence in self._ahead:
            given.append(self._ahead.pop(self.next_sequence))
            self.next_sequence += 1
        if given or self._ahead:
            # What pulled messages have overtaken is of no more use.
            self._ahead = {s: e for s, e in self._ahead.items() if s >= self.next_sequence}
            self._ahead_octets = sum(len(e.body) for e in self._ahead.values())
        return given

    def _forget_ahead(self) -> None:
        self._ahead.clear()
        self._ahead_octets = 0
