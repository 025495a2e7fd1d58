"""What an archive must answer, computed the slow and obvious way: lists and dictionaries."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ground.archive.model import NO_SCET, TableColumns
from protocols.packets.batch import PacketBatch

S = 1_000_000_000
T0 = 2_170_000_000 * S
APIDS = (16, 17, 64)
TEXTS = ("OFF", "ON", "STANDBY")


def space_packet(apid: int, sequence: int, data: bytes) -> bytes:
    header = (apid).to_bytes(2, "big") + (0xC000 | sequence).to_bytes(2, "big")
    return header + (len(data) - 1).to_bytes(2, "big") + data


@dataclass
class Batch:
    """Arguments of one append."""

    packets: PacketBatch
    scet_ns: np.ndarray
    reception_ns: int
    playback: np.ndarray
    tables: list[TableColumns]


@dataclass
class Oracle:
    rows: list[dict[str, Any]] = field(default_factory=list)
    samples: dict[str, list[tuple[int, int, int, int, Any, bool]]] = field(default_factory=dict)
    duplicates: int = 0
    conflicts: int = 0
    copies: int = 0

    def append(self, stream: str, batch: Batch) -> None:
        new = []
        for i in range(len(batch.packets)):
            octets = batch.packets.packet(i)
            word, count = int.from_bytes(octets[:2], "big"), int.from_bytes(octets[2:4], "big")
            row = {
                "stream": stream,
                "vcid": int(batch.packets.vcid[i]),
                "apid": word & 0x7FF,
                "sequence_count": count & 0x3FFF,
                "scet_ns": None if batch.scet_ns[i] == NO_SCET else int(batch.scet_ns[i]),
                "ert_ns": int(batch.packets.ert_ns[i]),
                "reception_ns": batch.reception_ns,
                "playback": bool(batch.playback[i]),
                "octets": octets,
            }
            same = [
                other
                for other in self.rows
                if row["scet_ns"] is not None
                and all(
                    other[key] == row[key]
                    for key in ("stream", "apid", "sequence_count", "scet_ns")
                )
            ]
            known = [other for other in same if other["vcid"] == row["vcid"]]
            if known:
                self.duplicates += 1
                self.conflicts += known[0]["octets"] != octets
                new.append(None)
                continue
            row["number"] = len(self.rows) + 1
            self.rows.append(row)
            copy = any(other["octets"] == octets for other in same)
            self.copies += copy
            new.append(None if copy else row)
        for table in batch.tables:
            assert table.rows is not None
            for name, column in table.columns.items():
                found = self.samples.setdefault(name, [])
                valid = table.valid.get(name, np.ones(len(column), bool))
                for at, packet in enumerate(table.rows.tolist()):
                    row = new[packet]
                    if row is None or table.scet_ns[at] == NO_SCET:
                        continue
                    found.append(
                        (
                            int(table.scet_ns[at]),
                            row["number"],
                            row["ert_ns"],
                            row["reception_ns"],
                            column[at].item() if hasattr(column[at], "item") else column[at],
                            bool(valid[at]),
                        )
                    )

    def query(self, name: str, start: int, stop: int, axis: str) -> list[tuple]:
        key = 0 if axis == "scet" else 2
        chosen = [sample for sample in self.samples[name] if start <= sample[key] < stop]
        return sorted(chosen, key=lambda sample: (sample[key], sample[1]))

    def bins(self, name: str, start: int, stop: int, width: int) -> dict[int, list[float]]:
        """Bin start → its valid samples' values; whole bins that touch start..stop."""
        low, high = start // width * width, -(-stop // width) * width
        found: dict[int, list[float]] = {}
        for scet, _, _, _, value, valid in self.samples[name]:
            if low <= scet < high and valid and not math.isnan(value):
                found.setdefault(scet // width * width, []).append(value)
        return found


def random_batch(
    rng: np.random.Generator, n: int, span_s: int, history: list[tuple], *, ert_ns: int
) -> Batch:
    """n packets anywhere in a span: out of order, some repeated from `history` (duplicates, copies
    on the playback channel, conflicts), some without SCET, with gaps; NaN and invalid values."""
    octets, vcid, scet, apids = [], [], [], []
    for _ in range(n):
        choice = rng.random()
        if history and choice < 0.2:
            apid, sequence, time, data, vc = history[rng.integers(len(history))]
            if choice < 0.08:
                vc = 3
            elif choice < 0.1:
                data = bytes(8)
        else:
            apid = int(rng.choice(APIDS))
            sequence = int(rng.integers(16384))
            time = T0 + int(rng.integers(span_s * 10)) * S // 10
            data, vc = rng.bytes(8), int(rng.integers(2))
            if rng.random() < 0.05:
                time = NO_SCET
            history.append((apid, sequence, time, data, vc))
        octets.append(space_packet(apid, sequence, data))
        vcid.append(vc)
        scet.append(time)
        apids.append(apid)
    packets = PacketBatch.from_packets(
        octets, vcid=vcid, ert_ns=[ert_ns + int(rng.integers(5 * S)) for _ in octets]
    )
    times = np.array(scet, np.int64)
    tables = []
    for apid in APIDS:
        rows = np.flatnonzero(np.array(apids) == apid)
        if not len(rows):
            continue
        first = np.array([octets[row][6] for row in rows.tolist()])
        value = np.where(first < 20, np.nan, first * 1.5 - 100)
        columns = {
            f"VALUE_{apid}": value,
            f"COUNT_{apid}": first.astype(np.uint16) * 257,
            f"MODE_{apid}": np.array([TEXTS[one % 3] for one in first.tolist()]),
        }
        valid = {f"VALUE_{apid}": first % 7 != 0}
        tables.append(TableColumns(f"PACKET_{apid}", rows, times[rows], columns, valid))
    return Batch(
        packets, times, ert_ns + 10 * S, np.array(vcid) == 3, tables
    )  # fmt: skip
