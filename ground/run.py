"""`l4 run`, `l4 watch`, `l4 status`: start a site, look at it, say how it is."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from types import FrameType

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ground.config import (
    MIB,
    PORTS,
    RECEIVE,
    SIMULATOR,
    RunSettings,
    free_base_port,
    load_settings,
    port_range_free,
    prepare_run_directory,
)
from ground.health import running
from ground.live_view import LiveModel, antenna_lines, pass_lines, render
from ground.ports import Bus, Clock, LinkState
from ground.restored import check_whole
from ground.supervisor import CANNOT_START, Supervisor, python_module
from ground.wiring import open_clock, open_viewer
from protocols.bus.messages import ServiceState
from protocols.errors import LocalError
from protocols.identifiers import Topic
from protocols.timecodes.tai import utc_iso_from_tai_ns

#: How often the screen is redrawn; faster than an eye needs only costs.
REFRESH_S = 0.25
#: Given to services to say how they are before `l4 status` believes that nothing runs.
FIRST_WORD_S = 6.0
#: Between lines of progress where there is no screen, and how long they wait for a link to tell of:
#: a part that refuses to start (an unknown scenario) is then the only thing said.
LINE_S = 5.0
LINK_PATIENCE_S = 60.0
#: Whoever has not begun after so long compiles, and for so long `--duration` waits for it.
COMPILING_S = 10.0
START_PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    speed: float
    scenario: str
    light_time_s: float | None
    seed: int
    run_dir: Path
    base_port: int | None
    duration_s: float | None
    view: bool
    as_json: bool
    mission: str = "l4_relay"
    replay: Path | None = None
    #: Address of a radio adapter in the place of the simulated spacecraft and its station.
    radio: str = ""
    #: Antennas with a receiver each: name → nothing (the simulated spacecraft's), the address of a
    #: radio, or that of another host, on which the receiver runs.
    antennas: Mapping[str, str] = field(default_factory=dict[str, str])
    #: Of its I/Q samples; 0: all.
    keep_samples_gib: float = 16.0
    pace: str = "recorded"
    #: Plan passes over these antennas (empty: the usual ones) and have the link up in them only.
    passes: bool = True
    console: bool = True
    #: TOML: a provider that people may sign in with; empty: none.
    console_file: str = ""
    stations: str = ""
    #: Decode at most so many packets a second of each definition and virtual channel; 0: all.
    sample_hz: int = 0
    #: A broker that is told what the bus says, and the file with credentials; empty: none.
    mqtt: str = ""
    mqtt_file: str = ""
    #: See `RunSettings`.
    keys: str = ""
    hosts: str = ""
    console_certificate: str = ""
    console_private_key: str = ""
    behind_proxy: bool = False
    #: Addresses of the server that has the archive, and of the replica that is read from.
    archive: str = ""
    archive_replica: str = ""


class Interrupted(Exception):
    """Ctrl-C, SIGTERM, or the terminal has gone."""


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in ends}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_site(options: RunOptions) -> int:
    """Start everything, show it, stop everything; the exit status."""
    base_port = options.base_port
    if base_port is None:
        base_port = free_base_port()
    elif not port_range_free(base_port):
        print(f"l4: ports {base_port}..{base_port + PORTS - 1} are not all free", file=sys.stderr)
        return 2
    check_whole(options.run_dir.absolute())
    with _sole_user(options.run_dir):
        resumed = (options.run_dir / "clock.json").exists()
        settings = prepare_site(options, base_port)
        if resumed and sys.stderr.isatty():
            began = utc_iso_from_tai_ns(open_clock(settings).now_ns(), decimals=0)
            print(f"going on in {settings.run_dir}, world time {began}", file=sys.stderr)
        return _run_site(settings, options)


def prepare_site(options: RunOptions, base_port: int) -> RunSettings:
    """The run directory of a site, made or taken over."""
    radios = {name: where for name, where in options.antennas.items() if "://" in where}
    elsewhere = {
        f"{RECEIVE}.{name}": where
        for name, where in options.antennas.items()
        if where and name not in radios
    }
    heard = options.replay or options.radio or radios
    return prepare_run_directory(
        options.run_dir,
        speed=options.speed,
        base_port=base_port,
        mission=options.mission,
        # A recording comes when it comes, and so does what a radio hears; a radio's spacecraft
        # may be ours, and be commanded through it.
        passes=options.passes and not heard,
        relay=not heard,
        command=options.replay is None and options.mission == "l4_relay",
        console=options.console,
        console_file=_absolute(options.console_file),
        timing=options.replay is None and options.mission == "l4_relay",
        radio=options.radio,
        receivers=",".join(options.antennas),
        radios=" ".join(f"{name}={address}" for name, address in radios.items()),
        keep_samples_octets=round(options.keep_samples_gib * 1024) * MIB,
        stations=options.stations,
        sample_hz=options.sample_hz,
        mqtt=options.mqtt,
        archive=options.archive,
        archive_replica=options.archive_replica,
        # Of where we were called; services run elsewhere.
        mqtt_file=_absolute(options.mqtt_file),
        keys=_absolute(options.keys),
        hosts=",".join([*filter(None, [options.hosts]), *map("=".join, elsewhere.items())]),
        console_certificate=_absolute(options.console_certificate),
        console_private_key=_absolute(options.console_private_key),
        behind_proxy=options.behind_proxy,
    )


def _absolute(path: str) -> str:
    return os.path.abspath(path) if path else ""


@contextlib.contextmanager
def _sole_user(run_dir: Path) -> Iterator[None]:
    """Two runs in one directory would write each other's journals.  The lock ends with us."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise LocalError(
                f"{run_dir} is in use by process {lock.read().strip() or 'unknown'}; "
                "`l4 watch` looks at it, --run-dir names another"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


