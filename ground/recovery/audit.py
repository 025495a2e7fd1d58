"""Proof, from the capture and from the journals, that a run holds what it has promised, each once.

    findings = audit(settings, promises=read_promises(path))
    findings.problems          sentences; empty: all of it is there

The capture is decoded anew by one chain in one go and an archive is made of it beside the one that
is there: these are compared packet by packet and sample by sample.  The run must rest: its services
have ended (or it is a backup).  Nothing in the run is changed.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ground.adapters.bundle_log import BundleLog
from ground.adapters.journal_reader import JournalReader
from ground.adapters.state_file import StateFile
from ground.archive.model import Position
from ground.archive.store import ArchiveStore
from ground.command.requests import State
from ground.config import COMMAND, CONSOLE, MISSION_CENTRE, MONITOR, RELAY, RunSettings
from ground.recovery.capture import Progress
from ground.recovery.promises import KINDS, Promise
from ground.recovery.rebuild import differences, rebuild
from protocols.bus.messages import BundlesMessage, CommandMessage, ParametersMessage, parse
from protocols.bus.pass_list import parse_pass_list
from protocols.bus.replay import parse_record
from protocols.dictionary.l4_reports import EVERYTHING
from protocols.dtn.bundle import Bundle, parse_bundle
from protocols.errors import LocalError, ProtocolError
from protocols.identifiers import Apid, BundleNode, Topic
from protocols.packets.batch import PacketBatch
from protocols.telecommand.verification import Stage

_MOST_TOLD = 10


@dataclass
class Findings:
    """counts: what was looked at, by name; problems: sentences."""

    counts: dict[str, int] = field(default_factory=dict[str, int])
    problems: list[str] = field(default_factory=list[str])
    #: By kind: promises looked for.
    promises: Counter[str] = field(default_factory=Counter[str])

    @property
    def ok(self) -> bool:
        return not self.problems

    def tell(self, texts: Iterable[str]) -> None:
        """Those of one check; the first of them if they are many."""
        found = list(texts)
        self.problems += found[:_MOST_TOLD]
        if len(found) > _MOST_TOLD:
            self.problems.append(f"… {len(found) - _MOST_TOLD} more of the last kind")


def audit(
    settings: RunSettings,
    promises: Iterable[Promise] = (),
    progress: Progress | None = None,
) -> Findings:
    """LocalError: there is no capture, or no archive."""
    findings = Findings()
    asked = list(promises)
    findings.promises = Counter(one.kind for one in asked)
    by_kind = {kind: [one.names for one in asked if one.kind == kind] for kind in KINDS}
    _databases(settings, findings)
    reports = _archive(settings, findings, progress)
    _parameters(settings, findings)
    _commands(settings, findings, by_kind, reports)
    _bundles(settings, findings, by_kind["bundle"])
    _passes(settings, findings, by_kind["pass"])
    _alarms(settings, findings, by_kind["alarm"])
    return findings


# ---------------------------------------------------------------- files as such


def databases(settings: RunSettings) -> list[Path]:
    """SQLite files of a run that are there."""
    found = [
        settings.archive_file,
        settings.command_file,
        settings.files_dir / "transfers.sqlite",
        settings.console_dir / "accounts.sqlite",
        settings.shared_schedule,
    ]
    return [path for path in found if path.is_file()]


def _read_only(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30))


def _databases(settings: RunSettings, findings: Findings) -> None:
    for path in databases(settings):
        try:
            with _read_only(path) as connection:
                rows = connection.execute("PRAGMA integrity_check(20)").fetchall()
                rows += connection.execute("PRAGMA foreign_key_check").fetchall()
            findings.tell(f"{path}: {row[0]}" for row in rows if row[0] != "ok")
        except sqlite3.Error as error:
            findings.problems.append(f"{path}: {error}")
        findings.counts["databases"] = findings.counts.get("databases", 0) + 1


# ---------------------------------------------------------------- packets, parameters, events


def _archive(
    settings: RunSettings, findings: Findings, progress: Progress | None
) -> list[PacketBatch]:
    """The spacecraft's service reports, as the capture gives them."""
    reports: list[PacketBatch] = []

    def seen(packets: PacketBatch) -> None:
        ours = (packets.version == 0) & (packets.apid == Apid.FLIGHT_SOFTWARE)
        if ours.any():
            reports.append(packets.select(ours))

    with tempfile.TemporaryDirectory(prefix="audit-", dir=settings.run_dir) as directory:
        made = Path(directory) / "archive.sqlite"
        with ArchiveStore.open(settings.archive_written, read_only=True) as found:
            up_to: dict[str, Position] = {}
            try:
                findings.tell(f"archive: {text}" for text in found.integrity().problems)
                up_to = {one.topic: one for one in found.positions()}
                findings.counts |= {
                    f"archive {name}": value for name, value in found.counters().items()
                }
            except found.errors as error:
                findings.problems.append(f"archive: cannot be read: {error}")
            result = rebuild(settings, made, up_to=up_to, progress=progress, seen=seen)
            with ArchiveStore.open(made, read_only=True) as wanted:
                findings.tell(differences(found, wanted))
    findings.tell(result.problems)
    findings.counts |= {
        "capture chunks": result.chunks,
        "capture octets": result.octets,
        "packets": result.packets,
        "packets the archive will follow": result.waiting,
        "events": result.events,
    }
    return reports


