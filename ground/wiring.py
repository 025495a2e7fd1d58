"""Which adapter stands behind which port: the one place that knows both.

settings = load_settings(run_dir)
run_service("monitor", settings, stop)        what `python -m ground monitor` does
bus = open_viewer(settings, "l4-watch")       for whoever only looks
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ground.config import (
    ARCHIVE,
    BUS,
    COMMAND,
    CONSOLE,
    JOURNALING,
    LOOPBACK,
    MISSION_CENTRE,
    MONITOR,
    MQTT_BRIDGE,
    RECEIVE,
    RELAY,
    SCHEDULING,
    TIMING,
    RunSettings,
)
from ground.curve import is_loopback
from ground.keyring import Keyring, person
from ground.ports import Bus, Clock, Dictionaries, Link, LinkState, Message, StateStore, Stop
from protocols.bus.access import Door, role_of
from protocols.errors import LocalError, ProtocolError
from protocols.identifiers import Topic, VirtualChannel
from protocols.telemetry.declaration import Dictionary

if TYPE_CHECKING:
    from ground.archive.parquet_sink import ParquetSink
    from ground.archive.sink import ArchiveSink
    from ground.command.procedures.library import Library
    from ground.observed import Observed
    from ground.receive.profile import LinkProfile
    from ground.relay.loop import RelayLoop
    from protocols.bus.messages import PassesMessage
    from protocols.telemetry.sampling import Sampler

#: What a viewer wants: the present, not every packet.
VIEWER_TOPICS = (
    Topic.PARAMETERS,
    Topic.EVENTS,
    Topic.LINK,
    Topic.PASSES,
    Topic.BUNDLES,
    Topic.STATUS,
)


def open_clock(settings: RunSettings) -> Clock:
    """The run's clock; the wall clock if the run has no clock file."""
    from ground.adapters.clock import open_clock_file

    return open_clock_file(settings.clock_file)


def open_keyring(settings: RunSettings, name: str) -> Keyring | None:
    """Keys of a service of the run; None: it has none, and keeps to loopback."""
    directory = settings.keys_dir
    return Keyring(directory, name) if directory is not None else None


def open_person(settings: RunSettings) -> Keyring | None:
    """Keys of whoever calls `l4`; None: the run has none.  LocalError: nobody's are here."""
    directory = settings.keys_dir
    return Keyring(directory, person(directory)) if directory is not None else None


def open_bus(
    settings: RunSettings,
    service: str,
    observe: Callable[[Message], None] | None = None,
    *,
    keyring: Keyring | None = None,
    publishes: bool = True,
) -> Bus:
    """Bus of a service, with its journals.  LocalError if another process has them.

    observe: is called with each message that the service publishes.
    keyring: of a person; a service's own are found by its name.
    """
    from ground.adapters.journal import FileJournal
    from ground.adapters.zmq_bus import ZmqBus

    endpoints = settings.replay_endpoints
    journals = {
        str(topic): FileJournal(
            settings.journal_dir(service, topic),
            segment_octets=settings.journal_segment_octets,
            retain_octets=settings.journal_octets,
        )
        for topic in JOURNALING.get(role_of(service), ())
    }
    return ZmqBus(
        service,
        bus_in=settings.bus_in,
        bus_out=settings.bus_out,
        journals=journals,
        replay_endpoint=settings.bound(endpoints.pop(service, "")),
        replay_endpoints=endpoints,
        publishes=publishes,
        keyring=keyring or open_keyring(settings, service),
        sync=settings.sync,
        observe=observe,
    )


def open_viewer(
    settings: RunSettings,
    name: str,
    topics: Iterable[str] = VIEWER_TOPICS,
    *,
    publishes: bool = False,
) -> Bus:
    """Bus for looking only: live topics, the last value of link and status at once."""
    bus = open_bus(settings, name, keyring=open_person(settings), publishes=publishes)
    for topic in topics:
        bus.subscribe(topic)
    return bus


