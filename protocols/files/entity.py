"""A CFDP entity: files out and in, PDUs as octets, time as an argument, no I/O but its store's.

    entity.put(now_ns, "report.txt", "in/report.txt", peer=20)
    for pdu in entity.take(now_ns, room=4_000): ...         # to the link, after they are durable
    entity.hear(now_ns, pdus)                               # from the link
    entity.timeout(now_ns)                                  # when entity.next_deadline_ns is over

It can vanish at any instant: a new one on the same store goes on (`records.py`).
"""

# cfdp-py and spacepackets are annotated, but without py.typed.
# pyright: reportMissingTypeStubs=false
from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from cfdppy.user import TransactionFinishedParams
from spacepackets.cfdp.defs import ConditionCode, DeliveryCode, TransmissionMode
from spacepackets.cfdp.pdu import (
    EofPdu,
    FileDataPdu,
    FinishedPdu,
    MetadataPdu,
    TransactionStatus,
)
from spacepackets.cfdp.pdu.helper import GenericPduPacket

from protocols.errors import LocalError, RemoteError
from protocols.files import proxy
from protocols.files.destination import Destination
from protocols.files.pdus import Half, Peer, acknowledgement, half, key_of, parse_pdu
from protocols.files.records import Key, Kind, Record, State, TransferStore, wrong_name
from protocols.files.source import Source
from protocols.files.spans import total
from protocols.files.timers import Timing, TransactionClock

#: Transactions at a time, each way: bounds what a peer can make us keep.
MOST_ACTIVE: Final = 64
#: Ended ones that are remembered: a PDU of theirs that comes late is answered, not begun anew.
HISTORY: Final = 1_000
#: Answers to PDUs of transactions that have ended; they are asked for again.
_MOST_REPLIES: Final = 256


class Happening(StrEnum):
    BEGUN = "begun"
    SENT = "sent"
    RECEIVED = "received"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Notice:
    """record: as it was then."""

    what: Happening
    record: Record


