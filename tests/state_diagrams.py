"""State diagrams and tables of the documents, drawn from the tables that the code runs on.

python -m tests.state_diagrams      writes docs/cop-1.md anew between its markers
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Any

from protocols.frames.farm import FARM_TABLE
from protocols.frames.fop_table import FOP_TABLE

DOCUMENT = Path(__file__).parents[1] / "docs" / "cop-1.md"
TABLES: dict[str, dict[Any, dict[Any, tuple[tuple[Enum, ...], Any]]]] = {
    "FARM_TABLE": FARM_TABLE,
    "FOP_TABLE": FOP_TABLE,
}


def _label(state: Any) -> str:
    return f"S{state.value}" if isinstance(state.value, int) else str(state.value)


def diagram(name: str) -> str:
    """Mermaid: one arrow from state to state, with the events that take it; loops left out."""
    found = TABLES[name]
    lines = [f"<!-- {name} -->", "```mermaid", "stateDiagram-v2"]
    lines += [f"    {_label(s)}: {_label(s)} {s.name.replace('_', ' ').lower()}" for s in found]
    for state, row in found.items():
        arrows: dict[Any, list[str]] = {}
        for event, (_, following) in row.items():
            if following is not state:
                arrows.setdefault(following, []).append(str(event.value))
        lines += [f"    {_label(state)} --> {_label(s)}: {', '.join(e)}" for s, e in arrows.items()]
    return "\n".join([*lines, "```"])


def table(name: str) -> str:
    """Markdown: events down, states across; in each cell the actions and the next state."""
    found = TABLES[name]
    events = list(dict.fromkeys(event for row in found.values() for event in row))
    order = {event: i for i, event in enumerate(type(events[0]))}
    head = "| event | " + " | ".join(_label(state) for state in found) + " |"
    lines = [f"<!-- {name} -->", head, "| --- " * (len(found) + 1) + "|"]
    for event in sorted(events, key=order.__getitem__):
        cells = []
        for row in found.values():
            if event not in row:
                cells.append("not applicable")
                continue
            actions, following = row[event]
            done = "; ".join(str(action.value) for action in actions) or "ignore"
            cells.append(f"{done} ({_label(following)})")
        title = f"{event.value} {event.name.replace('_', ' ').lower()}"
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    text = DOCUMENT.read_text()
    parts = iter([diagram("FARM_TABLE"), diagram("FOP_TABLE"), table("FOP_TABLE")])
    pattern = r"<!-- \w+ -->\n(```mermaid\n.*?\n```|(\|[^\n]*\n?)+|)"
    text = re.sub(pattern, lambda _: next(parts) + "\n", text, flags=re.S)
    DOCUMENT.write_text(re.sub(r"\n{3,}", "\n\n", text))


if __name__ == "__main__":
    main()
