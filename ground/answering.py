"""A service's socket for operators: calls in, answers out, one thread, no waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import zmq

from protocols.bus.calls import Answer, Call
from protocols.errors import LocalError, ProtocolError, RemoteError

#: Of one call: the longest packet, its arguments in words, and their map.
MAX_CALL_OCTETS: Final = 1 << 20

#: key, operation, arguments → result; raises ProtocolError with a reason for people.
Handler = Callable[[str, str, dict[str, Any]], Any]


class Calls(Protocol):
    """Whoever has calls to be answered."""

    def turn(self, handle: Handler) -> None: ...


class CallServer:
    """endpoint: loopback unless secured otherwise.  LocalError: it cannot be had."""

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_CALL_OCTETS)
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise LocalError(f"operators' endpoint {endpoint}: {error}") from error

    def close(self) -> None:
        self._socket.close()
        self._context.term()

    def turn(self, handle: Handler) -> None:
        """Answer what has come."""
        while self._socket.poll(0):
            frames = self._socket.recv_multipart()
            if len(frames) == 2:
                self._answer(frames[0], _answered(frames[1], handle))

    def _answer(self, identity: bytes, answer: Answer) -> None:
        try:
            self._socket.send_multipart([identity, answer.build()], zmq.NOBLOCK)
        except zmq.ZMQError:
            # It is gone; if it still wants to know, it asks again.
            return


def _answered(body: bytes, handle: Handler) -> Answer:
    try:
        call = Call.parse(body)
    except RemoteError as error:
        return Answer("", error=str(error))
    try:
        return Answer(call.key, handle(call.key, call.operation, call.arguments))
    except ProtocolError as error:
        return Answer(call.key, error=str(error))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        # OverflowError: a number that the store has no room for.
        return Answer(call.key, error=f"{call.operation}: {type(error).__name__}: {error}")
