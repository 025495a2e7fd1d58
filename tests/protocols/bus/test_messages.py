"""Every message survives the bus; octets that are none raise RemoteError and nothing else."""

from __future__ import annotations

import contextlib
import dataclasses

import msgpack
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from protocols.bus import messages
from protocols.bus.calibrations import CALIBRATION
from protocols.bus.columns import ParameterColumn, ParameterColumns
from protocols.bus.fields import COLUMN, DTYPES
from protocols.bus.messages import (
    Event,
    EventKind,
    EventMessage,
    LinkMessage,
    OpaqueMessage,
    PacketsMessage,
    ParametersMessage,
    ParameterTable,
    Pass,
    PassesMessage,
    Position,
    RadioMessage,
    ServiceState,
    Severity,
    StatusMessage,
    TimeMessage,
    parse,
)
from protocols.errors import LocalError, RemoteError
from protocols.packets.batch import PacketBatch
from protocols.telemetry.calibration import Calibration, Enumeration, Polynomial, Spline, Text
from protocols.telemetry.tables import Ragged

INT64 = st.integers(-(2**63), 2**63 - 1)
NAMES = st.text(min_size=1, max_size=12)
COUNTS = st.dictionaries(NAMES, INT64, max_size=4)


@st.composite
def batches(draw: st.DrawFn) -> PacketBatch:
    packets = draw(st.lists(st.binary(min_size=1, max_size=30), max_size=8))
    n = len(packets)
    return PacketBatch.from_packets(
        packets,
        vcid=draw(st.lists(st.integers(0, 63), min_size=n, max_size=n)),
        ert_ns=draw(st.lists(INT64, min_size=n, max_size=n)),
    )


@st.composite
def packets_messages(draw: st.DrawFn) -> PacketsMessage:
    packets = draw(batches())
    return PacketsMessage(
        link=draw(NAMES),
        packets=packets,
        playback=draw(hnp.arrays(np.bool_, len(packets))),
        reception_ns=draw(INT64),
        first_packet=draw(st.integers(0, 2**62)),
        capture_file=draw(st.integers(0, 10)),
        capture_offset=draw(INT64),
    )


@st.composite
def opaque_messages(draw: st.DrawFn) -> OpaqueMessage:
    zones = draw(st.lists(st.binary(max_size=20), max_size=6))
    n = len(zones)
    return OpaqueMessage(
        link=draw(NAMES),
        reception_ns=draw(INT64),
        first_zone=draw(st.integers(0, 2**62)),
        octets=np.frombuffer(b"".join(zones), np.uint8),
        offsets=np.cumsum([0, *map(len, zones)]),
        scid=draw(hnp.arrays(np.uint16, n)),
        vcid=draw(hnp.arrays(np.uint8, n)),
        frame=draw(hnp.arrays(np.int64, n)),
        ert_ns=draw(hnp.arrays(np.int64, n)),
        reason=draw(hnp.arrays(np.uint8, n)),
    )


@st.composite
def columns(draw: st.DrawFn, m: int) -> object:
    """What a decoded parameter's column can be."""
    dtype = np.dtype(draw(st.sampled_from(sorted(DTYPES))))
    kind = draw(st.sampled_from(["plain", "repeated", "octets", "ragged", "text", "labels"]))
    if kind == "plain":
        return draw(hnp.arrays(dtype, m))
    if kind == "repeated":
        return draw(hnp.arrays(dtype, (m, draw(st.integers(0, 4)))))
    if kind == "octets":
        return draw(hnp.arrays(np.uint8, (m, 2, draw(st.integers(0, 4)))))
    if kind == "ragged":
        return Ragged.from_rows(
            [draw(hnp.arrays(dtype, draw(st.integers(0, 4)))) for _ in range(m)], dtype
        )
    # NumPy's own text arrays drop trailing NULs before we ever see them: not ours to keep.
    texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8)
    if kind == "text":
        column = np.empty(m, np.object_)
        column[:] = draw(st.lists(texts, min_size=m, max_size=m))
        return column
    return np.array(draw(st.lists(st.sampled_from(["OFF", "ON", "#7"]), min_size=m, max_size=m)))


