"""A command's arguments as people write them: `MODE=SAFE`, `DURATION=12.5`, `FROM=+2h`.

    >>> from protocols.dictionary.l4_commands import COMMANDS
    >>> parse_arguments(COMMANDS, "MODE_SET", ["MODE=safe"], now_ns=0)
    {'MODE': 'SAFE'}
    >>> parse_arguments(COMMANDS, "HK_ENABLE", ["STRUCTURES=1,0x10"], now_ns=0)
    {'STRUCTURES': [1, 16]}

A request within a request is written as a call: `REQUEST='MODE_SET(MODE=SAFE)'`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from protocols.errors import LocalError, RemoteError
from protocols.telecommand.declaration import Argument, Command, CommandDictionary
from protocols.telemetry.calibration import Enumeration, Text
from protocols.telemetry.fields import Kind
from protocols.timecodes.tai import tai_ns_from_utc_iso

_CALL: Final = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
_OFFSET: Final = re.compile(r"\+(\d+(?:\.\d+)?)(s|min|h|d)?")
_SECONDS: Final = {"s": 1, "min": 60, "h": 3_600, "d": 86_400, None: 1}


def parse_arguments(
    commands: CommandDictionary, name: str, texts: Sequence[str], *, now_ns: int
) -> dict[str, Any]:
    """Arguments by name; now_ns: what times like `+2h` count from.

    Raises LocalError, naming what was written and what is allowed.  Ranges are checked by
    `Command.complete`.
    """
    command = commands.command(name)
    known = {argument.name: argument for argument in command.given}
    values: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip().upper()
        if not equals:
            raise LocalError(f"{name}: {text!r}; NAME=VALUE wanted")
        if key not in known:
            raise LocalError(f"{name}: no argument {key}; it has {', '.join(known) or 'none'}")
        values[key] = _value(commands, command, known[key], value, now_ns)
    return values


#: Of what people may ask for; TAI ns in 64 bits end in 2250.
_LATEST_YEAR: Final = 2200
_LATEST_NS: Final = tai_ns_from_utc_iso(f"{_LATEST_YEAR}-12-31T00:00:00Z")


def parse_time(text: str, *, now_ns: int) -> int:
    """TAI ns of a UTC time, or of `+90s`, `+5min`, `+2h`, `+1d` from now.  Raises LocalError."""
    offset = _OFFSET.fullmatch(text.strip())
    if offset is not None:
        ahead_ns = float(offset[1]) * _SECONDS[offset[2]] * 1e9
        if ahead_ns > _LATEST_NS - now_ns:
            raise LocalError(f"time {text!r}: in {_LATEST_YEAR} at the latest")
        return now_ns + round(ahead_ns)
    try:
        return tai_ns_from_utc_iso(text.strip())
    except (LocalError, RemoteError, ValueError) as error:
        raise LocalError(
            f"time {text!r}: UTC like 2026-11-28T12:00:00Z, or +90s, +5min, +2h wanted"
        ) from error


def _value(
    commands: CommandDictionary, command: Command, argument: Argument, text: str, now_ns: int
) -> Any:
    if argument.name in command.repeated:
        return [_one(commands, argument, one, now_ns) for one in text.split(",")]
    return _one(commands, argument, text, now_ns)


def _one(commands: CommandDictionary, argument: Argument, text: str, now_ns: int) -> Any:
    text = text.strip()
    wrong = f"argument {argument.name}: {text!r}; {argument.allowed} allowed"
    if isinstance(argument.calibration, Enumeration):
        labels = {label.casefold(): label for _, label in argument.calibration.labels}
        if text.casefold() not in labels:
            raise LocalError(wrong)
        return labels[text.casefold()]
    kind = argument.type.kind
    if kind is Kind.TIME:
        return parse_time(text, now_ns=now_ns)
    if kind is Kind.OCTETS:
        return _octets(commands, argument, text, now_ns)
    try:
        return int(text, 0)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError as error:
        raise LocalError(wrong) from error


def _octets(commands: CommandDictionary, argument: Argument, text: str, now_ns: int) -> bytes | str:
    if isinstance(argument.calibration, Text):
        return text
    call = _CALL.fullmatch(text)
    if call is not None:
        parts = [part for part in re.split(r"[;,]\s*(?=\w+=)", call[2]) if part.strip()]
        inner = parse_arguments(commands, call[1], parts, now_ns=now_ns)
        return commands.build(call[1], inner)
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise LocalError(
            f"argument {argument.name}: {text[:40]!r}; hexadecimal, or COMMAND(ARG=VALUE) wanted"
        ) from error
