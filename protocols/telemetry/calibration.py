"""From raw to engineering values and back; scalar and array forms are the same functions.

XTCE 1.2 (CCSDS 660.0-B-2): PolynomialCalibrator, SplineCalibrator, EnumerationList, and the
character set of a string.  A calibration never raises on a received value: what has no
engineering value is NaN, or the number itself as a label.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalError

F64 = npt.NDArray[np.float64]


def _horner(coefficients: tuple[float, ...], raw: F64) -> F64:
    result = np.full_like(raw, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result = result * raw + coefficient
    return result


@dataclass(frozen=True)
class Polynomial:
    """Engineering value = c0 + c1·raw + c2·raw² + …, in IEEE double by Horner's rule.

    >>> Polynomial((-50.0, 0.5)).apply([100, 101])
    array([0. , 0.5])
    """

    coefficients: tuple[float, ...]

    def __init__(self, coefficients: tuple[float, ...] | list[float]) -> None:
        values = tuple(float(c) for c in coefficients)
        if not values or not all(np.isfinite(values)):
            raise LocalError(f"polynomial coefficients {coefficients}: at least one, all finite")
        object.__setattr__(self, "coefficients", values)

    def apply(self, raw: npt.ArrayLike) -> F64:
        return _horner(self.coefficients, np.asarray(raw, np.float64))

    def invert(self, engineering: npt.ArrayLike, low: float, high: float, where: str) -> F64:
        """Raw values (not yet rounded) whose calibration is `engineering`.

        Only where the polynomial is monotonic over the field's range low..high; LocalError
        otherwise.  Values beyond the range come back beyond it.
        """
        wanted = np.asarray(engineering, np.float64)
        c = self.coefficients
        while len(c) > 1 and c[-1] == 0.0:
            c = c[:-1]
        if len(c) == 1:
            raise LocalError(f"{where}: a constant calibration has no inverse")
        if len(c) == 2:
            return (wanted - c[0]) / c[1]
        slope = np.polynomial.Polynomial(c).deriv()
        turns = [
            root.real
            for root in slope.roots()
            if abs(root.imag) < 1e-9 * (1 + abs(root)) and low < root.real < high
        ]
        if turns:
            raise LocalError(
                f"{where}: polynomial {self.coefficients} turns at raw {turns[0]:g} within "
                f"{low:g}..{high:g}: it has no inverse"
            )
        return _bisect(partial(_horner, c), wanted, low, high)


def _bisect(function: Callable[[F64], F64], wanted: F64, low: float, high: float) -> F64:
    """Inverse of a monotonic function by bisection; just outside low..high for values beyond it."""
    ends = function(np.array([low, high]))
    rising = bool(ends[1] > ends[0])
    a, b = np.full(wanted.shape, low), np.full(wanted.shape, high)
    for _ in range(80):
        middle = 0.5 * (a + b)
        below = (function(middle) < wanted) == rising
        a, b = np.where(below, middle, a), np.where(below, b, middle)
    result = 0.5 * (a + b)
    bottom, top = (ends[0], ends[1]) if rising else (ends[1], ends[0])
    under, over = (low - 1, high + 1) if rising else (high + 1, low - 1)
    result = np.where(wanted < bottom, under, result)
    result = np.where(wanted > top, over, result)
    result = np.where(wanted == ends[0], low, result)
    return np.where(wanted == ends[1], high, result)


@dataclass(frozen=True)
class Spline:
    """Interpolation through (raw, engineering) points with rising raw.

    order 1 draws lines, order 0 holds the lower point's value.  Outside the points: the outermost
    lines (order 1) or values (order 0) go on if `extrapolate`, else there is no value: NaN.

    >>> Spline(((0, 0.0), (10, 5.0))).apply([5, 11])
    array([2.5, nan])
    """

    points: tuple[tuple[float, float], ...]
    order: int = 1
    extrapolate: bool = False

    def __post_init__(self) -> None:
        points = tuple((float(x), float(y)) for x, y in self.points)
        object.__setattr__(self, "points", points)
        if self.order not in (0, 1):
            raise LocalError(f"spline order {self.order}; 0 or 1 allowed")
        if len(points) < 1 + self.order:
            raise LocalError(f"spline of {len(points)} points; {1 + self.order} or more wanted")
        if not all(np.isfinite(value) for point in points for value in point):
            raise LocalError(f"spline points {points}: all finite wanted")
        if any(b[0] <= a[0] for a, b in pairwise(points)):
            raise LocalError(f"spline points {points}: raw values must rise")

    def apply(self, raw: npt.ArrayLike) -> F64:
        values = np.asarray(raw)
        if values.size and values.dtype.kind in "iu" and values.itemsize <= 4:
            # Many samples of a temperature are few numbers: each is interpolated once.
            low, high = int(values.min()), int(values.max())
            if high - low < values.size // 4:
                known = self._interpolate(np.arange(low, high + 1))
                return known[values.astype(np.intp) - low]
        return self._interpolate(values)

    def _interpolate(self, raw: npt.NDArray[Any]) -> F64:
        x = np.array([point[0] for point in self.points])
        y = np.array([point[1] for point in self.points])
        value = raw.astype(np.float64)
        known = value == value
        at = np.searchsorted(x, np.where(known, value, x[0]), side="right") - 1
        if self.order == 0:
            result = y[np.clip(at, 0, len(x) - 1)]
        else:
            i = np.clip(at, 0, len(x) - 2)
            slope = (y[i + 1] - y[i]) / (x[i + 1] - x[i])
            result = slope * (value - x[i]) + y[i]
            # The last point itself is exact, not a rounding of the line that ends there.
            result = np.where(value == x[-1], y[-1], result)
        if not self.extrapolate:
            known = known & (value >= x[0]) & (value <= x[-1])
        return np.where(known, result, np.nan)

    def invert(self, engineering: npt.ArrayLike, low: float, high: float, where: str) -> F64:
        """As `Polynomial.invert`; the points' engineering values must rise or fall throughout."""
        wanted = np.asarray(engineering, np.float64)
        steps = np.diff([point[1] for point in self.points])
        if self.order == 0 or not (np.all(steps > 0) or np.all(steps < 0)):
            raise LocalError(f"{where}: spline of order {self.order} is not monotonic: no inverse")
        turned = self.points if steps[0] > 0 else self.points[::-1]
        inverse = Spline(tuple((y, x) for x, y in turned), 1, extrapolate=True).apply(wanted)
        if self.extrapolate:
            return inverse
        first, last = self.points[0][0], self.points[-1][0]
        outside = (inverse < first) | (inverse > last)
        if np.any(outside & (wanted == wanted)):
            raise LocalError(
                f"{where}: {wanted[outside].flat[0]:g} lies outside the spline's points, "
                f"engineering {self.points[0][1]:g}..{self.points[-1][1]:g}"
            )
        return inverse


