"""Where a running ground segment keeps its things: the run directory, its ports, its clock.

A run directory holds everything of one run, so that two runs never meet and a service needs one
argument (`python -m ground SERVICE --run-dir D`):

    D/run.toml                     settings of this run (class `RunSettings`); missing: defaults
    D/clock.json                   {"origin_tai_ns", "origin_unix_ns", "speed"}; missing: wall clock
    D/capture/                     receive: capture-NNNNNN.pcapng, every chunk as it came
    D/journal/SERVICE/TOPIC/       journals (receive: packets, opaque; monitor: parameters, events;
                                   mission_centre: bundles; command: commands)
    D/state/SERVICE.state          snapshot of a service: msgpack with a CRC, replaced atomically
    D/archive/archive.sqlite       archive
    D/capture-NAME/                that of an antenna's receiver, of several
    D/uplink/given.jsonl           of several antennas: which was given what to radiate
    D/files/                       files from the spacecraft (received/), transfers by CFDP
    D/procedures/                  operators' procedures, YAML or Python
    D/console/                     accounts.sqlite: people, sessions, audit; setup-link at first
    D/command/command.sqlite       requests to the spacecraft, what became of them, COP-1, security
    D/schedule/passes.json         pass list in force, which stations read; beside it schedule.html,
                                   .ics, and requests.json, schedule.json for `l4 schedule`;
                                   shared.sqlite, if there: the schedule that missions share
    D/log/SERVICE.log              what a service wrote to standard error (supervisor)
    D/keys/                        keys of services and people, unless `keys` names another
                                   directory (`ground/keyring.py`); missing: loopback only

Services: `bus` (broker), `receive`, `monitor`, `archive`, `relay`, `scheduling` if the run has
passes, `command` if it commands, `timing` if it watches the on-board clock, `console` if it
serves one, `mqtt_bridge` if it tells a broker; `spacecraft_sim` is the
other end of the link.  Ports from `base_port`, on 127.0.0.1 unless `hosts` says otherwise:

    +0  bus in (services publish)    +1  bus out (services subscribe)
    +2  link (the station's ROUTER: spacecraft_sim binds, receive connects)
    +3, +4  applications of site's and mission centre's bundle nodes    +5  the centre's TCPCL
    +6  operators of `command`    +7  the console (HTTP)
    +8 + i  replay endpoint of journaling service i of `JOURNALING`
    +12  replay endpoint of an antenna's receiver, each at an address of its own
    +13  operators of `receive`, where it merges several antennas
    +15  operators of `scheduling`
    +16 + i  /metrics and /healthz of service i of `ALL_SERVICES` (HTTP)

A service ends at SIGTERM or SIGINT, and, started with L4_EXIT_WITH_STDIN=1, when its standard input
closes (decision 0003); it then finishes its batch, writes its snapshot and returns 0.
"""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from ground.documents import toml_of
from ground.durable_files import make_directory, replace_file
from ground.server_address import checked_address
from protocols.bus.access import antenna_of, is_key_name, is_loopback_host, role_of
from protocols.errors import LocalError
from protocols.identifiers import Topic
from protocols.telemetry.sampling import MOST_HZ
from protocols.timecodes.tai import tai_ns_from_unix_ns

#: Below the range from which Linux and macOS take ephemeral ports, unassigned at IANA up to 21589.
DEFAULT_BASE_PORT = 21560
PORTS = 30
#: Antennas that hear one spacecraft: of each that is heard at a time one bit is kept.
MOST_ANTENNAS = 32
LOOPBACK = "127.0.0.1"

BUS, RECEIVE, MONITOR, ARCHIVE = "bus", "receive", "monitor", "archive"
SCHEDULING, RELAY, MISSION_CENTRE = "scheduling", "relay", "mission_centre"
COMMAND, TIMING, CONSOLE = "command", "timing", "console"
MQTT_BRIDGE = "mqtt_bridge"
SIMULATOR = "spacecraft_sim"
#: Start in this order, stop in the reverse one; any other order works too, only slower.
SERVICES = (BUS, RECEIVE, MONITOR, ARCHIVE)
#: With those that only some runs have.
ALL_SERVICES = (*SERVICES, SCHEDULING, COMMAND, TIMING, MISSION_CENTRE, RELAY, CONSOLE, MQTT_BRIDGE)

