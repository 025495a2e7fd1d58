"""receive, where several antennas hear the spacecraft: their receivers' packets as one stream.

Each antenna has a receiver of its own (`receive.yeoju`), with its link, capture and journals, on a
host of its own if need be.  This service follows their journals and writes what it has not told yet
into its own, under the name that everybody follows: nobody behind it knows how many antennas there
are.  A packet is told once: the same octets on the same virtual channel, received by another
antenna at the same time, are the same packet (`seen.py`).  What an antenna alone has heard is told
however late it comes, as playback where it is no longer the present.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ground.answering import Calls
from ground.config import RECEIVE, RunSettings
from ground.ports import Bus, Clock, Message, StateStore, Stop
from ground.receive.antennas import Antennas
from ground.receive.seen import Seen, parts_of
from ground.receive.transmitter import State, Transmitter
from ground.status import StatusReporter
from protocols.bus.access import antenna_of, may_radiate
from protocols.bus.messages import (
    LinkMessage,
    OcfMessage,
    OpaqueMessage,
    PacketsMessage,
    RadiatedMessage,
    ServiceState,
    UplinkMessage,
    parse,
)
from protocols.errors import RemoteError
from protocols.identifiers import Topic

#: So many wall seconds behind the newest, what one antenna alone has heard is the present no more.
LATE_S: Final = 5.0
SNAPSHOT_S: Final = 30.0
TURN_S: Final = 0.2
STATE_VERSION: Final = 2


class MergeService:
    """sources: the receivers' names on the bus, the preferred first; server: operators' calls."""

    def __init__(
        self,
        sources: Sequence[str],
        bus: Bus,
        clock: Clock,
        state: StateStore,
        settings: RunSettings,
        server: Calls,
        *,
        service: str,
    ) -> None:
        self._link_name = settings.link_name
        self._server = server
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
        self._antennas = Antennas(sources, clock, self._late_ns)
        self._transmitter = Transmitter(
            sources, settings.given_uplink, margin_ns=self._late_ns, sync=settings.sync
        )
        self._counts: Counter[str] = Counter(
            duplicates=0, late=0, malformed=0, told_anew=0, uplink_taken=0, uplink_dropped=0
        )
        self._saved_s = time.monotonic()
        self._changed = False

    def run(self, stop: Stop) -> None:
        self._recover()
        self._transmitter.open(self._clock.now_ns())
        try:
            self._work(stop)
        finally:
            self._transmitter.close()

    def _work(self, stop: Stop) -> None:
        for topic in self._seen:
            for source in self._sources:
                self._bus.follow(topic, source, *self._positions.get((topic, source), ("", -1)))
        for topic in (Topic.LINK, Topic.OCF):
            self._bus.subscribe(f"{topic}.")
        for topic in (Topic.UPLINK, Topic.RADIATED):
            self._bus.subscribe(topic)
        while not stop():
            for message in self._bus.receive(TURN_S):
                self._take(message)
            self._turn_transmitter()
            self._server.turn(self._asked)
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
                self._step(topic, body.origin, body.origin_journal, body.origin_sequence)
                if body.origin in self._sources:
                    self._seen[topic].tell(self._sources.index(body.origin), *_columns(body))
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
            elif message.topic == Topic.UPLINK:
                self._give(message)
            elif message.topic == Topic.RADIATED:
                fate = parse(RadiatedMessage, message.body)
                self._transmitter.settled(message.source, fate.id, fate.end_ns)
            elif message.source in self._sources:
                self._choose(message)
        except RemoteError:
            self._counts["malformed"] += 1

    def _merge(self, message: Message) -> None:
        body = self._parsed(message)
        source = self._sources.index(message.source)
        self._step(message.topic, message.source, message.journal, message.sequence)
        fresh = self._seen[message.topic].fresh(source, *_columns(body))
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
                link=self._link_name,
                packets=packets,
                playback=body.playback[fresh] | late,
                first_packet=self._packets,
                **origin,
            )
        else:
            merged = replace(
                body.select(fresh), link=self._link_name, first_zone=self._zones, **origin
            )
        self._bus.publish(message.topic, merged.build(), time_ns=self._clock.now_ns())
        self._count(merged)

    def _count(self, told: PacketsMessage | OpaqueMessage) -> None:
        if isinstance(told, PacketsMessage):
            self._packets = told.first_packet + len(told.packets)
            newest = int(told.packets.ert_ns.max()) if len(told.packets) else 0
            # A station's clock that is ahead must not make all that the others hear late.
            self._newest_ns = max(self._newest_ns or 0, min(newest, self._clock.now_ns()))
        else:
            self._zones = told.first_zone + len(told)

    def _step(self, topic: str, source: str, journal: str, sequence: int) -> None:
        """A receiver's message is dealt with.  One that was made again, of a journal that was lost
        or has lost its end, tells what may have been told before."""
        before = self._positions.get((topic, source))
        if before is not None and (journal != before[0] or sequence <= before[1]):
            self._counts["told_anew"] += 1
            if source in self._sources:
                self._seen[topic].forget(self._sources.index(source))
        self._positions[topic, source] = journal, sequence

    # ------------------------------------------------------------ the link that is shown

    def _choose(self, message: Message) -> None:
        """What receivers say of their links; that of the best is the site's, and its CLCWs are."""
        source, time_ns = message.source, message.time_ns
        if message.topic == f"{Topic.LINK}.{antenna_of(source)}":
            new = self._antennas.hear(source, parse(LinkMessage, message.body))
            if new and source == self._antennas.best():
                self._bus.publish(Topic.LINK, message.body, time_ns=time_ns)
            return
        if message.topic != f"{Topic.OCF}.{antenna_of(source)}":
            return
        # As old as what would be playback is no news of the spacecraft's receiver either.
        floor_ns = (self._newest_ns or 0) - self._late_ns
        ocf = self._antennas.present(source, parse(OcfMessage, message.body), floor_ns)
        if ocf is not None:
            self._bus.publish(Topic.OCF, ocf.build(), time_ns=time_ns)

    # ------------------------------------------------------------ the way up

    def _turn_transmitter(self) -> None:
        before = self._transmitter.active
        if self._transmitter.turn(self._clock.now_ns(), *self._antennas.transmitting()):
            logging.getLogger(f"l4.{RECEIVE}").warning(
                "%s transmits now, %s no more",
                *(antenna_of(source) for source in (self._transmitter.active, before)),
            )

    def _give(self, message: Message) -> None:
        """Whoever asks for a radiation is heard by one antenna's receiver."""
        wanted = parse(UplinkMessage, message.body)
        if not may_radiate(message.source, wanted.carrier):
            raise RemoteError(f"{message.source} may not radiate on the carrier {wanted.carrier}")
        source = self._transmitter.route(self._clock.now_ns(), wanted)
        self._counts["uplink_dropped" if source is None else "uplink_taken"] += 1
        if source is not None:
            topic = f"{Topic.UPLINK}.{antenna_of(source)}"
            self._bus.publish(topic, message.body, time_ns=message.time_ns)

    def _asked(self, key: str, operation: str, arguments: dict[str, Any]) -> Any:
        """Operators' calls: `list`; `transmit` with an antenna."""
        if operation == "transmit":
            able, _ = self._antennas.transmitting()
            self._transmitter.order(f"{RECEIVE}.{arguments['antenna']}", able)
            self._turn_transmitter()
        elif operation != "list":
            raise RemoteError(f"operation {operation!r}; list, transmit wanted")
        up = self._transmitter
        for one in (found := self._antennas.listing()):
            one["transmits"] = one["antenna"] == up.gives_to
        return {
            "antennas": found,
            "transmitter": antenna_of(up.active),
            "state": up.state,
            "wanted": antenna_of(up.wanted),
            "over_ns": up.over_ns,
        }

    # ------------------------------------------------------------ how it is

    def _detail(self) -> str:
        up = self._transmitter
        told = f"from {len(self._sources)} antennas, link of {antenna_of(self._antennas.best())}"
        told += f", {antenna_of(up.active)} {up.state}"
        if up.state is not State.TRANSMITS:
            told = f"{told}: nothing goes up until what it was given is over"
        if silent := self._antennas.silent:
            told += f"; no word from {', '.join(map(antenna_of, silent))}"
        for number, source in enumerate(self._sources):
            apart_ns = self._seen[Topic.PACKETS].apart_ns(number)
            if apart_ns is not None:
                told += (
                    f"; clock of {antenna_of(source)} is {apart_ns / 1e9:+.1f} s off another's: "
                    "what both hear is told twice"
                )
        return told

    def _tick(self, *, now: bool = False) -> None:
        if not (now or self._status.due):
            return
        self._status.detail = self._detail()
        counters = {"packets": self._packets, "opaque_zones": self._zones, **self._counts}
        for one in self._antennas.listing():
            name = one["antenna"]
            counters[f"alive {name}"] = int(one["alive"])
            counters[f"hears {name}"] = int(one["hears"])
            counters[f"transmits {name}"] = int(name == self._transmitter.gives_to)
        self._status.tick(counters, newest_ns=self._newest_ns, now=now)


def _columns(body: PacketsMessage | OpaqueMessage) -> tuple[list[bytes], list[int], list[int]]:
    """Octets, virtual channel and ERT of each."""
    batch = body.packets if isinstance(body, PacketsMessage) else body
    parts = list(parts_of(batch.octets, batch.offsets))
    return parts, batch.vcid.tolist(), batch.ert_ns.tolist()
