"""The live terminal view: what an operator must see at a glance, from bus messages alone.

`LiveModel` keeps the newest of everything; `render` draws it.  Neither reads a clock or a socket,
so that tests draw any situation.  Times shown are UTC; staleness is judged by ERT, with the
monitor's own rule (`ground/monitor/staleness.py`): what is stale is dim and says so.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ground.config import MONITOR, RECEIVE
from ground.monitor.l4_events import EVENT_PACKET, ON_BOARD
from ground.monitor.staleness import Staleness
from ground.ports import Bus, LinkState, Message
from protocols.bus.messages import (
    BundlesMessage,
    DeliveredBundle,
    Event,
    EventMessage,
    LinkMessage,
    ParametersMessage,
    PassesMessage,
    Severity,
    StatusMessage,
    parse,
)
from protocols.identifiers import Topic, VirtualChannel
from protocols.telemetry.limits import LimitState
from protocols.telemetry.limits import Severity as LimitSeverity
from protocols.telemetry.limits import severity as limit_severity
from protocols.timecodes.tai import utc_iso_from_tai_ns

S = 1_000_000_000

#: The packet's time: shown for the whole packet, not as one of its values.
SCET = "SCET"

#: Wall seconds by which the screen may be behind the antenna without anything being wrong.
GRACE_S = 3.0
#: A service that has not said how it is for this long (wall seconds) is silent.
SILENT_S = 5.0

_LIMIT_STYLE = {
    LimitSeverity.NOMINAL: "green",
    LimitSeverity.WARNING: "bold yellow",
    LimitSeverity.CRITICAL: "bold white on red",
}
#: Columns of a parameter line: name, then value with unit.
NAME_WIDTH, VALUE_WIDTH = 27, 19
SIDE_WIDTH = 44
NO_UPLINK = "no uplink now"
#: Seconds after which a carrier that brings nothing is quiet.
_QUIET_S = 10.0
_NO_PASS_STYLE = "bold black on yellow"
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
    #: SCET of the first sample in the present limit state.
    since_ns: int


@dataclass(slots=True)
class Block:
    """One packet definition and its newest live values."""

    ert_ns: int = 0
    scet_ns: int = 0
    packets: int = 0
    parameters: dict[str, Shown] = field(default_factory=dict)


@dataclass
class LiveModel:
    """The newest of everything that the bus has said."""

    speed: float = 1.0
    blocks: dict[str, Block] = field(default_factory=dict)
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=200))
    link: LinkMessage | None = None
    #: Of several antennas, by name, what each one's receiver said last.
    antennas: dict[str, LinkMessage] = field(default_factory=dict)
    passes: PassesMessage | None = None
    services: dict[str, StatusMessage] = field(default_factory=dict)
    staleness: Staleness = field(default_factory=Staleness)
    values: int = 0
    events_seen: int = 0
    playback_rows: int = 0
    #: Bundles at their destination since the journal began, and the newest ones.
    bundles_seen: int = 0
    bundles: deque[DeliveredBundle] = field(default_factory=lambda: deque(maxlen=200))

    def take(self, message: Message) -> None:
        if message.topic == Topic.PARAMETERS:
            self._take_parameters(parse(ParametersMessage, message.body))
        elif message.topic == Topic.EVENTS:
            events = parse(EventMessage, message.body).events
            self.events.extend(events)
            self.events_seen += len(events)
        elif message.topic == Topic.LINK:
            self.link = parse(LinkMessage, message.body)
        elif message.topic.startswith(f"{Topic.LINK}."):
            link = parse(LinkMessage, message.body)
            self.antennas[link.link] = link
        elif message.topic == Topic.BUNDLES:
            bundles = parse(BundlesMessage, message.body)
            self.bundles.extend(bundles.bundles)
            self.bundles_seen = bundles.first_bundle + len(bundles.bundles)
        elif message.topic == Topic.PASSES:
            self.passes = parse(PassesMessage, message.body)
        elif message.topic.startswith(Topic.STATUS):
            status = parse(StatusMessage, message.body)
            self.services[status.service] = status

    def silent(self, time_ns: int, now_ns: int) -> bool:
        """Whether somebody who should speak every second last did so too long ago to believe."""
        return (now_ns - time_ns) / S / self.speed > SILENT_S

    def _take_parameters(self, message: ParametersMessage) -> None:
        for table in message.tables:
            if table.definition in EVENT_PACKET.definitions:
                continue  # the monitor tells what is in them as events
            live = np.flatnonzero(~table.playback)
            self.playback_rows += len(table) - len(live)
            if not len(live):
                continue
            block = self.blocks.setdefault(table.definition, Block())
            last = int(live[np.argmax(table.scet_ns[live])])
            scet_ns = int(table.scet_ns[last])
            if scet_ns < block.scet_ns:
                continue  # late data belongs to the archive: the newest by SCET stays on show
            if table.definition not in ON_BOARD.irregular:
                self.staleness.seen(table.definition, table.scet_ns[live], table.ert_ns[live])
            block.ert_ns, block.scet_ns = int(table.ert_ns[last]), scet_ns
            block.packets += len(live)
            for column in table.columns:
                if column.name == SCET:
                    continue
                self.values += len(live)
                limit, since_ns = None, scet_ns
                if len(column.limit_state):
                    limit = LimitState(int(column.limit_state[last]))
                    since_ns = _since(column.limit_state[live], table.scet_ns[live])
                    before = block.parameters.get(column.name)
                    if before is not None and before.limit == limit and since_ns is None:
                        since_ns = before.since_ns
                block.parameters[column.name] = Shown(
                    name=column.name,
                    unit=column.unit,
                    value=column.engineering[last],
                    limit=limit,
                    scet_ns=scet_ns,
                    ert_ns=block.ert_ns,
                    since_ns=int(table.scet_ns[live][0]) if since_ns is None else since_ns,
                )


def _since(states: npt.NDArray[np.uint8], scet_ns: npt.NDArray[np.int64]) -> int | None:
    """SCET at which the last state began within these rows; None if it was so from the first."""
    changes = np.flatnonzero(states != states[-1])
    return int(scet_ns[changes[-1] + 1]) if len(changes) else None


def pass_lines(passes: PassesMessage, now_ns: int) -> list[Text]:
    """What is on, how long yet, and what comes then; with no pass that stands first, in words."""
    on, following = passes.receiving(now_ns), passes.next_after(now_ns)
    lines: list[Text] = []
    if on is None:
        lines.append(Text("NO PASS", style=_NO_PASS_STYLE))
    else:
        lines.append(Text(on.place, style="bold green"))
        if not on.transmits(now_ns):
            lines[0].append(f" · {NO_UPLINK}", style="dim")
        left = _duration((on.los_ns - now_ns) / S)
        lines.append(Text(f"LOS {_time(on.los_ns)[11:16]}, in {left}"))
    if following is not None:
        begins = _duration((following.aos_ns - now_ns) / S)
        style = "dim" if on is not None else ""
        lines.append(Text(f"next {following.place}", style=style))
        lines.append(Text(f"AOS {_time(following.aos_ns)[11:16]}, in {begins}", style=style))
    elif on is None:
        lines.append(Text("none is planned", style="dim"))
    return lines


def antenna_lines(model: LiveModel, now_ns: int) -> list[Text]:
    """Of several antennas: how each is, whose link is shown, and who transmits."""
    merging = model.services.get(RECEIVE)
    transmits = {} if merging is None else merging.counters
    lines: list[Text] = []
    for name, link in sorted(model.antennas.items()):
        if model.silent(link.time_ns, now_ns):
            lines.append(Text(f"{name} SILENT", style="bold white on red"))
            continue
        line = Text(f"{name} ").append(link.state, style=_LINK_STYLE.get(link.state, ""))
        line.append(
            " hears" if link.carrier else " no carrier", style="" if link.carrier else "dim"
        )
        if model.link is not None and model.link.link == name:
            line.append(", shown")
        if transmits.get(f"transmits {name}"):
            line.append(", transmits")
        lines.append(line)
    return lines


def relay_lines(model: LiveModel, now_ns: int) -> list[Text]:
    """What came through the relay, and what waits on board; empty without a relay."""
    block = model.blocks.get("RELAY")
    if not model.bundles_seen and block is None:
        return []
    lines = [Text(f"{model.bundles_seen:,} bundles arrived")]
    if model.bundles:
        newest = model.bundles[-1]
        under_way_s = (newest.reception_ns - newest.created_ns) / S
        age = _duration(max(0.0, (now_ns - newest.reception_ns) / S))
        lines[0].append(f", last {age} ago")
        if newest.created_ns:
            lines.append(Text(f"{newest.source}, {_duration(under_way_s)} under way", style="dim"))
    if block is not None:
        held = sum(
            int(block.parameters[f"RLY_BUNDLES_{name}"].value)  # type: ignore[call-overload]
            for name in ("BULK", "NORMAL", "EXPEDITED")
            if f"RLY_BUNDLES_{name}" in block.parameters
        )
        lines.append(Text(f"{held:,} held on board, SCET {_time(block.scet_ns)[11:]}", style="dim"))
    return lines


def render(
    model: LiveModel,
    *,
    now_ns: int,
    height: int,
    width: int,
    restarts: dict[str, int],
    note: str = "",
) -> Layout:
    """The whole screen.  restarts: service → times the supervisor had to start it again; note:
    what people should know of the run, at the foot."""
    layout = Layout()
    events = max(4, min(8, height // 5))
    layout.split_column(
        Layout(_clocks(model, now_ns, width), name="clocks", size=4),
        Layout(name="middle"),
        Layout(_events(model, events - 2, note), name="events", size=events),
    )
    rows = height - 4 - events - 2
    side = SIDE_WIDTH if width >= 120 else max(34, width // 3)
    layout["middle"].split_row(
        Layout(_parameters(model, now_ns, rows, width - side), name="parameters"),
        Layout(name="side", size=side),
    )
    services = len(set(model.services) | set(restarts)) + 3
    layout["side"].split_column(
        Layout(_link(model, now_ns, narrow=side < SIDE_WIDTH), name="link"),
        Layout(
            _services(model, now_ns, restarts, narrow=side < SIDE_WIDTH),
            name="services",
            size=services,
        ),
    )
    return layout


def _clocks(model: LiveModel, now_ns: int, width: int) -> Panel:
    owlt_s = model.link.owlt_s if model.link is not None and model.link.owlt_s >= 0 else None
    table = Table.grid(expand=True, padding=(0, 1))
    for _ in range(4):
        table.add_column(justify="left", ratio=1)
    if owlt_s is None:
        seen = arrives = reply = "unknown" if width < 120 else "light time unknown"
    else:
        owlt_ns = round(owlt_s * S)
        seen = _time(now_ns - owlt_ns)
        arrives = _time(now_ns + owlt_ns)
        reply = _time(now_ns + 2 * owlt_ns)
    narrow = width < 120
    unheard = ""
    if owlt_s is not None and (passes := model.passes) is not None:
        # Times of what cannot happen would be taken for times at which it will.
        if not any(p.transmits(now_ns) for p in passes.passes):
            arrives, reply = NO_UPLINK, ""
        elif passes.receiving(now_ns + 2 * round(owlt_s * S)) is None:
            unheard = " no pass" if narrow else " in no pass"
    visible = "Visible now" if narrow else "Spacecraft time now visible"
    table.add_row("Ground UTC", visible, "Sent now, arrives", "Earliest reply")
    # On a narrow screen the date goes, which stands in every event; the times of day stay whole.
    times = [t[11:] if narrow and "-" in t else t for t in (_time(now_ns), seen, arrives, reply)]
    values = [Text(text, style="bold cyan", no_wrap=True) for text in times]
    if arrives == NO_UPLINK:
        values[2].stylize("yellow")
    values[3].append(unheard, style="bold yellow")
    table.add_row(*values)
    light = "" if owlt_s is None else f" · one-way light time {_duration(owlt_s)}"
    speed = "" if model.speed == 1 else f" · world ×{model.speed:g}"
    return Panel(table, title=f"L4 Relay Ground{light}{speed}", title_align="left")


def _parameters(model: LiveModel, now_ns: int, rows: int, width: int) -> Panel:
    """As many parameters as fit, those out of limits first, each group under its packet's name."""
    if not model.blocks:
        text = Text(
            "waiting for the first telemetry … (the first run on a machine compiles for a minute)",
            style="dim",
        )
        passes = model.passes
        if passes is not None and passes.receiving(now_ns) is None:
            text = Text("\n").join(pass_lines(passes, now_ns))
        return Panel(text, title="Telemetry", title_align="left")
    model.staleness.due(now_ns, round(GRACE_S * model.speed * S))
    inside = width - 4
    columns = max(1, (inside + 2) // (2 + NAME_WIDTH + 1 + VALUE_WIDTH + 2))
    line_width = inside if columns == 1 else 2 + NAME_WIDTH + 1 + VALUE_WIDTH
    lines: list[Text] = []
    out = [
        shown
        for block in model.blocks.values()
        for shown in block.parameters.values()
        if shown.limit not in (None, LimitState.NOMINAL)
    ]
    stale_names = {
        shown.name
        for name, block in model.blocks.items()
        if model.staleness.rhythms[name].stale
        for shown in block.parameters.values()
    }
    if out:
        lines.append(Text(f"OUT OF LIMITS ({len(out)})", style="bold"))
        for shown in out:
            # What was out of limits stays on top, and that it is old is said with it.
            lines.append(_parameter_line(shown, stale=False))
            text = Text(f"    {_limit_text(shown)}", style=_limit_style(shown))
            if shown.name in stale_names:
                age = _duration(max(0.0, (now_ns - shown.ert_ns) / S))
                text = Text.assemble((f"    STALE {age}", "bold magenta"), text[3:])
            lines.append(text)
    for name in sorted(model.blocks):
        block = model.blocks[name]
        stale = model.staleness.rhythms[name].stale
        age = _duration(max(0.0, (now_ns - block.ert_ns) / S))
        head = Text(name, style="bold")
        if stale:
            head.append(f"  STALE, last received {age} ago", style="bold magenta")
        else:
            head.append(f"  SCET {_time(block.scet_ns)[11:]}, received {age} ago", style="dim")
        lines.append(head)
        lines += [_parameter_line(shown, stale) for shown in block.parameters.values()]
    room = columns * max(1, rows)
    hidden = max(0, len(lines) - room)
    grid = Table.grid(padding=(0, 2))
    lines = [_fitted(line, line_width) for line in lines]
    for _ in range(columns):
        grid.add_column(width=line_width, no_wrap=True, overflow="ellipsis")
    for row in range(rows):
        cells = [lines[at] if at < len(lines) else "" for at in range(row, room, rows)]
        grid.add_row(*cells)
    title = f"Telemetry · {model.values:,} values"
    style = ""
    if model.passes is not None and model.passes.receiving(now_ns) is None:
        # Whatever stands here was true when the last pass ended, or before.
        newest_ns = max(block.ert_ns for block in model.blocks.values())
        last = _time(newest_ns)
        title = f"NO PASS: last received {last[11:] if inside < 60 else last}"
        style = "yellow"
    if model.playback_rows:
        title += f" · {model.playback_rows:,} stored packets played back"
    subtitle = f"{hidden} more lines: a larger window shows them" if hidden else None
    return Panel(
        grid,
        title=title,
        title_align="left",
        subtitle=subtitle,
        subtitle_align="left",
        border_style=style,
    )


def _parameter_line(shown: Shown, stale: bool) -> Text:
    name = shown.name if len(shown.name) <= NAME_WIDTH else shown.name[: NAME_WIDTH - 1] + "…"
    text = f"{_value(shown.value)} {shown.unit}".rstrip()
    style = "dim" if stale or shown.limit is None else _limit_style(shown)
    return Text.assemble(f"  {name:<{NAME_WIDTH}} ", (f"{text:>{VALUE_WIDTH}}", style))


def _fitted(line: Text, width: int) -> Text:
    """A parameter line on a narrow screen loses the end of its name, never of its value."""
    if line.cell_len <= width or not line.plain.startswith("  ") or line.plain[2] == " ":
        return line
    value = line[2 + NAME_WIDTH :]
    value = value[len(value.plain) - len(value.plain.lstrip()) :]
    name = line.plain[2 : 2 + NAME_WIDTH].rstrip()
    room = max(3, width - 2 - 1 - value.cell_len)
    name = name if len(name) <= room else name[: room - 1] + "…"
    return Text.assemble(f"  {name:<{room}} ", value)


def _limit_style(shown: Shown) -> str:
    return "" if shown.limit is None else _LIMIT_STYLE[limit_severity(shown.limit)]


def _limit_text(shown: Shown) -> str:
    """Colour is never the only sign: the state stands in words."""
    state = "" if shown.limit is None else shown.limit.name.replace("_", " ").lower()
    return f"{state} since SCET {_time(shown.since_ns)}"


def _link(model: LiveModel, now_ns: int, *, narrow: bool) -> Panel:
    link = model.link
    if link is None:
        text = Text("no word from receive yet", style="dim")
        return Panel(text, title="Link", title_align="left")
    head = Table.grid(padding=(0, 1))
    on_top: list[RenderableType] = []
    silent = model.silent(link.time_ns, now_ns)
    if silent:
        age = _duration((now_ns - link.time_ns) / S)
        said = f"UNKNOWN, receive last said {link.state} {age} ago"
        head.add_row("state", Text(said, style="bold white on red"))
    else:
        state = Text(link.state, style=_LINK_STYLE.get(link.state, ""))
        head.add_row("state", state if not link.detail else Text.assemble(state, f" {link.detail}"))
        carrier = ("locked", "green") if link.carrier else ("none", "bold yellow")
        head.add_row("carrier", Text.assemble(carrier))
    if model.passes is not None:
        lines = pass_lines(model.passes, now_ns)
        if narrow:
            # Beside a label they would be broken in two, and the next pass fall off the screen.
            on_top += lines
        else:
            head.add_row("pass", Text("\n").join(lines))
    if antennas := antenna_lines(model, now_ns):
        head.add_row("antennas", Text("\n").join(antennas))
    relayed = relay_lines(model, now_ns)
    if relayed and not narrow:
        head.add_row("relay", Text("\n").join(relayed))
    elif relayed:
        head.add_row("relay", relayed[0])
    if link.last_ert_ns:
        head.add_row("last octet", f"{_duration(max(0.0, (now_ns - link.last_ert_ns) / S))} ago")
    head.add_row("capture", f"{link.capture}, {_octets(_count(link, 'capture', 'octets'))}")
    head.add_row("frames", _good_and_bad(link, "frames", good="good"))
    head.add_row("codewords", _good_and_bad(link, "coding", good="codewords"))
    head.add_row("symbols", f"{_count(link, 'coding', 'corrected_symbols'):,} corrected")
    head.add_row("packets", _good_and_bad(link, "packets", good="packets"))
    for stage, counts in link.counts.items():
        if stage.startswith("carrier "):
            age_s = max(0.0, (now_ns - counts["last_ert_ns"]) / S)
            head.add_row(stage.removeprefix("carrier "), _carrier_line(counts, age_s))
    losses = {
        name: value
        for name, value in link.counts.get("link", {}).items()
        if value and _is_loss(name)
    }
    if losses:
        text = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in losses.items())
        head.add_row("lost", Text(text, style="bold yellow"))
    channels = Table(box=None, padding=(0, 1), header_style="dim")
    for title in ("VC", "", "frames", "packets", "gaps"):
        channels.add_column(title, justify="left" if not title else "right")
    for name, counts in sorted(link.virtual_channels.items(), key=lambda item: int(item[0])):
        gaps = counts.get("discontinuities", 0)
        known = int(name) in VirtualChannel.__members__.values()
        channels.add_row(
            name,
            VirtualChannel(int(name)).name.lower() if known else "",
            f"{counts.get('frames', 0):,}",
            f"{counts.get('packets', 0):,}",
            Text(f"{gaps:,}", style="bold yellow" if gaps else ""),
        )
    style = "red" if silent else "" if link.state == LinkState.OK else "yellow"
    title = f"Link {link.link}"
    return Panel(
        Group(*on_top, head, channels), title=title, title_align="left", border_style=style
    )


