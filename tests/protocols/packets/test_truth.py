"""The ten real frame captures give exactly what the independent verifier counted.

Captures by Daniel Estévez (jupyter_notebooks), CC BY 4.0.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.frames.columns import FHP_IDLE
from protocols.frames.index import index_frames
from protocols.frames.parameters import FrameParameters
from protocols.packets.batch import PacketBatch
from protocols.packets.extraction import ChannelStatistics, PacketExtractor

FILES = [
    "Aditya-L1__aditya_frames.u8",
    "ArtemisI__equl_frames.u8",
    "CE5__ATA_2021-09-18__ce5_frames.u8",
    "KPLO__camras-2022_08_05_08_44_13_tlm_frames.u8",
    "KPLO__camras-2022_08_05_13_53_49_tlm_frames.u8",
    "KPLO__camras-2022_08_05_14_08_18_tlm_frames.u8",
    "Lucy__lucy_frames_eb3frn_20211020_235911.u8",
    "Mars2020__mars2020_frames.u8",
    "STEREO-A__stereo-a_bg2bhc_frames_20220924_1035.raw",
    "Tianwen-2__tw2-lowdr_2026_06_08_13_21_35_8428.159MHz_1.00Msps_ci16_le_frames.u8",
]
#: What a mission profile says and the truth does not need to derive.
ABOUT = {
    "mission", "location", "coding_from_flowgraph", "published_source", "confidence", "notes",
    "file", "origin", "fecf", "scid_hex", "ocf_len_managed", "insert_zone_len", "format",
    "packet_chain_self_check",
}  # fmt: skip


def load(shared: Path) -> dict[str, dict[str, Any]]:
    truth = json.loads((shared / "captures" / "truth.json").read_text())
    return {entry["file"]: entry for entry in truth["files"]}


def parameters_of(truth: dict[str, Any]) -> FrameParameters:
    return FrameParameters(
        kind=truth["format"].lower(),
        frame_length=truth["frame_len"],
        fecf="crc16" if truth["fecf"] == "included" else "absent",
        ocf=bool(truth.get("ocf_len_managed")),
        insert_zone_length=truth.get("insert_zone_len", 0),
        scid=truth["scid"],
        content="aligned-packets" if "no M_PDU" in truth.get("notes", "") else "packets",
    )


def sha256(octets: np.ndarray) -> str:
    return hashlib.sha256(octets.tobytes()).hexdigest()


def apids(batch: PacketBatch) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for apid in np.unique(batch.apid).tolist():
        mine = batch.select(batch.apid == apid)
        step = np.diff(mine.sequence_count.astype(int)) % 16384
        found[str(apid)] = {
            "count": len(mine),
            "bytes": len(mine.octets),
            "sec_hdr": sorted(set(mine.has_secondary_header.astype(int).tolist())),
            "type_tc": sorted(set((mine.octets[mine.offsets[:-1]] >> 4 & 1).tolist())),
            "seq_flags": sorted(set(mine.sequence_flags.tolist())),
            "seq_discontinuities": int((step != 1).sum()),
            "min_len": int(mine.length.min()),
            "max_len": int(mine.length.max()),
            "sha256_concat": sha256(mine.octets),
        }
    return found


def summarise_channel(kind: str, channel: ChannelStatistics, batch: PacketBatch) -> dict[str, Any]:
    counts = channel.counts
    counter = {
        "discontinuities": counts["discontinuities"],
        "repeats": counts["repeats"],
        "first": channel.first_count,
        "last": channel.last_count,
    }
    if kind == "tm":
        counter["missing_frames_mod256_lower_bound"] = counts["missing_frames"]
    else:
        counter["missing_frames"] = counts["missing_frames"]
        counter["backward_jumps"] = counts["backward_jumps"]
    classes = {
        "pointer": counts["pointer_frames"],
        "idle_7FE": counts["idle_frames"],
        "nostart_7FF": counts["continuation_frames"],
    }
    summary: dict[str, Any] = {
        "frames": counts["frames"],
        "counter": counter,
        "data_field_len": list(channel.zone_lengths),
        "fhp_classes": {name: count for name, count in classes.items() if count},
    }
    if channel.ocf:
        top = Counter(channel.ocf).most_common(8)
        summary["ocf_distinct"] = len(channel.ocf)
        summary["ocf_top"] = {f"{value:08x}": count for value, count in top}
    if counts["idle_frames"] < counts["frames"]:
        names = [
            "fhp_match", "fhp_mismatch", "partial_dropped_gap", "orphan_continuation_frames",
            "bad_pvn", *(f"bad_pvn_{version}" for version in range(8)),
        ]  # fmt: skip
        reassembly = {name: counts[name] for name in names if counts[name]}
        if channel.partial_packets:
            reassembly["partial_at_end"] = channel.partial_packets
        summary |= {
            "space_packets": counts["space_packets"],
            "reassembly": reassembly,
            "apids": apids(batch),
            "sha256_all_packets_concat": sha256(batch.octets),
        }
    return summary


def summarise(frames: np.ndarray, parameters: FrameParameters, pushes: list[int]) -> dict[str, Any]:
    """The truth's keys, from frames pushed in pieces that end at `pushes`."""
    extractor = PacketExtractor()
    batches = []
    low = 0
    for high in [*pushes, len(frames)]:
        part = frames[low:high]
        times = np.arange(low, high) * 1000
        batches.append(extractor.push(part, index_frames(part, parameters), times).packets)
        low = high
    batch = PacketBatch.concatenate(batches)
    index = index_frames(frames, parameters)
    statistics = extractor.statistics
    own = index.crc_ok & ~index.foreign
    foreign = index.crc_ok & index.foreign
    summary: dict[str, Any] = {
        "bytes": frames.size,
        "sha256": sha256(frames),
        "frame_len": frames.shape[1],
        "trailing_bytes": 0,
        "frames": statistics.frames,
        "foreign_frames": statistics.foreign,
        "foreign_frame_index": np.flatnonzero(foreign).tolist(),
        "scid": parameters.scid,
        "version_counts": {str(k): v for k, v in sorted(Counter(index.version.tolist()).items())},
    }
    if parameters.fecf == "absent":
        as_if = FrameParameters(parameters.kind, parameters.frame_length, fecf="crc16")
        passed = index_frames(frames, as_if).crc_ok
        summary["crc_pass_if_last_two_octets_taken_as_FECF"] = int(passed.sum())
        summary["frames_expected_version_scid"] = int(own.sum())
    else:
        summary["crc_pass"] = int(index.crc_ok.sum())
        summary["crc_fail"] = statistics.crc_failed
        summary["crc_fail_frame_index"] = np.flatnonzero(~index.crc_ok).tolist()
        summary["frames_expected_version_scid_and_crc"] = int(own.sum())
    if parameters.kind == "tm":
        flags = index.signalling[own].astype(int)
        summary["ocf_flag"] = {str(k): v for k, v in Counter(index.has_ocf[own] * 1).items()}
        summary["sec_hdr_flag"] = {str(k): v for k, v in Counter(flags >> 15).items()}
        summary["seg_len_id"] = {str(k): v for k, v in Counter(flags >> 11 & 3).items()}
        master = statistics.master_channels[parameters.scid or 0]
        summary["master_channel"] = {
            "discontinuities": master.discontinuities,
            "repeats": master.repeats,
            "missing_frames_mod256_lower_bound": master.missing_frames,
            "first": master.first,
            "last": master.last,
        }
    else:
        octets = Counter(index.signalling[own].tolist())
        summary["signalling_octet"] = {hex(k): v for k, v in octets.items()}
    summary["vcs"] = {
        str(vcid): summarise_channel(parameters.kind, channel, batch.select(batch.vcid == vcid))
        for (_, vcid), channel in sorted(statistics.channels.items())
    }
    return summary


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("pieces", ["whole", "single frames", "uneven"])
def test_capture_gives_the_truth(shared: Path, name: str, pieces: str) -> None:
    truth = load(shared)[name]
    parameters = parameters_of(truth)
    octets = np.fromfile(shared / "captures" / name, np.uint8)
    frames = octets.reshape(-1, parameters.frame_length)
    pushes = {
        "whole": [],
        "single frames": list(range(1, len(frames))),
        "uneven": [1, 2, 5, 5, 40, 41, 88],
    }[pieces]
    expected = {key: value for key, value in truth.items() if key not in ABOUT}
    assert summarise(frames, parameters, pushes) == expected


