"""docs/limits.md names every module that listens: none is forgotten there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LISTENS = re.compile(
    r"(?<![.\w])(listening|create_server|LocalCluster|start_server)\("
    r"|\.(bind|listen)\((?!self, version)"
)
#: What no stranger reaches, and why.
NONE = {
    "ground/config.py": "asks whether a port is free",
    "ground/adapters/sockets.py": "makes sockets for those that use it",
    "ground/curve.py": "for those that use it; the authenticator's is inproc",
    "spacecraft_sim/adapters/curve.py": "for zmq_link.py; the authenticator's is inproc",
    "ground/adapters/radio/udp.py": "the other end of a trial, on loopback",
    "ground/adapters/radio/rtl_tcp.py": "the other end of a trial, on loopback",
    "ground/adapters/radio/sle_peer.py": "the other end of a trial, on loopback",
}


def test_every_listener_has_its_limits_stated() -> None:
    said = (ROOT / "docs/limits.md").read_text()
    modules = [
        path.relative_to(ROOT).as_posix()
        for top in ("ground", "spacecraft_sim")
        for path in sorted((ROOT / top).rglob("*.py"))
        if LISTENS.search(path.read_text())
    ]
    assert set(NONE) <= set(modules)
    missing = [one for one in modules if one not in NONE and f"`{one}`" not in said]
    assert not missing, f"they listen, and docs/limits.md does not name them: {missing}"


def test_the_tests_that_are_named_are_there() -> None:
    said = (ROOT / "docs/limits.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)`", said)
    assert len(named) > 10
    assert not [one for one in named if not (ROOT / one).is_file()]
