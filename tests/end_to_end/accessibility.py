"""What WCAG 2.2 AA asks of a page and a program can judge, in Chromium, on the page as it stands.

Contrast of text and placeholders (1.4.3) and of the edges of fields (1.4.11) from computed styles
with every background and opacity around them; names of controls from Chromium's own accessibility
tree (4.1.2); whatever looks clickable can be focused (2.1.1) and shows it (2.4.7); nothing to be
scrolled sideways (1.4.10); coloured states that say nothing in words (1.4.1).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page

#: Roles that somebody uses or is told of: each must have a name.
NAMED: Final = frozenset(
    (
        *("button", "link", "textbox", "searchbox", "combobox", "listbox", "checkbox", "radio"),
        *("spinbutton", "slider", "option", "image", "img", "progressbar", "dialog"),
    )
)

_SCRIPT: Final = Path(__file__).with_suffix(".js").read_text()


def problems(page: Page) -> list[str]:
    """What is seen to be wrong, a line each, with where it is."""
    return page.evaluate(f"{_SCRIPT}.look()")


def unnamed(page: Page) -> list[str]:
    """Controls and pictures that Chromium would tell a screen reader nothing of."""
    session = page.context.new_cdp_session(page)
    nodes: list[dict[str, Any]] = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    return [
        f"no name: {node['role']['value']} {node.get('backendDOMNodeId')}"
        for node in nodes
        if not node["ignored"]
        and node["role"]["value"] in NAMED
        and not node.get("name", {}).get("value", "").strip()
    ]


def tabbed(page: Page, most: int = 400) -> tuple[set[int], list[str]]:
    """Elements that Tab comes to, from the page's beginning until it leaves the page or is where it
    was; and what is wrong: a trap, a focus that cannot be seen."""
    page.evaluate("() => { window.tabbed = new Map(); document.activeElement?.blur(); }")
    reached: list[int] = []
    wrong: list[str] = []
    for _ in range(most):
        page.keyboard.press("Tab")
        at = page.evaluate(f"{_SCRIPT}.focus()")
        if at is None or at[0] in reached:
            if at is not None and at[0] != reached[0]:
                wrong.append(f"Tab is caught at {at[2]}")
            break
        reached.append(at[0])
        if not at[1]:
            wrong.append(f"focus is not seen: {at[2]}")
    return set(reached), wrong
