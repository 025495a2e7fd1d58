"""The simulated spacecraft under attack on its command link: forged, replayed, changed CLTUs.

    python -m tests.long.spacecraft_forgeries --tries 100000

Between them go genuine commands, of type BD and AD, and reports of the on-board counters are asked
for.  Nothing forged may be executed, every genuine command once, and every refusal has to be in the
number of rejected frames that telemetry shows.

What is tried ends in a frame: its FECF agrees and its CLTU is whole unless the attack is just that.
An attacker here knows everything but the key: what has been sent, V(R), the last sequence number.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from protocols.coding.cltu import build_cltu
from protocols.coding.crc import crc16
from protocols.dictionary.l4_commands import COMMANDS
from protocols.dictionary.l4_link import (
    CLTU_CODING,
    TC_MAP,
    TC_PARAMETERS,
    TC_SECURITY,
    TC_VCID,
    security_endpoint,
)
from protocols.dictionary.l4_states import EventId
from protocols.frames import tc
from protocols.frames.sdls_frames import protect_tc
from protocols.frames.tc import FrameType, SequenceFlags, SetVr, TcFrame, Unlock
from protocols.identifiers import SCID_L4_RELAY, Carrier
from protocols.telecommand.verification import Stage
from spacecraft_sim.scenario import FlightSoftwareSettings, Mars, Scenario
from spacecraft_sim.subsystems.common import Uplink
from tests.spacecraft_sim.commanding import Flight, flight

#: CLTUs in a second, and between two genuine commands.
BURST = 100
GENUINE_EVERY = 20
_OTHER_VC = replace(TC_PARAMETERS, vcids=frozenset(range(64)))
_OTHER_SCID = replace(TC_PARAMETERS, scid=SCID_L4_RELAY ^ 0x155)


@dataclass
class Attacker:
    """Makes frames out of what it has heard; `danger` would be seen if it were executed."""

    rng: random.Random
    heard: list[TcFrame] = field(default_factory=list[TcFrame])
    kept_back: list[TcFrame] = field(default_factory=list[TcFrame])
    #: The spacecraft's V(R) and last sequence number.
    report_value: int = 0
    number: int = 0

    def __post_init__(self) -> None:
        self._wrong = security_endpoint(self.rng.randbytes(16))
        self._danger = [
            COMMANDS.build("MODE_SET", {"MODE": "SAFE"}, sequence_count=9_999),
            COMMANDS.build("TEST_CONNECTION", sequence_count=9_998),
            COMMANDS.build("PROPULSION_BURN", {"DURATION": 1_800.0}, sequence_count=9_997),
        ]

    def _frame(self, data: bytes) -> TcFrame:
        """Of either type; of AD one that FARM-1 expects, or any."""
        if self.rng.random() < 0.6:
            return TcFrame(TC_VCID, data, FrameType.BD, map_id=TC_MAP)
        expected = self.rng.random() < 0.7
        number = self.report_value if expected else self.rng.randrange(256)
        if expected:
            self.report_value = (self.report_value + 1) % 256
        return TcFrame(TC_VCID, data, FrameType.AD, number, TC_MAP)

    def _of(self, frame: TcFrame, data: bytes) -> bytes:
        return tc.build(replace(frame, data=data), TC_PARAMETERS)

    def _fresh(self) -> TcFrame:
        """Authentic, and never radiated: its number is still good."""
        return self.rng.choice(self.kept_back)

    def _protected(self) -> TcFrame:
        """Under another key, with the number that comes next."""
        self._wrong.association(TC_SECURITY.spi).number = self.number
        frame = self._frame(self.rng.choice(self._danger))
        return protect_tc(self._wrong, TC_SECURITY.spi, frame, TC_PARAMETERS)

    def forged(self) -> bytes:
        made_up = self.rng.randbytes(self.rng.randrange(1, 80))
        if self.rng.random() < 0.5:
            number = (self.number + 1).to_bytes(TC_SECURITY.number_length, "big")
            header = TC_SECURITY.spi.to_bytes(2, "big") + number
            mac = self.rng.randbytes(TC_SECURITY.mac_length)
            made_up = header + self.rng.choice(self._danger) + mac
        return self._of(self._frame(b""), made_up)

    def bare(self) -> bytes:
        """Without security."""
        return self._of(self._frame(b""), self.rng.choice(self._danger))

    def replayed(self) -> bytes:
        return tc.build(self.rng.choice(self.heard), TC_PARAMETERS)

    def bit_flipped(self) -> bytes:
        """Bits of the security header, the data or the MAC; CRC put right."""
        frame = self._fresh()
        data = bytearray(frame.data)
        for _ in range(self.rng.randrange(1, 4)):
            data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        if bytes(data) == frame.data:
            data[-1] ^= 1
        return self._of(frame, bytes(data))

    def header_flipped(self) -> bytes:
        """Of the frame's header, segment header included; length as it is, CRC put right."""
        octets = bytearray(tc.build(self._fresh(), TC_PARAMETERS)[:-2])
        place = self.rng.choice([bit for bit in range(48) if not 22 <= bit < 40])
        octets[place // 8] ^= 0x80 >> place % 8
        return bytes(octets) + crc16(bytes(octets)).to_bytes(2, "big")

    def noisy(self) -> bytes:
        """Changed, and the FECF as it was."""
        octets = bytearray(tc.build(self._fresh(), TC_PARAMETERS))
        octets[self.rng.randrange(5, len(octets))] ^= 1 << self.rng.randrange(8)
        return bytes(octets)

    def truncated(self) -> bytes:
        frame = self._fresh()
        return self._of(frame, frame.data[: self.rng.randrange(1, len(frame.data))])

    def wrongly_keyed(self) -> bytes:
        return tc.build(self._protected(), TC_PARAMETERS)

    def wrong_spi(self) -> bytes:
        """The SPI alone is another one, reserved ones among them."""
        frame = self._fresh()
        others = [0, 2, 3, 0xFFFF, TC_SECURITY.spi ^ 0x8000, self.rng.randrange(100, 0xFFFF)]
        spi = self.rng.choice(others).to_bytes(2, "big")
        return self._of(frame, spi + frame.data[2:])

    def wrong_channel(self) -> bytes:
        """Another virtual channel, MAP or spacecraft."""
        frame, kind = self._fresh(), self.rng.randrange(3)
        if kind == 0:
            other = replace(frame, vcid=self.rng.randrange(1, 64))
            return tc.build(other, _OTHER_VC)
        if kind == 1:
            return tc.build(replace(frame, map_id=self.rng.randrange(1, 64)), TC_PARAMETERS)
        return tc.build(frame, _OTHER_SCID)

    def spliced(self) -> bytes:
        """Header and number of one, data or MAC of another."""
        one, other = self._fresh(), self.rng.choice(self.heard)
        cut = TC_SECURITY.header_length if self.rng.random() < 0.5 else -TC_SECURITY.mac_length
        data = one.data[:cut] + other.data[cut:]
        return self._of(one, data if data != one.data else data[:-1] + bytes((data[-1] ^ 1,)))

    def resegmented(self) -> bytes:
        """A whole packet's frame said to be part of one."""
        flags = [flag for flag in SequenceFlags if flag is not SequenceFlags.UNSEGMENTED]
        return tc.build(
            replace(self._fresh(), sequence_flags=self.rng.choice(flags)), TC_PARAMETERS
        )

    def control(self) -> bytes:
        """Unlock or Set V(R), which carry no security (355.0-B): it disturbs, and executes none."""
        commands = (Unlock().build(), SetVr(self.rng.randrange(256)).build())
        frame = TcFrame(TC_VCID, self.rng.choice(commands), FrameType.BC)
        return tc.build(frame, TC_PARAMETERS)

    def kinds(self) -> list[Callable[[], bytes]]:
        return [
            self.forged, self.bare, self.replayed, self.bit_flipped, self.header_flipped,
            self.noisy, self.truncated, self.wrongly_keyed, self.wrong_spi, self.wrong_channel,
            self.spliced, self.resegmented,
        ]  # fmt: skip


class Ground:
    """The true sender.  Before an AD frame it does what FOP-1 does to have V(R) agree."""

    def __init__(self, key: bytes) -> None:
        self._security = security_endpoint(key)
        self._count = 0
        self.v_s = 0

    def packet(self, name: str, arguments: dict[str, Any] | None = None) -> bytes:
        self._count += 1
        return COMMANDS.build(name, arguments, sequence_count=self._count)

    def frame(self, packet: bytes, kind: FrameType) -> TcFrame:
        frame = TcFrame(TC_VCID, packet, kind, self.v_s if kind is FrameType.AD else 0, TC_MAP)
        return protect_tc(self._security, TC_SECURITY.spi, frame, TC_PARAMETERS)

    def never_sent(self, packet: bytes) -> TcFrame:
        """The frame with the number that the next genuine one will have."""
        association = self._security.association(TC_SECURITY.spi)
        frame = self.frame(packet, FrameType.BD)
        association.number -= 1
        return frame

    @property
    def number(self) -> int:
        return self._security.association(TC_SECURITY.spi).number

    def initiate(self) -> list[bytes]:
        """Unlock and Set V(R)."""
        controls = (Unlock().build(), SetVr(self.v_s).build())
        return [tc.build(TcFrame(TC_VCID, data, FrameType.BC), TC_PARAMETERS) for data in controls]


@dataclass
class Result:
    """refusals: of link security by reason; attacks: tries by kind."""

    tries: int
    genuine: int
    attacks: Counter[str]
    refusals: Counter[str]
    malformed: int
    discarded: int
    insecure: int


def trial(tries: int, seed: int = 0, progress: Callable[[int], None] = lambda _: None) -> Result:
    """Raises AssertionError for what was executed and should not, or the other way round."""
    rng = random.Random(seed)
    key = rng.randbytes(16)
    settings = FlightSoftwareSettings(key=key.hex())
    craft = flight(Scenario(mars=Mars(present=False), flight_software=settings), seed=seed)
    software = craft.spacecraft.software
    ground, attacker = Ground(key), Attacker(rng)
    kinds = attacker.kinds()
    attacks: Counter[str] = Counter()
    wanted: list[bytes] = []
    attacker.heard.append(ground.frame(ground.packet("TEST_CONNECTION"), FrameType.BD))
    wanted.append(attacker.heard[0].data[TC_SECURITY.header_length : -TC_SECURITY.mac_length])
    craft.run(1, _uplink([tc.build(attacker.heard[0], TC_PARAMETERS)]))
    done = 0
    while done < tries:
        burst: list[bytes] = []
        for _ in range(min(BURST, tries - done)):
            if done % GENUINE_EVERY == 0:
                packet = ground.packet("TEST_CONNECTION")
                kind = rng.choice((FrameType.AD, FrameType.BD))
                if kind is FrameType.AD:
                    burst += ground.initiate()
                    attacker.report_value = (ground.v_s + 1) % 256
                frame = ground.frame(packet, kind)
                ground.v_s = (ground.v_s + (kind is FrameType.AD)) % 256
                burst.append(tc.build(frame, TC_PARAMETERS))
                wanted.append(packet)
                attacker.heard.append(frame)
                attacker.number = ground.number
                unsent = [ground.packet("MODE_SET", {"MODE": "SAFE"})]
                attacker.kept_back = [ground.never_sent(one) for one in unsent]
            if rng.random() < 0.02:
                burst.append(attacker.control())
            attack = rng.choice(kinds)
            attacks[attack.__name__] += 1
            burst.append(attack())
            done += 1
        craft.run(1, _uplink(burst))
        _check_counts(craft, done)
        progress(done)
    # Whatever was begun would end, and telemetry is asked for the counters.
    ask = ground.packet("PARAMETER_REPORT", {"PARAMETERS": ["FSW_FRAMES_REJECTED"]})
    frame = ground.frame(ask, FrameType.BD)
    craft.run(5, _uplink([tc.build(frame, TC_PARAMETERS)]))
    wanted.append(ask)
    _check_executed(craft, wanted)
    reported = craft.reports("PARAMETER_VALUES")[-1]["PAR_VALUE"]
    assert list(reported) == [float(tries)], f"telemetry says {reported}, {tries} were refused"
    statistics = software.receiver.statistics
    return Result(
        tries, len(wanted), attacks, statistics.refusals, statistics.malformed,
        statistics.discarded, statistics.insecure,
    )  # fmt: skip


def _uplink(frames: list[bytes]) -> tuple[Uplink, ...]:
    octets = b"".join(build_cltu(frame, CLTU_CODING) for frame in frames)
    return (Uplink(Carrier.COMMAND, octets),)


def _check_counts(craft: Flight, refused: int) -> None:
    """The event of each second that had refusals tells all so far."""
    statistics = craft.spacecraft.software.receiver.statistics
    assert statistics.rejected == refused, f"{statistics.rejected} counted, {refused} sent"
    last = next(v for _, _, v in reversed(craft.log) if v.get("EVT_ID") == "FRAME_REJECTED")
    assert str(last["EVT_TEXT"]).endswith(f" {refused} in all"), last


def _check_executed(craft: Flight, wanted: list[bytes]) -> None:
    """By the reports: each genuine command accepted and completed once, and nothing else."""
    for name in (f"VERIFY_{stage.name}_SUCCESS" for stage in (Stage.ACCEPTANCE, Stage.COMPLETION)):
        found = [(v["VER_PACKET_ID"], v["VER_SEQUENCE"]) for v in craft.reports(name)]
        assert found == [(w[0] << 8 | w[1], w[2] << 8 | w[3]) for w in wanted], name
    failures = [name for _, name, _ in craft.log if name.endswith("_FAILURE")]
    assert not failures, failures
    events = {v["EVT_ID"] for _, _, v in craft.log if "EVT_ID" in v}
    assert EventId.COMMAND_MODE.name not in events
    assert EventId.MODE_CHANGE.name not in events


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    begin = time.perf_counter()

    def progress(done: int) -> None:
        if sys.stderr.isatty() or done % (50 * BURST) == 0 or done == arguments.tries:
            rate = done / (time.perf_counter() - begin)
            end = "\r" if sys.stderr.isatty() and done < arguments.tries else "\n"
            text = f"{done} of {arguments.tries}, {rate:.0f}/s, nothing executed"
            print(text, end=end, file=sys.stderr, flush=True)

    result = trial(arguments.tries, arguments.seed, progress)
    print(
        f"{result.tries} CLTUs refused by the spacecraft and counted in its telemetry: "
        f"{result.malformed} by frame validation, {result.discarded} by FARM-1, "
        f"{result.insecure} by link security {dict(result.refusals.most_common())}; "
        f"none executed, {result.genuine} genuine commands each once; "
        f"attacks {dict(result.attacks.most_common())}; {time.perf_counter() - begin:.0f} s"
    )


if __name__ == "__main__":
    main()
