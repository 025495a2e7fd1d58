"""Link profiles: what ground and spacecraft have agreed on (CCSDS: managed parameters).

A profile comes from `ground/missions/NAME.toml`, from command-line flags, or from a mission with
flags laid over it.  Every value is checked once, here; the message names the value, what is
allowed, and the file or flag it came from.  What nobody gave stays open (None): the chain settles
it from the first frames and says so (`ground/receive/survey.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from ground.documents import toml_of
from ground.receive.codewords import BlockDecoder
from ground.receive.link_security import LinkSecurity
from ground.receive.profile_settings import SETTINGS
from protocols.coding.codeblocks import LONGEST_SLICED, CodeblockCoding, marker_of
from protocols.coding.ldpc import LdpcCode
from protocols.coding.randomiser import RandomiserKind
from protocols.coding.reed_solomon import ReedSolomon
from protocols.coding.turbo import LENGTHS, TurboCode
from protocols.errors import LocalError
from protocols.frames.parameters import Content, Fecf, FrameKind, FrameParameters
from protocols.frames.sdls_frames import plain_parameters
from protocols.physical.waveform import Modulation, Waveform

if TYPE_CHECKING:
    from protocols.coding.convolutional import ConvolutionalCode
    from protocols.physical.demodulator import Reception

MISSIONS = Path(__file__).resolve().parents[1] / "missions"

#: 131.0-B-5 §9.3.7 figure 9-1: the 32-bit marker of uncoded, convolutional and RS links.
ASM = bytes.fromhex("1ACFFC1D")

InputKind = Literal["cadu", "codewords", "frames", "packets", "samples"]


@dataclass(frozen=True, slots=True)
class CodingParameters:
    """Synchronisation and channel coding (131.0-B-5), as far as the ground undoes it here.

    marker_errors: bits of the marker that may be wrong; flywheel: markers missed in a row before
    synchronisation is given up; inverted: accept the complement of the stream as well.
    known_prefix: what the Reed-Solomon encoder covered before the block (`BlockDecoder`).
    codeblocks: turbo or LDPC, with the randomiser and the marker of its codeblocks; the latter is
    the frames' `asm` unless a stream of frames is sliced.
    """

    asm: bytes = ASM
    randomiser: RandomiserKind | Literal["none"] = "none"
    reed_solomon: ReedSolomon | None = None
    known_prefix: bytes = b""
    codeblocks: CodeblockCoding | None = None
    bit_aligned: bool = True
    marker_errors: int = 2
    flywheel: int = 2
    inverted: bool = True


@dataclass(frozen=True, slots=True)
class RadioParameters:
    """How a carrier is modulated (401.0-B), and the convolutional code outside of `coding`.

    symbol_rate: symbols/s of the modulation: half the channel's bits with QPSK and OQPSK.
    range_hz: the carrier stands within ± this of where it is expected, None: a quarter of the
    symbol rate; rate_hz_s: and drifts by less than this.
    frequency_hz: as it is sent, 0: whatever the radio is tuned to; target, station: whose motion
    shifts it, and where it is heard (`l4 schedule visibility`), empty: no shift is predicted.
    """

    modulation: str
    symbol_rate: float
    shaping: str = "rrc"
    rolloff: float = 0.5
    index_rad: float = 1.0
    subcarrier_hz: float = 0.0
    subcarrier: str = "sine"
    bt: float = 0.5
    convolutional: str = "none"
    range_hz: float | None = None
    rate_hz_s: float = 0.0
    frequency_hz: float = 0.0
    target: str = ""
    station: str = ""

    def reception(self) -> Reception:
        """What the receiver is told."""
        # Here, as below: it brings the compiler along.
        from protocols.physical.demodulator import Reception

        range_hz = self.symbol_rate / 4 if self.range_hz is None else self.range_hz
        return Reception(range_hz=range_hz, rate_hz_s=self.rate_hz_s)

    def waveform(self) -> Waveform:
        """LocalError for values that do not go together."""
        return Waveform(
            Modulation(self.modulation),
            self.symbol_rate,
            shaping=self.shaping,
            rolloff=self.rolloff,
            index_rad=self.index_rad,
            subcarrier_hz=self.subcarrier_hz,
            subcarrier=self.subcarrier,
            bt=self.bt,
        )

    @property
    def code(self) -> ConvolutionalCode | None:
        # Here: most who read a profile never see a symbol, and would wait for the compiler.
        from protocols.coding.convolutional import ConvolutionalCode

        return None if self.convolutional == "none" else ConvolutionalCode(rate=self.convolutional)  # type: ignore[arg-type]


@dataclass(frozen=True)
class LinkProfile:
    """Everything that must be known to turn a link's octets into packets.

    None means "not given"; the survey of the first frames settles `kind`, `fecf`, `scid` and
    `content`.  `frame_parameters()` wants the first two settled.  The other fields of frames are
    those of `FrameParameters`.

    content: what data fields hold, "packets" or, for spacecraft that put whole packets into each
    data field and something else where the pointer belongs, "aligned-packets", "bitstream",
    "opaque"; `vc_content` gives exceptions by VCID.
    packet_versions: packet version numbers to extract, 0 space packets, 7 encapsulation.
    large_reports: APIDs whose packets are PUS reports (ECSS-E-ST-70-41C); those that come in parts,
    by service 13, are put together.
    bit_rate: bits/s of the octets as received; with it a frame's ERT is exact within its chunk.
    input: what the link delivers; None lets `inputs.py` look.
    carrier, carriers: of a spacecraft that sends on several (`ground/receive/carriers.py`).
    security: of frames that come encrypted and authenticated; None: they come plain.
    radio: how its carrier is modulated; None: not known, and only wanted for I/Q samples.
    """

    name: str
    frame_length: int
    kind: FrameKind | None = None
    fecf: Fecf | None = None
    ocf: bool = False
    insert_zone: int = 0
    scid: int | None = None
    any_scid: bool = False
    header_error_control: bool = False
    count_cycle: bool = False
    truncated_length: int = 0
    content: Content | None = None
    vc_content: Mapping[int, Content] = field(default_factory=dict[int, Content])
    packet_versions: tuple[int, ...] = (0, 7)
    large_reports: tuple[int, ...] = ()
    coding: CodingParameters = field(default_factory=CodingParameters)
    input: InputKind | None = None
    carrier: str = ""
    carriers: tuple[str, ...] = ()
    bit_rate: float | None = None
    security: LinkSecurity | None = None
    radio: RadioParameters | None = None
    dictionary: str | None = None
    title: str = ""
    origin: str = ""

    @property
    def open_questions(self) -> tuple[str, ...]:
        """Names of the values that the survey has to settle."""
        wanted = [name for name in ("kind", "fecf", "content") if getattr(self, name) is None]
        if self.scid is None and not self.any_scid:
            wanted.append("scid")
        return tuple(wanted)

    @property
    def block_length(self) -> int:
        """Octets between two sync markers: the codeword block, or the frame if uncoded; those that
        are begun, as turbo 1/3's are no whole number."""
        if self.coding.codeblocks is not None:
            return -(-self.coding.codeblocks.symbols // 8)
        code = self.coding.reed_solomon
        return self.frame_length if code is None else code.block_length

    @property
    def rate(self) -> float:
        """Bits of frames for each bit behind the blocks' markers, without a convolutional code."""
        coding = self.coding.codeblocks
        if coding is None:
            return self.frame_length / self.block_length
        rate = 8 * coding.data_length / coding.symbols
        if coding.sliced:
            rate *= self.frame_length / (self.frame_length + len(self.coding.asm))
        return rate

    def frame_parameters(self) -> FrameParameters:
        """Raises LocalError if the kind of frame or its trailers are still open."""
        if self.kind is None or self.fecf is None:
            missing = [n for n in ("kind", "fecf") if getattr(self, n) is None]
            raise LocalError(f"link profile {self.name!r}: {', '.join(missing)} not settled yet")
        return FrameParameters(
            kind=self.kind,
            frame_length=self.frame_length,
            fecf=self.fecf,
            ocf=self.ocf,
            insert_zone_length=self.insert_zone,
            scid=self.scid,
            frame_header_error_control=self.header_error_control,
            frame_count_cycle=self.count_cycle,
            content=self.content or "packets",
            vc_content=self.vc_content,
            truncated_length=self.truncated_length,
        )

    def describe(self) -> dict[str, Any]:
        """The profile as plain values, for reports and for JSON."""

        def plain(value: Any) -> Any:
            if isinstance(value, bytes):
                return value.hex()
            if isinstance(value, Mapping):
                return {str(k): plain(v) for k, v in cast(Mapping[Any, Any], value).items()}
            if isinstance(value, tuple):
                return list(cast(Iterable[Any], value))
            if isinstance(value, LinkSecurity):
                return value.describe()
            if isinstance(value, (TurboCode, LdpcCode)):
                return str(value)
            if isinstance(value, (CodingParameters, CodeblockCoding, ReedSolomon, RadioParameters)):
                return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
            return value

        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}


