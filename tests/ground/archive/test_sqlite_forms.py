"""The SQLite store's own forms (tail generations, segments, roll-ups, compaction), made small so
that random batches pass through all of them, against NumPy brute force."""

from __future__ import annotations

import math
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ground.archive import rollup, segments
from ground.archive.columns import (
    decode_times,
    decode_values,
    encode_times,
    encode_values,
)
from ground.archive.model import Samples, TableColumns
from ground.archive.store import ArchiveStore
from protocols.errors import LocalError
from protocols.packets.batch import PacketBatch

S = 1_000_000_000
T0 = 2_170_000_000 * S


def put(store: ArchiveStore, scet: np.ndarray, columns: dict, valid: dict | None = None) -> None:
    store.append(
        None,
        PacketBatch.empty(),
        stream="s",
        scet_ns=np.empty(0, np.int64),
        reception_ns=5,
        tables=[TableColumns("P", None, scet, columns, valid or {}, ert_ns=scet + 499 * S)],
    )


def count(path: Path, statement: str) -> int:
    with sqlite3.connect(path) as connection:
        found = connection.execute(statement).fetchone()[0]
    connection.close()
    return found


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.one_of(st.integers(1, 6), st.integers(1, 300)), min_size=1, max_size=60),
    span_s=st.sampled_from([2, 300, 40_000, 5_000_000]),
    late=st.floats(0, 1),
    before_epoch=st.booleans(),
    compact_every=st.integers(1, 20),
)
def test_every_form_answers_as_brute_force(
    tmp_path: Path,
    seed: int,
    sizes: list[int],
    span_s: int,
    late: float,
    before_epoch: bool,
    compact_every: int,
):
    rng = np.random.default_rng(seed)
    for file in tmp_path.iterdir():
        file.unlink()
    # A clock that starts at zero gives times around the epoch of the scale.
    base = -(span_s * S) // 2 if before_epoch else T0
    all_t, all_v, all_ok = [], [], []
    with (
        pytest.MonkeyPatch.context() as patch,
        ArchiveStore.open(tmp_path / "a.sqlite") as store,
    ):
        patch.setattr(segments, "TAIL_ROWS", 64)
        patch.setattr(segments, "SEGMENT_ROWS", 200)
        patch.setattr(segments, "STEP_VALUES", 1200)
        patch.setattr(segments, "FAN", 3)
        patch.setattr(rollup, "SAMPLES_PER_ENTRY", 2)
        clock = 0
        for number, size in enumerate(sizes):
            step = max(1, span_s * S // max(1, sum(sizes)))
            times = base + (clock + np.arange(size)) * step
            clock += size
            moved = rng.random(size) < late
            times[moved] = base + rng.integers(0, span_s * S, int(moved.sum()))
            values = rng.normal(size=size).round(3)
            values[rng.random(size) < 0.1] = np.nan
            ok = rng.random(size) < 0.9
            put(store, times, {"X": values, "N": (values > 0).astype(np.int8)}, {"X": ok})
            all_t.append(times)
            all_v.append(values)
            all_ok.append(ok)
            if number % compact_every == 0:
                store.compact(2)
        t, v, ok = np.concatenate(all_t), np.concatenate(all_v), np.concatenate(all_ok)
        for _ in range(2):
            check(store, t, v, ok, rng, base, span_s)
            store.compact(10_000)
            assert store.compact(1) == 0


def check(store: ArchiveStore, t, v, ok, rng, base: int, span_s: int) -> None:
    assert store.integrity().problems == ()
    low, high = np.sort(base + rng.integers(-S, (span_s + 1) * S, 2)).tolist()
    for start, stop in ((base - S, base + (span_s + 1) * S), (low, high + 1)):
        inside = (t >= start) & (t < stop)
        order = np.argsort(t[inside], kind="stable")
        found = store.query("X", start, stop)
        np.testing.assert_array_equal(found.scet_ns, t[inside][order])
        np.testing.assert_array_equal(found.ert_ns, t[inside][order] + 499 * S)
        # Samples of one instant may stand in any order: none of them came in a packet.
        assert multiset(found) == sorted(
            zip(t[inside].tolist(), map(repr, v[inside].tolist()), ok[inside].tolist(), strict=True)
        )
        for points in (1, 13, 200, 100_000):
            check_plot(store, t, v, ok, start, stop, points)
    last = store.latest("X")
    assert last.scet_ns.tolist() == [t.max()]


def multiset(samples: Samples) -> list[tuple]:
    return sorted(
        zip(
            samples.scet_ns.tolist(),
            map(repr, samples.values.tolist()),
            samples.valid.tolist(),
            strict=True,
        )
    )


def check_plot(store: ArchiveStore, t, v, ok, start: int, stop: int, points: int) -> None:
    plot = store.plot("X", start, stop, points)
    good = ok & ~np.isnan(v)
    if plot.width_ns == 0:
        chosen = good & (t >= start) & (t < stop)
        assert np.count_nonzero(chosen) <= points
        assert sorted(zip(plot.time_ns.tolist(), plot.mean.tolist(), strict=True)) == sorted(
            zip(t[chosen].tolist(), v[chosen].tolist(), strict=True)
        )
        return
    width = plot.width_ns
    assert len(plot) <= points + 1
    chosen = good & (t >= start // width * width) & (t < -(-stop // width) * width)
    bins = t[chosen] // width
    assert plot.time_ns.tolist() == (np.unique(bins) * width).tolist()
    for i, one in enumerate(np.unique(bins)):
        values = v[chosen][bins == one]
        assert plot.count[i] == len(values)
        assert plot.minimum[i] == values.min()
        assert plot.maximum[i] == values.max()
        assert plot.mean[i] == pytest.approx(math.fsum(values) / len(values), rel=1e-12, abs=1e-12)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=50))
