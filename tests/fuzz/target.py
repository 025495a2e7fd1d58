"""What a fuzzing target is: one parser, what it may raise, where its inputs begin.

Both engines run the same declarations: `make fuzz` by coverage (`engine.py`), the suite by a fixed
number of mutations of the corpus (`test_fuzz.py`).
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from protocols.errors import RemoteError

ROOT: Final = Path(__file__).resolve().parents[2]
#: Files with code of ours: faults are told apart by the innermost line in these.
OURS: Final = tuple(str(ROOT / name) for name in ("protocols", "ground", "spacecraft_sim"))


@dataclass(frozen=True)
class Target:
    """parser: what is called, as one would import it; octets: whatever comes, none is refused by
    anything but `refuses`; longest: octets of an input; seconds: longest that one input may take
    of a processor; text: tokens of the format, for mutations."""

    name: str
    parser: str
    run: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]
    refuses: tuple[type[BaseException], ...] = (RemoteError,)
    longest: int = 4096
    seconds: float = 2.0
    tokens: tuple[bytes, ...] = ()
    #: Mutations in the suite; less where one takes long.
    short: int = 60

    @cached_property
    def corpus(self) -> list[bytes]:
        """The seeds, each once."""
        return list(dict.fromkeys(seed[: self.longest] for seed in self.seeds()))


@dataclass(frozen=True)
class Fault:
    """key: the same for one cause; what: for people."""

    key: str
    what: str
    octets: bytes


def attempt(target: Target, octets: bytes) -> Fault | None:
    """Run it once; None if it kept its promise."""
    took = 0.0
    for _ in range(2):
        began = time.process_time()
        try:
            target.run(octets)
        except target.refuses:
            pass
        except Exception as error:  # noqa: BLE001 — that there is none is what is tested
            return Fault(_key(error), _what(error), octets)
        took = time.process_time() - began
        if took <= target.seconds:
            return None
        # The first time may be a kernel's compilation.
    return Fault("slow", f"{took:.1f} s for {len(octets)} octets", octets)


def _key(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(OURS)] or frames
    where = ours[-1]
    name = Path(where.filename).name
    return f"{type(error).__name__} {name}:{where.lineno}"


def _what(error: BaseException) -> str:
    text = str(error).splitlines()
    return f"{_key(error)}: {text[0][:200] if text else ''}"


def examples(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """So many of a strategy's, always the same."""
    found: list[Any] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


def pieces(octets: bytes) -> Iterator[bytes]:
    """A stream in pieces: the first two octets say of what lengths they are, in turn."""
    lengths = [1 + one for one in octets[:2]] or [1]
    at, turn = 2, 0
    while at < len(octets):
        length = lengths[turn % len(lengths)]
        yield octets[at : at + length]
        at += length
        turn += 1


def streamed(octets: bytes, lengths: tuple[int, int] = (200, 16)) -> bytes:
    """A seed of a target that takes `pieces`."""
    return bytes(lengths) + octets


def parts(octets: bytes, most: int = 4) -> list[bytes]:
    """A message of several parts, each behind its length in two octets."""
    found: list[bytes] = []
    at = 0
    while at < len(octets) and len(found) < most:
        length = int.from_bytes(octets[at : at + 2], "big")
        found.append(octets[at + 2 : at + 2 + length])
        at += 2 + length
    return found


def joined(given_parts: Iterable[bytes]) -> bytes:
    """A seed of a target that takes `parts`."""
    return b"".join(len(part).to_bytes(2, "big") + part for part in given_parts)


__all__ = [
    "Fault",
    "Target",
    "attempt",
    "examples",
    "joined",
    "parts",
    "pieces",
    "streamed",
]
