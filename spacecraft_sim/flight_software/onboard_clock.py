"""On-board clock: a counter that drifts, and that can be set."""

from __future__ import annotations

from protocols.errors import LocalError


class OnBoardClock:
    """Reads TAI, plus an offset, plus a drift that grows from `start_ns` on.

    drift_ppm: how much too fast the oscillator is; offset_ns: at the start.
    """

    def __init__(self, start_ns: int, drift_ppm: float = 0.0, offset_ns: int = 0) -> None:
        if not -1000.0 <= drift_ppm <= 1000.0:
            raise LocalError(f"clock drift {drift_ppm} ppm; -1000..1000 allowed")
        self._start_ns = start_ns
        # In thousandths of a ppb: integers, so that no reading depends on a rounding before it.
        self._drift = round(drift_ppm * 1_000_000)
        self._offset_ns = offset_ns

    def read(self, t_ns: int) -> int:
        """The clock at TAI `t_ns`.

        >>> OnBoardClock(0, drift_ppm=0.5).read(10**15) - 10**15
        500000000
        """
        return t_ns + self._offset_ns + (t_ns - self._start_ns) * self._drift // 10**12

    def adjust(self, by_ns: int) -> None:
        """Set it forward (or back) by so much."""
        self._offset_ns += by_ns
