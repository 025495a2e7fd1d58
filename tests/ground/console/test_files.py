"""Files by the page's API: sent, suspended, cancelled, fetched, and what was received opened."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from ground.console.endpoints import PREFIX
from ground.console.file_routes import LONGEST_FILE
from tests.ground.console.site import Console, signed_in


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    one = Console(tmp_path)
    yield one
    one.close()


def ends(console: Console, state: str, limit_s: float) -> None:
    """Until the newest transfer does."""
    transfers = console.world.transfers
    assert transfers is not None
    done = lambda: transfers.listing()[0].state == state  # noqa: E731
    console.in_world(lambda: console.world.until(done, limit_s))


def put(client: TestClient, content: bytes, name: str = "tables/limits.bin") -> Any:
    asked = {"name": name, "content": base64.b64encode(content).decode()}
    return client.post(f"{PREFIX}/files", json=asked)


def test_a_file_goes_up_and_comes_back(console: Console) -> None:
    content = bytes(range(256)) * 9
    with signed_in(console, "operator") as client:
        sent = put(client, content)
        assert sent.status_code == 200, sent.text
        assert (sent.json()["state"], sent.json()["size"]) == ("active", len(content))
        ends(console, "complete", 4_000)
        asked = client.post(
            f"{PREFIX}/files/fetch", json={"name": "tables/limits.bin", "as": "back"}
        )
        assert asked.json()["what"] == "get"
        number = asked.json()["id"]
        none = client.get(f"{PREFIX}/files/{number}/content")
        assert (none.status_code, "no file" in none.text) == (409, True)
        ends(console, "complete", 6_000)
    with signed_in(console, "viewer") as client:
        found = client.get(f"{PREFIX}/files/{number}/content")
        assert found.content == content
        assert found.headers["content-disposition"] == 'attachment; filename="back"'
        assert found.headers["content-type"] == "application/octet-stream"
    audited = console.accounts.audited(10)
    assert any(f"{len(content)} octets" in one.detail for one in audited)
    assert not list((console.context.files).glob("upload-*"))


def test_it_stands_still_goes_on_and_ends(console: Console) -> None:
    with signed_in(console, "operator") as client:
        number = put(client, bytes(1_000_000)).json()["id"]
        found = client.post(f"{PREFIX}/files/{number}/suspend").json()
        assert found["suspended"]
        assert not client.post(f"{PREFIX}/files/{number}/resume").json()["suspended"]
        console.in_world(lambda: console.world.run(20))
        assert client.post(f"{PREFIX}/files/{number}/cancel").status_code == 200
        ends(console, "cancelled", 4_000)
        again = client.post(f"{PREFIX}/files/{number}/resume")
        assert again.status_code == 409


def test_what_is_no_file_is_refused(console: Console) -> None:
    with signed_in(console, "operator") as client:
        found = put(client, b"x", name="../../etc/passwd")
        assert (found.status_code, "'..' parts" in found.text) == (409, True)
        assert put(client, bytes(LONGEST_FILE + 1)).status_code == 409
        assert put(client, bytes(2 * LONGEST_FILE)).status_code == 413
        assert client.get(f"{PREFIX}/files/10:99/content").status_code == 409
        assert client.get(f"{PREFIX}/files").json() == []
