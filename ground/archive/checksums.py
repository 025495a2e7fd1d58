"""A checksum in every row that holds what was received: what the disk changes is noticed.

SQLite's own check finds pages that make no sense, not octets that are others.  `crc` is the CRC-32
of a row's other columns, written with it by the SQL function `row_crc` and compared by the same.
Rows written before there were checksums have none (NULL).
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Mapping
from typing import Final

#: Table → columns under the checksum, in the order in which rows are given.
CHECKED: Final[Mapping[str, tuple[str, ...]]] = {
    "packet": (
        "id", "channel", "scet_ns", "sequence_count", "ert_ns", "reception_ns", "octets",
    ),
    "packet_conflict": (
        "channel", "scet_ns", "sequence_count", "ert_ns", "reception_ns", "octets",
    ),
    "packet_group": (
        "channel", "count", "number", "scet", "sequence", "ert", "reception", "length",
        "lengths", "octets", "number_max", "scet_min", "scet_max", "ert_min", "ert_max",
    ),
    "tail": (
        "layout", "generation", "count", "scet_min", "scet_max", "ert_min", "ert_max", "data",
    ),
    "segment": (
        "layout", "count", "scet_min", "scet_max", "ert_min", "ert_max", "scet", "ert",
        "reception", "packet",
    ),
    "value": (
        "parameter", "segment", "valid_count", "minimum", "maximum", "mean", "data", "valid",
    ),
    "rollup": ("parameter", "width_ns", "segment", "entries", "data"),
    "event": (
        "kind", "severity", "name", "text", "scet_ns", "ert_ns", "reception_ns", "playback",
        "value", "threshold", "before", "after",
    ),
}  # fmt: skip

#: Doubles hold integers up to here exactly: below, a number is the same whatever its type.
_EXACT: Final = 1 << 53
_DOUBLE: Final = struct.Struct("<d")


def insert(table: str, condition: str = "") -> str:
    """The statement that writes one row of `CHECKED`; condition: SQL, of a row that is written."""
    columns = CHECKED[table]
    values = ", ".join(f"?{i}" for i in range(1, len(columns) + 1))
    return (
        f"INSERT INTO {table}({', '.join(columns)}, crc)"
        f" SELECT {values}, row_crc({values}) {condition}"
    )


def register(connection: sqlite3.Connection) -> None:
    """`row_crc` on a connection that writes or checks."""
    connection.create_function("row_crc", -1, row_crc, deterministic=True)


def add_columns(connection: sqlite3.Connection) -> None:
    """To tables that were made before there were checksums; the caller owns the transaction."""
    for table in CHECKED:
        connection.execute(f"ALTER TABLE {table} ADD COLUMN crc INTEGER")


def find_changed(connection: sqlite3.Connection) -> list[str]:
    """What does not fit its checksum, a sentence a table."""
    found: list[str] = []
    for table, columns in CHECKED.items():
        key = ", ".join(columns)
        has_crc = connection.execute(
            "SELECT 1 FROM pragma_table_info(?) WHERE name = 'crc'", (table,)
        ).fetchone()
        if not has_crc:
            continue
        # The one table without row numbers.
        first = "min(segment)" if table == "rollup" else "min(rowid)"
        try:
            count, row = connection.execute(
                f"SELECT count(*), {first} FROM {table} WHERE crc != row_crc({key})"
            ).fetchone()
        except sqlite3.DatabaseError as error:
            # Octets that are no text any more, or pages that are none.
            found.append(f"{table}: a row cannot be read: {error}")
            continue
        if count:
            found.append(f"{table}: {count} rows are not what was written, the first is {row}")
    return found


def row_crc(*values: object) -> int:
    crc = 0
    for value in values:
        crc = zlib.crc32(_octets(value), crc)
    return crc


def _octets(value: object) -> bytes:
    """Each with its length, so that what moves between columns is another row."""
    if value is None:
        return b"\x00"
    if isinstance(value, float) or (isinstance(value, int) and -_EXACT < value < _EXACT):
        # A column of reals gives back what was an integer as a real.
        return b"\x01" + _DOUBLE.pack(float(value) + 0.0)
    if isinstance(value, int):
        return b"\x02" + value.to_bytes(8, "little", signed=True)
    octets = value.encode() if isinstance(value, str) else bytes(value)  # type: ignore[arg-type]
    return b"\x03" + len(octets).to_bytes(8, "little") + octets


__all__ = ["CHECKED", "add_columns", "find_changed", "insert", "register", "row_crc"]
