"""Managed parameters of a physical channel: what both ends agree on and no frame says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from protocols.errors import LocalError

FrameKind = Literal["tm", "aos", "uslp"]
Fecf = Literal["absent", "crc16", "crc32"]
#: What the data fields of a virtual channel hold.
#:
#: ``packets``: packets that may span frames, found by the first header pointer (TM with
#: synchronisation flag 0, AOS M_PDU, USLP construction rule 000).
#: ``aligned-packets``: whole packets from the zone's first octet on; the octets where the pointer
#: stands are skipped and not believed (Danuri uses them for something else).
#: ``bitstream``: AOS B_PDU; ``opaque``: VCA_SDU, delivered as it is.
Content = Literal["packets", "aligned-packets", "bitstream", "opaque"]

_KIND_NAMES = get_args(FrameKind)
_FECF_LENGTH: dict[str, int] = {"absent": 0, "crc16": 2, "crc32": 4}
#: Width of the spacecraft identifier: 132.0-B-3 §4.1.2.2, 732.0-B-5 §4.1.2.5.4 (8 bits and 2
#: more in the signalling field, 00 up to issue 4), 732.1-B-3 §4.1.2.2.
_SCID_BITS: dict[str, int] = {"tm": 10, "aos": 10, "uslp": 16}
_VCID_BITS: dict[str, int] = {"tm": 3, "aos": 6, "uslp": 6}
#: The coding layer (131.0-B) and the 11-bit pointer bound TM and AOS to 2,048 octets; the USLP
#: length field counts to 65,536.
_LONGEST: dict[str, int] = {"tm": 2048, "aos": 2048, "uslp": 65536}


@dataclass(frozen=True, slots=True)
class FrameParameters:
    """Parameters of the frames of one physical channel, validated when constructed.

    kind: transfer frame protocol: TM (132.0-B), AOS (732.0-B) or USLP (732.1-B).
    frame_length: octets of the frames as given, FECF included unless `fecf` is ``absent`` (a
        capture whose FECF was checked and removed is ``absent``).
    fecf: frame error control field; 32 bits exist in USLP alone.
    ocf: operational control field present.  AOS only: TM and USLP say it in every frame.
    insert_zone_length: octets of the insert zone (AOS, USLP).
    scid: our spacecraft; frames of others are marked foreign.  None takes every spacecraft.
    frame_header_error_control: AOS header carries its (10,6) code (732.0-B §4.1.2.6).
    frame_count_cycle: AOS counts in 28 bits with the cycle field (732.0-B §4.1.2.5.5).
    content: what every virtual channel holds; `vc_content` gives exceptions by VCID.
    truncated_length: octets of USLP frames with the truncated header (0: none expected); they have
        no FECF, whatever `fecf` says (732.1-B-3 annex D).

    Raises LocalError, naming the value and what is allowed.
    """

    kind: FrameKind
    frame_length: int
    fecf: Fecf = "absent"
    ocf: bool = False
    insert_zone_length: int = 0
    scid: int | None = None
    frame_header_error_control: bool = False
    frame_count_cycle: bool = False
    content: Content = "packets"
    vc_content: Mapping[int, Content] = field(default_factory=dict[int, Content])
    truncated_length: int = 0

    def __post_init__(self) -> None:
        if self.kind not in _KIND_NAMES:
            raise LocalError(f"frame kind {self.kind!r}: one of {', '.join(_KIND_NAMES)} wanted")
        if self.fecf not in _FECF_LENGTH:
            raise LocalError(f"fecf {self.fecf!r}: one of {', '.join(_FECF_LENGTH)} wanted")
        if self.fecf == "crc32" and self.kind != "uslp":
            raise LocalError(f"fecf crc32 is of USLP alone (732.1-B §4.1.6), not of {self.kind}")
        if self.scid is not None and not 0 <= self.scid < 1 << _SCID_BITS[self.kind]:
            raise LocalError(
                f"scid {self.scid}: 0..{(1 << _SCID_BITS[self.kind]) - 1} for {self.kind}"
            )
        if self.kind != "aos" and (self.frame_header_error_control or self.frame_count_cycle):
            raise LocalError(
                f"frame header error control and frame count cycle are AOS fields, not {self.kind}"
            )
        if self.kind == "tm" and self.insert_zone_length:
            raise LocalError("TM frames have a secondary header, no insert zone (132.0-B)")
        if not 0 <= self.insert_zone_length <= 65535:
            raise LocalError(f"insert zone length {self.insert_zone_length}: 0..65535 wanted")
        for vcid, content in [*self.vc_content.items(), (0, self.content)]:
            if content not in get_args(Content):
                raise LocalError(
                    f"content {content!r}: one of {', '.join(get_args(Content))} wanted"
                )
            if content == "bitstream" and self.kind != "aos":
                raise LocalError(f"bitstream data is an AOS service, not {self.kind}")
            if not 0 <= vcid < 1 << _VCID_BITS[self.kind]:
                raise LocalError(
                    f"vcid {vcid}: 0..{(1 << _VCID_BITS[self.kind]) - 1} for {self.kind}"
                )
        if not self.shortest_length <= self.frame_length <= _LONGEST[self.kind]:
            raise LocalError(
                f"frame length {self.frame_length}: {self.shortest_length}..{_LONGEST[self.kind]} "
                f"for {self.kind} with these fields"
            )
        if self.truncated_length and (self.kind != "uslp" or self.truncated_length < 6):
            raise LocalError(
                f"truncated length {self.truncated_length}: USLP alone, 6 octets or more (annex D)"
            )

    @property
    def fecf_length(self) -> int:
        """Octets of the frame error control field: 0, 2 or 4."""
        return _FECF_LENGTH[self.fecf]

    @property
    def header_length(self) -> int:
        """Octets before the insert zone; for USLP without a frame count."""
        return {"tm": 6, "aos": 8 if self.frame_header_error_control else 6, "uslp": 7}[self.kind]

    @property
    def shortest_length(self) -> int:
        """Octets of a frame with one octet of data; for USLP without frame count and pointer."""
        content = {"tm": 1, "aos": 3, "uslp": 2}[self.kind]
        ocf = 4 if self.ocf and self.kind == "aos" else 0
        return self.header_length + self.insert_zone_length + content + ocf + self.fecf_length

    @property
    def vcid_count(self) -> int:
        """How many virtual channels the protocol can name: 8 or 64."""
        return 1 << _VCID_BITS[self.kind]

    def content_of(self, vcid: int) -> Content:
        return self.vc_content.get(vcid, self.content)
