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
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ground.durable_files import make_directory
from ground.receive.inputs import open_input
from ground.receive.profile import InputKind, LinkProfile
from ground.reprocess import plan
from ground.reprocess.cluster import Cluster
from ground.reprocess.part import FORMAT, UNFINISHED, Job, process, read_manifest
from ground.reprocess.plan import Part, Plan, Scanned, Stretch, capture_files, same_part, scan
from ground.reprocess.software import software
from ground.reprocess.summary import summarise
from protocols.errors import LocalError

MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Progress:
    """Octets of the captures that are done, of how many; parts that had to be done again.

    kept: of the octets, those that were finished before this run.  total_parts 0: the captures are
    looked through, and octets are those of their files.
    """

    octets: int
    total_octets: int
    parts: int
    total_parts: int
    again: int
    kept: int = 0


Tell = Callable[[Progress], None]


@dataclass(slots=True, eq=False)
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
    progress: Tell | None = None,
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
    if len({capture.resolve() for capture in captures}) != len(captures):
        raise LocalError("a capture is named twice: its packets would be, too")
    with _sole_user(out) as run:
        kind = _kind(captures, profile)
        settings = _settings(profile, kind)
        looked_at, tasks = _planned(captures, cluster, part_octets, overlap, progress)
        _kept(tasks, out, settings)
        (out / "manifest.json").unlink(missing_ok=True)
        reused = [task.manifest is not None for task in tasks]
        job = _Jobs(str(out), profile, kind, settings, run, software())
        work = _Work(tasks, job, cluster, progress)
        work.run()
        manifests = [task.manifest for task in tasks if task.manifest is not None]
        return summarise(out, settings, looked_at, manifests, reused, work.again)


@dataclass(frozen=True, slots=True)
class _Jobs:
    """What all jobs of a run have."""

    out: str
    profile: LinkProfile
    kind: InputKind
    settings: str
    run: str
    software: str

    def of(self, task: _Task) -> Job:
        warm_up = None if task.first else task.plan.warm_up(task.part, task.overlap)
        return Job(
            task.part, self.out, self.profile, self.kind, task.overlap, warm_up, task.learnt,
            self.settings, self.run, self.software,
        )  # fmt: skip


