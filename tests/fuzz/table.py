"""The table of docs/fuzzing.md, made of the targets."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final

from tests.fuzz.targets import AREAS

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "fuzzing.md"
BEGIN, END = "<!-- targets -->\n", "<!-- end of targets -->\n"


def table() -> str:
    lines: list[str] = []
    for area in AREAS:
        module = import_module(f"tests.fuzz.targets.{area}")
        lines += [f"\n**{(module.__doc__ or '').strip().rstrip('.')}**\n"]
        lines += ["| target | what it gives the octets to | refused by | octets, s |"]
        lines += ["| --- | --- | --- | --- |"]
        for one in module.TARGETS:
            parser = ", ".join(f"`{name}`" for name in one.parser.split(", "))
            refuses = ", ".join(sorted(kind.__name__ for kind in one.refuses)) or "nothing"
            bounds = f"{one.longest:,}, {one.seconds:g}"
            lines.append(f"| `{one.name}` | {parser} | {refuses} | {bounds} |")
    return "\n".join(lines) + "\n\n"


def with_table(text: str) -> str:
    """The document with what stands between the marks made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after
