"""What every store must do; a new one adds its factory to `STORES`.

The answers are checked against lists and dictionaries (`tests/ground/archive/oracle.py`).
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ground.archive import packet_groups
from ground.archive.model import NO_SCET, ColumnInfo, Position, Samples, Store, TableColumns
from ground.archive.store import ArchiveStore
from protocols.bus.messages import Event
from protocols.errors import LocalError
from protocols.packets.batch import PacketBatch


def _load_oracle() -> Any:
    # tests/ is no package (--import-mode=importlib), so a helper is loaded by its path.
    path = Path(__file__).resolve().parents[1] / "ground" / "archive" / "oracle.py"
    spec = importlib.util.spec_from_file_location("archive_oracle", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["archive_oracle"] = module
    spec.loader.exec_module(module)
    return module


oracle = _load_oracle()
S, T0 = oracle.S, oracle.T0

#: name → opens the store kept under a directory; opening it again finds what was stored.
STORES: dict[str, Callable[[Path], Store]] = dict.fromkeys(
    ("sqlite", "sqlite, all packets in groups", "sqlite, rows and groups"),
    lambda directory: ArchiveStore.open(directory / "archive.sqlite"),
)
#: The SQLite store keeps so many packets of a channel together; here it does so with few as well.
GROUPED = {"sqlite, all packets in groups": 1, "sqlite, rows and groups": 3}


SERVERS = ("postgresql, rows and groups",)
GROUPED["postgresql, rows and groups"] = 3


@pytest.fixture(params=sorted((*STORES, *SERVERS)))
def open_store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Store]]:
    opened: list[Store] = []
    make = STORES.get(request.param)
    if make is None:
        make = _on_a_server(request.getfixturevalue("postgres"))
    if request.param in GROUPED:
        monkeypatch.setattr(packet_groups, "LEAST", GROUPED[request.param])
        monkeypatch.setattr(packet_groups, "MOST", 5)
        monkeypatch.setattr(packet_groups, "MOST_OCTETS", 200)

    def open_again() -> Store:
        for store in opened:
            store.close()
        opened[:] = [make(tmp_path)]
        return opened[0]

    yield open_again
    for store in opened:
        store.close()


def _on_a_server(server: Any) -> Callable[[Path], Store]:
    """A database that is as old as the file which stands for it in the directory."""

    def open_it(directory: Path) -> Store:
        stamp = directory / "database"
        if not stamp.exists():
            stamp.touch()
            server.empty("contract")
        return ArchiveStore.open(f"{server.address}/contract")

    return open_it


@pytest.fixture
def store(open_store: Callable[[], Store]) -> Store:
    return open_store()


def put(store: Store, batch: Any, position: Position | None = None, stream: str = "dss-24"):
    return store.append(
        position,
        batch.packets,
        stream=stream,
        scet_ns=batch.scet_ns,
        reception_ns=batch.reception_ns,
        playback=batch.playback,
        tables=batch.tables,
    )


def at(sequence: int, journal: str = "j1", topic: str = "packets") -> Position:
    return Position(topic, "receive", journal, sequence)


def table(times: Any, values: Any, name: str = "X", info: dict | None = None) -> TableColumns:
    scet = np.asarray(times, np.int64)
    return TableColumns("P", None, scet, {name: np.asarray(values)}, info=info or {}, ert_ns=scet)


def put_table(store: Store, one: TableColumns, position: Position | None = None):
    return store.append(
        position,
        PacketBatch.empty(),
        stream="s",
        scet_ns=np.empty(0, np.int64),
        reception_ns=7,
        tables=[one],
    )


def same(samples: Samples, wanted: list[tuple]) -> None:
    assert len(samples) == len(wanted)
    assert samples.scet_ns.tolist() == [row[0] for row in wanted]
    assert samples.packet.tolist() == [row[1] for row in wanted]
    assert samples.ert_ns.tolist() == [row[2] for row in wanted]
    assert samples.reception_ns.tolist() == [row[3] for row in wanted]
    assert samples.valid.tolist() == [row[5] for row in wanted]
    values = samples.texts() if samples.labels else samples.values.tolist()
    for have, want in zip(values, [row[4] for row in wanted], strict=True):
        assert have == want or (math.isnan(have) and math.isnan(want))


def check_plot(store: Store, truth: Any, name: str, start: int, stop: int, points: int) -> None:
    plot = store.plot(name, start, stop, points)
    if plot.width_ns == 0:
        rows = [
            row
            for row in truth.query(name, start, stop, "scet")
            if row[5] and not math.isnan(row[4])
        ]
        assert len(rows) <= points
        assert plot.time_ns.tolist() == [row[0] for row in rows]
        assert plot.minimum.tolist() == plot.maximum.tolist() == [row[4] for row in rows]
        assert plot.mean.tolist() == [row[4] for row in rows]
        return
    assert len(plot) <= points + 1
    wanted = truth.bins(name, start, stop, plot.width_ns)
    assert plot.time_ns.tolist() == sorted(wanted)
    for i, time in enumerate(plot.time_ns.tolist()):
        assert plot.count[i] == len(wanted[time])
        assert plot.minimum[i] == min(wanted[time])
        assert plot.maximum[i] == max(wanted[time])
        mean = math.fsum(wanted[time]) / len(wanted[time])
        assert plot.mean[i] == pytest.approx(mean, rel=1e-12, abs=1e-9)


def check_plot_by_ert(store: Store, name: str, start: int, stop: int, points: int) -> None:
    """Against the samples themselves, bin by bin."""
    plot = store.plot(name, start, stop, points, "ert")
    samples = store.query(name, start, stop, "ert")
    wanted: dict[int, list[Any]] = {}
    for ert, value, valid in zip(samples.ert_ns, samples.values, samples.valid, strict=True):
        if valid and value == value:
            wanted.setdefault(int(ert) // plot.width_ns * plot.width_ns, []).append(value)
    assert plot.time_ns.tolist() == sorted(wanted)
    for i, time in enumerate(plot.time_ns.tolist()):
        assert plot.count[i] == len(wanted[time])
        assert (plot.minimum[i], plot.maximum[i]) == (min(wanted[time]), max(wanted[time]))


def check_everything(store: Store, truth: Any, rng: np.random.Generator, span_s: int) -> None:
    """All answers of a store against those of the oracle, at a few random ranges."""
    assert [(p.number, p.octets) for p in store.packets()] == [
        (row["number"], row["octets"])
        for row in sorted(truth.rows, key=lambda row: (row["ert_ns"], row["number"]))
    ]
    timed = [row for row in truth.rows if row["scet_ns"] is not None]
    assert [packet.number for packet in store.packets(axis="scet")] == [
        row["number"] for row in sorted(timed, key=lambda row: (row["scet_ns"], row["number"]))
    ]
    counters = store.counters()
    assert counters["packets"] == len(truth.rows)
    assert counters["duplicates"] == truth.duplicates
    assert counters["conflicts"] == truth.conflicts
    assert counters["copies"] == truth.copies
    assert counters["samples"] == sum(len(rows) for rows in truth.samples.values())
    assert [(p.name, p.count) for p in store.parameters()] == sorted(
        (name, len(rows)) for name, rows in truth.samples.items() if rows
    )
    for name, rows in truth.samples.items():
        if not rows:
            continue
        last = max(rows, key=lambda row: row[:2])
        same(store.latest(name), [last])
        for axis in ("scet", "ert"):
            same(store.query(name, axis=axis), truth.query(name, -(2**62), 2**62, axis))
            start, stop = np.sort(rng.integers(-S, (span_s + 1) * S, 2) + T0).tolist()
            same(store.query(name, start, stop, axis), truth.query(name, start, stop, axis))
        if not name.startswith("MODE"):
            for points in (1, 7, 100, 10_000):
                check_plot(store, truth, name, T0 - S, T0 + (span_s + 1) * S, points)
            check_plot_by_ert(store, name, T0 - S, T0 + (span_s + 1) * S, 20)
            start, stop = np.sort(rng.integers(0, span_s * S, 2) + T0).tolist()
            check_plot(store, truth, name, start, stop + 1, 20)
    assert store.integrity().problems == ()


ANSWERS = given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(0, 25), min_size=1, max_size=12),
    span_s=st.sampled_from([1, 30, 5_000, 500_000]),
    compact=st.booleans(),
    reopen=st.booleans(),
)
ONE_STORE = [HealthCheck.function_scoped_fixture]


@pytest.mark.parametrize("open_store", sorted(STORES), indirect=True)
@settings(max_examples=40, deadline=None, suppress_health_check=ONE_STORE)
@ANSWERS
# A batch without SCET, then the file opened again.
@example(seed=17256, sizes=[5, 1, 1, 1, 6], span_s=1, compact=False, reopen=True)
def test_answers_equal_brute_force(open_store: Any, tmp_path: Path, **of: Any):
    answers_equal_brute_force(open_store, tmp_path, **of)


@pytest.mark.parametrize("open_store", SERVERS, indirect=True)
@settings(max_examples=4, deadline=None, suppress_health_check=ONE_STORE)
@ANSWERS
@example(seed=17256, sizes=[5, 1, 1, 1, 6], span_s=1, compact=False, reopen=True)
@example(seed=5, sizes=[25, 0, 20, 3, 25, 9], span_s=5_000, compact=True, reopen=True)
def test_answers_of_a_server_equal_brute_force(open_store: Any, tmp_path: Path, **of: Any):
    """Fewer: it is the same code above the engine, and each is some hundred connections."""
    answers_equal_brute_force(open_store, tmp_path, **of)


def answers_equal_brute_force(
    open_store: Callable[[], Store],
    tmp_path: Path,
    seed: int,
    sizes: list[int],
    span_s: int,
    compact: bool,
    reopen: bool,
):
    for file in tmp_path.iterdir():
        file.unlink()
    rng = np.random.default_rng(seed)
    store, truth, history = open_store(), oracle.Oracle(), []
    for number, size in enumerate(sizes):
        batch = oracle.random_batch(rng, size, span_s, history, ert_ns=T0 + number * 3 * S)
        stream = "dss-24" if rng.random() < 0.8 else "dss-34"
        done = put(store, batch, at(number), stream)
        before = len(truth.rows), truth.duplicates, truth.copies
        truth.append(stream, batch)
        assert not done.replayed
        assert done.packets == len(truth.rows) - before[0]
        assert done.duplicates == truth.duplicates - before[1]
        assert done.copies == truth.copies - before[2]
        if reopen and rng.random() < 0.3:
            store = open_store()
    if compact:
        store.compact(100)
    check_everything(store, truth, rng, span_s)


def test_many_small_and_some_large_batches_in_any_order(open_store: Callable[[], Store]):
    """Enough rows that every form in which a store may keep them occurs."""
    rng = np.random.default_rng(5)
    store = open_store()
    times = np.unique(T0 + rng.integers(0, 40_000_000, 60_000) * (S // 100))
    rng.shuffle(times)
    values = np.round(rng.normal(size=len(times)), 6)
    cuts = np.cumsum(np.concatenate(([30_000, 9_000], rng.integers(1, 90, 450))))
    pieces = np.split(np.arange(len(times)), cuts[cuts < len(times)])
    for number, piece in enumerate(pieces):
        put_table(store, table(times[piece], values[piece]), at(number))
    truth = oracle.Oracle(
        samples={
            "X": [
                (t, -1, t, 7, v, True) for t, v in zip(times.tolist(), values.tolist(), strict=True)
            ]
        }
    )
    for step in range(3):
        assert store.integrity().ok
        for axis in ("scet", "ert"):
            same(store.query("X", axis=axis), truth.query("X", 0, 2**62, axis))
        for points in (10, 1600, 10**6):
            check_plot(store, truth, "X", T0, T0 + 400_000 * S, points)
        check_plot(store, truth, "X", T0 + 1000 * S + 1, T0 + 260_000 * S + 7, 333)
        if step == 0:
            assert store.compact(1000) > 0
        else:
            store = open_store()
            assert store.compact(1000) == 0, "compaction comes to rest"


def test_position_is_stored_with_the_result_and_never_applied_twice(open_store):
    store = open_store()
    assert store.position("packets", "receive") is None
    rng = np.random.default_rng(1)
    batch = oracle.random_batch(rng, 20, 100, [], ert_ns=T0)
    first = put(store, batch, at(4))
    assert first.packets + first.duplicates == 20
    counters = store.counters()
    for sequence in (4, 3, 0):
        assert put(store, batch, at(sequence)).replayed
    assert store.counters() == counters
    store = open_store()
    assert store.position("packets", "receive") == at(4)
    assert put(store, batch, at(4)).replayed
    # A journal that was begun anew counts from 0 again.
    assert put(store, batch, at(0, "j2")).duplicates > 0
    assert store.position("packets", "receive") == at(0, "j2")
    assert store.position("events", "monitor") is None


def test_an_append_that_fails_leaves_nothing(open_store):
    store = open_store()
    rng = np.random.default_rng(2)
    batch = oracle.random_batch(rng, 10, 100, [], ert_ns=T0)
    bad = replace(batch, tables=[*batch.tables, table([T0], np.array([1 + 2j]))])
    with pytest.raises(LocalError, match="complex"):
        put(store, bad, at(0))
    assert store.position("packets", "receive") is None
    assert list(store.packets()) == []
    assert store.parameters() == []
    truth = oracle.Oracle()
    truth.append("dss-24", batch)
    put(store, batch, at(0))
    check_everything(store, truth, rng, 100)


def test_a_group_is_one_transaction(open_store):
    store = open_store()
    with pytest.raises(RuntimeError, match="stop"), store.group():  # noqa: PT012
        put_table(store, table([T0], [1.0]), at(0))
        put_table(store, table([T0 + 1], [2.0]), at(1))
        raise RuntimeError("stop")
    assert store.parameters() == []
    assert store.position("packets", "receive") is None
    with store.group():
        put_table(store, table([T0], [1.0]), at(0))
        put_table(store, table([T0 + 1], [2.0]), at(1))
    assert open_store().query("X").values.tolist() == [1.0, 2.0]


def test_columns_that_disagree_are_refused(store: Store):
    batch = oracle.random_batch(np.random.default_rng(3), 5, 10, [], ert_ns=T0)
    with pytest.raises(LocalError, match="5 packets, 4 scet_ns"):
        put(store, replace(batch, scet_ns=batch.scet_ns[:4]))
    with pytest.raises(LocalError, match="X: shape"):
        table([T0, T0 + 1], [1.0])
    with pytest.raises(LocalError, match="neither rows nor ert_ns"):
        TableColumns("P", None, np.zeros(1, np.int64), {})


def test_unknown_names_and_impossible_ranges_are_said(store: Store):
    put_table(store, table([T0], [1.0]))
    for ask in (store.query, store.latest, lambda name: store.plot(name, 0, 1)):
        with pytest.raises(LocalError, match="no parameter 'Y'"):
            ask("Y")
    with pytest.raises(LocalError, match="plot of 0 points"):
        store.plot("X", 0, 1, 0)
    with pytest.raises(LocalError, match="plot of"):
        store.plot("X", 1, 1)
    with pytest.raises(LocalError, match="axis"):
        store.query("X", axis="reception")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", ">u4", ">f8"]
)
def test_every_dtype_comes_back_exactly(store: Store, dtype: str):
    kind = np.dtype(dtype)
    if kind.kind == "f":
        values = np.array([np.finfo(kind).max, -0.0, np.inf, 1 / 3, np.nan], kind)
    elif kind.kind == "b":
        values = np.array([True, False, True, True, False])
    else:
        values = np.array([np.iinfo(kind).min, np.iinfo(kind).max, 0, 1, 2], kind)
    put_table(store, table(T0 + np.arange(5), values))
    many = np.resize(values, 20_000)
    put_table(store, table(T0 + S + np.arange(20_000) * S, many))
    back = store.query("X").values
    assert back.dtype == kind.newbyteorder("=")
    np.testing.assert_array_equal(back, np.concatenate([values, many]))
    plot = store.plot("X", T0, T0 + 30_000 * S, 10)
    finite = values[~np.isnan(values)] if kind.kind == "f" else values
    assert plot.width_ns > 0
    assert plot.minimum[1] == finite.min()
    assert plot.maximum[1] == finite.max()


def test_text_and_enumerations_are_codes_with_labels(open_store):
    store = open_store()
    info = {"X": ColumnInfo("", "mode", {0: "SAFE", 1: "NOMINAL"})}
    put_table(store, table([T0, T0 + 1, T0 + 2], np.array([1, 0, 9], np.uint8), info=info))
    put_table(store, table([T0, T0 + 1], np.array(["boot", "été"]), "LOG"))
    put_table(store, table([T0 + 2], np.array([b"\x01\xff"]), "LOG"))
    store = open_store()
    put_table(store, table([T0 + 3], np.array(["boot"]), "LOG"))
    modes = store.query("X")
    assert modes.texts() == ["NOMINAL", "SAFE", "#9"]
    assert modes.values.tolist() == [1, 0, 9]
    assert store.query("LOG").texts() == ["boot", "été", "01ff", "boot"]
    kinds = {one.name: (one.kind, one.description) for one in store.parameters()}
    assert kinds == {"LOG": ("text", ""), "X": ("enumeration", "mode")}
    with pytest.raises(LocalError, match="archived as text, now it comes as number"):
        put_table(store, table([T0 + 3], np.array([1.0]), "LOG"))


def test_texts_with_any_character_come_back(open_store):
    """PostgreSQL has no NUL in a text; a spacecraft's fixed-length field may be full of it."""
    store = open_store()
    texts = ["a\0b", "\0", "\x1b0", "\x1b\x1b\0", "", "日本\U0001f680\ufffe", "'; --\\"]
    put_table(store, table(T0 + np.arange(len(texts)), np.array(texts, object), "LOG\0"))
    event = Event("limit", "warning", "N\0", "\0\x1b", T0, T0, T0, False, "\0")
    assert store.append_events(at(0, topic="events"), [event]) == 1
    assert store.append_events(at(1, topic="events"), [event]) == 0
    store.remember("k\0", "\x1b0")
    store = open_store()
    assert store.query("LOG\0").texts() == texts
    assert list(store.events(name="N\0")) == [event]
    assert store.recall("k\0") == "\x1b0"
    assert store.integrity().problems == ()


