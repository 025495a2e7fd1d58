"""An SLE association over TCP: the socket of a `protocols.sle.user.User`, and what it was told.

Passwords come from a file, never from an address: addresses are shown, logged and in lists of
processes.
"""

from __future__ import annotations

import secrets
import select
import socket
import threading
import time
import tomllib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ground.adapters.clock import ScaledClock
from ground.keyring import SECRET_FROM
from protocols.errors import LocalError, RemoteError
from protocols.sle import cltu, common, frames
from protocols.sle.common import (
    VERSIONS,
    AbortDiagnostic,
    BindDiagnostic,
    Refused,
    ServiceType,
    UnbindReason,
)
from protocols.sle.credentials import RANDOM_BELOW, Hash, Level, Security
from protocols.sle.tml import Heartbeat
from protocols.sle.user import Binding, State, User

CONNECT_S: Final = 3.0
#: For STOP and UNBIND at the end; a provider that is slower is left without.
END_S: Final = 1.0
#: Longest wait for a word, while an answer is awaited or nothing in particular.
TURN_S: Final = 0.25
READ_OCTETS: Final = 1 << 18
#: Read after a connection has ended, at most: what the sockets of both ends may hold.
LAST_OCTETS: Final = 16 << 20
#: Why BIND is refused where trying again is of no use: it is our configuration, or theirs.
_HOPELESS: Final = frozenset(
    {
        BindDiagnostic.ACCESS_DENIED,
        BindDiagnostic.SERVICE_TYPE_NOT_SUPPORTED,
        BindDiagnostic.VERSION_NOT_SUPPORTED,
        BindDiagnostic.NOT_ACCESSIBLE_TO_THIS_INITIATOR,
        BindDiagnostic.INCONSISTENT_SERVICE_TYPE,
    }
)
#: Likewise of START of frames: times or the channel make no sense.
_HOPELESS_START: Final = frozenset({2, 3, 4, 5})


def read_passwords(path: Path) -> tuple[bytes, bytes]:
    """Ours and the provider's: `password` and `provider_password` of a TOML file that nobody else
    may read; text, or hexadecimal digits behind hex:.  LocalError, which never shows one."""
    try:
        if path.stat().st_mode & SECRET_FROM:
            raise LocalError(f"{path} holds passwords and others may read it: chmod 600")
        found = tomllib.loads(path.read_text("utf-8"))
        return _octets(found["password"]), _octets(found["provider_password"])
    except OSError as error:
        raise LocalError(f"credentials {path}: {error.strerror}") from None
    except (KeyError, ValueError, AttributeError, UnicodeDecodeError) as error:
        if isinstance(error, LocalError):
            raise
        raise LocalError(
            f"credentials {path}: password and provider_password wanted, each in quotes"
        ) from None


def _octets(text: str) -> bytes:
    return bytes.fromhex(text[4:]) if text.startswith("hex:") else text.encode()


def security(
    user: str, provider: str, *, level: Level, algorithm: Hash, credentials: str
) -> Security:
    """credentials: the file of passwords, wanted unless the level is none."""
    if level is not Level.NONE and not credentials:
        raise LocalError(f"auth={level} wants credentials=FILE, or its name in L4_SLE_CREDENTIALS")
    passwords = (b"", b"") if level is Level.NONE else read_passwords(Path(credentials))
    return Security(
        user,
        passwords[0],
        provider,
        passwords[1],
        level=level,
        algorithm=algorithm,
        entropy=lambda: secrets.randbelow(RANDOM_BELOW),
    )


