from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError, RemoteError
from protocols.frames.clcw import CLCW
from tests.strategies import clcws


@given(clcws)
def test_parse_of_build(clcw: CLCW) -> None:
    assert CLCW.parse(clcw.build()) == clcw


@given(st.binary(max_size=6))
def test_any_octets(octets: bytes) -> None:
    try:
        clcw = CLCW.parse(octets)
    except RemoteError as error:
        kept = error.data
        assert len(octets) != 4 or octets[0] & 0x80
    else:
        kept = clcw.build()
    assert kept == octets


def test_fields_of_received_clcws() -> None:
    """STEREO-A and EQUULEUS, from the captures: COP-1 in effect, what FARM-1 expects next."""
    stereo = CLCW.parse(bytes.fromhex("010804ea"))
    assert (stereo.cop_in_effect, stereo.vcid, stereo.report_value) == (1, 2, 0xEA)
    assert (stereo.farm_b_counter, stereo.lockout, stereo.no_bit_lock) == (2, False, False)
    equuleus = CLCW.parse(bytes.fromhex("010004e1"))
    assert (equuleus.vcid, equuleus.report_value, equuleus.farm_b_counter) == (0, 0xE1, 2)
    aditya = CLCW.parse(bytes.fromhex("01082400"))
    assert (aditya.vcid, aditya.lockout, aditya.farm_b_counter) == (2, True, 2)


def test_published_layout() -> None:
    """232.0-B-4 §4.2.1, figure 4-6, a word derived by others; ccsds-cop 0.1.2 packs the same."""
    clcw = CLCW(
        status=5,
        vcid=17,
        no_rf_available=True,
        lockout=True,
        retransmit=True,
        farm_b_counter=2,
        report_value=99,
    )
    assert clcw.build().hex() == "1544ac63"
    assert CLCW.parse(bytes.fromhex("1544ac63")) == clcw


def test_values_outside_their_fields() -> None:
    with pytest.raises(LocalError):
        CLCW(vcid=64).build()
