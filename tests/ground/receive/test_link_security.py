"""An encrypted downlink through the receive chain: from the simulator's CADUs to its packets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from typer.testing import CliRunner

from ground.cli import app
from ground.receive.chain import ReceiveChain
from ground.receive.output import ChainOutput
from ground.receive.profile import LinkProfile, load_profile
from ground.receive.replay import replay
from ground.receive.warming import warm_chain
from protocols.dictionary.l4_link import DOWNLINK_SECURITY, SIMULATION_DOWNLINK_KEY
from protocols.errors import LocalError
from protocols.frames.error_control import append_fecf_batch
from spacecraft_sim.flight_software.framing import ChannelEncoder
from spacecraft_sim.scenario import Downlink, Mars, Scenario
from spacecraft_sim.spacecraft import Spacecraft

U8 = npt.NDArray[np.uint8]
START_NS = 2_000_000_000_000_000_000
SPI = DOWNLINK_SECURITY.spi
PLAIN = Scenario(mars=Mars(present=False))
SECURED = replace(PLAIN, downlink=Downlink(security="authenticated-encryption"))
MISSION = (Path(__file__).parents[3] / "ground" / "missions" / "l4_relay.toml").read_text()


def downlink(scenario: Scenario, seconds: int = 120) -> U8:
    craft = Spacecraft(scenario, seed=3, start_ns=START_NS)
    return craft.step(START_NS + seconds * 1_000_000_000).frames


def cadus(frames: U8) -> bytes:
    return ChannelEncoder(SECURED.downlink).encode(frames).tobytes()


@pytest.fixture(scope="module")
def frames() -> U8:
    return downlink(SECURED)


@pytest.fixture(scope="module")
def mission(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mission_file(tmp_path_factory.mktemp("mission"))


def mission_file(folder: Path) -> Path:
    """A mission file beside its key."""
    (folder / "downlink.key").touch(0o600)
    (folder / "downlink.key").write_text(SIMULATION_DOWNLINK_KEY.hex() + "\n")
    path = folder / "secured.toml"
    security = f'\n[security]\nkey_file = "downlink.key"\nspi = {SPI}\n'
    path.write_text(MISSION + security)
    return path


@pytest.fixture(scope="module")
def profile(mission: Path) -> LinkProfile:
    return load_profile(mission)


def through(chain: ReceiveChain, octets: bytes, piece: int = 1 << 20) -> ChainOutput:
    starts = range(0, len(octets), piece)
    outputs = [chain.push(octets[at : at + piece], at) for at in starts]
    return ChainOutput.join([*outputs, chain.finish()])


def telemetry(output: ChainOutput) -> dict[int, list[bytes]]:
    """Packets by APID, idle ones left out."""
    found: dict[int, list[bytes]] = {}
    for packet in output.packets:
        apid = int.from_bytes(packet[:2], "big") & 0x7FF
        if apid != 0x7FF:
            found.setdefault(apid, []).append(bytes(packet))
    return found


def test_the_same_packets_come_out_as_of_a_plain_downlink(frames: U8, profile: LinkProfile) -> None:
    opened = telemetry(through(ReceiveChain(profile), cadus(frames)))
    plain = telemetry(through(ReceiveChain(load_profile("l4_relay")), cadus(downlink(PLAIN))))
    assert set(opened) == set(plain)
    for apid, packets in plain.items():
        # Zones are shorter by the security header and the MAC: the last ones wait a little longer.
        both = min(len(packets), len(opened[apid]))
        assert both >= len(packets) - 3
        assert opened[apid][:both] == packets[:both]


def test_frames_are_what_the_book_says(frames: U8) -> None:
    """Opened by hand: SPI, IV, ciphertext, MAC (355.0-B annex E.3's baseline for AOS)."""
    key, numbers = AESGCM(SIMULATION_DOWNLINK_KEY), []
    for frame in frames[:40].tolist():
        octets = bytes(frame)
        spi, iv = octets[6:8], octets[8:20]
        assert spi == SPI.to_bytes(2, "big")
        # Version, SCID and VCID, and the upper bits of the SCID, are what the mask covers.
        covered = octets[:2] + b"\0\0\0" + bytes((octets[5] & 0x30,)) + spi + bytes(12)
        opened = key.decrypt(iv, octets[20:-6], covered)
        assert len(opened) == 1115 - 6 - 2 - 12 - 16 - 6
        numbers.append(int.from_bytes(iv, "big"))
    first = (START_NS // 1_000_000_000 << 32) + 1
    assert numbers == list(range(first, first + 40))


def test_without_the_key_there_is_nothing(frames: U8, mission: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    other.touch(0o600)
    other.write_text("00" * 32)
    chain = ReceiveChain(load_profile(mission, key_file=str(other)))
    output = through(chain, cadus(frames))
    assert not len(output.packets)
    assert [one.reason for one in output.rejected] == ["insecure"]
    # They are kept as they came.
    assert np.array_equal(output.rejected[0].frames, frames)
    statistics = chain.statistics()
    assert statistics.counts["frames"]["insecure"] == len(frames)
    assert statistics.counts["security"]["bad_mac"] == len(frames)
    assert chain.summary()["insecure_frames"] == len(frames)
    taken_for_plain = ReceiveChain(load_profile("l4_relay"))
    assert not telemetry(through(taken_for_plain, cadus(frames)))


def test_changed_and_repeated_frames_are_refused_alone(frames: U8, profile: LinkProfile) -> None:
    """Each with a FECF and a code word that agree: what an attacker can make."""
    forged = frames[60:68].copy()
    for row, place in enumerate((0, 2, 5, 6, 9, 30, 1_000, 1_106)):
        # SCID, count, upper SCID, SPI, IV, data, data, MAC; the count is not covered.
        forged[row, place] ^= 0x10 if place else 0x01
    append_fecf_batch(forged, profile.frame_parameters())
    mixed = np.concatenate([frames[:60], forged[[0, 2, 3, 4, 5, 6, 7]], frames[20:30], frames[60:]])
    chain = ReceiveChain(profile)
    output = through(chain, cadus(mixed))
    counts = chain.statistics().counts
    assert counts["frames"]["foreign"] == 2
    assert counts["frames"]["insecure"] == 15
    security = counts["security"]
    assert (security["unknown_spi"], security["replayed"], security["bad_mac"]) == (1, 10, 4)
    assert security["accepted"] == len(frames)
    alone = ReceiveChain(profile)
    assert telemetry(output) == telemetry(through(alone, cadus(frames)))


def test_chunks_and_a_restart_change_nothing(frames: U8, profile: LinkProfile) -> None:
    octets = cadus(np.concatenate([frames[:100], frames[50:60], frames[100:]]))
    whole = ReceiveChain(profile)
    wanted = through(whole, octets)
    for piece, restart in ((1_000, None), (7_777, 12)):
        chain, outputs = ReceiveChain(profile), []
        for number, at in enumerate(range(0, len(octets), piece)):
            if number == restart:
                state = msgpack.unpackb(
                    msgpack.packb(chain.snapshot()), strict_map_key=False, use_list=True
                )
                assert SIMULATION_DOWNLINK_KEY not in msgpack.packb(state)
                chain = ReceiveChain(profile)
                chain.restore(state)
            outputs.append(chain.push(octets[at : at + piece], at))
        outputs.append(chain.finish())
        joined = ChainOutput.join(outputs)
        assert list(joined.packets) == list(wanted.packets)
        assert chain.statistics() == whole.statistics()


def test_noise_is_told_from_forgery(frames: U8, profile: LinkProfile) -> None:
    blocks = np.frombuffer(cadus(frames[:20]), np.uint8).reshape(20, -1).copy()
    blocks[7, 100:400] ^= 0xFF
    chain = ReceiveChain(profile)
    through(chain, blocks.tobytes())
    counts = chain.statistics().counts
    assert (counts["frames"]["crc_fail"], counts["frames"]["insecure"]) == (1, 0)


def test_replay_opens_a_file_and_tells_no_key(frames: U8, mission: Path, tmp_path: Path) -> None:
    path = tmp_path / "secured.cadu"
    path.write_bytes(cadus(frames))
    found = replay(path, load_profile(mission))
    assert found.summary["stages"]["security"]["accepted"] == len(frames)
    arguments = ["replay", str(path), "--mission", str(mission), "--summary", "json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["frames"] == len(frames)
    assert SIMULATION_DOWNLINK_KEY.hex() not in result.output
    described = json.dumps(load_profile(mission).describe())
    assert "downlink.key" in described
    for text in (described, repr(load_profile(mission))):
        assert SIMULATION_DOWNLINK_KEY.hex() not in text
        assert repr(SIMULATION_DOWNLINK_KEY) not in text
    # The capture is as it was.
    assert path.read_bytes() == cadus(frames)


def test_a_secured_chain_is_warmed_like_any(profile: LinkProfile) -> None:
    warm_chain(profile)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"key_file": "absent.key"}, "key file absent.key: No such file"),
        ({"frames": "uslp"}, "uslp frames; of tm, aos wanted"),
        ({"spi": 65_535}, r"--spi: security.spi = 65535, but an integer 1..65534"),
        ({"scid": "any"}, "scid"),
        ({"mac_length": 7}, "8..16"),
    ],
)
def test_mistakes_are_named(mission: Path, flags: dict[str, Any], message: str) -> None:
    with pytest.raises(LocalError, match=message):
        load_profile(mission, **flags)


def test_a_key_is_in_no_message(mission: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.key"
    wrong.touch(0o600)
    wrong.write_text("4142434445464748 and more")
    with pytest.raises(LocalError) as raised:
        load_profile(mission, key_file=str(wrong))
    assert "4142" not in str(raised.value)
    with pytest.raises(LocalError, match=r"security\.key_file is wanted with security\.spi"):
        load_profile("l4_relay", spi=16)
    key_file = str(mission.parent / "downlink.key")
    with pytest.raises(LocalError, match="nobody can tell"):
        load_profile(frames="aos", frame_length=1115, spi=16, key_file=key_file)
