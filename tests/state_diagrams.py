"""State diagrams and tables of the documents, drawn from the tables that the code runs on.

python -m tests.state_diagrams      writes them anew between their markers
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ground.adapters.radio.adapter import STATES as ADAPTER_STATES
from ground.command.procedures.run_states import RUN_TABLE
from protocols.frames.farm import FARM_TABLE
from protocols.frames.fop_table import FOP_TABLE

DOCS = Path(__file__).parents[1] / "docs"
#: {state: {event: next}}, or {state: {event: (actions, next)}}.
TABLES: dict[str, Mapping[Any, Mapping[Any, Any]]] = {
    "ADAPTER_STATES": ADAPTER_STATES,
    "FARM_TABLE": FARM_TABLE,
    "FOP_TABLE": FOP_TABLE,
    "RUN_TABLE": RUN_TABLE,
}


def _label(state: Any) -> str:
    return f"S{state.value}" if isinstance(state.value, int) else str(state.value)


def diagram(name: str) -> str:
    """Mermaid: one arrow from state to state, with the events that take it; loops left out."""
    found = TABLES[name]
    lines = [f"<!-- {name} -->", "```mermaid", "stateDiagram-v2"]
    lines += [
        f"    {_label(s)}: {_label(s)} {s.name.replace('_', ' ').lower()}"
        for s in found
        if _label(s).lower() != s.name.lower()
    ]
    for state, row in found.items():
        arrows: dict[Any, list[str]] = {}
        for event, move in row.items():
            following = move[-1] if isinstance(move, tuple) else move
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


def parts() -> dict[Path, list[str]]:
    """What each document has between its markers, in order."""
    return {
        DOCS / "cop-1.md": [diagram("FARM_TABLE"), diagram("FOP_TABLE"), table("FOP_TABLE")],
        DOCS / "howto/add-an-adapter.md": [diagram("ADAPTER_STATES")],
        DOCS / "howto/write-a-procedure.md": [diagram("RUN_TABLE")],
    }


def main() -> None:
    pattern = r"<!-- \w+ -->\n(```mermaid\n.*?\n```|(\|[^\n]*\n?)+|)"
    for document, drawn in parts().items():
        left = iter(drawn)
        text = re.sub(
            pattern, lambda _, left=left: next(left) + "\n", document.read_text(), flags=re.S
        )
        document.write_text(re.sub(r"\n{3,}", "\n\n", text))


if __name__ == "__main__":
    main()
