"""Between an application and a bundle node: maps in msgpack, ZeroMQ DEALER to the node's ROUTER.

    application → node   Request(id, operation, …)
    node → application   Reply(id, …) to each, and Delivery for a registered endpoint

`send` and `acknowledge` are answered when what they say is on disk.  A delivery comes again until
it is acknowledged, after a restart of either side too: whoever takes it knows it by source and
creation timestamp.  An application that repeats a `send` for want of a reply gives the same
creation timestamp again, and the node takes it once.
"""

# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from protocols.bus.calls import pack_map, unpack_map
from protocols.errors import LocalError, RemoteError

OPERATIONS: Final = frozenset(
    (
        "register",
        "unregister",
        "send",
        "acknowledge",
        "status",
        "held",
        "routes",
        "contacts",
        "reload",
        "drop",
    )
)


@dataclass(frozen=True, slots=True)
class Request:
    """id: the application's own, repeated in the reply.  arguments: by operation."""

    id: int
    operation: str
    arguments: dict[str, Any]

    def build(self) -> bytes:
        """Raises LocalError for an operation that does not exist."""
        if self.operation not in OPERATIONS:
            raise LocalError(f"operation {self.operation!r}; {', '.join(sorted(OPERATIONS))} are")
        return pack_map({"id": self.id, "operation": self.operation, "arguments": self.arguments})

    @classmethod
    def parse(cls, octets: bytes) -> Request:
        """Raises RemoteError."""
        found = unpack_map(octets)
        number, operation = found.get("id"), found.get("operation")
        arguments = found.get("arguments")
        if (
            type(number) is not int
            or not isinstance(operation, str)
            or operation not in OPERATIONS
            or type(arguments) is not dict
        ):
            raise RemoteError(
                f"no request of an application: {str(found)[:200]}", data=octets[:256]
            )
        return cls(number, operation, arguments)


@dataclass(frozen=True, slots=True)
class Reply:
    """error: empty, or why not.  result: by operation."""

    id: int
    result: Any = None
    error: str = ""

    def build(self) -> bytes:
        """The message."""
        return pack_map({"id": self.id, "result": self.result, "error": self.error})


@dataclass(frozen=True, slots=True)
class Delivery:
    """A bundle for a registered endpoint.  creation: (DTN time in ms, sequence)."""

    ref: int
    source: str
    destination: str
    creation: tuple[int, int]
    payload: bytes

    def build(self) -> bytes:
        """The message."""
        return pack_map(
            {
                "ref": self.ref,
                "source": self.source,
                "destination": self.destination,
                "creation": self.creation,
                "payload": self.payload,
            }
        )


def parse_from_node(octets: bytes) -> Reply | Delivery:
    """What a node says to an application.  Raises RemoteError."""
    found = unpack_map(octets)
    try:
        if "ref" in found:
            time_ms, sequence = found["creation"]
            return Delivery(
                int(found["ref"]),
                str(found["source"]),
                str(found["destination"]),
                (int(time_ms), int(sequence)),
                bytes(found["payload"]),
            )
        return Reply(int(found["id"]), found["result"], str(found["error"]))
    except (KeyError, TypeError, ValueError) as error:
        raise RemoteError(f"no message of a bundle node: {error}", data=octets[:256]) from error
