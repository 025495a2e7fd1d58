"""Reading what is kept in rows: packets and events; and the check of the whole file.

The connection is in one read transaction until the last row is taken.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Any

from ground.archive.database import Database
from ground.archive.model import Axis, StoredPacket
from ground.archive.packet_groups import walk_groups
from ground.archive.schema import BLOCK_SHIFT
from protocols.bus.messages import Event


def read_packets(
    connection: Database,
    *,
    apid: int | None,
    vcid: int | None,
    stream: str | None,
    playback: bool | None,
    start_ns: int,
    stop_ns: int,
    axis: Axis,
) -> Iterator[StoredPacket]:
    channels = {
        row[0]: row[1:]
        for row in connection.execute(
            "SELECT id, stream, vcid, coalesce(apid, -1), playback FROM channel"
            # In this order: PostgreSQL learns a parameter's type where it meets it first.
            " WHERE (apid = ?1 OR ?1 IS NULL) AND (vcid = ?2 OR ?2 IS NULL)"
            " AND (stream = ?3 OR ?3 IS NULL) AND (playback = ?4 OR ?4 IS NULL)",
            (apid, vcid, stream, playback),
        )
    }
    by_axis, time = (_by_scet, 2) if axis == "scet" else (_by_ert, 4)
    rows = heapq.merge(
        by_axis(connection, channels, start_ns, stop_ns),
        walk_groups(connection, channels, start_ns, stop_ns, axis),
        key=lambda row: (row[time], row[0]),
    )
    for number, channel, scet, sequence, ert, reception, octets in rows:
        of_stream, of_vcid, of_apid, is_playback = channels[channel]
        yield StoredPacket(
            number,
            of_stream,
            of_vcid,
            of_apid,
            -1 if sequence is None else sequence,
            scet,
            ert,
            reception,
            bool(is_playback),
            octets,
        )


def _by_scet(connection: Database, channels: Mapping[int, Any], start_ns: int, stop_ns: int):
    """One index walk a channel, merged; only packets of the same SCET are held and sorted."""
    walks = [
        connection.execute(
            "SELECT id, channel, scet_ns, sequence_count, ert_ns, reception_ns, octets"
            " FROM packet WHERE channel = ? AND scet_ns >= ? AND scet_ns < ?"
            " ORDER BY scet_ns, sequence_count",
            (channel, start_ns, stop_ns),
        )
        for channel in channels
    ]
    # The index has them by sequence count within a SCET, the order asked for is that of arrival.
    for _scet, same in groupby(heapq.merge(*walks, key=itemgetter(2)), key=itemgetter(2)):
        yield from sorted(same)


def _by_ert(connection: Database, channels: Mapping[int, Any], start_ns: int, stop_ns: int):
    """Blocks of consecutive numbers that touch the range, in ERT order: numbers follow arrival,
    so few blocks overlap and the heap stays small."""
    blocks = connection.execute(
        "SELECT ert_min, id FROM packet_block WHERE ert_max >= ? AND ert_min < ?"
        " ORDER BY ert_min, id",
        (start_ns, stop_ns),
    ).fetchall()
    heap: list[tuple[int, int, tuple[Any, ...]]] = []
    for ert_min, block in blocks:
        while heap and heap[0][0] < ert_min:
            yield heapq.heappop(heap)[2]
        for row in connection.execute(
            "SELECT id, channel, scet_ns, sequence_count, ert_ns, reception_ns, octets"
            " FROM packet WHERE id >= ? AND id < ? AND ert_ns >= ? AND ert_ns < ?",
            (block << BLOCK_SHIFT, (block + 1) << BLOCK_SHIFT, start_ns, stop_ns),
        ):
            if row[1] in channels:
                heapq.heappush(heap, (row[4], row[0], row))
    while heap:
        yield heapq.heappop(heap)[2]


def read_events(
    connection: Database, *, start_ns: int, stop_ns: int, axis: Axis, name: str | None
) -> Iterator[Event]:
    for row in connection.execute(
        "SELECT kind, severity, name, text, scet_ns, ert_ns, reception_ns,"
        " playback, value, threshold, before, after"
        f" FROM event WHERE {axis}_ns >= ?1 AND {axis}_ns < ?2"
        f" AND (name = ?3 OR ?3 IS NULL) ORDER BY {axis}_ns, id",
        (start_ns, stop_ns, name),
    ):
        event = Event(*row)
        yield replace(event, playback=bool(event.playback))


_PACKETS = "(SELECT count(*) FROM packet) + (SELECT coalesce(sum(count), 0) FROM packet_group)"


def find_problems(connection: Database) -> list[str]:
    """What is wrong with the file, a sentence each."""
    found = list(connection.damage())
    checks = (
        ("packets differ from their counter",
         f"SELECT {_PACKETS}, coalesce((SELECT value FROM counter WHERE name = 'packets'), 0)"),
        ("packets differ from their channels' counts",
         f"SELECT {_PACKETS}, (SELECT coalesce(sum(packets), 0) FROM channel)"),
        ("events differ from their counter",
         "SELECT (SELECT count(*) FROM event), coalesce((SELECT value FROM counter"
         " WHERE name = 'events'), 0)"),
        ("rows of segments and tail differ from their layouts' counts",
         "SELECT (SELECT coalesce(sum(count), 0) FROM segment)"
         " + (SELECT coalesce(sum(count), 0) FROM tail),"
         " (SELECT coalesce(sum(count), 0) FROM layout)"),
        ("columns of segments differ from their layouts",
         "SELECT (SELECT count(*) FROM value), (SELECT count(*) FROM segment s"
         " JOIN layout_column c ON c.layout = s.layout)"),
        ("samples differ from their counter",
         "SELECT (SELECT coalesce(sum(l.count), 0) FROM layout l JOIN layout_column c"
         " ON c.layout = l.id), coalesce((SELECT value FROM counter WHERE name = 'samples'), 0)"),
    )  # fmt: skip
    for what, statement in checks:
        have, wanted = connection.execute(statement).fetchone()
        if have != wanted:
            found.append(f"{what}: {have} against {wanted}")
    return found
