"""Addresses of database servers, as they may stand in an argument or a setting: no passwords, and
TLS with the server's certificate checked wherever the connection leaves this machine."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from protocols.bus.access import is_loopback_host
from protocols.errors import LocalError

SCHEMES = ("postgresql", "postgres")


def is_address(where: Path | str) -> bool:
    """Whether it is a server's address, not a file."""
    return str(where).startswith(tuple(f"{scheme}:" for scheme in SCHEMES))


def checked_address(address: str) -> str:
    """The address; LocalError for one that is none, or has a password where all can read it."""
    try:
        parts = urlsplit(address)
        password, host, _ = parts.password, parts.hostname, parts.port
    except ValueError as error:
        raise LocalError(f"archive address {shown_address(address)}: {error}") from error
    names = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    if password or any("password" in name for name in names):
        raise LocalError(
            f"{shown_address(address)}: a password in an address is on show to every user of this "
            "machine; put it into ~/.pgpass, or a file that PGPASSFILE names (mode 0600)"
        )
    if parts.scheme not in SCHEMES or not (host or "host" in names) or len(parts.path) < 2:
        raise LocalError(
            f"archive address {shown_address(address)}: postgresql://USER@HOST[:PORT]/NAME wanted"
        )
    tls_mode(address)
    return address


def tls_mode(address: str) -> str | None:
    """The `sslmode` with which to connect; None: as the address says.  LocalError for a server
    elsewhere and less than `verify-full`: whoever is between could read, and answer."""
    parts = urlsplit(address)
    query = dict(parse_qsl(parts.query))
    hosts = _hosts(parts.netloc) or [
        host if host.startswith("/") else host.partition(":")[0]
        for host in query.get("host", "").split(",")
    ]
    if all(host.startswith("/") or is_loopback_host(host) for host in hosts):
        return None
    if (mode := query.get("sslmode", "verify-full")) != "verify-full":
        raise LocalError(
            f"archive address {shown_address(address)}: sslmode={mode} to a server that is not on "
            "this machine; verify-full wanted (sslrootcert=FILE names the authority, else "
            "~/.postgresql/root.crt)"
        )
    return mode


def _hosts(netloc: str) -> list[str]:
    """Of several, separated by commas, each."""
    return [
        host
        for one in netloc.rpartition("@")[2].split(",")
        if (host := unquote(urlsplit(f"//{one}").hostname or ""))
    ]


def shown_address(address: str) -> str:
    """The address as it may be printed."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "postgresql://…"
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit((parts.scheme, f"{user.partition(':')[0]}{at}{host}", parts.path, "", ""))


__all__ = ["checked_address", "is_address", "shown_address", "tls_mode"]
