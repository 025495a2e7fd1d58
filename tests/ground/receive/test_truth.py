"""The public captures give exactly the truth: every count and every SHA-256.

Frames recorded and published by Daniel Estévez, CC BY 4.0 (see the README of the shared captures).
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ground.receive.codewords import BlockDecoder
from ground.receive.profile import LinkProfile, load_profile
from ground.receive.replay import replay

MISSIONS = {
    "Aditya-L1__aditya_frames.u8": "aditya_l1",
    "ArtemisI__equl_frames.u8": "equuleus",
    "CE5__ATA_2021-09-18__ce5_frames.u8": "change5",
    "KPLO__camras-2022_08_05_08_44_13_tlm_frames.u8": "danuri",
    "KPLO__camras-2022_08_05_13_53_49_tlm_frames.u8": "danuri",
    "KPLO__camras-2022_08_05_14_08_18_tlm_frames.u8": "danuri",
    "Lucy__lucy_frames_eb3frn_20211020_235911.u8": "lucy",
    "Mars2020__mars2020_frames.u8": "mars2020",
    "STEREO-A__stereo-a_bg2bhc_frames_20220924_1035.raw": "stereo_a",
    "Tianwen-2__tw2-lowdr_2026_06_08_13_21_35_8428.159MHz_1.00Msps_ci16_le_frames.u8": "tianwen2",
}

#: What the summary does not say: where a file comes from, and what the frames' authors found out.
NOT_COUNTS = {
    "bytes_note", "sha256", "scid_hex", "mission", "location", "coding_from_flowgraph", "origin",
    "published_source", "packet_chain_self_check", "confidence", "notes", "file",
    "crc_pass_if_last_two_octets_taken_as_FECF", "frames_expected_version_scid",
    "frames_expected_version_scid_and_crc", "ocf_flag", "sec_hdr_flag", "seg_len_id",
    "signalling_octet",
    # "stripped" and "absent" are the same frames.
    "fecf",
}  # fmt: skip


def differences(truth: Any, found: Any, at: str = "") -> list[str]:
    """Everything that the truth says and the summary does not say alike."""
    if isinstance(truth, dict) and isinstance(found, dict):
        return [
            line
            for key, value in truth.items()
            if key not in NOT_COUNTS
            for line in differences(value, found.get(key, "missing"), f"{at}/{key}")
        ]
    return [] if truth == found else [f"{at}: {found!r}, truth {truth!r}"]


def summary_of(path: Path, profile: LinkProfile) -> dict[str, Any]:
    """As `l4 replay --summary json` prints it."""
    return json.loads(json.dumps(replay(path, profile).summary))


@pytest.fixture(scope="module")
def truth(shared: Path) -> dict[str, Any]:
    entries = json.loads((shared / "captures" / "truth.json").read_text())["files"]
    return {entry["file"]: entry for entry in entries}


@pytest.mark.parametrize("file", MISSIONS)
def test_with_the_mission_profile(file: str, truth: dict[str, Any], shared: Path) -> None:
    wanted = deepcopy(truth[file])
    if MISSIONS[file] == "aditya_l1":
        # The profile says that VC 2 is opaque, so no pointer is read and no packet version is bad.
        channel = wanted["vcs"]["2"]
        channel["fhp_classes"], channel["reassembly"] = (
            {"opaque": 1230},
            {"opaque_octets": 1230 * 211},
        )
    found = summary_of(shared / "captures" / file, load_profile(MISSIONS[file]))
    assert differences(wanted, found) == []


def flags(entry: dict[str, Any]) -> dict[str, Any]:
    """What the README of the captures says about a link, as flags."""
    ocf = bool(entry.get("ocf_len_managed")) or "1" in entry.get("ocf_flag", {})
    return {
        "frames": entry["format"].lower(),
        "frame_length": entry["frame_len"],
        "fecf": "present" if entry["fecf"] == "included" else "absent",
        "ocf": "present" if ocf else "absent",
        "insert_zone": entry.get("insert_zone_len", 0),
    }


@pytest.mark.parametrize("scid", ["given", "inferred"])
@pytest.mark.parametrize("file", MISSIONS)
def test_with_flags_alone(file: str, scid: str, truth: dict[str, Any], shared: Path) -> None:
    given = flags(truth[file])
    if scid == "given":
        given["scid"] = truth[file]["scid"]
    found = summary_of(shared / "captures" / file, load_profile(**given))
    assert differences(truth[file], found) == []
    said = [note for note in found.get("survey", []) if "--scid" in note]
    assert len(said) == (scid == "inferred")


@pytest.mark.parametrize("file", MISSIONS)
def test_with_nothing_but_the_frame_length(file: str, truth: dict[str, Any], shared: Path) -> None:
    """Kind, FECF, SCID and content are found out; AOS frames do not show OCF and insert zone."""
    given = flags(truth[file])
    if given["frames"] == "tm":
        given = {"frame_length": given["frame_length"]}
    else:
        given = {name: given[name] for name in ("frame_length", "ocf", "insert_zone")}
    found = summary_of(shared / "captures" / file, load_profile(**given))
    assert differences(truth[file], found) == []


def test_opaque_channel_is_kept_octet_by_octet(shared: Path) -> None:
    """Aditya-L1's VC 2: nothing of the data fields is lost, and no packet is made of them."""
    path = shared / "captures" / "Aditya-L1__aditya_frames.u8"
    zones: list[bytes] = []

    class Collect:
        def take(self, output: Any, chain: Any) -> None:
            assert len(output.packets) == 0
            zones.extend(zone.octets for zone in output.opaque)

        def finish(self, chain: Any) -> None: ...

    data = path.read_bytes()
    # TM: 6 octets of header before, 4 of OCF behind.
    wanted = [data[at + 6 : at + 217] for at in range(0, len(data), 221)]
    for profile in (load_profile("aditya_l1"), load_profile(frames="tm", frame_length=221)):
        zones.clear()
        replay(path, profile, sinks=[Collect()])
        assert zones == wanted