def _parameters(settings: RunSettings, findings: Findings) -> None:
    """`monitor`'s journal: row after row, each of later messages of `receive` than the one before.

    A journal that was renewed after a loss of power may hold some twice, and says so here.
    """
    reader = JournalReader(settings.journal_dir(MONITOR, Topic.PARAMETERS))
    rows = -1
    last = ("", -1)
    for record in reader.records():
        message = parse(ParametersMessage, parse_record(record.payload)[1])
        if rows not in (-1, message.first_row):
            findings.problems.append(
                f"journal of parameters: record {record.sequence} begins with row "
                f"{message.first_row}, {rows} was next"
            )
        if message.journal == last[0] and message.sequence <= last[1]:
            findings.problems.append(
                f"journal of parameters: record {record.sequence} is of message "
                f"{message.sequence} of receive, which was done"
            )
        rows, last = message.first_row + message.rows, (message.journal, message.sequence)
    findings.counts["parameter rows told"] = max(rows, 0)
    findings.tell(reader.problems)


# ---------------------------------------------------------------- commands


def _commands(
    settings: RunSettings,
    findings: Findings,
    promised: dict[str, list[dict[str, Any]]],
    reports: list[PacketBatch],
) -> None:
    if not settings.command_file.is_file():
        if any(promised[kind] for kind in ("request", "run", "file")):
            findings.problems.append(f"{settings.command_file}: not there")
        return
    with _read_only(settings.command_file) as db:
        requests = {
            number: (state, count)
            for number, state, count in db.execute(
                "SELECT number, state, sequence_count FROM request"
            )
        }
        history = {
            row[0]: row[1:]
            for row in db.execute(
                "SELECT id, request, event, state, time_ns, actor, text FROM history"
            )
        }
        runs = {number for (number,) in db.execute("SELECT number FROM run")}
        radiations = [message for (message,) in db.execute("SELECT message FROM uplink")]
    findings.counts |= {"requests": len(requests), "history": len(history), "runs": len(runs)}
    findings.counts["radiations"] = len(radiations)
    findings.tell(
        f"commands: request {one['number']} was answered and is not there"
        for one in promised["request"]
        if one["number"] not in requests
    )
    findings.tell(
        f"commands: run {one['number']} was answered and is not there"
        for one in promised["run"]
        if one["number"] not in runs
    )
    last: dict[int, str] = {}
    for _id, (request, _event, state, *_) in sorted(history.items()):
        if state:
            last[request] = state
    findings.tell(
        f"commands: request {number} is {state}, its history ends with {last.get(number)}"
        for number, (state, _) in requests.items()
        if last.get(number) != state
    )
    _told_commands(settings, findings, history)
    _executed(findings, requests, reports)
    _files(settings, findings, promised["file"])


