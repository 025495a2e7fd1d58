"""A service's socket for operators: calls in, answers out, one thread, no waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import zmq

from ground.curve import Curve, user_of
from ground.keyring import Keyring
from protocols.bus.access import PEOPLE, Door
from protocols.bus.calls import Answer, Call
from protocols.errors import LocalError, ProtocolError, RemoteError

#: Of one call: the longest packet, its arguments in words, and their map.
MAX_CALL_OCTETS: Final = 1 << 20

#: Answered in one turn of a service; the rest wait, 1,000 of each caller at most (ZeroMQ's mark).
CALLS_A_TURN: Final = 64

#: key, operation, arguments → result; raises ProtocolError with a reason for people.
Handler = Callable[[str, str, dict[str, Any]], Any]


class Calls(Protocol):
    """Whoever has calls to be answered."""

    def turn(self, handle: Handler) -> None: ...


class CallServer:
    """door: which of the sockets it is.  keyring: our keys; a person then calls in the own name.

    LocalError: the endpoint cannot be had, or is not loopback and there are no keys.
    """

    def __init__(
        self, endpoint: str, door: Door = Door.COMMAND, keyring: Keyring | None = None
    ) -> None:
        self._door = door
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_CALL_OCTETS)
        try:
            self._curve = Curve(self._context, keyring)
            self._curve.bind(self._socket, endpoint, door)
        except (zmq.ZMQError, LocalError) as error:
            self.close()
            raise LocalError(f"operators' endpoint {endpoint}: {error}") from error

    def close(self) -> None:
        self._socket.close()
        self._context.term()

    def turn(self, handle: Handler) -> None:
        """Answer what has come, but no more than some: the service has other things to do."""
        self._curve.refresh()
        for _ in range(CALLS_A_TURN):
            if not self._socket.poll(0):
                return
            frames = self._socket.recv_multipart(copy=False)
            if len(frames) == 2:
                answer = self._answer_to(frames[1], handle)
                self._answer(frames[0].bytes, answer)

    def _answer_to(self, frame: zmq.Frame, handle: Handler) -> Answer:
        person = ""
        if self._curve.secured:
            holder = self._curve.holder(user_of(frame), self._door)
            if holder is None:
                # Revoked since it was sent: a call of nobody's would be one in any name.
                return Answer("", error="the key that this came with is trusted no more")
            person = holder.name if holder.role in PEOPLE else ""
        return _answered(frame.bytes, handle, person)

    def _answer(self, identity: bytes, answer: Answer) -> None:
        try:
            self._socket.send_multipart([identity, answer.build()], zmq.NOBLOCK)
        except zmq.ZMQError:
            # It is gone; if it still wants to know, it asks again.
            return


def _answered(body: bytes, handle: Handler, person: str = "") -> Answer:
    """person: whose key the call came with; the console alone speaks for others."""
    try:
        call = Call.parse(body)
    except RemoteError as error:
        return Answer("", error=str(error))
    if person:
        actor = call.arguments.setdefault("actor", person)
        if actor not in ("", person):
            return Answer(call.key, error=f"the key is {person}'s: not in the name of {actor!r}")
        call.arguments["actor"] = person
    try:
        return Answer(call.key, handle(call.key, call.operation, call.arguments))
    except ProtocolError as error:
        return Answer(call.key, error=str(error))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        # OverflowError: a number that the store has no room for.
        return Answer(call.key, error=f"{call.operation}: {type(error).__name__}: {error}")
