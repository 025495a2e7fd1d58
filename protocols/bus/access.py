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
from protocols.identifiers import Carrier, Topic

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


def literal_endpoint(endpoint: str) -> str:
    """With the address for `localhost`: what that name means is for a resolver to say, and a
    search list or a name server may say anything."""
    scheme, host, rest = endpoint.partition("://localhost:")
    return f"{scheme}://127.0.0.1:{rest}" if host else endpoint


def is_loopback_endpoint(endpoint: str) -> bool:
    """Whether only its own machine can reach what ZeroMQ makes of tcp://HOST:PORT.

    ZeroMQ reads more than an address there (tcp(7): `SOURCE;DESTINATION`, names of interfaces):
    whatever is not the one form is not loopback.
    """
    scheme, _, address = literal_endpoint(endpoint).partition("://")
    host, colon, port = address.rpartition(":")
    if scheme != "tcp" or not colon or not (port.isdecimal() or port == "*"):
        return False
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    # A name is none of ours here: `localhost` was replaced.
    return bracketed == (":" in host) and host.lower() != "localhost" and is_loopback_host(host)


class Door(StrEnum):
    """Sockets that are connected to; the name is the ZAP domain."""

    BUS_IN = "bus.in"
    BUS_OUT = "bus.out"
    REPLAY = "replay"
    LINK = "link"
    COMMAND = "command"
    SCHEDULING = "scheduling"
    BUNDLES = "bundles"
    ANTENNAS = "antennas"


@dataclass(frozen=True, slots=True)
class Role:
    """doors: that it may connect to; topics: that it may publish, and its own status besides;
    reads: that it may follow, live and from journals.  `link` is that topic and, since that is how
    subscriptions match, every topic that begins so.
    """

    doors: frozenset[Door]
    topics: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


_LIVE: Final = frozenset({Door.BUS_IN, Door.BUS_OUT})
_FOLLOWER: Final = _LIVE | {Door.REPLAY}
_OPERATORS: Final = frozenset({Door.COMMAND, Door.SCHEDULING, Door.BUNDLES, Door.ANTENNAS})

_EVERYTHING: Final = ("",)
#: How the site is; whoever keeps a journal hears by it who still needs what.
_STATES: Final = (Topic.LINK, Topic.PASSES, Topic.STATUS)
#: What the spacecraft says and how it is heard: for people and machines outside the control room.
_TELEMETRY: Final = (
    *(Topic.PACKETS, Topic.OPAQUE, Topic.PARAMETERS, Topic.EVENTS),
    *(*_STATES, Topic.RADIO, Topic.TIME),
)
#: All but the octets that are to be radiated.
_CONTROL_ROOM: Final = (*_TELEMETRY, Topic.OCF, Topic.COMMANDS, Topic.RADIATED, Topic.BUNDLES)

#: Roles by name; services have the role of their name (`receive.yeoju` that of `receive`).
ROLES: Final[dict[str, Role]] = {
    "bus": Role(frozenset()),
    "receive": Role(
        # Of several antennas' receivers `receive` follows the journals.
        _FOLLOWER | {Door.LINK},
        (
            *(Topic.PACKETS, Topic.OPAQUE, Topic.LINK, Topic.OCF, Topic.RADIATED),
            *(f"{Topic.RADIO}.", f"{Topic.UPLINK}."),
        ),
        (*_STATES, Topic.PACKETS, Topic.OPAQUE, Topic.OCF, Topic.UPLINK, Topic.RADIATED),
    ),
    "monitor": Role(
        _FOLLOWER,
        (Topic.PARAMETERS, Topic.EVENTS),
        (Topic.PACKETS, Topic.OPAQUE, *_STATES),
    ),
    "archive": Role(_FOLLOWER, (), _TELEMETRY),
    "scheduling": Role(_LIVE, (Topic.PASSES,), _STATES),
    "command": Role(
        _FOLLOWER,
        (Topic.COMMANDS, Topic.UPLINK),
        (*_STATES, Topic.PACKETS, Topic.PARAMETERS, Topic.OCF, Topic.RADIATED),
    ),
    "timing": Role(_FOLLOWER, (Topic.TIME,), (Topic.PACKETS, *_STATES)),
    "relay": Role(_FOLLOWER, (Topic.UPLINK,), (Topic.PACKETS, *_STATES, Topic.RADIATED)),
    "mission_centre": Role(_LIVE, (Topic.BUNDLES,), (Topic.STATUS,)),
    "console": Role(_FOLLOWER | _OPERATORS, (), _CONTROL_ROOM),
    "mqtt_bridge": Role(_FOLLOWER, (), _CONTROL_ROOM),
    # A bundle node that is no site's: applications connect to it, it connects to nobody here.
    "node": Role(frozenset()),
    # The station's modem: receive connects to it, it connects to nobody.
    "spacecraft_sim": Role(frozenset()),
    # People at `l4`: an operator commands and plans, a viewer looks; who has telemetry alone is
    # from another house, or a machine there.
    "operator": Role(_FOLLOWER | _OPERATORS, (f"{Topic.RADIO}.",), _EVERYTHING),
    "viewer": Role(_FOLLOWER - {Door.BUS_IN}, (), _CONTROL_ROOM),
    "guest": Role(_FOLLOWER - {Door.BUS_IN}, (), _TELEMETRY),
}
#: Roles of people, whose programs publish under names of their own ("l4-radio").
PEOPLE: Final = frozenset({"operator", "viewer", "guest"})


