"""The same earliest arrival as networkx on a time-expanded graph and as aiodtnsim's SABR.

`make trial-routes` asks both about 10,000 plans.
"""

from __future__ import annotations

import random

import pytest

from tests.benchmarks.trial_routes import against_aiodtnsim, against_networkx


@pytest.mark.parametrize("seed", range(10))
def test_earliest_arrivals_on_a_time_expanded_graph(seed: int) -> None:
    rng = random.Random(seed)
    asked = [against_networkx(rng) for _ in range(20)]
    # Enough destinations are in reach, and some are not.
    assert sum(found for found, _ in asked) > 20
    assert sum(none for _, none in asked) > 20


@pytest.mark.parametrize("seed", range(5))
def test_earliest_arrivals_of_aiodtnsim(seed: int) -> None:
    rng = random.Random(seed)
    asked = [against_aiodtnsim(rng) for _ in range(20)]
    assert sum(found for found, _ in asked) > 20
    assert sum(none for _, none in asked) > 20
