"""One part of a capture, decoded into a directory of Parquet files that appears whole.

A decoder that begins in the middle of a link does not know what came before.  It is given some of
it: the octets of the *overlap*, whose packets are thrown away.  At the part's beginning it is then
in the state of a decoder that has run from the start of the capture, if

* both gave the same packets in the overlap's last stretch, which is compared (`head` of a part,
  `tail` of the one before it); and
* no virtual channel appears in the part in the middle of a packet without a packet's beginning of
  it having been in the overlap, and no part of a large report without the report's beginning
  (`unsettled`); and
* what packets say about the dictionary is the same (`learnt_before`, `learnt_after`).

Where one is not so, the part is decoded again with more overlap, at last from the beginning.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from ground.archive.decoding import Decoder
from ground.archive.parquet_sink import ParquetSink
from ground.durable_files import make_directory, sync_directory, sync_file
from ground.receive.capture import START, CapturePosition, CaptureReader
from ground.receive.carriers import carrier_of, other_carriers
from ground.receive.chain import ReceiveChain
from ground.receive.output import ChainOutput
from ground.receive.profile import InputKind, LinkProfile
from ground.reprocess.plan import ChunkDigest, Part
from ground.reprocess.software import software
from protocols.errors import LocalError

#: Form of `part.json` and of what is written beside it.
FORMAT = 2
#: Chunks decoded together, so that the stages work on batches.
BATCH_OCTETS = 1 << 19
#: Counted by a chain: parts of large reports whose beginning was not there.
ORPHANS = "large_reports.orphans"
#: Unfinished parts, in a directory of the run that makes them.
UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Job:
    """A part, and how it is to be decoded; goes to the worker.

    warm_up: where the overlap begins, None: the part is decoded from its capture's beginning.
    learnt: of the dictionary, from packets before the part.  settings: a digest of all that
    decides what comes out.  run: the client's; only while it is at work is there a directory of
    that name.  software: what the client is.
    """

    part: Part
    out: str
    profile: LinkProfile
    input: InputKind
    overlap: int
    warm_up: CapturePosition | None
    learnt: dict[str, Any]
    settings: str
    run: str
    software: str


def process(job: Job) -> dict[str, Any]:
    """Decode the part and put it in place; its manifest.

    OSError of the disks.  LocalError: this process is of another version than the client, the
    capture has become another, or the client is gone and others may be at work in its place.
    """
    if software() != job.software:
        raise LocalError(
            f"the worker on {socket.gethostname()} is {software()}, this is {job.software}"
        )
    part, out = job.part, Path(job.out)
    run = out / UNFINISHED / job.run
    scratch = run / f"{part.day}-{part.number:04d}-{uuid.uuid4().hex}"
    try:
        scratch.mkdir()
    except FileNotFoundError as error:
        # Made by the client alone: a worker that outlives it leaves nothing in what follows.
        raise LocalError(f"{run} is not there: that run has ended") from error
    try:
        manifest = _decode(job, scratch)
        _write(scratch / "part.json", json.dumps(manifest, indent=1).encode())
        _publish(scratch, out / part.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return manifest


def _decode(job: Job, scratch: Path) -> dict[str, Any]:
    from ground.wiring import open_dictionaries  # the wiring knows the missions' dictionaries

    part = job.part
    chain = ReceiveChain(job.profile, input=job.input)
    decoder = Decoder(open_dictionaries(job.profile.dictionary))
    decoder.restore(job.learnt)
    head, tail, every = PacketDigest(), PacketDigest(), PacketDigest()
    reader = _PartReader(job)
    begin = reader.begin
    settled: set[tuple[int, int]] = set()
    before: dict[str, int] | None = None
    end = begin
    sink = ParquetSink(scratch, decoder)
    with sink:
        for end, chunks in reader.batches():
            if before is None and end > part.begin:
                settled = {key for key, (begun, _) in chain.channels().items() if begun}
                before = _counts(chain)
            outputs = [chain.push_chunks(chunks)]
            if before is None:
                if part.check is not None and end > part.check:
                    head.add(outputs[0])
                if end > part.tail:
                    tail.add(outputs[0])
                continue
            if end == part.end and part.last:
                outputs.append(chain.finish())
            for one in outputs:
                if end > part.tail:
                    tail.add(one)
                every.add(one)
                sink.take(one, chain)
        if before is None or end != part.end:
            raise LocalError(f"{part.capture}: {part.name} is not where it was planned")
        sink.finish(chain)
    counts = _counts(chain)
    unsettled: list[list[Any]] = [
        list(key)
        for key, (_, orphans) in chain.channels().items()
        if key not in settled and orphans
    ]
    if counts.get(ORPHANS, 0) > before.get(ORPHANS, 0):
        unsettled.append([ORPHANS])
    files = [
        {
            "name": path.name,
            "rows": sink.rows[path.name],
            "octets": path.stat().st_size,
            "sha256": _sha256(path),
        }
        for path in sorted(scratch.glob("*.parquet"))
    ]
    for path in scratch.glob("*.parquet"):
        sync_file(path)
    return {
        "format": FORMAT,
        "settings": job.settings,
        "software": job.software,
        "part": part.described(),
        "overlap": job.overlap,
        "whole": job.warm_up is None,
        "packets": every.packets,
        "packet_octets": every.octets,
        "counts": {
            **{name: counts[name] - before.get(name, 0) for name in counts},
            **{f"decoder.{name}": count for name, count in decoder.counts.items()},
            **reader.left_out,
        },
        "compared": head.frames + head.packets,
        "head": head.text(),
        "tail": tail.text(),
        "digest": every.text(),
        "unsettled": [] if job.warm_up is None else unsettled,
        "learnt_before": job.learnt,
        "learnt_after": decoder.snapshot(),
        "files": files,
    }


class _PartReader:
    """Chunks of a part and its overlap, as they are decoded; left_out: counts of what is not."""

    def __init__(self, job: Job) -> None:
        self._part = job.part
        self.begin = START if job.warm_up is None else job.warm_up
        self.left_out: dict[str, int] = {}
        # Of several carriers one is decoded, as by `l4 replay`.
        self._carrier = job.profile.carrier
        self._carriers = {self._carrier, *other_carriers(job.profile)}

    def batches(self) -> Iterator[tuple[CapturePosition, list[tuple[bytes, int]]]]:
        """Some at a time, none of them on both sides of a cut; with the position behind them."""
        part = self._part
        held: list[tuple[bytes, int]] = []
        size, last = 0, self.begin
        cuts = [cut for cut in (part.check, part.begin, part.tail) if cut is not None]
        ends = {*cuts, part.end}
        carriers: dict[str, str] = {}
        stretches, digest = iter(part.stretches), ChunkDigest()
        stretch, mine = next(stretches), False
        for position, chunk in CaptureReader(Path(part.capture)).read(self.begin):
            if position > part.end:
                break
            # A file's first cut is its beginning, which is no chunk's end.
            if position.file != last.file and any(
                last <= cut < position for cut in ends if cut.file != last.file
            ):
                yield last, held
                held, size = [], 0
            mine = mine or position > part.begin
            if mine:
                digest.add(chunk)
                if position == stretch.end:
                    if digest.take() != stretch.digest:
                        raise LocalError(
                            f"{part.capture}: not what was looked through, up to {position}"
                        )
                    stretch = next(stretches, stretch)
            carrier = carriers.get(chunk.stream)
            if carrier is None:
                carrier = carriers[chunk.stream] = carrier_of(chunk.stream, self._carriers)
            if carrier == self._carrier:
                held.append((chunk.octets, chunk.ert_ns))
                size += len(chunk.octets)
            elif mine:
                name = f"left_out.chunks of carrier {carrier or 'one'}"
                self.left_out[name] = self.left_out.get(name, 0) + 1
            last = position
            if size >= BATCH_OCTETS or position in ends:
                yield position, held
                held, size = [], 0
        if held:
            yield last, held


class PacketDigest:
    """Of packets in order, each with its length, channel and time of arrival, however batched."""

    def __init__(self) -> None:
        self.packets = self.octets = self.frames = 0
        self._octets, self._rows = hashlib.sha256(), hashlib.sha256()

    def add(self, output: ChainOutput) -> None:
        packets = output.packets
        rows = np.empty(len(packets), [("length", "<i8"), ("vcid", "u1"), ("ert", "<i8")])
        rows["length"], rows["vcid"], rows["ert"] = packets.length, packets.vcid, packets.ert_ns
        self._octets.update(packets.octets.tobytes())
        self._rows.update(rows.tobytes())
        self.packets += len(packets)
        self.octets += len(packets.octets)
        self.frames += output.frames

    def text(self) -> str:
        said = self._octets.digest() + self._rows.digest() + self.frames.to_bytes(8, "little")
        return hashlib.sha256(said).hexdigest()


def _counts(chain: ReceiveChain) -> dict[str, int]:
    """What the chain has counted, by stage; what it holds at the moment is no count."""
    told = chain.statistics()
    found = {
        f"{stage}.{name}": value
        for stage, values in told.counts.items()
        for name, value in values.items()
        if name != "held" and isinstance(value, int)
    }
    # Of a channel that was silent for longer than the overlap what was lost meanwhile is not known.
    found["channels.missing"] = sum(one["missing"] for one in told.virtual_channels.values())
    return found


def _publish(scratch: Path, place: Path) -> None:
    """The directory under its name, in one step; what was there goes."""
    make_directory(place.parent)
    sync_directory(scratch)
    for _ in range(10):
        if place.exists():
            old = scratch.with_name(scratch.name + f"-{uuid.uuid4().hex}-old")
            try:
                place.rename(old)
            except FileNotFoundError:
                continue
            shutil.rmtree(old, ignore_errors=True)
        try:
            scratch.rename(place)
        except OSError:
            # Another worker, thought lost, has put the same part there: ours is as good.
            if not place.exists():
                raise
            continue
        sync_directory(place.parent)
        return
    raise OSError(f"{place}: somebody keeps putting it there")


def read_manifest(place: Path) -> dict[str, Any] | None:
    """Of a part that is there and whole; None: it is to be decoded."""
    try:
        manifest = json.loads((place / "part.json").read_bytes())
        files = cast("list[dict[str, Any]]", manifest["files"])
        whole = all((place / one["name"]).stat().st_size == one["octets"] for one in files)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return manifest if whole and manifest.get("format") == FORMAT else None


def _write(path: Path, octets: bytes) -> None:
    path.write_bytes(octets)
    sync_file(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


__all__ = ["FORMAT", "UNFINISHED", "Job", "PacketDigest", "process", "read_manifest"]
