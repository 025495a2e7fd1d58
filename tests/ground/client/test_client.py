"""The Python client against a console behind a real socket."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from ground.client import Ground, NotAllowed, NotReachable, NotSignedIn, Refused
from ground.console import sample_routes
from ground.console.accounts import Role
from ground.ports import Message
from protocols.bus.messages import Event, EventMessage
from protocols.errors import LocalError
from protocols.identifiers import Topic
from protocols.timecodes.tai import unix_ns_from_tai_ns
from tests.client_calls import CALLS, written
from tests.ground.archive.test_export import S, power, put
from tests.ground.client.served import Served, served
from tests.ground.command.world import START_NS
from tests.ground.console.site import PASSWORD, Console


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Served]:
    with served(Console(tmp_path)) as one:
        yield one


def test_calls_are_those_of_the_routes() -> None:
    assert CALLS.read_text() == written(), "`make generate` writes them anew"


def test_a_command_by_two_people_with_tokens(site: Served) -> None:
    with site.ground("operator") as ann, site.ground("approver") as bob:
        assert ann.session()["role"] == "operator"
        number = ann.add_request("ARRAY_TURN", {"ANGLE": "5"})["number"]
        assert ann.arm_request(number)["state"] == "armed"
        with pytest.raises(NotAllowed, match=r"operator; approver wanted \(POST http"):
            ann.approve_request(number)
        bob.approve_request(number)
        assert [one["command"] for one in bob.requests()] == ["ARRAY_TURN"]
    newest = site.console.accounts.audited(1)[0]
    assert (newest.name, newest.outcome, newest.detail) == ("approver", "done", "token 2")


def test_errors_say_which_value_what_was_allowed_and_where(site: Served) -> None:
    with site.ground("operator") as ground:
        with pytest.raises(Refused, match=r"95; -90\.\.90 deg allowed \(POST .*/requests\)") as one:
            ground.add_request("ARRAY_TURN", {"ANGLE": "95"})
        assert one.value.status == 409
        with pytest.raises(Refused, match="minutes"):
            ground.shelve_alarm("PWR", 100_000, "why")
        with pytest.raises(Refused, match="NONE"):
            ground.samples("NONE")
        with pytest.raises(LocalError, match="'yesterday': UTC like"):
            ground.plot("X", "yesterday", "0s")
    with Ground(site.url, "l4_guess") as guess, pytest.raises(NotSignedIn, match="token is none"):
        guess.alarms()
    with pytest.raises(LocalError, match="http://HOST:PORT"):
        Ground("127.0.0.1:8007")
    site.stop()
    with Ground(site.url) as late, pytest.raises(NotReachable, match="no console answers"):
        late.alarms()


def test_signed_in_by_password(site: Served) -> None:
    with Ground.signed_in(site.url, "operator", PASSWORD) as ground:
        made = ground.add_token("nightly", "viewer", 1)
        assert (made["name"], made["role"]) == ("operator", "viewer")
        with Ground(site.url, made["token"]) as script:
            assert script.session()["role"] == "viewer"
            # Whoever gets hold of a token gets no further with it.
            for more in (script.add_token, script.set_session_password):
                with pytest.raises(Refused, match="not by token"):
                    more("correct horse battery")
            ground.revoke_token(made["number"])
            with pytest.raises(NotSignedIn, match="revoked"):
                script.session()
    with pytest.raises(NotSignedIn, match="password is wrong"):
        Ground.signed_in(site.url, "operator", "wrong wrong wrong")


def test_tokens_are_theirs_for_a_while_and_kept_as_digests(site: Served, tmp_path: Path) -> None:
    accounts, tokens = site.console.accounts, site.console.accounts.tokens
    with pytest.raises(LocalError, match="role admin: operator is operator"):
        tokens.make("operator", Role.ADMIN, "more", days=1, now_s=0.0)
    with pytest.raises(LocalError, match=r"1\.\.366 wanted"):
        tokens.make("operator", Role.VIEWER, "long", days=1_000, now_s=0.0)
    secret = site.token("operator")
    with Ground(site.url, secret) as ground:
        with pytest.raises(Refused, match="no token 99 of operator"):
            ground.revoke_token(99)
        accounts.set_role("operator", Role.VIEWER)
        assert ground.session()["role"] == "viewer", "never more than its person"
        site.console.wall_s += 86_401
        with pytest.raises(NotSignedIn, match="days are over"):
            ground.session()
        site.console.wall_s -= 86_401
        accounts.remove("operator")
        with pytest.raises(NotSignedIn):
            ground.session()
    for file in tmp_path.glob("accounts.sqlite*"):
        assert secret.encode() not in file.read_bytes()


def test_accounts_from_before_there_were_tokens_are_opened(tmp_path: Path) -> None:
    from ground.console.accounts import Accounts

    Accounts.open(tmp_path / "a.sqlite").close()
    with sqlite3.connect(tmp_path / "a.sqlite") as file:
        file.execute("DROP TABLE token")
    file.close()
    accounts = Accounts.open(tmp_path / "a.sqlite")
    assert accounts.tokens.all() == []
    accounts.close()


def test_samples_are_the_archive_s(site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_routes, "SLICE", 1_000)
    with site.console.context.archive() as archive:
        path = archive.where  # pyright: ignore[reportAttributeAccessIssue]
    from ground.archive.store import ArchiveStore

    scet = START_NS + np.arange(10_000) * S
    with ArchiveStore.open(path) as store:
        put(store, power(scet))
        put(store, power(START_NS + np.arange(9_000) * S // 2 + 7))
        put(store, power(np.array([10 * S])))  # the clock was at its epoch once
        with site.ground("viewer") as ground:
            for name in ("VOLTS", "MODE", "LOG"):
                for axis in ("scet", "ert"):
                    found = ground.samples(name, axis=axis)
                    kept = store.query(name, axis=axis)
                    assert len(found) == 19_001
                    assert (found.unit, found.labels) == (kept.unit, dict(kept.labels))
                    np.testing.assert_array_equal(found.scet_ns, kept.scet_ns)
                    np.testing.assert_array_equal(found.ert_ns, kept.ert_ns)
                    np.testing.assert_array_equal(found.valid, kept.valid)
                    shown = kept.valid if name == "VOLTS" else slice(None)
                    np.testing.assert_array_equal(found.values[shown], kept.values[shown])
                    if name != "LOG":
                        assert found.values.dtype == kept.values.dtype
            # From an instant up to another, in every form in which one is written.
            start, stop = int(scet[100]), int(scet[200])
            kept = store.query("VOLTS", start, stop)
            begin = datetime.fromtimestamp(int(unix_ns_from_tai_ns(start)) / 1e9, UTC)
            for one in (start, begin, np.datetime64(begin.replace(tzinfo=None)), str(begin)[:-6]):
                text = one.replace(" ", "T") if isinstance(one, str) else one
                found = ground.samples("VOLTS", text, stop)
                np.testing.assert_array_equal(found.time_ns, kept.scet_ns)
            assert found.utc[0] == np.datetime64(begin.replace(tzinfo=None))
            site.console.clock.ns = int(scet[-1]) + S // 2
            np.testing.assert_array_equal(
                ground.samples("VOLTS", "30s").time_ns,
                store.query("VOLTS", int(scet[-1]) + S // 2 - 30 * S).scet_ns,
            )
            assert len(ground.samples("VOLTS", stop, start)) == 0
            assert len(ground.samples("VOLTS", 0, 1)) == 0


async def test_live_is_the_present_and_says_when_the_server_is_gone(site: Served) -> None:
    site.console.raise_alarm()
    ground = site.ground("viewer")
    stages: list[str] = []
    async with aclosing(ground.live()) as presents:
        async for present in presents:
            if not stages:
                assert present.connected
                assert [one["name"] for one in present.alarms] == ["PWR_BUS_VOLTAGE"]
                stages.append("snapshot")
                tell(site, "THM_X")
            elif stages == ["snapshot"] and "alarms" in present.changed:
                assert {one["name"] for one in present.alarms} == {"PWR_BUS_VOLTAGE", "THM_X"}
                assert present.events[-1]["name"] == "THM_X"
                stages.append("changes")
                site.stop()
            elif stages == ["snapshot", "changes"] and not present.connected:
                assert present.why
                stages.append("lost")
                site.start()
            elif len(stages) == 3 and present.connected:
                stages.append("again")
                break
    assert stages == ["snapshot", "changes", "lost", "again"]
    ground.close()
    with Ground(site.url, "l4_none") as guess, pytest.raises(NotSignedIn):
        async for _ in guess.live():
            pass


def tell(site: Served, name: str) -> None:
    """What the console's own thread does of what it hears."""
    event = Event(
        kind="limit",
        severity="critical",
        name=name,
        text=f"{name} is CRITICAL_LOW",
        scet_ns=START_NS,
        ert_ns=START_NS,
        reception_ns=START_NS,
        after="CRITICAL_LOW",
        before="NOMINAL",
    )
    body = EventMessage("j", 0, 0, (event,)).build()
    console = site.console
    with console.context.lock:
        heard = Message(Topic.EVENTS, "monitor", "j", 0, START_NS, body)
        console.model.take(heard, console.clock.ns)
        console.model.alarms_changed()
        changes = console.model.changes()
    console.app.state.hub.tell(changes)
