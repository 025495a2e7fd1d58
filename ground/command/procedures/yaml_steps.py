"""Steps of a YAML procedure: checked where they stand, and made into generators.

A step is a mapping with one verb (`send`, `wait_for`, `if` …) and what belongs to it.  `$NAME`
stands for an argument or for what an earlier step was kept `as`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from ground.command.procedures.definitions import Definitions, nearest
from ground.command.procedures.expressions import (
    parse_instant,
)
from ground.command.procedures.procedure import Context, Outline, StepFailed, Steps
from ground.command.procedures.steps import Check
from ground.command.procedures.yaml_nodes import Entry, Reader
from ground.command.procedures.yaml_parts import PartReader
from ground.command.procedures.yaml_values import (
    Scope,
    Values,
    filled,
    keep_common,
    literals,
    time_arguments,
)
from protocols.telecommand.declaration import Command

Body = Callable[[Context, Values], Steps]
#: After which a request of an on-board execution is known: there and back.
_ON_BOARD: Final = ("received", "acceptance", "start", "progress", "completion")


class Finished(Exception):
    """`finish`: the procedure ends here, well."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that can only be checked when all procedures are known."""

    name: str
    given: tuple[str, ...]
    node: yaml.Node


class StepReader(PartReader):
    """The steps of one file.  After `steps`, `outline` and `calls` are complete."""

    def __init__(self, reader: Reader, definitions: Definitions) -> None:
        super().__init__(reader, definitions)
        self.outline: list[Outline] = []
        self.calls: list[Call] = []
        self._depth = 0

    def steps(self, node: yaml.Node, scope: Scope) -> tuple[Body, bool]:
        """A list of steps; whether their end can be reached.  `scope` gets what they define."""
        bodies: list[Body] = []
        ends = False
        for one in self._reader.items(node, "steps"):
            if ends:
                self._reader.wrong(one, "never reached: the step before ends the procedure")
                ends = False
            body, ends = self._step(one, scope)
            bodies.append(body)

        def run(p: Context, values: Values) -> Steps:
            for body in bodies:
                yield from body(p, values)

        return run, ends

    # One step ------------------------------------------------------------------------------------

    def _step(self, node: yaml.Node, scope: Scope) -> tuple[Body, bool]:
        nothing: tuple[Body, bool] = (_nothing, False)
        entries = self._reader.entries(node, "step")
        found = [name for name in entries if name in _VERBS]
        # `wait_for` is a verb, and belongs to `send`.
        verbs = [name for name in found if not set(found) - {name, *_VERBS[name][1]}]
        if len(verbs) != 1:
            if entries:
                known = ", ".join(_VERBS) if found else nearest(next(iter(entries)), _VERBS)[2:]
                given = ", ".join(found or entries)
                self._reader.wrong(node, f"step: {given}; one verb wanted; {known}")
            return nothing
        verb = verbs[0]
        method, keys = _VERBS[verb]
        for name in entries:
            if name != verb and name not in keys:
                self._reader.wrong(
                    entries[name].key, f"{verb}: no key {name!r}{nearest(name, keys)}"
                )
        before = dict(scope)
        place = self._reader.place(node)
        body, ends = method(self, entries, scope, place)
        if "otherwise" in entries and "otherwise" in keys:
            # What the step would have defined is not there when it has failed.
            failed: Scope = {**before, "failure": None}
            self.outline.append(Outline(self._depth, place, "otherwise:"))
            other, other_ends = self._inner(entries["otherwise"].value, failed)
            if not other_ends:
                keep_common(scope, failed)
            body, ends = _guarded(body, other), ends and other_ends
        return body, ends

    def _inner(self, node: yaml.Node, scope: Scope) -> tuple[Body, bool]:
        self._depth += 1
        try:
            return self.steps(node, scope)
        finally:
            self._depth -= 1

    def _note(self, place: str, text: str, **more: Any) -> None:
        self.outline.append(Outline(self._depth, place, text, **more))

    def _send(self, entries: dict[str, Entry], scope: Scope, place: str) -> tuple[Body, bool]:
        reader, verb = self._reader, entries["send"]
        command = self._try(verb.value, self._definitions.command, reader.text(verb.value, "send"))
        given: dict[str, Any] = {}
        if "with" in entries:
            for name, entry in reader.entries(entries["with"].value, "with").items():
                given[name] = reader.value(entry.value)
                self._variables(entry.value, given[name], scope)
                if command is not None:
                    self._check_given(command, name, given[name], entry, scope)
        if command is not None:
            for argument in command.given:
                if argument.name not in given and argument.default is None:
                    reader.wrong(
                        verb.value,
                        f"{command.name}: argument {argument.name} wanted ({argument.allowed})",
                    )
        times = {
            name: self._instant(entries[name].value, scope)
            for name in ("earliest", "latest")
            if name in entries
        }
        wait_for = self._stage(entries.get("wait_for"), command)
        timeout_s = self._duration(entries.get("timeout"))
        name = "" if command is None else command.name
        self._keep_as(entries, scope, command or self._as(entries))
        on_board = wait_for in _ON_BOARD
        self._note(
            place,
            f"send {name}{''.join(f' {n}={v}' for n, v in given.items())}"
            + (f", wait for {wait_for}" if wait_for else ""),
            least_s=command.execution_s if command and wait_for == "completion" else 0.0,
            round_trips=int(on_board),
            most_s=timeout_s,
        )
        time_names = time_arguments(command)
        variable = self._as(entries)

        def run(p: Context, values: Values) -> Steps:
            arguments = {key: filled(value, values) for key, value in given.items()}
            for key in time_names & set(arguments):
                arguments[key] = p.instant_ns(arguments[key])
            ends = {key: p.instant_ns(filled(text, values)) for key, text in times.items()}
            p.place = place
            step = p.send(name, arguments, wait_for=wait_for, timeout_s=timeout_s, **ends)
            request = yield step
            if variable:
                values[variable] = request

        return run, False

    def _check_given(
        self, command: Command, name: str, value: Any, entry: Entry, scope: Scope
    ) -> None:
        """Now what stands there, and of a procedure's argument the ends of its range."""
        definitions = self._definitions
        given = {argument.name for argument in command.given}
        if name not in given:
            self._reader.wrong(
                entry.key, f"{command.name} has no argument {name!r}{nearest(name, given)}"
            )
            return
        is_time = name in time_arguments(command)
        for one in literals(value, scope):
            if is_time and isinstance(one, str):
                self._try(entry.value, lambda text: parse_instant(text, start_ns=0, now_ns=0), one)
                continue
            as_list = name in command.repeated and not isinstance(one, list)
            tried = [one] if as_list and isinstance(value, str) else one
            self._try(entry.value, lambda v: definitions.check_argument(command, name, v), tried)

    def _wait_for(self, entries: dict[str, Entry], scope: Scope, place: str) -> tuple[Body, bool]:
        test = self._test(entries, "wait_for", scope)
        timeout_s = self._timeout(entries, "wait_for")
        self._note(place, f"wait for {self._shown(entries, 'wait_for')}", most_s=timeout_s)
        if test.variables is not None:
            self._reader.wrong(entries["wait_for"].value, "wait_for: only telemetry changes")
        telemetry = test.telemetry

        def run(p: Context, values: Values) -> Steps:
            p.place = place
            assert telemetry is not None
            yield p.wait_for(telemetry(p, values), timeout_s=timeout_s)

        return run, False

    def _wait(self, entries: dict[str, Entry], scope: Scope, place: str) -> tuple[Body, bool]:
        seconds = self._duration(entries["wait"]) or 0.0
        self._note(place, f"wait {self._shown(entries, 'wait')}", least_s=seconds)

        def run(p: Context, values: Values) -> Steps:
            p.place = place
            yield p.wait(seconds)

        return run, False

    def _wait_until(self, entries: dict[str, Entry], scope: Scope, place: str) -> tuple[Body, bool]:
        text = self._instant(entries["wait_until"].value, scope)
        self._note(place, f"wait until {text}")

        def run(p: Context, values: Values) -> Steps:
            p.place = place
            yield p.wait_until(filled(text, values))

        return run, False

    def _wait_window(
        self, entries: dict[str, Entry], scope: Scope, place: str
    ) -> tuple[Body, bool]:
        node = entries["wait_window"].value
        edge: Any = self._reader.text(node, "wait_window")
        if edge not in ("open", "closed"):
            self._reader.wrong(node, f"wait_window: {edge!r}; open or closed wanted")
        timeout_s = self._duration(entries.get("timeout"))
        self._note(place, f"wait until the uplink window is {edge}", most_s=timeout_s)

        def run(p: Context, values: Values) -> Steps:
            p.place = place
            yield p.wait_window(edge, timeout_s=timeout_s)

        return run, False

    def _verify(self, entries: dict[str, Entry], scope: Scope, place: str) -> tuple[Body, bool]:
        name = self._request(entries["verify"].value, scope)
        command = scope.get(name)
        known = command if isinstance(command, Command) else None
        stage = self._stage(entries.get("stage"), known) or "completion"
        timeout_s = self._duration(entries.get("timeout"))
        done_s = known.execution_s if known and stage == "completion" else 0.0
        self._note(
            place,
            f"verify {stage} of ${name}",
            least_s=done_s,
            round_trips=int(stage in _ON_BOARD),
            most_s=timeout_s,
        )

        def run(p: Context, values: Values) -> Steps:
            p.place = place
            yield p.verify(values[name], stage, timeout_s=timeout_s)

        return run, False

    def _if(self, entries: dict[str, Entry], scope: Scope, place: str) -> tuple[Body, bool]:
        test = self._test(entries, "if", scope)
        self._note(place, f"if {self._shown(entries, 'if')}")
        branches: dict[str, tuple[Body, bool]] = {}
        scopes: list[Scope] = []
        for name in ("then", "else", "unknown"):
            if name not in entries:
                if name != "unknown":
                    branches[name] = (_nothing, False)
                    scopes.append(dict(scope))
                continue
            if name != "then":
                self._note(place, f"{name}:")
            own = dict(scope)
            branches[name] = self._inner(entries[name].value, own)
            if not branches[name][1]:
                scopes.append(own)
        if "then" not in entries:
            self._reader.wrong(entries["if"].key, "if: then wanted")
        for own in scopes[:1]:
            scope.update(own)
        for own in scopes[1:]:
            keep_common(scope, own)
        ends = all(end for _, end in branches.values())
        bodies = {name: body for name, (body, _) in branches.items()}

        def run(p: Context, values: Values) -> Steps:
            p.place = place
            if test.variables is not None:
                branch = "then" if test.variables(values) else "else"
            else:
                assert test.telemetry is not None
                check = p.check(test.telemetry(p, values))
                try:
                    branch = "then" if (yield check) else "else"
                except StepFailed:
                    if "unknown" not in bodies:
                        raise
                    branch = "unknown"
            yield from bodies[branch](p, values)

        return run, ends

    def _repeat(self, entries: dict[str, Entry], scope: Scope, place: str) -> tuple[Body, bool]:
        reader = self._reader
        self._note(place, "repeat:")
        body, ends = self._inner(entries["repeat"].value, scope)
        if ends:
            reader.wrong(entries["repeat"].key, "repeat: its steps end the procedure")
        most = 1
        if "at_most" not in entries:
            reader.wrong(entries["repeat"].key, "repeat: at_most wanted; no loop without an end")
        else:
            most = reader.value(entries["at_most"].value)
            if isinstance(most, bool) or not isinstance(most, int) or most < 1:
                reader.wrong(entries["at_most"].value, f"at_most {most!r}; 1 or more wanted")
        if "until" not in entries:
            reader.wrong(entries["repeat"].key, "repeat: until wanted")
            return body, False
        test = self._test(entries, "until", scope)
        self._note(place, f"until {self._shown(entries, 'until')}, {most} times at most")

        def run(p: Context, values: Values) -> Steps:
            for _ in range(most):
                yield from body(p, values)
                p.place = place
                if test.variables is not None:
                    met = test.variables(values)
                else:
                    assert test.telemetry is not None
                    met = yield p.checked(Check(test.telemetry(p, values), unknown=False))
                if met:
                    return
            raise StepFailed(f"repeated {most} times, and still not so")

        return run, False

    def _call(self, entries: dict[str, Entry], scope: Scope, place: str) -> tuple[Body, bool]:
        reader = self._reader
        name = reader.text(entries["call"].value, "call")
        given: dict[str, Any] = {}
        if "with" in entries:
            for key, entry in reader.entries(entries["with"].value, "with").items():
                given[key] = reader.value(entry.value)
                self._variables(entry.value, given[key], scope)
        self.calls.append(Call(name, tuple(given), entries["call"].value))
        self._note(place, f"call {name}{''.join(f' {n}={v}' for n, v in given.items())}")

        def run(p: Context, values: Values) -> Steps:
            yield from p.call(name, **{key: filled(one, values) for key, one in given.items()})

        return run, False

    def _read(self, entries: dict[str, Entry], scope: Scope, place: str) -> tuple[Body, bool]:
        name = self._reader.text(entries["read"].value, "read")
        self._try(entries["read"].value, self._definitions.parameter, name)
        within_s = self._within(entries, "read") or 1.0
        variable = self._as(entries)
        if not variable:
            self._reader.wrong(entries["read"].key, "read: as wanted, the value's name")
        self._keep_as(entries, scope, None)
        self._note(place, f"read {name}")

        def run(p: Context, values: Values) -> Steps:
            p.place = place
            values[variable] = yield p.read(name, within_s=within_s)

        return run, False

    def _set(self, entries: dict[str, Entry], scope: Scope, place: str) -> tuple[Body, bool]:
        given: dict[str, Any] = {}
        for name, entry in self._reader.entries(entries["set"].value, "set").items():
            given[name] = self._reader.value(entry.value)
            self._variables(entry.value, given[name], scope)
            scope[name] = None

        def run(p: Context, values: Values) -> Steps:
            values.update({name: filled(value, values) for name, value in given.items()})
            return
            yield

        return run, False

    def _ask(self, entries: dict[str, Entry], scope: Scope, place: str) -> tuple[Body, bool]:
        reader = self._reader
        text = self._text(entries["ask"].value, "ask", scope)
        choices: tuple[str, ...] = ("continue",)
        if "choices" in entries:
            node = entries["choices"].value
            choices = tuple(reader.text(one, "choices") for one in reader.items(node, "choices"))
            if not choices or len(set(choices)) < len(choices):
                reader.wrong(node, f"choices {choices}; different ones wanted")
        variable = self._as(entries)
        self._keep_as(entries, scope, choices)
        self._note(place, f"ask {text!r} ({' | '.join(choices)})", by_operator=True)

        def run(p: Context, values: Values) -> Steps:
            p.place = place
            answer = yield p.ask(str(filled(text, values)), *choices)
            if variable:
                values[variable] = answer

        return run, False

    def _say(self, entries: dict[str, Entry], scope: Scope, place: str) -> tuple[Body, bool]:
        text = self._text(entries["say"].value, "say", scope)
        self._note(place, f"say {text!r}")

        def run(p: Context, values: Values) -> Steps:
            p.place = place
            yield p.say(str(filled(text, values)))

        return run, False

    def _fail(self, entries: dict[str, Entry], scope: Scope, place: str) -> tuple[Body, bool]:
        text = self._text(entries["fail"].value, "fail", scope)
        self._note(place, f"fail {text!r}")

        def run(p: Context, values: Values) -> Steps:
            p.place = place
            p.fail(str(filled(text, values)))
            yield

        return run, True

    def _finish(self, entries: dict[str, Entry], scope: Scope, place: str) -> tuple[Body, bool]:
        text = self._text(entries["finish"].value, "finish", scope)
        self._note(place, f"finish {text!r}")

        def run(p: Context, values: Values) -> Steps:
            p.place = place
            yield p.say(str(filled(text, values)))
            raise Finished

        return run, True


