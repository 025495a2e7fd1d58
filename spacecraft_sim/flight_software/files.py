"""Files on board: the CFDP entity of the spacecraft, and the mass memory that outlives it.

The ground puts files here and asks for them by proxy (727.0-B); nothing needs a telecommand.
The entity is made when the first packet comes, and made again after `restart`: what goes on then is
what the mass memory knows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from protocols.dictionary.l4_link import FILE_PACKET_OCTETS
from protocols.dictionary.l4_states import EventId, Severity
from protocols.files.entity import FileEntity, Happening, Notice, new_peer
from protocols.files.packets import PACKET_OVERHEAD, PacketWriter, pdu_of
from protocols.files.records import MemoryStore
from protocols.identifiers import CfdpEntity
from spacecraft_sim.scenario import FileSettings
from spacecraft_sim.subsystems.common import TICK_NS, Event

#: What happened on board, in words: a file like any other, of the newest octets.
EVENT_LOG: Final = "log/events.txt"
_LOG_OCTETS: Final = 65_536
_EVENTS: Final = {
    Happening.RECEIVED: (EventId.FILE_RECEIVED, Severity.INFORMATION),
    Happening.SENT: (EventId.FILE_SENT, Severity.INFORMATION),
    Happening.FAILED: (EventId.FILE_FAILED, Severity.LOW),
}


class Files:
    def __init__(
        self, settings: FileSettings, owlt_ns: int, raise_event: Callable[[Event], None]
    ) -> None:
        self.store = MemoryStore(Path, settings.store_octets)
        self._owlt_ns = owlt_ns
        self._raise = raise_event
        self._per_tick = 0
        self.rate(settings.to_earth_bit_s)
        #: Octets that may leave: what a tick leaves over the next one has, up to a packet.
        self._room = 0
        self._writer = PacketWriter(telecommand=False)
        self._entity: FileEntity | None = None
        self._heard: list[bytes] = []
        self._down: list[bytes] = []
        self._t_ns = 0

    def rate(self, bit_s: int) -> None:
        """Of the carrier that takes files down from now on."""
        self._per_tick = bit_s * TICK_NS // (8 * 1_000_000_000)

    def restart(self) -> None:
        """The computer starts anew; the mass memory is as it was."""
        self._entity = None
        self._heard.clear()

    def log(self, event: Event) -> None:
        """A line of the event log."""
        line = f"{self._t_ns // TICK_NS} {event.severity.name} {event.event_id.name} {event.text}\n"
        files = self.store.files
        files[EVENT_LOG] = (files.get(EVENT_LOG, b"") + line.encode())[-_LOG_OCTETS:]

    def hear(self, packet: bytes) -> None:
        """An authenticated packet of the files' channel; others than files' are passed over."""
        pdu = pdu_of(packet)
        if pdu is not None:
            self._heard.append(pdu)

    def down(self) -> list[bytes]:
        """Packets of the second."""
        down, self._down = self._down, []
        return down

    def step(self, t_ns: int) -> None:
        """A second."""
        self._t_ns = t_ns
        heard, self._heard = self._heard, []
        entity = self._entity
        if entity is None:
            if not heard and all(one.state.ended for one in self.store.records()):
                return
            entity = self._entity = self._made(t_ns)
        if heard:
            entity.hear(t_ns, heard)
        deadline_ns = entity.next_deadline_ns
        if deadline_ns is not None and deadline_ns <= t_ns:
            entity.timeout(t_ns)
        self._room = min(self._room, FILE_PACKET_OCTETS) + self._per_tick
        if entity.waiting:
            taken = entity.take(t_ns, self._room, overhead=PACKET_OVERHEAD)
            self._down += self._writer.write(taken)
            self._room -= sum(map(len, self._down))
        for notice in entity.notices():
            self._tell(notice)

    def _made(self, t_ns: int) -> FileEntity:
        longest = FILE_PACKET_OCTETS - PACKET_OVERHEAD
        peer = new_peer(CfdpEntity.GROUND, owlt_ns=self._owlt_ns, longest_pdu=longest)
        return FileEntity(CfdpEntity.SPACECRAFT, [peer], self.store, t_ns)

    def _tell(self, notice: Notice) -> None:
        record = notice.record
        # A request that came or an answer that went is no file.
        without = record.size < 0 and notice.what is not Happening.FAILED
        if without or notice.what not in _EVENTS:
            return
        event_id, severity = _EVENTS[notice.what]
        name = record.dest_name if notice.what is Happening.RECEIVED else record.source_name
        text = f"{name or 'request'} {record.source}:{record.number}"
        if record.size >= 0:
            text += f", {record.size} octets"
        if notice.what is Happening.FAILED:
            text += f": {record.condition.replace('_', ' ')}"
        self._raise(Event(event_id, severity, text[:120]))
