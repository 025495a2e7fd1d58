"""What survives of a transaction when its entity is gone, and where it is kept.

An entity keeps no other state than can be made again from records, the octets received and which
those are: see `docs/decisions` on file transfer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Protocol
from zlib import crc32

from protocols.errors import LocalError
from protocols.files.spans import Spans, add

#: (entity that sends the file, transaction sequence number), 727.0-B.
Key = tuple[int, int]
#: A length octet stands before a name.
LONGEST_NAME: Final = 255
#: What may be received: bounds what a wrong offset can make a store allocate.
LARGEST_FILE: Final = 1 << 30


class State(StrEnum):
    """Of a transaction, at this entity."""

    ACTIVE = "active"
    #: The file is here, or never will be; the sender has not said that it knows.
    FINISHING = "finishing"
    COMPLETE = "complete"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        return self in (State.COMPLETE, State.CANCELLED, State.FAILED)


class Kind(StrEnum):
    """What a transaction is for, at this entity."""

    PUT = "put"
    #: Asks the peer for a file (proxy put request); `answered_by` brings it.
    GET = "get"
    RECEIVE = "receive"
    #: Says that a file that was asked for will not come.
    RESPONSE = "response"


@dataclass(slots=True)
class Record:
    """One transaction.

    progress: octets sent for the first time, or received.  size: −1 while it is not known.
    first, metadata, eof, finished: PDUs received, or sent (Finished), that a machine is made again
    from.  messages: to user, values of their TLVs.  origin: the transaction that asked for this
    one.  condition: of its end, a condition code's name in lower case; "" before.  request: who
    asked, in the caller's terms: asked for twice under one name it is done once.
    """

    source: int
    number: int
    kind: Kind
    peer: int
    class_: int
    started_ns: int
    state: State = State.ACTIVE
    source_name: str = ""
    dest_name: str = ""
    size: int = -1
    progress: int = 0
    resent: int = 0
    suspended: bool = False
    cancelled: bool = False
    first: bytes = b""
    metadata: bytes = b""
    eof: bytes = b""
    finished: bytes = b""
    messages: tuple[bytes, ...] = ()
    origin: Key | None = None
    answered_by: Key | None = None
    condition: str = ""
    ended_ns: int = 0
    request: str = ""

    @property
    def key(self) -> Key:
        return self.source, self.number

    @property
    def sending(self) -> bool:
        return self.kind is not Kind.RECEIVE


class TransferStore(Protocol):
    """Records and files; nothing may leave an entity before `commit` has made durable why.

    A file to be sent is held as it was when it was asked for; one that is received is a part, by
    transaction, until it is delivered under its name.
    """

    def next_number(self) -> int:
        """A transaction sequence number that was never used, and never will be again."""
        ...

    def records(self) -> list[Record]:
        """All that are kept, in the order in which they were saved first."""
        ...

    def save(self, record: Record) -> None: ...

    def forget(self, key: Key) -> None: ...

    def hold(self, key: Key, name: str) -> int:
        """Keep a file's octets as they are now; their count.  Raises LocalError: there is none."""
        ...

    def read(self, key: Key, offset: int, length: int) -> bytes: ...

    def accept(self, key: Key, name: str, size: int) -> str:
        """Why a file cannot be received; "" if it can."""
        ...

    def write(self, key: Key, offset: int, data: bytes) -> None:
        """Raises PermissionError: no room."""
        ...

    def spans(self, key: Key) -> Spans:
        """Which octets of a part are there."""
        ...

    def octets(self, key: Key, length: int) -> Iterable[bytes]:
        """The first `length` octets of what is held or received, for checksums."""
        ...

    def deliver(self, key: Key, name: str) -> None:
        """At the next commit the part becomes the file `name`."""
        ...

    def discard(self, key: Key) -> None:
        """At the next commit what is held or received goes."""
        ...

    def commit(self) -> None: ...

    def path(self, name: str) -> Any:
        """A name as `pathlib.Path`, which cfdp-py wants and `protocols` does not import."""
        ...


