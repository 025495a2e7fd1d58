"""From an event or alarm back to where it came from: parameters, packet, frame, octets captured.

    trace(settings, "PWR_BUS_VOLTAGE")        the newest event of that name
    trace(settings, "1042")                   the event with that number, as the logs say it

Every message carries the position of what it was made from, so nothing but the journals and the
capture is read; the run may go on meanwhile, or have ended.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from ground.adapters.journal_reader import JournalReader
from ground.adapters.state_file import StateFile
from ground.config import CONSOLE, MONITOR, RECEIVE, RunSettings
from ground.ports import JournalRecord
from ground.receive.capture import CapturedChunk, CapturePosition, CaptureReader
from ground.receive.carriers import carrier_of, other_carriers
from ground.receive.chain import ReceiveChain
from ground.receive.decoding import Decoded, Decoder
from ground.receive.profile import load_profile
from protocols.bus.access import antenna_of
from protocols.bus.messages import (
    Event,
    EventKind,
    EventMessage,
    PacketsMessage,
    ParametersMessage,
    parse,
)
from protocols.bus.replay import parse_record
from protocols.errors import LocalError
from protocols.frames.index import index_frames
from protocols.identifiers import Topic
from protocols.timecodes.tai import utc_iso_from_tai_ns

#: Chunks before and behind the frame's that are decoded with it, for the synchroniser.
_AROUND: Final = 12


def trace(settings: RunSettings, wanted: str) -> dict[str, Any]:
    """event, parameter, packet, frame, capture and alarm, as JSON would say them; None for what
    is no longer held, or never was.  LocalError: there is no such event."""
    told, number, place = _event(settings, wanted)
    event = told.events[number - told.first_event]
    found: dict[str, Any] = {
        "event": {
            "number": number,
            **{name: value for name, value in asdict(event).items() if not name.endswith("_ns")},
            "scet": _utc(event.scet_ns),
            "ert": _utc(event.ert_ns),
            "reception": _utc(event.reception_ns),
            "journal_sequence": place,
        },
        "parameter": None,
        "packet": None,
        "frame": None,
        "capture": None,
        "alarm": _alarm(settings, event.name),
    }
    if event.kind in (EventKind.STALE, EventKind.FRESH):
        return found  # of the clock, or of many packets
    packet = _parameter(settings, told, event, found)
    if packet >= 0:
        message = _packet(settings, packet, found)
        if message is not None:
            ert_ns = int(message.packets.ert_ns[packet - message.first_packet])
            _frame(settings, message, ert_ns, found)
    return found


def _event(settings: RunSettings, wanted: str) -> tuple[EventMessage, int, int]:
    """(message, number of the event, sequence in the journal)."""
    reader = JournalReader(settings.journal_dir(MONITOR, Topic.EVENTS))
    newest: tuple[EventMessage, int, int] | None = None
    for record in reader.records():
        message = parse(EventMessage, parse_record(record.payload)[1])
        for number, event in enumerate(message.events, message.first_event):
            if wanted == str(number) or event.name == wanted:
                newest = message, number, record.sequence
    if newest is None:
        raise LocalError(
            f"{settings.run_dir}: there has been no event {wanted!r}: nothing of that name was out "
            "of limits, stale or reported; `l4 archive events --json` lists names and numbers"
        )
    return newest


def _parameter(
    settings: RunSettings, told: EventMessage, event: Event, found: dict[str, Any]
) -> int:
    """Number of the packet that it was in; −1 if it is no longer held."""
    reader = JournalReader(settings.journal_dir(MONITOR, Topic.PARAMETERS))

    def place(record: JournalRecord) -> int:
        return parse(ParametersMessage, parse_record(record.payload)[1]).sequence

    for record in _from_segment(reader, place, told.sequence):
        message = parse(ParametersMessage, parse_record(record.payload)[1])
        if message.sequence > told.sequence and message.journal == told.journal:
            break
        if (message.journal, message.sequence) != (told.journal, told.sequence):
            continue
        for table in message.tables:
            limit = event.kind == EventKind.LIMIT
            names = [column.name for column in table.columns]
            came = table.ert_ns == event.ert_ns
            rows = np.flatnonzero(came & (table.scet_ns == event.scet_ns))
            if not len(rows) and limit:
                # A limit that persists is out since an earlier sample than the one that told.
                rows = np.flatnonzero(came & (table.scet_ns > event.scet_ns))
            if not len(rows) or (limit and event.name not in names):
                continue
            found["parameter"] = {
                "definition": table.definition,
                "journal_sequence": record.sequence,
                "row": int(rows[0]),
                "parameters": len(names),
            }
            return int(table.packet[rows[0]])
    return -1


def _packet(settings: RunSettings, number: int, found: dict[str, Any]) -> PacketsMessage | None:
    reader = JournalReader(settings.journal_dir(RECEIVE, Topic.PACKETS))

    def place(record: JournalRecord) -> int:
        return parse(PacketsMessage, parse_record(record.payload)[1]).first_packet

    for record in _from_segment(reader, place, number):
        message = parse(PacketsMessage, parse_record(record.payload)[1])
        row = number - message.first_packet
        if row < 0:
            break
        if row >= len(message.packets):
            continue
        packets = message.packets
        octets = packets.octets[packets.offsets[row] : packets.offsets[row + 1]]
        found["packet"] = {
            "number": number,
            "apid": int(packets.apid[row]),
            "sequence_count": int(packets.sequence_count[row]),
            "octets": len(octets),
            "playback": bool(message.playback[row]),
            "hex": octets[:64].tobytes().hex(),
            "journal": reader.identity,
            "journal_sequence": record.sequence,
            "reception": _utc(message.reception_ns),
        }
        return message
    return None


def _from_segment(
    reader: JournalReader, place: Callable[[JournalRecord], int], wanted: int
) -> Iterator[JournalRecord]:
    """Records from the last segment on that begins at or before `wanted`, in terms of `place`."""
    firsts = [int(path.stem) for path in reader.segments()]
    begins = [place(next(reader.records(first))) for first in firsts]
    if begins:
        # Messages of one place may stand on both sides of a segment's beginning.
        yield from reader.records(firsts[max(0, bisect_right(begins, wanted - 1) - 1)])


class _Tap:
    """A decoder that remembers the frames that came out of it."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.found: list[Decoded] = []

    def push(self, octets: Any, first: int) -> Decoded:
        self.found.append(self._decoder.push(octets, first))
        return self.found[-1]

    def finish(self) -> Decoded:
        self.found.append(self._decoder.finish())
        return self.found[-1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)