def test_times_of_any_size_survive_their_differences(values: list[int]):
    times = np.array(values, np.int64)
    np.testing.assert_array_equal(decode_times(encode_times(times), len(times)), times)


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "u4", "f4", "i8", "f8"])
def test_values_survive(dtype: str):
    octets = np.random.default_rng(1).integers(0, 256, 8 * 1001, np.uint8)
    values = octets.view(np.uint8) % 2 == 1 if dtype == "?" else octets.view(dtype)
    back = decode_values(encode_values(values), np.dtype(dtype), len(values))
    assert back.dtype == np.dtype(dtype)
    assert back.tobytes() == values.tobytes()


def test_live_batches_make_few_runs_and_segments(tmp_path: Path):
    """A 1 Hz packet for three hours, one at a time: 10,800 appends, not as many pieces."""
    path = tmp_path / "a.sqlite"
    most = 0
    with ArchiveStore.open(path) as store:
        for start in range(0, 10_800, 108):
            with store.group():
                for second in range(start, start + 108):
                    put(store, np.array([T0 + second * S]), {"X": np.array([float(second)])})
            most = max(most, count(path, "SELECT count(*) FROM tail"))
        assert store.query("X").values.tolist() == list(range(10_800))
    assert most <= 3 * segments.FAN
    assert count(path, "SELECT count(*) FROM segment") == 10_800 // segments.TAIL_ROWS


def test_roll_ups_are_kept_only_where_they_pay(tmp_path: Path):
    path = tmp_path / "a.sqlite"
    with ArchiveStore.open(path) as store:
        put(store, T0 + np.arange(20_000) * S, {"X": np.arange(20_000.0)})
        put(store, T0 + np.arange(20_000) * 86_400 * S, {"Y": np.arange(20_000.0)})
    with sqlite3.connect(path) as connection:
        widths = connection.execute(
            "SELECT p.name, r.width_ns / 1000000000, r.entries FROM rollup r"
            " JOIN parameter p ON p.id = r.parameter ORDER BY 1, 2"
        ).fetchall()
    connection.close()
    assert [width for name, width, _ in widths if name == "X"] == [120, 600, 3600, 21600, 86400]
    assert all(entries * rollup.SAMPLES_PER_ENTRY <= 20_000 for _, _, entries in widths)
    assert not [name for name, _, _ in widths if name == "Y"]


def test_another_process_reads_while_the_service_writes(tmp_path: Path):
    """Each answer is one state of the archive: as many samples as the catalogue says."""
    path = tmp_path / "a.sqlite"
    done = threading.Event()
    problems: list[str] = []
    reads = 0

    def read() -> None:
        nonlocal reads
        with ArchiveStore.open(path, read_only=True) as reader:
            last = 0
            while not done.is_set():
                samples = reader.query("X")
                values = samples.values.tolist()
                if values != list(range(len(values))) or len(values) < last or len(values) % 10:
                    problems.append(f"{len(values)} values after {last}")
                last = len(values)
                reads += 1

    with ArchiveStore.open(path) as store:
        put(store, T0 + np.arange(10) * S, {"X": np.arange(10.0)})
        thread = threading.Thread(target=read)
        thread.start()
        try:
            for n in range(10, 30_000, 150):
                with store.group():
                    for first in range(n, n + 150, 10):
                        at = np.arange(first, first + 10)
                        put(store, T0 + at * S, {"X": at.astype(np.float64)})
        finally:
            done.set()
            thread.join()
    assert problems == []
    assert reads > 3


def test_what_is_not_an_archive_is_refused_by_name(tmp_path: Path):
    other = tmp_path / "other.sqlite"
    with pytest.raises(LocalError, match="no archive at"):
        ArchiveStore.open(other, read_only=True)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t(x)")
    connection.close()
    text = tmp_path / "text"
    text.write_text("not a database, only a page of text" * 100)
    old = tmp_path / "old.sqlite"
    ArchiveStore.open(old).close()
    with sqlite3.connect(old) as connection:
        connection.execute("UPDATE meta SET value = '999'")
    connection.close()
    for read_only in (False, True):
        for path, why in ((other, "not an archive"), (text, "archive"), (old, "format 999")):
            with pytest.raises(LocalError, match=why):
                ArchiveStore.open(path, read_only=read_only)
    with (
        ArchiveStore.open(tmp_path / "new.sqlite"),
        ArchiveStore.open(tmp_path / "new.sqlite", read_only=True) as store,
        pytest.raises(LocalError, match="opened for reading"),
    ):
        put(store, np.array([T0]), {"X": np.array([1.0])})


