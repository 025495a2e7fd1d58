"""An operator plans a pass: what is free, a what-if that writes nothing, conflicts, publishing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from ground.console.endpoints import PREFIX
from ground.scheduling.model import (
    Choice,
    Interval,
    Mission,
    Problem,
    Request,
    Schedule,
    ViewPeriod,
    track_of,
)
from ground.scheduling.relay_plan import AGENCY, MISSION
from ground.scheduling.stations import load_stations, select_stations
from ground.scheduling.store import ScheduleStore
from ground.scheduling.versions import Actor
from protocols.bus.messages import PassesMessage
from protocols.bus.pass_list import parse_pass_list
from protocols.timecodes.tai import tai_ns_from_unix_ns
from tests.ground.console.site import Console, signed_in

S, HOUR_MS = 10**9, 3_600_000


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    one = Console(tmp_path)
    yield one
    one.close()


def told(console: Console) -> PassesMessage:
    return parse_pass_list(console.passes.pass_list.read_bytes())


def tai(ms: float) -> int:
    return int(tai_ns_from_unix_ns(round(ms * 1e6)))


def views(client: TestClient) -> list[dict[str, Any]]:
    return client.get(f"{PREFIX}/passes/views").json()["views"]


def spare(client: TestClient) -> dict[str, Any]:
    """Four hours over an antenna that the plan does not use, a day ahead."""
    seen = [v for v in views(client) if v["antenna"] == "DSS-25" and v["free"]]
    free = seen[-1]["free"][0]
    begin = (free["from_ms"] // 1000 + 3600) * 1000
    return {"antenna": "DSS-25", "begin": begin, "end": begin + 4 * HOUR_MS}


def shared_with_psyche(console: Console, begin_ns: int, end_ns: int, *, relay: bool) -> None:
    """A schedule that missions share, in which another one has DSS-25."""
    length_s = (end_ns - begin_ns) // S
    choice = Choice(("DSS-25",), (ViewPeriod(begin_ns, end_ns),))
    request = Request("cruise", "Psyche", length_s, length_s, (choice,))
    missions = (Mission("Psyche", "NASA"), *((Mission(MISSION, AGENCY),) if relay else ()))
    problem = Problem(
        name="shared",
        horizon=Interval(begin_ns - 5 * 86_400 * S, end_ns + 5 * 86_400 * S),
        antennas=tuple(s.antenna for s in select_stations(load_stations(), ["DSS-25"])),
        missions=missions,
        requests=(request,),
    )
    schedule = Schedule((track_of(request, ("DSS-25",), begin_ns, end_ns),))
    with ScheduleStore.open(console.passes.shared) as store:
        store.create(problem, schedule, Actor("network"), "week", console.clock.ns)


def test_a_what_if_shows_light_time_and_writes_nothing(console: Console) -> None:
    with signed_in(console, "operator") as client:
        wanted = spare(client)
        before = console.passes.pass_list.read_bytes()
        found = client.post(f"{PREFIX}/passes/try", json=wanted).json()
    assert found["possible"], found["problems"]
    assert found["conflicts"] == []
    assert 480 < found["owlt_s"] < 520
    light_ms = found["owlt_s"] * 1000
    assert found["uplink_from_ms"] >= wanted["begin"]
    assert found["arrival_ms"] == pytest.approx(found["uplink_from_ms"] + light_ms, abs=1)
    assert found["reply_ms"] == pytest.approx(found["arrival_ms"] + light_ms, abs=1)
    assert found["scet_from_ms"] == pytest.approx(wanted["begin"] - light_ms, abs=1)
    # One link: the mission's own passes make room.
    assert any("becomes" in change or "given up" in change for change in found["changes"])
    assert console.passes.pass_list.read_bytes() == before


def test_it_is_published_once_and_the_rest_stays(console: Console) -> None:
    with signed_in(console, "operator") as client:
        wanted = spare(client)
        before = told(console)
        asked = {**wanted, "version": before.version, "why": "more downlink"}
        found = client.post(f"{PREFIX}/passes", json=asked)
        assert found.status_code == 200, found.text
        after = told(console)
        # Said again for want of an answer.
        assert client.post(f"{PREFIX}/passes", json=asked).json()["published"] == after.version
        assert told(console) == after
    assert after.version == before.version + 1
    (new,) = [p for p in after.passes if p.antenna == "DSS-25"]
    assert (new.aos_ns, new.los_ns) == (tai(wanted["begin"]), tai(wanted["end"]))
    touched = [p for p in before.passes if p.aos_ns < new.los_ns and new.aos_ns < p.los_ns]
    assert touched
    for one in before.passes:
        assert (one in after.passes) == (one not in touched)
    one_link = sorted((p.aos_ns, p.los_ns) for p in after.passes)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(one_link))
    newest = console.accounts.audited(2)
    assert [(e.name, e.outcome) for e in newest] == [("operator", "done")] * 2
    assert "more downlink" in newest[0].detail


def test_another_missions_pass_is_a_conflict(console: Console) -> None:
    with signed_in(console, "operator") as client:
        wanted = spare(client)
        begin_ns = tai(wanted["begin"]) + 2 * 3600 * S
        shared_with_psyche(console, begin_ns, begin_ns + 3600 * S, relay=False)
        found = client.post(f"{PREFIX}/passes/try", json=wanted).json()
        assert not found["possible"]
        (conflict,) = found["conflicts"]
        assert (conflict["who"], conflict["antenna"]) == ("Psyche", "DSS-25")
        asked = {**wanted, "version": found["version"], "why": "more downlink"}
        refused = client.post(f"{PREFIX}/passes", json=asked)
        assert (refused.status_code, "pass of Psyche" in refused.text) == (409, True)
        seen = next(
            v
            for v in views(client)
            if v["antenna"] == "DSS-25" and v["aos_ms"] < wanted["end"] and v["held"]
        )
        assert all(
            part["to_ms"] <= seen["held"][0]["from_ms"]
            or part["from_ms"] >= seen["held"][0]["to_ms"]
            for part in seen["free"]
        )


def test_it_is_entered_into_the_schedule_that_missions_share(console: Console) -> None:
    with signed_in(console, "operator") as client:
        wanted = spare(client)
        late_ns = tai(wanted["end"]) + 10 * 3600 * S
        shared_with_psyche(console, late_ns, late_ns + 3600 * S, relay=True)
        asked = {**wanted, "version": told(console).version, "why": "more downlink"}
        assert client.post(f"{PREFIX}/passes", json=asked).json()["shared"]
    with ScheduleStore.open(console.passes.shared) as store:
        version = store.read()
        assert (version.info.actor.name, version.info.actor.agency) == ("operator", AGENCY)
        (track,) = [t for t in version.schedule.tracks if t.request != "cruise"]
        assert track.on_ns == tai(wanted["begin"])
        assert "more downlink" in store.audit()[0].why


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"antenna": "NOWHERE"}, "antenna 'NOWHERE'"),
        ({"end": 0}, "begin before end"),
        ({"begin": 1.0, "end": 3.6e6}, "set-up of DSS-25 takes"),
    ],
)
def test_what_cannot_be_is_said(console: Console, change: dict[str, Any], said: str) -> None:
    with signed_in(console, "operator") as client:
        wanted = spare(client)
        found = client.post(f"{PREFIX}/passes/try", json={**wanted, **change})
        assert said in found.text
        unseen = {**wanted, "begin": wanted["begin"] - 12 * HOUR_MS, "end": wanted["begin"]}
        found = client.post(f"{PREFIX}/passes/try", json=unseen)
        assert "does not see the spacecraft all that time" in found.text or "set-up" in found.text
        stale = {**wanted, "version": 99, "why": "late"}
        found = client.post(f"{PREFIX}/passes", json=stale)
        assert (found.status_code, "try it again" in found.text) == (409, True)
