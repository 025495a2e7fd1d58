"""One run: its states, its waits and time-outs, pauses; a kill at any instant costs nothing."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ground.command.procedures.procedure import Procedure
from ground.command.procedures.python_procedures import read_python
from ground.command.procedures.run_states import ENDED, RUN_TABLE, RunEvent, RunState
from ground.command.procedures.runner import MOST_AT_ONCE, ProcedureRun, describe
from ground.command.procedures.yaml_procedures import read_yaml
from protocols.errors import LocalError
from protocols.telemetry.limits import LimitState
from tests.ground.command.procedures.memory_world import DEFINITIONS, MemoryWorld, S


def procedure(steps: str, arguments: str = "") -> Procedure:
    """Of YAML steps, as they stand in a file."""
    text = f"procedure: example\ndescription: An example\n{arguments}\nsteps:\n{steps}"
    found, _ = read_yaml(text, DEFINITIONS, file="example.yaml")
    return found


def python(body: str) -> Procedure:
    lines = "\n".join(f"    {line}" for line in ['"""An example."""', *body.splitlines()])
    return read_python(f"def procedure(p):\n{lines}\n", file="example.py")


class Site:
    """A run, its world, and what is on the disk."""

    def __init__(self, of: Procedure, arguments: Any = None, library: Any = None) -> None:
        self.of, self.arguments, self.library = of, arguments or {}, library or {}
        self.world = MemoryWorld()
        self.disk: list[bytes] = []
        self.run = self._made([])

    def _made(self, records: list[dict[str, Any]]) -> ProcedureRun:
        return ProcedureRun(
            self.of, self.arguments, "ann", DEFINITIONS, self.library, run="7", records=records
        )

    def keep(self, records: list[dict[str, Any]]) -> None:
        self.disk += [msgpack.packb(record) for record in records]

    def start(self) -> Site:
        self.keep(self.run.start(self.world.now_ns))
        return self.to(0)

    def to(self, seconds: float) -> Site:
        self.world.now_ns = round(seconds * S)
        self.keep(self.run.advance(self.world.now_ns, self.world))
        return self

    def kill(self, keep: int | None = None) -> None:
        """-9, and again from the disk; of the records only the first `keep` were written."""
        self.disk = self.disk[:keep]
        self.run = self._made([msgpack.unpackb(one) for one in self.disk])

    @property
    def state(self) -> str:
        return self.run.state.value

    @property
    def reason(self) -> str:
        return self.run.listing(self.world.now_ns)["reason"]

    @property
    def said(self) -> list[str]:
        return [r["text"] for r in self.run.records if r.get("what", {}).get("kind") == "Say"]


def test_sends_and_waits_for_its_completion() -> None:
    site = Site(procedure("  - {send: MEMORY_SCRUB, wait_for: completion}\n  - say: done")).start()
    assert site.state == "waiting"
    assert [str(one) for one in site.world.sent] == ["send MEMORY_SCRUB, wait for completion"]
    site.world.passed(1, "acceptance", "start")
    assert site.to(600).state == "waiting"
    site.world.passed(1, "completion")
    assert site.to(1_500).state == "completed"
    assert site.said == ["done"]
    assert site.run.requests == (1,)


def test_a_lost_report_is_made_up_for_by_a_later_one() -> None:
    site = Site(procedure("  - {send: MEMORY_SCRUB, wait_for: acceptance}")).start()
    site.world.passed(1, "completion")
    assert site.to(1).state == "completed"


@pytest.mark.parametrize("how", ["failed on board", "overdue", "own time-out", "refused"])
def test_a_command_that_fails_ends_the_run_with_its_reason(how: str) -> None:
    timeout = ", timeout: 20 s" if how == "own time-out" else ""
    site = Site(procedure(f"  - {{send: MEMORY_SCRUB, wait_for: completion{timeout}}}"))
    if how == "refused":
        site.world.refuse = "the queue is closed"
    site.start()
    if how == "failed on board":
        site.world.failed(1, "start failed: WRONG_MODE")
        site.to(5)
    elif how == "overdue":
        # Before its release nobody can say when it is overdue.
        assert site.run.next_deadline_ns is None
        site.world.deadlines_ns[1] = 1_100 * S
        assert site.to(1_099).state == "waiting"
        assert site.run.next_deadline_ns == 1_100 * S
        site.to(1_100)
    elif how == "own time-out":
        assert site.run.next_deadline_ns == 20 * S
        site.to(20)
    assert site.state == "failed"
    told = {
        "failed on board": "WRONG_MODE",
        "overdue": "no word of completion in time",
        "own time-out": "no word of completion in time",
        "refused": "the queue is closed",
    }
    assert told[how] in site.reason


def test_otherwise_is_taken_in_place_of_the_end() -> None:
    site = Site(
        procedure(
            "  - send: MEMORY_SCRUB\n    wait_for: completion\n    otherwise:\n"
            '      - say: "no scrub: $failure"\n  - say: on'
        )
    ).start()
    site.world.failed(1, "start failed: WRONG_MODE")
    assert site.to(5).state == "completed"
    assert "WRONG_MODE" in site.said[0]
    assert site.said[1] == "on"


def test_old_telemetry_satisfies_nothing() -> None:
    wait = "  - {wait_for: SC_MODE == SAFE, within: 1000 s, timeout: 2 h}"
    site = Site(procedure(wait)).start()
    assert "never received" in site.run.listing(0)["waits_for"]
    site.world.put("SC_MODE", "SAFE", scet_ns=0)
    assert site.to(1_001).state == "waiting"
    assert "1,001 s old" in site.run.listing(1_001 * S)["waits_for"]
    site.world.put("SC_MODE", "NOMINAL", scet_ns=2_000 * S)
    assert site.to(2_500).state == "waiting"
    assert site.run.listing(2_500 * S)["left_s"] == 4_700
    site.world.put("SC_MODE", "SAFE", scet_ns=3_000 * S)
    assert site.to(4_000).state == "completed"


def test_wait_for_times_out() -> None:
    site = Site(procedure("  - {wait_for: SC_MODE == SAFE, within: 1 h, timeout: 60 s}")).start()
    site.world.put("SC_MODE", "NOMINAL", scet_ns=0)
    assert site.to(59.9).state == "waiting"
    assert site.to(60).state == "failed"
    assert "time-out after 60 s: SC_MODE is NOMINAL, 60 s old" in site.reason


def test_telemetry_after_a_request_was_generated_after_it_arrived() -> None:
    site = Site(
        procedure(
            "  - {send: INSTRUMENTS_SWITCH, with: {SWITCH: ON}, as: on}\n"
            "  - {wait_for: PWR_INSTRUMENTS_SWITCH == ON, after: $on, within: 1 h, timeout: 1 h}"
        )
    ).start()
    site.world.put("PWR_INSTRUMENTS_SWITCH", "ON", scet_ns=400 * S)
    assert site.to(450).state == "waiting"
    site.world.passed(1, at_spacecraft_ns=500 * S)
    assert site.to(950).state == "waiting"
    site.world.put("PWR_INSTRUMENTS_SWITCH", "ON", scet_ns=501 * S)
    assert site.to(1_001).state == "completed"


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        (("SAFE", 0), "then"),
        (("NOMINAL", 0), "else"),
        (("SAFE", -5_000), "unknown"),
        (None, "unknown"),
    ],
)
def test_a_branch_is_never_taken_on_old_telemetry(sample: Any, said: str) -> None:
    steps = (
        "  - if: SC_MODE == SAFE\n    within: 1 h\n    then: [{say: then}]\n"
        "    else: [{say: else}]\n"
    )
    for unknown in (True, False):
        site = Site(procedure(steps + "    unknown: [{say: unknown}]\n" * unknown))
        if sample:
            site.world.put("SC_MODE", sample[0], sample[1] * S)
        site.start()
        if said == "unknown" and not unknown:
            assert site.state == "failed"
            assert "not known: SC_MODE" in site.reason
        else:
            assert site.said == [said]


@pytest.mark.parametrize(
    ("kind", "bad", "unknown", "state"),
    [("all", "SAFE", True, "else"), ("any", "NOMINAL", True, "then"), ("all", "NOMINAL", True, "?"),
     ("any", "SAFE", True, "?"), ("all", "NOMINAL", False, "then"), ("any", "SAFE", False, "else")],
)  # fmt: skip
def test_of_several_conditions_one_that_decides_is_enough(
    kind: str, bad: str, unknown: bool, state: str
) -> None:
    site = Site(
        procedure(
            f"  - if: {{{kind}: [SC_MODE == NOMINAL, PWR_BUS_VOLTAGE is nominal]}}\n"
            "    within: 1 h\n    then: [{say: then}]\n    else: [{say: else}]\n"
            "    unknown: [{say: '?'}]\n"
        )
    )
    site.world.put("SC_MODE", bad, 0)
    if not unknown:
        critical = LimitState.CRITICAL_LOW if bad == "SAFE" else LimitState.NOMINAL
        site.world.put("PWR_BUS_VOLTAGE", 24.0, 0, critical)
    assert site.start().said == [state]


def test_windows_and_instants() -> None:
    site = Site(
        procedure(
            "  - {wait_window: open}\n  - {wait_until: start + 200 s}\n  - {wait_window: closed}\n"
            "  - {wait: 10 s}\n  - {wait_until: now + 5 s}"
        )
    )
    site.world.windows = [(100 * S, 300 * S)]
    site.start()
    for at_s, deadline_s in ((0, 100), (100, 200), (200, 300), (300, 310), (310, 315)):
        assert site.to(at_s).run.next_deadline_ns == deadline_s * S
    assert site.to(315).state == "completed"


def test_a_question_is_answered_by_one_of_its_choices() -> None:
    site = Site(
        procedure("  - {ask: 'Go?', choices: [go, stop], as: word}\n  - say: it is $word")
    ).start()
    listed = site.run.listing(0)
    assert (site.state, listed["question"], listed["choices"]) == ("asking", "Go?", ["go", "stop"])
    with pytest.raises(LocalError, match="answer 'perhaps'; go, stop allowed"):
        site.run.answer(0, "bob", "perhaps")
    site.keep(site.run.answer(S, "bob", "stop"))
    assert site.to(1).said == ["it is stop"]
    assert site.run.records[2]["actor"] == "bob"


def test_a_pause_keeps_its_place_and_stops_the_time_out() -> None:
    site = Site(procedure("  - {wait_for: SC_MODE == SAFE, within: 1 h, timeout: 60 s}")).start()
    site.keep(site.run.pause(50 * S, "bob"))
    assert site.to(5_000).state == "paused"
    assert site.run.next_deadline_ns is None
    site.kill()
    site.keep(site.run.resume(5_000 * S, "bob"))
    assert site.to(5_009).state == "waiting"
    assert site.run.next_deadline_ns == 5_010 * S
    assert site.to(5_010).state == "failed"


def test_stepping_takes_one_step_at_a_time() -> None:
    site = Site(procedure("  - say: one\n  - wait: 5 s\n  - say: two"))
    site.keep(site.run.step(0, "ann"))
    assert site.to(0).state == "paused"
    assert site.said == ["one"]
    site.keep(site.run.step(0, "ann"))
    assert site.to(0).state == "waiting"
    assert site.to(5).state == "paused"
    assert site.said == ["one"]
    site.kill()
    site.keep(site.run.step(6 * S, "ann"))
    assert site.to(6).state == "completed"


def test_abort_ends_it_for_ever() -> None:
    site = Site(procedure("  - {send: MEMORY_SCRUB, wait_for: completion}\n  - say: on")).start()
    site.keep(site.run.abort(S, "bob", "wrong spacecraft"))
    site.world.passed(1, "completion")
    assert site.to(2).state == "aborted"
    site.kill()
    assert site.to(3).state == "aborted"
    assert (site.reason, site.run.requests) == ("wrong spacecraft", (1,))
    with pytest.raises(LocalError, match="is aborted: cannot resume; nothing possible"):
        site.run.resume(3 * S, "bob")


def test_the_table_is_whole() -> None:
    assert set(RUN_TABLE) == set(RunState)
    reached = {following for row in RUN_TABLE.values() for following in row.values()}
    assert reached == set(RunState) - {RunState.LOADED}
    for state, row in RUN_TABLE.items():
        assert (RunEvent.ABORT in row) == (state not in ENDED)


def test_an_operator_is_told_what_is_possible() -> None:
    site = Site(procedure("  - {wait: 5 s}")).start()
    with pytest.raises(LocalError, match="is waiting: cannot step; pause, abort p"):
        site.run.step(0, "ann")


@pytest.mark.parametrize("event", ["start", "pause", "resume", "step", "answer"])
def test_what_the_table_does_not_have_changes_nothing(event: str) -> None:
    site = Site(procedure("  - say: one")).start()
    before = list(site.run.records)
    with pytest.raises(LocalError, match=f"run 7 of example is completed: cannot {event}"):
        getattr(site.run, event)(0, "ann", *(["go"] if event == "answer" else []))
    assert site.run.records == before


def test_another_procedure_than_that_of_the_record_stops() -> None:
    site = Site(procedure("  - say: one\n  - {send: MEMORY_SCRUB}\n  - {wait: 5 s}")).start()
    for steps, told in (
        (
            "  - say: one\n  - {send: TEST_CONNECTION}\n  - {wait: 5 s}",
            "'MEMORY_SCRUB' then",
        ),
        ("  - say: one", "step 2 .*'Send' then, 'its end' now"),
        ("  - say: one\n  - {wait: 5 s}", "kind: 'Send' then, 'WaitUntil' now"),
    ):
        other = Site(procedure(steps))
        other.disk = list(site.disk)
        other.kill()
        other.to(5)
        assert other.state == "failed"
        with pytest.raises(AssertionError, match=told):
            raise AssertionError(other.reason)
        assert not other.world.sent
        other.kill()
        assert other.state == "failed"


def test_a_changed_file_with_the_same_steps_goes_on_and_says_so() -> None:
    site = Site(procedure("  - {wait: 5 s}\n  - say: one")).start()
    site.of = procedure("  - {wait: 5 s}\n  # A comment.\n  - say: two")
    site.kill()
    assert site.run.listing(0)["notes"] == ["its file has changed since it was started"]
    assert site.to(5).said == ["two"]


def test_python_that_depends_on_chance_is_found_out() -> None:
    import random

    site = Site(python("import random\nyield p.say(str(random.random()))\nyield p.wait(5)"))
    random.seed(1)
    site.start()
    random.seed(2)
    site.kill()
    assert site.to(6).state == "failed"
    assert "does not take the steps of its record: step 1 (example.py:4" in site.reason


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("yield 5", "5 is no step"),
        ("yield p.say('a')\n1 / 0", "example.py:4: ZeroDivisionError"),
        ("yield p.send('MODE_SAFE')", "no command 'MODE_SAFE'; nearest: MODE_SET"),
        ("yield p.send('ARRAY_TURN', ANGLE=100)", "ANGLE: 100; -90..90 deg allowed"),
        ("yield p.send('MODE_SET', MODE='SAFE', wait_for='progress')", "reports radiated"),
        ("yield p.read('SC_MOD', within_s=5)", "no parameter 'SC_MOD'; nearest: SC_MODE"),
        ("yield p.wait_for('SC_MODE == SAVE', within_s=5, timeout_s=5)", "SAFE | STANDBY"),
        ("yield p.wait_for('SC_MODE == SAFE', timeout_s=5)", "how old may SC_MODE be"),
        ("yield from p.call('no_such')", "no procedure 'no_such'"),
        ("yield p.say(object())", "cannot be recorded"),
        ("yield p.wait(float('nan'))", "ValueError"),
    ],
)
def test_a_fault_in_a_procedure_ends_its_run_with_its_place(body: str, told: str) -> None:
    site = Site(python(body)).start()
    assert site.state == "failed"
    assert told in site.reason
    assert not site.world.sent


def test_python_catches_what_was_not_done() -> None:
    site = Site(
        python(
            "request = yield p.send('MEMORY_SCRUB')\n"
            "try:\n    yield p.verify(request, timeout_s=5)\n"
            "except p.StepFailed as failure:\n    yield p.say(f'so: {failure}')"
        )
    ).start()
    assert site.to(5).state == "completed"
    assert site.said == ["so: request 1 MEMORY_SCRUB: no word of completion in time; it is queued"]


def test_numbers_and_times_may_be_typed() -> None:
    arguments = "arguments: {N: {type: number, maximum: 5}, T: {type: time}}"
    of = procedure("  - say: $N", arguments)
    assert of.complete({"N": "4.5", "T": "1958-01-01T00:00:01Z"})["N"] == 4.5
    for wrong in ("many", "6", "nan", True):
        with pytest.raises(LocalError, match="argument N: "):
            of.complete({"N": wrong, "T": 0})


def test_calls_return_and_do_not_go_down_for_ever() -> None:
    inner = procedure("  - say: got $N", "arguments: {N: {type: integer, maximum: 5}}")
    outer = procedure("  - {call: inner, with: {N: 3}}\n  - say: back")
    site = Site(outer, library={"inner": inner}).start()
    assert site.said == ["got 3", "back"]
    site = Site(procedure("  - {call: inner, with: {N: 6}}"), library={"inner": inner}).start()
    assert "argument N: 6; " in site.reason
    itself = procedure("  - {call: itself}")
    site = Site(itself, library={"itself": itself}).start()
    assert "10 calls deep" in site.reason


def test_a_procedure_that_never_waits_does_not_keep_the_service() -> None:
    site = Site(python("while True:\n    yield p.say('again')")).start()
    assert len(site.run.records) == MOST_AT_ONCE + 1
    assert site.run.next_deadline_ns == 0
    while not site.run.ended:
        site.to(0)
    assert site.reason == "more than 20,000 steps"


def test_records_are_lines_for_people() -> None:
    site = Site(procedure("  - {ask: 'Go?', choices: [go], as: x}")).start()
    site.keep(site.run.answer(S, "bob", "go"))
    lines = [describe(record) for record in site.to(1).run.records]
    assert lines[2] == "1957-12-31T23:59:51Z  answer  1 Ask example.yaml:5  go  bob"


# Any interleaving --------------------------------------------------------------------------------

ONE_OF_ALL = """
  - say: begin
  - {send: TEST_CONNECTION}
  - send: MEMORY_SCRUB
    wait_for: completion
    timeout: 1000 s
    as: scrub
    otherwise:
      - {send: TEST_CONNECTION}
  - {ask: 'Go?', choices: [go]}
  - repeat:
      - {send: HK_ONE_SHOT, with: {STRUCTURES: [1, $N]}, wait_for: acceptance,
         otherwise: [{say: no}]}
      - {wait: 100 s}
    until: SC_MODE == NOMINAL
    within: 1 h
    at_most: 3
  - {wait_window: open}
  - {send: MODE_RECOVER, earliest: now + 1 min, latest: start + 10 d}