class _Work:
    def __init__(
        self, tasks: list[_Task], jobs: _Jobs, cluster: Cluster, progress: Tell | None
    ) -> None:
        self._tasks, self._jobs, self._cluster = tasks, jobs, cluster
        self._progress = progress
        self.again = 0
        #: Tasks before this one are known to join.
        self._joined = 0
        #: Tasks before this one have been handed out, or were finished.
        self._next = 0
        self._running = 0
        self._done = [task for task in tasks if task.manifest is not None]
        self._kept = self._octets = sum(task.part.octets for task in self._done)
        self._parts = len(self._done)
        self._total = sum(task.part.octets for task in tasks)

    def run(self) -> None:
        self._join()
        self._hand_out()
        self._tell()
        for index, manifest in self._cluster.results():
            task = self._tasks[index]
            self._finished(task, manifest)
            self._learn(index)
            self._join()
            self._hand_out()
            self._tell()
        assert self._joined == len(self._tasks)

    def _finished(self, task: _Task, manifest: dict[str, Any]) -> None:
        task.running, task.manifest = False, manifest
        self._running -= 1
        self._octets += task.part.octets
        self._parts += 1

    def _hand_out(self) -> None:
        """No more than keeps the workers busy: later ones get what has been learnt meanwhile."""
        width = self._cluster.width()
        while self._next < len(self._tasks) and self._running < width:
            index = self._next
            self._next += 1
            task = self._tasks[index]
            if task.manifest is None and not task.running:
                task.learnt = self._known(index)
                self._submit(index)

    def _submit(self, index: int) -> None:
        task = self._tasks[index]
        if task.manifest is not None:
            self._octets -= task.part.octets
            self._parts -= 1
            self.again += 1
        task.running, task.manifest = True, None
        self._running += 1
        self._cluster.submit(index, process, self._jobs.of(task))

    def _known(self, index: int) -> dict[str, Any]:
        """Of the dictionary before a task, as far as is known now."""
        task = self._tasks[index]
        if task.first:
            return {}
        before = self._tasks[index - 1]
        return before.learnt if before.manifest is None else before.manifest["learnt_after"]

    def _learn(self, index: int) -> None:
        """What a part says of the dictionary holds for those behind it: what is finished without it
        is decoded again now, all at once, not one after another as `_join` gets there."""
        for behind in range(index, self._next):
            task = self._tasks[behind]
            known = self._known(behind)
            if task.learnt == known:
                if behind == index:
                    continue
                return
            if task.running:
                return
            task.learnt = known
            self._submit(behind)

    def _join(self) -> None:
        """Look at the parts in order; what does not join is decoded again, with more of what came
        before it.  Parts behind that one wait only with being looked at."""
        while self._joined < len(self._tasks):
            index = self._joined
            task = self._tasks[index]
            manifest = task.manifest
            if manifest is None:
                return
            learnt = self._known(index)
            overlap = task.overlap
            if not (task.first or manifest["whole"]):
                before = self._tasks[index - 1].manifest
                assert before is not None
                same = manifest["compared"] and manifest["head"] == before["tail"]
                if manifest["unsettled"] or not same:
                    overlap = 4 * manifest["overlap"]
            if overlap == task.overlap and manifest["learnt_before"] == learnt:
                self._joined += 1
                continue
            task.overlap, task.learnt = overlap, learnt
            self._next = max(self._next, index + 1)
            self._submit(index)
            return

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(
                Progress(
                    self._octets, self._total, self._parts, len(self._tasks), self.again, self._kept
                )
            )


def _kind(captures: Sequence[Path], profile: LinkProfile) -> InputKind:
    kinds: set[str] = set()
    for capture in captures:
        with open_input(capture, profile) as opened:
            if opened.container != "capture":
                raise LocalError(
                    f"{capture}: {opened.statement}; captures of `receive`, whose chunks have "
                    "their times, wanted"
                )
            kinds.add(opened.kind)
    if "samples" in kinds:
        raise LocalError("captures of I/Q samples are decoded by `l4 replay`, each in one go")
    if len(kinds) != 1:
        raise LocalError(f"captures of one kind wanted, these hold {', '.join(sorted(kinds))}")
    return kinds.pop()  # type: ignore[return-value] containers of ours hold nothing else


def _planned(
    captures: Sequence[Path],
    cluster: Cluster,
    part_octets: int,
    overlap: int,
    progress: Tell | None,
) -> tuple[dict[str, list[Scanned]], list[_Task]]:
    """The captures' files are looked through in parallel, too: they are read whole."""
    files = capture_files(captures)
    sizes = [os.stat(file).st_size for _, _, file in files]
    scans: dict[int, Scanned] = {}
    done = 0
    if progress is not None:
        progress(Progress(0, sum(sizes), 0, 0, 0))
    for index, (_, number, file) in enumerate(files):
        cluster.submit(index, scan, file, number, plan.STRETCH_OCTETS)
    for index, found in cluster.results():
        scans[index] = found
        done += sizes[index]
        if progress is not None:
            progress(Progress(done, sum(sizes), 0, 0, 0))
    numbers: Counter[str] = Counter()
    tasks: list[_Task] = []
    looked_at: dict[str, list[Scanned]] = {}
    for capture in map(str, captures):
        looked_at[capture] = [scans[i] for i, (of, _, _) in enumerate(files) if of == capture]
        mine = [one for found in looked_at[capture] for one in found.stretches]
        whole = Plan(capture, mine, part_octets, numbers)
        tasks += [_Task(part, whole, overlap) for part in whole.parts]
    if not tasks:
        raise LocalError(f"nothing was captured in {', '.join(map(str, captures))}")
    return looked_at, tasks


