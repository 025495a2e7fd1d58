"""An application's end of a bundle node: send, and take what comes, each bundle once.

    with BundleClient("tcp://127.0.0.1:4560") as client:
        client.register("ipn:5.7")
        client.send("ipn:9.7", b"payload", source="ipn:5.7")
        for delivery in client.receive(timeout_s=10): …; client.acknowledge(delivery)

The node may be killed and started again meanwhile: requests are repeated, registrations renewed,
and what the node delivers again for want of our acknowledgement is not given out twice.
"""

from __future__ import annotations

import time
from typing import Any, Final

from ground.asking import Asking
from ground.keyring import Keyring
from protocols.bus.agent import Delivery, Reply, Request, parse_from_node
from protocols.dtn.dtn_time import dtn_ms_from_tai_ns
from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_unix_ns

#: A request is repeated when no reply came for so long.
REPEAT_S: Final = 2.0
#: Deliveries that are known when they come again.
_REMEMBERED: Final = 100_000


class BundleClient(Asking):
    """endpoint: the node's, for applications; server: the service it is, where keyring, our keys,
    is given.  LocalError where it does not answer in time."""

    def __init__(
        self,
        endpoint: str,
        *,
        timeout_s: float = 10.0,
        server: str = "relay",
        keyring: Keyring | None = None,
    ) -> None:
        super().__init__(
            endpoint, name="bundle node", timeout_s=timeout_s, server=server, keyring=keyring
        )
        self._id = 0
        self._registered: dict[str, float] = {}
        self._taken: dict[tuple[str, int, int], bool] = {}
        self._waiting: list[Delivery] = []
        self._last_ms, self._sequence = 0, 0
        #: The node's clock (a site's runs at its own speed) less ours, DTN milliseconds.
        self._ahead_ms = 0

    def ask(self, operation: str, **arguments: Any) -> Any:
        """The result of an operation.  LocalError: the node's refusal, or its silence."""
        self._id += 1

        def read(wait_s: float) -> Reply | None:
            reply = self._read(wait_s)
            return reply if reply is not None and reply.id == self._id else None

        question = Request(self._id, operation, arguments).build()
        reply = self._asked(question, read, REPEAT_S)
        if reply.error:
            raise LocalError(reply.error)
        return reply.result

    def _read(self, wait_s: float) -> Reply | None:
        if not self._socket.poll(round(wait_s * 1e3)):
            return None
        found = parse_from_node(self._socket.recv())
        if isinstance(found, Reply):
            return found
        name = (found.source, *found.creation)
        if name not in self._taken:
            self._taken[name] = False
            self._waiting.append(found)
            while len(self._taken) > _REMEMBERED:
                del self._taken[next(iter(self._taken))]
        elif self._taken[name]:
            # Acknowledged before; the node was killed before it knew.
            self._post("acknowledge", ref=found.ref)
        return None

    def _post(self, operation: str, **arguments: Any) -> None:
        """Without waiting for the reply, which `_read` passes over."""
        self._socket.send(Request(0, operation, arguments).build())

    def register(self, endpoint: str) -> dict[str, Any]:
        """Take what comes for an endpoint of the node from now on."""
        result = self.ask("register", endpoint=endpoint)
        self._ahead_ms = result["time_ms"] - self._wall_ms()
        self._registered[endpoint] = time.monotonic()
        return result

    def unregister(self, endpoint: str) -> None:
        """Leave it to the node to keep."""
        self._registered.pop(endpoint, None)
        self.ask("unregister", endpoint=endpoint)

    def _wall_ms(self) -> int:
        return dtn_ms_from_tai_ns(tai_ns_from_unix_ns(time.time_ns()))

    def stamp(self) -> tuple[int, int]:
        """A creation timestamp that this client has not given before, by the node's clock."""
        time_ms = max(self._wall_ms() + self._ahead_ms, self._last_ms)
        self._sequence = self._sequence + 1 if time_ms == self._last_ms else 0
        self._last_ms = time_ms
        return time_ms, self._sequence

    def send(
        self,
        destination: str,
        payload: bytes,
        *,
        source: str = "",
        lifetime_ms: int = 86_400_000,
        flags: int = 0,
        report_to: str = "",
    ) -> dict[str, Any]:
        """Returns when the bundle is on the node's disk.

        source: a registered endpoint that this application alone sends from (its creation
        timestamps are then ours, and a repeated request is taken once); the node's own without one.
        """
        arguments: dict[str, Any] = {
            "destination": destination,
            "payload": payload,
            "source": source,
            "lifetime_ms": lifetime_ms,
            "flags": flags,
            "report_to": report_to,
        }
        if source:
            arguments["creation"] = list(self.stamp())
        result = self.ask("send", **arguments)
        self._ahead_ms = result["time_ms"] - self._wall_ms()
        return result

    def receive(self, timeout_s: float) -> list[Delivery]:
        """What has come, each bundle once; empty when the time has passed."""
        deadline = time.monotonic() + timeout_s
        self._curve.refresh()
        while not self._waiting and (left := deadline - time.monotonic()) > 0:
            self._read(min(left, REPEAT_S))
            self._renew()
        while self._socket.poll(0):
            self._read(0)
        found, self._waiting = self._waiting, []
        return found

    def _renew(self) -> None:
        """A node that was started again has forgotten who registered."""
        now = time.monotonic()
        for endpoint, since in list(self._registered.items()):
            if now - since > REPEAT_S:
                self._registered[endpoint] = now
                self._post("register", endpoint=endpoint)

    def acknowledge(self, delivery: Delivery) -> None:
        """We have it: the node may forget it.  Not repeated: if it is lost, so is the bundle's
        second delivery."""
        self._taken[(delivery.source, *delivery.creation)] = True
        self._post("acknowledge", ref=delivery.ref)
