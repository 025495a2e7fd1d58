"""A Python file as a procedure: `def procedure(p, …)`, a generator of steps.

    ARGUMENTS = {"HOURS": {"type": "number", "unit": "h", "minimum": 0, "default": 3}}

    def procedure(p, HOURS):
        "Scrub the memory when the storm has faded."
        yield p.wait(3600 * HOURS)
        request = yield p.send("MEMORY_SCRUB")
        yield p.verify(request)

The file is the operators' program and runs with the rights of the service, as its modules do.  It
must take the same steps whenever it gets the same results: no clock, no chance, no file.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ground.command.procedures.procedure import Context, Procedure, Steps, declare_argument
from ground.command.procedures.yaml_nodes import Problem, ProcedureInvalid
from protocols.errors import LocalError


def read_python(text: str, *, file: str = "procedure.py") -> Procedure:
    """The procedure, named after its file.  Raises ProcedureInvalid for a file that is none."""

    def wrong(line: int, message: str) -> ProcedureInvalid:
        return ProcedureInvalid([Problem(file, line, 1, message)])

    name = PurePath(file).stem
    names: dict[str, Any] = {"__name__": f"procedure_{name}", "__file__": file}
    wanted = "a generator function wanted: def procedure(p, …) with yield"
    try:
        tree = ast.parse(text, file)
    except (SyntaxError, ValueError) as error:
        found = error if isinstance(error, SyntaxError) else SyntaxError(str(error))
        problem = Problem(file, found.lineno or 1, found.offset or 1, f"no Python: {found.msg}")
        raise ProcedureInvalid([problem]) from error
    # Programs that merely lie in the same directory are not run to find out what they are.
    if not any(isinstance(one, ast.FunctionDef) and one.name == "procedure" for one in tree.body):
        raise wrong(1, wanted)
    try:
        exec(compile(tree, file, "exec"), names)
    # An operators' program: whatever it raises, the file is no procedure.
    except Exception as error:
        found = error.__traceback__
        while found is not None and found.tb_next is not None:
            found = found.tb_next
        line = found.tb_lineno if found and found.tb_frame.f_code.co_filename == file else 1
        raise wrong(line, f"{type(error).__name__}: {error}") from error
    function = names.get("procedure")
    if not inspect.isgeneratorfunction(function):
        raise wrong(1, wanted)
    line = function.__code__.co_firstlineno
    declared = names.get("ARGUMENTS", {})
    if not isinstance(declared, Mapping):
        raise wrong(1, f"ARGUMENTS {declared!r}; names with declarations wanted")
    try:
        arguments = tuple(declare_argument(key, value) for key, value in declared.items())
    except (LocalError, AttributeError) as error:
        raise wrong(1, f"ARGUMENTS: {error}") from error
    taken = [*inspect.signature(function).parameters][1:]
    if taken != list(declared):
        raise wrong(
            line, f"procedure takes {', '.join(taken) or 'nothing'}; ARGUMENTS are {list(declared)}"
        )
    description = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
    if not description:
        raise wrong(line, "procedure: no docstring; what it does wanted")

    def body(p: Context, values: Mapping[str, Any]) -> Steps:
        return function(p, **values)

    return Procedure(
        name, description, arguments, body, file, hashlib.sha256(text.encode()).hexdigest()
    )
