"""Contact plan (CCSDS 734.3-B §2.3.1): when which node transmits to which, how fast and how far.

A contact is when its sender transmits.  Contacts of one ordered pair of nodes do not overlap, nor
do its ranges.  A range holds to within one light second; if its first node number is the smaller
one it also holds in the other direction, unless that direction has ranges of its own (`ionrc(5)`).
The formats of others are in `contact_plan_formats`.
"""

from __future__ import annotations

import gc
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import compress
from operator import ne
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from protocols.errors import LocalError
from protocols.timecodes.tai import (
    NS_PER_SECOND,
    utc_iso_from_tai_ns,
)

#: Node numbers are unsigned 64-bit (RFC 9758 §3: allocator and node, 32 bits each); 0 is nobody.
NODE_LIMIT: Final = 2**64
#: Bounds within which arrivals stay int64: years 1958 to 2213, 18 light years, 9 Pbit/s.
TIME_LIMIT_NS: Final = 2**63 - 2**60
OWLT_LIMIT_NS: Final = 2**59
RATE_LIMIT_BIT_S: Final = 2**53


@contextmanager
def uncollected() -> Generator[None]:
    """No cyclic garbage collection inside: for making plans, in which there are no cycles.

    It would go through all that is there again and again while the plan grows: three quarters of
    the time of reading 10⁵ contacts, measured.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Contact(NamedTuple):
    """Transmission from one node to another while [start_ns, end_ns) of the sender, TAI.

    A tuple, since a plan has 10⁵ of them that are sorted, hashed and compared whole.
    """

    start_ns: int
    end_ns: int
    source: int
    dest: int
    rate_bit_s: int
    confidence: float = 1.0

    @property
    def key(self) -> tuple[int, int, int]:
        """What a plan knows it by: (source, dest, start_ns)."""
        return self.source, self.dest, self.start_ns

    @property
    def volume_octets(self) -> int:
        """Duration times rate (§2.3.1), whole octets."""
        return (self.end_ns - self.start_ns) * self.rate_bit_s // (8 * NS_PER_SECOND)

    def __str__(self) -> str:
        return (
            f"contact {self.source}→{self.dest} {utc_iso_from_tai_ns(self.start_ns, 0)}…"
            f"{utc_iso_from_tai_ns(self.end_ns, 0)}"
        )


class Range(NamedTuple):
    """One-way light time from `one` to `other` while [start_ns, end_ns), TAI."""

    start_ns: int
    end_ns: int
    one: int
    other: int
    owlt_ns: int

    @property
    def key(self) -> tuple[int, int, int]:
        return self.one, self.other, self.start_ns

    def __str__(self) -> str:
        return (
            f"range {self.one}–{self.other} {utc_iso_from_tai_ns(self.start_ns, 0)}…"
            f"{utc_iso_from_tai_ns(self.end_ns, 0)}"
        )


@dataclass(frozen=True)
class ContactPlan:
    """Validated and sorted (by start).  names: what operators call the nodes, kept as comments.

    LocalError for a contact or range that ends before it begins, has a rate, a confidence, a light
    time or a node number that is none, or overlaps another of its pair.
    """

    contacts: tuple[Contact, ...] = ()
    ranges: tuple[Range, ...] = ()
    names: Mapping[int, str] = field(default_factory=lambda: dict[int, str](), compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "contacts", tuple(sorted(self.contacts)))
        object.__setattr__(self, "ranges", tuple(sorted(self.ranges)))
        _check_intervals(self.contacts)
        _check_intervals(self.ranges)

    @property
    def nodes(self) -> frozenset[int]:
        return frozenset(n for c in self.contacts for n in (c.source, c.dest))

    def owlts_ns(self) -> list[int | None]:
        """Light time of each contact (§3.2.4.1.2: the range during it); None where no range is.

        It is the range that holds at the contact's begin, or else the first that begins inside it.
        """
        if not self.contacts or not self.ranges:
            return [None] * len(self.contacts)
        start, end, source, dest = _columns(self.contacts)
        ranges = _columns(self.ranges)
        place = _range_during(start, end, source, dest, ranges)
        implied = (place < 0) & (source > dest)
        place[implied] = _range_during(
            start[implied], end[implied], dest[implied], source[implied], ranges
        )
        owlts = [r.owlt_ns for r in self.ranges]
        return [owlts[i] if i >= 0 else None for i in place.tolist()]

    def without_past(self, now_ns: int) -> ContactPlan:
        """Without what has ended (§3.2.3.2)."""
        return ContactPlan(
            tuple(c for c in self.contacts if c.end_ns > now_ns),
            tuple(r for r in self.ranges if r.end_ns > now_ns),
            self.names,
        )

    def merged(self, update: ContactPlan) -> ContactPlan:
        """This plan with `update` on it: what of ours overlaps the update's, pair by pair, goes."""
        return ContactPlan(
            (*_outside(self.contacts, update.contacts, _ends), *update.contacts),
            (*_outside(self.ranges, update.ranges, _range_ends), *update.ranges),
            {**self.names, **update.names},
        )


