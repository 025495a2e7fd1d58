"""A bundle node from its settings: store, convergence layers, applications.

run_node(settings, stop)        what `l4 relay node` does, and the services around the site's nodes
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ground.config import MISSION_CENTRE, RELAY, RunSettings
from ground.keyring import Keyring, check_secret
from ground.ports import Clock, LinkState, Stop
from protocols.errors import LocalError

if TYPE_CHECKING:
    import ssl

    from ground.ports import BundleTransport
    from ground.relay.loop import RelayLoop
    from ground.relay.settings import RelaySettings, TlsFiles
    from protocols.dtn.contact_plan import ContactPlan
    from protocols.dtn.node_settings import NodeSettings


def node_settings(settings: RunSettings, number: int, plan: ContactPlan) -> RelaySettings:
    """A bundle node of the run: the site's, or the mission centre's, which the site connects to."""
    from ground.relay.settings import RelaySettings, TlsFiles
    from protocols.dtn.eid import ipn
    from protocols.dtn.node_settings import NodeSettings, Rule
    from protocols.dtn.routing import BULK, EXPEDITED
    from protocols.identifiers import BundleNode

    site = number == BundleNode.SITE
    name = RELAY if site else MISSION_CENTRE
    return RelaySettings(
        node=NodeSettings(
            node=ipn(number, 0),
            rules=(
                Rule(destination="ipn:*.2", priority=EXPEDITED),
                Rule(destination="ipn:*.1", priority=BULK),
            ),
        ),
        name=name,
        store=settings.run_dir / "bundles" / name,
        applications=settings.bound(
            settings.relay_applications if site else settings.centre_applications
        ),
        listen=None if site else (settings.listening(name), settings.centre_address[1]),
        connect=(settings.centre_address,) if site else (),
        plan=plan,
        tls=TlsFiles(),
        keepalive_s=10,
        owlt_margin=0.0,
        path=settings.run_dir / "run.toml",
    )


def tcpcl_transport(settings: RelaySettings) -> BundleTransport:
    """TCPCL as a node's settings say.  LocalError: a certificate cannot be read."""
    from ground.adapters.tcpcl_transport import TcpclTransport
    from protocols.dtn.tcpcl import TcpclSettings, TlsPolicy

    server = client = None
    if settings.tls.policy is not TlsPolicy.REFUSE:
        server, client = (_tls_context(settings.tls, purpose) for purpose in (True, False))
    return TcpclTransport(
        TcpclSettings(
            node_id=str(settings.node.node),
            keepalive_s=settings.keepalive_s,
            tls=settings.tls.policy,
        ),
        listen=settings.listen,
        connect=settings.connect,
        tls_server=server,
        tls_client=client,
    )


def _other_transports(settings: RelaySettings) -> list[BundleTransport]:
    """STCP, MTCP, UDP and LTP, where the settings have neighbours or listeners of these."""
    import os

    from ground.adapters.stream_transport import StreamTransport
    from ground.adapters.udp_transport import LtpTransport, UdpTransport
    from protocols.dtn.ltp_engine import LtpEngine
    from protocols.dtn.ltp_parameters import LtpParameters
    from protocols.dtn.simple_layers import Framing

    made: list[BundleTransport] = []
    for layer, (listen, addresses) in settings.others.items():
        if layer == "udp":
            made.append(UdpTransport(listen or ("0.0.0.0", 0), addresses))
        else:
            made.append(StreamTransport(Framing(layer), listen=listen, connect=addresses))
    for link in settings.ltp:
        here = settings.node.node.node_number or 0
        parameters = LtpParameters(one_way_light_time_s=link.owlt_s)
        engine = LtpEngine(here, link.neighbour, parameters, entropy=os.urandom(32))
        made.append(LtpTransport(engine, link.neighbour, link.listen, link.connect))
    return made


