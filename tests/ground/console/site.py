"""The console's application without a bus: its own files, an archive, a clock of numbers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from argon2 import PasswordHasher
from starlette.applications import Starlette
from starlette.testclient import TestClient

from ground.adapters.loopback import LoopbackBus, LoopbackExchange
from ground.answering import Handler
from ground.archive.store import ArchiveStore
from ground.config import SCHEDULING
from ground.console.accounts import Accounts, Role, Session
from ground.console.alarms import Alarms
from ground.console.app import COOKIE, make_app
from ground.console.context import Context
from ground.console.model import ConsoleModel
from ground.console.packets import PacketTree, limit_lines, subsystems
from ground.scheduling.pass_desk import PassDesk
from ground.scheduling.relay_plan import STATIONS
from ground.scheduling.service import SchedulingService, relay_planner
from ground.scheduling.shared import others_of
from ground.scheduling.stations import load_stations, select_stations
from protocols.bus.messages import Event
from protocols.dictionary.l4_commands import COMMANDS
from protocols.dictionary.l4_reports import EVERYTHING
from protocols.errors import LocalError
from tests.ground.command.world import START_NS, World

#: Quick, and nothing to keep a password with.
WEAK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
PASSWORD = "correct horse battery"
ORIGIN = "http://testserver"


Result = TypeVar("Result")


class NumberClock:
    def __init__(self) -> None:
        self.ns = START_NS

    def now_ns(self) -> int:
        return self.ns

    def wall_seconds(self, world_seconds: float) -> float:
        return world_seconds


class PassSite:
    """The scheduling service with its first plan, made when it is asked first; a bus in memory."""

    def __init__(self, clock: NumberClock, directory: Path) -> None:
        self.clock = clock
        self.shared = directory / "shared.sqlite"
        self.pass_list = directory / "passes.json"
        self.exchange = LoopbackExchange()
        self._calls: list[tuple[str, dict[str, Any]]] = []
        self._answers: list[Any] = []

    def turn(self, handle: Handler) -> None:
        """As a `CallServer`."""
        while self._calls:
            operation, arguments = self._calls.pop(0)
            try:
                self._answers.append(handle("", operation, arguments))
            except LocalError as error:
                self._answers.append(error)

    def operate(self, operation: str, arguments: dict[str, Any]) -> Any:
        self._calls.append((operation, arguments))
        known = load_stations()
        bus = LoopbackBus(SCHEDULING, self.exchange)
        try:
            SchedulingService(
                relay_planner(select_stations(known, STATIONS)),
                bus,
                self.clock,
                self.pass_list,
                desk=PassDesk(known, others_of(self.shared)),
                server=self,
                shared=self.shared,
            ).run(lambda: not self._calls)
        finally:
            bus.close()
        answer = self._answers.pop()
        if isinstance(answer, LocalError):
            raise answer
        return answer


class Console:
    """One person for each role, named like it; commands go to a real engine."""

    def __init__(self, directory: Path) -> None:
        self.accounts = Accounts.open(directory / "accounts.sqlite", WEAK)
        for role in Role:
            self.accounts.add(role.name.lower(), role, PASSWORD)
        self._lock = Lock()
        self._sessions: dict[str, Session] = {}
        self.model = ConsoleModel(Alarms())
        self.clock = NumberClock()
        #: Files on disk belong to one thread.
        self._worker = ThreadPoolExecutor(1)
        self.world = self.in_world(
            lambda: World(store=directory / "command.sqlite", files=directory / "files")
        )
        self.wall_s = 1_000_000.0
        self.archive = archive = directory / "archive.sqlite"
        ArchiveStore.open(archive).close()

        def command(actor: str, operation: str, arguments: dict[str, Any]) -> Any:
            asked = {"actor": actor, **arguments}
            world = self.world
            return self.in_world(
                lambda: world.engine.operate(world.now_ns, uuid.uuid4().hex, operation, asked)
            )

        def relay(actor: str, operation: str, arguments: dict[str, Any]) -> Any:
            return {"node": "ipn:10.0", "asked": operation}

        self.passes = PassSite(self.clock, directory / "schedule")

        def scheduling(actor: str, operation: str, arguments: dict[str, Any]) -> Any:
            asked = {"actor": actor, **arguments}
            with self._lock:
                return self.passes.operate(operation, asked)

        self.context = Context(
            accounts=self.accounts,
            model=self.model,
            clock=self.clock,
            speed=1.0,
            mission="l4_relay",
            archive=lambda: ArchiveStore.open(archive, read_only=True),
            command=command,
            relay=relay,
            scheduling=scheduling,
            commands=[one.described for one in COMMANDS.commands],
            subsystems=subsystems(EVERYTHING),
            packet=PacketTree(EVERYTHING),
            limits=limit_lines(EVERYTHING),
            files=directory / "files",
            wall_s=lambda: self.wall_s,
        )
        self.app: Starlette = make_app(self.context, "0")

    def close(self) -> None:
        self.accounts.close()
        self.world.engine.store.close()
        if self.world.transfers is not None:
            self.in_world(self.world.transfers.close)
        self._worker.shutdown()

    def in_world(self, work: Callable[[], Result]) -> Result:
        """Done in the command service's thread."""
        return self._worker.submit(work).result()

    def session(self, name: str) -> Session:
        """One for each name: hashing passwords is slow on purpose."""
        if name not in self._sessions:
            self._sessions[name] = self.accounts.sign_in(name, PASSWORD, self.wall_s)
        return self._sessions[name]

    def raise_alarm(self, name: str = "PWR_BUS_VOLTAGE", **more: Any) -> None:
        values: dict[str, Any] = {
            "kind": "limit",
            "severity": "critical",
            "name": name,
            "text": f"{name} is CRITICAL_LOW",
            "scet_ns": START_NS,
            "ert_ns": START_NS,
            "reception_ns": START_NS,
            "after": "CRITICAL_LOW",
            "before": "NOMINAL",
            **more,
        }
        self.model.alarms.hear(Event(**values), self.clock.ns)


@contextmanager
def signed_in(console: Console, name: str) -> Iterator[TestClient]:
    """A browser's session, with its CSRF token."""
    with TestClient(console.app, base_url=ORIGIN) as client:
        session = console.session(name)
        client.cookies.set(COOKIE, session.token)
        client.headers["x-csrf-token"] = session.csrf
        client.headers["origin"] = ORIGIN
        yield client
