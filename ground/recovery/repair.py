"""`l4 archive rebuild`: what is wrong with an archive, and a new one in its place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ground.archive.model import Position
from ground.archive.store import ArchiveStore
from ground.config import RunSettings
from ground.recovery.capture import Progress
from ground.recovery.rebuild import Rebuilt, differences, rebuild, replace_archive
from ground.server_address import shown_address
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
    file = settings.archive_file
    file.parent.mkdir(parents=True, exist_ok=True)
    made = file.with_name(f"{file.name}.rebuilding")
    _remove(made)
    try:
        with _place(settings, check=check) as put:
            result = _compared(settings, made, check=check, progress=progress)
            if check:
                return result
            kept = put(made)
        result.replaced, result.kept = True, "" if kept is None else str(kept)
        return result
    finally:
        _remove(made)


@contextlib.contextmanager
def _place(settings: RunSettings, *, check: bool) -> Iterator[Callable[[Path], Path | str | None]]:
    """What puts a made archive where the run's is and returns where that is kept.  A server's is
    held all the time, so that nobody writes there meanwhile."""
    if not settings.archive or check:
        yield partial(replace_archive, settings.archive_file)
        return
    from ground.archive.server import held  # only where one is used

    with held(settings.archive) as place:

        def put(made: Path) -> str | None:
            kept = place.put(made)
            return kept and f"in {place.address}, schema {kept} (DROP SCHEMA {kept} CASCADE)"

        yield put


def _compared(
    settings: RunSettings, made: Path, *, check: bool, progress: Progress | None
) -> Repair:
    """`made` is made; LocalError if it may not take the archive's place."""
    archive = (settings.archive and shown_address(settings.archive)) or str(settings.archive_file)
    with _opened(settings.archive_written) as (found, problems):
        # An archive that is sound is behind at most: compared as far as it goes.
        up_to = _positions(found) if check and found is not None else None
        result = Repair(archive, rebuild(settings, made, up_to=up_to, progress=progress))
        with ArchiveStore.open(made, read_only=True) as wanted:
            result.differences = [*problems]
            if found is not None:
                result.differences += differences(found, wanted)
    if not check and result.incomplete and found is not None and not problems:
        raise LocalError(
            f"{archive} reads well, and capture and journals can no longer give all: "
            + "; ".join(result.incomplete)
        )
    return result


@contextlib.contextmanager
def _opened(archive: Path | str) -> Iterator[tuple[ArchiveStore | None, list[str]]]:
    """The archive as far as it opens, and what is wrong with it."""
    if isinstance(archive, Path) and not archive.is_file():
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
        except (*store.errors, LocalError) as error:
            problems = [f"archive: {error}"]
        yield store, problems


def _positions(store: ArchiveStore) -> dict[str, Position] | None:
    try:
        return {one.topic: one for one in store.positions()}
    except store.errors:
        return None


def _remove(made: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        made.with_name(made.name + suffix).unlink(missing_ok=True)


__all__ = ["Repair", "repair"]
