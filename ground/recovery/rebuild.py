"""The archive made again from the capture, and how two archives differ.

What the capture cannot give, events and when `receive` processed each packet, comes from the
journals.  The new archive stands at the positions of the journals' ends (or where it is told), so
that the archive service goes on from there.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ground.adapters.journal_reader import JournalReader
from ground.archive.decoding import Decoder
from ground.archive.model import Position, Samples, Store, StoredPacket
from ground.archive.store import ArchiveStore
from ground.config import MONITOR, RECEIVE, RunSettings
from ground.durable_files import sync_directory, sync_file
from ground.receive.profile import load_profile
from ground.recovery.antennas import AntennaCaptures
from ground.recovery.capture import OneCapture, Progress
from ground.wiring import open_dictionaries, open_sampler, playback_channels
from protocols.bus.messages import Event, EventMessage, parse
from protocols.bus.replay import parse_record
from protocols.errors import LocalError, RemoteError
from protocols.identifiers import Topic
from protocols.packets.batch import PacketBatch

#: Octets of packets in one transaction.
_COMMIT_OCTETS = 8 << 20
#: Under which the archive service keeps what its decoder learnt.
_LEARNT = "dictionary"
_MOST_TOLD = 10


@dataclass
class Rebuilt:
    """What a capture gave.  problems: of capture and journals, a sentence each."""

    packets: int = 0
    events: int = 0
    chunks: int = 0
    octets: int = 0
    waiting: int = 0
    problems: list[str] = field(default_factory=list[str])


def rebuild(
    settings: RunSettings,
    target: Path,
    *,
    up_to: Mapping[str, Position] | None = None,
    progress: Progress | None = None,
    seen: Callable[[PacketBatch], None] | None = None,
) -> Rebuilt:
    """Make `target`, which must not be there, from the run's capture and journals.

    up_to: by topic, where to stop; what follows is counted in `waiting`.  seen: is given all
    packets of the capture.  LocalError: `target` is
    there, or the capture is not.
    """
    if target.exists():
        raise LocalError(f"{target} is there already")
    source = AntennaCaptures(settings) if settings.antennas else OneCapture(settings)
    profile = load_profile(settings.mission)
    decoder = Decoder(
        open_dictionaries(profile.dictionary), sampler=open_sampler(settings, profile.dictionary)
    )
    playback = np.array(playback_channels(profile.dictionary), np.uint8)
    limit = _limit(up_to, Topic.PACKETS, source.identity)
    result = Rebuilt()
    with ArchiveStore.open(target) as store:
        for packets, reception_ns, stored in source.packets(limit, progress, seen):
            marked = np.isin(packets.vcid, playback) if stored is None else stored
            _store_packets(store, settings, decoder, packets, reception_ns, marked)
            result.packets += len(packets)
        last = min(limit, source.last_sequence)
        with store.group():
            if last >= 0:
                store.append_events(Position(Topic.PACKETS, RECEIVE, source.identity, last), ())
            learnt = json.dumps(decoder.snapshot(), separators=(",", ":"))
            store.remember(_LEARNT, learnt)
        events = JournalReader(settings.journal_dir(MONITOR, Topic.EVENTS))
        with store.group():
            for position, told_events in journaled_events(events):
                if position.sequence <= _limit(up_to, Topic.EVENTS, events.identity):
                    result.events += store.append_events(position, told_events)
    result.chunks, result.octets = source.chunks, source.octets
    result.waiting = source.waiting
    result.problems = [*source.problems, *events.problems]
    return result


def _limit(up_to: Mapping[str, Position] | None, topic: str, identity: str) -> int:
    found = None if up_to is None else up_to.get(topic)
    if up_to is not None and found is None:
        return -1
    if found is None or found.journal != identity:
        return np.iinfo(np.int64).max
    return found.sequence


def _store_packets(
    store: Store,
    settings: RunSettings,
    decoder: Decoder,
    packets: PacketBatch,
    reception_ns: Any,
    playback: Any,
) -> None:
    """In transactions of bounded size."""
    start = 0
    while start < len(packets):
        limit = packets.offsets[start] + _COMMIT_OCTETS
        stop = max(start + 1, int(np.searchsorted(packets.offsets, limit, "right")) - 1)
        part = packets.slice(start, stop)
        decoded = decoder.decode(part)
        store.append(
            None,
            part,
            stream=settings.link_name,
            scet_ns=decoded.scet_ns,
            reception_ns=reception_ns[start:stop],
            playback=playback[start:stop],
            tables=decoded.tables,
        )
        start = stop


def journaled_events(reader: JournalReader) -> Iterator[tuple[Position, tuple[Event, ...]]]:
    """What `monitor` told, message by message."""
    for record in reader.records():
        try:
            message = parse(EventMessage, parse_record(record.payload)[1])
        except RemoteError as error:
            reader.problems.append(f"journal of events: record {record.sequence}: {error}")
            continue
        yield (
            Position(Topic.EVENTS, MONITOR, reader.identity, record.sequence),
            message.events,
        )


# ---------------------------------------------------------------- how archives differ


def differences(found: Store, wanted: Store) -> list[str]:
    """What `found` holds otherwise than `wanted`, a sentence each: packets one by one, parameters
    sample by sample, events."""
    told: list[str] = []
    for compare in (_packet_differences, _sample_differences, _event_differences):
        try:
            told += compare(found, wanted)
        except (sqlite3.Error, ValueError, KeyError, IndexError, TypeError, OSError) as error:
            # Damage may read as anything.
            told.append(f"archive: cannot be read: {type(error).__name__}: {error}")
        except Exception as error:  # noqa: BLE001 - decompressors have errors of their own
            told.append(f"archive: cannot be decompressed: {type(error).__name__}: {error}")
    return told


def _packet_differences(found: Store, wanted: Store) -> list[str]:
    have, want = _packet_names(found), _packet_names(wanted)
    names = np.unique(np.concatenate([have, want]))
    times = _times(want, names) - _times(have, names)
    return [
        f"archive: {int(np.abs(times[which]).sum()):,} packets {what}, as "
        + _example(store, set(names[which][:1000].tolist()))
        for store, which, what in (
            (wanted, times > 0, "of the capture are missing"),
            (found, times < 0, "are there that the capture does not give (so often)"),
        )
        if which.any()
    ]


def _name(packet: StoredPacket) -> int:
    """Eight octets of BLAKE2b: of a hundred million packets, two that differ share theirs once in
    some thousand audits."""
    seen = blake2b(packet.octets, digest_size=8)
    seen.update(f"{packet.vcid} {packet.apid} {packet.ert_ns}".encode())
    return int.from_bytes(seen.digest(), "little")


def _packet_names(store: Store) -> npt.NDArray[np.uint64]:
    names = array("Q", (_name(packet) for packet in store.packets()))
    return np.sort(np.frombuffer(names, np.uint64)) if names else np.zeros(0, np.uint64)


def _times(found: npt.NDArray[np.uint64], names: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    return np.searchsorted(found, names, "right") - np.searchsorted(found, names, "left")


def _example(store: Store, names: set[int]) -> str:
    packet = next(packet for packet in store.packets() if _name(packet) in names)
    return f"VC {packet.vcid} APID {packet.apid} ERT {packet.ert_ns}"


def _sample_differences(found: Store, wanted: Store) -> list[str]:
    told: list[str] = []
    have = {info.name: info.count for info in found.parameters()}
    want = {info.name: info.count for info in wanted.parameters()}
    for name in sorted(have.keys() | want.keys()):
        if have.get(name, 0) != want.get(name, 0):
            told.append(
                f"archive: {name} has {have.get(name, 0):,} samples, the capture gives "
                f"{want.get(name, 0):,}"
            )
        elif not _equal(found.query(name), wanted.query(name)):
            told.append(f"archive: samples of {name} are others than the capture gives")
    if len(told) > _MOST_TOLD:
        told[_MOST_TOLD:] = [f"archive: … {len(told)} parameters differ"]
    return told


def _equal(a: Samples, b: Samples) -> bool:
    return len(a) == len(b) and all(
        np.array_equal(one, other, equal_nan=one.dtype.kind == "f" == other.dtype.kind)
        for one, other in zip(_columns(a), _columns(b), strict=True)
    )


def _columns(samples: Samples) -> list[np.ndarray[Any, Any]]:
    """Those of one instant, as of two packet definitions, by value: they have no order.  Texts
    have numbers in the order in which they came."""
    values = np.array(samples.texts()) if samples.labels else samples.values
    order = np.lexsort((values, samples.ert_ns, samples.scet_ns))
    return [c[order] for c in (samples.scet_ns, samples.ert_ns, samples.valid, values)]


def _event_differences(found: Store, wanted: Store) -> list[str]:
    have, want = (
        Counter(json.dumps(asdict(event), default=str) for event in store.events())
        for store in (found, wanted)
    )
    return [
        f"archive: {sum(which.values()):,} events {what}, as {next(iter(which))[:200]}"
        for which, what in (
            (want - have, "that the monitor told are missing"),
            (have - want, "are there that the monitor's journal does not tell (so often)"),
        )
        if which
    ]


# ---------------------------------------------------------------- in the old one's place


def replace_archive(archive: Path, made: Path) -> Path | None:
    """Put `made` where the archive is, in one step; the old one is kept beside it under the name
    that is returned (None: there was none).

    Killed in between, either is there whole.  Nobody may have the archive open.
    """
    kept = None
    _fold_log(made)
    if archive.exists():
        number = 1
        while (kept := archive.with_name(f"{archive.name}.damaged-{number}")).exists():
            number += 1
        os.link(archive, kept)
    # A log that SQLite found beside the new file would be played into it.
    for suffix in ("-wal", "-shm"):
        log = archive.with_name(archive.name + suffix)
        if not log.exists():
            continue
        if kept is not None and suffix == "-wal":
            log.replace(kept.with_name(kept.name + suffix))
        else:
            log.unlink()
    sync_directory(archive.parent)
    made.replace(archive)
    sync_directory(archive.parent)
    return kept


def _fold_log(made: Path) -> None:
    """All of it in the one file, and on disk."""
    connection = sqlite3.connect(made)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    sync_file(made)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            made.with_name(made.name + suffix).unlink()


__all__ = ["Rebuilt", "differences", "journaled_events", "rebuild", "replace_archive"]
