"""The contact plan of a schedule, for the relay's bundle nodes.

A contact is when its sender transmits: the spacecraft's begins a light time before AOS.  Contacts
and ranges begin and end on whole seconds of UTC, which is all that ION and HDTN can say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from ground.scheduling.export.passes import uplink_ns
from ground.scheduling.export.publication import BookedTrack, Publication
from ground.scheduling.model import S_NS
from protocols.dtn.contact_plan import Contact, ContactPlan, Range
from protocols.errors import LocalError

#: A range is said to be constant to within one light second.
RANGE_STEP_NS = S_NS


@dataclass(frozen=True)
class Network:
    """Node numbers (`ipn:N.0`) by mission and station, and link rates.

    nodes: what is not named gets the next free number, missions first, each in order of name.
    """

    nodes: Mapping[str, int] = field(default_factory=dict)
    downlink_bit_s: int = 16_000
    uplink_bit_s: int = 2_000

    def __post_init__(self) -> None:
        for name in ("downlink_bit_s", "uplink_bit_s"):
            if getattr(self, name) < 8:
                raise LocalError(f"{name} {getattr(self, name)}: 8 bit/s or more wanted")
        numbers = list(self.nodes.values())
        if len(set(numbers)) != len(numbers) or any(number < 1 for number in numbers):
            raise LocalError(f"nodes {dict(self.nodes)}: one number above 0 for each wanted")

    def numbered(self, publication: Publication) -> dict[str, int]:
        missions = {booked.request.mission for booked in publication.booked}
        stations = {publication.station_of(booked.track) for booked in publication.booked}
        if both := missions & stations:
            raise LocalError(f"{', '.join(sorted(both))}: name of a mission and of a station")
        taken = set(self.nodes.values())
        free = (n for n in range(1, len(taken) + len(missions) + len(stations) + 1))
        fresh = (n for n in free if n not in taken)
        numbers = dict(self.nodes)
        for name in (*sorted(missions), *sorted(stations)):
            if name not in numbers:
                numbers[name] = next(fresh)
        return {name: numbers[name] for name in (*sorted(missions), *sorted(stations))}


def contact_plan(publication: Publication, network: Network) -> ContactPlan:
    """Contacts and ranges of the passes; up only while the pass may transmit (`passes.uplink_ns`).

    LocalError if a light time is not known: a plan without it would route into the void.
    """
    numbers = network.numbered(publication)
    contacts: list[Contact] = []
    ranges: list[Range] = []
    uplinks: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for booked in publication.booked:
        pair = booked.request.mission, publication.station_of(booked.track)
        uplinks.setdefault(pair, []).append(uplink_ns(publication, booked))
    for (mission, station), tracks in sorted(_pairs(publication).items()):
        windows = sorted(uplinks[mission, station])
        spacecraft, ground = numbers[mission], numbers[station]
        one, other = sorted((spacecraft, ground))
        stop_ns = {spacecraft: 0, ground: 0}
        ranged_ns = 0
        for start_ns, end_ns, booked in tracks:
            for a_ns, b_ns, owlt_exact_ns in _pieces(publication, booked, start_ns, end_ns):
                owlt_ns = round(owlt_exact_ns / S_NS) * S_NS
                down = (
                    spacecraft,
                    ground,
                    network.downlink_bit_s,
                    a_ns - owlt_exact_ns,
                    b_ns - owlt_exact_ns,
                )
                up = [
                    (ground, spacecraft, network.uplink_bit_s, max(a_ns, begin), min(b_ns, end))
                    for begin, end in windows
                    if begin < b_ns and a_ns < end
                ]
                for source, dest, rate, first_ns, last_ns in (down, *up):
                    # Rounded inwards: a contact must not begin before its pass; nor may the pieces
                    # of one overlap.
                    from_ns = max(_ceil(first_ns), stop_ns[source])
                    to_ns = _floor(last_ns)
                    if to_ns > from_ns:
                        contacts.append(Contact(from_ns, to_ns, source, dest, rate))
                        stop_ns[source] = to_ns
                # From what is sent first to what arrives last.
                from_ns = max(_floor(a_ns - owlt_exact_ns), ranged_ns)
                to_ns = _ceil(b_ns + owlt_exact_ns)
                if to_ns > from_ns:
                    ranges.append(Range(from_ns, to_ns, one, other, owlt_ns))
                    ranged_ns = to_ns
    return ContactPlan(
        tuple(contacts),
        tuple(ranges),
        {number: name for name, number in numbers.items()},
    )


_Merged = list[tuple[int, int, BookedTrack]]


def _pairs(publication: Publication) -> dict[tuple[str, str], _Merged]:
    """Tracking times of each mission and station; what overlaps or touches is one."""
    pairs: dict[tuple[str, str], _Merged] = {}
    for booked in publication.booked:
        track = booked.track
        key = (booked.request.mission, publication.station_of(track))
        merged = pairs.setdefault(key, [])
        if merged and track.on_ns <= merged[-1][1]:
            start_ns, end_ns, first = merged[-1]
            merged[-1] = (start_ns, max(end_ns, track.off_ns), first)
        else:
            merged.append((track.on_ns, track.off_ns, booked))
    return pairs


def _pieces(
    publication: Publication, booked: BookedTrack, start_ns: int, end_ns: int
) -> Iterator[tuple[int, int, int]]:
    """(begin, end, light time in its middle), cut where the light time changes too much."""
    ends = [publication.owlt_ns(booked, ns) for ns in (start_ns, end_ns)]
    first_ns, last_ns = ends
    if first_ns is None or last_ns is None:
        raise LocalError(
            f"{booked.id}: the light time of mission {booked.request.mission} is not known; "
            f'--light-time "{booked.request.mission}=SECONDS", or computed: '
            f'--target "{booked.request.mission}=TARGET"'
        )
    count = 1 + int(abs(last_ns - first_ns) // RANGE_STEP_NS)
    # Cut at whole seconds, so that rounding opens no gap between pieces.
    step_ns = (end_ns - start_ns) // count
    cuts = [(start_ns + step_ns * i) // S_NS * S_NS for i in range(1, count)]
    for a_ns, b_ns in pairwise((start_ns, *cuts, end_ns)):
        middle_ns = publication.owlt_ns(booked, (a_ns + b_ns) // 2)
        yield a_ns, b_ns, first_ns if middle_ns is None else middle_ns


def _floor(tai_ns: int) -> int:
    # TAI − UTC is a whole number of seconds.
    return tai_ns // S_NS * S_NS


def _ceil(tai_ns: int) -> int:
    return -_floor(-tai_ns)
