"""Starlette around the API: who calls, whether they may, and what is written down of it.

A write wants a session, its role, our own origin and the session's CSRF token; what is refused is
audited like what is done.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route as HttpRoute
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from ground.asking import NoAnswer
from ground.console.accounts import NotSignedIn, Session
from ground.console.api import SignIn, routes
from ground.console.context import Context
from ground.console.endpoints import PREFIX, Call, Route, openapi
from ground.console.limits import HASHES, MAX_BODY_OCTETS, WAITING, Rate
from ground.console.live import NOT_SIGNED_IN, Hub
from ground.console.oidc_routes import oidc_routes
from ground.console.static_files import StaticFiles
from protocols.errors import LocalError

COOKIE: Final = "l4_session"
STATIC: Final = Path(__file__).parent / "static"
#: No script, style or picture from elsewhere, nobody puts us into a frame.
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'sha256-{import_map}'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
#: Over TLS only, where a browser believes it (RFC 6797 §7.2).
HSTS: Final = (b"strict-transport-security", b"max-age=31536000")


#: Lines of the audit in a minute for refusals of somebody at one address who is not signed in.
STRANGERS_LINES: Final = 60


class _Strangers(Rate):
    """left_out: refusals that were not written."""

    left_out = 0


class Refused(Exception):
    """With a status for the caller and a line for the audit."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def make_app(context: Context, version: str) -> Starlette:
    """The whole console.  `app.state.hub` is the live stream's, to be told of changes."""
    api = routes(context)
    hub = Hub(context)
    files = StaticFiles(STATIC)
    document = json.dumps(openapi(api, version)).encode()

    async def describe(request: Request) -> Response:
        return Response(document, media_type="application/json")

    async def page(request: Request) -> Response:
        return files.respond("index.html", request)

    async def static(request: Request) -> Response:
        return files.respond(request.path_params["name"], request)

    async def favicon(request: Request) -> Response:
        return RedirectResponse("/static/icon.svg")

    async def live(socket: WebSocket) -> None:
        session = await _socket_session(context, socket)
        if session is None:
            await socket.close(code=NOT_SIGNED_IN)
            return

        async def signed_in() -> bool:
            return await _socket_session(context, socket) is not None

        await hub.serve(socket, signed_in)

    paths = [
        HttpRoute(PREFIX + "/openapi.json", describe),
        HttpRoute(PREFIX + "/session", _sign_in(context), methods=["POST"]),
        HttpRoute(PREFIX + "/session", _sign_out(context), methods=["DELETE"]),
        *(
            HttpRoute(PREFIX + route.path, _endpoint(context, route), methods=[route.method])
            for route in api
        ),
        *oidc_routes(context, _set_cookie, partial(_audit, context)),
        WebSocketRoute(PREFIX + "/live", live),
        HttpRoute("/static/{name:path}", static),
        HttpRoute("/favicon.ico", favicon),
        HttpRoute("/", page),
        HttpRoute("/setup", page),
    ]
    app = Starlette(
        routes=paths,
        middleware=[
            Middleware(_Headers, headers=_headers()),
            Middleware(GZipMiddleware, minimum_size=1_000),
        ],
    )
    app.state.hub = hub
    app.state.routes = api
    app.state.strangers = _Strangers(STRANGERS_LINES, 60)
    return app


def _headers() -> dict[str, str]:
    import base64
    import hashlib
    import re

    text = (STATIC / "index.html").read_text()
    found = re.search(r'<script type="importmap">(.*?)</script>', text, re.DOTALL)
    digest = hashlib.sha256((found[1] if found else "").encode()).digest()
    policy = HEADERS["Content-Security-Policy"].replace(
        "{import_map}", base64.b64encode(digest).decode()
    )
    return {**HEADERS, "Content-Security-Policy": policy}


