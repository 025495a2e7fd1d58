"""What several antennas have brought: whether one more copy is the same transmission heard again.

    seen.fresh(antenna, octets, vcid, ert_ns)     bool [n]: nobody else has brought it
    seen.tell(antenna, octets, vcid, ert_ns)      each of these was told (after a restart)
    seen.forget(antenna)                          what it has brought it may bring again

A transmission is told from others by its octets, its virtual channel and its time: antennas hear it
within `SAME_NS` of each other, and each of them once.  So a spacecraft that says the same again, at
once or an hour later, is heard twice, and by whoever of them hears it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

#: Two antennas on Earth hear the same within 43 ms, the light time of its diameter; the rest is for
#: stations' clocks.
SAME_NS: Final = 500_000_000
#: Transmissions that are known when another antenna brings them: hours of this spacecraft's.
REMEMBERED: Final = 500_000
#: Newest transmissions by octets alone, to notice clocks that are apart; so many of one antenna in
#: a row, as far apart as one another, are no chance.
_RECENT: Final = 4096
_APART: Final = 10
_KEY_MASK: Final = (1 << 64) - 1
#: Odd, so that intervals of time move a key all over its range (the golden ratio's fraction).
_STEP: Final = 0x9E3779B97F4A7C15

Flags = npt.NDArray[np.bool_]
#: ERT of the copy that was told, bits of the antennas that have brought one.
_Heard = tuple[int, int]


class Seen:
    """remembered: transmissions; the oldest of more are forgotten."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        #: By octets, channel and interval of `SAME_NS`: what was heard in it.
        self._known: OrderedDict[int, tuple[_Heard, ...]] = OrderedDict()
        self._recent: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._apart: dict[int, deque[int]] = {}

    def fresh(
        self, antenna: int, parts: Sequence[bytes], vcid: Sequence[int], ert_ns: Sequence[int]
    ) -> Flags:
        """bool [n]: no other antenna has brought it; from now on it is known."""
        fresh = np.ones(len(parts), np.bool_)
        for i, (octets, channel, at_ns) in enumerate(zip(parts, vcid, ert_ns, strict=True)):
            name = name_of(octets, channel)
            if self._again(antenna, name, at_ns):
                fresh[i] = False
            else:
                self._add(antenna, name, at_ns)
        return fresh

    def tell(
        self, antenna: int, parts: Sequence[bytes], vcid: Sequence[int], ert_ns: Sequence[int]
    ) -> None:
        """Each of these is a transmission of its own: they were fresh."""
        for octets, channel, at_ns in zip(parts, vcid, ert_ns, strict=True):
            self._add(antenna, name_of(octets, channel), at_ns)

    def forget(self, antenna: int) -> None:
        """Its receiver tells anew what it has told before."""
        mask = ~(1 << antenna)
        for key, heard in self._known.items():
            self._known[key] = tuple((at_ns, by & mask) for at_ns, by in heard)

    def _again(self, antenna: int, name: int, at_ns: int) -> bool:
        """Take it for the transmission next to it in time that this antenna has not brought."""
        bit, interval = 1 << antenna, at_ns // SAME_NS
        nearest: tuple[int, int, int] | None = None
        for step in (0, -1, 1):
            key = _key(name, interval + step)
            for n, (told_ns, by) in enumerate(self._known.get(key, ())):
                away_ns = abs(told_ns - at_ns)
                if by & bit or away_ns > SAME_NS:
                    continue
                if nearest is None or away_ns < nearest[0]:
                    nearest = away_ns, key, n
        if nearest is None:
            return False
        _, key, n = nearest
        heard = self._known[key]
        told_ns, by = heard[n]
        self._known[key] = (*heard[:n], (told_ns, by | bit), *heard[n + 1 :])
        self._apart.pop(antenna, None)
        return True

    def _add(self, antenna: int, name: int, at_ns: int) -> None:
        key = _key(name, at_ns // SAME_NS)
        self._known[key] = (*self._known.get(key, ()), (at_ns, 1 << antenna))
        self._known.move_to_end(key)
        if len(self._known) > self._remembered:
            self._known.popitem(last=False)
        before = self._recent.get(name)
        if before is not None and before[1] != antenna:
            self._apart.setdefault(antenna, deque(maxlen=_APART)).append(at_ns - before[0])
        else:
            self._recent[name] = at_ns, antenna
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    def apart_ns(self, antenna: int) -> int | None:
        """By how much its clock is off that of another antenna, so that what both have heard is
        told twice; None: by nothing that is noticed."""
        found = self._apart.get(antenna)
        if found is None or len(found) < _APART or max(found) - min(found) > SAME_NS:
            return None
        return sorted(found)[len(found) // 2]

    # ------------------------------------------------------------ snapshots

    def kept(self) -> dict[str, bytes]:
        """For a snapshot."""
        heard = [(key, *one) for key, several in self._known.items() for one in several]
        keys, times, bits = zip(*heard, strict=True) if heard else ((), (), ())
        return {
            "key": np.array(keys, np.uint64).tobytes(),
            "ert_ns": np.array(times, np.int64).tobytes(),
            "by": np.array(bits, np.int64).tobytes(),
        }

    def restore(self, kept: dict[str, bytes]) -> None:
        """The inverse."""
        keys = np.frombuffer(kept["key"], np.uint64).tolist()
        times, bits = (np.frombuffer(kept[name], np.int64).tolist() for name in ("ert_ns", "by"))
        self._known = OrderedDict()
        for key, at_ns, by in zip(keys, times, bits, strict=True):
            self._known[key] = (*self._known.get(key, ()), (at_ns, by))


def name_of(octets: bytes, channel: int) -> int:
    """What tells octets on a channel from others: 64 bits."""
    return int.from_bytes(blake2b(octets, digest_size=8, salt=bytes((channel,))).digest(), "little")


def _key(name: int, interval: int) -> int:
    return (name + interval * _STEP) & _KEY_MASK


def parts_of(octets: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Iterator[bytes]:
    """Octets back to back as objects of their own."""
    whole, at = octets.tobytes(), offsets.tolist()
    return (whole[a:b] for a, b in pairwise(at))