def test_all_captures_of_the_truth_are_tested(shared: Path) -> None:
    assert sorted(load(shared)) == sorted(FILES)


def test_what_is_not_packets_is_delivered_as_it_is(shared: Path) -> None:
    """Aditya-L1: every zone begins with version 6, so every zone is opaque, octet for octet."""
    truth = load(shared)[FILES[0]]
    parameters = parameters_of(truth)
    frames = np.fromfile(shared / "captures" / FILES[0], np.uint8).reshape(-1, 221)
    extracted = PacketExtractor().push(
        frames, index_frames(frames, parameters), np.arange(len(frames))
    )
    assert len(extracted.packets) == 0
    assert len(extracted.opaque) == 1230
    assert {zone.reason for zone in extracted.opaque} == {"bad_pvn"}
    for number, zone in enumerate(extracted.opaque):
        assert zone.octets == frames[number, 6:217].tobytes()
        assert (zone.scid, zone.vcid, zone.frame, zone.ert_ns) == (414, 2, number, number)


def test_idle_frames_of_the_captures(shared: Path) -> None:
    truth = load(shared)["Lucy__lucy_frames_eb3frn_20211020_235911.u8"]
    frames = np.fromfile(shared / "captures" / truth["file"], np.uint8).reshape(-1, 1113)
    index = index_frames(frames, parameters_of(truth))
    assert (index.first_header_pointer[index.vcid == 63] == FHP_IDLE).all()


