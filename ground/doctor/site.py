"""Checks of one run directory: its settings, room, rights, ports, keys, services and archive."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import ssl
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from ground.config import PORTS, RunSettings, load_settings
from ground.doctor.finding import Check, Finding, error, ok, skipped, warning
from ground.health import health
from ground.keyring import SECRET_FROM
from ground.restored import check_whole, read_mark
from protocols.errors import LocalError

#: Of the disk, below which somebody should act, and below which it is late.
LOW_SHARE: Final = 0.15
LEAST_SHARE: Final = 0.05
LEAST_OCTETS: Final = 1 << 30
#: An archive is looked through by SQLite at some 200 MB a second: a larger one takes too long here.
QUICK_ARCHIVE_OCTETS: Final = 256 << 20
#: Before a certificate expires.
EARLY_S: Final = 30 * 86_400
_PATIENCE_S: Final = 3.0


def settings_of(run_dir: Path) -> tuple[RunSettings | None, list[Finding]]:
    """The run's settings, or why there are none."""
    from ground.receive.profile import load_profile

    if not run_dir.is_dir():
        do = "name another with --run-dir, or make it: deploy/runbooks/install.md"
        return None, [error("settings", f"{run_dir} does not exist", do)]
    try:
        settings = load_settings(run_dir)
        load_profile(settings.mission)
    except (LocalError, OSError) as problem:
        return None, [error("settings", str(problem), f"correct {run_dir / 'run.toml'}")]
    where = run_dir / "run.toml" if (run_dir / "run.toml").is_file() else "defaults"
    return settings, [ok("settings", f"{where}: mission {settings.mission}")]


def rights(settings: RunSettings) -> Iterator[Finding]:
    """Whether we can write there, and whether others can."""
    directory = settings.run_dir
    found = directory.stat()
    who = f"uid {found.st_uid}"
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        # After an error of the disk Linux mounts so what it can no longer trust.
        do = "`dmesg` says why; mount it again for writing: deploy/runbooks/disk-full.md"
        yield error("run directory", f"{directory} is on a file system mounted read-only", do)
    elif not os.access(directory, os.W_OK | os.X_OK):
        do = f"run this as the services' user: sudo -u '#{found.st_uid}' l4 doctor"
        yield warning("run directory", f"{directory} is {who}'s, we may not write it", do)
    elif found.st_mode & stat.S_IWOTH:
        yield error("run directory", f"{directory}: everybody may write", f"chmod o-w {directory}")
    else:
        yield ok("run directory", f"{directory}, of {who}")


def room(settings: RunSettings) -> Iterator[Finding]:
    disk = shutil.disk_usage(settings.run_dir)
    share = disk.free / max(1, disk.total)
    said = f"{disk.free / 1e9:,.1f} GB of {disk.total / 1e9:,.1f} GB free ({share:.0%})"
    do = "make room or a larger disk: deploy/runbooks/disk-full.md"
    nodes = os.statvfs(settings.run_dir)
    if nodes.f_files and nodes.f_favail < LOW_SHARE * LEAST_SHARE * nodes.f_files:
        text = f"{nodes.f_favail:,} of {nodes.f_files:,} inodes free: few more files can be made"
        yield error("disk", text, "delete small files there: `df -i` and `du --inodes` say where")
    if share < LEAST_SHARE or disk.free < LEAST_OCTETS:
        yield error("disk", said, do)
    elif share < LOW_SHARE:
        yield warning("disk", said, do)
    else:
        yield ok("disk", said)


