"""A radio in the place of the station: what a real receiver delivers, through a kill -9."""

from __future__ import annotations

import socket
from pathlib import Path

from ground.adapters.journal import FileJournal
from ground.adapters.radio.udp import free_udp_address
from ground.config import BUS, RECEIVE, free_base_port, prepare_run_directory
from ground.receive.chain import ReceiveChain
from ground.receive.profile import load_profile
from protocols.bus.messages import LinkMessage, PacketsMessage, parse
from protocols.bus.replay import parse_record
from protocols.coding.sync import ASM
from protocols.identifiers import Topic
from tests.end_to_end.site import Site

GOLDEN = Path(__file__).parents[1] / "captures" / "l4_relay_nominal_aos.cadu"


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
    journal = FileJournal(settings.journal_dir(RECEIVE, Topic.PACKETS))
    found = [
        packet
        for record in journal.read(0, max_octets=1 << 30)
        for packet in parse(PacketsMessage, parse_record(record.payload)[1]).packets
    ]
    journal.close()
    assert found == decoded(cadus)
    assert len(found) > 100
