"""What a link profile leaves open, settled from the first frames.

Nothing is guessed in silence: every answer comes with the sentence that the operator reads.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ground.receive.profile import LinkProfile
from protocols.errors import LocalError
from protocols.frames.columns import FHP_IDLE, FrameIndex
from protocols.frames.error_control import fecf_ok
from protocols.frames.index import index_frames
from protocols.frames.parameters import Content, FrameKind

U8 = npt.NDArray[np.uint8]

#: Frames looked at before anything is decided; the chain holds them back until then.
SURVEY_FRAMES = 64

#: Part of the frames that must agree: real captures have frames with errors among the first.
AGREEMENT = 0.9

_KIND_NAMES: dict[FrameKind, str] = {"tm": "TM", "aos": "AOS", "uslp": "USLP"}


def settle(profile: LinkProfile, frames: U8) -> tuple[LinkProfile, list[str]]:
    """Profile without open questions, and a sentence on each answer.

    frames: uint8 [n, frame_length], the first of the link.  Without frames (n = 0) the answers are
    the defaults.
    """
    notes: list[str] = []
    if profile.kind is None:
        profile = replace(profile, kind=_kind(frames, notes))
    if profile.fecf is None:
        profile = _with_fecf(profile, frames, notes)
    if profile.scid is None and not profile.any_scid:
        profile = _with_scid(profile, frames, notes)
    if profile.content is None:
        profile = _with_content(profile, frames, notes)
    return profile, notes


def _kind(frames: U8, notes: list[str]) -> FrameKind:
    # 132.0-B-3 §4.1.2.2.2, 732.0-B-4 §4.1.2.2.2, 732.1-B-2 §4.1.2.2.2: versions 00, 01, 1100.
    first = frames[:, 0] if len(frames) else np.zeros(0, np.uint8)
    votes: dict[FrameKind, int] = {
        "tm": int(np.count_nonzero(first >> 6 == 0)),
        "aos": int(np.count_nonzero(first >> 6 == 1)),
        "uslp": int(np.count_nonzero(first >> 4 == 12)),
    }
    kind = max(votes, key=lambda name: votes[name])
    notes.append(
        f"frames taken for {_KIND_NAMES[kind]}: {votes[kind]} of the first {len(frames)} have its "
        "version number (--frames)"
    )
    return kind


def _with_fecf(profile: LinkProfile, frames: U8, notes: list[str]) -> LinkProfile:
    for fecf in ("crc16", "crc32") if profile.kind == "uslp" else ("crc16",):
        trial = replace(profile, fecf=fecf)
        try:
            good = int(np.count_nonzero(fecf_ok(frames, trial.frame_parameters())))
        except LocalError:
            continue  # the frame is too short to hold one
        # One agreement in 65,536 is chance; half of the frames is not.
        if good > len(frames) // 2:
            notes.append(
                f"FECF taken for present ({fecf}): it agrees in {good} of the first {len(frames)} "
                "frames (--fecf)"
            )
            return trial
    notes.append(f"FECF taken for absent: it does not agree in {len(frames)} frames (--fecf)")
    return replace(profile, fecf="absent")


def _with_scid(profile: LinkProfile, frames: U8, notes: list[str]) -> LinkProfile:
    index = index_frames(frames, profile.frame_parameters())
    found = index.scid[index.usable]
    if not len(found):
        notes.append("no intact frame among the first: every SCID is accepted (--scid)")
        return replace(profile, any_scid=True)
    values, counts = np.unique(found, return_counts=True)
    best = int(np.argmax(counts))
    scid = int(values[best])
    notes.append(
        f"SCID taken for {scid} ({scid:#x}): the most frequent, in {int(counts[best])} of the "
        f"first {len(frames)} frames (--scid)"
    )
    return replace(profile, scid=scid)


def _with_content(profile: LinkProfile, frames: U8, notes: list[str]) -> LinkProfile:
    """By virtual channel: packets found by pointer, whole packets, or neither."""
    followed = index_frames(frames, profile.frame_parameters())
    aligned = index_frames(
        frames,
        replace(profile, content="aligned-packets").frame_parameters(),
    )
    answers: dict[int, Content] = {}
    for vcid in np.unique(followed.vcid[followed.usable]).tolist():
        if vcid in profile.vc_content:
            continue
        rows = np.flatnonzero(
            followed.usable & (followed.vcid == vcid) & (followed.first_header_pointer != FHP_IDLE)
        )
        if len(rows) < 2 or not (followed.first_header_pointer[rows] > 0).any():
            continue
        whole = _whole_packets(frames, aligned, rows)
        if whole >= AGREEMENT * len(rows):
            answers[vcid] = "aligned-packets"
            notes.append(
                f"VC {vcid}: in {whole} of the first {len(rows)} frames one packet fills the data "
                "field whatever the first header pointer says; the pointer is ignored (--content)"
            )
    if answers and set(answers) == set(np.unique(followed.vcid[followed.usable]).tolist()):
        # All that was seen: channels that come later are taken for the same.
        return replace(profile, content="aligned-packets")
    return replace(profile, content="packets", vc_content={**profile.vc_content, **answers})


def _whole_packets(frames: U8, index: FrameIndex, rows: npt.NDArray[np.intp]) -> int:
    """In how many of the frames one space packet is exactly as long as the data zone."""
    start = index.zone_start[rows]
    room = index.zone_end[rows] - start
    fits = room >= 7
    rows, start, room = rows[fits], start[fits], room[fits]
    # 133.0-B-2 §4.1.3.2 and §4.1.3.5.3: version 0; length − 1 of what follows the 6 octets.
    length = frames[rows, start + 4].astype(np.int64) << 8 | frames[rows, start + 5]
    return int(np.count_nonzero((frames[rows, start] >> 5 == 0) & (length + 7 == room)))
