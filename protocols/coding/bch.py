"""The modified BCH (63,56) code of telecommand, 231.0-B-4 §3: codewords of 8 octets.

A codeword is 7 octets of information, 7 parity bits, complemented, and a filler bit of 0.  The code
detects up to three errors (`"ted"`), or corrects one and detects two (`"sec"`).

    >>> encode(bytes.fromhex("01020304050607")).hex()
    '0102030405060770'
"""

from __future__ import annotations

from typing import Final, Literal

from protocols.errors import LocalError

BchMode = Literal["ted", "sec"]

#: Octets of a codeword, and of the information in it.
CODEWORD_LENGTH: Final = 8
INFORMATION_LENGTH: Final = 7
#: §3.3: g(x) = x⁷ + x⁶ + x² + 1, without its highest term.
_GENERATOR: Final = 0b1000101
_BITS: Final = 63


def _table() -> bytes:
    """Remainder of each octet followed by seven zeros, in the upper seven bits."""
    out = bytearray()
    for octet in range(256):
        for _ in range(8):
            octet = (octet << 1 & 0xFF) ^ (_GENERATOR << 1 if octet & 0x80 else 0)
        out.append(octet)
    return bytes(out)


_TABLE: Final = _table()


def _remainder(information: bytes) -> int:
    """Seven parity bits, not complemented, in the upper bits of an octet."""
    register = 0
    for octet in information:
        register = _TABLE[register ^ octet]
    return register


def _positions() -> dict[int, int]:
    """Syndrome of a single error → its position, 0 the first bit of the codeword."""
    out: dict[int, int] = {}
    syndrome = 1
    for position in reversed(range(_BITS)):
        out[syndrome] = position
        syndrome = (syndrome << 1 & 0x7F) ^ (_GENERATOR if syndrome & 0x40 else 0)
    return out


_POSITION: Final = _positions()


def encode(data: bytes) -> bytes:
    """Codewords of data of a whole number of 7 octets.  Raises LocalError for another length."""
    if len(data) % INFORMATION_LENGTH:
        raise LocalError(f"{len(data)} octets to encode, a multiple of {INFORMATION_LENGTH} wanted")
    out = bytearray()
    for start in range(0, len(data), INFORMATION_LENGTH):
        information = data[start : start + INFORMATION_LENGTH]
        out += information
        out.append(~_remainder(information) & 0xFE)
    return bytes(out)


def decode(codeword: bytes, mode: BchMode) -> tuple[bytes, int] | None:
    """7 octets and how many bits were corrected (0 or 1); None for a codeword that is rejected.

    Whatever its filler bit, a codeword without another error is taken; one with a wrong filler bit
    and one error more has two, and is rejected.  So is the tail sequence, with any one bit changed.
    Raises LocalError for another length or mode.
    """
    if len(codeword) != CODEWORD_LENGTH:
        raise LocalError(f"codeword of {len(codeword)} octets, {CODEWORD_LENGTH} wanted")
    if mode not in ("ted", "sec"):
        raise LocalError(f"mode {mode!r}, 'ted' or 'sec' wanted")
    information, last = codeword[:INFORMATION_LENGTH], codeword[INFORMATION_LENGTH]
    syndrome = (_remainder(information) ^ ~last & 0xFE) >> 1
    if not syndrome:
        return information, 0
    position = _POSITION.get(syndrome)
    if mode == "ted" or position is None or last & 1:
        return None
    if position >= 8 * INFORMATION_LENGTH:
        return information, 1
    flipped = int.from_bytes(information, "big") ^ 1 << 8 * INFORMATION_LENGTH - 1 - position
    return flipped.to_bytes(INFORMATION_LENGTH, "big"), 1