def open_link(
    settings: RunSettings, profile: LinkProfile, receiver: str = RECEIVE
) -> tuple[Link, LinkProfile]:
    """The station's link, or the radio's in its place, and the profile of what it delivers."""
    if settings.radio:
        from ground.wiring_radio import open_radio_link

        return open_radio_link(settings, profile, open_clock(settings))
    from ground.adapters.zmq_link import ZmqLink

    keyring = open_keyring(settings, receiver)
    name = receiver.partition(".")[2] or settings.link_name
    return ZmqLink(name, settings.link_of(receiver), keyring=keyring), profile


def open_state(settings: RunSettings, service: str) -> StateStore:
    """Snapshots of a service."""
    from ground.adapters.state_file import StateFile

    return StateFile(settings.state_file(service))


def open_dictionary(name: str | None) -> Dictionary | None:
    """Dictionary by the name in a link profile: "l4", or the path of an XTCE file.

    LocalError if there is none of that name.
    """
    if name is None:
        return None
    if name == "l4":
        from protocols.dictionary.l4_reports import EVERYTHING

        return EVERYTHING
    path = Path(name)
    if path.suffix not in (".xml", ".xtce") or not path.is_file():
        raise LocalError(f"dictionary {name!r}: l4, or the path of an XTCE file, wanted")
    from protocols.telemetry.xtce import import_xtce

    return import_xtce(path.read_bytes())


def open_dictionaries(name: str | None) -> Dictionary | Dictionaries | None:
    """`open_dictionary` for who decodes: that of the L4 relay changes as the spacecraft says."""
    if name == "l4":
        from protocols.dictionary.l4_structures import KnownStructures

        return KnownStructures()
    return open_dictionary(name)


def open_sampler(settings: RunSettings, dictionary: str | None) -> Sampler | None:
    """What chooses the packets to be decoded, reports and events all; None: all of all."""
    from ground.monitor.l4_events import ALWAYS
    from protocols.telemetry.sampling import Sampler

    if not settings.sample_hz:
        return None
    always = ALWAYS if dictionary == "l4" else ()
    return Sampler(settings.sample_hz, always=always)


def playback_channels(dictionary: str | None) -> tuple[int, ...]:
    """Which channels carry stored data is the spacecraft's own business, like its dictionary."""
    return (VirtualChannel.PLAYBACK,) if dictionary == "l4" else ()


@contextmanager
def open_archive_sink(
    archive: Path | str, dictionary: str | None, stream: str
) -> Iterator[ArchiveSink]:
    """Where `l4 replay --archive` puts packets and parameters; made if it is not there."""
    from ground.adapters.clock import ScaledClock
    from ground.archive.decoding import Decoder
    from ground.archive.sink import ArchiveSink
    from ground.archive.store import ArchiveStore

    with ArchiveStore.open(archive) as store:
        yield ArchiveSink(
            store,
            Decoder(open_dictionaries(dictionary)),
            stream,
            ScaledClock.wall().now_ns,
            playback=playback_channels(dictionary),
        )


def open_parquet_sink(directory: Path, dictionary: str | None) -> ParquetSink:
    """Where `l4 replay --parquet` puts parameters."""
    from ground.archive.decoding import Decoder
    from ground.archive.parquet_sink import ParquetSink

    opened = open_dictionaries(dictionary)
    if opened is None:
        raise LocalError("--parquet wants a dictionary: --dictionary l4 or an XTCE file")
    return ParquetSink(directory, Decoder(opened))


# ---------------------------------------------------------------- services


def run_service(name: str, settings: RunSettings, stop: Stop) -> None:
    """Run a service until `stop`.  LocalError: it cannot start as configured."""
    if name in settings.antenna_receivers:
        _run_receiver(name, settings, stop)
        return
    if name not in _SERVICES:
        known = (*_SERVICES, *settings.antenna_receivers)
        raise LocalError(f"service {name!r} is not known; {', '.join(known)} are")
    _SERVICES[name](settings, stop)


