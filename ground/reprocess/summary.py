"""What a run has found, by day, and what is to be known before it is used: warnings."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ground.durable_files import replace_file
from ground.reprocess.part import FORMAT
from ground.reprocess.plan import Scanned
from protocols.timecodes.tai import utc_iso_from_tai_ns

#: Counts of the chain that are no success, and how they are told of.
_LOSSES = {
    "frames.uncorrectable": "frames that no code could correct",
    "frames.crc_fail": "frames that fail their error control",
    "frames.foreign": "frames of other spacecraft or channels",
    "frames.malformed": "malformed frames",
    "channels.missing": "frames are missing, by their counters (at least)",
    "packets.partial_dropped_gap": "packets were dropped half received, at a gap",
    "frames.insecure": "frames that link security refused",
    "decoder.undefined": "packets without a definition: in no file",
    "decoder.wrong_length": "packets of a wrong length: in no file",
}

#: Stretches that begin so soon after the one before are of one pass.
_TOGETHER_NS = 600 * 10**9


def summarise(
    out: Path,
    settings: str,
    looked_at: Mapping[str, Sequence[Scanned]],
    manifests: Sequence[dict[str, Any]],
    reused: Sequence[bool],
    again: int,
) -> dict[str, Any]:
    """The summary of a finished run, which is in `out`/manifest.json from now on."""
    counts: Counter[str] = Counter()
    days: dict[str, Counter[str]] = defaultdict(Counter)
    kept_days: dict[str, int] = Counter()
    by_software: Counter[str] = Counter()
    for manifest, kept in zip(manifests, reused, strict=True):
        counts.update(manifest["counts"])
        by_software[manifest["software"]] += 1
        part = manifest["part"]
        days[part["day"]].update(
            parts=1,
            packets=manifest["packets"],
            rows=sum(one["rows"] for one in manifest["files"]),
            octets=sum(one["octets"] for one in manifest["files"]),
            capture_octets=part["octets"],
        )
        kept_days[part["day"]] += kept
    parts = {
        f"day={m['part']['day']}/part-{m['part']['number']:04d}": m["digest"] for m in manifests
    }
    summary: dict[str, Any] = {
        "format": FORMAT,
        "settings": settings,
        "software": dict(by_software),
        "packets": sum(manifest["packets"] for manifest in manifests),
        "packet_octets": sum(manifest["packet_octets"] for manifest in manifests),
        "capture_octets": sum(manifest["part"]["octets"] for manifest in manifests),
        "days": {day: dict(days[day]) for day in sorted(days)},
        "captures": {capture: _captured(files) for capture, files in looked_at.items()},
        "counts": dict(sorted(counts.items())),
        "warnings": _warnings(looked_at, counts, by_software),
        "parts": parts,
    }
    replace_file(out / "manifest.json", json.dumps(summary, indent=1).encode())
    return {**summary, "kept": sum(reused), "again": again, "kept_days": dict(kept_days)}


def _captured(files: Sequence[Scanned]) -> dict[str, Any]:
    stretches = [one for file in files for one in file.stretches]
    return {
        "files": len(files),
        "octets": sum(one.octets for one in stretches),
        "begin": utc_iso_from_tai_ns(min(one.first_ns for one in stretches)) if stretches else None,
        "end": utc_iso_from_tai_ns(max(one.last_ns for one in stretches)) if stretches else None,
        "damaged_octets": sum(file.damaged_octets for file in files),
        "torn_octets": sum(file.torn_octets for file in files),
        "foreign_blocks": sum(file.foreign_blocks for file in files),
    }


def _warnings(
    looked_at: Mapping[str, Sequence[Scanned]], counts: Counter[str], by_software: Counter[str]
) -> list[str]:
    found: list[str] = []
    for capture, files in looked_at.items():
        told = _captured(files)
        for name, words in (
            ("damaged_octets", "octets of damage were passed over"),
            ("torn_octets", "octets at a file's end are no whole chunk (still being written?)"),
            ("foreign_blocks", "blocks are no chunks"),
        ):
            if told[name]:
                found.append(f"{capture}: {told[name]:,} {words}")
        if not told["octets"]:
            found.append(f"{capture}: nothing was captured")
    found += _overlaps(looked_at)
    for name, words in _LOSSES.items():
        if counts[name]:
            found.append(f"{counts[name]:,} {words}")
    for name, count in sorted(counts.items()):
        if name.startswith("left_out."):
            found.append(
                f"{count:,} {name.removeprefix('left_out.')} left out: --mission of its own"
            )
    if len(by_software) > 1:
        told = ", ".join(f"{count} by {name}" for name, count in sorted(by_software.items()))
        found.append(f"parts were made by several versions: {told}")
    return found


def _overlaps(looked_at: Mapping[str, Sequence[Scanned]]) -> list[str]:
    """Captures that were received at the same time: two antennas', which heard the same packets."""
    spans: list[tuple[int, int, str]] = []
    for capture, files in looked_at.items():
        for one in (one for file in files for one in file.stretches):
            last = spans[-1] if spans else None
            # Consecutive stretches are one span, unless there was a pass without one in between.
            if last and last[2] == capture and 0 <= one.first_ns - last[1] < _TOGETHER_NS:
                spans[-1] = (last[0], max(last[1], one.last_ns), capture)
            else:
                spans.append((one.first_ns, one.last_ns, capture))
    shared: dict[tuple[str, str], tuple[int, int]] = {}
    open_: list[tuple[int, int, str]] = []
    for begin, end, capture in sorted(spans):
        open_ = [one for one in open_ if one[1] > begin]
        for _, other_end, other in open_:
            if other != capture:
                pair = (min(other, capture), max(other, capture))
                first, total = shared.get(pair, (begin, 0))
                shared[pair] = (first, total + min(end, other_end) - begin)
        open_.append((begin, end, capture))
    return [
        f"{one} and {other} were received together for {total / 1e9:,.0f} s, from "
        f"{utc_iso_from_tai_ns(first, decimals=0)}: what both heard is there twice"
        for (one, other), (first, total) in shared.items()
    ]


__all__ = ["summarise"]