class _Headers:
    """Security headers on everything."""

    def __init__(self, app: Any, headers: dict[str, str]) -> None:
        self._app = app
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
                if scope["scheme"] == "https":
                    message["headers"].append(HSTS)
                if scope["path"].startswith(PREFIX):
                    message["headers"].append((b"cache-control", b"no-store"))
            await send(message)

        await self._app(scope, receive, with_headers)


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _own_origin(context: Context, headers: Any) -> bool:
    """Whether a browser's request comes from our own page; scripts send no Origin."""
    origin = headers.get("origin")
    if origin is None:
        return True
    host = headers.get("host", "")
    return origin in context.origins or origin in (f"http://{host}", f"https://{host}")


async def _body(request: Request, kind: Any, longest: int = MAX_BODY_OCTETS) -> Any:
    octets = bytearray()
    async for chunk in request.stream():
        octets += chunk
        if len(octets) > longest:
            raise Refused(413, f"a body of more than {longest} octets")
    if kind is None:
        return None
    try:
        return msgspec.json.decode(bytes(octets), type=kind)
    except msgspec.MsgspecError as error:
        raise Refused(400, str(error)) from error


def _endpoint(context: Context, route: Route) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        session: Session | None = None
        action = f"{request.method} {request.url.path}"
        try:
            session = _session(context, request) if route.role is not None else None
            _permit(context, route, request, session)
            path, query = _parameters(route, request)
            body = await _body(request, route.body, route.longest_body)
            result = await route.handler(Call(request, session, path, query, body))
        except Refused as refused:
            if route.writes:
                await _audit(context, request, session, action, str(refused.status), str(refused))
            return _problem(refused.status, str(refused))
        except NotSignedIn as error:
            if route.writes:
                await _audit(context, request, session, action, "401", str(error))
            return _problem(401, str(error))
        except LocalError as error:
            text = str(error)
            status = 503 if isinstance(error, NoAnswer) else 409
            if route.writes:
                await _audit(context, request, session, action, str(status), text)
            return _problem(status, text)
        except (OSError, sqlite3.Error) as error:
            # A full disk, above all.  What was wanted is not kept, and must not look as if it were.
            return _problem(503, f"not done, the disk: {error}")
        if route.writes:
            try:
                await _audit(context, request, session, action, "done", _shown(body))
            except sqlite3.Error as error:
                return _problem(503, f"not audited, the disk: {error}")
        if isinstance(result, Response):
            return result
        return Response(msgspec.json.encode(result), media_type=route.media_type)

    return endpoint


def _shown(body: Any) -> str:
    """What was asked, without what is secret."""
    if body is None:
        return ""
    values = {
        name: f"{len(value)} octets" if isinstance(value, bytes) else value
        for name, value in msgspec.structs.asdict(body).items()
        if name not in ("password", "token")
    }
    return json.dumps(values, default=str)[:500]


