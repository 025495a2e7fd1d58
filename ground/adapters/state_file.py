"""`StateStore` in a file: msgpack behind a CRC, replaced in one step."""

from __future__ import annotations

import threading
import zlib
from pathlib import Path
from typing import Any

import msgpack

from ground.durable_files import make_directory, replace_file

_CRC_OCTETS = 4


class StateFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing: threading.Thread | None = None
        self._failed: OSError | None = None
        make_directory(path.parent)

    def load(self) -> dict[str, Any] | None:
        self._finish()
        try:
            octets = self._path.read_bytes()
        except FileNotFoundError:
            return None
        body = octets[_CRC_OCTETS:]
        if zlib.crc32(body).to_bytes(_CRC_OCTETS, "big") != octets[:_CRC_OCTETS]:
            return None
        try:
            # Snapshots have numbers as map keys (virtual channels).
            state = msgpack.unpackb(body, strict_map_key=False)
        except (ValueError, TypeError):
            # A CRC is no proof: four octets of zeros, as a lost write leaves, are that of nothing.
            return None
        return state if isinstance(state, dict) else None

    def save(self, state: dict[str, Any], *, wait: bool = True) -> None:
        body = msgpack.packb(state)
        assert body is not None
        # One after the other: an older one must not replace a newer.
        self._finish()
        if wait:
            self._write(body)
        else:
            self._writing = threading.Thread(target=self._try_to_write, args=(body,))
            self._writing.start()

    def _finish(self) -> None:
        if self._writing is not None:
            self._writing.join()
            self._writing = None
        if self._failed is not None:
            error, self._failed = self._failed, None
            raise error

    def _try_to_write(self, body: bytes) -> None:
        try:
            self._write(body)
        except OSError as error:
            self._failed = error

    def _write(self, body: bytes) -> None:
        replace_file(self._path, zlib.crc32(body).to_bytes(_CRC_OCTETS, "big") + body)
