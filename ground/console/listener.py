"""Where the console listens, and whether what passes there is protected."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ground.keyring import check_secret
from protocols.bus.access import is_loopback_host
from protocols.errors import LocalError


@dataclass(frozen=True, slots=True)
class Listener:
    """host, port: to bind.  url: at which browsers find it.  certificate, private_key: PEM files
    of TLS, both or none.  behind_proxy: a reverse proxy terminates TLS, and is believed.

    Raises LocalError for an address that others reach where neither protects the passwords, and
    for files that cannot be used.
    """

    host: str
    port: int
    url: str
    certificate: str = ""
    private_key: str = ""
    behind_proxy: bool = False

    def __post_init__(self) -> None:
        if not (is_loopback_host(self.host) or self.certificate or self.behind_proxy):
            raise LocalError(
                f"console: {self.host} is not a loopback address, and passwords would pass in "
                "clear; console_certificate and console_private_key serve it over TLS, "
                "behind_proxy says that a reverse proxy does (l4 run: --console-certificate, "
                "--console-private-key, --behind-proxy)"
            )
        if self.certificate:
            check_secret(Path(self.private_key))
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                    self.certificate, self.private_key
                )
            except (OSError, ssl.SSLError) as error:
                raise LocalError(
                    f"console: {self.certificate}, {self.private_key}: {error}"
                ) from None

    @property
    def uvicorn(self) -> dict[str, Any]:
        """Settings of the server.  PROTOCOL_TLS_SERVER, its default, begins at TLS 1.2."""
        tls = {"ssl_certfile": self.certificate, "ssl_keyfile": self.private_key}
        return {
            "host": self.host,
            "port": self.port,
            # Else anybody could say who they are, and past which proxy they came.
            "proxy_headers": self.behind_proxy,
            "forwarded_allow_ips": "*",
            **(tls if self.certificate else {}),
        }
