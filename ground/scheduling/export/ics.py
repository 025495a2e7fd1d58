"""iCalendar (RFC 5545): one event a track, in UTC, for people's calendars.

The UID is the track's identity and stays through all versions; SEQUENCE is the version, so that a
calendar takes the newer event in place of the older.  What the schedule before held and this one
does not is in it as CANCELLED (RFC 5546 §3.2.1 leaves it to the reader to remove it).
"""

from __future__ import annotations

from collections.abc import Iterator

from ground.scheduling.export.publication import BookedTrack, Publication
from ground.scheduling.model import S_NS, Commitment
from protocols.timecodes.tai import utc_iso_from_tai_ns

PRODUCT = "-//L4 Relay Ground//antenna schedule//EN"
DOMAIN = "l4-relay-ground"
#: RFC 5545 §3.1: a line has at most 75 octets, the line break not counted.
_LINE_OCTETS = 75


def build(publication: Publication) -> bytes:
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        f"PRODID:{PRODUCT}",
        "CALSCALE:GREGORIAN",
        "METHOD:PUBLISH",
        f"X-WR-CALNAME:{_text(f'Antenna schedule {publication.problem.name}')}",
    ]
    for booked in publication.booked:
        lines += _track(publication, booked, "CONFIRMED")
    for booked in publication.withdrawn:
        lines += _track(publication, booked, "CANCELLED")
    for commitment in publication.problem.commitments:
        lines += _commitment(publication, commitment)
    lines.append("END:VCALENDAR")
    return b"".join(_folded(line) for line in lines)


def _track(publication: Publication, booked: BookedTrack, status: str) -> list[str]:
    track, request = booked.track, booked.request
    antennas = ", ".join(track.antennas)
    agency = publication.problem.agency_of(request)
    about = [
        f"request {request.id}, mission {request.mission}{f' ({agency})' if agency else ''}",
        f"set-up from {_utc(track.start_ns)}",
        f"tracking {_utc(track.on_ns)} to {_utc(track.off_ns)}",
        f"tear-down until {_utc(track.end_ns)}",
        f"schedule version {publication.version}",
    ]
    return [
        "BEGIN:VEVENT",
        f"UID:{_uid(publication, booked.id)}",
        f"SEQUENCE:{publication.version}",
        f"DTSTAMP:{_stamp(publication.generated_ns)}",
        f"DTSTART:{_stamp(track.on_ns)}",
        f"DTEND:{_stamp(track.off_ns)}",
        f"SUMMARY:{_text(f'{request.mission} · {antennas}')}",
        f"LOCATION:{_text(f'{publication.station_of(track)}: {antennas}')}",
        f"DESCRIPTION:{_text(chr(10).join(about))}",
        f"CATEGORIES:{_text(request.mission)}",
        f"STATUS:{status}",
        "END:VEVENT",
    ]


def _commitment(publication: Publication, commitment: Commitment) -> list[str]:
    begin, end = _stamp(commitment.interval.start_ns), _stamp(commitment.interval.end_ns)
    what = commitment.label or commitment.kind
    return [
        "BEGIN:VEVENT",
        # A commitment has no number of its own: it is what, where and when it is.
        f"UID:{_uid(publication, f'{commitment.kind}.{commitment.antenna}.{begin}')}",
        f"SEQUENCE:{publication.version}",
        f"DTSTAMP:{_stamp(publication.generated_ns)}",
        f"DTSTART:{begin}",
        f"DTEND:{end}",
        f"SUMMARY:{_text(f'{what} · {commitment.antenna}')}",
        f"LOCATION:{_text(commitment.antenna)}",
        f"CATEGORIES:{_text(commitment.kind)}",
        "STATUS:CONFIRMED",
        "END:VEVENT",
    ]


def _uid(publication: Publication, name: str) -> str:
    return _text(f"{publication.problem.name}.{name}@{DOMAIN}")


def _utc(tai_ns: int) -> str:
    return utc_iso_from_tai_ns(tai_ns, decimals=0)


def _stamp(tai_ns: int) -> str:
    """RFC 5545 §3.3.5 form 2; whole seconds, the nearest one."""
    iso = utc_iso_from_tai_ns((tai_ns + S_NS // 2) // S_NS * S_NS, decimals=0)
    return iso.replace("-", "").replace(":", "")


def _text(text: str) -> str:
    """RFC 5545 §3.3.11."""
    for plain, escaped in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\n", "\\n")):
        text = text.replace(plain, escaped)
    return text


def _folded(line: str) -> bytes:
    """Cut between characters, not inside one: the octets of each part must be UTF-8 by itself."""
    return b"\r\n ".join(_parts(line)) + b"\r\n"


def _parts(line: str) -> Iterator[bytes]:
    part, room = b"", _LINE_OCTETS
    for character in line:
        octets = character.encode()
        if len(part) + len(octets) > room:
            yield part
            # The blank that continues a line is one of its octets.
            part, room = b"", _LINE_OCTETS - 1
        part += octets
    yield part
