"""The physical limit that every path is compared with: copying memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tests.benchmarks.harness import Case


def cases() -> Iterable[Case]:
    source = np.ones(256 << 20, np.uint8)
    target = np.empty_like(source)
    yield Case(
        "memory copy, 256 MiB", source.nbytes, "GB/s", lambda: np.copyto(target, source), scale=1e9
    )
