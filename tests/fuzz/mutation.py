"""Octets changed at random: what bit errors, wrong lengths, cut and joined messages look like.

Reproducible from a seed.  The suite uses it alone; `make fuzz` where atheris is not installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

#: Values at which widths and signs end.
_ENDS: Final = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
                0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF)  # fmt: skip


def mutated(
    random: Random, corpus: Sequence[bytes], longest: int, tokens: Sequence[bytes] = ()
) -> bytes:
    """One of the corpus with one to four changes; without a corpus random octets."""
    octets = bytearray(random.choice(corpus)) if corpus else bytearray(random.randbytes(16))
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        _change(random, octets, corpus, tokens)
    return bytes(octets[:longest])


def _change(
    random: Random, octets: bytearray, corpus: Sequence[bytes], tokens: Sequence[bytes]
) -> None:
    if not octets:
        octets += random.randbytes(random.randrange(1, 9))
        return
    at = random.randrange(len(octets))
    kind = random.randrange(10 if tokens else 9)
    if kind == 0:
        octets[at] ^= 1 << random.randrange(8)
    elif kind == 1:
        octets[at] = random.randrange(256)
    elif kind == 2:
        octets[at] = (octets[at] + random.choice((-1, 1, -16, 16))) % 256
    elif kind == 3:
        size = random.choice((1, 2, 4, 8))
        end = random.choice(_ENDS) & ((1 << 8 * size) - 1)
        octets[at : at + size] = end.to_bytes(size, random.choice(("big", "little")))
    elif kind == 4:
        del octets[at : at + random.choice((1, 1, 2, 4, 16, len(octets)))]
    elif kind == 5:
        piece = octets[at : at + random.choice((1, 2, 8, 64))]
        octets[at:at] = piece * random.choice((1, 1, 2, 20))
    elif kind == 6:
        octets[at:at] = random.randbytes(random.choice((1, 2, 4, 8)))
    elif kind == 7 and corpus:
        other = random.choice(corpus)
        octets[at:] = other[random.randrange(len(other) + 1) :]
    elif kind == 8 and corpus:
        other = random.choice(corpus)
        start = random.randrange(len(other) + 1)
        piece = other[start : start + random.choice((1, 2, 4, 8, 32))]
        octets[at : at + len(piece)] = piece
    elif kind == 9:
        token = random.choice(tokens)
        if random.random() < 0.5:
            octets[at:at] = token
        else:
            octets[at : at + len(token)] = token
