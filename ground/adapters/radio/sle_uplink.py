"""CLTUs up through SLE: one after another, and beside the frames that come down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ground.adapters.radio.adapter import Policy, Unsendable
from ground.adapters.radio.sle_association import TURN_S, Association
from protocols.errors import LocalError, RemoteError
from protocols.sle import cltu
from protocols.sle.cltu import CltuProduction, CltuStatus, TransferDiagnostic
from protocols.sle.common import Refused
from protocols.sle.user import Discarded

#: After a refusal, unless the provider says before that something has changed.
PAUSE_S: Final = 1.0
#: Of a CLTU; what a station takes is its own, and less (912.1-B: 4,096 octets).
LONGEST: Final = 65_536
#: Telemetry waits so long for the way up, at most.
FIRST_S: Final = 1.0


class CltuUplink:
    """Sends CLTUs; their ids go on where a connection is made again."""

    def __init__(
        self, association: Association, say: Callable[[str], None], *, delay_us: int = 0
    ) -> None:
        """say: what the operator is to see; delay_us: pause behind each CLTU."""
        self.association = association
        self._say = say
        self._delay_us = delay_us
        self._next = 0
        self._radiated = 0
        self._failed = ""
        # Of the last refusal: no use in trying before then, or with more octets than that.
        self._not_before_s = 0.0
        self._room: int | None = None

    @property
    def next_cltu(self) -> int:
        return self._next

    def takes(self, octets: int) -> bool:
        return time.monotonic() >= self._not_before_s and (
            self._room is None or octets <= self._room
        )

    def _refused(self, room: int | None) -> None:
        self._not_before_s = time.monotonic() + PAUSE_S
        self._room = room

    def _changed(self) -> None:
        self._not_before_s, self._room = 0.0, None

    def send(self, octets: bytes) -> bool:
        """True: the provider has it, or may have it: nobody knows, so that it is not said again.
        False: it has not.  OSError, RemoteError: the association is lost, and it has not.
        Unsendable: never."""
        if not 1 <= len(octets) <= LONGEST:
            raise Unsendable(f"a CLTU of {len(octets)} octets: 1 to {LONGEST} wanted")
        try:
            ident = self.association.invoke(
                lambda user, now: user.transfer(now, self._next, octets, delay_us=self._delay_us)
            )
        except LocalError as error:
            self._say(f"no CLTU: {error}")
            return False
        try:
            done = self.association.answer(ident)
        except (OSError, RemoteError) as error:
            self._say(f"a CLTU has had no answer: {error}")
            return True
        assert isinstance(done, cltu.TransferDataReturn)
        if not isinstance(done.result, Refused):
            self._next = (self._next + 1) & 0xFFFF_FFFF
            self._changed()
            return True
        why = f"CLTU {self._next} is refused: {done.result}"
        self._say(why)
        code = done.result.code if done.result.specific else None
        if code == TransferDiagnostic.CLTU_ERROR:
            raise Unsendable(f"the station: {done.result}")
        if code == TransferDiagnostic.OUT_OF_SEQUENCE:
            self._next = done.cltu
        else:
            self._refused(done.buffer if code == TransferDiagnostic.UNABLE_TO_STORE else None)
        return False

    def attend(self) -> None:
        """Take what the provider tells.  OSError, RemoteError: the association is lost."""
        for pdu in self.association.exchange(0):
            if isinstance(pdu, cltu.AsyncNotify):
                self._changed()
                self._hear(pdu)
            elif isinstance(pdu, Discarded):
                self._say(f"something is discarded: {pdu.why}")
            elif isinstance(pdu, cltu.CltuStatusReport):
                self._room = None if self._room is None else pdu.buffer
                self._tell(pdu.production, f"{pdu.buffer} octets of buffer")

    def _hear(self, pdu: cltu.AsyncNotify) -> None:
        name, last = pdu.notification.name, pdu.last_processed
        if name == "cltu_radiated":
            self._radiated += 1
            self._failed = ""
        elif last is not None and last.status in (CltuStatus.EXPIRED, CltuStatus.INTERRUPTED):
            # The provider had taken it: it counts as radiated, which it is not, or not all of it.
            self._failed = f", CLTU {last.cltu} was {last.status.name.lower()} at the station"
        self._tell(pdu.production, name.replace("_", " "))

    def _tell(self, production: CltuProduction, what: str) -> None:
        self._say(
            f"{production.name.lower()}, {what}, {self._radiated} CLTUs radiated{self._failed}"
        )


class SideUplink:
    """A CLTU service beside one of frames, opened again and again in a thread of its own:
    telemetry flows, whatever becomes of the way up."""

    def __init__(
        self,
        uplink: CltuUplink,
        policy: Policy,
        say: Callable[[str], None],
        begin: Callable[[Association], None],
    ) -> None:
        """begin: asks for what is to be told, each time that it has been opened."""
        self._uplink = uplink
        self._begin = begin
        self._policy = policy
        self._say = say
        self._is_open = False
        self._tried = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="radio-sle-uplink", daemon=True)
        self._thread.start()
        # One that answers at once is there when telemetry is.
        self._tried.wait(FIRST_S)

    def takes(self, octets: int) -> bool:
        return self._is_open and self._uplink.takes(octets)

    def send(self, octets: bytes) -> bool:
        """As of the uplink; a lost association is made again by the thread."""
        if not self._is_open:
            return False
        try:
            return self._uplink.send(octets)
        except (OSError, RemoteError):
            return False

    def close(self) -> None:
        self._ended.set()
        self._uplink.association.give_up()
        self._thread.join()

    def _run(self) -> None:
        pause_s = self._policy.first_retry_s
        association = self._uplink.association
        while not self._ended.is_set():
            why: Exception | None = None
            try:
                association.open()
                self._begin(association)
                self._is_open = True
                self._tried.set()
                pause_s = self._policy.first_retry_s
                self._say("ready")
                while not self._ended.is_set():
                    association.wait(TURN_S)
                    self._uplink.attend()
            except (OSError, RemoteError, LocalError) as error:
                why = error
            self._is_open = False
            self._tried.set()
            with suppress(OSError, RemoteError):
                association.close()
            if why is not None:
                self._say(str(why))
            if isinstance(why, LocalError):
                return  # neither now nor later, until the radio is opened again
            self._ended.wait(pause_s)
            pause_s = min(2 * pause_s, self._policy.longest_retry_s)


__all__ = ["CltuUplink", "SideUplink"]