def role_of(service: str) -> str:
    """The role a service has by its name."""
    return service.partition(".")[0]


def antenna_of(service: str) -> str:
    """The antenna a receiver is of by its name, `yeoju` of `receive.yeoju`; empty: of none."""
    return service.partition(".")[2]


def may_publish(name: str, role: str, source: str, topic: str) -> bool:
    """Whether who connected as `name` may send this: in its own name, on a topic of its role.

    Of several antennas' receivers each says of itself alone how its link is (`link.yeoju`), and
    none tells another what to radiate (`uplink.yeoju`): `receive` does.
    """
    if role not in ROLES or not (source == name or (role in PEOPLE and source.startswith("l4-"))):
        return False
    own, part = ROLES[role].topics, antenna_of(name) if role not in PEOPLE else ""
    if part and (topic in (Topic.LINK, Topic.OCF) or topic.startswith(f"{Topic.UPLINK}.")):
        return False
    if topic in own or topic == f"{Topic.STATUS}.{source}":
        return True
    if part and topic in (f"{Topic.LINK}.{part}", f"{Topic.OCF}.{part}"):
        return topic.partition(".")[0] in own
    return any(one.endswith(".") and topic.startswith(one) for one in own)


def may_radiate(source: str, carrier: str) -> bool:
    """Whether a service may have octets radiated on a carrier: the bundle node commands nothing."""
    return role_of(source) != "relay" or carrier == Carrier.RELAY


def readable(role: str, asked: str) -> tuple[str, ...]:
    """What a subscription to all topics that begin with `asked` gives to a role: such beginnings,
    none of which is another's; empty: nothing."""
    reads = ROLES[role].reads if role in ROLES else ()
    if any(asked.startswith(one) for one in reads):
        return (asked,)
    return tuple(str(one) for one in reads if one.startswith(asked))


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
        by_name = role_of(self.name)
        if self.role in PEOPLE and by_name in ROLES and by_name not in PEOPLE:
            raise LocalError(f"{self.name}: a service is called so, no {self.role}")
        if self.role not in PEOPLE and by_name != self.role:
            raise LocalError(f"{self.name}: role {self.role}, its name says {by_name}")
        if not 1 <= len(self.keys) <= MAX_KEYS:
            raise LocalError(f"{self.name}: {len(self.keys)} keys, 1..{MAX_KEYS} wanted")

    def in_force(self, now_s: float) -> Key:
        """The newest key that is valid; before any is, the first that will be."""
        valid = [key for key in self.keys if key.valid_from_s <= now_s]
        if valid:
            return max(valid, key=lambda key: key.valid_from_s)
        return min(self.keys, key=lambda key: key.valid_from_s)

    def accepts(self, public: str, now_s: float) -> bool:
        """Whether who has this key is let in: with that in force, one to come (clocks differ), or,
        for `OVERLAP_S`, the one before; never again with one that was superseded before that."""
        force = self.in_force(now_s)
        before = max(
            (key for key in self.keys if key.valid_from_s < force.valid_from_s),
            key=lambda key: key.valid_from_s,
            default=None,
        )
        for key in self.keys:
            if key.public == public and key.valid_from_s >= force.valid_from_s:
                return True
        overlaps = now_s < force.valid_from_s + OVERLAP_S
        return overlaps and before is not None and before.public == public

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
