"""receive, where several antennas hear the spacecraft: their receivers' packets as one stream.

Each antenna has a receiver of its own (`receive.yeoju`), with its link, capture and journals, on a
host of its own if need be.  This service follows their journals and writes what it has not told yet
into its own, under the name that everybody follows: nobody behind it knows how many antennas there
are.  A packet is told once: the same octets on the same virtual channel, received by another
antenna within `SAME_NS`, are the same packet.  What an antenna alone has heard is told however late
it comes, as playback where it is no longer the present.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ground.ports import Bus, Clock, Message, StateStore, Stop
from ground.status import StatusReporter
from protocols.bus.messages import (
    LinkMessage,
    OpaqueMessage,
    PacketsMessage,
    ServiceState,
    parse,
)
from protocols.errors import RemoteError
from protocols.identifiers import Topic

#: Two antennas on Earth hear the same within 43 ms, the light time of its diameter; the rest is for
#: stations' clocks.  Nothing is sent twice within it on one virtual channel but by mistake.
SAME_NS: Final = 500_000_000
#: Packets that are known when another antenna brings them: hours of this spacecraft's.
REMEMBERED: Final = 500_000
#: So many wall seconds behind the newest, what one antenna alone has heard is the present no more.
LATE_S: Final = 5.0
#: A receiver that has said nothing of its link for so long, wall seconds, is not chosen.
SILENCE_S: Final = 5.0
SNAPSHOT_S: Final = 10.0
TURN_S: Final = 0.2
STATE_VERSION: Final = 1

Flags = npt.NDArray[np.bool_]


class Seen:
    """What has been told, by whom it was heard, and when."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, tuple[int, int]] = OrderedDict()

    def fresh(
        self, antenna: int, parts: Sequence[bytes], vcid: Sequence[int], ert_ns: Sequence[int]
    ) -> Flags:
        """bool [n]: no other antenna has brought it; from now on it is known."""
        fresh = np.ones(len(parts), np.bool_)
        for i, (octets, channel, at_ns) in enumerate(zip(parts, vcid, ert_ns, strict=True)):
            key = blake2b(octets, digest_size=8, salt=bytes((channel,))).digest()
            known = self._known.get(key)
            if known is not None and known[1] != antenna and abs(known[0] - at_ns) <= SAME_NS:
                fresh[i] = False
                continue
            self._known[key] = at_ns, antenna
            self._known.move_to_end(key)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return fresh

    def kept(self) -> dict[str, bytes]:
        """For a snapshot."""
        values = np.array(list(self._known.values()), np.int64).reshape(-1, 2)
        return {"keys": b"".join(self._known), "values": values.tobytes()}

    def restore(self, kept: dict[str, bytes]) -> None:
        """The inverse."""
        values = np.frombuffer(kept["values"], np.int64).reshape(-1, 2).tolist()
        keys = kept["keys"]
        self._known = OrderedDict(
            (keys[8 * i : 8 * i + 8], (at_ns, antenna)) for i, (at_ns, antenna) in enumerate(values)
        )


