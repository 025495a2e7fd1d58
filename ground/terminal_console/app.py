"""The app: views, keys, and what they ask the console."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import Any, ClassVar

from rich.table import Table
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import DataTable, Footer, Input, Static, TabbedContent, TabPane

from ground.client import Ground, GroundError, NotSignedIn, Present
from ground.terminal_console import views
from ground.terminal_console.dialogs import Answers, Ask, NewCommand

#: Between two looks at the clock; requests are asked for again after so long, wall seconds.
TICK_S, REQUESTS_S = 0.5, 3.0
_VIEWS = ("telemetry", "alarms", "passes", "commands", "events")
_COLUMNS = {
    "telemetry": ("parameter", "value", "limits", "since"),
    "alarms": ("severity", "state", "name", "since"),
    "passes": ("place", "when", "AOS", "LOS", "uplink"),
    "commands": ("no.", "command", "state", "next"),
    "events": ("SCET", "severity", "event"),
}


class TerminalConsole(App[None]):
    """`ground`: signed in; it is not closed here."""

    TITLE = "L4 Relay Ground"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #clocks { height: 3; padding: 0 1; }
    #lost {
        height: auto;
        max-height: 3;
        background: $error;
        color: $text;
        text-style: bold;
        padding: 0 1;
        display: none;
    }
    #lost.shown { display: block; }
    Screen { overflow: hidden; }
    #views { height: 1fr; }
    TabPane { padding: 0; }
    DataTable { height: 1fr; overflow-x: hidden; }
    .old DataTable { opacity: 60%; }
    .detail { height: auto; max-height: 9; padding: 0 1; border-top: solid $accent; }
    #filter { height: 3; display: none; }
    #filter.shown { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(number + 1), f"view('{name}')", name.capitalize(), show=False)
            for number, name in enumerate(_VIEWS)
        ),
        Binding("slash", "filter", "Find"),
        Binding("o", "only_bad", "Out of limits"),
        Binding("a", "acknowledge", "Acknowledge"),
        Binding("h", "shelve", "Shelve"),
        Binding("u", "unshelve", "Unshelve"),
        Binding("n", "new", "New"),
        Binding("a", "step('arm')", "Arm"),
        Binding("p", "step('approve')", "Approve"),
        Binding("S", "step('send')", "Send"),
        Binding("d", "step('disarm')", "Disarm"),
        Binding("r", "step('repeat')", "Repeat"),
        Binding("x", "step('remove')", "Remove"),
        Binding("q", "quit", "Quit"),
    ]
    #: Keys that mean something in some views alone.
    _OF_VIEW: ClassVar[dict[str, tuple[str, ...]]] = {
        "filter": ("telemetry",),
        "only_bad": ("telemetry",),
        "acknowledge": ("alarms",),
        "shelve": ("alarms",),
        "unshelve": ("alarms",),
        "new": ("commands",),
        "step": ("commands",),
    }

    def __init__(self, ground: Ground) -> None:
        super().__init__()
        self._ground = ground
        self.present = Present()
        self.requests: list[Any] = []
        self._requests_s = 0.0
        self._asking = False
        self._wanted, self._only_bad = "", False
        self._dictionary: list[Any] = []

    def compose(self) -> ComposeResult:
        yield Static(id="clocks")
        yield Static(id="lost", markup=False)
        with TabbedContent(id="views"):
            for number, name in enumerate(_VIEWS):
                with TabPane(f"{number + 1} {name.capitalize()}", id=name):
                    if name == "telemetry":
                        yield Input(placeholder="part of a name; Enter", id="filter")
                    yield DataTable(id=f"{name}-table", cursor_type="row", zebra_stripes=True)
                    if name in ("alarms", "commands"):
                        with VerticalScroll(classes="detail", can_focus=False):
                            yield Static(id=f"{name}-detail")
        yield Footer()

    def on_mount(self) -> None:
        for name, columns in _COLUMNS.items():
            table = self._table(name)
            for column in columns:
                table.add_column(column, key=column)
        self.run_worker(self._follow(), exclusive=True, group="live")
        self.set_interval(TICK_S, self._tick)
        self.action_view("telemetry")

    # What comes in -------------------------------------------------------------------------------

    async def _follow(self) -> None:
        try:
            async with aclosing(self._ground.live()) as presents:
                async for present in presents:
                    self.present = present
                    if "commands" in present.changed:
                        self._requests_s = 0.0
                    self._show()
        except NotSignedIn as error:
            self.exit(message=f"l4: {error}", return_code=2)

    def _tick(self) -> None:
        due = time.monotonic() - self._requests_s >= REQUESTS_S
        if due and not self._asking and self.present.connected:
            self._requests_s = time.monotonic()
            self._asking = True
            self.run_worker(self._ask_requests(), group="requests")
        self._show()

    async def _ask_requests(self) -> None:
        try:
            self.requests = await asyncio.to_thread(self._ground.requests, 50)
        except GroundError as error:
            # Silence of the command service is news; loss of the console is said above anyway.
            if self.present.connected and self.view == "commands":
                self.notify(str(error), severity="warning", timeout=4)
        finally:
            self._asking = False
        self._show()

    # What is shown -------------------------------------------------------------------------------

    @property
    def view(self) -> str:
        return self.query_one(TabbedContent).active

    def _table(self, name: str) -> DataTable[Any]:
        return self.query_one(f"#{name}-table", DataTable)

    def _show(self) -> None:
        # A dialog is in front, or the app is going: there is nothing to write on.
        if len(self.screen_stack) != 1 or not self.query("#clocks"):
            return
        present, now = self.present, self.present.now_ms
        grid = Table.grid(expand=True, padding=(0, 1))
        for _ in range(4):
            grid.add_column(ratio=1, no_wrap=True)
        clocks = views.four_clocks(present, now)
        grid.add_row(*(title for title, _ in clocks), style="dim")
        grid.add_row(*(text for _, text in clocks))
        whole = Table.grid(expand=True)
        whole.add_row(grid)
        whole.add_row(views.situation(present, now))
        self.query_one("#clocks", Static).update(whole)
        lost = self.query_one("#lost", Static)
        lost.set_class(not present.connected, "shown")
        self.screen.set_class(not present.connected, "old")
        if not present.connected:
            lost.update(views.lost(present, time.monotonic() - present.heard_monotonic_s))
        self._fill(self.view, self._rows(now))
        self._show_detail(now)

    def _show_detail(self, now: float) -> None:
        """Of what the cursor is on."""
        chosen = self._selected(self.view)
        if self.view == "commands":
            request = next((one for one in self.requests if str(one["number"]) == chosen), None)
            self.query_one("#commands-detail", Static).update(views.detail(request, now))
        elif self.view == "alarms":
            alarm = next((one for one in self.present.alarms if one["name"] == chosen), None)
            self.query_one("#alarms-detail", Static).update(views.alarm_detail(alarm))

    def on_data_table_row_highlighted(self) -> None:
        if len(self.screen_stack) == 1:
            self._show_detail(self.present.now_ms)

    def _rows(self, now: float) -> Iterable[views.Row]:
        present = self.present
        match self.view:
            case "telemetry":
                return views.telemetry(present, now, self._wanted, only_bad=self._only_bad)
            case "alarms":
                return views.alarms(present, now)
            case "passes":
                return views.passes(present, now)
            case "commands":
                return views.requests(self.requests, now, connected=present.connected)
            case _:
                return views.events(present)

    def _fill(self, name: str, rows: Iterable[views.Row]) -> None:
        """Cells that have changed; where rows have come or gone, or one is wider than its column,
        all of them, and the cursor stays on what it was on."""
        table, wanted = self._table(name), dict(rows)
        # Widths are set here: those that the table finds by itself come after a line may have been
        # drawn, which then stays as it was.
        fits = True
        for number, column in enumerate(table.columns.values()):
            widest = max([column.label.cell_len, *(c[number].cell_len for c in wanted.values())])
            if column.auto_width or widest > column.width:
                column.auto_width, column.width, fits = False, widest, False
        if fits and [row.value for row in table.rows] == list(wanted):
            for key, cells in wanted.items():
                for column, cell in zip(_COLUMNS[name], cells, strict=True):
                    if table.get_cell(key, column) != cell:
                        table.update_cell(key, column, cell)
            return
        on, top = self._selected(name), table.scroll_y
        table.clear()
        for key, cells in wanted.items():
            table.add_row(*cells, key=key)
        if on in wanted:
            table.move_cursor(row=list(wanted).index(on), scroll=False)
            table.scroll_to(y=top, animate=False)

    def _selected(self, name: str) -> str:
        """Key of the row under the cursor; "": there is none."""
        table = self._table(name)
        if not table.row_count or not table.is_valid_row_index(table.cursor_row):
            return ""
        return str(list(table.rows)[table.cursor_row].value)

    # Keys ----------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action not in self._OF_VIEW or self.view in self._OF_VIEW[action]

    def action_view(self, name: str) -> None:
        self.query_one(TabbedContent).active = name
        self._table(name).focus()
        self._show()
        self.refresh_bindings()

    def on_tabbed_content_tab_activated(self) -> None:
        self.refresh_bindings()
        self._show()

    def action_filter(self) -> None:
        box = self.query_one("#filter", Input)
        box.add_class("shown")
        box.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id != "filter":
            return
        self._wanted = event.value.strip()
        event.input.set_class(bool(self._wanted), "shown")
        self._table("telemetry").focus()
        self._show()

    def action_only_bad(self) -> None:
        self._only_bad = not self._only_bad
        self.notify("only what is out of limits" if self._only_bad else "all", timeout=2)
        self._show()

    def action_acknowledge(self) -> None:
        if name := self._selected("alarms"):
            self._do(f"{name} acknowledged", lambda: self._ground.acknowledge_alarm(name))

    def action_unshelve(self) -> None:
        if name := self._selected("alarms"):
            self._do(f"{name} is back", lambda: self._ground.unshelve_alarm(name))

    def action_shelve(self) -> None:
        name = self._selected("alarms")
        if not name:
            return

        def shelve(answers: Answers | None) -> None:
            if answers is None:
                return
            if not answers["minutes"].isdigit():
                self.notify(f"{answers['minutes']!r}: minutes, 1..1440, wanted", severity="error")
                return
            minutes, reason = int(answers["minutes"]), answers["reason"]
            self._do(f"{name} shelved", lambda: self._ground.shelve_alarm(name, minutes, reason))

        fields = [("minutes", "minutes, at most a day", "60"), ("reason", "why", "")]
        self.push_screen(Ask(f"Shelve {name}", fields), shelve)

    async def action_new(self) -> None:
        if not self._dictionary:
            try:
                self._dictionary = await asyncio.to_thread(self._ground.commands)
            except GroundError as error:
                self.notify(str(error), severity="error")
                return

        def add(answers: Answers | None) -> None:
            if answers is None:
                return
            name, *texts = answers["line"].split()
            wrong = [text for text in texts if "=" not in text]
            if wrong:
                self.notify(f"{wrong[0]!r}: ARGUMENT=VALUE wanted", severity="error")
                return
            given = dict(text.split("=", 1) for text in texts)
            earliest = answers["earliest"]
            self._do(
                f"{name.upper()} is on the stack",
                lambda: self._ground.add_request(name.upper(), given, earliest=earliest),
            )

        self.push_screen(NewCommand(self._dictionary), add)

    def action_step(self, step: str) -> None:
        if number := self._selected("commands"):
            work = getattr(self._ground, f"{step}_request")
            self._do(f"{number}: {step}", lambda: work(int(number)))

    def _do(self, done: str, work: Callable[[], Any]) -> None:
        """In a thread; what it is refused for is told."""

        async def doing() -> None:
            try:
                await asyncio.to_thread(work)
            except GroundError as error:
                self.notify(str(error), severity="error", timeout=10)
            else:
                self.notify(done, timeout=3)
            self._requests_s = 0.0

        self.run_worker(doing(), group="doing")
