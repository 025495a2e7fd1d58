"""From the octets of a link to packets: synchronise, derandomise, correct, check, open, extract.

`ReceiveChain` is a pure function of the octets pushed so far: no I/O, no clock, and how the octets
were cut into chunks changes nothing but the moment at which something comes out.  Everything that
does not become a packet is counted, and handed out with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ground.receive.codewords import BlockDecoder
from ground.receive.link_security import by_name, security_counts
from ground.receive.output import (
    ChainOutput,
    ChainStatistics,
    OcfRuns,
    Rejected,
    nothing,
    trimmed,
)
from ground.receive.profile import InputKind, LinkProfile
from ground.receive.summary import StreamSummary
from ground.receive.survey import SURVEY_FRAMES, settle
from ground.receive.times import ReceiveTimes
from protocols.coding.randomiser import randomise
from protocols.coding.reed_solomon import IN_VIRTUAL_FILL, UNCORRECTABLE
from protocols.coding.sync import FrameSynchroniser
from protocols.errors import LocalError
from protocols.frames.columns import FrameIndex
from protocols.frames.index import index_frames
from protocols.frames.sdls import Refusal, SecurityEndpoint
from protocols.frames.sdls_frames import open_frames, plain_parameters
from protocols.packets.batch import PacketBatch
from protocols.packets.extraction import ExtractionStatistics, PacketExtractor
from protocols.packets.large_reports import LargeReports
from protocols.packets.space_packet import split

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

#: Octets taken through all stages at a time: frames and their packets stay in the cache, what NumPy
#: asks for each array is small beside its work, and a push of any size allocates no more than this
#: wants.  (Measured: 2.3, 3.0, 3.3, 3.1 Gbit/s with 256, 512, 1024, 2048 KiB.)
SLICE_OCTETS = 1 << 20

SNAPSHOT_VERSION = 3


class ReceiveChain:
    """Decoder of one link.

    profile: what the link carries.  input: what `push` is given: "cadu" (a bit or octet stream
    with sync markers), "codewords" (blocks back to back), "frames" (frames back to back, decoded
    already) or "packets" (space packets back to back); default: the profile's, else "cadu".
    digests: hash the packets for `summary()`; such a chain has no snapshot.

    `profile` is what was given with everything that the survey has settled; `notes` are the
    survey's sentences.
    """

    def __init__(
        self, profile: LinkProfile, *, input: InputKind | None = None, digests: bool = False
    ) -> None:
        self._given = profile
        self._digests = digests
        self.input: InputKind = input or profile.input or "cadu"
        if self.input != "packets" and not profile.frame_length:
            raise LocalError(f"link profile {profile.name!r} has no frame length")
        self._begin()

    def _begin(self) -> None:
        profile = self._given
        self.profile = profile
        self.notes: list[str] = []
        self.summary_counts = StreamSummary(digests=self._digests)
        self._octets_in = 0
        self._times = ReceiveTimes(profile.bit_rate)
        self._extractor = PacketExtractor(accept_encapsulation=7 in profile.packet_versions)
        self._large = LargeReports(profile.large_reports) if profile.large_reports else None
        self._held = b""
        self._damaged_octets = 0
        # Frames held back until the survey: (frames, uncorrectable, ert_ns).
        self._surveyed: list[tuple[U8, npt.NDArray[np.bool_], I64]] = []
        self._settled = self.input == "packets" or not profile.open_questions
        self._parameters = None
        self._security: SecurityEndpoint | None = None
        if self._settled and self.input != "packets":
            self._parameters = profile.frame_parameters()
            if profile.security is not None:
                self._security = profile.security.endpoint(self._parameters)
        coding = profile.coding
        self._codec: BlockDecoder | None = None
        self._sync = None
        self._block_length = profile.frame_length
        if self.input in ("cadu", "codewords"):
            if coding.reed_solomon is not None:
                self._codec = BlockDecoder(coding.reed_solomon, coding.known_prefix)
            self._block_length = profile.block_length
        if self.input == "cadu":
            self._sync = FrameSynchroniser(
                marker=coding.asm,
                frame_length=self._block_length,
                bit_aligned=coding.bit_aligned,
                marker_errors=coding.marker_errors,
                flywheel=coding.flywheel,
                inverted=coding.inverted,
            )

    # -- in and out --------------------------------------------------------------------------

    def push(self, octets: bytes | memoryview | U8, ert_ns: int) -> ChainOutput:
        """The next octets of the link, of any number; `ert_ns` is the ERT of the first of them.

        Returns what became complete.  Nothing that the octets hold raises.
        """
        if len(octets):
            self._times.add(self._octets_in, ert_ns)
        data = octets if isinstance(octets, np.ndarray) else np.frombuffer(octets, np.uint8)
        parts: list[ChainOutput] = []
        for start in range(0, max(len(data), 1), SLICE_OCTETS):
            part = data[start : start + SLICE_OCTETS]
            parts.append(self._stages[self.input](self, part))
            self._octets_in += len(part)
        return ChainOutput.join(parts)

    def push_chunks(self, chunks: Sequence[tuple[bytes, int]]) -> ChainOutput:
        """The same as one `push` for each (octets, ert_ns), in one go: much less work for chunks
        of a frame or less."""
        at = self._octets_in
        for octets, ert_ns in chunks:
            if octets:
                self._times.add(at, ert_ns)
            at += len(octets)
        joined = b"".join(octets for octets, _ert_ns in chunks)
        if not joined:
            return nothing()
        # An empty chunk has no octet whose time it could tell.
        return self.push(joined, next(ert_ns for octets, ert_ns in chunks if octets))

    def finish(self) -> ChainOutput:
        """The link has ended: what is still in the chain comes out, or is counted as torn."""
        parts: list[ChainOutput] = []
        if self._sync is not None:
            parts.append(self._after_sync(self._sync.finish()))
        if not self._settled:
            parts.append(self._survey())
        return ChainOutput.join(parts) if parts else nothing()

    # -- stages ------------------------------------------------------------------------------

    def _push_cadus(self, octets: U8) -> ChainOutput:
        assert self._sync is not None
        return self._after_sync(self._sync.push(octets))

    def _after_sync(self, synced: Any) -> ChainOutput:
        if not len(synced.position):
            self._times.forget(self._octets_in - self._horizon)
            return nothing()
        ert_ns = self._times.at(synced.position + 8 * len(self._given.coding.asm))
        self._times.forget(int(synced.position[-1]) >> 3)
        return self._decode(synced.frames, ert_ns)

    @property
    def _horizon(self) -> int:
        """No frame that is still to come begins further back: the synchroniser's own bound."""
        coding = self._given.coding
        return (coding.flywheel + 3) * (self._block_length + len(coding.asm))

    def _push_blocks(self, octets: U8) -> ChainOutput:
        data = np.concatenate([np.frombuffer(self._held, np.uint8), octets])
        first = self._octets_in - len(self._held)
        count = len(data) // self._block_length
        used = count * self._block_length
        self._held = data[used:].tobytes()
        blocks = data[:used].reshape(count, self._block_length)
        starts = first + np.arange(count, dtype=np.int64) * self._block_length
        ert_ns = self._times.at(starts * 8)
        self._times.forget(first + used)
        if self.input == "codewords":
            return self._decode(blocks, ert_ns)
        return self._frames(blocks, np.zeros(count, np.bool_), ert_ns)

    def _decode(self, blocks: U8, ert_ns: I64) -> ChainOutput:
        if not len(blocks):
            return nothing()
        coding = self._given.coding
        if coding.randomiser != "none" and self.input == "cadu":
            blocks = randomise(blocks, coding.randomiser)
        uncorrectable = np.zeros(len(blocks), np.bool_)
        if self._codec is not None:
            result = self._codec.decode(blocks)
            self.summary_counts.add_corrections(result.corrections)
            if result.standard is not None:
                self.summary_counts.add_corrections(result.standard, standard=True)
            failed = result.corrections < 0
            if np.count_nonzero(failed):
                uncorrectable = np.any(failed, axis=1).reshape(len(blocks))
            blocks = result.frames
        return self._frames(blocks, uncorrectable, ert_ns)

    def _frames(self, frames: U8, uncorrectable: npt.NDArray[np.bool_], ert_ns: I64) -> ChainOutput:
        if self._settled:
            return self._extract(frames, uncorrectable, ert_ns)
        held = sum(len(part[0]) for part in self._surveyed)
        room = SURVEY_FRAMES - held
        # Exactly so many are surveyed however they come in: the answer may not depend on it.
        self._surveyed.append((frames[:room].copy(), uncorrectable[:room], ert_ns[:room]))
        if len(frames) < room:
            return nothing()
        output = self._survey()
        rest = self._extract(frames[room:], uncorrectable[room:], ert_ns[room:])
        return ChainOutput.join([output, rest])

    def _survey(self) -> ChainOutput:
        length = self._given.frame_length
        frames = np.concatenate([np.zeros((0, length), np.uint8), *(s[0] for s in self._surveyed)])
        uncorrectable = np.concatenate([np.zeros(0, np.bool_), *(s[1] for s in self._surveyed)])
        ert_ns = np.concatenate([np.zeros(0, np.int64), *(s[2] for s in self._surveyed)])
        self._surveyed = []
        intact = frames[~uncorrectable]
        self.profile, self.notes = settle(self._given, intact if len(intact) else frames)
        self._parameters = self.profile.frame_parameters()
        self._settled = True
        return self._extract(frames, uncorrectable, ert_ns)

    def _extract(
        self, frames: U8, uncorrectable: npt.NDArray[np.bool_], ert_ns: I64
    ) -> ChainOutput:
        if not len(frames):
            return nothing()
        assert self._parameters is not None
        if self._security is not None:
            return self._open(frames, uncorrectable, ert_ns)
        index = index_frames(frames, self._parameters)
        # A FECF says more than a decoder that gave up: it is the judge where there is one.
        bad = self._bad(uncorrectable)
        if np.count_nonzero(index.usable) == len(frames) and not np.count_nonzero(bad):
            self.summary_counts.add_frames(index.version, {})
            return self._packets(frames, index, ert_ns, [])
        masks: dict[str, npt.NDArray[np.bool_]] = {"uncorrectable": bad}
        left = ~bad
        for name, mask in (
            ("crc_fail", ~index.crc_ok),
            ("foreign", index.foreign),
            ("malformed", index.malformed),
        ):
            masks[name] = left & mask
            left = left & ~mask
        self.summary_counts.add_frames(index.version, masks)
        if bad.any():
            index = replace(index, crc_ok=index.crc_ok & ~bad)
        rejected = [
            Rejected(name, frames[mask], ert_ns[mask]) for name, mask in masks.items() if mask.any()
        ]
        return self._packets(frames, index, ert_ns, rejected)

    def _bad(self, uncorrectable: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        return uncorrectable if self.profile.fecf == "absent" else np.zeros_like(uncorrectable)

    def _open(self, frames: U8, uncorrectable: npt.NDArray[np.bool_], ert_ns: I64) -> ChainOutput:
        """Link security (355.0-B): what it refuses is kept as it came, the rest goes on plain."""
        assert self._parameters is not None
        assert self._security is not None
        security = self.profile.security
        assert security is not None
        # What is encrypted is not to be looked into for packets.
        outer = index_frames(frames, replace(self._parameters, content="opaque", vc_content={}))
        bad = self._bad(uncorrectable)
        ours = ~bad & outer.crc_ok & ~outer.foreign & ~outer.malformed
        plain, opened = open_frames(self._security, security.spi, frames[ours], self._parameters)
        good = np.flatnonzero(ours)[opened]
        agreed = self._security.association(security.spi).parameters
        index = index_frames(plain, plain_parameters(self._parameters, agreed))
        malformed = outer.malformed.copy()
        malformed[good] = index.malformed
        refused = ours.copy()
        refused[good] = False
        masks: dict[str, npt.NDArray[np.bool_]] = {}
        left = np.ones(len(frames), np.bool_)
        for name, mask in (
            ("uncorrectable", bad),
            ("crc_fail", ~outer.crc_ok),
            ("foreign", outer.foreign),
            ("insecure", refused),
            ("malformed", malformed),
        ):
            masks[name] = left & mask
            left = left & ~mask
        self.summary_counts.add_frames(outer.version, masks)
        rejected = [
            Rejected(name, frames[mask], ert_ns[mask]) for name, mask in masks.items() if mask.any()
        ]
        if not len(good):
            return replace(nothing(), rejected=rejected, frames=len(frames))
        output = self._packets(plain, index, ert_ns[good], rejected)
        return replace(output, frames=len(frames))

    def _packets(
        self, frames: U8, index: FrameIndex, ert_ns: I64, rejected: list[Rejected]
    ) -> ChainOutput:
        extracted = self._extractor.push(frames, index, ert_ns)
        packets = trimmed(extracted.packets)
        self.summary_counts.add_packets(packets)
        packets = self._with_large(packets)
        ocf = OcfRuns.of_frames(index, ert_ns)
        return ChainOutput(packets, extracted.opaque, rejected, len(frames), ocf=ocf)

    def _with_large(self, packets: PacketBatch) -> PacketBatch:
        """The packets, and behind their last parts the reports that came in several."""
        return packets if self._large is None else self._large.push(packets)

    def _push_packets(self, octets: U8) -> ChainOutput:
        if self._damaged_octets:
            self._damaged_octets += len(octets)
            return replace(nothing(), damaged=[octets.tobytes()] if len(octets) else [])
        data = np.concatenate([np.frombuffer(self._held, np.uint8), octets])
        first = self._octets_in - len(self._held)
        found = split(data, accept_encapsulation=7 in self._given.packet_versions)
        offsets = found.packets.offsets
        batch = replace(found.packets, ert_ns=self._times.at((first + offsets[:-1]) * 8))
        self._times.forget(first + int(offsets[-1]))
        self.summary_counts.add_packets(batch)
        batch = self._with_large(batch)
        rest = found.remainder.tobytes()
        if found.reason in ("", "truncated"):
            self._held = rest
            return replace(nothing(), packets=batch)
        # Packets have no marker: behind a header that cannot be, nothing says where the next one
        # begins.  All that follows is kept as damage.
        self._held = b""
        self._damaged_octets += len(rest)
        return replace(nothing(), packets=batch, damaged=[rest])

    _stages: ClassVar[dict[str, Callable[[ReceiveChain, U8], ChainOutput]]] = {
        "cadu": _push_cadus,
        "codewords": _push_blocks,
        "frames": _push_blocks,
        "packets": _push_packets,
    }

    # -- counts ------------------------------------------------------------------------------

    def statistics(self) -> ChainStatistics:
        counted = self.summary_counts
        extraction = self._extractor.statistics
        counts: dict[str, dict[str, int]] = {
            "input": {"octets": self._octets_in, "held": len(self._held)},
        }
        if self._damaged_octets:
            counts["input"]["damaged_octets"] = self._damaged_octets
        if self._sync is not None:
            counts["sync"] = _integers(self._sync.statistics)
        if self._codec is not None:
            corrections = counted.corrections
            counts["coding"] = {
                "codewords": sum(corrections.values()),
                "clean": corrections[0],
                "corrected": sum(n for value, n in corrections.items() if value > 0),
                "corrected_symbols": sum(v * n for v, n in corrections.items() if v > 0),
                "uncorrectable": sum(n for value, n in corrections.items() if value < 0),
            }
        if self._security is not None:
            counts["security"] = {
                "accepted": self._security.statistics["accepted"],
                **{r.name.lower(): self._security.statistics[r] for r in Refusal},
            }
        if self.input != "packets":
            good = counted.frames - sum(counted.rejected.values())
            counts["frames"] = {
                "frames": counted.frames,
                "good": good,
                **counted.rejected,
                "channels_refused": extraction.refused,
                "surveyed": sum(len(part[0]) for part in self._surveyed),
            }
        drops = Counter[str]()
        for channel in extraction.channels.values():
            drops.update({name: channel.counts[name] for name in _DROPS})
        counts["packets"] = {
            "packets": counted.packets,
            "octets": counted.packet_octets,
            **{name: drops[name] for name in _DROPS if self.input != "packets"},
        }
        if self._large is not None:
            counts["large_reports"] = dict(self._large.statistics)
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

    def summary(self) -> dict[str, Any]:
        """One JSON object, keys as in the truth file of the public captures."""
        counted = self.summary_counts
        statistics = self.statistics()
        result: dict[str, Any] = {"profile": self.profile.name, "input": self.input}
        result["bytes"] = self._octets_in
        if self.input == "packets":
            entry = counted.channel(0, None)
            del entry["space_packets"]
            result |= {
                "format": "packets",
                "space_packets": counted.packets,
                "damaged_bytes": self._damaged_octets,
                "trailing_bytes": len(self._held),
                **entry,
            }
            return result
        result |= self._frames_summary()
        if self._codec is not None:
            result |= self._coding_summary()
        extraction = self._extractor.statistics
        tm = self.profile.kind == "tm"
        for scid, kept in sorted(extraction.master_channels.items()):
            entry = _integers(kept)
            entry["missing_frames_mod256_lower_bound"] = entry.pop("missing_frames")
            several = len(extraction.master_channels) > 1
            result[f"master_channel_{scid}" if several else "master_channel"] = entry
        names = _channel_names(extraction)
        result["vcs"] = {
            names[scid, vcid]: counted.channel(vcid, channel, modulus_256=tm)
            for (scid, vcid), channel in sorted(extraction.channels.items())
        }
        result["stages"] = statistics.counts
        if self.notes:
            result["survey"] = list(self.notes)
        return result

    def _frames_summary(self) -> dict[str, Any]:
        counted = self.summary_counts
        profile = self.profile
        rejected = counted.rejected
        with_fecf = profile.fecf not in (None, "absent")
        result: dict[str, Any] = {
            "format": (profile.kind or "unknown").upper(),
            "frame_len": profile.frame_length,
            "frames": counted.frames,
            "trailing_bytes": len(self._held),
            "fecf": "included" if with_fecf else "absent",
        }
        if with_fecf:
            result["crc_pass"] = counted.frames - rejected["crc_fail"]
            result["crc_fail"] = rejected["crc_fail"]
            result["crc_fail_frame_index"] = counted.rejected_indices["crc_fail"]
        result |= {
            "foreign_frames": rejected["foreign"],
            "foreign_frame_index": counted.rejected_indices["foreign"],
            "malformed_frames": rejected["malformed"],
            **({} if self._security is None else {"insecure_frames": rejected["insecure"]}),
            "version_counts": {str(v): n for v, n in sorted(counted.versions.items())},
            "scid": profile.scid,
        }
        if self._codec is not None:
            result["uncorrectable_frames"] = rejected["uncorrectable"]
        if profile.kind == "aos":
            result["insert_zone_len"] = profile.insert_zone
            result["ocf_len_managed"] = 4 if profile.ocf else 0
        return result

    def _coding_summary(self) -> dict[str, Any]:
        counted = self.summary_counts
        # The truth file has other numbers for what a decoder could not do.
        names = {UNCORRECTABLE: -3, IN_VIRTUAL_FILL: -2}

        def histogram(corrections: Counter[int]) -> dict[str, int]:
            found = sorted((names.get(value, value), n) for value, n in corrections.items())
            return {str(value): n for value, n in found}

        result: dict[str, Any] = {
            "codewords": sum(counted.corrections.values()),
            "corrections_histogram": histogram(counted.corrections),
        }
        code, prefix = self._given.coding.reed_solomon, self._given.coding.known_prefix
        if code is not None and prefix:
            # Both readings, by the names of the truth file.
            name = f"rs{code.block_length}_{code.data_length}_{code.basis}"
            standard = histogram(counted.standard_corrections)
            result[f"naive_{name}_corrected_symbol_histogram"] = standard
            result[f"with_asm_tail_prefix_{prefix.hex()}_histogram"] = histogram(
                counted.corrections
            )
        return result

    # -- state -------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Everything that decides what comes next, as values that msgpack can store.

        `restore` on a chain with the same profile and input continues as if there had been no
        break: the same octets give the same output.  LocalError with digests on.
        """
        return {
            "version": SNAPSHOT_VERSION,
            "given": self._given.describe(),
            "input": self.input,
            "octets_in": self._octets_in,
            "held": self._held,
            "damaged_octets": self._damaged_octets,
            "times": self._times.snapshot(),
            "counts": self.summary_counts.snapshot(),
            "extractor": self._extractor.snapshot(),
            "large": None if self._large is None else self._large.snapshot(),
            "sync": None if self._sync is None else self._sync.snapshot(),
            "settled": self._settled,
            "kind": self.profile.kind,
            "fecf": self.profile.fecf,
            "scid": self.profile.scid,
            "any_scid": self.profile.any_scid,
            "content": self.profile.content,
            "vc_content": list(self.profile.vc_content.items()),
            "notes": list(self.notes),
            "security": None if self._security is None else self._security.snapshot(),
            "security_counts": {} if self._security is None else security_counts(self._security),
            "surveyed": [
                [frames.tobytes(), uncorrectable.tobytes(), ert_ns.tolist()]
                for frames, uncorrectable, ert_ns in self._surveyed
            ],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot.  LocalError if it is of another profile, input or version."""
        wanted = (SNAPSHOT_VERSION, self._given.describe(), self.input)
        if (state.get("version"), state.get("given"), state.get("input")) != wanted:
            raise LocalError(
                f"the snapshot is of another link profile, input or version than "
                f"{self._given.name!r}, {self.input}, {SNAPSHOT_VERSION}"
            )
        self._begin()
        self._octets_in = state["octets_in"]
        self._held = state["held"]
        self._damaged_octets = state["damaged_octets"]
        self._times.restore(state["times"])
        self.summary_counts.restore(state["counts"])
        self._extractor.restore(state["extractor"])
        if self._large is not None:
            self._large.restore(state["large"])
        if self._sync is not None:
            self._sync.restore(state["sync"])
        self._settled = state["settled"]
        self.notes = list(state["notes"])
        self.profile = replace(
            self._given,
            kind=state["kind"],
            fecf=state["fecf"],
            scid=state["scid"],
            any_scid=state["any_scid"],
            content=state["content"],
            vc_content=dict(state["vc_content"]),
        )
        if self._settled and self.input != "packets":
            self._parameters = self.profile.frame_parameters()
        if self._security is not None:
            self._security.restore(state["security"])
            self._security.statistics.update(
                {by_name(name): n for name, n in state["security_counts"].items()}
            )
        length = self._given.frame_length
        self._surveyed = [
            (
                np.frombuffer(frames, np.uint8).reshape(-1, length),
                np.frombuffer(uncorrectable, np.bool_),
                np.array(ert_ns, np.int64),
            )
            for frames, uncorrectable, ert_ns in state["surveyed"]
        ]


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


def _channel_names(extraction: ExtractionStatistics) -> dict[tuple[int, int], str]:
    """VCs of one spacecraft go by their number; only several need to be told apart."""
    several = len({scid for scid, _vcid in extraction.channels}) > 1
    return {
        (scid, vcid): f"{scid}/{vcid}" if several else str(vcid)
        for scid, vcid in extraction.channels
    }


def _integers(statistics: Any) -> dict[str, int]:
    return {
        name.name: int(getattr(statistics, name.name))
        for name in fields(statistics)
        if isinstance(getattr(statistics, name.name), int)
    }
