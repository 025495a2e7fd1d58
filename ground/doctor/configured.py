"""Checks of what services read when they start, so that none refuses to at three in the morning:
names and addresses in the settings, files that they name, databases, whose everything is."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.metadata import entry_points
from itertools import islice
from pathlib import Path
from typing import Final

from ground.config import CONSOLE, RunSettings
from ground.doctor.finding import Check, Finding, error, ok, skipped, warning
from protocols.bus.access import is_loopback_host
from protocols.errors import LocalError

#: Entry points of adapters (`ground.adapters.radio.registry`).
_ADAPTERS: Final = "l4_relay_ground.adapters"
#: A run has some hundreds of files; looking at more takes longer than somebody waits.
MOST_FILES: Final = 20_000
#: What was written after now: clocks of file systems and of the machine may differ by this.
AHEAD_S: Final = 60.0
#: SQLite looks through some 200 MB a second.
_QUICK_OCTETS: Final = 64 << 20


def names_and_addresses(settings: RunSettings) -> Iterator[Finding]:
    """Antennas, radio, console and provider: each as its service reads it."""
    said: list[str] = []
    correct = f"correct it in {settings.run_dir / 'run.toml'}"
    for name, read in _read(settings).items():
        try:
            read()
        except (LocalError, OSError, ImportError) as problem:
            yield error(name, str(problem), correct)
        else:
            said.append(name)
    if said:
        yield ok("configuration", f"{', '.join(said)}: as they should be")


def _read(settings: RunSettings) -> dict[str, Callable[[], object]]:
    """Name → what its service does with it when it starts."""
    found: dict[str, Callable[[], object]] = {}
    if settings.passes and settings.stations:
        found["stations"] = lambda: _stations(settings.stations)
    if settings.timing:
        found["timing station"] = lambda: _stations(settings.timing_station)
    if settings.radio_addresses:
        found["radio"] = lambda: [_adapter(address) for address in settings.radio_addresses]
    if settings.command and settings.command_key and os.access(settings.command_key, os.R_OK):
        found["command key"] = lambda: _command_key(settings.command_key)
    if settings.console:
        found["console"] = lambda: _listener(settings)
        if settings.console_file and os.access(settings.console_file, os.R_OK):
            found["sign-in"] = lambda: _provider(Path(settings.console_file))
    return found


def _stations(names: str) -> None:
    from ground.scheduling.stations import load_stations, select_stations

    select_stations(load_stations(), names.split(","))


def _adapter(address: str) -> None:
    scheme = address.partition(":")[0]
    known = {entry.name: entry for entry in entry_points(group=_ADAPTERS)}
    if scheme not in known:
        raise LocalError(f"{address}: no adapter {scheme!r}; {', '.join(sorted(known))} are there")
    known[scheme].load()


def _command_key(path: str) -> None:
    from ground.command.security import load_keys

    load_keys(path)


def _listener(settings: RunSettings) -> None:
    from ground.console.listener import Listener

    key = settings.console_private_key
    readable = os.access(key, os.R_OK)  # else it is the services' user's, and said elsewhere
    Listener(
        settings.listening(CONSOLE),
        settings.console_port,
        settings.console_url,
        settings.console_certificate if readable else "",
        key if readable else "",
        settings.behind_proxy or bool(key and not readable),
    )


def _provider(path: Path) -> None:
    from ground.console.oidc import load_oidc

    load_oidc(path)


def sockets(settings: RunSettings) -> Iterator[Finding]:
    """Addresses that others reach want keys."""
    open_to = {
        settings.listening(name)
        for name in settings.services
        if name != CONSOLE and not is_loopback_host(settings.listening(name))
    }
    if open_to and settings.keys_dir is None:
        said = f"services at {', '.join(sorted(open_to))} and no keys: they will not start"
        yield error("keys", said, "`l4 keys new --site`: docs/howto/keys.md")


def owners(settings: RunSettings) -> Iterator[Finding]:
    """What somebody else left there the services cannot write: of root, who ran a command.  The
    settings, or the link to them, and a file system's own directory are root's by right."""
    directory = settings.run_dir
    of_root = {directory / "run.toml", directory / "lost+found"}
    owner = directory.stat().st_uid
    files = (
        Path(top, name) for top, within, names in os.walk(directory) for name in (*within, *names)
    )
    others: list[tuple[Path, int]] = []
    for path in islice(files, MOST_FILES):
        try:
            whose = path.lstat().st_uid
        except OSError:
            continue  # gone meanwhile
        if whose != owner and not (whose == 0 and path in of_root):
            others.append((path, whose))
    if others:
        path, whose = others[0]
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        said = f"{path}{more} is uid {whose}'s, the run directory uid {owner}'s"
        yield error("owners", said, f"chown -hR --reference={directory} {directory}/*")
    for name in ("capture", "journal", "state", "archive", "command", "console", "log"):
        if (place := directory / name).exists() and not place.is_dir():
            yield error("owners", f"{place} is no directory", "move it away")
    settings_file = directory / "run.toml"
    if settings_file.exists() and settings_file.stat().st_mode & 0o022:
        said = f"{settings_file}: others than its owner may change it"
        yield error("owners", said, f"chmod go-w {settings_file}")


def clock_of_run(settings: RunSettings) -> Iterator[Finding]:
    """A clock that has gone back: times would come twice, and keys not be in force yet."""
    directory, now_s = settings.run_dir, time.time()
    places = (directory, directory / "state", *settings.captures, directory / "log")
    written = [
        path.stat().st_mtime
        for place in places
        if place.is_dir() and os.access(place, os.R_OK | os.X_OK)
        for path in place.iterdir()
    ]
    ahead_s = max(written, default=now_s) - now_s
    if ahead_s > AHEAD_S:
        said = f"files of this run are {ahead_s:,.0f} s younger than now"
        yield error("run clock", said, "set the clock (`chronyc makestep`) before services start")


def databases(settings: RunSettings) -> Iterator[Finding]:
    """Those besides the archive: their format, and SQLite's own quick check."""
    from ground.command import files_store
    from ground.command import store as commands
    from ground.console import accounts

    known: dict[Path, tuple[str, int]] = {
        settings.command_file: ("commands", commands.FORMAT),
        settings.console_dir / "accounts.sqlite": ("accounts", accounts.FORMAT),
        settings.files_dir / "transfers.sqlite": ("transfers", files_store.FORMAT),
    }
    for path, (what, version) in known.items():
        if os.access(path, os.R_OK):
            yield _database(path, what, version)
        elif path.exists():
            yield skipped("databases", f"{path}: we may not look")


