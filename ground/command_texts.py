"""Requests to the spacecraft as people read them: tables, a way with its countdown, JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from protocols.timecodes.tai import utc_iso_from_tai_ns

S: Final = 1_000_000_000
STYLES: Final = {
    "queued": "",
    "armed": "bold yellow",
    "approved": "bold yellow",
    "waiting": "cyan",
    "held": "bold black on yellow",
    "released": "cyan",
    "radiated": "bold cyan",
    "executing": "bold cyan",
    "completed": "green",
    "failed": "bold white on red",
    "unknown": "bold black on yellow",
    "expired": "yellow",
    "removed": "dim",
}
_STAGE_STYLES: Final = {
    "pending": "dim",
    "passed": "green",
    "failed": "bold white on red",
    "overdue": "bold black on yellow",
}
#: Of a stage, for a column that is narrow.
_LETTERS: Final = {
    "radiated": "T",
    "received": "F",
    "acceptance": "A",
    "start": "S",
    "progress": "P",
    "completion": "C",
}
_LEGEND: Final = (
    "T transmitted by the station · F taken by FARM-1 · A accepted · S started · P in progress · "
    "C completed on board;  ✓ passed · pending ? overdue ✗ failed"
)
_MARKS: Final = {"pending": "·", "passed": "✓", "failed": "✗", "overdue": "?"}


def utc(ns: int, *, date: bool = False) -> str:
    """Time of day, UTC; empty for 0."""
    if not ns:
        return ""
    text = utc_iso_from_tai_ns(ns, decimals=0)
    return text if date else text[11:19]


def left(until_ns: int, now_ns: int) -> str:
    """How long until an instant: `in 8 min 19 s`, `12 s ago`."""
    seconds = round(abs(until_ns - now_ns) / S)
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        text = f"{hours // 24} d {hours % 24} h"
    elif hours:
        text = f"{hours} h {minutes:02d} min"
    else:
        text = f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    return f"in {text}" if until_ns >= now_ns else f"{text} ago"


def arguments_text(arguments: Mapping[str, Any]) -> str:
    """As they would be typed."""
    return " ".join(f"{name}={_shown(value)}" for name, value in arguments.items())


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return ",".join(_shown(one) for one in value)
    if isinstance(value, int) and abs(value) > 10**17:
        return utc(value, date=True)
    return str(value)


def requests_table(requests: Sequence[Mapping[str, Any]], now_ns: int) -> Table:
    """One line a request: where it is, and what comes next."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), caption_justify="left")
    if any(one["stages"] for one in requests):
        table.caption = _LEGEND
    table.add_column("#", justify="right")
    for title in ("command", "state", "stages", "what next", "by"):
        table.add_column(title, no_wrap=title in ("state", "stages"))
    for one in requests:
        name = Text(one["command"])
        if one["arguments"]:
            name.append(f" {arguments_text(one['arguments'])}", style="dim")
        table.add_row(
            str(one["number"]),
            name,
            Text(one["state"], style=STYLES[one["state"]]),
            _marks(one["stages"]),
            next_text(one, now_ns),
            one["sent_by"] or one["armed_by"] or one["actor"],
        )
    return table


def _marks(stages: Sequence[Sequence[Any]]) -> Text:
    marks = Text()
    for name, state, *_ in stages:
        marks.append(f"{_MARKS[state]}{_LETTERS[name]}", style=_STAGE_STYLES[state])
    return marks


def next_text(one: Mapping[str, Any], now_ns: int) -> Text:
    """What a request waits for, in words."""
    state = one["state"]
    if state == "queued":
        again = "; what was sent after it waits for it" if one["sent_ns"] else ""
        return Text(f"arm it{again}", style="dim")
    if state == "armed":
        return Text("a second person approves" if one["hazard"] else "send it")
    if state == "approved":
        return Text("send it")
    if state == "held":
        return Text(one["reason"], style="yellow")
    if state == "waiting":
        if one["earliest_ns"] > now_ns:
            return Text(f"leaves {left(one['earliest_ns'], now_ns)}")
        return Text("; ".join(one["violations"]) or "for its turn and an uplink window")
    if state in ("radiated", "executing"):
        if state == "radiated" and one["at_spacecraft_ns"] > now_ns:
            return Text(f"at the spacecraft {left(one['at_spacecraft_ns'], now_ns)}")
        pending = [s for s in one["stages"] if s[1] == "pending"]
        if pending:
            opens, closes = pending[0][2], pending[0][3]
            if opens > now_ns:
                return Text(f"{pending[0][0]} due {left(opens, now_ns)}")
            return Text(f"{pending[0][0]} expected, overdue {left(closes, now_ns)}")
    if state == "unknown":
        return Text("no answer: a late report counts; when telemetry tells, close it")
    return Text(one["reason"], style="dim")


