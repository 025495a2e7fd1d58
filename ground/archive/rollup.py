"""Minimum, maximum, mean and count over time buckets, and their combination into plot bins.

Buckets lie on a grid anchored at the TAI epoch, and each width divides the next.  So buckets of
different segments, late ones included, add up without error, and a plot whose bins are a multiple
of a bucket is exact.  (Rejected: blocks of a fixed number of samples, which plot bins would cut.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
Array = npt.NDArray[Any]

_SECOND = 1_000_000_000
#: 0.1 s, 1 s, 5 s, 20 s, 2 min, 10 min, 1 h, 6 h, 1 day.
WIDTHS_NS = (
    _SECOND // 10,
    _SECOND,
    5 * _SECOND,
    20 * _SECOND,
    120 * _SECOND,
    600 * _SECOND,
    3600 * _SECOND,
    21600 * _SECOND,
    86400 * _SECOND,
)
#: A segment keeps a width only if that has at most a 32nd as many buckets as samples: what is
#: finer is as fast to reduce from the samples themselves and would cost more room than they do.
SAMPLES_PER_ENTRY = 32
#: A plot bin is at least this many buckets, so that rounding it to whole buckets loses at most a
#: fifth of the points asked for.
BUCKETS_PER_BIN = 4


def entry_dtype(values: np.dtype[Any]) -> np.dtype[Any]:
    """One entry: `bucket` (start / width), `count` of valid samples, `sum`, `min`, `max`."""
    if values.kind == "b":
        values = np.dtype(np.uint8)
    return np.dtype(
        [
            ("bucket", "<i8"),
            ("count", "<u8"),
            ("sum", "<f8"),
            ("min", values.str),
            ("max", values.str),
        ]
    )


def reduce_samples(
    times: I64, values: Array, valid: npt.NDArray[np.bool_] | None, width_ns: int
) -> Array:
    """Entries of sorted samples; NaN and invalid samples count nowhere."""
    good = _good(values, valid)
    if good is not None:
        times, values = times[good], values[good]
    bucket = times // width_ns
    starts = _starts(bucket)
    return _reduce(values, bucket[starts], starts)


def _good(values: Array, valid: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_] | None:
    """Which samples count; None: all."""
    if values.dtype.kind == "f":
        number = values == values
        if not number.all():
            valid = number if valid is None else valid & number
    return None if valid is None or valid.all() else valid


def _reduce(values: Array, bucket: I64, starts: npt.NDArray[np.intp]) -> Array:
    if values.dtype.kind == "b":
        values = values.view(np.uint8)
    entries = np.empty(len(starts), entry_dtype(values.dtype))
    if len(starts):
        entries["bucket"] = bucket
        entries["count"] = np.diff(starts, append=len(values))
        # Opposite infinities in one bucket: their mean is NaN, which is what it should be.
        with np.errstate(invalid="ignore", over="ignore"):
            # Converted first: reduceat converts in small buffers, which takes three times as long.
            entries["sum"] = np.add.reduceat(values.astype(np.float64, copy=False), starts)
        entries["min"] = np.minimum.reduceat(values, starts)
        entries["max"] = np.maximum.reduceat(values, starts)
    return entries


def reduce_entries(entries: Array, factor: int) -> Array:
    """Entries `factor` times as wide; the input is sorted by bucket and may repeat buckets."""
    bucket = entries["bucket"] // factor
    starts = _starts(bucket)
    return _widen(entries, bucket[starts], starts)


def _widen(entries: Array, bucket: I64, starts: npt.NDArray[np.intp]) -> Array:
    """Entries from each start to the next as one, of that bucket."""
    if len(starts) == len(entries):
        wide = entries.copy()
        wide["bucket"] = bucket
        return wide
    wide = np.empty(len(starts), entries.dtype)
    wide["bucket"] = bucket
    wide["count"] = np.add.reduceat(entries["count"], starts)
    with np.errstate(invalid="ignore", over="ignore"):
        wide["sum"] = np.add.reduceat(entries["sum"], starts)
    wide["min"] = np.minimum.reduceat(entries["min"], starts)
    wide["max"] = np.maximum.reduceat(entries["max"], starts)
    return wide


class RollUp:
    """Roll-ups of the columns of one segment, which share their sorted times, and so their buckets
    at every width; only a column with samples that do not count has others."""

    def __init__(self, times: I64) -> None:
        self._times = times
        #: Width, its buckets, and where each begins among those of the width before (the samples).
        self._levels: list[tuple[int, I64, npt.NDArray[np.intp]]] = []
        narrow, bucket = 1, times
        for width in WIDTHS_NS:
            bucket_of = bucket // (width // narrow)
            starts = _starts(bucket_of)
            if self._levels or len(starts) * SAMPLES_PER_ENTRY <= len(times):
                narrow, bucket = width, bucket_of[starts]
                self._levels.append((width, bucket, starts))

    def levels(self, values: Array, valid: npt.NDArray[np.bool_] | None) -> list[tuple[int, Array]]:
        """The widths worth keeping, each with a column's entries."""
        if not self._levels:
            return []
        if _good(values, valid) is not None:
            return self._levels_of_some(values, valid)
        first_width, bucket, starts = self._levels[0]
        kept = [(first_width, _reduce(values, bucket, starts))]
        for width, bucket, starts in self._levels[1:]:
            kept.append((width, _widen(kept[-1][1], bucket, starts)))
        return kept

    def _levels_of_some(
        self, values: Array, valid: npt.NDArray[np.bool_] | None
    ) -> list[tuple[int, Array]]:
        first_width = self._levels[0][0]
        kept = [(first_width, reduce_samples(self._times, values, valid, first_width))]
        for width, _, _ in self._levels[1:]:
            last, entries = kept[-1]
            kept.append((width, reduce_entries(entries, width // last)))
        return kept


def bin_width(span_ns: int, points: int) -> int:
    """Bin for a span at about `points` points: whole buckets of the width that `source_width`
    names, or any number of nanoseconds where the samples themselves are reduced."""
    wanted = max(1, -(-span_ns // points))
    bucket = source_width(wanted)
    return wanted if bucket == 0 else -(-wanted // bucket) * bucket


def source_width(bin_ns: int) -> int:
    """Widest bucket from which bins of about this width are built; 0: none is narrow enough."""
    return max((width for width in WIDTHS_NS if width * BUCKETS_PER_BIN <= bin_ns), default=0)


def combine(parts: Sequence[tuple[int, Array]], bin_ns: int) -> Array:
    """Bins from entries of several sources: (bucket width, entries), each width dividing bin_ns."""
    narrow: list[Array] = []
    for width, entries in parts:
        if len(entries):
            wide = entries.copy()
            wide["bucket"] //= bin_ns // width
            narrow.append(wide)
    if not narrow:
        return np.empty(0, entry_dtype(np.dtype(np.float64)))
    common = entry_dtype(np.result_type(*(part.dtype["min"] for part in narrow)))
    entries = np.concatenate([part.astype(common) for part in narrow])
    if np.any(np.diff(entries["bucket"]) < 0):
        entries = entries[np.argsort(entries["bucket"], kind="stable")]
    return reduce_entries(entries, 1)


def _starts(bucket: I64) -> npt.NDArray[np.intp]:
    if not len(bucket):
        return np.empty(0, np.intp)
    return np.flatnonzero(np.concatenate(([True], bucket[1:] != bucket[:-1])))
