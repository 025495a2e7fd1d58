"""A caller's end of a service's socket: a question is said again until it is answered."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import zmq

from ground.curve import Curve
from ground.keyring import Keyring
from protocols.bus.calls import Answer, Call
from protocols.errors import LocalError

#: A call is said again when no answer came for so long.
REPEAT_S: Final = 1.0

Answered = TypeVar("Answered")
_RECONNECT_MS: Final = (50, 500)


class NoAnswer(LocalError):
    """A service is silent, or not part of this run."""


class Asking:
    """A DEALER to a service's ROUTER.  name: what does not answer, in words.

    server: the service, whose key it must have where keyring, our keys, is given.
    LocalError: the endpoint is not loopback and there are no keys.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        name: str,
        timeout_s: float,
        server: str = "",
        keyring: Keyring | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._name = name
        self._timeout_s = timeout_s
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS[0])
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MS[1])
        self._keyring = keyring
        try:
            self._curve = Curve(self._context, keyring)
            self._curve.connect(self._socket, endpoint, server)
        except LocalError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """What is under way is lost."""
        self._socket.close()
        self._context.term()

    def _asked(
        self, question: bytes, read: Callable[[float], Answered | None], repeat_s: float
    ) -> Answered:
        """What `read` makes of the answer, in at most so many seconds; None from it: not ours.

        repeat_s: after which the question is said again.  Raises NoAnswer.
        """
        deadline = time.monotonic() + self._timeout_s
        self._curve.refresh()
        while (left := deadline - time.monotonic()) > 0:
            self._socket.send(question)
            again = time.monotonic() + min(repeat_s, left)
            while (wait := again - time.monotonic()) > 0:
                answer = read(wait)
                if answer is not None:
                    return answer
        hint = f", or it does not trust {self._keyring.name}'s key" if self._keyring else ""
        raise NoAnswer(f"no {self._name} answers at {self.endpoint}{hint}")


class CallClient(Asking):
    """Operators' end of a service with an `answering.CallServer`; actor: in whose name.

    LocalError where it refuses, NoAnswer where it does not answer in time.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        name: str,
        actor: str = "",
        timeout_s: float,
        server: str = "",
        keyring: Keyring | None = None,
    ) -> None:
        super().__init__(endpoint, name=name, timeout_s=timeout_s, server=server, keyring=keyring)
        self.actor = actor

    def call(self, operation: str, **arguments: Any) -> Any:
        """The result of an operation."""
        call = Call(uuid.uuid4().hex, operation, {"actor": self.actor, **arguments})

        def read(wait_s: float) -> Answer | None:
            if not self._socket.poll(round(wait_s * 1e3)):
                return None
            answer = Answer.parse(self._socket.recv())
            return answer if answer.key == call.key else None

        answer = self._asked(call.build(), read, REPEAT_S)
        if answer.error:
            raise LocalError(answer.error)
        return answer.result