class FileEntity:
    """number: of this entity.  peers: whom it knows."""

    def __init__(
        self, number: int, peers: Sequence[Peer], store: TransferStore, now_ns: int
    ) -> None:
        self.number = number
        self.peers = {peer.number: peer for peer in peers}
        self.statistics: Counter[str] = Counter()
        self._store = store
        self._now_ns = now_ns
        self._link_up = True
        self._records: dict[Key, Record] = {}
        self._machines: dict[Key, Source | Destination] = {}
        self._clocks: dict[Key, TransactionClock] = {}
        self._replies: deque[bytes] = deque(maxlen=_MOST_REPLIES)
        self._turn: deque[Key] = deque()
        self._notices: list[Notice] = []
        for record in store.records():
            self._records[record.key] = record
        for record in list(self._records.values()):
            if not record.state.ended:
                self._begin(record, restored=True)
        store.commit()

    # Requests ------------------------------------------------------------------------------------

    def put(
        self,
        now_ns: int,
        source_name: str,
        dest_name: str,
        *,
        peer: int,
        class_: int = 2,
        request: str = "",
    ) -> Key:
        """Send a file (Put.request).  Raises LocalError: no such file, peer or class.

        request: see `Record`.
        """
        known = self._asked_for(request)
        if known is not None:
            return known
        return self._put(now_ns, Kind.PUT, peer, class_, source_name, dest_name, request=request)

    def get(
        self,
        now_ns: int,
        remote_name: str,
        local_name: str,
        *,
        peer: int,
        class_: int = 2,
        request: str = "",
    ) -> Key:
        """Ask a peer to send a file here (proxy put request); asked for with class 2 always,
        sent with `class_`."""
        known = self._asked_for(request)
        if known is not None:
            return known
        _check_class(class_)
        for name in (remote_name, local_name):
            if wrong := wrong_name(name):
                raise LocalError(wrong)
        messages = proxy.put_request(self.number, remote_name, local_name, class_)
        return self._put(
            now_ns, Kind.GET, peer, 2, remote_name, local_name, messages=messages, request=request
        )

    def _asked_for(self, request: str) -> Key | None:
        found = (one.key for one in self._records.values() if one.request == request)
        return next(found, None) if request else None

    def cancel(self, now_ns: int, key: Key) -> None:
        """Of what was asked for here the answer is cancelled, too.  Raises LocalError: unknown, or
        at its end."""
        self._advance(now_ns)
        record = self._known(key)
        answer = None if record.answered_by is None else self._records.get(record.answered_by)
        if record.state.ended and answer is not None and not answer.state.ended:
            record = answer
        if record.state is not State.ACTIVE:
            raise LocalError(f"transaction {key[0]}:{key[1]} is {record.state.value}")
        if record.suspended:
            self.resume(now_ns, record.key)
        self._machines[record.key].cancel()
        self._settle(record.key)
        self._store.commit()

    def suspend(self, now_ns: int, key: Key) -> None:
        """Nothing of it leaves, and no timer runs, until `resume`."""
        self._suspend(now_ns, key, suspended=True)

    def resume(self, now_ns: int, key: Key) -> None:
        self._suspend(now_ns, key, suspended=False)

    def link(self, now_ns: int, *, up: bool) -> None:
        """Whether anything can be sent and heard: no timer runs while it cannot."""
        self._advance(now_ns)
        self._link_up = up
        for key in self._machines:
            self._set_clock(key)

    def light_time(self, peer: int, owlt_ns: int) -> None:
        """Timers that begin from now on use it."""
        one = self.peers[peer]
        one.timing = replace(one.timing, owlt_ns=owlt_ns)
        for machine in self._machines.values():
            if machine.peer is one:
                machine.retime()

    def records(self) -> list[Record]:
        """Copies, the oldest first; progress of those received is what is here."""
        for key, machine in self._machines.items():
            if isinstance(machine, Destination) and machine.record.state is State.ACTIVE:
                machine.record.progress = total(self._store.spans(key))
        return [replace(record) for record in self._records.values()]

    def notices(self) -> list[Notice]:
        found, self._notices = self._notices, []
        return found

    # The link ------------------------------------------------------------------------------------

    def hear(self, now_ns: int, pdus: Iterable[bytes]) -> None:
        """Everything is durable when it returns.  Never raises on what arrives: `statistics`."""
        self._advance(now_ns)
        for octets in pdus:
            try:
                pdu = parse_pdu(octets)
            except RemoteError:
                self.statistics["malformed"] += 1
                continue
            self.statistics["heard"] += 1
            if half(pdu) is Half.SENDER:
                self._hear_as_sender(pdu)
            else:
                self._hear_as_receiver(pdu, octets)
        self._store.commit()

    def take(self, now_ns: int, room: int, *, overhead: int = 0) -> list[bytes]:
        """PDUs that leave now, of at most `room` octets together with `overhead` for each; what
        they say is durable.  Answers first, then the transactions in turn."""
        self._advance(now_ns)
        self._expire()
        out: list[bytes] = []
        if not self._link_up:
            return out
        while self._replies and len(self._replies[0]) + overhead <= room:
            out.append(self._replies.popleft())
            room -= len(out[-1]) + overhead
        changed: set[Key] = set()
        idle = 0
        while self._turn and idle < len(self._turn):
            key = self._turn[0]
            self._turn.rotate(-1)
            machine = self._machines[key]
            pdu = machine.next_pdu(room - overhead) if self._clocks[key].running else None
            if pdu is None:
                idle += 1
                continue
            idle = 0
            out.append(pdu)
            room -= len(pdu) + overhead
            changed.add(key)
            if machine.done and not machine.out:
                self._settle(key)
        for key in changed & self._machines.keys():
            self._settle(key)
        self.statistics["sent"] += len(out)
        self._store.commit()
        return out

    @property
    def waiting(self) -> bool:
        """Whether `take` would give out anything, room and link provided."""
        return bool(self._replies) or any(
            machine.waiting for key, machine in self._machines.items() if not self._held(key)
        )

    def timeout(self, now_ns: int) -> None:
        self._advance(now_ns)
        self._expire()
        self._store.commit()

    @property
    def next_deadline_ns(self) -> int | None:
        found = [
            self._clocks[key].outside_ns(deadline)
            for key, machine in self._machines.items()
            if self._clocks[key].running
            for deadline in machine.deadlines()
        ]
        return min(found, default=None)

    # Inside --------------------------------------------------------------------------------------

    def _put(
        self,
        now_ns: int,
        kind: Kind,
        peer: int,
        class_: int,
        source_name: str = "",
        dest_name: str = "",
        *,
        messages: tuple[bytes, ...] = (),
        origin: Key | None = None,
        request: str = "",
    ) -> Key:
        self._advance(now_ns)
        _check_class(class_)
        if peer not in self.peers:
            known = ", ".join(map(str, sorted(self.peers)))
            raise LocalError(f"CFDP entity {peer} is unknown; known are {known}")
        if sum(isinstance(one, Source) for one in self._machines.values()) >= MOST_ACTIVE:
            raise LocalError(f"{MOST_ACTIVE} files are being sent already")
        record = Record(
            self.number,
            self._store.next_number(),
            kind,
            peer,
            class_,
            self._now_ns,
            source_name=source_name,
            dest_name=dest_name,
            messages=messages,
            origin=origin,
            request=request,
        )
        if kind is Kind.PUT:
            if wrong := wrong_name(dest_name):
                raise LocalError(wrong)
            record.size = self._store.hold(record.key, source_name)
            record.source_name = source_name.rsplit("/", 1)[-1]
        self._records[record.key] = record
        self._begin(record, restored=False)
        self._save(record)
        self._notices.append(Notice(Happening.BEGUN, replace(record)))
        self._store.commit()
        return record.key

    def _begin(self, record: Record, *, restored: bool) -> Source | Destination | None:
        """A machine for a transaction that goes on."""
        peer = self.peers.get(record.peer)
        if peer is None:
            # Its peer is no longer configured; it waits until it is.
            return None
        clock = self._clocks[record.key] = TransactionClock(self._now_ns)
        clock.run(self._now_ns, running=self._link_up and not record.suspended)
        machine: Source | Destination
        if record.sending:
            machine = Source(record, self.number, peer, self._store, clock)
        else:
            machine = Destination(record, self.number, peer, self._store, clock)
            machine.listener.finishing = lambda params: self._finishing(record, params)
        self._machines[record.key] = machine
        self._turn.append(record.key)
        if restored and isinstance(machine, Destination):
            machine.restore()
        if restored:
            self._settle(record.key)
        return machine

    def _advance(self, now_ns: int) -> None:
        self._now_ns = now_ns
        for clock in self._clocks.values():
            clock.advance(now_ns)

    def _held(self, key: Key) -> bool:
        return not self._link_up or self._records[key].suspended

    def _set_clock(self, key: Key) -> None:
        self._clocks[key].run(self._now_ns, running=not self._held(key))

    def _suspend(self, now_ns: int, key: Key, *, suspended: bool) -> None:
        self._advance(now_ns)
        record = self._known(key)
        if record.state.ended:
            raise LocalError(f"transaction {key[0]}:{key[1]} is {record.state.value}")
        record.suspended = suspended
        self._set_clock(key)
        self._save(record)
        self._store.commit()

    def _known(self, key: Key) -> Record:
        record = self._records.get(key)
        if record is None:
            raise LocalError(f"no transaction {key[0]}:{key[1]}")
        return record

    def _save(self, record: Record) -> None:
        self._store.save(record)

    def _expire(self) -> None:
        for key in tuple(self._machines):
            machine, clock = self._machines[key], self._clocks[key]
            if clock.running and min(machine.deadlines(), default=clock.now_ns + 1) <= clock.now_ns:
                machine.tick()
                self._settle(key)

    # PDUs for the sender

    def _hear_as_sender(self, pdu: GenericPduPacket) -> None:
        if pdu.source_entity_id.value != self.number:
            self.statistics["misaddressed"] += 1
            return
        key = key_of(pdu)
        machine = self._machines.get(key)
        if isinstance(machine, Source) and not machine.done:
            if pdu.dest_entity_id.value != machine.record.peer:
                self.statistics["misaddressed"] += 1
                return
            self.statistics["ignored"] += not machine.hear(pdu)
            self._settle(key)
        elif isinstance(pdu, FinishedPdu):
            # Its acknowledgement was lost, or we know nothing: the peer shall not wait for us.
            known = key in self._records
            status = TransactionStatus.TERMINATED if known else TransactionStatus.UNRECOGNIZED
            self._replies.append(acknowledgement(pdu, status))
        else:
            self.statistics["late"] += 1

    # PDUs for the receiver

    def _hear_as_receiver(self, pdu: GenericPduPacket, octets: bytes) -> None:
        if pdu.dest_entity_id.value != self.number or pdu.source_entity_id.value not in self.peers:
            self.statistics["misaddressed"] += 1
            return
        key = key_of(pdu)
        machine = self._machines.get(key)
        if machine is None:
            machine = self._unknown(key, pdu)
        if not isinstance(machine, Destination):
            return
        self.statistics["ignored"] += not machine.hear(pdu, octets)
        if isinstance(pdu, MetadataPdu):
            self._answers(machine.record, _messages(machine))
        # What there is of the data the store knows; a record changes with what else comes, and
        # with the end.
        record = machine.record
        if not (isinstance(pdu, FileDataPdu) and record.state is State.ACTIVE and record.metadata):
            self._settle(key)

    def _unknown(self, key: Key, pdu: GenericPduPacket) -> Source | Destination | None:
        """A PDU of no transaction that goes on: it may begin one."""
        record = self._records.get(key)
        if record is not None:
            if isinstance(pdu, EofPdu) and record.class_ == 2:
                self._replies.append(acknowledgement(pdu, TransactionStatus.TERMINATED))
                if record.finished:
                    self._replies.append(record.finished)
            else:
                self.statistics["late"] += 1
            return None
        acknowledged = pdu.transmission_mode is TransmissionMode.ACKNOWLEDGED
        begins = isinstance(pdu, MetadataPdu) or (
            acknowledged and isinstance(pdu, FileDataPdu | EofPdu)
        )
        active = sum(isinstance(one, Destination) for one in self._machines.values())
        if not begins or active >= MOST_ACTIVE:
            self.statistics["ignored"] += 1
            return None
        record = Record(*key, Kind.RECEIVE, key[0], 2 if acknowledged else 1, self._now_ns)
        self._records[key] = record
        self._notices.append(Notice(Happening.BEGUN, replace(record)))
        return self._begin(record, restored=False)

    # Ends

    def _finishing(self, record: Record, params: TransactionFinishedParams) -> None:
        """A file is here, or will not be; the sender does not know yet."""
        finished = params.finished_params
        condition = finished.condition_code
        record.condition = condition.name.lower()
        record.ended_ns = self._now_ns
        whole = (
            condition is ConditionCode.NO_ERROR
            and finished.delivery_code is DeliveryCode.DATA_COMPLETE
        )
        machine = self._machines[record.key]
        if whole and record.size >= 0:
            record.progress = record.size
            self._store.deliver(record.key, record.dest_name)
        else:
            self._store.discard(record.key)
        record.state = State.FINISHING
        if whole:
            self._asked(record, _messages(machine))
        what = Happening.RECEIVED if whole else Happening.FAILED
        self._notices.append(Notice(what, replace(record)))

    def _answers(self, record: Record, messages: Sequence[bytes]) -> None:
        """Whether a transaction that begins answers one of ours."""
        said = proxy.read(messages)
        asked = None if said.origin is None else self._records.get(said.origin)
        if asked is None or asked.kind is not Kind.GET or asked.answered_by is not None:
            return
        record.origin, asked.answered_by = said.origin, record.key
        if said.response is not None:
            asked.state, asked.condition = State.FAILED, said.response.name.lower()
            asked.ended_ns = self._now_ns
            self._notices.append(Notice(Happening.FAILED, replace(asked)))
        self._save(asked)

    def _asked(self, record: Record, messages: Sequence[bytes]) -> None:
        """Do what a transaction asked for, once it is whole: proxy put requests."""
        said = proxy.read(messages)
        if said.request is None:
            return
        wanted = said.request
        origin = proxy.originating(record.key)
        try:
            self._put(
                self._now_ns,
                Kind.PUT,
                wanted.entity,
                wanted.class_,
                wanted.source_name,
                wanted.dest_name,
                messages=origin,
                origin=record.key,
            )
        except LocalError:
            if record.peer in self.peers:
                messages = origin + proxy.put_response(ConditionCode.FILESTORE_REJECTION)
                self._put(
                    self._now_ns,
                    Kind.RESPONSE,
                    record.peer,
                    2,
                    messages=messages,
                    origin=record.key,
                )

    def _settle(self, key: Key) -> None:
        """Save what became of a transaction; an ended machine goes, what it still says stays."""
        machine = self._machines[key]
        record = machine.record
        # What a sender of class 1 says last comes once: it has ended when that has left.
        if machine.done and (record.class_ == 2 or not machine.out):
            self._replies.extend(machine.out)
            del self._machines[key], self._clocks[key]
            self._turn.remove(key)
            if record.sending and not record.state.ended:
                condition = machine.condition()
                record.condition = condition.name.lower()
                record.ended_ns = self._now_ns
                what = Happening.SENT if condition is ConditionCode.NO_ERROR else Happening.FAILED
                self._notices.append(Notice(what, replace(record)))
            record.state = _END.get(record.condition, State.FAILED)
            self._store.discard(key)
            self._forget_oldest()
        self._save(record)

    def _forget_oldest(self) -> None:
        ended = [key for key, record in self._records.items() if record.state.ended]
        for key in ended[: max(0, len(ended) - HISTORY)]:
            del self._records[key]
            self._store.forget(key)


_END: Final = {
    ConditionCode.NO_ERROR.name.lower(): State.COMPLETE,
    ConditionCode.CANCEL_REQUEST_RECEIVED.name.lower(): State.CANCELLED,
}


def _messages(machine: Source | Destination) -> list[bytes]:
    """To user, values of their TLVs."""
    metadata = machine.listener.metadata
    return [one.value for one in (metadata.msgs_to_user or ())] if metadata is not None else []


def _check_class(class_: int) -> None:
    if class_ not in (1, 2):
        raise LocalError(f"CFDP class {class_}: 1 (unacknowledged) or 2 (acknowledged) allowed")


def new_peer(number: int, *, owlt_ns: int, longest_pdu: int) -> Peer:
    """A peer at a distance, everything else as it is by default."""
    return Peer(number, Timing(owlt_ns), longest_pdu)
