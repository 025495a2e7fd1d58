"""Options that adapters of octets share."""

from __future__ import annotations

from ground.adapters.radio.address import Option, choice, count

FRAME_LENGTH = Option(count, 0, "octets of every frame, others are malformed; 0: any")
CARRIES = Option(
    choice("frames", "cadu", "codewords"),
    "frames",
    "what the octets are: frames, cadu (with sync markers) or codewords",
)
CARRIES_CADU = Option(CARRIES.read, "cadu", CARRIES.help)

__all__ = ["CARRIES", "CARRIES_CADU", "FRAME_LENGTH"]
