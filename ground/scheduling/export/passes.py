"""A schedule as the passes of each spacecraft, for stations, commanding and receive chains."""

from __future__ import annotations

from ground.scheduling.export.publication import BookedTrack, Publication
from ground.scheduling.model import S_NS, Interval
from protocols.bus.messages import Pass, PassesMessage
from protocols.bus.pass_list import build_pass_list


def passes(publication: Publication) -> PassesMessage:
    """One pass a track.

    The uplink window is the tracking time, as far as the transmitter may be on (the longest such
    part of it): what is sent in it arrives light time later, at a spacecraft whose view of the
    station does not matter.  An array or a baseline receives only, since antennas that transmit
    together would have to be phased at the spacecraft.
    """
    found: list[Pass] = []
    for booked in publication.booked:
        track = booked.track
        uplink = uplink_ns(publication, booked)
        owlt = [publication.owlt_ns(booked, ns) for ns in (track.on_ns, track.off_ns)]
        # Half a light time shifts no window.
        aos, los = (-1 if ns is None or None in owlt else ns for ns in owlt)
        found.append(
            Pass(
                id=booked.id,
                mission=booked.request.mission,
                station=publication.station_of(track),
                antenna=booked.antenna,
                setup_ns=track.start_ns,
                aos_ns=track.on_ns,
                los_ns=track.off_ns,
                release_ns=track.end_ns,
                uplink_from_ns=uplink[0],
                uplink_to_ns=uplink[1],
                owlt_aos_ns=aos,
                owlt_los_ns=los,
            )
        )
    return PassesMessage(
        schedule=publication.problem.name,
        version=publication.version,
        generated_ns=publication.generated_ns,
        horizon_start_ns=publication.problem.horizon.start_ns,
        horizon_end_ns=publication.problem.horizon.end_ns,
        passes=tuple(sorted(found)),
    )


def uplink_ns(publication: Publication, booked: BookedTrack) -> tuple[int, int]:
    """[begin, end) TAI ns in which the pass may transmit; begin = end: never."""
    tracking = booked.track.tracking
    never = (tracking.start_ns, tracking.start_ns)
    antenna, *others = booked.track.antennas
    if others:
        return never
    windows = publication.uplink.get((booked.request.mission, antenna))
    if windows is None:
        return tracking.start_ns, tracking.end_ns
    inside = [part for window in windows if (part := window.intersection(tracking)) is not None]
    if not inside:
        return never
    longest = max(inside, key=lambda part: part.end_ns - part.start_ns)
    return longest.start_ns, longest.end_ns


def whole_seconds(start_ns: int, end_ns: int) -> Interval:
    """Rounded inwards; a window of less than a second is given a whole one."""
    first_s, last_s = -(-start_ns // S_NS), end_ns // S_NS
    return Interval(first_s * S_NS, max(last_s, first_s + 1) * S_NS)


def build(publication: Publication) -> bytes:
    """The JSON pass list (`protocols/bus/pass_list.py`)."""
    return build_pass_list(passes(publication)).encode() + b"\n"
