"""Link security on transfer frames: TC, and TM, AOS and USLP.

The masks here are those of associations that name none: they cover what is known at ApplySecurity
(identifiers, bypass flags, segment header, first header pointer) and leave out what is settled
below it: lengths, counts, sequence numbers, secondary headers, insert zones, that there is an OCF.
The number in the security header stands in for counts.

TC: security is applied to a unit before FOP-1 numbers it, so that a retransmission is the same
octets, and processed after FARM-1 has accepted it, so that a retransmission is no replay.  Control
commands (type BC) carry none.

TM, AOS and USLP: frames are made plain, shorter by `SaParameters.overhead`, and secured as octets;
the receiving end removes security and has plain frames again, for `parse`, `index` and whatever
else knows nothing of security.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from protocols.errors import LocalError, RemoteError
from protocols.frames.columns import U8, Bool
from protocols.frames.error_control import append_fecf, check_fecf
from protocols.frames.parameters import FrameParameters
from protocols.frames.sdls import Channel, Processed, Refusal, SaParameters, SecurityEndpoint
from protocols.frames.tc import FrameType, TcFrame, TcParameters

_TC, _TM, _AOS, _USLP = 0, 0, 1, 12


def _tc_parts(frame: TcFrame, parameters: TcParameters) -> tuple[Channel, bytes, bytes]:
    """Channel, octets before the security header and their mask.

    What FOP-1 and the end of the frame decide, length and sequence number, is 0 here.
    """
    if frame.frame_type is FrameType.BC:
        raise LocalError("control commands carry no link security")
    bypass, control_command = frame.frame_type.value
    flags = bypass << 13 | control_command << 12
    before = (flags | parameters.scid).to_bytes(2, "big") + bytes((frame.vcid << 2, 0, 0))
    mask = bytes((0xFF, 0xFF, 0xFC, 0, 0))
    if not parameters.has_segment_header(frame.vcid):
        return Channel(_TC, parameters.scid, frame.vcid), before, mask
    before += bytes((frame.sequence_flags << 6 | frame.map_id,))
    return Channel(_TC, parameters.scid, frame.vcid, frame.map_id), before, mask + b"\xff"


def protect_tc(
    endpoint: SecurityEndpoint, spi: int, frame: TcFrame, parameters: TcParameters
) -> TcFrame:
    """The frame with security header and trailer around its data, to be given to FOP-1.

    Its type is covered: what says AD has to go to `Fop.send_ad`, BD to `send_bd`.
    """
    channel, before, mask = _tc_parts(frame, parameters)
    return replace(frame, data=endpoint.apply(spi, channel, before, frame.data, mask))


def process_tc(endpoint: SecurityEndpoint, frame: TcFrame, parameters: TcParameters) -> Processed:
    """Of a frame that FARM-1 accepted."""
    channel, before, mask = _tc_parts(frame, parameters)
    return endpoint.process(channel, before, frame.data, mask)


@dataclass(frozen=True)
class _Parts:
    """Where the transfer frame data field of a frame lies, and what protects the rest."""

    channel: Channel
    start: int
    end: int
    mask: bytes


def _parts(octets: bytes, parameters: FrameParameters) -> _Parts:
    """Raises RemoteError for a frame too short for its header, or truncated."""
    shortest = parameters.header_length + parameters.insert_zone_length + parameters.fecf_length
    if len(octets) <= shortest:
        raise RemoteError(f"{parameters.kind} frame of {len(octets)} octets", data=octets)
    first = int.from_bytes(octets[:4], "big")
    ocf = parameters.ocf
    start = parameters.header_length + parameters.insert_zone_length
    if parameters.kind == "tm":
        channel = Channel(_TM, first >> 20 & 0x3FF, first >> 17 & 0x7)
        mask = bytes.fromhex("fffe00007fff")
        ocf = bool(first >> 16 & 1)
        if octets[4] & 0x80:
            start += 1 + (octets[6] & 0x3F)
    elif parameters.kind == "aos":
        upper = octets[5] >> 4 & 0x3
        channel = Channel(_AOS, upper << 8 | first >> 22 & 0xFF, first >> 16 & 0x3F)
        mask = bytes.fromhex("ffff00000030")
    else:
        if first & 1:
            raise RemoteError("a truncated USLP frame carries no link security", data=octets)
        channel = Channel(_USLP, first >> 12 & 0xFFFF, first >> 5 & 0x3F, first >> 1 & 0xF)
        mask = bytes.fromhex("ffffffff0000c0")
        ocf = bool(octets[6] & 0x08)
        start += octets[6] & 0x07
    end = len(octets) - parameters.fecf_length - 4 * ocf
    if start >= end:
        raise RemoteError(f"{parameters.kind} frame without data field", data=octets, offset=start)
    return _Parts(channel, start, end, mask + bytes(start - len(mask)))


def _with_length(octets: bytes, change: int, parameters: FrameParameters) -> bytes:
    """USLP frames say their length − 1 in octets 4 and 5."""
    if parameters.kind != "uslp":
        return octets
    length = int.from_bytes(octets[4:6], "big") + change
    if not 0 <= length <= 0xFFFF:
        raise LocalError(f"USLP frame of {length + 1} octets: at most 65536")
    return octets[:4] + length.to_bytes(2, "big") + octets[6:]


def secure_frame(
    endpoint: SecurityEndpoint, spi: int, octets: bytes, parameters: FrameParameters
) -> bytes:
    """A plain frame of `parameters`, longer by `SaParameters.overhead`, its FECF new."""
    parts = _parts(octets, parameters)
    overhead = endpoint.association(spi).parameters.overhead
    header = _with_length(octets, overhead, parameters)[: parts.start]
    data = octets[parts.start : parts.end]
    field = endpoint.apply(spi, parts.channel, header, data, parts.mask)
    ocf = octets[parts.end : len(octets) - parameters.fecf_length]
    return append_fecf(header + field + ocf, parameters)


def plain_parameters(parameters: FrameParameters, agreed: SaParameters) -> FrameParameters:
    """Frames of a link without their security and their FECF, which `open_frames` has checked."""
    length = parameters.frame_length - parameters.fecf_length - agreed.overhead
    return replace(parameters, frame_length=length, fecf="absent")


def open_frames(
    endpoint: SecurityEndpoint, spi: int, frames: U8, parameters: FrameParameters
) -> tuple[U8, Bool]:
    """TM or AOS frames [n, frame_length] whose FECF agreed, to the plain ones [m, …] of
    `plain_parameters` and which they are, [n].

    Frames of other associations than `spi` are refused, as those that `endpoint` refuses.
    """
    agreed = endpoint.association(spi).parameters
    plain = np.empty((len(frames), plain_parameters(parameters, agreed).frame_length), np.uint8)
    opened = np.zeros(len(frames), np.bool_)
    end = parameters.frame_length - parameters.fecf_length
    count = 0
    for row, frame in enumerate(frames):
        octets = frame.tobytes()
        try:
            parts = _parts(octets, parameters)
        except RemoteError:
            continue
        header = octets[: parts.start]
        field = octets[parts.start : parts.end]
        processed = endpoint.process(parts.channel, header, field, parts.mask)
        if processed.data is None or processed.spi != spi:
            continue
        octets = header + processed.data + octets[parts.end : end]
        plain[count] = np.frombuffer(octets, np.uint8)
        opened[row] = True
        count += 1
    return plain[:count], opened


def open_frame(
    endpoint: SecurityEndpoint, octets: bytes, parameters: FrameParameters
) -> tuple[bytes | None, Refusal | None]:
    """The plain frame of `parameters`, or the reason why there is none.

    Raises RemoteError for what is no such frame at all, its FECF included.
    """
    check_fecf(octets, parameters)
    parts = _parts(octets, parameters)
    header = octets[: parts.start]
    field = octets[parts.start : parts.end]
    processed = endpoint.process(parts.channel, header, field, parts.mask)
    if processed.data is None:
        return None, processed.refusal
    header = _with_length(header, len(processed.data) - len(field), parameters)
    ocf = octets[parts.end : len(octets) - parameters.fecf_length]
    return append_fecf(header + processed.data + ocf, parameters), None
