"""CADUs or frames into a file, back to back."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt


class FileOutput:
    """Writes next to the file and renames at the end: a file that is there is complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(path.name + ".part")
        self._file = self._partial.open("wb")
        self._digest = hashlib.sha256()
        self.octets = 0

    def write(self, rows: npt.NDArray[np.uint8]) -> None:
        octets = np.ascontiguousarray(rows).data
        self._file.write(octets)
        self._digest.update(octets)
        self.octets += octets.nbytes

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def __enter__(self) -> FileOutput:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()
        if kind is None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink()
