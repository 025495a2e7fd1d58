"""A radio in the place of the station: what a real receiver delivers, through a kill -9."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import numpy as np

from ground.adapters.journal import FileJournal
from ground.adapters.radio.rtl_tcp import RtlTcpPeer
from ground.adapters.radio.sle_peer import ProviderServer
from ground.adapters.radio.udp import free_udp_address
from ground.config import BUS, RECEIVE, RunSettings, free_base_port, prepare_run_directory
from ground.receive.capture import CaptureReader
from ground.receive.chain import ReceiveChain
from ground.receive.profile import load_profile
from ground.receive.sample_chain import SILENCE_S, open_chain
from ground.wiring_radio import open_prediction
from protocols.bus.messages import LinkMessage, PacketsMessage, RadioMessage, parse
from protocols.bus.replay import parse_record
from protocols.coding.randomiser import randomise
from protocols.coding.sync import ASM
from protocols.identifiers import Topic
from protocols.physical.sample_block import parse_sample_block
from protocols.physical.samples import sample_format
from protocols.sle.common import ServiceType
from protocols.sle.credentials import Security
from protocols.sle.frame_service import FrameService
from protocols.sle.provider import State as Bound
from spacecraft_sim.channel import FixedLightTime
from spacecraft_sim.radio_wave import RadioWave
from spacecraft_sim.scenario import Mars, RadioSettings, Scenario
from tests.end_to_end.site import Site

START_NS = 2_180_000_000 * 10**9
GOLDEN = Path(__file__).parents[1] / "captures" / "l4_relay_nominal_aos.cadu"


def test_samples_of_an_rtl_tcp_survive_a_kill(tmp_path: Path) -> None:
    """I/Q samples into a site of one command; killed -9, it decodes what is captured anew."""
    scenario = Scenario(mars=Mars(present=False), radio=RadioSettings())
    rate = 75_000
    wave = RadioWave(
        scenario, FixedLightTime(499.0), start_ns=START_NS, seed=3, sample_rate=float(rate)
    )
    cu8 = sample_format("cu8")
    samples = [cu8.to_octets(wave.read(rate // 5)) for _ in range(75)]
    half = len(samples) // 2
    server = RtlTcpPeer()
    settings = prepare_run_directory(
        tmp_path,
        base_port=free_base_port(),
        mission="l4_relay",
        radio=f"{server.uri}?rate={rate}&freq=820507343&offset_hz=7.6e9",
        snapshot_octets=1 << 16,
    )
    site = Site(settings, Topic.LINK, Topic.RADIO)

    def taken() -> int:
        links = [parse(LinkMessage, m.body) for m in site.messages if m.topic == Topic.LINK]
        counts = links[-1].counts if links else {}
        return counts["radio"]["samples"] if "radio" in counts else -1

    def listens() -> bool:
        links = [parse(LinkMessage, m.body) for m in site.messages if m.topic == Topic.LINK]
        return bool(links) and links[-1].state == "OK"

    try:
        site.start(BUS)
        site.start(RECEIVE)
        site.wait_for(listens)
        server.send(samples[:half])
        site.wait_for(lambda: taken() == half * rate // 5)
        site.wait_for(lambda: site.messages[-1].topic != Topic.LINK)
        heard = parse(RadioMessage, site.messages[-1].body)
        site.kill(RECEIVE)
        site.messages.clear()
        site.start(RECEIVE)
        site.wait_for(listens)
        server.send(samples[half:])
        site.wait_for(lambda: taken() == len(samples) * rate // 5)
        site.end(RECEIVE)
    finally:
        site.close()
        server.close()
    assert (heard.station, heard.modulation) == ("CEB", "qpsk")
    assert (heard.carrier_lock, heard.symbol_lock, heard.frame_lock) == (True, True, True)
    assert heard.ebn0_db > 3
    assert len(heard.constellation) == 256
    # What came is on disk as it came, and in the journal stands what it holds, each packet once.
    captured = [
        (chunk.octets, chunk.ert_ns) for _, chunk in CaptureReader(settings.capture_dir).read()
    ]
    blocks = [parse_sample_block(octets) for octets, _ in captured]
    assert b"".join(block.octets for block in blocks) == b"".join(samples)
    profile = load_profile("l4_relay")
    chain = open_chain(profile, input="samples", predict=open_prediction(profile))
    expected = chain.push_chunks(captured).packets
    assert told(settings) == list(expected.select(~expected.is_idle))
    counts = chain.statistics().counts
    # Once for the kill; a busy machine's radio may have been lost once more.
    torn = sum(not 0 <= block.lost <= SILENCE_S * rate for block in blocks[1:])
    assert counts["radio"]["breaks"] == torn >= 1
    assert counts["frames"]["good"] >= 20


def told(settings: RunSettings) -> list[bytes]:
    """Packets in the journal."""
    journal = FileJournal(settings.journal_dir(RECEIVE, Topic.PACKETS))
    try:
        return [
            packet
            for record in journal.read(0, max_octets=1 << 30)
            for packet in parse(PacketsMessage, parse_record(record.payload)[1]).packets
        ]
    finally:
        journal.close()


def test_what_came_over_udp_survives_a_kill(tmp_path: Path) -> None:
    profile = load_profile("l4_relay")
    octets = GOLDEN.read_bytes()
    length = len(ASM) + profile.block_length
    cadus = [octets[at : at + length] for at in range(0, len(octets), length)]
    host, port = free_udp_address()
    settings = prepare_run_directory(
        tmp_path,
        base_port=free_base_port(),
        mission="l4_relay",
        radio=f"udp://{host}:{port}?carries=cadu",
    )
    site = Site(settings, Topic.LINK)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def received() -> int:
        site.look()
        return site.status[RECEIVE].counters.get("packets", -1) if RECEIVE in site.status else -1

    def listens() -> bool:
        site.look()
        links = [parse(LinkMessage, m.body) for m in site.messages if m.topic == Topic.LINK]
        return bool(links) and links[-1].state == "OK"

    def send(some: list[bytes]) -> None:
        for cadu in some:
            sender.sendto(cadu, (host, port))

    def decoded(some: list[bytes]) -> list[bytes]:
        packets = ReceiveChain(profile).push(b"".join(some), 1).packets
        return list(packets.select(~packets.is_idle))

    try:
        site.start(BUS)
        site.start(RECEIVE)
        site.wait_for(listens)
        half = len(cadus) // 2
        send(cadus[:half])
        site.wait_for(lambda: received() >= len(decoded(cadus[:half])))
        site.kill(RECEIVE)
        site.status.clear()
        site.messages.clear()
        site.start(RECEIVE)
        site.wait_for(listens)
        send(cadus[half:])
        site.wait_for(lambda: received() >= len(decoded(cadus)))
        site.end(RECEIVE)
    finally:
        site.close()
        sender.close()
    found = told(settings)
    assert found == decoded(cadus)
    assert len(found) > 100


def test_frames_of_a_station_with_sle_survive_a_kill(tmp_path: Path) -> None:
    """Return channel frames of the golden pass: their annotations' times become packets' ERT."""
    profile = replace(load_profile("l4_relay"), input="frames")
    code = profile.coding.reed_solomon
    assert code is not None
    octets = np.frombuffer(GOLDEN.read_bytes(), np.uint8).reshape(-1, len(ASM) + code.block_length)
    decoded = code.decode(randomise(octets[:, len(ASM) :], "ccsds"))
    assert decoded.ok.all()
    frames = [frame.tobytes() for frame in decoded.data]
    service = FrameService(ServiceType.RCF, "sagr=1.spack=1.rsl-fg=1.rcf=onlc1", latency_s=0)
    station = ProviderServer([service], {"L4RG": Security("STATION")}, identifier="STATION")
    settings = prepare_run_directory(
        tmp_path,
        base_port=free_base_port(),
        mission="l4_relay",
        radio="sle-rcf://{}:{}?provider=STATION&channel=1.{}&instance={}".format(
            *station.address, profile.scid, service.identifier
        ),
    )
    site = Site(settings, Topic.LINK)

    def expected(some: list[bytes]) -> list[bytes]:
        packets = ReceiveChain(profile).push(b"".join(some), 1).packets
        return list(packets.select(~packets.is_idle))

    def received() -> int:
        site.look()
        return site.status[RECEIVE].counters.get("packets", -1) if RECEIVE in site.status else -1

    def send(some: list[bytes], first: int) -> None:
        for number, frame in enumerate(some, first):
            ert_ns = START_NS + number * 10**9
            assert station.call(
                lambda now, frame=frame, ert_ns=ert_ns: service.deliver(now, frame, ert_ns)
            )
        station.call(service.flush)

    half = len(frames) // 2
    try:
        site.start(BUS)
        site.start(RECEIVE)
        site.wait_for(lambda: service.state is Bound.ACTIVE)
        send(frames[:half], 0)
        site.wait_for(lambda: received() >= len(expected(frames[:half])))
        site.kill(RECEIVE)
        site.wait_for(lambda: service.state is Bound.UNBOUND)
        site.status.clear()
        site.start(RECEIVE)
        site.wait_for(lambda: service.state is Bound.ACTIVE)
        send(frames[half:], half)
        site.wait_for(lambda: received() >= len(expected(frames)))
        site.end(RECEIVE)
    finally:
        site.close()
        station.close()
    assert told(settings) == expected(frames)
    assert service.state is Bound.UNBOUND
    reader = CaptureReader(settings.capture_dir)
    assert [one.chunk.ert_ns for one in reader.read()] == [
        START_NS + number * 10**9 for number in range(len(frames))
    ]
