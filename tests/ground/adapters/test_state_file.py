"""A snapshot is the old one, the new one, or none: never half of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ground.adapters.state_file import StateFile

STATE = {"numbers": {1: [2, 3]}, "octets": b"\0\1", "text": "ü", "nothing": None}


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    store = StateFile(tmp_path / "state" / "x.state")
    assert store.load() is None
    store.save(STATE)
    store.save(STATE | {"text": "new"})
    assert StateFile(tmp_path / "state" / "x.state").load() == STATE | {"text": "new"}


def test_cut_or_changed_anywhere_it_is_no_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "x.state"
    store = StateFile(path)
    store.save(STATE)
    octets = path.read_bytes()
    for at in range(len(octets)):
        path.write_bytes(octets[:at])
        assert store.load() is None
        path.write_bytes(octets[:at] + bytes([octets[at] ^ 0x10]) + octets[at + 1 :])
        assert store.load() is None


def test_saved_in_passing_the_last_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.state"
    store = StateFile(path)
    state: dict[str, object] = {}
    for number in range(20):
        state["number"] = number
        store.save(state, wait=False)
    # What changes behind the call is not in the snapshot.
    state["number"] = -1
    assert store.load() == {"number": 19}
    assert StateFile(path).load() == {"number": 19}


def test_a_full_disk_is_told_at_the_next_call(tmp_path: Path) -> None:
    path = tmp_path / "state" / "x.state"
    store = StateFile(path)
    path.parent.rmdir()
    store.save(STATE, wait=False)
    with pytest.raises(OSError, match=r"x\.state\.new"):
        store.save(STATE, wait=False)
    path.parent.mkdir()
    store.save(STATE)
    assert store.load() == STATE
