"""What trials of deploy/ share: a small Debian made by debootstrap, our wheel and all it needs.

Nothing is taken from a registry of images, or written into the repository; pip asks whichever index
it is set up for.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUITE = "bookworm"


def run(*command: object, check: bool = True, **options) -> str:
    """What a command says on both outputs; ends the trial with it if it fails."""
    words = [str(one) for one in command]
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options
    )
    if check and done.returncode:
        raise SystemExit(f"{' '.join(words)}: status {done.returncode}\n{done.stdout[-3000:]}")
    return done.stdout


def say(text: str) -> None:
    print(text, flush=True)


def want(*programs: str) -> None:
    """Ends the trial, skipped by name, where it cannot be made."""
    if os.geteuid() != 0:
        sys.exit("skipped: not root, and a Debian is made and entered")
    missing = [one for one in programs if shutil.which(one) is None]
    if missing:
        sys.exit(f"skipped: {', '.join(missing)}: missing (Debian: see `make help`)")


def make_trial(
    what: str | None, name: str, programs: Sequence[str], trial: Callable[[Path], None]
) -> None:
    """A trial's command: `what` it says of itself; --work, where it is made."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--work", type=Path, default=Path(f"/var/tmp/l4-trial-{name}"))
    work: Path = parser.parse_args().work
    want(*programs)
    work.mkdir(parents=True, exist_ok=True)
    trial(work)
    say(f"all well; {work} may be deleted")


def debian(target: Path, packages: str) -> None:
    """A root directory with these packages; taken as it is if it has been made before."""
    made = target.with_name(f"{target.name}.packages")
    if made.exists() and made.read_text() == packages:
        return
    shutil.rmtree(target, ignore_errors=True)
    say(f"debootstrap of {SUITE} into {target} …")
    run("debootstrap", "--variant=minbase", f"--include={packages}", SUITE, target)
    made.write_text(packages)


def wheelhouse(directory: Path) -> str:
    """Our wheel and all that it needs, for Debian's Python, in `directory`/wheels; our version."""
    wheels, python = directory / "wheels", directory / "python"
    if not python.exists():
        run("/usr/bin/python3", "-m", "venv", python)
        run(python / "bin/pip", "install", "--quiet", "--upgrade", "pip")
    say(f"wheels into {wheels} …")
    for old in wheels.glob("l4_relay_ground*"):
        old.unlink()
    source = directory / "source"  # setuptools leaves `build` where it builds
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".venv", ".git", "var", "build", "__pycache__")
    )
    pip = (python / "bin/pip", "wheel", "--quiet", "--wheel-dir", wheels)
    run(*pip, source)
    run(*pip, "--no-deps", "pip", "setuptools", "wheel")
    (ours,) = wheels.glob("l4_relay_ground*")
    return ours.name.split("-")[1]


def pip_settings(path: Path, wheels: str) -> None:
    """Of a pip that finds what is in `wheels` and asks nobody."""
    path.write_text(
        f"[global]\nno-index = true\nfind-links = {wheels}\ndisable-pip-version-check = true\n"
    )