def _told_commands(
    settings: RunSettings, findings: Findings, history: dict[int, tuple[Any, ...]]
) -> None:
    """The bus was told each entry of the history, in its order, once, as it is."""
    reader = JournalReader(settings.journal_dir(COMMAND, Topic.COMMANDS))
    told = 0
    never = set(history)
    for record in reader.records():
        message = parse(CommandMessage, parse_record(record.payload)[1])
        if message.id <= told:
            findings.problems.append(f"journal of commands: entry {message.id} is told twice")
        if not told:
            # What was told before has left the journal.
            never = {one for one in history if one >= message.id}
        told = max(told, message.id)
        never.discard(message.id)
        entry = (
            *(message.number, message.event, message.state),
            *(message.time_ns, message.actor, message.text),
        )
        if history.get(message.id) != entry:
            findings.problems.append(
                f"journal of commands: entry {message.id} is not that of the history"
            )
    # What is behind the last one will be told when the service starts.
    findings.tell(
        f"history: entry {one} was never told to the bus" for one in sorted(never) if one < told
    )
    findings.tell(reader.problems)


def _executed(
    findings: Findings, requests: dict[int, tuple[str, int]], packets: list[PacketBatch]
) -> None:
    """By the spacecraft's own reports: no request was accepted more often than it was made, and
    what is said to be completed was reported so."""
    together = PacketBatch.concatenate(packets) if packets else None
    reports = {
        stage: Counter[int]() if together is None else _reported(together, stage)
        for stage in (Stage.ACCEPTANCE, Stage.COMPLETION)
    }
    # 133.0-B: the count is the low 14 bits of the second header word.
    made = Counter(count for _, count in requests.values() if count >= 0)
    findings.counts["accepted on board"] = sum(reports[Stage.ACCEPTANCE].values())
    findings.tell(
        f"commands: the packet with sequence count {count} was accepted on board {times} times, "
        f"{made[count]} were made"
        for count, times in reports[Stage.ACCEPTANCE].items()
        if count in made and times > made[count]
    )
    completed = Counter(count for state, count in requests.values() if state == State.COMPLETED)
    findings.tell(
        f"commands: {times} requests with sequence count {count} are completed, reported were "
        f"{reports[Stage.COMPLETION][count]}"
        for count, times in completed.items()
        if times > reports[Stage.COMPLETION][count]
    )


def _reported(packets: PacketBatch, stage: Stage) -> Counter[int]:
    """Successes of a stage by sequence count; one that was played back, too, is one."""
    table = EVERYTHING.decode(packets).table(f"VERIFY_{stage.name}_SUCCESS")
    if table is None:
        return Counter()
    counts = np.asarray(table.raw["VER_SEQUENCE"])
    found = zip(counts.tolist(), table.scet_ns.tolist(), strict=True)
    return Counter(word & 0x3FFF for word, _ in set(found))


def _files(settings: RunSettings, findings: Findings, promised: list[dict[str, Any]]) -> None:
    path = settings.files_dir / "transfers.sqlite"
    if not path.is_file():
        if promised:
            findings.problems.append(f"{path}: not there")
        return
    import msgpack

    with _read_only(path) as db:
        records = {
            f"{source}:{number}": msgpack.unpackb(body)
            for source, number, body in db.execute("SELECT source, number, body FROM record")
        }
        waiting = {name for (name,) in db.execute("SELECT name FROM delivery")}
    findings.counts["file transfers"] = len(records)
    findings.tell(
        f"files: transfer {one['id']} was answered and is not there"
        for one in promised
        if one["id"] not in records
    )
    for name, record in records.items():
        whole = record["kind"] == "receive" and record["state"] == "complete"
        if not whole or record["condition"] != "no_error" or record["size"] < 0:
            continue
        target = settings.files_dir / "received" / record["dest_name"]
        if not target.is_file() and record["dest_name"] not in waiting:
            findings.problems.append(f"files: {name} is complete, {target} is not there")


# ---------------------------------------------------------------- bundles


def _bundles(settings: RunSettings, findings: Findings, promised: list[dict[str, Any]]) -> None:
    if not settings.relay:
        return
    reader = JournalReader(settings.journal_dir(MISSION_CENTRE, Topic.BUNDLES))
    delivered: Counter[str] = Counter()
    number = 0
    for record in reader.records():
        message = parse(BundlesMessage, parse_record(record.payload)[1])
        if message.first_bundle != number:
            findings.problems.append(
                f"journal of bundles: record {record.sequence} begins with bundle "
                f"{message.first_bundle}, {number} was next"
            )
        number = message.first_bundle + len(message.bundles)
        for one in message.bundles:
            delivered[_identity(parse_bundle(one.octets))] += 1
    findings.tell(reader.problems)
    findings.tell(
        f"bundles: {name} was delivered {times} times"
        for name, times in delivered.items()
        if times > 1
    )
    held: set[str] = set()
    for name in (RELAY, MISSION_CENTRE):
        held |= _held(settings.run_dir / "bundles" / name, findings)
    findings.counts |= {"bundles delivered": len(delivered), "bundles held": len(held)}
    findings.tell(
        f"bundles: that of {one['source']} {one['creation']} was taken, and is neither delivered "
        "nor held"
        for one in promised
        if _named(one["source"], *one["creation"]) not in delivered.keys() | held
    )
    _forgotten(settings, findings, delivered.keys() | held)