def _carrier_line(counts: Mapping[str, int], age_s: float) -> Text:
    """A carrier beside the first: what came, what did not, and since when nothing does."""
    line = Text(f"{counts['good']:,} frames", style="")
    for name in ("missing", "uncorrectable"):
        if counts[name]:
            line.append(f", {counts[name]:,} {name}", style="bold yellow")
    age = f"\nlast {_duration(age_s)} ago"
    line.append(age, style="dim" if age_s < _QUIET_S else "bold yellow")
    return line


def _count(link: LinkMessage, stage: str, name: str) -> int:
    return link.counts.get(stage, {}).get(name, 0)


def _good_and_bad(link: LinkMessage, stage: str, *, good: str) -> Text:
    """What a stage passed on, and by name whatever it could not."""
    text = Text(f"{_count(link, stage, good):,}")
    for name, value in link.counts.get(stage, {}).items():
        if value and _is_loss(name):
            text.append(f", {name.replace('_', ' ')} {value:,}", style="bold yellow")
    return text


def _octets(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} octets"


def _is_loss(name: str) -> bool:
    return any(
        word in name
        for word in ("fail", "drop", "lost", "foreign", "uncorrect", "skipped", "inverted")
    )


def _services(model: LiveModel, now_ns: int, restarts: dict[str, int], *, narrow: bool) -> Panel:
    table = Table(
        box=None, padding=(0, 1), pad_edge=False, collapse_padding=True, header_style="dim"
    )
    table.add_column("service", no_wrap=True, max_width=10)
    table.add_column("state", no_wrap=True)
    for title in ("lag", "restart") if narrow else ("lag", "MiB", "restarts"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, status in sorted(model.services.items()):
        silent = model.silent(status.time_ns, now_ns)
        style = "bold white on red" if silent or status.state == "failed" else ""
        lag = f"{sum(position.lag for position in status.positions):,}"
        # What receive follows is the capture: octets on disk that it has yet to decode.
        if (behind := status.counters.get("behind_octets", 0)) >= 2**20:
            lag = f"{behind / 2**20:,.0f} MiB"
        memory = () if narrow else (f"{status.rss_octets / 2**20:.0f}",)
        state = Text("silent" if silent else status.state, style=style)
        table.add_row(name, state, lag, *memory, str(restarts.get(name, 0)))
    for name in sorted(set(restarts) - set(model.services)):
        table.add_row(name, "process", "", *(() if narrow else ("",)), str(restarts[name]))
    title = Text("Services")
    if sampled := _sampled(model):
        title.append(f" · {sampled}", style="bold yellow")
    return Panel(table, title=title, title_align="left")


def _sampled(model: LiveModel) -> str:
    """Values that nobody decoded must not pass for values that did not come."""
    monitor = model.services.get(MONITOR)
    counters = monitor.counters if monitor is not None else {}
    offered, chosen = counters.get("packets_offered", 0), counters.get("packets_sampled", 0)
    return f"sampled 1 in {offered / max(1, chosen):.1f}" if chosen < offered else ""


def _events(model: LiveModel, rows: int, note: str) -> Panel:
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
    return Panel(
        Group(*lines),
        title=f"Events · {model.events_seen:,} since the view began",
        title_align="left",
        subtitle=Text(note, overflow="ellipsis") if note else None,
        subtitle_align="left",
    )


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
    if isinstance(value, np.ndarray):
        first = _value(value[0]) if len(value) else ""
        return f"{len(value)} × {first} …" if len(value) > 1 else first
    return str(value)


class Followers:
    """Whether those who follow `receive` have taken all that it has: for whoever wants to end."""

    def __init__(self, bus: Bus, patience_s: float = 1.5) -> None:
        self._bus = bus
        self._patience_s = patience_s
        self._asked_s: float | None = None
        self._lag: dict[str, int] = {}

    def done(self) -> bool:
        """Ask again and again: True once every follower has said, since the first question and
        some patience, that nothing is left to take."""
        now_s = time.monotonic()
        if self._asked_s is None:
            self._asked_s = now_s
        late = now_s - self._asked_s > self._patience_s
        for message in self._bus.receive(0):
            status = parse(StatusMessage, message.body)
            followed = [p.lag for p in status.positions if p.source == RECEIVE]
            if followed and late:
                self._lag[status.service] = sum(followed)
            elif followed:
                self._lag[status.service] = -1
        return late and bool(self._lag) and all(lag == 0 for lag in self._lag.values())
