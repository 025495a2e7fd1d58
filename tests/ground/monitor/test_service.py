"""A monitor that ends at any instant and starts again tells everything once and in order."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgpack
import numpy as np
import pytest
from construct import Int16sb

from ground import status as ground_status
from ground.adapters.journal import FileJournal
from ground.adapters.loopback import LoopbackBus, LoopbackExchange
from ground.adapters.state_file import StateFile
from ground.monitor import service
from ground.monitor.decoding import Decoder
from ground.monitor.service import MonitorService
from ground.ports import Message
from protocols.bus.messages import (
    EventKind,
    EventMessage,
    PacketsMessage,
    ParametersMessage,
    Pass,
    PassesMessage,
    ServiceState,
    Severity,
    StatusMessage,
    parse,
)
from protocols.dictionary.l4_fields import SCET
from protocols.errors import LocalError
from protocols.identifiers import Topic
from protocols.packets.batch import PacketBatch
from protocols.telemetry.declaration import Dictionary, PacketDefinition, Parameter
from protocols.telemetry.limits import Limits

S = 1_000_000_000
T0 = 2_000_000_000 * S
DICTIONARY = Dictionary(
    "TEST",
    (
        PacketDefinition(
            "HK",
            1,
            (SCET, Parameter("V", Int16sb, "V", None, Limits((0, 9), None, 2))),
            time="SCET",
        ),
    ),
)


class WorldClock:
    """Set by the test."""

    def __init__(self) -> None:
        self.t_ns = T0

    def now_ns(self) -> int:
        return self.t_ns

    def wall_seconds(self, world_seconds: float) -> float:
        return world_seconds


class Crash(Exception):
    pass


class Site:
    """receive's journal, and a monitor that can be made to die at its n-th publication."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.exchange = LoopbackExchange()
        self.clock = WorldClock()
        journals = {"packets": FileJournal(directory / "packets")}
        self.receive = LoopbackBus("receive", self.exchange, journals)
        self.packets = 0

    def send(self, *values: int) -> None:
        packets = [
            DICTIONARY.encode("HK", {"SCET": T0 + (self.packets + i) * S, "V": value})
            for i, value in enumerate(values)
        ]
        ert_ns = [T0 + (499 + self.packets + i) * S for i in range(len(values))]
        body = PacketsMessage(
            "l",
            PacketBatch.from_packets(packets, ert_ns=ert_ns),
            np.zeros(len(values), bool),
            ert_ns[-1],
            self.packets,
        ).build()
        self.packets += len(values)
        self.receive.publish("packets", body, time_ns=0)

    def run(self, turns: int, *, die_at: int | None = None) -> None:
        """`die_at`: n-th publication that the journal does not take; afterwards n + 0.5 is one
        that it has taken, with the process gone before anybody heard."""
        journals = {
            topic: FileJournal(self.directory / topic) for topic in ("parameters", "events")
        }
        bus = DyingBus("monitor", self.exchange, journals, die_at)
        monitor = MonitorService(
            Decoder(DICTIONARY),
            bus,
            self.clock,
            StateFile(self.directory / "monitor.state"),
            service="monitor",
            source="receive",
        )
        counter = itertools.count()
        try:
            monitor.run(lambda: next(counter) >= turns)
        except Crash:
            pass
        finally:
            bus.close()

    def told(self, topic: str) -> list[Message]:
        journal = {topic: FileJournal(self.directory / topic)}
        bus = LoopbackBus("reader", self.exchange, journal)
        try:
            return list(bus.history(topic, 0))
        finally:
            bus.close()

    def outcome(self) -> tuple[list[tuple[int, int]], list[tuple[str, str]]]:
        """Everything told, (packet, value) and (kind, text), however it was parted in messages."""
        parameters: list[tuple[int, int]] = []
        before = -1
        for message in self.told("parameters"):
            body = parse(ParametersMessage, message.body)
            assert body.sequence > before
            assert body.first_row == len(parameters)
            before = body.sequence
            for table in body.tables:
                values = table.column("V").engineering
                assert isinstance(values, np.ndarray)
                parameters += zip(table.packet.tolist(), values.tolist(), strict=True)
        events: list[tuple[str, str]] = []
        for message in self.told("events"):
            told = parse(EventMessage, message.body)
            assert told.first_event == len(events)
            events += [(event.kind, event.text) for event in told.events]
        return parameters, events


class DyingBus(LoopbackBus):
    def __init__(
        self,
        source: str,
        exchange: LoopbackExchange,
        journals: dict[str, FileJournal],
        die_at: int | None,
    ) -> None:
        super().__init__(source, exchange, journals)
        self._die_at = die_at
        self._journaled = 0

    def publish(self, topic: str, body: bytes, *, time_ns: int) -> int:
        if topic not in ("parameters", "events"):
            return super().publish(topic, body, time_ns=time_ns)
        self._journaled += 1
        if self._die_at is not None and 2 * self._journaled == self._die_at:
            raise Crash
        sequence = super().publish(topic, body, time_ns=time_ns)
        if self._die_at is not None and 2 * self._journaled + 1 == self._die_at:
            raise Crash
        return sequence


