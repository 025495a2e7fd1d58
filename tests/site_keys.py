"""Keys directories for tests, made as `l4 keys new` makes them."""

from __future__ import annotations

import time
from pathlib import Path

import zmq

from ground.keyring import Keyring, write_secret, write_trusted
from protocols.bus.access import ROLES, Holder, Key, role_of


def fresh_key(valid_from_s: float | None = None) -> Key:
    public, secret = zmq.curve_keypair()
    since = time.time() - 1 if valid_from_s is None else valid_from_s
    return Key(public.decode(), int(since), secret.decode())


def make_keys(directory: Path, *names: str) -> None:
    """Of services, and of persons called after their role; each trusts all."""
    for name in names:
        holder = Holder(name, role_of(name), (fresh_key(),))
        write_secret(directory / f"{name}.key", holder.build())
        write_trusted(directory, holder)


def keyring(directory: Path, name: str) -> Keyring:
    """Of a service; an operator's for a name that is none."""
    return Keyring(directory, name if role_of(name) in ROLES else "operator")