@dataclass(frozen=True)
class PlanChange:
    """What differs between two plans; `changed`: (old, new) contacts of one key."""

    added: tuple[Contact, ...]
    removed: tuple[Contact, ...]
    changed: tuple[tuple[Contact, Contact], ...]
    ranges_added: tuple[Range, ...]
    ranges_removed: tuple[Range, ...]

    def __bool__(self) -> bool:
        return any((self.added, self.removed, self.changed, self.ranges_added, self.ranges_removed))

    def __str__(self) -> str:
        return (
            f"contacts: {len(self.added)} added, {len(self.removed)} removed, {len(self.changed)} "
            f"changed; ranges: {len(self.ranges_added)} added, {len(self.ranges_removed)} removed"
        )


def diff(old: ContactPlan, new: ContactPlan) -> PlanChange:
    added, removed = _one_sided(old.contacts, new.contacts)
    fresh = {c.key: c for c in added}
    changed = tuple((c, fresh[c.key]) for c in sorted(removed) if c.key in fresh)
    ranges_added, ranges_removed = _one_sided(old.ranges, new.ranges)
    return PlanChange(
        tuple(sorted(added - {c for _, c in changed})),
        tuple(sorted(removed - {c for c, _ in changed})),
        changed,
        tuple(sorted(ranges_added)),
        tuple(sorted(ranges_removed)),
    )


_Item = TypeVar("_Item", Contact, Range)


def _one_sided(old: tuple[_Item, ...], new: tuple[_Item, ...]) -> tuple[set[_Item], set[_Item]]:
    """What only `new` has, and only `old`; what stands at the same place in both needs no hash."""
    differ = list(map(ne, old, new))
    olds, news = ({*compress(items, differ), *items[len(differ) :]} for items in (old, new))
    return news - olds, olds - news


def _ends(contact: Contact) -> tuple[int, int]:
    return contact.source, contact.dest


def _range_ends(r: Range) -> tuple[int, int]:
    return r.one, r.other


def _outside(
    ours: Iterable[Any], theirs: Iterable[Any], ends: Callable[[Any], tuple[int, int]]
) -> Iterator[Any]:
    """Those of ours that overlap none of theirs of the same pair; both sorted by start."""
    tables: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
    for item in theirs:
        starts, stops = tables.setdefault(ends(item), ([], []))
        starts.append(item.start_ns)
        stops.append(item.end_ns)
    for item in ours:
        starts, stops = tables.get(ends(item), ([], []))
        # The last that begins before our end is the only one that can reach into us.
        i = bisect_right(starts, item.end_ns - 1)
        if not i or stops[i - 1] <= item.start_ns:
            yield item