def _named(source: str, time_ms: int, sequence: int) -> str:
    return f"{source} {time_ms}.{sequence}"


def _identity(bundle: Bundle) -> str:
    """A fragment's is its own."""
    source, creation, offset, length = bundle.id
    name = _named(str(source), creation.time_ms, creation.sequence)
    return name if offset is None else f"{name} {offset}+{length}"


def _held(store: Path, findings: Findings) -> set[str]:
    """Of a copy: opening a store cuts off what is torn."""
    if not store.is_dir():
        return set()
    with tempfile.TemporaryDirectory(prefix="audit-") as directory:
        copy = Path(directory) / "bundles"
        shutil.copytree(store, copy)
        log = BundleLog(copy, sync=False)
        try:
            if log.damaged:
                findings.problems.append(f"{store}: {log.damaged} octets are damaged")
            return {_identity(parse_bundle(one.octets)) for one in log.recovered()}
        except ProtocolError as error:
            findings.problems.append(f"{store}: {error}")
            return set()
        finally:
            log.close()


def _forgotten(settings: RunSettings, findings: Findings, here: Iterable[str]) -> None:
    """The payload forgets a bundle when it is told that it has arrived; its telemetry counts."""
    with ArchiveStore.open(settings.archive_written, read_only=True) as archive:
        try:
            samples = archive.query("RLY_BUNDLES_FORWARDED")
        except LocalError:
            return
    from_space = sum(not name.startswith(f"ipn:{BundleNode.SITE}.") for name in here)
    if len(samples) and int(samples.values.max()) > from_space:
        findings.problems.append(
            f"bundles: the payload has forgotten {int(samples.values.max())} as arrived, "
            f"{from_space} are delivered or held"
        )


# ---------------------------------------------------------------- passes and alarms


def _passes(settings: RunSettings, findings: Findings, promised: list[dict[str, Any]]) -> None:
    if not settings.pass_list.is_file():
        if promised:
            findings.problems.append(f"{settings.pass_list}: not there")
        return
    try:
        found = parse_pass_list(settings.pass_list.read_bytes())
    except ProtocolError as error:
        findings.problems.append(f"{settings.pass_list}: {error}")
        return
    findings.counts["passes"] = len(found.passes)
    have = {(one.antenna, one.aos_ns, one.los_ns) for one in found.passes}
    newest = max((one["version"] for one in promised), default=0)
    if found.version < newest:
        findings.problems.append(
            f"passes: version {newest} was answered, the list is version {found.version}"
        )
    begin_ns = min((one.aos_ns for one in found.passes), default=0)
    findings.tell(
        f"passes: that over {one['antenna']} from {one['aos_ns']} was published and is gone"
        for one in promised
        # Later ones may take its place, and what is over leaves the list.
        if one["version"] == newest
        and one["los_ns"] > begin_ns
        and (one["antenna"], one["aos_ns"], one["los_ns"]) not in have
    )


def _alarms(settings: RunSettings, findings: Findings, promised: list[dict[str, Any]]) -> None:
    state = StateFile(settings.state_file(CONSOLE)).load() if settings.console else None
    alarms = {} if state is None else state["alarms"]
    findings.counts["alarms"] = len(alarms)
    # Whoever was answered last, or asked after that without being answered.
    last: dict[str, set[str]] = {}
    for one in promised:
        if one.get("perhaps"):
            last.setdefault(one["name"], {""}).add(one["who"])
        else:
            last[one["name"]] = {one["who"]}
    findings.tell(
        f"alarms: {name} was acknowledged by {' or '.join(sorted(who))}; it says {by!r}"
        for name, who in last.items()
        if (by := alarms.get(name, {}).get("acknowledged_by", "")) not in who
    )


__all__ = ["Findings", "audit", "databases"]