@contextmanager
def observed(settings: RunSettings, service: str, clock: Clock) -> Iterator[Observed]:
    """The service's /metrics and /healthz are served, and its supervisor is told.

    LocalError: its port is taken.
    """
    from ground.adapters.exposition import Exposition, Page
    from ground.adapters.notify import Notifier
    from ground.adapters.otlp import open_traces
    from ground.logs import MessageLog
    from ground.observed import CONTENT_TYPE, Observed

    def healthz() -> Page:
        healthy, text = one.healthz_text()
        return Page(200 if healthy else 503, "application/json", text)

    notifier = Notifier()
    traces = open_traces(service)
    told = [MessageLog(service), *([traces.published] if traces is not None else [])]
    one = Observed(service, settings.run_dir, clock, notifier, told)
    pages = {
        "/metrics": lambda: Page(200, CONTENT_TYPE, one.metrics()),
        "/healthz": healthz,
    }
    # Several antennas' receivers on one machine have loopback addresses of their own.
    host = settings.host(service)
    host = host if "." in service and is_loopback(f"tcp://{host}:1") else LOOPBACK
    server = Exposition(host, settings.metrics_ports[role_of(service)], pages)
    try:
        yield one
    finally:
        server.close()
        notifier.close()
        if traces is not None:
            traces.close()


def _run_bus(settings: RunSettings, stop: Stop) -> None:
    from ground.adapters.zmq_broker import Broker, run_broker
    from ground.status import StatusReporter
    from protocols.bus.envelope import Envelope, build_envelope
    from protocols.bus.messages import ServiceState

    clock = open_clock(settings)
    broker = Broker(
        settings.bound(settings.bus_in),
        settings.bound(settings.bus_out),
        open_keyring(settings, BUS),
    )
    status = StatusReporter(BUS, clock)

    try:
        with observed(settings, BUS, clock) as seen:

            def say(state: ServiceState) -> list[bytes]:
                status.state = state
                said = status.message({**broker.counts, "retained": broker.retained})
                message = Envelope(status.topic, BUS, "", -1, said.time_ns, said.build())
                seen.published(message)
                return build_envelope(message)

            run_broker(broker, stop, lambda: say(ServiceState.RUNNING) if status.due else None)
            broker.publish(say(ServiceState.STOPPED))
    finally:
        broker.close()


def _with_bus(service: str, settings: RunSettings, work: Callable[[Bus, Clock], None]) -> None:
    """Open clock and bus, work, close; what goes wrong is said on the bus before it is raised."""
    from ground.status import StatusReporter
    from protocols.bus.messages import ServiceState

    clock = open_clock(settings)
    with observed(settings, service, clock) as seen:
        bus = open_bus(settings, service, seen.published)
        try:
            work(bus, clock)
        except (OSError, sqlite3.Error, ProtocolError) as error:
            status = StatusReporter(service, clock, bus)
            status.state, status.detail = ServiceState.FAILED, str(error)[:500]
            status.tick({}, now=True)
            raise
        finally:
            bus.close()


def _run_receive(settings: RunSettings, stop: Stop) -> None:
    from ground.receive.profile import load_profile

    if settings.antennas:
        _merge(settings, stop)
        return
    link, profile = open_link(settings, load_profile(settings.mission))
    _receive(settings, profile, link, stop)


def _run_receiver(name: str, settings: RunSettings, stop: Stop) -> None:
    """The receiver of one antenna of several."""
    from ground.receive.profile import load_profile

    link, profile = open_link(settings, load_profile(settings.mission), name)
    _receive(settings, profile, link, stop, name)


def _merge(settings: RunSettings, stop: Stop) -> None:
    from ground.adapters.state_file import StateFile
    from ground.receive.merge import MergeService

    def work(bus: Bus, clock: Clock) -> None:
        state = StateFile(settings.state_file(RECEIVE))
        MergeService(settings.antenna_receivers, bus, clock, state, service=RECEIVE).run(stop)

    _with_bus(RECEIVE, settings, work)


def replay_as_receiver(settings: RunSettings, profile: LinkProfile, link: Link, stop: Stop) -> None:
    """`receive` of a run, with a recording (or any other link) in the place of its station."""
    _receive(settings, profile, link, stop)


