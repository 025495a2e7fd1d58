"""A journal's segments as they are on disk, read by another process than their writer's.

Nothing is locked and nothing is changed: for audits, rebuilding and backups, also while the journal
is appended to (it then ends with the last whole record).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ground.adapters.journal import (
    HEADER_OCTETS,
    MAGIC,
    MAX_PAYLOAD_OCTETS,
    RECORD_HEADER,
    SEGMENT_HEADER,
    is_sound,
    sound_record_behind,
)
from ground.ports import JournalRecord


class JournalReader:
    """`records` once; `problems` after it, a sentence each; empty if the directory is not there.

    identity: "" where there is no journal.  torn_octets: of a last record that was being written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.problems: list[str] = []
        self.torn_octets = 0
        self.identity = ""
        self.next_sequence = 0
        identity = directory / "identity"
        if identity.is_file():
            self.identity = identity.read_text()

    def segments(self) -> list[Path]:
        """Oldest first."""
        return sorted(self._directory.glob("*.journal"))

    def records(self, start: int = 0) -> Iterator[JournalRecord]:
        """All that are sound, in order; behind a damaged one those of the next segment.

        start: from the segment on that holds this sequence.
        """
        paths = self.segments()
        before = [i for i, path in enumerate(paths) if int(path.stem) <= start]
        paths = paths[before[-1] if before else 0 :]
        if paths:
            self.next_sequence = int(paths[0].stem)
        for path in paths:
            first = int(path.stem)
            if first != self.next_sequence:
                self.problems.append(
                    f"{path}: begins with record {first}; {self.next_sequence} was next: "
                    f"{first - self.next_sequence} records cannot be read"
                )
            self.next_sequence = first
            yield from self._segment(path, last=path == paths[-1])

    def _segment(self, path: Path, *, last: bool) -> Iterator[JournalRecord]:
        with path.open("rb") as file:
            head = file.read(SEGMENT_HEADER.size)
            if len(head) < SEGMENT_HEADER.size:
                self.torn_octets += len(head)
                return
            magic, identity, _first = SEGMENT_HEADER.unpack(head)
            if magic != MAGIC or identity.hex() != self.identity:
                self.problems.append(f"{path}: does not belong to journal {self.identity}")
                return
            at = SEGMENT_HEADER.size
            while len(header := file.read(HEADER_OCTETS)) == HEADER_OCTETS:
                length, _crc = RECORD_HEADER.unpack_from(header)
                payload = file.read(length) if length <= MAX_PAYLOAD_OCTETS else b""
                if len(payload) < length or not is_sound(header, payload, self.next_sequence):
                    break
                yield JournalRecord(self.next_sequence, payload)
                self.next_sequence += 1
                at += HEADER_OCTETS + length
            file.seek(at)
            behind = file.read()
        if not behind:
            return
        if last and not sound_record_behind(behind, self.next_sequence):
            self.torn_octets += len(behind)
            return
        self.problems.append(
            f"{path}: record {self.next_sequence} at octet {at} is damaged; it and the rest of the "
            "segment cannot be read"
        )


__all__ = ["JournalReader"]
