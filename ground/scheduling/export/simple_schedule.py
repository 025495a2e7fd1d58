"""CCSDS 902.1-B-1 Simple Schedule Format, XML, both ways.

Names, order and values are those that the public implementation in `dariol83/drorbiteex`
(`CcsdsSimpleScheduleExporter`, `StatusEnum`, `ActivityStatusEnum`, `ServiceTypeEnum`,
`FrequencyEnum`) writes for the schema 902x01b1TC1-SmplSchd.xsd; the schema itself is with SANA and
was not at hand.  The structure is written down in tests/ground/scheduling/simple_schedule.xsd:

    simpleSchedule            namespace urn:ccsds:schema:cssm:1.0.0, srvMgtEntityType
      simpleScheduleHeader    originatingOrganization generationTime status inclusionType version
                              startTime endTime
      scheduledPackage *      user comment scheduledPackageId [originatingRequestId]
        scheduledActivity *   scheduledActivityId activityStatus siteRef apertureRef orbitNumber
                              beginningOfTrack endOfTrack [beginningOfActivity endOfActivity]
          serviceInfo *       serviceType frequencyBand

A package is a request; an activity is one antenna's part of a track, since an aperture reference
names one aperture.  Activity is set-up to tear-down, track is the time between.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from xml.etree import ElementTree

from ground.scheduling.export.publication import Publication
from ground.scheduling.model import Problem, Schedule, Track
from protocols.errors import LocalError, RemoteError
from protocols.timecodes.tai import tai_ns_from_utc_iso, utc_iso_from_tai_ns

NAMESPACE = "urn:ccsds:schema:cssm:1.0.0"
SCHEMA = "902x01b1TC1-SmplSchd.xsd"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"

#: Of `ServiceTypeEnum`; DELTADOR for a baseline, where two antennas are of different complexes.
_SERVICES = ("TELEMETRY", "TELECOMMAND", "RANGING")
_BASELINE = ("DELTADOR",)
#: Deep space, X band: the model says nothing of bands.
FREQUENCY_BAND = "X-DS"


def day_of_year(tai_ns: int) -> str:
    """CCSDS ASCII time code B (301.0-B §3.5.1.2), milliseconds: 2027-060T23:59:59.000Z.

    >>> day_of_year(tai_ns_from_utc_iso("2028-03-01T12:00:00Z"))
    '2028-061T12:00:00.000Z'
    """
    iso = utc_iso_from_tai_ns(tai_ns)
    day = date.fromisoformat(iso[:10])
    return f"{day.year:04d}-{day.timetuple().tm_yday:03d}{iso[10:]}"


def _from_day_of_year(text: str) -> int:
    try:
        day = date.fromordinal(date(int(text[:4]), 1, 1).toordinal() + int(text[5:8]) - 1)
        if text[4] != "-" or len(text) < 10 or day.year != int(text[:4]):
            raise ValueError(text)
        return tai_ns_from_utc_iso(f"{day.isoformat()}{text[8:]}")
    except (ValueError, IndexError) as error:
        raise RemoteError(f"time {text!r}: like 2027-060T12:00:00.000Z wanted") from error


def build(publication: Publication) -> bytes:
    """The XML document, UTF-8."""
    problem = publication.problem
    root = ElementTree.Element(
        "simpleSchedule",
        {
            "xmlns": NAMESPACE,
            "xmlns:xsi": _XSI,
            "xsi:schemaLocation": f"{NAMESPACE} {SCHEMA}",
            "srvMgtEntityType": "SIMPLE_SCHEDULE",
        },
    )
    ElementTree.SubElement(
        root,
        "simpleScheduleHeader",
        {
            "originatingOrganization": publication.organisation,
            "generationTime": day_of_year(publication.generated_ns),
            "status": publication.status,
            # All that begins between startTime and endTime is in it.
            "inclusionType": "START_INCLUSION",
            "version": str(publication.version),
            "startTime": day_of_year(problem.horizon.start_ns),
            "endTime": day_of_year(problem.horizon.end_ns),
        },
    )
    packages: dict[str, ElementTree.Element] = {}
    for booked in publication.booked:
        request, track = booked.request, booked.track
        package = packages.get(request.id)
        if package is None:
            package = packages[request.id] = ElementTree.SubElement(
                root,
                "scheduledPackage",
                {
                    "user": request.mission,
                    "comment": problem.agency_of(request),
                    "scheduledPackageId": request.id,
                    "originatingRequestId": request.id,
                },
            )
        sites = {problem.antenna_by_name[name].complex for name in track.antennas}
        services = _BASELINE if len(sites) > 1 else _SERVICES
        for name in track.antennas:
            activity = ElementTree.SubElement(
                package,
                "scheduledActivity",
                {
                    "scheduledActivityId": f"{booked.id}.{name}",
                    "activityStatus": "COMMITTED",
                    "siteRef": problem.antenna_by_name[name].complex or name,
                    "apertureRef": name,
                    # Nothing in deep space counts orbits of the Earth.
                    "orbitNumber": "0",
                    "beginningOfTrack": day_of_year(track.on_ns),
                    "endOfTrack": day_of_year(track.off_ns),
                    "beginningOfActivity": day_of_year(track.start_ns),
                    "endOfActivity": day_of_year(track.end_ns),
                },
            )
            for service in services:
                ElementTree.SubElement(
                    activity,
                    "serviceInfo",
                    {"serviceType": service, "frequencyBand": FREQUENCY_BAND},
                )
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def read(problem: Problem, document: bytes | Path) -> Schedule:
    """The schedule of a document; activities of one package with the same times are one track.

    RemoteError: not this format, or a request that the problem does not have.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    octets = document.read_bytes() if isinstance(document, Path) else document
    try:
        root = fromstring(octets)
    except (ElementTree.ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise RemoteError(f"simple schedule: {error}") from error
    if root.tag != f"{{{NAMESPACE}}}simpleSchedule":
        raise RemoteError(f"simple schedule: {root.tag}: simpleSchedule of {NAMESPACE} wanted")
    groups: dict[tuple[str, int, int, int, int], list[str]] = {}
    for package in root.iterfind(f"{{{NAMESPACE}}}scheduledPackage"):
        request = _attribute(package, "scheduledPackageId")
        if request not in problem.request_by_id:
            raise RemoteError(f"simple schedule: request {request} is not one of {problem.name}")
        for activity in package.iterfind(f"{{{NAMESPACE}}}scheduledActivity"):
            on, off = _attribute(activity, "beginningOfTrack"), _attribute(activity, "endOfTrack")
            start = activity.get("beginningOfActivity", on)
            end = activity.get("endOfActivity", off)
            times = tuple(_from_day_of_year(text) for text in (on, off, start, end))
            key = (request, times[0], times[1], times[2], times[3])
            groups.setdefault(key, []).append(_attribute(activity, "apertureRef"))
    try:
        return Schedule(
            tuple(
                Track(on, off, request, tuple(sorted(antennas)), start, end)
                for (request, on, off, start, end), antennas in groups.items()
            )
        )
    except LocalError as error:
        raise RemoteError(f"simple schedule: {error}") from error


def _attribute(element: ElementTree.Element, name: str) -> str:
    value = element.get(name)
    if value is None:
        raise RemoteError(f"simple schedule: {element.tag.rpartition('}')[2]} without {name}")
    return value