def _receive(
    settings: RunSettings, profile: LinkProfile, link: Link, stop: Stop, service: str = RECEIVE
) -> None:
    from ground.adapters.state_file import StateFile
    from ground.receive.service import ReceiveService
    from ground.wiring_radio import open_prediction

    predict = open_prediction(profile) if profile.input == "samples" else None

    def work(bus: Bus, clock: Clock) -> None:
        try:
            ReceiveService(
                profile,
                link,
                bus,
                clock,
                StateFile(settings.state_file(service)),
                settings,
                service=service,
                transmits=service in (RECEIVE, *settings.antenna_receivers[:1]),
                playback=playback_channels(profile.dictionary),
                predict=predict,
            ).run(stop)
        finally:
            link.close()

    _with_bus(service, settings, work)


def _run_monitor(settings: RunSettings, stop: Stop) -> None:
    from ground.adapters.state_file import StateFile
    from ground.monitor.decoding import Decoder
    from ground.monitor.l4_events import ON_BOARD
    from ground.monitor.service import MonitorService
    from ground.receive.profile import load_profile

    name = load_profile(settings.mission).dictionary
    decoder = Decoder(
        open_dictionaries(name),
        ON_BOARD if name == "l4" else None,
        sampler=open_sampler(settings, name),
    )

    def work(bus: Bus, clock: Clock) -> None:
        state = StateFile(settings.state_file(MONITOR))
        MonitorService(decoder, bus, clock, state, service=MONITOR, source=RECEIVE).run(stop)

    _with_bus(MONITOR, settings, work)


def _run_archive(settings: RunSettings, stop: Stop) -> None:
    from ground.archive.decoding import Decoder
    from ground.archive.service import ArchiveService
    from ground.archive.store import ArchiveStore
    from ground.receive.profile import load_profile

    name = load_profile(settings.mission).dictionary
    decoder = Decoder(open_dictionaries(name), sampler=open_sampler(settings, name))

    def work(bus: Bus, clock: Clock) -> None:
        with ArchiveStore.open(settings.archive_written) as store:
            ArchiveService(
                store,
                decoder,
                bus,
                clock,
                service=ARCHIVE,
                packets_from=RECEIVE,
                events_from=MONITOR,
            ).run(stop)

    _with_bus(ARCHIVE, settings, work)


def _run_scheduling(settings: RunSettings, stop: Stop) -> None:
    from ground.answering import CallServer
    from ground.scheduling.pass_desk import PassDesk
    from ground.scheduling.relay_plan import STATIONS
    from ground.scheduling.service import SchedulingService, relay_planner
    from ground.scheduling.shared import others_of
    from ground.scheduling.stations import load_stations, select_stations

    names = settings.stations.split(",") if settings.stations else STATIONS
    stations = load_stations()
    planner = relay_planner(select_stations(stations, names))
    desk = PassDesk(stations, others_of(settings.shared_schedule))

    def work(bus: Bus, clock: Clock) -> None:
        server = CallServer(
            settings.bound(settings.scheduling_endpoint),
            Door.SCHEDULING,
            open_keyring(settings, SCHEDULING),
        )
        try:
            SchedulingService(
                planner,
                bus,
                clock,
                settings.pass_list,
                desk=desk,
                server=server,
                shared=settings.shared_schedule,
            ).run(stop)
        finally:
            server.close()

    _with_bus(SCHEDULING, settings, work)


#: What a command's way up and its answers may need beside light: wall seconds, which weigh more in
#: a world that runs faster, and the world's (radiation, the wait for a frame of telemetry).
_HANDOVER_WALL_S, _ANSWER_WALL_S, _ANSWER_S = 3.0, 8.0, 60.0
#: How long an armed request stays armed, wall seconds.
_ARMED_WALL_S = 300.0


