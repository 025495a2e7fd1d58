"""Service 15: packets kept on board, sent again by generation time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from protocols.telecommand.verification import FailureCode
from spacecraft_sim.flight_software.execution import Handlers, Refusal
from spacecraft_sim.flight_software.packets import Packet
from spacecraft_sim.flight_software.recorder import Recorder
from spacecraft_sim.flight_software.reports import ReportWriter

#: The store that has been there from the start: every packet of the spacecraft's own.
RECORDER_STORE: Final = 1
MOST_STORES: Final = 16
#: Of all stores that commands create, so that no command can exhaust the memory.
MOST_OCTETS: Final = 64 << 20


@dataclass(slots=True)
class Store:
    """apid: of the packets stored; None: all."""

    recorder: Recorder
    apid: int | None
    enabled: bool


class PacketStores:
    """synchronise: called before a store's content matters, records what was generated so far."""

    def __init__(
        self, recorder: Recorder, reports: ReportWriter, synchronise: Callable[[], None]
    ) -> None:
        self._reports = reports
        self._synchronise = synchronise
        self._stores = {RECORDER_STORE: Store(recorder, None, enabled=True)}
        #: Of this second: (store, its packets), None where a retrieval is to end.
        self._asked: list[tuple[int, list[bytes] | None]] = []
        self.handlers: Handlers = {
            "STORE_ENABLE": lambda a: self._switch(a, on=True),
            "STORE_DISABLE": lambda a: self._switch(a, on=False),
            "STORE_RETRIEVE": self._retrieve,
            "STORE_DELETE_CONTENT": self._delete_content,
            "STORE_SUMMARY": self._summary,
            "STORE_ABORT": self._abort,
            "STORE_CREATE": self._create,
            "STORE_DELETE": self._delete,
        }

    def record(self, packet: Packet) -> None:
        apid = int.from_bytes(packet.octets[:2], "big") & 0x7FF
        for store in self._stores.values():
            if store.enabled and (store.apid is None or store.apid == apid):
                store.recorder.record(packet.scet_ns, packet.octets)

    def between(self, store: int, from_ns: int, to_ns: int) -> list[bytes]:
        """Packets of a store from a span of the on-board clock."""
        self._synchronise()
        return self._stores[store].recorder.between(from_ns, to_ns)

    def retrievals(self) -> list[tuple[int, list[bytes] | None]]:
        """What was asked for since the last call: a store with its packets, or None: stop."""
        asked, self._asked = self._asked, []
        return asked

    def _store(self, number: int) -> Store:
        if number not in self._stores:
            raise Refusal(FailureCode.UNKNOWN_IDENTIFIER, f"no packet store {number}")
        return self._stores[number]

    def _known(self, arguments: Mapping[str, Any]) -> list[int]:
        self._synchronise()
        for number in arguments["STORES"]:
            self._store(number)
        return list(arguments["STORES"])

    def _switch(self, arguments: Mapping[str, Any], *, on: bool) -> None:
        for number in self._known(arguments):
            self._stores[number].enabled = on

    def _retrieve(self, arguments: Mapping[str, Any]) -> None:
        number, from_ns, to_ns = (arguments[name] for name in ("STORE", "FROM", "TO"))
        self._store(number)
        if to_ns < from_ns:
            raise Refusal(FailureCode.ILLEGAL_ARGUMENT, "the span ends before it begins")
        self._asked.append((number, self.between(number, from_ns, to_ns)))

    def _delete_content(self, arguments: Mapping[str, Any]) -> None:
        for number in self._known(arguments):
            self._stores[number].recorder.forget(arguments["UNTIL"])

    def _abort(self, arguments: Mapping[str, Any]) -> None:
        self._asked += [(number, None) for number in self._known(arguments)]

    def _create(self, arguments: Mapping[str, Any]) -> None:
        number, size = arguments["STORE"], arguments["SIZE"]
        if number in self._stores:
            raise Refusal(FailureCode.ALREADY_EXISTS, f"packet store {number} exists")
        self._synchronise()
        taken = sum(s.recorder.capacity for n, s in self._stores.items() if n != RECORDER_STORE)
        if len(self._stores) >= MOST_STORES or taken + size > MOST_OCTETS:
            raise Refusal(FailureCode.NO_ROOM, f"{MOST_OCTETS - taken} octets are left")
        self._stores[number] = Store(Recorder(size), arguments["APID"], enabled=False)

    def _delete(self, arguments: Mapping[str, Any]) -> None:
        numbers = self._known(arguments)
        for number in numbers:
            if self._stores[number].enabled or number == RECORDER_STORE:
                raise Refusal(FailureCode.STILL_ENABLED, f"packet store {number} is in use")
        for number in numbers:
            self._stores.pop(number, None)

    def _summary(self, arguments: Mapping[str, Any]) -> None:
        numbers = self._known(arguments)
        stores = [self._stores[number] for number in numbers]
        self._reports.put(
            "STORE_CONTENT",
            {
                "STO_STORE": numbers,
                "STO_ENABLED": ["ON" if store.enabled else "OFF" for store in stores],
                "STO_OLDEST": [store.recorder.span[0] for store in stores],
                "STO_NEWEST": [store.recorder.span[1] for store in stores],
                "STO_OCTETS": [store.recorder.octets for store in stores],
                "STO_SIZE": [store.recorder.capacity for store in stores],
            },
        )
