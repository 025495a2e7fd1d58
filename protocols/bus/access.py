"""Who may do what on the bus: key files of services and people, and the roles in them.

A key file is JSON.  `NAME.key` is a service's or a person's own, with secret keys; `NAME.pub` is
what others are given of it, without them.  Both hold several keys at times: the one in force is the
newest whose `valid_from` is past, so that all hosts take up a new key at the instant that stands in
it; the one before is still accepted for `OVERLAP_S`, since clocks differ.

A role says which sockets may be connected to and which topics published.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from protocols.bus.envelope import MAX_NAME_OCTETS
from protocols.errors import LocalError
from protocols.identifiers import Topic

#: Seconds for which a superseded key still opens a connection.
OVERLAP_S: Final = 300
#: Keys that one name may have at a time: one in force, one to come, some left over.
MAX_KEYS: Final = 8
#: A CURVE key in Z85 (RFC 32).
_Z85_LENGTH: Final = 40
_Z85: Final = frozenset(
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
)


def is_loopback_host(host: str) -> bool:
    """Whether only its own machine can reach it.  A name may mean any machine, `*` means all
    addresses of one."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"


class Door(StrEnum):
    """Sockets that are connected to; the name is the ZAP domain."""

    BUS_IN = "bus.in"
    BUS_OUT = "bus.out"
    REPLAY = "replay"
    LINK = "link"
    COMMAND = "command"
    SCHEDULING = "scheduling"
    BUNDLES = "bundles"


@dataclass(frozen=True, slots=True)
class Role:
    """doors: that it may connect to; topics: that it may publish, and its own status besides."""

    doors: frozenset[Door]
    topics: tuple[str, ...] = ()


_LIVE: Final = frozenset({Door.BUS_IN, Door.BUS_OUT})
_FOLLOWER: Final = _LIVE | {Door.REPLAY}
_OPERATORS: Final = frozenset({Door.COMMAND, Door.SCHEDULING, Door.BUNDLES})

#: Roles by name; services have the role of their name (`receive.yeoju` that of `receive`).
ROLES: Final[dict[str, Role]] = {
    "bus": Role(frozenset()),
    "receive": Role(
        # Of several antennas' receivers `receive` follows the journals.
        _FOLLOWER | {Door.LINK},
        (
            *(Topic.PACKETS, Topic.OPAQUE, Topic.LINK, Topic.OCF, Topic.RADIATED),
            *(f"{Topic.LINK}.", f"{Topic.OCF}.", f"{Topic.RADIO}."),
        ),
    ),
    "monitor": Role(_FOLLOWER, (Topic.PARAMETERS, Topic.EVENTS)),
    "archive": Role(_FOLLOWER),
    "scheduling": Role(_LIVE, (Topic.PASSES,)),
    "command": Role(_FOLLOWER, (Topic.COMMANDS, Topic.UPLINK)),
    "timing": Role(_FOLLOWER, (Topic.TIME,)),
    "relay": Role(_FOLLOWER, (Topic.UPLINK,)),
    "mission_centre": Role(_LIVE, (Topic.BUNDLES,)),
    "console": Role(_FOLLOWER | _OPERATORS),
    "mqtt_bridge": Role(_FOLLOWER),
    # The station's modem: receive connects to it, it connects to nobody.
    "spacecraft_sim": Role(frozenset()),
    # People at `l4`: an operator commands and plans, a viewer looks.
    "operator": Role(_FOLLOWER | _OPERATORS, (f"{Topic.RADIO}.",)),
    "viewer": Role(frozenset({Door.BUS_OUT, Door.REPLAY})),
}
#: Roles of people, whose programs publish under names of their own ("l4-radio").
PEOPLE: Final = frozenset({"operator", "viewer"})


def role_of(service: str) -> str:
    """The role a service has by its name."""
    return service.partition(".")[0]


def may_publish(name: str, role: str, source: str, topic: str) -> bool:
    """Whether who connected as `name` may send this: in its own name, on a topic of its role."""
    if role not in ROLES or not (source == name or (role in PEOPLE and source.startswith("l4-"))):
        return False
    own = ROLES[role].topics
    return topic == f"{Topic.STATUS}.{source}" or any(
        topic.startswith(one) if one.endswith(".") else topic == one for one in own
    )


