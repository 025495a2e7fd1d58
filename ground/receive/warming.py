"""The chain's kernels, ready before the link is opened (see `ground.warming`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ground.receive.chain import ReceiveChain
from ground.receive.profile import LinkProfile
from ground.receive.radio_receiver import RadioReceiver
from protocols.coding.codeblocks import CodeblockCoding
from protocols.coding.convolutional import ConvolutionalEncoder
from protocols.coding.randomiser import randomise
from protocols.errors import LocalError
from protocols.frames.sdls_frames import secure_frame
from protocols.packets.assembly import FrameMultiplexer
from protocols.packets.space_packet import SpacePacket, build_packet
from protocols.physical.modulator import Modulator

U8 = npt.NDArray[np.uint8]

FRAMES = 8
#: Enough for every receiver to find its carrier.
SYMBOLS = 40_000


def warm_chain(profile: LinkProfile) -> None:
    """Some frames of our own through a chain of this profile, one of them with a symbol error.

    A profile that leaves questions to the survey is not warmed: nobody knows its frames yet.
    """
    if profile.open_questions or profile.input not in (None, "cadu", "samples"):
        return
    parameters = profile.frame_parameters()
    channels = range(parameters.vcid_count)
    vcid = next((v for v in channels if parameters.content_of(v) == "packets"), None)
    if vcid is None:
        return
    security = profile.security
    if security is not None:
        overhead = security.agreed(parameters).overhead
        parameters = replace(parameters, frame_length=parameters.frame_length - overhead)
    try:
        multiplexer = FrameMultiplexer(parameters)
        multiplexer.push(vcid, build_packet(SpacePacket(1, bytes(profile.frame_length))))
        blocks = multiplexer.take(FRAMES, fill=True)
    except LocalError:
        # Frames can be received that our multiplexer does not build; the first of them compile.
        return
    if security is not None:
        endpoint = security.endpoint(parameters)
        rows = [secure_frame(endpoint, security.spi, row.tobytes(), parameters) for row in blocks]
        blocks = np.frombuffer(b"".join(rows), np.uint8).reshape(FRAMES, -1)
    coding = profile.coding
    if coding.codeblocks is not None:
        _warm_codeblocks(profile, coding.codeblocks, blocks)
        return
    if coding.reed_solomon is not None:
        if coding.reed_solomon.data_length != blocks.shape[1]:
            return
        blocks = coding.reed_solomon.encode(blocks)
    if coding.randomiser != "none":
        blocks = randomise(blocks, coding.randomiser)
    blocks = blocks.copy()
    blocks[FRAMES // 2, -1] ^= 1
    marker = np.broadcast_to(np.frombuffer(coding.asm, np.uint8), (FRAMES, len(coding.asm)))
    cadus = np.ascontiguousarray(np.concatenate([marker, blocks], axis=1)).ravel()
    if profile.input == "samples":
        _warm_receiver(profile, cadus)
    chain = ReceiveChain(profile, input="cadu")
    chain.push(cadus, 0)
    chain.finish()


def _warm_codeblocks(profile: LinkProfile, coding: CodeblockCoding, frames: U8) -> None:
    """Frames through turbo or LDPC, with a wrong symbol."""
    if coding.sliced:
        marker = np.frombuffer(profile.coding.asm, np.uint8)
        information = np.concatenate([np.concatenate([marker, frame]) for frame in frames])
        short = -len(information) % coding.data_length
        frames = np.pad(information, (0, short)).reshape(-1, coding.data_length)
    bits = coding.encode(frames)
    bits[-1, -1] ^= 1
    chain = ReceiveChain(profile, input="cadu")
    chain.push(np.packbits(bits).tobytes(), 0)
    chain.finish()
    if profile.input == "samples":
        _warm_receiver(profile, np.packbits(bits))


def _warm_receiver(profile: LinkProfile, cadus: U8) -> None:
    radio = profile.radio
    assert radio is not None
    waveform, code = radio.waveform(), radio.code
    bits = np.unpackbits(cadus) if code is None else ConvolutionalEncoder(code).push(cadus)
    rate = max(4 * waveform.symbol_rate, 4 * waveform.subcarrier_hz)
    modulator = Modulator(waveform, rate)
    samples = modulator.push(np.resize(bits, SYMBOLS * waveform.rails))
    receiver = RadioReceiver(profile, sample_rate=rate, start_ns=0)
    receiver.push(samples)
    receiver.message("", "")
    receiver.finish()


__all__ = ["warm_chain"]
