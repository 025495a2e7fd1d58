"""What a transmitter without a memory has radiated: a file that outlives a kill.

A line of JSON each time: an id begins (its fate, if it goes well), or is withdrawn since the wire
did not take it.  A line is on disk before the wire is given anything: what a kill leaves undecided
counts as radiated, for a command that goes up twice is worse than one that has to be sent again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO, Final

from protocols.bus.messages import RadiatedMessage

#: Fates kept; whoever asks for one that is older has long stopped to ask.
MOST: Final = 10_000


class UplinkLog:
    """One process at a time (the run directory is its)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fates: dict[str, RadiatedMessage] = {}
        self._file: BinaryIO | None = None

    def open(self) -> None:
        """Read what is there; a line that was being written when the power went is left out."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        old = self._path.read_bytes() if self._path.exists() else b""
        for line in old.split(b"\n")[:-1]:
            try:
                entry = json.loads(line)
                fate = RadiatedMessage(**entry["fate"]) if "fate" in entry else None
                ident = fate.id if fate is not None else entry["withdrawn"]
            except (ValueError, KeyError, TypeError):
                continue
            self._set(ident, fate)
        # Written anew: torn lines go, and what is too old.
        replacement = self._path.with_suffix(".new")
        with replacement.open("wb") as file:
            file.write(b"".join(_line(fate) for fate in self._fates.values()))
            file.flush()
            os.fsync(file.fileno())
        replacement.replace(self._path)
        self._file = self._path.open("ab", buffering=0)

    def fate(self, ident: str) -> RadiatedMessage | None:
        return self._fates.get(ident)

    def begin(self, fate: RadiatedMessage) -> None:
        """On disk when this returns."""
        self._set(fate.id, fate)
        self._write(_line(fate))

    def withdraw(self, ident: str) -> None:
        self._set(ident, None)
        self._write(json.dumps({"withdrawn": ident}).encode() + b"\n")

    def _set(self, ident: str, fate: RadiatedMessage | None) -> None:
        self._fates.pop(ident, None)
        if fate is not None:
            self._fates[ident] = fate
            if len(self._fates) > MOST:
                del self._fates[next(iter(self._fates))]

    def _write(self, line: bytes) -> None:
        if self._file is not None:
            self._file.write(line)
            os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _line(fate: RadiatedMessage) -> bytes:
    values = {
        "id": fate.id,
        "service": fate.service,
        "carrier": fate.carrier,
        "start_ns": fate.start_ns,
        "end_ns": fate.end_ns,
        "refused": fate.refused,
    }
    return json.dumps({"fate": values}).encode() + b"\n"


__all__ = ["UplinkLog"]
