"""All procedures of some files and directories, by name; a broken one does not stop the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from ground.command.procedures.definitions import Definitions, nearest
from ground.command.procedures.procedure import Procedure
from ground.command.procedures.python_procedures import read_python
from ground.command.procedures.yaml_nodes import Problem, ProcedureInvalid
from ground.command.procedures.yaml_procedures import read_yaml
from ground.command.procedures.yaml_steps import Call
from protocols.errors import LocalError

SUFFIXES: Final = (".yaml", ".yml", ".py")


def shipped(mission: str = "l4_relay") -> Path:
    """Directory of a mission's procedures that come with the package."""
    return Path(__file__).parents[2] / "missions" / "procedures" / mission


class Library(Mapping[str, Procedure]):
    """problems: of every file, each with its place; files: what each procedure was read from."""

    def __init__(self, definitions: Definitions, paths: Iterable[Path]) -> None:
        self.definitions = definitions
        self.problems: list[Problem] = []
        self.files: dict[str, Path] = {}
        self._found: dict[str, Procedure] = {}
        calls: list[tuple[str, Call]] = []
        for path in _files(paths):
            try:
                procedure, made = self._read(path)
            except ProcedureInvalid as error:
                self.problems += error.problems
                continue
            if procedure.name in self._found:
                other = self.files[procedure.name]
                if other.resolve() != path.resolve():
                    text = f"procedure {procedure.name} is in {other} too"
                    self.problems.append(Problem(str(path), 1, 1, text))
                continue
            self._found[procedure.name] = procedure
            self.files[procedure.name] = path
            calls += [(str(path), call) for call in made]
        for file, call in calls:
            self._check(file, call)

    def __getitem__(self, name: str) -> Procedure:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def procedure(self, name: str) -> Procedure:
        """LocalError, with the nearest names, for a name that is none."""
        if name not in self._found:
            raise LocalError(f"no procedure {name!r}{nearest(name, self._found)}")
        return self._found[name]

    def _read(self, path: Path) -> tuple[Procedure, list[Call]]:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ProcedureInvalid([Problem(str(path), 1, 1, f"not UTF-8: {error}")]) from error
        if path.suffix == ".py":
            return read_python(text, file=str(path)), []
        return read_yaml(text, self.definitions, file=str(path))

    def _check(self, file: str, call: Call) -> None:
        """What a caller may have wrong: the name, and which arguments it gives."""

        def wrong(message: str) -> None:
            mark = call.node.start_mark
            self.problems.append(Problem(file, mark.line + 1, mark.column + 1, message))

        called = self._found.get(call.name)
        if called is None:
            wrong(f"no procedure {call.name!r}{nearest(call.name, self._found)}")
            return
        known = {argument.name: argument for argument in called.arguments}
        for name in call.given:
            if name not in known:
                wrong(f"procedure {call.name} has no argument {name!r}{nearest(name, known)}")
        for name, argument in known.items():
            if name not in call.given and argument.default is None:
                wrong(f"procedure {call.name}: argument {name} wanted ({argument.allowed})")


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as they are, of directories those that are procedures, each once."""
    seen: set[Path] = set()
    for path in paths:
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        for one in inside:
            procedure = one.suffix in SUFFIXES and not one.name.startswith(("_", "."))
            if (procedure or one == path) and one.resolve() not in seen:
                seen.add(one.resolve())
                yield one
