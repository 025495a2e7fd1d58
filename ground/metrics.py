"""Prometheus metrics of a service, made of what it says on the bus anyway, and of its process.

samples = [*status_samples(status), *link_samples(link, now_ns), *process_samples(run_dir)]
exposition(samples, service="receive")        -> text, format 0.0.4

A name that ends in `_total` is a counter, any other a gauge; `HELP` says what each means.
Names, units and labels follow Prometheus: seconds, bytes (of eight bits).  Intervals are the
world's: at `--speed 60` a lag of a minute lasts a second on the wall.
"""

from __future__ import annotations

import math
import os
import resource
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

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
)
from ground.ports import LinkState
from ground.status import resident_octets
from protocols.bus.access import role_of
from protocols.bus.messages import (
    LinkMessage,
    PassesMessage,
    ServiceState,
    StatusMessage,
    TimeMessage,
)

#: What `/metrics` answers with.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Sample(NamedTuple):
    name: str
    value: float
    labels: Mapping[str, str] = {}


HELP: Mapping[str, str] = {
    "l4_build_info": "Version of the software; always 1.",
    "l4_service_state": "1 for the state that the service is in, 0 for the others.",
    "l4_service_healthy": "Whether /healthz says 200: running, and its loop turns.",
    "l4_service_heartbeat_age_seconds": "Wall time since the service's loop said how it is.",
    "l4_service_lag_seconds": "Age of the newest input finished.",
    "l4_service_behind_messages": "Messages of a followed journal that are not finished yet.",
    "l4_bus_messages_total": "Messages at this service's end of the bus, by what became of them.",
    "l4_bus_published_bytes_total": "Bodies of the messages published.",
    "l4_broker_messages_total": "Messages forwarded by the broker.",
    "l4_broker_bytes_total": "Octets forwarded by the broker.",
    "l4_broker_subscriptions_total": "Subscriptions seen by the broker.",
    "l4_broker_repeated_total": "Last values given to late joiners.",
    "l4_broker_forbidden_total": "Messages that their sender's role may not publish.",
    "l4_broker_refused_total": "Connections to the broker with a key that is not trusted, or none.",
    "l4_broker_unreadable_total": "Subscriptions to what their sender's role may not read.",
    "l4_broker_retained_messages": "Topics whose last value the broker keeps.",
    "l4_malformed_messages_total": "Messages that could not be parsed.",
    "l4_receive_packets_total": "Packets in the journal.",
    "l4_receive_idle_packets_total": "Idle packets, not journaled.",
    "l4_receive_repeated_packets_total": "Packets decoded again after a restart.",
    "l4_receive_opaque_zones_total": "Data zones of frames that hold no packets.",
    "l4_receive_merged_packets_total": "Packets that another antenna had brought, or came late.",
    "l4_receive_behind_bytes": "Captured and not decoded yet.",
    "l4_receive_uplink_total": "Messages to be radiated, by whether the station took them.",
    "l4_receive_told_anew_total": "Messages of an antenna's journal that was made again.",
    "l4_antenna_alive": "Whether the receiver of an antenna says how its link is.",
    "l4_antenna_hears": "Whether an antenna hears the spacecraft.",
    "l4_antenna_transmits": "1 for the antenna that is given what goes up, 0 for the others.",
    "l4_radio_frame_locked": "Whether a receiver of I/Q, of the site or shown, finds sync markers.",
    "l4_radio_ebn0_decibels": "Eb/N0 that such a receiver sees.",
    "l4_receive_frames_total": "Good transfer frames by virtual channel.",
    "l4_receive_frames_missing_total": "Frames missing in the count of a virtual channel.",
    "l4_receive_channel_total": "Other counts of a virtual channel.",
    "l4_receive_stage_total": "Counts of the receive chain's stages.",
    "l4_link_state": "1 for the state of the adapter of the link, 0 for the others.",
    "l4_link_carrier_locked": "Whether the receiver is locked on the carrier.",
    "l4_link_light_time_seconds": "One-way light time that the station reports.",
    "l4_link_silence_seconds": "Since the Earth receive time of the last chunk, or the start.",
    "l4_capture_bytes": "Length of the capture file that is being written.",
    "l4_monitor_packets_total": "Packets seen, by what became of them.",
    "l4_monitor_values_total": "Parameter values decoded.",
    "l4_monitor_rows_total": "Packets decoded into rows of parameters.",
    "l4_monitor_limit_transitions_total": "Limit transitions found.",
    "l4_monitor_events_total": "Events told.",
    "l4_monitor_stale_definitions": "Packet definitions that have stopped coming.",
    "l4_archive_packets_total": "Packets archived, by what became of them.",
    "l4_archive_samples_total": "Parameter samples archived.",
    "l4_archive_samples_without_scet_total": "Samples archived without a spacecraft time.",
    "l4_archive_events_total": "Events archived.",
    "l4_archive_commits_total": "Transactions of the archive.",
    "l4_archive_compactions_total": "Steps of compaction done.",
    "l4_archive_lag_seconds": "Age of the newest packet that the archive has committed.",
    "l4_schedule_version": "Publication of the schedule in force.",
    "l4_schedule_passes_ahead": "Published passes that have not ended.",
    "l4_pass_active": "1 while the spacecraft is in a pass over this antenna.",
    "l4_pass_uplink_open": "Whether the station may transmit now.",
    "l4_pass_next_seconds": "Until the next pass begins.",
    "l4_commands": "Requests to the spacecraft by where they are.",
    "l4_command_unanswered_radiations": "Radiations whose fate the station has not told yet.",
    "l4_command_out_of_step": "1 after a restore, until all numbers are the spacecraft's again.",
    "l4_procedure_runs": "Procedure runs by state.",
    "l4_file_transfers": "File transfers that go on.",
    "l4_file_pdus_total": "CFDP PDUs by what became of them.",
    "l4_timing_reports_total": "Time reports by what became of them.",
    "l4_timing_outliers_total": "Time reports set aside that no jump explained.",
    "l4_timing_segments": "Spans in which the on-board clock ran without being set.",
    "l4_timing_offset_seconds": "On-board clock minus TAI.",
    "l4_timing_error_seconds": "Greatest error of the offset.",
    "l4_timing_report_age_seconds": "Age of the last time report used.",
    "l4_relay_bundles_held": "Bundles that wait for a contact.",
    "l4_relay_bundles_total": "Bundles of the site's node by what became of them.",
    "l4_relay_uplink_total": "Radiations for the payload, by what became of them.",
    "l4_relay_links": "Links of a bundle node to its neighbours, by state.",
    "l4_centre_bundles_total": "Bundles at their destination.",
    "l4_centre_repeated_total": "Bundles that came again.",
    "l4_console_refused_total": "Sign-ins refused: a wrong name or password, or too many.",
    "l4_console_browsers": "Open live streams.",
    "l4_alarms": "Alarms that are not normal, by state (ISA-18.2).",
    "l4_alarms_critical": "Critical alarms among them.",
    "l4_mqtt_messages_total": "Messages to the MQTT broker by what became of them.",
    "l4_mqtt_waiting_messages": "Messages that wait to be sent.",
    "l4_mqtt_unacknowledged_messages": "Messages that the broker has not acknowledged.",
    "l4_mqtt_connections_total": "Connections made to the broker.",
    "l4_status_counter": "A counter of the service's status that has no name of its own here.",
    "l4_disk_free_bytes": "Room on the file system of the run directory, for who is not root.",
    "l4_disk_size_bytes": "Size of the file system of the run directory.",
    "process_cpu_seconds_total": "CPU time of the process.",
    "process_resident_memory_bytes": "Memory of the process that is in RAM.",
    "process_open_fds": "Open file descriptors.",
    "process_max_fds": "Limit of open file descriptors.",
    "process_start_time_seconds": "Start of the process, Unix time.",
}