@contextlib.contextmanager
def at_rest(run_dir: Path) -> Iterator[None]:
    """Of a run that is there and that no `l4 run` has, and none gets meanwhile.

    LocalError names who has it."""
    settings = existing(run_dir)
    try:
        with _sole_user(run_dir):
            # Services that systemd runs have no lock in common.
            if services := running(settings):
                raise LocalError(
                    f"{run_dir}: {', '.join(services)} run; end them (`systemctl stop "
                    "l4-ground.target 'l4-ground@*'`), or make a copy that rests (`l4 backup`)"
                )
            yield
    except LocalError as error:
        if "is in use by process" not in str(error):
            raise
        raise LocalError(
            f"{run_dir} is running: end `l4 run`, or make a copy that rests (`l4 backup`)"
        ) from error


def _in_use(run_dir: Path) -> bool:
    """Whether an `l4 run` has this directory."""
    try:
        with _sole_user(run_dir):
            return False
    except LocalError:
        return True


def _run_site(settings: RunSettings, options: RunOptions) -> int:
    supervisor = Supervisor(site_commands(settings, options), settings.run_dir / "log")
    console = Console()
    model = LiveModel(speed=options.speed)
    clock = open_clock(settings)
    bus = open_viewer(settings, "l4-run")
    try:
        with _interruptible():
            supervisor.start()
            note = partial(_console_note, settings)
            duration_s = options.duration_s
            _watch(model, bus, clock, console, supervisor, duration_s, options.view, note)
    except Interrupted:
        pass
    finally:
        bus.close()
        if options.view:
            console.print("stopping …", style="dim")
        killed = supervisor.stop()
    for name in killed:
        print(f"l4: {name} did not stop in time and was killed", file=sys.stderr)
    if supervisor.refused is not None:
        print(f"l4: {supervisor.log_tail(supervisor.refused.name, 1)}", file=sys.stderr)
        return CANNOT_START
    if options.as_json:
        print(json.dumps(_report(model, settings, supervisor), indent=2))
    else:
        print(_line(model, supervisor, clock.now_ns()))
        print(f"all of it is in {settings.run_dir}; `l4 archive list` shows what is archived")
    if (link := model.link) is not None and link.state == LinkState.FAILED:
        print(f"l4: link {link.link} FAILED: {link.detail or 'nobody says why'}", file=sys.stderr)
        return 1
    return 1 if killed else 0


