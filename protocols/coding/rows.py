"""How a batch of equal rows is handed to a compiled kernel: one type, no needless copy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalError

U8 = npt.NDArray[np.uint8]


def flat_rows(rows: U8) -> tuple[U8, int]:
    """(flat, stride): octet j of row i is `flat[i * stride + j]`; `flat` is read-only.

    rows: uint8 [n, length]; a view that leaves out columns (`frames[:, :-2]`) is not copied.
    Numba compiles a kernel for each kind of array (contiguous, strided, read-only …); this gives it
    one kind always.  Raises LocalError for anything but a two-dimensional uint8 array.
    """
    if rows.ndim != 2 or rows.dtype != np.uint8:
        raise LocalError(f"array of {rows.dtype} {rows.shape}, uint8 [n, length] wanted")
    n, length = rows.shape
    if rows.flags.c_contiguous:
        # The usual case, and a tenth of the price of `as_strided`.
        flat = rows.reshape(-1)
        flat.flags.writeable = False
        return flat, length
    if rows.strides[1] != 1 or rows.strides[0] < length:
        rows = np.ascontiguousarray(rows)
    # NumPy may give any stride to a single or an empty row.
    stride = rows.strides[0] if n > 1 else length
    extent = (n - 1) * stride + length if n and length else 0
    flat = np.lib.stride_tricks.as_strided(rows, (extent,), (1,), writeable=False)
    return flat, stride