def test_codes_of_64_bits_have_labels(store: Store):
    info = {"X": ColumnInfo(labels={2**64 - 1: "ALL", 0: "NONE"})}
    put_table(store, table([T0, T0 + 1], np.array([2**64 - 1, 0], np.uint64), info=info))
    assert store.query("X").texts() == ["ALL", "NONE"]
    assert store.plot("X", T0, T0 + 2).labels == {2**64 - 1: "ALL", 0: "NONE"}
    signed = {"Y": ColumnInfo(labels={-1: "UNKNOWN"})}
    put_table(store, table([T0], np.array([-1], np.int64), "Y", info=signed))
    assert store.query("Y").texts() == ["UNKNOWN"]


def test_numbers_that_are_none_are_kept(store: Store):
    values = np.resize([np.nan, np.inf, -np.inf, 1.5], 9_000)
    put_table(store, table(T0 + np.arange(9_000) * S, values))
    put_table(store, table(T0 + np.arange(9_000) * S, np.full(9_000, np.nan), "NONE"))
    np.testing.assert_array_equal(store.query("X").values, values)
    assert np.isnan(store.query("NONE").values).all()
    assert store.integrity().problems == ()


def test_catalogue_tells_units_and_extent(store: Store):
    info = {"X": ColumnInfo("V", "bus voltage")}
    put_table(store, table([T0 + 5 * S, T0], [1.0, 2.0], info=info))
    (entry,) = store.parameters()
    assert (entry.name, entry.unit, entry.description, entry.kind) == (
        "X", "V", "bus voltage", "number",
    )  # fmt: skip
    assert entry.definitions == ("P",)
    assert entry.count == 2
    assert (entry.first_scet_ns, entry.last_scet_ns) == (T0, T0 + 5 * S)


