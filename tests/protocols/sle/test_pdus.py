"""SLE's PDUs and BER: round trips, and what is no PDU; against pyasn1 in tests/interop."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError, RemoteError
from protocols.sle import pdus
from protocols.sle.ber import (
    Choice,
    Enumerated,
    Integer,
    ObjectIdentifier,
    OctetString,
    OrNull,
    SequenceOf,
    Type,
    VisibleString,
    identifier,
    length_octets,
)
from protocols.sle.common import (
    INSTANCE_IDENTIFIER,
    TIME,
    VERSIONS,
    PeerAbort,
    ServiceType,
    UnbindReason,
)
from tests.sle_pdus import TIMES, to_provider, to_user

SERVICES = st.sampled_from(ServiceType)


@given(st.data(), SERVICES)
def test_what_a_user_says_is_read_as_it_was_built(data, service: ServiceType) -> None:
    pdu = data.draw(to_provider(service))
    octets = pdus.to_provider(service).build(pdu)
    assert pdus.to_provider(service).parse(octets) == pdu


@given(st.data(), SERVICES, st.sampled_from(VERSIONS))
def test_what_a_provider_says_is_read_as_it_was_built(data, service, version) -> None:
    pdu = data.draw(to_user(service, version))
    of = pdus.to_user(service, version)
    octets = of.build(pdu)
    assert of.parse(octets) == pdu
    assert of.build(of.parse(octets)) == octets


@given(st.data(), SERVICES, st.sampled_from(VERSIONS), st.binary(max_size=40))
def test_other_octets_raise_remote_error_alone(data, service, version, noise: bytes) -> None:
    of = pdus.to_user(service, version)
    octets = of.build(data.draw(to_user(service, version)))
    cut = data.draw(st.integers(0, len(octets) - 1))
    place = data.draw(st.integers(0, len(octets) - 1))
    changed = octets[:place] + bytes([octets[place] ^ data.draw(st.integers(1, 255))])
    with pytest.raises(RemoteError):
        of.parse(octets[:cut])
    for candidate in (noise, octets + b"\0", changed + octets[place + 1 :], octets[:2] + noise):
        try:
            of.parse(candidate)
        except RemoteError:
            continue


@given(TIMES)
def test_times_are_kept_to_the_nanosecond(time_ns: int) -> None:
    octets = TIME.build(time_ns)
    assert TIME.parse(octets) == time_ns
    assert len(octets) == (12 if time_ns % 1_000 else 10)


def test_an_abort_as_a_pdu_is_known() -> None:
    # [104] INTEGER: identifier 9f 68.
    octets = bytes.fromhex("9f680104")
    for of in (pdus.to_provider(ServiceType.RAF), pdus.to_user(ServiceType.CLTU, 5)):
        assert of.parse(octets) == PeerAbort(4)


# ---------------------------------------------------------------- BER, after X.690's own examples


def test_tags_and_lengths_of_x_690() -> None:
    assert identifier(30).hex() == "9e"
    assert identifier(31, constructed=True).hex() == "bf1f"
    assert identifier(201).hex() == "9f8149"
    assert length_octets(38).hex() == "26"
    assert length_octets(201).hex() == "81c9"


def test_integers_are_as_short_as_they_can_be() -> None:
    whole = Integer(-(1 << 40), 1 << 40)
    for value, octets in ((0, "00"), (127, "7f"), (128, "0080"), (-128, "80"), (-129, "ff7f")):
        assert whole.build(value).hex() == f"02{len(octets) // 2:02x}{octets}"
        assert whole.parse(whole.build(value)) == value


def test_object_identifiers() -> None:
    # X.690 §8.19.5: {2 999 3}
    assert ObjectIdentifier().build((2, 999, 3)).hex() == "0603883703"
    assert ObjectIdentifier().parse(bytes.fromhex("0603883703")) == (2, 999, 3)


@pytest.mark.parametrize(
    ("of", "octets", "value"),
    [
        (OctetString(1, 4), "04820002abcd", b"\xab\xcd"),
        (OctetString(1, 4), "0485000000000 1ab".replace(" ", ""), b"\xab"),
        (OctetString(1, 4), "2406 0401ab 0401cd", b"\xab\xcd"),
        (OctetString(1, 4), "2480 0401ab 2480 0401cd 0000 0400 0000", b"\xab\xcd"),
        (OctetString(0, 4).tagged(40), "bf28 80 0401ab 0000", b"\xab"),
        (VisibleString(1, 4), "3a80 040161 0000", "a"),
        (SequenceOf(Integer(0, 9), 9), "3080 020105 020106 0000", (5, 6)),
        (
            SequenceOf(SequenceOf(Integer(0, 9), 9), 9),
            "3080 3080 020105 0000 3000 0000",
            ((5,), ()),
        ),
        (Choice(one=(0, TIME)), "a080 8008 0000000000000000 0000", None),
    ],
)
def test_whatever_x_690_allows_is_taken(of: Type, octets: str, value: Any) -> None:
    """Lengths longer than need be, indefinite ones, strings in pieces."""
    found = of.parse(bytes.fromhex(octets))
    assert found == value or (value is None and found.name == "one")


@pytest.mark.parametrize(
    "octets",
    [
        b"\x06" + length_octets(1 << 20) + b"\xff" * ((1 << 20) - 1) + b"\x01",
        b"\x06" + length_octets(1 << 20) + b"\x01" * (1 << 20),
    ],
)
def test_a_long_object_identifier_takes_no_time(octets: bytes) -> None:
    began = time.process_time()
    with pytest.raises(RemoteError):
        ObjectIdentifier().parse(octets)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    ("of", "octets"),
    [
        (OctetString(1, 4), "0480abcd0000"),  # indefinite, and not constructed
        (OctetString(1, 4), "24800401ab"),  # indefinite, without an end
        (OctetString(1, 4), "24800401ab00"),
        (OctetString(1, 4), "2480" * 20 + "0401ab" + "0000" * 20),  # too deep
        (OctetString(1, 4), "2403020161"),  # a piece that is an INTEGER
        (OctetString(1, 4), "2406" + "040161" * 2 + "00"),
        (OctetString(1, 4), "240f" + "040161" * 5),  # above its size
        (OctetString(1, 4), "04ff" + "00" * 126 + "0161"),
        (SequenceOf(Integer(0, 9), 9), "308002010500"),
        (SequenceOf(Integer(0, 9), 9), "300702010530800000"),
        (OctetString(1, 4), "0405abcdefabcd"),  # above its size
        (OctetString(1, 4), "0400"),  # below it
        (Integer(0, 9), "0200"),
        (Integer(0, 9), "02010a"),
        (Integer(0, 9), "020a00000000000000000001"),
        (Enumerated(UnbindReason), "020103"),
        (VisibleString(1, 4), "1a01ff"),
        (ObjectIdentifier(), "0600"),
        (ObjectIdentifier(), "060188"),
        (OrNull(0, 1, OctetString(1, 4)), "800100"),  # a NULL with content
        (OrNull(0, 1, OctetString(1, 4)), "8200"),
        (Choice(one=(0, Integer(0, 9))), "810101"),
        (INSTANCE_IDENTIFIER, "3000"),
        (INSTANCE_IDENTIFIER, "300a3108300606022a031a0161"),  # somebody else's attribute
    ],
)
def test_what_is_refused(of, octets: str) -> None:
    with pytest.raises(RemoteError):
        of.parse(bytes.fromhex(octets))


@pytest.mark.parametrize(
    ("of", "value"),
    [
        (Integer(0, 9), 10),
        (OctetString(1, 4), b""),
        (VisibleString(1, 4), "é"),
        (INSTANCE_IDENTIFIER, "sagr"),
        (INSTANCE_IDENTIFIER, "raf=onlc1.nonsense=2"),
        (pdus.to_provider(ServiceType.RAF), "no PDU"),
    ],
)
def test_what_we_may_not_say_is_a_local_error(of, value) -> None:
    with pytest.raises(LocalError):
        of.build(value)
