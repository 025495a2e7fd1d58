"""Files of procedures: what is wrong is told with its place, all at once; what is right is run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ground.command.procedures.expressions import (
    literal,
    parse_duration,
    parse_instant,
    split_test,
)
from ground.command.procedures.library import Library, shipped
from ground.command.procedures.python_procedures import read_python
from ground.command.procedures.yaml_nodes import ProcedureInvalid, Reader
from ground.command.procedures.yaml_procedures import read_yaml
from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_utc_iso
from tests.ground.command.procedures.memory_world import DEFINITIONS

HEAD = "procedure: example\ndescription: An example\n"
ARGUMENTS = """arguments:
  N: {type: integer, minimum: 1, maximum: 100}
  M: {type: choice, choices: [SAFE, OFF]}
"""
END = "\nsteps: [{say: a}]"


def problems(steps: str, head: str = HEAD) -> list[str]:
    with pytest.raises(ProcedureInvalid) as caught:
        read_yaml(head + steps, DEFINITIONS, file="x.yaml")
    return [str(one) for one in caught.value.problems]


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("send: MODE_RECOVR", "4:11: no command 'MODE_RECOVR'; nearest: MODE_RECOVER"),
        ("{sent: MODE_RECOVER}", "4:5: step: sent; one verb wanted; nearest: set, send"),
        ("{say: a, ask: b}", "4:5: step: say, ask; one verb wanted; send, wait_for"),
        ("{say: a, whit: b}", "4:14: say: no key 'whit'; none known"),
        (
            "{send: ARRAY_TURN, with: {ANGLE: 120}}",
            "4:38: argument ANGLE: 120; -90..90 deg allowed",
        ),
        (
            "{send: ARRAY_TURN, with: {ANGEL: 1}}",
            "4:31: ARRAY_TURN has no argument 'ANGEL'; nearest: ANGLE",
        ),
        ("send: ARRAY_TURN", "4:11: ARRAY_TURN: argument ANGLE wanted (-90..90 deg)"),
        (
            "{send: MODE_SET, with: {MODE: SAVE}}",
            "4:35: argument MODE: 'SAVE'; SAFE | STANDBY | NOMINAL | STORM | LAUNCH allowed",
        ),
        (
            "{send: INSTRUMENTS_SWITCH, with: {SWITCH: true}}",
            "4:47: argument SWITCH: True; OFF | ON allowed",
        ),
        ("{send: HK_ENABLE, with: {STRUCTURES: 1}}", "4:42: argument STRUCTURES: 1; a list"),
        (
            "{send: HK_ENABLE, with: {STRUCTURES: [0]}}",
            "4:42: argument STRUCTURES: 0; 1..65535 allowed",
        ),
        ("{send: HK_ENABLE, with: {STRUCTURES: [$X]}}", "4:42: no variable $X here; none known"),
        (
            "{send: STORE_RETRIEVE, with: {STORE: 1, FROM: yesterday, TO: now}}",
            "4:51: instant 'yesterday'; UTC as 2026-11-22T21:00:00Z, start or now wanted",
        ),
        (
            "{send: TEST_CONNECTION, wait_for: start}",
            "4:39: stage 'start': TEST_CONNECTION reports radiated, received, acceptance, comp",
        ),
        ("{send: TEST_CONNECTION, wait_for: begin}", "4:39: stage 'begin'; radiated, received"),
        (
            "{wait_for: SC_MOD == SAFE, within: 1 h, timeout: 1 h}",
            "4:16: no parameter 'SC_MOD'; nearest: SC_MODE",
        ),
        (
            "{wait_for: SC_MODE == SAVE, within: 1 h, timeout: 1 h}",
            "4:16: SC_MODE: 'SAVE'; SAFE | STANDBY",
        ),
        (
            "{wait_for: SC_MODE > SAFE, within: 1 h, timeout: 1 h}",
            "4:16: condition on SC_MODE: > on a label; == or != allowed",
        ),
        ("{wait_for: SC_MODE, within: 1 h, timeout: 1 h}", "4:16: condition 'SC_MODE'; NAME OP"),
        (
            "{wait_for: PWR_BUS_VOLTAGE is fine, within: 1 h, timeout: 1 h}",
            "4:16: condition on PWR_BUS_VOLTAGE: limits 'fine'; nominal, warning, critical",
        ),
        (
            "{wait_for: SC_UPTIME is nominal, within: 1 h, timeout: 1 h}",
            "4:16: SC_UPTIME has no limits; compare its value",
        ),
        (
            "{wait_for: SC_MODE == SAFE, timeout: 1 h}",
            "4:6: wait_for: how old may telemetry be? within wanted, as 30 min",
        ),
        (
            "{wait_for: SC_MODE == SAFE, within: 1 h}",
            "4:6: wait_for: timeout wanted, as 2 h; `none` waits for ever",
        ),
        ("wait: 30", "4:11: duration 30; a number and s, min, h or d wanted, as 30 min"),
        ("wait: 30 minutes", "4:11: duration '30 minutes'"),
        ("wait_until: tomorrow", "4:17: instant 'tomorrow'"),
        ("wait_window: opens", "4:18: wait_window: 'opens'; open or closed wanted"),
        ("verify: $scrub", "4:13: '$scrub': what a send was kept `as` wanted; none known"),
        ("{if: SC_MODE == SAFE, within: 1 h}", "4:6: if: then wanted"),
        ("{if: $N == 3, then: [{say: a}]}", "4:10: no variable $N here; none known"),
        (
            "{repeat: [{say: a}], until: SC_MODE == SAFE, within: 1 h}",
            "4:6: repeat: at_most wanted",
        ),
        ("{repeat: [{say: a}], at_most: 3}", "4:6: repeat: until wanted"),
        (
            "{repeat: [{fail: a}], at_most: 3, until: SC_MODE == SAFE, within: 1 h}",
            "4:6: repeat: its steps end the procedure",
        ),
        ("{read: SC_MODE, within: 1 h}", "4:6: read: as wanted, the value's name"),
        ("{ask: a, choices: [go, go]}", "4:23: choices ('go', 'go'); different ones wanted"),
        ("{say: a, say: b}", "4:14: step: say given twice"),
        ("&a {say: a}\n  - *a", "5:5: no YAML: aliases are not allowed"),
        ("{fail: a}\n  - say: b", "5:5: never reached"),
        ("{say: [a]}", "4:11: say: a list; text wanted"),
        ("say", "4:5: step: 'say'; names with values wanted"),
        ("{say: a", "5:1: no YAML: expected ',' or '}'"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(step: str, told: str) -> None:
    found = problems(f"steps:\n  - {step}\n")
    assert [one for one in found if one.startswith(f"x.yaml:{told}")], found


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("{if: $M == UNSAFE, then: [{say: a}]}", "7:10: $M: 'UNSAFE'; SAFE | OFF allowed"),
        ("{send: ARRAY_TURN, with: {ANGLE: $N}}", "7:38: argument ANGLE: 100; -90..90 deg"),
        ("{send: MODE_SET, with: {MODE: $M}}", "7:35: argument MODE: 'OFF'; SAFE | STANDBY"),
        ("{say: '${NN}'}", "7:11: no variable $NN here; nearest: N"),
    ],
)
def test_ranges_of_arguments_are_compared_with_those_of_commands(step: str, told: str) -> None:
    (first, *_) = problems(f"steps:\n  - {step}\n", HEAD + ARGUMENTS)
    assert first.startswith(f"x.yaml:{told}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "1:1: empty; a procedure wanted"),
        ("a: [", "1:5: no YAML"),
        ("[a]", "1:1: procedure: a list; names with values wanted"),
        ("procedure: x\nstep: []\n", "2:1: procedure: no key 'step'; nearest: steps"),
        (HEAD + "steps: []\n", "3:8: steps: none; one or more wanted"),
        (
            HEAD + "arguments: {A: {type: word}}" + END,
            "3:16: argument A: type 'word'; ",
        ),
        (
            HEAD + "arguments: {A: {kind: text}}" + END,
            "3:17: argument A: no key 'kind'",
        ),
        (
            HEAD + "arguments: {A: {type: number, maximum: 3, default: 4}}" + END,
            "3:16: argument A: 4; ..3 allowed",
        ),
        ("procedure: a b\ndescription: x\nsteps: [{say: a}]", "1:12: procedure 'a b'; letters"),
        ("x: " + "[" * 5_000, "1:103: no YAML: more than 100 deep"),
        ("x: " + "a" * 1_000_001, "1:1: 1,000,004 characters; at most 1,000,000 allowed"),
        ("x: !!python/object/apply:os.system [ls]", "1:1: procedure: no key 'x'"),
    ],
)
def test_files_that_are_no_procedures(text: str, told: str) -> None:
    found = problems("", text)
    assert [one for one in found if one.startswith(f"x.yaml:{told}")], found


def test_everything_that_is_wrong_is_told_at_once() -> None:
    found = problems("steps:\n  - send: NO_SUCH\n  - wait: 3\n  - say: $nobody\n")
    assert [one.split(":")[1] for one in found] == ["4", "5", "6"]


def test_a_variable_is_known_where_every_way_sets_it() -> None:
    steps = """steps:
  - if: SC_MODE == SAFE
    within: 1 h
    then:
      - {send: MEMORY_SCRUB, as: scrub}
    else:
      - {%s}
  - {verify: $scrub}
