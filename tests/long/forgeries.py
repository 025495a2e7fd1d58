"""Frames that a TC receiver must refuse: forged, replayed, changed, under another key.

    python -m tests.long.forgeries --tries 100000

Genuine frames are sent between them, and have to be executed each time: what was refused must have
changed nothing.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from dataclasses import replace

from protocols.coding.crc import crc16
from protocols.errors import RemoteError
from protocols.frames import tc
from protocols.frames.farm import Farm
from protocols.frames.sdls import Channel, SaParameters, SecurityEndpoint, Service
from protocols.frames.sdls_frames import process_tc, protect_tc
from protocols.frames.sdls_keys import KeyEvent, KeyStore
from protocols.frames.tc import FrameType, SequenceFlags, TcFrame, TcParameters

LINK = TcParameters(scid=0x4C, vcids=frozenset(range(2)))
VCID = 1
SPIS = {3: Service.AUTHENTICATION, 4: Service.AUTHENTICATED_ENCRYPTION}


def endpoint(keys: dict[int, bytes], window: int | None = 1000) -> SecurityEndpoint:
    store = KeyStore()
    for key_id, value in keys.items():
        store.load(key_id, value)
        store.move(key_id, KeyEvent.ACTIVATE)
    channels = {Channel(0, LINK.scid, VCID)}
    agreed = [SaParameters(spi, service, channels, window=window) for spi, service in SPIS.items()]
    end = SecurityEndpoint(store, agreed)
    for spi in SPIS:
        end.rekey(spi, spi)
        end.start(spi)
    return end


class Receiver:
    """Octets of frames to executed units: validation, FARM-1, ProcessSecurity."""

    def __init__(self, keys: dict[int, bytes]) -> None:
        self.security = endpoint(keys)
        self.farm = Farm(VCID)
        self.executed: list[bytes] = []
        self.refused: Counter[str] = Counter()

    def receive(self, octets: bytes) -> None:
        try:
            frame = tc.parse(octets, LINK)
        except RemoteError:
            self.refused["invalid frame"] += 1
            return
        if frame.vcid != VCID:
            self.refused["another virtual channel"] += 1
            return
        if self.farm.receive(frame) is None or frame.frame_type is FrameType.BC:
            self.refused["not accepted by FARM-1"] += 1
            return
        processed = process_tc(self.security, frame, LINK)
        if processed.data is None:
            assert processed.refusal is not None
            self.refused[processed.refusal.name] += 1
            return
        self.executed.append(processed.data)


def attack(
    rng: random.Random,
    frame: TcFrame,
    sent: list[TcFrame],
    ground: SecurityEndpoint,
    wrong: SecurityEndpoint,
) -> bytes:
    """One frame that was never sent like this; type BD, which FARM-1 lets pass whatever it is.

    With a FECF that agrees: noise on the way is not what is tried here.
    """
    kind = rng.randrange(6)
    data = frame.data
    if kind == 0:
        # Any bit of what is protected.
        changed = bytearray(data)
        place = rng.randrange(8 * len(data))
        changed[place // 8] ^= 0x80 >> place % 8
        return tc.build(replace(frame, data=bytes(changed)), LINK)
    if kind == 1:
        return tc.build(rng.choice(sent), LINK)
    if kind == 2:
        # Another key, and a number that is good.
        spi = rng.choice(list(SPIS))
        wrong.association(spi).number = ground.association(spi).number
        plain = TcFrame(VCID, rng.randbytes(12), FrameType.BD, map_id=frame.map_id)
        return tc.build(protect_tc(wrong, spi, plain, LINK), LINK)
    if kind == 3:
        return tc.build(replace(frame, data=rng.randbytes(rng.randrange(1, 60))), LINK)
    if kind == 4:
        # The same unit for another MAP, in other segments, or cut short.
        if rng.random() < 0.3:
            return tc.build(replace(frame, data=data[: rng.randrange(1, len(data))]), LINK)
        if rng.random() < 0.5:
            return tc.build(replace(frame, map_id=frame.map_id ^ rng.randrange(1, 64)), LINK)
        others = [f for f in SequenceFlags if f is not frame.sequence_flags]
        return tc.build(replace(frame, sequence_flags=rng.choice(others)), LINK)
    # Any bit of the frame, its FECF put right.
    octets = bytearray(tc.build(frame, LINK))[:-2]
    place = rng.choice([*range(24), *range(40, 8 * len(octets))])
    octets[place // 8] ^= 0x80 >> place % 8
    return bytes(octets) + crc16(bytes(octets)).to_bytes(2, "big")


def trial(tries: int, seed: int = 0) -> Counter[str]:
    """Refusals by reason; raises AssertionError for a frame executed that should not, or not."""
    rng = random.Random(seed)
    keys = {spi: rng.randbytes(32) for spi in SPIS}
    ground, receiver = endpoint(keys), Receiver(keys)
    wrong = endpoint({spi: rng.randbytes(32) for spi in SPIS})
    sent: list[TcFrame] = []
    wanted: list[bytes] = []
    for number in range(tries):
        if number % 50 == 0:
            unit = rng.randbytes(rng.randrange(1, 40))
            plain = TcFrame(VCID, unit, FrameType.BD, map_id=rng.randrange(64))
            frame = protect_tc(ground, rng.choice(list(SPIS)), plain, LINK)
            receiver.receive(tc.build(frame, LINK))
            sent.append(frame)
            wanted.append(unit)
        # Of one that has not arrived yet: its number is still good.
        plain = TcFrame(VCID, b"danger", FrameType.BD, map_id=rng.randrange(64))
        spi = rng.choice(list(SPIS))
        association = ground.association(spi)
        fresh = protect_tc(ground, spi, plain, LINK)
        association.number -= 1
        receiver.receive(attack(rng, fresh, sent, ground, wrong))
        assert len(receiver.executed) == len(wanted), f"try {number} (seed {seed}) was executed"
    assert receiver.executed == wanted
    assert receiver.refused.total() == tries, f"{tries - receiver.refused.total()} not counted"
    return receiver.refused


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    begin = time.perf_counter()
    refused = trial(arguments.tries, arguments.seed)
    print(
        f"{arguments.tries} frames refused, none executed, every genuine one between them was: "
        f"{dict(refused.most_common())}; {time.perf_counter() - begin:.0f} s"
    )


if __name__ == "__main__":
    main()
