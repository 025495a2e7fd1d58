"""The ground's files: its directory across kills, its list, and the way through the spacecraft."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from ground.command.files import FileTransfers
from ground.command.files_store import FileStore
from protocols.dictionary.l4_link import FILE_PACKET_OCTETS
from protocols.errors import LocalError
from protocols.files.records import Kind, Record, State
from tests.long.cfdp import frames, processes
from tests.long.cfdp_processes import SpaceFiles
from tests.protocols.files.air import OWLT_NS, Air

KEY = (20, 7)


class Site(Air):
    """Both ends on disk, in this process."""

    def __init__(self, directory: Path, **options: object) -> None:
        self.made: list[FileTransfers | SpaceFiles] = []
        super().__init__(
            [
                lambda now_ns: FileTransfers(directory / "g", now_ns=now_ns, owlt_ns=OWLT_NS),
                lambda now_ns: SpaceFiles(directory / "s", now_ns=now_ns, owlt_ns=OWLT_NS),
            ],
            **options,  # type: ignore[arg-type]
        )

    @property
    def ground(self) -> FileTransfers:
        return self.ends[0]  # type: ignore[return-value]

    @property
    def space(self) -> SpaceFiles:
        return self.ends[1]  # type: ignore[return-value]

    def close(self) -> None:
        self.ground.close()
        self.space._store.close()


def test_both_ends_are_killed_again_and_again(tmp_path: Path) -> None:
    outcome = processes(tmp_path, 50_000, 1, kill=0.05, loss=0.1)
    assert outcome.kills >= 3


def test_through_tc_and_aos_frames(tmp_path: Path) -> None:
    outcome = frames(tmp_path, 20_000, 1, bit_s=8_000, loss=0.1, restarts=2)
    assert outcome.kills == 2


def test_packets_fit_a_frame(tmp_path: Path) -> None:
    site = Site(tmp_path)
    (tmp_path / "data").write_bytes(bytes(100_000))
    site.ground.put(0, tmp_path / "data", "data")
    packets = site.ground.take(0, 50_000)
    assert max(map(len, packets)) == FILE_PACKET_OCTETS
    assert 50_000 - FILE_PACKET_OCTETS < sum(map(len, packets)) <= 50_000
    site.close()


def test_what_the_list_says(tmp_path: Path) -> None:
    site = Site(tmp_path, octets_s=300)
    data = random.Random(1).randbytes(9_000)
    (tmp_path / "data").write_bytes(data)
    (tmp_path / "s" / "received").mkdir(parents=True, exist_ok=True)
    put = site.ground.put(0, tmp_path / "data", "in/data", class_=1)
    get = site.ground.get(0, "no/such", "x")
    site.turn()
    asked, sent = site.ground.listing()
    assert (asked.id, asked.what, asked.state, asked.ground_name) == (get, "get", "active", "x")
    assert (sent.id, sent.what, sent.space_name, sent.size) == (put, "put", "in/data", 9_000)
    assert 0 < sent.progress < 9_000
    assert sent.plain()["class"] == 1
    assert site.run(lambda: {one.state for one in site.ground.listing()} == {"failed", "complete"})
    asked, sent = site.ground.listing()
    assert (asked.state, asked.condition, asked.path) == ("failed", "filestore_rejection", "")
    assert (sent.state, sent.progress, sent.condition) == ("complete", 9_000, "no_error")
    with pytest.raises(LocalError, match="is complete"):
        site.ground.cancel(site.now_ns, put)
    with pytest.raises(LocalError, match=r"'7': ENTITY:NUMBER wanted"):
        site.ground.cancel(site.now_ns, "7")
    site.close()


def test_a_file_of_the_spacecraft_s_own(tmp_path: Path) -> None:
    site = Site(tmp_path)
    (tmp_path / "alert").write_bytes(b"proton event")
    site.space.put(0, tmp_path / "alert", "alerts/1.txt")
    assert site.run(lambda: [one.state for one in site.ground.listing()] == ["complete"])
    (line,) = site.ground.listing()
    assert line.what == "receive"
    assert Path(line.path).read_bytes() == b"proton event"
    site.close()


def test_a_get_is_cancelled_by_what_it_brings(tmp_path: Path) -> None:
    site = Site(tmp_path, octets_s=200)
    (tmp_path / "s" / "received").mkdir(parents=True, exist_ok=True)
    big = tmp_path / "s" / "big"
    big.write_bytes(bytes(100_000))
    get = site.ground.get(0, os.fspath(big)[1:], "big")
    site.close()
    # The spacecraft's names here are paths of this machine; the test runs where they are found.
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir("/")
        site = Site(tmp_path, octets_s=200)
        assert site.run(
            lambda: site.ground.listing()[0].progress > 0 and site.ground.listing()[0].size > 0
        )
        site.ground.suspend(site.now_ns, get)
        assert site.ground.listing()[0].suspended
        site.ground.resume(site.now_ns, get)
        site.ground.cancel(site.now_ns, get)
        assert site.run(lambda: site.ground.listing()[0].state == "cancelled")
        assert site.run(lambda: "cancelled" in site.space.states())
        site.close()
    assert list((tmp_path / "g" / "spool").iterdir()) == []


# FileStore ---------------------------------------------------------------------------------------


def record(state: State = State.ACTIVE) -> Record:
    return Record(*KEY, Kind.RECEIVE, 20, 2, 0, state, messages=(b"x",), origin=(1, 2))


def test_what_is_not_committed_is_not_there(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.save(record())
    store.write(KEY, 100, b"abc")
    store.commit()
    store.write(KEY, 200, b"defg")
    store.deliver(KEY, "name")
    store.close()
    again = FileStore(tmp_path)
    assert again.records() == [record()]
    assert again.spans(KEY) == [(100, 103)]
    assert list(again.received.iterdir()) == []
    assert b"".join(again.octets(KEY, 103)) == bytes(100) + b"abc"
    again.close()


def test_numbers_are_never_used_again(tmp_path: Path) -> None:
    numbers = []
    for _ in range(3):
        store = FileStore(tmp_path)
        numbers += [store.next_number(), store.next_number()]
        store.close()
    assert numbers == [1, 2, 3, 4, 5, 6]


def test_killed_between_commit_and_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(tmp_path)
    store.save(record(State.FINISHING))
    store.write(KEY, 0, b"whole")
    store.deliver(KEY, "logs/today")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", _killed)
        with pytest.raises(KeyboardInterrupt):
            store.commit()
    store.close()
    again = FileStore(tmp_path)
    assert (again.received / "logs" / "today").read_bytes() == b"whole"
    assert again.spans(KEY) == []
    again.close()


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_empty_file_is_delivered(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.deliver(KEY, "empty")
    store.commit()
    assert (store.received / "empty").read_bytes() == b""
    store.close()


def test_the_spool_is_swept(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.save(record(State.COMPLETE))
    (tmp_path / "file").write_bytes(b"abc")
    store.hold(KEY, str(tmp_path / "file"))
    store.commit()
    store.close()
    FileStore(tmp_path).close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_names_and_room(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    (store.received / "directory").mkdir()
    (store.received / "file").write_bytes(b"")
    assert "'..' parts" in store.accept(KEY, "../x", 1)
    assert "a directory" in store.accept(KEY, "directory", 1)
    assert "is a file" in store.accept(KEY, "file/x", 1)
    assert "octets" in store.accept(KEY, "x", 1 << 40)
    assert store.accept(KEY, "x", 1) == ""
    with pytest.raises(PermissionError):
        store.write(KEY, 1 << 40, b"x")
    with pytest.raises(LocalError, match="no such file"):
        store.hold(KEY, str(tmp_path / "none"))
    store.close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    with pytest.raises(LocalError, match="another process"):
        FileStore(tmp_path)
    store.close()


def test_octets_of_a_part_that_is_gone_are_not_believed(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.save(record(State.ACTIVE))
    store.write(KEY, 0, b"abc")
    store.commit()
    store.close()
    (tmp_path / "spool" / f"{KEY[0]}-{KEY[1]}.part").unlink()
    store = FileStore(tmp_path)
    assert store.spans(KEY) == []
    store.close()
