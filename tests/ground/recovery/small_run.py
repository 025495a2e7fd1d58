"""A run directory without processes: minutes of the simulated spacecraft, captured and archived.

The archive is filled from the journal in pieces of its own, as the archive service does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from ground.adapters.journal import FileJournal
from ground.archive.decoding import Decoder
from ground.archive.model import Position
from ground.archive.store import ArchiveStore
from ground.config import MONITOR, RECEIVE, RunSettings, prepare_run_directory
from ground.ports import LinkChunk
from ground.receive.capture import CaptureWriter
from ground.receive.chain import ReceiveChain
from ground.receive.profile import load_profile
from ground.wiring import open_dictionaries, playback_channels
from protocols.bus.messages import Event, EventMessage, PacketsMessage, parse
from protocols.bus.replay import build_record, parse_record
from protocols.identifiers import Topic
from protocols.packets.batch import PacketBatch
from spacecraft_sim.scenario import load
from spacecraft_sim.spacecraft import Spacecraft

S = 10**9
START_NS = 2_200_000_000 * S
#: Chunks that one message of packets is made of, and messages that one transaction takes.
CHUNKS, MESSAGES = 7, 3


def make_run(directory: Path, seconds: int = 60) -> RunSettings:
    settings = prepare_run_directory(
        directory, journal_segment_octets=1 << 16, capture_octets=1 << 18
    )
    spacecraft = Spacecraft(load("nominal"), seed=1, start_ns=START_NS)
    cadus = spacecraft.step(START_NS + seconds * S).cadus
    chain = ReceiveChain(load_profile(settings.mission))
    journal = FileJournal(settings.journal_dir(RECEIVE, Topic.PACKETS), segment_octets=1 << 14)
    count = 0
    with CaptureWriter(
        settings.capture_dir, link=settings.link_name, rotate_octets=settings.capture_octets
    ) as capture:
        for first in range(0, len(cadus), CHUNKS):
            chunks = [
                LinkChunk("run", first + i, START_NS + (first + i) * S // 8, row.tobytes())
                for i, row in enumerate(cadus[first : first + CHUNKS])
            ]
            capture.append(chunks)
            packets = chain.push_chunks([(c.octets, c.ert_ns) for c in chunks]).packets
            packets = packets.select(~packets.is_idle)
            if not len(packets):
                continue
            message = PacketsMessage(
                link=settings.link_name,
                packets=packets,
                playback=np.isin(packets.vcid, playback_channels("l4")),
                reception_ns=chunks[-1].ert_ns + S,
                first_packet=count,
                capture_file=capture.position.file,
                capture_offset=capture.position.offset,
            )
            journal.append([build_record(chunks[-1].ert_ns, message.build())])
            count += len(packets)
    events = FileJournal(settings.journal_dir(MONITOR, Topic.EVENTS))
    for number in range(3):
        event = Event(
            *("limit", "warning", "PWR_BUS_VOLTAGE", f"event {number}"),
            scet_ns=START_NS,
            ert_ns=START_NS,
            reception_ns=START_NS,
        )
        body = EventMessage(
            journal=journal.identity, sequence=number, first_event=number, events=(event,)
        ).build()
        events.append([build_record(START_NS, body)])
    _archive(settings, journal, events)
    journal.close()
    events.close()
    return settings


def archive_anew(
    settings: RunSettings,
    change: Callable[[PacketBatch], PacketBatch] = lambda packets: packets,
    *,
    order: Callable[[Sequence[Event]], Sequence[Event]] = lambda events: events,
) -> None:
    """The archive of a run made by `make_run`, every checksum of it right, but of something else:
    `change` is applied to the first packets, `order` to events one message at a time."""
    settings.archive_file.unlink()
    with (
        closing(FileJournal(settings.journal_dir(RECEIVE, Topic.PACKETS))) as journal,
        closing(FileJournal(settings.journal_dir(MONITOR, Topic.EVENTS))) as events,
    ):
        _archive(settings, journal, events, change, order)


def _archive(
    settings: RunSettings,
    journal: FileJournal,
    events: FileJournal,
    change: Callable[[PacketBatch], PacketBatch] = lambda packets: packets,
    order: Callable[[Sequence[Event]], Sequence[Event]] = lambda events: events,
) -> None:
    decoder = Decoder(open_dictionaries("l4"))
    with ArchiveStore.open(settings.archive_file) as store:
        records = list(journal.read(0, max_octets=1 << 40))
        for first in range(0, len(records), MESSAGES):
            part = records[first : first + MESSAGES]
            messages = [parse(PacketsMessage, parse_record(r.payload)[1]) for r in part]
            packets = PacketBatch.concatenate([m.packets for m in messages])
            reception_ns = np.repeat(
                [m.reception_ns for m in messages], [len(m.packets) for m in messages]
            )
            playback = np.concatenate([m.playback for m in messages])
            if not first:
                packets = change(packets)
                place = np.minimum(np.arange(len(packets)), len(playback) - 1)
                reception_ns, playback = reception_ns[place], playback[place]
            decoded = decoder.decode(packets)
            store.append(
                Position(Topic.PACKETS, RECEIVE, journal.identity, part[-1].sequence),
                packets,
                stream=settings.link_name,
                scet_ns=decoded.scet_ns,
                reception_ns=reception_ns,
                playback=playback,
                tables=decoded.tables,
            )
        for record in events.read(0, max_octets=1 << 40):
            told = parse(EventMessage, parse_record(record.payload)[1])
            store.append_events(
                Position(Topic.EVENTS, MONITOR, events.identity, record.sequence),
                tuple(order(told.events)),
            )
        store.remember("dictionary", json.dumps(decoder.snapshot()))
