"""`Ground`: how one is signed in, and how a call becomes a request and an answer a value."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx2 as httpx

from ground.client import instants
from ground.client.calls import Calls
from ground.client.errors import KINDS, GroundError, NotReachable, NotSignedIn, Refused
from ground.client.instants import Instant
from ground.client.live import Present, follow
from ground.client.samples import read_samples
from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_unix_ns

PREFIX: Final = "/api/v1"
COOKIE: Final = "l4_session"
#: Where commands and scripts look for the console and who they are.
URL_VARIABLE, TOKEN_VARIABLE = "L4_URL", "L4_TOKEN"
#: PEM file with who signs the console's certificate, beside those that the system trusts.
AUTHORITY_VARIABLE = "L4_AUTHORITY"
_ARROW: Final = "application/vnd.apache.arrow.stream"


class Ground(Calls):
    """A console's API; any thread may call.  Close it, or use it in a `with`.

    Calls are those of `Calls`; each raises NotSignedIn, NotAllowed, Refused or NotReachable, all of
    them GroundError, with what was asked of whom.
    """

    def __init__(
        self, url: str, token: str = "", *, timeout_s: float = 30.0, authority: str = ""
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise LocalError(f"console {url!r}: http://HOST:PORT or https://HOST wanted")
        self.url = f"{parts.scheme}://{parts.netloc}"
        authority = authority or os.environ.get(AUTHORITY_VARIABLE, "")
        self._tls = _tls_context(authority) if parts.scheme == "https" else None
        # Compressing costs more than it saves on the way from the same machine, and columns of
        # measurements hardly shrink.
        headers = {"accept-encoding": "identity"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        self._http = httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=timeout_s,
            trust_env=False,
            verify=self._tls or True,
        )

    @classmethod
    def signed_in(
        cls, url: str, name: str, password: str, *, timeout_s: float = 30.0, authority: str = ""
    ) -> Self:
        """By name and password, as on the page: for people; scripts take a token."""
        ground = cls(url, timeout_s=timeout_s, authority=authority)
        try:
            found = ground._call("POST", "/session", body={"name": name, "password": password})
        except BaseException:
            ground.close()
            raise
        ground._http.headers["x-csrf-token"] = found["csrf"]
        return ground

    @classmethod
    def of_run(cls, run_dir: Path | str = "var/run", token: str = "") -> Self:
        """That of $L4_URL if this is set, else of a run on this machine; the token is the one
        given, $L4_TOKEN, or the one that `l4 console token --keep` left in the run's directory.

        FileNotFoundError: no run; LocalError: it has no console, or there is no token.
        """
        run = Path(run_dir)
        url = os.environ.get(URL_VARIABLE, "")
        token = token or os.environ.get(TOKEN_VARIABLE, "")
        if url:
            if not token:
                raise NotSignedIn(f"no token for {url}: set ${TOKEN_VARIABLE}")
            return cls(url, token)
        from ground.config import load_settings

        if not (run / "run.toml").is_file():
            raise FileNotFoundError(2, "no run here; `l4 run` starts one", str(run / "run.toml"))
        settings = load_settings(run)
        if not settings.console:
            raise LocalError(f"the run in {run} has no console (it was started --no-console)")
        kept = settings.kept_token
        if not token and kept.is_file():
            token = kept.read_text().strip()
        if not token:
            raise NotSignedIn(
                f"no token: `l4 console token NAME --keep --run-dir {run}` makes one, "
                f"or set ${TOKEN_VARIABLE}"
            )
        return cls(settings.console_url, token, authority=settings.console_certificate)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    async def live(self, *, reconnect: bool = True) -> AsyncGenerator[Present, None]:
        """The present, now and whenever it changes: `async for present in ground.live()`.

        Left before its end (`break`) it closes its connection when it is collected; `async with
        aclosing(ground.live()) as presents` closes it there.  It is the same object each time.
        A server that does not answer is said in it (`connected`, `why`) and tried again;
        NotSignedIn ends it.
        """
        headers = {}
        if "authorization" in self._http.headers:
            headers["Authorization"] = self._http.headers["authorization"]
        elif (cookie := self._http.cookies.get(COOKIE)) is not None:
            headers["Cookie"] = f"{COOKIE}={cookie}"
        socket = self.url.replace("http", "ws", 1) + PREFIX + "/live"

        def speed() -> float:
            return self.session()["speed"]

        async with aclosing(
            follow(socket, headers, speed, reconnect=reconnect, tls=self._tls)
        ) as presents:
            async for present in presents:
                yield present

    # What `Calls` needs --------------------------------------------------------------------------

    def _call(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
    ) -> Any:
        call = f"{method} {self.url}{PREFIX}{path}"
        try:
            answer = self._http.request(method, PREFIX + path, params=query, json=body)
        except httpx.TimeoutException as error:
            raise NotReachable("no answer in time", call=call) from error
        except httpx.HTTPError as error:
            raise NotReachable(f"no console answers: {error}", call=call) from error
        if answer.is_success:
            kind = answer.headers["content-type"]
            if kind == _ARROW:
                return read_samples(answer.content)
            return answer.json() if kind.startswith("application/json") else answer.content
        raise _problem(answer, call)

    def _now_ns(self) -> int:
        return int(tai_ns_from_unix_ns(round(self.now()["now_ms"] * 1e6)))

    def _unix_ms(self, instant: Instant) -> float:
        return instants.unix_ms(instant, self._now_ns)

    def _tai_ns(self, instant: Instant) -> int:
        return instants.tai_ns(instant, self._now_ns)


def _tls_context(authority: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if authority:
        try:
            context.load_verify_locations(authority)
        except (OSError, ssl.SSLError) as error:
            raise LocalError(f"certificate {authority}: {error}") from None
        # The console's own certificate will do, whoever has signed it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _problem(answer: httpx.Response, call: str) -> GroundError:
    try:
        text = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        text = f"HTTP {answer.status_code} from something that is no console"
    kind = KINDS.get(answer.status_code, Refused)
    return kind(text, status=answer.status_code, call=call)
