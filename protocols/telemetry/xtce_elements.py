"""XTCE elements, and the parameter types among them, for `xtce_write.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from protocols.errors import LocalError
from protocols.telemetry.calibration import Calibration, Enumeration, Polynomial, Spline, Text
from protocols.telemetry.declaration import Parameter
from protocols.telemetry.fields import Kind
from protocols.telemetry.limits import AnyLimits, EnumerationLimits, Range, Severity
from protocols.timecodes.cds import CdsFormat
from protocols.timecodes.cuc import CucFormat

#: Names of AncillaryData by which an import recovers what XTCE has no words for.
SPARE = "l4.spare"
REPEAT = "l4.repeat"
PARAMETER = "l4.parameter"
TIME_CODE = "l4.time-code"
SCET_PARAMETER = "l4.scet"
SECONDARY_HEADER = "l4.secondary-header"
UNLISTED = "l4.unlisted"
UNIT = "l4.unit"

#: 133.0-B-2 §4.1.3.5.3; XTCE asks for an upper bound of variable strings.
LONGEST_BITS = 8 * 65536

Element = ElementTree.Element

#: XML 1.0 §2.2: characters that no XML document can hold.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def make(tag: str, *children: Element | None, **attributes: Any) -> Element:
    element = ElementTree.Element(f"xtce:{tag}")
    for name, value in attributes.items():
        if value is not None and value != "":
            element.set(name, _checked(str(value)))
    element.extend([child for child in children if child is not None])
    return element


def _checked(text: str) -> str:
    if _NO_XML.search(text):
        raise LocalError(f"XTCE: {text!r} has a character that XML cannot hold")
    return text


def add(element: Element, child: Element | None) -> None:
    if child is not None:
        element.append(child)


def notes(text: str) -> Element | None:
    return leaf("LongDescription", text) if text else None


def leaf(tag: str, text: str) -> Element:
    element = make(tag)
    element.text = _checked(text)
    return element


def ancillary(values: Sequence[tuple[str, Any]]) -> Element | None:
    found: list[Element] = []
    for name, value in values:
        if value is not None:
            item = make("AncillaryData", name=name)
            item.text = _checked(str(value))
            found.append(item)
    return make("AncillaryDataSet", *found) if found else None


def number(value: float) -> str:
    """Shortest text that reads back as the same double."""
    return repr(float(value))


def flag(value: bool) -> str:
    return "true" if value else "false"


def _reference(parameter: str) -> Element:
    return make("ParameterInstanceRef", parameterRef=parameter, useCalibratedValue="false")


def dynamic(parameter: str, slope: float, intercept: float) -> Element:
    adjustment = make("LinearAdjustment", slope=number(slope), intercept=number(intercept))
    return make("DynamicValue", _reference(parameter), adjustment)


def byte_order(little: bool) -> str | None:
    return "leastSignificantByteFirst" if little else None


def string(text: Text, size: Element | None, *, fixed: bool) -> Element:
    ends = fixed if text.terminated is None else text.terminated
    nul = "0000" if text.encoding.startswith("UTF-16") else "00"
    termination = leaf("TerminationChar", nul) if ends else None
    if fixed:
        sized = make("SizeInBits", make("Fixed", size), termination)
    else:
        sized = make("Variable", size, termination, maxSizeInBits=LONGEST_BITS)
    return make("StringDataEncoding", sized, encoding=text.encoding)


def calibrator(calibration: Calibration | None) -> Element | None:
    if isinstance(calibration, Polynomial):
        terms = [
            make("Term", coefficient=number(c), exponent=exponent)
            for exponent, c in enumerate(calibration.coefficients)
        ]
        return make("DefaultCalibrator", make("PolynomialCalibrator", *terms))
    if isinstance(calibration, Spline):
        points = [
            make("SplinePoint", raw=number(x), calibrated=number(y)) for x, y in calibration.points
        ]
        if len(points) < 2:
            raise LocalError(f"XTCE: spline {calibration.points}: two points or more wanted")
        spline = make(
            "SplineCalibrator",
            *points,
            order=calibration.order,
            extrapolate=flag(calibration.extrapolate),
        )
        return make("DefaultCalibrator", spline)
    return None


def _range(tag: str, bounds: Range | None) -> Element | None:
    if bounds is None:
        return None
    low, high = bounds
    return make(
        tag,
        minInclusive=None if low is None else number(low),
        maxInclusive=None if high is None else number(high),
    )


def alarm(limits: AnyLimits | None) -> Element | None:
    if limits is None:
        return None
    if isinstance(limits, EnumerationLimits):
        unlisted = None if limits.unlisted is Severity.WARNING else limits.unlisted.name.lower()
        levels = [("warning", label) for label in limits.warning]
        levels += [("critical", label) for label in limits.critical]
        alarms = [
            make("EnumerationAlarm", alarmLevel=level, enumerationLabel=label)
            for level, label in levels
        ]
        return make(
            "DefaultAlarm",
            ancillary([(UNLISTED, unlisted)]),
            make("EnumerationAlarmList", *alarms),
            minViolations=limits.persistence,
        )
    ranges = make(
        "StaticAlarmRanges",
        _range("WarningRange", limits.warning),
        _range("CriticalRange", limits.critical),
    )
    return make("DefaultAlarm", ranges, minViolations=limits.persistence)


def parameter_type(parameter: Parameter, size: Element | None) -> Element:
    """A parameter's type; `size` is that of octets of variable length."""
    described, calibration = parameter.type, parameter.calibration
    name = f"{parameter.name}_Type"
    if described.kind is Kind.TIME:
        return time_type(parameter, name)
    units = None
    if parameter.unit:
        units = make("UnitSet", leaf("Unit", parameter.unit))
    if described.kind is Kind.OCTETS:
        if described.variable:
            assert size is not None
        else:
            size = leaf("FixedValue", str(described.bits))
        if isinstance(calibration, Text):
            encoding = string(calibration, size, fixed=not described.variable)
            return make("StringParameterType", units, encoding, name=name)
        encoding = make("BinaryDataEncoding", make("SizeInBits", size))
        return make("BinaryParameterType", units, encoding, name=name)
    signed = described.kind is Kind.SIGNED
    if described.kind is Kind.FLOAT:
        encoding = make(
            "FloatDataEncoding",
            calibrator(calibration),
            sizeInBits=described.bits,
            encoding="IEEE754_1985",
            byteOrder=byte_order(described.little),
        )
    else:
        encoding = make(
            "IntegerDataEncoding",
            calibrator(calibration),
            sizeInBits=described.bits,
            encoding="twosComplement" if signed else "unsigned",
            byteOrder=byte_order(described.little),
        )
    limits = alarm(parameter.limits)
    if isinstance(calibration, Enumeration):
        labels = [
            make("Enumeration", value=value, label=label) for value, label in calibration.labels
        ]
        listed = make("EnumerationList", *labels)
        return make("EnumeratedParameterType", units, encoding, listed, limits, name=name)
    if described.is_integer and calibration is None:
        return make(
            "IntegerParameterType",
            units,
            encoding,
            limits,
            name=name,
            sizeInBits=described.bits,
            signed=flag(signed),
        )
    bits = 64 if calibration is not None else max(described.bits, 32)
    return make("FloatParameterType", units, encoding, limits, name=name, sizeInBits=bits)


