"""monitor: follows `receive`'s packets; publishes parameters, limit transitions and events.

One `ParametersMessage` for the `PacketsMessage`s that waited, and one `EventMessage` before it if
there is anything to tell; both carry the position of the last of their inputs.  A restarted monitor
takes its last snapshot, runs the inputs after it again, cut as they were cut before, and does not
publish what its journals already hold.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ground.monitor.decoding import Decoder
from ground.ports import Bus, Clock, Message, StateStore, Stop
from ground.status import COMPILING, StatusReporter
from ground.warming import settle
from protocols.bus.messages import (
    Event,
    EventMessage,
    PacketsMessage,
    ParametersMessage,
    PassesMessage,
    ServiceState,
    parse,
)
from protocols.errors import LocalError, RemoteError
from protocols.identifiers import Topic
from protocols.packets.batch import PacketBatch
from protocols.telemetry.sampling import sampling_counts, sampling_text

#: Time between snapshots, wall seconds; a restart runs again what came since.
SNAPSHOT_S = 5.0
#: How far behind the antenna the ground may be before silence means anything, wall seconds: a
#: restart of receive and its decoding fit in.
GRACE_S = 5.0
#: Longest wait for a message: the time it takes to notice a stop or that something went stale.
TURN_S = 0.2

STATE_VERSION = 2

#: Octets of packets that become one message of parameters, which is a third larger.
TOGETHER_OCTETS = 2 << 20

Where = tuple[str, int]


class MonitorService:
    """One `source` (a receiver's name on the bus) through one decoder."""

    def __init__(
        self,
        decoder: Decoder,
        bus: Bus,
        clock: Clock,
        state: StateStore,
        *,
        service: str,
        source: str,
    ) -> None:
        self._decoder = decoder
        self._bus = bus
        self._clock = clock
        self._state = state
        self._source = source
        self._status = StatusReporter(service, clock, bus)
        self._grace_ns = round(GRACE_S / clock.wall_seconds(1.0) * 1e9)
        self._position: Where = ("", -1)
        self._rows = self._events = 0
        self._newest_ns: int | None = None
        self._passes: PassesMessage | None = None
        self._malformed = 0
        self._saved_s = self._began_s = time.monotonic()
        # What the journals hold: inputs up to these are told.
        self._told_parameters: Where = ("", -1)
        self._told_events: Where = ("", -1)
        self._told_silence: list[Event] = []
        # Where messages ended that are told already: what is decoded again is cut there again, so
        # that its events, which may depend on what was decoded together, come out the same.
        self._cuts: set[Where] = set()
        self._waiting: tuple[list[PacketsMessage], Message | None] = [], None

    def run(self, stop: Stop) -> None:
        self._recover()
        while not stop():
            self._gather(self._bus.receive(TURN_S))
            lag = sum(position.lag for position in self._bus.positions())
            if not self._repeating and not lag:
                self._status.state = ServiceState.RUNNING
                # Until receive has answered, no lag only means that we do not know of one.
                if time.monotonic() - self._began_s >= GRACE_S:
                    self._tell_silence()
            if time.monotonic() - self._saved_s >= SNAPSHOT_S:
                self._save(wait=False)
            self._tick()
        self._save()
        self._status.state = ServiceState.STOPPED
        self._tick(now=True)

    # ------------------------------------------------------------ recovery

    def _recover(self) -> None:
        """LocalError if the journal of parameters is another version's."""
        self._status.announce(ServiceState.RECOVERING, COMPILING)
        self._decoder.warm()
        settle()
        last = self._bus.last(Topic.PARAMETERS)
        if last is not None:
            try:
                message = parse(ParametersMessage, last.body)
            except RemoteError as error:
                raise LocalError(
                    f"the journal of parameters cannot be continued, {error}; "
                    "another version wrote it: start in a new run directory"
                ) from error
            self._told_parameters = (message.journal, message.sequence)
            rows_told = message.first_row + message.rows
        else:
            rows_told = 0
        last = self._bus.last(Topic.EVENTS)
        if last is not None:
            events = parse(EventMessage, last.body)
            self._told_events = (events.journal, events.sequence)
            self._events = events.first_event + len(events.events)
        state = self._state.load()
        if state and state.get("version") == STATE_VERSION and state["rows"] <= rows_told:
            self._decoder.restore(state["decoder"])
            self._position = (state["journal"], state["sequence"])
            self._rows = state["rows"]
            self._newest_ns = state["newest_ns"]
            events_from, parameters_from = state["events_sequence"], state["parameters_sequence"]
        else:
            events_from = parameters_from = 0
        if self._repeating:
            self._cuts = {self._told_parameters, self._told_events}
            for message in self._bus.history(Topic.PARAMETERS, parameters_from):
                told = parse(ParametersMessage, message.body)
                self._cuts.add((told.journal, told.sequence))
            # Staleness came from the clock, which does not run again: take it from what was said.
            for message in self._bus.history(Topic.EVENTS, events_from):
                self._told_silence += parse(EventMessage, message.body).events
        self._bus.follow(Topic.PACKETS, self._source, *self._position)
        self._bus.subscribe(Topic.PASSES)

    @property
    def _repeating(self) -> bool:
        """Whether the next input may have been told before the restart."""
        return any(
            told[0] != "" and self._position[0] in ("", told[0]) and self._position[1] < told[1]
            for told in (self._told_parameters, self._told_events)
        )

    def _end_repeating(self) -> None:
        for event in self._told_silence:
            self._decoder.staleness.told(event.kind, event.name)
        self._told_silence = []

    # ------------------------------------------------------------ the work

    def _gather(self, messages: Sequence[Message]) -> None:
        """What waits is decoded together: a message costs the same for one frame as for a hundred,
        so whoever is behind catches up, and nobody who is not waits for company."""
        together, last = self._waiting
        octets = sum(len(packets.packets.octets) for packets in together)
        for message in messages:
            if message.topic == Topic.PASSES:
                self._take_passes(message)
            if message.topic != Topic.PACKETS:
                continue
            try:
                packets = parse(PacketsMessage, message.body)
            except RemoteError:
                # A version that we do not know: counted and stepped over, the journal keeps it.
                self._malformed += 1
                self._take(together, last)
                together, octets, last = [], 0, None
                self._position = (message.journal, message.sequence)
                continue
            if last is not None and not (
                _follows(together[-1], packets)
                and last.journal == message.journal
                and octets + len(packets.packets.octets) <= TOGETHER_OCTETS
                and (last.journal, last.sequence) not in self._cuts
            ):
                self._take(together, last)
                together, octets = [], 0
            together.append(packets)
            octets += len(packets.packets.octets)
            last = message
        if last is not None and self._goes_on(last):
            self._waiting = together, last
            return
        self._waiting = [], None
        self._take(together, last)

    def _goes_on(self, last: Message) -> bool:
        """Whether more was decoded together with this one, before the restart."""
        return (last.journal, last.sequence) not in self._cuts and any(
            journal == last.journal and sequence > last.sequence for journal, sequence in self._cuts
        )

    def _take(self, together: Sequence[PacketsMessage], last: Message | None) -> None:
        if last is None:
            return
        here: Where = (last.journal, last.sequence)
        packets = _joined(together)
        decoded = self._decoder.decode(packets)
        if decoded.events and not _told(here, self._told_events, self._told_parameters):
            self._publish_events(here, decoded.events)
        parameters = ParametersMessage(
            link=packets.link,
            journal=last.journal,
            sequence=last.sequence,
            reception_ns=packets.reception_ns,
            first_row=self._rows,
            tables=decoded.tables,
        )
        if not _told(here, self._told_parameters):
            self._bus.publish(Topic.PARAMETERS, parameters.build(), time_ns=self._clock.now_ns())
        self._rows += parameters.rows
        self._position = here
        self._newest_ns = packets.reception_ns
        if not self._repeating:
            self._cuts.clear()
            if self._told_silence:
                self._end_repeating()

    def _publish_events(self, where: Where, events: tuple[Event, ...]) -> None:
        message = EventMessage(
            journal=where[0], sequence=where[1], first_event=self._events, events=events
        )
        self._bus.publish(Topic.EVENTS, message.build(), time_ns=self._clock.now_ns())
        self._events += len(events)

    def _take_passes(self, message: Message) -> None:
        try:
            self._passes = parse(PassesMessage, message.body)
        except RemoteError:
            self._malformed += 1

    def _tell_silence(self) -> None:
        now_ns = self._clock.now_ns()
        # Silence is told without a pass, too, but is then no reason to be alarmed.
        passes = self._passes
        expected = passes is not None and passes.receiving(now_ns - self._grace_ns) is None
        events = self._decoder.silence(now_ns, self._grace_ns, expected=expected)
        if events:
            self._publish_events(self._position, events)

    def _save(self, *, wait: bool = True) -> None:
        self._saved_s = time.monotonic()
        if self._position[1] < 0:
            return
        last = self._bus.last(Topic.EVENTS)
        told = self._bus.last(Topic.PARAMETERS)
        # The snapshot must not know of more than the journals have kept.
        self._bus.sync()
        self._state.save(
            {
                "version": STATE_VERSION,
                "journal": self._position[0],
                "sequence": self._position[1],
                "rows": self._rows,
                "events_sequence": 0 if last is None else last.sequence + 1,
                "parameters_sequence": 0 if told is None else told.sequence + 1,
                "newest_ns": self._newest_ns,
                "decoder": self._decoder.snapshot(),
            },
            wait=wait,
        )

    def _tick(self, *, now: bool = False) -> None:
        counters = {
            **self._decoder.counts,
            "rows": self._rows,
            "events": self._events,
            "malformed": self._malformed,
            "stale": sum(r.stale for r in self._decoder.staleness.rhythms.values()),
            **sampling_counts(self._decoder.sampler),
        }
        if self._status.state is ServiceState.RUNNING or self._decoder.sampler is not None:
            self._status.detail = sampling_text(self._decoder.sampler)
        self._status.tick(counters, newest_ns=self._newest_ns, now=now)


def _told(here: Where, *told: Where) -> bool:
    return any(where[0] == here[0] and here[1] <= where[1] for where in told)


def _follows(before: PacketsMessage, after: PacketsMessage) -> bool:
    return (
        before.link == after.link
        and before.first_packet + len(before.packets) == after.first_packet
    )


def _joined(messages: Sequence[PacketsMessage]) -> PacketsMessage:
    if len(messages) == 1:
        return messages[0]
    last = messages[-1]
    return replace(
        last,
        packets=PacketBatch.concatenate([message.packets for message in messages]),
        playback=np.concatenate([message.playback for message in messages]),
        first_packet=messages[0].first_packet,
    )
