"""What waits at a node for one neighbour: by priority, within its contacts and below its rate."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from protocols.dtn.contact_plan import Contact, ContactPlan
from protocols.dtn.routing import Route
from protocols.errors import LocalError

#: Critical bundles first, then expedited, normal, bulk.
CLASSES: Final = 4
_NEVER_NS: Final = 2**63 - 1


class CopyState(StrEnum):
    """A bundle on its way to one neighbour."""

    QUEUED = "queued"
    SENDING = "sending"
    GONE = "gone"


class CopyEvent(StrEnum):
    TAKEN = "taken by the convergence layer"
    SENT = "the neighbour has it"
    FAILED = "not sent"
    WITHDRAWN = "routed otherwise, expired or deleted"


#: {state: {event: next}}
COPY_STATES: Final = {
    CopyState.QUEUED: {CopyEvent.TAKEN: CopyState.SENDING, CopyEvent.WITHDRAWN: CopyState.GONE},
    CopyState.SENDING: {
        CopyEvent.SENT: CopyState.GONE,
        CopyEvent.FAILED: CopyState.GONE,
        # The layer still has it: what it says of it later finds no copy.
        CopyEvent.WITHDRAWN: CopyState.GONE,
    },
    CopyState.GONE: {},
}


@dataclass(slots=True, eq=False)
class Copy:
    """One bundle for one neighbour by a route; evc_octets and priority: as they were booked."""

    ref: int
    octets: int
    rank: int
    route: Route
    evc_octets: int
    priority: int
    state: CopyState = CopyState.QUEUED

    def on(self, event: CopyEvent) -> None:
        """Next state.  LocalError for an event that this state does not know."""
        following = COPY_STATES[self.state].get(event)
        if following is None:
            raise LocalError(f"bundle {self.ref}: {event} while {self.state}")
        self.state = following


@dataclass(slots=True)
class NeighbourQueue:
    """waiting_octets: by class, of copies that are queued.

    credit_octets, credited_ns: a bucket that the rate fills; a second's worth at most.
    """

    number: int
    up: bool = False
    contacts: list[Contact] = field(default_factory=list[Contact])
    limit_bit_s: float | None = None
    waiting_octets: list[int] = field(default_factory=lambda: [0] * CLASSES)
    sending: int = 0
    sent_bundles: int = 0
    sent_octets: int = 0
    failed: int = 0
    _queues: list[deque[Copy]] = field(default_factory=lambda: [deque() for _ in range(CLASSES)])
    _first_end_ns: int = _NEVER_NS
    _credit_octets: float = 0.0
    _credited_ns: int = 0

    def plan(self, plan: ContactPlan, here: int, now_ns: int) -> None:
        """Take our contacts to the neighbour from a plan; those of the past are of no use."""
        self.contacts = sorted(
            (
                c
                for c in plan.contacts
                if c.source == here and c.dest == self.number and c.end_ns > now_ns
            ),
            key=lambda c: c.start_ns,
        )

    def contact(self, now_ns: int) -> Contact | None:
        """The contact that is on."""
        while self.contacts and self.contacts[0].end_ns <= now_ns:
            self.contacts.pop(0)
        if self.contacts and self.contacts[0].start_ns <= now_ns:
            return self.contacts[0]
        return None

    def next_change_ns(self, now_ns: int) -> int | None:
        """When a contact begins or ends next."""
        on = self.contact(now_ns)
        if on is not None:
            return on.end_ns
        return self.contacts[0].start_ns if self.contacts else None

    def put(self, copy: Copy) -> None:
        """Queue it behind those of its class."""
        self._queues[copy.rank].append(copy)
        self.waiting_octets[copy.rank] += copy.octets
        self._first_end_ns = min(self._first_end_ns, copy.route.contacts[0].end_ns)

    def withdraw(self, copy: Copy) -> None:
        """Forget a copy, queued (its place in the queue is passed over later) or being sent."""
        if copy.state is CopyState.QUEUED:
            self.waiting_octets[copy.rank] -= copy.octets
        else:
            self.sending -= 1
        copy.on(CopyEvent.WITHDRAWN)

    def backlog_octets(self, rank: int) -> int:
        """Queued ahead of a new bundle of this class."""
        return sum(self.waiting_octets[: rank + 1])

    @property
    def waiting(self) -> int:
        """Bundles queued."""
        return sum(copy.state is CopyState.QUEUED for queue in self._queues for copy in queue)

    def queued(self) -> list[Copy]:
        """All that are queued, in the order in which they will go."""
        return [c for queue in self._queues for c in queue if c.state is CopyState.QUEUED]

    def last(self, evc_octets: int) -> list[Copy]:
        """The last bulk and normal bundles, that have so much volume between them."""
        found: list[Copy] = []
        for queue in reversed(self._queues[2:]):
            for copy in reversed(queue):
                if evc_octets <= 0:
                    return found
                if copy.state is CopyState.QUEUED:
                    evc_octets -= copy.evc_octets
                    found.append(copy)
        return found

    def overdue(self, now_ns: int) -> list[Copy]:
        """Queued for contacts that are over."""
        if now_ns < self._first_end_ns:
            return []
        # While a neighbour stays away nobody steps over those that were withdrawn.
        self._queues = [
            deque(c for c in queue if c.state is CopyState.QUEUED) for queue in self._queues
        ]
        ends = [(copy.route.contacts[0].end_ns, copy) for copy in self.queued()]
        self._first_end_ns = min((end for end, _ in ends if end > now_ns), default=_NEVER_NS)
        return [copy for end, copy in ends if end <= now_ns]

    def take(self, now_ns: int) -> Copy | None:
        """The next to be sent, None if there is none, no contact, or the rate allows none yet."""
        if not self.up or not any(self.waiting_octets):
            return None
        contact = self.contact(now_ns)
        if contact is None or not self._allowed(contact, now_ns):
            return None
        for queue in self._queues:
            while queue:
                copy = queue.popleft()
                if copy.state is not CopyState.QUEUED:
                    continue
                copy.on(CopyEvent.TAKEN)
                self.waiting_octets[copy.rank] -= copy.octets
                self.sending += 1
                self._credit_octets -= copy.octets
                return copy
        return None

    def _allowed(self, contact: Contact, now_ns: int) -> bool:
        if self.limit_bit_s is None:
            return True
        rate = min(self.limit_bit_s, contact.rate_bit_s) / 8
        gained = (now_ns - self._credited_ns) / 1e9 * rate
        self._credit_octets = min(self._credit_octets + gained, rate)
        self._credited_ns = now_ns
        # A bundle may be larger than the bucket: what it takes too much is paid back first.
        return self._credit_octets > 0

    def next_credit_ns(self, now_ns: int) -> int | None:
        """When the rate allows the next bundle, if it is what holds it."""
        contact = self.contact(now_ns)
        if self.limit_bit_s is None or contact is None or self._credit_octets > 0:
            return None
        rate = min(self.limit_bit_s, contact.rate_bit_s) / 8
        return now_ns + round((1 - self._credit_octets) / rate * 1e9)
