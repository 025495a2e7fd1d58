"""An SLE association's socket: what has come is given, whatever ends the association meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from ground.adapters.clock import ScaledClock
from ground.adapters.radio import sle_association
from ground.adapters.radio.sle_association import Association
from ground.adapters.radio.sle_peer import ProviderServer
from protocols.errors import RemoteError
from protocols.sle import frames
from protocols.sle.common import IMMEDIATELY, AbortDiagnostic, ServiceType
from protocols.sle.credentials import Security
from protocols.sle.frame_service import FrameService
from protocols.sle.tml import Heartbeat
from protocols.sle.user import Binding
from protocols.timecodes.tai import tai_ns_from_utc_iso

T = tai_ns_from_utc_iso("2026-11-22T21:00:00.000001Z")
S = 10**9
RAF = "sagr=1.spack=PASS-7.rsl-fg=1.raf=onlc1"
FRAMES = [bytes([number]) * 20_000 for number in range(1, 4)]


def settled() -> None:
    """What was sent on the loopback has come."""
    time.sleep(0.02)


class Bench:
    """A provider and an association with it, whose clock can be put forward."""

    def __init__(self) -> None:
        self.frames = FrameService(ServiceType.RAF, RAF, buffer_size=1)
        self.server = ProviderServer(
            [self.frames], {"L4RG": Security("STATION")}, identifier="STATION"
        )
        self.association = Association(
            ServiceType.RAF,
            self.server.address,
            Binding(instance=RAF, port="SLE", return_s=5),
            Security("L4RG"),
            Heartbeat(10, 3),
            lambda user, now_ns: user.start_raf(now_ns),
        )
        wall_ns = ScaledClock.wall().now_ns
        self.ahead_ns = 0
        self.association._now_ns = lambda: wall_ns() + self.ahead_ns
        self.association.open()

    def deliver(self) -> None:
        for frame in FRAMES:
            self.server.call(lambda now, frame=frame: self.frames.deliver(now, frame, T))

    def taken(self, step_ns: int = 0) -> tuple[list[bytes], str]:
        """Frames until it ends, and why it did; or those of a second."""
        found: list[bytes] = []
        deadline = time.monotonic() + 1
        try:
            while time.monotonic() < deadline:
                for pdu in self.association.exchange(0.05):
                    found += [pdu.data] if isinstance(pdu, frames.AnnotatedFrame) else []
                self.ahead_ns += step_ns
                settled()
        except (OSError, RemoteError) as error:
            return found, str(error)
        return found, ""

    def close(self) -> None:
        self.association.close()
        self.server.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def test_frames_before_the_providers_abort_are_given(bench: Bench) -> None:
    bench.deliver()
    provider: Any = bench.frames.provider
    bench.server.call(lambda now: provider.abort(AbortDiagnostic.END_OF_SERVICE_PROVISION_PERIOD))
    settled()
    found, why = bench.taken()
    assert found == FRAMES
    assert why == "the peer has aborted: end of service provision period"


@pytest.mark.parametrize("held", [False, True])
def test_frames_before_a_connection_that_is_no_more_are_given(
    bench: Bench, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heartbeat that cannot be sent any more ends nothing that is still to be read."""
    monkeypatch.setattr(sle_association, "READ_OCTETS", 5_000)
    bench.deliver()
    settled()
    bench.server.pause()
    settled()
    if held:
        for _ in range(3):
            bench.ahead_ns += 11 * S
            bench.association.beat()
            settled()
    found, why = bench.taken(step_ns=11 * S)
    assert found == FRAMES
    assert why


def test_who_was_held_up_reads_before_he_calls_the_other_silent(bench: Bench) -> None:
    """A machine that slept: answers and heartbeats wait in the socket."""
    bench.association.invoke(lambda user, now: user.schedule_status_report(now, IMMEDIATELY))
    bench.deliver()
    settled()
    bench.ahead_ns += 60 * S
    assert bench.taken() == (FRAMES, "")


def test_a_provider_that_is_silent_is_left_all_the_same(bench: Bench) -> None:
    bench.ahead_ns += 31 * S
    assert bench.taken() == ([], "silent for 31 s")
