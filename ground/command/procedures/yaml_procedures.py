"""A YAML file as a procedure, checked against commands and parameters as it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import yaml

from ground.command.procedures.definitions import Definitions
from ground.command.procedures.expressions import VARIABLE
from ground.command.procedures.procedure import (
    ARGUMENT_KEYS,
    Context,
    Procedure,
    Steps,
    declare_argument,
)
from ground.command.procedures.yaml_nodes import ProcedureInvalid, Reader
from ground.command.procedures.yaml_steps import Call, Finished, StepReader
from ground.command.procedures.yaml_values import Scope
from protocols.errors import LocalError
from protocols.telecommand.declaration import Argument

_KEYS = ("procedure", "description", "arguments", "steps")


def read_yaml(
    text: str, definitions: Definitions, *, file: str = "procedure.yaml"
) -> tuple[Procedure, list[Call]]:
    """The procedure, and its calls of others, which whoever knows those checks.

    Raises ProcedureInvalid with everything that is wrong.
    """
    reader = Reader(file)
    root = reader.root(text)
    entries = {} if root is None else reader.entries(root, "procedure", _KEYS)
    for name in ("procedure", "description", "steps"):
        if root is not None and name not in entries:
            reader.wrong(root, f"procedure: {name} wanted")
    if "procedure" not in entries or "steps" not in entries:
        raise ProcedureInvalid(reader.problems)
    name = reader.text(entries["procedure"].value, "procedure")
    if VARIABLE.fullmatch(f"${name}") is None:
        reader.wrong(entries["procedure"].value, f"procedure {name!r}; letters, digits, _ wanted")
    description = ""
    if "description" in entries:
        description = " ".join(reader.text(entries["description"].value, "description").split())
    arguments: list[Argument] = []
    if "arguments" in entries:
        arguments = _arguments(reader, entries["arguments"].value)
    scope: Scope = {argument.name: argument for argument in arguments}
    steps = StepReader(reader, definitions)
    body, _ = steps.steps(entries["steps"].value, scope)
    if not reader.problems and not steps.outline:
        reader.wrong(entries["steps"].value, "steps: none; one or more wanted")
    if reader.problems:
        raise ProcedureInvalid(sorted(reader.problems, key=lambda one: (one.line, one.column)))

    def run(p: Context, values: Mapping[str, Any]) -> Steps:
        try:
            yield from body(p, dict(values))
        except Finished:
            return

    procedure = Procedure(
        name,
        description,
        tuple(arguments),
        run,
        file,
        hashlib.sha256(text.encode()).hexdigest(),
        tuple(steps.outline),
    )
    return procedure, steps.calls


def _arguments(reader: Reader, node: yaml.Node) -> list[Argument]:
    found: list[Argument] = []
    for name, entry in reader.entries(node, "arguments").items():
        if VARIABLE.fullmatch(f"${name}") is None:
            reader.wrong(entry.key, f"argument {name!r}; letters, digits, _ wanted")
            continue
        declared = {
            key: reader.value(one.value)
            for key, one in reader.entries(entry.value, f"argument {name}", ARGUMENT_KEYS).items()
        }
        try:
            found.append(declare_argument(name, declared))
        except LocalError as error:
            reader.wrong(entry.value, str(error))
    return found
