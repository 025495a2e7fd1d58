"""The command service is lost and comes back from a backup, while the spacecraft has gone on.

Real spacecraft, link security and COP-1 (see `world`); the backup is a copy of the service's files.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ground.command.resync import Phase
from ground.command.store import CommandStore
from ground.restored import SPARE, Restored
from protocols.dictionary.l4_link import FILE_SECURITY, TC_MANAGEMENT_SECURITY, TC_SECURITY
from protocols.errors import LocalError
from tests.ground.command.test_engine import begun
from tests.ground.command.test_security import manage
from tests.ground.command.world import World


class Lost:
    """A world whose ground is backed up and restored."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.restores = 0
        self.world = begun(World(store=directory / "command.sqlite", files=directory / "files"))

    def back_up(self) -> None:
        with (
            closing(sqlite3.connect(self.directory / "command.sqlite")) as source,
            closing(sqlite3.connect(self.directory / "backup.sqlite")) as copy,
        ):
            source.backup(copy)
        shutil.copytree(self.directory / "files", self.directory / "files.backup")

    def lose_and_restore(self, *, elapsed_s: int = 3_600) -> None:
        world = self.world
        world.engine.store.close()
        assert world.transfers is not None
        world.transfers.close()
        self.restores += 1
        name = f"restored-{self.restores}"
        world.path = self.directory / f"{name}.sqlite"
        world.files = self.directory / name
        shutil.copy(self.directory / "backup.sqlite", world.path)
        shutil.copytree(self.directory / "files.backup", world.files)
        world.engine = world.start()
        mark = Restored(name, "backup", 1_000, 1_000 + elapsed_s)
        world.engine.restored(world.now_ns, mark, name)

    def in_step(self, limit_s: float = 30_000) -> None:
        self.world.until(lambda: self.world.engine.resync.in_step, limit_s)

    def done(self, *numbers: int) -> None:
        ended = ("completed", "failed", "held")
        self.world.until(lambda: all(self.world.state(n) in ended for n in numbers), 6_000)
        shown = [self.world.ask("show", number=n) for n in numbers]
        assert [one["state"] for one in shown] == ["completed"] * len(numbers), shown

    def refusals(self) -> Counter[str]:
        return self.world.spacecraft.software.receiver.statistics.refusals


@pytest.fixture
def lost(tmp_path: Path) -> Iterator[Lost]:
    made = Lost(tmp_path)
    yield made
    made.world.engine.store.close()
    assert made.world.transfers is not None
    made.world.transfers.close()


def test_what_was_sent_before_and_after_a_restore_is_executed_once(lost: Lost) -> None:
    world = lost.world
    before = [world.command("TEST_CONNECTION") for _ in range(3)]
    lost.done(*before)
    queued = world.ask("add", command="TEST_CONNECTION", arguments={})["number"]
    waiting = world.command("TRANSPONDER_COHERENT", SWITCH="ON")
    armed = world.ask("add", command="TEST_CONNECTION", arguments={})["number"]
    world.ask("arm", number=armed)
    lost.back_up()
    # What the backup does not know: requests, procedures of link security, the BD service.
    world.ask("arm", number=queued)
    world.ask("send", number=queued)
    after = [world.command("TEST_CONNECTION") for _ in range(20)]
    lost.done(queued, waiting, *after)
    manage(world, "read_number", 1)
    expedited = world.command("TEST_CONNECTION", expedited=True)
    lost.done(expedited)
    used_counts = {world.ask("show", number=n)["sequence_count"] for n in (*before, *after)}
    executed = Counter(world.executed)
    assert set(executed.values()) == {1}

    lost.lose_and_restore()
    assert world.engine.resync.phase is Phase.WAITING
    assert "not in step" in world.ask("status")["restored"]
    assert world.ask("show", number=waiting)["state"] == "held"
    assert world.ask("show", number=armed)["state"] == "queued"
    assert "may have been sent since" in world.ask("show", number=queued)["reason"]
    # Sent by an operator while it is not in step: waits, and says why.
    new = world.command("TEST_CONNECTION")
    assert new > max(after) + SPARE
    assert "not in step" in world.ask("show", number=new)["violations"][0]
    world.run(600)
    assert world.state(new) == "waiting"
    assert Counter(world.executed) == executed
    world.kill()
    lost.in_step()
    assert world.ask("status")["restored"] == ""
    # It rests on what its sender sent before, which a person has to look at.
    assert f"request {waiting}" in world.ask("show", number=new)["violations"][0]
    world.ask("remove", number=waiting)
    more = [world.command("TEST_CONNECTION") for _ in range(5)]
    more.append(world.command("TEST_CONNECTION", expedited=True))
    lost.done(new, *more)
    assert lost.refusals() == Counter()
    assert world.spacecraft.software.receiver.statistics.discarded == 0
    assert set(Counter(world.executed).values()) == {1}
    counts = {world.ask("show", number=n)["sequence_count"] for n in (new, *more)}
    assert not counts & used_counts
    texts = " ".join(one["text"] for one in world.ask("history", last=1_000))
    assert "in step with the spacecraft again" in texts
    # The procedure was known to the restored ground by nothing but its number on board.
    ends = world.engine._link.security.endpoint, world.spacecraft.software.receiver.security
    for spi in (TC_SECURITY.spi, TC_MANAGEMENT_SECURITY.spi):
        ground, board = (one.association(spi).number for one in ends)
        assert ground == board


