"""Asking a service for a range of its journal: what DEALER and ROUTER say to each other.

    [PULL, request]                      follower → owner of the journal
    [DATA, reply, record, record, …]     owner → follower

A record is the message's time and body as they stand in the journal.  A request for another
identity than the journal's, or from before its first record, is answered from the first record it
holds; one from its end is answered with no record, which is how a silent follower learns that it
has missed nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.bus.fields import INTEGER, TEXT, build_message, declare, parse_message
from protocols.errors import RemoteError

REPLAY_VERSION = 1
PULL, DATA = b"PULL", b"DATA"

#: One reply's payload; a few milliseconds of a service's loop.
MAX_REPLY_OCTETS = 4 * 1024 * 1024
#: And its records, so that a reply of many small ones stays one message of a few parts.
MAX_REPLY_RECORDS = 4096

_TIME_OCTETS = 8


@dataclass(frozen=True, slots=True)
class PullRequest:
    """number: chosen by the asker, returned in the reply; sequence: first record wanted."""

    number: int = declare(INTEGER)
    topic: str = declare(TEXT)
    journal: str = declare(TEXT)
    sequence: int = declare(INTEGER)


@dataclass(frozen=True, slots=True)
class PullReply:
    """sequence: of the first record that follows (where there is none: the next to be written);
    next_sequence: of the next record to be written."""

    number: int = declare(INTEGER)
    topic: str = declare(TEXT)
    journal: str = declare(TEXT)
    sequence: int = declare(INTEGER)
    next_sequence: int = declare(INTEGER)


def build_pull(request: PullRequest) -> list[bytes]:
    return [PULL, build_message(request, REPLAY_VERSION)]


def parse_pull(parts: Sequence[bytes]) -> PullRequest:
    """RemoteError if the parts are no request."""
    if len(parts) != 2 or parts[0] != PULL:
        raise RemoteError("not a PULL request", data=b"".join(parts)[:64])
    request = parse_message(PullRequest, REPLAY_VERSION, parts[1])
    if request.sequence < 0:
        raise RemoteError(f"PULL from {request.sequence}", data=parts[1])
    return request


def build_data(reply: PullReply, records: Sequence[bytes]) -> list[bytes]:
    return [DATA, build_message(reply, REPLAY_VERSION), *records]


def parse_data(parts: Sequence[bytes]) -> tuple[PullReply, Sequence[bytes]]:
    """Reply and its records.  RemoteError if the parts are none."""
    if len(parts) < 2 or parts[0] != DATA:
        raise RemoteError("not a DATA reply", data=b"".join(parts)[:64])
    reply, records = parse_message(PullReply, REPLAY_VERSION, parts[1]), parts[2:]
    if (
        not reply.journal
        or reply.sequence < 0
        or reply.sequence + len(records) > reply.next_sequence
        or any(len(record) < _TIME_OCTETS for record in records)
    ):
        raise RemoteError("DATA reply contradicts itself", data=parts[1])
    return reply, records


def build_record(time_ns: int, body: bytes) -> bytes:
    """What stands in the journal for a message; topic and source are the journal's own."""
    return time_ns.to_bytes(_TIME_OCTETS, "big", signed=True) + body


def parse_record(record: bytes) -> tuple[int, bytes]:
    """(time_ns, body).  RemoteError if it is too short."""
    if len(record) < _TIME_OCTETS:
        raise RemoteError(f"journal record of {len(record)} octets", data=record)
    return int.from_bytes(record[:_TIME_OCTETS], "big", signed=True), record[_TIME_OCTETS:]
