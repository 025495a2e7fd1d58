"""Data of earlier versions is opened and made today's; that of later ones is refused, by name."""

from __future__ import annotations

import hashlib
import sqlite3
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ground.adapters.journal import FileJournal
from ground.adapters.state_file import StateFile
from ground.archive.store import ArchiveStore
from ground.command.store import CommandStore
from ground.console.accounts import Accounts
from ground.receive.capture import CaptureReader, CaptureWriter
from ground.receive.chain import ReceiveChain
from ground.receive.profile import load_profile
from ground.scheduling.store import ScheduleStore
from protocols.bus.envelope import ENVELOPE_VERSION, Envelope, build_envelope, parse_envelope
from protocols.bus.fields import pack_map
from protocols.errors import LocalError, RemoteError

CAPTURES = Path(__file__).parents[1] / "captures"
T0 = 2_170_000_000 * 10**9


@pytest.fixture
def old(tmp_path: Path) -> Path:
    told = tomllib.loads((CAPTURES / "formats.toml").read_text())
    file = CAPTURES / told["file"]
    assert hashlib.sha256(file.read_bytes()).hexdigest() == told["sha256"]
    with tarfile.open(file) as tar:
        # Python 3.11 knows filters since 3.11.4.
        tar.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return tmp_path


def numbers() -> tuple[list[int], list[float]]:
    """SCET and VALUE as the old archives were given them, in order."""
    scet, values = [], []
    for number in range(40):
        n = 1 + number * 7 % 40
        scet += (T0 + (number * 40 + np.arange(n)) * 10**9 - (number % 3 == 0) * 10**12).tolist()
        values += (number * 40 + np.arange(n) * 0.5).tolist()
    order = np.argsort(scet, kind="stable")
    return np.array(scet)[order].tolist(), np.array(values)[order].tolist()


@pytest.mark.parametrize("version", [1, 2])
def test_archives_of_every_format(old: Path, version: int):
    path = old / f"archive-{version}.sqlite"
    if version == 1:
        with pytest.raises(LocalError, match="format 1; it becomes one of format 3 when"):
            ArchiveStore.open(path, read_only=True)
    for _ in range(2):
        with ArchiveStore.open(path) as store:
            assert store.integrity().problems == ()
            found = store.query("VALUE")
            assert (found.scet_ns.tolist(), found.values.tolist()) == numbers()
            assert store.query("SLOW").values.tolist() == (np.arange(9_000) // 100).tolist()
            assert store.counters()["packets"] == sum(1 for _ in store.packets()) == 1_420
            assert [event.name for event in store.events()] == ["BUS_V"]
            position = store.position("packets", "receive")
            assert position is not None
            assert (position.journal, position.sequence) == ("j", 40)
    # It goes on as one that was made today.
    with sqlite3.connect(path) as db:
        kept = [row[0] for row in db.execute("SELECT sql FROM sqlite_master WHERE sql != ''")]
    db.close()
    with ArchiveStore.open(old / "new.sqlite"):
        pass
    with sqlite3.connect(old / "new.sqlite") as db:
        made = [row[0] for row in db.execute("SELECT sql FROM sqlite_master WHERE sql != ''")]
    db.close()
    assert _columns(kept) == _columns(made)


def _columns(statements: list[str]) -> dict[str, set[str]]:
    """Table or index → the names of its columns, wherever they stand."""
    db = sqlite3.connect(":memory:")
    for statement in sorted(statements, key=lambda text: "TABLE" not in text.split("(")[0]):
        if not statement.startswith("CREATE TABLE sqlite_"):
            db.execute(statement)
    names = [row[0] for row in db.execute("SELECT name FROM sqlite_master")]
    found = {n: {row[1] for row in db.execute(f"PRAGMA table_info({n})")} for n in names}
    db.close()
    return found


def test_commands_from_before_procedures(old: Path):
    for _ in range(2):
        store = CommandStore.open(old / "commands-1.sqlite")
        first, second = store.request(1), store.request(2)
        assert (first.command, first.actor, first.sequence_count) == ("TEST_CONNECTION", "kim", 7)
        assert (second.arguments, second.comment) == ({"STRUCTURES": [7]}, "with a comment")
        assert store.reply("key-1") == {"number": 1}
        assert store.state("link") == {"a": 1}
        with store.transaction():
            store.add_run("P", "kim", {})
            store.save(second)
        store.close()


def test_everything_else_of_the_version_before(old: Path):
    run = old / "run"
    with CaptureWriter(run / "capture", link="downlink") as writer:
        assert writer.resume == {"run": 29}
    octets = b"".join(one.chunk.octets for one in CaptureReader(run / "capture").read())
    golden = (CAPTURES / "l4_relay_nominal_aos.cadu").read_bytes()[:60_000]
    assert octets == golden
    journal = FileJournal(run / "journal")
    records = [record.payload for record in journal.read(0, max_octets=1 << 20)]
    assert records == [b"one", b"two" * 100, b"three"]
    journal.close()
    accounts = Accounts.open(run / "accounts.sqlite")
    assert accounts.sign_in("kim", "an old password", 1_000_000_000, "127.0.0.1")
    accounts.close()
    with ScheduleStore.open(run / "schedule.sqlite") as schedules:
        assert schedules.branches() == {}
    # A snapshot is no data: what cannot be taken up is decoded again, from the capture.
    state = StateFile(run / "receive.state").load()
    assert state is not None
    chain = ReceiveChain(load_profile("l4_relay"))
    with pytest.raises(LocalError, match="of another link profile, input or version"):
        chain.restore(state["chain"] | {"version": 2})


@pytest.mark.parametrize(
    ("name", "open_it"),
    [
        ("commands", CommandStore.open),
        ("accounts", Accounts.open),
        ("schedules", ScheduleStore.open),
        ("archive", ArchiveStore.open),
    ],
)
def test_what_a_newer_version_wrote_is_refused(
    name: str, open_it: Callable[[Path], object], tmp_path: Path
):
    path = tmp_path / "new.sqlite"
    open_it(path).close()  # type: ignore[attr-defined]
    with sqlite3.connect(path) as db:
        if name == "archive":
            db.execute("UPDATE meta SET value = '99' WHERE key = 'format'")
        else:
            db.execute("PRAGMA user_version = 99")
    db.close()
    for _ in range(2):
        with pytest.raises(LocalError, match=rf"{name} of format 99, written by a newer version"):
            open_it(path)


def test_messages_of_another_version_are_refused_and_more_fields_are_not():
    parts = build_envelope(Envelope("packets", "receive", "j", 1, 2, b"body"))
    assert parse_envelope(parts).sequence == 1
    known = {"v": ENVELOPE_VERSION, "src": "receive", "jid": "j", "seq": 1, "t": 2}
    assert parse_envelope([parts[0], pack_map(known | {"new": 7}), b"body"]).sequence == 1
    other = pack_map(known | {"v": ENVELOPE_VERSION + 1})
    with pytest.raises(RemoteError, match=rf"version {ENVELOPE_VERSION + 1}, {ENVELOPE_VERSION} w"):
        parse_envelope([parts[0], other, b"body"])
