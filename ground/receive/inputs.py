"""Any capture, opened: what it is, and its octets in order with their times.

`open_input` looks at the first octets and says in one sentence what it took the input for and how
to say otherwise; nothing is taken for granted in silence.

| kind         | octets                                                               |
| ------------ | -------------------------------------------------------------------- |
| `frames`     | transfer frames of one length, back to back                          |
| `codewords`  | Reed-Solomon blocks of one length, back to back                      |
| `cadu`       | a stream with sync markers, aligned to octets or not                 |
| `packets`    | space packets, back to back                                          |
| container    | pcap or pcapng with any of these in UDP payloads or in USER0 packets |
| container    | a capture of ours (pcapng file or directory)                         |
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, cast, get_args

import numpy as np

from ground.receive import datagrams
from ground.receive.capture import APPLICATION, MAX_UNIX_NS, CaptureReader
from ground.receive.carriers import carrier_of, other_carriers
from ground.receive.codeblocks import hard_symbols, synchroniser
from ground.receive.profile import InputKind, LinkProfile
from protocols.coding.sync import FrameSynchroniser
from protocols.errors import LocalError, ProtocolError
from protocols.packets.space_packet import split
from protocols.physical.sample_block import MAGIC
from protocols.timecodes.tai import tai_ns_from_unix_ns

Container = Literal["file", "pcap", "pcapng", "capture"]

#: What `--input` takes: a kind of octets, or a container.
CHOICES = (*get_args(InputKind), "pcap", "capture")

#: Octets read from a file at a time.
READ_OCTETS = 1 << 19

#: Octets and payloads looked at to tell what they are.
SAMPLE_OCTETS = 1 << 18
SAMPLE_PAYLOADS = 500


class Piece(NamedTuple):
    """Octets in the order of the link.

    ert_ns: of the first of them, TAI ns; −1 where the capture does not say.
    consumed: octets of the file used up to here, for progress.
    """

    octets: bytes
    ert_ns: int
    consumed: int


@dataclass
class Input:
    """An opened capture; iterate `pieces` once.

    kind: what the octets are, for `ReceiveChain(input=...)`.
    statement: what was detected and how to override it.
    total_octets: size of the file or files, None for a pipe.
    skipped: what was left out, by reason; grows while pieces are read.
    """

    container: Container
    kind: InputKind
    statement: str
    total_octets: int | None
    pieces: Iterator[Piece]
    skipped: Counter[str] = field(default_factory=Counter[str])
    file: BinaryIO | None = None

    def close(self) -> None:
        """Close the file that `open_input` opened; a stream of the caller's stays open."""
        if self.file is not None:
            self.file.close()

    def __enter__(self) -> Input:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_input(
    source: Path | BinaryIO,
    profile: LinkProfile | None = None,
    *,
    choice: str | None = None,
    port: int | None = None,
) -> Input:
    """Open a file, a capture directory, or a binary stream such as standard input.

    choice: one of CHOICES, from `--input`; None detects.  port: UDP destination port, for pcap.
    profile: gives frame length and marker to look for.  LocalError if the input cannot be opened,
    or cannot be told and nobody said what it is.
    """
    if choice is not None and choice not in CHOICES:
        raise LocalError(f"--input {choice}: one of {', '.join(CHOICES)} is allowed")
    if isinstance(source, Path) and source.is_dir():
        return _open_capture(source, profile, choice)
    if not isinstance(source, Path):
        return _open_stream(source, None, profile, choice, port)
    try:
        total = source.stat().st_size
        file = source.open("rb", buffering=0)
    except OSError as error:
        raise LocalError(f"{source}: {error.strerror}") from None
    try:
        if choice == "capture" or _is_ours(file.read(64)):
            file.close()
            return _open_capture(source, profile, choice)
        file.seek(0)
        opened = _open_stream(file, total, profile, choice, port)
    except BaseException:
        file.close()
        raise
    opened.file = file
    return opened


def _open_stream(
    stream: BinaryIO,
    total: int | None,
    profile: LinkProfile | None,
    choice: str | None,
    port: int | None,
) -> Input:
    # A pipe delivers what it has: the beginning is read until a magic number would be whole.
    head = _read_at_least(stream, 64)
    if datagrams.is_pcap(head) or datagrams.is_pcapng(head):
        return _open_network(stream, head, total, profile, choice, port)
    if choice in ("pcap", "capture"):
        raise LocalError(f"--input {choice}: the input begins {head[:12].hex()}, which is neither")
    return _open_octets(stream, head, total, profile, choice)


def _is_ours(head: bytes) -> bool:
    # The application option of the section header lies at a fixed place in what we write.
    return datagrams.is_pcapng(head) and APPLICATION in head[:64]


