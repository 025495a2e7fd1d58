"""Applications of a bundle node, over a ZeroMQ ROUTER: register, send, take what comes."""

from __future__ import annotations

from collections.abc import Callable
from selectors import EVENT_READ, BaseSelector
from typing import Any, Final

import zmq

from ground.curve import Curve, user_of
from ground.keyring import Keyring
from ground.ports import Clock
from ground.relay import listing
from protocols.bus.access import Door
from protocols.bus.agent import Delivery, Reply, Request
from protocols.bus.calls import MAX_MESSAGE_OCTETS
from protocols.dtn.bundle import (
    Bundle,
    BundleFlags,
    CrcType,
    CreationTimestamp,
    Primary,
    payload_block,
)
from protocols.dtn.contact_plan import ContactPlan
from protocols.dtn.dtn_time import dtn_ms_from_tai_ns
from protocols.dtn.eid import NULL_ENDPOINT, Eid, eid
from protocols.dtn.node import Node
from protocols.dtn.node_settings import NodeSettings, Verdict
from protocols.errors import LocalError, ProtocolError, RemoteError

#: Deliveries that an application may have unacknowledged.
WINDOW: Final = 64
#: Answered in one turn of the loop: neighbours have their turn, too.
REQUESTS_A_TURN: Final = 256
_DAY_MS: Final = 86_400_000

Configuration = tuple[NodeSettings, ContactPlan]


