"""Settings of a link profile, one row each: key in the file, flag, how its value is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocols.coding.codeblocks import MOST_CODEWORDS
from protocols.coding.ldpc import LDPC_CODES
from protocols.coding.turbo import OUTPUTS
from protocols.physical.waveform import Modulation


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


def _names(value: Any) -> tuple[str, ...]:
    items: Any = value.split(",") if isinstance(value, str) else value
    return tuple(_text(item) for item in items)


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


def _number(value: Any) -> float:
    number = float(value)
    if not 0 <= number < 1e12:
        raise ValueError
    return number


def _parity(value: Any) -> int:
    if isinstance(value, bool) or int(value) not in (0, 16, 32):
        raise ValueError
    return int(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _ldpc(value: Any) -> str:
    if value not in ("none", *LINK_LDPC_CODES):
        raise ValueError
    return value


#: Telecommand's are none of a downlink.
LINK_LDPC_CODES = tuple(name for name in LDPC_CODES if not name.startswith("TC "))
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
    "link.carrier": ("--carrier", _text, "text"),
    "link.carriers": ("--carriers", _names, "names of missions"),
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
    "radio.subcarrier": ("--subcarrier", *_choice("sine", "square")),
    "radio.bt": ("--bt", _rate, "a number 0.2..1"),
    "radio.range_hz": ("--range-hz", _number, "hertz, 0 or more"),
    "radio.rate_hz_s": ("--rate-hz-s", _number, "hertz a second, 0 or more"),
    "radio.frequency_hz": ("--frequency-hz", _rate, "hertz above 0"),
    "radio.target": ("--target", _text, "l4, l4-orbit, a body, or the path of an OEM or TLE file"),
    "radio.station": ("--station", _text, "the name of a station (`l4 schedule stations`)"),
    "radio.convolutional": ("--convolutional", *_choice("none", *_RATES)),
    "coding.asm": ("--asm", _hex, "hexadecimal octets"),
    "coding.randomiser": ("--randomiser", *_choice("none", "ccsds", "ccsds-long")),
    "coding.turbo.rate": ("--turbo", *_choice("none", *OUTPUTS)),
    "coding.ldpc.code": ("--ldpc", _ldpc, "one of none, " + ", ".join(LINK_LDPC_CODES)),
    "coding.ldpc.slice": ("--ldpc-slice", *_integer(0, MOST_CODEWORDS)),
    "coding.csm": ("--csm", _hex, "hexadecimal octets"),
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