def open_procedures(settings: RunSettings) -> Library:
    """Procedures of the mission, and those of the run."""
    from ground.command.procedures.definitions import Definitions
    from ground.command.procedures.library import Library, shipped
    from protocols.dictionary.l4_commands import COMMANDS
    from protocols.dictionary.l4_reports import EVERYTHING

    own = settings.procedure_dir
    return Library(
        Definitions(COMMANDS, EVERYTHING.parameters),
        [shipped(), *([own] if own.is_dir() else [])],
    )


def _run_command(settings: RunSettings, stop: Stop) -> None:
    import os
    import uuid

    from ground.answering import CallServer
    from ground.command.engine import CommandEngine
    from ground.command.files import FileTransfers
    from ground.command.light_time import NOMINAL_OWLT_NS, Visibility
    from ground.command.link import CommandLink
    from ground.command.progress import Timing
    from ground.command.security import load_keys
    from ground.command.service import CommandService
    from ground.command.store import CommandStore
    from protocols.dictionary.l4_commands import COMMANDS
    from protocols.dictionary.l4_link import file_security, security_initiator

    def work(bus: Bus, clock: Clock) -> None:
        wall_ns = 1e9 / clock.wall_seconds(1.0)
        handover_ns = round(_HANDOVER_WALL_S * wall_ns)
        cop_margin_ns = round(_ANSWER_S * 1e9 + _ANSWER_WALL_S * wall_ns) + 4 * handover_ns
        # Whatever is lost is repeated before its answer is overdue.
        margin_ns = cop_margin_ns + handover_ns
        keys = load_keys(settings.command_key)
        store = CommandStore.open(settings.command_file)
        transfers = FileTransfers(
            settings.files_dir, now_ns=clock.now_ns(), owlt_ns=NOMINAL_OWLT_NS
        )
        server = CallServer(
            settings.bound(settings.command_endpoint),
            Door.COMMAND,
            open_keyring(settings, COMMAND),
        )
        try:
            engine = CommandEngine(
                store,
                COMMANDS,
                CommandLink(
                    security_initiator(keys),
                    owlt_ns=NOMINAL_OWLT_NS,
                    margin_ns=cop_margin_ns,
                ),
                Visibility(planned=settings.passes),
                Timing(handover_ns, margin_ns, round(_ARMED_WALL_S * wall_ns)),
                lambda: open_procedures(settings),
                os.urandom,
                transfers=transfers,
                file_security=file_security(keys),
                boot=uuid.uuid4().hex[:12],
            )
            CommandService(engine, bus, clock, server, service=COMMAND, source=RECEIVE).run(stop)
        finally:
            server.close()
            transfers.close()
            store.close()

    _with_bus(COMMAND, settings, work)