def _database(path: Path, what: str, version: int) -> Finding:
    do = "deploy/runbooks/lost-database.md"
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=5)) as connection:
            (found,) = connection.execute("PRAGMA user_version").fetchone()
            said = "ok"
            if path.stat().st_size <= _QUICK_OCTETS:
                (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as problem:
        return error("databases", f"{path}: {problem}", do)
    if said != "ok":
        return error("databases", f"{path}: {said}", do)
    if found > version:
        text = f"{path}: {what} of format {found}, and this version knows {version}"
        do = "install the newer version again: deploy/runbooks/upgrade.md"
        return error("databases", text, do)
    if found < version:
        text = f"{path}: {what} of format {found}, {version} wanted; it is taken over at the start"
        return warning("databases", text, "`l4 backup` before: deploy/runbooks/upgrade.md")
    return ok("databases", f"{path}, format {found}")


def archive_server(settings: RunSettings) -> Iterator[Finding]:
    """Whether it answers, and holds an archive of our format."""
    from ground.archive.store import ArchiveStore

    for address in dict.fromkeys(filter(None, (settings.archive, settings.archive_replica))):
        do = "see whether it runs and lets us in: PGPASSFILE, pg_hba.conf; docs/scale.md"
        try:
            with ArchiveStore.open(address, read_only=True) as store:
                packets = store.counters()["packets"]
        except Exception as problem:  # noqa: BLE001 - whatever the driver says of it is told
            yield error("archive server", f"{address}: {problem or type(problem).__name__}", do)
        else:
            yield ok("archive server", f"{address}, {packets:,} packets")


def temporary_files(settings: RunSettings) -> Iterator[Finding]:
    """Supervisor's sockets and solvers' pipes."""
    import tempfile

    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
            file.flush()
    except OSError as problem:
        do = "make room, or name another directory: TMPDIR"
        yield error("temporary files", str(problem), do)


CHECKS: Final[tuple[Check[RunSettings], ...]] = (
    names_and_addresses,
    sockets,
    owners,
    clock_of_run,
    databases,
    archive_server,
    temporary_files,
)
