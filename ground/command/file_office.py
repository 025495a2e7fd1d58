"""Files in the command service: operators' requests, and what goes up between commands.

File frames share the carrier with commands.  Never more than one radiation of them waits at the
station, and it is short, so that a command waits for seconds at most.
"""

from __future__ import annotations

from typing import Any, Final

from ground.command.desk import Desk
from ground.command.files import OPERATIONS, FileTransfers
from ground.command.store import CommandStore
from protocols.bus.messages import PacketsMessage, RadiatedMessage, UplinkMessage
from protocols.dictionary.l4_link import FILE_PACKET_OCTETS, FILE_SECURITY, file_uplink
from protocols.errors import LocalError
from protocols.frames.sdls import SecurityEndpoint
from protocols.identifiers import Apid, Carrier

#: Frames of one radiation.
FRAMES: Final = 4
#: Handovers after which a radiation of which nothing was heard is given up: CFDP sends it again.
PATIENCE: Final = 8


class FileOffice:
    """security: of `file_security`; name: begins the ids of radiations, never used before."""

    def __init__(
        self,
        transfers: FileTransfers,
        security: SecurityEndpoint,
        store: CommandStore,
        desk: Desk,
        *,
        name: str,
        service: str,
        handover_ns: int,
    ) -> None:
        self.transfers = transfers
        self._security = security
        self._store = store
        self._name, self._service = name, service
        self._handover_ns = handover_ns
        self._count = 0
        kept = store.state("files")
        if kept is not None:
            self._count = kept["count"]
            security.restore(kept["security"])
        #: The radiation that is out, and until when it is waited for.
        self._out: tuple[str, int] | None = None
        self._owlt_ns = -1
        desk.keyed |= {name: self._ask(name) for name in OPERATIONS if name != "file-list"}
        desk.questions["file-list"] = lambda now_ns, arguments: transfers.operate(
            now_ns, "", "file-list", arguments
        )

    def begin_anew(self, now_ns: int, name: str, skip: int) -> None:
        """After a restore: no id of a radiation, number of a transaction or of link security that
        may have been used since is used again, and transfers of ours wait for a person.

        The number of link security goes up by the window: any less that was sent since is below.
        """
        self._name = name
        association = self._security.association(FILE_SECURITY.spi)
        association.number += association.window or 1 << 16
        association.sent = association.number
        kept = {"count": self._count, "security": self._security.snapshot()}
        self._store.keep_state("files", kept)
        for held in self.transfers.begin_anew(now_ns, skip):
            text = f"file {held}: suspended after a restore; it may have ended since"
            self._store.note(0, now_ns, "file", text=text)

    # The link ------------------------------------------------------------------------------------

    def hear(self, now_ns: int, message: PacketsMessage) -> None:
        """On disk when this returns."""
        packets = message.packets
        rows = (packets.apid == Apid.FILES).nonzero()[0]
        if len(rows):
            self.transfers.hear(now_ns, [packets.packet(int(row)) for row in rows])

    def radiated(self, fate: RadiatedMessage) -> bool:
        """Whether it was one of ours; what was refused is as good as lost on the way."""
        if self._out is None or fate.id != self._out[0]:
            return False
        self._out = None
        return True

    def turn(self, now_ns: int, owlt_ns: int, *, transmits: bool) -> UplinkMessage | None:
        """What time brings; the next radiation, if one may be asked for."""
        if abs(owlt_ns - self._owlt_ns) > 100_000_000:
            self._owlt_ns = owlt_ns
            self.transfers.light_time(owlt_ns)
        self.transfers.link(now_ns, up=transmits)
        if self._out is not None and now_ns > self._out[1]:
            self._out = None
        deadline_ns = self.transfers.next_deadline_ns
        due = deadline_ns is not None and now_ns >= deadline_ns
        message: UplinkMessage | None = None
        if (self.transfers.waiting or due) and self._out is None:
            packets = self.transfers.take(now_ns, FRAMES * FILE_PACKET_OCTETS)
            if packets:
                message = self._message(now_ns, file_uplink(self._security, packets))
        for notice in self.transfers.notices():
            record = notice.record
            text = f"file {record.source_name} to {record.dest_name}: {notice.what.value}"
            self._store.note(0, now_ns, "file", text=text)
        return message

    def _message(self, now_ns: int, octets: bytes) -> UplinkMessage:
        self._count += 1
        # Kept before it leaves: no number of link security is used twice.
        kept = {"count": self._count, "security": self._security.snapshot()}
        self._store.keep_state("files", kept)
        latest_ns = now_ns + PATIENCE // 2 * self._handover_ns
        message = UplinkMessage(
            id=f"{self._name}-files-{self._count}",
            service=self._service,
            carrier=Carrier.COMMAND,
            octets=octets,
            earliest_ns=now_ns,
            latest_ns=latest_ns,
        )
        self._out = message.id, now_ns + PATIENCE * self._handover_ns
        return message

    # Operators -----------------------------------------------------------------------------------

    def _ask(self, operation: str) -> Any:
        """Done once for each key, by the transfers' own memory, which is written before ours."""

        def ask(now_ns: int, key: str, arguments: dict[str, Any]) -> Any:
            actor = arguments.get("actor", "")
            if not isinstance(actor, str) or not actor:
                raise LocalError("actor '': who asks wanted")
            try:
                found = self.transfers.operate(now_ns, key, operation, arguments)
            except KeyError as error:
                raise LocalError(f"{operation}: {error.args[0]} wanted") from error
            text = f"{operation.removeprefix('file-')} {found['id']} {found['ground_name']}"
            self._store.note(0, now_ns, "file", text=text, actor=actor)
            return found

        return ask