@pytest.fixture(params=[0, 100, 1 << 20], ids=["one by one", "some together", "all together"])
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "TOGETHER_OCTETS", request.param)
    monkeypatch.setattr(service, "TURN_S", 0.0)
    monkeypatch.setattr(service, "GRACE_S", 0.0)
    monkeypatch.setattr(ground_status, "CONNECTING_S", 0.0)


VALUES = [(5, 5), (12,), (13, 5, 14), (15,), (-3, -4), (5,), (5, 5)]


@pytest.mark.usefixtures("quick")
def test_dying_at_any_publication_changes_nothing_that_is_told(tmp_path: Path) -> None:
    whole = Site(tmp_path / "whole")
    for values in VALUES:
        whole.send(*values)
    whole.run(3)
    expected = whole.outcome()
    assert [value for _, value in expected[0]] == [value for values in VALUES for value in values]
    assert [kind for kind, _ in expected[1]] == [EventKind.LIMIT] * 3
    for die_at in range(2, 2 * (len(VALUES) + 3) + 2):
        site = Site(tmp_path / str(die_at))
        for values in VALUES[:4]:
            site.send(*values)
        site.run(2, die_at=die_at)
        for values in VALUES[4:]:
            site.send(*values)
        # It dies once more soon after the restart.
        site.run(2, die_at=3)
        site.run(3)
        assert site.outcome() == expected, die_at


@pytest.mark.usefixtures("quick")
def test_a_clean_end_and_a_lost_snapshot_change_nothing_either(tmp_path: Path) -> None:
    whole, site = Site(tmp_path / "whole"), Site(tmp_path / "site")
    for number, values in enumerate(VALUES):
        whole.send(*values)
        site.send(*values)
        if number == 4:
            (site.directory / "monitor.state").unlink()
        site.run(2)
    whole.run(2)
    assert site.outcome() == whole.outcome()


@pytest.mark.usefixtures("quick")
def test_a_snapshot_of_noise_is_no_snapshot(tmp_path: Path) -> None:
    whole, site = Site(tmp_path / "whole"), Site(tmp_path / "site")
    for target in (whole, site):
        for values in VALUES[:3]:
            target.send(*values)
        target.run(2)
    path = site.directory / "monitor.state"
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 1
    path.write_bytes(octets)
    for target in (whole, site):
        for values in VALUES[3:]:
            target.send(*values)
        target.run(2)
    assert site.outcome() == whole.outcome()


@pytest.mark.usefixtures("quick")
def test_what_went_stale_is_told_once_over_restarts(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.send(*[5] * 10)
    site.clock.t_ns = T0 + 508 * S
    site.run(2)
    site.clock.t_ns = T0 + 600 * S
    site.run(3)
    site.run(3)
    (site.directory / "monitor.state").unlink()
    site.run(3)
    kinds = [kind for kind, _ in site.outcome()[1]]
    assert kinds == [EventKind.STALE]
    (site.directory / "monitor.state").unlink()
    site.send(5)
    site.clock.t_ns = T0 + 510 * S
    site.run(3)
    kinds = [kind for kind, _ in site.outcome()[1]]
    assert kinds == [EventKind.STALE, EventKind.FRESH]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("los_s", "severity"), [(508, Severity.INFO), (900, Severity.WARNING)])
def test_silence_after_a_pass_is_no_reason_to_be_alarmed(
    tmp_path: Path, los_s: int, severity: Severity
) -> None:
    site = Site(tmp_path)
    aos, los = T0, T0 + los_s * S
    one = Pass(aos, los, "p", "L4 relay", "Yeoju", "YEOJU", aos, los, aos, los)
    body = PassesMessage("l4", 1, T0, T0, los, (one,)).build()
    site.receive.publish(Topic.PASSES, body, time_ns=T0)
    site.send(*[5] * 10)
    site.clock.t_ns = T0 + 508 * S
    site.run(2)
    site.clock.t_ns = T0 + 600 * S
    site.run(3)
    events = [e for m in site.told("events") for e in parse(EventMessage, m.body).events]
    assert [(e.kind, e.severity) for e in events] == [(EventKind.STALE, severity)]
    assert ("no pass" in events[0].text) is (severity is Severity.INFO)


@pytest.mark.usefixtures("quick")
def test_a_message_that_is_none_is_stepped_over(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.send(5)
    site.receive.publish("packets", b"noise", time_ns=0)
    site.send(6)
    site.run(2)
    assert [value for _, value in site.outcome()[0]] == [5, 6]
    status = parse(StatusMessage, site.exchange.last[f"{Topic.STATUS}.monitor"].body)
    assert status.counters["malformed"] == 1
    assert status.state == ServiceState.STOPPED
    assert status.positions[0].lag == 0


def test_a_journal_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    site = Site(tmp_path)
    bus = LoopbackBus("old", site.exchange, {"parameters": FileJournal(tmp_path / "parameters")})
    bus.publish("parameters", msgpack.packb(["ParametersMessage", 1, {}]), time_ns=0)
    bus.close()
    with pytest.raises(LocalError, match=r"version 1, ParametersMessage version 3.*run directory"):
        site.run(1)