def services(settings: RunSettings) -> Iterator[Finding]:
    """Each service of the run by its own word; ports that nobody of ours has."""
    said = {name: health(settings, name) for name in settings.services}
    running = [name for name, answer in said.items() if answer is not None]
    if not running:
        yield skipped("services", "nothing runs")
    for name, answer in said.items():
        if answer is None:
            if running:
                do = f"see its log: journalctl -u l4-ground@{name}, or {settings.log_file(name)}"
                yield error("services", f"{name} does not answer", do)
        elif answer["healthy"]:
            yield ok("services", f"{name}: {answer['detail'] or answer['state']}")
        else:
            do = "wait, if it has just been started; else deploy/runbooks/service-down.md"
            yield warning("services", f"{name}: {answer['reason']}", do)
    taken = [port for port in _ports(settings) if _listening(port)]
    if taken and not running:
        numbers = ", ".join(map(str, taken))
        do = f"`ss -ltnp 'sport = :{taken[0]}'` names who; or another base_port in run.toml"
        yield error("ports", f"{numbers} taken, and not by services of this run", do)
    else:
        last = settings.base_port + PORTS - 1
        state = "of the services" if running else "free"
        yield ok("ports", f"{settings.base_port}..{last} are {state}")


def _ports(settings: RunSettings) -> range:
    return range(settings.base_port, settings.base_port + PORTS)


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(_PATIENCE_S)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def keys(settings: RunSettings) -> Iterator[Finding]:
    """Whether secrets are secret, and whether the spacecraft's are the simulated one's."""
    named = (settings.command_key, settings.mqtt_file, settings.console_file)
    secret = [Path(one) for one in (*named, settings.console_private_key) if one]
    directory = settings.keys_dir
    if directory is None:
        yield skipped("keys", "none of services: sockets are on loopback alone")
    else:
        yield from _keyring(directory)
    for path in secret:
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            if path.parts[:3] != ("/", "run", "credentials"):
                do = "make it, or take the setting out of run.toml"
                yield error("keys", f"{path} does not exist", do)
            continue
        except PermissionError:
            yield skipped("keys", f"{path}: we may not look; ask again as the services' user")
            continue
        if mode & SECRET_FROM:
            yield error("keys", f"{path}: others than its owner may read it", f"chmod 600 {path}")
        else:
            yield ok("keys", f"{path}")
    if settings.command and not settings.command_key and settings.radio_addresses:
        do = "make keys and name their file as command_key in run.toml"
        yield error("keys", "commands are signed with the simulated spacecraft's keys", do)
    elif settings.command and not settings.command_key:
        yield ok("keys", "the command link has the simulated spacecraft's keys")


def _keyring(directory: Path) -> Iterator[Finding]:
    """Whether the services' keys can be read by us alone, and each is trusted here."""
    from ground.keyring import read_holder, read_trusted

    try:
        if directory.stat().st_mode & 0o077:
            yield error("keys", f"{directory}: others may look into it", f"chmod 700 {directory}")
        trusted = read_trusted(directory)
        own = [read_holder(path, secret=True) for path in sorted(directory.glob("*.key"))]
    except (LocalError, OSError) as problem:
        yield error("keys", str(problem), "`l4 keys list` and docs/howto/keys.md")
        return
    now_s = time.time()
    alone = [
        holder.name
        for holder in own
        if holder.name not in trusted
        or not trusted[holder.name].accepts(holder.in_force(now_s).public, now_s)
    ]
    if alone:
        do = "`l4 keys show NAME | l4 keys trust -` where it was made"
        yield error("keys", f"{', '.join(alone)}: the key in force is not trusted here", do)
    else:
        yield ok("keys", f"{directory}: {len(own)} of ours, {len(trusted)} trusted")


def certificates(settings: RunSettings) -> Iterator[Finding]:
    """When those that the settings name expire."""
    paths = {
        getattr(settings, name) for name in ("console_certificate",) if getattr(settings, name, "")
    }
    if settings.mqtt and settings.mqtt_file and os.access(settings.mqtt_file, os.R_OK):
        from ground.mqtt_bridge.settings import load_broker_settings

        try:
            broker = load_broker_settings(settings.mqtt, settings.mission, settings.mqtt_file)
        except LocalError as problem:
            yield error("certificates", str(problem), f"correct {settings.mqtt_file}")
        else:
            paths |= {one for one in (broker.authority, broker.certificate) if one}
    if not paths:
        yield skipped("certificates", "none is named in run.toml")
    for path in sorted(paths):
        yield certificate(Path(path), time.time())