def _check_intervals(items: Sequence[Contact] | Sequence[Range]) -> None:
    """In columns, as plans are long; the items one by one only to find a culprit."""
    if not items:
        return
    columns = list(zip(*items, strict=True))
    try:
        start, end = (np.array(column, np.int64) for column in columns[:2])
        one, other = (np.array(column, np.uint64) for column in columns[2:4])
        value = np.array(columns[4], np.int64)
        confidence = np.array(columns[5], np.float64) if len(columns) > 5 else np.ones(len(start))
    except (OverflowError, ValueError):
        sound = np.zeros(len(items), np.bool_)
    else:
        sound = (
            (start >= 0)
            & (end < TIME_LIMIT_NS)
            & (start < end)
            & (one != other)
            & (one > 0)
            & (other > 0)
            & (value >= (1 if isinstance(items[0], Contact) else 0))
            & (value < (RATE_LIMIT_BIT_S if isinstance(items[0], Contact) else OWLT_LIMIT_NS))
            & (confidence > 0)
            & (confidence <= 1)
        )
        if sound.all():
            order = np.lexsort((start, other, one))
            before, after = order[:-1], order[1:]
            overlap = (one[before] == one[after]) & (other[before] == other[after])
            overlap &= end[before] > start[after]
            if overlap.any():
                at = int(np.flatnonzero(overlap)[0])
                raise LocalError(f"{items[after[at]]} overlaps {items[before[at]]}")
            return
    for i in np.flatnonzero(~sound).tolist():
        _check_item(items[i])


_Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint64]]


def _columns(items: Sequence[Contact] | Sequence[Range]) -> _Columns:
    """Begin, end, from and to of sound items."""
    start, end, one, other = list(zip(*items, strict=True))[:4]
    return (
        np.array(start, np.int64),
        np.array(end, np.int64),
        np.array(one, np.uint64),
        np.array(other, np.uint64),
    )


def _range_during(
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    one: NDArray[np.uint64],
    other: NDArray[np.uint64],
    ranges: _Columns,
) -> NDArray[np.int64]:
    """For each interval its range, as `owlts_ns` says, by index; −1 where there is none.

    Ranges and intervals are put in one order, in which a range stands before what begins with it.
    """
    n, m = len(ranges[0]), len(start)
    starts = np.concatenate((ranges[0], start))
    ones, others = np.concatenate((ranges[2], one)), np.concatenate((ranges[3], other))
    order = np.lexsort((np.arange(n + m) >= n, starts, others, ones))
    position = np.arange(n + m)
    is_range = order < n
    before = np.maximum.accumulate(np.where(is_range, position, -1))
    after = np.minimum.accumulate(np.where(is_range, position, n + m)[::-1])[::-1]
    found = np.full(m, -1, np.int64)
    for neighbour in (after, before):
        known = ~is_range & (neighbour >= 0) & (neighbour < n + m)
        of, r = order[known] - n, order[neighbour[known]]
        fits = (ranges[2][r] == one[of]) & (ranges[3][r] == other[of])
        fits &= (ranges[0][r] < end[of]) & (ranges[1][r] > start[of])
        found[of[fits]] = r[fits]
    return found


def _check_item(item: Contact | Range) -> None:
    name = f"{type(item).__name__.lower()} {item[2]}→{item[3]}"
    start_ns, end_ns, one, other = item[:4]
    if not 0 <= start_ns < end_ns < TIME_LIMIT_NS:
        raise LocalError(
            f"{name} from {start_ns} to {end_ns} ns TAI: an end after the begin, both from "
            f"0 to {TIME_LIMIT_NS}, wanted"
        )
    if one == other or not 0 < one < NODE_LIMIT or not 0 < other < NODE_LIMIT:
        raise LocalError(f"{name}: two different node numbers from 1 to 2^64 − 1 wanted")
    if isinstance(item, Range):
        if not 0 <= item.owlt_ns < OWLT_LIMIT_NS:
            raise LocalError(f"{name}: light time {item.owlt_ns} ns; 0 to {OWLT_LIMIT_NS} wanted")
    elif not 0 < item.rate_bit_s < RATE_LIMIT_BIT_S or not 0.0 < item.confidence <= 1.0:
        raise LocalError(
            f"{name}: rate {item.rate_bit_s} bit/s, confidence {item.confidence:g}; a rate from 1 "
            f"to {RATE_LIMIT_BIT_S - 1} and a confidence above 0 up to 1 wanted"
        )
