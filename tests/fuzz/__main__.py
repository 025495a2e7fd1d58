"""make fuzz: every parser that reads from outside, for as long as one likes.

    make fuzz                                          all targets, 20 s each
    make fuzz ARGS="--seconds 300 --only bundle,ltp"   those whose names begin so
    make fuzz ARGS="--list"                            targets, their parsers, their corpora
    make fuzz ARGS="--json"                            the table for scripts
    make fuzz ARGS="--table"                           docs/fuzzing.md anew

Faults are files under --directory (default var/fuzz), one for each kind, made as short as can be;
the same as an entry for tests/fuzz/faults.toml, whose octets the suite tries again for ever.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.fuzz.engine import has_atheris, minimised
from tests.fuzz.table import DOCUMENT, with_table
from tests.fuzz.target import Fault, Target
from tests.fuzz.targets import area_of, targets

#: A process takes so long to start, load and end.
START_S = 300.0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="for each target (20)")
    parser.add_argument("--only", default="", help="beginnings of targets' names, with commas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory", type=Path, default=Path("var/fuzz"))
    parser.add_argument("--engine", choices=("atheris", "mutation"), default="atheris")
    parser.add_argument("--list", action="store_true", help="targets and their parsers")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--table", action="store_true", help="write docs/fuzzing.md's table anew")
    given = parser.parse_args()
    if given.table:
        DOCUMENT.write_text(with_table(DOCUMENT.read_text()))
        return 0
    begins = tuple(name for name in given.only.split(",") if name)
    chosen = {name: one for name, one in targets().items() if not begins or name.startswith(begins)}
    console = Console(stderr=True)
    if not chosen:
        console.print(f"--only {given.only}: no such target; {', '.join(targets())} are")
        return 2
    if given.list:
        listing = {
            name: {"parser": one.parser, "seeds": len(one.corpus), "longest": one.longest}
            for name, one in chosen.items()
        }
        print(json.dumps(listing, indent=1) if given.json else _lines(listing))
        return 0
    if given.engine == "atheris" and not has_atheris():
        console.print("atheris is not installed: mutations without coverage")
    results: dict[str, dict[str, Any]] = {}
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        task = progress.add_task("fuzzing", total=len(chosen))
        for name, target in chosen.items():
            progress.update(task, description=f"{name:18}")
            results[name] = _run(
                target, given, lambda text: progress.update(task, description=text)
            )
            progress.advance(task)
    faults = sum(len(result["faults"]) for result in results.values())
    if given.json:
        print(json.dumps(results, indent=1))
    else:
        _print(results)
    return 1 if faults else 0


def _run(target: Target, given: argparse.Namespace, tell: Any) -> dict[str, Any]:
    directory = given.directory / target.name
    directory.mkdir(parents=True, exist_ok=True)
    result_file = directory / "result.json"
    result_file.unlink(missing_ok=True)
    for old in directory.glob("*-*[0-9a-f]"):
        old.unlink()
    command = [
        sys.executable, "-m", "tests.fuzz.engine", target.name, "--area", area_of(target.name),
        "--seconds", str(given.seconds), "--seed", str(given.seed),
        "--directory", str(directory), "--engine", given.engine,
    ]  # fmt: skip
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        end_s = time.monotonic() + given.seconds + START_S
        while process.poll() is None and time.monotonic() < end_s:
            time.sleep(0.25)
            if result_file.exists():
                now = json.loads(result_file.read_text())
                tell(f"{target.name:18} {now['runs']:>9,} runs, {len(now['faults'])} faults")
        process.kill()
        process.wait()
    result = {"runs": 0, "seconds": 0.0, "slowest_s": 0.0, "faults": []}
    if result_file.exists():
        result |= json.loads(result_file.read_text())
    text = (directory / "log").read_text(errors="replace")
    coverage = [word for line in text.splitlines() for word in _coverage(line)]
    result["coverage"] = max(coverage, default=0)
    # What libFuzzer itself has stopped at: an input that hangs, takes all memory, ends the process.
    result["faults"] += [
        {"key": one.name.partition("-")[0], "what": one.name, "octets": one.read_bytes().hex()}
        for kind in ("timeout", "oom", "crash")
        for one in directory.glob(f"{kind}-*")
    ]
    if not result["runs"] and not result["faults"]:
        result["faults"].append({"key": "no run", "what": text[-300:], "octets": ""})
    _keep(target, directory, result["faults"])
    return result


def _coverage(line: str) -> list[int]:
    words = line.split()
    return [int(words[words.index("cov:") + 1])] if "cov:" in words else []


def _keep(target: Target, directory: Path, faults: list[dict[str, str]]) -> None:
    """Shortened, as files, and as entries to be put into faults.toml."""
    entries: list[str] = []
    for number, one in enumerate(faults):
        octets = bytes.fromhex(one["octets"])
        if one["key"] not in ("timeout", "oom", "crash", "no run"):
            octets = minimised(target, Fault(one["key"], one["what"], octets)).octets
            one["octets"] = octets.hex()
        if one["key"] == "no run":
            # The engine itself ended: the log says why, and there are no octets.
            continue
        (directory / f"fault-{number}").write_bytes(octets)
        what = json.dumps(one["what"])
        entries.append(
            f'[[fault]]\ntarget = "{target.name}"\nwhat = {what}\noctets = "{octets.hex()}"\n'
        )
    (directory / "faults.toml").write_text("\n".join(entries))


def _lines(listing: dict[str, dict[str, Any]]) -> str:
    return "\n".join(
        f"{name:18} {one['seeds']:>4} seeds  {one['parser']}" for name, one in listing.items()
    )


def _print(results: dict[str, dict[str, Any]]) -> None:
    console = Console()
    table = Table("target", "runs", "runs/s", "coverage", "slowest ms", "faults")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, one in results.items():
        rate = one["runs"] / max(one["seconds"], 0.1)
        table.add_row(
            name, f"{one['runs']:,}", f"{rate:,.0f}", str(one["coverage"]),
            f"{1000 * one['slowest_s']:,.0f}", str(len(one["faults"])) if one["faults"] else "",
        )  # fmt: skip
    console.print(table)
    for name, one in results.items():
        for fault in one["faults"]:
            console.print(f"{name}: {fault['what']}\n  {fault['octets'][:400]}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