def time_type(parameter: Parameter, name: str) -> Element:
    """Times in TAI seconds since 1958 where a scale can say it; else octets and their name."""
    time = parameter.type.time
    if isinstance(time, CucFormat):
        words = (
            f"CUC coarse={time.coarse_octets} fine={time.fine_octets} "
            f"epoch_tai_ns={time.epoch_tai_ns} p_field={int(time.p_field)}"
        )
    elif isinstance(time, CdsFormat):
        words = (
            f"CDS day={time.day_octets} submillisecond={time.submillisecond_octets} "
            f"epoch_tai_ns={time.epoch_tai_ns} p_field={int(time.p_field)} scale={time.scale}"
        )
    else:
        raise LocalError(f"XTCE: parameter {parameter.name}: time code {time!r} has no name")
    if isinstance(time, CucFormat) and not time.p_field:
        inner = make("IntegerDataEncoding", sizeInBits=parameter.type.bits, encoding="unsigned")
        encoding = make(
            "Encoding",
            inner,
            units="seconds",
            scale=number(2.0 ** (-8 * time.fine_octets)),
            offset=number(time.epoch_tai_ns / 1e9),
        )
    else:
        size = leaf("FixedValue", str(parameter.type.bits))
        inner = make("BinaryDataEncoding", make("SizeInBits", size))
        encoding = make("Encoding", inner, units="seconds")
    unit = None if parameter.unit == "ns" else parameter.unit
    return make(
        "AbsoluteTimeParameterType",
        ancillary([(TIME_CODE, words), (UNIT, unit)]),
        encoding,
        make("ReferenceTime", leaf("Epoch", "TAI")),
        name=name,
    )