def _kept(tasks: list[_Task], out: Path, settings: str) -> None:
    """Take up what is finished; what has been cut anew goes, but nothing that would not come again.

    LocalError: `out` holds what other settings made (two kinds of results in one place would be
    taken for one), or what the captures given do not hold.
    """
    wanted = {str(out / task.part.name): task for task in tasks}
    there: dict[tuple[int, int, str], Stretch] = {}
    begun: dict[tuple[int, int, int], Stretch] = {}
    for task in tasks:
        for one in task.part.stretches:
            there[one.begin.file, one.begin.offset, one.digest] = one
            begun[one.begin.file, one.begin.offset, one.first_ns] = one
    stale: list[Path] = []
    for place in sorted(out.glob("day=*/part-*")):
        manifest = read_manifest(place)
        task = wanted.get(str(place))
        if manifest is None:
            if task is None:
                raise LocalError(
                    f"{place} is not whole, or of another version, and of none of the parts now "
                    "wanted; another --out wanted, or remove it"
                )
            stale.append(place)
            continue
        if manifest["settings"] != settings:
            raise LocalError(f"{place} was made with other settings; another --out wanted")
        if task is not None and same_part(manifest["part"], task.part.described()):
            task.manifest, task.overlap = manifest, manifest["overlap"]
            task.learnt = manifest["learnt_before"]
            continue
        if not _comes_again(manifest["part"], there, begun):
            raise LocalError(
                f"{place} holds what the captures given do not ({manifest['part']['capture']}): "
                "name all captures of --out, or another --out"
            )
        stale.append(place)
    for place in stale:
        shutil.rmtree(place)


def _comes_again(
    part: dict[str, Any],
    there: dict[tuple[int, int, str], Stretch],
    begun: dict[tuple[int, int, int], Stretch],
) -> bool:
    """Whether all that a finished part was made of is in the captures; at a capture's end it may
    have grown since."""
    *whole, (begin, octets, digest) = part["stretches"]
    if any((*at, one) not in there for at, _, one in whole):
        return False
    if (*begin, digest) in there:
        return True
    if not part["last"]:
        return False
    first_ns = part["first_ns"] if not whole else None
    grown = [
        one
        for (file, offset, at_ns), one in begun.items()
        if [file, offset] == begin and first_ns in (None, at_ns)
    ]
    return any(one.octets >= octets for one in grown)


def _settings(profile: LinkProfile, kind: str) -> str:
    """A digest of what decides what comes out, with the dictionary's own text."""
    from ground.wiring import open_dictionary
    from protocols.telemetry.xtce import export_xtce

    dictionary = open_dictionary(profile.dictionary)
    text = b"" if dictionary is None else export_xtce(dictionary)
    # Keys are not described, only that there are some.
    described = json.dumps([FORMAT, kind, profile.describe()], sort_keys=True, default=str)
    return hashlib.sha256(described.encode() + text).hexdigest()[:16]


@contextmanager
def _sole_user(out: Path) -> Iterator[str]:
    """The name of this run, whose directory for what is unfinished is there, and no other's."""
    make_directory(out)
    lock = os.open(out / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unfinished = out / UNFINISHED
        make_directory(unfinished)
        run = uuid.uuid4().hex
        for other in unfinished.iterdir():
            _forget(other)
        (unfinished / run).mkdir()
        try:
            yield run
        finally:
            _forget(unfinished / run)
    except BlockingIOError as error:
        raise LocalError(f"{out}: another `l4 reprocess` is at work here") from error
    finally:
        os.close(lock)


def _forget(run: Path) -> None:
    """Remove a run's directory.  Renamed first: a worker that is still in it finds nothing under
    its name from one instant on, and can put nothing of it in place while it is emptied."""
    gone = run.with_name(f".{run.name.lstrip('.')}-gone")
    try:
        run.rename(gone)
    except OSError:
        gone = run
    shutil.rmtree(gone, ignore_errors=True)


__all__ = ["Progress", "reprocess"]
