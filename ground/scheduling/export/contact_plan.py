"""Contact plans for the relay's bundle nodes: ION commands and HDTN JSON, both ways.

ION (`ionrc(5)`): `a contact START STOP FROM TO OCTETS_PER_S`, `a range START STOP ONE OTHER
LIGHT_SECONDS`, times `yyyy/mm/dd-hh:mm:ss` UTC.  A contact is when its sender transmits: the
spacecraft's begins a light time before AOS.  Contacts of one pair must not overlap; a range holds
to within one light second, and in both directions if its first node number is the smaller one.

HDTN (`module/router/src/router.cpp`, `cgr::cp_load`): `{"contacts": [{"contact", "source", "dest",
"startTime", "endTime", "rateBitsPerSec", "owlt"}]}`, whole seconds; these are Unix seconds, for a
router that is started with Unix timestamps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ground.scheduling.export.passes import uplink_ns
from ground.scheduling.export.publication import BookedTrack, Publication
from ground.scheduling.model import S_NS
from protocols.errors import LocalError, RemoteError
from protocols.timecodes.tai import tai_ns_from_utc_iso, unix_ns_from_tai_ns, utc_iso_from_tai_ns

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


@dataclass(frozen=True, slots=True, order=True)
class Contact:
    """Transmission from one node to another, [start_s, stop_s) of its sender, Unix seconds."""

    start_s: int
    stop_s: int
    source: int
    dest: int
    rate_bit_s: int
    owlt_s: int


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """One-way light time between two nodes, Unix seconds."""

    start_s: int
    stop_s: int
    one: int
    other: int
    owlt_s: int


@dataclass(frozen=True)
class ContactPlan:
    contacts: tuple[Contact, ...]
    ranges: tuple[Range, ...]
    names: Mapping[int, str] = field(default_factory=dict, compare=False)


def contact_plan(publication: Publication, network: Network) -> ContactPlan:
    """Contacts and ranges of the passes; up only while the pass may transmit (`passes.uplink_ns`).

    LocalError if a light time is not known: a plan without it would route into the void.
    """
    numbers = network.numbered(publication)
    contacts: set[Contact] = set()
    ranges: set[Range] = set()
    uplinks: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for booked in publication.booked:
        pair = booked.request.mission, publication.station_of(booked.track)
        uplinks.setdefault(pair, []).append(uplink_ns(publication, booked))
    for (mission, station), tracks in sorted(_pairs(publication).items()):
        windows = sorted(uplinks[mission, station])
        spacecraft, ground = numbers[mission], numbers[station]
        one, other = sorted((spacecraft, ground))
        stop_s = {spacecraft: 0, ground: 0}
        ranged_s = 0
        for start_ns, end_ns, booked in tracks:
            for a_ns, b_ns, owlt_ns in _pieces(publication, booked, start_ns, end_ns):
                owlt_s = round(owlt_ns / S_NS)
                down = (spacecraft, ground, network.downlink_bit_s, a_ns - owlt_ns, b_ns - owlt_ns)
                up = [
                    (ground, spacecraft, network.uplink_bit_s, max(a_ns, begin), min(b_ns, end))
                    for begin, end in windows
                    if begin < b_ns and a_ns < end
                ]
                for source, dest, rate, first_ns, last_ns in (down, *up):
                    # Rounded inwards: a contact must not begin before its pass; nor may the pieces
                    # of one overlap.
                    from_s = max(-(-_unix_ns(first_ns) // S_NS), stop_s[source])
                    to_s = _unix_ns(last_ns) // S_NS
                    if to_s > from_s:
                        contacts.add(Contact(from_s, to_s, source, dest, rate, owlt_s))
                        stop_s[source] = to_s
                # From what is sent first to what arrives last.
                from_s = max(_unix_ns(a_ns - owlt_ns) // S_NS, ranged_s)
                to_s = -(-_unix_ns(b_ns + owlt_ns) // S_NS)
                if to_s > from_s:
                    ranges.add(Range(from_s, to_s, one, other, owlt_s))
                    ranged_s = to_s
    return ContactPlan(
        tuple(sorted(contacts)),
        tuple(sorted(ranges)),
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
            f"--light-time {booked.request.mission}=SECONDS"
        )
    count = 1 + int(abs(last_ns - first_ns) // RANGE_STEP_NS)
    # Cut at whole seconds, so that rounding opens no gap between pieces.
    step_ns = (end_ns - start_ns) // count
    cuts = [(start_ns + step_ns * i) // S_NS * S_NS for i in range(1, count)]
    for a_ns, b_ns in pairwise((start_ns, *cuts, end_ns)):
        middle_ns = publication.owlt_ns(booked, (a_ns + b_ns) // 2)
        yield a_ns, b_ns, first_ns if middle_ns is None else middle_ns


def _unix_ns(tai_ns: int) -> int:
    return int(unix_ns_from_tai_ns(tai_ns))


# ---------------------------------------------------------------- ION


def build_ion(plan: ContactPlan) -> bytes:
    """Commands for `ionadmin`."""
    lines = [f"# ipn:{number}.0 is {name}" for number, name in sorted(plan.names.items())]
    for r in plan.ranges:
        lines.append(f"a range {_ion(r.start_s)} {_ion(r.stop_s)} {r.one} {r.other} {r.owlt_s}")
    for c in plan.contacts:
        # ION counts octets, and takes whole ones.
        lines.append(
            f"a contact {_ion(c.start_s)} {_ion(c.stop_s)} {c.source} {c.dest} {c.rate_bit_s // 8}"
        )
    return ("\n".join(lines) + "\n").encode()


def _ion(unix_s: int) -> str:
    from protocols.timecodes.tai import tai_ns_from_unix_ns

    iso = utc_iso_from_tai_ns(tai_ns_from_unix_ns(unix_s * S_NS), decimals=0)
    return iso.rstrip("Z").replace("-", "/").replace("T", "-")


_ION_TIME = r"(\d{4}/\d\d/\d\d-\d\d:\d\d:\d\d)"
_ION_LINE = re.compile(rf"a (contact|range) {_ION_TIME} {_ION_TIME} (\d+) (\d+) (\d+)")


def read_ion(text: str) -> ContactPlan:
    """The contacts and ranges of ionadmin commands; RemoteError for any other command.

    Contacts get the light time of the range of their pair that holds at their begin.
    """
    contacts: list[tuple[int, int, int, int, int]] = []
    ranges: list[Range] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _ION_LINE.fullmatch(line.strip())
        if match is None:
            raise RemoteError(f"contact plan, line {number}: {line[:80]!r} is no contact or range")
        start_s, stop_s = (_from_ion(match[i]) for i in (2, 3))
        one, other, value = (int(match[i]) for i in (4, 5, 6))
        if match[1] == "contact":
            contacts.append((start_s, stop_s, one, other, 8 * value))
        else:
            ranges.append(Range(start_s, stop_s, one, other, value))

    def owlt_s(source: int, dest: int, at_s: int) -> int:
        pair = {source, dest}
        for r in ranges:
            if {r.one, r.other} == pair and r.start_s <= at_s < r.stop_s:
                return r.owlt_s
        raise RemoteError(f"contact plan: no range between {source} and {dest} at {_ion(at_s)}")

    return ContactPlan(
        tuple(sorted(Contact(*c, owlt_s(c[2], c[3], c[0])) for c in contacts)),
        tuple(sorted(ranges)),
    )


def _from_ion(text: str) -> int:
    iso = text.replace("-", "T").replace("/", "-") + "Z"
    try:
        return _unix_ns(tai_ns_from_utc_iso(iso)) // S_NS
    except LocalError as error:
        raise RemoteError(f"contact plan: {error}") from error


# ---------------------------------------------------------------- HDTN


def build_hdtn(plan: ContactPlan) -> bytes:
    contacts = [
        {
            "contact": index,
            "source": c.source,
            "dest": c.dest,
            "startTime": c.start_s,
            "endTime": c.stop_s,
            "rateBitsPerSec": c.rate_bit_s,
            "owlt": c.owlt_s,
        }
        for index, c in enumerate(plan.contacts)
    ]
    return json.dumps({"contacts": contacts}, indent=2).encode() + b"\n"


def read_hdtn(text: str | bytes) -> tuple[Contact, ...]:
    """RemoteError if it is not such a document."""
    try:
        document: dict[str, list[dict[str, Any]]] = json.loads(text)
        return tuple(
            Contact(
                start_s=int(entry["startTime"]),
                stop_s=int(entry["endTime"]),
                source=int(entry["source"]),
                dest=int(entry["dest"]),
                rate_bit_s=int(entry["rateBitsPerSec"]),
                owlt_s=int(entry["owlt"]),
            )
            for entry in document["contacts"]
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RemoteError(f"HDTN contact plan: {error!r}") from error
