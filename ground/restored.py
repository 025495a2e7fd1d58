"""The mark that `l4 restore` leaves in a run: what is older here than what others have seen.

A backup knows no number that was given out after it was begun: those of requests, of CFDP
transactions, of link security, of history.  Whoever gives out numbers goes on above all that can
have been given out since, which the mark bounds by time: `SPARE` and `RATE_S` a second of it.  The
bound grows with time, so that a second restore of the same backup begins above what the first one
has given out.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from ground.durable_files import replace_file
from protocols.errors import LocalError

MARK: Final = "restored.json"
#: Written last into a backup: every file, its length and SHA-256.
MANIFEST: Final = "manifest.json"
#: Where a restore is made, beside a run or in it, and that it is not done.
RESTORING: Final = "restoring"
#: Requests, runs, transactions and entries of history that may have been made since a backup: so
#: many, and so many a second more.  People make fewer; scripts are held up by fsync before 100.
SPARE: Final = 1_000
RATE_S: Final = 10


@dataclass(frozen=True, slots=True)
class Restored:
    """id: of this restore, never used again.  begun_s: when the backup was begun, restored_s: when
    it was restored; Unix seconds."""

    id: str
    backup: str
    begun_s: int
    restored_s: int

    @property
    def skip(self) -> int:
        """How many numbers of one kind may have been given out since."""
        return SPARE + RATE_S * max(0, self.restored_s - self.begun_s)

    def write(self, run_dir: Path) -> None:
        """On disk when this returns."""
        replace_file(run_dir / MARK, (json.dumps(asdict(self), indent=1) + "\n").encode())


def mark_of(backup: Path, begun_s: int, now_s: int) -> Restored:
    """Of a restore that happens now."""
    return Restored(secrets.token_hex(8), str(backup), begun_s, now_s)


def read_mark(run_dir: Path) -> Restored | None:
    """None: it was never restored.  LocalError: the mark makes no sense."""
    path = run_dir / MARK
    try:
        found = json.loads(path.read_text())
        return Restored(
            str(found["id"]),
            str(found["backup"]),
            int(found["begun_s"]),
            int(found["restored_s"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise LocalError(f"{path}: not the mark of a restore: {error!r}") from error


def check_whole(run_dir: Path) -> None:
    """LocalError: this is no run to go on in, but a backup, or half a restore."""
    if (run_dir / MANIFEST).exists():
        raise LocalError(
            f"{run_dir} is a backup: `l4 restore {run_dir} --run-dir NEW`, and go on there; what "
            "is started in a backup would use numbers again"
        )
    for making in (run_dir.with_name(f"{run_dir.name}.{RESTORING}"), run_dir / RESTORING):
        if making.exists():
            raise LocalError(
                f"{making}: a restore was broken off, or goes on; repeat `l4 restore`, or remove "
                "this directory"
            )


__all__ = ["MANIFEST", "RESTORING", "Restored", "check_whole", "mark_of", "read_mark"]
