"""Link profiles: what ground and spacecraft have agreed on (CCSDS: managed parameters).

A profile comes from `ground/missions/NAME.toml`, from command-line flags, or from a mission with
flags laid over it.  Every value is checked once, here; the message names the value, what is
allowed, and the file or flag it came from.  What nobody gave stays open (None): the chain settles
it from the first frames and says so (`ground/receive/survey.py`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from ground.receive.codewords import BlockDecoder
from ground.receive.link_security import LinkSecurity
from protocols.coding.reed_solomon import ReedSolomon
from protocols.errors import LocalError
from protocols.frames.parameters import Content, Fecf, FrameKind, FrameParameters
from protocols.frames.sdls_frames import plain_parameters
from protocols.physical.waveform import Modulation, Waveform

if TYPE_CHECKING:
    from protocols.coding.convolutional import ConvolutionalCode

MISSIONS = Path(__file__).resolve().parents[1] / "missions"

#: 131.0-B-5 §9.3.7 figure 9-1: the 32-bit marker of uncoded, convolutional and RS links.
ASM = bytes.fromhex("1ACFFC1D")

InputKind = Literal["cadu", "codewords", "frames", "packets"]


@dataclass(frozen=True, slots=True)
class CodingParameters:
    """Synchronisation and channel coding (131.0-B-5), as far as the ground undoes it here.

    marker_errors: bits of the marker that may be wrong; flywheel: markers missed in a row before
    synchronisation is given up; inverted: accept the complement of the stream as well.
    known_prefix: what the Reed-Solomon encoder covered before the block (`BlockDecoder`).
    """

    asm: bytes = ASM
    randomiser: Literal["none", "ccsds", "ccsds-long"] = "none"
    reed_solomon: ReedSolomon | None = None
    known_prefix: bytes = b""
    bit_aligned: bool = True
    marker_errors: int = 2
    flywheel: int = 2
    inverted: bool = True


@dataclass(frozen=True, slots=True)
class RadioParameters:
    """How a carrier is modulated (401.0-B), and the convolutional code outside of `coding`.

    symbol_rate: symbols/s of the modulation: half the channel's bits with QPSK and OQPSK.
    """

    modulation: str
    symbol_rate: float
    shaping: str = "rrc"
    rolloff: float = 0.5
    index_rad: float = 1.0
    subcarrier_hz: float = 0.0
    convolutional: str = "none"

    def waveform(self) -> Waveform:
        """LocalError for values that do not go together."""
        return Waveform(
            Modulation(self.modulation),
            self.symbol_rate,
            shaping=self.shaping,
            rolloff=self.rolloff,
            index_rad=self.index_rad,
            subcarrier_hz=self.subcarrier_hz,
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
        """Octets between two sync markers: the codeword block, or the frame if uncoded."""
        coding = self.coding.reed_solomon
        return self.frame_length if coding is None else coding.block_length

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
            if isinstance(value, (CodingParameters, ReedSolomon, RadioParameters)):
                return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
            return value

        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}


# --- one row per setting: its key in the file, its flag, how its value is checked -------------


def _choice(*allowed: str) -> tuple[Callable[[Any], Any], str]:
    def check(value: Any) -> Any:
        lowered = value.lower() if isinstance(value, str) else value
        if lowered not in allowed:
            raise ValueError
        return lowered

    return check, "one of " + ", ".join(allowed)


def _integer(low: int, high: int, *, word: str = "") -> tuple[Callable[[Any], Any], str]:
    def check(value: Any) -> Any:
        if word and value == word:
            return word
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise ValueError
        number = int(value, 0) if isinstance(value, str) else value
        if not low <= number <= high:
            raise ValueError
        return number

    return check, f"an integer {low}..{high}" + (f" or {word}" if word else "")


def _switch(on: Any, off: Any, **more: Any) -> tuple[Callable[[Any], Any], str]:
    table: dict[Any, Any] = {"present": on, True: on, "absent": off, False: off, **more}

    def check(value: Any) -> Any:
        key = value.lower() if isinstance(value, str) else value
        if not isinstance(key, (str, bool)) or key not in table:
            raise ValueError
        return table[key]

    return check, "one of " + ", ".join(["present", "absent", *more])


def _hex(value: Any) -> bytes:
    if not isinstance(value, str):
        raise ValueError
    return bytes.fromhex(value.removeprefix("0x"))


def _channels(value: Any) -> frozenset[int]:
    items: Any = [value] if isinstance(value, int) else value
    items = items.split(",") if isinstance(items, str) else items
    check, _ = _integer(0, 63)
    return frozenset(check(item) for item in items)


def _versions(value: Any) -> tuple[int, ...]:
    items: Any = [value] if isinstance(value, int) else value
    items = items.split(",") if isinstance(items, str) else items
    check, _ = _integer(0, 7)
    return tuple(sorted({check(item) for item in items}))


def _apids(value: Any) -> tuple[int, ...]:
    items: Any = [value] if isinstance(value, int) else value
    items = items.split(",") if isinstance(items, str) else items
    check, _ = _integer(0, 2046)
    return tuple(sorted({check(item) for item in items}))


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("yes", "no"):
        return value == "yes"
    raise ValueError


def _rate(value: Any) -> float:
    rate = float(value)
    if not 0 < rate < 1e12:
        raise ValueError
    return rate


def _parity(value: Any) -> int:
    if isinstance(value, bool) or int(value) not in (0, 16, 32):
        raise ValueError
    return int(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


#: 131.0-B-5 §3.3, §3.4.
_RATES = ("1/2", "2/3", "3/4", "5/6", "7/8")
_CONTENTS = ("packets", "aligned-packets", "bitstream", "opaque")

#: key in the file -> (flag, check, what is allowed).
SETTINGS: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "name": ("--name", _text, "text"),
    "title": ("--title", _text, "text"),
    "origin": ("--origin", _text, "text"),
    "dictionary": ("--dictionary", _text, "the name of a dictionary"),
    "frames.kind": ("--frames", *_choice("tm", "aos", "uslp")),
    "frames.frame_length": ("--frame-length", *_integer(7, 65536)),
    "frames.fecf": ("--fecf", *_switch("crc16", "absent", crc16="crc16", crc32="crc32")),
    "frames.ocf": ("--ocf", *_switch(True, False)),
    "frames.insert_zone": ("--insert-zone", *_integer(0, 65535)),
    "frames.scid": ("--scid", *_integer(0, 65535, word="any")),
    "frames.header_error_control": ("--header-error-control", *_switch(True, False)),
    "frames.count_cycle": ("--count-cycle", *_switch(True, False)),
    "frames.truncated_length": ("--truncated-length", *_integer(0, 65536)),
    "packets.content": ("--content", *_choice(*_CONTENTS)),
    "packets.versions": ("--packet-versions", _versions, "packet version numbers 0..7"),
    "packets.large_reports": ("--large-reports", _apids, "APIDs 0..2046"),
    "packets.opaque": ("--opaque-vc", _channels, "virtual channels 0..63"),
    "link.input": ("--input", *_choice("cadu", "codewords", "frames", "packets")),
    "link.bit_rate": ("--bit-rate", _rate, "bits per second above 0"),
    "security.key_file": ("--key-file", _text, "the path of a file with a key"),
    "security.spi": ("--spi", *_integer(1, 65534)),
    "security.mac_length": ("--mac-length", *_integer(8, 16)),
    "radio.modulation": ("--modulation", *_choice(*Modulation)),
    "radio.symbol_rate": ("--symbol-rate", _rate, "symbols a second, above 0"),
    "radio.shaping": ("--shaping", *_choice("rrc", "nrz")),
    "radio.rolloff": ("--rolloff", _rate, "a number 0.1..1"),
    "radio.index_rad": ("--index-rad", _rate, "radians 0.1..1.5"),
    "radio.subcarrier_hz": ("--subcarrier-hz", _rate, "hertz above 0"),
    "radio.convolutional": ("--convolutional", *_choice("none", *_RATES)),
    "coding.asm": ("--asm", _hex, "hexadecimal octets"),
    "coding.randomiser": ("--randomiser", *_choice("none", "ccsds", "ccsds-long")),
    "coding.bit_aligned": ("--bit-aligned", _boolean, "yes or no"),
    "coding.marker_errors": ("--marker-errors", *_integer(0, 8)),
    "coding.flywheel": ("--flywheel", *_integer(0, 64)),
    "coding.inverted": ("--inverted", _boolean, "yes or no"),
    "coding.reed_solomon.parity": ("--rs-parity", _parity, "one of 0, 16, 32"),
    "coding.reed_solomon.interleave": ("--rs-interleave", *_integer(1, 8)),
    "coding.reed_solomon.virtual_fill": ("--rs-virtual-fill", *_integer(0, 238)),
    "coding.reed_solomon.basis": ("--rs-basis", *_choice("dual", "conventional")),
    "coding.reed_solomon.known_prefix": ("--rs-known-prefix", _hex, "hexadecimal octets"),
}


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
    coding = CodingParameters(
        reed_solomon=reed_solomon,
        known_prefix=known_prefix,
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
        with path.open("rb") as file:
            table = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LocalError(f"{source}: {error}") from None
    settings = {k: _checked(k, v, source) for k, v in _flatten(table).items()}
    key_file = settings.get("security.key_file")
    if key_file is not None:
        # Beside the mission file unless it says where.
        beside = str(path.parent / key_file.value)
        settings["security.key_file"] = _Setting(beside, source)
    settings.setdefault("name", _Setting(path.stem, source))
    return settings


def load_profile(mission: str | Path | None = None, **flags: Any) -> LinkProfile:
    """Profile of a mission (a name, or the path of a TOML file), of flags, or of both.

    flags: named as on the command line with `_` for `-` (`frames="aos"`, `frame_length=1115`,
    `fecf="present"`, `ocf="absent"`, `insert_zone=0`, `scid=168`, ...); a flag that is None was
    not given.  A flag goes before the mission's value.  Raises LocalError, naming the value,
    what is allowed, and where it came from.

    >>> load_profile(frames="aos", frame_length=1115, fecf="present", ocf="absent").open_questions
    ('content', 'scid')
    >>> load_profile("mars2020").scid
    168
    >>> load_profile(frames="sdlc", frame_length=100)
    Traceback (most recent call last):
    protocols.errors.LocalError: --frames: frames.kind = 'sdlc', but one of tm, aos, uslp is allowed
    """
    settings = _read_mission(mission) if mission is not None else {}
    by_flag = {flag: key for key, (flag, _check, _allowed) in SETTINGS.items()}
    for name, value in flags.items():
        if value is None:
            continue
        flag = "--" + name.replace("_", "-")
        if flag not in by_flag:
            raise LocalError(f"{flag} is not a flag of a link profile")
        settings[by_flag[flag]] = _checked(by_flag[flag], value, flag)
    return _build(settings)
