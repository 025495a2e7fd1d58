"""Link profiles: every mission loads, flags go before it, every mistake is told with its place."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ground.receive.profile import SETTINGS, load_profile, missions
from protocols.errors import LocalError
from protocols.identifiers import SCID_L4_RELAY


def test_every_mission_loads_and_its_parts_agree() -> None:
    assert {
        "danuri", "aditya_l1", "stereo_a", "mars2020", "equuleus", "change5", "tianwen2", "lucy",
        "queqiao", "l4_relay",
    } <= set(missions())  # fmt: skip
    for name in missions():
        profile = load_profile(name)
        assert profile.name == name
        assert profile.title
        profile.frame_parameters()
        assert msgpack.unpackb(msgpack.packb(profile.describe())) == profile.describe()


def test_l4_relay_is_what_the_simulator_sends() -> None:
    profile = load_profile("l4_relay")
    assert profile.scid == SCID_L4_RELAY
    assert profile.open_questions == ()
    # RS(255,223), interleave 5.
    assert profile.block_length == 1275
    assert profile.input == "cadu"


def test_flag_goes_before_the_mission() -> None:
    profile = load_profile("mars2020", scid="0x10", fecf="absent", ocf=None)
    assert (profile.scid, profile.fecf, profile.frame_length) == (16, "absent", 1115)
    assert load_profile("mars2020", scid="any").open_questions == ()


def test_mission_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[frames]\nkind = "tm"\nframe_length = 223\n[packets]\nopaque = [1, 2]\n')
    profile = load_profile(path)
    assert (profile.name, dict(profile.vc_content)) == ("mine", {1: "opaque", 2: "opaque"})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "frame length is not known"),
        ({"frames": "aos"}, "--frame-length N"),
        ({"frames": "sdlc", "frame_length": 9}, "--frames: .*'sdlc', but one of tm, aos, uslp"),
        ({"frame_length": 3}, "--frame-length: .* = 3, but an integer 7..65536"),
        ({"frame_length": True}, "--frame-length"),
        ({"frame_length": 100, "fecf": "maybe"}, "--fecf: .*one of present, absent"),
        ({"frame_length": 100, "scid": -1}, "--scid: .*0..65535 or any"),
        ({"frame_length": 100, "asm": "1acffg"}, "--asm: .*hexadecimal"),
        ({"frame_length": 100, "opaque_vc": "1,64"}, "--opaque-vc"),
        ({"frame_length": 100, "bit_rate": 0}, "--bit-rate: .*above 0"),
        ({"frame_length": 100, "colour": "red"}, "--colour is not a flag"),
        ({"frames": "tm", "frame_length": 4000}, "frame length 4000.*for tm"),
        ({"frames": "tm", "frame_length": 100, "scid": 2000}, r"scid 2000: 0..1023 for tm"),
        ({"frame_length": 100, "rs_parity": 32}, "carries 223 octets"),
        ({"frame_length": 223, "rs_parity": 17}, "--rs-parity: .*one of 0, 16, 32"),
        (
            {"frame_length": 223, "rs_known_prefix": "00"},
            "known_prefix wants a code",
        ),
        (
            {"frame_length": 446, "rs_interleave": 2, "rs_known_prefix": "00"},
            "more than the virtual fill of 0 wants interleave 1",
        ),
        ({"mission": "apollo"}, "mission 'apollo' is not known; aditya_l1, "),
    ],
)
def test_mistakes_name_value_allowed_and_place(flags: dict[str, object], message: str) -> None:
    with pytest.raises(LocalError, match=message):
        load_profile(**flags)  # type: ignore[arg-type]


def test_mistakes_in_a_file_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    for text, message in (
        ('[frames]\nkind = "xx"\nframe_length = 100\n', r"mine.toml: frames.kind = 'xx'"),
        ("[frames]\nlength = 100\n", "mine.toml: frames.length is not a setting"),
        ("frame_length = 100\n", "did you mean frames.frame_length"),
        ("[frames\n", "mine.toml: "),
        ('[frames]\nframe_length = 100\nkind = "tm"\ninsert_zone = 4\n', "no insert zone"),
    ):
        path.write_text(text)
        with pytest.raises(LocalError, match=message):
            load_profile(path)
    with pytest.raises(LocalError, match=r"absent\.toml"):
        load_profile(tmp_path / "absent.toml")


VALUES = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=8),
    st.booleans(),
    st.floats(),
    st.lists(st.integers()),
)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([f[2:].replace("-", "_") for f, *_ in SETTINGS.values()]), VALUES
    )
)
def test_any_value_is_taken_or_refused_as_our_mistake(flags: dict[str, object]) -> None:
    try:
        profile = load_profile(**flags)  # type: ignore[arg-type]
    except LocalError:
        return
    assert profile.open_questions is not None
