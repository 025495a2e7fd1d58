"""From the spacecraft's wave to packets, and how the carrier was heard."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ground.adapters.radio.adapter import Block, Signal
from ground.adapters.radio.sigmf_file import SigMFWriter, read_recording
from ground.cli import app
from ground.config import free_base_port
from ground.radio_decode_command import _from
from ground.receive.chain import ReceiveChain
from ground.receive.profile import load_profile
from ground.receive.radio_receiver import RadioReceiver
from protocols.errors import LocalError
from protocols.physical.demodulator import Reception
from protocols.physical.sample_block import UNKNOWN
from spacecraft_sim.__main__ import main
from spacecraft_sim.channel import FixedLightTime
from spacecraft_sim.radio_wave import RadioWave, waveform
from spacecraft_sim.scenario import Mars, RadioSettings, Scenario, loads

START = 2_000_000_000_000_000_000
PROFILE = load_profile("l4_relay")


def wave(**radio: object) -> RadioWave:
    scenario = Scenario(mars=Mars(present=False), radio=replace(RadioSettings(), **radio))  # type: ignore[arg-type]
    rate = 4 * waveform(scenario).symbol_rate
    return RadioWave(scenario, FixedLightTime(499.0), start_ns=START, seed=2, sample_rate=rate)


@pytest.mark.parametrize(
    ("modulation", "rails", "ebn0_db"), [("qpsk", 2, 6.0), ("oqpsk", 2, 8.0), ("bpsk", 1, 12.0)]
)
def test_packets_come_out_and_ebn0_is_that_of_the_budget(
    modulation: str, rails: int, ebn0_db: float
) -> None:
    strong = wave(modulation=modulation)
    # As much more noise as it takes.
    noise_k = 22.7 * 10 ** ((strong.hearing(START).ebn0_db - ebn0_db) / 10)
    one = wave(modulation=modulation, receiver_k=min(noise_k, 10_000.0))
    assert PROFILE.radio is not None
    radio = replace(PROFILE.radio, modulation=modulation, symbol_rate=one.waveform.symbol_rate)
    receiver = RadioReceiver(
        replace(PROFILE, radio=radio),
        sample_rate=one.sample_rate,
        start_ns=START,
        reception=Reception(range_hz=2_000.0),
    )
    octets, outputs = [], []
    for _ in range(24):
        made = receiver.push(one.read(round(one.sample_rate / 4)))
        octets.append(made[0])
        outputs.append(made[1])
    message = receiver.message("Yeoju", "X")
    octets.append(receiver.finish()[0])
    assert receiver.chain.statistics().counts["frames"]["good"] >= 7
    expected_db = one.hearing(START).ebn0_db
    assert message.ebn0_db == pytest.approx(expected_db, abs=0.6)
    assert (message.modulation, message.symbol_lock, message.frame_lock) == (modulation, True, True)
    # The decided axes stand at 64/sqrt(rails).
    points = np.abs(message.constellation.astype(np.float64))[:, :rails]
    assert np.mean(points) == pytest.approx(64 / np.sqrt(rails), rel=0.12)
    assert len(message.spectrum) == 512
    # What went into the chain gives the same again, as `l4 replay` reads it.
    again = ReceiveChain(PROFILE)
    again.push(np.concatenate(octets), 0)
    again.finish()
    assert again.statistics().counts["frames"] == receiver.chain.statistics().counts["frames"]


def test_a_profile_without_a_radio_is_refused() -> None:
    with pytest.raises(LocalError, match="does not say how its carrier is modulated"):
        RadioReceiver(replace(PROFILE, radio=None), sample_rate=1e5, start_ns=0)
    with pytest.raises(LocalError, match="of its radio symbol_rate is wanted, too"):
        load_profile("danuri", modulation="qpsk")


def test_the_command_decodes_a_recording(tmp_path: Path) -> None:
    recording, picture, stream = (tmp_path / name for name in ("p.sigmf-meta", "p.png", "p.cadu"))
    assert main(["--iq", str(recording), "--duration", "5", "--light-time", "499"]) == 0
    arguments = ["radio", "decode", str(recording), "-m", "l4_relay", "--json"]
    done = CliRunner().invoke(app, [*arguments, "--png", str(picture), "--octets", str(stream)])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["frames"]["good"] >= 6
    assert found["offset_hz"][1] == pytest.approx(0, abs=2)
    assert picture.read_bytes()[:4] == b"\x89PNG"
    replayed = CliRunner().invoke(
        app, ["replay", str(stream), "-m", "l4_relay", "--summary", "json"]
    )
    assert json.loads(replayed.stdout)["frames"] == found["frames"]["frames"]
    # The same through an adapter, kept and sent on to whoever listens.
    kept, port = tmp_path / "kept.sigmf-meta", free_base_port()
    with socket.create_server(("127.0.0.1", port)) as server:
        got: list[bytes] = []
        listener = threading.Thread(target=_all_of, args=(server, got))
        listener.start()
        radio = [f"sigmf:{recording}", "-m", "l4_relay", "--record", str(kept), "--json"]
        again = CliRunner().invoke(
            app, ["radio", "decode", *radio, "--to", f"tcp://127.0.0.1:{port}"]
        )
        listener.join(10)
    assert again.exit_code == 0, (again.output, again.exception)
    assert json.loads(again.stdout)["frames"] == found["frames"]
    assert b"".join(got) == stream.read_bytes()
    assert kept.with_suffix(".sigmf-data").read_bytes() == (
        recording.with_suffix(".sigmf-data").read_bytes()
    )
    # Where nothing is to be heard: said, and exit status 1.
    lost = ["--symbol-rate", "3e3", "--range-hz", "100", "--rate-hz-s", "0"]
    deaf = CliRunner().invoke(app, [*arguments[:-1], *lost])
    assert deaf.exit_code == 1
    assert "frames     0, 0 good" in deaf.stdout
    wrong = CliRunner().invoke(app, [*arguments, "--prediction", "fast"])
    assert "--prediction 'fast': numbers with commas between wanted" in str(wrong.exception)


def test_the_command_decodes_on_behind_what_is_missing(tmp_path: Path) -> None:
    """As `l4 radio record` leaves it where a device has overflowed, by file and by adapter."""
    whole, gaps, kept = (tmp_path / f"{name}.sigmf-meta" for name in ("whole", "gaps", "kept"))
    assert main(["--iq", str(whole), "--duration", "6", "--light-time", "499"]) == 0
    recording, data = read_recording(whole)
    signal = Signal(recording.format, recording.sample_rate_hz, 8.42e9)
    octets, size = data.read_bytes(), recording.format.octets
    # A few frames each: 500 samples missing between them, then nobody knows how many.
    first, second = 150_000, 300_000
    writer = SigMFWriter(gaps, signal)
    begin_ns = recording.segments[0].ert_ns
    for at, end, lost in ((0, first, 0), (first + 500, second, 500), (second + 9, None, UNKNOWN)):
        ert_ns = begin_ns + round(at / signal.sample_rate_hz * 1e9)
        writer.write([Block(octets[at * size : end and end * size], ert_ns, lost)])
    writer.close()
    found = []
    for source, more in ((str(gaps), []), (f"sigmf:{gaps}", ["--record", str(kept)])):
        arguments = ["radio", "decode", source, "-m", "l4_relay", "--frequency-hz", "8.42e9"]
        done = CliRunner().invoke(app, [*arguments, "--json", *more])
        assert done.exit_code == 0, (done.output, done.exception)
        found.append(json.loads(done.stdout))
    assert (found[0]["lost_samples"], found[0]["breaks"], found[0]["locks"]) == (500, 1, 2)
    assert found[0]["frames"]["good"] >= 6
    for key in ("frames", "samples", "lost_samples", "breaks", "locks"):
        assert found[0][key] == found[1][key], key
    assert read_recording(kept)[0].losses == (0, 500, UNKNOWN)
    empty = tmp_path / "empty.sigmf-meta"
    SigMFWriter(empty, signal).close()
    for source in (str(empty), f"sigmf:{empty}"):
        nothing = CliRunner().invoke(app, ["radio", "decode", source, "-m", "l4_relay"])
        assert "a sample" in str(nothing.exception)


def test_a_prediction_from_the_first_sample_is_told_as_seen_from_later_ones() -> None:
    expect = _from(START, (5.0, -2.0, 0.5))
    assert expect(START, 60.0) == (5.0, -2.0, 0.5)
    assert expect(START + 60 * 10**9, 60.0) == (5.0 - 120.0 + 1_800.0, -2.0 + 60.0, 0.5)


#: Downlink of the scenario, coding of the mission, and Eb/N0 a few tenths of a decibel above where
#: the code begins to fail; 16 kbit/s of frames.
CODES = {
    "turbo 1/6": ('turbo = "1/6"', 1115, '[coding.turbo]\nrate = "1/6"', 0.5),
    "turbo 1/2": ('turbo = "1/2"', 1115, '[coding.turbo]\nrate = "1/2"', 1.5),
    "AR4JA 1/2": (
        'ldpc = "AR4JA 1/2 1024"',
        128,
        '[coding.ldpc]\ncode = "AR4JA 1/2 1024"',
        2.6,
    ),
    "C2": ('ldpc = "C2"', 892, '[coding.ldpc]\ncode = "C2"', 4.6),
    "AR4JA 1/2, sliced": (
        'ldpc = "AR4JA 1/2 1024"\nldpc_slice = 2',
        400,
        '[coding.ldpc]\ncode = "AR4JA 1/2 1024"\nslice = 2',
        2.6,
    ),
}
BPSK = '[radio]\nmodulation = "bpsk"\n'
AGREED = """
[frames]
kind = "aos"
frame_length = {length}
fecf = "present"
ocf = "present"
scid = 0x4C
[packets]
content = "packets"
{radio}symbol_rate = {rate}
[coding]
randomiser = "ccsds"
"""


@pytest.mark.parametrize("name", list(CODES))
def test_turbo_and_ldpc_from_the_wave_to_packets(name: str, tmp_path: Path) -> None:
    """The simulator's I/Q through `l4 radio decode` with a mission of its own, near the code's
    threshold; and what it decoded again, as octets."""
    downlink, length, coding, ebn0_db = CODES[name]
    sent = f"[mars]\npresent = false\n[downlink]\nreed_solomon_parity = 0\n{downlink}\n"
    sent += f"frame_length = {length}\n{BPSK}convolutional = 'none'\n"
    strong = loads(sent)
    rate = waveform(strong).symbol_rate
    one = RadioWave(strong, FixedLightTime(499.0), start_ns=START, seed=1, sample_rate=4 * rate)
    transmit_w = 55 * 10 ** ((ebn0_db - one.hearing(START).ebn0_db) / 10)
    scenario, mission, recording, stream = (
        tmp_path / f for f in ("s.toml", "m.toml", "p.sigmf-meta", "p.cadu")
    )
    scenario.write_text(f"{sent}transmit_w = {transmit_w}\n")
    mission.write_text(AGREED.format(length=length, radio=BPSK, rate=rate) + coding)
    made = ["--iq", str(recording), "--duration", "6", "--light-time", "499"]
    assert main([*made, "--scenario", str(scenario)]) == 0
    arguments = ["radio", "decode", str(recording), "-m", str(mission), "--json"]
    done = CliRunner().invoke(app, [*arguments, "--octets", str(stream)])
    assert done.exit_code == 0, (done.output, done.exception)
    found = json.loads(done.stdout)
    # What the demodulator takes to lock, and of a sliced stream the first frame's beginning.
    frames = 6 * 16_000 // (8 * length)
    assert frames - 3 - 0.1 * frames <= found["frames"]["good"] <= frames + 1
    assert found["frames"]["good"] == found["frames"]["frames"]
    counted = found["coding"]
    assert counted["corrected"] == counted["codewords"] > 0
    assert found["packets"]["packets"] > 10
    replayed = CliRunner().invoke(
        app, ["replay", str(stream), "-m", str(mission), "--summary", "json"]
    )
    again = json.loads(replayed.stdout)
    assert again["stages"]["packets"] == found["packets"]
    # What was decoded is written as it was sent.
    assert (again["failed_codewords"], again["symbol_error_rate"]) == (0, 0)


def _all_of(server: socket.socket, got: list[bytes]) -> None:
    connection, _ = server.accept()
    with connection:
        while octets := connection.recv(1 << 16):
            got.append(octets)