@pytest.mark.parametrize("share", [0.001, 0.05, 0.4])
def test_mutated_captures_raise_nothing_and_every_octet_is_accounted_for(
    shared: Path, share: float
) -> None:
    """Over a million octets of the real captures overwritten, and frames lost and exchanged."""
    rng = np.random.default_rng(int(share * 1000))
    mutated = 0
    for truth in load(shared).values():
        parameters = parameters_of(truth)
        frames = np.fromfile(shared / "captures" / truth["file"], np.uint8)
        frames = frames.reshape(-1, parameters.frame_length)
        order = np.arange(len(frames))
        order = np.sort(rng.permutation(order)[: len(order) * 9 // 10])
        swapped = rng.integers(0, len(order) - 1, len(order) // 20)
        order[swapped], order[swapped + 1] = order[swapped + 1].copy(), order[swapped].copy()
        frames = frames[order]
        where = rng.random(frames.shape) < share
        # The FECF would hide what follows behind it: look at frames whose FECF is not believed too.
        frames[where] = rng.integers(0, 256, where.sum(), np.uint8)
        mutated += int(where.sum())
        for given in (parameters, replace(parameters, fecf="absent", scid=None)):
            extractor = PacketExtractor(accept_encapsulation=bool(rng.integers(0, 2)))
            cuts = [0, *sorted(rng.integers(0, len(frames), 3).tolist()), len(frames)]
            octets = 0
            for low, high in itertools.pairwise(cuts):
                part = frames[low:high]
                got = extractor.push(part, index_frames(part, given), np.arange(low, high))
                octets += len(got.packets.octets) + len(got.opaque.octets)
                # Never more out than went in, whatever lengths the headers claim.
                assert octets <= frames.size
            zones = dropped = delivered = 0
            for channel in extractor.statistics.channels.values():
                counts = channel.counts
                delivered += counts["packet_octets"] + counts["opaque_octets"]
                dropped += channel.partial_octets + sum(
                    counts[f"{reason}_octets"] for reason in ("idle", "gap", "mismatch", "orphan")
                )
                zones += counts["zone_octets"]
            assert octets == delivered
            assert zones == delivered + dropped
    assert mutated > 2_500 * (share / 0.001)