def coded(shared: Path) -> dict[str, Any]:
    entry = json.loads((shared / "captures" / "truth.json").read_text())["coded"]
    return entry["Queqiao__queqiao_rs_frames.u8"]


def test_queqiao_codewords_give_both_readings(shared: Path) -> None:
    wanted = coded(shared)
    found = summary_of(
        shared / "captures" / "Queqiao__queqiao_rs_frames.u8", load_profile("queqiao")
    )
    for key in (
        "codewords",
        "naive_rs252_220_dual_corrected_symbol_histogram",
        "with_asm_tail_prefix_00cffc1d_histogram",
    ):
        assert found[key] == wanted[key]
    assert found["frames"] == wanted["codewords"]
    assert found["uncorrectable_frames"] == 250


def test_queqiao_codewords_as_the_standard_says(shared: Path) -> None:
    path = shared / "captures" / "Queqiao__queqiao_rs_frames.u8"
    found = summary_of(path, load_profile("queqiao", rs_known_prefix=""))
    histogram = coded(shared)["naive_rs252_220_dual_corrected_symbol_histogram"]
    assert found["corrections_histogram"] == histogram


def test_queqiao_with_every_octet_that_was_sent(shared: Path) -> None:
    """The truth's reading drops the last octet of the block; this one keeps it.

    2960 codewords then need one correction each, all of the same value in the same place: what
    the marker's first octet adds there.  The twelve that the truth counts under 0 are among them.
    Both readings must give the same frames.
    """
    path = shared / "captures" / "Queqiao__queqiao_rs_frames.u8"
    wanted = coded(shared)["with_asm_tail_prefix_00cffc1d_histogram"]
    found = summary_of(path, load_profile("queqiao", rs_known_prefix="cffc1d"))
    assert found["corrections_histogram"] == {
        **{key: value for key, value in wanted.items() if key != "0"},
        "1": wanted["0"] + wanted["1"],
    }
    blocks = np.fromfile(path, np.uint8).reshape(-1, 252)
    code = load_profile("queqiao").coding.reed_solomon
    assert code is not None
    readings = [
        BlockDecoder(code, bytes.fromhex(text)).decode(blocks) for text in ("00cffc1d", "cffc1d")
    ]
    good = (readings[0].corrections >= 0)[:, 0]
    assert np.array_equal(readings[0].frames[good], readings[1].frames[good])
