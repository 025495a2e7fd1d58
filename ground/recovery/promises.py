"""What clients of a run were told is done, one line of JSON each, kept by who asked.

    promises = PromiseFile(path)
    promises.keep(Promise("request", {"number": 7}))       after the answer, never before
    for promise in read_promises(path): …

The auditor finds each of them in what the run keeps.  Kinds and what they name:

    request   number                        on the stack, armed, sent …: state is not promised
    run       number                        of a procedure
    file      id                            a transfer that was asked for
    pass      antenna, aos_ns, los_ns, version
    bundle    source, creation [ms, sequence], destination
    alarm     name, who                     with `perhaps`: asked, and not answered
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from protocols.errors import LocalError

KINDS: Final = ("request", "run", "file", "pass", "bundle", "alarm")


@dataclass(frozen=True, slots=True)
class Promise:
    kind: str
    names: dict[str, Any]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise LocalError(f"promise of {self.kind!r}; {', '.join(KINDS)} are known")


class PromiseFile:
    """Appends; any thread may."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def keep(self, promise: Promise) -> None:
        line = json.dumps({"kind": promise.kind, **promise.names}) + "\n"
        os.write(self._file, line.encode())


def read_promises(path: Path) -> Iterator[Promise]:
    """LocalError names the line that is none."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            names = json.loads(line)
            yield Promise(names.pop("kind"), names)
        except (ValueError, KeyError, AttributeError, LocalError) as error:
            raise LocalError(f"{path}, line {number}: no promise: {error}") from error


__all__ = ["KINDS", "Promise", "PromiseFile", "read_promises"]