class ZmqApplications:
    """endpoint: where applications connect, loopback unless keyring, our keys, is given.

    when_durable: see `RelayLoop`; reread: makes settings and plan anew for `reload`.
    """

    def __init__(
        self,
        endpoint: str,
        node: Node,
        clock: Clock,
        *,
        reread: Callable[[], Configuration] | None = None,
        keyring: Keyring | None = None,
    ) -> None:
        self.endpoint = endpoint
        #: More has come than was answered: the loop need not wait.
        self.busy = False
        self.when_durable: Callable[[Callable[[], None]], None] = lambda call: call()
        #: What only the loop knows of transports, for `status`.
        self.links: Callable[[], list[dict[str, Any]]] = list
        self._node = node
        self._clock = clock
        self._reread = reread
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_OCTETS)
        # An application that came back under its name takes the place of the connection it had.
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        try:
            self._curve = Curve(self._context, keyring)
        except LocalError:
            self.close()
            raise
        self._owners: dict[Eid, bytes] = {}
        self._told: dict[bytes, set[int]] = {}
        self._operations: dict[str, Callable[[bytes, dict[str, Any]], Any]] = {
            "register": self._register,
            "unregister": self._unregister,
            "status": lambda _, arguments: listing.status(node, clock.now_ns(), self.links()),
            "held": lambda _, arguments: listing.held(node, clock.now_ns(), arguments),
            "routes": lambda _, arguments: listing.routes(node, clock.now_ns(), arguments),
            "contacts": lambda _, arguments: listing.contacts(node, clock.now_ns()),
            "reload": self._reload,
        }

    def open(self, selector: BaseSelector) -> None:
        """Bind.  LocalError: the endpoint cannot be had."""
        try:
            self._curve.bind(self._socket, self.endpoint, Door.BUNDLES)
        except (zmq.ZMQError, LocalError) as error:
            self.close()
            raise LocalError(f"applications' endpoint {self.endpoint}: {error}") from error
        selector.register(int(self._socket.FD), EVENT_READ, lambda mask: None)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        self._context.term()

    def turn(self) -> None:
        """Answer what came, give out what waits for registered endpoints.

        The descriptor of a ZeroMQ socket tells only of changes, so it is asked at every turn.
        """
        self._curve.refresh()
        self.busy = True
        for _ in range(REQUESTS_A_TURN):
            if not int(self._socket.EVENTS) & zmq.POLLIN:
                self.busy = False
                break
            frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            if len(frames) == 2 and self._is_trusted(frames[1]):
                self._request(frames[0].bytes, frames[1].bytes)
        for endpoint, owner in list(self._owners.items()):
            self._deliver(endpoint, owner)

    def _is_trusted(self, frame: zmq.Frame) -> bool:
        if not self._curve.secured:
            return True
        return self._curve.holder(user_of(frame), Door.BUNDLES) is not None

    def _request(self, identity: bytes, body: bytes) -> None:
        try:
            request = Request.parse(body)
        except RemoteError as error:
            self._answer(identity, Reply(-1, error=str(error)))
            return
        try:
            if request.operation in ("send", "acknowledge", "drop"):
                result = self._durable(request.operation, identity, request.arguments)
                reply = Reply(request.id, result)
                self.when_durable(lambda: self._reply(identity, reply))
            else:
                result = self._operations[request.operation](identity, request.arguments)
                self._answer(identity, Reply(request.id, result))
        except (KeyError, TypeError, ValueError, OSError, ProtocolError) as error:
            text = f"argument {error} is missing" if isinstance(error, KeyError) else str(error)
            self._answer(identity, Reply(request.id, error=f"{request.operation}: {text}"))

    def _reply(self, identity: bytes, reply: Reply) -> None:
        # A reply that is lost is asked for again.
        self._answer(identity, reply)

    def _answer(self, identity: bytes, message: Reply | Delivery) -> bool:
        try:
            self._socket.send_multipart([identity, message.build()], zmq.NOBLOCK)
        except zmq.ZMQError:
            # It is gone, or takes nothing now.
            return False
        return True

    def _durable(self, operation: str, identity: bytes, arguments: dict[str, Any]) -> Any:
        now_ns = self._clock.now_ns()
        if operation == "send":
            return self._send(now_ns, arguments)
        ref = int(arguments["ref"])
        if operation == "drop":
            self._node.drop(ref, now_ns)
        else:
            for told in self._told.values():
                told.discard(ref)
            if ref in self._node.held:
                self._node.delivered(ref, now_ns)
        return {"ref": ref}

    def _send(self, now_ns: int, arguments: dict[str, Any]) -> dict[str, Any]:
        source = eid(arguments["source"]) if arguments.get("source") else self._node.settings.node
        given = arguments.get("creation")
        creation = CreationTimestamp(*given) if given else self._node.creation(now_ns)
        flags = int(arguments.get("flags", 0))
        if source.is_null:
            flags |= BundleFlags.MUST_NOT_FRAGMENT
        report_to = eid(arguments["report_to"]) if arguments.get("report_to") else NULL_ENDPOINT
        primary = Primary(
            flags,
            CrcType.CRC32C,
            eid(arguments["destination"]),
            source,
            report_to,
            creation,
            int(arguments.get("lifetime_ms", _DAY_MS)),
        )
        bundle = Bundle(primary, (payload_block(bytes(arguments["payload"])),))
        verdict = self._node.send(now_ns, bundle)
        if verdict is Verdict.REFUSED:
            raise LocalError("the store is full; try again when it has sent something")
        return {
            "verdict": str(verdict),
            "creation": list(creation),
            "source": str(source),
            "time_ms": dtn_ms_from_tai_ns(now_ns),
        }

    def _register(self, identity: bytes, arguments: dict[str, Any]) -> dict[str, Any]:
        endpoint = eid(arguments["endpoint"])
        self._node.register(endpoint)
        self._owners[endpoint] = identity
        # What an earlier connection was told is told again: it may not have heard.
        self._told[identity] = set()
        return {
            "endpoint": str(endpoint),
            "waiting": self._node.waiting_for(endpoint),
            "time_ms": dtn_ms_from_tai_ns(self._clock.now_ns()),
        }

    def _unregister(self, identity: bytes, arguments: dict[str, Any]) -> dict[str, Any]:
        endpoint = eid(arguments["endpoint"])
        if self._owners.get(endpoint) == identity:
            del self._owners[endpoint]
            self._node.unregister(endpoint)
        return {"endpoint": str(endpoint)}

    def _deliver(self, endpoint: Eid, owner: bytes) -> None:
        if not self._node.waiting_for(endpoint):
            return
        told = self._told.setdefault(owner, set())
        if len(told) >= WINDOW:
            told &= self._node.held.keys()
            if len(told) >= WINDOW:
                return
        # Whatever it was told of, so many have others among them.
        for held in self._node.deliveries(endpoint, len(told) + WINDOW):
            if len(told) >= WINDOW:
                return
            if held.ref in told:
                continue
            bundle = self._node.bundle(held.ref)
            creation = bundle.primary.creation
            message = Delivery(
                held.ref,
                str(held.source),
                str(endpoint),
                (creation.time_ms, creation.sequence),
                bytes(bundle.payload),
            )
            if not self._answer(owner, message):
                return
            told.add(held.ref)

    def _reload(self, identity: bytes, arguments: dict[str, Any]) -> dict[str, Any]:
        if self._reread is None:
            raise LocalError("this node's configuration is not read from a file")
        settings, plan = self._reread()
        now_ns = self._clock.now_ns()
        self._node.configure(settings, now_ns)
        reload = self._node.reload(plan, now_ns)
        return {
            "contacts": len(plan.contacts),
            "added": len(reload.change.added),
            "removed": len(reload.change.removed),
            "lost": [str(contact) for contact in reload.lost],
            "without_light_time": [str(contact) for contact in reload.unranged],
        }
