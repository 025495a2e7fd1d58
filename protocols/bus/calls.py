"""Calls of a service over ZeroMQ, DEALER to ROUTER: one map in msgpack there, one back.

A caller that hears no answer says the same call again: its key names it, and whoever changes
anything keeps the answer with the change and gives it again.
"""

# msgpack ships no complete types: what comes out of it is checked where it enters our code.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgpack

from protocols.errors import LocalError, RemoteError

#: Largest message: an application data unit and its frame.
MAX_MESSAGE_OCTETS: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Call:
    """key: one call's name, never used again."""

    key: str
    operation: str
    arguments: dict[str, Any]

    def build(self) -> bytes:
        return pack_map({"key": self.key, "operation": self.operation, "arguments": self.arguments})

    @classmethod
    def parse(cls, octets: bytes) -> Call:
        """Raises RemoteError."""
        found = unpack_map(octets)
        key, operation = found.get("key"), found.get("operation")
        arguments = found.get("arguments")
        if (
            not isinstance(key, str)
            or not isinstance(operation, str)
            or type(arguments) is not dict
        ):
            raise RemoteError(f"no call: {str(found)[:200]}", data=octets[:256])
        return cls(key, operation, arguments)


@dataclass(frozen=True, slots=True)
class Answer:
    """To the call of this key.  error: empty, or why not; result: by operation."""

    key: str
    result: Any = None
    error: str = ""

    def build(self) -> bytes:
        return pack_map({"key": self.key, "result": self.result, "error": self.error})

    @classmethod
    def parse(cls, octets: bytes) -> Answer:
        """Raises RemoteError."""
        found = unpack_map(octets)
        key, error = found.get("key"), found.get("error")
        if not isinstance(key, str) or not isinstance(error, str):
            raise RemoteError(f"no answer: {str(found)[:200]}", data=octets[:256])
        return cls(key, found.get("result"), error)


def pack_map(value: dict[str, Any]) -> bytes:
    """Raises LocalError for a message that is too long, or values that msgpack cannot say."""
    try:
        packed = msgpack.packb(value, use_bin_type=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise LocalError(f"message: {error}") from error
    if packed is None or len(packed) > MAX_MESSAGE_OCTETS:
        raise LocalError(f"message above {MAX_MESSAGE_OCTETS} octets")
    return packed


def unpack_map(octets: bytes) -> dict[str, Any]:
    """Raises RemoteError for anything but a map with texts as keys."""
    try:
        found = msgpack.unpackb(octets, raw=False, strict_map_key=True)
    except (ValueError, msgpack.UnpackException) as error:
        raise RemoteError(f"no msgpack: {error}", data=octets[:256]) from error
    if type(found) is not dict:
        raise RemoteError(f"a map wanted, {type(found).__name__} found", data=octets[:256])
    return found
