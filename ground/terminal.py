"""What commands print for people: once, or again and again until it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Between two looks, wall seconds.
LOOK_S = 0.5


def display(found: Any) -> None:
    """A table, a text, whatever Rich draws."""
    from rich.console import Console

    Console().print(found)


def follow_until_ended(look: Callable[[], tuple[RenderableType, bool]]) -> bool:
    """Draw what `look` gives until it says that this was the last; whether it was: False is Ctrl-C.

    Where nobody watches, the last view alone is printed.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console()
    try:
        with Live(console=console, auto_refresh=False) as screen:
            while True:
                view, ended = look()
                screen.update(view, refresh=console.is_terminal)
                if ended:
                    break
                time.sleep(LOOK_S)
    except KeyboardInterrupt:
        return False
    if not console.is_terminal:
        # Live leaves its last line open there.
        console.line()
    return True
