"""What every `Journal` adapter does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ground.adapters.journal import FileJournal
from ground.ports import Journal

Open = Callable[[], Journal]


@pytest.fixture(params=["file", "file in small segments"])
def open_journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same journal again and again; the one before is closed."""
    opened: list[Journal] = []
    segment_octets = 200 if "small" in request.param else 1 << 20

    def again() -> Journal:
        if opened:
            opened.pop().close()
        journal = FileJournal(tmp_path / "journal", segment_octets=segment_octets)
        opened.append(journal)
        return journal

    yield again
    if opened:
        opened.pop().close()


def contents(journal: Journal, sequence: int = 0) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    while sequence < journal.next_sequence:
        for record in journal.read(sequence, max_octets=50):
            found.append((record.sequence, record.payload))
        sequence = found[-1][0] + 1
    return found


def test_a_new_journal_is_empty_and_has_an_identity(open_journal: Open) -> None:
    journal = open_journal()
    assert journal.identity
    assert (journal.first_sequence, journal.next_sequence) == (0, 0)
    assert list(journal.read(0, max_octets=100)) == []


def test_records_are_numbered_from_zero_and_survive_reopening(open_journal: Open) -> None:
    journal = open_journal()
    identity = journal.identity
    assert journal.append([b"a", b"", b"ccc"]) == 0
    assert journal.append([b"d"], sync=True) == 3
    assert journal.append([]) == 4
    for again in (journal, open_journal()):
        assert again.identity == identity
        assert contents(again) == [(0, b"a"), (1, b""), (2, b"ccc"), (3, b"d")]
    assert open_journal().append([b"e"]) == 4


def test_reading_begins_anywhere_and_keeps_to_its_budget(open_journal: Open) -> None:
    journal = open_journal()
    journal.append([bytes([i]) * 40 for i in range(30)])
    for start in range(31):
        records = list(journal.read(start, max_octets=100))
        assert [record.sequence for record in records] == list(range(start, min(start + 2, 30)))
    assert len(list(journal.read(3, max_octets=0))) == 1


def test_appending_does_not_disturb_a_reader(open_journal: Open) -> None:
    journal = open_journal()
    journal.append([bytes([i]) * 40 for i in range(10)])
    seen: list[int] = []
    for record in journal.read(0, max_octets=10_000):
        seen.append(record.sequence)
        assert record.payload == bytes([record.sequence]) * 40
        if journal.next_sequence < 30:
            journal.append([bytes([journal.next_sequence]) * 40])
    assert seen == list(range(len(seen)))
    assert len(seen) >= 10


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(st.binary(max_size=80), max_size=4), max_size=8), st.data())
def test_what_was_appended_is_read_whatever_the_batches_and_reopenings(
    open_journal: Open, batches: list[list[bytes]], data: st.DataObject
) -> None:
    journal = open_journal()
    start = journal.next_sequence
    written: list[bytes] = []
    for batch in batches:
        assert journal.append(batch) == start + len(written)
        written += batch
        if data.draw(st.booleans()):
            journal = open_journal()
    assert contents(journal, start) == list(enumerate(written, start))
