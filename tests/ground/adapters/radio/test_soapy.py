"""The SoapySDR adapter against a device that is made here, of a few lines of C++."""

from __future__ import annotations

import ctypes
import ctypes.util
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from ground.adapters.radio.adapter import State
from ground.adapters.radio.contract import CHECKS, Check, Outcome, run_check
from ground.adapters.radio.peer import Peer
from ground.adapters.radio.soapy import SoapyAdapter

SOURCE = Path(__file__).with_name("soapy_device.cpp")


@pytest.fixture(scope="session", autouse=True)
def device(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The module, compiled and loaded into this process."""
    headers = any(
        Path(root, "SoapySDR").is_dir() for root in ("/usr/include", "/usr/local/include")
    )
    if not headers or ctypes.util.find_library("SoapySDR") is None:
        pytest.skip("program header SoapySDR/Device.hpp (libsoapysdr-dev) is missing")
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("program g++ is missing")
    module = tmp_path_factory.mktemp("soapy") / "l4_test.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", module, SOURCE, "-lSoapySDR"],
        check=True,
    )
    library = ctypes.CDLL(ctypes.util.find_library("SoapySDR"))
    library.SoapySDR_loadModule.restype = ctypes.c_char_p
    assert library.SoapySDR_loadModule(str(module).encode()) == b""


class SoapyPeer(Peer):
    """The antenna of the device: what it hears and what it radiates."""

    can_leave = can_gap = True
    _RATE_HZ = 1e6

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self._in = Path(self._directory.name, "in")
        self._there = Path(self._directory.name, "in.there")
        self._there.touch()
        out = Path(self._directory.name, "out")
        self._out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._out.bind(str(out))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.uri = (
            f"soapy:driver=l4-test,in={self._in},out={out}?rate=1e6&freq=8.4e9&direction=both"
        )
        self._time_ns = 10**12
        self._received = bytearray()
        # The kernel holds ten datagrams: a device that waits for room must not wait for us.
        self._drain = threading.Thread(target=self._receive, daemon=True)
        self._drain.start()

    def _receive(self) -> None:
        while octets := self._out.recv(1 << 16):
            self._received += octets

    def _send(self, datagram: bytes) -> None:
        self._socket.sendto(datagram, str(self._in))

    def send(self, blocks: Sequence[bytes]) -> None:
        for block in blocks:
            self._send(b"D" + struct.pack("=q", self._time_ns) + block)
            self._time_ns += round(len(block) / 4 * 1e9 / self._RATE_HZ)

    def received(self) -> bytes:
        return bytes(self._received)

    def gap(self) -> None:
        self._time_ns += 1_000_000

    def overflow(self) -> None:
        self._send(b"O")

    def leave(self) -> None:
        self._there.unlink()
        self._send(b"E")

    def come_back(self) -> None:
        self._there.touch()

    def close(self) -> None:
        self._socket.sendto(b"", self._out.getsockname())
        self._drain.join()
        self._socket.close()
        self._out.close()
        self._directory.cleanup()


class TestedAdapter(SoapyAdapter):
    __test__: ClassVar[bool] = False

    @classmethod
    def peer(cls) -> Peer:
        return SoapyPeer()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(check: Check) -> None:
    result = run_check(check, TestedAdapter)
    not_run = check.__name__ in ("something_comes", "nonsense_is_a_result")
    assert result.outcome is (Outcome.NOT_RUN if not_run else Outcome.PASSED), result.detail


@pytest.fixture
def opened() -> Iterator[tuple[SoapyAdapter, SoapyPeer]]:
    peer = SoapyPeer()
    with SoapyAdapter(peer.uri) as adapter:
        assert adapter.wait_until(State.RUNNING, timeout_s=10), adapter.statistics()
        yield adapter, peer  # type: ignore[misc]
    peer.close()


def test_an_overflow_of_the_device_is_counted_in_samples(
    opened: tuple[SoapyAdapter, SoapyPeer],
) -> None:
    adapter, peer = opened
    peer.send([bytes(400)])
    peer.overflow()
    peer.gap()
    peer.send([bytes(400)])
    blocks = []
    deadline = time.monotonic() + 10
    while len(blocks) < 2:
        assert time.monotonic() < deadline
        blocks += adapter.receive(0.1)
    assert [block.lost for block in blocks] == [0, 1000]
    seen = adapter.statistics()
    assert (seen.overflows, seen.gaps, seen.lost) == (1, 0, 1000)


def test_the_device_says_what_the_signal_is(opened: tuple[SoapyAdapter, SoapyPeer]) -> None:
    adapter, _ = opened
    assert adapter.signal is not None
    assert (adapter.signal.format.name, adapter.signal.sample_rate_hz) == ("ci16_le", 1e6)
    assert adapter.signal.centre_hz == 8.4e9


def test_what_the_device_refuses_is_said_in_its_own_words() -> None:
    peer = SoapyPeer()
    for uri, says in (
        (peer.uri.replace("rate=1e6", "rate=1e9"), "20 Msps at most"),
        (peer.uri + "&format=CF32", "CS16 alone"),
        ("soapy:driver=no-such-device", "no match"),
    ):
        with SoapyAdapter(uri) as adapter:
            assert adapter.wait_until(State.WAITING, timeout_s=10)
            assert says in adapter.statistics().detail
    peer.close()
