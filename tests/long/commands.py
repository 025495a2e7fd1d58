"""The command service against the simulated spacecraft through 499 s of light time and losses.

    python -m tests.long.commands --seeds 200

Operators send commands by the AD and the BD service, some in several frames, some with a latest
time; end the AD service, kill the service, and unlock after a stray frame.  Whatever happens, a
request ends as what the spacecraft has done with it: nothing is executed twice or out of order,
nothing is refused as a replay, and what is reported failed was not executed.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from protocols.coding.cltu import build_cltu, transmission
from protocols.dictionary.l4_link import CLTU_CODING, TC_PARAMETERS
from protocols.errors import LocalError
from protocols.frames.tc import FrameType, TcFrame, build
from tests.ground.command.world import S, World

REQUESTS = 30
_OPEN = ("queued", "armed", "approved", "waiting", "released", "radiated", "executing")


def trial(seed: int, directory: Path) -> Counter[str]:
    """States of the requests in the end.  Raises AssertionError where one is not true."""
    rng = random.Random(seed)
    loss = rng.choice((0.0, 0.1, 0.2, 0.3))
    world = World(loss=loss, store=directory / f"{seed}.sqlite", seed=seed)
    world.run(10)
    numbers: list[int] = []
    while len(numbers) < REQUESTS:
        for _ in range(rng.randrange(4)):
            numbers.append(_send(world, rng))
        world.run(rng.choice((5, 20, 100, 700)), step_s=rng.choice((5, 20)))
        _trouble(world, rng)
    _calm(world, numbers)
    return _checked(world, numbers)


def _send(world: World, rng: random.Random) -> int:
    kind = rng.random()
    name, arguments = "TEST_CONNECTION", dict[str, Any]()
    if kind < 0.15:
        # In three frames; it holds no request and is refused, which is reported.
        name = "SCHEDULE_INSERT"
        arguments = {"RELEASE_TIME": world.now_ns, "REQUEST": b"\xaa" * 2_500}
    latest_ns = world.now_ns + rng.randrange(60, 3_000) * S if rng.random() < 0.2 else 0
    expedited = rng.random() < 0.35 and name == "TEST_CONNECTION"
    number = world.ask(
        "add", command=name, arguments=arguments, latest_ns=latest_ns, expedited=expedited
    )["number"]
    world.ask("arm", number=number)
    world.ask("send", number=number)
    return number


def _trouble(world: World, rng: random.Random) -> None:
    what = rng.random()
    if what < 0.08:
        world.kill()
    elif what < 0.14:
        world.ask("link", directive="terminate")
        try:
            world.ask("link", directive="initiate")
        except LocalError:
            # No CLCW yet, or a lockout.
            world.run(5)
    elif what < 0.18:
        number = (world.ask("status")["link"]["vs"] + 128) % 256
        stray = build(TcFrame(0, b"count lost", FrameType.AD, number), TC_PARAMETERS)
        world.send_up(transmission([build_cltu(stray, CLTU_CODING)]))
    _unlock(world)


def _unlock(world: World) -> None:
    link = world.ask("status")["link"]
    if link["state"] == "INITIAL" and link["clcw"] and link["clcw"]["lockout"]:
        world.ask("link", directive="unlock")


def _calm(world: World, numbers: list[int]) -> None:
    """Nothing is lost any more, and operators wait for the ends; what is held is taken back."""
    world._loss = 0.0  # pyright: ignore[reportPrivateUsage]
    end_ns = world.now_ns + 40_000 * S
    open_ = set(numbers)
    while open_:
        assert world.now_ns < end_ns, [world.ask("show", number=one) for one in sorted(open_)]
        world.run(300, step_s=20)
        _unlock(world)
        link = world.ask("status")["link"]
        if link["state"] == "INITIAL" and not link["automatic"] and not link["clcw"]["lockout"]:
            world.ask("link", directive="initiate")
        for number in sorted(open_):
            state = world.state(number)
            if state == "held":
                world.ask("remove", number=number)
            elif state not in _OPEN:
                open_.discard(number)
    # What COP-1 gave up on is settled by a CLCW from after it.
    world.run(6_000, step_s=20)


def _checked(world: World, numbers: list[int]) -> Counter[str]:
    receiver = world.spacecraft.software.receiver.statistics
    assert not receiver.refusals, receiver.refusals
    executed = Counter(world.executed)
    ends: Counter[str] = Counter()
    order: list[int] = []
    for number in numbers:
        one: dict[str, Any] = world.ask("show", number=number)
        del one["arguments"], one["octets"], one["radiations"]
        count, state = one["sequence_count"], one["state"]
        times = executed[count] if one["released_ns"] else 0
        ends[state] += 1
        assert times <= 1, one
        if state == "completed":
            assert times == 1, one
        elif state == "failed" and any(stage[1] == "failed" for stage in one["stages"][2:]):
            # The spacecraft has said so.
            assert one["command"] == "SCHEDULE_INSERT", one
        elif state in ("failed", "removed", "expired"):
            assert times == 0, one
        else:
            assert state == "unknown", one
            # COP-1 has carried it up, or it was told that it did not: only its reports can be lost.
            assert one["expedited"] or times == 1, one
        if times and not one["expedited"]:
            order.append(world.executed.index(count))
    assert order == sorted(order), order
    return ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    begin = time.perf_counter()
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as directory:
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            try:
                ends += trial(seed, Path(directory))
            except AssertionError as error:
                raise SystemExit(f"seed {seed}: {str(error)[:2_000]}") from error
    print(f"{ends.total()} requests in {arguments.seeds} trials: {dict(ends)}")
    print(f"in {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
