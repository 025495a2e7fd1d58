"""Many CUC codes in one walk; `cuc.py` says what they are."""

# numba ships no types: the arguments say here what they are.
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from protocols.timecodes.tai import NS_PER_SECOND, TIME_INVALID_NS

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def decode(
    octets: U8, at: int, coarse_octets: int, fine_octets: int, epoch: int, limit: int, out: I64
) -> None:
    """TAI ns of each row into `out`, int64 [n]; TIME_INVALID_NS beyond `limit` seconds.

    octets: uint8 [n, size]; the time begins at column `at`.
    """
    billion, half = np.uint64(NS_PER_SECOND), np.uint64(1 << 31)
    for i in range(len(octets)):
        coarse = np.uint64(0)
        for column in range(at, at + coarse_octets):
            coarse = (coarse << np.uint64(8)) | np.uint64(octets[i, column])
        if limit < 0 or coarse > np.uint64(limit):
            out[i] = TIME_INVALID_NS
            continue
        # Fraction in units of 2^-32, 2^-64 and 2^-80 s; nested floors lose nothing.
        high = middle = low = np.uint64(0)
        for k in range(10):
            octet = np.uint64(0)
            if k < fine_octets:
                octet = np.uint64(octets[i, at + coarse_octets + k])
            if k < 4:
                high = (high << np.uint64(8)) | octet
            elif k < 8:
                middle = (middle << np.uint64(8)) | octet
            else:
                low = (low << np.uint64(8)) | octet
        scaled = high * billion
        scaled += (middle * billion + ((low * billion) >> np.uint64(16))) >> np.uint64(32)
        out[i] = (
            epoch + np.int64(coarse) * NS_PER_SECOND + np.int64((scaled + half) >> np.uint64(32))
        )