"""
SENDS = ["TEST_CONNECTION", "MEMORY_SCRUB", *["HK_ONE_SHOT"] * 3, "MODE_RECOVER"]


class AnyInterleaving(RuleBasedStateMachine):
    """The sends are the same and each once, however often the run is paused, stepped and killed,
    and wherever the kill cuts off what was written."""

    def __init__(self) -> None:
        super().__init__()
        arguments = "arguments: {N: {type: integer, minimum: 1, maximum: 9}}"
        self.site = Site(procedure(ONE_OF_ALL, arguments), {"N": 4})
        self.site.world.windows = [(5_000 * S, 10**9 * S)]
        self.site.world.put("SC_MODE", "NOMINAL", -10_000 * S)
        self.site.start()

    @rule(seconds=st.integers(1, 3_000))
    def time_goes_on(self, seconds: int) -> None:
        self.site.to(self.site.world.now_ns / S + seconds)

    @rule()
    def reports_come(self) -> None:
        for number in self.site.world.requests:
            self.site.world.passed(number, "acceptance", "completion")
        self.site.to(self.site.world.now_ns / S)

    @rule(event=st.sampled_from(["pause", "resume", "step"]))
    def an_operator(self, event: str) -> None:
        now_ns = self.site.world.now_ns
        possible = RunEvent(event) in RUN_TABLE[self.site.run.state]
        if possible:
            self.site.keep(getattr(self.site.run, event)(now_ns, "bob"))
            self.site.to(now_ns / S)

    @rule()
    def an_answer(self) -> None:
        if self.site.state == "asking":
            self.site.keep(self.site.run.answer(self.site.world.now_ns, "bob", "go"))

    @rule(seconds=st.integers(0, 2_000), survived=st.booleans())
    def killed_before_it_is_written(self, seconds: int, survived: bool) -> None:
        """What was submitted is gone with the records, or is there without them."""
        site = self.site
        site.world.now_ns += seconds * S
        untouched = deepcopy(site.world)
        site.run.advance(site.world.now_ns, site.world)
        if not survived:
            site.world = untouched
        site.kill()
        site.to(site.world.now_ns / S)

    @rule()
    def killed(self) -> None:
        before = self.site.run.listing(self.site.world.now_ns)
        self.site.kill()
        after = self.site.run.listing(self.site.world.now_ns)
        # What only a look at the world tells is there again after the next one.
        for unknown in ("waits_for", "deadline_ns", "left_s"):
            before.pop(unknown), after.pop(unknown)
        assert after == before

    @invariant()
    def sends_are_a_beginning_of_those_of_an_undisturbed_run(self) -> None:
        sent = [one.command for one in self.site.world.sent]
        # The scrub's completion may be in time, or not.
        other = [*SENDS[:2], "TEST_CONNECTION", *SENDS[2:]]
        assert sent in (SENDS[: len(sent)], other[: len(sent)])

    def teardown(self) -> None:
        site = self.site
        for _ in range(200):
            if site.run.ended:
                break
            now_ns = site.world.now_ns
            if site.state == "paused":
                site.keep(site.run.resume(now_ns, "bob"))
            if site.state == "asking":
                site.keep(site.run.answer(now_ns, "bob", "go"))
            for number in site.world.requests:
                site.world.passed(number, "completion")
            site.to(now_ns / S + 200)
        assert site.state in ("completed", "failed")
        self.sends_are_a_beginning_of_those_of_an_undisturbed_run()
        # SC_MODE is old for ever: three times round, and the run has failed.
        assert "repeated 3 times" in site.reason


TestAnyInterleaving = AnyInterleaving.TestCase
TestAnyInterleaving.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
