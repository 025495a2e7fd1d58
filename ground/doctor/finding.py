"""What a check found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar


class Level(StrEnum):
    """ERROR: something does not work, or will not when it is needed; WARNING: it will not for
    long, or not well; SKIPPED: there is nothing here to be checked."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """check: which one; text: what is so; do: what to do about it, empty where it is well."""

    check: str
    level: Level
    text: str
    do: str = ""


T = TypeVar("T")
Check = Callable[[T], Iterator[Finding]]


def ok(check: str, text: str) -> Finding:
    return Finding(check, Level.OK, text)


def skipped(check: str, text: str) -> Finding:
    return Finding(check, Level.SKIPPED, text)


def warning(check: str, text: str, do: str) -> Finding:
    return Finding(check, Level.WARNING, text, do)


def error(check: str, text: str, do: str) -> Finding:
    return Finding(check, Level.ERROR, text, do)
