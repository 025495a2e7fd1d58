"""ZeroMQ security of our sockets: every bind and connect goes through `Curve`, which decides.

Without keys only loopback addresses are let through: whoever can reach another would be believed.
With keys every socket speaks CURVE (RFC 26), those on loopback too: a server's clients are
authenticated by its list of trusted keys (ZAP, RFC 27), and a client knows the server by its key.

Keys change while traffic flows.  `refresh`, which the owner of the sockets calls in its turns,
binds and connects anew where the key in force has become another, or where somebody who was let in
is trusted no more; what is lost on the live bus meanwhile comes out of the journals.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

import zmq
from zmq.utils import z85

from ground.keyring import Keyring
from protocols.bus.access import (
    ROLES,
    Door,
    Holder,
    Key,
    holder_of,
    is_loopback_endpoint,
    literal_endpoint,
    may_publish,
    readable,
)
from protocols.bus.zap import CURVE, ENDPOINT, OK, TRY_AGAIN, ZapRequest, build_reply
from protocols.errors import LocalError, RemoteError

_LOG: Final = logging.getLogger("l4.keys")

#: Key files are looked at so often.
REFRESH_S: Final = 0.5
#: A handshake that takes longer is given up, and tried again by the client.  So long waits, too,
#: who is not trusted: libzmq leaves the refused connection open until then.
HANDSHAKE_MS: Final = 2_000
#: Refusals that are told of in the log, each key at each door once.
MAX_TOLD: Final = 256


def is_loopback(endpoint: str) -> bool:
    """Whether only this machine can reach a tcp:// endpoint; inproc and ipc stay on it too."""
    return endpoint.startswith(("inproc://", "ipc://")) or is_loopback_endpoint(endpoint)


def require_loopback(endpoint: str, what: str, remedy: str) -> None:
    """LocalError: the endpoint can be reached from elsewhere."""
    if not is_loopback(endpoint):
        raise LocalError(
            f"{what}: {endpoint} is not a loopback address, and nothing protects it; {remedy}"
        )


@dataclass
class _End:
    """A socket of ours that was bound or connected; `used` are the keys that it has now."""

    socket: zmq.Socket[Any]
    endpoint: str
    #: Server: the door; client: whose key we expect.
    door: Door | None
    server: str
    used: tuple[str, ...] = ()