def certificate(path: Path, now_s: float) -> Finding:
    """The first in a PEM file."""
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as problem:
        return error("certificates", f"{path}: {problem}", "name a certificate in PEM")
    begin, end = found.not_valid_before_utc, found.not_valid_after_utc
    said = f"{path}, {found.subject.rfc4514_string()}, until {end:%Y-%m-%d}"
    if begin.timestamp() > now_s:
        do = "see whether the clock is right; else renew it"
        return error("certificates", f"{said}: not valid before {begin:%Y-%m-%d %H:%M} UTC", do)
    if end.timestamp() < now_s:
        return error("certificates", f"{said}: expired", "renew it")
    if end.timestamp() < now_s + EARLY_S:
        return warning("certificates", said, "renew it")
    return ok("certificates", said)


def broker(settings: RunSettings) -> Iterator[Finding]:
    """Whether the MQTT broker can be reached, and shows a certificate that we trust."""
    if not settings.mqtt:
        yield skipped("MQTT broker", "none in run.toml")
        return
    from ground.mqtt_bridge.settings import load_broker_settings

    readable = settings.mqtt_file if os.access(settings.mqtt_file, os.R_OK) else ""
    try:
        one = load_broker_settings(settings.mqtt, settings.mission, readable)
        context = one.tls_context()
        with socket.create_connection((one.host, one.port), _PATIENCE_S) as plain:
            if context is not None:
                with context.wrap_socket(plain, server_hostname=one.host):
                    pass
    except (LocalError, ssl.SSLError, OSError) as problem:
        do = "see whether it runs, its name and its certificate; what it missed is sent later"
        yield error("MQTT broker", f"{settings.mqtt}: {problem}", do)
    else:
        yield ok("MQTT broker", f"{settings.mqtt} answers")


def restored(settings: RunSettings) -> Iterator[Finding]:
    """Whether a restore is whole, and ground and spacecraft are in step after it."""
    from ground.command.resync import Phase, kept_phase

    name = "restored"
    try:
        check_whole(settings.run_dir)
        mark = read_mark(settings.run_dir)
    except LocalError as problem:
        yield error(name, str(problem), "deploy/runbooks/lost-database.md")
        return
    if mark is None:
        return
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(mark.begun_s))
    said = f"from {mark.backup}, begun {when}"
    phase = kept_phase(settings.command_file, mark.id)
    if phase is Phase.IN_STEP:
        yield ok(name, f"{said}; in step with the spacecraft")
    elif phase is Phase.BY_HAND:
        do = "`l4 command status` says why; deploy/runbooks/lost-database.md, step 6"
        yield error(name, f"{said}; NOT in step with the spacecraft, nothing is commanded", do)
    elif settings.command:
        do = "wait: the command service brings it in step by itself; `l4 command status`"
        yield warning(name, f"{said}; not in step with the spacecraft yet", do)


def archive(settings: RunSettings) -> Iterator[Finding]:
    """Its format and, unless it is large, SQLite's own quick check."""
    from ground.archive.store import ArchiveStore

    if settings.archive:
        return  # a server's, looked after elsewhere
    path = settings.archive_file
    if not path.exists():
        yield skipped("archive", "nothing is archived yet")
        return
    do = "deploy/runbooks/lost-database.md; `l4 archive check` says more"
    octets = path.stat().st_size
    try:
        with ArchiveStore.open(path, read_only=True) as store:
            packets = store.counters()["packets"]
    except (LocalError, OSError, sqlite3.Error) as problem:
        yield error("archive", f"{path}: {problem}", do)
        return
    said = f"{path}, {packets:,} packets, {octets / 1e6:,.0f} MB"
    if octets > QUICK_ARCHIVE_OCTETS:
        yield ok("archive", f"{said}; too large to be looked through here: `l4 archive check`")
        return
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as problem:
            answer = str(problem)
    if answer != "ok":
        yield error("archive", f"{path}: {answer}", do)
    else:
        yield ok("archive", said)


CHECKS: Final[tuple[Check[RunSettings], ...]] = (
    rights,
    room,
    services,
    keys,
    certificates,
    broker,
    restored,
    archive,
)
