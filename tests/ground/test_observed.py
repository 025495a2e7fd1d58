"""Health, heartbeat and metrics of a service, from what it publishes."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ground.adapters.clock import ScaledClock
from ground.metrics import COUNTERS, EACH, HELP, Sample, exposition
from ground.observed import Observed
from ground.ports import Message
from protocols.bus.messages import (
    LinkMessage,
    Pass,
    PassesMessage,
    Position,
    ServiceState,
    StatusMessage,
)

HOUR_NS = 3_600 * 10**9


class Told:
    """A supervisor's end."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def tell(self, *lines: str) -> bool:
        self.lines += lines
        return True


def status(state: ServiceState, detail: str = "", **counters: int) -> Message:
    position = Position("packets", "receive", "j", 3, 10)
    body = StatusMessage(
        "monitor", state, 0, 0, 1, 1, detail, 2_500_000_000, (position,), counters
    ).build()
    return Message("status.monitor", "monitor", "", -1, 0, body)


def values(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """As the client library of Prometheus reads it."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def key(name: str, /, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset({"service": "monitor", **labels}.items())


def test_health_follows_state_and_heartbeat(tmp_path: Path) -> None:
    told = Told()
    one = Observed("monitor", tmp_path, ScaledClock.wall(), told, heartbeat_s=0.2)
    assert one.health()["reason"] == "starting"
    one.published(status(ServiceState.RECOVERING, "catching up"))
    assert one.health()["reason"] == "recovering: catching up"
    assert not one.healthz_text()[0]
    one.published(status(ServiceState.RUNNING))
    assert one.health()["healthy"]
    time.sleep(0.3)
    assert "has not turned for 0.3 s, 0.2 s allowed" in one.health()["reason"]
    one.published(status(ServiceState.RUNNING))
    assert one.healthz_text()[0]
    one.published(status(ServiceState.STOPPED))
    assert one.health()["reason"] == "stopped"
    assert told.lines == [
        *("WATCHDOG=1", "STATUS=recovering: catching up"),
        *("WATCHDOG=1", "READY=1", "STATUS=running"),
        *("WATCHDOG=1",),
        *("WATCHDOG=1", "STOPPING=1", "STATUS=stopped"),
    ]


def test_metrics_are_what_was_published(tmp_path: Path) -> None:
    clock = ScaledClock.wall()
    one = Observed("monitor", tmp_path, clock, Told())
    now_ns = clock.now_ns()
    one.published(status(ServiceState.RUNNING, values=7, stale=2, bus_lost=1, novelty=4))
    link = LinkMessage(
        link='down"link\\1',
        time_ns=now_ns,
        state="OK",
        detail="",
        owlt_s=499.5,
        virtual_channels={"0": {"frames": 12, "missing": 1, "packets": 30}},
        counts={"sync": {"frames": 13}, "capture": {"octets": 99}},
    )
    one.published(Message("link", "monitor", "", -1, 0, link.build()))
    on = Pass(now_ns - 1, now_ns + HOUR_NS, "a", "l4", "Yeoju", "YEOJU", now_ns - 1,
              now_ns + HOUR_NS, now_ns - 1, now_ns + HOUR_NS)  # fmt: skip
    passes = PassesMessage("l4", 1, now_ns, now_ns, now_ns + HOUR_NS, (on,))
    one.published(Message("passes", "monitor", "", -1, 0, passes.build()))
    found = values(one.metrics())
    assert found[key("l4_monitor_values_total")] == 7
    assert found[key("l4_monitor_stale_definitions")] == 2
    assert found[key("l4_bus_messages_total", fate="lost")] == 1
    # Nothing is lost for want of a name.
    assert found[key("l4_status_counter", name="novelty")] == 4
    assert found[key("l4_service_state", state="running")] == 1
    assert found[key("l4_service_state", state="failed")] == 0
    assert found[key("l4_service_lag_seconds")] == 2.5
    assert found[key("l4_service_behind_messages", topic="packets", source="receive")] == 7
    assert found[key("l4_receive_frames_total", link='down"link\\1', vcid="0")] == 12
    assert found[key("l4_receive_frames_missing_total", link='down"link\\1', vcid="0")] == 1
    assert found[key("l4_link_light_time_seconds", link='down"link\\1')] == 499.5
    assert found[key("l4_capture_bytes", link='down"link\\1')] == 99
    assert found[key("l4_pass_active", antenna="YEOJU")] == 1
    assert found[key("l4_pass_uplink_open")] == 1
    assert 0 < found[key("l4_disk_free_bytes")] <= found[key("l4_disk_size_bytes")]
    assert found[key("process_resident_memory_bytes")] > 1e7
    assert found[key("process_open_fds")] >= 3


@pytest.mark.parametrize("value", [0, True, 12345678901234567, 0.1, math.inf])
def test_numbers_and_labels_as_the_client_library_reads_them(value: float) -> None:
    text = exposition([Sample("l4_commands", value, {"state": 'a"\\\n'})], service="monitor")
    assert values(text) == {key("l4_commands", state='a"\\\n'): value}
    assert ("+Inf" in text) == (value == math.inf)


def test_every_counter_has_its_metric_described() -> None:
    named = [spec.partition(" ")[0] for names in COUNTERS.values() for spec in names.values()]
    named += [name for name, _label, _unit in EACH.values()]
    assert set(named) <= set(HELP)
    for name, text in HELP.items():
        # Prometheus: base units, `_total` for counters alone.
        assert name.startswith(("l4_", "process_")), name
        assert not name.endswith(("_ms", "_ns", "_octets", "_count")), name
        assert text.endswith("."), name


def link_status(state: str, topic: str = "link", **more) -> Message:
    link = LinkMessage("yeoju", 0, state, "no word", **more)
    return Message(topic, "receive", "", -1, 0, link.build())


@pytest.mark.parametrize(
    ("state", "well"), [("OK", True), ("DISABLED", True), ("UNAVAILABLE", False), ("FAILED", False)]
)
def test_a_link_that_is_lost_is_not_healthy(tmp_path: Path, state: str, well: bool) -> None:
    """No pass is no reason: the station answers then, too, and the link is OK without a carrier."""
    one = Observed("receive.yeoju", tmp_path, ScaledClock.wall(), Told(), heartbeat_s=0.2)
    one.published(status(ServiceState.RUNNING))
    one.published(link_status(state, "link.yeoju", carrier=False))
    assert one.health()["healthy"]  # a moment is not yet a loss
    time.sleep(0.25)
    one.published(status(ServiceState.RUNNING))
    one.published(link_status(state, "link.yeoju", carrier=False))
    health = one.health()
    assert health["healthy"] == well, health
    assert well or f"link yeoju {state} for 0." in health["reason"]
    one.published(link_status("OK", "link.yeoju"))
    assert one.health()["healthy"]


def test_a_link_that_is_told_of_no_more_is_not_ok(tmp_path: Path) -> None:
    """`receive` of several antennas passes on what their receivers say, until none says it."""
    one = Observed("receive", tmp_path, ScaledClock.wall(), Told(), heartbeat_s=0.1)
    one.published(link_status("OK", carrier=True))
    time.sleep(0.15)
    one.published(status(ServiceState.RUNNING))
    assert "link yeoju UNAVAILABLE for 0." in one.health()["reason"]
    lines = one.metrics().splitlines()
    assert 'l4_link_state{service="receive",link="yeoju",state="OK"} 0' in lines
    assert 'l4_link_carrier_locked{service="receive",link="yeoju"} 0' in lines


def test_a_link_that_has_never_brought_anything_is_silent_since_the_start(tmp_path: Path) -> None:
    clock = ScaledClock.wall()
    one = Observed("receive", tmp_path, clock, Told())
    time.sleep(0.05)
    one.published(link_status("OK"))
    found = values(one.metrics())
    silence = found[
        "l4_link_silence_seconds", frozenset({("service", "receive"), ("link", "yeoju")})
    ]
    assert 0.05 <= silence < 30


def test_an_antennas_receiver_has_the_metrics_of_a_receiver(tmp_path: Path) -> None:
    one = Observed("receive.yeoju", tmp_path, ScaledClock.wall(), Told())
    body = StatusMessage("receive.yeoju", ServiceState.RUNNING, 0, 0, 1, 1, counters={"packets": 5})
    one.published(Message("status.receive.yeoju", "receive.yeoju", "", -1, 0, body.build()))
    found = values(one.metrics())
    labels = frozenset({("service", "receive.yeoju")})
    assert found["l4_receive_packets_total", labels] == 5


def test_each_antenna_and_receiver_of_several_has_its_sample(tmp_path: Path) -> None:
    """Alerts ask for these: one that is never told would never fire."""
    one = Observed("receive", tmp_path, ScaledClock.wall(), Told())
    one.published(
        status(
            ServiceState.RUNNING,
            **{"alive dsn": 0, "transmits yeoju": 1, "hears dsn": 0},
            **{"frame_lock l4-radio": 1, "ebn0_millidecibels l4-radio": 4250},
        )
    )
    found = values(one.metrics())
    told = {name: (dict(labels), value) for (name, labels), value in found.items()}
    assert told["l4_antenna_alive"][0]["antenna"] == "dsn"
    assert told["l4_antenna_alive"][1] == 0
    assert told["l4_antenna_transmits"][0]["antenna"] == "yeoju"
    assert told["l4_antenna_transmits"][1] == 1
    assert told["l4_antenna_hears"][0]["antenna"] == "dsn"
    assert told["l4_radio_frame_locked"][1] == 1
    assert told["l4_radio_ebn0_decibels"][0]["receiver"] == "l4-radio"
    assert told["l4_radio_ebn0_decibels"][1] == 4.25
    assert "l4_status_counter" not in told