#: Who keeps which topics in a journal; a service's place here is its replay port.
JOURNALING: dict[str, tuple[str, ...]] = {
    RECEIVE: (Topic.PACKETS, Topic.OPAQUE),
    MONITOR: (Topic.PARAMETERS, Topic.EVENTS),
    MISSION_CENTRE: (Topic.BUNDLES,),
    COMMAND: (Topic.COMMANDS,),
}

#: Who must have finished what a journal holds before it is forgotten: whoever keeps a result of it.
NEEDED_BY: dict[tuple[str, str], tuple[str, ...]] = {
    (RECEIVE, Topic.PACKETS): (MONITOR, ARCHIVE, COMMAND, TIMING, RELAY),
    (MONITOR, Topic.PARAMETERS): (ARCHIVE,),
    (MONITOR, Topic.EVENTS): (ARCHIVE, CONSOLE, MQTT_BRIDGE),
    (COMMAND, Topic.COMMANDS): (MQTT_BRIDGE,),
}

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Settings of one run, validated here, once.

    mission: name of a link profile in ground/missions, or a path of one.
    journal_octets: each journal forgets its oldest segments beyond this, when the services that
        need them (`NEEDED_BY`) have finished them.  journal_most_octets: beyond this, or where
        the disk is nearly full, it forgets them even so; a follower that is further behind loses
        messages, counts them and says so.
    capture_octets: a capture file is followed by the next beyond this.
    keep_samples_octets: of a radio's I/Q samples, captured files beyond this are deleted, the
        oldest first, once they are decoded and no restart wants them; 0: none ever is.
    snapshot_octets: receive saves the chain's state after so much of the capture: it bounds what
        a restart decodes again.
    passes: plan the spacecraft's passes; the link is up in them only.
    relay: the site's end of the relay takes part.
    console: the page and its API are served.  console_file: who may sign in besides
        (`ground.console.oidc`); empty: only who has a password here.
    command: the spacecraft is commanded.  command_key: file with the keys of the command link
        (`protocols.dictionary.l4_link.CommandKeys`); empty: the simulated spacecraft's.
    timing: the on-board clock is correlated with TAI.  timing_station: the antenna whose light time
        is taken out, a name of `l4 schedule stations`; the simulated modem stands at Cebreros,
        whatever antenna a pass is planned over.
    stations: antennas to plan them over, in order of preference, separated by commas; empty: Yeoju
        and one of each complex of the DSN.
    sample_hz: parameters are decoded of at most so many packets a second of each definition and
        virtual channel (0: of every packet), on-board events of all; packets are archived all.
    radio: address of the adapter (`l4 radio adapters`) through which this site hears and commands;
        empty: the simulated station's.
    mqtt: address of an MQTT broker that is told what the bus says, mqtt://HOST:PORT or mqtts://…;
        empty: none.  mqtt_file: credentials and what is told (`ground.mqtt_bridge.settings`).
    keys: directory of the keys that authenticate and encrypt every ZeroMQ socket
        (`ground/keyring.py`); empty: that in the run directory, or, where there is none, no keys:
        services then start on loopback addresses alone.
    hosts: where services run that do not run here, SERVICE=ADDRESS separated by commas, as
        bus=10.0.0.1,receive=10.0.0.2; * stands for all that are not named.  Others connect there,
        and the service itself listens there.
    receivers: names of the antennas that hear the spacecraft, separated by commas, the preferred
        first: each has a receiver `receive.NAME`, and `receive` merges what they hear and gives
        what goes up to one of them (`ground/receive/merge.py`); empty: one, `receive` itself.
        Those that `hosts` does not name, or names at a loopback address, run here, too.
    radios: of antennas that have a radio of their own, NAME=ADDRESS separated by spaces, ADDRESS as
        `radio`; the others have `radio`, or the simulated station's.
    listen: address that the services started from this directory listen at instead, as 0.0.0.0;
        empty: that of `hosts`.
    console_certificate, console_private_key: PEM files; the console is then served over TLS.
    behind_proxy: a reverse proxy on the way to the console terminates TLS: without a certificate
        it may then listen on an address that is not loopback, and believes the proxy's
        X-Forwarded-For and -Proto.
    archive: address of the PostgreSQL database that is the archive, postgresql://USER@HOST/NAME;
        empty: a file of the run directory.  archive_replica: the address that the console and
        `l4 archive` read from; empty: the archive's own.
    sync: wait for the disk before a chunk is acknowledged, and put journals there in passing, so
        that even a power failure loses nothing; without it only kill -9 loses nothing.
    """

    run_dir: Path
    base_port: int = DEFAULT_BASE_PORT
    mission: str = "l4_relay"
    link_name: str = "downlink"
    journal_octets: int = 4096 * MIB
    journal_most_octets: int = 32 * 1024 * MIB
    journal_segment_octets: int = 64 * MIB
    capture_octets: int = 256 * MIB
    keep_samples_octets: int = 16 * 1024 * MIB
    snapshot_octets: int = 16 * MIB
    sync: bool = True
    sample_hz: int = 0
    passes: bool = False
    relay: bool = False
    command: bool = False
    console: bool = False
    console_file: str = ""
    command_key: str = ""
    timing: bool = False
    timing_station: str = "CEB"
    stations: str = ""
    radio: str = ""
    mqtt: str = ""
    mqtt_file: str = ""
    keys: str = ""
    hosts: str = ""
    receivers: str = ""
    radios: str = ""
    listen: str = ""
    console_certificate: str = ""
    console_private_key: str = ""
    behind_proxy: bool = False
    archive: str = ""
    archive_replica: str = ""

    def __post_init__(self) -> None:
        if not 1024 <= self.base_port <= 65535 - PORTS:
            raise LocalError(f"base_port {self.base_port}: 1024..{65535 - PORTS} wanted")
        for name in ("journal_segment_octets", "capture_octets", "snapshot_octets"):
            if not MIB // 16 <= getattr(self, name) <= 1024 * MIB:
                raise LocalError(f"{name} {getattr(self, name)}: 64 KiB..1 GiB wanted")
        if self.keep_samples_octets and self.keep_samples_octets < 2 * self.capture_octets:
            raise LocalError(
                f"keep_samples_octets {self.keep_samples_octets}: 0, or at least two captured "
                f"files of {self.capture_octets} wanted"
            )
        if self.journal_octets < 2 * self.journal_segment_octets:
            raise LocalError(
                f"journal_octets {self.journal_octets}: at least two segments of "
                f"{self.journal_segment_octets} wanted"
            )
        if not 0 <= self.sample_hz <= MOST_HZ:
            raise LocalError(f"sample_hz {self.sample_hz}: 0..{MOST_HZ} wanted")
        if not self.mission or not self.link_name.isprintable() or not self.link_name:
            raise LocalError("mission and link_name must not be empty")
        if self.mqtt_file and not self.mqtt:
            raise LocalError(f"mqtt_file {self.mqtt_file}: mqtt, the broker's address, wanted too")
        if bool(self.console_certificate) != bool(self.console_private_key):
            raise LocalError("console_certificate and console_private_key: both or none wanted")
        parse_hosts(self.hosts)
        if self.archive_replica and not self.archive:
            raise LocalError(f"archive_replica {self.archive_replica}: archive wanted too")
        for address in filter(None, (self.archive, self.archive_replica)):
            checked_address(address)
        names = self.antennas
        if len(set(names)) < len(names) or not all(map(is_key_name, names)):
            raise LocalError(f"receivers {self.receivers!r}: names of antennas, each once, wanted")
        if len(names) > MOST_ANTENNAS:
            raise LocalError(f"receivers: {len(names)}, {MOST_ANTENNAS} at most")
        for name, address in parse_radios(self.radios).items():
            if name not in names or not address:
                raise LocalError(
                    f"radios: {name}={address}: NAME=ADDRESS wanted, NAME one of {names}"
                )

    @property
    def antennas(self) -> tuple[str, ...]:
        """Those that have a receiver of their own."""
        return tuple(filter(None, (name.strip() for name in self.receivers.split(","))))

    @property
    def antenna_receivers(self) -> tuple[str, ...]:
        """Names on the bus of the antennas' receivers; none: `receive` alone hears."""
        return tuple(f"{RECEIVE}.{name}" for name in self.antennas)

    @property
    def receivers_here(self) -> tuple[str, ...]:
        """Those of them that run on this machine, out of this run directory."""
        return tuple(name for name in self.antenna_receivers if is_loopback_host(self.host(name)))

    def host(self, service: str) -> str:
        """Address at which others reach a service."""
        hosts = parse_hosts(self.hosts)
        if service not in hosts and service in self.antenna_receivers:
            # They have the same ports, each at an address of its own.
            return f"127.0.0.{2 + self.antenna_receivers.index(service)}"
        return hosts.get(service) or hosts.get("*") or LOOPBACK

    def listening(self, service: str) -> str:
        """Address that a service of this directory listens at."""
        return self.listen or self.host(service)

    def _endpoint(self, service: str, offset: int) -> str:
        return f"tcp://{_bracketed(self.host(service))}:{self.base_port + offset}"

    def bound(self, endpoint: str) -> str:
        """What to bind for an endpoint that others connect to."""
        if not self.listen or not endpoint:
            return endpoint
        return f"tcp://{_bracketed(self.listen)}:{endpoint.rpartition(':')[2]}"

    @property
    def keys_dir(self) -> Path | None:
        """The keys directory; None: there is none, and nothing but loopback."""
        if self.keys:
            return self.run_dir / Path(self.keys).expanduser()
        own = self.run_dir / "keys"
        return own if own.is_dir() else None

    @property
    def bus_in(self) -> str:
        return self._endpoint(BUS, 0)

    @property
    def bus_out(self) -> str:
        return self._endpoint(BUS, 1)

    @property
    def link_endpoint(self) -> str:
        return self._endpoint(SIMULATOR, 2)

    def link_of(self, receiver: str) -> str:
        """The station's endpoint; an antenna's modem stands beside its receiver, unless told."""
        antenna = antenna_of(receiver)
        if not antenna:
            return self.link_endpoint
        station = f"{SIMULATOR}.{antenna}"
        return self._endpoint(station if station in parse_hosts(self.hosts) else receiver, 2)

    def link_name_of(self, receiver: str) -> str:
        """What people call a receiver's link: its antenna, if it is of one."""
        return antenna_of(receiver) or self.link_name

    def radio_of(self, receiver: str) -> str:
        """Address of the adapter through which a receiver hears; empty: the simulated station's."""
        return parse_radios(self.radios).get(antenna_of(receiver), self.radio)

    @property
    def radio_addresses(self) -> tuple[str, ...]:
        """Of all receivers that hear through a radio, each once."""
        receivers = self.antenna_receivers or (RECEIVE,)
        return tuple(dict.fromkeys(filter(None, map(self.radio_of, receivers))))

    @property
    def relay_applications(self) -> str:
        """Of the site's bundle node; that of the mission centre one port on."""
        return self._endpoint(RELAY, 3)

    @property
    def centre_applications(self) -> str:
        return self._endpoint(MISSION_CENTRE, 4)

    @property
    def centre_address(self) -> tuple[str, int]:
        """Where the mission centre's bundle node listens for TCPCL."""
        return self.host(MISSION_CENTRE), self.base_port + 5

    @property
    def command_endpoint(self) -> str:
        """Where operators reach `command`."""
        return self._endpoint(COMMAND, 6)

    @property
    def antennas_endpoint(self) -> str:
        """Where operators reach `receive`, of several antennas."""
        return self._endpoint(RECEIVE, 13)

    @property
    def scheduling_endpoint(self) -> str:
        """Where operators reach `scheduling`."""
        return self._endpoint(SCHEDULING, 15)

    @property
    def metrics_ports(self) -> dict[str, int]:
        """Service → where it says how it is, to machines."""
        return {service: self.base_port + 16 + i for i, service in enumerate(ALL_SERVICES)}

    def metrics_of(self, service: str) -> tuple[str, int]:
        """Address and port of the same: loopback, where each antenna's receiver has its own."""
        host = self.host(service)
        host = host if "." in service and is_loopback_host(host) else LOOPBACK
        return host, self.metrics_ports[role_of(service)]

    @property
    def console_port(self) -> int:
        return self.base_port + 7

    @property
    def console_url(self) -> str:
        """Where browsers find the console, unless a proxy stands before it."""
        scheme = "https" if self.console_certificate else "http"
        return f"{scheme}://{_bracketed(self.host(CONSOLE))}:{self.console_port}"

    @property
    def console_dir(self) -> Path:
        """Accounts, audit, and the set-up link while nobody can sign in."""
        return self.run_dir / "console"

    @property
    def setup_link(self) -> Path:
        """Holds the link by which the first person signs in, until somebody has used it."""
        return self.console_dir / "setup-link"

    @property
    def kept_token(self) -> Path:
        """The token that commands on this machine sign in with, if one was kept."""
        return self.console_dir / "token"

    @property
    def command_file(self) -> Path:
        return self.run_dir / "command" / "command.sqlite"

    @property
    def files_dir(self) -> Path:
        """Files received, and transfers."""
        return self.run_dir / "files"

    @property
    def procedure_dir(self) -> Path:
        """Procedures of this run, beside the mission's."""
        return self.run_dir / "procedures"

    @property
    def replay_endpoints(self) -> dict[str, str]:
        """Journaling service → endpoint that answers for its journals."""
        endpoints = {
            service: self._endpoint(service, 8 + i) for i, service in enumerate(JOURNALING)
        }
        return endpoints | {name: self._endpoint(name, 12) for name in self.antenna_receivers}

    @property
    def clock_file(self) -> Path:
        return self.run_dir / "clock.json"

    @property
    def given_uplink(self) -> Path:
        """Which antenna was given what to radiate, of several."""
        return self.run_dir / "uplink" / "given.jsonl"

    def uplink_log_of(self, receiver: str) -> Path:
        """What its radio has transmitted, for one that does not know it itself."""
        antenna = antenna_of(receiver)
        return self.run_dir / "state" / f"radio-uplink{antenna and '-' + antenna}.jsonl"

    @property
    def capture_dir(self) -> Path:
        return self.run_dir / "capture"

    def capture_of(self, receiver: str) -> Path:
        """Where a receiver puts what its link brings."""
        antenna = antenna_of(receiver)
        return self.capture_dir.with_name(f"capture-{antenna}") if antenna else self.capture_dir

    @property
    def captures(self) -> tuple[Path, ...]:
        """The run's own, and that of each antenna's receiver; not all of them are here."""
        return (self.capture_dir, *map(self.capture_of, self.antenna_receivers))

    @property
    def services(self) -> tuple[str, ...]:
        """Those that take part in this run."""
        first, *others = SERVICES
        return (
            first,
            *self.receivers_here,
            *others,
            *((SCHEDULING,) if self.passes else ()),
            *((COMMAND,) if self.command else ()),
            *((TIMING,) if self.timing else ()),
            *((MISSION_CENTRE, RELAY) if self.relay else ()),
            *((CONSOLE,) if self.console else ()),
            *((MQTT_BRIDGE,) if self.mqtt else ()),
        )

    @property
    def pass_list(self) -> Path:
        return self.run_dir / "schedule" / "passes.json"

    @property
    def shared_schedule(self) -> Path:
        """A store of `l4 schedule`, if there: passes of other missions, and ours for them."""
        return self.run_dir / "schedule" / "shared.sqlite"

    @property
    def archive_file(self) -> Path:
        """The archive, unless a server has it."""
        return self.run_dir / "archive" / "archive.sqlite"

    @property
    def archive_written(self) -> Path | str:
        """Where the archive service writes: a file, or a server's address."""
        return self.archive or self.archive_file

    @property
    def archive_read(self) -> Path | str:
        """Where everybody else reads."""
        return self.archive_replica or self.archive_written

    def needed_by(self, service: str, topic: str) -> tuple[str, ...]:
        """Services of this run that must have finished what the service's journal holds."""
        if service in self.antenna_receivers:
            return (RECEIVE,)
        return tuple(s for s in NEEDED_BY.get((service, topic), ()) if s in self.services)

    def journal_dir(self, service: str, topic: str) -> Path:
        return self.run_dir / "journal" / service / topic

    def state_file(self, service: str) -> Path:
        return self.run_dir / "state" / f"{service}.state"

    def log_file(self, service: str) -> Path:
        return self.run_dir / "log" / f"{service}.log"


