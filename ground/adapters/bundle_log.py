"""Bundles on disk: an append-only log in segments, and an index in memory that is made from it.

    log = BundleLog(directory)
    node = Node(…, log, recovered=log.recovered(), seen=log.seen(now_ns), next_ref=log.next_ref)
    commit = log.begin_commit()          # what was put and removed since the last one
    commit.write()                       # in any thread: written, and on disk
    log.end_commit(commit, now_ns)

Segments `NUMBER.bundles`, each a header and records back to back:

    segment   magic with version
    record    CRC-32C of all that follows, octets of the payload, kind, bundle's number
    put       TAI ns of reception, number of the node it came from, the bundle
    remove    nothing, or digest of the bundle's identifier and until when it is remembered

A record counts if its CRC is right.  What stands after the last good record of the last segment is
a torn write, of which nobody was told, and is cut off.  Only the oldest segment is ever deleted: a
removal is believed for as long as what it removes could be read.  A segment that few bundles keep
alive is emptied by writing these again.  Identifiers that a deleted segment remembered are in
`NUMBER.seen` (magic, CRC-32C, pairs of digest and time), which is written once and deleted when
they have expired or enough later ones are there.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ground.durable_files import make_directory, sync_directory, sync_file
from protocols.coding.crc import crc32c_whole
from protocols.dtn.node_settings import Seen, Stored
from protocols.errors import LocalError

MAGIC: Final = b"L4BNDL\x00\x01"
SEEN_MAGIC: Final = b"L4SEEN\x00\x01"
#: CRC-32C; then, covered by it: octets of the payload, kind, number
_CRC: Final = struct.Struct(">I")
_HEAD: Final = struct.Struct(">IBQ")
_PUT_HEAD: Final = struct.Struct(">qQ")
_SEEN: Final = struct.Struct(">16sq")
_PUT, _REMOVE = 1, 2
_RECORD_OCTETS: Final = _CRC.size + _HEAD.size
_SEEN_SUFFIX: Final = ".seen"
#: Most buffers of one `writev`.
_BUFFERS: Final = 1_000


@dataclass(slots=True, eq=False)
class _Segment:
    """live: octets of records of bundles that are held."""

    number: int
    path: Path
    octets: int = len(MAGIC)
    live: int = 0
    refs: set[int] = field(default_factory=set[int])
    seen: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class _Place:
    segment: _Segment
    offset: int
    octets: int


@dataclass(slots=True)
class _SeenFile:
    """What a deleted segment remembered.  until_ns: the last of them to expire."""

    path: Path
    count: int
    until_ns: int


@dataclass(slots=True)
class Commit:
    """Records to be written, by file; `write` may run in another thread than the log's owner.

    retired: segments that hold nothing once the records are on disk, and what they leave behind.
    forgotten: files of identifiers that are of no more use.
    """

    files: list[tuple[_Segment, int, list[bytes | memoryview]]]
    sync: bool
    octets: int = 0
    retired: list[tuple[_Segment, bytes]] = field(default_factory=list[tuple[_Segment, bytes]])
    forgotten: list[Path] = field(default_factory=list[Path])

    def write(self) -> None:
        """All of it written and, unless told otherwise, on disk.  OSError: it is not."""
        for segment, offset, buffers in self.files:
            descriptor = os.open(segment.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.lseek(descriptor, offset, os.SEEK_SET)
                for at in range(0, len(buffers), _BUFFERS):
                    _write_all(descriptor, buffers[at : at + _BUFFERS])
                if self.sync:
                    os.fdatasync(descriptor) if hasattr(os, "fdatasync") else os.fsync(descriptor)
            finally:
                os.close(descriptor)
            # The segment's beginning, perhaps not for the first time: a full disk came between.
            if self.sync and not offset:
                sync_directory(segment.path.parent)
        for segment, seen in self.retired:
            if seen:
                self._write_seen(segment.path.with_suffix(_SEEN_SUFFIX), seen)
            segment.path.unlink(missing_ok=True)
            if self.sync:
                # In their order: an older one must not outlive the removals that a later one holds.
                sync_directory(segment.path.parent)
        for path in self.forgotten:
            path.unlink(missing_ok=True)

    def _write_seen(self, path: Path, seen: bytes) -> None:
        with path.open("wb") as file:
            file.write(SEEN_MAGIC + _CRC.pack(crc32c_whole(seen)) + seen)
            file.flush()
            if self.sync:
                os.fsync(file.fileno())
        if self.sync:
            sync_directory(path.parent)


def _write_all(descriptor: int, buffers: list[bytes | memoryview]) -> None:
    wanted = sum(map(len, buffers))
    written = os.writev(descriptor, buffers)
    if written < wanted:
        rest = memoryview(b"".join(buffers))[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]


class BundleLog:
    """`BundleStore` over a directory; one process at a time (LocalError for the second).

    segment_octets: a segment is closed when it is longer.  cache_octets: of bundles kept in memory
    too, the latest.  slack_octets: what dead records may take beyond as much as the live ones.
    remembered: identifiers of gone bundles kept when their segments go.
    """

    def __init__(
        self,
        directory: Path,
        *,
        segment_octets: int = 64 << 20,
        cache_octets: int = 64 << 20,
        slack_octets: int = 256 << 20,
        remembered: int = 1_000_000,
        sync: bool = True,
    ) -> None:
        self.directory = directory
        self.next_ref = 1
        self.torn_octets = 0
        self.damaged = 0
        self.written_octets = 0
        self._segment_octets = segment_octets
        self._cache_octets = cache_octets
        self._slack_octets = slack_octets
        self._remembered = remembered
        self._sync = sync
        self._places: dict[int, _Place] = {}
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._cached = 0
        self._unwritten: dict[int, bytes] = {}
        self._pending: list[tuple[_Segment, int, list[bytes | memoryview]]] = []
        self._pending_refs: list[int] = []
        self._writing_refs: list[int] = []
        self._readers: dict[int, int] = {}
        self._seen_files: list[_SeenFile] = []
        self._retiring: list[tuple[_Segment, bytes]] = []
        self._forgotten: list[Path] = []
        make_directory(directory)
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LocalError(f"bundles in {directory} are in use by another node") from error
            self._segments = self._read_segments()
        except BaseException:
            os.close(self._lock)
            raise

    # ------------------------------------------------------------ the log as it is found

    def _read_segments(self) -> list[_Segment]:
        segments: list[_Segment] = []
        paths = sorted(self.directory.glob("*.bundles"))
        for path in paths:
            try:
                segment = _Segment(int(path.stem), path)
            except ValueError:
                raise LocalError(f"{path}: a segment's name is a number") from None
            segments.append(segment)
            self._read(segment, last=path == paths[-1])
        numbers = {segment.number for segment in segments}
        for path in sorted(self.directory.glob(f"*{_SEEN_SUFFIX}")):
            if int(path.stem) in numbers:
                # Killed between writing it and deleting its segment, which says the same.
                continue
            pairs = self._read_seen(path)
            latest_ns = max((until_ns for _, until_ns in pairs), default=0)
            self._seen_files.append(_SeenFile(path, len(pairs), latest_ns))
            numbers.add(int(path.stem))
        sync_directory(self.directory)
        if not segments:
            segments.append(self._made(max(numbers, default=0) + 1))
        return segments

    def _read_seen(self, path: Path) -> list[tuple[bytes, int]]:
        """Empty, and counted, if it is damaged: what comes again may then be taken again."""
        octets = path.read_bytes()
        start = len(SEEN_MAGIC) + _CRC.size
        pairs = octets[start:]
        if (
            octets[: len(SEEN_MAGIC)] != SEEN_MAGIC
            or len(octets) < start
            or len(pairs) % _SEEN.size
            or crc32c_whole(pairs) != _CRC.unpack_from(octets, len(SEEN_MAGIC))[0]
        ):
            self.damaged += len(octets)
            return []
        return list(_SEEN.iter_unpack(pairs))

    def _made(self, number: int) -> _Segment:
        return _Segment(number, self.directory / f"{number:012d}.bundles")

    def _read(self, segment: _Segment, *, last: bool) -> None:
        # Its owner may have been killed before it waited for the disk, and what is here is known.
        sync_file(segment.path)
        octets = segment.path.read_bytes()
        if last and not any(octets[: len(MAGIC)]):
            # The power went before its first sectors were written: none of it was acknowledged.
            self.torn_octets = len(octets)
            os.truncate(segment.path, 0)
            return
        if octets[: len(MAGIC)] != MAGIC[: len(octets)]:
            raise LocalError(f"{segment.path}: begins {octets[:8].hex()}, no bundle log's segment")
        view = memoryview(octets)
        at = len(MAGIC)
        while at + _RECORD_OCTETS <= len(octets):
            length, kind, ref = _HEAD.unpack_from(octets, at + _CRC.size)
            end = at + _RECORD_OCTETS + length
            body = view[at + _CRC.size : end]
            if end > len(octets) or crc32c_whole(bytes(body)) != _CRC.unpack_from(octets, at)[0]:
                break
            self._replay(segment, kind, ref, at, end - at, octets)
            at = end
        segment.octets = max(at, len(MAGIC))
        if at >= len(octets):
            return
        if last:
            self.torn_octets = len(octets) - at
            os.truncate(segment.path, at)
        else:
            # Not at the end of the log: the disk's damage.  What follows is not believed, but kept.
            self.damaged += len(octets) - at
            segment.path.with_suffix(".damaged").write_bytes(octets[at:])

    def _replay(
        self, segment: _Segment, kind: int, ref: int, at: int, size: int, octets: bytes
    ) -> None:
        if kind == _PUT:
            self._forget(ref)
            self._places[ref] = _Place(segment, at, size)
            segment.refs.add(ref)
            segment.live += size
            self.next_ref = max(self.next_ref, ref + 1)
        elif kind == _REMOVE:
            self._forget(ref)
            segment.seen += octets[at + _RECORD_OCTETS : at + size]
            self.next_ref = max(self.next_ref, ref + 1)

    def _forget(self, ref: int) -> None:
        place = self._places.pop(ref, None)
        if place is not None:
            place.segment.live -= place.octets
            place.segment.refs.discard(ref)

    def recovered(self) -> Iterator[Stored]:
        """What is held, in the order in which it came."""
        for ref in sorted(self._places):
            yield self._stored(ref)

    def seen(self, now_ns: int) -> Iterator[Seen]:
        """Identifiers of bundles that are gone and would still live, the oldest first."""
        kept = [self._read_seen(file.path) for file in self._seen_files]
        kept += [list(_SEEN.iter_unpack(segment.seen)) for segment in self._segments]
        for pairs in kept:
            for digest, until_ns in pairs:
                if until_ns > now_ns:
                    yield Seen(digest, until_ns)

    def _stored(self, ref: int) -> Stored:
        place = self._places[ref]
        octets = self._pread(place)
        received_ns, came_from = _PUT_HEAD.unpack_from(octets, _RECORD_OCTETS)
        return Stored(ref, received_ns, came_from, octets[_RECORD_OCTETS + _PUT_HEAD.size :])

    def _pread(self, place: _Place) -> bytes:
        number = place.segment.number
        descriptor = self._readers.get(number)
        if descriptor is None:
            descriptor = os.open(place.segment.path, os.O_RDONLY | os.O_CLOEXEC)
            self._readers[number] = descriptor
        octets = os.pread(descriptor, place.octets, place.offset)
        if crc32c_whole(octets[_CRC.size :]) != _CRC.unpack_from(octets)[0]:
            raise LocalError(
                f"{place.segment.path}: record at {place.offset} is damaged on disk; "
                "the bundle cannot be read"
            )
        return octets

    # ------------------------------------------------------------ the store's port

    def put(self, bundle: Stored) -> None:
        """Keep it; on disk after the next commit."""
        octets = bundle.octets
        head = _PUT_HEAD.pack(bundle.received_ns, bundle.came_from)
        place = self._append(_PUT, bundle.ref, (head, octets))
        self._places[bundle.ref] = place
        place.segment.refs.add(bundle.ref)
        place.segment.live += place.octets
        self._unwritten[bundle.ref] = octets
        self._pending_refs.append(bundle.ref)
        self.next_ref = max(self.next_ref, bundle.ref + 1)

    def get(self, ref: int) -> bytes:
        """Octets of a bundle held.  KeyError for another."""
        octets = self._unwritten.get(ref)
        if octets is None:
            octets = self._cache.get(ref)
        if octets is None:
            octets = self._stored(ref).octets
        return octets

    def remove(self, ref: int, seen: Seen | None) -> None:
        """Forget it, but for its identifier; on disk after the next commit."""
        self._forget(ref)
        payload = b"" if seen is None else _SEEN.pack(seen.digest, seen.until_ns)
        self._append(_REMOVE, ref, (payload,)).segment.seen += payload
        self._unwritten.pop(ref, None)
        octets = self._cache.pop(ref, None)
        if octets is not None:
            self._cached -= len(octets)

    def _append(self, kind: int, ref: int, parts: tuple[bytes, ...]) -> _Place:
        size = sum(map(len, parts))
        head = _HEAD.pack(size, kind, ref)
        crc = _CRC.pack(crc32c_whole(b"".join((head, *parts))))
        segment = self._segments[-1]
        if segment.octets >= self._segment_octets:
            segment = self._made(segment.number + 1)
            self._segments.append(segment)
        place = _Place(segment, segment.octets, _RECORD_OCTETS + size)
        if not self._pending or self._pending[-1][0] is not segment:
            fresh = segment.octets == len(MAGIC)
            self._pending.append(
                (segment, 0 if fresh else segment.octets, [MAGIC] if fresh else [])
            )
        self._pending[-1][2].extend((crc, head, *parts))
        segment.octets += place.octets
        return place

    # ------------------------------------------------------------ commits

    @property
    def pending(self) -> bool:
        """Something waits for a commit."""
        return bool(self._pending or self._retiring or self._forgotten)

    def begin_commit(self) -> Commit:
        """What was put and removed since the last; one at a time."""
        commit = Commit(
            self._pending, self._sync, retired=self._retiring, forgotten=self._forgotten
        )
        self._retiring, self._forgotten = [], []
        commit.octets = sum(len(b) for _, _, buffers in self._pending for b in buffers)
        self._pending = []
        self._writing_refs, self._pending_refs = self._pending_refs, []
        return commit

    def end_commit(self, commit: Commit, now_ns: int) -> None:
        """It is on disk: memory may forget what the cache has no room for; old segments may go."""
        self.written_octets += commit.octets
        for ref in self._writing_refs:
            octets = self._unwritten.pop(ref, None)
            if octets is not None:
                self._cache[ref] = octets
                self._cached += len(octets)
        self._writing_refs = []
        while self._cached > self._cache_octets:
            _, octets = self._cache.popitem(last=False)
            self._cached -= len(octets)
        self._shrink(now_ns)

    def commit(self, now_ns: int) -> None:
        """Begin, write and end in one."""
        if self.pending:
            commit = self.begin_commit()
            commit.write()
            self.end_commit(commit, now_ns)

    @property
    def octets(self) -> int:
        """Of all segments."""
        return sum(segment.octets for segment in self._segments)

    @property
    def live_octets(self) -> int:
        """Of records of bundles that are held."""
        return sum(segment.live for segment in self._segments)

    def _shrink(self, now_ns: int) -> None:
        """Have the oldest segments that hold nothing deleted, behind the next commit's records:
        what emptied them may be among these.  Empty the oldest if too much is dead."""
        while len(self._segments) > 1:
            oldest = self._segments[0]
            if any(segment is oldest for segment, _, _ in self._pending):
                return
            if oldest.live:
                if self.octets > 2 * self.live_octets + self._slack_octets:
                    for ref in sorted(oldest.refs):
                        stored = self._stored(ref)
                        self._forget(ref)
                        self.put(stored)
                return
            self._retire(self._segments.pop(0), now_ns)

    def _retire(self, oldest: _Segment, now_ns: int) -> None:
        pairs = [pair for pair in _SEEN.iter_unpack(oldest.seen) if pair[1] > now_ns]
        self._retiring.append((oldest, b"".join(_SEEN.pack(*pair) for pair in pairs)))
        if pairs:
            path = oldest.path.with_suffix(_SEEN_SUFFIX)
            self._seen_files.append(_SeenFile(path, len(pairs), max(until for _, until in pairs)))
        descriptor = self._readers.pop(oldest.number, None)
        if descriptor is not None:
            os.close(descriptor)
        later = sum(len(segment.seen) // _SEEN.size for segment in self._segments)
        kept: list[_SeenFile] = []
        for file in reversed(self._seen_files):
            if later >= self._remembered or file.until_ns <= now_ns:
                self._forgotten.append(file.path)
            else:
                kept.append(file)
            later += file.count
        self._seen_files = kept[::-1]

    def close(self) -> None:
        """Write what waits, release the directory."""
        if self.pending:
            self.begin_commit().write()
        for descriptor in self._readers.values():
            os.close(descriptor)
        self._readers.clear()
        os.close(self._lock)
