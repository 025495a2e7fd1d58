"""`ground/client/calls.py` as the console's routes would have it: `python -m tests.client_calls`
writes it anew, a test compares."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from keyword import iskeyword
from pathlib import Path
from typing import Any

from ground.console.endpoints import PREFIX, TAI_NS, UNIX_MS, openapi
from tests.ground.console.site import Console

CALLS = Path(__file__).parents[1] / "ground/client/calls.py"
_HEAD = '''"""Every operation of the console's API, made from its routes by `make generate`.

Not edited by hand.  In brackets: the least role that may call it.  Answers are what JSON gives:
dicts and lists; times in them are UTC text (`…_utc`) or milliseconds since 1970.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast
from urllib.parse import quote

from ground.client.instants import Instant
from ground.client.samples import Samples


class Calls:
    """What `Ground` can ask; how it asks is its own."""

    def _call(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
    ) -> Any:
        raise NotImplementedError

    def _unix_ms(self, instant: Instant) -> float:
        raise NotImplementedError

    def _tai_ns(self, instant: Instant) -> int:
        raise NotImplementedError
'''
#: `from` is a word of Python's.
_RENAMED = {"from": "start", "to": "stop", "from_ns": "start", "to_ns": "stop"}
_KINDS = {"integer": "int", "number": "float", "string": "str", "boolean": "bool"}
_INSTANTS = {UNIX_MS: "self._unix_ms", TAI_NS: "self._tai_ns"}

_ANSWERS = {
    "application/json": "Any",
    "application/octet-stream": "bytes",
    "application/vnd.apache.arrow.stream": "Samples",
}


class _Argument:
    """Of a call: how it is declared, and how it is handed on."""

    def __init__(self, name: str, schema: dict[str, Any], *, required: bool, where: str) -> None:
        self.where, self.key = where, name
        self.name = _RENAMED.get(name, f"{name}_" if iskeyword(name) else name)
        self.required = required
        kind = _kind(schema)
        convert = _INSTANTS.get(schema.get("format", ""))
        if convert:
            kind = "Instant"
        self.value = self.name if convert is None else f"{convert}({self.name})"
        if schema.get("contentEncoding") == "base64":
            kind, self.value = "bytes", f"b64encode({self.name}).decode()"
        default = schema.get("default")
        # The server's own default: the first and the last instant there are.
        self.omitted = not required and convert is not None
        if self.omitted:
            kind += " | None"
        default = "None" if self.omitted else repr(default)
        if default == "{}":
            kind, default, self.value = f"{kind} | None", "None", f"{self.name} or {{}}"
        self.kind = kind
        self.declared = f"{self.name}: {kind}" + ("" if required else f" = {default}")


def _kind(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " | ".join(_kind(one) for one in schema["anyOf"])
    kind = schema.get("type", "")
    if kind == "null":
        return "None"
    if kind == "array":
        return f"Sequence[{_kind(schema.get('items', {}))}]"
    if kind == "object":
        return f"Mapping[str, {_kind(schema.get('additionalProperties', {}))}]"
    if "enum" in schema:
        return f"Literal[{', '.join(map(repr, schema['enum']))}]"
    if choices := re.fullmatch(r"\^\(([\w|-]+)\)\$", schema.get("pattern", "")):
        return f"Literal[{', '.join(map(repr, choices[1].split('|')))}]"
    return _KINDS.get(kind, "Any")


def _arguments(operation: dict[str, Any], schemas: dict[str, Any]) -> Iterator[_Argument]:
    for one in operation.get("parameters", ()):
        yield _Argument(one["name"], one["schema"], required=one["required"], where=one["in"])
    if "requestBody" in operation:
        (content,) = operation["requestBody"]["content"].values()
        schema = content["schema"]
        if "$ref" not in schema:
            return
        schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
        for name, one in schema["properties"].items():
            yield _Argument(name, one, required=name in schema.get("required", ()), where="body")


def _method(verb: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    arguments = list(_arguments(operation, schemas))
    ordered = sorted(arguments, key=lambda one: not one.required)
    declared = ", ".join(one.declared for one in ordered)
    content = operation["responses"]["200"]["content"]
    kind = _ANSWERS[next(iter(content))]
    about = f"{operation['summary']}. ({operation['x-role']})"
    address = json.dumps(path.removeprefix(PREFIX))
    for one in arguments:
        if one.where == "path":
            whole = f"{{{one.name}}}" if one.kind == "int" else f"{{quote({one.name}, safe='')}}"
            address = address.replace(f"{{{one.key}}}", whole)
    sent = [f'"{verb.upper()}"', ("f" if "{" in address else "") + address]
    for where, word in (("query", "query"), ("body", "body")):
        found = [one for one in arguments if one.where == where]
        if found:
            parts = ", ".join(
                f'**({{}} if {one.name} is None else {{"{one.key}": {one.value}}})'
                if one.omitted
                else f'"{one.key}": {one.value}'
                for one in found
            )
            sent.append(f"{word}={{{parts}}}")
    call = f"self._call({', '.join(sent)})"
    if kind != "Any":
        call = f"cast({kind}, {call})"
    text = "\n".join(textwrap.wrap(f'"""{about}"""', 92))
    return (
        f"def {operation['operationId']}(self{', ' if declared else ''}{declared}) -> {kind}:\n"
        + textwrap.indent(f"{text}\nreturn {call}\n", "    ")
    )


def written() -> str:
    """The module, formatted."""
    with tempfile.TemporaryDirectory() as directory:
        console = Console(Path(directory))
        routes = console.app.state.routes
        console.close()
    document = openapi(routes, "")
    schemas = document["components"]["schemas"]
    methods = [
        textwrap.indent(_method(verb, path, operation, schemas), "    ")
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    ]
    text = re.sub(r"\n +\n", "\n\n", "\n".join([_HEAD, *methods]))
    for work in (["check", "--fix-only", "--quiet"], ["format", "--quiet"]):
        text = subprocess.run(
            [sys.executable, "-m", "ruff", *work, "--stdin-filename", str(CALLS), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return text


if __name__ == "__main__":
    CALLS.write_text(written())