FINITE = st.floats(-1e6, 1e6)
CALIBRATIONS = st.one_of(
    st.builds(Polynomial, st.lists(FINITE, min_size=1, max_size=4)),
    st.builds(
        Spline,
        st.dictionaries(FINITE, FINITE, min_size=2, max_size=4).map(
            lambda points: tuple(sorted(points.items()))
        ),
        st.sampled_from([0, 1]),
        st.booleans(),
    ),
    st.builds(
        Enumeration,
        st.dictionaries(
            st.integers(0, 255), st.sampled_from(["OFF", "ON"]), min_size=1, max_size=4
        ),
    ),
    st.builds(Text, st.sampled_from(["US-ASCII", "UTF-8"]), st.sampled_from([None, True, False])),
)  # fmt: skip


@st.composite
def parameter_columns(draw: st.DrawFn, name: str, scet_ns: np.ndarray) -> ParameterColumn:
    m = len(scet_ns)
    calibration: Calibration | None = draw(st.none() | CALIBRATIONS)
    if isinstance(calibration, Text):
        lengths = [draw(st.integers(0, 3)) for _ in range(m)]
        raw: object = draw(
            st.just(Ragged.from_rows([bytes(n) for n in lengths], np.uint8))
            | hnp.arrays(np.uint8, (m, 3))
        )
    elif calibration is not None:
        raw = draw(hnp.arrays(np.uint8, m) | hnp.arrays(np.int16, (m, 2)))
    else:
        raw = draw(columns(m) | st.just(scet_ns))
    return ParameterColumn(
        name=name,
        raw=raw,  # type: ignore[arg-type]
        limit_state=draw(hnp.arrays(np.uint8, draw(st.sampled_from([0, m])))),
        calibration=calibration,
        unit=draw(st.text(max_size=5)),
    )


@st.composite
def tables(draw: st.DrawFn) -> ParameterTable:
    m = draw(st.integers(1, 5))
    scet_ns = draw(hnp.arrays(np.int64, m))
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    return ParameterTable(
        definition=draw(NAMES),
        packet=draw(hnp.arrays(np.int64, m)),
        scet_ns=scet_ns,
        ert_ns=draw(hnp.arrays(np.int64, m)),
        playback=draw(hnp.arrays(np.bool_, m)),
        columns=tuple(draw(parameter_columns(name, scet_ns)) for name in names),
    )


EVENTS = st.builds(
    Event,
    kind=st.sampled_from([*EventKind]),
    severity=st.sampled_from([*Severity]),
    name=NAMES,
    text=st.text(),
    scet_ns=INT64,
    ert_ns=INT64,
    reception_ns=INT64,
    playback=st.booleans(),
    value=st.text(),
    threshold=st.text(),
    before=st.text(),
    after=st.text(),
)


@st.composite
def passes(draw: st.DrawFn) -> Pass:
    # The same order as that of the times in a pass.
    times = sorted(draw(st.lists(TIMES, min_size=6, max_size=6, unique=True)))
    setup, aos, up, down, los, release = times
    owlt = draw(st.none() | st.tuples(OWLT, OWLT)) or (-1, -1)
    names = [draw(NAMES) for _ in range(4)]
    return Pass(aos, los, *names, setup, release, up, down, *owlt)


TIMES = st.integers(-(2**62), 2**62)
OWLT = st.integers(0, 10**14)
PASSES = st.builds(
    PassesMessage,
    schedule=NAMES,
    version=st.integers(1, 2**31),
    generated_ns=INT64,
    horizon_start_ns=INT64,
    horizon_end_ns=INT64,
    passes=st.lists(passes(), max_size=4).map(sorted).map(tuple),
)

FINITE = st.floats(allow_nan=False, allow_infinity=False)
TIME = st.builds(
    TimeMessage,
    **dict.fromkeys(
        (
            "time_ns",
            "offset_ns",
            "last_report_ns",
            "segment_start_ns",
            "segments",
            "reports",
            "outliers",
        ),
        INT64,
    ),
    **dict.fromkeys(("drift_ppb", "drift_sigma_ppb", "sigma_ns", "error_ns"), FINITE),
    suspected=st.booleans(),
)

RADIO = st.builds(
    RadioMessage,
    station=NAMES,
    receiver=NAMES,
    time_ns=INT64,
    modulation=NAMES,
    **dict.fromkeys(("carrier_lock", "symbol_lock", "frame_lock"), st.booleans()),
    **dict.fromkeys(("carrier_offset_hz", "level_db", "spectrum_centre_hz"), FINITE),
    ebn0_db=st.floats(-20, 60),
    symbol_rate=st.floats(0, 1e9),
    spectrum_span_hz=st.floats(0, 1e9),
    spectrum=hnp.arrays(np.float32, st.integers(0, 64)),
    constellation=hnp.arrays(np.int8, st.tuples(st.integers(0, 64), st.just(2))),
)

