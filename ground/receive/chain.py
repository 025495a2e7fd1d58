"""From the octets of a link to packets: synchronise, derandomise, correct, check, open, extract.

`ReceiveChain` is a pure function of the octets pushed so far: no I/O, no clock, and how the octets
were cut into chunks changes nothing but the moment at which something comes out.  Everything that
does not become a packet is counted, and handed out with the reason.  Its first half, up to blocks
that may be frames, is a decoder (`ground/receive/decoding.py`); its counts are put into words in
`ground/receive/chain_report.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ground.receive import chain_report
from ground.receive.codeblocks import CodeblockDecoder
from ground.receive.decoding import BlockCutter, CaduDecoder, Decoded, Decoder
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
from protocols.errors import LocalError
from protocols.frames.columns import FrameIndex
from protocols.frames.index import index_frames
from protocols.frames.sdls import SecurityEndpoint
from protocols.frames.sdls_frames import open_frames, plain_parameters
from protocols.packets.batch import PacketBatch
from protocols.packets.extraction import PacketExtractor
from protocols.packets.large_reports import LargeReports
from protocols.packets.space_packet import split
from protocols.physical.demodulator import SoftSymbols
from protocols.physical.waveform import Waveform

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

#: Octets taken through all stages at a time: frames and their packets stay in the cache, what NumPy
#: asks for each array is small beside its work, and a push of any size allocates no more than this
#: wants.  (Measured: 2.3, 3.0, 3.3, 3.1 Gbit/s with 256, 512, 1024, 2048 KiB.)
SLICE_OCTETS = 1 << 20

SNAPSHOT_VERSION = 4


class ReceiveChain:
    """Decoder of one link.

    profile: what the link carries.  input: what `push` is given: "cadu" (a bit or octet stream
    with sync markers), "codewords" (blocks back to back), "frames" (frames back to back, decoded
    already) or "packets" (space packets back to back); default: the profile's, else "cadu".
    digests: hash the packets for `summary()`; such a chain has no snapshot.
    waveform: of soft symbols, given by `push_symbols` in the place of octets, for turbo and LDPC.

    `profile` is what was given with everything that the survey has settled; `notes` are the
    survey's sentences.
    """

    def __init__(
        self,
        profile: LinkProfile,
        *,
        input: InputKind | None = None,
        digests: bool = False,
        waveform: Waveform | None = None,
    ) -> None:
        self._given = profile
        self._digests = digests
        self._waveform = waveform
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
        self.decoder = self._open_decoder()

    def _open_decoder(self) -> Decoder | None:
        """The chain's first half; packets back to back need none."""
        profile, times, counted = self._given, self._times, self.summary_counts
        if self.input == "packets":
            return None
        if self.input == "frames":
            return BlockCutter(profile, times, counted, coded=False)
        if profile.coding.codeblocks is not None:
            marked = self.input == "cadu"
            return CodeblockDecoder(profile, times, self._waveform, marked=marked)
        if self.input == "codewords":
            return BlockCutter(profile, times, counted, coded=True)
        return CaduDecoder(profile, times, counted)

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
            if self.decoder is None:
                parts.append(self._push_packets(part))
            else:
                parts.append(self._frames(self.decoder.push(part, self._octets_in)))
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

    def push_symbols(self, symbols: SoftSymbols, ert_ns: int) -> ChainOutput:
        """The same for soft symbols; `ert_ns` is the ERT of the first of them.  LocalError if the
        chain was not made for them."""
        decoder = self.decoder
        if self._waveform is None or not isinstance(decoder, CodeblockDecoder):
            raise LocalError(
                f"link profile {self._given.name!r}: its codes take no soft symbols here"
            )
        self._times.add(symbols.first >> 3, ert_ns)
        output = self._frames(decoder.push_symbols(symbols))
        self._octets_in = (symbols.first + len(symbols)) >> 3
        return output

    def take_stream(self) -> U8:
        """Of soft symbols: the coded stream since the last call as it was sent, whole octets."""
        assert isinstance(self.decoder, CodeblockDecoder)
        return self.decoder.take_stream()

    def break_off(self) -> ChainOutput:
        """What is pushed next does not follow on this: what octets still hold comes out."""
        if isinstance(self.decoder, CaduDecoder):
            return self._frames(self.decoder.finish())
        return nothing()

    def finish(self) -> ChainOutput:
        """The link has ended: what is still in the chain comes out, or is counted as torn."""
        parts: list[ChainOutput] = []
        if self.decoder is not None:
            parts.append(self._frames(self.decoder.finish()))
        if not self._settled:
            parts.append(self._survey())
        return ChainOutput.join(parts) if parts else nothing()

    # -- stages ------------------------------------------------------------------------------

    def _frames(self, decoded: Decoded) -> ChainOutput:
        frames, uncorrectable, ert_ns = decoded
        if not len(frames):
            return nothing()
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
        # A FECF says more than a Reed-Solomon decoder that gave up: it is the judge where there is
        # one.  What turbo and LDPC codes failed to decode is good by chance alone.
        if self.profile.fecf == "absent" or (self.decoder is not None and self.decoder.final):
            return uncorrectable
        return np.zeros_like(uncorrectable)

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

    # -- counts ------------------------------------------------------------------------------

    @property
    def in_sync(self) -> bool:
        """Sync markers stand where they should; False for an input without any."""
        return self.decoder is not None and self.decoder.in_sync

    def statistics(self) -> ChainStatistics:
        return chain_report.statistics(self._counted())

    def channels(self) -> dict[tuple[int, int], tuple[int, int]]:
        """(SCID, VCID) → frames in which a packet begins, and octets of packets whose beginning was
        not there."""
        return {
            (one.scid, one.vcid): (one.counts["pointer_frames"], one.counts["orphan_octets"])
            for one in self._extractor.statistics.channels.values()
        }

    def summary(self) -> dict[str, Any]:
        """One JSON object, keys as in the truth file of the public captures."""
        return chain_report.summary(self._counted())

    def _counted(self) -> chain_report.Counted:
        held = len(self._held) if self.decoder is None else self.decoder.held
        return chain_report.Counted(
            profile=self.profile,
            input=self.input,
            octets_in=self._octets_in,
            held=held,
            damaged_octets=self._damaged_octets,
            surveyed=sum(len(part[0]) for part in self._surveyed),
            stream=self.summary_counts,
            extraction=self._extractor.statistics,
            decoder=self.decoder,
            security=self._security,
            large=self._large,
            notes=self.notes,
        )

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
            "decoder": None if self.decoder is None else self.decoder.snapshot(),
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
        if self.decoder is not None:
            self.decoder.restore(state["decoder"])
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
