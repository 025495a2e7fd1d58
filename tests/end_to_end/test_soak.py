"""The soak's short form: an hour of the site in seconds.  `make soak`: a day in ten minutes."""

from __future__ import annotations

from pathlib import Path

from tests.long.soak import soak


def test_an_hour_at_load_loses_nothing(tmp_path: Path) -> None:
    result = soak(tmp_path, hours=1, seconds=4, mbit_s=20)
    assert result.problems == []
    assert result.packets > 10_000