class Curve:
    """Of one context and the thread that owns its sockets.  keyring: None without keys."""

    def __init__(self, context: zmq.Context[Any], keyring: Keyring | None) -> None:
        self._context = context
        self._keyring = keyring
        self._ends: list[_End] = []
        self._lock = threading.Lock()
        self._own: Holder | None = None
        self._trusted: dict[str, Holder] = {}
        self._stamp: tuple[object, ...] = ()
        self._problems: list[str] = []
        self._looked_s = 0.0
        self._told: set[tuple[str, str]] = set()
        #: By door: who was let in, by name and key; filled by the authenticator's thread.
        self._admitted: dict[str, set[tuple[str, str, str]]] = {}
        #: By name and door, whoever misused it: until this process ends.
        self._barred: set[tuple[str, str]] = set()
        self._authenticator: threading.Thread | None = None
        self.refused = 0
        if keyring is not None:
            self._stamp = keyring.stamp()
            self._own, self._trusted = keyring.own(), keyring.trusted(self._problems)
            for problem in self._problems:
                self._say(f"{problem}; trusted in nobody's name")

    @property
    def secured(self) -> bool:
        return self._own is not None

    def bind(self, socket: zmq.Socket[Any], endpoint: str, door: Door) -> None:
        """LocalError: not allowed without keys; zmq.ZMQError: the endpoint cannot be had."""
        endpoint = literal_endpoint(endpoint)
        self._check(endpoint, f"cannot bind {door}")
        end = _End(socket, endpoint, door, "")
        self._start_authenticator()
        self._apply(end)
        socket.bind(endpoint)
        # As it is unbound again; a port that was left open is known now.
        end.endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._ends.append(end)

    def connect(self, socket: zmq.Socket[Any], endpoint: str, server: str) -> None:
        """LocalError: not allowed without keys, or the server's are not here."""
        endpoint = literal_endpoint(endpoint)
        self._check(endpoint, f"cannot connect to {server}")
        end = _End(socket, endpoint, None, server)
        self._apply(end)
        socket.connect(endpoint)
        self._ends.append(end)

    def require(self, endpoint: str, server: str) -> None:
        """LocalError where `connect` would raise it."""
        self._check(endpoint, f"cannot connect to {server}")
        if self._own is not None:
            self._keys(endpoint, None, server)

    def _check(self, endpoint: str, what: str) -> None:
        if self._own is None:
            require_loopback(
                endpoint,
                what,
                "`l4 keys new --site` makes keys for every service, and the setting `keys` "
                "names their directory",
            )

    def _keys(self, endpoint: str, door: Door | None, server: str) -> tuple[str, ...]:
        """Those that an end is to have now, public halves."""
        assert self._own is not None
        now_s = time.time()
        own = self._own.in_force(now_s)
        if door is not None:
            return (own.public,)
        holder = self._trusted.get(server)
        if holder is None:
            assert self._keyring is not None
            raise LocalError(
                f"{endpoint}: no public key of {server} in "
                f"{self._keyring.directory}/trusted; `l4 keys show {server}` where it runs "
                "gives it, `l4 keys trust FILE` takes it"
            )
        return own.public, holder.in_force(now_s).public

    def _apply(self, end: _End) -> None:
        if "[" in end.endpoint:
            end.socket.setsockopt(zmq.IPV6, 1)
        if self._own is None:
            return
        end.socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        keys = self._keys(end.endpoint, end.door, end.server)
        own = self._own.in_force(time.time())
        end.socket.setsockopt(zmq.CURVE_SECRETKEY, own.secret.encode())
        if end.door is not None:
            end.socket.setsockopt(zmq.CURVE_SERVER, 1)
            end.socket.setsockopt(zmq.ZAP_DOMAIN, end.door.encode())
            # Without it libzmq lets everybody in where nobody answers at the authenticator's
            # address, and believes the name that a client gives itself.
            end.socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        else:
            end.socket.setsockopt(zmq.CURVE_PUBLICKEY, own.public.encode())
            end.socket.setsockopt(zmq.CURVE_SERVERKEY, keys[1].encode())
        end.used = keys

    # ------------------------------------------------------------ while traffic flows

    def refresh(self) -> bool:
        """Take up keys that have changed; whether any end was bound or connected anew.

        Files that cannot be read are told of.  RuntimeError: the authenticator has failed.
        """
        now_s = time.monotonic()
        if self._own is None or now_s - self._looked_s < REFRESH_S:
            return False
        self._looked_s = now_s
        if self._authenticator is not None and not self._authenticator.is_alive():
            raise RuntimeError("who decides on who is let in has ended: nobody new is")
        self._reread()
        changed = False
        for end in list(self._ends):
            if end.socket.closed:
                self._ends.remove(end)
            elif self._is_stale(end):
                self._renew(end)
                changed = True
        return changed

    def _reread(self) -> None:
        assert self._keyring is not None
        with self._lock:
            problems: list[str] = []
            try:
                stamp = self._keyring.stamp()
                if stamp == self._stamp:
                    return
                self._read_again(problems)
                self._stamp = stamp
            except OSError as error:
                # A flood of connections takes all descriptors: nobody is cut off for that, or let
                # in, and what has changed is read when there are some again.
                problems = [f"keys cannot be read: {error.strerror}; those of before count"]
            fresh = [problem for problem in problems if problem not in self._problems]
            self._problems = problems
        for problem in fresh:
            self._say(problem)

    def _read_again(self, problems: list[str]) -> None:
        assert self._keyring is not None
        trusted, own = self._trusted, self._own
        try:
            trusted = self._keyring.trusted(problems)
        except LocalError as error:
            problems.append(f"{error}; who was trusted before is")
        try:
            own = self._keyring.own()
        except LocalError as error:
            problems.append(f"{error}; our keys of before are kept")
        self._own, self._trusted = own, trusted

    def _say(self, text: str) -> None:
        _LOG.warning("%s: %s", self._keyring.name if self._keyring else "", text)

    def _is_stale(self, end: _End) -> bool:
        try:
            if end.used != self._keys(end.endpoint, end.door, end.server):
                return True
        except LocalError:
            # Who we connect to was revoked: there is nobody to connect to.
            return bool(end.used)
        if end.door is None:
            return False
        with self._lock:
            # Who has another role now, or a name that was another's, comes in anew.
            listed = {
                (holder.name, holder.role, key.public)
                for holder in self._trusted.values()
                for key in holder.keys
                if (holder.name, end.door) not in self._barred
            }
            return not self._admitted.get(end.door, set()) <= listed

    def _renew(self, end: _End) -> None:
        if end.door is not None:
            # All connections end with the listener; who is trusted comes again.
            end.socket.unbind(end.endpoint)
            with self._lock:
                self._admitted.pop(end.door, None)
            self._apply(end)
            self._bind_again(end)
            return
        if end.used:
            end.socket.disconnect(end.endpoint)
        end.used = ()
        with contextlib.suppress(LocalError):
            self._apply(end)
            end.socket.connect(end.endpoint)

    @staticmethod
    def _bind_again(end: _End) -> None:
        # The listener is closed by libzmq's own thread, in its time.
        deadline = time.monotonic() + 5
        while True:
            try:
                end.socket.bind(end.endpoint)
                return
            except zmq.ZMQError as error:
                if error.errno != zmq.EADDRINUSE or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    # ------------------------------------------------------------ who is let in

    def _start_authenticator(self) -> None:
        if self._own is None or self._authenticator is not None:
            return
        socket = self._context.socket(zmq.ROUTER)
        socket.bind(ENDPOINT)
        self._authenticator = threading.Thread(
            target=self._authenticate, args=(socket,), name="zap", daemon=True
        )
        self._authenticator.start()

    def _authenticate(self, socket: zmq.Socket[Any]) -> None:
        # Ends with the context.
        with contextlib.suppress(zmq.ContextTerminated), contextlib.closing(socket):
            while True:
                frames = socket.recv_multipart()
                at = frames.index(b"") + 1 if b"" in frames else 0
                try:
                    request = ZapRequest.parse(frames[at:])
                except RemoteError:
                    continue
                socket.send_multipart([*frames[:at], *self._decided(request)])

    def _decided(self, request: ZapRequest) -> list[bytes]:
        public = z85.encode(request.key).decode() if request.mechanism == CURVE else ""
        # Who is trusted is asked of the files: one who was just added need not wait.
        self._reread()
        with self._lock:
            holders = list(self._trusted.values())
            holder = holder_of(holders, public, request.domain, time.time()) if public else None
            if holder is not None and (holder.name, request.domain) not in self._barred:
                admitted = self._admitted.setdefault(request.domain, set())
                admitted.add((holder.name, holder.role, public))
                return build_reply(request.number, OK, "", holder.name)
        self.refused += 1
        self._tell(request, public)
        return build_reply(request.number, TRY_AGAIN, "not trusted here")

    def _tell(self, request: ZapRequest, public: str) -> None:
        if (public, request.domain) in self._told or len(self._told) >= MAX_TOLD:
            return
        self._told.add((public, request.domain))
        who = f"key {Key(public, 0).fingerprint}" if public else "a client without a key"
        self._say(f"refused {who} from {request.address} at {request.domain}: not trusted there")

    def bar(self, user: str, door: Door) -> None:
        """Cut somebody off who does harm, and let nobody of that name in at this door again."""
        if (user, door) not in self._barred:
            self._barred.add((user, door))
            self._say(f"{user} is shut out of {door}: it sent what no program of ours does")

    def holder(self, user: str, door: Door) -> Holder | None:
        """Who connected as `user`, as trusted now; None: no more, or not at that door.

        To be asked of every message: what was sent before a connection was cut off comes after.
        """
        holder = self._trusted.get(user)
        return holder if holder is not None and door in ROLES[holder.role].doors else None

    def may_publish(self, user: str, source: str, topic: str) -> bool:
        """Whether who connected as `user` may send this."""
        holder = self.holder(user, Door.BUS_IN)
        return holder is not None and may_publish(user, holder.role, source, topic)

    def readable(self, user: str, door: Door, asked: str) -> tuple[str, ...]:
        """What who connected as `user` is given of topics that begin with `asked`."""
        holder = self.holder(user, door)
        return readable(holder.role, asked) if holder is not None else ()


def user_of(frame: zmq.Frame) -> str:
    """Who sent it, as the authenticator said; empty on a socket without CURVE."""
    try:
        user = frame.get("User-Id")
    except zmq.ZMQError:
        return ""
    return user if isinstance(user, str) else ""
