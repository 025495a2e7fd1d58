"""A copy of a run that goes on, and the way back.

    made = back_up(settings, Path("backup-1"))           while all services work
    restore(Path("backup-1"), Path("var/run"))           checks every octet first

The copy is what a kill -9 of all processes at one instant could have left, so that whoever is
started in it goes on as after one.  For that, what follows is copied before what it follows: a
follower's position then never lies behind the end of the journal that it follows.

    1. state/, archive, console accounts      how far each follower is, with what it made of it
    2. bundles/relay, then mission_centre     a bundle that moves meanwhile is in both, and known
    3. journals                               of monitor, mission_centre, command; then of receive
    4. command, transfers, then their files   octets that a span speaks of are there (or asked for)
    5. schedule/, files/, procedures/
    6. uplink/                                whom an id was given to: ids are in 4
    7. capture/, capture-ANTENNA/             last: everything above was made from it

SQLite files by SQLite's online backup, an archive on a server as an SQLite file by one reading
transaction: to audit or restore a backup needs no server, and its `run.toml` says that its archive
is a file, so that nobody takes the server's, which has gone on, for it.  The others only grow or
are replaced in one step, and are read to the length that they have.  `manifest.json`, written last,
names each file with its length and SHA-256: a backup without it is none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ground.config import COMMAND, MISSION_CENTRE, MONITOR, RECEIVE, RELAY, RunSettings
from ground.documents import toml_of
from ground.durable_files import make_directory, replace_file, sync_directory
from ground.restored import MANIFEST, RESTORING, mark_of
from ground.server_address import shown_address
from protocols.errors import LocalError

if TYPE_CHECKING:
    from ground.archive.server import Place

VERSION: Final = 1
#: Of no use elsewhere: locks, logs, copies of what was damaged, half-made files.
_LEFT_OUT: Final = ("lock", ".lock", "open", "ballast")
_LEFT_OUT_ENDS: Final = (".new", ".part", "-wal", "-shm", "-journal", ".torn", ".rebuilding")
_LEFT_OUT_PARTS: Final = (".damaged-", "audit-", "upload-")
_STEP_OCTETS: Final = 4 << 20
#: Pages of SQLite copied between two looks at the progress: some 8 MiB.
_STEP_PAGES: Final = 1024
#: A segment was deleted while it was to be copied; after so many times something else is wrong.
_TIMES: Final = 20

#: octets done, what is copied now
Progress = Callable[[int, str], None]


@dataclass
class Backup:
    """files: by path in the run, octets and SHA-256; archive: address of the server that had it."""

    directory: str
    files: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    archive: str = ""
    #: When it was begun, Unix seconds: what happened later it may not know.
    begun_s: int = 0

    @property
    def octets(self) -> int:
        return sum(octets for octets, _ in self.files.values())

    def plain(self) -> dict[str, Any]:
        return {
            "directory": self.directory,
            "files": len(self.files),
            "octets": self.octets,
            "archive": self.archive,
        }


class _Copying:
    """From a run's directory into another; each file once, in the order asked for."""

    def __init__(self, source: Path, target: Path, progress: Progress | None) -> None:
        self._source, self._target = source, target
        self._progress = progress or (lambda octets, what: None)
        self._done_octets = 0
        self.files: dict[str, tuple[int, str]] = {}

    def database(self, path: Path) -> None:
        """SQLite's online backup: one moment of it, while others write.  LocalError: it cannot be
        read, or there is no room (beside the one copied either, if nobody has it open)."""
        if not path.is_file():
            return
        target = self._prepared(path)
        try:
            with (
                closing(sqlite3.connect(path, timeout=60)) as source,
                closing(sqlite3.connect(target)) as copy,
            ):
                source.backup(copy, pages=_STEP_PAGES, progress=self._pages(path))
                # In one file, as the manifest names it.
                copy.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error as error:
            raise LocalError(f"{path}: {error}; {self._target} is no backup") from error
        self._finished(path, target)

    def served(self, address: str, path: Path) -> None:
        """One moment of an archive on a server, as the file that it would be here."""
        from ground.archive.server import copy_to_file  # only where one is used

        target = self._prepared(path)
        name = str(path.relative_to(self._source))

        def progress(octets: int, table: str) -> None:
            self._progress(self._done_octets + octets, f"{name}, {table}")

        copy_to_file(address, target, progress)
        os.chmod(target, 0o600)
        self._keep_copy(path, target)

    def settings(self, path: Path) -> None:
        """`run.toml` of the copy, whose archive is a file."""
        target = self._prepared(path)
        replace_file(target, without_server(path.read_bytes()))
        os.chmod(target, path.stat().st_mode & 0o777)
        self._keep_copy(path, target)

    def _pages(self, path: Path) -> Callable[[int, int, int], None]:
        name = str(path.relative_to(self._source))
        return lambda status, left, total: self._progress(self._done_octets, name)

    def tree(self, directory: Path) -> None:
        """Files below it that are not there yet, oldest names first.  One that goes meanwhile (a
        journal's oldest segment, a bundle's) has all of them begun again."""
        for _ in range(_TIMES):
            copied: list[Path] = []
            try:
                for path in self._found(directory):
                    self.file(path)
                    copied.append(path)
                return
            except FileNotFoundError:
                for path in copied:
                    self._forget(path)
        raise LocalError(f"{directory}: changes faster than it can be copied")

    def _found(self, directory: Path) -> Iterator[Path]:
        for path in sorted(directory.rglob("*")) if directory.is_dir() else ():
            inside = path.relative_to(self._source)
            if (
                path.is_file()
                and str(inside) not in self.files
                and path.name not in _LEFT_OUT
                and not path.name.endswith(_LEFT_OUT_ENDS)
                and inside.parts[0] != "log"
                and not any(part in str(inside) for part in _LEFT_OUT_PARTS)
                and not _is_database(path)
            ):
                yield path

    def file(self, path: Path) -> None:
        """To the length that it has when it is opened."""
        target = self._prepared(path)
        digest = hashlib.sha256()
        with path.open("rb") as source, target.open("wb") as copy:
            status = os.fstat(source.fileno())
            os.fchmod(copy.fileno(), status.st_mode & 0o777)
            left = status.st_size
            while left and (octets := source.read(min(left, _STEP_OCTETS))):
                copy.write(octets)
                digest.update(octets)
                left -= len(octets)
                self._done_octets += len(octets)
                self._progress(self._done_octets, str(path.relative_to(self._source)))
            copy.flush()
            os.fsync(copy.fileno())
        self._keep(path, status.st_size - left, digest.hexdigest())

    def _prepared(self, path: Path) -> Path:
        target = self._target / path.relative_to(self._source)
        make_directory(target.parent)
        return target

    def _finished(self, path: Path, target: Path) -> None:
        os.chmod(target, path.stat().st_mode & 0o777)
        self._keep_copy(path, target)

    def _keep_copy(self, path: Path, target: Path) -> None:
        octets, digest = _digest(target, sync=True)
        self._done_octets += octets
        self._keep(path, octets, digest)

    def _keep(self, path: Path, octets: int, digest: str) -> None:
        self.files[str(path.relative_to(self._source))] = octets, digest

    def _forget(self, path: Path) -> None:
        name = str(path.relative_to(self._source))
        self.files.pop(name, None)
        (self._target / name).unlink(missing_ok=True)


