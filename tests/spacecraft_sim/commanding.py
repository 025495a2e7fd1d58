"""The ground's end of the command link and of service reports, as short as tests need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from protocols.coding.cltu import build_cltu, transmission
from protocols.dictionary.l4_commands import COMMANDS
from protocols.dictionary.l4_link import (
    CLTU_CODING,
    SIMULATION_KEY,
    TC_MAP,
    TC_PARAMETERS,
    TC_SECURITY,
    TC_VCID,
    security_endpoint,
)
from protocols.frames.sdls_frames import protect_tc
from protocols.frames.tc import FrameType, SequenceFlags, TcFrame, build
from protocols.frames.tc_segments import MapMultiplexer
from protocols.identifiers import Carrier
from protocols.packets.pus import RequestId
from spacecraft_sim.spacecraft import DownlinkFrames, Spacecraft
from spacecraft_sim.subsystems.common import TICK_NS, Uplink


class Sender:
    """Packets to CLTUs: segments, security, frames of type AD numbered from 0."""

    def __init__(self, key: bytes = SIMULATION_KEY) -> None:
        self._security = security_endpoint(key)
        self._number = 0
        self._count = 0

    def packet(self, name: str, arguments: Mapping[str, Any] | None = None) -> bytes:
        self._count += 1
        return COMMANDS.build(name, arguments, sequence_count=self._count)

    def frames(self, packet: bytes, kind: FrameType = FrameType.AD) -> list[bytes]:
        room = TC_PARAMETERS.room(TC_VCID) - TC_SECURITY.overhead
        multiplexer = MapMultiplexer(room)
        multiplexer.push(TC_MAP, packet)
        out: list[bytes] = []
        for segment in multiplexer.take_all():
            frame = TcFrame(
                TC_VCID,
                segment.data,
                kind,
                self._number if kind is FrameType.AD else 0,
                segment.map_id,
                SequenceFlags(segment.sequence_flags),
            )
            out.append(
                build(
                    protect_tc(self._security, TC_SECURITY.spi, frame, TC_PARAMETERS), TC_PARAMETERS
                )
            )
            self._number = (self._number + (kind is FrameType.AD)) % 256
        return out

    def uplink(self, *packets: bytes) -> tuple[Uplink, ...]:
        cltus = [build_cltu(f, CLTU_CODING) for packet in packets for f in self.frames(packet)]
        return (Uplink(Carrier.COMMAND, transmission(cltus)),)


@dataclass
class Flight:
    """A spacecraft, its commands, and every report and event it gave out."""

    spacecraft: Spacecraft
    sender: Sender = field(default_factory=Sender)
    log: list[tuple[int, str, dict[str, Any]]] = field(
        default_factory=list[tuple[int, str, dict[str, Any]]]
    )

    def run(self, seconds: int, uplink: Sequence[Uplink] = ()) -> DownlinkFrames:
        self._now_ns = self.spacecraft.now_ns + seconds * TICK_NS - 1
        return self.spacecraft.step(self._now_ns, uplink)

    def command(self, name: str, wait_s: int = 2, **arguments: Any) -> list[str]:
        """Send, wait, and tell what became of it: stages, `code` after a failure."""
        packet = self.sender.packet(name, arguments)
        self.run(wait_s, self.sender.uplink(packet))
        return self.stages(packet)

    def stages(self, packet: bytes) -> list[str]:
        request = RequestId.of(packet)
        out: list[str] = []
        for _, name, values in self.log:
            if name.startswith("VERIFY_") and values["VER_SEQUENCE"] == request.sequence:
                code = values.get("VER_CODE")
                out.append(name.removeprefix("VERIFY_") + (f" {code}" if code else ""))
        return out

    def reports(self, name: str) -> list[dict[str, Any]]:
        return [values for _, found, values in self.log if found == name]

    def events(self) -> list[str]:
        return [
            f"{values['EVT_ID']!s} {values['EVT_TEXT']}"
            for _, name, values in self.log
            if "EVT_ID" in values
        ]


def flight(scenario: Any, seed: int = 1, start_ns: int = 2_000_000_000_000_000_000) -> Flight:
    log: list[tuple[int, str, dict[str, Any]]] = []

    def observe(name: str, scet_ns: int, values: Mapping[str, Any]) -> None:
        if name.startswith(("VERIFY_", "EVENT")) or name in _KEPT:
            kept = dict(values)
            if "EVT_ID" in kept and not isinstance(kept["EVT_ID"], str):
                kept["EVT_ID"] = kept["EVT_ID"].name
            log.append((scet_ns, name, kept))

    spacecraft = Spacecraft(scenario, seed=seed, start_ns=start_ns, observer=observe)
    return Flight(spacecraft, log=log)


_KEPT = frozenset(
    {
        "TEST_REPORT", "HK_STRUCTURE", "HK_1", "HK_7", "EVENTS_DISABLED", "SCHEDULE_DETAIL",
        "SCHEDULE_SUMMARY", "MONITOR_DEFINITIONS", "MONITORS_VIOLATED", "MONITOR_TRANSITIONS",
        "MONITOR_STATUS", "STORE_CONTENT", "ACTION_STATUS", "PARAMETER_VALUES", "LARGE_ABORTED",
        "SECURITY_REPLY",
    }
)  # fmt: skip