MESSAGES = st.one_of(
    RADIO,
    PASSES,
    TIME,
    packets_messages(),
    opaque_messages(),
    st.builds(
        ParametersMessage,
        link=NAMES,
        journal=NAMES,
        sequence=INT64,
        reception_ns=INT64,
        first_row=INT64,
        tables=st.lists(tables(), max_size=3).map(tuple),
    ),
    st.builds(
        EventMessage,
        journal=NAMES,
        sequence=INT64,
        first_event=INT64,
        events=st.lists(EVENTS, max_size=3).map(tuple),
    ),
    st.builds(
        LinkMessage,
        link=NAMES,
        time_ns=INT64,
        state=NAMES,
        detail=st.text(),
        carrier=st.booleans(),
        owlt_s=st.floats(allow_nan=False),
        last_ert_ns=INT64,
        capture=st.text(),
        counts=st.dictionaries(NAMES, COUNTS, max_size=3),
        virtual_channels=st.dictionaries(NAMES, COUNTS, max_size=3),
    ),
    st.builds(
        StatusMessage,
        service=NAMES,
        state=st.sampled_from([*ServiceState]),
        time_ns=INT64,
        started_ns=INT64,
        pid=INT64,
        rss_octets=INT64,
        detail=st.text(),
        lag_ns=INT64,
        positions=st.lists(
            st.builds(
                Position, topic=NAMES, source=NAMES, journal=NAMES, sequence=INT64, head=INT64
            ),
            max_size=2,
        ).map(tuple),
        counters=COUNTS,
    ),
)


def assert_equal(got: object, want: object) -> None:
    """Deep equality in which arrays compare by dtype, shape and octets (NaN equals itself)."""
    if isinstance(want, np.ndarray) and want.dtype.kind in "UO":
        assert isinstance(got, np.ndarray)
        assert got.shape == want.shape
        assert got.tolist() == want.tolist()
    elif isinstance(want, np.ndarray):
        assert isinstance(got, np.ndarray)
        assert got.dtype == want.dtype.newbyteorder("<")
        assert got.shape == want.shape
        assert got.tobytes() == want.astype(got.dtype).tobytes()
    elif dataclasses.is_dataclass(want):
        assert type(got) is type(want)
        for field in dataclasses.fields(want):
            assert_equal(getattr(got, field.name), getattr(want, field.name))
        if isinstance(want, ParameterColumn):
            assert isinstance(got, ParameterColumn)
            assert_equal(got.engineering, want.engineering)
    elif isinstance(want, tuple | ParameterColumns):
        assert isinstance(got, tuple | ParameterColumns)
        assert len(got) == len(want)
        for one, other in zip(got, want, strict=True):
            assert_equal(one, other)
    else:
        assert got == want


@settings(max_examples=150)
@given(MESSAGES)
def test_every_message_comes_back_as_it_was(message: messages.BusMessage) -> None:
    octets = message.build()
    again = parse(type(message), octets)
    assert_equal(again, message)
    assert again.build() == octets


@settings(max_examples=150)
@given(MESSAGES, st.data())
def test_damaged_messages_raise_remote_error_only(
    message: messages.BusMessage, data: st.DataObject
) -> None:
    octets = bytearray(message.build())
    for _ in range(data.draw(st.integers(0, 3))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(octets)))
    with contextlib.suppress(RemoteError):
        parse(type(message), bytes(octets[:cut]))


KINDS = (
    PacketsMessage, OpaqueMessage, ParametersMessage, EventMessage, LinkMessage, StatusMessage,
    PassesMessage, TimeMessage, RadioMessage,
)  # fmt: skip


@settings(max_examples=200)
@given(st.sampled_from(KINDS), st.binary(max_size=200))
@example(StatusMessage, b"\x91" * 5000)
@example(StatusMessage, b"\xdd\xff\xff\xff\xff")
@example(StatusMessage, b"\xc6\xff\xff\xff\xff")
@example(StatusMessage, b"\xd6\xff\x00\x00\x00\x00")
def test_noise_raises_remote_error(kind: type[messages.BusMessage], octets: bytes) -> None:
    with pytest.raises(RemoteError):
        parse(kind, octets)


NO_PACKETS = PacketBatch.empty()
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=4)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=150)
@given(MESSAGES, st.data())
def test_fields_of_wrong_types_raise_remote_error_only(
    message: messages.BusMessage, data: st.DataObject
) -> None:
    name, version, fields = msgpack.unpackb(message.build())
    fields[data.draw(st.sampled_from(sorted(fields)))] = data.draw(PLAIN)
    with contextlib.suppress(RemoteError):
        parse(type(message), msgpack.packb([name, version, fields]))


