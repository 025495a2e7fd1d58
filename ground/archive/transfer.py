"""An archive copied row by row from one engine into another: a server's into a file, and back.

A row keeps its numbers, and its checksum is made anew for what the other engine will read back, but
not where it did not fit: damage stays noticed wherever it is copied to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ground.archive.checksums import CHECKED, row_crc
from ground.archive.database import Database
from ground.archive.schema import columns

#: octets done, table
Progress = Callable[[int, str], None]

#: Rows that are written together, bounded by either.
_ROWS: Final = 4096
_OCTETS: Final = 8 << 20


def copy_rows(source: Database, target: Database, progress: Progress | None = None) -> int:
    """All rows into tables that are empty; how many.  Both are in a transaction: what is read is
    one moment of the archive, with the positions that it holds."""
    rows = octets = 0
    for table in columns():
        names, crc_at = _names(table)
        statement = f"SELECT {', '.join(names)} FROM {table}"
        batch: list[tuple[Any, ...]] = []
        held = 0
        for row in source.execute(statement):
            batch.append(_carried(table, names, tuple(row), crc_at))
            held += sum(len(one) for one in row if type(one) is bytes)
            if len(batch) >= _ROWS or held >= _OCTETS:
                target.load(table, names, batch)
                rows, octets = rows + len(batch), octets + held
                batch, held = [], 0
                if progress is not None:
                    progress(octets, table)
        target.load(table, names, batch)
        rows, octets = rows + len(batch), octets + held
    return rows


def _names(table: str) -> tuple[tuple[str, ...], int]:
    """Columns, those under the checksum last and together; where these begin (−1: no checksum)."""
    checked = CHECKED.get(table)
    if checked is None:
        return columns()[table], -1
    others = tuple(name for name in columns()[table] if name not in (*checked, "crc"))
    return (*others, *checked, "crc"), len(others)


def _carried(
    table: str, names: tuple[str, ...], row: tuple[Any, ...], crc_at: int
) -> tuple[Any, ...]:
    if crc_at < 0:
        return row
    head, values, crc = row[:crc_at], row[crc_at:-1], row[-1]
    if crc is None:
        return row
    sound = crc == row_crc(*values)
    if table == "value":
        # A server keeps them as doubles, a file has no NaN.
        low, high = names.index("minimum") - crc_at, names.index("maximum") - crc_at
        values = tuple(_double(v) if i in (low, high) else v for i, v in enumerate(values))
    return (*head, *values, row_crc(*values) if sound else crc)


def _double(value: Any) -> float | None:
    return None if value is None or value != value else float(value)


__all__ = ["Progress", "copy_rows"]