_Method = Callable[[StepReader, dict[str, Entry], Scope, str], tuple[Body, bool]]
_R = StepReader
# Methods of the class above, one a verb, and the keys that it takes.
_VERBS: Final[Mapping[str, tuple[_Method, tuple[str, ...]]]] = {
    "send": (
        _R._send,
        ("with", "earliest", "latest", "wait_for", "timeout", "as", "otherwise"),
    ),
    "wait_for": (_R._wait_for, ("within", "timeout", "after", "otherwise")),
    "wait": (_R._wait, ()),
    "wait_until": (_R._wait_until, ()),
    "wait_window": (_R._wait_window, ("timeout", "otherwise")),
    "verify": (_R._verify, ("stage", "timeout", "otherwise")),
    "if": (_R._if, ("within", "after", "then", "else", "unknown")),
    "repeat": (_R._repeat, ("until", "within", "after", "at_most", "otherwise")),
    "call": (_R._call, ("with", "otherwise")),
    "read": (_R._read, ("within", "as", "otherwise")),
    "set": (_R._set, ()),
    "ask": (_R._ask, ("choices", "as")),
    "say": (_R._say, ()),
    "fail": (_R._fail, ()),
    "finish": (_R._finish, ()),
}


def _nothing(p: Context, values: Values) -> Steps:
    return
    yield


def _guarded(body: Body, otherwise: Body) -> Body:
    def run(p: Context, values: Values) -> Steps:
        try:
            yield from body(p, values)
            return
        except StepFailed as error:
            values["failure"] = str(error)
        yield from otherwise(p, values)

    return run
