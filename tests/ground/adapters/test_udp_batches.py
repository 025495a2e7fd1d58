"""Datagrams through the kernel, joined and singly: the same ones in the same order."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ground.adapters.udp_batches import UdpBatches


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for own in ends:
        own.bind(("127.0.0.1", 0))
        own.setblocking(False)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    ends[0].connect(ends[1].getsockname())
    ends[1].connect(ends[0].getsockname())
    yield ends[0], ends[1]
    for own in ends:
        own.close()


sizes = st.lists(
    st.tuples(st.sampled_from([0, 1, 7, 100, 1_400, 9_000, 9_001, 20_000]), st.integers(1, 70)),
    max_size=4,
)


@settings(max_examples=40)
@given(runs=sizes, join_out=st.booleans(), join_in=st.booleans())
def test_what_is_sent_arrives_as_it_was(
    pair: tuple[socket.socket, socket.socket],
    runs: list[tuple[int, int]],
    join_out: bool,
    join_in: bool,
) -> None:
    sender, receiver = pair
    out, back = UdpBatches(sender, join=join_out), UdpBatches(receiver, join=join_in)
    datagrams = [bytes([i & 255]) * size for size, count in runs for i in range(count)][:60]
    received: list[bytes] = []
    at = 0
    while at < len(datagrams):
        # A few at a time: the receiver's buffer must hold them.
        at += out.send(datagrams[at : at + 20])
        received += back.receive()
    assert received == datagrams
    assert back.receive() == []


def test_a_datagram_that_cannot_be_is_an_error(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    with pytest.raises(OSError, match="too long"):
        UdpBatches(pair[0]).send([bytes(70_000)])
