"""Communications link transmission units, 231.0-B-4: built, and found in a stream of symbols.

A CLTU is a start sequence, codewords, and a tail sequence that is no codeword.  Frames do not fill
their last codeword: 0x55 does, and whoever reads the frames drops it (their length is in them).

    >>> cltu = build_cltu(bytes.fromhex("01020304050607"), CltuCoding(randomised=False))
    >>> cltu.hex(" ", 8)
    'eb90 0102030405060770 c5c5c5c5c5c5c579'
    >>> decoder = CltuDecoder(CltuCoding(randomised=False))
    >>> [unit.data.hex() for unit in decoder.push(b"\\x55\\x55" + cltu + b"\\x55\\x55")]
    ['01020304050607']
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from protocols.coding import bch
from protocols.coding.ldpc import LdpcCode
from protocols.coding.randomiser import randomise
from protocols.errors import LocalError

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
CltuCode = Literal["bch", "ldpc-128", "ldpc-512"]

#: §5.2.2.2, §5.2.2.3
_START: Final = {
    "bch": bytes.fromhex("eb90"),
    "ldpc-128": bytes.fromhex("034776c7272895b0"),
    "ldpc-512": bytes.fromhex("034776c7272895b0"),
}
#: §5.2.4.1, and §5.2.4.2 as corrigendum 1 has it; (512, 256) has none.
_TAIL: Final = {
    "bch": bytes.fromhex("c5c5c5c5c5c5c579"),
    "ldpc-128": bytes.fromhex("63a1ed72c6ac79e25555555555555555"),
    "ldpc-512": b"",
}
_LDPC: Final = {"ldpc-128": LdpcCode("TC 128"), "ldpc-512": LdpcCode("TC 512")}
#: Of fill, acquisition and idle sequence: alternating, beginning with 0.
FILL: Final = 0x55
#: Octets before the first CLTU, and after each: what stations use unless something else is agreed.
ACQUISITION_OCTETS: Final = 16
IDLE_OCTETS: Final = 8
_SEARCHED_AT_ONCE: Final = 1 << 16


@dataclass(frozen=True)
class CltuCoding:
    """What both ends agree on.

    randomised: an LDPC code has to be (231.0-B-4 §6.1).  tail: that a tail sequence is sent; of
    (128, 64) it is optional, BCH has one and (512, 256) none.  None is what the code has.
    """

    code: CltuCode = "bch"
    randomised: bool = True
    tail: bool | None = None

    def __post_init__(self) -> None:
        if self.code not in _START:
            raise LocalError(f"CLTU code {self.code!r}, one of {', '.join(_START)} wanted")
        if self.code != "bch" and not self.randomised:
            raise LocalError(f"{self.code} without randomiser: 231.0-B-4 §6 wants it with LDPC")
        if self.code == "bch" and self.tail is False:
            raise LocalError("a CLTU of BCH codewords has a tail sequence (231.0-B-4 §5.2.4)")
        if self.code == "ldpc-512" and self.tail:
            raise LocalError("no tail sequence is defined for ldpc-512 (231.0-B-4 §5.2.4)")

    @cached_property
    def start(self) -> bytes:
        return _START[self.code]

    @cached_property
    def tail_sequence(self) -> bytes:
        return b"" if self.tail is False else _TAIL[self.code]

    @property
    def information_length(self) -> int:
        """Octets of information in a codeword."""
        return bch.INFORMATION_LENGTH if self.code == "bch" else _LDPC[self.code].data_length

    @property
    def codeword_length(self) -> int:
        """Octets."""
        return bch.CODEWORD_LENGTH if self.code == "bch" else _LDPC[self.code].block_length


def build_cltu(data: bytes, coding: CltuCoding) -> bytes:
    """CLTU of one or more transfer frames.  Raises LocalError for no data.

    231.0-B-4 §6: the BCH information is randomised before it is encoded, as one sequence; LDPC
    codewords are after, each anew.
    """
    if not data:
        raise LocalError("a CLTU without data")
    data += bytes([FILL]) * (-len(data) % coding.information_length)
    octets = np.frombuffer(data, np.uint8)[None]
    if coding.code == "bch":
        if coding.randomised:
            octets = randomise(octets, "tc")
        codewords = bch.encode(octets.tobytes())
    else:
        code = _LDPC[coding.code]
        blocks = code.encode(octets.reshape(-1, coding.information_length))
        codewords = randomise(blocks, "tc").tobytes()
    return coding.start + codewords + coding.tail_sequence


def transmission(
    cltus: list[bytes],
    *,
    acquisition_octets: int = ACQUISITION_OCTETS,
    idle_octets: int = IDLE_OCTETS,
) -> bytes:
    """Acquisition sequence and CLTUs, with idle sequence between and after (PLOP-2)."""
    idle = bytes([FILL]) * idle_octets
    return bytes([FILL]) * acquisition_octets + b"".join(cltu + idle for cltu in cltus)


class CltuState(Enum):
    """States of the channel at the receiving end, S1 to S3 (201.0-B-3 table 3-1)."""

    INACTIVE = auto()
    SEARCH = auto()
    DECODE = auto()


class CltuEvent(Enum):
    """E1 to E4 (201.0-B-3 table 3-2)."""

    CHANNEL_ACTIVATION = auto()
    CHANNEL_DEACTIVATION = auto()
    START_SEQUENCE_FOUND = auto()
    CODEWORD_REJECTION = auto()


CLTU_TABLE: Final[dict[CltuState, dict[CltuEvent, CltuState]]] = {
    CltuState.INACTIVE: {CltuEvent.CHANNEL_ACTIVATION: CltuState.SEARCH},
    CltuState.SEARCH: {
        CltuEvent.START_SEQUENCE_FOUND: CltuState.DECODE,
        CltuEvent.CHANNEL_DEACTIVATION: CltuState.INACTIVE,
    },
    CltuState.DECODE: {
        CltuEvent.CODEWORD_REJECTION: CltuState.SEARCH,
        CltuEvent.CHANNEL_DEACTIVATION: CltuState.INACTIVE,
    },
}


@dataclass(frozen=True)
class DecodedCltu:
    """What was decoded between a start sequence and the first codeword that was rejected.

    position: symbol of the stream at which the start sequence begins.  corrected: bits (BCH), or
    iterations beyond the first (LDPC), over all codewords.  truncated: the channel was lost, or the
    CLTU became too long, before a codeword was rejected.
    """

    data: bytes
    position: int
    start_errors: int
    inverted: bool
    corrected: int
    truncated: bool


@dataclass
class CltuStatistics:
    """empty: start sequences whose first codeword was rejected, most of them found by chance."""

    cltus: int = 0
    empty: int = 0
    too_long: int = 0
    codewords: int = 0
    corrected: int = 0


class CltuDecoder:
    """Finds CLTUs at any bit offset, in whatever pieces the stream comes.

    mode: of BCH (`bch.decode`).  start_errors: symbols of the start sequence that may be wrong.  Of
    BCH's 16: one in mode "sec", none in "ted".  Of the 64 of LDPC: 12 unless told otherwise, which
    finds a start in noise once in two million symbols, and misses one in 2,000 where a (512, 256)
    codeword in 10⁴ fails.  inverted: an inverted start sequence turns what follows.
    longest: octets of information in a CLTU; what is longer is given out so far and dropped, so
    that no fault makes the decoder keep more.
    """

    def __init__(
        self,
        coding: CltuCoding,
        *,
        mode: bch.BchMode = "sec",
        start_errors: int | None = None,
        inverted: bool = True,
        longest: int = 65_536,
    ) -> None:
        if start_errors is None:
            start_errors = 12 if coding.code != "bch" else int(mode == "sec")
        most = 4 * len(coding.start) - 1
        if not 0 <= start_errors <= most:
            raise LocalError(f"{start_errors} errors allowed in the start sequence: 0..{most}")
        if longest < coding.information_length:
            raise LocalError(f"longest CLTU of {longest} octets: less than one codeword")
        self.coding = coding
        self.mode: bch.BchMode = mode
        self.start_errors = start_errors
        self.inverted = inverted
        self.longest = longest
        self.state = CltuState.SEARCH
        self.statistics = CltuStatistics()
        self._start = 1 - 2 * np.unpackbits(np.frombuffer(coding.start, np.uint8)).astype(np.int8)
        #: Symbols not yet used up, positive for 0; at most a codeword or a start sequence.
        self._symbols: F32 = np.empty(0, np.float32)
        #: Of the first of them, in the stream.
        self._position = 0
        self._data = bytearray()
        self._found = (0, 0, False)
        self._corrected = 0

    def push(self, octets: bytes) -> list[DecodedCltu]:
        """Hard decisions, most significant bit first; the CLTUs that end in them."""
        return self.push_bits(np.unpackbits(np.frombuffer(octets, np.uint8)))

    def push_bits(self, bits: U8) -> list[DecodedCltu]:
        """Hard decisions, 0 or 1, uint8 [n]."""
        return self.push_symbols(np.float32(1) - np.float32(2) * bits)

    def push_symbols(self, symbols: npt.NDArray[np.floating]) -> list[DecodedCltu]:
        """Soft decisions [n], positive for 0."""
        if self.state is CltuState.INACTIVE:
            self._position += len(symbols)
            return []
        self._symbols = np.concatenate((self._symbols, symbols.astype(np.float32)))
        out: list[DecodedCltu] = []
        while self._search() if self.state is CltuState.SEARCH else self._decode(out):
            pass
        return out

    def deactivate(self) -> list[DecodedCltu]:
        """The channel is lost, or the stream ends: what was decoded of a CLTU, if one was begun."""
        out: list[DecodedCltu] = []
        if self.state is CltuState.DECODE:
            self._end(out, truncated=True)
        self._drop(len(self._symbols))
        self._move(CltuEvent.CHANNEL_DEACTIVATION)
        return out

    def activate(self) -> None:
        """Bit lock is there again."""
        self._move(CltuEvent.CHANNEL_ACTIVATION)

    def _move(self, event: CltuEvent) -> None:
        following = CLTU_TABLE[self.state].get(event)
        if following is None:
            raise LocalError(f"CLTU decoder: {event.name} while {self.state.name}")
        self.state = following

    def _drop(self, symbols: int) -> None:
        self._symbols = self._symbols[symbols:]
        self._position += symbols

    def _search(self) -> bool:
        width = len(self._start)
        # In pieces, as the place of every CLTU is sought in what is left.
        hard = np.where(self._symbols[:_SEARCHED_AT_ONCE] < 0, np.int8(-1), np.int8(1))
        places = len(hard) - width + 1
        if places <= 0:
            return False
        agreement = np.zeros(places, np.int16)
        for i, sign in enumerate(self._start):
            agreement += sign * hard[i : i + places]
        wanted = width - 2 * self.start_errors
        hits = np.flatnonzero(np.abs(agreement) >= wanted if self.inverted else agreement >= wanted)
        if not len(hits):
            self._drop(places)
            return len(self._symbols) >= width
        first = int(hits[0])
        level = int(agreement[first])
        self._found = (self._position + first, (width - abs(level)) // 2, level < 0)
        self._drop(first + width)
        self._move(CltuEvent.START_SEQUENCE_FOUND)
        return True

    def _decode(self, out: list[DecodedCltu]) -> bool:
        width = 8 * self.coding.codeword_length
        if len(self._symbols) < width:
            return False
        symbols = self._symbols[:width]
        self._drop(width)
        decoded = self._codeword(-symbols if self._found[2] else symbols)
        if decoded is None:
            self._end(out, truncated=False)
            self._move(CltuEvent.CODEWORD_REJECTION)
            return True
        information, corrected = decoded
        self._data += information
        self._corrected += corrected
        self.statistics.codewords += 1
        if len(self._data) + self.coding.information_length > self.longest:
            self.statistics.too_long += 1
            self._end(out, truncated=True)
            self._move(CltuEvent.CODEWORD_REJECTION)
        return True

    def _codeword(self, symbols: F32) -> tuple[bytes, int] | None:
        if self.coding.code == "bch":
            return bch.decode(np.packbits(symbols < 0).tobytes(), self.mode)
        if self._is_tail(symbols):
            return None
        result = _LDPC[self.coding.code].decode(_derandomised(symbols)[None])
        if not result.converged[0]:
            return None
        return result.data[0].tobytes(), int(result.iterations[0]) - 1

    def _is_tail(self, symbols: F32) -> bool:
        """The tail sequence with an eighth of its bits wrong: no need to try to decode it."""
        tail = self.coding.tail_sequence
        if not tail:
            return False
        wrong = np.unpackbits(np.frombuffer(tail, np.uint8)) != (symbols < 0)
        return int(wrong.sum()) <= len(tail)

    def _end(self, out: list[DecodedCltu], *, truncated: bool) -> None:
        data = bytes(self._data)
        if self.coding.code == "bch" and self.coding.randomised:
            data = randomise(np.frombuffer(data, np.uint8)[None], "tc").tobytes()
        if data:
            position, errors, inverted = self._found
            self.statistics.cltus += 1
            self.statistics.corrected += self._corrected
            out.append(DecodedCltu(data, position, errors, inverted, self._corrected, truncated))
        else:
            self.statistics.empty += 1
        self._data.clear()
        self._corrected = 0


def _derandomised(symbols: F32) -> F32:
    sequence = np.unpackbits(randomise(np.zeros((1, len(symbols) // 8), np.uint8), "tc"))
    return symbols * (1 - 2 * sequence.astype(np.float32))
