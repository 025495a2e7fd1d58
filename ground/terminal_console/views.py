"""The present as rows of tables and lines of text.  `now` is the ground's clock, Unix ms.

What is old says so in words and is dim; a state of limits is a word before it is a colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rich.text import Text

from ground.client import Present

#: A row's key and its cells.
Row = tuple[str, list[Text]]

MISSION: Final = "L4 relay"
_DIM, _WARNING, _CRITICAL, _GOOD = "dim", "bold yellow", "bold white on red", "green"
_ENDED: Final = ("completed", "failed", "expired", "removed")
_STAGES: Final = {"passed": "✓", "pending": "…", "failed": "✗", "missed": "✗"}


def clock(ms: float | None, *, date: bool = False) -> str:
    """UTC, to the second."""
    if not ms:
        return "–"
    return datetime.fromtimestamp(ms / 1e3, UTC).strftime(
        "%Y-%m-%d %H:%M:%S" if date else "%H:%M:%S"
    )


def span(ms: float) -> str:
    """A length as people say it, two units at most."""
    s = int(abs(ms) / 1e3)
    if s < 60:
        return f"{s} s"
    if s < 3_600:
        return f"{s // 60} min {s % 60:02d} s"
    if s < 86_400:
        return f"{s // 3_600} h {s % 3_600 // 60:02d} min"
    return f"{s // 86_400} d {s % 86_400 // 3_600} h"


def until(ms: float, now: float) -> str:
    return f"in {span(ms - now)}" if ms >= now else f"{span(now - ms)} ago"


def owlt_ms(present: Present, now: float) -> float | None:
    """One-way light time: of the pass that is or comes next, else as `receive` says."""
    for one in (present.passes or {}).get("passes", ()):
        if one["los"] > now and one["owlt_s"] > 0:
            return one["owlt_s"] * 1e3
    if present.link is not None and present.link["owlt_s"] >= 0:
        return present.link["owlt_s"] * 1e3
    return None


def _ours(present: Present) -> list[Any]:
    return [p for p in (present.passes or {}).get("passes", ()) if p["mission"] == MISSION]


def four_clocks(present: Present, now: float) -> list[tuple[str, Text]]:
    """Titles and times: ground, spacecraft, arrival, answer."""
    light = owlt_ms(present, now)
    style = "bold cyan" if present.connected else _DIM
    ground = Text(clock(now), style)
    if light is None:
        unknown = [Text("unknown", _DIM) for _ in range(3)]
        return list(zip(CLOCKS, [ground, *unknown], strict=True))
    arrives, reply = Text(clock(now + light), style), Text(clock(now + 2 * light), style)
    if present.passes is not None:
        ours = _ours(present)
        # Times of what cannot happen would be taken for times at which it will.
        if not any(p["uplink_from"] <= now < p["uplink_to"] for p in ours):
            arrives, reply = Text("no uplink now", _WARNING), Text("–", _DIM)
        elif not any(p["aos"] <= now + 2 * light < p["los"] for p in ours):
            reply.append(" in no pass", _WARNING)
    return list(zip(CLOCKS, [ground, Text(clock(now - light), style), arrives, reply], strict=True))


CLOCKS: Final = ("Ground UTC", "Visible now", "Sent now, arrives", "Earliest reply")


def situation(present: Present, now: float) -> Text:
    """One line: pass, link, alarms."""
    line = Text(no_wrap=True, overflow="ellipsis")
    ours = _ours(present)
    current = next((p for p in ours if p["aos"] <= now < p["los"]), None)
    following = next((p for p in ours if p["aos"] > now), None)
    if present.passes is None:
        line.append("no pass list", _DIM)
    elif current is not None:
        line.append(f"{current['place']} ", _GOOD)
        line.append(f"LOS {until(current['los'], now)}")
    else:
        line.append("NO PASS ", _WARNING)
        if following is not None:
            line.append(f"next {following['place']} {until(following['aos'], now)}")
    line.append(" · link ")
    if present.link is None:
        line.append("not heard of", _DIM)
    else:
        old = now - present.link["time"] > 5_000 * present.speed
        state = f"SILENT, was {present.link['state']}" if old else present.link["state"]
        good = not old and present.link["state"] == "OK" and present.connected
        line.append(state, _GOOD if good else _WARNING)
    loud = [one for one in present.alarms if one["state"] in ("unacknowledged", "returned")]
    line.append(" · ")
    worst = any(one["severity"] == "critical" for one in loud)
    if loud:
        line.append(f"{len(loud)} ALARMS", _CRITICAL if worst else _WARNING)
    else:
        line.append("no alarm to acknowledge", _DIM)
    return line


def lost(present: Present, silent_s: float) -> str:
    """What is said while nobody answers."""
    if not present.heard_monotonic_s:
        return f"NO CONNECTION yet, trying again · {present.why}"
    return (
        f"NO CONNECTION for {span(silent_s * 1e3)}: what you see is OLD; trying again · "
        f"{present.why}"
    )


def limit_style(state: str) -> str:
    if "CRITICAL" in state:
        return _CRITICAL
    if state and state != "NOMINAL":
        return _WARNING
    return _GOOD


def number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    return "invalid" if value is None else str(value)


def telemetry(present: Present, now: float, wanted: str, *, only_bad: bool) -> Iterator[Row]:
    """Each packet's line, then its parameters; those whose name has `wanted` in it."""
    wanted = wanted.upper()
    for packet, block in sorted(present.parameters.items()):
        shown = [
            (name, *rest)
            for name, rest in block["values"].items()
            if wanted in name.upper() or wanted in packet.upper()
            if not only_bad or rest[2] not in ("", "NOMINAL")
        ]
        if not shown:
            continue
        stale = block["stale"] or not present.connected
        age = until(block["ert"], now)
        yield (
            f"={packet}",
            [
                Text(packet, _DIM if stale else "bold"),
                Text(f"ERT {clock(block['ert'])}", _DIM, justify="right"),
                Text(age, _DIM),
                Text(_old(block, present), _WARNING),
            ],
        )
        for name, value, unit, state, since in shown:
            when = _old(block, present) or (clock(since) if state else "")
            yield (
                name,
                [
                    Text(f" {name}", _DIM if stale else ""),
                    Text(f"{number(value)} {unit}"[:18], _DIM if stale else "", justify="right"),
                    Text(state.replace("_", " "), _DIM if stale else limit_style(state)),
                    Text(when, _DIM),
                ],
            )