class Association:
    """Connected, bound and started, or not there.  Any thread may call; one at a time is served.

    Its clock is the wall's, also where the site's runs faster: credentials and heartbeats are the
    provider's time.
    """

    def __init__(
        self,
        service: ServiceType,
        address: tuple[str, int],
        binding: Binding,
        security: Security,
        heartbeat: Heartbeat,
        start: Callable[[User, int], int],
    ) -> None:
        """start: sends START."""
        self._service = service
        self._address = address
        self._binding = binding
        self._security = security
        self._heartbeat = heartbeat
        self._start = start
        self._now_ns = ScaledClock.wall().now_ns
        self._lock = threading.RLock()
        self._socket: socket.socket | None = None
        self._user: User | None = None
        # What came while it was started, or while somebody waited for something else.
        self._kept: list[Any] = []
        # The provider's abort, and what else ended it: raised when all that has come is read.
        self._abort: int | None = None
        self._failure: Exception | None = None
        self._last_octets = 0
        self._given_up = False

    def open(self) -> None:
        """Connect, BIND, START.  ConnectionError: not now; LocalError: never like this."""
        with self._lock:
            own = socket.create_connection(self._address, CONNECT_S)
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            own.setblocking(False)
            self._socket = own
            if self._given_up:
                raise ConnectionAbortedError("given up")
            self._user = user = User(
                self._service, self._binding, self._security, heartbeat=self._heartbeat
            )
            user.connected(self._now_ns())
            self._kept = []
            self._abort = self._failure = None
            self._last_octets = 0
            bound = self._await(lambda pdu: isinstance(pdu, common.BindReturn))
            if isinstance(bound.result, Refused):
                raise _refusal(f"BIND to {self._binding.instance}", bound.result, _HOPELESS)
            if bound.result not in VERSIONS:
                user.unbind(self._now_ns(), UnbindReason.VERSION_NOT_SUPPORTED)
                raise LocalError(
                    f"BIND to {self._binding.instance} is answered with version {bound.result}, "
                    f"{VERSIONS[0]}..{VERSIONS[-1]} are known"
                )
            self._start(user, self._now_ns())
            started = self._await(
                lambda pdu: isinstance(pdu, frames.FramesStartReturn | cltu.CltuStartReturn)
            )
            if isinstance(started.result, Refused):
                hopeless = frozenset() if self._service is ServiceType.CLTU else _HOPELESS_START
                raise _refusal(f"START of {self._binding.instance}", started.result, hopeless)

    def invoke(self, operation: Callable[[User, int], int]) -> int:
        """Send an invocation; its id.  OSError, RemoteError: the association is lost, and it has
        not gone."""
        with self._lock:
            # What may have ended it is heard first.
            self._kept += self._exchange(0)
            if self._user is None or self._user.state is State.ENDED:
                raise ConnectionResetError("the association has ended")
            ident = operation(self._user, self._now_ns())
            self._send()
            return ident

    def answer(self, ident: int) -> Any:
        """The return of an invocation.  OSError, RemoteError: there is none any more."""
        return self._await(lambda pdu: getattr(pdu, "invoke_id", None) == ident)

    def _await(self, wanted: Callable[[Any], bool]) -> Any:
        """The PDU that is wanted; others are kept.  The user's own time-out ends the wait."""
        with self._lock:
            while True:
                found: Any = None
                for pdu in self._exchange(TURN_S):
                    if found is None and wanted(pdu):
                        found = pdu
                    else:
                        self._kept.append(pdu)
                if found is not None:
                    return found

    def exchange(self, timeout_s: float) -> Sequence[Any]:
        """PDUs that have come, as soon as some have; heartbeats go out.  Nothing, if there is no
        time and another thread awaits an answer.  OSError, RemoteError: the association is lost."""
        if not self._lock.acquire(blocking=timeout_s > 0):
            return ()
        try:
            if self._kept:
                kept, self._kept = self._kept, []
                return kept
            return self._exchange(timeout_s)
        finally:
            self._lock.release()

    def wait(self, timeout_s: float) -> None:
        """Until something has come; holds up nobody else."""
        own = self._socket
        # It may be closed meanwhile.
        with suppress(OSError, ValueError):
            if own is not None:
                select.select([own], [], [own], timeout_s)

    def give_up(self) -> None:
        """Let whoever is opening it, or waits for an answer, fail at once."""
        self._given_up = True
        if self._lock.acquire(timeout=TURN_S):
            self._lock.release()  # nobody waits
            return
        own = self._socket
        with suppress(OSError):
            if own is not None:
                own.shutdown(socket.SHUT_RDWR)

    def beat(self) -> None:
        """Heartbeats, while what comes is left where it is: the provider has to wait."""
        with self._lock:
            own, user = self._socket, self._user
            if own is None or user is None or user.state is State.ENDED:
                return
            waiting = bool(select.select([own], [], [], 0)[0])
            self._attend(user, waiting=waiting)
            if self._failure is not None and not waiting:
                raise self._failure

    def _exchange(self, timeout_s: float) -> list[Any]:
        """What has come comes first, whatever ends the association meanwhile: the provider counts
        it as delivered, and does not send it again."""
        own, user = self._socket, self._user
        if own is None or user is None:
            raise ConnectionResetError("the association has ended")
        if user.state is State.ENDED:
            if self._failure is None:
                # What ended it, where something else came before that and was given first.
                user.receive(self._now_ns(), b"")
            raise self._failure or ConnectionResetError("the association has ended")
        ending = self._abort is not None or self._failure is not None
        if not ending:
            self._flush()
        octets = self._read(own, 0 if ending else timeout_s)
        if octets is None and not ending and self._abort is None:
            user.timeout(self._now_ns())
            self._flush()
            return []
        if not octets or self._last_octets > LAST_OCTETS:
            if self._abort is not None:
                raise user.aborted(self._abort)
            raise self._failure or ConnectionResetError("the provider has closed the connection")
        if ending:
            self._last_octets += len(octets)
        found = user.receive(self._now_ns(), octets)
        self._attend(user, waiting=len(octets) == READ_OCTETS)
        return found

    def _read(self, own: socket.socket, timeout_s: float) -> bytes | None:
        """What is there within the time, b"": the end; None: nothing.  An abort overtakes what was
        sent before it, which is read all the same."""
        readable, _, urgent = select.select([own], [], [own], timeout_s)
        try:
            if urgent and self._abort is None:
                octet = own.recv(1, socket.MSG_OOB)
                self._abort = octet[0] if octet else AbortDiagnostic.OTHER_REASON
                readable = select.select([own], [], [], 0)[0]
            return own.recv(READ_OCTETS) if readable else None
        except BlockingIOError:
            return None
        except OSError:
            if self._abort is None and self._failure is None:
                raise
            return b""

    def _attend(self, user: User, *, waiting: bool) -> None:
        """Heartbeats, and what is late, unless it may be among what waits.  What fails here ends
        the association when all is read that has come."""
        now_ns = self._now_ns()
        if waiting:
            user.not_reading(now_ns)
        try:
            user.timeout(now_ns)
        except RemoteError as error:
            self._failure = error
        if self._failure is None:
            self._flush()

    def _flush(self) -> None:
        """What is to be sent; a failure shows when nothing is left to be read."""
        try:
            self._send()
        except OSError as error:
            self._failure = error

    def _send(self) -> None:
        assert self._socket is not None
        assert self._user is not None
        deadline = time.monotonic() + CONNECT_S
        for octets in self._user.take_output():
            left = memoryview(octets)
            while left:
                if not select.select([], [self._socket], [], max(deadline - time.monotonic(), 0))[
                    1
                ]:
                    raise TimeoutError(f"the provider has taken nothing for {CONNECT_S:g} s")
                left = left[self._socket.send(left) :]

    def close(self) -> Sequence[Any]:
        """STOP, UNBIND and disconnect, in `END_S`; or say why not, and disconnect.  What came in
        the meantime."""
        with self._lock:
            own, user = self._socket, self._user
            if own is None or user is None:
                # Given up when it had just connected: there is a socket, and nobody on it.
                self._socket = None
                if own is not None:
                    own.close()
                return ()
            with suppress(OSError, RemoteError, LocalError):
                self._end(user)
            self._socket = self._user = None
            last, self._kept = self._kept, []
            if user.urgent is not None:
                with suppress(OSError):
                    own.send(bytes([user.urgent]), socket.MSG_OOB)
            own.close()
            return last

    def _end(self, user: User) -> None:
        deadline = time.monotonic() + END_S
        if user.state is State.ACTIVE:
            user.stop(self._now_ns())
        while user.state is not State.ENDED:
            if user.state is State.READY:
                user.unbind(self._now_ns())
            left = deadline - time.monotonic()
            if left <= 0:
                user.abort(AbortDiagnostic.OPERATIONAL_REQUIREMENT)
                return
            self._kept += self._exchange(left)


def _refusal(what: str, refused: Refused, hopeless: frozenset[Any]) -> Exception:
    why = f"{what} is refused: {refused}"
    return LocalError(why) if refused.code in hopeless else ConnectionRefusedError(why)


__all__ = ["Association", "read_passwords", "security"]
