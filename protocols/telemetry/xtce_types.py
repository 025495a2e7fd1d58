"""XTCE parameter types: each gives unit, construct field, calibration and limits."""

# construct and Numba ship no types: what comes out of them is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from construct import (
    BitsInteger,
    Bytes,
    Float16b,
    Float16l,
    Float32b,
    Float32l,
    Float64b,
    Float64l,
)

from protocols.errors import LocalError
from protocols.telemetry import xtce_elements as names
from protocols.telemetry.calibration import (
    CHARACTER_SETS,
    Calibration,
    Enumeration,
    Polynomial,
    Spline,
    Text,
)
from protocols.telemetry.declaration import Parameter
from protocols.telemetry.fields import Count
from protocols.telemetry.limits import AnyLimits, EnumerationLimits, Limits, Severity
from protocols.telemetry.xtce_node import Node
from protocols.timecodes.cds import CdsFormat
from protocols.timecodes.cuc import CucFormat


class Reading(Protocol):
    """What a type asks of the document that it stands in."""

    length_name: str

    def parameter(self, name: str, node: Node) -> Parameter: ...


@dataclass(frozen=True)
class OpenEnd:
    """A size that follows from the packet's length: bits = 8 × packet length field + intercept."""

    intercept: float


@dataclass(frozen=True)
class Size:
    """bits = fixed, or parameter × slope + intercept."""

    parameter: str | None
    slope: float
    intercept: float


def operand(node: Node) -> tuple[str, bool]:
    """A reference to a parameter, and whether its calibrated value is meant."""
    name = local_name(node, node.attribute("parameterRef"))
    if node.integer("instance", "0") != 0:
        raise node.refuse("attribute instance: only the parameter's last value can be meant")
    return name, node.flag("useCalibratedValue", True)


def local_name(node: Node, reference: str) -> str:
    if "/" in reference or "[" in reference:
        raise node.refuse(f"reference {reference!r} into another space system or structure")
    return reference


def read_multiple(size: Size, unit: int, node: Node) -> Count:
    scale, offset = size.slope / unit, size.intercept / unit
    if scale != int(scale) or offset != int(offset) or scale < 1 or size.parameter is None:
        raise node.refuse(
            f"LinearAdjustment of {size.slope:g} and {size.intercept:g}: multiples of {unit} wanted"
        )
    return Count(size.parameter, int(scale), int(offset))


def read_value(reader: Reading, node: Node) -> Size:
    """An IntegerValueType."""
    fixed = node.child("FixedValue")
    if fixed is not None:
        size = Size(None, 0.0, float(fixed.content(int)))
        fixed.finish()
    else:
        dynamic = node.need("DynamicValue")
        size = read_dynamic(reader, dynamic)
    node.finish()
    return size


def read_dynamic(reader: Reading, node: Node) -> Size:
    reference = node.need("ParameterInstanceRef")
    name, calibrated = operand(reference)
    reference.finish()
    if calibrated and reader.parameter(name, reference).calibration is not None:
        raise reference.refuse(f"size from the calibrated value of {name}")
    slope, intercept = 1.0, 0.0
    adjustment = node.child("LinearAdjustment")
    if adjustment is not None:
        slope, intercept = adjustment.real("slope"), adjustment.real("intercept", "0")
        adjustment.finish()
    node.finish()
    return Size(name, slope, intercept)


def encoding_size(reader: Reading, encoding: Node) -> Size:
    size = read_value(reader, encoding.need("SizeInBits"))
    _plain_order(encoding)
    encoding.finish()
    return size


