"""What a disk may hold after the power went, from what `power_record` saw.

    recording = Recording.read(logs, root)         all processes' calls, in one order
    recording.tree(instant, rng, target)           one of the trees that may be left

POSIX promises little, and no more than that is granted here:

- octets written are there once an fsync of the file, begun after the write had ended, has ended.
  Of others each write is there, or not, or up to some sector; what is missing within the file's
  length is zeros, and the length may have come without the octets;
- a name (made, renamed, removed) is there once an fsync of its directory, begun after the call had
  ended, has ended.  Of others each is there or not, in any combination; or, as journaling file
  systems have it, up to some instant and none after;
- a rename is whole: the old name or the new one.

The root is empty at first.  A call that had begun and not ended at the instant may have happened.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_HEAD: Final = struct.Struct("<QQQqIII")
_MAKE, _WRITE, _TRUNCATE, _SYNC, _RENAME, _REMOVE, _DIRECTORY = range(1, 8)
_SECTOR: Final = 512
#: Shared by processes and never on a disk that counts: SQLite's index of its log.
_NOT_KEPT: Final = ("-shm",)


@dataclass(frozen=True, slots=True)
class Call:
    start: int
    end: int
    inode: int
    number: int
    kind: int
    first: bytes
    second: bytes


@dataclass(slots=True)
class Change:
    """Of octets: at an offset, or (data None) to a length."""

    start: int
    end: int
    at: int
    data: bytes | None


@dataclass(slots=True, eq=False)
class File:
    changes: list[Change] = field(default_factory=list[Change])
    #: (start, end) of each fsync.
    syncs: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


@dataclass(slots=True, eq=False)
class Link:
    """One call on names.  gone, come: (directory, name); node: what has the name."""

    start: int
    end: int
    node: File | Directory | None
    gone: tuple[Directory, str] | None
    come: tuple[Directory, str] | None

    @property
    def directories(self) -> list[Directory]:
        return [place[0] for place in (self.gone, self.come) if place is not None]


@dataclass(slots=True, eq=False)
class Directory:
    names: dict[str, File | Directory] = field(default_factory=dict[str, "File | Directory"])
    syncs: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


def _calls(logs: Path) -> Iterator[Call]:
    for path in logs.glob("*.log"):
        octets = path.read_bytes()
        at = 0
        while at + _HEAD.size <= len(octets):
            start, end, inode, number, kind, first, second = _HEAD.unpack_from(octets, at)
            at += _HEAD.size
            names = octets[at : at + first], octets[at + first : at + first + second]
            at += first + second
            yield Call(start, end, inode, number, kind, *names)


class Recording:
    def __init__(self, root: Path) -> None:
        self._root_path = root
        self._root = Directory()
        self._links: list[Link] = []
        self._by_inode: dict[int, File | Directory] = {root.stat().st_ino: self._root}
        self.calls = self.syncs = self.last = 0

    @classmethod
    def read(cls, logs: Path, root: Path) -> Recording:
        """root: there, and empty before the first call."""
        recording = cls(root.resolve())
        for call in sorted(_calls(logs), key=lambda one: one.end):
            recording._take(call)
        return recording

    # What was done -------------------------------------------------------------------------------

    def _take(self, call: Call) -> None:
        self.calls += 1
        self.last = call.end
        if call.kind in (_MAKE, _DIRECTORY):
            place = self._place(call.first)
            node: File | Directory = File() if call.kind == _MAKE else Directory()
            # A number that is used again is another file.
            self._by_inode[call.inode] = node
            self._link(Link(call.start, call.end, node, None, place))
        elif call.kind == _REMOVE:
            place = self._place(call.first)
            if place is not None:
                node = place[0].names.get(place[1])  # type: ignore[assignment]
                self._link(Link(call.start, call.end, node, place, None))
        elif call.kind == _RENAME:
            gone, come = self._place(call.first), self._place(call.second)
            assert gone is not None, f"{call.first!r} renamed into the root"
            assert come is not None, f"{call.second!r} renamed out of the root"
            node = gone[0].names.get(gone[1])  # type: ignore[assignment]
            self._link(Link(call.start, call.end, node, gone, come))
        else:
            found = self._by_inode.get(call.inode)
            if found is None:
                return
            if call.kind == _SYNC:
                self.syncs += 1
                found.syncs.append((call.start, call.end))
            elif isinstance(found, File):
                data = call.first if call.kind == _WRITE else None
                found.changes.append(Change(call.start, call.end, call.number, data))

    def _link(self, link: Link) -> None:
        self._links.append(link)
        if link.gone is not None:
            link.gone[0].names.pop(link.gone[1], None)
        if link.come is not None and link.node is not None:
            link.come[0].names[link.come[1]] = link.node

    def _place(self, path: bytes) -> tuple[Directory, str] | None:
        if not path:
            return None
        *parents, name = Path(path.decode()).relative_to(self._root_path).parts
        directory = self._root
        for parent in parents:
            found = directory.names[parent]
            assert isinstance(found, Directory), path
            directory = found
        return directory, name

    def forget_syncs(self) -> None:
        """As if nobody had ever waited for the disk: what has to be found missing then."""
        nodes = [link.node for link in self._links if link.node is not None]
        for node in (self._root, *nodes):
            node.syncs.clear()

    # What may be left ----------------------------------------------------------------------------

    def tree(self, instant: int, rng: random.Random, target: Path) -> None:
        """Into `target`, which is made."""
        names = self._names_left(instant, rng)
        self._write(self._root, names, instant, rng, target)

    def _names_left(
        self, instant: int, rng: random.Random
    ) -> dict[Directory, dict[str, File | Directory]]:
        """Of each directory."""
        begun = [one for one in self._links if one.start <= instant]
        kept = rng.choice((0.0, 0.5, 0.9, 1.0))
        until = rng.randint(0, instant) if rng.random() < 0.5 else None
        found: dict[Directory, dict[str, File | Directory]] = {}
        for link in begun:
            durable = all(_durable(link.end, one.syncs, instant) for one in link.directories)
            if not durable:
                there = link.end <= until if until is not None else rng.random() < kept
                if not there:
                    continue
            if link.gone is not None:
                directory, name = link.gone
                held = found.setdefault(directory, {})
                if held.get(name) is link.node:
                    held.pop(name, None)
            if link.come is not None and link.node is not None:
                directory, name = link.come
                found.setdefault(directory, {})[name] = link.node
        return found

    def _write(
        self,
        directory: Directory,
        names: dict[Directory, dict[str, File | Directory]],
        instant: int,
        rng: random.Random,
        target: Path,
    ) -> None:
        target.mkdir()
        for name, node in names.get(directory, {}).items():
            if isinstance(node, Directory):
                self._write(node, names, instant, rng, target / name)
            elif not name.endswith(_NOT_KEPT):
                (target / name).write_bytes(_content(node, instant, rng))


def _durable(end: int, syncs: list[tuple[int, int]], instant: int) -> bool:
    return any(end < begun and done <= instant for begun, done in syncs)


def _content(file: File, instant: int, rng: random.Random) -> bytes:
    octets = bytearray()
    kept = rng.choice((0.0, 0.3, 0.7, 1.0))
    for change in file.changes:
        if change.start > instant:
            continue
        durable = _durable(change.end, file.syncs, instant)
        if change.data is None:
            if durable or rng.random() < kept:
                del octets[change.at :]
                octets += bytes(change.at - len(octets))
            continue
        end = change.at + len(change.data)
        length = len(change.data)
        if not durable and rng.random() >= kept:
            # Its first sectors, perhaps; its length, perhaps.
            length = rng.choice((0, 0, rng.randrange(length + 1) // _SECTOR * _SECTOR))
            if rng.random() < 0.5:
                end = change.at + length
        if end > len(octets) and (length or end > change.at + length):
            octets += bytes(end - len(octets))
        octets[change.at : change.at + length] = change.data[:length]
    return bytes(octets)


__all__ = ["Recording"]
