"""What a route of the API is, and the OpenAPI document that is made of all of them.

A route says who may call it, what it takes and what it gives; bodies are msgspec structs, which
check what comes in and describe themselves.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from starlette.requests import Request

from ground.console.accounts import Role, Session

PREFIX: Final = "/api/v1"
#: Methods that change something: these want a CSRF token and our own origin.
WRITES: Final = frozenset(("POST", "PUT", "DELETE"))


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a route.  session: None where no sign-in is wanted; path, query: checked;
    body: a struct of the route's kind."""

    request: Request
    session: Session | None
    path: dict[str, Any]
    query: dict[str, Any]
    body: Any

    @property
    def actor(self) -> str:
        """Who calls."""
        return "" if self.session is None else self.session.name


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """Of path or query.  kind: int, float or str; default: None: must be given; choices: of texts,
    any if empty."""

    name: str
    kind: type
    description: str
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    #: What the number means, where that is more than a number; see `UNIX_MS`.
    format: str = ""

    @property
    def schema(self) -> dict[str, Any]:
        names = {int: "integer", float: "number", str: "string"}
        schema: dict[str, Any] = {"type": names[self.kind]}
        if self.minimum is not None:
            schema["minimum"] = self.minimum
        if self.maximum is not None:
            schema["maximum"] = self.maximum
        if self.kind is str:
            schema["maxLength"] = 200
        if self.choices:
            schema["enum"] = list(self.choices)
        if self.format:
            schema["format"] = self.format
        if self.default is not None:
            schema["default"] = self.default
        return schema

    def read(self, text: str) -> Any:
        """ValueError for what is not allowed, with what is."""
        try:
            value = self.kind(text)
        except ValueError:
            raise ValueError(f"{self.name} {text[:80]!r}: {self.kind.__name__} wanted") from None
        if self.kind is str and len(text) > 200:
            raise ValueError(f"{self.name}: at most 200 characters")
        if self.choices and text not in self.choices:
            raise ValueError(f"{self.name} {text[:80]!r}: {' or '.join(self.choices)} wanted")
        if self.kind is not str:
            low, high = self.minimum, self.maximum
            if not (low is None or value >= low) or not (high is None or value <= high):
                raise ValueError(f"{self.name} {value}: {low}..{high} wanted")
        return value


@dataclass(frozen=True, slots=True)
class Route:
    """role: least that may call, None: anybody.  body: struct of the request, None: none;
    longest_body: octets of it; name: of the operation, where the path does not give a good one.
    What a handler gives is said in JSON, unless it is a response."""

    method: str
    path: str
    handler: Handler
    summary: str
    role: Role | None = Role.VIEWER
    body: type[msgspec.Struct] | None = None
    parameters: tuple[Parameter, ...] = ()
    media_type: str = "application/json"
    errors: tuple[int, ...] = field(default=(409,))
    longest_body: int = 256 * 1024
    name: str = ""

    @property
    def writes(self) -> bool:
        return self.method in WRITES

    @property
    def in_path(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)


#: `format` of numbers that are instants: milliseconds since 1970 UTC, nanoseconds TAI since 1958.
UNIX_MS, TAI_NS = "unix-ms", "tai-ns"
_ONE_OF: Final = {"people": "person", "passes": "pass"}


def operation_name(route: Route) -> str:
    """What clients call it: `alarms`, `acknowledge_alarm`, `add_request`, `set_person_role`.

    >>> operation_name(Route("POST", "/requests/{number}/arm", None, ""))
    'arm_request'
    """
    if route.name:
        return route.name
    parts = route.path.replace("-", "_").strip("/").split("/")
    words = [part for part in parts if not part.startswith("{")]
    if parts[-1].startswith("{") or len(parts) > len(words) or route.method == "POST":
        words[0] = _ONE_OF.get(words[0], words[0].removesuffix("s"))
    if route.method == "GET":
        return "_".join(words)
    if route.method == "POST" and len(words) > 1:
        return "_".join([words[-1], *words[:-1]])
    verb = {"POST": "change" if len(parts) > len(words) else "add", "PUT": "set"}
    return "_".join([verb.get(route.method, "remove"), *words])


class Problem(msgspec.Struct):
    """Why not."""

    error: str


def openapi(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The document, OpenAPI 3.1."""
    kinds = [route.body for route in routes if route.body is not None]
    _, components = msgspec.json.schema_components(
        [Problem, *kinds], ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "L4 Relay Ground",
            "version": version,
            "description": "What the console can do, for scripts. Times: `…_utc` ISO 8601, in "
            "live data milliseconds since 1970.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "l4_session"},
                "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token"},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    problem = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    codes = {400: "a value that is not allowed", 413: "too long"}
    if route.role is not None:
        codes |= {401: "not signed in", 403: "not with this role, origin or token"}
    if route.in_path:
        codes[404] = "there is none"
    for code in route.errors:
        codes[code] = {409: "not possible now", 401: "refused", 503: "a service does not answer"}[
            code
        ]
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": operation_name(route),
        "responses": {
            "200": {"description": "done", "content": {route.media_type: {"schema": {}}}},
            **{str(c): {"description": text, "content": problem} for c, text in codes.items()},
        },
        "x-role": route.role.name.lower() if route.role is not None else "anybody",
    }
    if route.role is not None:
        needs: dict[str, list[str]] = {"session": []}
        if route.writes:
            needs["csrf"] = []
        operation["security"] = [needs, {"token": []}]
    if route.parameters:
        operation["parameters"] = [
            {
                "name": one.name,
                "in": "path" if one.name in route.in_path else "query",
                "required": one.name in route.in_path or one.default is None,
                "description": one.description,
                "schema": one.schema,
            }
            for one in route.parameters
        ]
    if route.body is not None:
        schema = {"$ref": f"#/components/schemas/{route.body.__name__}"}
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return operation
