"""Bundles through LTP, encapsulation packets, AOS frames and a carrier that loses some of them."""

from __future__ import annotations

import random
from dataclasses import replace

from protocols.dtn.ltp_engine import LtpEngine
from protocols.dtn.ltp_link import LtpLink
from protocols.dtn.ltp_parameters import DEEP_SPACE
from protocols.dtn.space_frames import CADU_OCTETS, SEGMENT_OCTETS, FrameReceiver, FrameSender
from protocols.packets.encapsulation import EncapsulationPacket, build_packet

S = 10**9
OWLT_S = 499


def bundle(number: int, octets: int) -> bytes:
    """A CBOR array as a bundle is one, of about so many octets."""
    return b"\x9f\x59" + octets.to_bytes(2, "big") + bytes([number]) * octets + b"\xff"


def link(one: int, other: int, rate_bit_s: int = 100_000) -> LtpLink:
    parameters = replace(
        DEEP_SPACE, segment_size=SEGMENT_OCTETS, one_way_light_time_s=float(OWLT_S)
    )
    return LtpLink(LtpEngine(one, other, parameters, entropy=bytes([one])), rate_bit_s)


def test_packets_come_out_of_frames_however_these_are_cut_and_damaged_ones_cost_theirs() -> None:
    packets = [build_packet(EncapsulationPacket(1, bytes([n]) * (300 * n + 1))) for n in range(9)]
    sender = FrameSender()
    octets = b"".join(sender.send(packets[n : n + 3]) for n in (0, 3, 6))
    assert len(octets) == sender.frames * CADU_OCTETS
    receiver = FrameReceiver()
    assert receiver.receive(octets) == packets
    one_by_one = FrameReceiver()
    found = [
        packet
        for at in range(0, len(octets), CADU_OCTETS)
        for packet in one_by_one.receive(octets[at : at + CADU_OCTETS])
    ]
    assert found == packets
    broken = bytearray(octets)
    broken[600] ^= 1
    damaged = FrameReceiver()
    left = damaged.receive(bytes(broken))
    assert damaged.damaged == 1
    assert left
    assert set(left) < set(packets)


def test_bundles_cross_a_lossy_span_once_and_the_sender_is_told() -> None:
    chance = random.Random(1)
    here, there = link(1, 2), link(2, 1)
    frames = {1: (FrameSender(), FrameReceiver()), 2: (FrameSender(), FrameReceiver())}
    waiting = [bundle(n, 5_000) for n in range(10)]
    wanted = list(waiting)
    under_way: list[tuple[int, int, bytes]] = []
    arrived: list[bytes] = []
    outcomes: list[bool] = []
    for t_s in range(12 * OWLT_S):
        now_ns = t_s * S
        if waiting and here.ready(now_ns):
            here.send(waiting.pop(0))
        for name, one in ((1, here), (2, there)):
            octets = frames[name][0].send(one.take(now_ns))
            for at in range(0, len(octets), CADU_OCTETS):
                if chance.random() >= 0.2:
                    under_way.append((t_s + OWLT_S, 3 - name, octets[at : at + CADU_OCTETS]))
        due = [one for one in under_way if one[0] <= t_s]
        under_way = [one for one in under_way if one[0] > t_s]
        for _, name, octets in due:
            for packet in frames[name][1].receive(octets):
                (here if name == 1 else there).receive(now_ns, packet)
        arrived += there.bundles()
        outcomes += [outcome.arrived for outcome in here.outcomes()]
        if len(outcomes) == len(wanted):
            break
    assert sorted(arrived) == wanted
    assert outcomes == [True] * len(wanted)


def test_the_carriers_rate_is_kept_and_foreign_packets_are_counted() -> None:
    one = link(1, 2, rate_bit_s=8 * 2_000)
    one.send(bundle(1, 60_000))
    per_second = [sum(map(len, one.take(t * S))) for t in range(1, 21)]
    assert abs(sum(per_second) - 20 * 2_000) <= SEGMENT_OCTETS + 2_000
    assert not one.ready(20 * S)
    one.receive(0, build_packet(EncapsulationPacket(4, b"a bundle without LTP")))
    assert one.foreign_packets == 1
