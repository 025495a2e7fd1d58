"""The relay's own passes: allowed, without a gap where some antenna sees it, never taken back."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from ground.adapters.loopback import LoopbackBus, LoopbackExchange
from ground.config import SCHEDULING
from ground.ports import Message
from ground.scheduling import relay_plan
from ground.scheduling.relay_plan import HORIZON_S, RENEW_S, STATIONS, published_passes
from ground.scheduling.rules import violations
from ground.scheduling.service import SchedulingService, relay_planner, summary
from ground.scheduling.sky import Sky
from ground.scheduling.stations import Station, load_stations, select_stations
from ground.scheduling.targets import target_named
from ground.scheduling.visibility import find_passes
from protocols.bus.messages import PassesMessage, ServiceState, StatusMessage, parse
from protocols.bus.pass_list import parse_pass_list
from protocols.errors import RemoteError
from protocols.identifiers import Topic
from protocols.timecodes.tai import tai_ns_from_utc_iso

S = 10**9
DAY_NS = 86_400 * S
#: Not a whole second, as real clocks have it.
NOW_NS = tai_ns_from_utc_iso("2026-11-23T01:30:00Z") + 123_456_789


def stations(*names: str) -> list[Station]:
    return select_stations(load_stations(), names or STATIONS)


def planned(now_ns: int, over: list[Station], before: PassesMessage | None) -> PassesMessage:
    publication = relay_plan.plan(now_ns, over, before)
    assert violations(publication.problem, publication.schedule) == []
    return published_passes(publication, before)


@pytest.mark.parametrize("month", range(1, 13))
def test_all_year_a_pass_is_on_from_the_start_and_hands_over_without_a_gap(month: int) -> None:
    now_ns = tai_ns_from_utc_iso(f"2027-{month:02d}-11T{2 * month - 1:02d}:07:00Z")
    found = planned(now_ns, stations(), None)
    assert found.receiving(now_ns) is not None
    assert found.horizon_end_ns - now_ns > (HORIZON_S - 86_400) * S
    gaps = [b.aos_ns - a.los_ns for a, b in itertools.pairwise(found.passes)]
    # Shorter views are not worth an antenna and are left out.
    assert all(0 <= gap < 1800 * S for gap in gaps), gaps


def test_every_pass_lies_in_a_view_period_and_yeoju_keeps_its_own() -> None:
    found = planned(NOW_NS, stations(), None)
    sky = Sky(NOW_NS - DAY_NS, NOW_NS + 6 * DAY_NS)
    views = list(find_passes(stations(), target_named("l4"), sky, uplink=True))
    for one in found.passes:
        view = next(
            v for v in views
            if v.station == one.antenna and v.aos_ns - S <= one.aos_ns < one.los_ns <= v.los_ns + S
        )  # fmt: skip
        if one.uplink_from_ns < one.uplink_to_ns:
            (window,) = view.uplink
            assert window.start_ns - S <= one.uplink_from_ns
            assert one.uplink_to_ns <= window.end_ns + S
        assert abs(one.owlt_aos_ns / S - view.light_time_s) < 0.2
    home = [p.los_ns - p.aos_ns for p in found.passes if p.station == "Yeoju"][1:]
    assert min(home) > 0.8 * 11 * 3600 * S


def test_with_yeoju_alone_there_is_no_pass_for_half_of_the_day() -> None:
    found = planned(NOW_NS, stations("YEOJU"), None)
    on = [found.receiving(NOW_NS + h * 3600 * S) is not None for h in range(72)]
    assert on[0]
    assert 0.35 < sum(on) / len(on) < 0.55
    assert summary(found, NOW_NS) == "pass over Yeoju until 2026-11-23 04:58 UTC"
    later_ns = tai_ns_from_utc_iso("2026-11-23T12:00:00Z")
    assert summary(found, later_ns) == "no pass; next over Yeoju at 2026-11-23 17:49 UTC"


def test_what_is_published_stays_to_the_nanosecond_while_the_horizon_rolls() -> None:
    told = planned(NOW_NS, stations(), None)
    now_ns = NOW_NS
    for _ in range(4):
        now_ns = told.horizon_end_ns - RENEW_S * S + 1
        after = planned(now_ns, stations(), told)
        assert after.version == told.version + 1
        ahead = [p for p in told.passes if p.release_ns > now_ns]
        assert ahead
        assert [p for p in after.passes if p.id in {q.id for q in ahead}] == ahead
        assert after.horizon_end_ns > told.horizon_end_ns
        gaps = [b.aos_ns - a.los_ns for a, b in itertools.pairwise(after.passes)]
        assert all(0 <= gap < 1800 * S for gap in gaps)
        told = after


def test_a_pass_that_has_just_ended_is_still_told() -> None:
    told = planned(NOW_NS, stations("YEOJU"), None)
    second = told.passes[-2]
    now_ns = second.release_ns + S
    after = planned(now_ns, stations("YEOJU"), told)
    assert second in after.passes, "what arrived in it may be on its way to the station's buffer"
    assert told.passes[0] not in after.passes


def test_after_a_long_stop_it_begins_anew() -> None:
    told = planned(NOW_NS, stations(), None)
    late_ns = NOW_NS + 30 * DAY_NS
    after = planned(late_ns, stations(), told)
    assert after.version == 2
    assert after.receiving(late_ns) is not None


# ---------------------------------------------------------------- service


class Clock:
    def __init__(self) -> None:
        self.t_ns = NOW_NS

    def now_ns(self) -> int:
        return self.t_ns

    def wall_seconds(self, world_seconds: float) -> float:
        return world_seconds


class Crash(Exception):
    pass


class Site:
    """The service, and who listens; it can be made to die at its n-th publication of passes."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "schedule" / "passes.json"
        self.clock = Clock()
        self.exchange = LoopbackExchange()

    def run(self, turns: int, *, die: Callable[[], None] | None = None, step_ns: int = 0) -> None:
        bus = LoopbackBus(SCHEDULING, self.exchange)
        published = bus.publish

        def publish(topic: str, body: bytes, *, time_ns: int) -> int:
            if topic == Topic.PASSES and die is not None:
                die()
            return published(topic, body, time_ns=time_ns)

        bus.publish = publish  # type: ignore[method-assign]
        left = itertools.count(turns, -1)

        def stop() -> bool:
            self.clock.t_ns += step_ns
            return next(left) <= 0

        try:
            SchedulingService(relay_planner(stations()), bus, self.clock, self.path).run(stop)
        finally:
            bus.close()

    def last(self, topic: str) -> Message:
        return self.exchange.last[topic]


