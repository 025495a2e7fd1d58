"""Results that must not be lost, taken for others, or touched by who is no longer at work."""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ground.ports import LinkChunk
from ground.receive.capture import CaptureWriter
from ground.receive.profile import load_profile
from ground.reprocess import part, plan, run
from ground.reprocess.cluster import Here, Tls, open_cluster
from ground.reprocess.part import process
from ground.reprocess.run import reprocess
from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_utc_iso
from tests.ground.reprocess.test_reprocess import PROFILE, RUN

S = 10**9
DAY = tai_ns_from_utc_iso("2027-01-01T00:00:00Z")


def made(place: Path, ert_ns: list[int], fill: int = 0, stream: str = "run") -> Path:
    """A capture of a chunk at each of the times, of octets that are no frames."""
    place.parent.mkdir(exist_ok=True)
    with CaptureWriter(place, link="x", rotate_octets=1 << 20) as writer:
        for number, at_ns in enumerate(ert_ns):
            writer.append([LinkChunk(stream, number, at_ns, bytes([fill]) * 500)])
    return place


def again(captures: list[Path], out: Path, **more: Any) -> dict[str, Any]:
    return reprocess(captures, out, PROFILE, Here(), **more)


def test_results_that_would_not_come_again_stay(tmp_path: Path) -> None:
    year = [DAY + day * 86_400 * S for day in range(4)]
    one = made(tmp_path / "2026" / "capture", year)
    other = made(tmp_path / "2027" / "capture", [at + 10 * 86_400 * S for at in year])
    out = tmp_path / "out"
    assert len(again([one], out)["parts"]) == 4
    there = {path: path.read_bytes() for path in out.glob("day=*/part-*/part.json")}
    with pytest.raises(LocalError, match="name all captures"):
        again([other], out)
    # As long, at the same times, under the same name: another all the same.
    alike = made(tmp_path / "alike" / "capture", year, fill=1)
    with pytest.raises(LocalError, match="name all captures"):
        again([alike], out)
    assert there == {path: path.read_bytes() for path in out.glob("day=*/part-*/part.json")}
    found = again([one, other], out)
    assert (found["kept"], len(found["parts"])) == (4, 8)
    # Moved it is the same.
    moved = one.rename(tmp_path / "moved")
    assert again([moved, other], out)["kept"] == 8
    with pytest.raises(LocalError, match="named twice"):
        again([moved, tmp_path / "." / "moved"], out)


def test_who_outlives_the_run_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture, out = made(tmp_path / "c", [DAY, DAY + S]), tmp_path / "out"
    jobs: list[Any] = []
    monkeypatch.setattr(run, "process", lambda job: jobs.append(job) or process(job))
    again([capture], out)
    place = out / jobs[0].part.name
    held = (place / "part.json").read_bytes()
    with pytest.raises(LocalError, match="that run has ended"):
        process(jobs[0])
    # The run ends while the part is being decoded.
    live = replace(jobs[0], run="live", settings="late")
    (out / ".unfinished" / "live").mkdir()
    decode = part._decode

    def and_then(job: Any, scratch: Path) -> Any:
        found = decode(job, scratch)
        run._forget(scratch.parent)
        return found

    monkeypatch.setattr(part, "_decode", and_then)
    with pytest.raises(OSError, match="No such file"):
        process(live)
    assert (place / "part.json").read_bytes() == held
    assert not list((out / ".unfinished").iterdir())


def test_only_the_like_work_together_and_on_what_was_looked_through(tmp_path: Path) -> None:
    capture, out = made(tmp_path / "c", [DAY, DAY + S]), tmp_path / "out"
    jobs: list[Any] = []

    class Recording(Here):
        def submit(self, index: int, function: Any, /, *arguments: Any) -> None:
            jobs.extend(one for one in arguments if isinstance(one, part.Job))
            super().submit(index, function, *arguments)

    reprocess([capture], out, PROFILE, Recording())
    (out / ".unfinished" / jobs[0].run).mkdir()
    with pytest.raises(LocalError, match=r"the worker on .* is l4-relay-ground .*this is another"):
        process(replace(jobs[0], software="another"))
    [file] = capture.glob("*.pcapng")
    held = bytearray(file.read_bytes())
    held[-60] ^= 1
    file.write_bytes(held)
    with pytest.raises(LocalError, match="not what was looked through"):
        process(jobs[0])


def test_midnight_and_leap_seconds(tmp_path: Path) -> None:
    last = tai_ns_from_utc_iso("2016-12-31T23:59:59.500Z")
    times = [last, last + S, last + 3 * S // 2, last + 2 * S, last + S, last - 70 * S]
    [file] = made(tmp_path / "c", times).glob("*.pcapng")
    days = [(one.day, one.octets) for one in plan.scan(str(file), 0, 1 << 20).stretches]
    # 23:59:60 is the old day's; what is a second late is the new one's, what is a minute late not.
    assert days == [("2016-12-31", 1000), ("2017-01-01", 1500), ("2016-12-31", 500)]


def test_captures_received_together_are_told_of(tmp_path: Path) -> None:
    hour = [DAY + i * 60 * S for i in range(60)]
    one = made(tmp_path / "a", hour)
    other = made(tmp_path / "b", [at + 1800 * S for at in hour], fill=1)
    found = again([one, other], tmp_path / "out")
    assert any("received together for 1,740 s" in told for told in found["warnings"])
    apart = made(tmp_path / "c", [at + 86_400 * S for at in hour])
    assert not any("together" in told for told in again([one, apart], tmp_path / "o")["warnings"])


@pytest.mark.parametrize(
    ("where", "tls", "message"),
    [
        ("tcp://192.0.2.1:8786", None, "192.0.2.1 is not a loopback address"),
        ("tcp://head:8786", None, "head is not a loopback address"),
        ("tcp://127.0.0.1", None, "tls://HOST:PORT"),
        ("inproc://x:1", None, "tls://HOST:PORT"),
        ("tls://127.0.0.1:1", None, "--tls-ca"),
        ("tls://127.0.0.1:1", Tls(Path("/no"), Path("/no"), Path("/no")), "no file /no"),
    ],
)
def test_schedulers_that_others_reach_want_tls(where: str, tls: Tls | None, message: str) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(LocalError, match=message), open_cluster(where, 0, tls):
        pass


def test_a_full_disk_is_said_and_what_is_finished_is_kept(tmp_path: Path) -> None:
    capture, out = made(tmp_path / "c", [DAY, DAY + 86_400 * S]), tmp_path / "out"
    command = [sys.executable, "-W", "ignore", "-c", RUN, str(capture), "--out", str(out)]

    def small() -> None:
        # No file may become longer: what a full disk is to whoever writes one.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))

    ended = subprocess.run(
        [*command, "--workers", "0"], preexec_fn=small, capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    assert "File too large; what is finished is kept" in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
    assert len(again([capture], out)["parts"]) == 2


def test_captures_of_samples_are_refused(tmp_path: Path) -> None:
    from protocols.physical.sample_block import MAGIC

    with CaptureWriter(tmp_path / "c", link="x") as writer:
        writer.append([LinkChunk("run", 0, DAY, MAGIC + bytes(500))])
    with pytest.raises(LocalError, match="I/Q samples"):
        reprocess([tmp_path / "c"], tmp_path / "out", load_profile("l4_relay"), Here())