def test_a_parameter_may_change_its_type_and_come_in_several_packets(store: Store):
    put_table(store, table([T0], np.array([3], np.uint8)))
    put_table(store, table([T0 + 1], np.array([0.5])))
    other = replace(table([T0 - 1], np.array([-7], np.int16)), definition="Q")
    put_table(store, other)
    assert store.query("X").values.tolist() == [-7, 3, 0.5]
    assert store.parameters()[0].definitions == ("P", "Q")
    assert store.latest("X").values.tolist() == [0.5]


def test_repeated_samples_of_one_packet_keep_their_order(store: Store):
    octets = [oracle.space_packet(16, n, bytes(4)) for n in range(2)]
    packets = PacketBatch.from_packets(octets, vcid=1, ert_ns=[T0, T0 + 1])
    scet = np.array([T0, T0 - 5 * S])
    rows = np.array([0, 0, 0, 1, 1])
    column = {"X": np.array([3.0, 1.0, 1.0, 9.0, 8.0])}
    done = store.append(
        None,
        packets,
        stream="s",
        scet_ns=scet,
        reception_ns=np.array([1, 2]),
        tables=[TableColumns("P", rows, scet[rows], column)],
    )
    assert done.samples == 5
    assert store.query("X").values.tolist() == [9.0, 8.0, 3.0, 1.0, 1.0]
    assert store.query("X").reception_ns.tolist() == [2, 2, 1, 1, 1]


