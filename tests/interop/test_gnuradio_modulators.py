"""What GNU Radio's modulators send, through our demodulators: bits that no modulator of ours has
touched, with errors as theory has them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from protocols.physical import channel
from protocols.physical.waveform import Modulation, Waveform
from tests.interop.test_radio_streams import PATIENCE_S, SYSTEM_PYTHON, gnu_radio
from tests.protocols.physical.test_demodulator import RATE, demodulate, errors, uncoded

#: Octets of a file modulated as bits, most significant first; GMSK is not precoded there.
FLOW = """
import sys
from gnuradio import blocks, digital, gr
what, parameter, sps, source, sink = sys.argv[1:]
sps, parameter = int(sps), float(parameter)
if what == "gmsk":
    modulator = digital.gmsk_mod(samples_per_symbol=sps, bt=parameter)
else:
    points = {"bpsk": digital.constellation_bpsk, "qpsk": digital.constellation_qpsk}[what]()
    modulator = digital.generic_mod(
        constellation=points.base(), differential=False, samples_per_symbol=sps,
        pre_diff_code=False, excess_bw=parameter,
    )
flow = gr.top_block()
flow.connect(
    blocks.file_source(1, source), modulator, blocks.file_sink(gr.sizeof_gr_complex, sink)
)
flow.run()
"""
SPS = 5
EBN0_DB = 4.0


def modulated(what: str, parameter: float, octets: bytes, directory: Path) -> np.ndarray:
    source, sink = directory / "octets", directory / "samples.cf32"
    source.write_bytes(octets)
    command = [SYSTEM_PYTHON, "-c", FLOW, what, str(parameter), str(SPS), str(source), str(sink)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    return np.fromfile(sink, np.complex64)


@pytest.mark.parametrize(
    ("what", "parameter", "loss_db"),
    [
        ("bpsk", 0.5, 0.15),
        ("bpsk", 0.25, 0.15),
        ("qpsk", 0.5, 0.2),
        ("gmsk", 0.5, 0.3),
        ("gmsk", 0.25, 0.45),
    ],
)
def test_bits_of_its_modulators_come_out(
    what: str, parameter: float, loss_db: float, tmp_path: Path
) -> None:
    gnu_radio("digital")
    modulation = Modulation(what)
    waveform = Waveform(modulation, RATE, rolloff=parameter, bt=max(parameter, 0.2))
    rng = np.random.default_rng(9)
    octets = rng.integers(0, 256, 5_000, np.uint8)
    bits = np.unpackbits(octets)
    sent = modulated(what, parameter, octets.tobytes(), tmp_path)
    sent = sent / np.sqrt(np.mean(np.abs(sent[500:-500]) ** 2))
    rate = SPS * RATE
    sent = channel.rotate(sent.astype(np.complex64), 0, rate, (3_210.0, 90.0))
    esn0_db = EBN0_DB + 10 * np.log10(waveform.rails)
    noise = channel.noise(len(sent), channel.noise_deviation(esn0_db, SPS), rng)
    values, starts, status = demodulate(sent + noise, waveform, rate)
    assert starts == [0]
    assert status.losses == 0
    allowed = uncoded(EBN0_DB - loss_db)
    if modulation == Modulation.QPSK:
        # The first bit of two is on Q there.
        bits = bits.reshape(-1, 2)[:, ::-1].ravel()
    elif modulation == Modulation.GMSK:
        # Ours takes the precoder off that theirs does not have: two bits decide one, so that one
        # wrong makes two.
        hard = (values < 0).astype(np.int64)
        number = np.arange(1, len(hard))
        values = 1.0 - 2.0 * ((hard[1:] + hard[:-1] + number) % 2)
        allowed *= 2
    # The last symbols are still in their filters.
    bits = bits[: len(bits) - 64]
    wrong = errors(values, bits, waveform) / len(bits)
    assert wrong < allowed + 3 * np.sqrt(allowed / len(bits))
    assert wrong > uncoded(EBN0_DB + 0.5)