_LINKS = {f"links_{state.lower()}": f"l4_relay_links state={state}" for state in LinkState}
#: service → counter of its status → metric, with its label.
COUNTERS: Mapping[str, Mapping[str, str]] = {
    BUS: {
        "messages": "l4_broker_messages_total",
        "octets": "l4_broker_bytes_total",
        "subscriptions": "l4_broker_subscriptions_total",
        "repeated": "l4_broker_repeated_total",
        "malformed": "l4_malformed_messages_total",
        "forbidden": "l4_broker_forbidden_total",
        "refused": "l4_broker_refused_total",
        "unreadable": "l4_broker_unreadable_total",
        "retained": "l4_broker_retained_messages",
    },
    RECEIVE: {
        "packets": "l4_receive_packets_total",
        "idle_packets": "l4_receive_idle_packets_total",
        "repeated_packets": "l4_receive_repeated_packets_total",
        "opaque_zones": "l4_receive_opaque_zones_total",
        "behind_octets": "l4_receive_behind_bytes",
        "uplink_taken": "l4_receive_uplink_total fate=taken",
        "uplink_dropped": "l4_receive_uplink_total fate=dropped",
        # Of several antennas.
        "duplicates": "l4_receive_merged_packets_total fate=duplicate",
        "late": "l4_receive_merged_packets_total fate=late",
        "told_anew": "l4_receive_told_anew_total",
        "malformed": "l4_malformed_messages_total",
    },
    MONITOR: {
        "packets": "l4_monitor_packets_total fate=decoded",
        "playback": "l4_monitor_packets_total fate=playback",
        "undefined": "l4_monitor_packets_total fate=undefined",
        "wrong_length": "l4_monitor_packets_total fate=wrong_length",
        "packets_offered": "l4_monitor_packets_total fate=offered",
        "packets_sampled": "l4_monitor_packets_total fate=sampled",
        "values": "l4_monitor_values_total",
        "rows": "l4_monitor_rows_total",
        "transitions": "l4_monitor_limit_transitions_total",
        "events": "l4_monitor_events_total",
        "malformed": "l4_malformed_messages_total",
        "stale": "l4_monitor_stale_definitions",
    },
    ARCHIVE: {
        "packets": "l4_archive_packets_total fate=stored",
        "duplicates": "l4_archive_packets_total fate=duplicate",
        "conflicts": "l4_archive_packets_total fate=conflict",
        "copies": "l4_archive_packets_total fate=copy",
        "undefined": "l4_archive_packets_total fate=undefined",
        "wrong_length": "l4_archive_packets_total fate=wrong_length",
        "packets_offered": "l4_archive_packets_total fate=offered",
        "packets_sampled": "l4_archive_packets_total fate=sampled",
        "samples": "l4_archive_samples_total",
        "samples_without_scet": "l4_archive_samples_without_scet_total",
        "events": "l4_archive_events_total",
        "commits": "l4_archive_commits_total",
        "malformed": "l4_malformed_messages_total",
        "compactions": "l4_archive_compactions_total",
    },
    SCHEDULING: {
        "version": "l4_schedule_version",
        "passes_ahead": "l4_schedule_passes_ahead",
    },
    COMMAND: {
        "on_stack": "l4_commands state=on_stack",
        "waiting": "l4_commands state=waiting",
        "held": "l4_commands state=held",
        "under_way": "l4_commands state=under_way",
        "unknown": "l4_commands state=unknown",
        "unanswered_radiations": "l4_command_unanswered_radiations",
        "out_of_step": "l4_command_out_of_step",
        "runs": "l4_procedure_runs state=active",
        "runs_asking": "l4_procedure_runs state=asking",
        "runs_broken": "l4_procedure_runs state=broken",
        "transfers": "l4_file_transfers",
        "heard": "l4_file_pdus_total fate=heard",
        "sent": "l4_file_pdus_total fate=sent",
        "misaddressed": "l4_file_pdus_total fate=misaddressed",
        "ignored": "l4_file_pdus_total fate=ignored",
        "malformed": "l4_malformed_messages_total",
    },
    TIMING: {
        "reports_used": "l4_timing_reports_total fate=used",
        "reports_set_aside": "l4_timing_reports_total fate=set_aside",
        "reports_jump": "l4_timing_reports_total fate=jump",
        "reports_late": "l4_timing_reports_total fate=late",
        "reports_outliers": "l4_timing_outliers_total",
        "segments": "l4_timing_segments",
        "malformed": "l4_malformed_messages_total",
    },
    RELAY: {
        "held": "l4_relay_bundles_held",
        "forwarded": "l4_relay_bundles_total fate=forwarded",
        "duplicates": "l4_relay_bundles_total fate=duplicate",
        "arrived": "l4_relay_bundles_total fate=arrived",
        "uplink_messages": "l4_relay_uplink_total fate=asked",
        "uplink_radiated": "l4_relay_uplink_total fate=radiated",
        "uplink_refused": "l4_relay_uplink_total fate=refused",
        "malformed": "l4_malformed_messages_total",
        **_LINKS,
    },
    # A bundle node of its own (`l4 relay node`).
    "node": {
        "held": "l4_relay_bundles_held",
        "forwarded": "l4_relay_bundles_total fate=forwarded",
        "duplicates": "l4_relay_bundles_total fate=duplicate",
        **_LINKS,
    },
    MISSION_CENTRE: {
        "bundles": "l4_centre_bundles_total",
        "repeated": "l4_centre_repeated_total",
        **_LINKS,
    },
    CONSOLE: {
        "browsers": "l4_console_browsers",
        "refused": "l4_console_refused_total",
        "alarms_unacknowledged": "l4_alarms state=unacknowledged",
        "alarms_acknowledged": "l4_alarms state=acknowledged",
        "alarms_returned": "l4_alarms state=returned",
        "alarms_shelved": "l4_alarms state=shelved",
        "alarms_critical": "l4_alarms_critical",
        "malformed": "l4_malformed_messages_total",
    },
    MQTT_BRIDGE: {
        "published": "l4_mqtt_messages_total fate=published",
        "acknowledged": "l4_mqtt_messages_total fate=acknowledged",
        "waiting": "l4_mqtt_waiting_messages",
        "unacknowledged": "l4_mqtt_unacknowledged_messages",
        "connections": "l4_mqtt_connections_total",
        "malformed": "l4_malformed_messages_total",
    },
}
#: Counters of one each of several: beginning of the name → metric, label, unit of the counter.
EACH: Mapping[str, tuple[str, str, float]] = {
    "alive": ("l4_antenna_alive", "antenna", 1),
    "hears": ("l4_antenna_hears", "antenna", 1),
    "transmits": ("l4_antenna_transmits", "antenna", 1),
    "frame_lock": ("l4_radio_frame_locked", "receiver", 1),
    "ebn0_millidecibels": ("l4_radio_ebn0_decibels", "receiver", 1e-3),
}
#: A service's end of the bus, `ground.status.bus_counters`.
_BUS_PREFIX = "bus_"


