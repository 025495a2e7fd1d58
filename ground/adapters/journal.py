"""Append-only journal on disk: what must not be lost is here before anyone hears of it.

A directory of segments, each `SEQUENCE.journal` named by its first record's sequence:

    segment header   magic and version, identity of the journal, first sequence
    record           length of payload, CRC-32 of (sequence, payload), sequence, payload

Records follow each other without padding.  A record counts as written when its CRC is right; at
opening, what stands after the last such record of the last segment is a torn write and is cut off.
Identity is random, made with the directory: a reader that knows another one starts over.  If sound
records stand behind the one that is not, the disk has changed what was told: these are cut off as
well, and what is left goes on under a new identity, since their numbers are used again.

What is appended is with the operating system at once and on disk by `sync`, which its owner calls
in passing.  A killed process loses nothing; a power failure may take the end, of which others have
heard.  The file `open` names the boot of the machine in which the journal was last open and is gone
after `close`: found with another boot, what is sound is kept under a new identity.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import struct
import subprocess
import threading
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ground.durable_files import make_directory, replace_file, sync_directory, sync_found
from ground.ports import JournalRecord
from protocols.errors import LocalError

IDENTITY_OCTETS = 8

#: magic with version, identity, first sequence
SEGMENT_HEADER = struct.Struct(f">8s{IDENTITY_OCTETS}sQ")
MAGIC = b"L4JRNL\x00\x01"
#: payload length, CRC-32 of sequence and payload; then the sequence
RECORD_HEADER = struct.Struct(">II")
SEQUENCE = struct.Struct(">Q")
HEADER_OCTETS = RECORD_HEADER.size + SEQUENCE.size

#: A larger length field is damage: the bus carries no larger body (envelope.MAX_BODY_OCTETS).
MAX_PAYLOAD_OCTETS = 40 * 1024 * 1024
#: One index entry (16 octets) per so many octets of a segment: a read scans at most this far.
INDEX_STEP_OCTETS = 256 * 1024
#: Free space below which nothing is kept for who is behind.
RESERVE_OCTETS = 4 << 30


@dataclass
class _Segment:
    """One file; `end` is where its last whole record ends.

    The index is sparse and grows with reading and appending: record `sequences[i]` is at
    `offsets[i]`.
    """

    path: Path
    first: int
    end: int
    sequences: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    def note(self, sequence: int, offset: int) -> None:
        if not self.offsets or offset >= self.offsets[-1] + INDEX_STEP_OCTETS:
            self.sequences.append(sequence)
            self.offsets.append(offset)


class FileJournal:
    """`Journal` port over a directory; one process at a time (LocalError for the second).

    segment_octets: a segment is closed when the next record would make it longer.
    retain_octets: oldest segments beyond this are deleted, but never the one with the last record.
    most_octets: beyond `retain_octets` and up to this, segments are kept that `needed` says, as
        long as the file system has `reserve_octets` free: the capture is what must go on.
    needed: first sequence that somebody has yet to finish; None: nobody is waited for.
    """

    def __init__(
        self,
        directory: Path,
        *,
        segment_octets: int = 64 << 20,
        retain_octets: int = 4 << 30,
        most_octets: int = 4 << 30,
        reserve_octets: int = RESERVE_OCTETS,
    ) -> None:
        self._directory = directory
        self._segment_octets = segment_octets
        self._retain_octets = retain_octets
        self._most_octets = max(most_octets, retain_octets)
        self._reserve_octets = reserve_octets
        self.needed: int | None = None
        self.torn_octets = 0
        self.damaged = 0
        self._readers: dict[Path, int] = {}
        self._writer: int | None = None
        # `sync` may be called by another thread than the one that appends.
        self._swapping = threading.Lock()
        make_directory(directory)
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LocalError(f"journal {directory} is open in another process") from error
            self.identity = self._read_identity()
            if self._has_lost_power():
                self._renew()
            self._segments = self._open_segments()
            self._replace("open", boot())
        except BaseException:
            os.close(self._lock)
            raise

    # ------------------------------------------------------------ opening

    def _read_identity(self) -> str:
        path = self._directory / "identity"
        if not path.is_file():
            # No identity, but segments: its owner died between the two, before anything was told.
            for orphan in self._directory.glob("*.journal"):
                orphan.unlink()
            self._replace("identity", secrets.token_hex(IDENTITY_OCTETS))
        identity = path.read_text()
        if len(identity) != 2 * IDENTITY_OCTETS or set(identity) - set("0123456789abcdef"):
            raise LocalError(f"{path}: {identity[:40]!r} is not an identity")
        return identity

    def _replace(self, name: str, text: str) -> None:
        """A small file, whole on disk or as it was."""
        replace_file(self._directory / name, text.encode())

    def _has_lost_power(self) -> bool:
        try:
            return (self._directory / "open").read_text() != boot()
        except FileNotFoundError:
            return False

    def _renew(self) -> None:
        """The same records under a new identity: whoever heard of some that are gone starts over.

        Killed in between, it is done again: `open` still names the other boot.
        """
        old, new = self.identity, secrets.token_hex(IDENTITY_OCTETS)
        for path in sorted(self._directory.glob("*.journal")):
            with path.open("r+b") as file:
                header = file.read(SEGMENT_HEADER.size)
                # Shorter, or zeros: a segment that was just begun: cut off with what is torn.
                if len(header) == SEGMENT_HEADER.size and any(header):
                    magic, _identity, first = SEGMENT_HEADER.unpack(header)
                    if magic != MAGIC:
                        raise LocalError(f"{path} does not belong to journal {old}")
                    file.seek(0)
                    file.write(SEGMENT_HEADER.pack(magic, bytes.fromhex(new), first))
                    file.flush()
                    os.fsync(file.fileno())
        self._replace("identity", new)
        self.identity = new

    def _open_segments(self) -> list[_Segment]:
        paths = sorted(self._directory.glob("*.journal"))
        segments = [_Segment(path, int(path.stem), path.stat().st_size) for path in paths]
        if not segments:
            self._next = 0
            return []
        last = segments[-1]
        self._next, last.end = last.first, 0
        if self._header_is_whole(last):
            last.end = SEGMENT_HEADER.size
            for offset, sequence, length in self._scan(last, SEGMENT_HEADER.size, last.first):
                last.note(sequence, offset)
                self._next = sequence + 1
                last.end = offset + HEADER_OCTETS + length
        size = last.path.stat().st_size
        if size != last.end:
            self.torn_octets = size - last.end
            torn = os.pread(self._reader(last), self.torn_octets, last.end)
            # Ordinarily half a record; if it is more, somebody will want to see it.
            (self._directory / f"{last.path.stem}.torn").write_bytes(torn)
            os.truncate(last.path, last.end)
            if sound_record_behind(torn, self._next):
                self._renew()
        sync_found(last.path)
        return segments

    def _header_is_whole(self, segment: _Segment) -> bool:
        octets = os.pread(self._reader(segment), SEGMENT_HEADER.size, 0)
        # The power went before its first sectors were written: none of it was told to be on disk.
        if len(octets) < SEGMENT_HEADER.size or not any(octets):
            return False
        if octets != self._segment_header(segment.first):
            raise LocalError(f"{segment.path} does not belong to journal {self.identity}")
        return True

    def _segment_header(self, first_sequence: int) -> bytes:
        return SEGMENT_HEADER.pack(MAGIC, bytes.fromhex(self.identity), first_sequence)

    def _scan(
        self, segment: _Segment, offset: int, sequence: int
    ) -> Iterator[tuple[int, int, int]]:
        """(offset, sequence, payload length) of whole records from `offset` on, CRC checked."""
        with segment.path.open("rb") as file:
            file.seek(offset)
            while True:
                header = file.read(HEADER_OCTETS)
                if len(header) < HEADER_OCTETS:
                    return
                length, _crc = RECORD_HEADER.unpack_from(header)
                if length > MAX_PAYLOAD_OCTETS:
                    return
                payload = file.read(length)
                if len(payload) < length or not is_sound(header, payload, sequence):
                    return
                yield offset, sequence, length
                offset += HEADER_OCTETS + length
                sequence += 1

    # ------------------------------------------------------------ the port

    @property
    def first_sequence(self) -> int:
        return self._segments[0].first if self._segments else self._next

    @property
    def next_sequence(self) -> int:
        return self._next

    @property
    def octets(self) -> int:
        """On disk, headers included."""
        return sum(segment.end for segment in self._segments)

    def append(self, payloads: Sequence[bytes], *, sync: bool = False) -> int:
        """See `Journal.append`.  OSError if the disk is full: none of `payloads` is then kept."""
        first = self._next
        for payload in payloads:
            if len(payload) > MAX_PAYLOAD_OCTETS:
                raise LocalError(f"record of {len(payload)} octets, at most {MAX_PAYLOAD_OCTETS}")
        if not payloads:
            return first
        segment = self._segment_for(sum(map(len, payloads)))
        parts: list[bytes] = []
        if segment.end == 0:
            parts.append(self._segment_header(segment.first))
        offset = segment.end + sum(map(len, parts))
        sequence = first
        notes: list[tuple[int, int]] = []
        for payload in payloads:
            number = SEQUENCE.pack(sequence)
            crc = zlib.crc32(payload, zlib.crc32(number))
            parts += (RECORD_HEADER.pack(len(payload), crc), number, payload)
            notes.append((sequence, offset))
            offset += HEADER_OCTETS + len(payload)
            sequence += 1
        assert self._writer is not None
        try:
            _write_all(self._writer, b"".join(parts), segment.end)
            if sync:
                os.fdatasync(self._writer)
        except OSError:
            # Half a record in front of later ones would end the journal there for every reader.
            os.ftruncate(self._writer, segment.end)
            raise
        for noted in notes:
            segment.note(*noted)
        segment.end = offset
        self._next = sequence
        return first

    def read(self, sequence: int, *, max_octets: int) -> Iterator[JournalRecord]:
        """See `Journal.read`.  Below `first_sequence` the first available record comes first.

        A damaged record (counted in `damaged`) hides the rest of its segment: the next record's
        sequence then shows how many are missing.
        """
        sequence = max(sequence, self.first_sequence)
        budget = max_octets
        started = False
        while sequence < self._next:
            at = bisect_right(self._segments, sequence, key=_first) - 1
            for record in self._read_segment(self._segments[at], sequence):
                if started and len(record.payload) > budget:
                    return
                yield record
                started = True
                budget -= len(record.payload)
                sequence = record.sequence + 1
            # A whole segment ends where the next begins; after damage this steps over the rest.
            if at + 1 >= len(self._segments):
                return
            sequence = max(sequence, self._segments[at + 1].first)

    def _read_segment(self, segment: _Segment, wanted: int) -> Iterator[JournalRecord]:
        offset, sequence = SEGMENT_HEADER.size, segment.first
        known = bisect_right(segment.sequences, wanted) - 1
        if known >= 0:
            offset, sequence = segment.offsets[known], segment.sequences[known]
        reader = self._reader(segment)
        end = segment.end
        buffer, base = b"", offset
        while offset < end:
            if offset + HEADER_OCTETS > base + len(buffer):
                buffer, base = os.pread(reader, INDEX_STEP_OCTETS, offset), offset
            at = offset - base
            header = buffer[at : at + HEADER_OCTETS]
            length = RECORD_HEADER.unpack_from(header)[0] if len(header) == HEADER_OCTETS else end
            if length > min(MAX_PAYLOAD_OCTETS, end - offset - HEADER_OCTETS):
                self.damaged += 1
                return
            segment.note(sequence, offset)
            if sequence >= wanted:
                stop = at + HEADER_OCTETS + length
                if stop > len(buffer):
                    ahead = max(INDEX_STEP_OCTETS, HEADER_OCTETS + length)
                    buffer, base = os.pread(reader, ahead, offset), offset
                    at, stop = 0, HEADER_OCTETS + length
                payload = buffer[at + HEADER_OCTETS : stop]
                if len(payload) != length or not is_sound(header, payload, sequence):
                    self.damaged += 1
                    return
                yield JournalRecord(sequence, payload)
            offset += HEADER_OCTETS + length
            sequence += 1

    def last(self) -> JournalRecord | None:
        for record in self.read(self._next - 1, max_octets=0):
            return record
        return None

    def sync(self) -> None:
        """Wait until the disk has everything appended.  Any thread may call it."""
        with self._swapping:
            writer = None if self._writer is None else os.dup(self._writer)
        if writer is not None:
            try:
                os.fdatasync(writer)
            finally:
                os.close(writer)

    def close(self) -> None:
        if self._lock >= 0:
            self.sync()
            (self._directory / "open").unlink(missing_ok=True)
        for reader in self._readers.values():
            os.close(reader)
        self._readers.clear()
        with self._swapping:
            if self._writer is not None:
                os.close(self._writer)
                self._writer = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # ------------------------------------------------------------ files

    def _segment_for(self, octets: int) -> _Segment:
        """Segment to append to: the last one unless it is full."""
        last = self._segments[-1] if self._segments else None
        full = last and last.end > SEGMENT_HEADER.size and last.end + octets > self._segment_octets
        if last is None or full:
            if self._writer is not None:
                os.fdatasync(self._writer)
                with self._swapping:
                    os.close(self._writer)
                    self._writer = None
            path = self._directory / f"{self._next:020d}.journal"
            last = _Segment(path, self._next, 0)
            self._writer = _open_to_write(path)
            sync_directory(self._directory)
            self._segments.append(last)
            self._prune()
        if self._writer is None:
            self._writer = _open_to_write(last.path)
        return last

    def _prune(self) -> None:
        # The new segment is empty: the one before it holds the last record.
        while len(self._segments) > 2 and self.octets > self._retain_octets:
            # A segment more than is needed: what was handed over last may not be finished yet.
            needed = self.needed is not None and self.needed < self._segments[2].first
            if needed and self.octets <= self._most_octets and self._has_room():
                return
            oldest = self._segments.pop(0)
            reader = self._readers.pop(oldest.path, None)
            if reader is not None:
                os.close(reader)
            oldest.path.unlink()

    def _has_room(self) -> bool:
        free = os.statvfs(self._directory)
        return free.f_bavail * free.f_frsize >= self._reserve_octets

    def _reader(self, segment: _Segment) -> int:
        if segment.path not in self._readers:
            # Followers read near the end or sweep once through: a few open files are enough.
            while len(self._readers) >= 8:
                os.close(self._readers.pop(next(iter(self._readers))))
            self._readers[segment.path] = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        return self._readers[segment.path]


def boot() -> str:
    """Names the time since the machine was started: another one means that memory was lost."""
    linux = Path("/proc/sys/kernel/random/boot_id")
    if linux.is_file():
        return linux.read_text().strip()
    command = ["sysctl", "-n", "kern.bootsessionuuid"]  # macOS
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _first(segment: _Segment) -> int:
    return segment.first


def is_sound(header: bytes, payload: bytes, sequence: int) -> bool:
    _length, crc = RECORD_HEADER.unpack_from(header)
    number = header[RECORD_HEADER.size :]
    return number == SEQUENCE.pack(sequence) and zlib.crc32(payload, zlib.crc32(number)) == crc


def sound_record_behind(octets: bytes, sequence: int) -> bool:
    """Whether a sound record stands in what is left of a segment where `sequence` should have.

    A write that was torn leaves a beginning of one record, or of several, each sound but the last:
    a sound one behind it says that damage, not an end, is in front of it.
    """
    # Of those that come soon, all octets of the number but the lowest two are known.
    prefix = SEQUENCE.pack(sequence)[:6]
    at = octets.find(prefix, RECORD_HEADER.size)
    while at >= 0:
        start = at - RECORD_HEADER.size
        header = octets[start : start + HEADER_OCTETS]
        if len(header) == HEADER_OCTETS:
            length, _crc = RECORD_HEADER.unpack_from(header)
            (number,) = SEQUENCE.unpack_from(header, RECORD_HEADER.size)
            payload = octets[start + HEADER_OCTETS : start + HEADER_OCTETS + length]
            if number > sequence and len(payload) == length and is_sound(header, payload, number):
                return True
        at = octets.find(prefix, at + 1)
    return False


def _open_to_write(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _write_all(descriptor: int, octets: bytes, offset: int) -> None:
    view = memoryview(octets)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written
