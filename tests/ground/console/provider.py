"""An OpenID Connect provider of the tests' own: real sockets, its own keys, tokens signed with
`cryptography` alone, so that nothing that checks them has made them."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
import time
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import parse_qsl, urlencode

import uvicorn
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT, SECRET = "l4-console", "a secret of both"


def b64(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Provider:
    """`claims`, `header` go over what is true; `signed` makes another signature; `told` is what
    the authorization request said."""

    def __init__(self, now_s: float) -> None:
        self.key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        self.other = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        self.kid = "key-1"
        self.now_s = now_s
        self.claims: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.how = "RS256"
        self.told: dict[str, str] = {}
        self.key_requests = 0
        self._codes: dict[str, dict[str, str]] = {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.issuer = f"http://127.0.0.1:{port}"
        self.said_issuer = self.issuer
        routes = [
            Route("/.well-known/openid-configuration", self._discovery),
            Route("/authorize", self._authorize),
            Route("/token", self._token, methods=["POST"]),
            Route("/keys", self._keys),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes), host="127.0.0.1", port=port, log_level="error"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)

    async def _discovery(self, request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.said_issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
            }
        )

    async def _authorize(self, request: Request) -> Response:
        """Whoever comes is signed in already."""
        self.told = dict(request.query_params)
        code = f"code-{len(self._codes)}"
        self._codes[code] = self.told
        back = urlencode({"code": code, "state": self.told["state"]})
        return RedirectResponse(f"{self.told['redirect_uri']}?{back}", status_code=302)

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        asked = self._codes.pop(form["code"], None)
        proof = b64(hashlib.sha256(form["code_verifier"].encode()).digest())
        if (
            asked is None
            or asked["code_challenge_method"] != "S256"
            or asked["code_challenge"] != proof
            or form["redirect_uri"] != asked["redirect_uri"]
            or (form["client_id"], form["client_secret"]) != (CLIENT, SECRET)
        ):
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        return JSONResponse({"token_type": "Bearer", "id_token": self.token(asked["nonce"])})

    async def _keys(self, request: Request) -> Response:
        self.key_requests += 1
        numbers = self.key.public_key().public_numbers()
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid}
        return JSONResponse({"keys": [{**key, "n": number(numbers.n), "e": number(numbers.e)}]})

    def token(self, nonce: str) -> str:
        header = {"alg": self.how, "kid": self.kid, "typ": "JWT", **self.header}
        now = int(self.now_s)
        claims = {"iss": self.issuer, "aud": CLIENT, "sub": "1", "iat": now, "exp": now + 300}
        claims |= {"nonce": nonce, "preferred_username": "ann", "groups": ["ground-operators"]}
        claims |= self.claims
        claims = {name: value for name, value in claims.items() if value is not None}
        text = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
        return f"{text}.{b64(self._signature(text.encode()))}"

    def _signature(self, text: bytes) -> bytes:
        if self.how == "none":
            return b""
        if self.how == "HS256":
            # By what everybody knows: the public key, as if it were a secret.
            pem = self.key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            return hmac.new(pem, text, hashlib.sha256).digest()
        key = self.other if self.how == "another key" else self.key
        return key.sign(text, padding.PKCS1v15(), hashes.SHA256())
