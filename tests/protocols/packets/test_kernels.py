"""Kernels compile on first use, once each, for whatever arrays callers hold."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from protocols.frames.index import index_frames
from protocols.frames.parameters import FrameParameters
from protocols.packets import kernels
from protocols.packets.assembly import FrameMultiplexer
from protocols.packets.extraction import PacketExtractor
from protocols.packets.space_packet import idle_packet, split


def test_each_kernel_has_one_signature() -> None:
    parameters = FrameParameters("aos", 40, scid=1, vc_content={2: "opaque"})
    sender = FrameMultiplexer(parameters)
    sender.push(1, idle_packet(40))
    sender.push(2, bytes(sender.zone_length(2)))
    frames = sender.take(fill=True)
    received = np.frombuffer(frames.tobytes(), np.uint8).reshape(frames.shape)
    for some in (frames, received, received[:0], received[1:2], np.asfortranarray(frames)):
        for times in (np.zeros(len(some), np.int64), np.broadcast_to(np.int64(0), len(some))):
            PacketExtractor().push(some, index_frames(some, parameters), times)
    octets = idle_packet(9) * 3
    for source in (octets, np.frombuffer(octets, np.uint8), np.frombuffer(octets, np.uint8).copy()):
        packets = split(source).packets
        assert len(packets.select(np.array([0, 2]))) == 2
    for kernel in (kernels.extract, kernels.gather, kernels.walk, kernels.copy_packets):
        assert len(kernel.signatures) == 1, kernel.py_func.__name__


@pytest.mark.timeout(60)
def test_importing_compiles_nothing() -> None:
    program = (
        "import protocols.packets.extraction, protocols.packets.assembly\n"
        "from protocols.packets import kernels\n"
        "named = [kernels.extract, kernels.gather, kernels.walk, kernels.copy_packets]\n"
        "print(sum(len(kernel.signatures) for kernel in named))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "0"