def test_restored_again_it_is_in_step_again(lost: Lost) -> None:
    world = lost.world
    lost.back_up()
    numbers: list[int] = []
    for elapsed_s in (60, 4_000, 90_000):
        lost.lose_and_restore(elapsed_s=elapsed_s)
        lost.in_step()
        first, second = world.command("TEST_CONNECTION"), world.command("TEST_CONNECTION")
        lost.done(first, second)
        numbers += [first, second]
    assert len(set(numbers)) == 6
    assert set(Counter(world.executed).values()) == {1}
    # Of the second restore, whose guess the first had used up, perhaps; never of commands.
    assert world.spacecraft.software.receiver.statistics.discarded == 0


def test_more_procedures_were_lost_than_were_thought(lost: Lost) -> None:
    """The number on board is beyond the first guess: frame security reports say so."""
    world = lost.world
    lost.back_up()
    board = world.spacecraft.software.receiver.security
    board.association(TC_MANAGEMENT_SECURITY.spi).number += 1_500
    lost.lose_and_restore()
    lost.in_step(60_000)
    lost.done(world.command("TEST_CONNECTION"))
    assert lost.refusals()["sequence number not above the last one"] > 0


def test_who_cannot_be_asked_is_left_to_a_person(lost: Lost) -> None:
    """The management key is another: nothing is executed until a person says that all is well."""
    world = lost.world
    lost.back_up()
    board = world.spacecraft.software.receiver.security
    board.stop(TC_MANAGEMENT_SECURITY.spi)
    lost.lose_and_restore()
    with pytest.raises(LocalError, match="goes on by itself"):
        world.ask("link", directive="resync")
    world.until(lambda: world.engine.resync.phase is Phase.BY_HAND, 60_000)
    number = world.command("TEST_CONNECTION")
    world.run(1_200)
    assert world.state(number) == "waiting"
    assert "NOT in step" in world.ask("status")["restored"]
    board.start(TC_MANAGEMENT_SECURITY.spi)
    world.ask("link", directive="resync")
    lost.in_step()
    lost.done(number)
    with pytest.raises(LocalError, match="in step; this is for after"):
        world.ask("link", directive="in-step")


def test_files_are_sent_once_under_numbers_of_their_own(lost: Lost, tmp_path: Path) -> None:
    world = lost.world
    (tmp_path / "a.bin").write_bytes(bytes(3_000))

    def put(name: str) -> dict[str, Any]:
        return world.ask("file-put", path=str(tmp_path / "a.bin"), name=name)

    def ended(one: dict[str, Any]) -> bool:
        found = {line["id"]: line for line in world.ask("file-list")}
        return found[one["id"]]["state"] == "complete"

    first = put("first.bin")
    world.until(lambda: ended(first))
    going = put("going.bin")
    lost.back_up()
    world.until(lambda: ended(going))
    after = put("after.bin")
    world.until(lambda: ended(after))
    lost.lose_and_restore()
    lines = {one["id"]: one for one in world.ask("file-list")}
    assert after["id"] not in lines
    assert lines[going["id"]]["suspended"]
    lost.in_step()
    new = put("new.bin")
    assert new["id"] not in (first["id"], going["id"], after["id"])
    world.until(lambda: ended(new))
    world.ask("file-resume", id=going["id"])
    world.until(lambda: ended(going), 20_000)
    assert lost.refusals() == Counter()
    association = world.spacecraft.software.receiver._file_security.association(FILE_SECURITY.spi)
    assert association.number > FILE_SECURITY.window  # type: ignore[operator]


def test_numbers_that_were_skipped_stay_so(tmp_path: Path) -> None:
    store = CommandStore.open(tmp_path / "command.sqlite")
    store.skip(5_000, 1, "restored")
    assert store.add_run("a", "ann", {}) == store.next_uplink() == 5_001
    store.close()
    store = CommandStore.open(tmp_path / "command.sqlite")
    assert store.add_run("b", "ann", {}) == 5_002
    assert store.history()[-1].id == 5_001
    store.close()
