"""Packets to parameter columns, to engineering values and limits, and back to packets.

The packets are those of JPSS-1 geolocation (71 octets, 20 fields), tiled to two million; without
the shared data folder, packets of the same declaration with random contents.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from construct import Float32b, Int8ub, Int16ub, Int32ub

from protocols.packets.batch import PacketBatch
from protocols.telemetry.calibration import Polynomial
from protocols.telemetry.declaration import Dictionary, PacketDefinition, Parameter, Repeat
from protocols.telemetry.limits import Limits
from protocols.telemetry.tables import Ragged
from protocols.telemetry.xtce import export_xtce, import_xtce
from tests.benchmarks.harness import Case, PeerMissing

PACKETS = 2_000_000
FEW = 20_000
APID = 11
FIELDS = (
    "DOY:H MSEC:L USEC:H ADAESCID:B ADAET1DAY:H ADAET1MS:L ADAET1US:H "
    "ADGPSPOSX:f ADGPSPOSY:f ADGPSPOSZ:f ADGPSVELX:f ADGPSVELY:f ADGPSVELZ:f "
    "ADAET2DAY:H ADAET2MS:L ADAET2US:H ADCFAQ1:f ADCFAQ2:f ADCFAQ3:f ADCFAQ4:f"
)
CONSTRUCTS: dict[str, Any] = {"B": Int8ub, "H": Int16ub, "L": Int32ub, "f": Float32b}
NUMPY = {"B": "u1", "H": ">u2", "L": ">u4", "f": ">f4"}
SPLIT = [tuple(field.split(":")) for field in FIELDS.split()]


def _dictionary(**more: Any) -> Dictionary:
    fields = tuple(Parameter(name, CONSTRUCTS[code], **more) for name, code in SPLIT)
    return Dictionary("JPSS", (PacketDefinition("GEOLOCATION", APID, fields),))


def limited_dictionary() -> Dictionary:
    """The same packets, each parameter calibrated and with limits."""
    return _dictionary(
        calibration=Polynomial((1.0, 0.5)), limits=Limits((-1e8, 1e10), (-1e9, 1e11))
    )


def _jpss(pattern: str) -> Path | None:
    """A file of the public JPSS-1 set, None where the shared data folder is not."""
    folder = Path(os.environ.get("L4_SHARED", Path(__file__).parents[3] / "shared"))
    return next((folder / "captures" / "jpss").glob(pattern), None)


def _packets() -> PacketBatch:
    file = _jpss("*.DAT1")
    if file is not None:
        once = np.fromfile(file, np.uint8)
    else:
        once = np.random.default_rng(4).integers(0, 256, 71 * 7200).astype(np.uint8)
        once.reshape(-1, 71)[:, :6] = list((APID).to_bytes(2, "big") + b"\xc0\0" + b"\x00\x40")
    octets = np.tile(once, -(-PACKETS * 71 // len(once)))[: PACKETS * 71]
    return _batch(octets, np.arange(PACKETS + 1, dtype=np.int64) * 71)


def _batch(octets: Any, offsets: Any) -> PacketBatch:
    n = len(offsets) - 1
    return PacketBatch(octets, offsets, np.zeros(n, np.uint8), np.zeros(n, np.int64))


Columns = Mapping[str, Any]


def _equal(ours: object, peer: object) -> bool:
    """Columns equal value by value; the peer may have decoded only the first packets."""
    assert isinstance(ours, Mapping)
    assert isinstance(peer, Mapping)
    for name, column in ours.items():
        theirs = np.asarray(peer[name])
        if isinstance(column, Ragged):
            column = column.values
        if not np.array_equal(column[: len(theirs)], theirs, equal_nan=column.dtype.kind == "f"):
            return False
    return True


def numpy_dtype(batch: PacketBatch) -> Columns:
    dtype = np.dtype([("header", "6u1"), *((name, NUMPY[code]) for name, code in SPLIT)])
    packets = batch.octets.view(dtype)
    return {name: packets[name].astype(dtype[name].newbyteorder("=")) for name, _ in SPLIT}


def ccsdspy_fixed(octets: bytes) -> Callable[[], Columns]:
    try:
        import ccsdspy
    except ImportError as error:
        raise PeerMissing("ccsdspy") from error
    kinds = {"B": ("uint", 8), "H": ("uint", 16), "L": ("uint", 32), "f": ("float", 32)}
    packet = ccsdspy.FixedLength(
        [
            ccsdspy.PacketField(name=name, data_type=kinds[code][0], bit_length=kinds[code][1])
            for name, code in SPLIT
        ]
    )

    def run() -> Columns:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return packet.load(io.BytesIO(octets))

    return run


def ccsdspy_variable_packet() -> Any:
    import ccsdspy

    return ccsdspy.VariableLength(
        [
            ccsdspy.PacketField(name="A", data_type="uint", bit_length=32),
            ccsdspy.PacketField(name="B", data_type="uint", bit_length=16),
            ccsdspy.PacketField(name="C", data_type="uint", bit_length=16),
            ccsdspy.PacketField(name="D", data_type="float", bit_length=32),
            ccsdspy.PacketField(name="N", data_type="uint", bit_length=8),
            ccsdspy.PacketArray(name="X", data_type="uint", bit_length=16, array_shape="N"),
        ]
    )


def ccsdspy_variable(octets: bytes) -> Callable[[], Columns]:
    try:
        packet = ccsdspy_variable_packet()
    except ImportError as error:
        raise PeerMissing("ccsdspy") from error

    def run() -> Columns:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = dict(packet.load(io.BytesIO(octets)))
        found["X"] = np.concatenate(list(found["X"]))
        return found

    return run


def space_packet_parser(document: bytes, batch: PacketBatch) -> Callable[[], Columns]:
    try:
        from space_packet_parser.xtce.definitions import XtcePacketDefinition
    except ImportError as error:
        raise PeerMissing("space-packet-parser") from error
    peer = XtcePacketDefinition.from_xtce(io.BytesIO(document))
    packets = list(batch)

    def run() -> Columns:
        found = [peer.parse_bytes(packet) for packet in packets]
        return {name: [packet[name] for packet in found] for name, _ in SPLIT}

    return run


def yamcs() -> Callable[[], Columns]:
    raise PeerMissing("a Java program, not on the package registries; 0.40 M/s when measured")


def construct_parse(definition: PacketDefinition, batch: PacketBatch) -> Callable[[], Columns]:
    packets, interpreted = list(batch), definition.construct

    def run() -> Columns:
        found = [interpreted.parse(packet) for packet in packets]
        return {name: [packet[name] for packet in found] for name in definition.parameters}

    return run


def construct_build(
    dictionary: Dictionary, columns: Columns, few: PacketBatch
) -> Callable[[], bytes]:
    (definition,) = dictionary.definitions
    rows = [
        {p.name: definition.construct.parse(packet)[p.name] for p in definition.header}
        | {name: column[i].item() for name, column in columns.items()}
        for i, packet in enumerate(few)
    ]
    interpreted = definition.construct

    def run() -> bytes:
        return b"".join(interpreted.build(row) for row in rows)

    return run


def numpy_calibrated(batch: PacketBatch, dictionary: Dictionary) -> Columns:
    """Calibration and limits as one writes them by hand over a structured dtype."""
    return _with_states(dictionary, numpy_dtype(batch))


def _with_states(dictionary: Dictionary, columns: object) -> Columns:
    """Raw columns calibrated and judged; others as they are."""
    assert isinstance(columns, Mapping)
    (definition,) = dictionary.definitions
    if any(name.endswith(" state") for name in columns):
        return columns
    found: dict[str, Any] = {}
    for name, _ in SPLIT:
        raw = np.asarray(columns[name])
        parameter = definition.parameters[name]
        assert isinstance(parameter.calibration, Polynomial)
        assert isinstance(parameter.limits, Limits)
        c0, c1 = parameter.calibration.coefficients
        value = c1 * raw.astype(np.float64) + c0
        found[name] = value
        found[f"{name} state"] = parameter.limits.state(value)
    return found


def _decoded(dictionary: Dictionary, batch: PacketBatch) -> Columns:
    (table,) = dictionary.decode(batch)
    return table.raw


def _judged(dictionary: Dictionary, batch: PacketBatch) -> Columns:
    (table,) = dictionary.decode(batch)
    found: dict[str, Any] = {}
    for name in table.raw:
        found[f"{name} state"] = table.limit_state(name)
        found[name] = table.engineering(name)
    return found


def counted_packets(n: int) -> tuple[Dictionary, PacketBatch]:
    """Packets with a counted array of 1 to 24 samples."""
    random = np.random.default_rng(4)
    counted = PacketDefinition(
        "COUNTED",
        12,
        (
            *(Parameter(name, field) for name, field in (("A", Int32ub), ("B", Int16ub))),
            *(Parameter(name, field) for name, field in (("C", Int16ub), ("D", Float32b))),
            Parameter("N", Int8ub),
            Repeat(Parameter("X", Int16ub), "N"),
        ),
    )
    variable = Dictionary("VARIABLE", (counted,))
    offsets = np.zeros(n + 1, np.int64)
    np.cumsum(random.integers(1, 25, n), out=offsets[1:])
    columns = {
        "A": random.integers(0, 2**32, n, np.uint32),
        "B": random.integers(0, 2**16, n, np.uint16),
        "C": random.integers(0, 2**16, n, np.uint16),
        "D": random.normal(size=n).astype(np.float32),
        "X": Ragged(random.integers(0, 2**16, offsets[-1], np.uint16), offsets),
    }
    return variable, variable.encode_batch("COUNTED", columns, raw=True)


def cases() -> Iterator[Case]:
    batch = _packets()
    dictionary = _dictionary()
    (definition,) = dictionary.definitions
    yield Case(
        "telemetry: fixed-length packets to columns",
        PACKETS,
        "Mpacket/s",
        lambda: _decoded(dictionary, batch),
        {
            "NumPy dtype": lambda: lambda: numpy_dtype(batch),
            "ccsdspy FixedLength": lambda: ccsdspy_fixed(batch.octets.tobytes()),
            "construct": lambda: construct_parse(definition, batch.slice(0, 2000)),
        },
        equal=_equal,
        peer_units={"construct": 2000},
        goals={"NumPy dtype": 1.8, "ccsdspy FixedLength": 10},
        goal_rate=24,
    )

    limited = limited_dictionary()
    yield Case(
        "telemetry: the same, calibrated and limit-checked",
        PACKETS,
        "Mpacket/s",
        lambda: _judged(limited, batch),
        {
            "NumPy by hand": lambda: lambda: numpy_calibrated(batch, limited),
            # It has no limits: it only decodes here, and is calibrated for the comparison alone.
            "ccsdspy (decodes only)": lambda: ccsdspy_fixed(batch.octets.tobytes()),
        },
        equal=lambda ours, peer: _equal(ours, _with_states(limited, peer)),
        goals={"ccsdspy (decodes only)": 5},
        goal_rate=12,
    )

    file = _jpss("*xtce*.xml")
    document = file.read_bytes() if file is not None else export_xtce(dictionary)
    imported = import_xtce(document)
    yield Case(
        "telemetry: the same by imported XTCE",
        PACKETS,
        "Mpacket/s",
        lambda: _decoded(imported, batch),
        {
            "space-packet-parser": lambda: space_packet_parser(document, batch.slice(0, FEW)),
            "Yamcs": yamcs,
        },
        equal=_equal,
        peer_units={"space-packet-parser": FEW},
        goals={"space-packet-parser": 1000, "Yamcs": 40},
        goal_rate=16,  # 40 × what Yamcs did
    )

    n = PACKETS // 2
    variable, packets = counted_packets(n)
    few_variable = packets.slice(0, FEW)
    yield Case(
        "telemetry: variable-length packets (1..24 samples) to columns",
        n,
        "Mpacket/s",
        lambda: _decoded(variable, packets),
        {"ccsdspy VariableLength": lambda: ccsdspy_variable(few_variable.octets.tobytes())},
        equal=_equal,
        peer_units={"ccsdspy VariableLength": FEW},
        goals={"ccsdspy VariableLength": 1000},
        goal_rate=13,
    )

    raw = dict(_decoded(dictionary, batch.slice(0, 500_000)))
    encode_few = {name: column[:2000] for name, column in raw.items()}

    def encoded() -> bytes:
        return dictionary.encode_batch("GEOLOCATION", raw, raw=True).octets.data

    def built() -> Callable[[], bytes]:
        ours = dictionary.encode_batch("GEOLOCATION", encode_few, raw=True)
        return construct_build(dictionary, encode_few, ours)

    yield Case(
        "telemetry: columns to packets",
        500_000,
        "Mpacket/s",
        encoded,
        {"construct": built},
        equal=lambda ours, peer: bytes(ours[: len(peer)]) == peer,  # pyright: ignore
        peer_units={"construct": 2000},
        goals={"construct": 50},
    )
