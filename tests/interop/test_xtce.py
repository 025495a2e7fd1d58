"""Our XTCE and packets against space-packet-parser, and its data against us."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from construct import (
    BitsInteger,
    Bytes,
    Float16b,
    Float32b,
    Float64l,
    GreedyBytes,
    Int8ub,
    Int16sl,
    Int16ub,
    Int24ub,
    Int32sb,
    this,
)
from space_packet_parser.xtce.definitions import XtcePacketDefinition
from space_packet_parser.xtce.validation import validate_xtce

from protocols.dictionary import l4_reports
from protocols.dictionary.l4 import DICTIONARY
from protocols.packets.batch import PacketBatch
from protocols.telemetry.calibration import Enumeration, Polynomial, Spline, Text
from protocols.telemetry.declaration import (
    Condition,
    Dictionary,
    PacketDefinition,
    Parameter,
    Repeat,
    Spare,
)
from protocols.telemetry.fields import Kind
from protocols.telemetry.layout import VariablePart
from protocols.telemetry.limits import EnumerationLimits, Limits
from protocols.telemetry.tables import ParameterTable, Ragged
from protocols.telemetry.xtce import export_xtce, import_xtce
from protocols.timecodes.cds import CdsFormat
from protocols.timecodes.cuc import CucFormat

COMMON = (
    Parameter("TIME", CucFormat(4, 3), unit="ns"),
    Parameter("SID", BitsInteger(4)),
    Parameter("KIND", BitsInteger(4), calibration=Enumeration({1: "A", 2: "B"})),
)

#: With the service reports; structures (HK_n) are not of the file, as they come and go.
SENT = l4_reports.EVERYTHING

EVERYTHING = Dictionary(
    "EVERYTHING",
    (
        PacketDefinition(
            "NUMBERS",
            100,
            (
                *COMMON,
                Parameter("U3", BitsInteger(3), description="three bits <&> more"),
                Parameter("S11", BitsInteger(11, signed=True), unit="m/s"),
                Parameter("U49", BitsInteger(49)),
                Parameter("U24", Int24ub),
                Parameter("S32", Int32sb, limits=Limits((-1000, 1000), (-5000, 5000))),
                Parameter("L16", Int16sl, calibration=Polynomial((1.5, -0.25)), unit="degC"),
                Parameter("B24", BitsInteger(24, swapped=True)),
                Parameter(
                    "CUBIC",
                    Int16ub,
                    calibration=Polynomial((-3.25, 0.5, 1e-4, -1e-9)),
                    notes="two lines\nof notes",
                ),
                Parameter(
                    "LINES",
                    Int16ub,
                    calibration=Spline(((0, -4.0), (100, 3.0), (66000, 9.5)), 1, True),
                    limits=Limits(critical=(None, 9.0), persistence=4),
                ),
                Parameter(
                    "STEPS", Int8ub, calibration=Spline(((0, 1.0), (100, 2.0), (300, 4.0)), 0)
                ),
                Parameter("F16", Float16b),
                Parameter("F32", Float32b, calibration=Polynomial((0.0, 2.0))),
                Parameter("F64", Float64l),
                Parameter("DAY", CdsFormat(2, 2)),
                Spare(1),
            ),
            (Condition("SID", 1),),
            time="TIME",
        ),
        PacketDefinition(
            "LISTS",
            100,
            (
                *COMMON,
                Spare(3),
                Parameter(
                    "SWITCH",
                    BitsInteger(5),
                    calibration=Enumeration({0: "OFF", 1: "ON", 9: "FAILED"}),
                    limits=EnumerationLimits(("OFF",), ("FAILED",), persistence=2),
                ),
                Repeat(
                    (Parameter("X", BitsInteger(12)), Spare(1), Parameter("Y", BitsInteger(3))), 3
                ),
                Parameter("NAME", Bytes(9), calibration=Text()),
                Parameter("KEY", Bytes(4)),
                Parameter("LENGTH", Int8ub),
                Parameter("BLOB", Bytes(this.LENGTH)),
                Parameter("CHARACTERS", Int8ub),
                Parameter("WORDS", Bytes(this.CHARACTERS * 2), calibration=Text("UTF-16BE")),
                Parameter("COUNT", Int16ub),
                Repeat(
                    (Parameter("RATE", Float32b), Parameter("FLAGS", Int8ub)), this.COUNT * 2 + 1
                ),
            ),
            (Condition("SID", 2), Condition("SEQ_FLGS", 3)),
            time="TIME",
            secondary_header=False,
        ),
        PacketDefinition("REST", 101, (Parameter("HEAD", Int16ub), Parameter("TAIL", GreedyBytes))),
        PacketDefinition(
            "SAMPLES",
            102,
            (
                Parameter("RANGE", Int8ub),
                Repeat(Parameter("SAMPLE", Int16sl, calibration=Polynomial((0.0, 0.5)))),
                Parameter("CHECK", Int16ub),
            ),
        ),
    ),
    "Every feature",
)


def numbers(rng: np.random.Generator, parameter: Parameter, shape: Any) -> Any:
    """Raw values over the whole field, kept to what space-packet-parser can decode at all."""
    described = parameter.type
    if described.kind is Kind.FLOAT:
        return np.asarray(rng.normal(size=shape)).astype(described.dtype)
    if described.kind is Kind.TIME:
        return rng.integers(10**18, 4 * 10**18, shape)
    if isinstance(parameter.calibration, Enumeration):
        # It raises for a value without a label.
        return rng.choice([value for value, _ in parameter.calibration.labels], shape)
    high = described.maximum
    if isinstance(parameter.calibration, Spline) and not parameter.calibration.extrapolate:
        # It raises for the last point itself.
        high = min(high, int(parameter.calibration.points[-1][0]) - 1)
    return rng.integers(described.minimum, high, shape, described.dtype, endpoint=True)


def samples(dictionary: Dictionary, definition: PacketDefinition, count: int) -> Iterator[bytes]:
    """Random packets of a definition."""
    rng = np.random.default_rng(4)
    fixed = {c.parameter for c in definition.conditions if c.operator == "=="}
    counts = {
        part.count.parameter
        for part in definition.layout.parts
        if isinstance(part, VariablePart) and part.count
    }
    for sequence in range(count):
        values: dict[str, Any] = {}
        for part in definition.layout.parts:
            many = 0
            if isinstance(part, VariablePart):
                scale, offset = (part.count.scale, part.count.offset) if part.count else (1, 1)
                many = int(rng.integers(0, 5)) * scale + offset
            for slot in part.slots:
                if slot.name in fixed | counts:
                    continue
                repeated = slot.repeat[0] if slot.repeat else None
                if slot.type.kind is Kind.OCTETS:
                    size = many if slot.type.variable else slot.type.bits // 8
                    # ASCII and two-octet characters alike: letters, each preceded by a zero octet
                    # in UTF-16; a NUL ends the text of a fixed field.
                    letters = rng.integers(65, 90, size).astype(np.uint8)
                    if isinstance(slot.parameter.calibration, Text):
                        if slot.parameter.calibration.encoding == "UTF-16BE":
                            letters[::2] = 0
                        elif not slot.type.variable:
                            letters[size // 2 :] = 0
                    values[slot.name] = letters.tobytes()
                else:
                    shape = many if isinstance(part, VariablePart) else repeated
                    values[slot.name] = numbers(rng, slot.parameter, shape)
        yield dictionary.encode(definition.name, values, raw=True, sequence_count=sequence)


def close(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float):
        # Horner's rule here, a sum of powers there: the last bits of a cubic differ.
        return ours == theirs or abs(ours - theirs) <= 1e-12 * max(abs(ours), 1.0)
    return bool(ours == theirs)


def compare(table: ParameterTable, row: int, theirs: Any, peer: XtcePacketDefinition) -> int:
    """Every value of one packet, raw and calibrated; how many were compared."""
    definition, compared = table.definition, 0
    values: list[tuple[Parameter, Any, Any, Any]] = []
    for slot in definition.layout.slots.values():
        raw, engineering = table.raw[slot.name], table.engineering(slot.name)
        part = next(p for p in definition.layout.parts if slot in p.slots)
        if slot.repeat is not None:
            for k in range(slot.repeat[0]):
                item = theirs[f"{slot.name}_{k}"]
                values.append((slot.parameter, raw[row][k], engineering[row][k], item))
        elif isinstance(part, VariablePart) and not part.opaque:
            octets = bytes(theirs[f"{part.slots[0].name}_ELEMENTS"])
            container = f"{part.slots[0].name}_ELEMENT"
            size = part.element_octets
            assert len(octets) == size * len(raw[row])
            for k in range(len(raw[row])):
                element = peer.parse_bytes(
                    octets[k * size : (k + 1) * size], root_container_name=container
                )
                item = element[slot.name]
                values.append((slot.parameter, raw[row][k], engineering[row][k], item))
        else:
            values.append((slot.parameter, raw[row], engineering[row], theirs[slot.name]))
    for parameter, raw, engineering, item in values:
        compared += 1
        if parameter.type.time is not None:
            code = parameter.type.time
            octets = bytes(code.encode(np.array([raw], np.int64))[0])
            if isinstance(item.raw_value, bytes):
                assert item.raw_value == octets, parameter.name
            else:
                assert item.raw_value == int.from_bytes(octets, "big"), parameter.name
                assert abs(item - raw / 1e9) < 1e-5, parameter.name
        elif parameter.type.kind is Kind.OCTETS:
            assert item.raw_value == raw.tobytes(), parameter.name
            if parameter.calibration is not None:
                assert str(item) == str(engineering), parameter.name
        else:
            assert item.raw_value == raw.item(), parameter.name
            same = str(item) == str(engineering)
            assert same or close(engineering.item(), item), (parameter.name, engineering, item)
    return compared


@pytest.mark.parametrize("dictionary", [EVERYTHING, DICTIONARY], ids=["everything", "l4"])
def test_peer_decodes_our_packets_with_our_xtce(dictionary: Dictionary) -> None:
    peer = XtcePacketDefinition.from_xtce(io.BytesIO(export_xtce(dictionary)))
    for definition in dictionary.definitions:
        octets = list(samples(dictionary, definition, 12))
        found = dictionary.decode(PacketBatch.from_packets(octets))
        assert len(found) == 1, definition.name
        assert len(found[0]) == 12
        for row, packet in enumerate(octets):
            with warnings.catch_warnings():
                # It warns if bits are left over, which would be our mistake.
                warnings.simplefilter("error")
                theirs = peer.parse_bytes(packet)
            for parameter in definition.header:
                assert theirs[parameter.name] == found[0].header(parameter.name)[row]
            single = [c for c in found[0].raw.values() if not isinstance(c, Ragged)]
            assert compare(found[0], row, theirs, peer) >= len(single)


@pytest.mark.parametrize(
    "dictionary", [EVERYTHING, DICTIONARY, SENT], ids=["everything", "l4", "sent"]
)
@pytest.mark.parametrize("arrays", ["portable", "standard"])
def test_our_xtce_follows_the_schema(dictionary: Dictionary, arrays: Any, tmp_path: Path) -> None:
    path = tmp_path / "dictionary.xml"
    path.write_bytes(export_xtce(dictionary, arrays=arrays))
    # Its structural rules know no arrays, so they are asked about the portable form alone.
    level = "all" if arrays == "portable" else "schema"
    result = validate_xtce(
        path, level=level, print_results=False, raise_on_error=False, allow_schema_download=False
    )
    assert result, str(result)


def test_jpss_packets_decode_to_the_peer_s_values(shared: Path) -> None:
    """LASP's test data (BSD-3-Clause): 7,200 packets, every field of each."""
    folder = shared / "captures" / "jpss"
    document = folder / "jpss1_geolocation_xtce_v1.xml"
    octets = np.fromfile(next(folder.glob("*.DAT1")), np.uint8)
    dictionary = import_xtce(document.read_bytes())
    n = len(octets) // 71
    batch = PacketBatch(
        octets, np.arange(n + 1, dtype=np.int64) * 71, np.zeros(n, np.uint8), np.zeros(n, np.int64)
    )
    found = dictionary.decode(batch)
    assert not len(found.unmatched)
    assert not len(found.wrong_length)
    (table,) = found
    assert len(table) == 7200
    assert table.definition.name == "JPSS_ATT_EPHEM"
    assert len(table.raw) == 20

    peer = XtcePacketDefinition.from_xtce(document)
    theirs: dict[str, list[Any]] = {}
    raw: dict[str, list[Any]] = {}
    for packet in batch:
        for name, value in peer.parse_bytes(packet).items():
            theirs.setdefault(name, []).append(value)
            raw.setdefault(name, []).append(value.raw_value)
    header = {p.name for p in table.definition.header}
    assert set(theirs) == header | set(table.raw)
    for name in table.raw:
        assert np.array_equal(np.asarray(table.raw[name], np.float64), raw[name]), name
        assert np.array_equal(np.asarray(table.engineering(name), np.float64), theirs[name]), name
    for name in header:
        assert np.array_equal(table.header(name), theirs[name]), name


def test_export_import_export_is_a_fixpoint(shared: Path) -> None:
    jpss = import_xtce(
        (shared / "captures" / "jpss" / "jpss1_geolocation_xtce_v1.xml").read_bytes()
    )
    for dictionary in (EVERYTHING, DICTIONARY, jpss):
        for arrays in ("portable", "standard"):
            document = export_xtce(dictionary, arrays=arrays)
            again = import_xtce(document)
            assert export_xtce(again, arrays=arrays) == document
    assert import_xtce(export_xtce(DICTIONARY)) == DICTIONARY
