"""What `append` does inside its transaction: identities, packet rows, layouts, labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ground.archive import packet_groups
from ground.archive.columns import TEXT, Layout, Run, column_code, stored_dtype
from ground.archive.database import Database
from ground.archive.model import NO_SCET, Appended, ColumnInfo, Flags, TableColumns
from ground.archive.schema import BLOCK_SHIFT
from ground.archive.segments import RunWriter, load_layouts
from protocols.errors import LocalError
from protocols.packets.batch import PacketBatch

I64 = npt.NDArray[np.int64]

NEW, COPY, DUPLICATE, CONFLICT = 0, 1, 2, 3
#: Packets of a batch are told apart by APID (−1 … 2047), virtual channel (a byte) and playback.
KINDS = 2049 * 512
#: Octets of a space packet's primary header; what is shorter has no identity to read.
HEADER_OCTETS = 6


class Ingest:
    """Writes batches through one connection; the caller owns the transactions.

    What is remembered between batches is a copy of what the file says; `reload` after a rollback.
    """

    def __init__(self, connection: Database) -> None:
        self._db = connection
        self.runs = RunWriter(connection)
        self._groups = packet_groups.GroupLookup(connection)
        self.reload()

    def reload(self) -> None:
        self.runs.reload()
        self._groups.forget()
        last = "SELECT greatest((SELECT max(id) FROM packet),"
        last += " (SELECT max(number_max) FROM packet_group), 0)"
        self._next_packet = 1 + self._db.execute(last).fetchone()[0]
        #: (stream, vcid, apid, playback) → channel
        self._channels: dict[tuple[str, int, int, bool], int] = {}
        #: (stream, apid) → highest SCET stored, and the channels with their VC
        self._newest: dict[tuple[str, int], int] = {}
        self._siblings: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
        for number, stream, vcid, apid, playback, scet_max in self._db.execute(
            "SELECT id, stream, vcid, coalesce(apid, -1), playback, scet_max FROM channel"
        ):
            self._channels[stream, vcid, apid, bool(playback)] = number
            self._siblings[stream, apid].append((number, vcid))
            newest = self._newest.get((stream, apid), NO_SCET)
            self._newest[stream, apid] = max(newest, NO_SCET if scet_max is None else scet_max)
        self.layouts = load_layouts(self._db)
        self._by_columns = {
            (layout.definition, layout.parameters, layout.codes): layout
            for layout in self.layouts.values()
        }
        self._known: dict[tuple[Any, ...], tuple[Layout, object]] = {}
        self._labels: dict[int, dict[str, int]] = {}

    # ------------------------------------------------------------ packets

    def append(
        self,
        packets: PacketBatch,
        stream: str,
        scet_ns: I64,
        reception_ns: I64,
        playback: Flags,
        tables: Sequence[TableColumns],
    ) -> Appended:
        n = len(packets)
        space = (packets.octets[packets.offsets[:-1]] >> 5 == 0) & (packets.length >= HEADER_OCTETS)
        apid, sequence = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
        if space.all():
            apid, sequence = packets.apid.astype(np.int64), packets.sequence_count.astype(np.int64)
        elif space.any():
            # Only these have a header to read; others may be shorter than one.
            some = packets.select(space)
            apid[space], sequence[space] = some.apid, some.sequence_count
        known = self._identities(packets, stream, apid, sequence, scet_ns, space)
        kept = np.flatnonzero(known <= COPY)
        number = np.full(n, -1, np.int64)
        number[kept] = self._next_packet + np.arange(len(kept))
        if len(kept):
            self._write_packets(
                packets, kept, stream, apid, sequence, scet_ns, reception_ns, playback
            )
        conflicts = np.flatnonzero(known == CONFLICT)
        for i in conflicts.tolist():
            self._db.insert(
                "packet_conflict",
                (
                    self._channel(stream, int(packets.vcid[i]), int(apid[i]), bool(playback[i])),
                    int(scet_ns[i]),
                    int(sequence[i]),
                    int(packets.ert_ns[i]),
                    int(reception_ns[i]),
                    packets.packet(i),
                ),
            )
        samples = untimed = 0
        for table in tables:
            stored, skipped = self._write_table(
                table, packets.ert_ns, reception_ns, number, known == NEW
            )
            samples += stored
            untimed += skipped
        duplicates = n - len(kept)
        copies = int(np.count_nonzero(known == COPY))
        self.count(
            packets=len(kept),
            duplicates=duplicates,
            conflicts=len(conflicts),
            copies=copies,
            samples=samples,
            samples_without_scet=untimed,
        )
        return Appended(False, len(kept), duplicates, copies, samples)

    def _identities(
        self, packets: PacketBatch, stream: str, apid: I64, sequence: I64, scet: I64, space: Flags
    ) -> npt.NDArray[np.int8]:
        """NEW, COPY, DUPLICATE or CONFLICT for each packet.

        Only a packet later than everything of its APID needs no look into the file: that is nearly
        every packet of a live link, and of a bulk load.
        """
        known = np.zeros(len(apid), np.int8)
        timed = np.flatnonzero(space & (scet != NO_SCET))
        if not len(timed):
            return known
        # As they come, by APID (16 bits: NumPy then sorts by radix): where each SCET is later than
        # the one before, and the first than what is stored, every packet is new.
        order = timed[np.argsort(apid[timed].astype(np.uint16), kind="stable")]
        a, s = apid[order], scet[order]
        first = np.flatnonzero(np.diff(a, prepend=-1))
        late = np.diff(s) > 0
        late[first[1:] - 1] = True
        if late.all() and all(
            time > self._newest.get((stream, one), NO_SCET)
            for one, time in zip(a[first].tolist(), s[first].tolist(), strict=True)
        ):
            return known
        order = timed[np.lexsort((timed, sequence[timed], scet[timed], apid[timed]))]
        a, s, q = apid[order], scet[order], sequence[order]
        again = np.zeros(len(order), np.bool_)
        again[1:] = (a[1:] == a[:-1]) & (s[1:] == s[:-1]) & (q[1:] == q[:-1])
        newest = np.full(2048, NO_SCET, np.int64)
        for one in np.unique(a).tolist():
            newest[one] = self._newest.get((stream, one), NO_SCET)
        again[:-1] |= again[1:]  # the first of each repeated identity, too
        suspects = order[again | (s <= newest[a])]
        seen: dict[tuple[int, int, int], dict[int, bytes]] = {}
        for i in np.sort(suspects).tolist():
            identity = int(apid[i]), int(scet[i]), int(sequence[i])
            if identity not in seen:
                seen[identity] = self._stored(stream, *identity)
            octets, vcid = packets.packet(i), int(packets.vcid[i])
            copies = seen[identity]
            if vcid in copies:
                known[i] = DUPLICATE if copies[vcid] == octets else CONFLICT
                continue
            # Other octets on another channel are other data: their samples count.
            known[i] = COPY if octets in copies.values() else NEW
            copies[vcid] = octets
        return known

    def _stored(self, stream: str, apid: int, scet_ns: int, sequence: int) -> dict[int, bytes]:
        """VC → octets of the stored packets with this identity."""
        if scet_ns > self._newest.get((stream, apid), NO_SCET):
            return {}
        found: dict[int, bytes] = {}
        for channel, vcid in self._siblings[stream, apid]:
            row = self._db.execute(
                "SELECT octets FROM packet WHERE channel = ? AND scet_ns = ?"
                " AND sequence_count = ?",
                (channel, scet_ns, sequence),
            ).fetchone()
            octets = row[0] if row is not None else self._groups.find(channel, scet_ns, sequence)
            if octets is not None:
                found[vcid] = octets
        return found

    def _channel(self, stream: str, vcid: int, apid: int, playback: bool) -> int:
        key = stream, vcid, apid, playback
        if key not in self._channels:
            number = self._db.insert(
                "channel",
                (stream, vcid, None if apid < 0 else apid, int(playback), 0),
                "stream, vcid, apid, playback, packets",
            )
            self._channels[key] = number
            self._siblings[stream, apid].append((number, vcid))
        return self._channels[key]

    def _write_packets(
        self,
        packets: PacketBatch,
        kept: I64,
        stream: str,
        apid: I64,
        sequence: I64,
        scet: I64,
        reception: I64,
        playback: Flags,
    ) -> None:
        kind = (apid[kept] + 1) * 512 + packets.vcid[kept].astype(np.int64) * 2 + playback[kept]
        kinds, which = _numbered(kind)
        # Packets of the first kind, then of the second …, each in the order of arrival.
        order = np.argsort(which, kind="stable")
        counts = np.bincount(which, minlength=len(kinds))
        stops = np.cumsum(counts)
        latest = np.maximum.reduceat(scet[kept[order]], stops - counts).tolist()
        channels = np.empty(len(kinds), np.int64)
        for i, (one, count, newest) in enumerate(
            zip(kinds.tolist(), counts.tolist(), latest, strict=True)
        ):
            of_apid = one // 512 - 1
            channels[i] = channel = self._channel(stream, one // 2 % 256, of_apid, bool(one & 1))
            self._newest[stream, of_apid] = max(
                newest, self._newest.get((stream, of_apid), NO_SCET)
            )
            self._db.execute(
                "UPDATE channel SET packets = packets + ?1, scet_max = greatest(scet_max, ?2)"
                " WHERE id = ?3",
                (count, None if newest == NO_SCET else newest, channel),
            )
        number = self._next_packet + np.arange(len(kept))
        self._next_packet += len(kept)
        many = counts >= packet_groups.LEAST
        for i in np.flatnonzero(many).tolist():
            mine = order[stops[i] - counts[i] : stops[i]]
            index = kept[mine]
            packet_groups.write_groups(
                self._db,
                int(channels[i]),
                packets if len(index) == len(packets) else packets.select(index),
                number[mine],
                scet[index],
                sequence[index],
                reception[index],
            )
        few = np.flatnonzero(~many[which])
        if len(few):
            self._write_rows(
                packets, kept[few], channels[which[few]], number[few], sequence, scet, reception
            )

    def _write_rows(
        self,
        packets: PacketBatch,
        index: I64,
        channel: I64,
        number: I64,
        sequence: I64,
        scet: I64,
        reception: I64,
    ) -> None:
        """A row each; channel and number are [len(index)], the others [len(packets)]."""
        times = [None if time == NO_SCET else time for time in scet[index].tolist()]
        counts = [None if count < 0 else count for count in sequence[index].tolist()]
        octets = packets.octets.tobytes()
        low, high = packets.offsets[:-1][index].tolist(), packets.offsets[1:][index].tolist()
        ert = packets.ert_ns[index]
        rows = zip(
            number.tolist(),
            channel.tolist(),
            times,
            counts,
            ert.tolist(),
            reception[index].tolist(),
            [octets[a:b] for a, b in zip(low, high, strict=True)],
            strict=True,
        )
        self._db.insert_rows("packet", list(rows))
        block = number >> BLOCK_SHIFT
        starts = np.flatnonzero(np.diff(block, prepend=-1))
        self._db.executemany(
            "INSERT INTO packet_block VALUES(?, ?, ?) ON CONFLICT(id) DO UPDATE SET"
            " ert_min = least(packet_block.ert_min, excluded.ert_min),"
            " ert_max = greatest(packet_block.ert_max, excluded.ert_max)",
            zip(
                block[starts].tolist(),
                np.minimum.reduceat(ert, starts).tolist(),
                np.maximum.reduceat(ert, starts).tolist(),
                strict=True,
            ),
        )

    # ------------------------------------------------------------ parameters

    def _write_table(
        self, table: TableColumns, ert_ns: I64, reception_ns: I64, number: I64, new: Flags
    ) -> tuple[int, int]:
        """(samples stored, samples left out for want of a SCET)."""
        scet = table.scet_ns
        timed = scet != NO_SCET
        keep = timed
        if table.rows is None:
            ert = table.ert_ns
            assert ert is not None
            reception = np.broadcast_to(reception_ns[:1], len(scet))
            packet = np.full(len(scet), -1, np.int64)
        else:
            keep = timed & new[table.rows]
            ert, reception = ert_ns[table.rows], reception_ns[table.rows]
            packet = number[table.rows]
        skipped = int(np.count_nonzero(~timed)) * len(table.columns)
        rows = int(np.count_nonzero(keep))
        if not rows or not table.columns:
            return 0, skipped
        layout = self._layout(table)
        everything = rows == len(scet)
        run = Run(
            (
                _int64(scet),
                _int64(ert),
                _int64(reception),
                _int64(packet),
            ),
            tuple(
                self._stored_column(parameter, code, column)
                for parameter, code, column in zip(
                    layout.parameters, layout.codes, table.columns.values(), strict=True
                )
            ),
            tuple(
                None if mask is None or mask.all() else mask
                for mask in (table.valid.get(name) for name in table.columns)
            ),
        )
        self.runs.write(layout, run if everything else run.take(np.flatnonzero(keep)))
        return rows * len(table.columns), skipped

    def _layout(self, table: TableColumns) -> Layout:
        """The layout of a table; registers definition, parameters and labels on first sight."""
        codes = tuple(column_code(column, name) for name, column in table.columns.items())
        # The identity of `info` stands for its contents: a dictionary is decoded again and again.
        key = table.definition, tuple(table.columns), codes, id(table.info) if table.info else 0
        if key in self._known:
            return self._known[key][0]
        row = self._db.execute(
            "SELECT id FROM definition WHERE name = ?", (table.definition,)
        ).fetchone()
        definition = row[0] if row else self._db.insert("definition", (table.definition,), "name")
        parameters = tuple(
            self._parameter(name, table.info.get(name, ColumnInfo()), code)
            for name, code in zip(table.columns, codes, strict=True)
        )
        layout = self._by_columns.get((definition, parameters, codes))
        if layout is None:
            number = self._db.insert("layout", (definition, 0), "definition, count")
            layout = Layout(number, definition, parameters, codes)
            self._db.executemany(
                "INSERT INTO layout_column VALUES(?, ?, ?, ?)",
                [
                    (layout.id, position, parameter, code)
                    for position, (parameter, code) in enumerate(
                        zip(parameters, codes, strict=True)
                    )
                ],
            )
            self._by_columns[definition, parameters, codes] = layout
            self.layouts[layout.id] = layout
        # The mapping is kept alive, so that its id cannot come to stand for another one.
        self._known[key] = layout, table.info
        return layout

    def _parameter(self, name: str, info: ColumnInfo, code: str) -> int:
        kind = "text" if code == TEXT else "enumeration" if info.labels else "number"
        row = self._db.execute("SELECT id, kind FROM parameter WHERE name = ?", (name,)).fetchone()
        if row is not None and (row[1] == "text") != (kind == "text"):
            raise LocalError(f"parameter {name!r} is archived as {row[1]}, now it comes as {kind}")
        about = info.unit, info.description, kind
        if row is None:
            number = self._db.insert("parameter", (name, *about), "name, unit, description, kind")
        else:
            number = row[0]
            self._db.execute(
                "UPDATE parameter SET unit = ?, description = ?, kind = ? WHERE id = ?",
                (*about, number),
            )
        self._db.executemany(
            "INSERT INTO label VALUES(?, ?, ?)"
            " ON CONFLICT(parameter, code) DO UPDATE SET text = excluded.text",
            [(number, _signed(int(value)), text) for value, text in info.labels.items()],
        )
        return number

    def _stored_column(self, parameter: int, code: str, column: npt.NDArray[Any]):
        if code != TEXT:
            return np.ascontiguousarray(column, stored_dtype(code))
        if parameter not in self._labels:
            rows = self._db.execute(
                "SELECT text, code FROM label WHERE parameter = ?", (parameter,)
            )
            self._labels[parameter] = dict(rows)
        labels = self._labels[parameter]
        texts = [_text(value) for value in column.tolist()]
        for text in dict.fromkeys(texts):
            if text not in labels:
                labels[text] = len(labels)
                self._db.execute(
                    "INSERT INTO label VALUES(?, ?, ?)", (parameter, labels[text], text)
                )
        return np.array([labels[text] for text in texts], np.int32)

    def count(self, **amounts: int) -> None:
        self._db.executemany(
            "INSERT INTO counter VALUES(?, ?)"
            " ON CONFLICT(name) DO UPDATE SET value = counter.value + excluded.value",
            [(name, amount) for name, amount in Counter(amounts).items() if amount],
        )


def _numbered(kind: I64) -> tuple[I64, npt.NDArray[np.integer[Any]]]:
    """The kinds that occur, in order, and the number of each entry's among them: as `np.unique`,
    which sorts."""
    occurs = np.zeros(KINDS, np.bool_)
    occurs[kind] = True
    kinds = np.flatnonzero(occurs)
    # Sorting by 16 bits is a radix sort; more kinds than that in one batch are not worth a thought.
    place = np.empty(KINDS, np.uint16 if len(kinds) <= 1 << 16 else np.int64)
    place[kinds] = np.arange(len(kinds))
    return kinds, place[kind]


def _signed(code: int) -> int:
    """SQL's integers end at 63 bits; `Reader.labels` knows which codes have 64."""
    return code - (1 << 64) if code >> 63 == 1 else code


def _int64(times: npt.NDArray[Any]) -> I64:
    return np.ascontiguousarray(times, np.int64)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return "" if value is None else str(value)


__all__ = ["Ingest"]