def status_samples(status: StatusMessage) -> Iterator[Sample]:
    """State, lag, positions and counters."""
    for state in ServiceState:
        yield Sample("l4_service_state", status.state == state, {"state": state})
    if status.lag_ns >= 0:
        yield Sample("l4_service_lag_seconds", status.lag_ns / 1e9)
        if status.service == ARCHIVE:
            yield Sample("l4_archive_lag_seconds", status.lag_ns / 1e9)
    for position in status.positions:
        labels = {"topic": position.topic, "source": position.source}
        yield Sample("l4_service_behind_messages", position.lag, labels)
    names = COUNTERS.get(role_of(status.service), {})
    for counter, value in status.counters.items():
        if counter in names:
            name, _, label = names[counter].partition(" ")
            yield Sample(name, value, dict([label.split("=")]) if label else {})
        elif (each := EACH.get(counter.partition(" ")[0])) is not None:
            name, label, unit = each
            yield Sample(name, value * unit, {label: counter.partition(" ")[2]})
        elif counter == f"{_BUS_PREFIX}published_octets":
            yield Sample("l4_bus_published_bytes_total", value)
        elif counter.startswith(_BUS_PREFIX):
            fate = counter.removeprefix(_BUS_PREFIX)
            yield Sample("l4_bus_messages_total", value, {"fate": fate})
        else:
            yield Sample("l4_status_counter", value, {"name": counter})


