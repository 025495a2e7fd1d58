"""Packets into transfer frames: the inverse of extraction, in batches.

Each virtual channel queues packets back to back and is cut into zones; the multiplexer numbers the
frames, fills what is open with idle packets, and makes idle frames where nothing waits.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from protocols.errors import LocalError
from protocols.frames import aos, tm, uslp
from protocols.frames.columns import FHP_IDLE, FHP_NONE, FHP_NOT_PACKETS, I32, I64, U8, U32
from protocols.frames.parameters import FrameParameters
from protocols.packets.batch import PacketBatch
from protocols.packets.space_packet import SEQUENCE_MODULUS, SHORTEST_PACKET, idle_packet

_MODULUS_TM = 1 << 8


@dataclass(slots=True)
class _Queue:
    """Octets of one virtual channel not yet in frames, and where packets start in them."""

    count: int = 0
    idle_sequence: int = 0
    octets: list[U8] = field(default_factory=list[U8])
    starts: list[I64] = field(default_factory=list[I64])
    size: int = 0

    def push(self, octets: U8, starts: I64) -> None:
        self.octets.append(octets)
        self.starts.append(starts + self.size)
        self.size += len(octets)

    def take(self, zones: int, length: int) -> tuple[U8, I32]:
        """The next zones, uint8 [zones, length], and their first header pointers, int32 [zones]."""
        octets = np.concatenate([np.empty(0, np.uint8), *self.octets])
        starts = np.concatenate([np.empty(0, np.int64), *self.starts])
        end = zones * length
        begin = np.arange(zones) * length
        following = np.append(starts, np.iinfo(np.int64).max)[np.searchsorted(starts, begin)]
        pointer = np.where(following < begin + length, following - begin, FHP_NONE)
        self.octets, self.starts = [octets[end:]], [starts[starts >= end] - end]
        self.size -= end
        return octets[:end].reshape(zones, length), pointer.astype(np.int32)


class FrameMultiplexer:
    """Frames of one spacecraft's physical channel, from packets pushed by virtual channel.

    parameters: what the receiving end knows; `ocf` decides whether frames carry one.
    scid: written into the frames; `parameters.scid` if None.
    idle_vcid: channel of the frames of only idle data; 63 in AOS and USLP, any one in TM.
    secondary_header_length: octets of the TM secondary header's data field, 0 for none.
    vc_count_length: octets of the USLP frame count.
    idle_fill: octet in idle packets and idle frames.

    Raises LocalError for settings that leave no room for data.
    """

    def __init__(
        self,
        parameters: FrameParameters,
        *,
        scid: int | None = None,
        idle_vcid: int | None = None,
        secondary_header_length: int = 0,
        vc_count_length: int = 3,
        idle_fill: int = 0x55,
    ) -> None:
        number = parameters.scid if scid is None else scid
        if number is None:
            raise LocalError("no spacecraft identifier, neither in the parameters nor given")
        if secondary_header_length and parameters.kind != "tm":
            raise LocalError(f"{parameters.kind} frames have no secondary header")
        if not 0 <= secondary_header_length <= 63:
            raise LocalError(f"secondary header of {secondary_header_length} octets, 0..63 wanted")
        if not 0 <= vc_count_length <= 7:
            raise LocalError(f"frame count of {vc_count_length} octets, 0..7 wanted")
        if idle_vcid is None:
            idle_vcid = 7 if parameters.kind == "tm" else 63
        self._parameters = parameters
        self._scid = number
        self._idle_vcid = idle_vcid
        self._secondary = secondary_header_length
        self._count_length = vc_count_length
        self._fill = idle_fill
        self._mc_count = 0
        self._queues: dict[int, _Queue] = {}
        if self.zone_length(idle_vcid) < 1:
            raise LocalError(f"frames of {parameters.frame_length} octets leave no room for data")

    def zone_length(self, vcid: int) -> int:
        """Octets of data in each frame of a virtual channel."""
        parameters = self._parameters
        if parameters.kind == "tm":
            header = 6 + (1 + self._secondary if self._secondary else 0)
        elif parameters.kind == "aos":
            header = parameters.header_length + parameters.insert_zone_length
            header += 0 if parameters.content_of(vcid) == "opaque" else 2
        else:
            header = 7 + self._count_length + parameters.insert_zone_length + 3
        ocf = 4 if parameters.ocf else 0
        return parameters.frame_length - header - ocf - parameters.fecf_length

    def waiting(self, vcid: int) -> int:
        """Octets of a virtual channel not yet in frames."""
        return self._queues[vcid].size if vcid in self._queues else 0

    def push(self, vcid: int, packets: PacketBatch | bytes) -> None:
        """Queue packets on a virtual channel: a batch, or one packet's octets.

        On a channel declared opaque the octets are SDUs and must fill whole zones.  Raises
        LocalError for a VCID that the protocol does not have, or an SDU of another size.
        """
        if not 0 <= vcid < self._parameters.vcid_count:
            raise LocalError(f"vcid {vcid}: 0..{self._parameters.vcid_count - 1} wanted")
        if isinstance(packets, bytes):
            octets, starts = np.frombuffer(packets, np.uint8), np.zeros(1, np.int64)
        else:
            octets, starts = packets.octets, packets.offsets[:-1]
        if self._parameters.content_of(vcid) == "opaque":
            starts = starts[:0]
            if len(octets) % self.zone_length(vcid):
                raise LocalError(
                    f"SDU of {len(octets)} octets on VC {vcid}: zones of {self.zone_length(vcid)}"
                )
        if len(octets):
            self._queues.setdefault(vcid, _Queue()).push(octets, starts)

    def take(
        self,
        limit: int | None = None,
        *,
        fill: bool = False,
        ocf: int = 0,
        insert_zone: bytes | None = None,
        secondary_header: bytes | None = None,
    ) -> U8:
        """The next frames, uint8 [n, frame_length], lower VCIDs first.

        Without `fill`: the frames that packets fill entirely, `limit` at most.  With it: exactly
        `limit` frames, for which open zones are closed with idle packets and idle frames made; or,
        if limit is None, as many as bring out all that waits.
        """
        blocks: list[U8] = []
        left = np.iinfo(np.int64).max if limit is None else limit

        def add(vcid: int, n: int, idle: bool) -> None:
            nonlocal left
            blocks.append(self._frames(vcid, n, idle, ocf, insert_zone, secondary_header))
            left -= n

        for vcid in sorted(self._queues):
            ready = min(left, self._queues[vcid].size // self.zone_length(vcid))
            if ready:
                add(vcid, int(ready), False)
        if fill:
            for vcid in sorted(self._queues):
                if left > 0 and self._queues[vcid].size:
                    self._close(vcid)
                    ready = min(left, self._queues[vcid].size // self.zone_length(vcid))
                    add(vcid, int(ready), False)
            if limit is not None and left > 0:
                add(self._idle_vcid, int(left), True)
        if not blocks:
            return np.empty((0, self._parameters.frame_length), np.uint8)
        return np.concatenate(blocks)

    def _close(self, vcid: int) -> None:
        """An idle packet to the end of the open zone; to the end of a later one if it is too
        short to hold a packet (133.0-B-2 §4.1.1.2: 7 octets at least)."""
        queue, length = self._queues[vcid], self.zone_length(vcid)
        gap = -queue.size % length
        if not gap:
            return
        while gap < SHORTEST_PACKET:
            gap += length
        octets = idle_packet(gap, sequence_count=queue.idle_sequence, fill=self._fill)
        queue.idle_sequence = (queue.idle_sequence + 1) % SEQUENCE_MODULUS
        queue.push(np.frombuffer(octets, np.uint8), np.zeros(1, np.int64))

    def _frames(
        self,
        vcid: int,
        n: int,
        idle: bool,
        ocf: int,
        insert_zone: bytes | None,
        secondary_header: bytes | None,
    ) -> U8:
        parameters = self._parameters
        length = self.zone_length(vcid)
        queue = self._queues.setdefault(vcid, _Queue())
        if idle:
            zones = np.full((n, length), self._fill, np.uint8)
            pointer = np.full(n, FHP_IDLE, np.int32)
        else:
            zones, pointer = queue.take(n, length)
        if parameters.content_of(vcid) == "opaque" and not idle:
            pointer = np.full(n, FHP_NOT_PACKETS, np.int32)
        vc_count = queue.count + np.arange(n, dtype=np.int64)
        words: U32 | None = np.full(n, ocf, np.uint32) if parameters.ocf else None
        if parameters.kind == "tm":
            mc_count = self._mc_count + np.arange(n, dtype=np.int64)
            self._mc_count = (self._mc_count + n) % _MODULUS_TM
            queue.count = (queue.count + n) % _MODULUS_TM
            secondary = None
            if self._secondary:
                octets = secondary_header or bytes(self._secondary)
                if len(octets) != self._secondary:
                    raise LocalError(
                        f"secondary header of {len(octets)} octets, {self._secondary} agreed"
                    )
                secondary = np.broadcast_to(np.frombuffer(octets, np.uint8), (n, len(octets)))
            return tm.build_frames(
                zones,
                parameters,
                scid=self._scid,
                vcid=vcid,
                mc_count=mc_count,
                vc_count=vc_count,
                first_header_pointer=pointer,
                ocf=words,
                secondary_header=secondary,
                sync_flag=parameters.content_of(vcid) == "opaque" and not idle,
            )
        zone = None
        if insert_zone is not None:
            if len(insert_zone) != parameters.insert_zone_length:
                raise LocalError(
                    f"insert zone of {len(insert_zone)} octets, "
                    f"{parameters.insert_zone_length} agreed"
                )
            zone = np.broadcast_to(np.frombuffer(insert_zone, np.uint8), (n, len(insert_zone)))
        if parameters.kind == "aos":
            queue.count = (queue.count + n) % (1 << (28 if parameters.frame_count_cycle else 24))
            return aos.build_frames(
                zones,
                parameters,
                scid=self._scid,
                vcid=vcid,
                vc_count=vc_count,
                first_header_pointer=pointer,
                ocf=words,
                insert_zone=zone,
            )
        queue.count = (queue.count + n) % (1 << 8 * self._count_length)
        return uslp.build_frames(
            zones,
            parameters,
            scid=self._scid,
            vcid=vcid,
            vc_count=vc_count,
            first_header_pointer=pointer,
            vc_count_length=self._count_length,
            ocf=words,
            insert_zone=zone,
        )