class MergeService:
    """sources: the receivers' names on the bus, the preferred first, which also transmits."""

    def __init__(
        self,
        sources: Sequence[str],
        bus: Bus,
        clock: Clock,
        state: StateStore,
        *,
        service: str,
    ) -> None:
        self._sources = tuple(sources)
        self._bus = bus
        self._clock = clock
        self._state = state
        self._status = StatusReporter(service, clock, bus)
        self._late_ns = round(LATE_S / clock.wall_seconds(1.0) * 1e9)
        self._seen = {str(topic): Seen() for topic in (Topic.PACKETS, Topic.OPAQUE)}
        # By topic and receiver: journal and sequence of the last that was dealt with.
        self._positions: dict[tuple[str, str], tuple[str, int]] = {}
        self._packets = self._zones = 0
        self._newest_ns: int | None = None
        self._links: dict[str, tuple[float, LinkMessage]] = {}
        self._counts: Counter[str] = Counter(duplicates=0, late=0, malformed=0)
        self._saved_s = time.monotonic()
        self._changed = False

    def run(self, stop: Stop) -> None:
        self._recover()
        for topic in self._seen:
            for source in self._sources:
                self._bus.follow(topic, source, *self._positions.get((topic, source), ("", -1)))
        for topic in (Topic.LINK, Topic.OCF):
            self._bus.subscribe(f"{topic}.")
        while not stop():
            for message in self._bus.receive(TURN_S):
                self._take(message)
            if not any(position.lag for position in self._bus.positions()):
                self._status.state = ServiceState.RUNNING
            if self._changed and time.monotonic() - self._saved_s >= SNAPSHOT_S:
                self._save(wait=False)
            self._tick()
        self._save()
        self._status.state = ServiceState.STOPPED
        self._tick(now=True)

    # ------------------------------------------------------------ recovery

    def _recover(self) -> None:
        """The snapshot, and what the journals hold after it: each message says what it came of."""
        last = {topic: self._bus.last(topic) for topic in self._seen}
        ends = {topic: -1 if one is None else one.sequence for topic, one in last.items()}
        journals = {topic: "" if one is None else one.journal for topic, one in last.items()}
        told = dict.fromkeys(self._seen, -1)
        state = self._state.load()
        if (
            state
            and state.get("version") == STATE_VERSION
            and state["sources"] == list(self._sources)
            and state["journals"] == journals
            and all(state["told"][topic] <= ends[topic] for topic in told)
        ):
            told = state["told"]
            self._positions = {
                (topic, source): (journal, sequence)
                for topic, source, journal, sequence in state["positions"]
            }
            self._packets, self._zones = state["packets"], state["zones"]
            self._newest_ns = state["newest_ns"]
            for topic, seen in self._seen.items():
                seen.restore(state["seen"][topic])
        for topic, after in told.items():
            for message in self._bus.history(topic, after + 1) if ends[topic] > after else ():
                body = self._parsed(message)
                self._fresh(topic, body.origin, body)
                self._positions[topic, body.origin] = body.origin_journal, body.origin_sequence
                self._count(body)

    def _save(self, *, wait: bool = True) -> None:
        self._saved_s, self._changed = time.monotonic(), False
        last = {topic: self._bus.last(topic) for topic in self._seen}
        # The snapshot must not know of more than the journals have kept.
        self._bus.sync()
        self._state.save(
            {
                "version": STATE_VERSION,
                "sources": list(self._sources),
                "journals": {t: "" if one is None else one.journal for t, one in last.items()},
                "told": {t: -1 if one is None else one.sequence for t, one in last.items()},
                "positions": [[*key, *position] for key, position in self._positions.items()],
                "packets": self._packets,
                "zones": self._zones,
                "newest_ns": self._newest_ns,
                "seen": {topic: seen.kept() for topic, seen in self._seen.items()},
            },
            wait=wait,
        )

    # ------------------------------------------------------------ the work

    @staticmethod
    def _parsed(message: Message) -> PacketsMessage | OpaqueMessage:
        if message.topic == Topic.PACKETS:
            return parse(PacketsMessage, message.body)
        return parse(OpaqueMessage, message.body)

    def _take(self, message: Message) -> None:
        try:
            if message.topic in self._seen:
                self._merge(message)
            elif message.source in self._sources:
                self._choose(message)
        except RemoteError:
            self._counts["malformed"] += 1

    def _merge(self, message: Message) -> None:
        body = self._parsed(message)
        fresh = self._fresh(message.topic, message.source, body)
        self._positions[message.topic, message.source] = message.journal, message.sequence
        self._changed = True
        self._counts["duplicates"] += int(np.count_nonzero(~fresh))
        if not fresh.any():
            return
        origin: dict[str, Any] = {
            "origin": message.source,
            "origin_journal": message.journal,
            "origin_sequence": message.sequence,
        }
        if isinstance(body, PacketsMessage):
            packets = body.packets.select(fresh)
            late = packets.ert_ns < (self._newest_ns or 0) - self._late_ns
            self._counts["late"] += int(np.count_nonzero(late))
            merged: PacketsMessage | OpaqueMessage = replace(
                body,
                packets=packets,
                playback=body.playback[fresh] | late,
                first_packet=self._packets,
                **origin,
            )
        else:
            merged = replace(body.select(fresh), first_zone=self._zones, **origin)
        self._bus.publish(message.topic, merged.build(), time_ns=self._clock.now_ns())
        self._count(merged)

    def _count(self, told: PacketsMessage | OpaqueMessage) -> None:
        if isinstance(told, PacketsMessage):
            self._packets = told.first_packet + len(told.packets)
            newest = int(told.packets.ert_ns.max()) if len(told.packets) else 0
            self._newest_ns = max(self._newest_ns or 0, newest)
        else:
            self._zones = told.first_zone + len(told)

    def _fresh(self, topic: str, source: str, body: PacketsMessage | OpaqueMessage) -> Flags:
        if source not in self._sources:
            # Of a journal that another set of antennas wrote.
            return np.ones(len(body.packets if isinstance(body, PacketsMessage) else body), bool)
        batch = body.packets if isinstance(body, PacketsMessage) else body
        octets, at = batch.octets.tobytes(), batch.offsets.tolist()
        parts = [octets[a:b] for a, b in pairwise(at)]
        return self._seen[topic].fresh(
            self._sources.index(source), parts, batch.vcid.tolist(), batch.ert_ns.tolist()
        )

    # ------------------------------------------------------------ the link that is shown

    def _choose(self, message: Message) -> None:
        """What receivers say of their links; that of the best is the site's, and its CLCWs are."""
        if message.topic.startswith(f"{Topic.LINK}."):
            self._links[message.source] = time.monotonic(), parse(LinkMessage, message.body)
        if message.source == self._best():
            topic = message.topic.partition(".")[0]
            self._bus.publish(topic, message.body, time_ns=message.time_ns)

    def _best(self) -> str:
        """The first that hears the spacecraft, else the first that is connected, else the first."""
        now_s = time.monotonic()
        speaking = {
            source: link
            for source, (heard_s, link) in self._links.items()
            if now_s - heard_s <= SILENCE_S
        }
        up = [one for one in self._sources if one in speaking and speaking[one].state == "OK"]
        hearing = [one for one in up if speaking[one].carrier]
        return next(iter((*hearing, *up, *self._sources)))

    def _tick(self, *, now: bool = False) -> None:
        self._status.detail = f"from {len(self._sources)} antennas, link of {self._best()}"
        counters = {"packets": self._packets, "opaque_zones": self._zones, **self._counts}
        self._status.tick(counters, newest_ns=self._newest_ns, now=now)