def test_arrays_come_back_without_a_copy() -> None:
    batch = PacketBatch.from_packets([bytes(100)] * 50)
    message = parse(PacketsMessage, PacketsMessage("l", batch, np.zeros(50, bool), 0, 0).build())
    assert not message.packets.octets.flags.owndata
    assert not message.packets.octets.flags.writeable


def test_another_version_and_another_kind_are_refused() -> None:
    body = EventMessage("j", 0, 0, ()).build()
    name, version, fields = msgpack.unpackb(body)
    with pytest.raises(RemoteError, match="version 2"):
        parse(EventMessage, msgpack.packb([name, version + 1, fields]))
    with pytest.raises(RemoteError, match="EventMessage"):
        parse(StatusMessage, body)


def test_a_newer_senders_further_field_is_ignored() -> None:
    message = EventMessage("j", 3, 1, ())
    name, version, fields = msgpack.unpackb(message.build())
    assert parse(EventMessage, msgpack.packb([name, version, fields | {"new": 1}])) == message


def test_a_field_that_an_older_sender_did_not_know_has_its_default() -> None:
    """As journals of a version before are: a run goes on, its archive can be made again."""
    message = messages.LinkMessage("downlink", 1, "OK", "")
    name, version, fields = msgpack.unpackb(message.build())
    del fields["owlt_s"], fields["counts"]
    assert parse(messages.LinkMessage, msgpack.packb([name, version, fields])) == message
    del fields["time_ns"]
    with pytest.raises(RemoteError, match="time_ns is missing"):
        parse(messages.LinkMessage, msgpack.packb([name, version, fields]))


def radio(**changed: object) -> RadioMessage:
    fields: dict[str, object] = {
        **dict.fromkeys(("station", "receiver", "modulation"), "x"),
        **dict.fromkeys(("carrier_lock", "symbol_lock", "frame_lock"), True),
        **dict.fromkeys(
            ("carrier_offset_hz", "symbol_rate", "ebn0_db", "level_db", "spectrum_centre_hz"), 0.0
        ),
        "time_ns": 0,
        "spectrum_span_hz": 0.0,
        "spectrum": np.zeros(512, np.float32),
        "constellation": np.zeros((512, 2), np.int8),
    }
    return RadioMessage(**fields | changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("playback", lambda: PacketsMessage("l", PacketBatch.empty(), np.zeros(1, bool), 0, 0)),
        ("first_packet", lambda: PacketsMessage("", PacketBatch.empty(), np.zeros(0, bool), 0, -1)),
        ("kind", lambda: Event("noise", "info", "n", "", 0, 0, 0)),
        ("severity", lambda: Event("limit", "awful", "n", "", 0, 0, 0)),
        ("state", lambda: StatusMessage("s", "asleep", 0, 0, 0, 0)),
        ("constellation", lambda: radio(constellation=np.zeros((513, 2), np.int8))),
        ("spectrum", lambda: radio(spectrum=np.zeros(4097, np.float32))),
        ("symbol rate", lambda: radio(symbol_rate=-1.0)),
        ("int64", lambda: EventMessage("j", 2**63, 0, ()).build()),
    ],
)  # fmt: skip
def test_our_own_mistakes_are_local_errors(name: str, build: object) -> None:
    with pytest.raises(LocalError, match=name if name != "int64" else "64 bits"):
        build()  # type: ignore[operator]


@pytest.mark.parametrize("offsets", [[], [1, 5], [0, 4], [0, 6, 5], [0, -1, 5]])
def test_offsets_that_lead_astray_are_refused(offsets: list[int]) -> None:
    body = PacketsMessage(
        "l", PacketBatch.from_packets([b"12345"]), np.zeros(1, bool), 0, 0
    ).build()
    name, version, fields = msgpack.unpackb(body)
    fields["packets"][1] = ["<i8", [len(offsets)], np.array(offsets, "<i8").tobytes()]
    with pytest.raises(RemoteError):
        parse(PacketsMessage, msgpack.packb([name, version, fields]))


def test_lag_is_what_the_journal_holds_beyond_the_position() -> None:
    assert Position("t", "s", "j", 4, 9).lag == 5
    assert Position("t", "s", "j", 4, -1).lag == 0


