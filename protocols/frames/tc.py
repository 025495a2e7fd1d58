"""TC transfer frames, CCSDS 232.0-B-4.

>>> link = TcParameters(scid=0x4C)
>>> frame = TcFrame(vcid=1, sequence_number=7, map_id=2, data=b"\\x01\\x02")
>>> octets = build(frame, link)
>>> octets.hex()
'004c040907c201021aad'
>>> parse(octets, link) == frame
True
"""

# construct ships no types: what comes out of it is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportOperatorIssue=false
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, Final

from construct import BitsInteger, BitStruct, Flag
from construct.core import ConstructError

from protocols.coding.crc import crc16
from protocols.errors import LocalError, RemoteError

#: Transfer frame primary header, 232.0-B-4 §4.1.2; the length is that of the frame − 1.
TC_PRIMARY_HEADER: Final = BitStruct(
    "version" / BitsInteger(2),
    "bypass_flag" / Flag,
    "control_command_flag" / Flag,
    "spare" / BitsInteger(2),
    "scid" / BitsInteger(10),
    "vcid" / BitsInteger(6),
    "length" / BitsInteger(10),
    "sequence_number" / BitsInteger(8),
)
#: §4.1.3.2.2
TC_SEGMENT_HEADER: Final = BitStruct("sequence_flags" / BitsInteger(2), "map_id" / BitsInteger(6))
TC_VERSION: Final = 0
HEADER_LENGTH: Final = 5
FECF_LENGTH: Final = 2
#: §4.1.2.7: ten bits hold the length − 1.
LONGEST_FRAME: Final = 1024


class FrameType(Enum):
    """§4.1.2.3.1: (bypass flag, control command flag); (0, 1) is reserved."""

    AD = (False, False)
    BD = (True, False)
    BC = (True, True)


class SequenceFlags(IntEnum):
    """§4.1.3.2.2.2: which part of a service data unit the frame data unit holds."""

    CONTINUING = 0
    FIRST = 1
    LAST = 2
    UNSEGMENTED = 3


@dataclass(frozen=True)
class TcParameters:
    """What both ends of a TC link agree on; validated here.

    longest: octets of a frame.  fecf: whether frames end with a frame error control field.
    without_segment_header: virtual channels whose frames have no segment header.
    vcids: virtual channels in use.
    """

    scid: int
    longest: int = LONGEST_FRAME
    fecf: bool = True
    without_segment_header: frozenset[int] = frozenset()
    vcids: frozenset[int] = frozenset(range(64))

    def __post_init__(self) -> None:
        if not 0 <= self.scid < 1 << 10:
            raise LocalError(f"scid {self.scid}: 0..1023 for TC (232.0-B-4 §4.1.2.5)")
        for vcid in sorted(self.vcids | self.without_segment_header):
            if not 0 <= vcid < 1 << 6:
                raise LocalError(f"vcid {vcid}: 0..63 for TC (232.0-B-4 §4.1.2.6)")
        if not self.vcids:
            raise LocalError("a TC link without virtual channels")
        shortest = HEADER_LENGTH + 2 + self.fecf_length
        if not shortest <= self.longest <= LONGEST_FRAME:
            raise LocalError(
                f"longest TC frame {self.longest}: {shortest}..{LONGEST_FRAME} (232.0-B-4 §4.1.2.7)"
            )

    @property
    def fecf_length(self) -> int:
        return FECF_LENGTH if self.fecf else 0

    def has_segment_header(self, vcid: int) -> bool:
        """Of its AD and BD frames."""
        return vcid not in self.without_segment_header

    def room(self, vcid: int) -> int:
        """Octets of data in the longest frame of a virtual channel."""
        header = HEADER_LENGTH + self.has_segment_header(vcid)
        return self.longest - header - self.fecf_length


@dataclass(frozen=True, slots=True)
class TcFrame:
    """One TC transfer frame.

    data: the frame data field after the segment header, security header and trailer included.
    map_id and sequence_flags are the segment header's and mean nothing where there is none.
    """

    vcid: int
    data: bytes
    frame_type: FrameType = FrameType.AD
    sequence_number: int = 0
    map_id: int = 0
    sequence_flags: SequenceFlags = SequenceFlags.UNSEGMENTED


def _has_segment_header(frame_type: FrameType, vcid: int, parameters: TcParameters) -> bool:
    """§4.1.3.2.1: control commands have none."""
    return frame_type is not FrameType.BC and parameters.has_segment_header(vcid)


def frame_header(frame: TcFrame, parameters: TcParameters, length: int) -> bytes:
    """Primary and segment header of a frame of `length` octets.

    Raises LocalError for a value that does not fit.
    """
    if frame.vcid not in parameters.vcids:
        raise LocalError(f"vcid {frame.vcid} is not in use on this link")
    if frame.frame_type is not FrameType.AD and frame.sequence_number:
        # §4.1.2.8.3
        raise LocalError(f"sequence number {frame.sequence_number} of a type-B frame: 0 wanted")
    if not frame.data:
        raise LocalError("TC frame without data")
    if length > parameters.longest:
        raise LocalError(f"TC frame of {length} octets, at most {parameters.longest} agreed")
    bypass, control_command = frame.frame_type.value
    try:
        header = TC_PRIMARY_HEADER.build(
            {
                "version": TC_VERSION,
                "bypass_flag": bypass,
                "control_command_flag": control_command,
                "spare": 0,
                "scid": parameters.scid,
                "vcid": frame.vcid,
                "length": length - 1,
                "sequence_number": frame.sequence_number,
            }
        )
        if _has_segment_header(frame.frame_type, frame.vcid, parameters):
            header += TC_SEGMENT_HEADER.build(
                {"sequence_flags": frame.sequence_flags, "map_id": frame.map_id}
            )
    except ConstructError as error:
        raise LocalError(f"TC frame header: {error}") from error
    return header


