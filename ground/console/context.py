"""What the console has been given: its own store and the other services, as it sees them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any, Protocol

from ground.console.accounts import Accounts
from ground.console.model import ConsoleModel
from ground.console.oidc import OidcSettings
from ground.ports import Clock
from protocols.identifiers import Topic

#: Services' calls: actor, operation, arguments → result; LocalError: refused; NoAnswer: silent.
Caller = Callable[[str, str, dict[str, Any]], Any]


class Archive(Protocol):
    """The store, as far as the console reads it; see `ground.archive.model`."""

    def parameters(self) -> list[Any]: ...

    def plot(
        self, name: str, start_ns: int, stop_ns: int, points: int = 1600, axis: Any = "scet"
    ) -> Any: ...

    def export_parquet(
        self, target: Path, *, names: Sequence[str], start_ns: int, stop_ns: int
    ) -> list[Path]: ...

    def export_csv(
        self, target: Path, *, names: Sequence[str], start_ns: int, stop_ns: int
    ) -> list[Path]: ...

    def query(self, name: str, start_ns: int, stop_ns: int, axis: Any = "scet") -> Any: ...

    def counters(self) -> dict[str, int]: ...

    def reader(self) -> AbstractContextManager[Any]: ...

    def packets(
        self, *, apid: int | None = None, start_ns: int = 0, stop_ns: int = 0, axis: Any = "ert"
    ) -> Iterator[Any]: ...

    def events(
        self, *, start_ns: int = 0, stop_ns: int = 0, axis: Any = "scet", name: str | None = None
    ) -> Iterator[Any]: ...


@dataclass
class Context:
    """archive: opens it for one question; command, relay, scheduling: services' sockets; commands:
    the dictionary, described; packet: a packet's octets as a tree; limits: of
    parameters, `packets.limit_lines`; files: where those
    of the spacecraft are, and those to be sent pass; lock: around the model, which the thread of
    the bus changes."""

    accounts: Accounts
    model: ConsoleModel
    clock: Clock
    speed: float
    mission: str
    archive: Callable[[], AbstractContextManager[Archive]]
    command: Caller
    relay: Caller
    scheduling: Caller
    commands: list[dict[str, Any]]
    subsystems: dict[str, list[str]]
    packet: Callable[[bytes], Any]
    limits: Mapping[str, Sequence[float | None]]
    files: Path
    origins: frozenset[str] = frozenset()
    #: A provider that people may sign in with.
    oidc: OidcSettings | None = None
    lock: RLock = field(default_factory=RLock)
    #: The first administrator is there: the link is of no use any more.
    set_up: Callable[[], None] = lambda: None
    #: What is in the model of alarms is on disk when it returns; OSError: it is not.
    keep: Callable[[], None] = lambda: None
    wall_s: Callable[[], float] = time.time


#: What the console hears on the bus.
TOPICS = (
    Topic.PARAMETERS,
    Topic.LINK,
    Topic.RADIO,
    Topic.PASSES,
    Topic.TIME,
    Topic.COMMANDS,
    Topic.BUNDLES,
    Topic.STATUS,
)
