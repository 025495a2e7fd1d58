"""Durations, instants and conditions as people write them.

duration    90 s · 30 min · 2 h · 1 d, and several in a row: 1 h 30 min
instant     2026-11-22T21:00:00Z, start, now; + or − a duration: start + 10 min
condition   SC_MODE == SAFE · SC_MODE in NOMINAL|STORM · PWR_BUS_VOLTAGE >= 27.5
            PWR_BUS_VOLTAGE is nominal · PWR_BUS_VOLTAGE is not critical
"""

from __future__ import annotations

import re
from typing import Any, Final

from ground.command.procedures.steps import LIMIT_OPERATORS, VALUE_OPERATORS, Telemetry
from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_utc_iso

_UNITS: Final = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)(?![a-z])\s*")
_INSTANT: Final = re.compile(
    r"(?P<base>\S+?)(?:\s*(?P<sign>[+−-])\s*(?P<shift>\d+(?:\.\d+)?\s*(?:ms|s|min|h|d)\b.*))?"
)
_TEST: Final = re.compile(
    r"(?P<name>[^\s=!<>]+)\s*(?P<operator>==|!=|<=|>=|<|>|\bin\b|\bis\s+not\b|\bis\b)\s*(?P<value>.+)"
)
#: A name that stands for a value.
VARIABLE: Final = re.compile(r"\$(?P<name>[A-Za-z_]\w*)|\$\{(?P<braced>[A-Za-z_]\w*)\}")


def parse_duration(text: Any) -> float:
    """Seconds; LocalError for what is no duration.

    >>> parse_duration("1 h 30 min")
    5400.0
    """
    if isinstance(text, str):
        total, at = 0.0, 0
        while found := _PART.match(text, at):
            total += float(found[1]) * _UNITS[found[2]]
            at = found.end()
        if at and at == len(text):
            return total
    raise LocalError(f"duration {text!r}; a number and s, min, h or d wanted, as 30 min")


def parse_instant(text: Any, *, start_ns: int, now_ns: int) -> int:
    """TAI ns of an instant; a number is one already.  LocalError for what is none.

    >>> parse_instant("start + 2 s", start_ns=10, now_ns=0)
    2000000010
    """
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    bases = {"start": start_ns, "now": now_ns}
    found = _INSTANT.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise LocalError(f"instant {text!r}; UTC as 2026-11-22T21:00:00Z, start or now wanted")
    base, shift = found["base"], found["shift"]
    if base in bases:
        at_ns = bases[base]
    else:
        try:
            at_ns = int(base) if base.isdecimal() else tai_ns_from_utc_iso(base)
        except LocalError as error:
            raise LocalError(
                f"instant {text!r}; UTC as 2026-11-22T21:00:00Z, start or now wanted"
            ) from error
    if shift is None:
        return at_ns
    shift_ns = round(parse_duration(shift) * 1e9)
    return at_ns + shift_ns if found["sign"] == "+" else at_ns - shift_ns


def split_test(text: str) -> tuple[str, str, str]:
    """What stands left of an operator, the operator, and what stands right of it."""
    found = _TEST.fullmatch(text.strip())
    if found is None:
        operators = " ".join((*VALUE_OPERATORS, *LIMIT_OPERATORS))
        raise LocalError(f"condition {text!r}; NAME OPERATOR VALUE wanted, operators {operators}")
    return found["name"], " ".join(found["operator"].split()), found["value"].strip()


def literal(text: str) -> float | str:
    """A number if it is one."""
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text


def parse_condition(text: str, within_s: float | None, after_request: int = 0) -> Telemetry:
    """A test of telemetry; LocalError for what is none, and without an age.

    >>> parse_condition("SC_MODE in NOMINAL|STORM", 60.0).value
    ('NOMINAL', 'STORM')
    """
    name, operator, value = split_test(text)
    if within_s is None:
        raise LocalError(f"condition {text!r}: how old may {name} be? within wanted")
    if operator == "in":
        choices = tuple(literal(part.strip()) for part in value.split("|"))
        return Telemetry(name, operator, choices, within_s, after_request)
    return Telemetry(name, operator, literal(value), within_s, after_request)
