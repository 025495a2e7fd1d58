"""Our TCPCL as tshark reads it, and what pyD3TN's bundles and HDTN said to each other, replayed."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from protocols.dtn.bundle import parse_bundle
from protocols.dtn.tcpcl import Arrived, Established, Sent, TcpclSession, TcpclSettings
from protocols.dtn.tcpcl_messages import (
    MessageType,
    RefuseReason,
    RejectReason,
    TermReason,
    message,
)
from tests.interop.test_ltp import bundle
from tests.protocols.dtn.pcap import streams

CAPTURES = Path(__file__).parents[3] / "shared" / "captures" / "dtn"
PORT = 4556


def tcp_capture(path: Path, turns: list[tuple[bool, bytes]]) -> None:
    """A classic pcap of one TCP connection; turns: (from the client, octets)."""
    octets = bytearray(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 101))
    sequence = [1_000, 9_000]
    number = 0

    def segment(client: bool, flags: int, data: bytes) -> None:
        nonlocal number
        ports = (40_000, PORT) if client else (PORT, 40_000)
        here, there = (0, 1) if client else (1, 0)
        tcp = struct.pack(
            ">HHIIBBHHH", *ports, sequence[here], sequence[there], 0x50, flags, 65_535, 0, 0
        )
        address = bytes((127, 0, 0, 1))
        ip = struct.pack(
            ">BBHHHBBH4s4s", 0x45, 0, 40 + len(data), number, 0, 64, 6, 0, address, address
        )
        packet = ip + tcp + data
        octets.extend(struct.pack("<IIII", number, 0, len(packet), len(packet)) + packet)
        sequence[here] += len(data) + (1 if flags & 2 else 0)
        number += 1

    segment(True, 0x02, b"")
    segment(False, 0x12, b"")
    segment(True, 0x10, b"")
    for client, data in turns:
        for at in range(0, len(data), 16_000):
            segment(client, 0x18, data[at : at + 16_000])
    path.write_bytes(octets)


def dissect(path: Path) -> list[dict[str, Any]]:
    """tshark's layers of each frame; marks of malformed or doubtful octets fail."""
    command = ["tshark", "-2", "-r", str(path), "-d", f"tcp.port=={PORT},tcpcl", "-o"]
    command += ["tcp.check_checksum:FALSE", "-T", "json", "--no-duplicate-keys"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Malformed" not in run.stdout
    assert '_ws.expert.severity": "8388608' not in run.stdout
    return [frame["_source"]["layers"] for frame in json.loads(run.stdout)]


@pytest.mark.program("tshark")
@pytest.mark.parametrize("sender", [0, 1])
def test_tshark_dissects_every_octet_of_a_session(tmp_path: Path, sender: int) -> None:
    """One side sends: tshark 4.0 takes transfers of the same number both ways for one."""
    sides = [
        TcpclSession(TcpclSettings(node_id=f"ipn:{n}.0", segment_octets=700), active=n == 1)
        for n in (1, 2)
    ]
    turns: list[tuple[bool, bytes]] = []
    for side in sides:
        side.connected(0)

    def talk() -> None:
        while True:
            for i, side in enumerate(sides):
                octets = b"".join(side.take_output())
                if octets:
                    turns.append((i == 0, octets))
                    for event in sides[1 - i].receive(0, octets):
                        if isinstance(event, Arrived):
                            refused = event.octets == bundle(9, 50)
                            (sides[1 - i].refuse if refused else sides[1 - i].accept)(
                                event.transfer
                            )
                    break
            else:
                return

    talk()
    for number, size in ((1, 10), (2, 3_000), (9, 50)):
        sides[sender].send(0, (bundle(number, size),))
        talk()
    turns.append((True, message(MessageType.KEEPALIVE)))
    turns.append((False, message(MessageType.KEEPALIVE)))
    sides[0].terminate(0, TermReason.BUSY)
    talk()
    path = tmp_path / "session.pcap"
    tcp_capture(path, turns)
    frames = dissect(path)
    text = json.dumps(frames)
    # Every kind of message that was said, with its fields as they were meant.
    for name in ("tcpcl.v4.chdr", "sess_init", "xfer_segment", "xfer_ack", "xfer_refuse"):
        assert name in text, name
    assert "sess_term" in text
    for node in ("ipn:1.0", "ipn:2.0"):
        assert node in text
    bundles = [json.dumps(f["bpv7"]) for f in frames if "bpv7" in f]
    assert len(bundles) == 3
    for text in bundles:
        # Both blocks' CRCs.
        assert text.count('"bpv7.crc_status": "1"') == 2


@pytest.mark.program("tshark")
def test_tshark_knows_each_reason_by_our_name(tmp_path: Path) -> None:
    hello = [
        (True, b"".join(_opened(True))),
        (False, b"".join(_opened(False))),
    ]
    turns = list(hello)
    turns += [
        (True, message(MessageType.XFER_REFUSE, reason=reason, transfer_id=reason))
        for reason in RefuseReason
    ]
    turns += [
        (False, message(MessageType.MSG_REJECT, reason=reason, header=2)) for reason in RejectReason
    ]
    path = tmp_path / "reasons.pcap"
    tcp_capture(path, turns)
    frames = dissect(path)
    assert len([f for f in frames if "tcpcl" in f]) >= len(turns)


def _opened(active: bool) -> list[bytes]:
    """Contact header and session initialisation of one side."""
    us = TcpclSession(TcpclSettings(node_id="ipn:1.0"), active=active)
    peer = TcpclSession(TcpclSettings(node_id="ipn:2.0"), active=not active)
    for side in (us, peer):
        side.connected(0)
    said: list[bytes] = []
    for _ in range(4):
        for side, other in ((us, peer), (peer, us)):
            octets = b"".join(side.take_output())
            if side is us and octets:
                said.append(octets)
            other.receive(0, octets)
    return said


def test_bundles_of_pyd3tn_to_hdtn_are_taken_and_acknowledged_as_hdtn_did() -> None:
    path = CAPTURES / "pyd3tn_to_hdtn_tcpclv4.pcap"
    if not path.exists():
        pytest.skip("captures/dtn/pyd3tn_to_hdtn_tcpclv4.pcap is not here")
    both = streams(path)
    pairs = [(ours, both[ours[1], ours[0]]) for ours in both if ours[1] == 24558]
    taken = 0
    for ports, answers in pairs:
        session = TcpclSession(TcpclSettings(node_id="ipn:10.0", keepalive_s=0), active=False)
        session.connected(0)
        events = session.receive(0, both[ports])
        assert isinstance(events[0], Established)
        for event in events[1:]:
            if isinstance(event, Arrived):
                parse_bundle(event.octets)
                session.accept(event.transfer)
                taken += 1
        said = b"".join(session.take_output())
        # What HDTN acknowledged, we acknowledge in the same octets.
        acknowledgements = _messages(answers)
        assert acknowledgements
        assert all(one in said for one in acknowledgements)
        # And HDTN's side of it is a peer that our sender understands.
        sender = TcpclSession(TcpclSettings(node_id="ipn:1.0", keepalive_s=0), active=True)
        sender.connected(0)
        sender.take_output()
        opened = answers.index(acknowledgements[-1]) if acknowledgements else 0
        assert isinstance(sender.receive(0, answers[:opened])[0], Established)
        for _ in acknowledgements:
            sender.send(0, (bundle(1, 10),))
        assert not [e for e in sender.receive(0, b"") if not isinstance(e, Sent)]
    assert taken >= 12


def _messages(answers: bytes) -> list[bytes]:
    """HDTN's acknowledgements: the last messages before its SESS_TERM, 18 octets each."""
    found: list[bytes] = []
    end = len(answers)
    if answers[end - 3 : end - 1] == bytes((MessageType.SESS_TERM, 1)):
        end -= 3
    while end >= 18 and answers[end - 18] == MessageType.XFER_ACK and answers[end - 17] <= 3:
        found.append(answers[end - 18 : end])
        end -= 18
    return found
