"""Dictionaries as XTCE 1.2 files (CCSDS 660.0-B-2, OMG document 20180204) and back.

| declaration | XTCE |
| --- | --- |
| integer, float | Integer-, FloatParameterType with its data encoding |
| polynomial, spline | DefaultCalibrator |
| enumeration, its limits | EnumeratedParameterType, EnumerationAlarmList |
| limits, persistence | DefaultAlarm/StaticAlarmRanges (outside, inclusive), minViolations |
| octets, text | Binary-, StringParameterType |
| time code | AbsoluteTimeParameterType, epoch TAI |
| spare | a BinaryParameterType of that many bits |
| repeat, fixed | one parameter per value (`NAME_0` …), or an array |
| repeat, variable | its octets, with a container that says what an element is; or an array |
| packet, APID, conditions | SequenceContainer, BaseContainer, RestrictionCriteria |

What XTCE has no words for (which entries are a repeat, which parameter is the SCET) stands in
AncillaryData named `l4.…`, so that import gives back the same dictionary.
"""

from __future__ import annotations

from collections.abc import Iterable

from protocols.errors import LocalError
from protocols.telemetry.declaration import Dictionary
from protocols.telemetry.xtce_node import XtceRefused
from protocols.telemetry.xtce_read import read
from protocols.telemetry.xtce_write import ROOT_CONTAINER, Arrays, write

__all__ = ["ROOT_CONTAINER", "XtceRefused", "export_xtce", "import_xtce"]


def export_xtce(dictionary: Dictionary, *, arrays: Arrays = "portable") -> bytes:
    """XTCE document (UTF-8) of a dictionary; its root container is `CCSDSPacket`.

    arrays: "portable" writes repeats so that readers without arrays decode the packets too;
    "standard" writes ArrayParameterType and RepeatEntry.  Both import to the same dictionary.
    Raises LocalError for the few things XTCE cannot say, naming them.
    """
    if arrays not in ("portable", "standard"):
        raise LocalError(f"XTCE arrays {arrays!r}; 'portable' or 'standard' allowed")
    return write(dictionary, arrays)


def import_xtce(document: bytes, *, ignore: Iterable[str] = ()) -> Dictionary:
    """Dictionary of an XTCE document.

    Every concrete container that descends from the packet primary header becomes a packet
    definition, its base containers' entries and restrictions included.

    ignore: names of elements and attributes that may be lost ("CommandMetaData", "AliasSet");
    anything else without a place in a declaration raises XtceRefused, which names element and
    path.  `Header` (the document's history) is always passed over.
    """
    return read(document, ignore)
