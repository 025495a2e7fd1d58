"""Octets are changed on disk: it is noticed, repaired from the capture by one command, and the
auditor agrees.  A backup is what it was made of, or is not restored."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ground.adapters.journal import FileJournal
from ground.adapters.journal_reader import JournalReader
from ground.archive import checksums
from ground.archive import postgres as postgres_engine
from ground.archive.model import Position
from ground.archive.store import ArchiveStore
from ground.command.requests import Request
from ground.command.store import CommandStore
from ground.config import COMMAND, RECEIVE, RunSettings, load_settings
from ground.recovery.audit import audit
from ground.recovery.backup import back_up, check_backup, put_on_server, require_empty, restore
from ground.recovery.promises import Promise
from ground.recovery.repair import repair
from ground.restored import check_whole, read_mark
from protocols.bus.messages import CommandMessage, Event
from protocols.bus.replay import build_record
from protocols.errors import LocalError
from protocols.identifiers import Topic
from protocols.packets.batch import PacketBatch
from tests.ground.recovery.small_run import START_NS, archive_anew, make_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made") / "run"
    make_run(directory)
    return directory


@pytest.fixture
def served(made: Path, tmp_path: Path, postgres: Any) -> RunSettings:
    """The same with its archive on a server."""
    shutil.copytree(made, tmp_path / "run")
    put_on_server(load_settings(tmp_path / "run"), postgres.empty("recovered"))
    return load_settings(tmp_path / "run")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> RunSettings:
    """A copy to be damaged."""
    shutil.copytree(made, tmp_path / "run")
    return load_settings(tmp_path / "run")


def l4(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ground.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def flip(path: Path, at: int, octets: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        found = file.read(octets)
        file.seek(at)
        file.write(bytes(octet ^ 0x55 for octet in found))


def test_what_is_sound_is_found_so(run: RunSettings) -> None:
    found = audit(run)
    assert found.problems == []
    assert found.counts["packets"] == found.counts["archive packets"] > 200
    assert found.counts["events"] == 3
    assert repair(run, check=True).differences == []
    # Nothing was changed or left behind.
    assert {path.name for path in run.run_dir.iterdir()} == {
        *("archive", "capture", "clock.json", "journal", "run.toml"),
    }


def change(run: RunSettings, statement: str) -> None:
    """As octets that change on the disk do: behind the back of whoever writes checksums."""
    connection = sqlite3.connect(run.archive_file)
    assert connection.execute(statement).rowcount > 0
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE packet SET octets = zeroblob(length(octets)) WHERE id = 7",
        "UPDATE packet SET ert_ns = ert_ns + 1 WHERE id = 9",
        "UPDATE tail SET data = CAST(substr(data, 1, length(data) - 1) || x'07' AS BLOB) WHERE id ="
        " (SELECT max(id) FROM tail)",
        "UPDATE tail SET data = CAST(data AS TEXT) WHERE id = (SELECT max(id) FROM tail)",
        "UPDATE event SET text = 'event 9' WHERE id = 2",
    ],
)
def test_a_row_that_is_not_what_was_written_is_noticed_and_repaired(
    run: RunSettings, statement: str
) -> None:
    change(run, statement)
    with ArchiveStore.open(run.archive_file, read_only=True) as store:
        (problem,) = store.integrity().problems
        assert "not what was written" in problem or "cannot be read" in problem
    assert not audit(run).ok
    done = repair(run)
    assert done.replaced
    assert done.differences
    assert audit(run).problems == []
    assert Path(done.kept).is_file()


@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_pages_of_the_database_are_damaged(run: RunSettings, where: float) -> None:
    sqlite3.connect(run.archive_file).execute("PRAGMA wal_checkpoint(TRUNCATE)")
    pages = run.archive_file.stat().st_size // 8192
    flip(run.archive_file, int(pages * where) * 8192, 8192)
    assert repair(run, check=True).differences
    assert repair(run).replaced
    assert audit(run).problems == []


def test_by_commands_as_an_operator_would(run: RunSettings) -> None:
    change(run, "DELETE FROM packet WHERE id = 5")
    checked = l4("archive", "rebuild", run.run_dir, "--check")
    assert checked.returncode == 1, checked.stderr
    assert "1 packets of the capture are missing" in checked.stdout
    repaired = l4("archive", "rebuild", run.run_dir, "--json")
    assert repaired.returncode == 0, repaired.stderr
    assert json.loads(repaired.stdout)["replaced"]
    assert l4("audit", run.run_dir).returncode == 0


def test_the_whole_archive_is_lost_and_its_log_is_of_another(run: RunSettings) -> None:
    run.archive_file.write_bytes(b"")
    run.archive_file.with_name("archive.sqlite-wal").write_bytes(b"\x37\x7f\x06\x82" * 100)
    assert repair(run).replaced
    assert audit(run).problems == []


def test_a_journal_is_damaged_in_its_middle(run: RunSettings) -> None:
    """What it told can be had from the capture; it says what cannot be read, and goes on."""
    directory = run.journal_dir(RECEIVE, Topic.PACKETS)
    segments = sorted(directory.glob("*.journal"))
    assert len(segments) > 2
    flip(segments[1], segments[1].stat().st_size // 2)
    found = audit(run)
    assert any("is damaged" in problem for problem in found.problems)
    done = repair(run, check=True)
    assert any("is damaged" in problem for problem in done.incomplete)
    # Packets and parameters are all there.
    assert [text for text in done.differences if "samples" in text] == []


def test_a_damaged_last_segment_goes_on_under_another_identity(run: RunSettings) -> None:
    """Numbers that were cut off are used again: followers must not take them for known."""
    directory = run.journal_dir(RECEIVE, Topic.PACKETS)
    last = sorted(directory.glob("*.journal"))[-1]
    before = JournalReader(directory)
    count = len(list(before.records()))
    flip(last, 100)
    journal = FileJournal(directory)
    assert journal.next_sequence < count
    assert journal.identity != before.identity
    journal.append([b"new"])
    journal.close()
    after = JournalReader(directory)
    assert [record.payload for record in after.records()][-1] == b"new"
    assert after.problems == []


def test_the_capture_is_damaged(run: RunSettings) -> None:
    path = sorted(run.capture_dir.glob("*.pcapng"))[0]
    flip(path, path.stat().st_size // 2, 3000)
    problems = audit(run).problems
    assert any("chunks" in problem and "missing" in problem for problem in problems)
    # An archive that is sound is not replaced by less than it holds.
    with pytest.raises(LocalError, match="no longer give all"):
        repair(run)


def test_a_promise_that_is_not_kept_is_told(run: RunSettings) -> None:
    found = audit(run, [Promise("request", {"number": 1})])
    assert not found.ok
    with pytest.raises(LocalError, match="are known"):
        Promise("pardon", {})


def test_an_archive_without_checksums_is_taken_over(run: RunSettings) -> None:
    """As the version before wrote it."""
    with ArchiveStore.open(run.archive_file, read_only=True) as store:
        packets = [packet.octets for packet in store.packets()]
    connection = sqlite3.connect(run.archive_file)
    for table in checksums.CHECKED:
        connection.execute(f"ALTER TABLE {table} DROP COLUMN crc")
    connection.execute("UPDATE meta SET value = '2' WHERE key = 'format'")
    connection.commit()
    connection.close()
    with ArchiveStore.open(run.archive_file) as store:
        assert store.integrity().ok
        assert [packet.octets for packet in store.packets()] == packets
        store.append_events(None, [next(iter(store.events()))])
    assert audit(run).problems == []


# On a server -------------------------------------------------------------------------------------


def test_an_archive_on_a_server_is_audited(served: RunSettings) -> None:
    assert not served.archive_file.exists()
    found = audit(served)
    assert found.problems == []
    assert found.counts["packets"] == found.counts["archive packets"] > 200
    assert repair(served, check=True).differences == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE packet SET octets = set_byte(octets, 9, 255 - get_byte(octets, 9)) WHERE id = 7",
        "UPDATE tail SET data = set_byte(data, 40, 255 - get_byte(data, 40))"
        " WHERE id = (SELECT max(id) FROM tail)",
        "DROP TABLE layout_column CASCADE",
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public",
    ],
)
def test_damage_on_a_server_is_repaired(served: RunSettings, postgres: Any, statement: str) -> None:
    postgres.sql(f"{statement};", "recovered")
    if "SCHEMA" in statement:
        with pytest.raises(LocalError, match="has none of its tables"):
            audit(served)
    else:
        assert not audit(served).ok
    done = repair(served)
    assert done.replaced
    assert done.differences
    assert ("schema archive_damaged_" in done.kept) == ("SCHEMA" not in statement)
    assert audit(served).problems == []
    # Whoever writes goes on, with numbers that nobody has yet.
    with ArchiveStore.open(served.archive) as store:
        store.append_events(Position("events", "monitor", "new", 0), [_EVENT])
        assert store.integrity().ok
    assert repair(served, check=True).differences


def test_a_rebuild_waits_for_nobody_who_writes(served: RunSettings, monkeypatch: Any) -> None:
    monkeypatch.setattr(postgres_engine, "BUSY_TIMEOUT_S", 0.1)
    with (
        ArchiveStore.open(served.archive),
        pytest.raises(LocalError, match="another process writes"),
    ):
        repair(served)


def test_a_rebuild_that_waits_for_a_reader_in_vain_changes_nothing(
    served: RunSettings, postgres: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("ground.archive.schema.BUSY_TIMEOUT_S", 0.1)
    with ArchiveStore.open(served.archive, read_only=True) as store:
        walk = store.packets()
        next(walk)
        with pytest.raises(LocalError, match="somebody reads for longer than"):
            repair(served)
        assert sum(1 for _ in walk) > 100
    schemas = postgres.sql("SELECT nspname::text FROM pg_namespace", "recovered")
    assert "l4_rebuilding" not in {name for (name,) in schemas}
    assert repair(served).replaced
    assert audit(served).problems == []


def test_a_server_is_backed_up_while_it_is_written_and_restored_by_one_command(
    served: RunSettings, postgres: Any, tmp_path: Path
) -> None:
    stop = threading.Event()
    written = 0

    def load() -> None:
        nonlocal written
        with ArchiveStore.open(served.archive) as store:
            while not stop.is_set():
                with store.group():
                    store.remember("written", str(written))
                    event = replace(_EVENT, text=f"{written}")
                    store.append_events(Position("load", "test", "j", written), [event])
                written += 1

    writer = threading.Thread(target=load)
    writer.start()
    try:
        while written < 20:
            time.sleep(0.01)
        back_up(served, tmp_path / "backup")
    finally:
        stop.set()
        writer.join()
    copy = load_settings(tmp_path / "backup")
    assert copy.archive == ""
    with ArchiveStore.open(copy.archive_written, read_only=True) as store:
        assert store.integrity().problems == ()
        position = store.position("load", "test")
        assert position is not None
        assert 20 <= position.sequence < written
        assert store.recall("written") == str(position.sequence)
        loaded = [event for event in store.events() if event.name == "LOAD"]
        assert len(loaded) == position.sequence + 1
    with pytest.raises(LocalError, match="there is an archive already"):
        require_empty(served.archive)
    empty = postgres.empty("restored")
    done = l4("restore", tmp_path / "backup", "--run-dir", tmp_path / "again", "--archive", empty)
    assert done.returncode == 0, done.stderr
    again = load_settings(tmp_path / "again")
    assert again.archive == empty
    assert not again.archive_file.exists()
    with ArchiveStore.open(empty) as store:
        assert store.integrity().problems == ()
        assert store.position("load", "test") == position
        assert [event for event in store.events() if event.name == "LOAD"] == loaded
        store.append_events(Position("load", "test", "j", written), [_EVENT])
    # But for what the load put there, it is what the capture gives.
    assert all("events" in text for text in audit(again).problems)


_EVENT = Event(
    "limit", "warning", "LOAD", "one more", scet_ns=START_NS, ert_ns=START_NS, reception_ns=START_NS
)


# Backups -----------------------------------------------------------------------------------------


def test_a_backup_is_restored_as_it_was(run: RunSettings, tmp_path: Path) -> None:
    (run.run_dir / "keys" / "secret").mkdir(parents=True, mode=0o700)
    (run.run_dir / "keys" / "secret" / "link").write_bytes(b"k")
    (run.run_dir / "keys" / "secret" / "link").chmod(0o600)
    made = back_up(run, tmp_path / "backup")
    assert "archive/archive.sqlite" in made.files
    assert audit(load_settings(tmp_path / "backup")).problems == []
    restored = restore(tmp_path / "backup", tmp_path / "again")
    assert restored.files == made.files
    for copy in ("backup", "again"):
        secret = tmp_path / copy / "keys" / "secret"
        assert [oct(p.stat().st_mode & 0o777) for p in (secret, secret / "link")] == [
            "0o700",
            "0o600",
        ]
    assert audit(load_settings(tmp_path / "again")).problems == []
    with pytest.raises(LocalError, match="not empty"):
        restore(tmp_path / "backup", tmp_path / "again")
    with pytest.raises(LocalError, match="not empty"):
        back_up(run, tmp_path / "backup")
    with pytest.raises(LocalError, match="outside"):
        back_up(run, run.run_dir / "backup")


def test_a_database_that_cannot_be_copied_is_named(run: RunSettings, tmp_path: Path) -> None:
    run.console_dir.mkdir(exist_ok=True)
    (run.console_dir / "accounts.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(LocalError, match=r"accounts\.sqlite: file is not a database; .* no backup"):
        back_up(run, tmp_path / "backup")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: flip(path, 50), "has changed"),
        (lambda path: path.unlink(), "is missing"),
    ],
)
def test_a_backup_that_has_changed_is_not_restored(
    run: RunSettings, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    backup = tmp_path / "backup"
    made = back_up(run, backup)
    damage(backup / next(name for name in made.files if name.startswith("capture")))
    with pytest.raises(LocalError, match=said):
        restore(backup, tmp_path / "again")
    assert not (tmp_path / "again").exists()
    (backup / "manifest.json").unlink()
    with pytest.raises(LocalError, match="not finished"):
        check_backup(backup)


def test_half_a_restore_is_seen_and_nothing_starts_in_it(run: RunSettings, tmp_path: Path) -> None:
    backup, again = tmp_path / "backup", tmp_path / "again"
    back_up(run, backup)
    done = l4("run", "--run-dir", backup, "--duration", "1")
    assert (done.returncode, "is a backup" in done.stderr) == (2, True), done
    taken: list[int] = []

    def broken_off(octets: int, name: str) -> None:
        taken.append(octets)
        if len(taken) > len(check.files) + 2:
            raise KeyboardInterrupt

    check = check_backup(backup)
    with pytest.raises(KeyboardInterrupt):
        restore(backup, again, broken_off)
    assert not again.exists()
    done = l4("run", "--run-dir", again, "--duration", "1")
    assert (done.returncode, "restore was broken off" in done.stderr) == (2, True), done
    assert not again.exists()
    restore(backup, again)
    mark = read_mark(again)
    assert mark is not None
    assert mark.begun_s == check.begun_s
    check_whole(again)
    # A second one of the same backup is another.
    restore(backup, tmp_path / "more")
    second = read_mark(tmp_path / "more")
    assert second is not None
    assert second.id != mark.id


def test_one_directory_comes_back(run: RunSettings, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    back_up(run, backup)
    for wrong in ("archive", "../run", ".", "nothing"):
        with pytest.raises(LocalError):
            restore(backup, run.run_dir, only=wrong)
    assert read_mark(run.run_dir) is None
    shutil.move(run.archive_file.parent, tmp_path / "damaged")
    done = l4("restore", backup, "--run-dir", run.run_dir, "--only", "archive")
    assert done.returncode == 0, done.stderr
    assert read_mark(run.run_dir) is not None
    assert not (run.run_dir / "restoring").exists()
    assert audit(run).problems == []


def _one_octet_changed(packets: PacketBatch) -> PacketBatch:
    changed = replace(packets, octets=packets.octets.copy())
    changed.octets[changed.offsets[4] - 9] ^= 1
    return changed


@pytest.mark.parametrize(
    "change",
    [
        lambda packets: packets.select(np.arange(len(packets)) != 4),
        lambda packets: packets.select(np.sort(np.append(np.arange(len(packets)), 4))),
        lambda packets: replace(packets, ert_ns=packets.ert_ns + (np.arange(len(packets)) == 4)),
        _one_octet_changed,
    ],
    ids=["removed", "doubled", "moved", "changed"],
)
def test_an_archive_of_something_else_is_found_though_its_checksums_are_right(
    run: RunSettings, change: Callable[[PacketBatch], PacketBatch]
) -> None:
    archive_anew(run, change)
    with ArchiveStore.open(run.archive_file, read_only=True) as store:
        assert store.integrity().problems == ()
    assert audit(run).problems


def test_events_of_something_else_are_found(run: RunSettings) -> None:
    archive_anew(run, order=lambda events: [replace(one, text="another") for one in events])
    assert audit(run).problems
    archive_anew(run, order=lambda events: [])
    assert audit(run).problems
    archive_anew(run)
    assert audit(run).problems == []


@pytest.mark.parametrize(
    "forge",
    [
        "UPDATE history SET actor = 'eve' WHERE id = 2",
        "UPDATE history SET text = 'no' WHERE id = 2",
        "UPDATE history SET time_ns = time_ns + 1 WHERE id = 2",
        "UPDATE history SET event = 'send' WHERE id = 2",
        "DELETE FROM history WHERE id = 2",
        "DELETE FROM request WHERE number = 1",
        "UPDATE request SET state = 'completed' WHERE number = 2",
        "INSERT INTO history SELECT 3, request, time_ns, actor, event, state, text FROM history "
        "WHERE id = 1",
    ],
)
def test_a_forged_history_of_commands_is_found(run: RunSettings, forge: str) -> None:
    store = CommandStore.open(run.command_file)
    journal = FileJournal(run.journal_dir(COMMAND, Topic.COMMANDS))
    for number in (1, 2, 3):
        with store.transaction():
            store.add(Request(0, "TEST_CONNECTION", {}, "ann", number))
            store.note(number, number, "add", state="queued", actor="ann")
    # Room for one that was never told.
    store._db.execute("UPDATE history SET id = id + 10 WHERE id = 3")
    for entry in store.history():
        told = CommandMessage(
            *(entry.request, "TEST_CONNECTION", entry.state, entry.event, entry.time_ns),
            *(entry.text, entry.actor, entry.id),
        )
        journal.append([build_record(entry.time_ns, told.build())])
    journal.close()
    assert audit(run).problems == []
    store._db.execute(forge)
    store.close()
    promises = [Promise("request", {"number": 1})]
    assert audit(run, promises).problems
