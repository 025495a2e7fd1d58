"""Addresses of database servers, as they may stand in an argument or a setting: no passwords."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit, urlunsplit

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
    names = {name for name, _ in parse_qsl(parts.query)}
    if password or "password" in names:
        raise LocalError(
            f"{shown_address(address)}: a password in an address is on show to every user of this "
            "machine; put it into ~/.pgpass, or a file that PGPASSFILE names (mode 0600)"
        )
    if parts.scheme not in SCHEMES or not (host or "host" in names) or len(parts.path) < 2:
        raise LocalError(
            f"archive address {shown_address(address)}: postgresql://USER@HOST[:PORT]/NAME wanted"
        )
    return address


def shown_address(address: str) -> str:
    """The address as it may be printed."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "postgresql://…"
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit((parts.scheme, f"{user.partition(':')[0]}{at}{host}", parts.path, "", ""))


__all__ = ["checked_address", "is_address", "shown_address"]
