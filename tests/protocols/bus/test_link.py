"""The wire of the station link: both directions agree, nothing received is trusted."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.bus import link
from protocols.bus.messages import RadiatedMessage, UplinkMessage
from protocols.errors import LocalError, RemoteError
from protocols.identifiers import Carrier

numbers = st.integers(0, 2**63 - 1)
signed = st.integers(-(2**63), 2**63 - 1)
names = st.text(max_size=40)


@given(names, numbers, signed, st.binary(max_size=2000))
def test_chunks_come_back(stream: str, sequence: int, ert_ns: int, octets: bytes) -> None:
    chunk = link.Chunk(stream, sequence, ert_ns, octets)
    assert link.parse_downlink(link.build_chunk(chunk)) == chunk


@given(names, numbers, st.booleans(), st.floats(-1, 1e6))
def test_states_come_back(stream: str, lost: int, carrier: bool, owlt_s: float) -> None:
    state = link.State(stream, lost, carrier, owlt_s)
    assert link.parse_downlink(link.build_state(state)) == state


@given(numbers, st.dictionaries(names, signed, max_size=5), names, signed)
def test_what_receive_says_comes_back(
    version: int, resume: dict[str, int], stream: str, sequence: int
) -> None:
    hello = link.parse_to_station(link.build_hello(version, resume))
    assert hello == link.Hello(version, resume)
    acknowledge = link.parse_to_station(link.build_acknowledge(stream, sequence))
    assert acknowledge == link.Acknowledge(stream, sequence)


ids = st.text(min_size=1, max_size=128)


@given(ids, names, st.sampled_from(Carrier), st.binary(min_size=1, max_size=99), signed, signed)
def test_uplink_and_its_fate_come_back(
    id: str, service: str, carrier: str, octets: bytes, one_ns: int, other_ns: int
) -> None:
    begin_ns, end_ns = sorted((one_ns, other_ns))
    request = UplinkMessage(id, service, carrier, octets, begin_ns, end_ns)
    assert link.parse_to_station(link.build_uplink(request)) == request
    fate = RadiatedMessage(id, service, carrier, begin_ns, end_ns, "", "Yeoju")
    assert link.parse_downlink(link.build_radiated(fate)) == fate


kinds = st.sampled_from([link.HELLO, link.ACK, link.UPLINK, link.CHUNK, link.STATE, link.RADIATED])
VALID = [
    link.build_hello(1, {"s": 4}),
    link.build_acknowledge("s", 5),
    link.build_chunk(link.Chunk("s", 1, 2, b"abc")),
    link.build_state(link.State("s", 0, True, 499.0)),
    link.build_uplink(UplinkMessage("one", "command", "command", b"abc", 1, 2)),
    link.build_radiated(RadiatedMessage("one", "command", "command", 1, 2)),
]


@settings(max_examples=300)
@given(
    st.one_of(
        st.lists(st.binary(max_size=60), max_size=4),
        st.tuples(kinds, st.binary(max_size=60)).map(list),
        st.tuples(kinds, st.binary(max_size=60), st.binary(max_size=9)).map(list),
        st.tuples(st.sampled_from(VALID), st.integers(0, 80), st.integers(0, 255)).map(
            lambda x: [x[0][0], x[0][1][: x[1]] + bytes([x[2]]) + x[0][1][x[1] + 1 :], *x[0][2:]]
        ),
    )
)
def test_any_octets_are_a_message_or_a_remote_error(parts: list[bytes]) -> None:
    for parse in (link.parse_downlink, link.parse_to_station):
        with contextlib.suppress(RemoteError):
            parse(parts)


def test_what_does_not_fit_is_refused_before_it_is_sent() -> None:
    with pytest.raises(LocalError):
        link.build_chunk(link.Chunk("s", 2**70, 0, b""))
    with pytest.raises(LocalError, match="carrier 'S'"):
        UplinkMessage("one", "command", "S", b"abc", 1, 2)
    with pytest.raises(LocalError, match="earliest <= latest"):
        UplinkMessage("one", "command", "command", b"abc", 2, 1)
    with pytest.raises(LocalError, match="0 octets"):
        UplinkMessage("one", "command", "command", b"", 1, 2)
    with pytest.raises(RemoteError, match="sequence -1"):
        link.parse_downlink(link.build_chunk(link.Chunk("s", -1, 0, b"")))
