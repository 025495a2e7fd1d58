"""What several antennas' receivers say of their links, and which of them stands for the site.

    antennas.hear(source, link)                  a `LinkMessage` of a receiver
    antennas.best()                              whose link is the site's
    antennas.present(source, ocf, floor_ns)      of its OCFs what is news, None: nothing

The broker says the last value of a link again to whoever subscribes, also of a receiver that has
ended long since: only a word with another time than the one before says that somebody lives.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ground.ports import Clock, LinkState
from protocols.bus.access import antenna_of
from protocols.bus.messages import LinkMessage, OcfMessage

#: A receiver that has said nothing of its link for so long, wall seconds, is not chosen.
SILENCE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Word:
    """heard_s: monotonic wall seconds; never: −inf, the one word of it may be years old."""

    heard_s: float
    link: LinkMessage


class Antennas:
    """sources: receivers' names on the bus, the preferred first.

    late_ns: so much, world time, behind another antenna is not the present.
    """

    def __init__(self, sources: Sequence[str], clock: Clock, late_ns: int) -> None:
        self._sources = tuple(sources)
        self._clock = clock
        self._late_ns = late_ns
        self._words: dict[str, _Word] = {}
        # Whatever was passed on before this process began is older than now.
        self._ocf_ns = clock.now_ns()

    def hear(self, source: str, link: LinkMessage) -> bool:
        """Whether it is a new word."""
        before = self._words.get(source)
        if before is None:
            self._words[source] = _Word(float("-inf"), link)
            return False
        if before.link.time_ns == link.time_ns:
            return False
        self._words[source] = _Word(time.monotonic(), link)
        return True

    def speaking(self) -> dict[str, LinkMessage]:
        """Links of the receivers that are alive."""
        now_s = time.monotonic()
        return {
            source: word.link
            for source in self._sources
            if (word := self._words.get(source)) and now_s - word.heard_s <= SILENCE_S
        }

    @property
    def silent(self) -> tuple[str, ...]:
        """Receivers without a word."""
        speaking = self.speaking()
        return tuple(one for one in self._sources if one not in speaking)

    def transmitting(self) -> tuple[list[str], list[str]]:
        """Receivers whose station can transmit now, and those whose station says that it cannot."""
        up = {s: link for s, link in self.speaking().items() if link.state == LinkState.OK}
        able = [source for source, link in up.items() if link.transmits]
        return able, [source for source, link in up.items() if not link.transmits]

    def listing(self) -> list[dict[str, Any]]:
        """Each of them, for people."""
        speaking, best = self.speaking(), self.best()
        found: list[dict[str, Any]] = []
        for source in self._sources:
            word = self._words.get(source)
            link = None if word is None else word.link
            found.append(
                {
                    "antenna": antenna_of(source),
                    "alive": source in speaking,
                    "state": "SILENT" if source not in speaking or link is None else link.state,
                    "detail": "" if link is None else link.detail,
                    "hears": source in speaking and link is not None and link.carrier,
                    "can_transmit": source in self.transmitting()[0],
                    "last_ert_ns": 0 if link is None else link.last_ert_ns,
                    "used": source == best,
                }
            )
        return found

    def best(self) -> str:
        """The first that hears the spacecraft now, else the first that hears it at all, else the
        first that is connected, else the first that is alive, else the first."""
        speaking = self.speaking()
        up = [one for one, link in speaking.items() if link.state == LinkState.OK]
        hearing = [one for one in up if speaking[one].carrier]
        now_ns = self._clock.now_ns()
        # A station's clock that is ahead must not make all the others late.
        right = [one for one in hearing if speaking[one].last_ert_ns <= now_ns + self._late_ns]
        newest_ns = max((speaking[one].last_ert_ns for one in right), default=0)
        current = [one for one in right if speaking[one].last_ert_ns >= newest_ns - self._late_ns]
        return next(iter((*current, *hearing, *up, *speaking, *self._sources)))

    def present(self, source: str, ocf: OcfMessage, floor_ns: int) -> OcfMessage | None:
        """What of the best antenna's OCFs is newer than all that was passed on, and than
        `floor_ns`: FOP-1 takes CLCWs in the order in which they were sent (232.1-B-2 §5), and one
        from before would look like a fault of the spacecraft's."""
        if source != self.best():
            return None
        floor_ns = max(floor_ns, self._ocf_ns)
        news = ocf.last_ert_ns > floor_ns
        news &= ocf.last_ert_ns <= self._clock.now_ns() + self._late_ns
        if not news.any():
            return None
        self._ocf_ns = int(ocf.last_ert_ns[news].max())
        columns = ("word", "frames", "first_ert_ns", "last_ert_ns")
        return replace(ocf, **{name: getattr(ocf, name)[news] for name in columns})
