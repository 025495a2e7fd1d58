"""The power goes while a store is written: what was promised is there (`make trial-power`)."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.long.power import Trial, build_recorder, record


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    return build_recorder(tmp_path)


def crashed(trial: Trial, directory: Path, times: int) -> list[str]:
    rng = random.Random(5)
    for _ in range(times):
        trial.crash(rng, directory)
    return trial.problems


@pytest.mark.program("cc")
@pytest.mark.skipif("sys.platform != 'linux'", reason="system calls of Linux are recorded")
@pytest.mark.parametrize("name", ["journal", "capture", "bundles"])
def test_what_was_promised_before_the_power_went_is_there(
    name: str, tmp_path: Path, recorder: Path
) -> None:
    trial = record(name, tmp_path / name, recorder, seed=4, processes=2)
    assert len(trial.promises) > 10
    assert crashed(trial, tmp_path, 60) == []
    # Had nobody waited for the disk, it would be found.
    trial.recording.forget_syncs()
    assert len(crashed(trial, tmp_path, 20)) > 5
