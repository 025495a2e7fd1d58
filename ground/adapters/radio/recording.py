"""Recording what an adapter brings, and looking at it: `l4 radio record` and `l4 radio probe`."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ground.adapters.radio.adapter import Adapter, AdapterStatistics, Block, Face, State
from ground.adapters.radio.registry import open_adapter
from ground.adapters.radio.sigmf_file import SigMFWriter, paths
from protocols.errors import LocalError


class _OctetWriter:
    """Blocks back to back, as `l4 replay` reads them."""

    def __init__(self, path: Path, *, replace: bool) -> None:
        if not replace and path.exists():
            raise LocalError(f"{path} is there already")
        self.path = path
        self._file: BinaryIO = path.open("wb", buffering=0)

    def write(self, blocks: Sequence[Block]) -> None:
        for block in blocks:
            self._file.write(block.octets)

    def close(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()


class Recorder:
    """An adapter's capture into a file: SigMF of samples, octets back to back of octets.

    The file is made when the first block comes: only then is it known what the samples are.
    """

    def __init__(self, path: Path, *, description: str = "", replace: bool = False) -> None:
        self._path = path
        self._description = description
        self._replace = replace
        self._adapter: Adapter | None = None
        self._writer: SigMFWriter | _OctetWriter | None = None
        if not replace:
            for each in (path, *(paths(path) if path.suffix == ".sigmf-meta" else ())):
                if each.exists():
                    raise LocalError(f"{each} is there already")

    def attach(self, adapter: Adapter) -> None:
        """Before the adapter is opened."""
        self._adapter = adapter
        if adapter.FACE is Face.SAMPLES and self._path.suffix != ".sigmf-meta":
            raise LocalError(f"{self._path}: I/Q samples are recorded as NAME.sigmf-meta")

    def __call__(self, blocks: Sequence[Block]) -> None:
        if self._writer is None:
            self._writer = self._open()
        signal = self._adapter.signal if self._adapter is not None else None
        if isinstance(self._writer, SigMFWriter) and signal not in (None, self._writer.signal):
            self._writer.retune(signal)
        self._writer.write(blocks)

    def _open(self) -> SigMFWriter | _OctetWriter:
        assert self._adapter is not None
        if self._adapter.FACE is Face.OCTETS:
            return _OctetWriter(self._path, replace=self._replace)
        assert self._adapter.signal is not None
        return SigMFWriter(
            self._path, self._adapter.signal, description=self._description, replace=self._replace
        )

    @property
    def files(self) -> list[str]:
        if isinstance(self._writer, SigMFWriter):
            return [str(self._writer.meta), str(self._writer.data)]
        return [str(self._path)] if self._writer is not None else []

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


@dataclass(frozen=True, slots=True)
class Progress:
    """seconds: since the first block; units: blocks of a framed wire, samples, or octets."""

    seconds: float
    units: int
    statistics: AdapterStatistics


def record(
    uri: str,
    path: Path,
    *,
    seconds: float = 0.0,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[Progress], None] = lambda progress: None,
    description: str = "",
    replace: bool = False,
) -> dict[str, Any]:
    """Until a recording ends, `seconds` of blocks have come (0: no bound), or `stop`.

    Whatever comes is on its way to the disk before anybody counts it.  LocalError: the adapter
    cannot work, or the file is there already.
    """
    recorder = Recorder(path, description=description, replace=replace)
    adapter = open_adapter(uri, capture=recorder)
    recorder.attach(adapter)
    units, began = 0, 0.0
    try:
        adapter.open()
        while not stop() and not adapter.ended:
            blocks = adapter.receive(0.1)
            if blocks and not began:
                began = time.monotonic()
            units += sum(adapter.units(len(block.octets)) for block in blocks)
            elapsed = time.monotonic() - began if began else 0.0
            progress(Progress(elapsed, units, adapter.statistics()))
            if seconds and elapsed >= seconds:
                break
    finally:
        adapter.close()
        recorder.close()
    found = adapter.statistics()
    for block in _rest(adapter):
        units += adapter.units(len(block.octets))
    if adapter.last_failure:
        raise LocalError(adapter.last_failure)
    return {
        "files": recorder.files,
        "seconds": round(time.monotonic() - began, 3) if began else 0.0,
        "unit": unit_of(adapter),
        "units": units,
        "octets": found.octets_in,
        **_signal(adapter),
        **_counts(found),
    }


def _rest(adapter: Adapter) -> list[Block]:
    found: list[Block] = []
    while given := adapter.receive(0):
        found += given
    return found


def probe(uri: str, *, seconds: float = 2.0) -> dict[str, Any]:
    """What an adapter is and brings within `seconds`; "state" says whether it could be reached."""
    adapter = open_adapter(uri)
    blocks: list[Block] = []
    with adapter:
        adapter.wait_until(State.RUNNING, State.ENDED, State.FAILED, timeout_s=seconds)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not adapter.ended:
            blocks += adapter.receive(min(0.1, max(deadline - time.monotonic(), 0)))
        found = adapter.statistics()
    octets = sum(len(block.octets) for block in blocks)
    report: dict[str, Any] = {
        "address": uri,
        "adapter": type(adapter).__name__,
        "face": adapter.FACE,
        "state": found.state,
        "detail": found.detail,
        "blocks": len(blocks),
        "octets": octets,
        "octets_per_s": round(octets / seconds),
        **_signal(adapter),
        **_counts(found),
    }
    if blocks and adapter.FACE is Face.OCTETS:
        lengths = sorted({len(block.octets) for block in blocks})
        report["block_lengths"] = lengths[:8]
        report["begins"] = blocks[0].octets[:16].hex(" ")
    elif blocks and adapter.signal is not None:
        report |= _levels(adapter, blocks)
    return report


def _levels(adapter: Adapter, blocks: Sequence[Block]) -> dict[str, Any]:
    """Mean power and how much of it is clipped, of the last million samples at most."""
    assert adapter.signal is not None
    octets = b"".join(block.octets for block in blocks[-32:])[-(1 << 23) :]
    size = adapter.signal.format.octets
    samples = adapter.signal.format.to_complex(octets[len(octets) % size :])
    power = float(np.mean(np.abs(samples) ** 2))
    peak = np.maximum(np.abs(samples.real), np.abs(samples.imag))
    return {
        "level_db": round(10 * math.log10(power), 2) if power > 0 else None,
        "clipped": round(float(np.mean(peak >= 0.999)), 6),
        "dc": [round(float(samples.real.mean()), 5), round(float(samples.imag.mean()), 5)],
    }


def unit_of(adapter: Adapter) -> str:
    """The name of what `Adapter.units` counts."""
    if adapter.FRAMED:
        return "blocks"
    return "samples" if adapter.FACE is Face.SAMPLES else "octets"


def _signal(adapter: Adapter) -> dict[str, Any]:
    if adapter.signal is None:
        return {}
    return {
        "format": adapter.signal.format.name,
        "sample_rate_hz": adapter.signal.sample_rate_hz,
        "centre_hz": adapter.signal.centre_hz,
    }


def _counts(found: AdapterStatistics) -> dict[str, int]:
    return {
        name: getattr(found, name)
        for name in ("timeouts", "overflows", "gaps", "lost", "malformed", "reconnects")
    }


__all__ = ["Progress", "Recorder", "probe", "record"]
