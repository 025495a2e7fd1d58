"""A contact plan laid out for routing, and the volume already booked on each contact.

What is booked is kept by (source, dest, start), so that it survives a new plan (`reloaded`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.dtn.contact_plan import Contact, ContactPlan
from protocols.dtn.routing_kernels import GraphArrays
from protocols.errors import LocalError

I64 = NDArray[np.int64]

#: Bulk, normal, expedited (§2.4.1).
PRIORITIES: Final = 3
ContactKey = tuple[int, int, int]
#: What a contact carries at most, for one that has no end: far below the end of int64, so that what
#: is booked can be taken off.
_MOST_OCTETS: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Overbooked:
    """More is booked on a contact than it can carry.

    octets: how much of it must find another route, beginning with the lowest priority.
    """

    contact: Contact
    octets: int


class ContactGraph:
    """The contacts that have a light time, as arrays; `unranged` are those that have none.

    owlt_margin_ratio: added to each light time, as its part (§2.4.2): the speed at which the ends
    may move apart, in units of that of light.  ION's 450,000 mph are 6.7e-4.  LocalError outside
    [0, 0.5].
    """

    def __init__(self, plan: ContactPlan, owlt_margin_ratio: float = 0.0) -> None:
        if not 0.0 <= owlt_margin_ratio <= 0.5:
            raise LocalError(
                f"OWLT margin {owlt_margin_ratio:g} of the light time; 0 to 0.5 wanted"
            )
        self.plan = plan
        self._margin = owlt_margin_ratio
        owlts = plan.owlts_ns()
        self.unranged = tuple(
            c for c, owlt_ns in zip(plan.contacts, owlts, strict=True) if owlt_ns is None
        )
        ranged: list[Contact] = [
            c for c, owlt in zip(plan.contacts, owlts, strict=True) if owlt is not None
        ]
        columns = list(zip(*ranged, strict=True)) if ranged else [()] * 6
        start, end = (np.array(column, np.int64) for column in columns[:2])
        number = np.array(columns[2:4], np.uint64)
        numbers, index = np.unique(number, return_inverse=True)
        source, dest = index.reshape(2, -1).astype(np.int64)
        order = np.lexsort((start, dest, source))
        source, dest = source[order], dest[order]
        n, m = len(numbers), len(order)

        owlt = np.array([owlt for owlt in owlts if owlt is not None], np.int64)[order]
        owlt += np.ceil(owlt * owlt_margin_ratio).astype(np.int64)
        new_link = np.ones(m, np.bool_)
        new_link[1:] = (source[1:] != source[:-1]) | (dest[1:] != dest[:-1])
        first = np.flatnonzero(new_link)
        link_source, link_dest = source[first], dest[first]
        in_links = np.argsort(link_dest, kind="stable")
        rate = np.array(columns[4], np.float64)[order]
        start, end = start[order], end[order]
        octets = np.floor((end - start) * rate / 8e9)
        self._volume: I64 = np.minimum(octets, _MOST_OCTETS).astype(np.int64)
        self.arrays = GraphArrays(
            start=start,
            end=end,
            owlt=owlt,
            later_owlt=_suffix_minimum(owlt, new_link),
            rate=rate,
            confidence=np.array(columns[5], np.float64)[order],
            remaining=np.tile(self._volume, (PRIORITIES, 1)),
            link_first=np.append(first, m),
            link_source=link_source,
            link_dest=link_dest,
            out_first=np.searchsorted(link_source, np.arange(n + 1)),
            in_first=np.searchsorted(link_dest[in_links], np.arange(n + 1)),
            in_links=in_links,
        )
        #: [n] true: no node is left out.
        self.everywhere = np.ones(n, np.bool_)
        self._ranged: list[Contact] = ranged
        self._order = order
        self.numbers: list[int] = numbers.tolist()
        self.index: Mapping[int, int] = {number: i for i, number in enumerate(self.numbers)}
        self._places: dict[ContactKey, int] | None = None
        #: Octets booked, by priority at least 0, 1, 2.
        self._booked: dict[ContactKey, list[int]] = {}

    def contact(self, place: int) -> Contact:
        return self._ranged[int(self._order[place])]

    def place(self, key: ContactKey) -> int | None:
        """Where the contact is in the arrays; None if the plan has it no more, or without range."""
        if self._places is None:
            order: list[int] = self._order.tolist()
            contacts = map(self._ranged.__getitem__, order)
            self._places = {(c[2], c[3], c[0]): i for i, c in enumerate(contacts)}
        return self._places.get(key)

    def remaining_octets(self, key: ContactKey, priority: int) -> int | None:
        """Maximum transmission volume (§3.2.6.8.8); below 0 if overbooked."""
        place = self.place(key)
        return None if place is None else int(self.arrays.remaining[priority, place])

    def book(self, key: ContactKey, octets: int, priority: int) -> None:
        """Lower the volume left to this priority and to all below it (§3.2.8.1.2)."""
        booked = self._booked.setdefault(key, [0] * PRIORITIES)
        for level in range(priority + 1):
            booked[level] += octets
        if not any(booked):
            del self._booked[key]
        place = self.place(key)
        if place is not None:
            self.arrays.remaining[: priority + 1, place] -= octets

    def overbooked(self) -> tuple[Overbooked, ...]:
        bulk = self.arrays.remaining[0]
        places = np.flatnonzero(bulk < 0).tolist()
        return tuple(Overbooked(self.contact(place), -int(bulk[place])) for place in places)

    def reloaded(self, plan: ContactPlan, now_ns: int) -> tuple[ContactGraph, tuple[Contact, ...]]:
        """The graph of a new plan with what is booked, and the contacts whose bookings are lost.

        A booking follows its contact's key, or, if the begin was moved, goes to the new contact of
        the same pair that overlaps it.  What has ended by now is forgotten.
        """
        graph = ContactGraph(plan, self._margin)
        lost: list[Contact] = []
        for key, booked in self._booked.items():
            place = self.place(key)
            if place is None or int(self.arrays.end[place]) <= now_ns:
                continue
            contact = self.contact(place)
            place = graph.place(key)
            if place is None:
                place = graph.overlapping(contact)
            if place is None:
                lost.append(contact)
                continue
            key = graph.contact(place).key
            # Two contacts of one pair may have become one.
            before = graph._booked.get(key, [0] * PRIORITIES)
            graph._booked[key] = [a + b for a, b in zip(before, booked, strict=True)]
            graph.arrays.remaining[:, place] -= booked
        return graph, tuple(sorted(lost))

    def overlapping(self, contact: Contact) -> int | None:
        """Place of the first contact of the same pair that shares time with this one."""
        source, dest = self.index.get(contact.source), self.index.get(contact.dest)
        if source is None or dest is None:
            return None
        a = self.arrays
        low, high = (int(a.out_first[source + i]) for i in (0, 1))
        link = low + int(np.searchsorted(a.link_dest[low:high], dest))
        if link == high or a.link_dest[link] != dest:
            return None
        low, high = (int(a.link_first[link + i]) for i in (0, 1))
        place = low + int(np.searchsorted(a.end[low:high], contact.start_ns, side="right"))
        return place if place < high and a.start[place] < contact.end_ns else None


def _suffix_minimum(values: I64, begins: NDArray[np.bool_]) -> I64:
    """Least of this and of later values of its group; groups begin where `begins`."""
    if not values.size:
        return values.copy()
    # Groups that come later are raised above all that come before, so one running minimum does.
    group = np.cumsum(begins[::-1]) - begins[::-1]
    order_of = np.argsort(values, kind="stable")
    rank = np.empty(values.size, np.int64)
    rank[order_of] = np.arange(values.size)
    keyed = rank[::-1] - group * values.size
    return values[order_of[np.minimum.accumulate(keyed) + group * values.size]][::-1].copy()
