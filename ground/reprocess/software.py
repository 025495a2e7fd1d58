"""What a process would decode with, so that only the like work together."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import protocols

_PACKAGES = ("ground", "protocols")


@cache
def software() -> str:
    """Version of this software, and a digest of what it is made of: two installations that differ
    in a line differ here."""
    root = Path(protocols.__file__).parents[1]
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.suffix in (".py", ".toml") and path.is_file():
                digest.update(f"{path.relative_to(root)}\n".encode())
                digest.update(path.read_bytes())
    try:
        number = version("l4-relay-ground")
    except PackageNotFoundError:
        number = "uninstalled"
    return f"l4-relay-ground {number} ({digest.hexdigest()[:12]})"


__all__ = ["software"]
