from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from protocols.errors import LocalError
from protocols.frames.index import index_frames
from protocols.frames.parameters import FrameParameters


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "tc", "frame_length": 100}, "'tc'"),
        ({"kind": "tm", "frame_length": 2049}, "2049"),
        ({"kind": "tm", "frame_length": 6}, "frame length 6: 7"),
        ({"kind": "aos", "frame_length": 12, "ocf": True}, "12: 13"),
        ({"kind": "tm", "frame_length": 100, "fecf": "crc32"}, "USLP"),
        ({"kind": "tm", "frame_length": 100, "fecf": "crc8"}, "crc8"),
        ({"kind": "tm", "frame_length": 100, "scid": 1024}, "1024"),
        ({"kind": "uslp", "frame_length": 100, "scid": 65536}, "65536"),
        ({"kind": "tm", "frame_length": 100, "insert_zone_length": 4}, "insert zone"),
        ({"kind": "tm", "frame_length": 100, "frame_header_error_control": True}, "AOS"),
        ({"kind": "tm", "frame_length": 100, "vc_content": {8: "opaque"}}, "vcid 8"),
        ({"kind": "tm", "frame_length": 100, "vc_content": {0: "bitstream"}}, "bitstream"),
        ({"kind": "aos", "frame_length": 100, "content": "stones"}, "stones"),
        ({"kind": "aos", "frame_length": 100, "truncated_length": 20}, "truncated"),
    ],
)
def test_what_does_not_fit_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(LocalError, match=message):
        FrameParameters(**settings)


def test_frames_of_another_shape_are_our_mistake() -> None:
    with pytest.raises(LocalError, match=r"\[n, 100\] agreed"):
        index_frames(np.zeros((3, 99), np.uint8), FrameParameters("tm", 100))


@pytest.mark.parametrize("kind", ["tm", "aos", "uslp"])
def test_no_frames_give_an_empty_index(kind: Any) -> None:
    assert len(index_frames(np.zeros((0, 100), np.uint8), FrameParameters(kind, 100))) == 0