def _old(block: Mapping[str, Any], present: Present) -> str:
    """Why a value says nothing of now: it has stopped coming, or nobody can know."""
    return "STALE" if block["stale"] else "" if present.connected else "OLD"


def alarms(present: Present, now: float) -> Iterator[Row]:
    for one in present.alarms:
        style = _CRITICAL if one["severity"] == "critical" else _WARNING
        quiet = one["state"] in ("acknowledged", "shelved")
        yield (
            one["name"],
            [
                Text(one["severity"], _DIM if quiet or not present.connected else style),
                Text(one["state"], _DIM if quiet else "bold"),
                Text(one["name"]),
                Text(until(one["since"], now), _DIM),
            ],
        )


def alarm_detail(one: Mapping[str, Any] | None) -> Text:
    """Of the chosen one: what, when by SCET, how often, who has done what about it."""
    if one is None:
        return Text("no alarms", _GOOD)
    cause = "its cause is there" if one["active"] else "its cause has gone"
    out = Text(f"{one['text']}\n", "bold")
    out.append(f"raised SCET {clock(one['raised'], date=True)}, {one['count']} times, {cause}\n")
    if one["state"] == "acknowledged":
        out.append(f"seen by {one['acknowledged_by']}")
    elif one["state"] == "shelved":
        until_ = clock(one["shelved_until"], date=True)
        out.append(f"shelved by {one['shelved_by']} until {until_}: {one['reason']}")
    else:
        out.append("a acknowledges it", _DIM)
    return out


def passes(present: Present, now: float) -> Iterator[Row]:
    """What is and comes; times are the ground's, the uplink window is by which stations send."""
    for one in (present.passes or {}).get("passes", ()):
        if one["los"] < now:
            continue
        current = one["aos"] <= now
        ours = one["mission"] == MISSION
        style = _DIM if not ours or not present.connected else _GOOD if current else ""
        when = f"NOW, LOS {until(one['los'], now)}" if current else until(one["aos"], now)
        uplink = "–"
        if one["uplink_to"] > one["uplink_from"]:
            uplink = f"{clock(one['uplink_from'])[:5]}–{clock(one['uplink_to'])[:5]}"
        cells = [
            one["place"] if ours else f"{one['place']} ({one['mission']})",
            when,
            clock(one["aos"], date=True)[5:-3],
            clock(one["los"], date=True)[5:-3],
            uplink,
        ]
        yield str(one["id"]), [Text(str(cell), style) for cell in cells]