@dataclass(frozen=True)
class Enumeration:
    """Labels of raw values; a value without a label shows as `#value`, and can be built by it.

    >>> Enumeration({0: "OFF", 1: "ON"}).apply([1, 0, 3])
    array(['ON', 'OFF', '#3'], dtype='<U3')
    """

    labels: tuple[tuple[int, str], ...]
    _by_label: dict[str, int] = field(init=False, repr=False, compare=False, hash=False)

    def __init__(self, labels: Mapping[int, str] | tuple[tuple[int, str], ...]) -> None:
        pairs = tuple(labels.items()) if isinstance(labels, Mapping) else tuple(labels)
        pairs = tuple((int(value), str(label)) for value, label in pairs)
        # A label may stand for several values; built is the first of them.
        by_label = {label: value for value, label in reversed(pairs)}
        if not pairs:
            raise LocalError("enumeration without labels; at least one wanted")
        if len({value for value, _ in pairs}) != len(pairs):
            raise LocalError(f"enumeration {pairs}: every value once")
        if any(not label or label.startswith("#") for label in by_label):
            raise LocalError(f"enumeration {pairs}: labels must not be empty or start with '#'")
        object.__setattr__(self, "labels", pairs)
        object.__setattr__(self, "_by_label", by_label)

    def apply(self, raw: npt.ArrayLike) -> npt.NDArray[np.str_]:
        return self.look_up(np.asarray(raw), np.asarray)

    def look_up(self, value: npt.NDArray[Any], function: Callable[[Any], Any]) -> npt.NDArray[Any]:
        """`function` of each value's label, called once with the distinct labels."""
        if value.dtype.itemsize == 1:
            # Counting is faster than sorting, and a state has eight bits at most.
            octets = value.view(np.uint8)
            distinct = np.flatnonzero(np.bincount(octets.ravel(), minlength=256)).astype(np.uint8)
            place = np.zeros(256, np.intp)
            place[distinct] = np.arange(len(distinct))
            index = place[octets]
            distinct = distinct.view(value.dtype)
        else:
            distinct, flat = np.unique(value, return_inverse=True)
            index = flat.reshape(value.shape)
        known = dict(self.labels)
        labels = [known.get(int(v), f"#{int(v)}") for v in distinct]
        found = np.asarray(function(np.array(labels or [""], np.str_)))
        return found[index]

    def value(self, label: str, where: str = "enumeration") -> int:
        if label in self._by_label:
            return self._by_label[label]
        if label.startswith("#") and label[1:].lstrip("-").isdigit():
            return int(label[1:])
        raise LocalError(f"{where}: label {label!r}; one of {sorted(self._by_label)} allowed")

    def invert(self, labels: npt.ArrayLike, where: str) -> npt.NDArray[np.int64]:
        text = np.asarray(labels, np.str_)
        distinct, place = np.unique(text, return_inverse=True)
        values = np.array([self.value(str(label), where) for label in distinct], np.int64)
        return values[place.reshape(text.shape)]