def site_commands(settings: RunSettings, options: RunOptions) -> dict[str, list[str]]:
    """Name → argument list of each process of the site, in the order of their start."""
    run_dir = str(settings.run_dir)
    commands = {
        name: python_module("ground", name, "--run-dir", run_dir) for name in settings.services
    }
    if options.replay is not None:
        commands[RECEIVE] = python_module(
            *("ground.cli", "replay", str(options.replay.absolute())),
            *("--mission", options.mission, "--pace", options.pace, "--live", run_dir),
        )
        return commands
    simulated = [name for name in settings.receivers_here if not settings.radio_of(name)]
    if settings.radio or (settings.antennas and not simulated):
        return commands
    links = [("--link", settings.link_endpoint)]
    if simulated:
        links = [
            ("--antenna", f"{settings.link_name_of(name)}={settings.link_of(name)}")
            for name in simulated
        ]
    simulator = python_module(
        "spacecraft_sim",
        *("--scenario", options.scenario),
        *("--seed", str(options.seed)),
        *chain.from_iterable(links),
        *("--clock-file", str(settings.clock_file)),
    )
    if options.light_time_s is not None:
        simulator += ["--light-time", str(options.light_time_s)]
    if settings.passes:
        simulator += ["--passes", str(settings.pass_list)]
    if settings.keys_dir is not None:
        simulator += ["--keys", str(settings.keys_dir)]
    return commands | {SIMULATOR: simulator}


def _watch(
    model: LiveModel,
    bus: Bus,
    clock: Clock,
    console: Console,
    supervisor: Supervisor | None,
    duration_s: float | None,
    view: bool,
    note: Callable[[], str],
) -> None:
    """Take messages and redraw until interrupted, or for `duration_s` from when `receive` works:
    before that the first run on a machine compiles, which may take longer than was asked for."""
    told = ""
    began = time.monotonic()
    deadline: float | None = None
    said_why = False
    next_line = time.monotonic() + LINE_S
    patience = time.monotonic() + LINK_PATIENCE_S
    next_draw = 0.0
    screen = Live(console=console, screen=True, auto_refresh=False) if view else None
    with screen or contextlib.nullcontext():
        while deadline is None or time.monotonic() < deadline:
            for message in bus.receive(REFRESH_S):
                model.take(message)
            now = time.monotonic()
            working = supervisor is None or _works(model) or now > began + START_PATIENCE_S
            if deadline is None and duration_s is not None and working:
                deadline = now + duration_s
            for child in supervisor.poll() if supervisor is not None else ():
                if supervisor is not None and supervisor.refused is child:
                    return
                _report_death(console, supervisor, child.name, child.last_exit)
            if screen is not None and now >= next_draw:
                next_draw = now + REFRESH_S
                screen.update(_screen(model, clock, console, supervisor, note()), refresh=True)
            elif screen is None and supervisor is not None and now >= next_line:
                if not (working or said_why) and now > began + COMPILING_S:
                    said_why = True
                    print(_starting(duration_s), file=sys.stderr, flush=True)
                if model.link is None and now < patience:
                    continue
                next_line = now + LINE_S
                if note() != told:
                    told = note()
                    print(told, file=sys.stderr, flush=True)
                print(_line(model, supervisor, clock.now_ns()), file=sys.stderr, flush=True)


def _works(model: LiveModel) -> bool:
    """Whether `receive` has begun, and has caught up or ended."""
    status = model.services.get(RECEIVE)
    return status is not None and status.state not in (
        ServiceState.STARTING,
        ServiceState.RECOVERING,
    )


