"""The on-board computer's executive: requests in, reports out, a second at a time.

A request comes from the command link, from the schedule, from an event's action or in parts; all
take the same way: parsed and checked (acceptance), allowed in this mode (start), executed at once
or over some seconds (progress, completion), and reported as far as it asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from protocols.dictionary.l4_commands import COMMANDS
from protocols.dictionary.l4_link import (
    MANAGEMENT_COMMAND,
    CommandKeys,
    file_security,
    security_endpoint,
)
from protocols.dictionary.l4_states import EventId, ReceiverState, Severity
from protocols.errors import RemoteError
from protocols.frames.clcw import CLCW
from protocols.packets.pus import RequestId
from protocols.telecommand.declaration import Commanded, CommandRefused
from protocols.telecommand.verification import FailureCode, Stage, Verification
from spacecraft_sim.flight_software.command_receiver import CommandReceiver, Received
from spacecraft_sim.flight_software.contact import Contact
from spacecraft_sim.flight_software.execution import Handlers, Refusal, Running
from spacecraft_sim.flight_software.files import Files
from spacecraft_sim.flight_software.functions import ALLOWED, Functions
from spacecraft_sim.flight_software.housekeeping import Housekeeping, ParameterPool
from spacecraft_sim.flight_software.large_packets import LargePackets
from spacecraft_sim.flight_software.memory import Memory
from spacecraft_sim.flight_software.monitoring import EventActions, Monitoring
from spacecraft_sim.flight_software.onboard_clock import OnBoardClock
from spacecraft_sim.flight_software.packet_stores import PacketStores
from spacecraft_sim.flight_software.packets import Packet
from spacecraft_sim.flight_software.platform import Platform
from spacecraft_sim.flight_software.recorder import Recorder
from spacecraft_sim.flight_software.reports import ReportWriter
from spacecraft_sim.flight_software.schedule import Schedule
from spacecraft_sim.flight_software.security import SecurityManagement
from spacecraft_sim.subsystems.common import Event
from spacecraft_sim.subsystems.noise import Noise

#: Requests executed at a time beside those that are done at once.
MOST_RUNNING: Final = 16
#: A request's action may raise an event whose action raises an event …
_DEEPEST: Final = 4
_NS: Final = 1_000_000_000


class FlightSoftware:
    """platform: the spacecraft it runs on; recorder: packet store 1; noise: of upsets; keys: of the
    command link; synchronise: see `PacketStores`; files: makes the file service, given what raises
    its events."""

    def __init__(
        self,
        platform: Platform,
        clock: OnBoardClock,
        recorder: Recorder,
        noise: Noise,
        keys: CommandKeys,
        contact_loss_h: float,
        synchronise: Callable[[], None],
        files: Callable[[Callable[[Event], None]], Files],
    ) -> None:
        self._platform = platform
        self.clock = clock
        self.reports = ReportWriter(clock)
        self.pool = ParameterPool()
        self.pool.set("FSW_CONTACT_LOSS", contact_loss_h)
        endpoint = security_endpoint(keys)
        self.receiver = CommandReceiver(endpoint, file_security(keys))
        self.files = files(self.raise_event)
        self.security = SecurityManagement(endpoint, self.reports, self.raise_event)
        self.contact = Contact(self.pool, self.raise_event)
        self.memory = Memory(noise, self.raise_event, self._lose_memory)
        self.schedule = Schedule(self.reports, _check)
        self.monitoring = Monitoring(self.pool, self.reports, self.raise_event)
        self.actions = EventActions(self.reports, _check)
        self.stores = PacketStores(recorder, self.reports, synchronise)
        self._large = LargePackets(self.reports, self._queue)
        self._housekeeping = Housekeeping(self.pool, self.reports)
        functions = Functions(platform, self.contact, self.memory, self.monitoring.rearm)
        self._handlers: Handlers = {
            **self._housekeeping.handlers,
            **functions.handlers,
            **self.schedule.handlers,
            **self.monitoring.handlers,
            **self.actions.handlers,
            **self.stores.handlers,
            **self._large.handlers,
            "TEST_CONNECTION": lambda _: self.reports.put("TEST_REPORT", {}),
            "EVENT_ENABLE": self._enable_events,
            "EVENT_DISABLE": self._disable_events,
            "EVENT_REPORT_DISABLED": self._report_disabled,
            "TIME_REPORT_RATE": self._set_time_rate,
            "CLOCK_ADJUST": lambda a: self.clock.adjust(a["OFFSET"] * 1_000),
        }
        self._waiting: deque[bytes] = deque()
        self._running: list[tuple[Commanded, Running, int]] = []
        self._disabled: set[EventId] = set()
        self._depth = 0
        self._events = 0
        self._counts = dict.fromkeys(("ACCEPTED", "REFUSED", "FAILED"), 0)
        self._rejected = 0
        #: Time packets every 2^n seconds; None: none.
        self.time_exponent: int | None = None
        self.time_due = False

    # A second --------------------------------------------------------------------------------

    def step(self, t_ns: int, commands: bytes, protons_pfu: float | None, radiation: float) -> None:
        """t_ns: TAI.  protons_pfu: as the instrument measures, None while it is off; radiation:
        as the memory feels it."""
        now_ns = self.clock.read(t_ns)
        if protons_pfu is None:
            self.pool.forget("FSW_PROTON_FLUX")
        else:
            self.pool.update({"FSW_PROTON_FLUX": protons_pfu})
        for received in self.receiver.push(commands) if commands else ():
            if received.file:
                self.files.hear(received.packet)
            else:
                self._execute(received.packet, received)
        self.files.step(t_ns)
        rejected = self.receiver.statistics.rejected
        if rejected > self._rejected:
            text = f"{rejected - self._rejected} telecommand frames rejected, {rejected} in all"
            self.raise_event(Event(EventId.FRAME_REJECTED, Severity.LOW, text))
            self._rejected = rejected
        self.contact.tick()
        self._large.tick()
        self.memory.tick(radiation)
        for activity in self.schedule.due(now_ns):
            if self.schedule.enabled:
                self._execute(activity.packet)
            else:
                count = activity.request.sequence_count
                text = f"schedule disabled: request {count} not released"
                self.raise_event(Event(EventId.SCHEDULE_FAILED, Severity.MEDIUM, text))
        while self._waiting:
            self._execute(self._waiting.popleft())
        self._go_on()
        self._publish()
        self.monitoring.tick(now_ns)
        second = now_ns // _NS
        self._housekeeping.tick(second)
        if self.time_exponent is not None and second % (1 << self.time_exponent) == 0:
            self.time_due = True

    def flush(self, t_ns: int) -> list[Packet]:
        """The reports of the second."""
        return self.reports.flush(t_ns)

    def clcw(self, receiver: ReceiverState) -> CLCW:
        return self.receiver.clcw(
            no_rf_available=receiver == ReceiverState.SEARCHING,
            no_bit_lock=receiver != ReceiverState.BIT_LOCK,
        )

    def security_report(self) -> int | None:
        """The frame security report as a word; None before the first frame."""
        report = self.receiver.security.report
        return None if report is None else int.from_bytes(report.build(), "big")

    def _publish(self) -> None:
        statistics = self.receiver.statistics
        self.pool.update(
            {f"FSW_COMMANDS_{name}": count for name, count in self._counts.items()}
            | {
                "FSW_FRAMES_ACCEPTED": statistics.accepted,
                "FSW_FRAMES_REJECTED": statistics.rejected,
                "FSW_FRAMES_INSECURE": statistics.insecure,
                "FSW_SECURITY_DONE": self.security.executed,
                "FSW_SECURITY_REFUSED": self.security.refused,
                "FSW_SINCE_COMMAND": self.contact.silent_s,
                "FSW_MEMORY_UPSETS": self.memory.upsets,
                "FSW_MEMORY_FAILURES": self.memory.failures,
                "FSW_SCHEDULED": len(self.schedule),
                "FSW_ANTENNA": self.contact.antenna,
            }
        )

    # Requests --------------------------------------------------------------------------------

    def _queue(self, packet: bytes) -> None:
        self._waiting.append(packet)

    def _execute(self, packet: bytes, received: Received | None = None) -> None:
        """received: how it came by the command link, which says that there is contact."""
        try:
            commanded = COMMANDS.parse(packet)
            _check_authority(commanded, management=received is not None and received.management)
        except CommandRefused as refused:
            self._refused(packet, refused)
            return
        self._counts["ACCEPTED"] += 1
        if received is not None:
            self.contact.command()
        self._succeed(commanded, Stage.ACCEPTANCE)
        before = self.reports.mark
        try:
            running = self._start(commanded, received)
        except Refusal as refusal:
            self._fail(commanded, Stage.START, refusal)
            return
        self._succeed(commanded, Stage.START, at=before)
        if running is None:
            self._succeed(commanded, Stage.COMPLETION)
        else:
            self._running.append((commanded, running, 0))

    def _start(self, commanded: Commanded, received: Received | None) -> Running | None:
        name, mode = commanded.command.name, self._platform.mode
        if mode not in ALLOWED.get(name, frozenset({mode})):
            raise Refusal(FailureCode.WRONG_MODE, f"{name} in mode {mode.name}")
        if len(self._running) >= MOST_RUNNING:
            raise Refusal(FailureCode.NO_ROOM, f"{MOST_RUNNING} requests are being executed")
        if name == MANAGEMENT_COMMAND:
            assert received is not None
            pdu = commanded.arguments["PDU"]
            return self.security.execute(commanded.request, pdu, received.spi)
        return self._handlers[name](commanded.arguments)

    def _go_on(self) -> None:
        running, self._running = self._running, []
        for commanded, execution, step in running:
            try:
                done = next(execution)
            except StopIteration:
                self._succeed(commanded, Stage.COMPLETION)
            except Refusal as refusal:
                self._fail(commanded, Stage.COMPLETION, refusal)
            else:
                if done:
                    self._succeed(commanded, Stage.PROGRESS, step=done)
                self._running.append((commanded, execution, done or step))

    def _refused(self, packet: bytes, refused: CommandRefused) -> None:
        self._counts["REFUSED"] += 1
        try:
            request = RequestId.of(packet)
        except RemoteError:
            return
        self.reports.verify(
            Verification(
                request, Stage.ACCEPTANCE, False, code=refused.code, data=_text(str(refused))
            )
        )

    def _succeed(
        self, commanded: Commanded, stage: Stage, *, step: int = 0, at: int | None = None
    ) -> None:
        if commanded.wants(stage):
            self.reports.verify(Verification(commanded.request, stage, step=step), at)

    def _fail(self, commanded: Commanded, stage: Stage, refusal: Refusal) -> None:
        self._counts["FAILED"] += 1
        self.reports.verify(
            Verification(
                commanded.request, stage, False, code=refusal.code, data=_text(str(refusal))
            )
        )

    # Events ----------------------------------------------------------------------------------

    def raise_event(self, event: Event) -> None:
        """An event of flight software: reported by service 5, and its action taken."""
        self.files.log(event)
        if event.event_id not in self._disabled:
            self._events += 1
            values = {
                "EVT_ID": event.event_id.name,
                "EVT_SEVERITY": event.severity.name,
                "EVT_COUNT": self._events & 0xFFFF,
                "EVT_TEXT": event.text,
            }
            self.reports.put(f"EVENT_{event.severity.name}", values)
        self.act_on(event.event_id)

    def reported(self, event: EventId) -> bool:
        """Whether an event of a subsystem is reported (TC[5,5] and [5,6] hold for all)."""
        return event not in self._disabled

    def act_on(self, event: EventId) -> None:
        """Execute the action of an event, if it has one."""
        packet = self.actions.action(event)
        if packet is None or self._depth >= _DEEPEST:
            return
        self._depth += 1
        try:
            self.raise_event(
                Event(EventId.EVENT_ACTION, Severity.LOW, f"action of {event.name} executed")
            )
            self._execute(packet)
        finally:
            self._depth -= 1

    def _enable_events(self, arguments: Mapping[str, Any]) -> None:
        self._disabled.difference_update(EventId[name] for name in arguments["EVENTS"])

    def _disable_events(self, arguments: Mapping[str, Any]) -> None:
        self._disabled.update(EventId[name] for name in arguments["EVENTS"])

    def _report_disabled(self, _: Mapping[str, Any]) -> None:
        names = [event.name for event in sorted(self._disabled)]
        self.reports.put("EVENTS_DISABLED", {"EVD_EVENT": names}, raw=not names)

    # Time and memory -------------------------------------------------------------------------

    def _set_time_rate(self, arguments: Mapping[str, Any]) -> None:
        self.time_exponent = arguments["EXPONENT"]
        self.time_due = True

    def _lose_memory(self) -> str:
        lost = self.schedule.lose_last()
        if lost is None:
            return "a word that nothing uses"
        return f"scheduled request {lost.request.sequence_count} lost"


def _check(packet: bytes) -> None:
    """Refuse now what could not be executed later."""
    try:
        _check_authority(COMMANDS.parse(packet), management=False)
    except CommandRefused as refused:
        raise Refusal(refused.code, f"request within the request: {refused}") from refused


def _check_authority(commanded: Commanded, *, management: bool) -> None:
    """Link security is managed through the management MAP, and nothing else is."""
    name = commanded.command.name
    if (name == MANAGEMENT_COMMAND) != management:
        where = "on" if management else "outside"
        raise CommandRefused(f"{name} {where} the management MAP", FailureCode.NOT_AUTHORISED)


def _text(message: str) -> bytes:
    """Failure data for people, short enough for a frame."""
    return message.encode("ascii", "replace")[:120]