def _session(context: Context, request: Request | WebSocket) -> Session:
    """Of a script's token, if it has one, else of a browser's cookie."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return context.accounts.tokens.session(secret.strip(), context.wall_s())
    cookie = request.cookies.get(COOKIE, "")
    if not cookie:
        raise NotSignedIn("sign in")
    return context.accounts.session(cookie, context.wall_s())


def _permit(context: Context, route: Route, request: Request, session: Session | None) -> None:
    if route.writes and not _own_origin(context, request.headers):
        raise Refused(403, f"origin {request.headers.get('origin', '')[:100]!r} is not ours")
    if route.role is None or session is None:
        return
    if session.role < route.role:
        need = route.role.name.lower()
        raise Refused(403, f"{session.name} is {session.role.name.lower()}; {need} wanted")
    # No browser adds a token of its own accord: only cookies want proof of where a write is from.
    cookie = not session.token_number
    if route.writes and cookie and request.headers.get("x-csrf-token", "") != session.csrf:
        raise Refused(403, "X-CSRF-Token is missing or not this session's")


def _parameters(route: Route, request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
    path: dict[str, Any] = {}
    query: dict[str, Any] = {}
    for one in route.parameters:
        inside = one.name in route.in_path
        text = request.path_params[one.name] if inside else request.query_params.get(one.name)
        try:
            if text is not None:
                (path if inside else query)[one.name] = one.read(str(text))
            elif one.default is None:
                raise ValueError(f"{one.name}: wanted")
            else:
                query[one.name] = one.default
        except ValueError as error:
            raise Refused(404 if inside else 400, str(error)) from error
    return path, query


async def _audit(
    context: Context,
    request: Request,
    session: Session | None,
    action: str,
    outcome: str,
    detail: str = "",
) -> None:
    name = "" if session is None else session.name
    if session is not None and session.token_number:
        detail = f"token {session.token_number}: {detail}".removesuffix(": ")
    if session is None:
        # Of whoever has no name here a minute has so many lines; what is kept is kept for ever.
        strangers = request.app.state.strangers
        if not strangers.take(_address(request), context.wall_s()):
            strangers.left_out += 1
            return
        if strangers.left_out:
            detail = f"{detail}; {strangers.left_out} refusals before it were too many to write"
            strangers.left_out = 0
    await run_in_threadpool(
        context.accounts.audit,
        context.wall_s(), name, _address(request), action, outcome, detail,
    )  # fmt: skip


def _problem(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status_code=status)


def _sign_in(context: Context) -> Callable[[Request], Awaitable[Response]]:
    # Made here, it belongs to the loop that first waits for it.
    hashing = asyncio.Semaphore(HASHES)
    waiting = 0

    async def checked(request: Request, body: SignIn) -> Session:
        """Few at a time, and few that wait: threads and memory are for those who are signed in."""
        nonlocal waiting
        if waiting >= WAITING:
            raise NotSignedIn("too many sign in just now; again in a moment")
        waiting += 1
        try:
            async with hashing:
                return await run_in_threadpool(
                    context.accounts.sign_in,
                    body.name, body.password, context.wall_s(), _address(request),
                )  # fmt: skip
        finally:
            waiting -= 1

    async def sign_in(request: Request) -> Response:
        action = "POST " + PREFIX + "/session"
        if not _own_origin(context, request.headers):
            await _audit(context, request, None, action, "403", "origin is not ours")
            return _problem(403, "origin is not ours")
        try:
            body: SignIn = await _body(request, SignIn)
        except Refused as refused:
            return _problem(refused.status, str(refused))
        try:
            session = await checked(request, body)
        except NotSignedIn as error:
            await _audit(context, request, None, action, "401", f"{body.name}: {error}")
            return _problem(401, str(error))
        await _audit(context, request, session, action, "done")
        response = JSONResponse(
            {"name": session.name, "role": session.role.name.lower(), "csrf": session.csrf}
        )
        _set_cookie(response, session, request.url.scheme == "https")
        return response

    return sign_in


def _set_cookie(response: Response, session: Session, secure: bool) -> None:
    response.set_cookie(
        COOKIE, session.token, httponly=True, samesite="strict", secure=secure, path="/"
    )


def _sign_out(context: Context) -> Callable[[Request], Awaitable[Response]]:
    async def sign_out(request: Request) -> Response:
        action = "DELETE " + PREFIX + "/session"
        session: Session | None = None
        try:
            session = _session(context, request)
            if not _own_origin(context, request.headers):
                raise Refused(403, "origin is not ours")
            if request.headers.get("x-csrf-token", "") != session.csrf:
                raise Refused(403, "X-CSRF-Token is missing or not this session's")
        except (Refused, NotSignedIn) as error:
            status = error.status if isinstance(error, Refused) else 401
            await _audit(context, request, session, action, str(status), str(error))
            return _problem(status, str(error))
        await run_in_threadpool(context.accounts.sign_out, request.cookies[COOKIE])
        await _audit(context, request, session, action, "done")
        response = JSONResponse({})
        response.delete_cookie(COOKIE, path="/")
        return response

    return sign_out


async def _socket_session(context: Context, socket: WebSocket) -> Session | None:
    """A stream is for whoever is signed in, from our own page."""
    if not _own_origin(context, socket.headers):
        return None
    try:
        return await run_in_threadpool(_session, context, socket)
    except NotSignedIn:
        return None
