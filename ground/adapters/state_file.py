"""`StateStore` in a file: msgpack behind a CRC, replaced in one step."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import msgpack

_CRC_OCTETS = 4


class StateFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def load(self) -> dict[str, Any] | None:
        try:
            octets = self._path.read_bytes()
        except FileNotFoundError:
            return None
        body = octets[_CRC_OCTETS:]
        if zlib.crc32(body).to_bytes(_CRC_OCTETS, "big") != octets[:_CRC_OCTETS]:
            return None
        # Snapshots have numbers as map keys (virtual channels); the CRC says it is our own.
        state = msgpack.unpackb(body, strict_map_key=False)
        return state if isinstance(state, dict) else None

    def save(self, state: dict[str, Any]) -> None:
        body = msgpack.packb(state)
        assert body is not None
        temporary = self._path.with_suffix(".new")
        with temporary.open("wb") as file:
            file.write(zlib.crc32(body).to_bytes(_CRC_OCTETS, "big") + body)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
