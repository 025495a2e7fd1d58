"""Which adapter stands behind which port: the one place that knows both.

settings = load_settings(run_dir)
bus = open_viewer(settings, "l4-watch")       for whoever only looks
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ground.config import JOURNALING, RECEIVE, RunSettings
from ground.keyring import Keyring, person
from ground.ports import Bus, Clock, Dictionaries, Link, Message, StateStore
from protocols.bus.access import role_of
from protocols.errors import LocalError, ProtocolError
from protocols.identifiers import Topic, VirtualChannel
from protocols.telemetry.declaration import Dictionary

if TYPE_CHECKING:
    from ground.archive.parquet_sink import ParquetSink
    from ground.archive.sink import ArchiveSink
    from ground.observed import Observed
    from ground.receive.profile import LinkProfile
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
            most_octets=settings.journal_most_octets,
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
        needed_by={topic: settings.needed_by(service, topic) for topic in journals},
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
    if settings.radio_of(receiver):
        from ground.wiring_radio import open_radio_link

        return open_radio_link(settings, profile, open_clock(settings), receiver)
    from ground.adapters.zmq_link import ZmqLink

    keyring = open_keyring(settings, receiver)
    name = settings.link_name_of(receiver)
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


@contextmanager
def observed(settings: RunSettings, service: str, clock: Clock) -> Iterator[Observed]:
    """The service's /metrics and /healthz are served, and its supervisor is told.

    LocalError: its port is taken.
    """
    with observed_at(service, settings.run_dir, settings.metrics_of(service), clock) as one:
        yield one


@contextmanager
def observed_at(
    service: str, directory: Path, address: tuple[str, int] | None, clock: Clock
) -> Iterator[Observed]:
    """Of what works in a directory; address: None: its supervisor alone is told."""
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
    one = Observed(service, directory, clock, notifier, told)
    pages = {
        "/metrics": lambda: Page(200, CONTENT_TYPE, one.metrics()),
        "/healthz": healthz,
    }
    server = Exposition(*address, pages) if address is not None else None
    try:
        yield one
    finally:
        if server is not None:
            server.close()
        notifier.close()
        if traces is not None:
            traces.close()


def with_bus(service: str, settings: RunSettings, work: Callable[[Bus, Clock], None]) -> None:
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