def link_samples(link: LinkMessage, now_ns: int, since_ns: int) -> Iterator[Sample]:
    """State of the adapter, counts of every stage, and by virtual channel.

    since_ns: when the service began: one that has never heard anything is silent since then.
    """
    named = {"link": link.link}
    for state in LinkState:
        yield Sample("l4_link_state", link.state == state, {**named, "state": state})
    yield Sample("l4_link_carrier_locked", link.carrier, named)
    if link.owlt_s >= 0:
        yield Sample("l4_link_light_time_seconds", link.owlt_s, named)
    heard_ns = link.last_ert_ns or since_ns
    yield Sample("l4_link_silence_seconds", max(0, now_ns - heard_ns) / 1e9, named)
    for stage, counts in link.counts.items():
        if stage == "capture":  # no counts of what happened, but a place in a file
            yield Sample("l4_capture_bytes", counts.get("octets", 0), named)
            continue
        for count, value in counts.items():
            labels = {**named, "stage": stage, "count": count}
            yield Sample("l4_receive_stage_total", value, labels)
    for channel, counts in link.virtual_channels.items():
        labels = {**named, "vcid": channel}
        for count, value in counts.items():
            if count == "frames":
                yield Sample("l4_receive_frames_total", value, labels)
            elif count == "missing":
                yield Sample("l4_receive_frames_missing_total", value, labels)
            else:
                yield Sample("l4_receive_channel_total", value, {**labels, "count": count})