def test_it_tells_the_bus_what_it_wrote_for_the_stations(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.run(2)
    told = parse(PassesMessage, site.last(Topic.PASSES).body)
    assert parse_pass_list(site.path.read_bytes()) == told
    assert told.receiving(NOW_NS) is not None
    status = parse(StatusMessage, site.last(f"{Topic.STATUS}.{SCHEDULING}").body)
    assert status.state == ServiceState.STOPPED
    assert status.detail.startswith("pass over Yeoju until")
    assert status.counters["passes_ahead"] == sum(p.los_ns > NOW_NS for p in told.passes)
    assert {p.name for p in site.path.parent.iterdir()} == {
        "passes.json", "requests.json", "schedule.html", "schedule.ics", "schedule.json",
    }  # fmt: skip


def test_a_service_that_dies_goes_on_with_the_list_that_stations_have(tmp_path: Path) -> None:
    site = Site(tmp_path)

    def die() -> None:
        raise Crash

    with pytest.raises(Crash):
        site.run(2, die=die)
    stations_have = parse_pass_list(site.path.read_bytes())
    assert Topic.PASSES not in site.exchange.last
    site.clock.t_ns += 3600 * S
    site.run(2)
    assert parse(PassesMessage, site.last(Topic.PASSES).body) == stations_have


def test_the_horizon_rolls_as_time_goes_by(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.run(14, step_ns=DAY_NS // 2)
    told = parse(PassesMessage, site.last(Topic.PASSES).body)
    assert told.version >= 3
    assert told.receiving(site.clock.t_ns) is not None


def test_a_list_that_is_none_of_ours_is_not_overwritten(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.path.parent.mkdir()
    site.path.write_text("[]")
    with pytest.raises(RemoteError, match="pass list"):
        site.run(1)
    assert site.path.read_text() == "[]"
