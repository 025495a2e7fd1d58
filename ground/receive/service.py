"""receive: link → capture on disk → acknowledge → frames → packets → journal and bus.

What stands before the capture runs at the link's pace in a thread of its own (`intake.py`), what
stands behind it here.  The capture is the input log, the journals of packets and opaque zones are
the output logs.  What the chain makes of the capture does not depend on how it was cut, so a
restarted receiver decodes again from its last snapshot and leaves out as many packets and zones as
its journals already hold.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from ground.config import RECEIVE, RunSettings
from ground.ports import Bus, Clock, Link, StateStore, Stop
from ground.receive.capture import (
    START,
    CapturedChunk,
    CapturePosition,
    CaptureReader,
    CaptureWriter,
)
from ground.receive.carriers import CarrierChains, other_carriers
from ground.receive.intake import Intake
from ground.receive.output import OcfRuns
from ground.receive.profile import LinkProfile
from ground.receive.radio_receiver import Expect
from ground.receive.sample_chain import SampleChain, open_chain
from ground.receive.warming import warm_chain
from ground.status import COMPILING, StatusReporter
from ground.warming import settle
from protocols.bus.access import antenna_of, may_radiate
from protocols.bus.messages import (
    LinkMessage,
    OcfMessage,
    OpaqueMessage,
    PacketsMessage,
    ServiceState,
    UplinkMessage,
    parse,
)
from protocols.errors import LocalError, RemoteError
from protocols.identifiers import Topic
from protocols.packets.batch import PacketBatch
from protocols.packets.extraction import OpaqueZones

#: Longest wait for the capture: other services' requests for our journals wait as long.
TURN_S = 0.05
#: Counts are shown this often, wall seconds.
LINK_INTERVAL_S = 0.5
#: Even a slow link's state is saved this often, wall seconds.
SNAPSHOT_S = 30.0
#: Octets of capture decoded again between two looks at the bus.
RECOVERY_OCTETS = 1 << 20
#: Packets in one message: with the longest packets it stays far below the bus's bound on bodies.
MESSAGE_OCTETS = 1 << 20

STATE_VERSION = 3


class ReceiveService:
    """One link through one chain, or one for each of its carriers.

    service: its name on the bus, `receive` or, of one antenna of several, `receive.ANTENNA`.
    playback: virtual channels that carry stored data; their packets say nothing about the present.
    predict: of the carrier's Doppler shift, where the link gives I/Q samples.
    """

    def __init__(
        self,
        profile: LinkProfile,
        link: Link,
        bus: Bus,
        clock: Clock,
        state: StateStore,
        settings: RunSettings,
        *,
        service: str = RECEIVE,
        playback: Collection[int] = (),
        predict: Expect | None = None,
    ) -> None:
        self._predict = predict
        #: As people know where it is heard.
        self._station = (profile.radio.station if profile.radio else "") or settings.radio_of(
            service
        )
        self._others = other_carriers(profile)
        self._profile = profile
        self._chain = self._open_chains()
        self._link = link
        self._bus = bus
        self._clock = clock
        self._state = state
        self._settings = settings
        self._playback = np.zeros(256, np.bool_)
        self._playback[list(playback)] = True
        self._status = StatusReporter(service, clock, bus)
        antenna = antenna_of(service)
        #: What several antennas' receivers say of their links is merged, and what goes up is given
        #: to one of them (`receive.merge`).
        self._link_topic, self._ocf_topic, self._uplink_topic = (
            f"{topic}.{antenna}" if antenna else str(topic)
            for topic in (Topic.LINK, Topic.OCF, Topic.UPLINK)
        )
        self._given_by = RECEIVE if antenna else ""
        self._link_name = settings.link_name_of(service)
        self._capture_dir = settings.capture_of(service)
        self._position = START
        #: Of the last snapshot that is on disk for sure, and of the one after it.
        self._kept = self._saving = START
        self._newest_ns: int | None = None
        # What the chain has given since the capture's beginning, and what the journals hold of it.
        self._packets = self._zones = self._idle = 0
        self._packets_told = self._zones_told = 0
        self._repeated = 0
        self._uplink_taken = self._uplink_dropped = 0
        # Captured and not decoded.
        self._behind_octets = 0
        self._unsaved_octets = 0
        self._saved_s = self._shown_s = time.monotonic()

    def _open_chains(self) -> CarrierChains:
        return CarrierChains(open_chain(self._profile, predict=self._predict), self._others)

    def run(self, stop: Stop) -> None:
        writer = CaptureWriter(
            self._capture_dir,
            link=self._link_name,
            rotate_octets=self._settings.capture_octets,
        )
        with writer:
            self._recover(stop, writer.position)
            self._bus.subscribe(self._uplink_topic)
            self._link.open(dict(writer.resume))
            self._status.state = ServiceState.RUNNING
            if self._status.detail == COMPILING:
                self._status.detail = ""
            intake = Intake(
                self._link,
                writer,
                CaptureReader(self._capture_dir),
                sync=self._settings.sync,
            )
            intake.start()
            try:
                while not stop():
                    self._turn(intake, writer, TURN_S)
            finally:
                intake.stop()
            # Told to end in the middle of a backlog: what is captured is decoded all the same,
            # and a receiver that is killed for it does so when it is started again.
            while intake.behind_octets:
                self._turn(intake, writer, 0)
            self._save()
            self._forget(writer)
            self._show(writer, intake, now=True)
        self._status.state = ServiceState.STOPPED
        self._tick(now=True)

    # ------------------------------------------------------------ recovery

    def _recover(self, stop: Stop, end: CapturePosition) -> None:
        """Bring chain and journals to the capture's end."""
        self._status.announce(ServiceState.RECOVERING, COMPILING)
        warm_chain(self._profile)
        settle()
        self._packets_told = self._packets_within(end)
        last = self._bus.last(Topic.OPAQUE)
        if last is not None:
            zones = parse(OpaqueMessage, last.body)
            self._zones_told = zones.first_zone + len(zones)
        self._restore(end)
        reader = CaptureReader(self._capture_dir)
        if self._position == START and any(number > 0 for number, _ in reader.files()[:1]):
            self._go_on(reader)
        for group in _groups(reader.read(self._position)):
            self._decode(group)
            self._bus.receive(0)
            self._tick()
            if stop():
                return
        # Also where nothing was decoded: a snapshot that was refused is not to be met again when
        # the capture has grown over its position.
        self._save()

    def _packets_within(self, end: CapturePosition) -> int:
        """Packets that the journal holds of this capture.

        A power failure may have taken chunks that were decoded and not acknowledged.  The station
        sends them again; were it to send others, their packets must not pass for those told.
        """
        last = self._bus.last(Topic.PACKETS)
        while last is not None:
            packets = parse(PacketsMessage, last.body)
            if CapturePosition(packets.capture_file, packets.capture_offset) <= end:
                return packets.first_packet + len(packets.packets)
            before = self._bus.history(Topic.PACKETS, last.sequence - 1) if last.sequence else ()
            last, after = next(iter(before), None), last
            if last is not None and last.sequence >= after.sequence:
                # The journal holds nothing older.
                return packets.first_packet
        return 0

    def _go_on(self, reader: CaptureReader) -> None:
        """There is no snapshot, and the capture's first files are deleted: nothing can be counted
        from its beginning.  What was told is known by the newest packet told; opaque zones that
        became complete together with it are not told again."""
        self._status.detail = "no snapshot, and the capture's beginning is deleted: went on"
        last = self._bus.last(Topic.PACKETS)
        newest = None
        if last is not None:
            told = parse(PacketsMessage, last.body).packets
            newest = told.packet(len(told) - 1)
        behind: list[tuple[PacketBatch, OpaqueZones | None]] = []
        for group in _groups(reader.read(START)):
            output = self._chain.push(group)
            self._position = group[-1].position
            packets = self._without_idle(output.packets)
            known = [n for n, packet in enumerate(packets) if packet == newest]
            if known:
                behind = [(packets.slice(known[-1] + 1, len(packets)), None)]
            else:
                behind.append((packets, output.opaque))
            self._bus.receive(0)
            self._tick()
        self._packets, self._zones = self._packets_told, self._zones_told
        for packets, zones in behind:
            self._tell_packets(packets)
            if zones is not None:
                self._tell_zones(zones)

    def _restore(self, end: CapturePosition) -> None:
        state = self._state.load()
        if state is None or state.get("version") != STATE_VERSION:
            return
        if CapturePosition(*state["position"]) > end:
            self._status.detail = "the capture lost its end: decoding all again"
            return
        if state["packets"] > self._packets_told or state["zones"] > self._zones_told:
            # The journals are younger than the snapshot (moved away, or lost their end in a power
            # failure): they are made again from the beginning of the capture.
            self._status.detail = "journals are shorter than the last snapshot: decoding all again"
            return
        try:
            self._chain.restore(state["chain"])
        except LocalError as error:
            # Another profile, or another version of the chain: what is on disk is decoded anew.
            self._chain = self._open_chains()
            self._status.detail = f"decoding all again: {error}"
            return
        self._position = CapturePosition(*state["position"])
        self._packets, self._zones = state["packets"], state["zones"]
        self._idle, self._newest_ns = state["idle"], state["newest_ns"]

    def _snapshot_is_due(self) -> bool:
        late = time.monotonic() - self._saved_s >= SNAPSHOT_S
        return self._unsaved_octets >= self._settings.snapshot_octets or (
            late and self._unsaved_octets > 0
        )

    def _save(self, *, wait: bool = True) -> None:
        self._saved_s = time.monotonic()
        self._unsaved_octets = 0
        # The store writes one after the other.
        self._kept, self._saving = (self._position if wait else self._saving), self._position
        # The snapshot must not know of more than capture and journals have kept.
        self._bus.sync()
        self._state.save(
            {
                "version": STATE_VERSION,
                "position": list(self._position),
                "packets": self._packets,
                "zones": self._zones,
                "idle": self._idle,
                "newest_ns": self._newest_ns,
                "chain": self._chain.snapshot(),
            },
            wait=wait,
        )

    def _forget(self, writer: CaptureWriter) -> None:
        """Samples that no restart wants any more, if there are too many; octets are kept."""
        keep_octets = self._settings.keep_samples_octets
        if keep_octets and isinstance(self._chain.first, SampleChain):
            writer.forget(self._kept, keep_octets=keep_octets)

    # ------------------------------------------------------------ the work

    def _turn(self, intake: Intake, writer: CaptureWriter, timeout_s: float) -> None:
        self._decode(intake.take(timeout_s))
        self._uplink(intake)
        self._show(writer, intake)
        if self._snapshot_is_due():
            self._save(wait=False)
            self._forget(writer)

    def _uplink(self, intake: Intake) -> None:
        """Hand on what services want radiated, and what the station says of it.

        Nothing is remembered here: a request that is lost with this process, or for want of room,
        is one that its sender hears nothing of and repeats.
        """
        for message in self._bus.receive(0):
            if message.topic != self._uplink_topic:
                continue
            if self._given_by and message.source != self._given_by:
                # No antenna is told by another what to radiate.
                continue
            try:
                asked = parse(UplinkMessage, message.body)
                if not may_radiate(message.source, asked.carrier):
                    raise RemoteError(f"nothing of its own on carrier {asked.carrier}")
                taken = intake.send(asked)
            except RemoteError as error:
                self._status.detail = f"uplink from {message.source}: {error}"
                taken = False
            self._uplink_taken += taken
            self._uplink_dropped += not taken
        for fate in intake.radiated():
            self._bus.publish(Topic.RADIATED, fate.build(), time_ns=self._clock.now_ns())

    def _decode(self, captured: Sequence[CapturedChunk]) -> None:
        if not captured:
            return
        output = self._chain.push(captured)
        self._position = captured[-1].position
        self._unsaved_octets += sum(len(c.octets) for _, c in captured)
        self._newest_ns = captured[-1].chunk.ert_ns
        self._tell_packets(self._without_idle(output.packets))
        self._tell_zones(output.opaque)
        if output.ocf and self._status.state is ServiceState.RUNNING:
            self._tell_ocf(output.ocf)

    def _tell_ocf(self, runs: Sequence[OcfRuns]) -> None:
        """Not journaled: what it says of the spacecraft's receiver is worth nothing later."""
        columns = ("word", "frames", "first_ert_ns", "last_ert_ns")
        message = OcfMessage(
            self._link_name,
            *(np.concatenate([getattr(run, name) for run in runs]) for name in columns),
        )
        self._bus.publish(self._ocf_topic, message.build(), time_ns=self._clock.now_ns())

    def _without_idle(self, packets: PacketBatch) -> PacketBatch:
        # 133.0-B-2 §4.1.3.3.4.4, 133.1-B-3 §4.1.2.3: idle packets fill a link and mean nothing.
        idle = packets.is_idle
        if not (count := int(np.count_nonzero(idle))):
            return packets
        self._idle += count
        return packets.select(~idle)

    def _tell_packets(self, packets: PacketBatch) -> None:
        first, self._packets = self._packets, self._packets + len(packets)
        known = min(max(self._packets_told - first, 0), len(packets))
        self._repeated += known
        reception_ns = self._clock.now_ns()
        start = known
        while start < len(packets):
            limit = packets.offsets[start] + MESSAGE_OCTETS
            stop = max(start + 1, int(np.searchsorted(packets.offsets, limit, "right")) - 1)
            part = packets.slice(start, stop)
            message = PacketsMessage(
                link=self._link_name,
                packets=part,
                playback=self._playback[part.vcid],
                reception_ns=reception_ns,
                first_packet=first + start,
                capture_file=self._position.file,
                capture_offset=self._position.offset,
            )
            self._bus.publish(Topic.PACKETS, message.build(), time_ns=reception_ns)
            start = stop
        self._packets_told = max(self._packets_told, self._packets)

    def _tell_zones(self, zones: OpaqueZones) -> None:
        first, self._zones = self._zones, self._zones + len(zones)
        start = min(max(self._zones_told - first, 0), len(zones))
        reception_ns = self._clock.now_ns()
        while start < len(zones):
            low = zones.offsets[start]
            stop = int(np.searchsorted(zones.offsets, low + MESSAGE_OCTETS, "right")) - 1
            stop = max(start + 1, stop)
            message = OpaqueMessage(
                link=self._link_name,
                reception_ns=reception_ns,
                first_zone=first + start,
                octets=zones.octets[low : zones.offsets[stop]],
                offsets=zones.offsets[start : stop + 1] - low,
                scid=zones.scid[start:stop],
                vcid=zones.vcid[start:stop],
                frame=zones.frame[start:stop],
                ert_ns=zones.ert_ns[start:stop],
                reason=zones.reason[start:stop],
            )
            self._bus.publish(Topic.OPAQUE, message.build(), time_ns=reception_ns)
            start = stop
        self._zones_told = max(self._zones_told, self._zones)

    # ------------------------------------------------------------ how it is

    def _show(self, writer: CaptureWriter, intake: Intake, *, now: bool = False) -> None:
        if now or time.monotonic() - self._shown_s >= LINK_INTERVAL_S:
            self._shown_s = time.monotonic()
            message = self._link_message(writer, intake)
            self._bus.publish(self._link_topic, message.build(), time_ns=message.time_ns)
            if isinstance(self._chain.first, SampleChain):
                self._show_radio(self._chain.first)
        self._behind_octets = intake.behind_octets
        self._tick(now=now)

    def _show_radio(self, chain: SampleChain) -> None:
        link = self._link_name
        heard = chain.message(self._station, link)
        if heard is not None:
            self._bus.publish(f"{Topic.RADIO}.{link}", heard.build(), time_ns=heard.time_ns)

    def _link_message(self, writer: CaptureWriter, intake: Intake) -> LinkMessage:
        link = self._link.statistics()
        chain = self._chain.statistics()
        names = ("chunks_in", "octets_in", "chunks_out", "octets_out", "reconnects")
        names += ("repeated_chunks", "lost_chunks", "gaps", "malformed")
        counts = {
            "link": {name: getattr(link, name) for name in names},
            "capture": {
                "octets": writer.position.offset,
                "file": writer.position.file,
                "behind_octets": intake.behind_octets,
            },
            **chain.counts,
        }
        counts["packets"] = {**counts.get("packets", {}), "idle": self._idle}
        return LinkMessage(
            link=link.name,
            time_ns=self._clock.now_ns(),
            state=link.state,
            detail=link.detail,
            carrier=link.carrier,
            owlt_s=link.owlt_s,
            last_ert_ns=link.last_ert_ns,
            transmits=link.transmits,
            capture=writer.path.name,
            counts=counts,
            virtual_channels=chain.virtual_channels,
        )

    def _tick(self, *, now: bool = False) -> None:
        counters = {
            # While what the journal holds is decoded again: that much there is, and a count that
            # fell would look like a new one.
            "packets": max(self._packets, self._packets_told),
            "opaque_zones": max(self._zones, self._zones_told),
            "idle_packets": self._idle,
            "repeated_packets": self._repeated,
            "behind_octets": self._behind_octets,
            "uplink_taken": self._uplink_taken,
            "uplink_dropped": self._uplink_dropped,
        }
        self._status.tick(counters, newest_ns=self._newest_ns, now=now)


def _groups(chunks: Iterator[CapturedChunk]) -> Iterator[list[CapturedChunk]]:
    """As many at a time as are decoded between two looks at the bus."""
    group: list[CapturedChunk] = []
    octets = 0
    for captured in chunks:
        group.append(captured)
        octets += len(captured.chunk.octets)
        if octets >= RECOVERY_OCTETS:
            yield group
            group, octets = [], 0
    if group:
        yield group
