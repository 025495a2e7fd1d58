"""How a calibration travels with the raw values that it belongs to.

A receiver then has engineering values without the dictionary, and each value travels once.
On the wire a calibration is octets of their own, `[kind, arguments …]` in msgpack: the same octets
mean the same calibration, so both directions are remembered, and a message of one packet costs no
more than its values.
"""

# pyright: reportUnknownArgumentType=false
from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any, cast

from protocols.bus.fields import Codec, pack_plain, unpack_plain
from protocols.errors import LocalError, RemoteError
from protocols.telemetry.calibration import Calibration, Enumeration, Polynomial, Spline, Text

KINDS: dict[str, type[Any]] = {
    "polynomial": Polynomial,
    "spline": Spline,
    "enumeration": Enumeration,
    "text": Text,
}
_NAMES = {kind: name for name, kind in KINDS.items()}
#: Calibrations remembered in each direction: as many as a large mission has parameters.
REMEMBERED = 16_384


@lru_cache(REMEMBERED)
def _build(calibration: Calibration) -> bytes:
    given = [getattr(calibration, f.name) for f in dataclasses.fields(calibration) if f.init]
    return pack_plain([_NAMES[type(calibration)], *given])


@lru_cache(REMEMBERED)
def _parse(octets: bytes) -> Calibration:
    value = unpack_plain(octets)
    if not isinstance(value, list) or not value:
        raise RemoteError("calibration is not a list", data=octets[:64])
    name, *given = cast(list[Any], value)
    if not isinstance(name, str) or name not in KINDS:
        raise RemoteError(f"calibration {name!r}, one of {list(KINDS)} wanted", data=octets[:64])
    try:
        calibration = KINDS[name](*given)
        # What cannot be compared or sent on has arguments of other types than ours.
        _build(calibration)
    except (LocalError, TypeError, ValueError, OverflowError) as error:
        raise RemoteError(f"{name} of {given!r:.64}: {error}", data=octets[:64]) from error
    return calibration


def _unpack(value: object) -> Calibration | None:
    if value is None:
        return None
    if not isinstance(value, bytes):
        raise RemoteError(f"{type(value).__name__} where a calibration is wanted")
    return _parse(value)


#: A calibration, or None.
CALIBRATION = Codec(lambda value: None if value is None else _build(value), _unpack)

__all__ = ["CALIBRATION"]