def back_up(settings: RunSettings, target: Path, progress: Progress | None = None) -> Backup:
    """LocalError: `target` is there and not empty, or lies in the run."""
    run = settings.run_dir
    target = target.resolve()
    if target.is_relative_to(run):
        raise LocalError(f"{target}: a backup lies outside of the run that it is of")
    if target.exists() and any(target.iterdir()):
        raise LocalError(f"{target}: not empty; a backup wants a directory of its own")
    if any((run / name).exists() for name in (MANIFEST, RESTORING)):
        raise LocalError(f"{run}: no run, but a backup, or a restore that was broken off")
    make_directory(target)
    begun_s = int(time.time())
    copying = _Copying(run, target, progress)
    copying.tree(run / "state")
    if settings.archive:
        copying.served(settings.archive, settings.archive_file)
        copying.settings(run / "run.toml")
    else:
        copying.database(settings.archive_file)
    copying.database(settings.console_dir / "accounts.sqlite")
    for node in (RELAY, MISSION_CENTRE):
        copying.tree(run / "bundles" / node)
    for service in (MONITOR, MISSION_CENTRE, COMMAND, RECEIVE):
        copying.tree(run / "journal" / service)
    copying.database(settings.command_file)
    copying.database(settings.files_dir / "transfers.sqlite")
    copying.tree(settings.files_dir)
    copying.database(settings.shared_schedule)
    copying.tree(settings.pass_list.parent)
    copying.tree(settings.procedure_dir)
    # Whatever else is there, antennas' receivers' journals among it, but for the captures.
    for path in sorted(run.iterdir()):
        if path.is_dir() and path not in (*settings.captures, run / "log"):
            copying.tree(path)
    for path in sorted(run.iterdir()):
        if path.is_file() and path.name not in (*_LEFT_OUT, *copying.files):
            copying.file(path)
    for capture in settings.captures:
        copying.tree(capture)
    _like(run, target, copying.files)
    shown = settings.archive and shown_address(settings.archive)
    made = Backup(str(target), copying.files, shown, begun_s)
    manifest = {
        "version": VERSION, "of": str(run), "begun_s": begun_s, "archive": made.archive,
        "files": made.files,
    }  # fmt: skip
    replace_file(target / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    return made


def check_backup(backup: Path, progress: Progress | None = None) -> Backup:
    """Every file against the manifest.  LocalError names all that is missing or changed."""
    path = backup / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        if manifest["version"] != VERSION:
            raise LocalError(f"{path}: version {manifest['version']}, {VERSION} is read here")
        # Of a backup by an older version: when it was finished, less an hour for the copying.
        begun_s = int(manifest.get("begun_s", path.stat().st_mtime - 3_600))
        files = {
            str(name): (int(n), str(digest)) for name, (n, digest) in manifest["files"].items()
        }
        archive = str(manifest.get("archive", ""))
    except FileNotFoundError as error:
        raise LocalError(f"{backup}: no {MANIFEST}: no backup, or one that was not finished") from (
            error
        )
    except (ValueError, KeyError, TypeError) as error:
        raise LocalError(f"{path}: not a manifest: {error!r}") from error
    wrong: list[str] = []
    done = 0
    for name, (octets, digest) in files.items():
        inside = (backup / name).resolve()
        if not inside.is_relative_to(backup.resolve()):
            raise LocalError(f"{path}: {name} lies outside of the backup")
        if not inside.is_file():
            wrong.append(f"{name} is missing")
            continue
        if _digest(inside) != (octets, digest):
            wrong.append(f"{name} has changed")
        done += octets
        if progress is not None:
            progress(done, name)
    if wrong:
        raise LocalError(f"{backup}: {'; '.join(wrong[:10])}; nothing is restored from it")
    return Backup(str(backup), files, archive, begun_s)


def restore(
    backup: Path, run_dir: Path, progress: Progress | None = None, *, only: str = ""
) -> Backup:
    """A run directory from a backup that is sound.  LocalError: it is not, or `run_dir` is there
    and not empty.  The directory appears when it is complete, with a mark of the restore
    (`ground/restored.py`); until then `RUN.restoring` says that one is on the way.

    only: of a run that rests, this directory alone, which must not be there.
    """
    if only:
        return _restore_part(backup, run_dir, only, progress)
    if run_dir.exists() and any(run_dir.iterdir()):
        raise LocalError(
            f"{run_dir}: not empty; move it away, it may hold what the backup does not"
        )
    found = check_backup(backup, progress)
    making = run_dir.with_name(f"{run_dir.name}.{RESTORING}")
    _copy_back(backup, making, found.files, progress)
    mark_of(backup, found.begun_s, int(time.time())).write(making)
    if run_dir.exists():
        run_dir.rmdir()
    making.rename(run_dir)
    sync_directory(run_dir.parent)
    return Backup(str(run_dir), found.files, found.archive)


def without_server(run_toml: bytes) -> bytes:
    """The settings of a run whose archive is a file, comments and all."""
    kept = re.sub(rb"(?m)^[ \t]*archive(_replica)?[ \t]*=.*\n?", b"", run_toml)
    if any(name in toml_of(kept) for name in ("archive", "archive_replica")):
        raise LocalError("run.toml: archive and archive_replica each on a line of its own wanted")
    return kept


def require_empty(address: str) -> None:
    """LocalError: there is an archive at the address, or it cannot be reached."""
    from ground.archive.server import held  # only where one is used

    with held(address) as place:
        _require_empty(place)


def _require_empty(place: Place) -> None:
    if not place.empty:
        raise LocalError(
            f"{place.address}: there is an archive already; the address of an empty database wanted"
        )


def put_on_server(settings: RunSettings, address: str, progress: Progress | None = None) -> None:
    """The archive file of a run that rests goes into an empty database, and its settings name that.
    LocalError: it has an archive already, or cannot be reached; the file is as it was then."""
    from ground.archive.server import held  # only where one is used

    with held(address) as place:
        _require_empty(place)
        place.put(settings.archive_file, progress)
    # Killed before this, the run has its file, and the database one more copy.
    path = settings.run_dir / "run.toml"
    line = f"archive = {json.dumps(address)}\n"
    replace_file(path, line.encode() + without_server(path.read_bytes()))
    settings.archive_file.unlink()


def _restore_part(backup: Path, run_dir: Path, only: str, progress: Progress | None) -> Backup:
    target, making = run_dir / only, run_dir / RESTORING
    if len(Path(only).parts) != 1 or only in ("..", RESTORING):
        raise LocalError(f"{only}: the name of one directory of the run wanted")
    if target.exists():
        raise LocalError(f"{target} is there; move it away, it may hold what the backup does not")
    found = check_backup(backup, progress)
    files = {name: what for name, what in found.files.items() if Path(name).parts[0] == only}
    if not files:
        raise LocalError(f"{backup}: nothing of {only} is in it")
    _copy_back(backup, making, files, progress)
    # Before its name: nobody finds the old numbers without the mark.
    mark_of(backup, found.begun_s, int(time.time())).write(run_dir)
    (making / only).rename(target)
    sync_directory(run_dir)
    making.rmdir()
    return Backup(str(target), files)


def _copy_back(
    backup: Path, making: Path, files: Mapping[str, tuple[int, str]], progress: Progress | None
) -> None:
    """Into a directory of its own, on disk when this returns; read again and compared: what was
    checked in the backup could be written wrong."""
    if making.exists():
        # Of a restore that was broken off.
        shutil.rmtree(making)
    make_directory(making)
    for name, (octets, digest) in files.items():
        target = making / name
        make_directory(target.parent)
        shutil.copy(backup / name, target)
        if _digest(target, sync=True) != (octets, digest):
            raise LocalError(f"{target}: not what {backup / name} was when it was checked")
        if progress is not None:
            progress(octets, name)
    _like(backup, making, files)


def _like(source: Path, target: Path, files: Iterable[str]) -> None:
    """Directories of what was copied get the modes of theirs (keys lie in one that is nobody
    else's), and are synced."""
    for inside in {parent for name in files for parent in Path(name).parents}:
        # The outermost is as whoever asked for it wants it.
        if inside != Path():
            os.chmod(target / inside, (source / inside).stat().st_mode & 0o777)
        sync_directory(target / inside)


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _digest(path: Path, *, sync: bool = False) -> tuple[int, str]:
    digest = hashlib.sha256()
    octets = 0
    with path.open("rb") as file:
        while part := file.read(_STEP_OCTETS):
            digest.update(part)
            octets += len(part)
        if sync:
            os.fsync(file.fileno())
    return octets, digest.hexdigest()


__all__ = ["Backup", "back_up", "check_backup", "put_on_server", "require_empty", "restore"]
