"""The bench of the contract: an adapter, its wire's other end, faults, and what checks demand."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Final

from ground.adapters.radio.adapter import Adapter, Block, Capture, Policy, Result, State
from ground.adapters.radio.peer import Peer
from protocols.errors import LocalError

#: Longest wait for anything that should happen at once.
PATIENCE_S = 10.0
#: Between attempts, so that a check of several of them is short.
QUICK: Final = Policy(first_retry_s=0.02, longest_retry_s=0.08)
BLOCKS: Final = 60


class NotRun(Exception):
    """This check says nothing about this adapter; why."""


#: Called before each read with its number from 0: a result instead of it, None for the wire's own.
ReadFault = Callable[[int], Sequence[Result] | None]


class Bench:
    """An adapter and, if it has one, its other end."""

    def __init__(self, adapter: type[Adapter], uri: str | None) -> None:
        self.kind = adapter
        self.peer: Peer | None = None if uri is not None else adapter.peer()
        if uri is None and self.peer is None:
            raise LocalError(
                f"{adapter.__name__} has no other end of its own (`peer`); give it an address"
            )
        self.uri = uri or (self.peer.uri if self.peer is not None else "")
        self.opened: list[Adapter] = []

    def adapter(
        self,
        *,
        uri: str = "",
        policy: Policy = QUICK,
        capture: Capture | None = None,
        read_fault: ReadFault | None = None,
        connect_fault: Callable[[int], None] | None = None,
    ) -> Adapter:
        """A new one, with faults where they are wanted; closed at the end of the check."""
        made = _with_faults(self.kind, read_fault, connect_fault)(
            uri or self.uri, policy=policy, capture=capture
        )
        self.opened.append(made)
        return made

    def need_peer(self, what: str = "", *, can: str = "") -> Peer:
        """The other end.  Not run: there is none, or it cannot do what is wanted."""
        if self.peer is None:
            raise NotRun(f"wants an other end that {what or 'the contract drives'}")
        if can and not getattr(self.peer, can):
            raise NotRun(f"this wire's other end has no way to {what}")
        return self.peer

    def need(self, condition: bool, why: str) -> None:
        if not condition:
            raise NotRun(why)

    def blocks(self, count: int = BLOCKS, seed: int = 1) -> list[bytes]:
        """Different ones of the wire's size; the same for the same seed."""
        assert self.peer is not None
        random_octets = random.Random(seed)
        return [random_octets.randbytes(self.peer.block_octets) for _ in range(count)]

    def begin(self, adapter: Adapter, blocks: Sequence[bytes] = ()) -> None:
        """Open, and have the other end send; a recording is there before."""
        peer = self.peer
        if peer is not None and adapter.REPEATS and adapter.receives:
            peer.send(blocks or self.blocks())
        adapter.open()
        running(adapter)
        if peer is not None and blocks and not adapter.REPEATS:
            peer.send(blocks)

    def close(self) -> None:
        for adapter in self.opened:
            adapter.close()
        if self.peer is not None:
            self.peer.close()


def _with_faults(
    kind: type[Adapter],
    read_fault: ReadFault | None,
    connect_fault: Callable[[int], None] | None,
) -> type[Adapter]:
    class Faulty(kind):  # type: ignore[misc,valid-type]
        _reads = _connects = 0

        def connect(self) -> None:
            number, self._connects = self._connects, self._connects + 1
            if connect_fault is not None:
                connect_fault(number)
            super().connect()

        def read(self, timeout_s: float) -> Sequence[Result]:
            number, self._reads = self._reads, self._reads + 1
            found = read_fault(number) if read_fault is not None else None
            return super().read(timeout_s) if found is None else found

    return Faulty


# ---------------------------------------------------------------- what checks say


def demand(condition: bool, what: str) -> None:
    """AssertionError, also where Python runs without `assert`."""
    if not condition:
        raise AssertionError(what)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        demand(time.monotonic() < deadline, f"{what}: not within {PATIENCE_S:g} s")
        time.sleep(0.005)


def running(adapter: Adapter) -> None:
    states = (State.RUNNING, State.ENDED, State.FAILED)
    adapter.wait_until(*states, timeout_s=PATIENCE_S)
    demand(
        adapter.state in states[:2],
        f"{adapter.state}, not RUNNING, after {PATIENCE_S:g} s: {adapter.statistics().detail}",
    )


def take(adapter: Adapter, octets: int) -> list[Block]:
    """Blocks until there are so many octets."""
    found: list[Block] = []
    deadline = time.monotonic() + PATIENCE_S
    while (have := sum(len(block.octets) for block in found)) < octets:
        demand(
            time.monotonic() < deadline and adapter.state is not State.FAILED,
            f"{have} of {octets} octets came; {adapter.state}: {adapter.statistics().detail}",
        )
        found += adapter.receive(0.05)
    return found


def same(found: Sequence[Block], sent: Sequence[bytes], framed: bool) -> None:
    """Bit for bit; of a framed wire block for block."""
    got = [block.octets for block in found]
    if framed:
        demand(len(got) == len(sent), f"{len(got)} blocks came of {len(sent)} sent")
        for number, (one, other) in enumerate(zip(got, sent, strict=True)):
            demand(one == other, f"block {number} came as {short(one)}, was {short(other)}")
        return
    one, other = b"".join(got), b"".join(sent)
    if one != other:
        at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
        raise AssertionError(
            f"{len(one)} octets came of {len(other)}, from octet {at} on "
            f"{short(one[at:])}, was {short(other[at:])}"
        )


def short(octets: bytes) -> str:
    return f"{octets[:8].hex(' ')}… ({len(octets)} octets)"


__all__ = [
    "PATIENCE_S",
    "QUICK",
    "Bench",
    "NotRun",
    "demand",
    "running",
    "same",
    "short",
    "take",
    "until",
]
