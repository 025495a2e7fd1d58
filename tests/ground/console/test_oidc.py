"""Sign-in by a provider: who gets in as what, and a table of who does not."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from ground.console.app import COOKIE, make_app
from ground.console.oidc import Oidc, OidcSettings, load_oidc
from ground.console.roles import NotSignedIn
from protocols.errors import LocalError
from tests.ground.client.served import Served, served
from tests.ground.console.provider import CLIENT, SECRET, Provider
from tests.ground.console.site import PASSWORD, Console

BEGIN, DONE, SESSION = "/api/v1/oidc/begin", "/api/v1/oidc/done", "/api/v1/session"
WALL_S = 1_000_000.0
ROLES = {"ground-operators": "operator", "flight-directors": "approver"}


class World:
    """A console that knows a provider, both behind sockets, and a browser."""

    def __init__(self, site: Served, provider: Provider) -> None:
        self.site, self.provider, self.accounts = site, provider, site.console.accounts
        self.browser = httpx.Client(base_url=site.url, trust_env=False)

    def sign_in(self) -> httpx.Response:
        """By the link: where the browser ends up with the way back."""
        begun = self.browser.get(BEGIN)
        assert begun.status_code == 302, begun.text
        there = self.browser.get(begun.headers["location"])
        return self.browser.get(there.headers["location"])

    def last(self) -> tuple[str, str]:
        newest = self.accounts.audited(1)[0]
        return newest.outcome, newest.detail


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    one = Provider(WALL_S)
    yield one
    one.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[Served]:
    """A console that knows the provider."""
    console = Console(tmp_path_factory.mktemp("console"))
    # Where the provider sends people back to is known once it is served.
    with served(console) as one:
        console.context.oidc = OidcSettings(
            issuer=provider.issuer,
            client_id=CLIENT,
            client_secret=SECRET,
            url=one.url,
            roles=ROLES,
            label="Test ID",
        )
        one.stop()
        console.app = make_app(console.context, "0")
        one.start()
        yield one


@pytest.fixture
def world(site: Served, provider: Provider) -> Iterator[World]:
    provider.claims, provider.header, provider.how = {}, {}, "RS256"
    provider.said_issuer, provider.now_s = provider.issuer, WALL_S
    site.console.wall_s = WALL_S
    one = World(site, provider)
    yield one
    one.browser.close()


def test_somebody_of_the_provider_s_gets_the_role_that_it_tells(world: World) -> None:
    assert world.browser.get("/api/v1/oidc").json() == {"label": "Test ID"}
    found = world.sign_in()
    assert (found.status_code, found.headers["location"]) == (302, "/")
    assert "HttpOnly; Path=/; SameSite=strict" in found.headers["set-cookie"]
    told = world.browser.get(SESSION).json()
    assert (told["name"], told["role"]) == ("ann", "operator")
    assert world.last() == ("done", f"by {world.provider.issuer}")
    assert world.provider.told["code_challenge_method"] == "S256"
    # Writes want the session's token as those of everybody do.
    assert world.browser.post("/api/v1/requests", json={"command": "X"}).status_code == 403
    # Another role there is another role here, at the next sign-in.
    world.provider.claims = {"groups": ["flight-directors", "ground-operators", "cooks"]}
    world.sign_in()
    assert world.browser.get(SESSION).json()["role"] == "approver"
    # There is no password that would do.
    for password in ("", f"oidc:{world.provider.issuer}"):
        asked = {"name": "ann", "password": password}
        assert world.browser.post(SESSION, json=asked).status_code == 401


def test_keys_of_the_provider_may_change(world: World) -> None:
    world.sign_in()
    before = world.provider.key_requests
    world.provider.kid = "key-2"
    world.site.console.wall_s += 61
    world.provider.now_s = world.site.console.wall_s
    assert world.sign_in().status_code == 302
    assert world.provider.key_requests == before + 1
    # Unknown ones do not have it asked again and again.
    world.provider.header = {"kid": "none of ours"}
    assert world.sign_in().status_code == 401
    assert world.provider.key_requests == before + 1


@pytest.mark.parametrize(
    ("what", "change", "why"),
    [
        ("another issuer", {"claims": {"iss": "https://evil.example"}}, "iss"),
        ("no issuer", {"claims": {"iss": None}}, "iss"),
        ("for another client", {"claims": {"aud": "somebody else"}}, "aud"),
        ("for nobody", {"claims": {"aud": None}}, "aud"),
        ("for us and more, azp another", {"claims": {"aud": [CLIENT, "x"], "azp": "x"}}, "azp"),
        ("for us and more, no azp", {"claims": {"aud": [CLIENT, "x"]}}, "azp"),
        ("of another sign-in", {"claims": {"nonce": "replayed"}}, "nonce"),
        ("no nonce", {"claims": {"nonce": None}}, "nonce"),
        ("expired", {"claims": {"exp": 999_900}}, "expired"),
        ("never expires", {"claims": {"exp": None}}, "exp"),
        ("made tomorrow", {"claims": {"iat": 1_086_400}}, "future"),
        ("alg none", {"how": "none"}, "refused"),
        ("signed with the public key", {"how": "HS256"}, "refused"),
        ("signed by another key", {"how": "another key", "header": {"alg": "RS256"}}, "bad_sig"),
        ("unknown kid", {"header": {"kid": "none of ours"}}, "kid"),
        ("key that it brings along", {"header": {"kid": "x", "jku": "http://evil/"}}, "kid"),
        ("no role", {"claims": {"groups": ["cooks"]}}, "no role here"),
        ("groups of another kind", {"claims": {"groups": {"admin": 1}}}, "no role here"),
        ("no name", {"claims": {"preferred_username": None}}, "preferred_username"),
        (
            "name of somebody with a password",
            {"claims": {"preferred_username": "admin"}},
            "another",
        ),
        ("name that is none", {"claims": {"preferred_username": "a\nb"}}, "printable"),
    ],
)
def test_forgeries_are_refused_and_audited(
    world: World, what: str, change: dict[str, Any], why: str
) -> None:
    for name, value in change.items():
        setattr(world.provider, name, value)
    found = world.sign_in()
    assert (found.status_code, COOKIE in found.headers.get("set-cookie", "")) == (401, False), what
    assert why in found.json()["error"], what
    assert world.browser.get(SESSION).status_code == 401
    outcome, detail = world.last()
    assert (outcome, why in detail) == ("401", True)


def test_a_person_who_is_refused_gets_a_page_and_not_json(world: World) -> None:
    """What the provider says of itself stands in it as text, and cannot be more."""
    way = "/api/v1/oidc/done?error=access_denied&error_description=<script>alert(1)</script>"
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    found = world.browser.get(way, headers=browser)
    assert (found.status_code, found.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert "You are not signed in" in found.text
    assert "<script" not in found.text
    assert html.escape(world.last()[1]) in found.text
    for link in ("/api/v1/oidc/begin", "/static/style.css"):
        assert f'href="{link}"' in found.text
        assert world.browser.get(link).status_code < 400
    assert world.browser.get(way).json()["error"] == world.last()[1]


def test_the_way_back_is_of_this_browser_and_goes_once(world: World) -> None:
    begun = world.browser.get(BEGIN)
    back = world.browser.get(begun.headers["location"]).headers["location"]
    with httpx.Client(trust_env=False) as victim:
        # Somebody else's way back, put into a victim's browser.
        found = victim.get(back)
        assert (found.status_code, "another browser" in found.text) == (401, True)
    found = world.browser.get(back)
    assert (found.status_code, "not begun here" in found.text) == (401, True), "it was used"
    for query in ("", "?state=guess&code=1"):
        assert "not begun here" in world.browser.get(DONE + query).text
    begun = world.browser.get(BEGIN)
    back = world.browser.get(begun.headers["location"]).headers["location"]
    world.site.console.wall_s += 601
    assert "too long ago" in world.browser.get(back).text


def test_a_code_of_another_sign_in_is_of_no_use(world: World) -> None:
    """PKCE: the code was made for another verifier."""
    first = world.browser.get(world.browser.get(BEGIN).headers["location"]).headers["location"]
    second = world.browser.get(world.browser.get(BEGIN).headers["location"]).headers["location"]
    stolen = first.split("code=")[1].split("&")[0]
    own = second.split("code=")[1].split("&")[0]
    found = world.browser.get(second.replace(own, stolen))
    assert (found.status_code, "HTTP 400" in found.text) == (401, True)


async def test_a_provider_that_says_it_is_another_is_not_asked(world: World) -> None:
    world.provider.said_issuer = "https://evil.example"
    settings = world.site.console.context.oidc
    assert settings is not None
    with pytest.raises(NotSignedIn, match=r"is of issuer 'https://evil\.example'"):
        await Oidc(settings).begin(WALL_S)


def test_the_file_says_what_is_wrong_in_it(tmp_path: Path, provider: Provider) -> None:
    path = tmp_path / "console.toml"
    path.write_text("")
    assert load_oidc(path) is None
    good = (
        f'[oidc]\nissuer = "{provider.issuer}"\nclient_id = "l4"\nurl = "https://c.example"\n'
        'roles = {a = "viewer"}\n'
    )
    path.write_text(good)
    settings = load_oidc(path)
    assert settings is not None
    assert settings.redirect == "https://c.example/api/v1/oidc/done"
    for text, why in (
        (good.replace("https://c", "http://c"), "oidc.url 'http://c.example': https"),
        (good.replace("viewer", "king"), "oidc.roles a = 'king': one of viewer"),
        (good + "colour = 1\n", "oidc.colour: .* are known"),
        (good.replace('client_id = "l4"\n', ""), "client_id"),
        (good + 'client_secret = "x"\n', "chmod 600"),
        ("[oidc", "console.toml"),
    ):
        path.write_text(text)
        path.chmod(0o644)
        with pytest.raises(LocalError, match=why):
            load_oidc(path)
    with pytest.raises(LocalError, match="openid must be in it"):
        replace(settings, scope="profile")


def test_without_a_provider_there_is_no_link(tmp_path: Path) -> None:
    with served(Console(tmp_path)) as site, httpx.Client(base_url=site.url) as browser:
        assert browser.get("/api/v1/oidc").json() == {"label": ""}
        assert browser.get(BEGIN).status_code == 404
        asked = {"name": "admin", "password": PASSWORD}
        assert browser.post(SESSION, json=asked).status_code == 200
