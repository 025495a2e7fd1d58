"""The crash trial's short form: some kills of a whole site, then the audit.  `make trial-crash`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.long.crash import run_round


@pytest.mark.timeout(600)
def test_killed_here_and_there_a_site_keeps_what_it_promised(tmp_path: Path) -> None:
    result = run_round("kill", tmp_path, 5, kills=4, pace_s=0.5, whole=False)
    assert result.problems == []
    assert result.kills == 4
    assert result.answered["request"]
    assert result.answered["bundle"]
    assert result.counts["packets"] > 1000
