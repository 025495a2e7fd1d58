"""Error rates and a pass, from I/Q samples to frames, beside theory and gr-satellites.

    python -m tests.long.radio rates --frames 1000
    python -m tests.long.radio pass --seconds 600

Frames are the concatenated code's, interleave 5, 8,920 bits.  Eb/N0 is of a bit of the frames, the
markers not counted.  Frequency, phase and timing are unknown to the receiver.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass

import numpy as np

from protocols.coding.convolutional import ViterbiDecoder
from protocols.coding.randomiser import randomise
from protocols.physical.demodulator import Reception
from protocols.physical.waveform import Modulation, Waveform
from tests.benchmarks.bench_radio import TUNED, GrSatellites
from tests.benchmarks.harness import PeerMissing
from tests.radio_link import (
    Coding,
    Impairments,
    Receiver,
    Transmitter,
    cadus,
    frames,
    right,
    run,
)

CONCATENATED = Coding()
REED_SOLOMON = Coding(convolutional=None)
UNCODED = Coding(convolutional=None, interleave=0, data=1115)


# ---------------------------------------------------------------- error rates


def ideal(ebn0_db: float, count: int, seed: int = 1) -> float:
    """Frame error rate of the concatenated code where all but the noise is known."""
    rng = np.random.default_rng(seed)
    coding, code = CONCATENATED, CONCATENATED.reed_solomon
    assert code is not None
    assert coding.convolutional is not None
    wrong = 0
    for at in range(0, count, 50):
        data = frames(coding, min(50, count - at), rng)
        sent = 1 - 2.0 * coding.convolutional.encode(cadus(coding, data).ravel())
        ratio = 10 ** (ebn0_db / 10) * coding.rate
        received = sent + rng.normal(0, math.sqrt(0.5 / ratio), len(sent))
        decoder = ViterbiDecoder(coding.convolutional, fine=True)
        octets = np.concatenate((decoder.push(received), decoder.finish()))
        blocks = randomise(octets.reshape(len(data), -1)[:, 4:], "ccsds")
        wrong += int((code.decode(blocks).data != data).any(axis=1).sum())
    return wrong / count


def theory_of_reed_solomon(ebn0_db: float, coding: Coding = REED_SOLOMON) -> float:
    """Frame error rate: any of the codewords with more than 16 wrong symbols."""
    bit = 0.5 * math.erfc(math.sqrt(10 ** (ebn0_db / 10) * coding.rate))
    symbol = 1 - (1 - bit) ** 8
    few = sum(math.comb(255, k) * symbol**k * (1 - symbol) ** (255 - k) for k in range(17))
    return 1 - few**coding.interleave


def loss_of_reed_solomon(ebn0_db: float, rate: float) -> float:
    """dB between here and where theory has this frame error rate."""
    grid = np.linspace(ebn0_db - 1.5, ebn0_db + 0.5, 401)
    theory = np.array([theory_of_reed_solomon(float(x)) for x in grid])
    return ebn0_db - float(np.interp(-rate, -theory, grid))


def chain(
    modulation: Modulation, ebn0_db: float, count: int, coding: Coding, seed: int = 0
) -> float:
    """Frame error rate from I/Q samples, four a symbol."""
    waveform = Waveform(modulation, 1e6)
    sent, got, _ = run(waveform, 4, coding, ebn0_db, count, seed=seed)
    return 1 - float(right(sent, got).mean())


def uncoded(modulation: Modulation, ebn0_db: float, count: int, seed: int = 0) -> float:
    """dB that bits of synchronised frames stand off theory."""
    waveform = Waveform(modulation, 1e6)
    sent, got, _ = run(waveform, 4, UNCODED, ebn0_db, count, seed=seed)
    # Frames in order; a frame is the one it has most bits in common with among its neighbours.
    wrong = bits = at = 0
    for row in got:
        distances = [
            int(np.bitwise_count(row ^ sent[j]).sum()) for j in range(at, min(at + 4, len(sent)))
        ]
        if not distances:
            break
        at += int(np.argmin(distances)) + 1
        wrong += min(distances)
        bits += 8 * len(row)
    rate = wrong / bits
    grid = np.linspace(ebn0_db - 1, ebn0_db + 1, 401)
    theory = np.array([0.5 * math.erfc(math.sqrt(10 ** (x / 10))) for x in grid])
    return ebn0_db - float(np.interp(-rate, -theory, grid))


def peer(ebn0_db: float, count: int, seed: int = 0) -> float:
    """gr-satellites with tuned loops on a carrier that is where it looks, in its good phase."""
    rng = np.random.default_rng(seed)
    waveform = Waveform(Modulation.BPSK, 100e3)
    near = Impairments(frequency=(20.0,), phase_turns=0.1, delay=7.3)
    transmitter = Transmitter(waveform, 500e3, CONCATENATED, ebn0_db, near, rng)
    data = frames(CONCATENATED, count, rng)
    parts = [transmitter.send(data[at : at + 20]) for at in range(0, count, 20)]
    samples = np.concatenate((*parts, transmitter.finish()))
    del parts
    best = 0
    for sign in (1, -1):
        one = GrSatellites(np.complex64(sign) * samples, 500e3, 100e3, TUNED)
        best = max(best, int(right(data, one.run()).sum()))
        one.close()
    # What it still holds at the end of a file is not held against it here.
    return 1 - min(1.0, best / (count - 1))


def rates(count: int) -> None:
    def say(what: str, value: str) -> None:
        print(f"{what:<64} {value}", flush=True)

    for db, wanted in ((2.2, "≤ 1.5e-2"), (2.4, "< 1e-3")):
        say(
            f"ideal synchronisation, {db} dB: frame error rate",
            f"{ideal(db, 2 * count):.2e} ({wanted})",
        )
    for modulation in (Modulation.BPSK, Modulation.QPSK):
        for db in (2.2, 2.3, 2.4, 2.5):
            rate = chain(modulation, db, count, CONCATENATED)
            say(f"I/Q to frames, {modulation}, {db} dB: frame error rate", f"{rate:.2e}")
    for db in (2.6, 2.8, 3.0):
        try:
            say(
                f"gr-satellites, tuned, bpsk, {db} dB: frame error rate",
                f"{peer(db, min(count, 300)):.2e}",
            )
        except PeerMissing as missing:
            say("gr-satellites", f"missing: {missing}")
            break
    for modulation in (Modulation.BPSK, Modulation.QPSK):
        db = 6.1
        rate = chain(modulation, db, count, REED_SOLOMON)
        say(
            f"Reed–Solomon alone from I/Q, {modulation}, {db} dB: frame error rate",
            f"{rate:.2e}, {loss_of_reed_solomon(db, rate):+.3f} dB off theory (≤ 0.1)",
        )
        db = 5.0
        off = uncoded(modulation, db, min(count, 200))
        say(f"uncoded from I/Q, {modulation}, {db} dB", f"{off:+.3f} dB off theory (≤ 0.1)")


# ---------------------------------------------------------------- a pass


@dataclass(frozen=True)
class PassResult:
    """lost_outside: frames lost of which no part was sent in the fade or the second after it.
    recovery_s: from the fade's end to the first whole frame's beginning."""

    sent: int
    received: int
    lost_outside: int
    recovery_s: float
    losses: int
    swept_hz: tuple[float, float]


def fly(
    seconds: float, *, symbol_rate: float = 50e3, ebn0_db: float = 4.5, seed: int = 0
) -> PassResult:
    """Doppler from +200 kHz on at −500 Hz/s, an oscillator of −80 dBc/Hz at 1 kHz, a carrier 10 dB
    stronger beside the band and one 12 dB weaker that the band sweeps across, a fade of 30 dB for
    10 s (a fifth of a short pass), a symbol clock 5 ppm off."""
    fade_s = min(10.0, seconds / 5)
    fade = (seconds / 2, seconds / 2 + fade_s)
    made = Impairments(
        frequency=(200e3, -500.0),
        phase_turns=0.3,
        delay=12.7,
        phase_noise=-80.0,
        tones=((-210e3, 10.0), (200e3 - 0.2 * 500.0 * seconds, -12.0)),
        fades=((*fade, -30.0),),
        clock=5e-6,
    )
    sample_rate = 500e3
    waveform = Waveform(Modulation.BPSK, symbol_rate)
    rng = np.random.default_rng(seed)
    transmitter = Transmitter(waveform, sample_rate, CONCATENATED, ebn0_db, made, rng)
    reception = Reception(range_hz=201e3, rate_hz_s=500.0)
    receiver = Receiver(waveform, sample_rate, CONCATENATED, reception)
    frame_s = 2 * 8 * (4 + CONCATENATED.block_length) / symbol_rate
    count = int(seconds / frame_s)
    sent: list[np.ndarray] = []
    got: list[np.ndarray] = []
    for at in range(0, count, 4):
        data = frames(CONCATENATED, min(4, count - at), rng)
        sent.append(data)
        got.append(receiver.push(transmitter.send(data)))
    got += [receiver.push(transmitter.finish()), receiver.finish()]
    ok = right(np.concatenate(sent), np.concatenate(got))
    begin = 12.7 / sample_rate + np.arange(count) * frame_s
    hit = (begin + frame_s > fade[0]) & (begin < fade[1] + 1.0)
    after = begin[(begin >= fade[1] - frame_s) & ok]
    return PassResult(
        sent=count,
        received=int(ok.sum()),
        lost_outside=int((~ok & ~hit).sum()),
        recovery_s=float(after.min() - fade[1]) if len(after) else math.inf,
        losses=receiver.demodulator.status.losses,
        swept_hz=(200e3, 200e3 - 500.0 * seconds),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["rates", "pass"])
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=600.0)
    arguments = parser.parse_args()
    begin = time.perf_counter()
    if arguments.what == "rates":
        rates(arguments.frames)
    else:
        result = fly(arguments.seconds)
        print(result)
        if result.lost_outside or result.recovery_s > 1.0:
            raise SystemExit("frames were lost outside the fade and the second after it")
    print(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
