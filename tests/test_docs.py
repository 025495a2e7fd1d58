"""The documents are complete and true: links resolve, commands and make targets are described."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from ground.cli import app
from tests.state_diagrams import parts

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_resolve(document: Path) -> None:
    text = document.read_text()
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    missing = [
        link for link in links if "://" not in link and not (document.parent / link).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_paths_named_in_documents_exist(document: Path) -> None:
    if document.parent.name == "howto":
        return  # a how-to names the files that its reader will write
    named = re.findall(
        r"`((?:protocols|ground|spacecraft_sim|tests|docs)/[\w/.-]+\.\w+)`", document.read_text()
    )
    assert [path for path in named if not (ROOT / path).exists()] == []


def commands(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group) or hasattr(command, "commands"):
        for name, below in command.commands.items():
            yield from commands(below, (*words, name))
    else:
        yield words


COMMANDS = sorted(" ".join(words) for words in commands(typer.main.get_command(app), ("l4",)))


def test_the_command_tree_was_found() -> None:
    assert "l4 run" in COMMANDS
    assert "l4 archive query" in COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_operators_guide(command: str) -> None:
    assert f"`{command}" in (ROOT / "docs/howto/operate.md").read_text()


def test_every_make_target_says_what_it_does() -> None:
    targets = re.findall(r"^([a-z0-9-]+):(?!=)", (ROOT / "Makefile").read_text(), re.M)
    assert {"run", "test"} <= set(targets)
    described = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert [t for t in targets if f"make {t} " not in described.stdout] == []


def test_every_decision_has_context_choice_and_what_was_rejected() -> None:
    for record in sorted((ROOT / "docs/decisions").glob("*.md")):
        text = record.read_text()
        for part in ("**Choice", "**Rejected"):
            assert part in text or "rejected" in text, f"{record.name} lacks {part}"


def test_state_diagrams_are_drawn_from_the_tables() -> None:
    """`python -m tests.state_diagrams` writes them anew."""
    for document, drawn in parts().items():
        text = document.read_text()
        names = [part.split()[1] for part in drawn]
        assert re.findall(r"<!-- (\w+) -->", text) == names
        assert [part for part in drawn if part not in text] == []
