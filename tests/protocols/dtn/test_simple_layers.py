"""STCP and MTCP framings: any pieces, any octets."""

from __future__ import annotations

from itertools import pairwise

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dtn.simple_layers import Framing, StreamFramer, framed
from protocols.errors import RemoteError


@given(
    st.sampled_from(Framing),
    st.lists(st.binary(min_size=1, max_size=400), max_size=6),
    st.lists(st.integers(0, 2_000), max_size=8),
)
def test_whatever_the_pieces_the_bundles_are_the_same(
    framing: Framing, bundles: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(framed(framing, len(b)) + b for b in bundles)
    ends = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    framer = StreamFramer(framing)
    found = [b for a, z in pairwise(ends) for b in framer.push(stream[a:z])]
    assert found == bundles


@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 65_535, 65_536])
def test_mtcp_is_a_cbor_byte_string_as_cbor2_writes_it(size: int) -> None:
    assert framed(Framing.MTCP, size) + bytes(size) == cbor2.dumps(bytes(size))


def test_keepalives_are_counted_and_nothing_else() -> None:
    framer = StreamFramer(Framing.STCP)
    assert framer.push(bytes(8) + framed(Framing.STCP, 2) + b"ok" + bytes(4)) == [b"ok"]
    assert framer.keepalives == 3


def test_a_length_beyond_the_bound_is_refused_before_anything_is_kept() -> None:
    with pytest.raises(RemoteError, match="bundle of 4294967295 octets"):
        StreamFramer(Framing.STCP).push(b"\xff\xff\xff\xff")


@given(st.sampled_from(Framing), st.binary(max_size=60))
def test_any_octets_are_framed_or_refused(framing: Framing, octets: bytes) -> None:
    try:
        StreamFramer(framing, longest=1_000).push(octets)
    except RemoteError:
        return
