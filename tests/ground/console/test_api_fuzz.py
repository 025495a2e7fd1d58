"""Whatever the document allows, and what it does not: the API answers as it says it does."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ground.console.app import COOKIE
from ground.console.endpoints import PREFIX
from tests.ground.console.site import ORIGIN, Console


@cache
def console() -> Console:
    return Console(Path(tempfile.mkdtemp()))


CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)
#: But for what would sign us out.
schema = schemathesis.openapi.from_asgi(f"{PREFIX}/openapi.json", console().app).exclude(
    path=f"{PREFIX}/session/password"
)


@schema.parametrize()
@settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_the_api_answers_as_it_says(case: Any) -> None:
    session = console().session("admin")
    headers = {"x-csrf-token": session.csrf, "origin": ORIGIN}
    response = case.call(headers=headers, cookies={COOKIE: session.token}, base_url=ORIGIN)
    assert response.status_code < 500, response.text
    case.validate_response(response, checks=CHECKS)
