"""LTP between the site and the relay payload: encapsulation packets of the downlink in, AOS frames
for the Ka-band uplink out.  No bus, no clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from protocols.dtn.ltp_engine import LtpEngine
from protocols.dtn.ltp_link import LtpLink
from protocols.dtn.ltp_parameters import DEEP_SPACE
from protocols.dtn.space_frames import CADU_OCTETS, SEGMENT_OCTETS, FrameSender
from protocols.identifiers import BundleNode, VirtualChannel
from protocols.packets.batch import PacketBatch

#: Half of what the station's transmitter carries: reports must not queue there.
_RATE_BIT_S: Final = 500_000
#: Octets handed over for one radiation: what is cut off by the end of a window is little.
_MOST_OCTETS: Final = 64 * CADU_OCTETS


@dataclass(frozen=True, slots=True)
class Situation:
    """What the pass schedule says of an instant.

    transmits: we may; hears: what the payload sends at this instant will be heard here.
    owlt_s: negative if not known.
    """

    transmits: bool
    hears: bool
    owlt_s: float


class SpaceLink:
    """margin_s: world seconds that an answer may need beyond the light time there and back."""

    def __init__(self, margin_s: float, entropy: bytes) -> None:
        parameters = replace(DEEP_SPACE, segment_size=SEGMENT_OCTETS, margin_s=margin_s)
        engine = LtpEngine(BundleNode.SITE, BundleNode.PAYLOAD, parameters, entropy=entropy)
        self.ltp = LtpLink(engine, _RATE_BIT_S)
        self._sender = FrameSender()

    def situation(self, now_ns: int, what: Situation) -> None:
        engine = self.ltp.engine
        engine.link(what.transmits)
        engine.remote_link(now_ns, what.hears)
        if what.owlt_s >= 0:
            engine.light_time(what.owlt_s)

    def hear(self, now_ns: int, packets: PacketBatch) -> list[bytes]:
        """Bundles that packets of the downlink complete; those of other channels are left out."""
        relayed = (packets.vcid == VirtualChannel.RELAY) & (packets.version == 7)
        for packet in packets.select(relayed):
            self.ltp.receive(now_ns, packet)
        return self.ltp.bundles()

    def take(self, now_ns: int) -> list[bytes]:
        """Octets to be radiated, each a radiation of its own.  What reports say is received must
        be on disk before."""
        packets = self.ltp.take(now_ns)
        most = _MOST_OCTETS // CADU_OCTETS
        found = [self._sender.send(packets[at : at + most]) for at in range(0, len(packets), most)]
        return [octets for octets in found if octets]
