"""A scenario's downlink: frames, their rate, channel coding, and when what leaves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, cast

from protocols.coding.codeblocks import LONGEST_SLICED, MOST_CODEWORDS, CodeblockCoding, marker_of
from protocols.coding.ldpc import LDPC_CODES, LdpcCode
from protocols.coding.randomiser import RandomiserKind
from protocols.coding.sync import ASM
from protocols.coding.turbo import OUTPUTS, TurboCode
from protocols.dictionary.l4_link import DOWNLINK_SECURITY, SIMULATION_DOWNLINK_KEY
from protocols.errors import LocalError
from protocols.frames.parameters import FrameParameters
from protocols.identifiers import SCID_L4_RELAY
from spacecraft_sim.scenario_fields import choice, number

_S = 10**9
#: Telecommand's codes are none of a downlink.
LDPC_CHOICES = ("none", *(name for name in LDPC_CODES if not name.startswith("TC ")))
#: Longest marker that a scenario may give, octets: turbo 1/6's.
_LONGEST_MARKER = 24


@dataclass(frozen=True, slots=True)
class Downlink:
    """Frames, their rate, and channel coding."""

    frame_kind: str = choice("aos", "tm", "aos", "uslp")
    frame_length: int = number(1115, 64, 65_536)
    fecf: str = choice("crc16", "absent", "crc16", "crc32")
    ocf: bool = True
    insert_zone_length: int = number(0, 0, 64)
    #: Bits of transfer frames a second, before coding.
    information_rate_bit_s: int = number(16_000, 100, 100_000_000)
    #: 0: no Reed-Solomon code.
    reed_solomon_parity: int = field(default=32, metadata={"allowed": (0, 16, 32)})
    interleave: int = number(5, 1, 8)
    basis: str = choice("dual", "dual", "conventional")
    #: Instead of Reed-Solomon, whose parity is 0 then: the rate of a turbo code, or an LDPC code.
    turbo: str = choice("none", "none", *OUTPUTS)
    ldpc: str = choice("none", *LDPC_CHOICES)
    #: LDPC codewords in a codeblock of a sliced stream of frames (131.0-B §8); 0: a frame is one.
    ldpc_slice: int = number(0, 0, MOST_CODEWORDS)
    #: Of such codeblocks, in hexadecimal; empty: the code's own.
    code_sync_marker: str = ""
    randomiser: str = choice("ccsds", "none", "ccsds", "ccsds-long")
    #: Attached sync marker in hexadecimal (131.0-B §9.3); empty: frames back to back; auto: the one
    #: that belongs to the code.
    sync_marker: str = "auto"
    #: Authenticated encryption of every frame (355.0-B), AOS alone; `security_key` is AES's, in
    #: hexadecimal.
    security: str = choice("none", "none", "authenticated-encryption")
    security_key: str = SIMULATION_DOWNLINK_KEY.hex()

    @property
    def frame_parameters(self) -> FrameParameters:
        return FrameParameters(
            kind=self.frame_kind,  # type: ignore[arg-type]
            frame_length=self.frame_length,
            fecf=self.fecf,  # type: ignore[arg-type]
            ocf=self.ocf,
            insert_zone_length=self.insert_zone_length,
            scid=SCID_L4_RELAY,
        )

    @property
    def secured(self) -> bool:
        return self.security != "none"

    @property
    def plain_parameters(self) -> FrameParameters:
        """Frames before link security makes them longer."""
        overhead = DOWNLINK_SECURITY.overhead if self.secured else 0
        return replace(self.frame_parameters, frame_length=self.frame_length - overhead)

    @property
    def virtual_fill(self) -> int:
        """Octets of virtual fill in each Reed-Solomon codeword."""
        room = 255 - self.reed_solomon_parity
        fill, rest = divmod(room * self.interleave - self.frame_length, self.interleave)
        if rest or not 0 <= fill < room:
            raise LocalError(
                f"frame_length {self.frame_length} does not fit {self.interleave} Reed-Solomon "
                f"codewords: a multiple of {self.interleave} up to {room * self.interleave} wanted"
            )
        return fill

    @property
    def code(self) -> TurboCode | LdpcCode | None:
        if self.turbo != "none":
            return TurboCode(self.turbo, 8 * self.frame_length)  # type: ignore[arg-type]
        return None if self.ldpc == "none" else LdpcCode(self.ldpc)

    @property
    def marker(self) -> bytes:
        """Attached sync marker of frames; none of them: frames back to back."""
        if self.sync_marker != "auto":
            return bytes.fromhex(self.sync_marker)
        code = self.code
        return ASM if code is None or self.ldpc_slice else marker_of(code)

    @property
    def codeblocks(self) -> CodeblockCoding | None:
        """Turbo or LDPC with what belongs to it."""
        code = self.code
        if code is None:
            return None
        return CodeblockCoding(
            code,
            randomiser=cast(RandomiserKind | Literal["none"], self.randomiser),
            codewords=self.ldpc_slice,
            marker=bytes.fromhex(self.code_sync_marker) if self.ldpc_slice else self.marker,
        )

    def check(self) -> None:
        """LocalError, or ValueError for what is not hexadecimal, if values do not go together."""
        _ = self.plain_parameters
        if self.secured and self.frame_kind != "aos":
            raise LocalError(f"security of {self.frame_kind} frames: aos alone is encrypted")
        if len(self.marker) > _LONGEST_MARKER:
            raise LocalError(
                f"sync_marker {self.sync_marker!r}: up to {_LONGEST_MARKER} octets wanted"
            )
        coding = self.codeblocks
        if self.reed_solomon_parity:
            if coding is not None:
                raise LocalError(
                    f"{coding.code} with reed_solomon_parity {self.reed_solomon_parity}: one code "
                    "alone, the other's parity is 0"
                )
            _ = self.virtual_fill
        if coding is None:
            if self.ldpc_slice or self.code_sync_marker:
                raise LocalError("ldpc_slice and code_sync_marker want an LDPC code")
            return
        if self.turbo != "none" and self.ldpc != "none":
            raise LocalError(f"turbo {self.turbo} and LDPC {self.ldpc}: one code alone")
        if not self.marker:
            raise LocalError(f"sync_marker is empty: {coding.code} is found by one")
        if coding.sliced:
            longest = LONGEST_SLICED[self.frame_kind]
            if self.frame_length > longest:
                raise LocalError(f"frame_length {self.frame_length}: up to {longest} if sliced")
        elif coding.data_length != self.frame_length:
            raise LocalError(
                f"frame_length {self.frame_length}: a codeword of {coding.code} carries "
                f"{coding.data_length} octets"
            )
        if coding.period % 8:
            raise LocalError(
                f"{coding.code}: {coding.period} bits from marker to marker, no whole number of "
                "octets, which are what leaves here"
            )

    # What leaves, and when -----------------------------------------------------------------------

    @property
    def cadu_length(self) -> int:
        """Octets of one channel access data unit: marker, and the frame or codewords behind it."""
        coding = self.codeblocks
        if coding is not None:
            return coding.period // 8
        parity = self.reed_solomon_parity * self.interleave
        return len(self.marker) + self.frame_length + parity

    @property
    def channel_bit_s(self) -> float:
        """Bits a second of channel access data units."""
        frames = float(self.frame_length)
        coding = self.codeblocks
        if coding is not None and coding.sliced:
            # Octets of frames in a codeblock, the others are their markers.
            frames *= coding.data_length / (self.frame_length + len(self.marker))
        return self.information_rate_bit_s * self.cadu_length / frames

    def frame_time_ns(self, number: int) -> int:
        """When frame `number` begins, after the start; exact, so that no rounding piles up."""
        return number * self.frame_length * 8 * _S // self.information_rate_bit_s

    def frames_before_ns(self, elapsed_ns: int) -> int:
        """How many frames have begun before a time after the start: `frame_time_ns` inverted."""
        bits, unit = self.frame_length * 8, _S
        return -(-elapsed_ns * self.information_rate_bit_s // (bits * unit))

    @property
    def _slice_ns(self) -> tuple[int, int]:
        """Nanoseconds that fill a codeblock of a sliced stream with frames, as a fraction."""
        coding = self.codeblocks
        assert coding is not None
        sent = self.frame_length + len(self.marker)
        bits = 8 * coding.data_length * self.frame_length * _S
        return bits, self.information_rate_bit_s * sent

    @property
    def cadu_duration_ns(self) -> float:
        if self.ldpc_slice:
            above, below = self._slice_ns
            return above / below
        return self.frame_length * 8 * _S / self.information_rate_bit_s

    def cadu_time_ns(self, number: int) -> int:
        """When channel access data unit `number` begins: with its frame, or when the last frame
        that a codeblock takes in has filled it."""
        if not self.ldpc_slice:
            return self.frame_time_ns(number)
        above, below = self._slice_ns
        return (number + 1) * above // below

    def cadus_before_ns(self, elapsed_ns: int) -> int:
        """How many have begun before a time after the start: `cadu_time_ns` inverted."""
        if not self.ldpc_slice:
            return self.frames_before_ns(elapsed_ns)
        above, below = self._slice_ns
        return max(0, -(-elapsed_ns * below // above) - 1)
