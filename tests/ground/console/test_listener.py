"""The console over TLS: what is refused in clear, what a browser is told, and our own client."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest
import uvicorn

from ground.client import Ground
from ground.client.errors import NotReachable
from ground.console.endpoints import PREFIX
from ground.console.listener import Listener
from ground.console.service import server_config
from protocols.errors import LocalError
from tests.certificates import Authority
from tests.ground.console.site import PASSWORD, Console


def test_another_address_than_loopback_wants_tls_or_a_proxy(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "192.0.2.1", "::", "ground.example"):
        with pytest.raises(LocalError, match="is not a loopback address, and passwords"):
            Listener(host, 8000, "")
        Listener(host, 8000, "", behind_proxy=True)
    for host in ("127.0.0.1", "::1", "localhost"):
        Listener(host, 8000, "")
    certificate, key = map(str, Authority(tmp_path).issue("ground"))
    assert Listener("0.0.0.0", 8000, "", certificate, key).uvicorn["ssl_certfile"] == certificate
    with pytest.raises(LocalError, match="console: "):
        Listener("0.0.0.0", 8000, "", key, key)
    Path(key).chmod(0o644)
    with pytest.raises(LocalError, match="others can read"):
        Listener("0.0.0.0", 8000, "", certificate, key)


@contextmanager
def served(console: Console, listener: Listener) -> Iterator[int]:
    """With the settings that the service's server has; the port."""
    server = uvicorn.Server(server_config(console.app, listener, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    one = Console(tmp_path / "site")
    yield one
    one.close()


BODY = {"name": "operator", "password": PASSWORD}


def test_over_tls_cookies_are_secure_and_browsers_stay_with_it(
    console: Console, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    certificate, key = map(str, authority.issue("ground"))
    with served(console, Listener("127.0.0.1", 0, "", certificate, key)) as port:
        url = f"https://127.0.0.1:{port}"
        with closing(Ground.signed_in(url, *BODY.values(), authority=certificate)) as ground:
            assert ground.session()["name"] == "operator"
        with closing(Ground(url, "l4_x", authority=str(authority.file))) as ground:
            (cookie,) = ground._http.post(PREFIX + "/session", json=BODY).headers.get_list(
                "set-cookie"
            )
            page = ground._http.get("/")
        assert "; Secure" in cookie
        assert "; HttpOnly" in cookie
        assert page.headers["strict-transport-security"] == "max-age=31536000"
        with closing(Ground(url, "l4_x")) as stranger, pytest.raises(NotReachable, match="CERT"):
            stranger.session()
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("behind_proxy", [True, False])
def test_only_a_proxy_that_was_announced_is_believed(console: Console, behind_proxy: bool) -> None:
    listener = Listener("127.0.0.1", 0, "", behind_proxy=behind_proxy)
    with served(console, listener) as port:
        answer = httpx.post(
            f"http://127.0.0.1:{port}{PREFIX}/session",
            json=BODY,
            headers={"x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.7"},
        )
    assert answer.status_code == 200
    assert ("; Secure" in answer.headers["set-cookie"]) == behind_proxy
    assert ("strict-transport-security" in answer.headers) == behind_proxy
