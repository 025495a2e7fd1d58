"""A schedule as the passes of each spacecraft, for stations, commanding and receive chains."""

from __future__ import annotations

from ground.scheduling.export.publication import Publication
from protocols.bus.messages import Pass, PassesMessage
from protocols.bus.pass_list import build_pass_list


def passes(publication: Publication) -> PassesMessage:
    """One pass a track.

    The uplink window is the tracking time: what is sent in it arrives light time later, at a
    spacecraft whose view of the station does not matter.  An array or a baseline receives only,
    since antennas that transmit together would have to be phased at the spacecraft.
    """
    found: list[Pass] = []
    for booked in publication.booked:
        track = booked.track
        aos_ns, los_ns = publication.owlt_ns(booked, track.on_ns), None
        if aos_ns is not None:
            los_ns = publication.owlt_ns(booked, track.off_ns)
        known = aos_ns is not None and los_ns is not None
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
                uplink_from_ns=track.on_ns,
                uplink_to_ns=track.off_ns if len(track.antennas) == 1 else track.on_ns,
                owlt_aos_ns=aos_ns if known and aos_ns is not None else -1,
                owlt_los_ns=los_ns if known and los_ns is not None else -1,
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


def build(publication: Publication) -> bytes:
    """The JSON pass list (`protocols/bus/pass_list.py`)."""
    return build_pass_list(passes(publication)).encode() + b"\n"
