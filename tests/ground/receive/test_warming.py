"""A service that starts is ready, whatever link it is for."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ground import missions
from ground.receive import warming
from ground.receive.chain import ReceiveChain
from ground.receive.output import ChainOutput
from ground.receive.profile import load_profile

MISSIONS = sorted(path.stem for path in Path(str(missions.__path__[0])).glob("*.toml"))


@pytest.mark.parametrize("mission", MISSIONS)
def test_no_link_profile_keeps_a_service_from_starting(mission: str) -> None:
    warming.warm_chain(load_profile(mission))


def test_a_link_whose_first_channels_are_no_packets_is_warmed_as_well() -> None:
    profile = load_profile("l4_relay")
    warming.warm_chain(replace(profile, vc_content={0: "opaque", 1: "bitstream"}))
    warming.warm_chain(replace(profile, content="opaque"))


def test_frames_go_the_whole_way(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs: list[ChainOutput] = []

    class Watched(ReceiveChain):
        def push(self, octets, ert_ns):  # type: ignore[no-untyped-def]
            outputs.append(super().push(octets, ert_ns))
            return outputs[-1]

        def finish(self) -> ChainOutput:
            outputs.append(super().finish())
            assert self.statistics().counts["coding"]["corrected"] == 1
            return outputs[-1]

    monkeypatch.setattr(warming, "ReceiveChain", Watched)
    warming.warm_chain(load_profile("l4_relay"))
    assert sum(output.frames for output in outputs) == warming.FRAMES
    assert any(len(output.packets) for output in outputs)


#: Run where no other test has compiled anything.
NO_KERNEL_LATER = """
import gc
import numpy as np
from numba.core.dispatcher import Dispatcher
from ground.archive.decoding import Decoder
from ground.receive.chain import ReceiveChain
from ground.receive.profile import load_profile
from ground.receive.warming import warm_chain
from ground.warming import warm_dictionary
from protocols.coding.randomiser import randomise
from protocols.coding.reed_solomon import ReedSolomon
from protocols.dictionary.l4 import DICTIONARY
from protocols.packets.assembly import FrameMultiplexer
from protocols.packets.batch import PacketBatch
from protocols.packets.space_packet import SpacePacket, build_packet

def compiled():
    kernels = [k for k in gc.get_objects() if isinstance(k, Dispatcher)]
    return {(k.py_func.__qualname__, str(s)) for k in kernels for s in k.signatures}

profile = load_profile("l4_relay")
rng = np.random.default_rng(1)
multiplexer = FrameMultiplexer(profile.frame_parameters())
for definition in DICTIONARY.definitions * 60:
    size = max(definition.layout.fixed_octets - 6, 1)
    multiplexer.push(0, build_packet(SpacePacket(definition.apid, rng.bytes(size))))
frames = multiplexer.take(300, fill=True)
blocks = randomise(ReedSolomon(interleave=5).encode(frames), "ccsds")
marker = np.broadcast_to(np.frombuffer(profile.coding.asm, np.uint8), (len(blocks), 4))
cadus = np.concatenate([marker, blocks], axis=1)
for k in range(40, 300):
    errors = rng.integers(0, 130)
    cadus[k, rng.integers(4, 1279, errors)] ^= rng.integers(1, 256, errors, dtype=np.uint8)
bits = np.unpackbits(np.delete(cadus, [20, 21, 90], axis=0).reshape(-1))
bits[len(bits) // 2 :] ^= 1
stream = np.packbits(np.concatenate([np.zeros(3, np.uint8), bits]))
stream = np.concatenate([stream, rng.integers(0, 256, 50_000, np.uint8), cadus[:30].reshape(-1)])

warm_chain(profile)
warm_dictionary(DICTIONARY)
ready = compiled()
chain = ReceiveChain(profile)
parts = [
    chain.push(stream[at : at + 5000].tobytes(), 1).packets for at in range(0, len(stream), 5000)
]
packets = PacketBatch.concatenate([*parts, chain.finish().packets])
statistics = chain.statistics().counts
assert statistics["coding"]["uncorrectable"], statistics
assert statistics["sync"]["polarity_changes"], statistics
for table in DICTIONARY.decode(packets):
    for name in table.raw:
        table.limit_state(name)
Decoder(DICTIONARY).decode(packets)
assert len(packets), statistics
print(sorted(compiled() - ready))
"""


def test_nothing_is_compiled_once_a_service_runs() -> None:
    """Not even by a link that loses bits, frames, lock and polarity."""
    done = subprocess.run([sys.executable, "-c", NO_KERNEL_LATER], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