def test_damage_is_told(tmp_path: Path):
    path = tmp_path / "a.sqlite"
    with ArchiveStore.open(path) as store:
        put(store, T0 + np.arange(20_000) * S, {"X": np.random.default_rng(1).normal(size=20_000)})
        assert store.integrity().ok
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE layout SET count = count - 1")
        connection.execute("DELETE FROM value")
    connection.close()
    with ArchiveStore.open(path, read_only=True) as store:
        problems = store.integrity().problems
    assert any("layouts' counts: 20000 against 19999" in problem for problem in problems)
    assert any("columns of segments" in problem for problem in problems)
    octets = bytearray(path.read_bytes())
    for page in range(2, len(octets) // 8192, 3):
        octets[page * 8192 : page * 8192 + 64] = bytes(64)
    path.write_bytes(octets)
    with ArchiveStore.open(path, read_only=True) as store:
        assert not store.integrity().ok


def test_a_full_disk_is_an_os_error_and_nothing_is_stored(tmp_path: Path):
    path = tmp_path / "a.sqlite"
    with ArchiveStore.open(path) as store:
        put(store, np.array([T0]), {"X": np.array([1.0])})
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count={pages + 3}")
        noise = np.random.default_rng(1).normal(size=50_000)
        with pytest.raises(OSError, match="full"):
            put(store, T0 + np.arange(50_000) * S, {"X": noise})
        assert store.query("X").values.tolist() == [1.0]
        assert store.integrity().ok
        store._db.execute(f"PRAGMA max_page_count={1 << 30}")
        put(store, T0 + np.arange(1, 50_001) * S, {"X": noise})
        assert len(store.query("X")) == 50_001
        assert store.integrity().ok


def test_a_segment_without_one_number_plots_as_nothing(tmp_path: Path):
    with ArchiveStore.open(tmp_path / "a.sqlite") as store:
        n = 20_000
        nothing = {"X": np.zeros(n, np.bool_)}
        put(store, T0 + np.arange(n) * S, {"X": np.ones(n), "Y": np.full(n, np.nan)}, nothing)
        for name in ("X", "Y"):
            plot = store.plot(name, T0, T0 + n * S, 10)
            assert len(plot) == len(plot.mean) == 0
            assert len(store.query(name)) == n
            assert len(store.latest(name)) == 1


def test_opposite_infinities_have_no_mean(tmp_path: Path):
    with ArchiveStore.open(tmp_path / "a.sqlite") as store:
        values = np.tile([np.inf, -np.inf, 1.0], 7_000)
        put(store, T0 + np.arange(21_000) * S, {"X": values})
        plot = store.plot("X", T0, T0 + 21_000 * S, 10)
        assert plot.minimum.tolist() == [-np.inf] * len(plot)
        assert plot.maximum.tolist() == [np.inf] * len(plot)
        assert np.isnan(plot.mean).all()
        assert plot.count.sum() == 21_000


def test_compaction_leaves_no_overlap(tmp_path: Path):
    path = tmp_path / "a.sqlite"
    rng = np.random.default_rng(6)
    times = T0 + np.arange(90_000) * S
    with ArchiveStore.open(path) as store:
        for part in np.split(rng.permutation(90_000), 9):
            put(store, times[part], {"X": part.astype(np.float64)})
        overlapping = (
            "SELECT count(*) FROM segment a JOIN segment b ON a.id < b.id"
            " AND a.scet_min < b.scet_max AND b.scet_min < a.scet_max"
        )
        assert count(path, overlapping) == 36
        assert store.compact(1000) > 0
        assert count(path, overlapping) == 0
        assert store.query("X").values.tolist() == list(range(90_000))
        assert store.integrity().ok


def test_packets_of_two_antennas_merge_by_ert_across_blocks(tmp_path: Path):
    """One antenna's packets come a whole block and more after the other's."""
    n = 10_000
    ert = T0 + np.concatenate([np.arange(n) * S, np.arange(n) * S + S // 2 - 6_000 * S])
    ert += np.random.default_rng(7).integers(-20 * S, 20 * S, 2 * n)
    octets = [b"\x00\x10" + (0xC000 | i % 16384).to_bytes(2, "big") + b"\0\0\0" for i in range(n)]
    with ArchiveStore.open(tmp_path / "a.sqlite") as store:
        for antenna in range(2):
            mine = ert[antenna * n : (antenna + 1) * n]
            packets = PacketBatch.from_packets(octets, vcid=antenna, ert_ns=mine.tolist())
            store.append(
                None,
                packets,
                stream=f"dss-{antenna}",
                scet_ns=T0 + np.arange(n),
                reception_ns=T0,
            )
        order = np.argsort(ert, kind="stable")
        assert [packet.number - 1 for packet in store.packets()] == order.tolist()
        low, high = T0 + 100 * S, T0 + 5_000 * S
        inside = order[(ert[order] >= low) & (ert[order] < high)]
        found = store.packets(start_ns=low, stop_ns=high)
        assert [packet.number - 1 for packet in found] == inside.tolist()