def _read_at_least(stream: BinaryIO, wanted: int) -> bytes:
    data = b""
    while len(data) < wanted:
        more = _read(stream)
        if not more:
            break
        data += more
    return data


def _read(stream: BinaryIO) -> bytes:
    """What is there, up to READ_OCTETS; blocks only while nothing is."""
    if isinstance(stream, io.BufferedReader):
        return stream.read1(READ_OCTETS)
    return stream.read(READ_OCTETS) or b""


# -- octets ----------------------------------------------------------------------------------


def _open_octets(
    stream: BinaryIO,
    head: bytes,
    total: int | None,
    profile: LinkProfile | None,
    choice: str | None,
) -> Input:
    def pieces() -> Iterator[Piece]:
        consumed = len(sample)
        yield Piece(sample, -1, consumed)
        while octets := _read(stream):
            consumed += len(octets)
            yield Piece(octets, -1, consumed)

    sample = head
    if choice is None and (profile is None or profile.input is None):
        # A pipe that is slower than the sample still has to be told apart: one frame is enough.
        enough = SAMPLE_OCTETS
        if total is None and profile is not None:
            enough = 4 * (profile.block_length + len(profile.coding.asm))
        sample += _read_at_least(stream, enough - len(head))
    kind, why = tell([sample], profile, cast(InputKind | None, choice), total)
    return Input("file", kind, f"{why}; --input says otherwise", total, pieces())


def tell(
    sample: list[bytes],
    profile: LinkProfile | None,
    choice: InputKind | None = None,
    total: int | None = None,
) -> tuple[InputKind, str]:
    """What octets are, and why.  sample: the first payloads, or one piece of a file."""
    if choice is not None:
        return choice, f"taken for {choice} as --input says"
    if profile is not None and profile.input is not None:
        return profile.input, f"taken for {profile.input} as link profile {profile.name} says"
    joined = b"".join(sample)
    if profile is not None and profile.frame_length:
        synced = _markers(joined, profile)
        if synced:
            return "cadu", f"taken for a stream with sync markers: {synced} found"
        length = profile.frame_length
        if all(len(payload) % length == 0 for payload in sample) or not _chain(joined):
            rest = f", {total % length} octets left over" if total and total % length else ""
            return "frames", f"taken for frames of {length} octets{rest}"
    count = _chain(joined)
    if count:
        return "packets", f"taken for space packets: the first {count} follow on each other"
    if profile is not None and profile.frame_length:
        return "frames", f"taken for frames of {profile.frame_length} octets"
    raise LocalError(
        "the input is neither pcap nor space packets back to back; for frames or CADUs give "
        "--mission NAME or --frame-length N (and --input to say what it is)"
    )


def _markers(octets: bytes, profile: LinkProfile) -> int:
    """Blocks that a synchroniser finds; 0 if too few to be more than chance."""
    coding = profile.coding
    if coding.codeblocks is not None:
        return _codeblocks(octets, profile)
    length = profile.block_length
    searcher = FrameSynchroniser(
        marker=coding.asm,
        frame_length=length,
        bit_aligned=coding.bit_aligned,
        marker_errors=0,
        inverted=coding.inverted,
    )
    found = len(searcher.push(octets).position) + len(searcher.finish().position)
    # Half of the markers that would be there if the octets were nothing else; a marker of 32 bits
    # stands by chance once in 2^32 bit positions.
    expected = len(octets) // (length + len(coding.asm))
    return found if found and found >= expected // 2 else 0


def _codeblocks(octets: bytes, profile: LinkProfile) -> int:
    """The same of turbo or LDPC codeblocks, which may have no whole number of octets."""
    coding = profile.coding.codeblocks
    assert coding is not None
    searcher = synchroniser(coding, profile.coding.flywheel)
    found = len(searcher.push(hard_symbols(np.frombuffer(octets, np.uint8), 0)))
    found += len(searcher.finish())
    return found if found >= 8 * len(octets) // coding.period // 2 else 0