def _run_console(settings: RunSettings, stop: Stop) -> None:
    from contextlib import closing
    from importlib.metadata import version

    from ground.adapters.state_file import StateFile
    from ground.archive.store import ArchiveStore
    from ground.asking import CallClient, NoAnswer
    from ground.command.client import CommandClient
    from ground.console.accounts import Accounts
    from ground.console.alarms import Alarms
    from ground.console.context import Context
    from ground.console.listener import Listener
    from ground.console.model import ConsoleModel
    from ground.console.oidc import load_oidc
    from ground.console.packets import PacketTree, limit_lines, subsystems
    from ground.console.service import ConsoleService
    from ground.receive.profile import load_profile
    from ground.relay.client import BundleClient
    from protocols.dictionary.l4_commands import COMMANDS

    dictionary = open_dictionary(load_profile(settings.mission).dictionary)
    setup_file = settings.setup_link
    keyring = open_keyring(settings, CONSOLE)
    listener = Listener(
        settings.listening(CONSOLE),
        settings.console_port,
        settings.console_url,
        settings.console_certificate,
        settings.console_private_key,
        settings.behind_proxy,
    )

    def command(actor: str, operation: str, arguments: dict[str, Any]) -> Any:
        if not settings.command:
            raise NoAnswer("no command service answers: this run commands nothing")
        at = settings.command_endpoint
        with CommandClient(at, actor=actor, timeout_s=5, keyring=keyring) as client:
            return client.call(operation, **arguments)

    def relay(actor: str, operation: str, arguments: dict[str, Any]) -> Any:
        if not settings.relay:
            raise NoAnswer("no bundle node: this run has no relay")
        with BundleClient(settings.relay_applications, timeout_s=5, keyring=keyring) as client:
            return client.ask(operation, **arguments)

    def scheduling(actor: str, operation: str, arguments: dict[str, Any]) -> Any:
        if not settings.passes:
            raise NoAnswer("no scheduling service answers: this run plans no passes")
        with CallClient(
            settings.scheduling_endpoint,
            name="scheduling service",
            actor=actor,
            timeout_s=8,
            server=SCHEDULING,
            keyring=keyring,
        ) as one:
            return one.call(operation, **arguments)

    def work(bus: Bus, clock: Clock) -> None:
        with closing(Accounts.open(settings.console_dir / "accounts.sqlite")) as accounts:
            context = Context(
                accounts=accounts,
                oidc=load_oidc(Path(settings.console_file)) if settings.console_file else None,
                model=ConsoleModel(Alarms()),
                clock=clock,
                speed=1 / clock.wall_seconds(1.0),
                mission=settings.mission,
                archive=lambda: ArchiveStore.open(settings.archive_read, read_only=True),
                command=command,
                relay=relay,
                scheduling=scheduling,
                commands=[one.described for one in COMMANDS.commands] if settings.command else [],
                subsystems=subsystems(dictionary),
                packet=PacketTree(dictionary),
                limits=limit_lines(dictionary),
                files=settings.files_dir,
                set_up=lambda: setup_file.unlink(missing_ok=True),
            )
            ConsoleService(
                context,
                bus,
                StateFile(settings.state_file(CONSOLE)),
                service=CONSOLE,
                events_from=MONITOR,
                listener=listener,
                setup_file=setup_file,
                version=version("l4-relay-ground"),
            ).run(stop)

    _with_bus(CONSOLE, settings, work)


def _run_timing(settings: RunSettings, stop: Stop) -> None:
    from ground.adapters.state_file import StateFile
    from ground.scheduling.sky import open_ephemeris
    from ground.scheduling.stations import load_stations, select_stations
    from ground.timing.correlation import Correlation
    from ground.timing.light_time import GeometricLightTime, StationLightTime
    from ground.timing.service import TimingService

    (station,) = select_stations(load_stations(), (settings.timing_station,))

    def work(bus: Bus, clock: Clock) -> None:
        ephemeris, timescale, _ = open_ephemeris()
        light_time = StationLightTime(GeometricLightTime(ephemeris, timescale, station.itrf_km))
        state = StateFile(settings.state_file(TIMING))
        TimingService(
            Correlation(), light_time, bus, clock, state, service=TIMING, source=RECEIVE
        ).run(stop)

    _with_bus(TIMING, settings, work)


def _run_mqtt_bridge(settings: RunSettings, stop: Stop) -> None:
    from ground.adapters.state_file import StateFile
    from ground.mqtt_bridge.service import MqttBridge
    from ground.mqtt_bridge.settings import load_broker_settings

    broker = load_broker_settings(settings.mqtt, settings.mission, settings.mqtt_file)

    def work(bus: Bus, clock: Clock) -> None:
        state = StateFile(settings.state_file(MQTT_BRIDGE))
        MqttBridge(broker, bus, clock, state, service=MQTT_BRIDGE).run(stop)

    _with_bus(MQTT_BRIDGE, settings, work)


def link_counters(loop: RelayLoop) -> dict[str, int]:
    """Links of a bundle node to its neighbours, by state."""
    states = [link.state for transport in loop.transports for link in transport.statistics()]
    return {f"links_{state.lower()}": states.count(state) for state in LinkState}