def read_octets(reader: Reading, size: Size, node: Node) -> Any:
    """The field of octets of a size in bits."""
    if size.parameter is None:
        if size.intercept <= 0 or size.intercept % 8:
            raise node.refuse(f"{size.intercept:g} bits; whole octets wanted")
        return Bytes(int(size.intercept) // 8)
    if size.parameter == reader.length_name:
        if size.slope != 8:
            raise node.refuse(f"{size.slope:g} × packet length; 8 bits each wanted")
        return OpenEnd(size.intercept)
    count = read_multiple(size, 8, node)
    return Bytes(count)


def _plain_order(encoding: Node) -> bool:
    """Whether the octets come least significant first; bits must come most significant first."""
    if encoding.attribute("bitOrder", "mostSignificantBitFirst") != "mostSignificantBitFirst":
        raise encoding.refuse("attribute bitOrder leastSignificantBitFirst")
    order = encoding.attribute("byteOrder", "mostSignificantByteFirst")
    if order not in ("mostSignificantByteFirst", "leastSignificantByteFirst"):
        raise encoding.refuse(f"attribute byteOrder {order!r}")
    return order == "leastSignificantByteFirst"


TypeParts = tuple[str, Any, Calibration | None, AnyLimits | None]


def _unit(kind: Node) -> str:
    block = kind.child("UnitSet")
    if block is None:
        return ""
    units = block.children("Unit")
    block.finish()
    if len(units) > 1:
        raise units[1].refuse("more than one unit")
    for unit in units:
        text = unit.text().strip()
        unit.finish()
        return text
    return ""


def _encoding(kind: Node, *allowed: str) -> Node:
    found = [
        node
        for tag in (
            "IntegerDataEncoding",
            "FloatDataEncoding",
            "BinaryDataEncoding",
            "StringDataEncoding",
        )
        for node in kind.children(tag)
    ]
    if len(found) != 1:
        raise kind.refuse(f"{len(found)} data encodings; one wanted")
    if found[0].tag not in allowed:
        raise found[0].refuse(f"element {found[0].tag} in {kind.tag}")
    return found[0]


_SIGNED = {
    "unsigned": False,
    "twosComplement": True,
    # Not in the schema, but seen in files and known to other readers.
    "twosCompliment": True,
    "signed": True,
}
_FLOATS = {16: (Float16b, Float16l), 32: (Float32b, Float32l), 64: (Float64b, Float64l)}


def _numeric(encoding: Node) -> tuple[Any, Calibration | None]:
    """Field and calibrator of an integer or float encoding."""
    little = _plain_order(encoding)
    if encoding.tag == "IntegerDataEncoding":
        bits = encoding.integer("sizeInBits", "8")
        form = encoding.attribute("encoding", "unsigned")
        if form not in _SIGNED:
            raise encoding.refuse(f"attribute encoding {form!r}")
        if not 1 <= bits <= 64 or (little and bits % 8):
            raise encoding.refuse(f"attribute sizeInBits {bits}, byteOrder {little=}")
        described: Any = BitsInteger(bits, signed=_SIGNED[form], swapped=little and bits > 8)
    else:
        bits = encoding.integer("sizeInBits", "32")
        # XTCE 1.2 spells it both ways; 1.1 knows IEEE754_1985 alone.
        form = encoding.attribute("encoding", "IEEE754_1985")
        if form not in ("IEEE754", "IEEE754_1985") or bits not in _FLOATS:
            raise encoding.refuse(f"attribute encoding {form!r} of {bits} bits")
        described = _FLOATS[bits][little]
    calibration = None
    block = encoding.child("DefaultCalibrator")
    if block is not None:
        calibration = _calibration(block)
    encoding.finish()
    return described, calibration


def _calibration(block: Node) -> Calibration:
    polynomial, spline = block.child("PolynomialCalibrator"), block.child("SplineCalibrator")
    block.finish()
    try:
        if polynomial is not None:
            terms: dict[int, float] = {}
            for term in polynomial.children("Term"):
                exponent = term.integer("exponent")
                if not 0 <= exponent <= 32 or exponent in terms:
                    raise term.refuse(f"attribute exponent {exponent}; 0..32, each once")
                terms[exponent] = term.real("coefficient")
                term.finish()
            polynomial.finish()
            highest = max(terms, default=-1)
            return Polynomial([terms.get(exponent, 0.0) for exponent in range(highest + 1)])
        if spline is not None:
            points: list[tuple[float, float]] = []
            for point in spline.children("SplinePoint"):
                point.integer("order", "1")
                points.append((point.real("raw"), point.real("calibrated")))
                point.finish()
            order, extrapolate = spline.integer("order", "1"), spline.flag("extrapolate", False)
            spline.finish()
            return Spline(tuple(points), order, extrapolate)
    except LocalError as error:
        raise block.refuse(str(error)) from error
    raise block.refuse("no PolynomialCalibrator or SplineCalibrator")


def _persistence(alarm: Node) -> int:
    return alarm.integer("minViolations", "1")


def _range(ranges: Node, tag: str) -> tuple[float | None, float | None] | None:
    node = ranges.child(tag)
    if node is None:
        return None
    bounds = tuple(
        node.real(name) if name in node.element.attrib else None
        for name in ("minInclusive", "maxInclusive")
    )
    node.finish()
    return bounds[0], bounds[1]


def _limits(kind: Node) -> Limits | None:
    alarm = kind.child("DefaultAlarm")
    if alarm is None:
        return None
    ranges = alarm.need("StaticAlarmRanges")
    persistence = _persistence(alarm)
    alarm.finish()
    if ranges.attribute("rangeForm", "outside") != "outside":
        raise ranges.refuse("attribute rangeForm other than outside")
    warning, critical = _range(ranges, "WarningRange"), _range(ranges, "CriticalRange")
    ranges.finish()
    try:
        return Limits(warning, critical, persistence)
    except LocalError as error:
        raise alarm.refuse(str(error)) from error


def _enumeration_limits(kind: Node) -> EnumerationLimits | None:
    alarm = kind.child("DefaultAlarm")
    if alarm is None:
        return None
    unlisted = alarm.ancillary().get(names.UNLISTED, "warning").upper()
    if unlisted not in Severity.__members__:
        raise alarm.refuse(f"AncillaryData {names.UNLISTED} is {unlisted!r}")
    if alarm.attribute("defaultAlarmLevel", "normal") != "normal":
        raise alarm.refuse("attribute defaultAlarmLevel other than normal")
    labels: dict[str, list[str]] = {"normal": [], "warning": [], "critical": []}
    listed = alarm.need("EnumerationAlarmList")
    for item in listed.children("EnumerationAlarm"):
        level = item.attribute("alarmLevel")
        if level not in labels:
            raise item.refuse(f"attribute alarmLevel {level!r}; {sorted(labels)} can be said")
        labels[level].append(item.attribute("enumerationLabel"))
        item.finish()
    listed.finish()
    persistence = _persistence(alarm)
    alarm.finish()
    try:
        return EnumerationLimits(
            tuple(labels["warning"]), tuple(labels["critical"]), Severity[unlisted], persistence
        )
    except LocalError as error:
        raise alarm.refuse(str(error)) from error


def _integer_type(reader: Reading, kind: Node) -> TypeParts:
    described, calibration = _numeric(_encoding(kind, "IntegerDataEncoding"))
    # Size and sign of the host's variable, which no array needs to be told.
    kind.attribute("sizeInBits", "32")
    kind.flag("signed", True)
    return _unit(kind), described, calibration, _limits(kind)


def _float_type(reader: Reading, kind: Node) -> TypeParts:
    encoding = _encoding(kind, "IntegerDataEncoding", "FloatDataEncoding")
    described, calibration = _numeric(encoding)
    if encoding.tag == "IntegerDataEncoding" and calibration is None:
        # An integer that XTCE calls a float: its engineering value is the same number as a double.
        calibration = Polynomial((0.0, 1.0))
    kind.attribute("sizeInBits", "32")
    return _unit(kind), described, calibration, _limits(kind)


def _enumerated_type(reader: Reading, kind: Node) -> TypeParts:
    encoding = _encoding(kind, "IntegerDataEncoding")
    described, calibration = _numeric(encoding)
    if calibration is not None:
        raise encoding.refuse("element DefaultCalibrator of an enumeration")
    listed = kind.need("EnumerationList")
    labels: list[tuple[int, str]] = []
    for item in listed.children("Enumeration"):
        labels.append((item.integer("value"), item.attribute("label")))
        item.finish()
    listed.finish()
    try:
        enumeration = Enumeration(tuple(labels))
    except LocalError as error:
        raise listed.refuse(str(error)) from error
    return _unit(kind), described, enumeration, _enumeration_limits(kind)


def _boolean_type(reader: Reading, kind: Node) -> TypeParts:
    encoding = _encoding(kind, "IntegerDataEncoding")
    described, calibration = _numeric(encoding)
    if calibration is not None or described.length != 1:
        raise encoding.refuse("a boolean of more than one bit, or calibrated")
    labels = {
        0: kind.attribute("zeroStringValue", "False"),
        1: kind.attribute("oneStringValue", "True"),
    }
    return _unit(kind), described, Enumeration(labels), None


def _binary_type(reader: Reading, kind: Node) -> TypeParts:
    encoding = _encoding(kind, "BinaryDataEncoding")
    return _unit(kind), read_octets(reader, encoding_size(reader, encoding), encoding), None, None


def _string_type(reader: Reading, kind: Node) -> TypeParts:
    encoding = _encoding(kind, "StringDataEncoding")
    characters = encoding.attribute("encoding", "UTF-8")
    if characters not in CHARACTER_SETS:
        raise encoding.refuse(f"attribute encoding {characters!r}")
    _plain_order(encoding)
    sized, variable = encoding.child("SizeInBits"), encoding.child("Variable")
    encoding.finish()
    block = sized or variable
    if block is None:
        raise encoding.refuse("element SizeInBits or Variable is missing")
    ending = block.child("TerminationChar")
    if ending is not None:
        nul = "0000" if characters.startswith("UTF-16") else "00"
        if (ending.text().strip() or nul) != nul:
            raise ending.refuse(f"terminated by {ending.text()!r}; {nul} wanted")
        ending.finish()
    if sized is not None:
        size = read_value(reader, sized.need("Fixed"))
    else:
        block.integer("maxSizeInBits")
        size = read_dynamic(reader, block.need("DynamicValue"))
    block.finish()
    usual = (ending is not None) == (sized is not None)
    text = Text(characters, None if usual else ending is not None)
    return _unit(kind), read_octets(reader, size, encoding), text, None


def _time_encoding(kind: Node) -> tuple[Node, float, float]:
    """Inner encoding, and seconds = scale × value + offset."""
    encoding = kind.need("Encoding")
    if encoding.attribute("units", "seconds") != "seconds":
        raise encoding.refuse("attribute units other than seconds")
    scale, offset = encoding.real("scale", "1"), encoding.real("offset", "0")
    inner = _encoding(encoding, "IntegerDataEncoding", "FloatDataEncoding", "BinaryDataEncoding")
    encoding.finish()
    return inner, scale, offset


_TIME_CODE = re.compile(r"(CUC|CDS)((?: [a-z_]+=[a-z0-9-]+)+)")


def _time_code(kind: Node, words: str) -> Any:
    match = _TIME_CODE.fullmatch(words)
    try:
        if match is None:
            raise ValueError(words)
        said = dict(item.split("=", 1) for item in match[2].split())
        epoch, p_field = int(said.pop("epoch_tai_ns")), said.pop("p_field") == "1"
        if match[1] == "CUC":
            return CucFormat(int(said["coarse"]), int(said["fine"]), epoch, p_field)
        day, sub = int(said["day"]), int(said["submillisecond"])
        scale = said["scale"]
        return CdsFormat(day, sub, epoch, p_field, "tai" if scale == "tai" else "utc")
    except (ValueError, KeyError) as error:
        raise kind.refuse(f"AncillaryData {names.TIME_CODE} is {words!r}") from error


def _absolute_time_type(reader: Reading, kind: Node) -> TypeParts:
    inner, scale, offset = _time_encoding(kind)
    reference = kind.need("ReferenceTime")
    epoch = reference.need("Epoch")
    reference.finish()
    if epoch.text().strip() != "TAI":
        raise epoch.refuse(f"epoch {epoch.text()!r}; TAI wanted")
    ancillary = kind.ancillary()
    unit = ancillary.get(names.UNIT, "ns")
    words = ancillary.get(names.TIME_CODE)
    if inner.tag == "BinaryDataEncoding":
        size = encoding_size(reader, inner)
        if words is None:
            raise inner.refuse("a time in octets without the name of its code")
        code = _time_code(kind, words)
        if size.intercept != 8 * code.size:
            raise inner.refuse(f"{size.intercept:g} bits; {8 * code.size} are a {words}")
        return unit, code, None, None
    described, calibration = _numeric(inner)
    if words is not None:
        return unit, _time_code(kind, words), None, None
    fine = next((k for k in range(11) if scale == 2.0 ** (-8 * k)), None)
    plain = inner.tag == "IntegerDataEncoding" and calibration is None
    if fine is None or not plain or described.signed or described.length % 8:
        raise inner.refuse(f"a time of scale {scale!r}: only a CUC can be said, 2^-8k of a second")
    try:
        code = CucFormat(described.length // 8 - fine, fine, round(offset * 1e9))
    except LocalError as error:
        raise inner.refuse(str(error)) from error
    return unit, code, None, None


def _relative_time_type(reader: Reading, kind: Node) -> TypeParts:
    inner, scale, offset = _time_encoding(kind)
    if inner.tag == "BinaryDataEncoding":
        raise inner.refuse("element BinaryDataEncoding in RelativeTimeParameterType")
    described, calibration = _numeric(inner)
    if (scale, offset) != (1.0, 0.0):
        if calibration is not None:
            raise inner.refuse("element DefaultCalibrator beside scale and offset")
        calibration = Polynomial((offset, scale))
    return "s", described, calibration, None


TYPES: dict[str, Callable[[Reading, Node], TypeParts]] = {
    "IntegerParameterType": _integer_type,
    "FloatParameterType": _float_type,
    "EnumeratedParameterType": _enumerated_type,
    "BooleanParameterType": _boolean_type,
    "BinaryParameterType": _binary_type,
    "StringParameterType": _string_type,
    "AbsoluteTimeParameterType": _absolute_time_type,
    "RelativeTimeParameterType": _relative_time_type,
}
