"""Radio: I/Q samples to soft symbols and to frames, beside gr-satellites on GNU Radio.

    .venv/bin/python -m tests.benchmarks --only bench_radio

The peer is Debian's package, run by the system's Python in a process of its own; its frames are
compared with ours.  Error rates beside it: `make trial-radio`.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from protocols.physical import channel
from protocols.physical.demodulator import Reception
from protocols.physical.modulator import Modulator
from protocols.physical.residual import open_demodulator
from protocols.physical.waveform import Modulation, Waveform
from tests.benchmarks.harness import Case, PeerMissing
from tests.radio_link import Coding, Impairments, Receiver, Transmitter, frames

HERE = Path(__file__).resolve().parent
RATE = 1e6
SAMPLES_PER_SYMBOL = 4
#: gr-satellites' options with which it loses the fewest frames on these signals.
TUNED = ("--rrc_alpha", "0.5", "--disable_fll", "--clk_bw", "0.005", "--costas_bw", "100")
RECEPTION = Reception(range_hz=100e3, rate_hz_s=500.0)


class GrSatellites:
    """The peer's process over one file of samples."""

    def __init__(
        self, samples: np.ndarray, sample_rate: float, baud: float, options: Iterable[str]
    ) -> None:
        python = shutil.which("python3", path="/usr/bin")
        if python is None:
            raise PeerMissing("gr-satellites (a system Python)")
        self._scratch = Path(tempfile.mkdtemp(prefix="bench-gr-satellites-"))
        atexit.register(shutil.rmtree, self._scratch, ignore_errors=True)
        samples.astype(np.complex64).tofile(self._scratch / "samples")
        told = {
            "samples": str(self._scratch / "samples"),
            "frames": str(self._scratch / "frames"),
            "sample_rate": sample_rate,
            "baud": baud,
            "frame_size": 1115,
            "interleave": 5,
            "options": list(options),
        }
        self._process = subprocess.Popen(
            [python, str(HERE / "peer_gr_satellites.py"), json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
        )
        atexit.register(self._process.kill)
        if self._line() != "ready\n":
            raise PeerMissing("gr-satellites (Debian gr-satellites)")

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def run(self) -> np.ndarray:
        """Frames, uint8 [n, 1115]."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        while line := self._line():
            if line.startswith("took"):
                break
        return np.fromfile(self._scratch / "frames", np.uint8).reshape(-1, 1115)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def symbols() -> Iterable[Case]:
    """Es/N0 of 4 dB, a carrier 31 kHz off."""
    rng = np.random.default_rng(0)
    waveforms = [
        Waveform(Modulation.BPSK, RATE),
        Waveform(Modulation.QPSK, RATE),
        Waveform(Modulation.OQPSK, RATE),
        Waveform(Modulation.GMSK, RATE),
        Waveform(Modulation.PM_BIPHASE, RATE),
    ]
    for waveform in waveforms:
        sample_rate = SAMPLES_PER_SYMBOL * RATE
        modulator = Modulator(waveform, sample_rate, delay=2.3)
        sent = modulator.push(rng.integers(0, 2, int(2e6) * waveform.rails, np.uint8))
        sent = channel.rotate(sent, 0, sample_rate, (31_234.5, 200.0))
        deviation = channel.noise_deviation(4.0, SAMPLES_PER_SYMBOL)
        samples = sent + channel.noise(len(sent), deviation, rng)

        def ours(waveform: Waveform = waveform, samples: np.ndarray = samples) -> float:
            demodulator = open_demodulator(waveform, SAMPLES_PER_SYMBOL * RATE, RECEPTION)
            count = 0
            for at in range(0, len(samples), 1 << 18):
                count += len(demodulator.push(samples[at : at + (1 << 18)]))
            return count + len(demodulator.finish())

        suppressed = waveform.modulation in (Modulation.BPSK, Modulation.QPSK)
        yield Case(
            f"I/Q to soft symbols, {waveform.modulation}, 4 samples a symbol",
            len(samples),
            "Msps",
            ours,
            goal_rate=10.0 if suppressed else None,
        )


def whole() -> Iterable[Case]:
    """Concatenated code, interleave 5, at 6 dB Eb/N0: frames of 8,920 bits."""
    coding = Coding()
    for modulation, sps in ((Modulation.BPSK, 4), (Modulation.QPSK, 4), (Modulation.BPSK, 5)):
        waveform = Waveform(modulation, RATE)
        rng = np.random.default_rng(3)
        # As the peer knows no inverted marker and searches little: near it, in a good phase.
        near = Impairments(frequency=(200.0,), phase_turns=0.1, delay=7.3)
        transmitter = Transmitter(waveform, sps * RATE, coding, 6.0, near, rng)
        data = frames(coding, 100, rng)
        samples = np.concatenate((transmitter.send(data), transmitter.finish()))

        def ours(
            waveform: Waveform = waveform, sps: int = sps, samples: np.ndarray = samples
        ) -> np.ndarray:
            receiver = Receiver(waveform, sps * RATE, coding, RECEPTION)
            parts = [
                receiver.push(samples[a : a + (1 << 19)]) for a in range(0, len(samples), 1 << 19)
            ]
            return np.concatenate((*parts, receiver.finish()))

        def peer(samples: np.ndarray = samples, sps: int = sps) -> Callable[[], object]:
            best: GrSatellites | None = None
            for sign in (1, -1):
                one = GrSatellites(np.complex64(sign) * samples, sps * RATE, RATE, TUNED)
                if len(one.run()):
                    best = one
                    break
                one.close()
            if best is None:
                raise PeerMissing("gr-satellites decodes no frame here")
            return best.run

        def equal(got: object, theirs: object, data: np.ndarray = data) -> bool:
            """All of ours are those sent; the peer's are among them (it loses some at the ends)."""
            sent = {row.tobytes() for row in data}
            peers = {row.tobytes() for row in np.asarray(theirs)}
            return (
                len(np.asarray(got)) == len(data) and peers <= sent and len(peers) > 0.9 * len(sent)
            )

        with_peer = modulation == Modulation.BPSK
        yield Case(
            f"I/Q to frames, {modulation}, concatenated code, {sps} samples a symbol",
            len(samples),
            "Msps",
            ours,
            {"gr-satellites": peer} if with_peer else {},
            equal=equal,
            goals={"gr-satellites": 3} if with_peer else {},
            goal_rate=10.0 if sps == 4 else None,
        )


def cases() -> Iterable[Case]:
    yield from symbols()
    yield from whole()
