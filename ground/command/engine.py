"""What operators ask and what the bus says, turned into changes of the store and into radiations.

No clock and no socket: every entry takes `now_ns` and is one transaction.  After it, `changes`
tells what happened and `to_radiate` what is to be published; a kill between the two loses nothing,
because radiations whose fate is unknown are published again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ground.command.desk import Desk
from ground.command.file_office import FileOffice
from ground.command.files import FileTransfers
from ground.command.light_time import Visibility
from ground.command.link import CommandLink, Fate, Outgoing
from ground.command.procedures.library import Library
from ground.command.progress import Progress, Timing
from ground.command.reports import security_replies, verifications
from ground.command.requests import UNDER_WAY, Event, Request, State
from ground.command.resync import ACTOR, Resync
from ground.command.runs import Runs
from ground.command.security import SecurityOffice
from ground.command.store import CommandStore, OpenUplink
from ground.command.telemetry import Telemetry, violation
from ground.restored import Restored
from protocols.bus.messages import (
    CommandMessage,
    LinkMessage,
    OcfMessage,
    PacketsMessage,
    ParametersMessage,
    PassesMessage,
    RadiatedMessage,
    UplinkMessage,
)
from protocols.dictionary.l4_link import (
    MANAGEMENT_COMMAND,
    TC_EXPEDITED_MAP,
    TC_MANAGEMENT_MAP,
    TC_MAP,
)
from protocols.errors import LocalError
from protocols.frames.fop_table import FopState
from protocols.frames.sdls import SecurityEndpoint
from protocols.frames.tc import FrameType
from protocols.identifiers import Carrier
from protocols.telecommand.declaration import Command, CommandDictionary

#: 133.0-B-2 §4.1.3.4.3: sequence counts of 14 bits.
_COUNTS: Final = 1 << 14
#: How often the station is asked for one radiation, and for how many handovers each time.
_ATTEMPTS, _PATIENCE = 3, 4
_ARMED: Final = (State.ARMED, State.APPROVED)
_SENT: Final = (State.WAITING, State.HELD)


class CommandEngine:
    """One spacecraft's command link.  name: of the service on the bus."""

    def __init__(
        self,
        store: CommandStore,
        commands: CommandDictionary,
        link: CommandLink,
        visibility: Visibility,
        timing: Timing,
        library: Callable[[], Library],
        entropy: Callable[[int], bytes],
        *,
        transfers: FileTransfers | None = None,
        file_security: SecurityEndpoint | None = None,
        name: str = "command",
        boot: str = "",
    ) -> None:
        self.store = store
        self.commands = commands
        self.telemetry = Telemetry(
            {one.parameter for command in commands.commands for one in command.constraints}
        )
        self.telemetry.restore(store.state("telemetry") or [])
        self.visibility = visibility
        self.timing = timing
        if timing.margin_ns < link.margin_ns + timing.handover_ns:
            raise LocalError(
                f"margin of answers {timing.margin_ns} ns: COP-1's {link.margin_ns} ns and the "
                f"handover's {timing.handover_ns} ns at least: COP-1 repeats before it is overdue"
            )
        self._link = link
        self._entropy = entropy
        self._name = name
        state = store.state("engine")
        if state is None:
            if not boot:
                raise LocalError("a new store of commands needs a name that was never used")
            state = {"name": boot, "count": 0, "journal": "", "sequence": -1}
            with store.transaction():
                store.keep_state("engine", state)
        #: name: begins the id of every radiation; count: sequence count of the last packet;
        #: journal, sequence: how far `receive`'s packets were heard.
        self._state: dict[str, Any] = state
        snapshot = store.state("link")
        if snapshot is not None:
            link.restore(snapshot)
        self._said_position = (state["journal"], state["sequence"])
        self._began_ns: int | None = None
        self._to_radiate: list[UplinkMessage] = []
        self._uplinks = {one.message.id: one for one in store.open_uplinks()}
        self.progress = Progress(store, commands, timing)
        self.desk = Desk(store, commands, self.progress, self)
        self.runs = Runs(store, self.desk, self, library)
        #: Files have their place on the command carrier, if there is anything to keep them in.
        self._files: FileOffice | None = None
        if transfers is not None and file_security is not None:
            self._files = FileOffice(
                transfers,
                file_security,
                store,
                self.desk,
                name=f"{name}-{state['name']}",
                service=name,
                handover_ns=timing.handover_ns,
            )
        self._security = SecurityOffice(link.security, store, self.desk, entropy, self._keep_link)
        self.resync = Resync(
            store, self.desk, self.progress, link.security, entropy, self._keep_link
        )

    def restored(self, now_ns: int, mark: Restored, boot: str) -> None:
        """Everything here is older than what the spacecraft and the station have seen, once for
        each restore.  boot: a name that was never used."""
        if self.resync.knows(mark):
            return
        with self.store.transaction():
            self._state["name"] = boot
            # Reports on lost requests, of which there are fewer, are nobody's; by chance, so that
            # a second restore of the same backup takes others than the first.
            by = _COUNTS // 4 + int.from_bytes(self._entropy(8), "big") % (_COUNTS // 2)
            self._state["count"] = (self._state["count"] + by) % _COUNTS
            self.store.keep_state("engine", self._state)
            self.store.recall_uplinks()
            self._link.forget(now_ns, _PATIENCE * self.timing.handover_ns)
            self.resync.begin(now_ns, mark)
            self.runs.pause_all(now_ns, ACTOR)
            if self._files is not None:
                self._files.begin_anew(now_ns, f"{self._name}-{boot}", mark.skip)
            self._keep_link()
        self._uplinks = {one.message.id: one for one in self.store.open_uplinks()}

    # What leaves ---------------------------------------------------------------------------------

    def to_radiate(self) -> list[UplinkMessage]:
        """New radiations since the last call."""
        out, self._to_radiate = self._to_radiate, []
        return out

    def unanswered(self) -> list[UplinkMessage]:
        """All radiations whose fate is not known, to be said again."""
        return [one.message for one in self._uplinks.values()]

    def changes(self) -> list[CommandMessage]:
        """What was noted since the last call."""
        noted, self.store.noted = self.store.noted, []
        out: list[CommandMessage] = []
        names: dict[int, str] = {0: ""}
        for entry in noted:
            if entry.request not in names:
                names[entry.request] = self.store.request(entry.request).command
            out.append(
                CommandMessage(
                    number=entry.request,
                    command=names[entry.request],
                    state=entry.state,
                    event=entry.event,
                    time_ns=entry.time_ns,
                    text=entry.text,
                    actor=entry.actor,
                    id=entry.id,
                )
            )
        return out

    def recover_changes(self, last: CommandMessage | None) -> None:
        """`changes` will go on after the last one that was told, before a kill perhaps."""
        self.store.noted = self.store.history_after(0 if last is None else last.id)

    @property
    def position(self) -> tuple[str, int]:
        """How far `receive`'s journal of packets was heard."""
        return self._state["journal"], self._state["sequence"]

    @property
    def counters(self) -> dict[str, int]:
        """For the service's status."""
        active = self.store.active()
        return {
            "on_stack": sum(one.state not in {*UNDER_WAY, *_SENT} for one in active),
            "waiting": sum(one.state is State.WAITING for one in active),
            "held": sum(one.state is State.HELD for one in active),
            "under_way": sum(one.state in UNDER_WAY - {State.UNKNOWN} for one in active),
            "unknown": sum(one.state is State.UNKNOWN for one in active),
            "unanswered_radiations": len(self._uplinks),
            "out_of_step": int(not self.resync.in_step),
            **self.runs.counters,
            **(self._files.transfers.counters if self._files is not None else {}),
        }

    # What the bus says ---------------------------------------------------------------------------

    def hear_parameters(self, message: ParametersMessage) -> None:
        self.telemetry.take(message)

    def hear_passes(self, message: PassesMessage) -> None:
        self.visibility = self.visibility.heard(passes=message)

    def hear_link(self, message: LinkMessage) -> None:
        owlt_ns = round(message.owlt_s * 1e9) if message.owlt_s >= 0 else -1
        self.visibility = self.visibility.heard(station_owlt_ns=owlt_ns)

    def hear_ocf(self, now_ns: int, message: OcfMessage) -> None:
        """FOP-1 takes CLCWs in the order of their frames, which is that of the message."""
        with self.store.transaction():
            rows = zip(
                message.word.tolist(),
                message.first_ert_ns.tolist(),
                message.last_ert_ns.tolist(),
                strict=True,
            )
            for word, first_ns, last_ns in rows:
                if word >> 31:
                    self.resync.hear(word)
                self._link.clcw(now_ns, word, first_ns, last_ns)
            self._settle_link(now_ns)

    def hear_packets(
        self, now_ns: int, message: PacketsMessage, journal: str, sequence: int
    ) -> None:
        """Verification reports; the position is kept with what they changed."""
        if self._files is not None:
            self._files.hear(now_ns, message)
        self._state["journal"], self._state["sequence"] = journal, sequence
        reports, replies = list(verifications(message)), list(security_replies(message))
        if not reports and not replies:
            return
        with self.store.transaction():
            for report, ert_ns in reports:
                request = self.progress.reported(now_ns, report, ert_ns)
                if request is not None and request.command == MANAGEMENT_COMMAND:
                    self._security.completed(now_ns, request)
            for sequence_count, pdu in replies:
                asked = self.store.with_sequence_count(sequence_count)
                if asked is not None and asked.command == MANAGEMENT_COMMAND:
                    reply = self._security.replied(now_ns, asked, pdu)
                    self.resync.replied(now_ns, asked, reply)
            self.save_position()

    def save_position(self) -> None:
        """Keep how far was heard; to be called now and then where nothing else does."""
        if self.position != self._said_position:
            self._said_position = self.position
            with self.store.transaction():
                self.store.keep_state("engine", self._state)
                self.store.keep_state("telemetry", self.telemetry.snapshot())

    def hear_radiated(self, now_ns: int, message: RadiatedMessage) -> None:
        """What became of a radiation; one that is known already changes nothing."""
        if self._files is not None and self._files.radiated(message):
            return
        found = self._uplinks.get(message.id)
        if found is None:
            return
        with self.store.transaction():
            self.store.close_uplink(found.number, message.build())
            wanted = self._awaits(found)
            again = wanted and found.attempt < _ATTEMPTS and self.transmits(now_ns)
            again = again and not self._is_late(now_ns, found)
            if message.refused and again:
                # Too late for its turn, as after a restart on the way: it may still go.
                self.store.note(found.request, now_ns, "refused", text=message.refused)
                self._ask_station(
                    now_ns,
                    found.message.octets,
                    found.request,
                    found.kind,
                    again=found.again,
                    attempt=found.attempt + 1,
                )
                self._link.asked_again(now_ns)
                self._settle_link(now_ns)
                del self._uplinks[message.id]
                return
            if found.request and self._is_former(found):
                what = f"refused: {message.refused}" if message.refused else "radiated"
                text = f"in vain: it has been handed over anew since; {what}"
                self.store.note(found.request, now_ns, "former", text=text)
            elif found.request:
                self.progress.radiated(
                    now_ns,
                    self.store.request(found.request),
                    message,
                    self.visibility.owlt_ns(now_ns),
                    again=found.again,
                )
            elif message.refused:
                self.store.note(0, now_ns, "refused", text=f"control command: {message.refused}")
            # Of type BD, FOP-1 has done all that it does; to tell it (E46) would end the AD service
            # and what others have under way.
            if message.refused and wanted and _FRAME_TYPES[found.kind] is not FrameType.BD:
                self._link.refused(now_ns, _FRAME_TYPES[found.kind])
                self._settle_link(now_ns)
        del self._uplinks[message.id]

    def _is_late(self, now_ns: int, uplink: OpenUplink) -> bool:
        """Whether a radiation may not be asked for again: its latest time is over, or, of type BD,
        one with a higher number of link security may be ahead of it and it would be a replay.
        Type AD comes to link security in the order of FARM-1 alone."""
        if not uplink.request:
            return False
        if self.store.request(uplink.request).is_late(now_ns):
            return True
        return _FRAME_TYPES[uplink.kind] is FrameType.BD and self.store.is_overtaken(uplink)

    def _awaits(self, uplink: OpenUplink) -> bool:
        """Whether a radiation still serves what it was for: a station that comes back after hours
        shall not send what was given up meanwhile, nor end the service that has begun since."""
        frame_type = _FRAME_TYPES[uplink.kind]
        if uplink.request and self._is_former(uplink):
            return False
        if frame_type is FrameType.BD:
            return self.store.request(uplink.request).state is State.RELEASED
        return self._link.awaits(frame_type, uplink.request)

    def _is_former(self, uplink: OpenUplink) -> bool:
        """Whether its request was held since, and is handed over anew, in other frames."""
        return uplink.message.earliest_ns < self.store.request(uplink.request).released_ns

    def turn(self, now_ns: int) -> None:
        """What time brings."""
        self.runs.turn(now_ns)
        with self.store.transaction():
            active = self.store.active()
            for request in active:
                self._pass_time(now_ns, request)
            self.resync.turn(now_ns, active=self._link.state is FopState.ACTIVE)
            self._release(now_ns, active)
            self._radiate(now_ns)
            self._settle_link(now_ns)
            if self._files is not None and self.resync.in_step:
                owlt_ns = self.visibility.owlt_ns(now_ns)
                radiation = self._files.turn(now_ns, owlt_ns, transmits=self.transmits(now_ns))
                if radiation is not None:
                    self._to_radiate.append(radiation)

    # What the desk asks --------------------------------------------------------------------------

    def operate(self, now_ns: int, key: str, operation: str, arguments: dict[str, Any]) -> Any:
        """See `Desk.ask`."""
        return self.desk.ask(now_ns, key, operation, arguments)

    def violations(self, now_ns: int, command: Command) -> list[str]:
        """Constraints that do not hold now, in words."""
        owlt_ns = self.visibility.owlt_ns(now_ns)
        texts = [
            violation(one, self.telemetry.sample, now_ns, owlt_ns) for one in command.constraints
        ]
        return [text for text in texts if text]

    def transmits(self, now_ns: int) -> bool:
        """Whether what is handed over now can go up."""
        return self.visibility.transmits(now_ns, self.timing.handover_ns)

    def direct(self, now_ns: int, directive: str, value: int | None, actor: str) -> str:
        """A directive of COP-1; LocalError where it makes no sense now."""
        if directive in ("unlock", "set-vr") and not self.transmits(now_ns):
            raise LocalError(f"{directive}: {self.visibility.no_uplink(now_ns)}")
        if directive in ("in-step", "resync"):
            return self.resync.told(now_ns, directive, actor)
        text = self._link.direct(now_ns, directive, value)
        self.store.note(0, now_ns, directive, text=text, actor=actor)
        self._radiate(now_ns)
        self._settle_link(now_ns)
        return text

    def runs_on(self, origin: str) -> bool:
        """Whether the run that a request is from has not ended."""
        return self.runs.runs_on(origin)

    def obstacle(self, request: Request) -> str:
        """Why it cannot leave now, whatever it is and telemetry says; empty: it can."""
        return self.resync.obstacle(request)

    def resync_text(self) -> str:
        """After a restore, how far ground and spacecraft are in step; empty: they are."""
        return self.resync.text()

    def link_listing(self) -> dict[str, Any]:
        """How COP-1 is."""
        return self._link.listing()

    # A request's way -----------------------------------------------------------------------------

    def _pass_time(self, now_ns: int, request: Request) -> None:
        state = request.state
        alone = state in _ARMED and not self.runs_on(request.origin)
        if alone and now_ns - request.armed_ns > self.timing.armed_ns:
            self.progress.move(now_ns, request, Event.DISARM, text="armed for too long")
            self.store.save(request)
        elif state in (*_ARMED, State.WAITING, State.HELD, State.QUEUED):
            if request.is_late(now_ns):
                self.progress.move(now_ns, request, Event.EXPIRE, text="its latest time is over")
                self.store.save(request)
        elif state in UNDER_WAY:
            self.progress.overdue(now_ns, request)

    def _release(self, now_ns: int, active: Sequence[Request]) -> None:
        """Hand over what may leave, in the order in which it was sent by operators."""
        waiting = [one for one in active if one.state is State.WAITING]
        if not waiting or not self.transmits(now_ns):
            return
        held = [one for one in active if one.holds_back]
        #: Whose turn is with one that is looked at again in a moment.
        patient: set[str] = set()
        for request in sorted(waiting, key=lambda one: (one.sent_ns, one.number)):
            if now_ns < request.earliest_ns or not self._link.ready(expedited=request.expedited):
                continue
            if request.stopped_by(held) is not None or self.resync.obstacle(request):
                continue
            if request.sender in patient and not request.expedited:
                continue
            try:
                # It may be on the stack since a dictionary or an association that is no more.
                self.commands.build(request.command, request.arguments)
                command = self.commands.command(request.command)
                violations = self.violations(now_ns, command)
                if violations and self._is_new(now_ns, command):
                    patient.add(request.sender)
                    continue
                violations += filter(None, [self._link.obstacle(_map_of(request))])
            except LocalError as error:
                command, violations = None, [str(error)]
            if command is None or violations:
                request.reason = "; ".join(violations)
                self.progress.move(now_ns, request, Event.HOLD, text=request.reason)
                self.store.save(request)
                held.append(request)
                continue
            self._hand_over(now_ns, request, command)
            self._radiate(now_ns)

    def _is_new(self, now_ns: int, command: Command) -> bool:
        """Whether telemetry is missing because we have begun to listen a moment ago."""
        if self._began_ns is None:
            self._began_ns = now_ns
        missing = any(self.telemetry.sample(one.parameter) is None for one in command.constraints)
        return missing and now_ns - self._began_ns < _PATIENCE * self.timing.handover_ns

    def _hand_over(self, now_ns: int, request: Request, command: Command) -> None:
        count = self._state["count"] = (self._state["count"] + 1) % _COUNTS
        self.store.keep_state("engine", self._state)
        request.sequence_count = count
        request.octets = self.commands.build(
            request.command, request.arguments, sequence_count=count
        )
        request.frames = self._link.push(
            request.number,
            request.octets,
            expedited=request.expedited,
            map_id=_map_of(request),
        )
        self.progress.begin(now_ns, request, command, self.visibility.owlt_ns(now_ns))

    def _radiate(self, now_ns: int) -> None:
        """Give what FOP-1 has for the antenna to the bus, after the store."""
        owlt_ns = self.visibility.owlt_ns(now_ns)
        over = False
        for one in self._link.turn(now_ns, owlt_ns, transmits=self.transmits(now_ns)):
            if one.frame_type is FrameType.AD:
                # What is behind a frame that does not go up would be discarded on board.
                over = over or self._is_over(now_ns, one)
                if over:
                    continue
            kind = _FRAME_TYPES.index(one.frame_type)
            self._ask_station(now_ns, one.octets, one.tag, kind, again=one.repeated)
            self._note_outgoing(now_ns, one)

    def _is_over(self, now_ns: int, one: Outgoing) -> bool:
        """Whether a frame may not go up (again) any more; the AD service ends with that, and the
        next CLCW tells what has arrived."""
        request = self.store.request(one.tag)
        if not request.is_late(now_ns):
            return False
        what = "not sent again" if one.repeated else "not sent"
        self.progress.note(now_ns, request, "over", f"{what}: its latest time is over")
        self._link.refused(now_ns, one.frame_type)
        return True

    def _ask_station(
        self,
        now_ns: int,
        octets: bytes,
        request: int,
        kind: int,
        *,
        again: bool,
        attempt: int = 1,
    ) -> None:
        """For a radiation under a name of its own."""
        number = self.store.next_uplink()
        latest_ns = now_ns + _PATIENCE * self.timing.handover_ns
        if request:
            latest_ns = min(latest_ns, self.store.request(request).latest_ns or latest_ns)
        message = UplinkMessage(
            id=f"{self._name}-{self._state['name']}-{number}",
            service=self._name,
            carrier=Carrier.COMMAND,
            octets=octets,
            earliest_ns=now_ns,
            latest_ns=latest_ns,
        )
        uplink = OpenUplink(number, request, kind, again, attempt, message)
        self.store.add_uplink(uplink)
        self._uplinks[message.id] = uplink
        self._to_radiate.append(message)

    def _note_outgoing(self, now_ns: int, one: Outgoing) -> None:
        if not one.tag:
            self.store.note(0, now_ns, "control", text="control command to FARM-1")
        elif one.repeated:
            request = self.store.request(one.tag)
            # Its answer comes as much later.
            owlt_ns = self.visibility.owlt_ns(now_ns)
            self.progress.expect(request, now_ns + self.timing.handover_ns, owlt_ns)
            self.store.save(request)
            self.progress.note(now_ns, request, "again", f"frame {one.sequence} again")

    def _settle_link(self, now_ns: int) -> None:
        for outcome in self._link.outcomes():
            request = self.store.request(outcome.tag)
            if outcome.fate is Fate.RECEIVED:
                self.progress.received(now_ns, request)
            elif outcome.fate is Fate.NEVER:
                self.progress.never_arrived(now_ns, request, outcome.text)
            else:
                self.progress.lost(now_ns, request, outcome.text)
        for text in self._link.said():
            self.store.note(0, now_ns, "cop-1", text=text)
        if self._link.changed:
            self._keep_link()

    def _keep_link(self) -> None:
        """Counters of security are on disk before anything that was made with them is sent."""
        self._link.changed = False
        self.store.keep_state("link", self._link.snapshot())


def _map_of(request: Request) -> int:
    if request.expedited:
        return TC_EXPEDITED_MAP
    return TC_MANAGEMENT_MAP if request.command == MANAGEMENT_COMMAND else TC_MAP


#: Of an open radiation, by the number kept with it.
_FRAME_TYPES: Final = tuple(FrameType)