def _starting(duration_s: float | None) -> str:
    counted = f"; the {duration_s:g} s count from then on" if duration_s is not None else ""
    return f"starting: the first run on a machine compiles for a minute or two{counted}"


def _screen(
    model: LiveModel, clock: Clock, console: Console, supervisor: Supervisor | None, note: str
) -> RenderableType:
    return render(
        model,
        now_ns=clock.now_ns(),
        height=console.size.height,
        width=console.size.width,
        restarts=_restarts(supervisor),
        note=note,
    )


def _console_note(settings: RunSettings) -> str:
    """Where the web console is, and how to get in the first time; empty until it serves."""
    if not settings.console:
        return ""
    with contextlib.suppress(OSError):
        if link := settings.setup_link.read_text().strip():
            return f"console, first sign-in: {link}"
    if not (settings.console_dir / "accounts.sqlite").exists():
        return ""
    return f"console: {settings.console_url}/"


def _restarts(supervisor: Supervisor | None) -> dict[str, int]:
    if supervisor is None:
        return {}
    return {name: child.starts - 1 for name, child in supervisor.children.items()}


def _report_death(
    console: Console, supervisor: Supervisor | None, name: str, status: int | None
) -> None:
    how = f"killed by signal {-status}" if status is not None and status < 0 else f"status {status}"
    if status == -signal.SIGABRT:
        how = "its loop had hung; its log says where"
    tail = supervisor.log_tail(name) if supervisor is not None else ""
    console.print(Text(f"{name} ended ({how}); it is started again", style="bold yellow"))
    if tail:
        console.print(Text(tail, style="dim"))


def _line(model: LiveModel, supervisor: Supervisor, now_ns: int) -> str:
    """Progress for logs and pipes, where there is no screen."""
    link = "no link yet"
    if model.link is not None:
        frames = sum(counts.get("frames", 0) for counts in model.link.virtual_channels.values())
        silent = model.silent(model.link.time_ns, now_ns)
        state = f"silent, last said {model.link.state}" if silent else model.link.state
        link = f"link {state}, {frames:,} frames"
        if model.link.state != LinkState.OK and model.link.detail:
            link += f" ({model.link.detail})"
    if model.passes is not None and model.passes.receiving(now_ns) is None:
        link += ", " + ", ".join(line.plain for line in pass_lines(model.passes, now_ns))
    restarts = sum(_restarts(supervisor).values())
    return (
        f"{link}, {model.values:,} parameter values, {len(model.events):,} events, "
        f"{restarts} restarts"
    )


def _report(
    model: LiveModel, settings: RunSettings, supervisor: Supervisor | None
) -> dict[str, object]:
    now_ns = open_clock(settings).now_ns()
    return {
        "run_dir": str(settings.run_dir),
        "speed": model.speed,
        "parameter_values": model.values,
        "stored_packets": model.playback_rows,
        "events": len(model.events),
        "link": dataclasses.asdict(model.link) if model.link is not None else None,
        "antennas": {name: dataclasses.asdict(one) for name, one in sorted(model.antennas.items())},
        "pass": _pass_report(model, now_ns),
        "services": {name: dataclasses.asdict(s) for name, s in sorted(model.services.items())},
        "restarts": _restarts(supervisor),
    }


def _pass_report(model: LiveModel, now_ns: int) -> dict[str, object] | None:
    """Which pass is on and which comes next; None if nobody plans any."""
    if model.passes is None:
        return None
    found = {"now": model.passes.receiving(now_ns), "next": model.passes.next_after(now_ns)}
    return {
        name: None
        if one is None
        else {
            "station": one.station,
            "antenna": one.antenna,
            "aos_utc": utc_iso_from_tai_ns(one.aos_ns),
            "los_utc": utc_iso_from_tai_ns(one.los_ns),
        }
        for name, one in found.items()
    }