def events(present: Present) -> Iterator[Row]:
    """Newest first."""
    for index, one in enumerate(reversed(present.events)):
        style = {"warning": _WARNING, "critical": _CRITICAL}.get(one["severity"], "")
        stored = "stored, " if one["playback"] else ""
        dim = not present.connected
        yield (
            f"{len(present.events) - index}",
            [
                Text(clock(one["scet"], date=True)[5:], _DIM),
                Text(one["severity"], _DIM if dim else style),
                Text(f"{stored}{one['text']}", _DIM if dim else ""),
            ],
        )


def next_of(request: Mapping[str, Any], now: float) -> str:
    """What a request waits for: of people, of the light, of the spacecraft."""
    state = request["state"]
    if state == "queued":
        return "arm it"
    if state == "armed":
        return "a second person approves" if request["hazard"] else "send it"
    if state == "approved":
        return "send it"
    if state == "waiting":
        if request["earliest_ms"] > now:
            return f"leaves {until(request['earliest_ms'], now)}"
        return "; ".join(request["violations"]) or "for its turn and an uplink window"
    if state == "radiated" and request["at_spacecraft_ms"] > now:
        return f"at the spacecraft {until(request['at_spacecraft_ms'], now)}"
    pending = next((one for one in request["stages"] if one["state"] == "pending"), None)
    if pending is not None and state not in _ENDED:
        if pending["opens_ms"] > now:
            return f"{pending['name']} due {until(pending['opens_ms'], now)}"
        return f"{pending['name']} expected, overdue {until(pending['closes_ms'], now)}"
    return request["reason"]


def requests(found: list[Any], now: float, *, connected: bool) -> Iterator[Row]:
    """Newest first."""
    for one in reversed(found):
        given = " ".join(f"{name}={value}" for name, value in one["arguments"].items())
        ended = one["state"] in _ENDED
        style = {"completed": _GOOD, "failed": _CRITICAL, "expired": _WARNING}.get(one["state"], "")
        hazard = Text("! ", "bold red") if one["hazard"] else Text("  ")
        yield (
            str(one["number"]),
            [
                Text(str(one["number"]), justify="right"),
                hazard + Text(f"{one['command']} {given}"[:40], _DIM if ended else ""),
                Text(one["state"], style if connected else _DIM),
                Text(next_of(one, now), _DIM if not connected or ended else ""),
            ],
        )


def detail(request: Mapping[str, Any] | None, now: float) -> Text:
    """A request's stages, each with the window in which it can be answered."""
    if request is None:
        return Text("no command yet; n puts one on the stack", _DIM)
    out = Text()
    who = [f"stack {request['actor']}"]
    who += [
        f"{w} {request[k]}"
        for w, k in (("armed", "armed_by"), ("approved", "approved_by"), ("sent", "sent_by"))
        if request[k]
    ]
    out.append(f"{request['number']} {request['command']}", "bold")
    out.append(f" · {' · '.join(who)}\n", _DIM)
    if request["hazard"]:
        out.append("HAZARD ", "bold red")
        out.append(f"{request['hazard']}\n")
    for text in request["violations"][:2]:
        out.append(f"now it would be held: {text}\n", _WARNING)
    for one in request["stages"]:
        mark = _STAGES.get(one["state"], "·")
        style = {"passed": _GOOD, "failed": _CRITICAL, "missed": _CRITICAL}.get(one["state"], _DIM)
        out.append(f"{mark} {one['name']:<12}", style)
        if one["time_ms"]:
            out.append(f"{one['state']} {clock(one['time_ms'])}")
        elif one["opens_ms"] > now:
            out.append(f"due {clock(one['opens_ms'])}, {until(one['opens_ms'], now)}")
        elif one["closes_ms"]:
            out.append(f"{one['state']}, overdue {until(one['closes_ms'], now)}", _WARNING)
        else:
            out.append(one["state"])
        out.append(f" {one['detail']}\n" if one["detail"] else "\n", _DIM)
    return out