def passes_samples(passes: PassesMessage, now_ns: int) -> Iterator[Sample]:
    """Which pass is on; how long until the next."""
    antennas = {p.antenna: p for p in passes.passes if p.los_ns > now_ns}
    on = {p.antenna: p for p in passes.passes if p.receives(now_ns)}
    for antenna in antennas:
        yield Sample("l4_pass_active", antenna in on, {"antenna": antenna})
    yield Sample("l4_pass_uplink_open", any(p.transmits(now_ns) for p in on.values()))
    following = passes.next_after(now_ns)
    if following is not None:
        yield Sample("l4_pass_next_seconds", (following.aos_ns - now_ns) / 1e9)


def time_samples(time: TimeMessage, now_ns: int) -> Iterator[Sample]:
    """The on-board clock."""
    yield Sample("l4_timing_offset_seconds", time.offset_ns / 1e9)
    yield Sample("l4_timing_error_seconds", time.error_ns / 1e9)
    yield Sample("l4_timing_report_age_seconds", max(0, now_ns - time.last_report_ns) / 1e9)


def process_samples(run_dir: Path, started_unix_s: float) -> Iterator[Sample]:
    """Of this process, by the names that client libraries use, and of `run_dir`'s disk."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield Sample("process_cpu_seconds_total", used.ru_utime + used.ru_stime)
    yield Sample("process_resident_memory_bytes", resident_octets())
    yield Sample("process_start_time_seconds", started_unix_s)
    yield Sample("process_max_fds", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    for listing in ("/proc/self/fd", "/dev/fd"):
        if os.path.isdir(listing):
            yield Sample("process_open_fds", len(os.listdir(listing)))
            break
    disk = shutil.disk_usage(run_dir)
    yield Sample("l4_disk_free_bytes", disk.free)
    yield Sample("l4_disk_size_bytes", disk.total)


def exposition(samples: Iterable[Sample], **labels: str) -> str:
    """Prometheus text format 0.0.4; `labels` are given to each sample.

    >>> print(exposition([Sample("l4_commands", 2, {"state": "held"})], service="command"))
    # HELP l4_commands Requests to the spacecraft by where they are.
    # TYPE l4_commands gauge
    l4_commands{service="command",state="held"} 2
    <BLANKLINE>
    """
    families: dict[str, list[Sample]] = {}
    for sample in samples:
        families.setdefault(sample.name, []).append(sample)
    lines: list[str] = []
    for name, members in families.items():
        lines.append(f"# HELP {name} {HELP[name]}")
        lines.append(f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}")
        for sample in members:
            pairs = {**labels, **sample.labels}.items()
            inside = ",".join(f'{key}="{_escaped(value)}"' for key, value in pairs)
            lines.append(f"{name}{{{inside}}} {_number(sample.value)}")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(int(value))  # a truth value, too
    return repr(float(value)) if math.isfinite(value) else f"{value:+}".replace("inf", "Inf")


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