@dataclass(frozen=True, slots=True)
class _Setting:
    value: Any
    source: str


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flatten(cast(Mapping[str, Any], value), f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _checked(key: str, value: Any, source: str) -> _Setting:
    if key not in SETTINGS:
        close = [known for known in SETTINGS if known.rsplit(".")[-1] == key.rsplit(".")[-1]]
        hint = f"; did you mean {close[0]}?" if close else ""
        raise LocalError(f"{source}: {key} is not a setting of a link profile{hint}")
    _flag, check, allowed = SETTINGS[key]
    try:
        return _Setting(check(value), source)
    except (ValueError, TypeError, AttributeError):
        raise LocalError(f"{source}: {key} = {value!r}, but {allowed} is allowed") from None


def _build(settings: Mapping[str, _Setting]) -> LinkProfile:
    value = {key: setting.value for key, setting in settings.items()}
    name = value.pop("name", "flags")
    if value.get("link.input") == "packets":
        value.setdefault("frames.frame_length", 0)
    if "frames.frame_length" not in value:
        raise LocalError(
            f"link profile {name!r}: the frame length is not known; give --frame-length N "
            "(octets, FECF included) or --mission NAME"
        )
    parity = value.pop("coding.reed_solomon.parity", None)
    known_prefix = value.pop("coding.reed_solomon.known_prefix", b"")
    code = {
        key.removeprefix("coding.reed_solomon."): value.pop(key)
        for key in list(value)
        if key.startswith("coding.reed_solomon.")
    }
    reed_solomon = None
    if parity or (parity is None and code):
        reed_solomon = _reed_solomon(parity or 32, code, settings)
    try:
        codeblocks = _codeblocks(value)
    except LocalError as error:
        where = {s.source for key, s in settings.items() if key.startswith("coding.")}
        raise LocalError(f"{', '.join(sorted(where))}: {error}") from None
    coding = CodingParameters(
        reed_solomon=reed_solomon,
        known_prefix=known_prefix,
        codeblocks=codeblocks,
        **{k.removeprefix("coding."): value.pop(k) for k in list(value) if k.startswith("coding.")},
    )
    scid = value.pop("frames.scid", None)
    security = {
        key.removeprefix("security."): value.pop(key)
        for key in list(value)
        if key.startswith("security.")
    }
    radio = {
        key.removeprefix("radio."): value.pop(key)
        for key in list(value)
        if key.startswith("radio.")
    }
    profile = LinkProfile(
        name=name,
        frame_length=value.pop("frames.frame_length"),
        packet_versions=value.pop("packets.versions", (0, 7)),
        scid=None if scid == "any" else scid,
        any_scid=scid == "any",
        vc_content=dict.fromkeys(sorted(value.pop("packets.opaque", ())), "opaque"),
        coding=coding,
        security=_security(security, settings) if security else None,
        radio=_radio(name, radio) if radio else None,
        **{key.rsplit(".")[-1]: item for key, item in value.items()},
    )
    sources = sorted({setting.source for setting in settings.values()})
    try:
        _agree(profile)
    except LocalError as error:
        raise LocalError(f"link profile {name!r} (from {', '.join(sources)}): {error}") from None
    return profile


def _radio(name: str, values: dict[str, Any]) -> RadioParameters:
    missing = [key for key in ("modulation", "symbol_rate") if key not in values]
    if missing:
        raise LocalError(
            f"link profile {name!r}: of its radio {' and '.join(missing)} is wanted, too; give "
            + ", ".join(SETTINGS[f"radio.{key}"][0] for key in missing)
        )
    if values.get("target") and not (values.get("station") and values.get("frequency_hz")):
        raise LocalError(
            f"link profile {name!r}: radio.target says whose Doppler shift is predicted; "
            "radio.frequency_hz and radio.station are wanted with it"
        )
    radio = RadioParameters(**values)
    radio.waveform()
    return radio


def _reed_solomon(
    parity: int, code: dict[str, Any], settings: Mapping[str, _Setting]
) -> ReedSolomon:
    try:
        return ReedSolomon(parity=parity, **code)
    except LocalError as error:
        where = {s.source for key, s in settings.items() if key.startswith("coding.reed_solomon.")}
        raise LocalError(f"{', '.join(sorted(where))}: {error}") from None


def _codeblocks(value: dict[str, Any]) -> CodeblockCoding | None:
    """Turbo or LDPC as the settings say, which are taken out of them; of frames that are a
    codeword each the marker is put in where nobody gave it."""
    rate = value.pop("coding.turbo.rate", "none")
    name = value.pop("coding.ldpc.code", "none")
    codewords = value.pop("coding.ldpc.slice", 0)
    csm = value.pop("coding.csm", b"")
    if rate != "none" and name != "none":
        raise LocalError(f"turbo {rate} and LDPC {name}: one code alone allowed")
    if rate == name == "none":
        if codewords or csm:
            raise LocalError("coding.ldpc.slice and coding.csm want a code; give --ldpc as well")
        return None
    if rate != "none":
        length = 8 * value["frames.frame_length"]
        if length not in LENGTHS:
            raise LocalError(
                f"frames.frame_length = {length // 8}, but a turbo codeword carries one of "
                f"{', '.join(str(bits // 8) for bits in LENGTHS)} octets"
            )
        code = TurboCode(rate, length)
    else:
        code = LdpcCode(name)
    if csm and not codewords:
        raise LocalError("coding.csm is of a sliced stream; give --ldpc-slice, or --asm instead")
    if not codewords:
        value.setdefault("coding.asm", marker_of(code))
    return CodeblockCoding(
        code,
        randomiser=value.get("coding.randomiser", "none"),
        codewords=codewords,
        marker=csm if codewords else value["coding.asm"],
    )


def _security(given: dict[str, Any], settings: Mapping[str, _Setting]) -> LinkSecurity:
    missing = [name for name in ("key_file", "spi") if name not in given]
    if missing:
        where = ", ".join(sorted({settings[f"security.{name}"].source for name in given}))
        raise LocalError(
            f"{where}: security.{missing[0]} is wanted with security.{next(iter(given))}"
        )
    return LinkSecurity.load(given["spi"], Path(given["key_file"]), given.get("mac_length", 16))


def _agree(profile: LinkProfile) -> None:
    """The values fit each other."""
    if not profile.coding.asm:
        raise LocalError("coding.asm is empty; a link of bare codewords is --input codewords")
    code = profile.coding.reed_solomon
    if code is None and profile.coding.known_prefix:
        raise LocalError("coding.reed_solomon.known_prefix wants a code; give --rs-parity as well")
    if code is not None:
        BlockDecoder(code, profile.coding.known_prefix)
        if code.data_length != profile.frame_length:
            raise LocalError(
                f"frames.frame_length = {profile.frame_length}, but a Reed-Solomon block with "
                f"parity {code.parity}, interleave {code.interleave} and virtual fill "
                f"{code.virtual_fill} carries {code.data_length} octets"
            )
    if profile.coding.codeblocks is not None:
        _agree_codeblocks(profile, profile.coding.codeblocks)
    if profile.security is not None and profile.input != "packets":
        if profile.open_questions:
            # The survey looks into data fields, which are encrypted.
            raise LocalError(
                f"with security, {', '.join(profile.open_questions)} must be given: nobody can "
                "tell from frames that are encrypted"
            )
        parameters = profile.frame_parameters()
        plain_parameters(parameters, profile.security.agreed(parameters))
    if profile.kind is not None and profile.frame_length:
        # An open question is answered for the check with what asks least of the frame.
        replace(profile, fecf=profile.fecf or "absent").frame_parameters()


def _agree_codeblocks(profile: LinkProfile, coding: CodeblockCoding) -> None:
    if profile.coding.reed_solomon is not None:
        raise LocalError(f"{coding.code} and a Reed-Solomon code: one alone allowed")
    if profile.radio is not None and profile.radio.convolutional != "none":
        raise LocalError(
            f"{coding.code} and radio.convolutional = {profile.radio.convolutional!r}: one alone "
            "allowed"
        )
    length = profile.frame_length
    if coding.sliced:
        # Where the kind of frame is not known yet, what allows most of it.
        longest = LONGEST_SLICED[profile.kind or "uslp"]
        if length > longest:
            raise LocalError(
                f"frames.frame_length = {length}; up to {longest} octets of "
                f"{(profile.kind or 'a').upper()} frame in a sliced stream (131.0-B §11.9)"
            )
    elif length != coding.data_length:
        raise LocalError(
            f"frames.frame_length = {length}, but a codeword of {coding.code} carries "
            f"{coding.data_length} octets; coding.ldpc.slice is for frames of other lengths"
        )


def missions() -> list[str]:
    """Names that `--mission` knows, sorted."""
    return sorted(path.stem for path in MISSIONS.glob("*.toml"))


def _read_mission(name: str | Path) -> dict[str, _Setting]:
    path = Path(name)
    if path.suffix != ".toml":
        path = MISSIONS / f"{name}.toml"
        if not path.is_file():
            raise LocalError(f"mission {str(name)!r} is not known; {', '.join(missions())} are")
        source = f"missions/{path.name}"
    else:
        source = str(path)
    try:
        table = toml_of(path.read_bytes())
    except (OSError, ValueError) as error:
        raise LocalError(f"{source}: {error}") from None
    settings = {k: _checked(k, v, source) for k, v in _flatten(table).items()}
    key_file = settings.get("security.key_file")
    if key_file is not None:
        # Beside the mission file unless it says where.
        beside = str(path.parent / key_file.value)
        settings["security.key_file"] = _Setting(beside, source)
    target = settings.get("radio.target")
    if target is not None and (path.parent / target.value).is_file():
        settings["radio.target"] = _Setting(str(path.parent / target.value), source)
    carriers = settings.get("link.carriers")
    if carriers is not None:
        # The same for those that are files; the others are names.
        named = [str(path.parent / one) if one.endswith(".toml") else one for one in carriers.value]
        settings["link.carriers"] = _Setting(tuple(named), source)
    settings.setdefault("name", _Setting(path.stem, source))
    return settings


#: Settings of one code, which another in its place does not have.
_OF_A_CODE = (
    "radio.convolutional",
    "coding.reed_solomon.",
    "coding.turbo.",
    "coding.ldpc.",
    "coding.csm",
    "coding.asm",
)


def load_profile(mission: str | Path | None = None, **flags: Any) -> LinkProfile:
    """Profile of a mission (a name, or the path of a TOML file), of flags, or of both.

    flags: named as on the command line with `_` for `-` (`frames="aos"`, `frame_length=1115`,
    `fecf="present"`, `ocf="absent"`, `insert_zone=0`, `scid=168`, ...); a flag that is None was
    not given.  A flag goes before the mission's value; turbo or ldpc before its
    code, whichever that is.  Raises LocalError, naming the value, what is allowed, and where it
    came from.

    >>> load_profile(frames="aos", frame_length=1115, fecf="present", ocf="absent").open_questions
    ('content', 'scid')
    >>> load_profile("mars2020").scid
    168
    >>> load_profile(frames="sdlc", frame_length=100)
    Traceback (most recent call last):
    protocols.errors.LocalError: --frames: frames.kind = 'sdlc', but one of tm, aos, uslp is allowed
    """
    settings = _read_mission(mission) if mission is not None else {}
    if any(flags.get(code) not in (None, "none") for code in ("turbo", "ldpc")):
        # Another code than the mission's, in its place; so with the marker that belongs to it.
        for key in list(settings):
            if key.startswith(_OF_A_CODE):
                del settings[key]
    by_flag = {flag: key for key, (flag, _check, _allowed) in SETTINGS.items()}
    for name, value in flags.items():
        if value is None:
            continue
        flag = "--" + name.replace("_", "-")
        if flag not in by_flag:
            raise LocalError(f"{flag} is not a flag of a link profile")
        settings[by_flag[flag]] = _checked(by_flag[flag], value, flag)
    return _build(settings)
