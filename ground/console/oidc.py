"""Sign-in by an OpenID Connect provider: authorization code with PKCE (RFC 7636, S256).

The file is TOML; without it nobody is asked:

    [oidc]
    issuer = "https://id.example.org/realms/ground"   # its discovery document is fetched from there
    client_id = "l4-console"
    client_secret = "…"          # if the provider wants one: others cannot read the file then
    url = "https://console.example.org"               # ours, as people reach it
    label = "Example ID"         # of the link on the page
    name_claim = "preferred_username"                 # who it is here and in the audit
    role_claim = "groups"        # its value, or one in its list, gives the role: the greatest
    scope = "openid profile"
    [oidc.roles]
    ground-operators = "operator"
    flight-directors = "approver"

Nobody gets in without a role.  What is signed is checked: signature by a key of the provider's,
issuer, audience, expiry, and our nonce (OpenID Connect Core 1.0 §3.1.3.7).
"""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx2 as httpx
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from ground.console.roles import NotSignedIn, Role
from ground.documents import toml_of
from ground.keyring import SECRET_FROM
from protocols.errors import LocalError

DONE_PATH: Final = "/api/v1/oidc/done"
#: Between the link and the way back, and how many may be on it.
LONGEST_S, MOST_PENDING = 600, 1_000
#: By which an ID token may be signed: never a secret shared with us, never none.
ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
)
#: By which clocks may differ.
LEEWAY_S: Final = 30
_TIMEOUT_S: Final = 10.0
#: Keys are asked for again because of an unknown one at most so often.
_KEYS_AGAIN_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSettings:
    """As in the file; roles: value of the claim → role."""

    issuer: str
    client_id: str
    url: str
    roles: dict[str, str]
    client_secret: str = field(default="", repr=False)
    label: str = "single sign-on"
    name_claim: str = "preferred_username"
    role_claim: str = "groups"
    scope: str = "openid profile"

    def __post_init__(self) -> None:
        for name in ("issuer", "url"):
            parts = urlsplit(getattr(self, name))
            local = parts.hostname in ("127.0.0.1", "localhost", "::1")
            if parts.scheme != "https" and not (parts.scheme == "http" and local):
                raise LocalError(f"oidc.{name} {getattr(self, name)!r}: https://… wanted")
        if not self.client_id:
            raise LocalError("oidc.client_id: wanted, as the provider knows us")
        if "openid" not in self.scope.split():
            raise LocalError(f"oidc.scope {self.scope!r}: openid must be in it")
        wrong = [f"{k} = {v!r}" for k, v in self.roles.items() if v.upper() not in Role.__members__]
        if wrong or not self.roles:
            names = ", ".join(role.name.lower() for role in Role)
            raise LocalError(f"oidc.roles {', '.join(wrong) or 'is empty'}: one of {names} wanted")

    @property
    def redirect(self) -> str:
        return self.url.rstrip("/") + DONE_PATH


