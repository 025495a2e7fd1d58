"""I/Q samples as a link hands them on and a capture keeps them: as they came off the wire, behind
what must be known to make complex numbers of them.

Without that, a capture could be decoded only beside the radio's settings of that day.
"""

# construct ships no types: what comes out of it is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportOperatorIssue=false
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import construct as c
import numpy as np
import numpy.typing as npt

from protocols.errors import LocalError, RemoteError
from protocols.physical.samples import SAMPLE_FORMATS, SampleFormat, sample_format

#: No frame begins so, nor a packet: a capture is known by it.
MAGIC: Final = b"L4IQ\x01"
#: In `lost`: something is missing, nobody knows how much.
UNKNOWN: Final = -1

_LAYOUT: Final = c.Struct(
    "magic" / c.Const(MAGIC),
    "format" / c.Enum(c.Int8ub, **{name: i for i, name in enumerate(SAMPLE_FORMATS)}),
    "lost" / c.Int64sb,
    "sample_rate_hz" / c.Float64b,
    "centre_hz" / c.Float64b,
    "octets" / c.GreedyBytes,
)


@dataclass(frozen=True, slots=True)
class SampleBlock:
    """octets: samples of `format`, none where nothing but an end or a loss is told.

    sample_rate_hz: complex samples a second; centre_hz: what stands at 0 Hz, 0 if nobody knows.
    lost: samples missing before the first, or `UNKNOWN`: what follows does not go on from what was.
    """

    format: SampleFormat
    sample_rate_hz: float
    centre_hz: float
    lost: int
    octets: bytes

    def __post_init__(self) -> None:
        if not 0 < self.sample_rate_hz < math.inf:
            raise LocalError(f"sample rate of {self.sample_rate_hz} Hz; above 0 wanted")
        if not math.isfinite(self.centre_hz):
            raise LocalError(f"centre of {self.centre_hz} Hz; a number wanted")
        if not UNKNOWN <= self.lost < 1 << 63:
            raise LocalError(f"{self.lost} samples lost; 0 or more, or {UNKNOWN}, wanted")
        if len(self.octets) % self.format.octets:
            raise LocalError(
                f"{len(self.octets)} octets are no whole samples of {self.format.name}"
            )

    def samples(self) -> npt.NDArray[np.complex64]:
        return self.format.to_complex(self.octets)


def build_sample_block(block: SampleBlock) -> bytes:
    return _LAYOUT.build(
        {
            "format": block.format.name,
            "lost": block.lost,
            "sample_rate_hz": block.sample_rate_hz,
            "centre_hz": block.centre_hz,
            "octets": block.octets,
        }
    )


def parse_sample_block(octets: bytes) -> SampleBlock:
    """RemoteError: it is none."""
    try:
        found: Any = _LAYOUT.parse(octets)
        return SampleBlock(
            sample_format(str(found.format)),
            found.sample_rate_hz,
            found.centre_hz,
            found.lost,
            found.octets,
        )
    except (c.ConstructError, LocalError) as error:
        raise RemoteError(f"no block of samples: {error}", data=bytes(octets[:32])) from error


__all__ = ["MAGIC", "UNKNOWN", "SampleBlock", "build_sample_block", "parse_sample_block"]