def _run_relay(settings: RunSettings, stop: Stop) -> None:
    import os

    from ground.adapters.state_file import StateFile
    from ground.relay.plan import NO_PASSES, site_plan
    from ground.relay.space_link import SpaceLink
    from ground.relay.space_transport import HANDOVER_S, SpaceTransport
    from ground.status import COMPILING, StatusReporter
    from ground.warming import settle
    from ground.wiring_node import node_settings, run_node
    from protocols.bus.messages import ServiceState
    from protocols.dtn.ltp_parameters import DEEP_SPACE
    from protocols.identifiers import BundleNode

    def work(bus: Bus, clock: Clock) -> None:
        status = StatusReporter(RELAY, clock, bus)
        status.announce(ServiceState.RECOVERING, COMPILING)
        settle()
        margin_s = max(DEEP_SPACE.margin_s, HANDOVER_S / clock.wall_seconds(1.0))
        transport = SpaceTransport(
            SpaceLink(margin_s, os.urandom(32)),
            bus,
            clock,
            StateFile(settings.state_file(RELAY)),
            service=RELAY,
            source=RECEIVE,
            passes=settings.passes,
            boot=os.urandom(6).hex(),
        )

        planned: list[PassesMessage | None] = [None]

        def turn(loop: RelayLoop) -> None:
            node = loop.node
            if transport.passes is not planned[0]:
                # A schedule was published: bundles follow it.
                planned[0] = transport.passes
                now_ns = clock.now_ns()
                node.reload(site_plan(transport.passes, now_ns), now_ns)
            status.state = ServiceState.RUNNING
            status.detail = loop.disk_error or f"{len(node.held):,} bundles held"
            counters = {
                **transport.counts,
                **(link_counters(loop) if status.due else {}),
                "forwarded": node.counts.forwarded,
                "duplicates": node.counts.duplicates,
                "held": len(node.held),
            }
            status.tick(counters, newest_ns=transport.newest_ns)

        first = site_plan(NO_PASSES if settings.passes else None, clock.now_ns())
        site = node_settings(settings, BundleNode.SITE, first)
        keyring = open_keyring(settings, RELAY)
        run_node(
            site,
            stop,
            clock,
            [transport],
            each_turn=turn,
            sync=settings.sync,
            keyring=keyring,
        )
        status.state = ServiceState.STOPPED
        status.tick({}, now=True)

    _with_bus(RELAY, settings, work)


def _run_mission_centre(settings: RunSettings, stop: Stop) -> None:
    from ground.relay.centre import MissionCentre
    from ground.relay.plan import site_plan
    from ground.status import COMPILING, StatusReporter
    from ground.wiring_node import node_settings, run_node
    from protocols.bus.messages import ServiceState
    from protocols.identifiers import BundleNode

    def work(bus: Bus, clock: Clock) -> None:
        status = StatusReporter(MISSION_CENTRE, clock, bus)
        status.announce(ServiceState.RECOVERING, COMPILING)
        centre = MissionCentre(bus, clock)

        def turn(loop: RelayLoop) -> None:
            bus.receive(0)
            centre.turn(loop.node)
            status.state = ServiceState.RUNNING
            status.detail = f"{centre.bundles:,} bundles" + (f", {centre.last}" * bool(centre.last))
            counters = {"bundles": centre.bundles, "repeated": centre.repeated}
            status.tick({**counters, **(link_counters(loop) if status.due else {})})

        node = node_settings(settings, BundleNode.MISSION_CENTRE, site_plan(None, clock.now_ns()))
        keyring = open_keyring(settings, MISSION_CENTRE)
        run_node(node, stop, clock, each_turn=turn, sync=settings.sync, keyring=keyring)
        status.state = ServiceState.STOPPED
        status.tick({}, now=True)

    _with_bus(MISSION_CENTRE, settings, work)


_SERVICES: dict[str, Callable[[RunSettings, Stop], None]] = {
    BUS: _run_bus,
    RECEIVE: _run_receive,
    MONITOR: _run_monitor,
    ARCHIVE: _run_archive,
    SCHEDULING: _run_scheduling,
    COMMAND: _run_command,
    TIMING: _run_timing,
    CONSOLE: _run_console,
    MQTT_BRIDGE: _run_mqtt_bridge,
    RELAY: _run_relay,
    MISSION_CENTRE: _run_mission_centre,
}
