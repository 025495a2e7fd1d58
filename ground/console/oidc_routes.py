"""`/api/v1/oidc`: whether there is a provider, the way to it, and the way back."""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from ground.console.context import Context
from ground.console.oidc import DONE_PATH, LONGEST_S, Oidc
from ground.console.roles import NotSignedIn, Session
from protocols.errors import LocalError

SetCookie = Callable[[Response, Session, bool], None]
Audit = Callable[[Request, Session | None, str, str, str], Awaitable[None]]
STATE_COOKIE = "l4_oidc"
_PATH = DONE_PATH.removesuffix("/done")
#: To a person, who comes here by links; no script: it must be seen whatever else is broken.
_REFUSED = """<!doctype html>
<html lang="en" data-theme="dark"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Not signed in · L4 Relay Ground</title>
<link rel="icon" href="/static/icon.svg"><link rel="stylesheet" href="/static/style.css"></head>
<body><main class="entry"><section class="panel" role="alert"><h1>You are not signed in</h1>
<p class="bad">{why}</p>
<p>Nothing has been changed. If you think that you should be let in, tell an administrator of this
console what stands above: it is in the audit, too.</p>
<p><a href="{again}">Try again with {label}</a> ·
<a href="/">Sign in with a name and password</a></p>
</section></main></body></html>
"""


def oidc_routes(context: Context, set_cookie: SetCookie, audit: Audit) -> list[Route]:
    """set_cookie: a session's, on a response; audit: of a request, session or none, action,
    outcome, detail."""
    provider = Oidc(context.oidc) if context.oidc is not None else None

    async def about(request: Request) -> Response:
        return JSONResponse({"label": provider.settings.label if provider else ""})

    if provider is None:
        return [Route(_PATH, about)]
    secure = provider.settings.url.startswith("https")

    async def begin(request: Request) -> Response:
        try:
            state, address = await provider.begin(context.wall_s())
        except NotSignedIn as error:
            return await refused(request, error)
        response = RedirectResponse(address, status_code=302)
        # Lax: the way back begins at the provider's page.
        response.set_cookie(
            STATE_COOKIE, state, max_age=LONGEST_S, path=_PATH, httponly=True, samesite="lax",
            secure=secure,
        )  # fmt: skip
        return response

    async def done(request: Request) -> Response:
        now_s = context.wall_s()
        try:
            cookie = request.cookies.get(STATE_COOKIE, "")
            name, role = await provider.end(dict(request.query_params), cookie, now_s)
            session = await run_in_threadpool(
                context.accounts.sign_in_as, name, role, provider.settings.issuer, now_s
            )
        except (NotSignedIn, LocalError) as error:
            return await refused(request, error)
        context.set_up()
        issuer = provider.settings.issuer
        await audit(request, session, "GET " + DONE_PATH, "done", f"by {issuer}")
        response = RedirectResponse("/", status_code=302)
        response.delete_cookie(STATE_COOKIE, path=_PATH)
        set_cookie(response, session, secure)
        return response

    async def refused(request: Request, error: LocalError) -> Response:
        await audit(request, None, f"GET {request.url.path}", "401", str(error))
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"error": str(error)}, status_code=401)
        # What the provider said stands in it.
        page = _REFUSED.format(
            why=html.escape(str(error)),
            again=_PATH + "/begin",
            label=html.escape(provider.settings.label),
        )
        return HTMLResponse(page, status_code=401, headers={"Cache-Control": "no-store"})

    return [Route(_PATH, about), Route(_PATH + "/begin", begin), Route(DONE_PATH, done)]
