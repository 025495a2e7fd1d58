"""SLE's adapters beyond the contract: what a provider says, refuses, breaks off; passwords."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ground.adapters.radio.adapter import Adapter, Policy, State
from ground.adapters.radio.link import RadioLink
from ground.adapters.radio.registry import open_adapter
from ground.adapters.radio.sle_association import read_passwords
from ground.adapters.radio.sle_peer import ProviderServer
from ground.ports import LinkState
from ground.receive.capture import CaptureReader, CaptureWriter
from ground.receive.intake import Intake
from protocols.bus.messages import UplinkMessage
from protocols.errors import LocalError
from protocols.identifiers import Carrier
from protocols.sle.ber import Chosen
from protocols.sle.cltu import CltuProduction
from protocols.sle.cltu_service import CltuService
from protocols.sle.common import AbortDiagnostic, Refused, ServiceType
from protocols.sle.credentials import Security
from protocols.sle.frame_service import FrameService
from protocols.sle.frames import Lock, LockReport, Production, Quality
from protocols.timecodes.tai import tai_ns_from_utc_iso

PATIENCE_S = 10.0
T = tai_ns_from_utc_iso("2026-11-22T21:00:00.000001Z")
RAF = "sagr=1.spack=PASS-7.rsl-fg=1.raf=onlc1"
CLTU = "sagr=1.spack=PASS-7.fsl-fg=1.cltu=cltu1"


class Station:
    """A provider without credentials, and adapters at it."""

    def __init__(self, cltus: CltuService | None = None) -> None:
        self.frames = FrameService(ServiceType.RAF, RAF, buffer_size=1)
        self.cltus = cltus or CltuService(CLTU)
        self.server = ProviderServer(
            [self.frames, self.cltus], {"L4RG": Security("STATION")}, identifier="STATION"
        )
        self.adapters: list[Adapter] = []

    def adapter(self, more: str = "", *, scheme: str = "sle-raf", **given: Any) -> Adapter:
        host, port = self.server.address
        instance = CLTU if scheme == "sle-cltu" else RAF
        adapter = open_adapter(
            f"{scheme}://{host}:{port}?instance={instance}{more}",
            policy=Policy(0.05, 0.1),
            **given,
        )
        self.adapters.append(adapter)
        return adapter

    def running(self, more: str = "", *, scheme: str = "sle-raf") -> Adapter:
        adapter = self.adapter(more, scheme=scheme)
        adapter.open()
        assert adapter.wait_until(State.RUNNING, timeout_s=PATIENCE_S), adapter.statistics()
        return adapter

    def close(self) -> None:
        for adapter in self.adapters:
            adapter.close()
        self.server.close()


@pytest.fixture
def station() -> Iterator[Station]:
    made = Station()
    yield made
    made.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_the_station_says_of_itself_is_the_detail(station: Station) -> None:
    station.frames.locks["carrier"] = Lock.OUT_OF_LOCK
    adapter = station.running("&report=2")
    until(lambda: "carrier out of lock" in adapter.statistics().detail)
    lost = LockReport(T, Lock.IN_LOCK, Lock.NOT_IN_USE, Lock.OUT_OF_LOCK)
    for notification, said in (
        (Chosen("production", Production.INTERRUPTED), "production interrupted"),
        (Chosen("lost_frame_sync", lost), "symbols out of lock"),
        (Chosen("backlog"), "discarded frames"),
    ):
        station.server.call(lambda now, one=notification: station.frames.notify(now, one))
        until(lambda said=said: said in adapter.statistics().detail)
    assert adapter.statistics().overflows == 1


def test_frames_with_errors_are_counted_and_kept_out(station: Station) -> None:
    adapter = station.running("&quality=all&report=0")
    for quality in (Quality.GOOD, Quality.ERRED, Quality.UNDETERMINED):
        station.server.call(
            lambda now, one=quality: station.frames.deliver(now, one.name.encode(), T, quality=one)
        )
    until(lambda: adapter.statistics().blocks_in == 2)
    assert [block.octets for block in adapter.receive(1)] == [b"GOOD", b"UNDETERMINED"]
    assert adapter.statistics().malformed == 1


def test_an_offline_service_ends(station: Station) -> None:
    adapter = station.running("&report=0&from=2026-11-22T20:00:00Z")
    station.server.call(lambda now: station.frames.deliver(now, b"last", T))
    station.server.call(lambda now: station.frames.notify(now, Chosen("end_of_data")))
    assert adapter.wait_until(State.ENDED, timeout_s=PATIENCE_S)
    assert [block.octets for block in adapter.receive(1)] == [b"last"]


def test_an_abort_crosses_as_urgent_data_both_ways(station: Station) -> None:
    adapter = station.running()
    provider = station.frames.provider
    assert provider is not None
    station.server.call(lambda now: provider.abort(AbortDiagnostic.OPERATIONAL_REQUIREMENT))
    until(lambda: adapter.statistics().reconnects == 1)
    # The other way: a PDU that is none makes the adapter abort.
    station.server.refused.clear()
    station.server.raw(bytes.fromhex("0100000000000002 0500"))
    until(lambda: bool(station.server.refused))
    assert station.server.refused[0] == "the peer has aborted: encoding error"
    until(lambda: adapter.statistics().reconnects == 2)
    assert adapter.statistics().malformed == 1


def test_nonsense_right_behind_a_frame_is_counted_too(station: Station) -> None:
    adapter = station.running("&report=0")
    with station.server.lock:
        station.frames.deliver(T, b"frame", T)
        (connection,) = station.server._connections
        connection.output += b"".join(connection.provider.take_output())
        connection.output += bytes.fromhex("0100000000000002 0500")
        station.server._send_all()
    until(lambda: adapter.statistics().malformed == 1)
    assert [block.octets for block in adapter.receive(1)] == [b"frame"]
    until(lambda: "encoding error" in "".join(station.server.refused))
    until(lambda: adapter.statistics().reconnects == 1)


def test_a_station_that_is_not_there_yet_is_tried_again(station: Station) -> None:
    station.frames.out_of_service = Refused(0)
    adapter = station.adapter()
    adapter.open()
    until(lambda: "START of" in adapter.statistics().detail)
    assert "out of service" in adapter.statistics().detail
    station.frames.out_of_service = None
    assert adapter.wait_until(State.RUNNING, timeout_s=PATIENCE_S)
    # Whoever comes second waits as well.
    second = station.adapter()
    second.open()
    until(lambda: "already bound" in second.statistics().detail)
    adapter.close()
    assert second.wait_until(State.RUNNING, timeout_s=PATIENCE_S)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("&user=NOBODY", "access denied"),
        ("&from=2026-11-22T20:00:00Z&to=2026-11-22T19:00:00Z", "stop time"),
    ],
)
def test_what_never_works_is_not_tried_again(station: Station, more: str, why: str) -> None:
    adapter = station.adapter(more)
    adapter.open()
    assert adapter.wait_until(State.FAILED, timeout_s=PATIENCE_S)
    assert why in adapter.statistics().detail


class Mute(CltuService):
    """Takes CLTUs and says nothing."""

    def other(self, now_ns: int, pdu: Any) -> None:
        self.waiting[pdu.cltu] = pdu


def test_a_cltu_without_an_answer_counts_as_radiated() -> None:
    station = Station(Mute(CLTU))
    try:
        adapter = station.running("&patience=1&report=0", scheme="sle-cltu")
        assert adapter.send(b"once")
        assert [pdu.data for pdu in station.cltus.waiting.values()] == [b"once"]
        until(lambda: adapter.statistics().reconnects == 1)
        assert adapter.statistics().blocks_out == 1
    finally:
        station.close()


def test_ids_of_cltus_go_on_where_a_connection_is_made_again(station: Station) -> None:
    adapter = station.running("&report=0", scheme="sle-cltu")
    assert adapter.send(b"one")
    station.server.pause()
    until(lambda: adapter.state is not State.RUNNING)
    station.server.go_on()
    assert adapter.wait_until(State.RUNNING, timeout_s=PATIENCE_S)
    assert adapter.send(b"two")
    assert list(station.cltus.waiting) == [1]


# ---------------------------------------------------------------- telemetry, and CLTUs beside it

BOTH = f"&report=0&cltu={CLTU}"


def has_gone(adapter: Adapter, octets: bytes) -> bool:
    return adapter.takes(len(octets)) and adapter.send(octets)


def test_telemetry_flows_while_the_way_up_is_refused(station: Station) -> None:
    station.cltus.production = CltuProduction.CONFIGURED
    adapter = station.running(BOTH)
    until(lambda: "uplink START of" in adapter.statistics().detail)
    station.server.call(lambda now: station.frames.deliver(now, b"frame", T))
    assert [block.octets for block in adapter.receive(PATIENCE_S)] == [b"frame"]
    assert not adapter.takes(1)
    assert not adapter.send(b"no")
    station.server.call(lambda now: station.cltus.set_production(now, CltuProduction.OPERATIONAL))
    until(lambda: has_gone(adapter, b"a CLTU"))
    assert [pdu.data for pdu in station.cltus.waiting.values()] == [b"a CLTU"]
    assert adapter.statistics().connections == 1


def test_telemetry_flows_while_the_way_up_is_not_permitted(station: Station) -> None:
    adapter = station.running("&report=2&cltu=sagr=1.spack=PASS-7.fsl-fg=1.cltu=none")
    station.server.call(lambda now: station.frames.deliver(now, b"frame", T))
    assert [block.octets for block in adapter.receive(PATIENCE_S)] == [b"frame"]
    # Of both ways at once.
    until(lambda: "no such service instance" in adapter.statistics().detail)
    until(lambda: "production running" in adapter.statistics().detail)
    assert "no such service instance" in adapter.statistics().detail


def test_telemetry_flows_while_the_way_up_is_lost_and_made_again(station: Station) -> None:
    adapter = station.running(BOTH)
    until(lambda: has_gone(adapter, b"one"))
    provider: Any = station.cltus.provider
    station.server.call(lambda now: provider.abort(AbortDiagnostic.OPERATIONAL_REQUIREMENT))
    until(lambda: has_gone(adapter, b"two"))
    station.server.call(lambda now: station.frames.deliver(now, b"frame", T))
    assert [block.octets for block in adapter.receive(PATIENCE_S)] == [b"frame"]
    assert list(station.cltus.waiting) == [1]
    assert adapter.statistics().connections == 1


def test_closing_does_not_wait_for_a_way_up_that_nobody_answers(station: Station) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        host, port = mute.getsockname()
        adapter = station.running(f"{BOTH}&cltu_at={host}:{port}")
        with mute.accept()[0]:
            began = time.monotonic()
            adapter.close()
            assert time.monotonic() - began < 3


def test_a_full_buffer_is_not_asked_again_and_again() -> None:
    station = Station(CltuService(CLTU, buffer=10))
    asked: list[int] = []
    refuse = station.cltus._refusal
    station.cltus._refusal = lambda now, pdu: asked.append(pdu.cltu) or refuse(now, pdu)  # type: ignore[method-assign]
    try:
        adapter = station.running("&report=0", scheme="sle-cltu")
        assert adapter.send(b"12345678")
        assert not adapter.send(b"123")
        assert adapter.statistics().detail == "uplink CLTU 1 is refused: unable to store"
        assert not adapter.takes(3)
        station.server.call(lambda now: station.cltus.radiated(now, 0, T, T))
        until(lambda: has_gone(adapter, b"123"))
        assert asked == [0, 1, 1]
    finally:
        station.close()


def test_a_cltu_that_the_station_never_takes_does_not_hold_up_the_next(
    station: Station, tmp_path: Path
) -> None:
    link = RadioLink(
        "sle", station.adapter("&report=0", scheme="sle-cltu"), lambda: T, tmp_path / "uplink.log"
    )
    link.open({})
    until(lambda: link.statistics().state is LinkState.OK)
    for name, octets in (("long", bytes(5000)), ("longer", bytes(70_000)), ("good", b"good")):
        assert link.send(UplinkMessage(name, "command", Carrier.COMMAND, octets, T, T + 10**9))
    assert [(fate.id, fate.refused) for fate in link.radiated()] == [
        ("long", "the station: cltu error"),
        ("longer", "a CLTU of 70000 octets: 1 to 65536 wanted"),
        ("good", ""),
    ]
    link.close()


def test_a_cltu_that_fails_at_the_station_is_told(station: Station) -> None:
    adapter = station.running("&report=2", scheme="sle-cltu")
    assert adapter.send(b"a CLTU")
    station.server.call(lambda now: station.cltus.expired(now, 0))
    until(lambda: "CLTU 0 was expired at the station" in adapter.statistics().detail)
    # Also beside what comes after it.
    until(lambda: "octets of buffer" in adapter.statistics().detail)
    assert "CLTU 0 was expired" in adapter.statistics().detail


def test_as_a_link_it_gives_chunks_with_the_annotations_times(
    station: Station, tmp_path: Path
) -> None:
    link = RadioLink("sle", station.adapter("&report=0"), lambda: T, tmp_path / "uplink.log")
    link.open({})
    until(lambda: link.statistics().state is LinkState.OK)
    station.server.call(lambda now: station.frames.deliver(now, b"frame", T + 7, continuity=3))
    (chunk,) = link.receive(PATIENCE_S)
    assert (chunk.octets, chunk.ert_ns) == (b"frame", T + 7)
    assert (link.statistics().lost_chunks, link.statistics().gaps) == (3, 1)
    link.close()


def test_what_the_provider_still_has_when_told_to_stop_is_captured(
    station: Station, tmp_path: Path
) -> None:
    """It counts it as delivered."""
    station.frames = FrameService(ServiceType.RAF, RAF, buffer_size=100, latency_s=100)
    station.server.services[0] = station.frames
    link = RadioLink("sle", station.adapter("&report=0"), lambda: T, tmp_path / "uplink.log")
    writer = CaptureWriter(tmp_path / "capture", link="sle")
    link.open({})
    intake = Intake(link, writer, CaptureReader(tmp_path / "capture"), sync=True)
    intake.start()
    until(lambda: link.statistics().state is LinkState.OK)
    sent = [bytes([number]) * 100 for number in range(9)]
    for frame in sent:
        station.server.call(lambda now, frame=frame: station.frames.deliver(now, frame, T))
    intake.stop()
    assert [captured.chunk.octets for captured in intake.take(0)] == sent
    assert [
        captured.chunk.octets for captured in CaptureReader(tmp_path / "capture").read()
    ] == sent
    link.close()
    writer.close()


# ---------------------------------------------------------------- addresses and passwords


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("sle-raf://h:1", "service instance"),
        ("sle-raf://h:1?instance=nonsense", "'nonsense': NAME=VALUE"),
        ("sle-raf://h:1?version=1&instance=" + RAF, "version 1"),
        ("sle-raf://h:1?cltu=nonsense&instance=" + RAF, "'nonsense'"),
        ("sle-rcf://h:1?instance=" + RAF, "channel=VERSION"),
        ("sle-rcf://h:1?instance=" + RAF + "&channel=5", "channel='5'"),
        ("sle-raf://h:1?auth=all&instance=" + RAF, "credentials=FILE"),
        ("sle-raf://h:1?auth=most&instance=" + RAF, "auth='most'"),
        ("sle-raf://h:1?user=L4&instance=" + RAF, "'L4'"),
    ],
)
def test_addresses_that_make_no_sense(address: str, why: str, monkeypatch) -> None:
    monkeypatch.delenv("L4_SLE_CREDENTIALS", raising=False)
    with pytest.raises(LocalError, match=why):
        open_adapter(address)


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ('password = "s3cret"\nprovider_password = "hex:00ff"', 0o600, ""),
        ('password = "s3cret"\nprovider_password = "hex:00ff"', 0o644, "chmod 600"),
        # As systemd gives credentials to a service's user.
        ('password = "s3cret"\nprovider_password = "hex:00ff"', 0o440, ""),
        ('password = "s3cret"', 0o600, "provider_password wanted"),
        ('password = s3cret"', 0o600, "wanted"),
        ('password = "s3cret"\nprovider_password = "hex:s3cret"', 0o600, "wanted"),
        ('password = 5\nprovider_password = "s3cret"', 0o600, "wanted"),
    ],
)
def test_the_file_of_passwords(tmp_path: Path, text: str, mode: int, why: str) -> None:
    path = tmp_path / "sle.toml"
    path.write_text(text)
    path.chmod(mode)
    if not why:
        assert read_passwords(path) == (b"s3cret", b"\x00\xff")
        return
    with pytest.raises(LocalError, match=why) as raised:
        read_passwords(path)
    assert "s3cret" not in str(raised.value)
    with pytest.raises(LocalError, match="No such file"):
        read_passwords(tmp_path / "other")
