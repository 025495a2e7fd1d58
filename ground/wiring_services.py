"""How each service is run: its ports opened by `wiring.py`, its loop, what it says at the end.

run_service("monitor", settings, stop)        what `python -m ground monitor` does
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ground.config import (
    ARCHIVE,
    BUS,
    COMMAND,
    CONSOLE,
    MISSION_CENTRE,
    MONITOR,
    MQTT_BRIDGE,
    RECEIVE,
    RELAY,
    SCHEDULING,
    TIMING,
    RunSettings,
)
from ground.ports import Bus, Clock, Link, Stop
from ground.wiring import (
    observed,
    open_clock,
    open_dictionaries,
    open_dictionary,
    open_keyring,
    open_link,
    open_sampler,
    playback_channels,
    with_bus,
)
from protocols.bus.access import Door
from protocols.errors import LocalError

if TYPE_CHECKING:
    from ground.command.procedures.library import Library
    from ground.receive.profile import LinkProfile
    from ground.relay.loop import RelayLoop
    from protocols.bus.messages import PassesMessage


def run_service(name: str, settings: RunSettings, stop: Stop) -> None:
    """Run a service until `stop`.  LocalError: it cannot start as configured."""
    if name in settings.antenna_receivers:
        _run_receiver(name, settings, stop)
        return
    if name not in _SERVICES:
        known = (*_SERVICES, *settings.antenna_receivers)
        raise LocalError(f"service {name!r} is not known; {', '.join(known)} are")
    _SERVICES[name](settings, stop)


def _run_bus(settings: RunSettings, stop: Stop) -> None:
    from ground.adapters.zmq_broker import Broker, give_memory_back, run_broker
    from ground.status import StatusReporter
    from protocols.bus.envelope import Envelope, build_envelope
    from protocols.bus.messages import ServiceState

    give_memory_back()
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
                more = {"retained": broker.retained, "refused": broker.refused}
                said = status.message({**broker.counts, **more})
                message = Envelope(status.topic, BUS, "", -1, said.time_ns, said.build())
                seen.published(message)
                return build_envelope(message)

            run_broker(broker, stop, lambda: say(ServiceState.RUNNING) if status.due else None)
            broker.publish(say(ServiceState.STOPPED))
    finally:
        broker.close()


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
    from ground.answering import CallServer
    from ground.receive.merge import MergeService

    def work(bus: Bus, clock: Clock) -> None:
        server = CallServer(
            settings.bound(settings.antennas_endpoint),
            Door.ANTENNAS,
            open_keyring(settings, RECEIVE),
        )
        try:
            MergeService(
                settings.antenna_receivers,
                bus,
                clock,
                StateFile(settings.state_file(RECEIVE)),
                settings,
                server,
                service=RECEIVE,
            ).run(stop)
        finally:
            server.close()

    with_bus(RECEIVE, settings, work)


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
                playback=playback_channels(profile.dictionary),
                predict=predict,
            ).run(stop)
        finally:
            link.close()

    with_bus(service, settings, work)


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

    with_bus(MONITOR, settings, work)


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

    with_bus(ARCHIVE, settings, work)


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

    with_bus(SCHEDULING, settings, work)


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
    from ground.restored import read_mark
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
            mark = read_mark(settings.run_dir)
            if mark is not None:
                engine.restored(clock.now_ns(), mark, uuid.uuid4().hex[:12])
            CommandService(engine, bus, clock, server, service=COMMAND, source=RECEIVE).run(stop)
        finally:
            server.close()
            transfers.close()
            store.close()

    with_bus(COMMAND, settings, work)


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
                model=ConsoleModel(
                    Alarms(), expected=(*settings.services, *settings.antenna_receivers)
                ),
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

    with_bus(CONSOLE, settings, work)


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

    with_bus(TIMING, settings, work)


def _run_mqtt_bridge(settings: RunSettings, stop: Stop) -> None:
    from ground.adapters.state_file import StateFile
    from ground.mqtt_bridge.service import MqttBridge
    from ground.mqtt_bridge.settings import load_broker_settings

    broker = load_broker_settings(settings.mqtt, settings.mission, settings.mqtt_file)

    def work(bus: Bus, clock: Clock) -> None:
        state = StateFile(settings.state_file(MQTT_BRIDGE))
        MqttBridge(broker, bus, clock, state, service=MQTT_BRIDGE).run(stop)

    with_bus(MQTT_BRIDGE, settings, work)


def _run_relay(settings: RunSettings, stop: Stop) -> None:
    import os

    from ground.adapters.state_file import StateFile
    from ground.relay.plan import NO_PASSES, site_plan
    from ground.relay.space_link import SpaceLink
    from ground.relay.space_transport import HANDOVER_S, SpaceTransport
    from ground.status import COMPILING, StatusReporter
    from ground.warming import settle
    from ground.wiring_node import link_counters, node_settings, run_node
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

    with_bus(RELAY, settings, work)


def _run_mission_centre(settings: RunSettings, stop: Stop) -> None:
    from ground.relay.centre import MissionCentre
    from ground.relay.plan import site_plan
    from ground.status import COMPILING, StatusReporter
    from ground.wiring_node import link_counters, node_settings, run_node
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

    with_bus(MISSION_CENTRE, settings, work)


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