def one_column(
    raw: object,
    calibration: Calibration | None = None,
    limit_state: np.ndarray | None = None,
) -> tuple[ParameterTable, int]:
    """A table of one parameter as it was received, and how many octets it took."""
    m = len(raw)  # type: ignore[arg-type]
    states = np.empty(0, np.uint8) if limit_state is None else limit_state
    column = ParameterColumn("P", raw, states, calibration)  # type: ignore[arg-type]
    times = np.arange(m)
    body = ParameterTable("T", times, times, times, np.zeros(m, bool), (column,)).build()
    return parse(ParameterTable, body), len(body)


def test_values_travel_once_and_their_calibration_with_them() -> None:
    counts = np.arange(1000, dtype=np.uint16) % 3
    plain, octets = one_column(counts)
    assert plain.columns[0].engineering is plain.columns[0].raw
    labels = Enumeration({0: "OFF", 1: "ON"})
    for calibration in (labels, Polynomial((1.5, 2.0)), Spline(((0, 1.0), (2, 5.0)))):
        table, more = one_column(counts, calibration)
        assert more < octets + 100
        assert table.columns[0].calibration == calibration
        found = table.columns[0].engineering
        assert isinstance(found, np.ndarray)
        assert found.tolist() == calibration.apply(counts).tolist()


def test_states_that_are_all_nominal_take_no_room() -> None:
    states = np.zeros(1000, np.uint8)
    without, octets = one_column(np.arange(1000))
    nominal, more = one_column(np.arange(1000), None, states)
    assert len(without.columns[0].limit_state) == 0
    assert more < octets + 10
    assert nominal.columns[0].limit_state.tolist() == states.tolist()
    states[7] = 5
    assert one_column(np.arange(1000), None, states)[0].columns[0].limit_state.tolist() == (
        states.tolist()
    )


def test_a_packets_time_code_and_its_scet_travel_once() -> None:
    times = np.arange(1000)
    column = ParameterColumn("SCET", times, np.empty(0, np.uint8))
    table = ParameterTable("T", times + 1, times, times + 2, np.zeros(1000, bool), (column,))
    copied = ParameterTable(
        "T", times + 1, times, times + 2, np.zeros(1000, bool),
        (dataclasses.replace(column, raw=times.copy()),),
    )  # fmt: skip
    message = ParametersMessage("l", "j", 0, 0, 0, (table,))
    body = message.build()
    again = parse(ParametersMessage, body).tables[0].column("SCET").raw
    assert isinstance(again, np.ndarray)
    assert again.tolist() == times.tolist()
    assert len(ParametersMessage("l", "j", 0, 0, 0, (copied,)).build()) > len(body) + 7000


@pytest.mark.parametrize(
    ("raw", "calibration"),
    [
        (np.array([0.5, np.nan]), Enumeration({0: "OFF"})),
        (np.array(["a", "b"]), Polynomial((1.0,))),
        (np.zeros(2, np.bool_), Spline(((0, 0.0), (1, 1.0)))),
        (np.zeros(2, np.uint8), Text()),
        (np.zeros((2, 2), np.uint16), Text()),
    ],
)
def test_calibrations_that_do_not_fit_the_values_are_refused(
    raw: np.ndarray, calibration: Calibration
) -> None:
    with pytest.raises(LocalError, match=type(calibration).__name__):
        one_column(raw, calibration)
    name, version, fields = msgpack.unpackb(one_column(np.arange(2))[0].build())
    other = raw.dtype.kind == "U"
    column = ["P", "other" if other else raw.dtype.str, list(raw.shape[1:]), False]
    head = msgpack.packb([[*column, CALIBRATION.pack(calibration), ""]])
    values = b"" if other else raw.tobytes()
    fields["columns"] = [head, 2, values, [COLUMN.pack(raw)] if other else [], 0]
    with pytest.raises(RemoteError, match=type(calibration).__name__):
        parse(ParameterTable, msgpack.packb([name, version, fields]))


@pytest.mark.parametrize(
    "value",
    [[], ["cubic", [1.0]], ["polynomial"], ["polynomial", ["x"]], ["polynomial", [1.0], 2],
     ["spline", [[1, 2]], 1, False], ["spline", [[1], [2]], 1, False], ["text", "EBCDIC", None],
     ["text", {}, None], ["text", "UTF-8", []], ["enumeration", [[1, "A"], [1, "B"]]], 7, "text"],
)  # fmt: skip
def test_calibrations_that_are_none_raise_remote_error(value: object) -> None:
    with pytest.raises(RemoteError):
        CALIBRATION.unpack(msgpack.packb(value))
