"""Parts handed out, checked against their neighbours, and kept: `reprocess`.

The client holds the plan and nothing that cannot be found again: what is finished lies under its
name with its manifest.  Killed at any instant and started again, it goes on with what is missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ground.durable_files import make_directory, replace_file
from ground.receive.inputs import open_input
from ground.receive.profile import LinkProfile
from ground.reprocess import plan
from ground.reprocess.cluster import Cluster
from ground.reprocess.part import FORMAT, UNFINISHED, Job, process, read_manifest
from ground.reprocess.plan import Part, Plan, Stretch, capture_files, scan
from protocols.errors import LocalError

MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Progress:
    """Octets of the captures that are done, of how many; parts that had to be done again."""

    octets: int
    total_octets: int
    parts: int
    total_parts: int
    again: int


@dataclass(slots=True)
class _Task:
    """One part on its way."""

    part: Part
    plan: Plan
    overlap: int
    learnt: dict[str, Any] = field(default_factory=dict)
    manifest: dict[str, Any] | None = None
    running: bool = False

    @property
    def first(self) -> bool:
        return self.part.check is None


def reprocess(
    captures: Sequence[Path],
    out: Path,
    profile: LinkProfile,
    cluster: Cluster,
    *,
    part_octets: int = 256 * MIB,
    overlap: int = 4 * MIB,
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Decode captures of ours into `out`/day=…/part-…/DEFINITION.parquet; the summary, which is
    also in `out`/manifest.json once everything is there.

    What lies there finished by the same settings is kept.  LocalError: captures, profile or what is
    in `out` do not allow it; OSError: of the disks; ClusterError: the cluster gave up.
    """
    if profile.open_questions:
        raise LocalError(
            f"{', '.join(profile.open_questions)} must be given: parts are decoded apart, and "
            "each would answer for itself"
        )
    with _sole_user(out):
        shutil.rmtree(out / UNFINISHED, ignore_errors=True)
        kind = _kind(captures, profile)
        settings = _settings(profile, kind)
        tasks = _planned(captures, cluster, part_octets, overlap)
        _kept(tasks, out, settings)
        (out / "manifest.json").unlink(missing_ok=True)
        reused = sum(task.manifest is not None for task in tasks)
        work = _Work(tasks, out, profile, kind, settings, cluster, progress)
        work.run()
        return _finished(tasks, out, settings, reused, work.again)