def watch_site(run_dir: Path) -> int:
    """The live view of a site that somebody else runs."""
    settings = existing(run_dir)
    console = Console()
    bus = open_viewer(settings, "l4-watch")
    clock = open_clock(settings)
    model = LiveModel(speed=1 / clock.wall_seconds(1.0))
    try:
        with _interruptible():
            note = partial(_console_note, settings)
            _watch(model, bus, clock, console, None, None, view=True, note=note)
    except Interrupted:
        pass
    finally:
        bus.close()
    return 0


def print_status(run_dir: Path, *, as_json: bool) -> int:
    """Wait until every service has spoken (or not), print, 0 if all is well."""
    settings = existing(run_dir)
    clock = open_clock(settings)
    model = LiveModel(speed=1 / clock.wall_seconds(1.0))
    bus = open_viewer(settings, "l4-status", topics=(Topic.LINK, Topic.PASSES, Topic.STATUS))
    deadline = time.monotonic() + FIRST_WORD_S
    try:
        while time.monotonic() < deadline and not (
            set(settings.services) <= set(model.services) and model.link is not None
        ):
            for message in bus.receive(0.1):
                model.take(message)
    finally:
        bus.close()
    now_ns = clock.now_ns()
    if not model.services and not _in_use(run_dir):
        print(f"l4: nothing is running in {run_dir}; `l4 run` starts it", file=sys.stderr)
        return 1
    problems = _problems(model, now_ns, settings.services)
    if as_json:
        report = _report(model, settings, None) | {"problems": problems}
        for key in ("parameter_values", "stored_packets", "events", "restarts"):
            report.pop(key)
        print(json.dumps(report, indent=2))
    else:
        _print_status(model, now_ns, problems)
    return 1 if problems else 0


def _problems(model: LiveModel, now_ns: int, services: Iterable[str]) -> list[str]:
    problems = [f"{name}: no word" for name in services if name not in model.services]
    for name, status in sorted(model.services.items()):
        silent_s = (now_ns - status.time_ns) / 1e9 / model.speed
        if model.silent(status.time_ns, now_ns):
            problems.append(f"{name}: silent for {silent_s:.0f} s")
        elif status.state == "failed":
            problems.append(f"{name}: {status.detail or 'failed'}")
    if model.link is None:
        problems.append("link: no word from receive")
    elif model.silent(model.link.time_ns, now_ns):
        problems.append(f"link {model.link.link}: unknown, receive is silent")
    elif model.link.state != "OK":
        problems.append(f"link {model.link.link}: {model.link.state} {model.link.detail}".rstrip())
    return problems


def _print_status(model: LiveModel, now_ns: int, problems: list[str]) -> None:
    console = Console()
    table = Table(box=None, header_style="dim")
    for title in ("service", "state", "lag", "MiB", "detail"):
        table.add_column(title)
    for name, status in sorted(model.services.items()):
        lag = sum(position.lag for position in status.positions)
        state = "silent" if model.silent(status.time_ns, now_ns) else status.state
        mib = f"{status.rss_octets / 2**20:.0f}"
        table.add_row(name, state, f"{lag:,} messages", mib, status.detail)
    console.print(table)
    if model.link is not None:
        frames = sum(counts.get("frames", 0) for counts in model.link.virtual_channels.values())
        silent = model.silent(model.link.time_ns, now_ns)
        state = "unknown, last said " if silent else ""
        state += f"{model.link.state}, {frames:,} frames"
        state += f", {model.link.detail}" if model.link.detail else ""
        console.print(f"link {model.link.link}: {state}")
    for line in antenna_lines(model, now_ns):
        console.print(Text("antenna ").append(line))
    if model.passes is not None:
        for line in pass_lines(model.passes, now_ns):
            console.print(line)
    for problem in problems:
        console.print(Text(problem, style="bold red"))
    if not problems:
        console.print(Text("all well", style="green"))


def existing(run_dir: Path) -> RunSettings:
    if not (run_dir / "run.toml").is_file():
        raise FileNotFoundError(2, "no run here; `l4 run` starts one", str(run_dir / "run.toml"))
    return load_settings(run_dir)
