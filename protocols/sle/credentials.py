"""Credentials of ISP1 (913.1-B): who says a PDU, proved by a hash of time, chance and password.

security = Security("L4RG", b"…", "STATION", b"…", level=Level.ALL, entropy=draw)
octets = security.sign(now_ns, bind=True); security.check(octets, now_ns, bind=True)
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from protocols.errors import LocalError, RemoteError
from protocols.sle.ber import Integer, OctetString, Sequence, VisibleString
from protocols.timecodes.cds import CdsFormat

_TIME: Final = CdsFormat(submillisecond_octets=2)
#: INTEGER (0 .. 2147483647).
RANDOM_BELOW: Final = 1 << 31
#: How far a peer's clock and the way may put credentials off.
ACCEPTED_S: Final = 180.0
#: Octets of a user's name and of a password in a hash.
_LONGEST: Final = 1 << 10


class Hash(StrEnum):
    """913.1-B-1 had SHA-1, since issue 2 it is SHA-256."""

    SHA_1 = "sha-1"
    SHA_256 = "sha-256"


class Level(StrEnum):
    """Which PDUs carry credentials: none, those of BIND, all (but of a peer's abort)."""

    NONE = "none"
    BIND = "bind"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class _HashInput:
    time: bytes
    random: int
    user: str
    password: bytes


@dataclass(frozen=True, slots=True)
class _Isp1Credentials:
    time: bytes
    random: int
    protected: bytes


_RANDOM: Final = Integer(0, RANDOM_BELOW - 1)
#: Built by DER, which is what `ber` builds.
_HASH_INPUT: Final = Sequence(
    _HashInput,
    OctetString(_TIME.size, _TIME.size),
    _RANDOM,
    VisibleString(0, _LONGEST),
    OctetString(0, _LONGEST),
)
_CREDENTIALS: Final = Sequence(
    _Isp1Credentials, OctetString(_TIME.size, _TIME.size), _RANDOM, OctetString(20, 32)
)
_DIGESTS: Final[dict[Hash, Callable[[bytes], Any]]] = {
    Hash.SHA_1: hashlib.sha1,
    Hash.SHA_256: hashlib.sha256,
}


def _protected(time: bytes, random: int, user: str, password: bytes, algorithm: Hash) -> bytes:
    octets = _HASH_INPUT.build(_HashInput(time, random, user, password))
    return _DIGESTS[algorithm](octets).digest()


def build_credentials(
    user: str, password: bytes, *, now_ns: int, random: int, algorithm: Hash = Hash.SHA_256
) -> bytes:
    """random: below `RANDOM_BELOW`, not to be foretold.  LocalError for another."""
    time = _TIME.build(now_ns)
    protected = _protected(time, random, user, password, algorithm)
    return _CREDENTIALS.build(_Isp1Credentials(time, random, protected))


def check_credentials(
    octets: bytes,
    user: str,
    password: bytes,
    *,
    now_ns: int,
    algorithm: Hash = Hash.SHA_256,
    accepted_s: float = ACCEPTED_S,
) -> None:
    """RemoteError: they are none, too old or too new, or somebody else's."""
    found: _Isp1Credentials = _CREDENTIALS.parse(octets)
    age_s = (now_ns - _TIME.parse(found.time)) / 1e9
    if abs(age_s) > accepted_s:
        raise RemoteError(
            f"credentials of {user} are {age_s:.0f} s old, {accepted_s:g} s accepted", data=octets
        )
    wanted = _protected(found.time, found.random, user, password, algorithm)
    if not hmac.compare_digest(wanted, found.protected):
        raise RemoteError(f"credentials of {user} are not those of its password", data=octets)


@dataclass(frozen=True, slots=True)
class Security:
    """What both ends of an association agreed.  user, password: ours; peer, peer_password: theirs.
    entropy: draws a random number below `RANDOM_BELOW`; accepted_s: age of credentials."""

    user: str
    password: bytes = field(default=b"", repr=False)
    peer: str = ""
    peer_password: bytes = field(default=b"", repr=False)
    level: Level = Level.NONE
    algorithm: Hash = Hash.SHA_256
    accepted_s: float = ACCEPTED_S
    entropy: Callable[[], int] = field(default=lambda: 0, repr=False)

    def __post_init__(self) -> None:
        if not 3 <= len(self.user) <= 16:
            raise LocalError(f"authority identifier {self.user!r}: 3 to 16 letters wanted")
        if self.level is not Level.NONE and not (
            self.password and self.peer and self.peer_password
        ):
            raise LocalError(
                f"authentication of {self.level} wants passwords of both ends, and the peer's name"
            )

    def _wanted(self, bind: bool) -> bool:
        return self.level is Level.ALL or (bind and self.level is Level.BIND)

    def sign(self, now_ns: int, *, bind: bool = False) -> bytes | None:
        """What a PDU of ours carries."""
        if not self._wanted(bind):
            return None
        return build_credentials(
            self.user,
            self.password,
            now_ns=now_ns,
            random=self.entropy(),
            algorithm=self.algorithm,
        )

    def check(self, credentials: bytes | None, now_ns: int, *, bind: bool = False) -> None:
        """RemoteError: a PDU of the peer's should have some, or others."""
        if not self._wanted(bind):
            return
        if credentials is None:
            raise RemoteError(f"{self.peer} gave no credentials")
        check_credentials(
            credentials,
            self.peer,
            self.peer_password,
            now_ns=now_ns,
            algorithm=self.algorithm,
            accepted_s=self.accepted_s,
        )


__all__ = [
    "ACCEPTED_S",
    "RANDOM_BELOW",
    "Hash",
    "Level",
    "Security",
    "build_credentials",
    "check_credentials",
]
