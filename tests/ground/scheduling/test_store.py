"""Versions: branches, publishing with who and why, agencies' borders, past, durability."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ground.scheduling.model import (
    S_NS,
    Antenna,
    Choice,
    Commitment,
    Interval,
    Mission,
    Problem,
    Quota,
    Request,
    Schedule,
    Track,
    ViewPeriod,
    track_of,
)
from ground.scheduling.rules import violations
from ground.scheduling.store import ScheduleStore
from ground.scheduling.versions import Actor, NotAllowedError, roll_forward
from protocols.errors import LocalError

HOUR = 3600 * S_NS
CHIEF = Actor("Ada")
KARI = Actor("Kim", "KARI")
NASA = Actor("Lee", "NASA")


def request(name: str, mission: str, antennas: tuple[str, ...] = ("A", "B")) -> Request:
    views = (ViewPeriod(0, 48 * HOUR),)
    choices = tuple(Choice((a,), views) for a in antennas)
    return Request(name, mission, 4 * 3600, 2 * 3600, choices, setup_s=600)


PROBLEM = Problem(
    "two days",
    Interval(0, 48 * HOUR),
    (Antenna("A"), Antenna("B")),
    (Mission("relay", "KARI"), Mission("mro", "NASA"), Mission("juno", "NASA")),
    (request("k1", "relay"), request("k2", "relay"), request("n1", "mro"), request("n2", "juno")),
)


def track(name: str, antenna: str, on_h: float, hours: float = 4) -> Track:
    on_ns = round(on_h * HOUR)
    return track_of(PROBLEM.request_by_id[name], (antenna,), on_ns, on_ns + round(hours * HOUR))


SCHEDULE = Schedule(
    (track("k1", "A", 1), track("n1", "A", 6), track("k2", "B", 20), track("n2", "B", 30))
)


@pytest.fixture
def store(tmp_path: Path):
    with ScheduleStore.open(tmp_path / "s.sqlite") as opened:
        opened.create(PROBLEM, SCHEDULE, CHIEF, "first", 0)
        yield opened


def moved(name: str, antenna: str, on_h: float, hours: float = 4) -> Schedule:
    others = [t for t in SCHEDULE.tracks if t.request != name]
    return Schedule((*others, track(name, antenna, on_h, hours)))


def test_what_is_stored_comes_back(store: ScheduleStore) -> None:
    version = store.read()
    assert (version.problem, version.schedule) == (PROBLEM, SCHEDULE)
    assert version.info.actor == CHIEF


def test_a_branch_is_published_and_compared(store: ScheduleStore) -> None:
    store.branch("try", CHIEF, "what if", 1)
    store.commit("try", PROBLEM, moved("n2", "A", 30), CHIEF, "move", 2)
    after = Schedule((*moved("n2", "A", 30).tracks[:-1], track("n2", "A", 30, 3)))
    store.commit("try", PROBLEM, after, CHIEF, "and shorten", 3)
    assert store.read().schedule == SCHEDULE, "a branch changes nothing that is published"
    info = store.publish("try", CHIEF, "Juno asked for it", 4)
    assert store.read().schedule == after
    assert store.read("try").info.id == info.id
    difference = store.diff("1", "published")
    assert difference.count == {"shortened": 1}
    assert difference.unchanged == 3
    assert difference.mission_hours["juno"] == (4, 3)
    assert difference.agency_hours["NASA"] == (8, 7)
    assert [v.why for v in store.log()] == ["Juno asked for it", "and shorten", "move", "first"]
    who = [(e.actor, e.action, e.why) for e in store.audit("n2")]
    assert who[0] == (CHIEF, "track", "Juno asked for it")
    assert len(who) == 3


def test_publishing_wants_a_reason_the_rules_and_the_latest(store: ScheduleStore) -> None:
    for name in ("one", "two"):
        store.branch(name, CHIEF, "", 1)
    store.commit("one", PROBLEM, moved("n2", "A", 31), CHIEF, "", 2)
    store.commit("two", PROBLEM, moved("n2", "A", 32), CHIEF, "", 2)
    with pytest.raises(LocalError, match="say why"):
        store.publish("one", CHIEF, "", 3)
    store.publish("one", CHIEF, "why", 3)
    with pytest.raises(LocalError, match="l4 schedule branch two-2"):
        store.publish("two", CHIEF, "why", 3)
    with pytest.raises(LocalError, match="published already"):
        store.publish("one", CHIEF, "why", 3)
    store.commit("one", PROBLEM, moved("n2", "B", 19), CHIEF, "onto k2", 4)
    with pytest.raises(LocalError, match="R4 B"):
        store.publish("one", CHIEF, "why", 5)
    with pytest.raises(LocalError, match="commit to a branch"):
        store.commit("published", PROBLEM, SCHEDULE, CHIEF, "", 6)
    with pytest.raises(LocalError, match="Branches: one, published, two"):
        store.read("three")


def test_of_two_writers_the_second_is_told(store: ScheduleStore) -> None:
    store.branch("try", CHIEF, "", 1)
    with ScheduleStore.open(store.path) as other:
        one, two = store.read("try"), other.read("try")
        first = store.commit(
            "try", PROBLEM, moved("n2", "A", 31), CHIEF, "mine", 2, parent=one.info.id
        )
        with pytest.raises(LocalError, match=r"at version 2, by Ada .* 'mine'") as caught:
            other.commit("try", PROBLEM, moved("k2", "A", 20), CHIEF, "", 3, parent=two.info.id)
        for command in ("diff 1 2", "show try --requests", "commit try … --parent 2"):
            assert f"l4 schedule {command}" in str(caught.value)
        assert other.read("try").info.id == first.id, "nothing was written"
        # An agency replaces its own part only: it is stopped where that moved, and by nothing else.
        mine = other.read("1", KARI)
        shorter = Schedule((track("k1", "A", 1, 3),))
        other.commit("try", mine.problem, shorter, KARI, "", 4, parent=1)
        assert track("n2", "A", 31) in store.read("try").schedule.tracks
        with pytest.raises(LocalError, match="by Kim"):
            store.commit("try", mine.problem, Schedule(), KARI, "", 5, parent=1)
        store.commit("try", PROBLEM, SCHEDULE, CHIEF, "meant", 6, parent=3)


def test_a_branch_begins_with_its_first_commit_or_not_at_all(store: ScheduleStore) -> None:
    foreign = moved("n2", "A", 31)
    with pytest.raises(NotAllowedError):
        store.commit("new", PROBLEM, foreign, KARI, "", 1, parent=1, begin=True)
    assert set(store.branches()) == {"published"}
    store.branch("try", CHIEF, "", 1)
    store.commit("try", PROBLEM, foreign, CHIEF, "", 2)
    store.publish("try", CHIEF, "why", 0)
    info = store.commit("new", PROBLEM, SCHEDULE, CHIEF, "", 3, parent=1, begin=True)
    assert info.parent == 1, "at the version that was read, not at what is published now"
    with pytest.raises(LocalError, match="there already"):
        store.commit("new", PROBLEM, SCHEDULE, CHIEF, "", 3, parent=1, begin=True)


def test_a_diff_names_requests_and_other_parts(store: ScheduleStore) -> None:
    longer = replace(PROBLEM.request_by_id["k1"], duration_s=5 * 3600)
    edited = replace(
        PROBLEM,
        requests=(longer, *PROBLEM.requests[2:], request("n3", "mro")),
        quotas=(Quota("NASA", 40 * 3600),),
    )
    store.branch("try", CHIEF, "", 1)
    kept = Schedule(tuple(t for t in SCHEDULE.tracks if t.request != "k2"))
    store.commit("try", edited, kept, CHIEF, "", 2)
    difference = store.diff("published", "try")
    assert [c.text for c in difference.requests] == [
        "request k1 (relay, KARI): edited: duration_s",
        "request k2 (relay, KARI): removed",
        "request n3 (mro, NASA): added",
    ]
    assert difference.parts == ("quotas",)
    assert difference.count_text == "1 dropped; requests: 1 edited, 1 removed, 1 added"


def test_an_old_version_is_published_by_the_commands_that_the_refusal_names(
    store: ScheduleStore,
) -> None:
    store.branch("try", CHIEF, "", 1)
    store.commit("try", PROBLEM, moved("n2", "A", 31), CHIEF, "", 2)
    store.publish("try", CHIEF, "a mistake", 0)
    store.branch("old", CHIEF, "", 3, source="1")
    for name in ("old", "1"):
        with pytest.raises(LocalError, match=r"commit back .* --parent 3"):
            store.publish(name, CHIEF, "why", 0)
    then = store.read("1")
    store.branch("back", CHIEF, "", 4)
    store.commit("back", then.problem, then.schedule, CHIEF, "", 5, parent=3)
    store.publish("back", CHIEF, "taken back", 0)
    assert store.read().schedule == SCHEDULE


def test_an_agency_sees_its_requests_and_everybodys_passes(store: ScheduleStore) -> None:
    version = store.read(actor=KARI)
    assert [r.id for r in version.problem.requests] == ["k1", "k2"]
    assert {t.request for t in version.schedule.tracks} == {"k1", "k2"}
    assert {(c.antenna, c.kind, c.label) for c in version.problem.commitments} == {
        ("A", "pass", "mro"),
        ("B", "pass", "juno"),
    }
    assert violations(version.problem, version.schedule) == []


def test_an_agency_edits_its_own_requests_only(store: ScheduleStore) -> None:
    store.branch("kari", KARI, "longer pass", 1)
    seen = store.read("kari", KARI)
    longer = replace(seen.problem.request_by_id["k1"], duration_s=5 * 3600)
    added = request("k3", "relay")
    mine = replace(seen.problem, requests=(longer, added))
    tracks = Schedule((track("k1", "A", 0.5, 4.5),))
    store.commit("kari", mine, tracks, KARI, "k2 is not needed", 2)
    whole = store.read("kari")
    assert [r.id for r in whole.problem.requests] == ["k1", "n1", "n2", "k3"]
    assert whole.problem.commitments == ()
    assert {t.request for t in whole.schedule.tracks} == {"k1", "n1", "n2"}
    edits = {(e.request, e.detail) for e in store.audit() if e.action == "request"}
    assert edits == {("k1", "edited: duration_s"), ("k2", "removed"), ("k3", "added")}
    store.publish("kari", KARI, "agreed in the team", 0)


def test_an_agency_cannot_touch_what_is_anothers(store: ScheduleStore) -> None:
    store.branch("kari", KARI, "", 1)
    foreign = replace(PROBLEM, requests=(PROBLEM.request_by_id["n1"],))
    with pytest.raises(NotAllowedError, match=r"n1 is for mission mro of NASA"):
        store.commit("kari", foreign, Schedule(), KARI, "", 2)
    stolen = replace(PROBLEM, requests=(replace(PROBLEM.request_by_id["n1"], mission="relay"),))
    with pytest.raises(NotAllowedError, match=r"n1 is of NASA"):
        store.commit("kari", stolen, Schedule(), KARI, "", 2)
    seen = store.read("kari", KARI)
    with pytest.raises(NotAllowedError, match=r"track of n1"):
        store.commit("kari", seen.problem, SCHEDULE, KARI, "", 2)
    with pytest.raises(NotAllowedError, match=r"n2 is another agency's"):
        store.lock("kari", "n2", KARI, "", 2)
    store.commit("kari", PROBLEM, moved("n2", "A", 31), CHIEF, "for them", 3)
    with pytest.raises(NotAllowedError, match=r"moves n2 of NASA"):
        store.publish("kari", KARI, "please", 4)
    store.publish("kari", CHIEF, "agreed with NASA", 4)
    with pytest.raises(NotAllowedError):
        ScheduleStore.open(store.path.with_name("x")).create(PROBLEM, SCHEDULE, NASA, "", 0)


def test_an_agency_publishes_its_new_request_with_a_track(store: ScheduleStore) -> None:
    store.branch("kari", KARI, "", 1)
    seen = store.read("kari", KARI)
    mine = replace(seen.problem, requests=(*seen.problem.requests, request("k3", "relay")))
    k3 = replace(track("k1", "B", 40), request="k3")
    tracks = Schedule((*seen.schedule.tracks, k3))
    store.commit("kari", mine, tracks, KARI, "one more pass", 2)
    store.publish("kari", KARI, "free antenna time", 3)
    assert k3 in store.read().schedule.tracks


def test_an_agency_cannot_publish_what_others_tried_on_its_branch(store: ScheduleStore) -> None:
    store.branch("kari", KARI, "", 1)
    tried = {
        "quotas": {"quotas": (Quota("NASA", 40 * 3600),)},
        "commitments": {"commitments": (Commitment("A", Interval(44 * HOUR, 45 * HOUR)),)},
        "requests": {"requests": (*PROBLEM.requests[:3], replace(PROBLEM.requests[3], priority=9))},
        "locks": {"locks": (track("n1", "A", 6),)},
        "name or horizon": {"horizon": Interval(0, 47 * HOUR)},
    }
    for number, (what, changed) in enumerate(tried.items(), start=2):
        store.commit("kari", replace(PROBLEM, **changed), SCHEDULE, CHIEF, "what if", number)
        with pytest.raises(NotAllowedError, match=what):
            store.publish("kari", KARI, "please", number)


def test_only_a_network_scheduler_corrects_the_past(store: ScheduleStore) -> None:
    store.branch("kari", KARI, "", 1)
    mine = store.read("kari", KARI)
    k2 = tuple(t for t in mine.schedule.tracks if t.request == "k2")
    store.commit("kari", mine.problem, Schedule((track("k1", "A", 11), *k2)), KARI, "", 2)
    with pytest.raises(NotAllowedError, match="past"):
        store.publish("kari", KARI, "it was later", 20 * HOUR, frozen_ns=0)
    store.publish("kari", CHIEF, "it was later", 20 * HOUR, frozen_ns=0)


def test_locks_are_kept_and_recorded(store: ScheduleStore) -> None:
    store.branch("try", CHIEF, "", 1)
    store.lock("try", "n1", NASA, "orbit insertion", 2)
    locked = store.read("try").problem
    assert locked.locks == (track("n1", "A", 6),)
    store.commit("try", locked, moved("n1", "A", 8), CHIEF, "", 3)
    with pytest.raises(LocalError, match="R12 n1"):
        store.publish("try", CHIEF, "why", 4)
    store.lock("try", "n1", NASA, "", 5, locked=False)
    store.publish("try", CHIEF, "why", 6)
    assert [e.action for e in store.audit("n1")] == ["track", "unlock", "track", "lock"]


def test_the_past_stays(store: ScheduleStore) -> None:
    store.branch("try", CHIEF, "", 1)
    store.commit("try", PROBLEM, moved("k1", "A", 11), CHIEF, "", 2)
    with pytest.raises(LocalError, match="k1 on A began at"):
        store.publish("try", CHIEF, "why", 6 * HOUR)
    store.publish("try", CHIEF, "why", HOUR // 2)
    store.commit("try", PROBLEM, moved("k1", "B", 1), CHIEF, "", 3)
    with pytest.raises(LocalError, match="k1 would begin at"):
        store.publish("try", CHIEF, "why", 6 * HOUR)


def test_a_track_in_progress_can_be_cut_short(store: ScheduleStore) -> None:
    store.branch("try", CHIEF, "", 1)
    store.commit("try", PROBLEM, moved("k1", "A", 1, 2.5), CHIEF, "", 2)
    store.publish("try", CHIEF, "antenna lost", 3 * HOUR)


def test_the_next_horizon_goes_on_from_what_is_published() -> None:
    later = replace(
        PROBLEM,
        horizon=Interval(0, 72 * HOUR),
        requests=(*PROBLEM.requests[:3], request("k9", "relay")),
    )
    rolled = roll_forward(later, PROBLEM, SCHEDULE, 10 * HOUR)
    assert {t.request for t in rolled.locks} == {"k1", "n1"}
    assert rolled.published is not None
    assert {t.request for t in rolled.published.tracks} == {"k1", "k2", "n1"}
    assert [(c.antenna, c.label) for c in rolled.commitments] == [("B", "juno")]


def test_no_pass_leaves_by_rolling_but_those_that_are_over() -> None:
    def later(begin_h: int, *names: str) -> Problem:
        views = (ViewPeriod(begin_h * HOUR, 96 * HOUR),)
        held = tuple(
            replace(r, choices=tuple(replace(c, view_periods=views) for c in r.choices))
            for r in PROBLEM.requests
            if r.id in names
        )
        return replace(PROBLEM, horizon=Interval(begin_h * HOUR, 96 * HOUR), requests=held)

    rolled = roll_forward(later(12, "k2", "n2"), PROBLEM, SCHEDULE, 12 * HOUR)
    assert rolled.published is not None
    assert {t.request for t in rolled.published.tracks} == {"k2", "n2"}
    assert rolled.locks == ()
    with pytest.raises(LocalError, match=r"k2 .* would leave"):
        roll_forward(later(25, "n2"), PROBLEM, SCHEDULE, 12 * HOUR)
    with pytest.raises(LocalError, match=r"k2 .* would leave"):
        roll_forward(later(22, "n2"), PROBLEM, SCHEDULE, 26 * HOUR)
    with pytest.raises(LocalError, match=r"does not hold request k2"):
        roll_forward(later(12, "n2"), PROBLEM, SCHEDULE, 26 * HOUR)


def test_what_ended_before_the_new_horizon_leaves_it(store: ScheduleStore) -> None:
    def week(begin_h: int) -> Problem:
        views = (ViewPeriod(begin_h * HOUR, 96 * HOUR),)
        held = tuple(
            replace(r, choices=tuple(replace(c, view_periods=views) for c in r.choices))
            for r in PROBLEM.requests
            if r.id in ("k2", "n2")
        )
        return replace(PROBLEM, horizon=Interval(begin_h * HOUR, 96 * HOUR), requests=held)

    later = Schedule((track("k2", "B", 20), track("n2", "B", 30)))
    store.branch("next", CHIEF, "", 1)
    store.commit("next", week(2), later, CHIEF, "", 2)
    with pytest.raises(LocalError, match="k1 on A began at"):
        store.publish("next", CHIEF, "next days", 12 * HOUR)
    store.commit("next", week(12), later, CHIEF, "", 3)
    store.publish("next", CHIEF, "next days", 12 * HOUR)
    assert store.read().schedule == later
    assert store.diff("1", "published").count == {"past": 2}
    assert store.diff("1", "published").agency_hours["NASA"] == (4, 4)
    assert "dropped" not in " ".join(e.detail for e in store.audit("k1", limit=1))


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    path.write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(LocalError, match=r"x\.sqlite cannot be opened"):
        ScheduleStore.open(path)


WRITER = """
import sys
from pathlib import Path
from tests.ground.scheduling.test_store import CHIEF, PROBLEM, moved
from ground.scheduling.store import ScheduleStore

with ScheduleStore.open(Path(sys.argv[1])) as store:
    for number in range(1000):
        hour = 36 + number % 2
        store.commit("try", PROBLEM, moved("n2", "A", hour), CHIEF, str(number), number)
        print(store.publish("try", CHIEF, str(number), 0).id, flush=True)
"""


def test_what_was_published_survives_a_kill(store: ScheduleStore) -> None:
    store.branch("try", CHIEF, "", 1)
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(store.path)], cwd=root, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(5)]
        writer.send_signal(signal.SIGKILL)
        told += [int(line) for line in writer.stdout if line.endswith("\n")]
    with ScheduleStore.open(store.path) as again:
        latest = again.read()
        assert latest.info.id >= told[-1]
        assert violations(latest.problem, latest.schedule) == []
        assert len([e for e in again.audit() if e.action == "publish"]) >= len(told)
