"""What is asked before something is done.  Escape leaves it undone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widgets import Input, Label, Static

Answers = dict[str, str]


class Ask(ModalScreen[Answers | None]):
    """Some texts, by name; Enter in the last gives them."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss(None)", "Leave it")]
    DEFAULT_CSS = """
    Ask { align: center middle; }
    Ask Vertical {
        width: 76;
        max-width: 100%;
        height: auto;
        border: round $accent;
        padding: 0 1;
        background: $surface;
    }
    Ask Input { height: 3; }
    """

    def __init__(self, title: str, fields: Sequence[tuple[str, str, str]]) -> None:
        """fields: name, what it is, value to begin with."""
        super().__init__()
        self._title = title
        self._fields = fields

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Label(self._title)
            for name, about, value in self._fields:
                yield Input(value, placeholder=about, id=name)
            yield Static("Enter: go on · Escape: leave it", classes="dim")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        inputs = list(self.query(Input))
        position = inputs.index(event.input)
        if position + 1 < len(inputs):
            inputs[position + 1].focus()
            return
        self.dismiss({str(one.id): one.value.strip() for one in inputs})


class NewCommand(ModalScreen[Answers | None]):
    """A command as one line, `ARRAY_TURN ANGLE=5`, with what the dictionary says of it below."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss(None)", "Leave it")]
    DEFAULT_CSS = """
    NewCommand { align: center middle; }
    NewCommand Vertical {
        width: 78;
        max-width: 100%;
        height: auto;
        max-height: 100%;
        border: round $accent;
        padding: 0 1;
        background: $surface;
    }
    NewCommand #about { height: 9; }
    """

    def __init__(self, dictionary: Sequence[Any]) -> None:
        super().__init__()
        self._commands = {one["name"]: one for one in dictionary}

    def compose(self) -> ComposeResult:
        names = SuggestFromList(sorted(self._commands), case_sensitive=False)
        with Vertical():
            yield Label("A command for the stack: NAME ARGUMENT=VALUE …")
            yield Input(placeholder="TEST_CONNECTION (→ completes)", suggester=names, id="line")
            yield Input(placeholder="not before: UTC or +10min; empty: at once", id="earliest")
            yield Static("", id="about", markup=False)
            yield Static("Enter: on the stack, nothing leaves · Escape: leave it", classes="dim")

    def on_input_changed(self, event: Input.Changed) -> None:
        name = self.query_one("#line", Input).value.split(" ", 1)[0].upper()
        self.query_one("#about", Static).update(self._about(name))

    def _about(self, name: str) -> str:
        one = self._commands.get(name)
        if one is None:
            near = [known for known in self._commands if name and name in known]
            return "\n".join(near[:9])
        lines = [one["description"]]
        if one["hazard"]:
            lines.append(f"HAZARD {one['hazard']}; a second person approves")
        for given in one["arguments"]:
            default = "" if given["default"] is None else f", else {given['default']}"
            lines.append(f"{given['name']}: {given['description']}, {given['allowed']}{default}")
        return "\n".join(lines[:9])

    def on_input_submitted(self, event: Input.Submitted) -> None:
        line = self.query_one("#line", Input)
        if event.input is line:
            self.query_one("#earliest", Input).focus()
        elif line.value.strip():
            earliest = self.query_one("#earliest", Input).value.strip()
            self.dismiss({"line": line.value.strip(), "earliest": earliest})
