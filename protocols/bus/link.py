"""The wire between a station (ROUTER) and `receive` (DEALER): multipart messages over ZeroMQ.

    receive → station   [b"HELLO", map {"version", "resume": {stream: last sequence on disk}}]
                        [b"ACK", map {"stream", "sequence"}]
                        [b"UPLINK", UplinkMessage]
    station → receive   [b"CHUNK", map {"stream", "sequence", "ert_ns"}, octets]
                        [b"STATE", map {"stream", "lost_chunks", "carrier", "owlt_s",
                                        "station", "transmits", "first"}]
                        [b"RADIATED", RadiatedMessage]

Chunks of a stream are numbered from 0.  The station keeps each until it is acknowledged (ACK n
means all up to n), sends at most `WINDOW` ahead of the last acknowledgement, and after a HELLO goes
back to what follows the resume position.  STATE comes about once a second, so that silence is told
from a dead link.  A HELLO of another version is answered by nothing.

Of several carriers down each is a stream; those beside the first end in "/NAME".

UPLINK and RADIATED carry the bodies of the bus topics `uplink` and `radiated` as they are.  The id
of an UPLINK has one fate, with which each repetition of it is answered: the station may be asked
again by whoever does not know whether it heard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from protocols.bus.fields import (
    FLAG,
    INTEGER,
    NUMBER,
    TEXT,
    declare,
    from_map,
    map_of,
    pack_map,
    to_map,
    unpack_map,
)
from protocols.bus.messages import RadiatedMessage, UplinkMessage, parse
from protocols.errors import RemoteError

# ruff: noqa: RUF009 — `declare` returns a `dataclasses.field`

LINK_VERSION: Final = 3
#: Chunks that may be under way unacknowledged: 256 frames of 1,115 octets are a quarter megabyte.
WINDOW: Final = 256

HELLO: Final = b"HELLO"
ACK: Final = b"ACK"
UPLINK: Final = b"UPLINK"
CHUNK: Final = b"CHUNK"
STATE: Final = b"STATE"
RADIATED: Final = b"RADIATED"


@dataclass(frozen=True, slots=True)
class Hello:
    """`receive` is there; resume: by stream, the last sequence that is on disk."""

    version: int = declare(INTEGER)
    resume: dict[str, int] = declare(map_of(INTEGER))


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Everything up to `sequence` of the stream is on disk."""

    stream: str = declare(TEXT)
    sequence: int = declare(INTEGER)


@dataclass(frozen=True, slots=True)
class ChunkHeader:
    """ert_ns: Earth receive time (TAI ns) of the chunk's first octet."""

    stream: str = declare(TEXT)
    sequence: int = declare(INTEGER)
    ert_ns: int = declare(INTEGER)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Octets off the antenna; fields as in `ChunkHeader`."""

    stream: str
    sequence: int
    ert_ns: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class State:
    """lost_chunks: given up because the station's buffer was full, counted from the first one;
    carrier: the antenna hears the spacecraft; owlt_s: light time of what arrives now, seconds,
    negative if not known; station: who has the pass that is on, empty for none (or if the station
    knows of no passes); transmits: what is sent now goes up; first: the stream is of the first
    carrier, what it says of carrier and station is the link's."""

    stream: str = declare(TEXT)
    lost_chunks: int = declare(INTEGER)
    carrier: bool = declare(FLAG)
    owlt_s: float = declare(NUMBER)
    station: str = declare(TEXT, default="")
    transmits: bool = declare(FLAG, default=True)
    first: bool = declare(FLAG, default=True)


def build_hello(version: int, resume: Mapping[str, int]) -> list[bytes]:
    """Parts of a HELLO."""
    return [HELLO, pack_map(to_map(Hello(version, dict(resume))))]


def build_acknowledge(stream: str, sequence: int) -> list[bytes]:
    """Parts of an ACK."""
    return [ACK, pack_map(to_map(Acknowledge(stream, sequence)))]


def build_uplink(message: UplinkMessage) -> list[bytes]:
    """Parts of an UPLINK."""
    return [UPLINK, message.build()]


def build_radiated(message: RadiatedMessage) -> list[bytes]:
    """Parts of a RADIATED."""
    return [RADIATED, message.build()]


def build_chunk(chunk: Chunk) -> list[bytes]:
    """Parts of a CHUNK.

    >>> parse_downlink(build_chunk(Chunk("s", 7, 5, b"octets")))
    Chunk(stream='s', sequence=7, ert_ns=5, octets=b'octets')
    """
    header = ChunkHeader(chunk.stream, chunk.sequence, chunk.ert_ns)
    return [CHUNK, pack_map(to_map(header)), chunk.octets]


def build_state(state: State) -> list[bytes]:
    """Parts of a STATE."""
    return [STATE, pack_map(to_map(state))]


B = TypeVar("B", Hello, Acknowledge, ChunkHeader, State)


def _body(kind: type[B], octets: bytes) -> B:
    entries = unpack_map(octets)
    return from_map(kind, {name: entries.get(name) for name in kind.__dataclass_fields__})


def _hello(parts: Sequence[bytes]) -> Hello:
    return _body(Hello, parts[1])


def _acknowledge(parts: Sequence[bytes]) -> Acknowledge:
    return _body(Acknowledge, parts[1])


def _uplink(parts: Sequence[bytes]) -> UplinkMessage:
    return parse(UplinkMessage, parts[1])


def _radiated(parts: Sequence[bytes]) -> RadiatedMessage:
    return parse(RadiatedMessage, parts[1])


def _chunk(parts: Sequence[bytes]) -> Chunk:
    header = _body(ChunkHeader, parts[1])
    if header.sequence < 0:
        raise RemoteError(f"chunk sequence {header.sequence}; 0 or more wanted")
    return Chunk(header.stream, header.sequence, header.ert_ns, parts[2])


def _state(parts: Sequence[bytes]) -> State:
    return _body(State, parts[1])


_TO_STATION: dict[bytes, tuple[int, Callable[[Sequence[bytes]], Any]]] = {
    HELLO: (2, _hello),
    ACK: (2, _acknowledge),
    UPLINK: (2, _uplink),
}
_TO_RECEIVE: dict[bytes, tuple[int, Callable[[Sequence[bytes]], Any]]] = {
    CHUNK: (3, _chunk),
    STATE: (2, _state),
    RADIATED: (2, _radiated),
}


def _parse(
    parts: Sequence[bytes], known: Mapping[bytes, tuple[int, Callable[[Sequence[bytes]], Any]]]
) -> Any:
    name = parts[0] if parts else b""
    if name not in known:
        wanted = ", ".join(key.decode() for key in known)
        raise RemoteError(f"link message {name[:16]!r}; one of {wanted} wanted", data=name[:64])
    count, read = known[name]
    if len(parts) != count:
        raise RemoteError(f"{name.decode()} of {len(parts)} parts, {count} wanted", data=name)
    return read(parts)


def parse_to_station(parts: Sequence[bytes]) -> Hello | Acknowledge | UplinkMessage:
    """What `receive` said; RemoteError for anything else."""
    return _parse(parts, _TO_STATION)


def parse_downlink(parts: Sequence[bytes]) -> Chunk | State | RadiatedMessage:
    """What the station said; RemoteError for anything else."""
    return _parse(parts, _TO_RECEIVE)
