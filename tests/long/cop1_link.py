"""FOP-1 and FARM-1 at the ends of a link that loses, doubles, delays and reorders; virtual time.

What a control centre does around FOP-1 is here too: hand over commands one by one, resume what is
suspended, and after an alert wait until no frame is under way any more before the service is
initiated again with what FARM-1 reports then.  Without that wait a frame reported failed could
still arrive and be taken for the one that has its number now.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field

from protocols.frames import fop as fop_module
from protocols.frames import tc
from protocols.frames.clcw import CLCW
from protocols.frames.farm import Farm
from protocols.frames.fop import Alert, Fop, t1_initial_ns
from protocols.frames.tc import FrameType, TcFrame, TcParameters

SECOND_NS = 1_000_000_000
LINK = TcParameters(scid=0x4C)
VCID = 1


@dataclass(frozen=True)
class Channel:
    """Of both directions."""

    light_time_s: float = 499.0
    loss: float = 0.3
    duplication: float = 0.1
    #: Greatest delay beyond the light time; frames are a second apart, and so overtake each other.
    jitter_s: float = 20.0
    clcw_period_s: float = 15.0
    #: Whether the receiving end drops CLCWs of frames older than the newest it has (frame counts
    #: tell); a FOP-1 that hears old CLCWs ends the service with an alert.
    clcws_in_order: bool = True

    @property
    def lifetime_ns(self) -> int:
        """After this long nothing sent before is under way."""
        return int((self.light_time_s + self.jitter_s) * SECOND_NS) + 1


@dataclass
class Outcome:
    """Commands by number, in the order in which they were executed, confirmed, reported failed."""

    executed: list[int] = field(default_factory=list)
    confirmed: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    expedited: list[int] = field(default_factory=list)
    alerts: Counter[Alert] = field(default_factory=Counter)
    suspensions: int = 0
    initiations: int = 0
    frames_sent: int = 0
    lockouts: int = 0
    duration_s: float = 0.0


class CopLink:
    """One virtual channel for `commands` AD commands and some BD ones.

    lockout_at_s: when a stray frame, far out of the window, arrives at FARM-1.
    """

    def __init__(
        self,
        seed: int,
        *,
        commands: int = 30,
        expedited: int = 0,
        channel: Channel = Channel(),
        window: int = 8,
        transmission_limit: int = 8,
        suspend: bool = False,
        lockout_at_s: float | None = None,
    ) -> None:
        self.random = random.Random(seed)
        self.channel = channel
        self.now_ns = 0
        margin_ns = int((2 * channel.jitter_s + 2 * channel.clcw_period_s + 60) * SECOND_NS)
        self.fop = Fop(
            VCID,
            t1_ns=t1_initial_ns(int(channel.light_time_s * SECOND_NS), margin_ns),
            window=window,
            transmission_limit=transmission_limit,
            suspend=suspend,
        )
        self.farm = Farm(VCID, window=64)
        self.outcome = Outcome()
        self._todo = list(range(commands))
        self._expedited = list(range(expedited))
        self._commands: dict[int, int] = {}
        self._queue: list[tuple[int, int, str, object]] = []
        self._serial = 0
        self._clcw_count = 0
        self._newest = -1
        self._latest: CLCW | None = None
        #: From when on a CLCW may be believed for initiating the service.
        self._quiet_from_ns: int | None = 0
        self._initiating: int | None = None
        self._at(0, "clcw", None)
        self._at(self.channel.lifetime_ns * 2, "work", None)
        if lockout_at_s is not None:
            self._at(int(lockout_at_s * SECOND_NS), "stray", None)

    def _at(self, when_ns: int, what: str, content: object) -> None:
        self._serial += 1
        heapq.heappush(self._queue, (when_ns, self._serial, what, content))

    def _send(self, what: str, octets: bytes) -> None:
        copies = 0 if self.random.random() < self.channel.loss else 1
        copies += self.random.random() < self.channel.duplication
        for _ in range(copies):
            delay_s = self.channel.light_time_s + self.random.random() * self.channel.jitter_s
            self._at(self.now_ns + int(delay_s * SECOND_NS), what, octets)

    def run(self, limit_s: float = 3e6) -> Outcome:
        """Until every command is confirmed or reported failed, and no lockout is left.

        Raises AssertionError if that takes too long.
        """
        while self._todo or self._expedited or self._commands or self.farm.lockout:
            deadline_ns = self.fop.next_deadline_ns
            when_ns = self._queue[0][0]
            if deadline_ns is not None and deadline_ns <= when_ns:
                self.now_ns = deadline_ns
                self.fop.timeout(self.now_ns)
            else:
                self.now_ns, _, what, content = heapq.heappop(self._queue)
                getattr(self, f"_{what}")(content)
            self._notices()
            assert self.now_ns < limit_s * SECOND_NS, f"not done: {self.outcome}"
        self.outcome.lockouts = self.farm.statistics.lockouts
        self.outcome.duration_s = self.now_ns / SECOND_NS
        return self.outcome

    # The spacecraft ----------------------------------------------------------------------------

    def _uplink(self, octets: bytes) -> None:
        frame = tc.parse(octets, LINK)
        data = self.farm.receive(frame)
        if data is not None:
            into = self.outcome.executed
            if frame.frame_type is FrameType.BD:
                into = self.outcome.expedited
            into.append(int.from_bytes(data, "big"))

    def _stray(self, _: object) -> None:
        """As from another station that commands without leave, or memory upset on board."""
        number = (self.farm.vr + 128) % 256
        self.farm.receive(TcFrame(VCID, b"stray", sequence_number=number))

    def _clcw(self, _: object) -> None:
        self._clcw_count += 1
        self._send("downlink", self._clcw_count.to_bytes(8, "big") + self.farm.clcw().build())
        self._at(self.now_ns + int(self.channel.clcw_period_s * SECOND_NS), "clcw", None)

    # The ground --------------------------------------------------------------------------------

    def _downlink(self, octets: bytes) -> None:
        count = int.from_bytes(octets[:8], "big")
        if self.channel.clcws_in_order and count <= self._newest:
            return
        self._newest = max(self._newest, count)
        self._latest = CLCW.parse(octets[8:])
        self.fop.clcw(self.now_ns, self._latest)
        if self._quiet_from_ns is not None and self.now_ns >= self._quiet_from_ns:
            self._initiate(self._latest)

    def _initiate(self, clcw: CLCW) -> None:
        self._quiet_from_ns = None
        self.outcome.initiations += 1
        self.fop.set_vs(self.now_ns, clcw.report_value)
        if clcw.lockout:
            self._initiating = self.fop.initiate_with_unlock(self.now_ns)
        elif clcw.retransmit or clcw.wait:
            self._initiating = self.fop.initiate_with_set_vr(self.now_ns, clcw.report_value)
        else:
            self._initiating = self.fop.initiate_with_clcw(self.now_ns)

    def _work(self, _: object) -> None:
        """Once a second: radiate a frame, hand over a command."""
        frame = self.fop.take()
        if frame is not None:
            self.outcome.frames_sent += 1
            self._send("uplink", tc.build(frame, LINK))
            self.fop.lower_accepts(self.now_ns, frame.frame_type)
        if self._todo and self.fop.can_accept_ad and self.random.random() < 0.3:
            command = self._todo.pop(0)
            unit = TcFrame(VCID, command.to_bytes(4, "big"))
            self._commands[self.fop.send_ad(self.now_ns, unit)] = command
        if self._expedited and self.random.random() < 0.01:
            unit = TcFrame(VCID, self._expedited.pop(0).to_bytes(4, "big"))
            self.fop.send_bd(self.now_ns, unit)
        self._at(self.now_ns + SECOND_NS, "work", None)

    def _resume(self, _: object) -> None:
        # The count is at its limit: without a higher one FOP-1 would only wait and suspend again.
        self.fop.set_transmission_limit(self.now_ns, self.fop.transmission_count + 2)
        self.fop.resume(self.now_ns)

    def _notices(self) -> None:
        for notice in self.fop.notices():
            match notice:
                case fop_module.Confirmed(request) if request in self._commands:
                    self.outcome.confirmed.append(self._commands.pop(request))
                case fop_module.Failed(request) | fop_module.Rejected(request) if (
                    request in self._commands
                ):
                    self.outcome.failed.append(self._commands.pop(request))
                case fop_module.Alerted(reason):
                    self.outcome.alerts[reason] += 1
                    # What is under way arrives, and is then reported: twice the lifetime.
                    self._quiet_from_ns = self.now_ns + 2 * self.channel.lifetime_ns
                case fop_module.Suspended():
                    self.outcome.suspensions += 1
                    self._at(self.now_ns + 600 * SECOND_NS, "resume", None)
                case _:
                    pass


def check(outcome: Outcome, commands: int) -> None:
    """Every command was executed once and in order, or reported failed; raises AssertionError."""
    assert sorted(outcome.confirmed + outcome.failed) == list(range(commands)), "not all told"
    assert outcome.executed == sorted(set(outcome.executed)), "executed twice or out of order"
    assert set(outcome.confirmed) <= set(outcome.executed), "confirmed and never executed"
    assert outcome.confirmed == sorted(outcome.confirmed), "confirmed out of order"