def _frame(
    settings: RunSettings, message: PacketsMessage, ert_ns: int, found: dict[str, Any]
) -> None:
    """The frame with the packet's first octet, and where it stands in the capture."""
    directory = _capture(settings, message)
    if not directory.is_dir():
        # That of an antenna stays on its receiver's host.
        found["capture"] = {"antenna": antenna_of(message.origin), "elsewhere": True}
        return
    around = _around(settings, message, ert_ns)
    if around is None:
        return
    chunks, at = around
    captured = chunks[at]
    names = dict(CaptureReader(directory).files())
    found["capture"] = {
        "antenna": antenna_of(message.origin),
        "file": names[captured.position.file].name,
        "end_offset": captured.position.offset,
        "octets": len(captured.chunk.octets),
        "stream": captured.chunk.stream,
        "chunk": captured.chunk.sequence,
        "ert": _utc(captured.chunk.ert_ns),
    }
    profile = load_profile(settings.mission)
    others = other_carriers(profile)
    carrier = carrier_of(captured.chunk.stream, others)
    chain = ReceiveChain(others.get(carrier, profile))
    if chain.decoder is None:
        return
    tap = _Tap(chain.decoder)
    chain.decoder = tap  # type: ignore[assignment]
    mine = [one.chunk for one in chunks if carrier_of(one.chunk.stream, others) == carrier]
    chain.push_chunks([(chunk.octets, chunk.ert_ns) for chunk in mine])
    chain.finish()
    for decoded in tap.found:
        rows = np.flatnonzero(decoded.ert_ns == ert_ns)
        if len(rows):
            index = index_frames(decoded.frames[rows[:1]], chain.profile.frame_parameters())
            found["frame"] = {
                "scid": int(index.scid[0]),
                "vcid": int(index.vcid[0]),
                "vc_count": int(index.vc_count[0]),
                "mc_count": int(index.mc_count[0]),
                "ert": _utc(ert_ns),
                "octets": decoded.frames.shape[1],
            }
            return


def _capture(settings: RunSettings, message: PacketsMessage) -> Path:
    """Of the antenna that brought it, where there are several."""
    return settings.capture_of(message.origin)


def _around(
    settings: RunSettings, message: PacketsMessage, ert_ns: int
) -> tuple[list[CapturedChunk], int] | None:
    """Chunks about the one that `ert_ns` lies in, and which of them it is."""
    chunks: list[CapturedChunk] = []
    at = -1
    reader = CaptureReader(_capture(settings, message))
    # A packet may be completed in the file behind that of its first octet.
    start = CapturePosition(max(0, message.capture_file - 1), 0)
    for captured in reader.read(start):
        if captured.chunk.ert_ns <= ert_ns:
            chunks = [*chunks[-_AROUND:], captured]
            at = len(chunks) - 1
        elif at >= 0:
            chunks.append(captured)
            if len(chunks) > at + _AROUND:
                break
    return (chunks, at) if at >= 0 else None


def _alarm(settings: RunSettings, name: str) -> dict[str, Any] | None:
    """As the console kept it last; None: there is none of that name."""
    state = StateFile(settings.state_file(CONSOLE)).load()
    kept = (state or {}).get("alarms", {}).get(name)
    if kept is None:
        return None
    return {
        "name": name,
        "state": kept["state"],
        "severity": kept["severity"],
        "active": kept["active"],
        "raised": _utc(kept["raised_ns"]),
        "count": kept["count"],
        "acknowledged_by": kept["acknowledged_by"],
    }


def _utc(tai_ns: int) -> str:
    return utc_iso_from_tai_ns(tai_ns, decimals=6) if tai_ns else ""
