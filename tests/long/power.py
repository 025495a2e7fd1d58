"""The power goes at a random instant: is all there that was promised before?

    make trial-power                                   # every writer, 2,000 crashes
    make trial-power ARGS="--only bundles --crashes 20000 --seed 7"

What a writer (`power_writers`) asks of the file system is recorded, in several processes one after
the other of which some are killed -9 in their work.  From the recording (`power_model`) come trees
in which what was not waited for is missing, in part or in another order than it was asked in; on
each the store is opened as its service does, and has to hold every promise made before the
instant.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.long.power_model import Recording
from tests.long.power_writers import WRITERS, check

SOURCE = Path(__file__).with_name("power_record.c")
ROOT = Path(__file__).parents[2]


def build_recorder(directory: Path) -> Path:
    """The library that processes are started with."""
    made = directory / "power_record.so"
    compiler = shutil.which("cc") or shutil.which("gcc") or "cc"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", made, SOURCE, "-ldl", "-lpthread"], check=True
    )
    return made


@dataclass
class Trial:
    """promises: of one writer, with the number of the last call before each."""

    name: str
    recording: Recording
    promises: list[tuple[int, Any]]
    crashes: int = 0
    problems: list[str] = field(default_factory=list[str])

    def crash(self, rng: random.Random, directory: Path) -> list[str]:
        """Once, at an instant just after a promise more often than not."""
        instant = rng.randint(1, self.recording.last)
        if self.promises and rng.random() < 0.7:
            instant = rng.choice(self.promises)[0] + rng.randrange(8)
        tree = directory / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        self.recording.tree(instant, rng, tree)
        (tree / self.name).mkdir(exist_ok=True)
        found = check(
            self.name,
            tree / self.name,
            [what for number, what in self.promises if number <= instant],
        )
        self.crashes += 1
        self.problems += [f"{self.name}, instant {instant}: {one}" for one in found]
        return found


def record(name: str, directory: Path, recorder: Path, seed: int, processes: int = 3) -> Trial:
    """The writer's work, in processes one after the other; but for the last they are killed."""
    root, logs = directory / "root", directory / "logs"
    for one in (root, logs):
        one.mkdir(parents=True)
    (logs / "counter").write_bytes(bytes(8))
    promises = directory / "promises"
    promises.touch()
    environment = os.environ | {
        "LD_PRELOAD": str(recorder), "POWER_ROOT": str(root), "POWER_LOG": str(logs)
    }  # fmt: skip
    rng = random.Random(seed)
    for number in range(processes):
        place = root / name
        command = [sys.executable, "-m", "tests.long.power_writers", name, str(place)]
        if not number:
            # Made by the first process, which is recorded.
            command[1:3] = ["-c", _MAKE]
        process = subprocess.Popen(
            [*command, str(promises), f"{seed} {number}"], cwd=ROOT, env=environment
        )
        if number < processes - 1:
            wanted = len(promises.read_text().splitlines()) + rng.randrange(3, 15)
            deadline = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < deadline:
                if len(promises.read_text().splitlines()) >= wanted:
                    process.send_signal(signal.SIGKILL)
                    break
                time.sleep(0.001)
        if process.wait(300) not in (0, -signal.SIGKILL):
            raise RuntimeError(f"{name} ended with {process.returncode}")
    kept = [json.loads(line) for line in promises.read_text().splitlines()]
    return Trial(name, Recording.read(logs, root), [(number, what) for number, what in kept])


#: The directory of a writer is there before it begins, and on disk.
_MAKE = (
    "import sys; from pathlib import Path; from ground.durable_files import make_directory; "
    "make_directory(Path(sys.argv[2])); "
    "from tests.long.power_writers import main; main()"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--crashes", type=int, default=2_000, help="of each writer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help=f"of {', '.join(WRITERS)}")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory(prefix="power-") as name:
        directory = Path(name)
        recorder = build_recorder(directory)
        for writer in options.only.split(",") if options.only else WRITERS:
            began = time.monotonic()
            trial = record(writer, directory / writer, recorder, options.seed)
            rng = random.Random(options.seed)
            for _ in range(options.crashes):
                trial.crash(rng, directory)
            failed |= bool(trial.problems)
            print(
                f"{writer:<10} {trial.recording.calls:>7,} calls, {trial.recording.syncs:>5,} "
                f"waits for the disk, {len(trial.promises):>4} promises, {trial.crashes:,} "
                f"crashes, {len(trial.problems)} problems, {time.monotonic() - began:.0f} s",
                flush=True,
            )
            print("\n".join(f"  {one}" for one in trial.problems[:5]), end="", flush=True)
            if trial.problems:
                print()
    sys.exit(failed)


if __name__ == "__main__":
    main()