@dataclass(frozen=True, slots=True)
class Key:
    """public, secret: Z85; secret is empty where only the public half is known.

    valid_from_s: Unix seconds.
    """

    public: str
    valid_from_s: int
    secret: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        for half in (self.public, *([self.secret] if self.secret else [])):
            if len(half) != _Z85_LENGTH or not _Z85.issuperset(half):
                # Which it was is not said: it may have been the secret half.
                raise LocalError(f"a key of {_Z85_LENGTH} characters of Z85 wanted")

    @property
    def fingerprint(self) -> str:
        """What people compare and logs show."""
        return hashlib.sha256(self.public.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has some keys: a service or a person, under the name that it publishes with."""

    name: str
    role: str
    keys: tuple[Key, ...]

    def __post_init__(self) -> None:
        if not is_key_name(self.name):
            raise LocalError(
                f"name {self.name!r}: 1..{MAX_NAME_OCTETS} letters, digits and . _ - wanted, "
                "beginning with a letter"
            )
        if self.role not in ROLES:
            raise LocalError(f"{self.name}: role {self.role!r}; {', '.join(ROLES)} are")
        if self.role not in PEOPLE and role_of(self.name) != self.role:
            raise LocalError(f"{self.name}: role {self.role}, its name says {role_of(self.name)}")
        if not 1 <= len(self.keys) <= MAX_KEYS:
            raise LocalError(f"{self.name}: {len(self.keys)} keys, 1..{MAX_KEYS} wanted")

    def in_force(self, now_s: float) -> Key:
        """The newest key that is valid; before any is, the first that will be."""
        valid = [key for key in self.keys if key.valid_from_s <= now_s]
        if valid:
            return max(valid, key=lambda key: key.valid_from_s)
        return min(self.keys, key=lambda key: key.valid_from_s)

    def accepts(self, public: str, now_s: float) -> bool:
        """Whether who has this key is let in: it is listed, and not superseded too long since."""
        force = self.in_force(now_s)
        return any(
            key.public == public
            and (key.valid_from_s >= force.valid_from_s or now_s < force.valid_from_s + OVERLAP_S)
            for key in self.keys
        )

    def with_key(self, key: Key) -> Holder:
        """A key more; the oldest goes where there are too many."""
        kept = sorted((*self.keys, key), key=lambda one: one.valid_from_s)[-MAX_KEYS:]
        return Holder(self.name, self.role, tuple(kept))

    @property
    def public_only(self) -> Holder:
        """What others are given."""
        halves = tuple(Key(key.public, key.valid_from_s) for key in self.keys)
        return Holder(self.name, self.role, halves)

    def build(self) -> str:
        """The key file."""
        keys: list[dict[str, str]] = []
        for key in self.keys:
            secret = {"secret": key.secret} if key.secret else {}
            when = datetime.fromtimestamp(key.valid_from_s, UTC)
            valid_from = when.isoformat(timespec="seconds").replace("+00:00", "Z")
            keys.append({"public": key.public, **secret, "valid_from": valid_from})
        return json.dumps({"name": self.name, "role": self.role, "keys": keys}, indent=2) + "\n"

    @classmethod
    def parse(cls, text: str) -> Holder:
        """LocalError, which quotes no key, for what is no key file."""
        try:
            found: Any = json.loads(text)
            keys = tuple(
                Key(
                    str(one["public"]),
                    round(datetime.fromisoformat(one["valid_from"]).timestamp()),
                    str(one.get("secret", "")),
                )
                for one in found["keys"]
            )
            return cls(str(found["name"]), str(found["role"]), keys)
        except LocalError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            raise LocalError(
                'no key file: {"name", "role", "keys": [{"public", "valid_from"}, …]} wanted'
            ) from None


def is_key_name(name: str) -> bool:
    """Whether a file may be called so."""
    return (
        0 < len(name) <= MAX_NAME_OCTETS
        and name.isascii()
        and name[0].isalpha()
        and all(one.isalnum() or one in "._-" for one in name)
    )


def holder_of(holders: Sequence[Holder], public: str, door: str, now_s: float) -> Holder | None:
    """Who may come in at a door with this key; None: nobody."""
    for holder in holders:
        if holder.accepts(public, now_s) and door in ROLES[holder.role].doors:
            return holder
    return None
