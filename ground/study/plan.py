"""Contact plan from geometry: who can reach whom, when, how far away, over any span.

In space a link is open while it clears the Sun (an angle at each end) and whatever body stands in
its way.  To a station it must be in that antenna's view periods as well or, where a pass schedule
is given, in its passes.  Nodes on the ground are joined by wire, always.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from ground.scheduling.model import S_NS
from ground.scheduling.sky import Sky
from ground.scheduling.stations import Station
from ground.scheduling.targets import SLOW_STEP_S, Body, Target
from ground.scheduling.visibility import find_passes
from ground.study.links import LinkPath
from ground.study.trajectories import Earth, table
from protocols.bus.messages import Pass as BookedPass
from protocols.dtn.contact_plan import Contact, ContactPlan, Range
from protocols.errors import LocalError
from protocols.navigation.crossings import positive_spans
from protocols.navigation.geometry import F64
from protocols.navigation.interpolation import UniformTable

#: Coarse step of the search: the Moon crosses a line of sight in an hour.
_STEP_S: Final = 300.0
#: Light time is looked at so often to find where it passes half a second; straight lines between
#: err by a hundredth of a millisecond, and it gains under 0.3 s in one.
_RANGE_STEP_S: Final = 3600.0
#: A pass is known a light time around; Mars is 22 minutes away at most.
_MARGIN_NS: Final = 3600 * S_NS

Span = tuple[int, int]


@dataclass(frozen=True)
class Node:
    """number: of `ipn:number.0`.  place: what moves, a station, or None for a node by wire only."""

    name: str
    number: int
    place: Target | Station | None = None


@dataclass(frozen=True)
class Hop:
    """A link of two nodes, by name.

    forward_bit_s, back_bit_s  rate from `one` to `other`, and from `other` to `one` (0: never)
    one_sun_deg, other_sun_deg least angle at that end between the other one and the Sun
    """

    one: str
    other: str
    forward_bit_s: int
    back_bit_s: int
    one_sun_deg: float = 0.0
    other_sun_deg: float = 0.0


@dataclass(frozen=True)
class Network:
    nodes: Sequence[Node]
    hops: Sequence[Hop]
    #: Bodies that may stand in the way of links in space.
    blockers: Sequence[str] = ("moon", "mars")
    #: Coarse step of the search; what circles a planet shortens it.
    step_s: float = _STEP_S
    by_name: Mapping[str, Node] = field(init=False)

    def __post_init__(self) -> None:
        by_name = {node.name: node for node in self.nodes}
        if len(by_name) != len(self.nodes) or len({n.number for n in self.nodes}) != len(by_name):
            raise LocalError("nodes of a network: different names and different numbers wanted")
        for hop in self.hops:
            for name in (hop.one, hop.other):
                if name not in by_name:
                    raise LocalError(f"hop {hop.one}-{hop.other}: {name} is not a node")
        object.__setattr__(self, "by_name", by_name)


def contact_plan(
    network: Network,
    start_ns: int,
    end_ns: int,
    passes: Mapping[tuple[str, str], Sequence[BookedPass]] | None = None,
    *,
    sky: Sky | None = None,
) -> ContactPlan:
    """Contacts and ranges of all hops in [start_ns, end_ns), on whole seconds.

    passes  the pass schedule by (spacecraft node, station node); a pair that is not in it has all
            of its view periods.  None: every pair has
    sky     made once for many plans; it must cover an hour more than the span at either end

    Raises LocalError for a hop of two stations, and outside of the ephemeris.
    """
    sky = sky or Sky(start_ns - _MARGIN_NS, end_ns + _MARGIN_NS)
    planner = _Planner(network, sky, start_ns, end_ns, passes or {})
    contacts: list[Contact] = []
    ranges: list[Range] = []
    for hop in network.hops:
        for contact in planner.contacts(hop):
            contacts.append(contact)
        ranges.extend(planner.ranges(hop))
    return ContactPlan(
        tuple(contacts), tuple(ranges), {node.number: node.name for node in network.nodes}
    )


class _Planner:
    def __init__(
        self,
        network: Network,
        sky: Sky,
        start_ns: int,
        end_ns: int,
        passes: Mapping[tuple[str, str], Sequence[BookedPass]],
    ) -> None:
        self._network, self._sky, self._passes = network, sky, passes
        self._start_ns, self._end_ns = start_ns, end_ns
        self._tables: dict[str, UniformTable] = {}
        self._step_s: dict[str, float] = {}

    def _table(self, target: Target) -> UniformTable:
        if target.name not in self._tables:
            self._tables[target.name] = table(self._sky, target)
            self._step_s[target.name] = target.step_s
        return self._tables[target.name]

    def _quickest_s(self, *nodes: Node) -> float:
        """Step of what circles a planet; nothing else here moves quickly."""
        steps = [self._step_s[self._place(node).name] for node in nodes]
        return min((step for step in steps if step < SLOW_STEP_S), default=np.inf)

    def _place(self, node: Node) -> Target:
        """What stands for the node in the geometry: for a station, the Earth's centre.

        Seen from 1 au a station is within 9″ of it: nothing beside limits of a degree.
        """
        return Earth() if not isinstance(node.place, Target) else node.place

    def _path(self, emitter: Node, receiver: Node, hop: Hop) -> LinkPath:
        ends = self._place(emitter), self._place(receiver)
        limits = hop.one_sun_deg, hop.other_sun_deg
        if emitter.name != hop.one:
            limits = limits[1], limits[0]
        return LinkPath(
            self._table(ends[0]),
            self._table(ends[1]),
            self._table(Body("sun")),
            *limits,
            blockers={
                name: self._table(Body(name))
                for name in self._network.blockers
                if name not in (ends[0].name, ends[1].name)
            },
        )

    def contacts(self, hop: Hop) -> Iterator[Contact]:
        one, other = self._network.by_name[hop.one], self._network.by_name[hop.other]
        for emitter, receiver, rate in (
            (one, other, hop.forward_bit_s),
            (other, one, hop.back_bit_s),
        ):
            if not rate:
                continue
            until_ns = self._start_ns
            for first_ns, last_ns in self._open(emitter, receiver, hop):
                # Rounded inwards, on whole seconds: all that ION and HDTN can say.
                from_ns = max(-(-first_ns // S_NS) * S_NS, until_ns)
                to_ns = min(last_ns, self._end_ns) // S_NS * S_NS
                if to_ns > from_ns:
                    yield Contact(from_ns, to_ns, emitter.number, receiver.number, rate)
                    until_ns = to_ns

    def _open(self, emitter: Node, receiver: Node, hop: Hop) -> list[Span]:
        """When the emitter may transmit."""
        if not any(isinstance(node.place, Target) for node in (emitter, receiver)):
            if isinstance(emitter.place, Station) and isinstance(receiver.place, Station):
                raise LocalError(f"hop {hop.one}-{hop.other}: two stations see nothing in common")
            return [(self._start_ns, self._end_ns)]
        path = self._path(emitter, receiver, hop)
        step_s = min(self._network.step_s, self._quickest_s(emitter, receiver))
        # The tables reach a light time beyond the sky.
        grid_s = np.linspace(0.0, self._sky.length_s, int(self._sky.length_s / step_s) + 4)
        margin = path.margin_sent(np.zeros(len(grid_s), np.int64), grid_s)
        spans = positive_spans(grid_s, margin[np.newaxis], path.margin_sent)
        clear = list(zip(self._ns(spans.start_s), self._ns(spans.end_s), strict=True))
        for node, far, sent in ((emitter, receiver, True), (receiver, emitter, False)):
            if isinstance(node.place, Station):
                seen = self._seen(node, node.place, far, sent=sent)
                if not sent:
                    seen = self._before(path, seen)
                clear = _both(clear, seen)
        return clear

    def _seen(self, station: Node, place: Station, far: Node, *, sent: bool) -> list[Span]:
        """When the station transmits to the spacecraft, or receives from it, at the station."""
        booked = self._passes.get((far.name, station.name))
        if booked is not None:
            if sent:
                spans = [(p.uplink_from_ns, p.uplink_to_ns) for p in booked]
            else:
                spans = [(p.aos_ns, p.los_ns) for p in booked]
        else:
            found = find_passes([place], self._place(far), self._sky, uplink=sent)
            if sent:
                spans = [(w.start_ns, w.end_ns) for w in found.uplink]
            else:
                spans = [(p.aos_ns, p.los_ns) for p in found]
        return _merged(spans)

    def _before(self, path: LinkPath, received: Iterable[Span]) -> list[Span]:
        """Reception spans as spans of emission."""
        spans = list(received)
        if not spans:
            return []
        at_ns = np.array(spans, np.int64).ravel()
        tau_s = path.received((at_ns - self._sky.start_ns) / 1e9).light_time_s
        sent_ns = (at_ns - np.rint(tau_s * 1e9).astype(np.int64)).reshape(-1, 2)
        return [(int(a), int(b)) for a, b in sent_ns]

    def _ns(self, t_s: F64) -> list[int]:
        return self._sky.tai_ns(t_s).tolist()

    def ranges(self, hop: Hop) -> Iterator[Range]:
        """Light time to the nearest second over the whole span, cut where it changes.

        That of `one` to `other` serves both: there and back differ by the motion in between, which
        is 0.1 s at Mars.  To a station it is that to the Earth's centre, 21 ms too long at most.
        """
        one, other = self._network.by_name[hop.one], self._network.by_name[hop.other]
        low, high = sorted((one.number, other.number))
        if not any(isinstance(node.place, Target) for node in (one, other)):
            yield Range(self._start_ns, self._end_ns, low, high, 0)
            return
        path = self._path(one, other, hop)
        step_s = min(_RANGE_STEP_S, self._quickest_s(one, other))
        length_s = (self._end_ns - self._start_ns) / 1e9
        at_s, step_s = np.linspace(0.0, length_s, int(length_s / step_s) + 2, retstep=True)
        offset_s = (self._start_ns - self._sky.start_ns) / 1e9
        tau_s = path.sent(offset_s + at_s).light_time_s
        whole = np.rint(tau_s)
        cuts = np.flatnonzero(np.diff(whole))
        half = np.minimum(whole[cuts], whole[cuts + 1]) + 0.5
        share = (half - tau_s[cuts]) / (tau_s[cuts + 1] - tau_s[cuts])
        cut_ns = self._start_ns + np.rint(at_s[cuts] + share * step_s).astype(np.int64) * S_NS
        edges = [self._start_ns, *cut_ns.tolist(), self._end_ns]
        values = [int(whole[0]), *whole[cuts + 1].astype(int).tolist()]
        for (first_ns, last_ns), owlt_s in zip(pairwise(edges), values, strict=True):
            if last_ns > first_ns:
                yield Range(first_ns, last_ns, low, high, owlt_s * S_NS)


def _merged(spans: Iterable[Span]) -> list[Span]:
    """In order, what overlaps or touches as one, nothing empty."""
    merged: list[Span] = []
    for first, last in sorted(spans):
        if last <= first:
            continue
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _both(ours: Sequence[Span], theirs: Sequence[Span]) -> list[Span]:
    """What is in both; each sorted and free of overlaps."""
    found: list[Span] = []
    i = j = 0
    while i < len(ours) and j < len(theirs):
        first, last = max(ours[i][0], theirs[j][0]), min(ours[i][1], theirs[j][1])
        if first < last:
            found.append((first, last))
        if ours[i][1] < theirs[j][1]:
            i += 1
        else:
            j += 1
    return found
