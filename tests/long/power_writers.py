"""Whoever keeps something on disk, at work; and what must be found there whenever the power goes.

    python -m tests.long.power_writers NAME DIRECTORY PROMISES SEED

works until it is killed or has done enough, and notes what it was promised, each with the number
of the last call before the note (`power_record`).  `check(NAME, directory, promises)` opens what is
left as a service would and finds them.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import ground.adapters.journal as journal_file
from ground.adapters.bundle_log import BundleLog
from ground.adapters.journal import FileJournal
from ground.adapters.state_file import StateFile
from ground.command.files import FileTransfers
from ground.command.requests import Request
from ground.command.store import CommandStore
from ground.console.accounts import Accounts
from ground.ports import LinkChunk
from ground.receive.capture import CaptureReader, CaptureWriter
from protocols.dtn.node_settings import Seen, Stored
from protocols.errors import LocalError

#: Keeps a promise: what it names.
Keep = Callable[[Any], None]
#: What a step does before the process ends by itself; it is killed before that now and then.
STEPS = 60
LATER_NS = 10**18


def _payload(number: int, most: int = 6_000) -> bytes:
    """The same for the same number."""
    rng = random.Random(number)
    return rng.randbytes(rng.choice((10, 500, most)))


def journal(directory: Path, keep: Keep, rng: random.Random) -> None:
    log = FileJournal(directory / "journal", segment_octets=20_000, retain_octets=10**9)
    for _ in range(STEPS):
        count = rng.randrange(1, 4)
        first = log.next_sequence
        log.append([_payload(first + i) for i in range(count)], sync=rng.random() < 0.3)
        if rng.random() < 0.5:
            log.sync()
            keep(log.next_sequence)


def check_journal(directory: Path, promises: list[Any]) -> list[str]:
    # The machine has been started anew.
    journal_file.boot = lambda: "another"
    with closing(FileJournal(directory / "journal", segment_octets=20_000)) as log:
        found = list(log.read(0, max_octets=1 << 40))
    wrong = [one.sequence for one in found if one.payload != _payload(one.sequence)]
    wanted = max(promises, default=0)
    problems = [f"records {wrong} are not what was written"] if wrong else []
    if len(found) < wanted:
        problems.append(f"{wanted} records were on disk, {len(found)} are there")
    return problems


def capture(directory: Path, keep: Keep, rng: random.Random) -> None:
    with CaptureWriter(directory / "capture", link="downlink", rotate_octets=30_000) as writer:
        # What a link is opened with it forgets.
        keep(writer.resume.get("stream", -1))
        number = writer.resume.get("stream", -1)
        for _ in range(STEPS):
            chunks: list[LinkChunk] = []
            for _ in range(rng.randrange(1, 4)):
                number += 1
                chunks.append(LinkChunk("stream", number, number, _payload(number)))
            writer.append(chunks)
            if rng.random() < 0.5:
                writer.sync()
                keep(number)


def check_capture(directory: Path, promises: list[Any]) -> list[str]:
    wanted = max(promises, default=-1)
    if not (directory / "capture").is_dir():
        return [f"no capture, {wanted} was acknowledged"] if wanted >= 0 else []
    with CaptureWriter(directory / "capture", link="downlink", rotate_octets=30_000) as writer:
        resume = writer.resume.get("stream", -1)
        # The station goes on behind that; all of it is found again, once.
        more = range(resume + 1, resume + 40)
        writer.append([LinkChunk("stream", n, n, _payload(n)) for n in more])
    found = [one.chunk for one in CaptureReader(directory / "capture").read()]
    problems: list[str] = []
    numbers = sorted(one.sequence for one in found)
    if numbers != list(range(len(numbers))):
        problems.append(f"chunks {numbers[:50]} are there")
    if any(one.octets != _payload(one.sequence) for one in found):
        problems.append("a chunk is not what was written")
    if resume < wanted:
        problems.append(f"chunk {wanted} was acknowledged, {resume} is the last one there")
    return problems


def bundles(directory: Path, keep: Keep, rng: random.Random) -> None:
    log = BundleLog(directory / "bundles", segment_octets=15_000, slack_octets=10_000)
    held = [one.ref for one in log.recovered()]
    keep({"held": held})
    for _ in range(STEPS):
        gone: list[int] = []
        for _ in range(rng.randrange(1, 4)):
            ref = log.next_ref
            log.put(Stored(ref, 1, 0, _payload(ref)))
            held.append(ref)
        while held and rng.random() < 0.6:
            ref = held.pop(rng.randrange(min(3, len(held))))
            log.remove(ref, Seen(ref.to_bytes(16, "big"), LATER_NS))
            gone.append(ref)
        log.commit(2)
        keep({"held": list(held), "gone": gone})


def check_bundles(directory: Path, promises: list[Any]) -> list[str]:
    with closing(BundleLog(directory / "bundles", segment_octets=15_000)) as log:
        found = {one.ref: one.octets for one in log.recovered()}
        seen = {int.from_bytes(one.digest, "big") for one in log.seen(3)}
    problems: list[str] = []
    if any(octets != _payload(ref) for ref, octets in found.items()):
        problems.append("a bundle is not what was put")
    if promises:
        gone = {ref for one in promises for ref in one.get("gone", ())}
        lost = set(promises[-1]["held"]) - set(found) - seen
        if lost:
            problems.append(f"bundles {sorted(lost)} were on disk and are gone")
        if again := gone & set(found):
            problems.append(f"bundles {sorted(again)} were removed and are back")
        if forgotten := gone - seen:
            problems.append(f"bundles {sorted(forgotten)} are not remembered")
    return problems


def state(directory: Path, keep: Keep, rng: random.Random) -> None:
    file = StateFile(directory / "state" / "a.state")
    number = (file.load() or {"number": 0})["number"]
    for _ in range(STEPS):
        number += 1
        file.save({"number": number, "more": _payload(number)})
        keep(number)


def check_state(directory: Path, promises: list[Any]) -> list[str]:
    kept = StateFile(directory / "state" / "a.state").load()
    wanted = max(promises, default=0)
    if (kept or {"number": 0})["number"] < wanted:
        return [f"state {wanted} was saved, {kept and kept['number']} is there"]
    if kept is not None and kept["more"] != _payload(kept["number"]):
        return ["the state is not what was saved"]
    return []


def commands(directory: Path, keep: Keep, rng: random.Random) -> None:
    store = CommandStore.open(directory / "command" / "command.sqlite")
    for _ in range(STEPS // 2):
        request = Request(0, "TEST_CONNECTION", {}, "ann", 1, comment="c" * rng.randrange(5_000))
        with store.transaction():
            store.add(request)
            store.note(request.number, 1, "add")
        keep(request.number)


def check_commands(directory: Path, promises: list[Any]) -> list[str]:
    path = directory / "command" / "command.sqlite"
    wanted = max(promises, default=0)
    if not path.exists():
        return [f"no file, request {wanted} was answered"] if wanted else []
    store = CommandStore.open(path)
    try:
        (sound,) = store._db.execute("PRAGMA integrity_check").fetchone()
        found = {one.number for one in store.active()}
        told = {one.request for one in store.history(last=10_000)}
    finally:
        store.close()
    problems = [] if sound == "ok" else [f"integrity: {sound}"]
    if missing := set(range(1, wanted + 1)) - found:
        problems.append(f"requests {sorted(missing)} were answered and are gone")
    if found != told:
        problems.append(f"requests {sorted(found ^ told)} without history, or the reverse")
    return problems


def files(directory: Path, keep: Keep, rng: random.Random) -> None:
    transfers = FileTransfers(directory / "files", now_ns=1, owlt_ns=10**9)
    local = directory / "local"
    for _ in range(STEPS // 4):
        number = rng.randrange(10**9)
        local.write_bytes(_payload(number, 30_000))
        ident = transfers.put(1, local, f"name-{number}")
        keep([ident, number])


def check_files(directory: Path, promises: list[Any]) -> list[str]:
    transfers = FileTransfers(directory / "files", now_ns=1, owlt_ns=10**9)
    try:
        found = {one.id: one for one in transfers.listing()}
    finally:
        transfers.close()
    problems: list[str] = []
    for ident, number in promises:
        held = directory / "files" / "spool" / f"{ident.replace(':', '-')}.send"
        if ident not in found:
            problems.append(f"transfer {ident} was answered and is gone")
        elif not held.is_file() or held.read_bytes() != _payload(number, 30_000):
            problems.append(f"octets of transfer {ident} are not those that were to be sent")
    return problems


def accounts(directory: Path, keep: Keep, rng: random.Random) -> None:
    kept = Accounts.open(directory / "console" / "accounts.sqlite")
    for _ in range(STEPS // 4):
        name = f"p{rng.randrange(10**9)}"
        kept.save_layout(name, "ann", json.dumps({"n": "x" * rng.randrange(3_000)}))
        keep(name)


def check_accounts(directory: Path, promises: list[Any]) -> list[str]:
    path = directory / "console" / "accounts.sqlite"
    if not path.exists():
        return ["no accounts, layouts were saved"] if promises else []
    kept = Accounts.open(path)
    try:
        missing = set(promises) - set(kept.layouts())
    finally:
        kept.close()
    return [f"layouts {sorted(missing)} were saved and are gone"] if missing else []


WRITERS: dict[str, Callable[[Path, Keep, random.Random], None]] = {
    "journal": journal,
    "capture": capture,
    "bundles": bundles,
    "state": state,
    "commands": commands,
    "files": files,
    "accounts": accounts,
}
CHECKS: dict[str, Callable[[Path, list[Any]], list[str]]] = {
    "journal": check_journal,
    "capture": check_capture,
    "bundles": check_bundles,
    "state": check_state,
    "commands": check_commands,
    "files": check_files,
    "accounts": check_accounts,
}


def check(name: str, directory: Path, promises: list[Any]) -> list[str]:
    """Problems, as sentences; a store that cannot be opened is one."""
    try:
        return CHECKS[name](directory, promises)
    except LocalError as error:
        return [f"cannot be opened: {error}"]


class Counter:
    """The number of the last call."""

    def __init__(self, logs: Path) -> None:
        with (logs / "counter").open("rb") as file:
            self._page = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)

    def now(self) -> int:
        return int.from_bytes(self._page[:8], sys.byteorder)


def main() -> None:
    name, directory, promises, seed = sys.argv[1:]
    counter = Counter(Path(os.environ["POWER_LOG"]))
    told = os.open(promises, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def keep(names: Any) -> None:
        os.write(told, (json.dumps([counter.now(), names]) + "\n").encode())

    WRITERS[name](Path(directory), keep, random.Random(seed))


if __name__ == "__main__":
    main()

__all__ = ["CHECKS", "WRITERS", "Counter", "check"]
