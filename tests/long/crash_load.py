"""Clients of a site under load, that note what they were answered.

Each is a thread that asks, waits for the answer, and keeps a promise of it: what a service has
answered must be there whatever happens to it the next instant.  Refusals and silence are counted.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ground.asking import CallClient, NoAnswer
from ground.client import Ground
from ground.client.errors import GroundError
from ground.command.client import CommandClient
from ground.config import RunSettings
from ground.console.accounts import Accounts, Role
from ground.recovery.promises import Promise, PromiseFile
from ground.relay.client import BundleClient
from protocols.errors import LocalError
from protocols.identifiers import BundleNode

#: Longer than any service is away.
PATIENCE_S = 60.0
OPERATORS = ("ann", "bob", "eve")
#: Harmless at any time, and answered by reports of their own.
COMMANDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("TEST_CONNECTION", {}),
    ("TRANSPONDER_COHERENT", {"SWITCH": "ON"}),
    ("TRANSPONDER_COHERENT", {"SWITCH": "OFF"}),
)


def make_operators(settings: RunSettings) -> dict[str, str]:
    """Accounts and a token each, before the console starts."""
    accounts = Accounts.open(settings.console_dir / "accounts.sqlite")
    try:
        tokens: dict[str, str] = {}
        for name in OPERATORS:
            if name not in accounts.people():
                accounts.add(name, Role.OPERATOR, f"{name} has a long password")
            made = accounts.tokens.make(name, Role.OPERATOR, "trial", days=1, now_s=time.time())
            tokens[name] = made.secret
        return tokens
    finally:
        accounts.close()


class Load:
    """`start`, then `stop`; `asked` by kind, `unanswered` by kind, `failed`: what must not be."""

    def __init__(
        self, settings: RunSettings, tokens: dict[str, str], promises: Path, seed: int
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._promises = PromiseFile(promises)
        self._seed = seed
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.answered: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.unanswered: Counter[str] = Counter()
        self.failed: list[str] = []

    def start(self) -> None:
        for kind, work in (
            *((("pass", self._passes),) if self._settings.passes else ()),
            ("request", self._commands),
            ("file", self._files),
            ("run", self._runs),
            ("bundle", self._bundles),
            ("alarm", self._alarms),
        ):
            thread = threading.Thread(target=self._go, args=(kind, work), name=kind, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """No more is asked; what was asked has been answered, or never will be."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE_S)
            if thread.is_alive():
                self.failed.append(f"{thread.name}: waits for an answer without end")

    def _go(self, kind: str, work: Callable[[random.Random], None]) -> None:
        rng = random.Random(f"{self._seed} {kind}")
        while not self._stopping.is_set():
            try:
                work(rng)
            except NoAnswer:
                self.unanswered[kind] += 1
            except LocalError:
                # A service that says no promises nothing.
                self.refused[kind] += 1
                self._stopping.wait(0.2)
            except Exception as error:  # noqa: BLE001 - told with the round's result
                self.failed.append(f"{kind}: {type(error).__name__}: {error}")
                self._stopping.wait(1.0)

    def _keep(self, kind: str, **names: Any) -> None:
        self._promises.keep(Promise(kind, names))
        if not names.get("perhaps"):
            self.answered[kind] += 1

    # Clients -------------------------------------------------------------------------------------

    def _command_client(self) -> CommandClient:
        endpoint = self._settings.command_endpoint
        return CommandClient(endpoint, actor="ann", timeout_s=PATIENCE_S)

    def _commands(self, rng: random.Random) -> None:
        with self._command_client() as client:
            while not self._stopping.wait(rng.uniform(0, 1.0)):
                name, arguments = rng.choice(COMMANDS)
                number = client.add(name, arguments)["number"]
                self._keep("request", number=number)
                client.arm(number)
                if rng.random() < 0.9:
                    client.send(number)

    def _files(self, rng: random.Random) -> None:
        # Not on the disk that is full.
        with (
            tempfile.TemporaryDirectory(prefix="to-send-") as directory,
            self._command_client() as client,
        ):
            local = Path(directory) / "file"
            while not self._stopping.wait(rng.uniform(2, 8)):
                local.write_bytes(rng.randbytes(rng.choice((0, 500, 4_000))))
                name = f"trial/{rng.randrange(10**9)}"
                asked = client.call("file-put", path=str(local), name=name)
                self._keep("file", id=asked["id"])

    def _runs(self, rng: random.Random) -> None:
        with self._command_client() as client:
            while not self._stopping.wait(rng.uniform(3, 10)):
                started = client.start_run("instruments_on", {})
                self._keep("run", number=started["number"])

    def _bundles(self, rng: random.Random) -> None:
        source = f"ipn:{int(BundleNode.SITE)}.7"
        with BundleClient(self._settings.relay_applications, timeout_s=PATIENCE_S) as client:
            client.register(source)
            while not self._stopping.wait(rng.uniform(0, 0.3)):
                size = rng.choice((10, 500, 20_000))
                sent = client.send(
                    f"ipn:{int(BundleNode.MISSION_CENTRE)}.1", rng.randbytes(size), source=source
                )
                self._keep("bundle", source=sent["source"], creation=sent["creation"])

    def _passes(self, rng: random.Random) -> None:
        endpoint = self._settings.scheduling_endpoint
        with CallClient(
            endpoint, name="scheduling service", actor="ann", timeout_s=PATIENCE_S
        ) as client:
            while not self._stopping.wait(rng.uniform(3, 10)):
                found = client.call("views")
                free = [
                    (view["antenna"], span["from_ns"], span["to_ns"])
                    for view in found["views"]
                    for span in view["free"]
                    if span["to_ns"] - span["from_ns"] > 3 * 3_600 * 10**9
                ]
                if not free:
                    continue
                antenna, begin_ns, end_ns = rng.choice(free)
                begin_ns = begin_ns // 10**9 * 10**9 + 600 * 10**9
                end_ns = min(begin_ns + 2 * 3_600 * 10**9, end_ns // 10**9 * 10**9)
                wanted = {"antenna": antenna, "begin_ns": begin_ns, "end_ns": end_ns}
                done = client.call("publish", **wanted, why="a trial", version=found["version"])
                self._keep(
                    *("pass",), antenna=antenna, aos_ns=begin_ns, los_ns=end_ns,
                    version=done["published"],
                )  # fmt: skip

    def _alarms(self, rng: random.Random) -> None:
        who = rng.choice(OPERATORS)
        url = f"http://127.0.0.1:{self._settings.console_port}"
        with Ground(url, self._tokens[who], timeout_s=20) as ground:
            while not self._stopping.wait(rng.uniform(0.2, 1.0)):
                name = ""
                try:
                    open_ = [
                        one["name"]
                        for one in ground.alarms()
                        if one["state"] in ("unacknowledged", "returned")
                    ]
                    if not open_:
                        continue
                    name = rng.choice(open_)
                    ground.acknowledge_alarm(name)
                except GroundError as error:
                    if name and error.status != 409:
                        # Perhaps it was done, and the answer was lost with the process.
                        self._keep("alarm", name=name, who=who, perhaps=True)
                    self.unanswered["alarm"] += 1
                    return
                self._keep("alarm", name=name, who=who)
                if rng.random() < 0.3:
                    return