def parse_hosts(text: str) -> dict[str, str]:
    """Service → address, of the setting `hosts`.  LocalError names what is none.

    >>> parse_hosts("bus=10.0.0.1, *=10.0.0.2")
    {'bus': '10.0.0.1', '*': '10.0.0.2'}
    """
    found: dict[str, str] = {}
    known = (*ALL_SERVICES, SIMULATOR, "*")
    for one in filter(None, (part.strip() for part in text.split(","))):
        service, _, address = (part.strip() for part in one.partition("="))
        if service.partition(".")[0] not in known or not address or " " in address:
            raise LocalError(
                f"hosts {one!r}: SERVICE=ADDRESS wanted, SERVICE one of {', '.join(known)}"
            )
        found[service] = address
    return found


def parse_radios(text: str) -> dict[str, str]:
    """Antenna → address of its radio, of the setting `radios`.

    >>> parse_radios("yeoju=udp://0.0.0.0:10015 dsn=rtl-tcp://pi:1234?rate=2.4e6")
    {'yeoju': 'udp://0.0.0.0:10015', 'dsn': 'rtl-tcp://pi:1234?rate=2.4e6'}
    """
    parts = (one.partition("=") for one in text.split())
    return {name: address for name, _, address in parts}


def _bracketed(address: str) -> str:
    """An IPv6 address as it stands in an endpoint."""
    return f"[{address}]" if ":" in address else address


