"""Parts of a step of a YAML procedure: durations, instants, stages, conditions, variables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from ground.command.procedures.definitions import Definitions, nearest
from ground.command.procedures.expressions import (
    VARIABLE,
    literal,
    parse_condition,
    parse_duration,
    parse_instant,
    split_test,
)
from ground.command.procedures.procedure import Context, Request
from ground.command.procedures.steps import AllOf, AnyOf, Condition, check_stage
from ground.command.procedures.yaml_nodes import Entry, Reader
from ground.command.procedures.yaml_values import Scope, Values, filled, names
from protocols.errors import LocalError
from protocols.telecommand.declaration import Argument, Command
from protocols.telemetry.calibration import Enumeration
from protocols.telemetry.declaration import COMPARISONS


@dataclass(frozen=True, slots=True)
class Test:
    """One of both: of telemetry, made with the variables of then; or of variables alone."""

    telemetry: Callable[[Context, Values], Condition] | None = None
    variables: Callable[[Values], bool] | None = None


class PartReader:
    """Reads parts and keeps what is wrong with them."""

    def __init__(self, reader: Reader, definitions: Definitions) -> None:
        self._reader = reader
        self._definitions = definitions

    def _try(self, node: yaml.Node, call: Callable[[Any], Any], value: Any) -> Any:
        """What `call` makes of a value; None, with its error kept at the node."""
        try:
            return call(value)
        except LocalError as error:
            self._reader.wrong(node, str(error))
            return None

    def _variables(self, node: yaml.Node, value: Any, scope: Scope) -> None:
        for name in names(value):
            if name not in scope:
                self._reader.wrong(node, f"no variable ${name} here{nearest(name, scope)}")

    def _text(self, node: yaml.Node, what: str, scope: Scope) -> str:
        text = self._reader.text(node, what)
        self._variables(node, text, scope)
        return text

    def _instant(self, node: yaml.Node, scope: Scope) -> str:
        text = self._text(node, "instant", scope)
        # Whatever the variables are: the rest must be right.
        sample = VARIABLE.sub("start", text)
        self._try(node, lambda t: parse_instant(t, start_ns=0, now_ns=0), sample)
        return text

    def _duration(self, entry: Entry | None) -> float | None:
        if entry is None:
            return None
        return self._try(entry.value, parse_duration, self._reader.value(entry.value))

    def _within(self, entries: dict[str, Entry], verb: str) -> float | None:
        if "within" not in entries:
            self._reader.wrong(
                entries[verb].key, f"{verb}: how old may telemetry be? within wanted, as 30 min"
            )
        return self._duration(entries.get("within"))

    def _timeout(self, entries: dict[str, Entry], verb: str) -> float | None:
        if "timeout" not in entries:
            self._reader.wrong(
                entries[verb].key, f"{verb}: timeout wanted, as 2 h; `none` waits for ever"
            )
            return None
        node = entries["timeout"].value
        if isinstance(node, yaml.ScalarNode) and node.value == "none":
            return None
        return self._duration(entries["timeout"])

    def _stage(self, entry: Entry | None, command: Command | None) -> str:
        if entry is None:
            return ""
        stage = self._reader.text(entry.value, "stage")
        if command is None:
            self._try(entry.value, check_stage, stage)
        else:
            self._try(entry.value, lambda s: self._definitions.check_stage(command, s), stage)
        return stage

    def _request(self, node: yaml.Node, scope: Scope) -> str:
        text = self._reader.text(node, "request")
        found = VARIABLE.fullmatch(text)
        name = "" if found is None else found["name"] or found["braced"]
        if name not in scope or not isinstance(scope[name], Command | str):
            requests = [f"${key}" for key, known in scope.items() if isinstance(known, Command)]
            self._reader.wrong(
                node, f"{text!r}: what a send was kept `as` wanted{nearest(text, requests)}"
            )
        return name

    def _as(self, entries: dict[str, Entry]) -> str:
        return self._reader.text(entries["as"].value, "as") if "as" in entries else ""

    def _keep_as(
        self, entries: dict[str, Entry], scope: Scope, known: Command | tuple[str, ...] | str | None
    ) -> None:
        if "as" not in entries:
            return
        name = self._as(entries)
        if VARIABLE.fullmatch(f"${name}") is None:
            self._reader.wrong(entries["as"].value, f"as {name!r}; letters and digits wanted")
        scope[name] = known

    def _shown(self, entries: dict[str, Entry], verb: str) -> str:
        return _as_text(self._reader.value(entries[verb].value))

    def _test(self, entries: dict[str, Entry], verb: str, scope: Scope) -> Test:
        node = entries[verb].value
        if isinstance(node, yaml.ScalarNode) and node.value.startswith("$"):
            return Test(variables=self._variable_test(node, scope))
        within_s = self._within(entries, verb)
        after = self._request(entries["after"].value, scope) if "after" in entries else ""
        make = self._telemetry(node, within_s or 1.0, scope)

        def telemetry(p: Context, values: Values) -> Condition:
            request = values[after] if after else None
            return make(values, request.number if isinstance(request, Request) else 0)

        return Test(telemetry=telemetry)

    def _telemetry(
        self, node: yaml.Node, within_s: float, scope: Scope
    ) -> Callable[[Values, int], Condition]:
        if isinstance(node, yaml.MappingNode):
            entries = self._reader.entries(node, "condition", ("all", "any"))
            if len(entries) != 1:
                self._reader.wrong(node, "condition: either all or any wanted")
                return lambda values, after: AllOf(())
            ((name, entry),) = entries.items()
            parts = [
                self._telemetry(one, within_s, scope)
                for one in self._reader.items(entry.value, name)
            ]
            kind = AllOf if name == "all" else AnyOf
            return lambda values, after: kind(tuple(make(values, after) for make in parts))
        text = self._text(node, "condition", scope)
        if text.startswith("$"):
            self._reader.wrong(node, f"condition {text!r}: with telemetry no test of variables")
        elif not list(names(text)):
            condition = self._try(node, lambda t: parse_condition(t, within_s), text)
            if condition is not None:
                self._try(node, self._definitions.check_condition, condition)
        else:
            test = self._try(node, split_test, text)
            if test is not None:
                self._try(node, self._definitions.parameter, test[0])
        return lambda values, after: parse_condition(str(filled(text, values)), within_s, after)

    def _variable_test(self, node: yaml.ScalarNode, scope: Scope) -> Callable[[Values], bool]:
        self._variables(node, node.value, scope)
        test = self._try(node, split_test, node.value)
        if test is None:
            return lambda values: False
        name, operator, text = test
        known = VARIABLE.fullmatch(name)
        if known is None or operator not in (*COMPARISONS, "in"):
            self._reader.wrong(node, f"condition {node.value!r}: $NAME OPERATOR VALUE wanted")
            return lambda values: False
        choices = scope.get(known["name"] or known["braced"])
        wanted = [part.strip() for part in text.split("|")] if operator == "in" else [text]
        if isinstance(choices, Argument) and isinstance(choices.calibration, Enumeration):
            choices = tuple(label for _, label in choices.calibration.labels)
        if isinstance(choices, tuple):
            for one in wanted:
                if one not in choices and not one.startswith("$"):
                    allowed = " | ".join(choices)
                    self._reader.wrong(node, f"{name}: {one!r}; {allowed} allowed")
            values_of = [*wanted]
        else:
            values_of = [literal(one) for one in wanted]

        def met(values: Values) -> bool:
            left = filled(name, values)
            right = [filled(one, values) for one in values_of]
            if operator == "in":
                return left in right
            try:
                return bool(COMPARISONS[operator](left, right[0]))
            except TypeError as error:
                raise LocalError(f"condition {node.value!r}: {left!r}: {error}") from error

        return met


def _as_text(condition: Any) -> str:
    name, parts = "", None
    if isinstance(condition, dict) and len(condition) == 1:
        ((name, parts),) = condition.items()
    if not isinstance(parts, list):
        # A text; or what is no condition, which has been said by then.
        return str(condition)
    return f" {'and' if name == 'all' else 'or'} ".join(map(_as_text, parts))
