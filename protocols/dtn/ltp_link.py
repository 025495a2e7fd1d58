"""Bundles with one remote engine over LTP in encapsulation packets, at the pace of a carrier.

    link = LtpLink(engine, rate_bit_s=10_000)
    if link.ready(now_ns): session = link.send(bundle)    # the next most urgent one
    for packet in link.take(now_ns): …              # to the carrier, whenever it has room
    link.receive(now_ns, packet)                    # from the carrier
    link.bundles(), link.outcomes()                 # after each of these

LTP sends in the order in which it was given blocks.  So that an urgent bundle does not wait behind
bulk that was handed over before it, whoever has bundles keeps them until `ready`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocols.dtn.ltp_blocks import packet_from_segment, segment_from_packet, split_block
from protocols.dtn.ltp_engine import LtpEngine
from protocols.dtn.ltp_parameters import (
    RedPartReceived,
    TransmissionCancelled,
    TransmissionComplete,
)
from protocols.dtn.ltp_segments import ClientService, SessionId
from protocols.errors import RemoteError

#: What a carrier may be behind and still catch up: callers come once a second.
_CATCH_UP_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """A block of ours: the remote engine has all of it (`arrived`), or it was given up."""

    session: SessionId
    arrived: bool


class LtpLink:
    """rate_bit_s: of the packets, in bits a second; it may be changed."""

    def __init__(self, engine: LtpEngine, rate_bit_s: int) -> None:
        self.engine = engine
        self.rate_bit_s = rate_bit_s
        self._free_ns = 0
        self._bundles: list[bytes] = []
        self._outcomes: list[Outcome] = []
        self.sent_octets = 0
        self.received_octets = 0
        self.damaged_blocks = 0
        self.foreign_packets = 0

    def ready(self, now_ns: int) -> bool:
        """The carrier has time and nothing waits for it; what is under way does not matter."""
        engine = self.engine
        return self._free_ns <= now_ns and not engine.has_segments and engine.can_send(1)

    def send(self, bundle: bytes) -> SessionId:
        """A session of its own (a block of several would be one too many for HDTN).  LocalError
        if the engine has no room."""
        return self.engine.send(bundle)

    def take(self, now_ns: int) -> list[bytes]:
        """Packets for which the carrier has had time by `now_ns`."""
        self._expire(now_ns)
        self._free_ns = max(self._free_ns, now_ns - _CATCH_UP_NS)
        packets: list[bytes] = []
        while self._free_ns <= now_ns:
            segments = self.engine.take(now_ns, 1)
            if not segments:
                break
            for segment in segments:
                packet = packet_from_segment(segment)
                packets.append(packet)
                self.sent_octets += len(packet)
                self._free_ns += len(packet) * 8 * 10**9 // self.rate_bit_s
        self._hear()
        return packets

    def receive(self, now_ns: int, packet: bytes) -> None:
        """An encapsulation packet; what is none of LTP's is counted."""
        try:
            segment = segment_from_packet(packet)
        except RemoteError:
            self.foreign_packets += 1
            return
        self.received_octets += len(packet)
        self.engine.receive(now_ns, segment)
        self._hear()

    def _expire(self, now_ns: int) -> None:
        deadline_ns = self.engine.next_deadline_ns
        if deadline_ns is not None and deadline_ns <= now_ns:
            self.engine.timeout(now_ns)

    def _hear(self) -> None:
        for notice in self.engine.notices():
            if isinstance(notice, RedPartReceived):
                content = split_block(notice.client_service, notice.data)
                self.damaged_blocks += content.damage is not None
                self._bundles += [
                    unit.data
                    for unit in content.units
                    if unit.client_service == ClientService.BUNDLE
                ]
            elif isinstance(notice, TransmissionComplete):
                self._outcomes.append(Outcome(notice.session, True))
            elif isinstance(notice, TransmissionCancelled):
                self._outcomes.append(Outcome(notice.session, False))

    def bundles(self) -> list[bytes]:
        """Bundles that arrived since the last call."""
        bundles, self._bundles = self._bundles, []
        return bundles

    def outcomes(self) -> list[Outcome]:
        """What became of bundles sent, since the last call."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes
