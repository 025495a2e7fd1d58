"""TM, AOS and USLP frames: both directions, and the batch forms equal to them."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalError, RemoteError
from protocols.frames import aos, tm, uslp
from protocols.frames.columns import FHP_IDLE, FHP_NONE, FHP_NOT_PACKETS
from protocols.frames.index import index_frames
from protocols.frames.parameters import FrameParameters
from tests.strategies import aos_frames, frame_parameters, tm_frames, uslp_frames

MODULES: dict[str, ModuleType] = {"tm": tm, "aos": aos, "uslp": uslp}
FRAMES: dict[str, Any] = {"tm": tm_frames, "aos": aos_frames, "uslp": uslp_frames}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_parse_of_build_is_the_frame(data: st.DataObject) -> None:
    parameters = data.draw(frame_parameters())
    codec = MODULES[parameters.kind]
    frame = data.draw(FRAMES[parameters.kind](parameters))
    try:
        octets = codec.build(frame, parameters)
    except LocalError:
        # A USLP frame may not be empty of octets after its header: not generated, so a mistake.
        pytest.fail("the strategy made a frame that cannot be built")
    if parameters.kind != "uslp":
        assert len(octets) == parameters.frame_length
    parsed = codec.parse(octets, parameters)
    assert parsed == frame
    assert codec.build(parsed, parameters) == octets


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_octets_parse_or_raise_remote_error(data: st.DataObject) -> None:
    parameters = data.draw(frame_parameters())
    codec = MODULES[parameters.kind]
    octets = data.draw(
        st.binary(max_size=150)
        | st.binary(min_size=parameters.frame_length, max_size=parameters.frame_length)
    )
    try:
        frame = codec.parse(octets, parameters)
    except RemoteError as error:
        refused = error.data
        assert refused == octets
    else:
        # Spare bits are not kept, and what was corrected is right now; all else comes back.
        if getattr(frame, "header_corrected", False):
            frame = replace(frame, header_corrected=False)
        assert codec.parse(codec.build(frame, parameters), parameters) == frame


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_index_equals_parse(data: st.DataObject) -> None:
    parameters = data.draw(frame_parameters())
    codec = MODULES[parameters.kind]
    extra = {"fixed": True} if parameters.kind == "uslp" else {}
    frames = data.draw(
        st.lists(FRAMES[parameters.kind](parameters, **extra), min_size=1, max_size=4)
    )
    octets = [codec.build(frame, parameters) for frame in frames]
    index = index_frames(np.array([list(o) for o in octets], np.uint8), parameters)
    assert index.crc_ok.all()
    assert not index.foreign.any()
    for row, frame in enumerate(frames):
        assert index.scid[row] == frame.scid
        assert index.vcid[row] == frame.vcid
        assert index.version[row] == frame.version
        assert index.has_ocf[row] == (frame.ocf is not None)
        assert int(index.ocf[row]) == int.from_bytes(frame.ocf or b"", "big")
        check_counts(parameters, index, row, frame)
        if index.malformed[row]:
            # Only a pointer into nothing makes a frame that was built malformed.
            assert parameters.kind != "tm"
            continue
        zone = octets[row][index.zone_start[row] : index.zone_end[row]]
        check_zone(parameters, int(index.first_header_pointer[row]), zone, frame)


def check_counts(parameters: FrameParameters, index: Any, row: int, frame: Any) -> None:
    count, modulus = int(index.vc_count[row]), int(index.vc_count_modulus[row])
    if parameters.kind == "tm":
        assert (count, modulus) == (frame.vc_count, 256)
        assert index.mc_count[row] == frame.mc_count
    elif parameters.kind == "aos":
        cycled = parameters.frame_count_cycle and frame.count_cycle_flag
        assert count == frame.vc_count + (frame.count_cycle << 24 if cycled else 0)
        assert modulus == (1 << 28 if cycled else 1 << 24)
    else:
        assert count == frame.vc_count
        assert modulus == (1 << 8 * frame.vc_count_length if frame.vc_count_length else 0)
        assert index.map_id[row] == frame.map_id


def check_zone(parameters: FrameParameters, fhp: int, zone: bytes, frame: Any) -> None:
    content = parameters.content_of(frame.vcid)
    if parameters.kind == "tm":
        assert zone == frame.data
        expected = {0x7FF: FHP_NONE, 0x7FE: FHP_IDLE}.get(
            frame.first_header_pointer, frame.first_header_pointer
        )
        if content == "aligned-packets":
            expected = 0
        if frame.sync_flag or content == "opaque":
            expected = FHP_NOT_PACKETS
    elif parameters.kind == "aos":
        if content == "bitstream" and frame.pointer < aos.BITSTREAM_IDLE:
            assert zone == frame.data[: (frame.pointer + 8) // 8]
        else:
            assert zone == frame.data
        if frame.vcid == 63 or (content == "bitstream" and frame.pointer == aos.BITSTREAM_IDLE):
            expected = FHP_IDLE
        elif content in ("opaque", "bitstream"):
            expected = FHP_NOT_PACKETS
        elif content == "aligned-packets":
            expected = 0
        else:
            expected = {0x7FF: FHP_NONE, 0x7FE: FHP_IDLE}.get(frame.pointer, frame.pointer)
    else:
        sdu = frame.pointer is not None and frame.construction_rule != 0
        if sdu and frame.pointer != uslp.USLP_POINTER_NONE:
            assert zone == frame.data[: frame.pointer + 1]
        else:
            assert zone == frame.data
        if frame.vcid == 63 or frame.protocol_id == uslp.ProtocolId.IDLE:
            expected = FHP_IDLE
        elif content == "aligned-packets":
            expected = 0
        elif content == "opaque" or frame.protocol_id != uslp.ProtocolId.PACKETS:
            expected = FHP_NOT_PACKETS
        elif frame.construction_rule == uslp.ConstructionRule.NO_SEGMENTATION:
            expected = 0
        elif frame.construction_rule == 0:
            expected = FHP_NONE if frame.pointer == uslp.USLP_POINTER_NONE else frame.pointer
        else:
            expected = FHP_NOT_PACKETS
    assert fhp == expected


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_index_takes_any_octets(data: st.DataObject) -> None:
    """Zones stay inside the frame whatever the headers say."""
    parameters = data.draw(frame_parameters())
    n = data.draw(st.integers(0, 6))
    size = n * parameters.frame_length
    frames = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)
    index = index_frames(frames.reshape(n, parameters.frame_length), parameters)
    assert (index.zone_start >= 0).all()
    assert (index.zone_start <= index.zone_end).all()
    assert (index.zone_end <= parameters.frame_length).all()
    assert (index.first_header_pointer >= FHP_NOT_PACKETS).all()


def test_shortest_frames_are_indexed() -> None:
    for kind in ("tm", "aos", "uslp"):
        shortest = FrameParameters(kind, 100).shortest_length  # type: ignore[arg-type]
        parameters = FrameParameters(kind, shortest)  # type: ignore[arg-type]
        for value in (0x00, 0x0F, 0xC0, 0xFF):
            index_frames(np.full((2, shortest), value, np.uint8), parameters)


@pytest.mark.parametrize("kind", ["tm", "aos", "uslp"])
def test_bad_fecf_is_told(kind: Any) -> None:
    parameters = FrameParameters(kind, 40, fecf="crc16", scid=5)
    frame = {
        "tm": tm.TmFrame(5, 1, 2, 3, 0, bytes(32)),
        "aos": aos.AosFrame(5, 1, 2, bytes(30), pointer=0),
        "uslp": uslp.UslpFrame(5, 1, bytes(28), pointer=0),
    }[kind]
    octets = bytearray(MODULES[kind].build(frame, parameters))
    octets[20] ^= 0x10
    with pytest.raises(RemoteError, match="FECF"):
        MODULES[kind].parse(bytes(octets), parameters)
    index = index_frames(np.frombuffer(octets, np.uint8).reshape(1, 40), parameters)
    assert not index.crc_ok[0]
    assert not index.usable[0]


def test_frames_of_other_spacecraft_and_protocols_are_foreign() -> None:
    parameters = FrameParameters("tm", 30, scid=5)
    ours = tm.build(tm.TmFrame(5, 0, 0, 0, 0, bytes(24)), parameters)
    theirs = tm.build(tm.TmFrame(6, 0, 0, 0, 0, bytes(24)), parameters)
    other = bytes([ours[0] | 0x40]) + ours[1:]
    frames = np.frombuffer(ours + theirs + other, np.uint8).reshape(3, 30)
    assert index_frames(frames, parameters).foreign.tolist() == [False, True, True]
    everyone = FrameParameters("tm", 30)
    assert index_frames(frames, everyone).foreign.tolist() == [False, False, True]


def test_uslp_length_field_must_be_the_frames_length() -> None:
    parameters = FrameParameters("uslp", 40, scid=5)
    short = uslp.build(uslp.UslpFrame(5, 1, bytes(20), pointer=0), parameters)
    padded = np.zeros((1, 40), np.uint8)
    padded[0, : len(short)] = list(short)
    assert index_frames(padded, parameters).malformed[0]
    with pytest.raises(RemoteError, match="length field"):
        uslp.parse(padded.tobytes(), parameters)


def test_truncated_uslp_frames_have_no_fecf() -> None:
    """732.1-B-3 annex D: header of four octets, data field header of one, data; no more."""
    parameters = FrameParameters("uslp", 60, fecf="crc16", scid=0x4C, truncated_length=12)
    frame = uslp.UslpFrame(
        0x4C,
        3,
        b"command",
        map_id=2,
        construction_rule=uslp.ConstructionRule.NO_SEGMENTATION,
        protocol_id=uslp.ProtocolId.MISSION_SPECIFIC,
        truncated=True,
    )
    octets = uslp.build(frame, parameters)
    assert octets == bytes.fromhex("c004c065 e5") + b"command"
    assert uslp.parse(octets, parameters) == frame
    index = index_frames(np.frombuffer(octets, np.uint8).reshape(1, 12), parameters)
    assert index.usable[0]
    assert octets[index.zone_start[0] : index.zone_end[0]] == b"command"
    # The same bit in a frame of full length is an error, and the FECF is what says so.
    whole = bytearray(uslp.build(uslp.UslpFrame(0x4C, 3, bytes(48), pointer=0), parameters))
    whole[3] ^= 1
    garbled = index_frames(np.frombuffer(whole, np.uint8).reshape(1, 60), parameters)
    assert not garbled.crc_ok[0]
    assert garbled.malformed[0]


def test_idle_uslp_frames_are_one_sdu_of_idle_data() -> None:
    """732.1-B-3 §4.1.4.1: VCID 63, MAP 0, rule 001, all of the zone valid, UPID 31."""
    parameters = FrameParameters("uslp", 40, fecf="crc16", scid=0x4C)
    (octets,) = uslp.build_frames(
        np.full((1, 25), 0x6D, np.uint8),
        parameters,
        scid=0x4C,
        vcid=uslp.USLP_IDLE_VCID,
        vc_count=np.array([5]),
        first_header_pointer=np.array([FHP_IDLE], np.int32),
    )
    frame = uslp.parse(octets.tobytes(), parameters)
    assert (frame.vcid, frame.map_id) == (63, 0)
    assert frame.construction_rule == uslp.ConstructionRule.MAPA_SDU_START
    assert frame.protocol_id == uslp.ProtocolId.IDLE
    assert frame.pointer == len(frame.data) - 1
    assert index_frames(octets[None], parameters).first_header_pointer[0] == FHP_IDLE