class _Work:
    def __init__(
        self,
        tasks: list[_Task],
        out: Path,
        profile: LinkProfile,
        kind: Any,
        settings: str,
        cluster: Cluster,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._tasks, self._out, self._profile, self._kind = tasks, str(out), profile, kind
        self._settings, self._cluster, self._progress = settings, cluster, progress
        self.again = 0
        #: Tasks before this one are known to join.
        self._joined = 0

    def run(self) -> None:
        learnt: dict[str, Any] = {}
        for task in self._tasks:
            if task.first:
                learnt = {}
            if task.manifest is None:
                task.learnt = learnt
                self._submit(task)
            else:
                learnt = task.manifest["learnt_after"]
        self._join()
        self._tell()
        for index, manifest in self._cluster.results():
            task = self._tasks[index]
            task.running, task.manifest = False, manifest
            self._join()
            self._tell()
        assert self._joined == len(self._tasks)

    def _submit(self, task: _Task) -> None:
        warm_up = None if task.first else task.plan.warm_up(task.part, task.overlap)
        job = Job(
            task.part, self._out, self._profile, self._kind, task.overlap, warm_up,
            task.learnt, self._settings,
        )  # fmt: skip
        task.running, task.manifest = True, None
        self._cluster.submit(self._tasks.index(task), process, job)

    def _join(self) -> None:
        """Look at the parts in order; what does not join is decoded again, with more of what came
        before it.  Parts behind that one wait only with being looked at."""
        while self._joined < len(self._tasks):
            task = self._tasks[self._joined]
            manifest = task.manifest
            if manifest is None:
                return
            before = None if task.first else self._tasks[self._joined - 1].manifest
            learnt = {} if before is None else before["learnt_after"]
            overlap = task.overlap
            if not manifest["whole"] and (
                manifest["unsettled"] or (before is not None and manifest["head"] != before["tail"])
            ):
                overlap = 4 * manifest["overlap"]
            if overlap == task.overlap and manifest["learnt_before"] == learnt:
                self._joined += 1
                continue
            task.overlap, task.learnt = overlap, learnt
            self.again += 1
            self._submit(task)
            return

    def _tell(self) -> None:
        if self._progress is not None:
            done = [task for task in self._tasks if task.manifest is not None]
            self._progress(
                Progress(
                    sum(task.part.octets for task in done),
                    sum(task.part.octets for task in self._tasks),
                    len(done),
                    len(self._tasks),
                    self.again,
                )
            )


def _kind(captures: Sequence[Path], profile: LinkProfile) -> Any:
    kinds: set[str] = set()
    for capture in captures:
        with open_input(capture, profile) as opened:
            if opened.container != "capture":
                raise LocalError(
                    f"{capture}: {opened.statement}; captures of `receive`, whose chunks have "
                    "their times, wanted"
                )
            kinds.add(opened.kind)
    if len(kinds) != 1:
        raise LocalError(f"captures of one kind wanted, these hold {', '.join(sorted(kinds))}")
    return kinds.pop()


def _planned(
    captures: Sequence[Path], cluster: Cluster, part_octets: int, overlap: int
) -> list[_Task]:
    """The captures' files are looked through in parallel, too: they are read whole."""
    files = capture_files(captures)
    stretches: dict[int, list[Stretch]] = {}
    for index, (capture, file) in enumerate(files):
        cluster.submit(index, scan, capture, file, plan.STRETCH_OCTETS)
    for index, found in cluster.results():
        stretches[index] = found
    numbers: Counter[str] = Counter()
    tasks: list[_Task] = []
    for capture in map(str, captures):
        mine = [one for i, (of, _) in enumerate(files) if of == capture for one in stretches[i]]
        whole = Plan(capture, mine, part_octets, numbers)
        tasks += [_Task(part, whole, overlap) for part in whole.parts]
    if not tasks:
        raise LocalError(f"nothing was captured in {', '.join(map(str, captures))}")
    return tasks


def _kept(tasks: list[_Task], out: Path, settings: str) -> None:
    """Take up what is finished; what is of no part of the plan goes.

    LocalError for what other settings made: two kinds of results in one place would be taken for
    one."""
    wanted = {str(out / task.part.name): task for task in tasks}
    for place in sorted(out.glob("day=*/part-*")):
        manifest = read_manifest(place)
        if manifest is not None and manifest["settings"] != settings:
            raise LocalError(f"{place} was made with other settings; another --out wanted")
        task = wanted.get(str(place))
        if manifest is not None and task is not None:
            if manifest["part"] == task.part.described():
                task.manifest, task.overlap = manifest, manifest["overlap"]
                task.learnt = manifest["learnt_before"]
        elif task is None:
            shutil.rmtree(place)


def _finished(
    tasks: list[_Task], out: Path, settings: str, reused: int, again: int
) -> dict[str, Any]:
    manifests = [task.manifest for task in tasks if task.manifest is not None]
    counts: Counter[str] = Counter()
    for manifest in manifests:
        counts.update(manifest["counts"])
    days = Counter(manifest["part"]["day"] for manifest in manifests)
    summary: dict[str, Any] = {
        "format": FORMAT,
        "settings": settings,
        "packets": sum(manifest["packets"] for manifest in manifests),
        "packet_octets": sum(manifest["packet_octets"] for manifest in manifests),
        "capture_octets": sum(task.part.octets for task in tasks),
        "days": dict(sorted(days.items())),
        "counts": dict(sorted(counts.items())),
        "parts": {
            task.part.name: manifest["digest"]
            for task, manifest in zip(tasks, manifests, strict=True)
        },
    }
    replace_file(out / "manifest.json", json.dumps(summary, indent=1).encode())
    return {**summary, "kept": reused, "again": again}


def _settings(profile: LinkProfile, kind: str) -> str:
    """A digest of what decides what comes out, but for the dictionary's own text."""
    # Keys are not described, only that there are some.
    described = json.dumps([FORMAT, kind, profile.describe()], sort_keys=True, default=str)
    return hashlib.sha256(described.encode()).hexdigest()[:16]


@contextmanager
def _sole_user(out: Path) -> Iterator[None]:
    make_directory(out)
    lock = os.open(out / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise LocalError(f"{out}: another `l4 reprocess` is at work here") from error
    finally:
        os.close(lock)


__all__ = ["Progress", "reprocess"]
