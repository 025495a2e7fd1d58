"""`/api/v1/oidc`: whether there is a provider, the way to it, and the way back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from ground.console.context import Context
from ground.console.oidc import DONE_PATH, LONGEST_S, Oidc
from ground.console.roles import NotSignedIn, Session
from protocols.errors import LocalError

SetCookie = Callable[[Response, Session, bool], None]
Audit = Callable[[Request, Session | None, str, str, str], Awaitable[None]]
STATE_COOKIE = "l4_oidc"
_PATH = DONE_PATH.removesuffix("/done")


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
        return JSONResponse({"error": str(error)}, status_code=401)

    return [Route(_PATH, about), Route(_PATH + "/begin", begin), Route(DONE_PATH, done)]
