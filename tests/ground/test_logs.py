"""Logs are what is said on the bus, as text or JSON lines; each line can be followed."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import pytest

from ground.logs import FLOOD_LINES, FLOOD_LINES_S, MessageLog, TextLines, say_why, set_up
from ground.ports import Message
from protocols.bus.messages import (
    BusMessage,
    CommandMessage,
    Event,
    EventMessage,
    LinkMessage,
    PacketsMessage,
    RadiatedMessage,
    StatusMessage,
)
from protocols.errors import LocalError
from protocols.packets.batch import PacketBatch
from protocols.timecodes.tai import tai_ns_from_utc_iso

T0 = tai_ns_from_utc_iso("2026-12-01T00:00:00Z")
S = 10**9


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is logged, at level DEBUG, as JSON; all loggers are as before afterwards."""
    monkeypatch.setenv("L4_LOG_LEVEL", "debug")
    ours, root = logging.getLogger("l4"), logging.getLogger()
    before = (ours.handlers, ours.level, ours.propagate, root.handlers, root.level)
    text = io.StringIO()
    with redirect_stderr(text):
        set_up("json")
    yield text
    ours.handlers, ours.propagate, root.handlers = before[0], before[2], before[3]
    ours.setLevel(before[1])
    root.setLevel(before[4])


def test_the_journal_of_systemd_is_told_how_grave_a_line_is(
    logged, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "log").open("w") as journal, redirect_stderr(journal):
        for inode in (os.fstat(journal.fileno()).st_ino, 1):  # the second is somebody else's
            monkeypatch.setenv("JOURNAL_STREAM", f"{os.fstat(journal.fileno()).st_dev}:{inode}")
            set_up("text")
            logging.getLogger("l4.x").info("well")
            logging.getLogger("l4.x").error("not well", exc_info=ValueError("two\nlines"))
            say_why("x: why")
    said = (tmp_path / "log").read_text().splitlines()
    theirs = said.index(next(line for line in said if not line.startswith("<")))
    assert [line[:3] for line in said[:theirs]] == ["<6>", *["<3>"] * (theirs - 1)]
    assert [line[3:] for line in said[:theirs]][-1] == said[-1] == "x: why"
    assert len(said) == 2 * theirs == 10


def say(log: MessageLog, topic: str, message: BusMessage, sequence: int = -1) -> None:
    log(Message(topic, "x", "5f1c" if sequence >= 0 else "", sequence, T0, message.build()))


def lines(text: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in text.getvalue().splitlines()]


def test_an_event_can_be_followed_to_its_packets_and_these_to_the_capture(logged) -> None:
    packets = PacketBatch.from_packets([bytes([8, 1, 192, 0, 0, 0, 7])] * 2, vcid=3, ert_ns=T0)
    told = PacketsMessage("down", packets, np.array([False, False]), T0, 70, 2, 4096)
    say(MessageLog("receive"), "packets", told, sequence=41)
    event = Event(
        "limit", "critical", "PWR", "low", T0 - 499 * S, T0, T0, value="21 V", after="LOW"
    )
    say(MessageLog("monitor"), "events", EventMessage("5f1c", 41, 9, (event,)), sequence=5)
    received, raised = lines(logged)
    assert (raised["level"], raised["logger"], raised["message"]) == ("error", "l4.monitor", "low")
    assert (raised["event"], raised["name"], raised["value"]) == (9, "PWR", "21 V")
    assert raised["ert"] == "2026-12-01T00:00:00.000000Z"
    # Where the event says that it comes from is where the packets say that they are.
    for name in ("packets_journal", "packets_sequence"):
        assert raised[name] == received[name]
    assert received["level"] == "debug"
    assert (received["capture_file"], received["capture_offset"]) == (2, 4096)
    assert (received["first_packet"], received["vcids"]) == (70, [3])
    # What is empty is left out.
    assert "before" not in raised


def test_states_are_said_when_they_change(logged) -> None:
    log = MessageLog("receive")
    for state in ("recovering", "running", "running", "failed"):
        say(log, "status.receive", StatusMessage("receive", state, T0, T0, 1, 1, "why"))
    for state in ("OK", "OK", "FAILED"):
        say(log, "link", LinkMessage("down", T0, state, "", carrier=state == "OK"))
    found = [(one["level"], one["message"]) for one in lines(logged)]
    assert found == [
        ("info", "recovering"),
        ("info", "running"),
        ("error", "failed"),
        ("info", "link OK, carrier locked"),
        ("warning", "link FAILED, no carrier"),
    ]


def test_commands_and_radiations(logged) -> None:
    log = MessageLog("command")
    say(log, "commands", CommandMessage(7, "PING", "armed", "arm", T0, actor="ann"), sequence=1)
    say(log, "radiated", RadiatedMessage("u-1", "command", "x-uplink", refused="no window"))
    armed, refused = lines(logged)
    assert (armed["message"], armed["actor"]) == ("command 7 PING: armed", "ann")
    assert (refused["level"], refused["message"]) == ("warning", "refused: no window")


def test_an_exception_is_one_line(logged) -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logging.getLogger("l4.x").exception("it failed")
    (line,) = lines(logged)
    assert line["message"] == "it failed"
    assert "ValueError: first\nsecond" in line["exception"]


def test_without_set_up_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert logging.getLogger("l4").handlers == []
    say(MessageLog("bus"), "status.bus", StatusMessage("bus", "failed", T0, T0, 1, 1))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("variable", "value"), [("FORMAT", "xml"), ("LEVEL", "loud")])
def test_what_is_no_format_or_level_is_refused(monkeypatch, variable: str, value: str) -> None:
    monkeypatch.setenv(f"L4_LOG_{variable}", value)
    with pytest.raises(LocalError, match=value):
        set_up()


def test_a_link_that_is_lost_is_a_warning_an_antennas_too(logged) -> None:
    log = MessageLog("receive.yeoju")
    say(log, "link.yeoju", LinkMessage("yeoju", T0, "OK", ""))
    say(log, "link.yeoju", LinkMessage("yeoju", T0, "UNAVAILABLE", "no word for 3 s"))
    found = [(one["level"], one["message"], one.get("detail")) for one in lines(logged)]
    assert found == [
        ("info", "link OK, no carrier", None),
        ("warning", "link UNAVAILABLE, no carrier", "no word for 3 s"),
    ]


def test_a_flood_of_lines_is_bounded_and_counted(logged, monkeypatch: pytest.MonkeyPatch) -> None:
    log, clock = logging.getLogger("l4.x"), [100.0]
    monkeypatch.setattr("ground.logs.time.monotonic", lambda: clock[0])
    for number in range(FLOOD_LINES + 500):
        log.warning("refused %d", number)
    # Another level has its own measure: the one that matters is not lost among the others.
    log.error("and this failed")
    found = lines(logged)
    assert len(found) == FLOOD_LINES + 1
    assert (found[-1]["message"], found[-1]["lines_left_out"]) == ("and this failed", 500)
    clock[0] += 1
    for number in range(100):
        log.warning("refused again %d", number)
    assert len(lines(logged)) == len(found) + FLOOD_LINES_S


def test_what_a_message_says_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What others sent stands in errors: a line of theirs must not pass for one of ours."""
    form = TextLines()
    record = logging.LogRecord("l4.x", logging.INFO, "", 0, "bad\nl4.y: \x1b[2Jfine", (), None)
    record.l4_fields = {"detail": "a\nb"}
    line = form.format(record)
    assert "\n" not in line
    assert "\x1b" not in line
    assert r"bad\nl4.y: \x1b[2Jfine" in line
