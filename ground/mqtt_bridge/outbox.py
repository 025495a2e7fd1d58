"""What a broker has been given and has not acknowledged, and how far the journals are done.

Pure: publications and acknowledgements go in, positions come out.  A position moves on when all
that was made of its message, and of all before it, is acknowledged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

#: Publications of QoS 1 that are sent again when a connection was lost although the broker had
#: acknowledged them: it does so once it has taken a message, which it may lose with its process
#: (mosquitto writes its store every half hour and holds up to 1,000 messages for a subscriber).
OVERLAP: Final = 1_000


@dataclass(frozen=True, slots=True)
class Publication:
    """One MQTT message.

    state: it says how something is now, so that a new connection says it again; it is retained.
    """

    topic: str
    payload: bytes
    qos: int = 0
    state: bool = False


@dataclass(eq=False, slots=True)
class Entry:
    """A message of a journal and what was made of it; `left` of that is not acknowledged."""

    topic: str
    journal: str
    sequence: int
    publications: Sequence[Publication]
    left: set[int] = field(default_factory=set)


class Outbox:
    """positions: bus topic → (journal, sequence) up to which all is acknowledged; states: topic →
    the last state acknowledged or told live."""

    def __init__(self) -> None:
        self.positions: dict[str, tuple[str, int]] = {}
        self.states: dict[str, Publication] = {}
        self.acknowledged = 0
        self._waiting: deque[Entry] = deque()
        self._overlap: deque[Publication] = deque(maxlen=OVERLAP)
        self._length = 0

    def __len__(self) -> int:
        """Publications of journals that are not acknowledged."""
        return self._length

    def add(
        self, topic: str, journal: str, sequence: int, publications: Sequence[Publication]
    ) -> Entry:
        """A message of a journal, in the journal's order."""
        left = set(range(len(publications)))
        entry = Entry(topic, journal, sequence, publications, left)
        self._waiting.append(entry)
        self._length += len(left)
        self._advance()
        return entry

    def acknowledge(self, entry: Entry, number: int) -> None:
        """The broker has this publication; once more is as good."""
        if number in entry.left:
            entry.left.remove(number)
            self._length -= 1
            self.acknowledged += 1
            publication = entry.publications[number]
            self._overlap.append(publication)
            if publication.state:
                self.states[publication.topic] = publication
            self._advance()

    def tell(self, publication: Publication) -> bool:
        """Of a live topic; False: a state that is the last one told."""
        if publication.state:
            if self.states.get(publication.topic) == publication:
                return False
            self.states[publication.topic] = publication
        return True

    def unsaid(self) -> Iterable[tuple[Entry, int]]:
        """What the broker has not acknowledged, in order."""
        return [(entry, number) for entry in self._waiting for number in sorted(entry.left)]

    def to_repeat(self) -> list[Publication]:
        """What a new connection says before `unsaid`: acknowledged of late, and all states."""
        return [*self._overlap, *self.states.values()]

    def _advance(self) -> None:
        while self._waiting and not self._waiting[0].left:
            entry = self._waiting.popleft()
            self.positions[entry.topic] = (entry.journal, entry.sequence)