def load_settings(run_dir: str | os.PathLike[str]) -> RunSettings:
    """Settings in run.toml over the defaults.  LocalError names the file and the setting."""
    path = Path(run_dir) / "run.toml"
    values: dict[str, Any] = {}
    if path.is_file():
        try:
            values = toml_of(path.read_bytes())
        except ValueError as error:
            raise LocalError(f"{path}: {error}") from error
    known = {field.name: field for field in fields(RunSettings) if field.name != "run_dir"}
    for name, value in values.items():
        if name not in known:
            raise LocalError(f"{path}: {name} is not a setting; {', '.join(known)} are")
        wanted = type(known[name].default)
        if type(value) is not wanted:
            raise LocalError(f"{path}: {name} = {value!r}, {wanted.__name__} wanted")
    try:
        return RunSettings(Path(run_dir).resolve(), **cast(dict[str, Any], values))
    except LocalError as error:
        raise LocalError(f"{path}: {error}") from error


def prepare_run_directory(
    run_dir: str | os.PathLike[str],
    *,
    speed: float = 1.0,
    origin_tai_ns: int | None = None,
    **settings: Any,
) -> RunSettings:
    """Make (or take over) a run directory: write run.toml and clock.json, return the settings.

    An existing clock file at the same speed is kept, since journals and captures in the directory
    are dated by it; another speed continues from the old clock's present.
    """
    values = {name: value for name, value in settings.items() if value is not None}
    result = RunSettings(Path(run_dir).resolve(), **values)
    make_directory(result.run_dir)
    # TOML's basic strings, integers and truth values are JSON's.
    lines = (f"{name} = {json.dumps(value)}\n" for name, value in values.items())
    replace_file(result.run_dir / "run.toml", "".join(lines).encode())
    write_clock_file(result.clock_file, speed=speed, origin_tai_ns=origin_tai_ns)
    return result


