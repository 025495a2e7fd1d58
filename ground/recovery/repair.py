"""`l4 archive rebuild`: what is wrong with an archive, and a new one in its place."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ground.archive.model import Position
from ground.archive.store import ArchiveStore
from ground.config import RunSettings
from ground.recovery.capture import Progress
from ground.recovery.rebuild import Rebuilt, differences, rebuild, replace_archive
from protocols.errors import LocalError


@dataclass
class Repair:
    """differences: of the archive that was found from what capture and journals give; incomplete:
    why these cannot give all; kept: where the old archive is now."""

    archive: str
    made: Rebuilt
    replaced: bool = False
    kept: str = ""
    differences: list[str] = field(default_factory=list[str])

    @property
    def incomplete(self) -> list[str]:
        return self.made.problems

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def said(self) -> list[str]:
        """For people."""
        lines = [
            f"{self.made.chunks:,} chunks of capture give {self.made.packets:,} packets and "
            f"{self.made.events:,} events"
        ]
        lines += self.differences or ["the archive held just that"]
        lines += [f"not to be had any more: {text}" for text in self.incomplete]
        if self.replaced:
            lines.append(f"{self.archive} is made anew")
        if self.kept:
            lines.append(f"the old one is {self.kept}; delete it when nobody misses anything")
        return lines


def repair(
    settings: RunSettings, *, check: bool = False, progress: Progress | None = None
) -> Repair:
    """Compare the archive with what the capture gives and, unless only checked, put that in its
    place.  LocalError: there is no capture, or what it gives is less than the archive holds."""
    archive = settings.archive_file
    archive.parent.mkdir(parents=True, exist_ok=True)
    made = archive.with_name(f"{archive.name}.rebuilding")
    _remove(made)
    try:
        with _opened(archive) as (found, problems):
            # An archive that is sound is behind at most: compared as far as it goes.
            up_to = _positions(found) if check and found is not None else None
            result = Repair(str(archive), rebuild(settings, made, up_to=up_to, progress=progress))
            with ArchiveStore.open(made, read_only=True) as wanted:
                result.differences = [*problems]
                if found is not None:
                    result.differences += differences(found, wanted)
        if check:
            return result
        if result.incomplete and found is not None and not problems:
            raise LocalError(
                f"{archive} reads well, and capture and journals can no longer give all: "
                + "; ".join(result.incomplete)
            )
        kept = replace_archive(archive, made)
        result.replaced, result.kept = True, "" if kept is None else str(kept)
        return result
    finally:
        _remove(made)


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[tuple[ArchiveStore | None, list[str]]]:
    """The archive as far as it opens, and what is wrong with it."""
    if not archive.is_file():
        yield None, [f"archive: {archive} is not there"]
        return
    try:
        store = ArchiveStore.open(archive, read_only=True)
    except LocalError as error:
        yield None, [f"archive: {error}"]
        return
    with store:
        try:
            problems = [f"archive: {text}" for text in store.integrity().problems]
        except (sqlite3.Error, LocalError) as error:
            problems = [f"archive: {error}"]
        yield store, problems


def _positions(store: ArchiveStore) -> dict[str, Position] | None:
    try:
        return {one.topic: one for one in store.positions()}
    except sqlite3.Error:
        return None


def _remove(made: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        made.with_name(made.name + suffix).unlink(missing_ok=True)


__all__ = ["Repair", "repair"]
