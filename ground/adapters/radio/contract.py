"""What every radio adapter does, as checks that need no test framework.

    results = run_contract(UdpAdapter)                its own other end, bit for bit, all faults
    results = run_contract(MyRadio, uri="my-radio:0")  a device: what can be seen without one

Each check opens a new adapter of its own.  Faults are injected where the adapter meets the base
class, so that they can be had of any hardware: a read brings nothing, says that something was lost,
or raises; connecting fails.  The tests of this package and `l4 radio test` run the same function.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import FrozenInstanceError, dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final

from ground.adapters.radio import bench as benches
from ground.adapters.radio.adapter import (
    TURN_S,
    UNKNOWN,
    Adapter,
    Block,
    Loss,
    Policy,
    Result,
    State,
)
from ground.adapters.radio.address import parse_address
from ground.adapters.radio.bench import (
    QUICK,
    Bench,
    NotRun,
    demand,
    running,
    same,
    short,
    take,
    until,
)
from protocols.errors import LocalError


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """name: of the check; says: what it demands; detail: why it failed or was not run."""

    name: str
    says: str
    outcome: Outcome
    detail: str = ""
    seconds: float = 0.0


# ---------------------------------------------------------------- the checks

Check = Callable[[Bench], None]


def delivers_every_bit(bench: Bench) -> None:
    """What is sent comes in order, once, bit for bit, and is counted"""
    bench.need(bench.kind.RECEIVES, "it does not receive")
    bench.need_peer()
    adapter, sent = bench.adapter(), bench.blocks()
    bench.begin(adapter, sent)
    found = take(adapter, sum(map(len, sent)))
    same(found, sent, adapter.FRAMED)
    demand(adapter.receive(0.05) == [], "more came than was sent")
    times = [block.ert_ns for block in found]
    demand(times == sorted(times) and times[0] > 0, "times of blocks run backwards, or are 0")
    demand(all(block.lost == 0 for block in found), "blocks say that something is missing")
    seen = adapter.statistics()
    demand(
        (seen.blocks_in, seen.octets_in) == (len(found), sum(map(len, sent))),
        f"statistics say {seen.blocks_in} blocks, {seen.octets_in} octets",
    )
    counts = (seen.overflows, seen.gaps, seen.lost, seen.malformed, seen.reconnects)
    demand(counts == (0, 0, 0, 0, 0), f"faults are counted where none was: {seen}")


def silence_is_a_result(bench: Bench) -> None:
    """Where nothing comes, receive returns in time, reads are counted as time-outs, nothing ends"""
    bench.need(bench.kind.RECEIVES, "it does not receive")
    adapter = bench.adapter(read_fault=lambda number: () if number < 5 else None)
    sent = bench.blocks() if bench.peer is not None else []
    bench.begin(adapter)
    if not adapter.REPEATS and bench.peer is not None:
        began = time.monotonic()
        demand(adapter.receive(0.05) == [], "something came that nobody sent")
        demand(time.monotonic() - began < 1, "receive(0.05) took more than a second")
    # The sixth is a silence of the wire itself, where there is a wire.
    quiet = 5 if adapter.REPEATS or bench.peer is None else 6
    until(
        lambda: adapter.statistics().timeouts >= quiet or adapter.state is not State.RUNNING,
        f"{quiet} reads counted as time-outs",
    )
    demand(adapter.state in (State.RUNNING, State.ENDED), f"silence made it {adapter.state}")
    demand(adapter.statistics().reconnects == 0, "silence made it connect again")
    if bench.peer is not None:
        if not adapter.REPEATS:
            bench.peer.send(sent)
        same(take(adapter, sum(map(len, sent))), sent, adapter.FRAMED)


def overflow_is_a_result(bench: Bench) -> None:
    """An overflow in the device is counted, the next block says what is missing, it goes on"""
    _loss(bench, Loss("overflow", 7), "overflows")


def gap_is_a_result(bench: Bench) -> None:
    """A gap of unknown size is counted, the next block says so, it goes on"""
    _loss(bench, Loss("gap"), "gaps")


def _loss(bench: Bench, loss: Loss, counted: str) -> None:
    bench.need(bench.kind.RECEIVES, "it does not receive")
    adapter = bench.adapter(read_fault=lambda number: (loss,) if number == 0 else None)
    sent = bench.blocks() if bench.peer is not None else []
    bench.begin(adapter, sent)
    until(lambda: getattr(adapter.statistics(), counted) == 1, f"{counted} 1")
    demand(adapter.statistics().lost == max(loss.count, 0), "units lost are not counted")
    if bench.peer is not None:
        found = take(adapter, sum(map(len, sent)))
        same(found, sent, adapter.FRAMED)
        lost = [block.lost for block in found]
        demand(lost == [loss.count] + [0] * (len(lost) - 1), f"blocks say {lost[:3]}… is missing")


def gap_on_the_wire(bench: Bench) -> None:
    """What is lost on the wire itself is noticed where the wire numbers its blocks"""
    peer = bench.need_peer("lose a block that the adapter could miss", can="can_gap")
    adapter, sent = bench.adapter(), bench.blocks(6)
    bench.begin(adapter, sent[:3])
    before = take(adapter, sum(map(len, sent[:3])))
    peer.gap()
    peer.send(sent[3:])
    after = take(adapter, sum(map(len, sent[3:])))
    same([*before, *after], sent, adapter.FRAMED)
    demand(adapter.statistics().gaps == 1, f"{adapter.statistics().gaps} gaps counted, was 1")
    demand(after[0].lost != 0, "the block after the gap does not say so")


def nonsense_is_a_result(bench: Bench) -> None:
    """Octets that the wire does not carry are counted and given to nobody; it goes on"""
    peer = bench.need_peer("send what the wire does not carry", can="can_garble")
    adapter, sent = bench.adapter(), bench.blocks()
    bench.begin(adapter, sent[:3])
    found = take(adapter, sum(map(len, sent[:3])))
    peer.garbage()
    until(lambda: adapter.statistics().malformed >= 1, "malformed 1")
    demand(bool(adapter.statistics().detail), "the detail does not say what came")
    peer.send(sent[3:])
    found += take(adapter, sum(map(len, sent[3:])))
    same(found, sent, adapter.FRAMED)


def lost_connection_is_made_again(bench: Bench) -> None:
    """A connection that is lost is made again; what comes then is taken, what was taken stays"""
    bench.need(bench.kind.RECEIVES, "it does not receive")
    broken = threading.Event()

    def fault(number: int) -> Sequence[Result] | None:
        if number >= 1 and not broken.is_set():
            broken.set()
            raise ConnectionResetError("injected by the contract")
        return None

    adapter = bench.adapter(read_fault=fault)
    sent = bench.blocks() if bench.peer is not None else []
    if adapter.REPEATS:
        # All of it, none twice, though it was opened again in the middle.
        bench.begin(adapter, sent)
        until(broken.is_set, "the injected fault")
        if bench.peer is not None:
            same(take(adapter, sum(map(len, sent))), sent, adapter.FRAMED)
            demand(adapter.receive(0.05) == [], "blocks came twice")
    else:
        bench.begin(adapter)
        until(lambda: adapter.statistics().reconnects == 1, "connected again")
        running(adapter)
        if bench.peer is not None:
            bench.peer.send(sent)
            found = take(adapter, sum(map(len, sent)))
            same(found, sent, adapter.FRAMED)
            demand(found[0].lost == UNKNOWN, "the first block after it does not say that some miss")
    demand(adapter.statistics().reconnects == 1, f"reconnects {adapter.statistics().reconnects}")


def other_end_leaves_and_comes_back(bench: Bench) -> None:
    """The other end goes away: noticed, tried again, and taken from as before when it is back"""
    peer = bench.need_peer("leave and come back", can="can_leave")
    adapter, sent = bench.adapter(), bench.blocks()
    before, after = (sent[:20], sent[20:]) if adapter.RECEIVES else ([], [])
    bench.begin(adapter, before)
    found = take(adapter, sum(map(len, before)))
    peer.leave()
    until(lambda: adapter.state in (State.WAITING, State.CONNECTING), "the loss is noticed")
    time.sleep(3 * QUICK.longest_retry_s)
    demand(adapter.state in (State.WAITING, State.CONNECTING), f"{adapter.state} with nobody there")
    if adapter.transmits:
        demand(not adapter.send(sent[0]), "send says True with nobody there")
    peer.come_back()
    until(lambda: adapter.state is State.RUNNING, "RUNNING again")
    if adapter.RECEIVES:
        peer.send(after)
        found += take(adapter, sum(map(len, after)))
        same(found, sent, adapter.FRAMED)
    else:
        until(lambda: adapter.send(sent[0]), "the wire takes a block again")
    demand(adapter.statistics().reconnects == 1, f"reconnects {adapter.statistics().reconnects}")


def pauses_between_attempts_grow(bench: Bench) -> None:
    """Connecting that fails is tried again after pauses that double up to the longest"""
    attempts: list[float] = []

    def fault(number: int) -> None:
        attempts.append(time.monotonic())
        if number < 4:
            raise ConnectionRefusedError("injected by the contract")

    adapter = bench.adapter(connect_fault=fault)
    if bench.peer is not None and adapter.REPEATS:
        bench.peer.send(bench.blocks())
    adapter.open()
    until(lambda: adapter.statistics().connections == 1, "connected at the fifth attempt")
    pauses = [later - earlier for earlier, later in pairwise(attempts)]
    wanted = [0.02, 0.04, 0.08, 0.08]
    demand(
        all(pause >= least for pause, least in zip(pauses, wanted, strict=True)),
        f"pauses {[round(pause, 3) for pause in pauses]} s; at least {wanted} wanted",
    )
    demand(adapter.statistics().reconnects == 0, "attempts that failed count as reconnects")


def captures_before_it_gives(bench: Bench) -> None:
    """Every block is with the capture before anybody can take it"""
    bench.need(bench.kind.RECEIVES, "it does not receive")
    bench.need_peer()
    captured: list[Block] = []
    adapter, sent = bench.adapter(capture=captured.extend), bench.blocks()
    bench.begin(adapter, sent)
    found: list[Block] = []
    deadline = time.monotonic() + benches.PATIENCE_S
    while sum(len(block.octets) for block in found) < sum(map(len, sent)):
        demand(time.monotonic() < deadline, f"{len(found)} blocks came")
        given = adapter.receive(0.05)
        found += given
        demand(captured[: len(found)] == found, "a block was given that is not in the capture")


def ends_when_it_cannot_capture(bench: Bench) -> None:
    """Where the capture cannot be written (a full disk) nothing is given, and the state says why"""
    bench.need(bench.kind.RECEIVES, "it does not receive")
    bench.need_peer()

    def full(blocks: Sequence[Block]) -> None:
        raise OSError(28, "No space left on device")

    adapter, sent = bench.adapter(capture=full), bench.blocks(1)
    if adapter.REPEATS:
        # It has read and failed before anybody could see it run.
        bench.need_peer().send(sent)
        adapter.open()
    else:
        bench.begin(adapter, sent)
    until(lambda: adapter.state is State.FAILED, "FAILED")
    demand("No space" in adapter.statistics().detail, f"detail {adapter.statistics().detail!r}")
    demand(adapter.receive(0) == [], "a block was given that is in no capture")


def holds_back_or_counts(bench: Bench) -> None:
    """Nobody takes: the other end is held back, or what is dropped is counted and marked"""
    bench.need(bench.kind.RECEIVES, "it does not receive")
    bench.need_peer()
    captured: list[Block] = []
    sent = bench.blocks()
    small = Policy(0.02, 0.08, queue_octets=4 * len(sent[0]))
    adapter = bench.adapter(policy=small, capture=captured.extend)
    sender = threading.Thread(target=bench.begin, args=(adapter, sent), daemon=True)
    sender.start()
    total = sum(map(len, sent))
    if adapter.waits:
        until(lambda: adapter.statistics().octets_in >= small.queue_octets, "the queue fills")
        time.sleep(4 * TURN_S)
        found = take(adapter, total)
        same(found, sent, adapter.FRAMED)
        demand(adapter.statistics().overflows == 0, "something was dropped that could have waited")
    else:
        until(lambda: adapter.statistics().octets_in == total, "everything is read")
        same(captured, sent, adapter.FRAMED)
        held: list[Block] = []
        while given := adapter.receive(0.05):
            held += given
        demand(adapter.statistics().overflows > 0, "nothing was counted as dropped")
        missing = sum(adapter.units(len(b.octets)) for b in captured) - sum(
            adapter.units(len(b.octets)) for b in held
        )
        demand(adapter.statistics().lost == missing, f"lost {adapter.statistics().lost} {missing=}")
        more = bench.blocks(1, seed=2)
        assert bench.peer is not None
        bench.peer.send(more)
        after = take(adapter, len(more[0]))
        same([*held, *after], [b.octets for b in held] + more, adapter.FRAMED)
        marked = sum(block.lost for block in [*held, *after])
        demand(marked == missing, f"blocks say that {marked} are missing, {missing=}")
    sender.join()


def disabled_lets_go(bench: Bench) -> None:
    """Disabled it lets go of the wire and takes nothing; enabled it goes on"""
    adapter = bench.adapter()
    sent = bench.blocks() if bench.peer is not None and adapter.RECEIVES else []
    bench.begin(adapter, sent)
    take(adapter, sum(map(len, sent)))
    adapter.disable()
    demand(adapter.state is State.DISABLED, f"{adapter.state} after disable")
    read = adapter.statistics().octets_in
    demand(adapter.receive(0.1) == [] or bench.peer is None, "it took something while disabled")
    demand(adapter.statistics().octets_in == read, "it read while disabled")
    if bench.peer is not None:
        bench.peer.let_go()
    adapter.enable()
    running(adapter)
    if sent and bench.peer is not None and not adapter.REPEATS:
        bench.peer.send(sent)
        same(take(adapter, sum(map(len, sent))), sent, adapter.FRAMED)


def a_bug_ends_the_adapter_alone(bench: Bench) -> None:
    """An exception that the adapter should not raise makes it FAILED and is named"""
    bench.need(bench.kind.RECEIVES, "it does not receive")

    def bug(number: int) -> Sequence[Result] | None:
        raise ZeroDivisionError("injected by the contract")

    adapter = bench.adapter(read_fault=bug)
    if bench.peer is not None and adapter.REPEATS:
        bench.peer.send(bench.blocks())
    adapter.open()
    until(lambda: adapter.state is State.FAILED, "FAILED")
    demand("ZeroDivisionError" in adapter.statistics().detail, adapter.statistics().detail)


def sends_every_bit(bench: Bench) -> None:
    """What it is given to send arrives bit for bit, in order, and is counted"""
    bench.need(bench.kind.TRANSMITS, "it does not transmit")
    peer = bench.need_peer()
    adapter, sent = bench.adapter(uri=peer.out_uri), bench.blocks()
    demand(not adapter.send(sent[0]), "send says True before it is open")
    bench.begin(adapter)
    for block in sent:
        until(lambda block=block: adapter.send(block), "the wire takes a block")
    whole = b"".join(sent)
    until(lambda: len(peer.received()) >= len(whole), f"{len(peer.received())} octets arrived")
    demand(peer.received() == whole, f"{short(peer.received())} arrived, sent {short(whole)}")
    seen = adapter.statistics()
    demand(
        (seen.blocks_out, seen.octets_out) == (len(sent), len(whole)),
        f"statistics say {seen.blocks_out} blocks, {seen.octets_out} octets",
    )


def opens_and_closes(bench: Bench) -> None:
    """Opened twice is an error; closed, also twice or unopened, it ends at once; opens again"""
    adapter = bench.adapter()
    adapter.close()
    bench.begin(adapter)
    try:
        adapter.open()
    except LocalError:
        pass
    else:
        raise AssertionError("a second open says nothing")
    began = time.monotonic()
    adapter.close()
    adapter.close()
    demand(time.monotonic() - began < 3, f"closing took {time.monotonic() - began:.1f} s")
    demand(adapter.state is State.CLOSED, f"{adapter.state} after close")
    names = [thread.name for thread in threading.enumerate()]
    demand(f"radio-{adapter.address.scheme}" not in names, "its thread is still there")
    bench.begin(adapter)


def statistics_do_not_change(bench: Bench) -> None:
    """Statistics that were given out stay as they are"""
    seen = bench.adapter().statistics()
    try:
        seen.blocks_in = 1  # type: ignore[misc]
    except (FrozenInstanceError, AttributeError, TypeError):
        return
    raise AssertionError("statistics can be written")


def unknown_options_are_errors(bench: Bench) -> None:
    """An option that it does not have is refused by name, and those it has are listed"""
    separator = "&" if "?" in bench.uri else "?"
    try:
        bench.kind(parse_address(f"{bench.uri}{separator}no_such_option=1"))
    except LocalError as error:
        demand("no_such_option" in str(error), f"the error does not name the option: {error}")
        for name in bench.kind.OPTIONS:
            demand(name in str(error), f"the error does not list {name}: {error}")
    else:
        raise AssertionError("an option that it does not have was taken")


def something_comes(bench: Bench) -> None:
    """A device that is there delivers blocks: not empty, in the order of their times"""
    bench.need(bench.peer is None, "its own other end was used")
    bench.need(bench.kind.RECEIVES, "it does not receive")
    adapter = bench.adapter()
    bench.begin(adapter)
    found: list[Block] = []
    deadline = time.monotonic() + benches.PATIENCE_S
    while len(found) < 3 and time.monotonic() < deadline and not adapter.ended:
        found += adapter.receive(0.1)
    seen = adapter.statistics()
    demand(bool(found), f"nothing in {benches.PATIENCE_S:g} s; {seen.state}: {seen.detail}")
    times = [block.ert_ns for block in found]
    demand(times == sorted(times), "times of blocks run backwards")
    demand(all(block.octets for block in found), "a block is empty")
    demand(all(block.lost >= UNKNOWN for block in found), "a block's loss is negative")


CHECKS: Final[tuple[Check, ...]] = (
    delivers_every_bit,
    something_comes,
    silence_is_a_result,
    overflow_is_a_result,
    gap_is_a_result,
    gap_on_the_wire,
    nonsense_is_a_result,
    lost_connection_is_made_again,
    other_end_leaves_and_comes_back,
    pauses_between_attempts_grow,
    captures_before_it_gives,
    ends_when_it_cannot_capture,
    holds_back_or_counts,
    disabled_lets_go,
    a_bug_ends_the_adapter_alone,
    sends_every_bit,
    opens_and_closes,
    statistics_do_not_change,
    unknown_options_are_errors,
)


@contextmanager
def _bench(adapter: type[Adapter], uri: str | None) -> Iterator[Bench]:
    bench = Bench(adapter, uri)
    try:
        yield bench
    finally:
        bench.close()


def run_check(check: Check, adapter: type[Adapter], uri: str | None = None) -> CheckResult:
    """One check on a new bench.  LocalError: no other end, and no address given."""
    says = (check.__doc__ or "").strip()
    began = time.monotonic()
    outcome, detail = Outcome.PASSED, ""
    with _bench(adapter, uri) as bench:
        try:
            check(bench)
        except NotRun as why:
            outcome, detail = Outcome.NOT_RUN, str(why)
        except AssertionError as error:
            outcome, detail = Outcome.FAILED, str(error)
        except Exception as error:  # noqa: BLE001 - an engineer's adapter: say what and where
            where: Any = traceback.extract_tb(error.__traceback__)[-1]
            outcome = Outcome.FAILED
            detail = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
    return CheckResult(check.__name__, says, outcome, detail, time.monotonic() - began)


def run_contract(
    adapter: type[Adapter],
    *,
    uri: str | None = None,
    told: Callable[[CheckResult], None] = lambda result: None,
) -> list[CheckResult]:
    """All checks; each is told when it is done.

    uri: a device of the engineer's; without it the adapter's own other end is used.
    """
    results: list[CheckResult] = []
    for check in CHECKS:
        results.append(run_check(check, adapter, uri))
        told(results[-1])
    return results


__all__ = ["CHECKS", "CheckResult", "Outcome", "delivers_every_bit", "run_check", "run_contract"]
