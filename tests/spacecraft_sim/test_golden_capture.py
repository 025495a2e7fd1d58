"""The committed capture: made again octet for octet, and decoded to what its sidecar says."""

from __future__ import annotations

import hashlib
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.coding.randomiser import randomise
from protocols.coding.reed_solomon import ReedSolomon
from protocols.coding.sync import FrameSynchroniser
from protocols.dictionary.l4 import DICTIONARY
from protocols.frames.index import index_frames
from protocols.frames.parameters import FrameParameters
from protocols.identifiers import VirtualChannel
from protocols.packets.extraction import PacketExtractor
from spacecraft_sim.__main__ import main

CAPTURES = Path(__file__).parents[1] / "captures"


@pytest.fixture(scope="module")
def sidecar() -> dict[str, Any]:
    return tomllib.loads((CAPTURES / "l4_relay_nominal_aos.toml").read_text())


def test_the_command_makes_the_same_octets(sidecar: dict[str, Any], tmp_path: Path) -> None:
    golden = (CAPTURES / sidecar["file"]).read_bytes()
    assert len(golden) == sidecar["octets"]
    assert hashlib.sha256(golden).hexdigest() == sidecar["sha256"]
    again = tmp_path / "again.cadu"
    words = sidecar["command"].replace("FILE", str(again)).split()
    assert words[:3] == ["python", "-m", "spacecraft_sim"]
    assert main(words[3:]) == 0
    assert again.read_bytes() == golden


def test_it_holds_what_the_sidecar_says(sidecar: dict[str, Any]) -> None:
    octets = (CAPTURES / sidecar["file"]).read_bytes()
    expected = sidecar["expected"]
    synchroniser = FrameSynchroniser(marker=bytes.fromhex("1acffc1d"), frame_length=1275)
    found = synchroniser.push(np.frombuffer(octets, np.uint8)).frames
    blocks = np.concatenate([found, synchroniser.finish().frames])
    decoded = ReedSolomon(32, 5).decode(randomise(blocks, "ccsds"))
    assert not decoded.corrections.any()
    frames = decoded.data
    assert frames.shape == (expected["frames"], expected["frame_length"])
    parameters = FrameParameters("aos", 1115, fecf="crc16", ocf=True, scid=expected["scid"])
    index = index_frames(frames, parameters)
    assert index.usable.all()
    by_vcid = {str(vcid): n for vcid, n in Counter(index.vcid.tolist()).items()}
    assert by_vcid == expected["frames_by_vcid"]
    extractor = PacketExtractor(accept_encapsulation=True)
    packets = extractor.push(frames, index, np.zeros(len(frames), np.int64)).packets
    relayed = packets.select(packets.version == 7)
    assert set(relayed.vcid.tolist()) == {VirtualChannel.RELAY}
    assert len(relayed) == expected["encapsulation_packets"]
    packets = packets.select(packets.version == 0)
    by_apid = {str(apid): n for apid, n in Counter(packets.apid.tolist()).items()}
    assert by_apid == expected["packets_by_apid"]
    events = DICTIONARY.decode(packets).table("EVENTS")
    assert events is not None
    assert str(events.engineering("EVT_TEXT")[0]) == expected["first_event"]