def build(frame: TcFrame, parameters: TcParameters) -> bytes:
    """Octets of a TC transfer frame, FECF computed.  Raises LocalError for what does not fit."""
    segment = _has_segment_header(frame.frame_type, frame.vcid, parameters)
    length = HEADER_LENGTH + segment + len(frame.data) + parameters.fecf_length
    octets = frame_header(frame, parameters, length) + frame.data
    return octets + crc16(octets).to_bytes(2, "big") if parameters.fecf else octets


def parse(octets: bytes, parameters: TcParameters) -> TcFrame:
    """One TC transfer frame, all checks of frame validation (§4.4) made.

    Raises RemoteError for a wrong length, version, spare, spacecraft or virtual channel, reserved
    flags, no data, and a FECF that does not agree.
    """
    shortest = HEADER_LENGTH + 1 + parameters.fecf_length
    if not shortest <= len(octets) <= parameters.longest:
        raise RemoteError(
            f"TC frame of {len(octets)} octets, {shortest}..{parameters.longest} agreed",
            data=octets,
        )
    header: Any = TC_PRIMARY_HEADER.parse(octets)
    if header.version != TC_VERSION:
        raise RemoteError(f"transfer frame version {header.version}, 0 (TC) wanted", data=octets)
    if header.length + 1 != len(octets):
        raise RemoteError(
            f"TC frame says {header.length + 1} octets and has {len(octets)}", data=octets, offset=2
        )
    if parameters.fecf:
        found, wanted = int.from_bytes(octets[-2:], "big"), crc16(octets[:-2])
        if found != wanted:
            raise RemoteError(f"FECF {found:#06x}, computed {wanted:#06x}", data=octets)
    flags = (bool(header.bypass_flag), bool(header.control_command_flag))
    if header.spare or flags == (False, True):
        raise RemoteError("reserved bits set in the TC frame header", data=octets)
    if header.scid != parameters.scid:
        raise RemoteError(f"scid {header.scid}, {parameters.scid} is ours", data=octets)
    vcid = int(header.vcid)
    if vcid not in parameters.vcids:
        raise RemoteError(f"vcid {vcid} is not in use on this link", data=octets, offset=2)
    frame_type = FrameType(flags)
    if frame_type is not FrameType.AD and header.sequence_number:
        raise RemoteError("sequence number in a type-B frame", data=octets, offset=4)
    start, map_id, sequence_flags = HEADER_LENGTH, 0, SequenceFlags.UNSEGMENTED
    if _has_segment_header(frame_type, vcid, parameters):
        segment: Any = TC_SEGMENT_HEADER.parse(octets[start : start + 1])
        start += 1
        map_id, sequence_flags = int(segment.map_id), SequenceFlags(segment.sequence_flags)
    data = octets[start : len(octets) - parameters.fecf_length]
    if not data:
        raise RemoteError("TC frame without data", data=octets, offset=start)
    return TcFrame(vcid, data, frame_type, int(header.sequence_number), map_id, sequence_flags)


@dataclass(frozen=True)
class DelimitedFrames:
    """Frames of one CLTU, not yet validated, and what is after the last one.

    reason: why `rest` holds no frame; empty if it is fill, or nothing.
    """

    frames: tuple[bytes, ...]
    rest: bytes
    reason: str = ""


def delimit(data: bytes, parameters: TcParameters) -> DelimitedFrames:
    """Frame delimiting and fill removal, §4.4: frames of decoded octets, one after another.

    Fill can be taken for no frame: its first two bits are no version of a TC frame.
    """
    frames: list[bytes] = []
    at = 0
    while at < len(data) and data[at] >> 6 == TC_VERSION:
        rest = data[at:]
        if len(rest) < HEADER_LENGTH:
            return DelimitedFrames(tuple(frames), rest, "cut within a frame header")
        length = ((rest[2] & 0x3) << 8 | rest[3]) + 1
        if not HEADER_LENGTH < length <= parameters.longest:
            return DelimitedFrames(tuple(frames), rest, f"frame length {length} is not allowed")
        if length > len(rest):
            return DelimitedFrames(
                tuple(frames), rest, f"cut within a frame: {len(rest)} of {length} octets"
            )
        frames.append(rest[:length])
        at += length
    rest = data[at:]
    return DelimitedFrames(tuple(frames), rest, "" if not rest.strip(b"\x55") else "not fill")


#: §4.1.3.3.2
UNLOCK: Final = b"\x00"
#: §4.1.3.3.3, followed by V(R).
_SET_VR: Final = b"\x82\x00"


@dataclass(frozen=True, slots=True)
class Unlock:
    """Control command: FARM-1 shall leave its lockout."""

    def build(self) -> bytes:
        return UNLOCK


@dataclass(frozen=True, slots=True)
class SetVr:
    """Control command: FARM-1 shall expect `value` next."""

    value: int

    def build(self) -> bytes:
        if not 0 <= self.value < 256:
            raise LocalError(f"V(R) {self.value}: 0..255 (232.0-B-4 §4.1.3.3.3)")
        return _SET_VR + bytes([self.value])


ControlCommand = Unlock | SetVr


def parse_control_command(data: bytes) -> ControlCommand:
    """Of a type-BC frame's data.  Raises RemoteError for what is none."""
    if data == UNLOCK:
        return Unlock()
    if len(data) == 3 and data[:2] == _SET_VR:
        return SetVr(data[2])
    raise RemoteError("no control command (232.0-B-4 §4.1.3.3)", data=data)
