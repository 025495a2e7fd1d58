"""Files to and from the spacecraft: the ground's CFDP entity, its packets, its directory.

No socket and no clock.  Whoever embeds it, in a loop:

    transfers.hear(now_ns, packets)              # space packets from the spacecraft, others ignored
    transfers.link(now_ns, up=…)                 # whether the station transmits
    packets = transfers.take(now_ns, room)       # to be radiated, each in its own BD frame:
    octets = l4_link.file_uplink(security, packets)
    transfers.next_deadline_ns                   # then `take` may have something, whatever came

What `hear` was given is on disk when it returns, so the position of the packets may be kept after
it; the same packets heard again do no harm.  What `take` gave out and was not radiated is as good
as lost on the way: CFDP sends it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ground.command.files_store import FileStore
from protocols.dictionary.l4_link import FILE_PACKET_OCTETS
from protocols.errors import LocalError
from protocols.files.entity import FileEntity, Notice, new_peer
from protocols.files.packets import PACKET_OVERHEAD, PacketWriter, pdu_of
from protocols.files.records import Key, Kind, Record, State
from protocols.identifiers import CfdpEntity

#: Of `FileTransfers.operate`.
OPERATIONS: Final = (
    "file-put",
    "file-get",
    "file-list",
    "file-cancel",
    "file-suspend",
    "file-resume",
)


@dataclass(frozen=True, slots=True)
class Transfer:
    """One line of the list.

    what: "put", "get", or "receive": the spacecraft sends it of itself.  state: "asked": the file
    that a get asked for does not come yet.  path: on the ground, of what is here.
    """

    id: str
    what: str
    state: str
    ground_name: str
    space_name: str
    class_: int
    size: int
    progress: int
    resent: int
    suspended: bool
    condition: str
    started_ns: int
    ended_ns: int
    path: str

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {name.rstrip("_"): getattr(self, name) for name in self.__slots__}


class FileTransfers:
    """directory: see `FileStore`; owlt_ns: one-way light time, until `light_time` says better."""

    def __init__(self, directory: Path, *, now_ns: int, owlt_ns: int) -> None:
        self._store = FileStore(directory)
        longest = FILE_PACKET_OCTETS - PACKET_OVERHEAD
        peer = new_peer(CfdpEntity.SPACECRAFT, owlt_ns=owlt_ns, longest_pdu=longest)
        self._entity = FileEntity(CfdpEntity.GROUND, [peer], self._store, now_ns)
        self._writer = PacketWriter(telecommand=True)

    def close(self) -> None:
        self._store.close()

    @property
    def received(self) -> Path:
        """Where files arrive."""
        return self._store.received

    # Requests ------------------------------------------------------------------------------------

    def put(
        self, now_ns: int, path: Path, remote_name: str, *, class_: int = 2, request: str = ""
    ) -> str:
        """Send a file; its octets are kept as they are now.  The transaction's id.

        request: a name under which it is done once, however often it is asked for.
        Raises LocalError: no file, a name that is none, a class that is none.
        """
        peer = CfdpEntity.SPACECRAFT
        key = self._entity.put(
            now_ns, str(path), remote_name, peer=peer, class_=class_, request=request
        )
        return _id(key)

    def get(
        self, now_ns: int, remote_name: str, local_name: str, *, class_: int = 2, request: str = ""
    ) -> str:
        """Have a file sent; it arrives as `received / local_name`.  Raises LocalError as `put`."""
        peer = CfdpEntity.SPACECRAFT
        key = self._entity.get(
            now_ns, remote_name, local_name, peer=peer, class_=class_, request=request
        )
        return _id(key)

    def cancel(self, now_ns: int, transaction: str) -> None:
        """Raises LocalError: no such transaction, or it has ended."""
        self._entity.cancel(now_ns, _key(transaction))

    def suspend(self, now_ns: int, transaction: str) -> None:
        """Nothing of it leaves, and its time stands still.  Raises LocalError as `cancel`."""
        self._entity.suspend(now_ns, self._current(transaction))

    def resume(self, now_ns: int, transaction: str) -> None:
        self._entity.resume(now_ns, self._current(transaction))

    def listing(self) -> list[Transfer]:
        """The newest first; a get and the file that it brings are one."""
        records = {record.key: record for record in self._entity.records()}
        answers = {one.answered_by for one in records.values() if one.answered_by is not None}
        return [
            self._line(record, records)
            for key, record in reversed(records.items())
            if key not in answers and record.kind is not Kind.RESPONSE and _said(record)
        ]

    def operate(self, now_ns: int, key: str, operation: str, arguments: dict[str, Any]) -> Any:
        """What operators ask, as `Desk.ask`: `OPERATIONS`.  Done once for each `key`."""
        if operation == "file-list":
            return [one.plain() for one in self.listing()]
        class_ = arguments.get("class", 2)
        if operation == "file-put":
            path = Path(arguments["path"])
            name = arguments.get("name") or path.name
            found = self.put(now_ns, path, name, class_=class_, request=key)
        elif operation == "file-get":
            name = arguments["name"]
            as_name = arguments.get("as") or name
            found = self.get(now_ns, name, as_name, class_=class_, request=key)
        elif operation in OPERATIONS:
            found = arguments["id"]
            before = next((one for one in self.listing() if one.id == found), None)
            # Asked again for want of an answer.
            if not (operation == "file-cancel" and before and before.state == "cancelled"):
                getattr(self, operation.removeprefix("file-"))(now_ns, found)
        else:
            raise LocalError(f"operation {operation!r}; {', '.join(OPERATIONS)} are")
        return next(one.plain() for one in self.listing() if one.id == found)

    def begin_anew(self, now_ns: int, skip: int) -> list[str]:
        """After a restore: numbers that may have been used since are skipped, and what we have
        asked for is suspended; which."""
        self._store.skip_numbers(skip)
        held = [
            one.id
            for one in self.listing()
            if one.what in ("put", "get")
            and one.state in (State.ACTIVE.value, "asked")
            and not one.suspended
        ]
        for one in held:
            self.suspend(now_ns, one)
        return held

    # The link ------------------------------------------------------------------------------------

    def hear(self, now_ns: int, packets: Iterable[bytes]) -> None:
        """Space packets; those that are no file's are passed over.  Never raises on what comes."""
        pdus = [pdu for packet in packets if (pdu := pdu_of(packet)) is not None]
        if pdus:
            self._entity.hear(now_ns, pdus)

    def take(self, now_ns: int, room: int) -> list[bytes]:
        """Space packets for the spacecraft, of at most `room` octets together."""
        pdus = self._entity.take(now_ns, room, overhead=PACKET_OVERHEAD)
        return self._writer.write(pdus)

    @property
    def waiting(self) -> bool:
        """Whether `take` has something to give."""
        return self._entity.waiting

    @property
    def next_deadline_ns(self) -> int | None:
        """When a timer ends: `take` is to be called then, whatever comes."""
        return self._entity.next_deadline_ns

    def link(self, now_ns: int, *, up: bool) -> None:
        """Whether the station transmits: without, no timer runs and `take` gives nothing."""
        self._entity.link(now_ns, up=up)

    def light_time(self, owlt_ns: int) -> None:
        """One way, now: timers that begin from now on wait for twice as long."""
        self._entity.light_time(CfdpEntity.SPACECRAFT, owlt_ns)

    def notices(self) -> list[Notice]:
        """What has happened since the last call, for people: not kept over a restart."""
        return self._entity.notices()

    @property
    def counters(self) -> dict[str, int]:
        """PDUs by what became of them, and transactions that go on."""
        going = sum(not one.state.ended for one in self._entity.records())
        return {**self._entity.statistics, "transfers": going}

    # Inside --------------------------------------------------------------------------------------

    def _current(self, transaction: str) -> Key:
        """Of a get: what it brings, once that has begun."""
        key = _key(transaction)
        record = next((one for one in self._entity.records() if one.key == key), None)
        if record is not None and record.answered_by is not None:
            return record.answered_by
        return key

    def _line(self, record: Record, records: dict[Key, Record]) -> Transfer:
        shown = record
        if record.answered_by is not None and record.state is not State.FAILED:
            shown = records.get(record.answered_by, record)
        state = shown.state.value
        if record.kind is Kind.GET and shown is record and record.state is State.COMPLETE:
            state = "asked"
        names = record.source_name, record.dest_name
        ground, space = names if record.kind is Kind.PUT else names[::-1]
        here = shown.kind is Kind.RECEIVE and shown.condition == "no_error"
        return Transfer(
            _id(record.key),
            record.kind.value,
            state,
            ground,
            space,
            shown.class_,
            shown.size,
            shown.progress,
            shown.resent,
            shown.suspended,
            shown.condition if state != "asked" else "",
            record.started_ns,
            shown.ended_ns if state != "asked" else 0,
            str(self.received / shown.dest_name) if here and shown.size >= 0 else "",
        )


def _said(record: Record) -> bool:
    """Whether it is of interest: not the answer that a get will not be answered."""
    return not (record.kind is Kind.RECEIVE and record.origin is not None and record.size < 0)


def _id(key: Key) -> str:
    return f"{key[0]}:{key[1]}"


def _key(transaction: str) -> Key:
    source, _, number = transaction.partition(":")
    if not (source.isdecimal() and number.isdecimal()):
        raise LocalError(f"transaction {transaction!r}: ENTITY:NUMBER wanted, as `10:3`")
    return int(source), int(number)
