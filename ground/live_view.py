"""The live terminal view: what an operator must see at a glance, from bus messages alone.

`LiveModel` keeps the newest of everything; `render` draws it.  Neither reads a clock or a socket,
so that tests draw any situation.  Times shown are UTC; staleness is judged by ERT: a value that
has not been renewed for three of its packet's periods is dim and says so.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ground.ports import LinkState, Message
from protocols.bus.messages import (
    Event,
    EventMessage,
    LinkMessage,
    ParametersMessage,
    Severity,
    StatusMessage,
    parse,
)
from protocols.identifiers import Topic
from protocols.telemetry.limits import LimitState
from protocols.timecodes.tai import utc_iso_from_tai_ns

S = 1_000_000_000

#: A value older than this many of its packet's own periods is stale.
STALE_PERIODS = 3.0
#: A service that has not said how it is for this long (wall seconds) is silent.
SILENT_S = 5.0

_LIMIT_STYLE = {
    LimitState.NOMINAL: "green",
    LimitState.WARNING_LOW: "bold yellow",
    LimitState.WARNING_HIGH: "bold yellow",
    LimitState.CRITICAL_LOW: "bold white on red",
    LimitState.CRITICAL_HIGH: "bold white on red",
}
_LINK_STYLE = {"OK": "bold green", "UNAVAILABLE": "bold yellow", "FAILED": "bold white on red"}
_SEVERITY_STYLE = {
    Severity.INFO: "",
    Severity.WARNING: "yellow",
    Severity.CRITICAL: "bold white on red",
}


@dataclass(slots=True)
class Shown:
    """The newest live value of one parameter."""

    name: str
    unit: str
    value: object
    limit: LimitState | None
    scet_ns: int
    ert_ns: int


@dataclass(slots=True)
class Block:
    """One packet definition: its parameters and its rhythm."""

    period_ns: float = 0.0
    ert_ns: int = 0
    scet_ns: int = 0
    packets: int = 0
    parameters: dict[str, Shown] = field(default_factory=dict)

    def stale(self, now_ns: int) -> bool:
        return self.period_ns > 0 and now_ns - self.ert_ns > STALE_PERIODS * self.period_ns


@dataclass
class LiveModel:
    """The newest of everything that the bus has said."""

    speed: float = 1.0
    blocks: dict[str, Block] = field(default_factory=dict)
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=200))
    link: LinkMessage | None = None
    services: dict[str, StatusMessage] = field(default_factory=dict)
    values: int = 0
    playback_rows: int = 0

    def take(self, message: Message) -> None:
        if message.topic == Topic.PARAMETERS:
            self._take_parameters(parse(ParametersMessage, message.body))
        elif message.topic == Topic.EVENTS:
            self.events.extend(parse(EventMessage, message.body).events)
        elif message.topic == Topic.LINK:
            self.link = parse(LinkMessage, message.body)
        elif message.topic.startswith(Topic.STATUS):
            status = parse(StatusMessage, message.body)
            self.services[status.service] = status

    def _take_parameters(self, message: ParametersMessage) -> None:
        for table in message.tables:
            live = np.flatnonzero(~table.playback)
            self.playback_rows += len(table) - len(live)
            if not len(live):
                continue
            block = self.blocks.setdefault(table.definition, Block())
            last = int(live[np.argmax(table.scet_ns[live])])
            scet_ns = int(table.scet_ns[last])
            if scet_ns < block.scet_ns:
                continue  # late data belongs to the archive: the newest by SCET stays on show
            steps = np.diff(np.sort(table.scet_ns[live]))
            if block.scet_ns and not len(steps):
                steps = np.array([scet_ns - block.scet_ns])
            if len(steps) and np.median(steps) > 0:
                block.period_ns = float(np.median(steps))
            block.ert_ns, block.scet_ns = int(table.ert_ns[last]), scet_ns
            block.packets += len(live)
            for column in table.columns:
                self.values += len(live)
                block.parameters[column.name] = Shown(
                    name=column.name,
                    unit=column.unit,
                    value=column.engineering[last],
                    limit=LimitState(int(column.limit_state[last]))
                    if len(column.limit_state)
                    else None,
                    scet_ns=scet_ns,
                    ert_ns=block.ert_ns,
                )


def render(
    model: LiveModel, *, now_ns: int, height: int, width: int, restarts: dict[str, int]
) -> Layout:
    """The whole screen.  `restarts`: service → times the supervisor had to start it again."""
    layout = Layout()
    events = max(4, min(8, height // 5))
    layout.split_column(
        Layout(_clocks(model, now_ns, width), name="clocks", size=4),
        Layout(name="middle"),
        Layout(_events(model, events - 2), name="events", size=events),
    )
    rows = height - 4 - events - 2
    layout["middle"].split_row(
        Layout(_parameters(model, now_ns, rows, width - 44), name="parameters"),
        Layout(name="side", size=44),
    )
    services = len(model.services) + 3
    layout["side"].split_column(
        Layout(_link(model, now_ns), name="link"),
        Layout(_services(model, now_ns, restarts), name="services", size=services),
    )
    return layout


def _clocks(model: LiveModel, now_ns: int, width: int) -> Panel:
    owlt_s = model.link.owlt_s if model.link is not None and model.link.owlt_s >= 0 else None
    table = Table.grid(expand=True, padding=(0, 1))
    for _ in range(4):
        table.add_column(justify="left", ratio=1)
    if owlt_s is None:
        seen = arrives = reply = "light time unknown"
    else:
        owlt_ns = round(owlt_s * S)
        seen = _time(now_ns - owlt_ns)
        arrives = _time(now_ns + owlt_ns)
        reply = _time(now_ns + 2 * owlt_ns)
    table.add_row(
        "Ground UTC", "Spacecraft time now visible", "Sent now, arrives", "Earliest reply"
    )
    table.add_row(
        *(Text(text, style="bold cyan") for text in (_time(now_ns), seen, arrives, reply))
    )
    light = "" if owlt_s is None else f" · one-way light time {_duration(owlt_s)}"
    speed = "" if model.speed == 1 else f" · world ×{model.speed:g}"
    return Panel(table, title=f"L4 Relay Ground{light}{speed}", title_align="left")


def _parameters(model: LiveModel, now_ns: int, rows: int, width: int) -> Panel:
    """As many parameters as fit, those out of limits first, each group under its packet's name."""
    if not model.blocks:
        text = Text("waiting for the first telemetry …", style="dim")
        return Panel(text, title="Telemetry", title_align="left")
    lines: list[Text] = []
    out = [
        shown
        for block in model.blocks.values()
        for shown in block.parameters.values()
        if shown.limit not in (None, LimitState.NOMINAL)
    ]
    column_width = 46
    columns = max(1, (width - 2) // column_width)
    if out:
        lines.append(Text(f"OUT OF LIMITS ({len(out)})", style="bold"))
        lines += [_parameter_line(shown, stale=False, width=column_width - 2) for shown in out]
    for name in sorted(model.blocks):
        block = model.blocks[name]
        age_s = max(0.0, (now_ns - block.ert_ns) / S)
        stale = block.stale(now_ns)
        age = f"received {_duration(age_s)} ago"
        lines.append(
            Text.assemble(
                (name, "bold"), "  ", (f"STALE, {age}", "bold magenta") if stale else (age, "dim")
            )
        )
        lines += [
            _parameter_line(shown, stale, column_width - 2) for shown in block.parameters.values()
        ]
    room = columns * max(1, rows)
    hidden = max(0, len(lines) - room)
    grid = Table.grid(padding=(0, 2))
    shown_lines = lines[:room]
    for _ in range(columns):
        grid.add_column(width=column_width - 2, no_wrap=True, overflow="ellipsis")
    for row in range(rows):
        cells = [
            shown_lines[row + c * rows] if row + c * rows < len(shown_lines) else ""
            for c in range(columns)
        ]
        grid.add_row(*cells)
    title = f"Telemetry · {model.values:,} values"
    if model.playback_rows:
        title += f" · {model.playback_rows:,} stored packets played back"
    subtitle = f"{hidden} more lines: a larger window shows them" if hidden else None
    return Panel(grid, title=title, title_align="left", subtitle=subtitle, subtitle_align="left")


def _parameter_line(shown: Shown, stale: bool, width: int) -> Text:
    value = _value(shown.value)
    text = f"{value} {shown.unit}".rstrip()
    name = shown.name if len(shown.name) <= 22 else shown.name[:21] + "…"
    style = "dim" if stale or shown.limit is None else _LIMIT_STYLE.get(shown.limit, "")
    line = Text(f"  {name:<22} ")
    line.append(f"{text:>14}", style=style)
    if shown.limit not in (None, LimitState.NOMINAL):
        line.append(
            f" {shown.limit.name.split('_')[0][:4]} {shown.limit.name.split('_')[-1][:4]}",
            style=style,
        )
    line.truncate(width)
    return line


def _link(model: LiveModel, now_ns: int) -> Panel:
    link = model.link
    if link is None:
        return Panel(
            Text("no word from receive yet", style="dim"), title="Link", title_align="left"
        )
    head = Table.grid(padding=(0, 1))
    head.add_row(
        "state",
        Text(link.state, style=_LINK_STYLE.get(link.state, "")),
        Text(link.detail, style="dim"),
    )
    head.add_row(
        "carrier",
        Text("locked", style="green") if link.carrier else Text("none", style="bold yellow"),
    )
    if link.last_ert_ns:
        head.add_row("last octet", f"{_duration(max(0.0, (now_ns - link.last_ert_ns) / S))} ago")
    for stage, counts in link.counts.items():
        text = Text(" ").join(
            Text(f"{name} {value:,}", style="bold yellow" if value and _is_loss(name) else "")
            for name, value in counts.items()
            if value or not _is_loss(name)
        )
        head.add_row(stage, text)
    channels = Table(box=None, padding=(0, 1), header_style="dim")
    for title in ("VC", "frames", "packets", "gaps"):
        channels.add_column(title, justify="right")
    for name, counts in sorted(link.virtual_channels.items(), key=lambda item: int(item[0])):
        gaps = counts.get("discontinuities", 0)
        channels.add_row(
            name,
            f"{counts.get('frames', 0):,}",
            f"{counts.get('packets', 0):,}",
            Text(f"{gaps:,}", style="bold yellow" if gaps else ""),
        )
    style = "" if link.state == LinkState.OK else "yellow"
    return Panel(
        Group(head, channels), title=f"Link {link.link}", title_align="left", border_style=style
    )


def _is_loss(name: str) -> bool:
    return any(
        word in name
        for word in ("fail", "drop", "lost", "foreign", "uncorrect", "skipped", "inverted")
    )


def _services(model: LiveModel, now_ns: int, restarts: dict[str, int]) -> Panel:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for title in ("service", "state", "lag", "MiB", "restarts"):
        table.add_column(title, justify="left" if title in ("service", "state") else "right")
    for name, status in sorted(model.services.items()):
        silent = (now_ns - status.time_ns) / S / model.speed > SILENT_S
        style = "bold white on red" if silent or status.state == "failed" else ""
        lag = sum(position.lag for position in status.positions)
        table.add_row(
            name,
            Text("silent" if silent else status.state, style=style),
            f"{lag:,}",
            f"{status.rss_octets / 2**20:.0f}",
            str(restarts.get(name, 0)),
        )
    return Panel(table, title="Services", title_align="left")


def _events(model: LiveModel, rows: int) -> Panel:
    lines: list[RenderableType] = []
    for event in list(model.events)[-rows:]:
        stored = " [stored]" if event.playback else ""
        lines.append(
            Text(
                f"{_time(event.scet_ns)} SCET{stored}  {event.severity.upper():<8} "
                f"{event.name}: {event.text}",
                style=_SEVERITY_STYLE.get(Severity(event.severity), ""),
                no_wrap=True,
                overflow="ellipsis",
            )
        )
    if not lines:
        lines = [Text("none yet", style="dim")]
    return Panel(Group(*lines), title=f"Events · {len(model.events)}", title_align="left")


def _time(ns: int) -> str:
    return utc_iso_from_tai_ns(ns, decimals=0).replace("T", " ")


def _duration(seconds: float) -> str:
    """At most two units: 499 s → '8 min 19 s'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, below, lower in (
        ("d", 86400, 3600, "h"),
        ("h", 3600, 60, "min"),
        ("min", 60, 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // below} {lower}"
    return f"{whole} s"


def _value(value: object) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        if value == 0 or 0.001 <= abs(value) < 1e6:
            return f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
        return f"{value:.3e}"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    return str(value)
