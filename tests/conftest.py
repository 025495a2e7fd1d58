"""What every test may use: shared data or a named skip, programs counted, the libfec oracle."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A first call compiles kernels: how long an example takes says nothing.  The same examples on every
# machine of CI: what fails there fails here.
settings.register_profile(
    "l4",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
    database=None if os.environ.get("CI") else settings.default.database,
)
settings.load_profile("l4")

ROOT = Path(__file__).resolve().parents[1]
PROGRAM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])


def _missing(what: str) -> None:
    """Skip, named and counted; under CI a missing program is a failure."""
    if os.environ.get("CI") and what.startswith("program"):
        pytest.fail(f"{what} is missing; `make tools` installs it", pytrace=False)
    pytest.skip(f"{what} is missing")


@pytest.fixture(autouse=True)
def _programs(request: pytest.FixtureRequest) -> None:
    for marker in request.node.iter_markers("program"):
        for name in marker.args:
            # Debian keeps servers in /usr/sbin, which is in no user's PATH.
            if shutil.which(name, path=PROGRAM_PATH) is None:
                _missing(f"program {name}")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real captures and data that is not committed (`L4_SHARED`, else ../shared)."""
    path = Path(os.environ.get("L4_SHARED", ROOT.parent / "shared"))
    if not path.is_dir():
        _missing("shared data folder (L4_SHARED)")
    return path


@pytest.fixture(scope="session")
def libfec() -> ctypes.CDLL:
    """Phil Karn's libfec, the oracle of the codes; from the system's package."""
    name = ctypes.util.find_library("fec")
    if name is None:
        _missing("program library libfec")
    library = ctypes.CDLL(name)
    library.init_rs_char.restype = ctypes.c_void_p
    return library


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server of the session's own (`tests/postgres_server.py`)."""
    from tests import postgres_server

    if missing := postgres_server.missing():
        _missing(f"program {missing}")
    with postgres_server.server() as server:
        yield server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # From the reports and not from a count of our own: tests run in several processes.
    reasons = [str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])]
    missing = Counter(r.removeprefix("Skipped: ") for r in reasons if r.endswith("is missing"))
    for what, count in sorted(missing.items()):
        terminalreporter.write_line(f"skipped, {what}: {count} tests", yellow=True)


#: Measured, not tested; some want peers that are not here.
collect_ignore_glob = ["benchmarks/*"]
