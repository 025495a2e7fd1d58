"""Spans against sets of octets."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from protocols.files.spans import Spans, add, gaps, remove, total

_SIZE = 60
_steps = st.lists(
    st.tuples(st.booleans(), st.integers(0, _SIZE), st.integers(0, _SIZE)), max_size=40
)


@given(_steps)
def test_as_sets(steps: list[tuple[bool, int, int]]) -> None:
    spans: Spans = []
    octets: set[int] = set()
    for adds, start, end in steps:
        these = set(range(start, end))
        if adds:
            add(spans, start, end)
            octets |= these
        else:
            assert remove(spans, start, end) == bool(octets & these)
            octets -= these
        assert all(start < end for start, end in spans)
        assert all(one[1] < other[0] for one, other in pairwise(spans)), spans
        assert {at for start, end in spans for at in range(start, end)} == octets
        assert total(spans) == len(octets)
        missing = {at for start, end in gaps(spans, _SIZE) for at in range(start, end)}
        assert missing == set(range(_SIZE)) - octets
