"""What others wrote for the page is what they published, and the page stays small."""

from __future__ import annotations

import gzip
import hashlib
import json
import re

from ground.console.app import STATIC


def test_vendored_files_are_as_recorded() -> None:
    recorded = json.loads((STATIC / "vendor/vendor.json").read_text())
    found = {path.name for path in (STATIC / "vendor").glob("*.[jc]s*")} - {"vendor.json"}
    assert found == set(recorded)
    for name, one in recorded.items():
        octets = (STATIC / "vendor" / name).read_bytes()
        assert hashlib.sha256(octets).hexdigest() == one["sha256"], name


def test_the_page_is_small_and_asks_nobody_else() -> None:
    files = [p for p in STATIC.rglob("*") if p.suffix in (".js", ".css", ".html", ".svg")]
    assert sum(len(gzip.compress(path.read_bytes(), 6)) for path in files) < 150_000
    for path in files:
        if path.parent.name != "vendor":
            links = re.findall(r"https?://[^\s\"'`]+", path.read_text())
            assert set(links) <= {"http://www.w3.org/2000/svg"}, path