def test_packets_filtered_by_every_property(store: Store):
    rng = np.random.default_rng(8)
    truth, history = oracle.Oracle(), []
    for number in range(30):
        batch = oracle.random_batch(rng, 30, 1000, history, ert_ns=T0 + number * 2 * S)
        stream = ("a", "b")[number % 2]
        put(store, batch, at(number), stream)
        truth.append(stream, batch)
    wanted: list[tuple[dict, Callable[[dict], bool]]] = [
        ({}, lambda row: True),
        ({"apid": 17}, lambda row: row["apid"] == 17),
        ({"vcid": 3}, lambda row: row["vcid"] == 3),
        ({"stream": "b", "apid": 64}, lambda row: row["stream"] == "b" and row["apid"] == 64),
        ({"playback": False}, lambda row: not row["playback"]),
        ({"apid": 5}, lambda row: False),
    ]
    start, stop = T0 + 11 * S, T0 + 47 * S
    for arguments, keep in wanted:
        for axis in ("ert", "scet"):
            rows = [
                row
                for row in truth.rows
                if keep(row) and row[f"{axis}_ns"] is not None and start <= row[f"{axis}_ns"] < stop
            ]
            rows.sort(key=lambda row: (row[f"{axis}_ns"], row["number"]))
            found = list(store.packets(start_ns=start, stop_ns=stop, axis=axis, **arguments))
            assert [{name: getattr(p, name) for name in rows[0]} for p in found if rows] == rows
            assert len(found) == len(rows)


