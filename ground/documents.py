"""TOML and JSON that others wrote: their value, or a ValueError that says why there is none.

The standard library's parsers call themselves for what is nested, so that a line of brackets ends
in a RecursionError, which nobody who reads a file expects.
"""

from __future__ import annotations

import json
import tomllib
from typing import Any


def toml_of(octets: bytes) -> dict[str, Any]:
    """ValueError: no UTF-8, no TOML, or nested too deeply.

    >>> toml_of(b"a = " + b"[" * 10_000)
    Traceback (most recent call last):
    ValueError: nested too deeply
    """
    try:
        return tomllib.loads(octets.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def json_of(octets: bytes | str) -> Any:
    """ValueError: no UTF-8, no JSON, or nested too deeply."""
    try:
        return json.loads(octets)
    except RecursionError:
        raise ValueError("nested too deeply") from None
