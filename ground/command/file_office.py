"""Files in the command service: operators' requests, and what goes up between commands.

File frames share the carrier with commands.  Never more than one radiation of them waits at the
station, and it is short, so that a command waits for seconds at most.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ground.command.desk import Desk
from ground.command.files import FileTransfers
from ground.command.store import CommandStore
from protocols.bus.messages import PacketsMessage, RadiatedMessage, UplinkMessage
from protocols.dictionary.l4_link import FILE_PACKET_OCTETS, file_uplink
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
        desk.operations |= {
            "file-put": self._put,
            "file-get": self._get,
            "file-cancel": self._change("cancel"),
            "file-suspend": self._change("suspend"),
            "file-resume": self._change("resume"),
        }
        desk.questions["file-list"] = self._list

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

    def _put(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        path = Path(str(arguments.get("path", "")))
        name = str(arguments.get("name") or path.name)
        class_ = int(arguments.get("class", 2))
        found = self.transfers.put(now_ns, path, name, class_=class_)
        self._note(now_ns, arguments, f"put {path.name} as {name}, {found}")
        return self._shown(found)

    def _get(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        name = str(arguments.get("name", ""))
        local = str(arguments.get("as") or name)
        class_ = int(arguments.get("class", 2))
        found = self.transfers.get(now_ns, name, local, class_=class_)
        self._note(now_ns, arguments, f"get {name} as {local}, {found}")
        return self._shown(found)

    def _change(self, what: str) -> Any:
        def change(now_ns: int, arguments: dict[str, Any]) -> Any:
            transfer = str(arguments.get("id", ""))
            getattr(self.transfers, what)(now_ns, transfer)
            self._note(now_ns, arguments, f"{what} {transfer}")
            return self._shown(transfer)

        return change

    def _note(self, now_ns: int, arguments: dict[str, Any], text: str) -> None:
        actor = str(arguments.get("actor", ""))
        if not actor:
            raise LocalError("actor '': who asks wanted")
        self._store.note(0, now_ns, "file", text=text, actor=actor)

    def _list(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        return [one.plain() for one in self.transfers.listing()]

    def _shown(self, transfer: str) -> dict[str, Any]:
        for one in self.transfers.listing():
            if one.id == transfer:
                return one.plain()
        return {"id": transfer, "state": "unknown", "size": -1, "progress": 0}
