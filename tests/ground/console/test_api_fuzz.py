"""Whatever the document allows, and what it does not: the API answers as it says it does.

`make fuzz-api` asks for longer.  Answers to questions are the document's; that a route exists which
the document does not name is found out here, too.
"""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.routing import Route

from ground.console.app import COOKIE
from ground.console.endpoints import PREFIX
from tests.ground.console.site import ORIGIN, PASSWORD, Console

#: Questions to each route.
EXAMPLES = int(os.environ.get("L4_API_EXAMPLES", "5"))


@cache
def console() -> Console:
    return Console(Path(tempfile.mkdtemp()))


CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)
loaded = schemathesis.openapi.from_asgi(f"{PREFIX}/openapi.json", console().app)
loaded.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
#: But for what would sign us out.
schema = loaded.exclude(path=f"{PREFIX}/session/password")
EASY = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@schema.parametrize()
@EASY
def test_the_api_answers_as_it_says(case: Any) -> None:
    session = console().session("admin")
    headers = {"x-csrf-token": session.csrf, "origin": ORIGIN}
    response = case.call(headers=headers, cookies={COOKIE: session.token}, base_url=ORIGIN)
    assert response.status_code < 500, response.text
    case.validate_response(response, checks=CHECKS)


#: Not in the document, since they are no calls of scripts; each with what it answers a stranger.
OTHER_ROUTES = {
    f"{PREFIX}/openapi.json": 200,
    f"{PREFIX}/session": 400,
    f"{PREFIX}/oidc": 200,
    "/static/{name:path}": 404,
    "/favicon.ico": 307,
    "/": 200,
    "/setup": 200,
}


def test_every_route_is_in_the_document_or_named_here() -> None:
    documented = set(loaded.raw_schema["paths"])
    served = {route.path for route in console().app.routes if isinstance(route, Route)}
    assert served - documented == set(OTHER_ROUTES) - documented


def test_signing_in_with_anything_is_refused_and_never_fails() -> None:
    """The route that strangers may ask: bodies of every wrong kind, then a right one."""
    from starlette.testclient import TestClient

    wrong: list[Any] = [
        b"", b"null", b"[]", b"{}", b'"x"', b"\xff\xfe", b"{" * 1000, b"[" * 100_000,
        b'{"name": 1, "password": 2}', b'{"name": "x"}', b'{"name": "\\ud800", "password": "x"}',
        b'{"name": "admin\\u0000", "password": "\\u0000"}',
    ]  # fmt: skip
    console().wall_s += 600
    with TestClient(console().app, base_url=ORIGIN) as client:
        for body in wrong:
            answer = client.post(f"{PREFIX}/session", content=body)
            assert answer.status_code in (400, 401), (body[:60], answer.status_code)
        good = {"name": "viewer", "password": PASSWORD}
        assert client.post(f"{PREFIX}/session", json=good).status_code == 200
        for header in (b"\xff", b"Bearer", b"Bearer \xc3\x28", b"Basic eA==", b"bearer " * 100):
            headers = [(b"authorization", header)]
            assert client.get(f"{PREFIX}/session", headers=headers).status_code in (200, 401)  # type: ignore[arg-type]
        for cookie in (b"l4_session=\xff", b"l4_session=" + b"a" * 4000, b"=;=;;", b"l4_session"):
            answer = client.get(f"{PREFIX}/alarms", headers=[(b"cookie", cookie)])  # type: ignore[arg-type]
            assert answer.status_code in (200, 401)
