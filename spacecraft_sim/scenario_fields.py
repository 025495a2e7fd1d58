"""Fields of a scenario's tables: a default, and what is allowed."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def number(default: float, low: float, high: float) -> Any:
    return field(default=default, metadata={"low": low, "high": high})


def choice(default: str, *allowed: str) -> Any:
    return field(default=default, metadata={"allowed": allowed})