def wrong_name(name: str) -> str:
    """Why a file cannot have a name; "" if it can.

    >>> wrong_name("logs/boot.txt"), wrong_name("../etc/passwd")
    ('', "name '../etc/passwd': no empty, '.' or '..' parts allowed")
    """
    if not 0 < len(name.encode("utf-8", "surrogateescape")) <= LONGEST_NAME:
        return f"name of {len(name)} characters: 1..{LONGEST_NAME} octets allowed"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return f"name {name!r}: no empty, '.' or '..' parts allowed"
    if any(ord(letter) < 32 or letter == "\\" or 0xD800 <= ord(letter) < 0xE000 for letter in name):
        return f"name {name!r}: no control characters or backslashes allowed"
    return ""


@dataclass
class MemoryStore:
    """A mass memory: it outlives the entity that uses it, not the process.

    path: see `TransferStore`.  capacity: octets of files and of parts.
    """

    make_path: Any
    capacity: int = 1 << 26
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    _records: dict[Key, Record] = field(default_factory=dict[Key, Record])
    _held: dict[Key, bytes] = field(default_factory=dict[Key, bytes])
    _parts: dict[Key, bytearray] = field(default_factory=dict[Key, bytearray])
    _spans: dict[Key, Spans] = field(default_factory=dict[Key, Spans])
    _promised: dict[Key, int] = field(default_factory=dict[Key, int])
    _number: int = 0

    @property
    def used(self) -> int:
        parts = sum(max(len(part), self._promised.get(key, 0)) for key, part in self._parts.items())
        return sum(map(len, self.files.values())) + parts

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def records(self) -> list[Record]:
        return [replace(record) for record in self._records.values()]

    def save(self, record: Record) -> None:
        self._records[record.key] = replace(record)

    def forget(self, key: Key) -> None:
        self._records.pop(key, None)
        self.discard(key)

    def hold(self, key: Key, name: str) -> int:
        if name not in self.files:
            raise LocalError(f"no file {name!r}; there are {len(self.files)} others")
        self._held[key] = self.files[name]
        return len(self._held[key])

    def read(self, key: Key, offset: int, length: int) -> bytes:
        return self._held[key][offset : offset + length]

    def accept(self, key: Key, name: str, size: int) -> str:
        wrong = wrong_name(name)
        if wrong:
            return wrong
        part = self._parts.setdefault(key, bytearray())
        free = self.capacity - self.used + len(part) + len(self.files.get(name, b""))
        if size > free:
            return f"{size} octets and room for {max(free, 0)}"
        self._promised[key] = size
        return ""

    def write(self, key: Key, offset: int, data: bytes) -> None:
        end = offset + len(data)
        part = self._parts.setdefault(key, bytearray())
        if end > max(self._promised.get(key, 0), len(part)) and (
            end > LARGEST_FILE or self.used + end - len(part) > self.capacity
        ):
            raise PermissionError(f"offset {end}: beyond the store's {self.capacity} octets")
        if len(part) < end:
            part.extend(bytes(end - len(part)))
        part[offset:end] = data
        add(self._spans.setdefault(key, []), offset, end)

    def spans(self, key: Key) -> Spans:
        return list(self._spans.get(key, ()))

    def octets(self, key: Key, length: int) -> Iterable[bytes]:
        # An empty file has no part: nothing of it ever came.
        octets = self._held[key] if key in self._held else bytes(self._parts.get(key, b""))
        return (octets[:length],)

    def deliver(self, key: Key, name: str) -> None:
        self.files[name] = bytes(self._parts.pop(key, b""))
        self.discard(key)

    def discard(self, key: Key) -> None:
        for table in (self._held, self._parts, self._spans, self._promised):
            table.pop(key, None)

    def commit(self) -> None:
        """Writing to memory was it."""

    def path(self, name: str) -> Any:
        return self.make_path(name)


def file_crc32(parts: Iterable[bytes]) -> int:
    """Checksum type 3 (ISO-HDLC, as zlib's)."""
    value = 0
    for part in parts:
        value = crc32(part, value)
    return value
