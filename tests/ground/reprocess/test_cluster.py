"""A Dask scheduler and workers started by hand, in processes of their own, over TLS."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.ground.reprocess.test_reprocess import (
    RUN,
    downlink,
    is_the_truth,
    parts,
    read_at_once,
)

pytest.importorskip("distributed")
ROOT = Path(__file__).parents[3]


class DaskSite:
    """Its processes; what a user would type, on loopback."""

    def __init__(self, home: Path, stack: ExitStack, tls: bool) -> None:
        self.home, self._stack = home, stack
        self.tls = ["--tls-ca-file", "ca.pem", "--tls-cert", "end.pem", "--tls-key", "end.key"]
        self.mine = ["--tls-ca", "ca.pem", "--tls-cert", "end.pem", "--tls-key", "end.key"]
        if tls:
            certificates(home)
        else:
            self.tls, self.mine = [], []
        self.scheduler = self._started("scheduler", "--port", "0", "--no-dashboard", "--no-show",
            "--scheduler-file", "scheduler.json", "--host", self.host, *self.tls)  # fmt: skip
        file = home / "scheduler.json"
        until_there(lambda: file.exists() and file.read_text().endswith("}"), self.scheduler)
        self.address: str = json.loads(file.read_text())["address"]

    @property
    def host(self) -> str:
        return "tls://127.0.0.1" if self.tls else "tcp://127.0.0.1"

    def worker(self, *more: str, path: str = "") -> subprocess.Popen[bytes]:
        command = ["worker", self.address, "--nthreads", "1", "--no-dashboard", "--host", self.host]
        command += ["--local-directory", str(self.home / "w"), *self.tls, *more]
        return self._started(*command, path=path)

    def _started(self, *command: str, path: str = "") -> subprocess.Popen[bytes]:
        log = self._stack.enter_context((self.home / f"{command[0]}.log").open("ab"))
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *command],
            cwd=self.home, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        self._stack.callback(ended, process)
        return process

    def client(self, capture: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
        """`l4 reprocess --cluster`."""
        command = [sys.executable, "-W", "ignore", "-c", RUN, str(capture), "--out", str(out)]
        command += ["--cluster", self.address, "--json", *self.mine, *more]
        process = subprocess.Popen(
            command, cwd=self.home, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        self._stack.callback(ended, process)
        return process


@contextmanager
def dask_site(home: Path, *, tls: bool = True) -> Iterator[DaskSite]:
    with ExitStack() as stack:
        yield DaskSite(home, stack, tls)


def ended(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def until_there(true: Any, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 240
    while not true():
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.05)


def certificates(home: Path) -> None:
    """As docs/howto/reprocess-years.md makes them."""
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=reprocessing -keyout ca.key "
        "-out ca.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=end -keyout end.key -out end.csr",
        "x509 -req -in end.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out end.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=home, check=True, capture_output=True)


def other_version(home: Path) -> str:
    """A tree that differs from this one in a line."""
    for package in ("ground", "protocols"):
        shutil.copytree(ROOT / package, home / "other" / package,
            ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    with (home / "other" / "ground" / "archive" / "decoding.py").open("a") as file:
        file.write("# and a line\n")
    return str(home / "other")


def result(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    told, said = process.communicate(timeout=240)
    return process.returncode, told.decode(), " ".join(said.decode().split())


@pytest.mark.long
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_over_tls_with_workers_of_one_version(tmp_path: Path) -> None:
    truth = read_at_once(tmp_path, downlink())
    with dask_site(tmp_path) as site:
        stranger = site.worker(path=other_version(tmp_path))
        code, _, said = result(site.client(truth[0], tmp_path / "out"))
        assert code != 0
        assert "workers of another version: tls://127.0.0.1:" in said
        assert parts(tmp_path / "out") == 0
        ended(stranger)
        site.worker(path=str(ROOT))
        code, told, said = result(site.client(truth[0], tmp_path / "out"))
        assert code == 0, said
        assert json.loads(told)["kept"] == 0
        is_the_truth(tmp_path / "out", truth)
