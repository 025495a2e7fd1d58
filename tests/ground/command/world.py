"""Spacecraft, light, station, receive chain and command engine on one clock of numbers.

Everything is the real thing but the processes between: frames and radiations are handed on by
calls, and time is what `run` says.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ground.command.engine import CommandEngine
from ground.command.files import FileTransfers
from ground.command.light_time import Visibility
from ground.command.link import CommandLink
from ground.command.procedures.definitions import Definitions
from ground.command.procedures.library import Library, shipped
from ground.command.progress import Timing
from ground.command.store import CommandStore
from ground.monitor.decoding import Decoder
from ground.monitor.l4_events import ON_BOARD
from ground.receive.chain import ReceiveChain
from ground.receive.profile import load_profile
from protocols.bus.messages import (
    CommandMessage,
    OcfMessage,
    PacketsMessage,
    ParametersMessage,
    PassesMessage,
)
from protocols.dictionary.l4_commands import COMMANDS
from protocols.dictionary.l4_link import (
    SIMULATION_KEYS,
    CommandKeys,
    file_security,
    security_initiator,
)
from protocols.dictionary.l4_reports import EVERYTHING
from protocols.dictionary.l4_structures import KnownStructures
from protocols.identifiers import Carrier, VirtualChannel
from spacecraft_sim.passes import AlwaysTracking, Tracking
from spacecraft_sim.scenario import Mars, Periods, Scenario, load
from spacecraft_sim.spacecraft import Spacecraft
from spacecraft_sim.station_uplink import StationUplink
from spacecraft_sim.subsystems.common import Uplink

START_NS = 2_000_000_000_000_000_000
OWLT_NS = 499_000_000_000
S = 1_000_000_000
LIBRARY = Library(Definitions(COMMANDS, EVERYTHING.parameters), [shipped()])
TIMING = Timing(handover_ns=3 * S, margin_ns=130 * S, armed_ns=600 * S)


def quiet(name: str = "nominal") -> Scenario:
    """Telemetry slow enough that hours pass in seconds."""
    scenario = load(name)
    downlink = replace(scenario.downlink, information_rate_bit_s=4_000)
    periods = Periods(*[30] * len(fields(Periods)))
    return replace(scenario, mars=Mars(present=False), downlink=downlink, period_s=periods)


class PassTracking(AlwaysTracking):
    """The station keeps to a pass list."""

    def __init__(self, passes: PassesMessage) -> None:
        self.passes = passes

    def transmits(self, now_ns: int) -> bool:
        return any(one.transmits(now_ns) for one in self.passes.passes)

    def hears(self, begin_ns: int, end_ns: int) -> bool:
        return self.passes.receiving(begin_ns) is not None


class World:
    """loss: share of frames that is lost, each way; store: file of the command service."""

    def __init__(
        self,
        scenario: Scenario | None = None,
        *,
        seed: int = 1,
        loss: float = 0.0,
        store: Path | str = ":memory:",
        passes: PassesMessage | None = None,
        files: Path | None = None,
        keys: CommandKeys = SIMULATION_KEYS,
        library: Library = LIBRARY,
        observer: Callable[[str, int, Any], None] | None = None,
    ) -> None:
        self.now_ns = self._flown_ns = START_NS
        #: Sequence counts of requests in the order in which they were accepted on board.
        self.executed: list[int] = []
        self._observer = observer
        self.spacecraft = Spacecraft(
            scenario or quiet(), seed=seed, start_ns=START_NS - OWLT_NS, observer=self._observe
        )
        self.passes = passes
        tracking: Tracking = AlwaysTracking() if passes is None else PassTracking(passes)
        self._tracking = tracking
        self.station = StationUplink(tracking, self.spacecraft.scenario.uplink.rates_bit_s)
        self._random = random.Random(seed)
        self._loss = loss
        self._up: list[tuple[int, int, Uplink]] = []
        self._down: deque[tuple[int, bytes]] = deque()
        self._sent = self._asked = 0
        self._frame_ns = self.spacecraft.scenario.downlink.frame_time_ns(1)
        self._chain = ReceiveChain(load_profile("l4_relay"))
        self._decoder = Decoder(KnownStructures(), ON_BOARD)
        self._messages = 0
        self._packets = 0
        self.events: list[str] = []
        self.changes: list[CommandMessage] = []
        self.path = store
        self.files = files
        self.transfers: FileTransfers | None = None
        self.keys = keys
        self.library = library
        self.engine = self.start()

    def start(self) -> CommandEngine:
        """The command service begins, or begins again where it was killed."""
        if self.files is not None:
            self.transfers = FileTransfers(self.files, now_ns=self.now_ns, owlt_ns=OWLT_NS)
        engine = CommandEngine(
            CommandStore.open(self.path),
            COMMANDS,
            CommandLink(security_initiator(self.keys), owlt_ns=OWLT_NS, margin_ns=120 * S),
            Visibility(planned=self.passes is not None, station_owlt_ns=OWLT_NS),
            TIMING,
            lambda: self.library,
            lambda octets: self._random.randbytes(octets),
            transfers=self.transfers,
            file_security=file_security(self.keys),
            boot="world",
        )
        if self.passes is not None:
            engine.hear_passes(self.passes)
        return engine

    def kill(self) -> None:
        """Of the command service: nothing of it is left but its file."""
        self.engine.store.close()
        if self.transfers is not None:
            self.transfers.close()
        self.engine = self.start()
        for message in self.engine.unanswered():
            self.station.request(self.now_ns, message)

    def _observe(self, name: str, scet_ns: int, values: Any) -> None:
        if name == "VERIFY_ACCEPTANCE_SUCCESS":
            self.executed.append(values["VER_SEQUENCE"] & 0x3FFF)
        if self._observer is not None:
            self._observer(name, scet_ns, values)

    # A step --------------------------------------------------------------------------------------

    def run(self, seconds: float, step_s: float = 5.0) -> None:
        end_ns = self.now_ns + round(seconds * S)
        while self.now_ns < end_ns:
            self.now_ns = min(end_ns, self.now_ns + round(step_s * S))
            self._fly()
            self._receive()
            self.turn()

    def turn(self) -> None:
        """What the command service does at each turn, and the station."""
        self.engine.turn(self.now_ns)
        for message in self.engine.to_radiate():
            self.station.request(self.now_ns, message)
        for radiation in self.station.advance(self.now_ns):
            if self._random.random() >= self._loss:
                arrival_ns = radiation.end_ns + OWLT_NS
                heapq.heappush(self._up, (arrival_ns, self._sent, radiation.uplink))
                self._sent += 1
        for fate in self.station.answers():
            self.engine.hear_radiated(self.now_ns, fate)
        self.changes += self.engine.changes()

    def send_up(self, octets: bytes) -> None:
        """From an antenna that is not ours, in the command carrier."""
        self._sent += 1
        arrival_ns = self.now_ns + OWLT_NS
        heapq.heappush(self._up, (arrival_ns, self._sent, Uplink(Carrier.COMMAND, octets)))

    def _fly(self) -> None:
        """As far ahead as nothing that is still to be sent can change: one light time."""
        if self.now_ns <= self._flown_ns:
            return
        self._flown_ns = self.now_ns + OWLT_NS - S
        while self._up and self._up[0][0] <= self._flown_ns:
            arrival_ns, _, uplink = heapq.heappop(self._up)
            self._step(arrival_ns)
            self._step(arrival_ns, [uplink])
        self._step(self._flown_ns)

    def _step(self, until_ns: int, uplink: list[Uplink] | None = None) -> None:
        frames = self.spacecraft.step(until_ns, uplink or ())
        for cadu, emission_ns in zip(frames.cadus, frames.emission_ns.tolist(), strict=True):
            self._down.append((emission_ns + OWLT_NS, cadu.tobytes()))

    def _receive(self) -> None:
        chunks: list[tuple[bytes, int]] = []
        while self._down and self._down[0][0] + self._frame_ns <= self.now_ns:
            ert_ns, octets = self._down.popleft()
            heard = self._tracking.hears(ert_ns, ert_ns + self._frame_ns)
            if heard and self._random.random() >= self._loss:
                chunks.append((octets, ert_ns))
        if not chunks:
            return
        output = self._chain.push_chunks(chunks)
        packets = output.packets.select(~output.packets.is_idle)
        for runs in output.ocf:
            message = OcfMessage(
                "downlink", runs.word, runs.frames, runs.first_ert_ns, runs.last_ert_ns
            )
            self.engine.hear_ocf(self.now_ns, message)
        if not len(packets):
            return
        message = PacketsMessage(
            "downlink",
            packets,
            packets.vcid == VirtualChannel.PLAYBACK,
            self.now_ns,
            self._packets,
        )
        self._packets += len(packets)
        self._messages += 1
        self.engine.hear_packets(self.now_ns, message, "journal", self._messages)
        decoded = self._decoder.decode(message)
        self.engine.hear_parameters(
            ParametersMessage(
                "downlink", "journal", self._messages, self.now_ns, 0, tuple(decoded.tables)
            )
        )
        self.events += [f"{one.name} {one.text}" for one in decoded.events]

    # An operator ---------------------------------------------------------------------------------

    def ask(self, operation: str, actor: str = "ann", **arguments: Any) -> Any:
        self._asked += 1
        key, asked = f"call {self._asked}", {"actor": actor, **arguments}
        result = self.engine.operate(self.now_ns, key, operation, asked)
        if operation == "link":
            # What it wants radiated leaves at once.
            self.turn()
        return result

    def command(self, name: str, *, expedited: bool = False, **arguments: Any) -> int:
        """Add, arm, approve by another if need be, send; the request's number."""
        number = self.ask("add", command=name, arguments=arguments, expedited=expedited)["number"]
        armed = self.ask("arm", number=number)
        if armed["hazard"]:
            self.ask("approve", actor="bob", number=number)
        self.ask("send", number=number)
        return number

    def state(self, number: int) -> str:
        return self.ask("show", number=number)["state"]

    def stages(self, number: int) -> dict[str, str]:
        return {one[0]: one[1] for one in self.ask("show", number=number)["stages"]}

    def until(self, done: Callable[[], bool], limit_s: float = 7_200) -> None:
        """Run until it is so."""
        end_ns = self.now_ns + round(limit_s * S)
        while not done():
            assert self.now_ns < end_ns, "it did not come about"
            self.run(5)
