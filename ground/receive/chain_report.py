"""What a receive chain has counted, as statistics for the bus and as a summary for JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from ground.receive.decoding import Decoder, integers
from ground.receive.output import ChainStatistics
from ground.receive.profile import InputKind, LinkProfile
from ground.receive.summary import StreamSummary
from protocols.frames.sdls import Refusal, SecurityEndpoint
from protocols.packets.extraction import ExtractionStatistics
from protocols.packets.large_reports import LargeReports

#: Reasons for which begun packets or their rests were dropped (names of the extractor's counters).
_DROPS = (
    "fhp_mismatch",
    "bad_fhp",
    "bad_pvn",
    "bad_length",
    "partial_dropped_gap",
    "orphan_continuation_frames",
    "orphan_heads",
)


@dataclass(frozen=True, slots=True)
class Counted:
    """A chain at an instant; the parts are the chain's own, only read here.

    held: octets of a block or packet that is not whole; surveyed: frames held for the survey.
    """

    profile: LinkProfile
    input: InputKind
    octets_in: int
    held: int
    damaged_octets: int
    surveyed: int
    stream: StreamSummary
    extraction: ExtractionStatistics
    decoder: Decoder | None
    security: SecurityEndpoint | None
    large: LargeReports | None
    notes: list[str]


def statistics(chain: Counted) -> ChainStatistics:
    """Counts by stage and by virtual channel."""
    stream, extraction = chain.stream, chain.extraction
    counts: dict[str, dict[str, int]] = {
        "input": {"octets": chain.octets_in, "held": chain.held},
    }
    if chain.damaged_octets:
        counts["input"]["damaged_octets"] = chain.damaged_octets
    if chain.decoder is not None:
        counts |= chain.decoder.counts()
    if chain.security is not None:
        counts["security"] = {
            "accepted": chain.security.statistics["accepted"],
            **{r.name.lower(): chain.security.statistics[r] for r in Refusal},
        }
    if chain.input != "packets":
        counts["frames"] = {
            "frames": stream.frames,
            "good": stream.frames - sum(stream.rejected.values()),
            **stream.rejected,
            "channels_refused": extraction.refused,
            "surveyed": chain.surveyed,
        }
    drops = Counter[str]()
    for channel in extraction.channels.values():
        drops.update({name: channel.counts[name] for name in _DROPS})
    counts["packets"] = {
        "packets": stream.packets,
        "octets": stream.packet_octets,
        **{name: drops[name] for name in _DROPS if chain.input != "packets"},
    }
    if chain.large is not None:
        counts["large_reports"] = dict(chain.large.statistics)
    names = _channel_names(extraction)
    channels = {
        names[scid, vcid]: {
            "frames": value.counts["frames"],
            "discontinuities": value.counts["discontinuities"],
            "repeats": value.counts["repeats"],
            "missing": value.counts["missing_frames"],
            "idle_frames": value.counts["idle_frames"],
            "packets": value.counts["space_packets"],
            "opaque_octets": value.counts["opaque_octets"],
            "drops": sum(value.counts[name] for name in _DROPS),
        }
        for (scid, vcid), value in sorted(extraction.channels.items())
    }
    return ChainStatistics(counts, channels)


def summary(chain: Counted) -> dict[str, Any]:
    """One JSON object, keys as in the truth file of the public captures."""
    stream = chain.stream
    result: dict[str, Any] = {"profile": chain.profile.name, "input": chain.input}
    result["bytes"] = chain.octets_in
    if chain.input == "packets":
        entry = stream.channel(0, None)
        del entry["space_packets"]
        result |= {
            "format": "packets",
            "space_packets": stream.packets,
            "damaged_bytes": chain.damaged_octets,
            "trailing_bytes": chain.held,
            **entry,
        }
        return result
    result |= _frames_summary(chain)
    if chain.decoder is not None:
        coding = chain.decoder.summary()
        if coding:
            result["uncorrectable_frames"] = stream.rejected["uncorrectable"]
        result |= coding
    extraction = chain.extraction
    tm = chain.profile.kind == "tm"
    for scid, kept in sorted(extraction.master_channels.items()):
        entry = integers(kept)
        entry["missing_frames_mod256_lower_bound"] = entry.pop("missing_frames")
        several = len(extraction.master_channels) > 1
        result[f"master_channel_{scid}" if several else "master_channel"] = entry
    names = _channel_names(extraction)
    result["vcs"] = {
        names[scid, vcid]: stream.channel(vcid, channel, modulus_256=tm)
        for (scid, vcid), channel in sorted(extraction.channels.items())
    }
    result["stages"] = statistics(chain).counts
    if chain.notes:
        result["survey"] = list(chain.notes)
    return result


def _frames_summary(chain: Counted) -> dict[str, Any]:
    stream, profile = chain.stream, chain.profile
    rejected = stream.rejected
    with_fecf = profile.fecf not in (None, "absent")
    result: dict[str, Any] = {
        "format": (profile.kind or "unknown").upper(),
        "frame_len": profile.frame_length,
        "frames": stream.frames,
        "trailing_bytes": chain.held,
        "fecf": "included" if with_fecf else "absent",
    }
    if with_fecf:
        result["crc_pass"] = stream.frames - rejected["crc_fail"] - rejected["uncorrectable"]
        result["crc_fail"] = rejected["crc_fail"]
        result["crc_fail_frame_index"] = stream.rejected_indices["crc_fail"]
    result |= {
        "foreign_frames": rejected["foreign"],
        "foreign_frame_index": stream.rejected_indices["foreign"],
        "malformed_frames": rejected["malformed"],
        **({} if chain.security is None else {"insecure_frames": rejected["insecure"]}),
        "version_counts": {str(v): n for v, n in sorted(stream.versions.items())},
        "scid": profile.scid,
    }
    if profile.kind == "aos":
        result["insert_zone_len"] = profile.insert_zone
        result["ocf_len_managed"] = 4 if profile.ocf else 0
    return result


def _channel_names(extraction: ExtractionStatistics) -> dict[tuple[int, int], str]:
    """VCs of one spacecraft go by their number; only several need to be told apart."""
    several = len({scid for scid, _vcid in extraction.channels}) > 1
    return {
        (scid, vcid): f"{scid}/{vcid}" if several else str(vcid)
        for scid, vcid in extraction.channels
    }
