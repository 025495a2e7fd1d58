"""YAML with the place of every value, and everything that is wrong with a file at once.

Scalars are those of YAML 1.2's core schema: `ON`, `OFF`, `yes` and `12:30` are text (YAML 1.1 makes
numbers and truth values of them, and half of a spacecraft's states are called ON).  Anchors,
duplicate keys and anything but plain data are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

import yaml

from ground.command.procedures.definitions import nearest
from protocols.errors import LocalError

#: Of a file; the largest real ones have some thousands of octets.
MOST_OCTETS: Final = 1_000_000
#: Lists and mappings within one another.
DEEPEST: Final = 100
_PREFIX: Final = "tag:yaml.org,2002:"
#: YAML 1.2.2 §10.3.2.
_CORE: Final = (
    ("null", re.compile(r"null|Null|NULL|~|"), "n~N"),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), "tTfF"),
    ("int", re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"), "-+0123456789"),
    (
        "float",
        re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"),
        "-+.0123456789",
    ),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """line, column: from 1."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class ProcedureInvalid(LocalError):
    """All that is wrong with a procedure's file."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=mark)
        if self._depth == DEEPEST:
            # PyYAML's time grows with the square of the depth.
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem=f"more than {DEEPEST} deep", problem_mark=mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


for _name, _pattern, _first in _CORE:
    whole = re.compile(f"^(?:{_pattern.pattern})$")
    _Loader.add_implicit_resolver(_PREFIX + _name, whole, [*_first])
    if _name == "null":
        _Loader.add_implicit_resolver(_PREFIX + _name, whole, [""])


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and its value."""

    key: yaml.Node
    value: yaml.Node


class Reader:
    """One file: its nodes as data, and the problems found so far."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def wrong(self, node: yaml.Node | None, message: str) -> None:
        """Keep a problem with a place; None: the file as a whole."""
        mark = None if node is None else node.start_mark
        self.note(
            1 if mark is None else mark.line + 1, 1 if mark is None else mark.column + 1, message
        )

    def note(self, line: int, column: int, message: str) -> None:
        self.problems.append(Problem(self.file, line, column, message))

    def place(self, node: yaml.Node) -> str:
        """File's name and line."""
        return f"{PurePath(self.file).name}:{node.start_mark.line + 1}"

    def root(self, text: str) -> yaml.Node | None:
        """The document; None, with a problem kept, if it is none."""
        if len(text) > MOST_OCTETS:
            self.note(1, 1, f"{len(text):,} characters; at most {MOST_OCTETS:,} allowed")
            return None
        try:
            found = yaml.compose(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            self.note(line, column, f"no YAML: {error.problem or error.context}")
            return None
        except (yaml.YAMLError, RecursionError) as error:
            self.note(1, 1, f"no YAML: {type(error).__name__}: {error}".splitlines()[0])
            return None
        if found is None:
            self.note(1, 1, "empty; a procedure wanted")
        return found

    def entries(
        self, node: yaml.Node, what: str, allowed: tuple[str, ...] | None = None
    ) -> dict[str, Entry]:
        """A mapping's entries by key; keys that are not allowed are problems and left out."""
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, f"{what}: {self.shown(node)}; names with values wanted")
            return {}
        found: dict[str, Entry] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if not name:
                self.wrong(key, f"{what}: a key that is no name")
            elif allowed is not None and name not in allowed:
                self.wrong(key, f"{what}: no key {name!r}{nearest(name, allowed)}")
            elif name in found:
                self.wrong(key, f"{what}: {name} given twice")
            else:
                found[name] = Entry(key, value)
        return found

    def items(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        """A list's nodes."""
        if isinstance(node, yaml.SequenceNode):
            return node.value
        self.wrong(node, f"{what}: {self.shown(node)}; a list wanted")
        return []

    def value(self, node: yaml.Node) -> Any:
        """Plain data of a node."""
        if isinstance(node, yaml.SequenceNode):
            return [self.value(one) for one in node.value]
        if isinstance(node, yaml.MappingNode):
            found = self.entries(node, "value")
            return {name: self.value(entry.value) for name, entry in found.items()}
        tag, text = node.tag.removeprefix(_PREFIX), str(node.value)
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        try:
            if tag == "int":
                # Zeros in front are decimal in YAML 1.2.
                return int(text, 0) if text[:2].lower() in ("0x", "0o") else int(text)
            if tag == "float":
                return float(text)
        except ValueError as error:
            self.wrong(node, str(error))
            return None
        if tag != "str":
            self.wrong(node, f"tag {node.tag!r}; plain values wanted")
        return text

    def text(self, node: yaml.Node, what: str) -> str:
        """A scalar as it is written."""
        if isinstance(node, yaml.ScalarNode) and node.value:
            return node.value
        self.wrong(node, f"{what}: {self.shown(node)}; text wanted")
        return ""

    def shown(self, node: yaml.Node) -> str:
        if isinstance(node, yaml.ScalarNode):
            return repr(node.value)
        return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