"""
    read_yaml(HEAD + steps % "fail: not safe", DEFINITIONS)
    (told,) = problems(steps % "say: not safe")
    assert told.startswith("x.yaml:10:14: '$scrub'")


@given(st.text(max_size=60) | st.text("{}[]:-,#&*!|>'\"%@` \nabc$", max_size=60))
def test_any_text_is_a_procedure_or_told_to_be_none(text: str) -> None:
    with pytest.raises(ProcedureInvalid):
        read_yaml(HEAD + "steps:\n  - say: " + text + "\n  - send: NO_SUCH\n", DEFINITIONS)


@pytest.mark.parametrize(
    "text", ["ON", "OFF", "yes", "12:30:00", "2026-11-22", "0x10", "0o17", "017", "1e3", "-.5", "~",
             "null", "true", "False", "1_000", ".inf", "5.", "+3", "0b1"],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str) -> None:
    reader = Reader("x.yaml")
    node = reader.root(text)
    assert node is not None
    core = {
        "0x10": 16, "0o17": 15, "017": 17, "1e3": 1000.0, "-.5": -0.5, "~": None, "null": None,
        "true": True, "False": False, "5.": 5.0, "+3": 3,
    }  # fmt: skip
    assert reader.value(node) == core.get(text, text)
    assert not reader.problems


def test_where_yaml_1_1_and_1_2_agree_so_do_we_and_pyyaml() -> None:
    text = "a: 1\nb: [x, 2.5, true, null]\nc: {d: 'ON', e: \"f\"}\n"
    reader = Reader("x.yaml")
    node = reader.root(text)
    assert node is not None
    assert reader.value(node) == yaml.safe_load(text)


def test_durations_and_instants() -> None:
    assert parse_duration("1 d 2 h 3 min 4.5 s") == 93_784.5
    utc = "2026-11-22T21:00:00Z"
    assert parse_instant(utc, start_ns=1, now_ns=2) == tai_ns_from_utc_iso(utc)
    assert parse_instant(f"{utc} - 1 min", start_ns=1, now_ns=2) == (
        tai_ns_from_utc_iso(utc) - 60_000_000_000
    )
    assert parse_instant("now+1s", start_ns=1, now_ns=2) == 1_000_000_002
    assert parse_instant("500 + 1 s", start_ns=1, now_ns=2) == 1_000_000_500
    for wrong in ("", "now +", "now + 3", "start now", None, 1.5, True):
        with pytest.raises(LocalError, match="instant"):
            parse_instant(wrong, start_ns=1, now_ns=2)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("A>=3", ("A", ">=", "3")),
        ("A is  not critical", ("A", "is not", "critical")),
        ("A in X|Y", ("A", "in", "X|Y")),
        ("inside is nominal", ("inside", "is", "nominal")),
        ("$a == two words", ("$a", "==", "two words")),
    ],
)
def test_conditions(text: str, parts: tuple[str, str, str]) -> None:
    assert split_test(text) == parts
    assert literal("3") == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def procedure(p:\n", "x.py:1:14: no Python"),
        ("x = 1\n1 / 0\ndef procedure(p):\n    yield\n", "x.py:2:1: ZeroDivisionError"),
        # Is not run at all.
        ("import no_such_module\n", "x.py:1:1: a generator function wanted"),
        ("def procedure(p):\n    return 1\n", "x.py:1:1: a generator function wanted"),
        (
            "\ndef procedure(p, N):\n    'd'\n    yield\n",
            "x.py:2:1: procedure takes N; ARGUMENTS are",
        ),
        ("def procedure(p):\n    yield\n", "x.py:1:1: procedure: no docstring"),
        ("ARGUMENTS = {'N': {'type': 'word'}}\n", "x.py:1:1: a generator function"),
        (
            "ARGUMENTS = {'N': {'type': 'word'}}\ndef procedure(p, N):\n    yield\n",
            "x.py:1:1: ARGUMENTS: argument N: type 'word'; integer, number, text, time, choice",
        ),
    ],
)
def test_python_files_that_are_no_procedures(text: str, told: str) -> None:
    with pytest.raises(ProcedureInvalid) as caught:
        read_python(text, file="x.py")
    assert str(caught.value).startswith(told)


def test_the_relays_procedures_are_right() -> None:
    library = Library(DEFINITIONS, [shipped()])
    assert library.problems == []
    assert {"storm_recovery", "start_of_pass", "retrieve_in_parts"} <= set(library)
    assert all(procedure.description for procedure in library.values())


def test_a_broken_file_does_not_stop_the_others(tmp_path: Path) -> None:
    files = {
        "a.yaml": HEAD + "steps:\n  - call: b\n  - {call: b, with: {N: 1, X: 2}}\n  - call: c\n",
        "b.py": "ARGUMENTS = {'N': {'type': 'integer'}}\n"
        "def procedure(p, N):\n    'd'\n    yield p.say('b')\n",
        "broken.yaml": "procedure: [",
        "twice.yml": HEAD + "steps:\n  - say: again\n",
        "_hidden.yaml": "nothing",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "latin.yaml").write_bytes(b"\xff")
    library = Library(DEFINITIONS, [tmp_path])
    assert set(library) == {"example", "b"}
    told = [str(one).removeprefix(f"{tmp_path}/") for one in library.problems]
    assert told[0].startswith("broken.yaml:1:13: no YAML")
    assert told[1].startswith("latin.yaml:1:1: not UTF-8")
    assert told[2].startswith("twice.yml:1:1: procedure example is in")
    assert told[3:] == [
        "a.yaml:4:11: procedure b: argument N wanted (-9.223372037e+18..9.223372037e+18)",
        "a.yaml:5:12: procedure b has no argument 'X'; N known",
        "a.yaml:6:11: no procedure 'c'; example, b known",
    ]
    with pytest.raises(LocalError, match="no procedure 'exampel'; nearest: example"):
        library.procedure("exampel")
