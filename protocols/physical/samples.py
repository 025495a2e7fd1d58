"""Formats of I/Q samples as octets, named as SigMF names them (core:datatype), and complex arrays.

Full scale is 1.0.  Unsigned octets stand about 127.5 (RTL2832 and rtl_sdr's files), so that no code
is 0 and the mean of noise is; signed integers of n bits are divided by 2^(n−1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalError, RemoteError


@dataclass(frozen=True, slots=True)
class SampleFormat:
    """One format; get it by `sample_format(name)`.

    octets: of one complex sample; I comes first.
    """

    name: str
    component: np.dtype[np.generic]
    scale: float
    centre: float = 0.0

    @property
    def octets(self) -> int:
        return 2 * self.component.itemsize

    def to_complex(self, octets: bytes | memoryview) -> npt.NDArray[np.complex64]:
        """complex64[n].  RemoteError unless they are whole samples."""
        if len(octets) % self.octets:
            raise RemoteError(
                f"{len(octets)} octets are no whole samples of {self.name} ({self.octets} each)",
                data=bytes(octets[-self.octets :]),
                offset=len(octets),
            )
        values = np.frombuffer(octets, self.component)
        if self.name == "cf32_le":
            return values.astype("=f4").view(np.complex64)
        scaled = (values.astype(np.float32) - np.float32(self.centre)) / np.float32(self.scale)
        return scaled.view(np.complex64)

    def to_octets(self, samples: npt.NDArray[np.complex64]) -> bytes:
        """The nearest codes, beyond full scale the last."""
        values = np.ascontiguousarray(samples, np.complex64).view(np.float32)
        if self.name == "cf32_le":
            return values.astype("<f4").tobytes()
        limits = np.iinfo(self.component.name)
        codes = np.rint(values * np.float32(self.scale) + np.float32(self.centre))
        return np.clip(codes, limits.min, limits.max).astype(self.component).tobytes()


#: SigMF's names; those that our adapters carry.
SAMPLE_FORMATS: Final = {
    known.name: known
    for known in (
        SampleFormat("cf32_le", np.dtype("<f4"), 1.0),
        SampleFormat("ci16_le", np.dtype("<i2"), 32768.0),
        SampleFormat("ci16_be", np.dtype(">i2"), 32768.0),
        SampleFormat("ci8", np.dtype("i1"), 128.0),
        SampleFormat("cu8", np.dtype("u1"), 127.5, 127.5),
    )
}


def sample_format(name: str) -> SampleFormat:
    """By SigMF's name.  LocalError lists those known.

    >>> sample_format("cu8").to_complex(bytes([255, 0])).tolist()
    [(1-1j)]
    """
    if name not in SAMPLE_FORMATS:
        raise LocalError(f"sample format {name!r}: one of {', '.join(SAMPLE_FORMATS)} wanted")
    return SAMPLE_FORMATS[name]


__all__ = ["SAMPLE_FORMATS", "SampleFormat", "sample_format"]
