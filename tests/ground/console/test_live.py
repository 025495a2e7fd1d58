"""The live stream: everything at first, then what has changed, at the pace of who looks."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ground.console.live import Hub
from tests.ground.console.site import Console, signed_in


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    console = Console(tmp_path)
    yield console
    console.close()


def test_a_browser_is_sent_the_next_when_it_has_shown_the_last(console: Console) -> None:
    hub: Hub = console.app.state.hub
    with (
        signed_in(console, "viewer") as client,
        client.websocket_connect("/api/v1/live") as slow,
        client.websocket_connect("/api/v1/live") as script,
    ):
        assert slow.receive_json()["kind"] == script.receive_json()["kind"] == "snapshot"
        slow.send_text("shown")
        deadline = time.monotonic() + 10
        while hub.paced < 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        told = [
            {"events": [1], "parameters": {"A": {"value": 1}}},
            {"events": [2], "parameters": {"A": {"value": 2}}, "alarms": [1]},
            {"events": [3, 4], "parameters": {"B": {"value": 1}}, "alarms": []},
        ]
        got = []
        for changes in told:
            hub.tell(changes)
            got.append(script.receive_json())
        # Who says nothing gets all of it, each as it was told.
        assert [{name: one[name] for name in told[i]} for i, one in enumerate(got)] == told
        assert slow.receive_json()["events"] == [1]
        slow.send_text("shown")
        second = slow.receive_json()
        assert second["events"] == [2, 3, 4]
        assert second["parameters"] == {"A": {"value": 2}, "B": {"value": 1}}
        assert second["alarms"] == []
        assert second["now"] > 0
    assert hub.browsers == 0


def test_the_page_asks_for_all_of_its_modules_at_once(console: Console) -> None:
    with signed_in(console, "viewer") as client:
        page = client.get("/")
        modules = re.findall(r'modulepreload" href="([^"]+)"', page.text)
        assert "/static/main.js" in modules
        octets = 0
        for name in modules:
            answer = client.get(name, headers={"accept-encoding": "gzip"})
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/javascript")
            octets += int(answer.headers["content-length"])
            again = client.get(name, headers={"if-none-match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        # All code of the page: the promise is 150 kB, style and data included.
        assert octets < 130_000
        assert client.get("/static/../api.py").status_code == 404
        assert client.get("/static/%2e%2e/api.py").status_code == 404


def test_whoever_is_signed_out_sees_no_more(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SIGNED_IN_S", "CLOCK_S"):
        monkeypatch.setattr(f"ground.console.live.{name}", 0.05)
    with (
        signed_in(console, "viewer") as client,
        client.websocket_connect("/api/v1/live") as socket,
    ):
        assert socket.receive_json()["kind"] == "snapshot"
        socket.receive_json()
        assert client.delete("/api/v1/session").status_code == 200
        # What was on its way still comes.
        while (message := socket.receive())["type"] == "websocket.send":
            pass
        assert (message["type"], message["code"]) == ("websocket.close", 4401)
