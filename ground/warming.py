"""Kernels loaded (on a machine's first run: compiled) before there is anything to wait for them.

Loading Numba and its cached kernels takes seconds.  A service that did so with its first packet
would keep it that long; it does so while it starts, and says RUNNING afterwards.
"""

from __future__ import annotations

import ctypes
import gc

from protocols.packets.batch import PacketBatch
from protocols.packets.space_packet import SpacePacket, build_packet
from protocols.telemetry.declaration import Dictionary

HEADER_OCTETS = 6
#: glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
#: Freed memory that a service keeps for its next batch.
KEPT_OCTETS = 256 << 20


def warm_dictionary(dictionary: Dictionary | None) -> None:
    """Decode, calibrate and judge one packet of zeros of each definition."""
    if dictionary is None:
        return
    packets = [
        build_packet(SpacePacket(definition.apid, bytes(octets - HEADER_OCTETS)))
        for definition in dictionary.definitions
        if definition.apid is not None
        and (octets := definition.layout.fixed_octets) > HEADER_OCTETS
    ]
    # Two of each, and then read-only as they come from the bus.
    for table in dictionary.decode(PacketBatch.from_packets(packets * 2)):
        table.judge()
        for name in table.definition.parameters:
            table.limit_state(name)
            table.engineering(name)


def settle() -> None:
    """What is loaded by now stays for the life of the process: the garbage collector need not walk
    through it again and again, which with Numba loaded takes a tenth of a second each time."""
    gc.collect()
    gc.freeze()
    # Batches of some MiB come and go: glibc would give their pages back to the system and ask for
    # them again, which costs a busy monitor an eighth of its time.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)
        mallopt(M_TRIM_THRESHOLD, KEPT_OCTETS)


__all__ = ["settle", "warm_dictionary"]