def request_view(one: Mapping[str, Any], now_ns: int) -> RenderableType:
    """All of one request: what it is, where it is, its stages with their windows, its history."""
    head = Text(f"{one['number']}  {one['command']}", style="bold")
    head.append(f"  {arguments_text(one['arguments'])}", style="dim")
    lines = [head, Text.assemble("state  ", (one["state"], STYLES[one["state"]]))]
    if one["hazard"]:
        lines.append(Text(f"HAZARD  {one['hazard']}", style="bold red"))
    if one["reason"]:
        lines.append(Text(f"why    {one['reason']}", style="yellow"))
    lines += [Text(f"!      {text}", style="yellow") for text in one["violations"]]
    if one["comment"]:
        lines.append(Text(f"note   {one['comment']}"))
    if one["octets"]:
        lines.append(Text(f"packet {one['octets'].hex(' ')}", style="dim"))
    for label, key in (
        ("radiated", "radiated_ns"),
        ("at spacecraft", "at_spacecraft_ns"),
        ("reply due", "reply_due_ns"),
    ):
        if one[key]:
            lines.append(Text(f"{label:<14}{utc(one[key])}  {left(one[key], now_ns)}"))
    return Group(*lines, _stages(one["stages"], now_ns), _history(one.get("history", ())))


def _stages(stages: Sequence[Sequence[Any]], now_ns: int) -> RenderableType:
    if not stages:
        return Text()
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for title in ("stage", "", "answer", "expected from", "overdue at", ""):
        table.add_column(title)
    for name, state, opens, closes, time_ns, _step, detail in stages:
        wait = left(opens, now_ns) if state == "pending" and opens > now_ns else detail
        table.add_row(
            name,
            Text(state, style=_STAGE_STYLES[state]),
            *(utc(time_ns), utc(opens), utc(closes), wait),
        )
    return table


def _history(entries: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), title_justify="left")
    for title in ("UTC", "who", "what", "then", ""):
        table.add_column(title)
    for one in entries:
        table.add_row(
            utc(one["time_ns"]), one["actor"], one["event"], one["state"], Text(one["text"])
        )
    return table if entries else Text()


def status_view(status: Mapping[str, Any]) -> RenderableType:
    """The four clocks, the window, COP-1."""
    now_ns, link = status["time_ns"], status["link"]
    lines = [
        Text(f"ground               {utc(now_ns, date=True)}"),
        Text(f"seen of spacecraft   {utc(now_ns - status['owlt_ns'])}"),
        Text(f"sent now, arrives    {utc(status['arrives_ns'])}"),
        Text(f"earliest reply       {utc(status['reply_ns'])}"),
    ]
    if status.get("restored"):
        lines.append(Text(status["restored"].upper(), style="bold white on red"))
    window = status["window"]
    if status["transmits"]:
        until = f" until {utc(window['end_ns'])}, {window['place']}" if window else ""
        lines.append(Text(f"UPLINK OPEN{until}", style="bold green"))
    elif window is not None:
        opens = f"NO UPLINK: {window['place']} {left(window['start_ns'], now_ns)}"
        lines.append(Text(opens, style="bold black on yellow"))
    else:
        lines.append(Text("NO UPLINK, and none is planned", style="bold black on yellow"))
    state = f"COP-1 {link['state'].lower().replace('_', ' ')}, V(S) {link['vs']}, "
    state += f"{link['outstanding']} of {link['window']} frames unanswered"
    lines.append(Text(state, style="" if link["state"] == "ACTIVE" else "yellow"))
    clcw = link["clcw"]
    if clcw is None:
        lines.append(Text("no CLCW heard yet", style="dim"))
    else:
        flags = [
            name for name in ("lockout", "wait", "retransmit", "no_rf_available") if clcw[name]
        ]
        heard = f"CLCW of {left(clcw['ert_ns'], now_ns)}: N(R) {clcw['report_value']}"
        style = "bold white on red" if clcw["lockout"] else ""
        lines.append(Text(", ".join([heard, *flags]), style=style))
    lines.append(
        Text(
            f"{status['on_stack']} on the stack, {status['held']} held, {status['waiting']} "
            f"waiting to leave, {status['under_way']} under way, "
            f"{status['unknown']} with unknown end"
        )
    )
    return Group(*lines)


def as_json(value: Any) -> Any:
    """For `--json`: octets in hexadecimal, each `…_ns` time also as UTC."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        out: dict[str, Any] = {}
        for name, one in value.items():
            out[name] = _stages_json(one) if name == "stages" else as_json(one)
            if name.endswith("_ns") and isinstance(one, int) and one > 10**17:
                out[f"{name.removesuffix('_ns')}_utc"] = utc_iso_from_tai_ns(one)
        return out
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    return value


def _stages_json(stages: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    names = ("name", "state", "opens_ns", "closes_ns", "time_ns", "step", "detail")
    return [as_json(dict(zip(names, one, strict=True))) for one in stages]