def load_oidc(path: Path) -> OidcSettings | None:
    """None: the file has no [oidc].  LocalError names the file and what is wrong in it."""
    try:
        found = toml_of(path.read_bytes()).get("oidc")
        if found is None:
            return None
        known = {one.name for one in fields(OidcSettings)}
        if unknown := set(found) - known:
            raise LocalError(f"oidc.{min(unknown)}: {', '.join(sorted(known))} are known")
        if found.get("client_secret") and path.stat().st_mode & SECRET_FROM:
            raise LocalError("holds a secret and others may read it: chmod 600")
        return OidcSettings(**found)
    except (ValueError, TypeError, AttributeError) as error:
        raise LocalError(f"{path}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Pending:
    nonce: str
    verifier: str
    until_s: float


class Oidc:
    """state: a word that comes back with the browser, and is in a cookie of its own besides."""

    def __init__(self, settings: OidcSettings) -> None:
        self.settings = settings
        self._pending: dict[str, _Pending] = {}
        self._document: dict[str, Any] = {}
        self._keys: KeySet | None = None
        self._keys_s = -_KEYS_AGAIN_S

    async def begin(self, now_s: float) -> tuple[str, str]:
        """(state, where the browser goes).  NotSignedIn: the provider does not answer."""
        document = await self._discover()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        self._pending = {k: v for k, v in self._pending.items() if v.until_s > now_s}
        while len(self._pending) >= MOST_PENDING:
            del self._pending[next(iter(self._pending))]
        self._pending[state] = _Pending(nonce, verifier, now_s + LONGEST_S)
        digest = hashlib.sha256(verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": self.settings.redirect,
            "scope": self.settings.scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        endpoint = document["authorization_endpoint"]
        return state, f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def end(self, query: dict[str, str], cookie: str, now_s: float) -> tuple[str, Role]:
        """Who has come back, and their role.  NotSignedIn says why not."""
        state = query.get("state", "")
        pending = self._pending.pop(state, None) if state else None
        if pending is None or pending.until_s < now_s:
            raise NotSignedIn("this sign-in was not begun here, or too long ago")
        if not secrets.compare_digest(state, cookie):
            raise NotSignedIn("this sign-in was begun in another browser")
        if query.get("iss", self.settings.issuer) != self.settings.issuer:
            raise NotSignedIn(f"issuer {query['iss'][:100]!r} answered (RFC 9207)")
        if "code" not in query:
            raise NotSignedIn(f"the provider says {query.get('error', 'nothing')[:100]!r}")
        token = await self._exchange(query["code"], pending.verifier)
        claims = await self._verified(token, pending.nonce, now_s)
        return self._person(claims)

    def _person(self, claims: dict[str, Any]) -> tuple[str, Role]:
        name = claims.get(self.settings.name_claim)
        if not isinstance(name, str):
            raise NotSignedIn(f"the ID token has no {self.settings.name_claim}")
        told = claims.get(self.settings.role_claim, [])
        values = told if isinstance(told, list) else [told]
        mapped = self.settings.roles
        roles = [
            Role[mapped[one].upper()] for one in values if isinstance(one, str) and one in mapped
        ]
        if not roles:
            raise NotSignedIn(f"{name} has no role here (claim {self.settings.role_claim})")
        return name, max(roles)

    async def _verified(self, token: str, nonce: str, now_s: float) -> dict[str, Any]:
        """Its claims.  NotSignedIn names the claim, or what is wrong with the signature."""
        issuer, client_id = self.settings.issuer, self.settings.client_id
        registry = jwt.JWTClaimsRegistry(
            now=int(now_s),
            leeway=LEEWAY_S,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            try:
                found = self._decoded(token, await self._key_set(now_s))
            except InvalidKeyIdError:
                # Keys are changed now and then: it may be a new one.
                found = self._decoded(token, await self._key_set(now_s, again=True))
            registry.validate(found.claims)
        except (JoseError, ValueError) as error:
            raise NotSignedIn(f"the ID token is refused: {error}") from error
        audience, party = found.claims["aud"], found.claims.get("azp")
        many = isinstance(audience, list) and len(audience) > 1
        if (many or party is not None) and party != client_id:
            raise NotSignedIn(f"the ID token is refused: azp {party!r} is not {client_id!r}")
        return found.claims

    def _decoded(self, token: str, keys: KeySet) -> jwt.Token:
        def key(one: Any) -> Any:
            return keys.get_by_kid(one.headers().get("kid"))

        return jwt.decode(token, key, algorithms=list(ALGORITHMS))

    # The provider --------------------------------------------------------------------------------

    async def _discover(self) -> dict[str, Any]:
        if not self._document:
            address = self.settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
            document = await self._asked("GET", address)
            if document.get("issuer") != self.settings.issuer:
                raise NotSignedIn(
                    f"{address} is of issuer {str(document.get('issuer'))[:100]!r}, "
                    f"{self.settings.issuer!r} wanted"
                )
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                if not isinstance(document.get(name), str):
                    raise NotSignedIn(f"{address} names no {name}")
            self._document = document
        return self._document

    async def _key_set(self, now_s: float, *, again: bool = False) -> KeySet:
        stale = again and now_s - self._keys_s >= _KEYS_AGAIN_S
        if self._keys is None or stale:
            document = await self._discover()
            self._keys_s = now_s
            self._keys = KeySet.import_key_set(await self._asked("GET", document["jwks_uri"]))
        return self._keys

    async def _exchange(self, code: str, verifier: str) -> str:
        """The ID token for a code."""
        document = await self._discover()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.settings.redirect,
            "code_verifier": verifier,
            "client_id": self.settings.client_id,
        }
        secret = self.settings.client_secret
        if secret:
            form["client_secret"] = secret
        answer = await self._asked("POST", document["token_endpoint"], form)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise NotSignedIn("the provider gave no ID token")
        return token

    async def _asked(self, method: str, address: str, form: dict[str, str] | None = None) -> Any:
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False) as client:
                answer = await client.request(method, address, data=form)
                found = answer.json() if answer.is_success else None
        except (httpx.HTTPError, ValueError) as error:
            raise NotSignedIn(f"{address} does not answer as a provider does: {error}") from error
        if not isinstance(found, dict):
            raise NotSignedIn(f"{address} answers with HTTP {answer.status_code}")
        return found