def test_what_is_no_space_packet_is_kept(store: Store):
    octets = [b"\xe0", b"\xe5\x02", b"\xe0", oracle.space_packet(16, 1, b"abc"), b"\x00\x10"]
    packets = PacketBatch.from_packets(octets, vcid=2, ert_ns=T0)
    done = store.append(None, packets, stream="s", scet_ns=np.full(5, NO_SCET), reception_ns=T0 + 1)
    assert (done.packets, done.duplicates) == (5, 0)
    found = list(store.packets())
    assert [packet.octets for packet in found] == octets
    assert [packet.apid for packet in found] == [-1, -1, -1, 16, -1]
    assert [packet.sequence_count for packet in found] == [-1, -1, -1, 1, -1]
    assert list(store.packets(axis="scet")) == []
    assert store.integrity().ok


def test_samples_without_scet_are_counted_not_invented(store: Store):
    put_table(store, replace(table([T0, NO_SCET], [1.0, 2.0]), ert_ns=np.array([T0, T0])))
    assert store.query("X").values.tolist() == [1.0]
    assert store.counters()["samples_without_scet"] == 1


def test_events_once_and_by_time(open_store):
    store = open_store()
    events = [
        Event(
            "limit", "warning", "BUS_V", f"{n}", T0 + n % 3 * S, T0 + n * S, T0 + n, n == 1, "1 V"
        )
        for n in range(6)
    ]
    assert store.append_events(at(0, topic="events"), events[:4]) == 4
    assert store.append_events(at(0, topic="events"), events[:4]) == 0
    assert store.append_events(at(1, topic="events"), events[4:]) == 2
    # Told again by a journal that has lost its end and its identity.
    assert store.append_events(at(0, "j2", topic="events"), events[3:]) == 0
    assert store.append_events(at(1, "j2", topic="events"), ()) == 0
    assert store.counters()["events"] == 6
    store = open_store()
    assert list(store.events(axis="ert")) == events
    assert [event.text for event in store.events()] == ["0", "3", "1", "4", "2", "5"]
    assert [e.text for e in store.events(start_ns=T0 + S, stop_ns=T0 + 2 * S)] == ["1", "4"]
    assert list(store.events(name="OTHER")) == []
    assert store.integrity().ok


def test_iterators_see_their_beginning_while_the_store_goes_on(store: Store):
    rng = np.random.default_rng(4)
    history: list[tuple] = []
    put(store, oracle.random_batch(rng, 50, 100, history, ert_ns=T0))
    before = store.counters()["packets"]
    walk = store.packets()
    next(walk)
    put(store, oracle.random_batch(rng, 50, 100, history, ert_ns=T0))
    assert 1 + sum(1 for _ in walk) == before
    assert sum(1 for _ in store.packets()) == store.counters()["packets"] > before


def test_what_a_service_remembers_is_of_the_transaction(open_store: Callable[[], Store]) -> None:
    store = open_store()
    assert store.recall("learnt") is None
    store.remember("learnt", "one")
    with contextlib.suppress(RuntimeError), store.group():
        store.remember("learnt", "two")
        raise RuntimeError
    assert open_store().recall("learnt") == "one"
