"""The short form of `make trial-relay-kill`."""

from __future__ import annotations

from pathlib import Path

from tests.long.relay_kill import trial


def test_no_promised_bundle_is_lost_and_none_comes_twice(tmp_path: Path) -> None:
    result = trial(tmp_path, kills=8, seed=7, pace_s=0.6)
    assert len(result.promised) > 20
    assert result.lost == set()
    assert result.doubled == set()
    assert result.invented == set()