def _tls_context(files: TlsFiles, server: bool) -> ssl.SSLContext:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Names of hosts say nothing of a node: its certificate names its node id, which is compared.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    check_secret(Path(files.key))
    try:
        context.load_cert_chain(files.certificate, files.key)
        context.load_verify_locations(files.authority)
    except (OSError, ssl.SSLError) as error:
        raise LocalError(
            f"TLS: {files.certificate}, {files.key}, {files.authority}: {error}"
        ) from error
    return context


def link_counters(loop: RelayLoop) -> dict[str, int]:
    """Links of a bundle node to its neighbours, by state."""
    states = [link.state for transport in loop.transports for link in transport.statistics()]
    return {f"links_{state.lower()}": states.count(state) for state in LinkState}


def run_standalone(
    settings: RelaySettings, stop: Stop, said: Callable[[str], None] | None = None
) -> None:
    """`l4 relay node`: a node of its own, seen by /metrics, /healthz and systemd's watchdog."""
    from ground.adapters.clock import ScaledClock
    from ground.status import StatusReporter
    from ground.wiring import observed_at
    from protocols.bus.envelope import Envelope
    from protocols.bus.messages import ServiceState

    clock = ScaledClock.wall()
    if settings.keyring is not None:
        settings.keyring.own()
    with observed_at(settings.identity, settings.store, settings.metrics, clock) as seen:
        status = StatusReporter(settings.identity, clock)

        def tell(state: ServiceState, detail: str, counters: dict[str, int]) -> None:
            status.state, status.detail = state, detail
            message = status.message(counters)
            body = message.build()
            seen.published(Envelope(status.topic, settings.identity, "", -1, message.time_ns, body))

        def turn(loop: RelayLoop) -> None:
            if not status.due:
                return
            node = loop.node
            counters = {
                **link_counters(loop),
                "forwarded": node.counts.forwarded,
                "duplicates": node.counts.duplicates,
                "held": len(node.held),
            }
            detail = loop.disk_error or f"{len(node.held):,} bundles held"
            tell(ServiceState.RUNNING, detail, counters)

        tell(ServiceState.RECOVERING, "", {})
        run_node(settings, stop, clock, said=said, each_turn=turn, keyring=settings.keyring)
        tell(ServiceState.STOPPED, "", {})


def run_node(
    settings: RelaySettings,
    stop: Stop,
    clock: Clock | None = None,
    transports: Sequence[BundleTransport] = (),
    said: Callable[[str], None] | None = None,
    each_turn: Callable[[RelayLoop], None] | None = None,
    sync: bool = True,
    keyring: Keyring | None = None,
) -> None:
    """A bundle node until `stop`: `l4 relay node`, and the `relay` service.

    transports: beside TCPCL.  LocalError: it cannot start as configured.
    """
    from ground.adapters.bundle_log import BundleLog
    from ground.adapters.clock import ScaledClock
    from ground.relay.agents import ZmqApplications
    from ground.relay.loop import RelayLoop, links_of
    from ground.relay.settings import load_relay_settings
    from ground.relay.warming import warm
    from protocols.dtn.node import Node
    from protocols.dtn.routing import Router

    clock = clock or ScaledClock.wall()
    warm()
    now_ns = clock.now_ns()
    log = BundleLog(settings.store, sync=sync)
    try:
        node = Node(
            settings.node,
            Router(settings.node.node.node_number or 0, settings.plan, settings.owlt_margin),
            log,
            now_ns,
            recovered=log.recovered(),
            seen=log.seen(now_ns),
            next_ref=log.next_ref,
        )

        def reread() -> tuple[NodeSettings, ContactPlan]:
            fresh = load_relay_settings(settings.path)
            return fresh.node, fresh.plan

        applications = ZmqApplications(
            settings.applications, node, clock, reread=reread, keyring=keyring
        )
        loop = RelayLoop(
            node,
            log,
            [*transports, tcpcl_transport(settings), *_other_transports(settings)],
            clock,
            applications=applications,
            said=said,
        )
        applications.when_durable = loop.when_durable
        applications.links = lambda: links_of(loop)
        turn = None if each_turn is None else lambda: each_turn(loop)
        loop.run(stop, turn)
    finally:
        log.close()
