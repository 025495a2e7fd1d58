"""All frames of a batch at once: header fields, zones and integrity as arrays."""

from __future__ import annotations

from protocols.errors import LocalError
from protocols.frames import aos, tm, uslp
from protocols.frames.columns import (
    FHP_IDLE,
    FHP_NONE,
    FHP_NOT_PACKETS,
    U8,
    FrameIndex,
)
from protocols.frames.parameters import FrameParameters

__all__ = ["FHP_IDLE", "FHP_NONE", "FHP_NOT_PACKETS", "FrameIndex", "index_frames"]


def index_frames(frames: U8, parameters: FrameParameters) -> FrameIndex:
    """Index `frames`, uint8 [n, frame_length], by the protocol that `parameters` names.

    Whatever the octets are, nothing is raised for them: what does not fit is marked in `crc_ok`,
    `foreign` and `malformed`.  Raises LocalError if the array's shape is not the agreed one.
    """
    allowed = {parameters.frame_length, parameters.truncated_length} - {0}
    if frames.ndim != 2 or frames.shape[1] not in allowed:
        raise LocalError(f"frames of shape {frames.shape}, [n, {parameters.frame_length}] agreed")
    return {"tm": tm.index, "aos": aos.index, "uslp": uslp.index}[parameters.kind](
        frames, parameters
    )
