"""Every target, by area: a module's `TARGETS`."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from tests.fuzz.target import Target

AREAS: Final = ("link", "relay", "services", "documents", "inputs")


def targets(*areas: str) -> dict[str, Target]:
    """By name, in the order of the areas; all of them unless some are named."""
    found: dict[str, Target] = {}
    for area in areas or AREAS:
        for target in import_module(f"tests.fuzz.targets.{area}").TARGETS:
            assert target.name not in found, target.name
            found[target.name] = target
    return found


def area_of(name: str) -> str:
    """Where a target is declared."""
    return next(area for area in AREAS if name in targets(area))
