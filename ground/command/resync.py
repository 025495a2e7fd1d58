"""After a restore the spacecraft knows more than the ground: numbers are brought in step before
anything is commanded.

What can be bounded is skipped at once: numbers of requests, runs and transactions, a part of the
sequence counts, IVs (`ground/restored.py`).  What the spacecraft counts is asked for.  V(S) comes
with the first CLCW after all that may be under way.  Then Read ARSN (355.1-B) of every association
goes up on the management MAP, whose own number has been moved up by more than half of its window:
with up to 512 procedures lost it is above the last one accepted and within the window, and no IV
is used twice.  A frame security report that calls its number bad says that more were lost: it moves
on by half a window and asks again.  With all replies here, every number is the spacecraft's.

Until then nothing leaves but procedures of link security, and nothing that was on the stack leaves
by itself at all: whether it was sent after the backup only a person can find out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from ground.command.desk import Desk
from ground.command.progress import Progress
from ground.command.requests import ENDED, UNDER_WAY, Event, Request, State
from ground.command.store import CommandStore
from ground.restored import Restored
from protocols.dictionary.l4_link import MANAGEMENT_COMMAND, TC_MANAGEMENT_MAP
from protocols.errors import LocalError, RemoteError
from protocols.frames.sdls import SaState
from protocols.frames.sdls_initiator import Reply, SecurityInitiator, describe
from protocols.frames.security_report import FrameSecurityReport

ACTOR: Final = "restore"
#: How often the spacecraft is asked; then a person has to look.
_TRIES: Final = 8
#: Window of an association that has none: any step would do.
_WINDOW: Final = 1_024
#: Numbers above the last one accepted that the lost ground may have sent in vain: what somebody
#: has recorded of it stays a replay, and no IV of it is used again.
_IN_VAIN: Final = 64


class Phase(StrEnum):
    """Where it is."""

    IN_STEP = "in step"
    #: Until COP-1 is, which waits for what may be under way.
    WAITING = "waiting for COP-1"
    ASKING = "asking for the numbers of link security"
    #: The spacecraft does not answer: a person brings the ends in step, and says so.
    BY_HAND = "by hand"


#: Event → next phase; by the engine (COP-1 is active, replies), by time, or by a person.
PHASES: Final = {
    Phase.IN_STEP: {"restored": Phase.WAITING},
    Phase.WAITING: {
        "restored": Phase.WAITING,
        "active": Phase.ASKING,
        "answered": Phase.IN_STEP,
        "told": Phase.IN_STEP,
    },
    Phase.ASKING: {
        "restored": Phase.WAITING,
        "again": Phase.WAITING,
        "answered": Phase.IN_STEP,
        "given up": Phase.BY_HAND,
        "told": Phase.IN_STEP,
    },
    Phase.BY_HAND: {
        "restored": Phase.WAITING,
        "answered": Phase.IN_STEP,
        "again": Phase.WAITING,
        "told": Phase.IN_STEP,
    },
}


class Resync:
    """entropy: octets from a cryptographic source.  changed: called when numbers of link security
    have changed, which is kept before anything is sent."""

    def __init__(
        self,
        store: CommandStore,
        desk: Desk,
        progress: Progress,
        security: SecurityInitiator,
        entropy: Callable[[int], bytes],
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._desk = desk
        self._progress = progress
        self._security = security
        self._entropy = entropy
        self._changed = changed
        #: id: of the restore; asked: SPI and request, oldest first; answers: number by SPI.
        self._state: dict[str, Any] = store.state("resync") or {
            "id": "",
            "phase": str(Phase.IN_STEP),
            "backup_s": 0,
            "asked": [],
            "answers": [],
            "tries": 0,
            "bad_number": False,
            "why": "",
        }

    @property
    def phase(self) -> Phase:
        return Phase(self._state["phase"])

    @property
    def in_step(self) -> bool:
        return self.phase is Phase.IN_STEP

    def knows(self, mark: Restored) -> bool:
        """Whether a restore has been dealt with."""
        return self._state["id"] == mark.id

    def text(self) -> str:
        """For people; empty: all is as ever."""
        if self.in_step:
            return ""
        if self.phase is Phase.BY_HAND:
            return (
                "restored from a backup and NOT in step with the spacecraft: "
                f"{self._state['why']}; `l4 command security` and `l4 command link`, then "
                "`l4 command link in-step` (deploy/runbooks/lost-database.md)"
            )
        answered = f"{len(self._state['answers'])} of {len(self._spis())} answered"
        return f"restored from a backup, not in step yet: {self.phase}, {answered}"

    def obstacle(self, request: Request) -> str:
        """Why a request may not leave now; empty: it may."""
        if self.in_step or request.command == MANAGEMENT_COMMAND:
            return ""
        return self.text()

    # What happens --------------------------------------------------------------------------------

    def begin(self, now_ns: int, mark: Restored) -> None:
        """A restore: nothing that was given out is given out again; nothing leaves by itself."""
        self._move("restored")
        self._state |= {"id": mark.id, "backup_s": mark.begun_s, "tries": 0, "why": ""}
        self._store.skip(mark.skip, now_ns, f"restored from {mark.backup}")
        for request in self._store.active():
            self._doubt(now_ns, request)
        # IVs of OTAR have room for a time.
        self._security.skip_otar(mark.restored_s << 32)
        spi = self._security.spi(TC_MANAGEMENT_MAP)
        half = self._window(spi) // 2
        self._skip(spi, half + int.from_bytes(self._entropy(8), "big") % half)
        self._keep()

    def turn(self, now_ns: int, *, active: bool) -> None:
        """active: whether COP-1 is."""
        if self.phase is Phase.WAITING and active:
            self._move("active")
            self._ask(now_ns)
        elif self.phase is Phase.ASKING:
            self._look(now_ns)

    def hear(self, word: int) -> None:
        """An operational control field that is no CLCW."""
        if self.phase is not Phase.ASKING:
            return
        try:
            report = FrameSecurityReport.parse(word.to_bytes(4, "big"))
        except RemoteError:
            return
        if report.last_spi == self._security.spi(TC_MANAGEMENT_MAP) and report.bad_sequence_number:
            self._state["bad_number"] = True

    def replied(self, now_ns: int, request: Request, reply: Reply | None) -> None:
        """The spacecraft's number of an association, if it was we who asked for it."""
        asked = {number: spi for spi, number in self._state["asked"]}
        if self.in_step or reply is None or reply.number is None or request.number not in asked:
            return
        spi = asked[request.number]
        answers = dict(self._state["answers"])
        if spi != reply.spi or spi in answers:
            return
        if spi != self._security.spi(TC_MANAGEMENT_MAP):
            association = self._security.endpoint.association(spi)
            before, number = association.number, reply.number + _IN_VAIN
            if association.parameters.encrypts:
                number = max(number, association.sent)
            association.number = number
            association.sent = max(association.sent, number)
            text = f"SPI {spi}: {reply.number} on board, {before} here; goes on at {number + 1}"
            self._store.note(request.number, now_ns, "resync", state=request.state, text=text)
            self._changed()
        self._state["answers"] = [*answers.items(), (spi, reply.number)]
        if set(self._spis()) <= {spi for spi, _ in self._state["answers"]}:
            self._move("answered")
            self._store.note(0, now_ns, "resync", text="in step with the spacecraft again")
        self._keep()

    def told(self, now_ns: int, directive: str, actor: str) -> str:
        """`in-step`: a person has seen to it; `resync`: try again.  LocalError: nothing to do."""
        if self.in_step:
            raise LocalError(f"{directive}: in step; this is for after `l4 restore`")
        event = "told" if directive == "in-step" else "again"
        if event not in PHASES[self.phase]:
            raise LocalError(f"{directive}: {self.phase}, which goes on by itself")
        self._move(event)
        self._state["tries"] = 0
        self._keep()
        text = "in step, as a person says" if event == "told" else "asks the spacecraft again"
        self._store.note(0, now_ns, "resync", text=text, actor=actor)
        return text

    # Inside --------------------------------------------------------------------------------------

    def _doubt(self, now_ns: int, request: Request) -> None:
        """What was here when the backup was made may have been sent, and ended, since."""
        said = "it was on the stack when the backup was made, and may have been sent since"
        if request.state in UNDER_WAY:
            if request.state is not State.UNKNOWN:
                text = "restored: it was under way when the backup was made"
                self._progress.move(now_ns, request, Event.LOSE, text=text, actor=ACTOR)
        elif request.state is State.WAITING:
            request.reason = said
            self._progress.move(now_ns, request, Event.HOLD, text=said, actor=ACTOR)
        elif Event.DISARM in request.possible:
            request.reason = said
            self._progress.move(now_ns, request, Event.DISARM, text=said, actor=ACTOR)
        else:
            request.reason = said
            self._progress.note(now_ns, request, "restored", said, ACTOR)
        self._store.save(request)

    def _spis(self) -> list[int]:
        """Whose numbers are wanted, that of the management MAP last."""
        endpoint = self._security.endpoint
        own = self._security.spi(TC_MANAGEMENT_MAP)
        keyed = [
            spi for spi in endpoint.spis if endpoint.association(spi).state is not SaState.UNKEYED
        ]
        return sorted(keyed, key=lambda spi: (spi == own, spi))

    def _ask(self, now_ns: int) -> None:
        answered = {spi for spi, _ in self._state["answers"]}
        for spi in self._spis():
            if spi in answered:
                continue
            pdu = self._security.read_number(spi)
            request = self._desk.submit(
                now_ns, MANAGEMENT_COMMAND, {"PDU": pdu}, ACTOR, comment=describe(pdu)
            )
            # A question that changes nothing: no second person is asked for.
            for event in (Event.ARM, Event.APPROVE, Event.SEND):
                self._progress.move(now_ns, request, event, actor=ACTOR)
            request.armed_by = request.approved_by = request.sent_by = ACTOR
            request.armed_ns = request.sent_ns = now_ns
            self._store.save(request)
            self._state["asked"].append((spi, request.number))
        self._state["tries"] += 1
        self._state["bad_number"] = False
        self._keep()

    def _look(self, now_ns: int) -> None:
        """Whether all that was asked has ended without an answer."""
        answered = {spi for spi, _ in self._state["answers"]}
        newest = {spi: n for spi, n in self._state["asked"] if spi not in answered}
        asked = [self._store.request(number) for number in newest.values()]
        if not asked or any(not self._is_over(now_ns, one) for one in asked):
            return
        refused = [one for one in asked if one.state in (State.FAILED, State.HELD)]
        if refused or self._state["tries"] >= _TRIES:
            why = refused[0].reason if refused else f"no answer to {self._state['tries']} questions"
            self._state["why"] = why
            for one in refused:
                if Event.REMOVE in one.possible:
                    self._progress.move(now_ns, one, Event.REMOVE, text=why, actor=ACTOR)
                    self._store.save(one)
            self._move("given up")
            self._store.note(0, now_ns, "resync", text=self.text())
            self._keep()
            return
        for one in asked:
            if one.state is State.UNKNOWN:
                # Its answer would change nothing any more.
                self._progress.move(now_ns, one, Event.CLOSE, text="asked again", actor=ACTOR)
                self._store.save(one)
        if self._state["bad_number"]:
            spi = self._security.spi(TC_MANAGEMENT_MAP)
            self._skip(spi, self._window(spi) // 2)
        self._move("again")
        self._keep()

    def _is_over(self, now_ns: int, asked: Request) -> bool:
        """Whether no reply is to be expected any more; one may come after the report of its
        completion, from another packet."""
        if asked.state is State.COMPLETED:
            return now_ns > asked.reply_due_ns + self._progress.timing.margin_ns
        return asked.state in (*ENDED, State.UNKNOWN, State.HELD)

    def _window(self, spi: int) -> int:
        return self._security.endpoint.association(spi).window or _WINDOW

    def _skip(self, spi: int, count: int) -> None:
        association = self._security.endpoint.association(spi)
        association.number = max(association.number, association.sent) + count
        association.sent = association.number
        self._changed()

    def _move(self, event: str) -> None:
        self._state["phase"] = str(PHASES[self.phase][event])
        if event == "restored":
            self._state |= {"asked": [], "answers": [], "bad_number": False}

    def _keep(self) -> None:
        self._store.keep_state("resync", self._state)


def kept_phase(path: Path, restore: str) -> Phase | None:
    """How far it is by the file of the command service, which may run; None: it has not begun."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            kept = CommandStore(db).state("resync")
    except sqlite3.Error:
        return None
    return Phase(kept["phase"]) if kept is not None and kept["id"] == restore else None


__all__ = ["ACTOR", "PHASES", "Phase", "Resync", "kept_phase"]
