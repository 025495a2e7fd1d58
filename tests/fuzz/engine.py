"""One target, by coverage, in a process of its own: python -m tests.fuzz.engine NAME --seconds 60 …

atheris (libFuzzer) mutates, and keeps what reaches new code of ours; where it is not installed,
`mutation.py` does without coverage.  A fault does not end the run: of each kind the shortest input
is kept.  Of an input that hangs or takes all memory libFuzzer keeps the octets and ends.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import re
import resource
import sys
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.fuzz.target import Fault, Target

ROOT: Final = Path(__file__).resolve().parents[2]
#: An input that computes for so long hangs; memory of the process beyond what it began with.
HANGS_S: Final = 20
MORE_MEMORY: Final = 1 << 30
PROGRESS_S: Final = 0.5
MINIMISE_S: Final = 5.0


def has_atheris() -> bool:
    return importlib.util.find_spec("atheris") is not None


def compiled_modules() -> list[str]:
    """Modules with kernels: Numba compiles their bytecode, so nothing may be woven into it."""
    found: list[str] = []
    for package in ("protocols", "ground", "spacecraft_sim"):
        for path in (ROOT / package).rglob("*.py"):
            if re.search(r"^\s*(from|import) numba", path.read_text(), re.MULTILINE):
                found.append(".".join(path.relative_to(ROOT).with_suffix("").parts))
    return found


class Run:
    """What has been found so far; told in a file, which outlives the process."""

    def __init__(self, target: Target, directory: Path) -> None:
        self.target = target
        self.directory = directory
        self.faults: dict[str, Fault] = {}
        self.runs = 0
        self.slowest_s = 0.0
        self.began_s = self.told_s = time.monotonic()

    def one(self, octets: bytes) -> None:
        from tests.fuzz.target import attempt

        before_s = time.monotonic()
        fault = attempt(self.target, octets)
        now_s = time.monotonic()
        self.runs += 1
        self.slowest_s = max(self.slowest_s, now_s - before_s)
        if fault is not None:
            known = self.faults.get(fault.key)
            if known is None or len(fault.octets) < len(known.octets):
                self.faults[fault.key] = fault
                self.tell()
        if now_s - self.told_s >= PROGRESS_S:
            self.tell()

    def tell(self) -> None:
        self.told_s = time.monotonic()
        told = {
            "runs": self.runs,
            "seconds": self.told_s - self.began_s,
            "slowest_s": self.slowest_s,
            "faults": [
                {"key": one.key, "what": one.what, "octets": one.octets.hex()}
                for one in self.faults.values()
            ],
        }
        temporary = self.directory / "result.new"
        temporary.write_text(json.dumps(told))
        temporary.replace(self.directory / "result.json")


def minimised(target: Target, fault: Fault, seconds: float = MINIMISE_S) -> Fault:
    """The same fault from fewer octets: pieces are left out, ever smaller ones, then made zero."""
    from tests.fuzz.target import attempt

    end_s = time.monotonic() + seconds
    best = fault

    def still(octets: bytes) -> bool:
        nonlocal best
        found = attempt(target, octets)
        if found is None or found.key != fault.key:
            return False
        best = found
        return True

    size = max(1, len(best.octets) // 2)
    while size and time.monotonic() < end_s:
        at = 0
        while at < len(best.octets) and time.monotonic() < end_s:
            if not still(best.octets[:at] + best.octets[at + size :]):
                at += size
        size //= 2
    for at in range(len(best.octets)):
        if time.monotonic() >= end_s:
            break
        if best.octets[at]:
            still(best.octets[:at] + b"\0" + best.octets[at + 1 :])
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--area", required=True)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory", type=Path, required=True, help="corpus, faults, result.json")
    parser.add_argument("--engine", choices=("atheris", "mutation"), default="atheris")
    given = parser.parse_args()
    if given.engine == "atheris" and has_atheris():
        by_coverage(given)
    else:
        by_mutation(given)


def by_mutation(given: argparse.Namespace) -> None:
    from tests.fuzz.mutation import mutated
    from tests.fuzz.targets import targets

    target = targets(given.area)[given.name]
    run = Run(target, given.directory)
    random = Random(given.seed)
    for octets in target.corpus:
        run.one(octets)
    limit_memory()
    end_s = time.monotonic() + given.seconds
    while time.monotonic() < end_s:
        run.one(mutated(random, target.corpus, target.longest, target.tokens))
    run.tell()


def by_coverage(given: argparse.Namespace) -> None:
    import atheris

    # The mutations of libFuzzer are of no use to code that was loaded before this.
    with atheris.instrument_imports(
        include=["protocols", "ground", "spacecraft_sim"],
        exclude=compiled_modules(),
        enable_loader_override=False,
    ):
        from tests.fuzz.targets import targets

        target = targets(given.area)[given.name]
        seeds = target.corpus
    run = Run(target, given.directory)
    corpus = given.directory / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for octets in seeds:
        (corpus / hashlib.sha1(octets).hexdigest()).write_bytes(octets)
        # What is compiled or loaded at first use is so before memory and time are limited.
        run.one(octets)
    run.tell()
    limit_memory()
    arguments = [
        sys.argv[0],
        f"-max_total_time={max(1, round(given.seconds))}",
        f"-max_len={target.longest}",
        f"-timeout={HANGS_S}",
        "-rss_limit_mb=4096",
        f"-seed={given.seed}",
        f"-artifact_prefix={given.directory}/",
        "-reload=0",
        "-use_value_profile=1",
    ]
    if target.tokens:
        words = given.directory / "tokens"
        lines = ("".join(f"\\x{octet:02x}" for octet in token) for token in target.tokens)
        words.write_text("".join(f'"{line}"\n' for line in lines))
        arguments.append(f"-dict={words}")
    atheris.Setup([*arguments, str(corpus)], run.one)
    atheris.Fuzz()


def limit_memory() -> None:
    """An input that wants more than a gibibyte gets a MemoryError, which is a fault."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    if pages:
        most = pages * resource.getpagesize() + MORE_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main()
