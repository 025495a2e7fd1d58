"""I/Q samples into a recording: SigMF, samples and what they are in two files."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalError
from protocols.physical.samples import SampleFormat
from protocols.physical.sigmf import Recording, Segment, build_metadata

META, DATA = ".sigmf-meta", ".sigmf-data"


class SigmfOutput:
    """file: either of the two, by its ending.  The metadata are written at the end, and say how
    the samples hash; a recording without them was not finished."""

    def __init__(
        self,
        file: Path,
        form: SampleFormat,
        *,
        sample_rate: float,
        frequency_hz: float,
        start_ns: int,
        description: str,
    ) -> None:
        if file.suffix not in (META, DATA):
            raise LocalError(f"{file}: a name that ends in {META} wanted")
        self.meta, self._data = file.with_suffix(META), file.with_suffix(DATA)
        self._form = form
        self._recording = Recording(
            form, sample_rate, (Segment(0, 0, frequency_hz, start_ns),), description
        )
        self.samples = 0
        self._hash = hashlib.sha512()

    def __enter__(self) -> Self:
        self.meta.unlink(missing_ok=True)
        self._file = self._data.open("wb")
        return self

    def write(self, samples: npt.NDArray[np.complex64]) -> None:
        octets = self._form.to_octets(samples)
        self._file.write(octets)
        self._hash.update(octets)
        self.samples += len(samples)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        if kind is not None:
            return
        more = {"core:author": "spacecraft_sim", "core:sha512": self._hash.hexdigest()}
        self.meta.write_bytes(build_metadata(replace(self._recording, more=more)))
