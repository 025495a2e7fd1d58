"""Every write of the API is refused without a session, with too low a role, from a foreign origin
and with a forged token, and every refusal is in the audit.  The table is the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from ground.console.accounts import Role
from ground.console.app import COOKIE
from ground.console.endpoints import PREFIX
from tests.ground.console.site import ORIGIN, PASSWORD, Console, signed_in


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    one = Console(tmp_path)
    yield one
    one.close()


def document(console: Console) -> dict[str, Any]:
    with TestClient(console.app, base_url=ORIGIN) as client:
        return client.get(PREFIX + "/openapi.json").json()


def operations(console: Console) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path with its parameters filled in, and what the document says."""
    for path, methods in document(console)["paths"].items():
        for method, operation in methods.items():
            filled = path
            for one in operation.get("parameters", ()):
                if one["in"] == "path":
                    value = "1" if one["schema"]["type"] == "integer" else "somebody"
                    filled = filled.replace(f"{{{one['name']}}}", value)
            yield method.upper(), filled, operation


def body_of(console: Console, operation: dict[str, Any]) -> Any:
    """The least that the body's schema allows."""
    if "requestBody" not in operation:
        return None
    schemas = document(console)["components"]["schemas"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
    values: dict[str, Any] = {}
    for name in schema.get("required", ()):
        kind = schema["properties"][name]
        if "pattern" in kind:
            values[name] = kind["pattern"].strip("^$()").split("|")[0]
        elif kind["type"] in ("integer", "number"):
            values[name] = kind.get("minimum", 0)
        else:
            values[name] = "x" * 12
    return values


def test_every_write_needs_a_session_a_role_our_origin_and_the_token(console: Console) -> None:
    writes = [
        (method, path, operation)
        for method, path, operation in operations(console)
        if method in ("POST", "PUT", "DELETE") and operation["x-role"] != "anybody"
    ]
    assert len(writes) > 20
    expected = 0
    for method, path, operation in writes:
        role = Role[operation["x-role"].upper()]
        below = Role(role - 1).name.lower() if role > Role.VIEWER else None
        body = body_of(console, operation)
        with TestClient(console.app, base_url=ORIGIN) as client:
            assert client.request(method, path, json=body).status_code == 401, path
            expected += 1
        with signed_in(console, role.name.lower()) as client:
            foreign = {"origin": "https://elsewhere.example"}
            found = client.request(method, path, json=body, headers=foreign)
            assert (found.status_code, "not ours" in found.text) == (403, True), path
            forged = {"x-csrf-token": "forged"}
            found = client.request(method, path, json=body, headers=forged)
            assert (found.status_code, "X-CSRF-Token" in found.text) == (403, True), path
            expected += 2
        if below is not None:
            with signed_in(console, below) as client:
                found = client.request(method, path, json=body)
                assert (found.status_code, "wanted" in found.text) == (403, True), path
                expected += 1
    refused = [one for one in console.accounts.audited(1_000) if one.outcome in ("401", "403")]
    assert len(refused) == expected
    assert {one.action for one in refused} == {f"{m} {path}" for m, path, _ in writes}


def test_every_read_needs_a_session(console: Console) -> None:
    reads = [(m, p, o) for m, p, o in operations(console) if m == "GET"]
    assert len(reads) > 15
    for method, path, operation in reads:
        with TestClient(console.app, base_url=ORIGIN) as client:
            assert client.request(method, path).status_code == 401, path
        role = Role[operation["x-role"].upper()]
        if role > Role.VIEWER:
            with signed_in(console, Role(role - 1).name.lower()) as client:
                assert client.request(method, path).status_code == 403, path


def test_with_the_role_it_is_done_and_audited(console: Console) -> None:
    console.raise_alarm()
    with signed_in(console, "operator") as client:
        found = client.post(f"{PREFIX}/alarms/PWR_BUS_VOLTAGE/acknowledge")
        assert found.json()[0]["state"] == "acknowledged"
        added = client.post(f"{PREFIX}/requests", json={"command": "TEST_CONNECTION"}).json()
        assert (added["number"], added["actor"]) == (1, "operator")
        assert client.post(f"{PREFIX}/requests/1/arm").json()["state"] == "armed"
    newest = console.accounts.audited(1)[0]
    assert (newest.name, newest.outcome) == ("operator", "done")
    assert newest.action == f"POST {PREFIX}/requests/1/arm"


def test_a_second_person_is_another_account(console: Console) -> None:
    with signed_in(console, "approver") as client:
        asked = {"command": "ARRAY_TURN", "arguments": {"ANGLE": "5"}}
        number = client.post(f"{PREFIX}/requests", json=asked).json()["number"]
        client.post(f"{PREFIX}/requests/{number}/arm")
        found = client.post(f"{PREFIX}/requests/{number}/approve")
        assert (found.status_code, "second person" in found.text) == (409, True)
    with signed_in(console, "admin") as client:
        assert client.post(f"{PREFIX}/requests/{number}/approve").status_code == 200


def test_what_is_wrong_is_named(console: Console) -> None:
    with signed_in(console, "operator") as client:
        found = client.post(f"{PREFIX}/requests", json={"command": "ARRAY_TURN", "speed": 3})
        assert (found.status_code, "speed" in found.json()["error"]) == (400, True)
        asked = {"command": "ARRAY_TURN", "arguments": {"ANGLE": "95"}}
        found = client.post(f"{PREFIX}/requests", json=asked)
        assert "95; -90..90 deg allowed" in found.json()["error"]
        found = client.get(f"{PREFIX}/plot?name=X&from=0&to=yesterday")
        assert found.json()["error"] == "to 'yesterday': float wanted"
        found = client.post(f"{PREFIX}/requests", content=b"x" * 300_000)
        assert found.status_code == 413


def test_sessions_end(console: Console) -> None:
    with TestClient(console.app, base_url=ORIGIN) as client:
        asked = {"name": "viewer", "password": PASSWORD}
        found = client.post(f"{PREFIX}/session", json=asked)
        assert "HttpOnly; Path=/; SameSite=strict" in found.headers["set-cookie"]
        cookie = client.cookies[COOKIE]
        assert client.get(f"{PREFIX}/session").json()["role"] == "viewer"
        token = {"x-csrf-token": found.json()["csrf"]}
        assert client.request("DELETE", f"{PREFIX}/session", headers=token).status_code == 200
        client.cookies.set(COOKIE, cookie)
        assert client.get(f"{PREFIX}/session").status_code == 401
    with signed_in(console, "viewer") as client:
        console.wall_s += 9 * 3_600
        assert client.get(f"{PREFIX}/session").status_code == 401


def test_passwords_cannot_be_tried_for_long(console: Console) -> None:
    with TestClient(console.app, base_url=ORIGIN) as client:
        asked = {"name": "admin", "password": "wrong wrong wrong"}
        for _ in range(5):
            assert client.post(f"{PREFIX}/session", json=asked).status_code == 401
        asked["password"] = PASSWORD
        found = client.post(f"{PREFIX}/session", json=asked)
        assert "too many attempts" in found.json()["error"]
        console.wall_s += 61
        assert client.post(f"{PREFIX}/session", json=asked).status_code == 200


def test_the_live_stream_wants_a_session_from_our_own_page(console: Console) -> None:
    from starlette.websockets import WebSocketDisconnect

    with TestClient(console.app, base_url=ORIGIN) as client:
        with (
            pytest.raises(WebSocketDisconnect) as ended,
            client.websocket_connect(f"{PREFIX}/live"),
        ):
            pass
        assert ended.value.code == 4401
    console.raise_alarm()
    with (
        signed_in(console, "viewer") as client,
        client.websocket_connect(f"{PREFIX}/live") as socket,
    ):
        first = socket.receive_json()
        assert first["kind"] == "snapshot"
        assert first["alarms"][0]["state"] == "unacknowledged"


def test_the_audit_cannot_be_changed(console: Console) -> None:
    import sqlite3

    console.accounts.audit(0.0, "ann", "", "x", "done")
    database = console.accounts._db  # pyright: ignore[reportPrivateUsage]
    for statement in ("DELETE FROM audit", "UPDATE audit SET name = 'bob'"):
        with pytest.raises(sqlite3.IntegrityError, match="kept"):
            database.execute(statement)


def test_set_up_is_once(tmp_path: Path) -> None:
    from ground.console.accounts import Accounts, NotSignedIn

    accounts = Accounts.open(tmp_path / "new.sqlite")
    token = accounts.setup_token(0.0)
    assert token is not None
    with pytest.raises(NotSignedIn):
        accounts.set_up("guess", "eve", PASSWORD, 1.0)
    accounts.set_up(token, "ann", PASSWORD, 1.0)
    with pytest.raises(NotSignedIn):
        accounts.set_up(token, "eve", PASSWORD, 2.0)
    assert accounts.setup_token(3.0) is None
    with pytest.raises(Exception, match="last administrator"):
        accounts.remove("ann")
    accounts.close()
