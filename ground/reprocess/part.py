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
from ground.receive.chain import ReceiveChain
from ground.receive.output import ChainOutput
from ground.receive.profile import InputKind, LinkProfile
from ground.reprocess.plan import Part
from protocols.errors import LocalError

#: Form of `part.json` and of what is written beside it.
FORMAT = 1
#: Chunks decoded together, so that the stages work on batches.
BATCH_OCTETS = 1 << 19
#: Counted by a chain: parts of large reports whose beginning was not there.
ORPHANS = "large_reports.orphans"
#: Unfinished parts; whoever begins anew empties it.
UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Job:
    """A part, and how it is to be decoded; goes to the worker.

    warm_up: where the overlap begins, None: the part is decoded from its capture's beginning.
    learnt: of the dictionary, from packets before the part.  settings: a digest of all that
    decides what comes out.
    """

    part: Part
    out: str
    profile: LinkProfile
    input: InputKind
    overlap: int
    warm_up: CapturePosition | None
    learnt: dict[str, Any]
    settings: str


def process(job: Job) -> dict[str, Any]:
    """Decode the part and put it in place; its manifest.  OSError of the disks."""
    part, out = job.part, Path(job.out)
    scratch = out / UNFINISHED / f"{part.day}-{part.number:04d}-{uuid.uuid4().hex}"
    make_directory(scratch)
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
    begin = START if job.warm_up is None else job.warm_up
    cuts = [cut for cut in (part.check, part.begin, part.tail) if cut is not None]
    settled: set[tuple[int, int]] = set()
    before: dict[str, int] | None = None
    end = begin
    sink = ParquetSink(scratch, decoder)
    with sink:
        for end, chunks in _batches(Path(part.capture), begin, part.end, cuts):
            if before is None and end > part.begin:
                settled = {key for key, (begun, _) in chain.channels().items() if begun}
                before = _counts(chain)
            outputs = [chain.push_chunks(chunks)]
            if before is None:
                if part.check is not None and end > part.check:
                    head.add(outputs[0])
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
        {"name": path.name, "octets": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(scratch.glob("*.parquet"))
    ]
    for path in scratch.glob("*.parquet"):
        sync_file(path)
    return {
        "format": FORMAT,
        "settings": job.settings,
        "part": part.described(),
        "overlap": job.overlap,
        "whole": job.warm_up is None,
        "packets": every.packets,
        "packet_octets": every.octets,
        "counts": {name: counts[name] - before.get(name, 0) for name in counts},
        "head": head.text(),
        "tail": tail.text(),
        "digest": every.text(),
        "unsettled": [] if job.warm_up is None else unsettled,
        "learnt_before": job.learnt,
        "learnt_after": decoder.snapshot(),
        "files": files,
    }


def _batches(
    capture: Path, begin: CapturePosition, end: CapturePosition, cuts: list[CapturePosition]
) -> Iterator[tuple[CapturePosition, list[tuple[bytes, int]]]]:
    """Chunks behind `begin` up to `end`, some at a time, none of them on both sides of a cut; with
    the position behind them."""
    held: list[tuple[bytes, int]] = []
    size, last = 0, begin
    ends = {*cuts, end}
    for position, chunk in CaptureReader(capture).read(begin):
        if position > end:
            break
        # A file's first cut is its beginning, which is no chunk's end.
        if held and any(last <= cut < position for cut in ends if cut.file != last.file):
            yield last, held
            held, size = [], 0
        held.append((chunk.octets, chunk.ert_ns))
        size += len(chunk.octets)
        last = position
        if size >= BATCH_OCTETS or position in ends:
            yield position, held
            held, size = [], 0
    if held:
        yield last, held


class PacketDigest:
    """Of packets in order, each with its length, channel and time of arrival, however batched."""

    def __init__(self) -> None:
        self.packets = self.octets = 0
        self._octets, self._rows = hashlib.sha256(), hashlib.sha256()

    def add(self, output: ChainOutput) -> None:
        packets = output.packets
        rows = np.empty(len(packets), [("length", "<i8"), ("vcid", "u1"), ("ert", "<i8")])
        rows["length"], rows["vcid"], rows["ert"] = packets.length, packets.vcid, packets.ert_ns
        self._octets.update(packets.octets.tobytes())
        self._rows.update(rows.tobytes())
        self.packets += len(packets)
        self.octets += len(packets.octets)

    def text(self) -> str:
        return hashlib.sha256(self._octets.digest() + self._rows.digest()).hexdigest()


def _counts(chain: ReceiveChain) -> dict[str, int]:
    """What the chain has counted, by stage; what it holds at the moment is no count."""
    return {
        f"{stage}.{name}": value
        for stage, values in chain.statistics().counts.items()
        for name, value in values.items()
        if name != "held" and isinstance(value, int)
    }


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