def write_clock_file(path: Path, *, speed: float, origin_tai_ns: int | None = None) -> None:
    """One origin for all processes: at `origin_unix_ns` on the wall it is `origin_tai_ns`."""
    if not 0 < speed <= 1e6:
        raise LocalError(f"speed {speed}: above 0, at most 1,000,000 wanted")
    now = time.time_ns()
    if origin_tai_ns is None and path.is_file():
        old = json.loads(path.read_text())
        if old["speed"] == speed:
            return
        elapsed = round((now - old["origin_unix_ns"]) * old["speed"])
        origin_tai_ns = old["origin_tai_ns"] + elapsed
    if origin_tai_ns is None:
        origin_tai_ns = int(tai_ns_from_unix_ns(now))
    origin = {"origin_tai_ns": origin_tai_ns, "origin_unix_ns": now, "speed": speed}
    replace_file(path, (json.dumps(origin) + "\n").encode())


def free_base_port() -> int:
    """A base port whose whole range is free now; for tests and for a second run on one machine."""
    bases = range(DEFAULT_BASE_PORT, 32768 - PORTS, PORTS)
    # Begin elsewhere in each process, so that runs that start together do not collide.
    first = os.getpid() % len(bases)
    for base in (*bases[first:], *bases[:first]):
        if port_range_free(base):
            return base
    raise LocalError(f"no {PORTS} free ports in a row between {DEFAULT_BASE_PORT} and 32767")


def port_range_free(base_port: int) -> bool:
    """Whether nobody listens on any of a run's ports."""
    for port in range(base_port, base_port + PORTS):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