def _chain(octets: bytes) -> int:
    """Number of packets if the octets are space packets back to back, else 0."""
    found = split(octets)
    count = len(found.packets)
    if found.reason not in ("", "truncated") or not count:
        return 0
    apids = len(np.unique(found.packets.apid))
    # Noise gives few, long packets of ever new APIDs.
    if (count >= 3 and apids <= max(8, count // 4)) or (not found.reason and apids <= 8):
        return count
    return 0


# -- network captures ------------------------------------------------------------------------


def _open_network(
    stream: BinaryIO,
    head: bytes,
    total: int | None,
    profile: LinkProfile | None,
    choice: str | None,
    port: int | None,
) -> Input:
    container: Container = "pcap" if datagrams.is_pcap(head) else "pcapng"
    extractor = datagrams.UdpExtractor(port)
    parser = datagrams.PcapParser() if container == "pcap" else datagrams.PcapngParser()
    link_types: Counter[int] = Counter()

    def payloads() -> Iterator[Piece]:
        consumed = 0
        octets = head
        while octets:
            consumed += len(octets)
            for record in parser.push(octets):
                yield from payload_of(record, consumed)
            octets = _read(stream)
        for record in parser.finish() or ():
            yield from payload_of(record, consumed)

    def payload_of(record: datagrams.Record, consumed: int) -> Iterator[Piece]:
        link_types[record.link_type] += 1
        payload = extractor.payload(record)
        if payload:
            unix_ns = max(min(record.unix_ns, MAX_UNIX_NS), -MAX_UNIX_NS)
            yield Piece(payload, tai_ns_from_unix_ns(unix_ns), consumed)

    found = payloads()
    first: list[Piece] = []
    octets = 0
    for piece in found:
        first.append(piece)
        octets += len(piece.octets)
        if octets >= SAMPLE_OCTETS or len(first) >= SAMPLE_PAYLOADS or total is None:
            break
    inner = cast(InputKind | None, None if choice in ("pcap", "capture") else choice)
    links = " and ".join(datagrams.link_type_name(one) for one in sorted(link_types)) or "nothing"
    if not first:
        kind, why = inner or "packets", "no payload found"
    else:
        kind, why = tell([piece.octets for piece in first], profile, inner)
    ports = ", ".join(str(one) for one in sorted(extractor.ports))
    where = f" to UDP port {ports}" if ports else ""
    several = "; --port N takes one port" if len(extractor.ports) > 1 else ""
    opened = Input(
        container,
        kind,
        f"{container} of {links}; payloads{where} {why}; --input says otherwise{several}",
        total,
        iter(()),
    )
    unit = 0
    if profile is not None and kind in ("frames", "codewords"):
        unit = profile.frame_length if kind == "frames" else profile.block_length

    def checked() -> Iterator[Piece]:
        for piece in chain(first, found):
            # One odd datagram must not shift all frames behind it.
            if unit and len(piece.octets) % unit:
                opened.skipped[f"payloads that are no multiple of {unit} octets"] += 1
            elif kind == "packets" and not _whole_packets(piece.octets, profile):
                opened.skipped["payloads that are not whole packets"] += 1
            else:
                yield piece
        opened.skipped.update(parser.skipped)
        opened.skipped.update(extractor.skipped)

    opened.pieces = checked()
    return opened


def _whole_packets(octets: bytes, profile: LinkProfile | None) -> bool:
    encapsulation = profile is not None and 7 in profile.packet_versions
    return split(octets, accept_encapsulation=encapsulation).reason == ""


# -- our own captures ------------------------------------------------------------------------


def _open_capture(path: Path, profile: LinkProfile | None, choice: str | None) -> Input:
    reader = CaptureReader(path)
    files = reader.files()
    if not files:
        raise LocalError(f"{path}: no capture files in it")
    sizes = {number: file.stat().st_size for number, file in files}
    # Of several carriers one is read, and each is another profile's.
    others = other_carriers(profile) if profile is not None else {}
    wanted = profile.carrier if profile is not None else ""
    known = {wanted, *others}
    left_out: Counter[str] = Counter()

    def chunks() -> Iterator[Piece]:
        before, current = 0, files[0][0]
        for position, chunk in reader.read():
            if position.file != current:
                before += sizes.get(current, 0)
                current = position.file
            carrier = carrier_of(chunk.stream, known)
            if carrier != wanted:
                left_out[f"chunks of carrier {carrier or 'one'}"] += 1
                continue
            yield Piece(chunk.octets, chunk.ert_ns, before + position.offset)

    found = chunks()
    first: list[Piece] = []
    octets = 0
    for piece in found:
        first.append(piece)
        octets += len(piece.octets)
        if octets >= SAMPLE_OCTETS:
            break
    inner = cast(InputKind | None, None if choice in ("pcap", "capture") else choice)
    joined = b"".join(piece.octets for piece in first)
    try:
        kind, why = (
            ("samples", "its chunks hold I/Q samples")
            if inner is None and joined.startswith(MAGIC)
            else tell([joined], profile, inner)
        )
    except ProtocolError:
        if joined:
            raise
        kind, why = inner or "cadu", "it is empty"
    opened = Input(
        "capture",
        kind,
        f"capture of {len(files)} file(s); {why}; --input says otherwise",
        sum(sizes.values()),
        iter(()),
    )

    def counted() -> Iterator[Piece]:
        yield from chain(first, found)
        opened.skipped.update(left_out)
        for name, count in (
            ("octets of damage", reader.damaged_octets),
            ("octets of a torn tail", reader.torn_octets),
            ("blocks that are not chunks", reader.foreign_blocks),
        ):
            if count:
                opened.skipped[name] += count

    opened.pieces = counted()
    return opened