#: XTCE 1.2 StringEncodingType, and Python's codec for each.
CHARACTER_SETS = {
    "US-ASCII": "ascii",
    "ISO-8859-1": "latin-1",
    "UTF-8": "utf-8",
    "UTF-16LE": "utf-16-le",
    "UTF-16BE": "utf-16-be",
}


@dataclass(frozen=True)
class Text:
    """Octets read as characters; octets that are none become U+FFFD.

    terminated: whether the text ends at the first NUL; None: it does in a field of fixed length,
    which NULs fill up, and not in one of variable length, whose length says all.

    >>> Text().apply(np.frombuffer(b"SAFE" + bytes(4), np.uint8))
    array('SAFE', dtype='<U4')
    """

    encoding: str = "US-ASCII"
    terminated: bool | None = None

    def __post_init__(self) -> None:
        if self.encoding not in CHARACTER_SETS:
            raise LocalError(
                f"text encoding {self.encoding!r}; one of {sorted(CHARACTER_SETS)} allowed"
            )

    def decode(self, octets: bytes, *, fixed: bool) -> str:
        text = octets.decode(CHARACTER_SETS[self.encoding], "replace")
        ends = fixed if self.terminated is None else self.terminated
        return text.split("\0", 1)[0] if ends else text

    def encode(self, text: str, length: int | None, where: str) -> bytes:
        octets = text.encode(CHARACTER_SETS[self.encoding])
        if length is None:
            return octets
        if len(octets) > length:
            raise LocalError(f"{where}: {text!r} needs {len(octets)} octets; {length} allowed")
        return octets.ljust(length, b"\0")

    def apply(self, octets: npt.NDArray[np.uint8]) -> npt.NDArray[np.str_]:
        """uint8 [..., length] → text [...]."""
        rows = np.ascontiguousarray(octets).reshape(-1, octets.shape[-1])
        text = [self.decode(row.tobytes(), fixed=True) for row in rows]
        return np.array(text, np.str_).reshape(octets.shape[:-1])


Calibration = Polynomial | Spline | Enumeration | Text
