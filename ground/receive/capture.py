"""The receive capture: what came off the link, written before it is interpreted.

One directory holds `capture-000000.pcapng`, `capture-000001.pcapng`, ...; each is a pcapng file
of its own that Wireshark opens.  One interface per stream (`if_name` = `link/stream`), one
enhanced packet block per chunk: its timestamp is the chunk's ERT, its `epb_packetid` the chunk's
sequence, its octets the chunk's octets.

Time: pcapng counts from 1970 in UTC without leap seconds (draft-ietf-opsawg-pcapng §4.3), so a
leap second and the second after it share their timestamps.  A chunk whose ERT does not survive
that (and only such a chunk) carries it exactly, in TAI, in a local-use option.

Files are append-only.  A torn tail (the process or the machine died while writing) is the part
of a chunk that was never acknowledged: reopening cuts it off, and the sender sends it again.
Damage that is followed by sound blocks is never cut: the writer leaves the file as it is and
begins the next one, the reader counts the damaged octets and goes on behind them.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ground.durable_files import make_directory, sync_directory, sync_found
from ground.ports import LinkChunk
from ground.receive import pcapng
from protocols.errors import LocalError, RemoteError
from protocols.timecodes.tai import NS_PER_DAY, tai_ns_from_unix_ns, unix_ns_from_tai_ns

APPLICATION = b"l4-relay-ground"

# §3.5: option codes with the highest bit set are for local use; other readers skip them.
#: ERT in TAI ns, int64; only where UTC cannot say it.
OPTION_ERT_TAI_NS = 0x8001
#: On an interface: last sequence of this stream in earlier files, int64.
OPTION_LAST_SEQUENCE = 0x8002
#: On a packet: the chunk goes on in the next packet with the same sequence.
OPTION_CONTINUED = 0x8003

#: As a packet's options usually begin, in our byte order, and end.
_SEQUENCE_ALONE = pcapng.LITTLE.option.pack(pcapng.OPTION_EPB_PACKETID, 8)
_END = pcapng.END_OF_OPTIONS

#: Wireshark's limit for one packet (WTAP_MAX_PACKET_SIZE_STANDARD); a longer chunk is written in
#: pieces, so that the capture can be opened.
MAX_PIECE_OCTETS = 262144

#: Streams whose last sequence is carried into a new file: each run of a sending end is one, and
#: a sender that has been gone for this many runs does not come back.
CARRIED_STREAMS = 64

#: Damage may read as any time; beyond this, int64 nanoseconds of TAI overflow.
MAX_UNIX_NS = 1 << 62

_EXTENSION = ".pcapng"


class CapturePosition(NamedTuple):
    """Where a reader stands: file number, and the offset of the next octet in it.

    Orders like the capture itself; a plain pair for msgpack (`CapturePosition(*pair)`).
    """

    file: int
    offset: int


START = CapturePosition(0, 0)


class CapturedChunk(NamedTuple):
    """A chunk on disk; reading from `position` continues right after it."""

    position: CapturePosition
    chunk: LinkChunk


def _name(number: int) -> str:
    return f"capture-{number:06d}{_EXTENSION}"


def _number(path: Path) -> int | None:
    """Of a file that is ours by its name."""
    digits = path.name.removeprefix("capture-").removesuffix(_EXTENSION)
    ours = digits.isdigit() and path.name == f"capture-{digits}{_EXTENSION}"
    return int(digits) if ours else None


def _numbered(directory: Path) -> list[tuple[int, Path]]:
    found = ((_number(path), path) for path in directory.glob(f"capture-*{_EXTENSION}"))
    return sorted((number, path) for number, path in found if number is not None)


def _section_header() -> bytes:
    body = pcapng.SECTION_HEADER_BODY.build({"minor": 0, "section_length": -1})
    body += pcapng.build_option(pcapng.OPTION_SHB_USERAPPL, APPLICATION)
    return pcapng.build_block(pcapng.SECTION_HEADER, body + pcapng.END_OF_OPTIONS)


def _interface(link: str, stream: str, last_sequence: int) -> bytes:
    body = pcapng.INTERFACE_DESCRIPTION_BODY.build(
        {"link_type": pcapng.LINKTYPE_USER0, "reserved": 0, "snap_length": 0}
    )
    body += pcapng.build_option(pcapng.OPTION_IF_NAME, f"{link}/{stream}".encode())
    body += pcapng.build_option(pcapng.OPTION_IF_TSRESOL, bytes([9]))
    if last_sequence >= 0:
        body += pcapng.build_option(OPTION_LAST_SEQUENCE, pcapng.S64.build(last_sequence))
    return pcapng.build_block(pcapng.INTERFACE_DESCRIPTION, body + pcapng.END_OF_OPTIONS)


def _packets(interface: int, chunk: LinkChunk) -> bytes:
    unix_ns = max(unix_ns_from_tai_ns(chunk.ert_ns), 0)
    options = pcapng.build_option(pcapng.OPTION_EPB_PACKETID, chunk.sequence.to_bytes(8, "little"))
    if tai_ns_from_unix_ns(unix_ns) != chunk.ert_ns:
        exact = chunk.ert_ns.to_bytes(8, "little", signed=True)
        options += pcapng.build_option(OPTION_ERT_TAI_NS, exact)
    high, low = unix_ns >> 32, unix_ns & 0xFFFFFFFF
    blocks: list[bytes] = []
    for start in range(0, max(len(chunk.octets), 1), MAX_PIECE_OCTETS):
        piece = chunk.octets[start : start + MAX_PIECE_OCTETS]
        body = pcapng.LITTLE.enhanced.pack(interface, high, low, len(piece), len(piece))
        body += pcapng.padded(piece) + options
        if start + MAX_PIECE_OCTETS < len(chunk.octets):
            body += pcapng.build_option(OPTION_CONTINUED, b"")
        blocks.append(pcapng.build_block(pcapng.ENHANCED_PACKET, body + pcapng.END_OF_OPTIONS))
    return b"".join(blocks)


@dataclass(slots=True)
class _Interface:
    """carried: the stream's last sequence in the files before; last_sequence: here."""

    link: str
    stream: str
    carried: int
    last_sequence: int


def _mapped(path: Path) -> memoryview:
    """The file as memory; unmapped when the last view of it is gone."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


class _Scan:
    """One pass over one file: chunks, and the interfaces met on the way.

    `whole`: end of the last whole chunk (or interface, or section); `damaged`: octets skipped;
    `torn`: octets behind `whole` that no sound block follows.
    """

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self.interfaces: list[_Interface] = []
        self.whole = 0
        self.damaged = 0
        self.torn = 0
        self.foreign = 0
        self._day_unix_ns, self._behind_ns = -NS_PER_DAY, 0

    def longer(self, view: memoryview) -> None:
        """The file has been written on since: `chunks` goes on behind `whole`."""
        self._view = view

    def chunks(self, start: int = 0) -> Iterator[tuple[int, LinkChunk]]:
        """(offset behind the chunk, chunk) for each whole chunk that ends behind `start`."""
        pieces: list[bytes] = []
        at = self.whole
        while at < len(self._view):
            try:
                for offset, block_type, body, layouts in pcapng.walk(self._view, at):
                    at = offset + len(body) + 12
                    if block_type == pcapng.ENHANCED_PACKET:
                        found = self._packet(body, layouts, pieces, at > start)
                        if found is not None:
                            self.whole = at
                            if at > start:
                                yield at, found
                        elif not pieces:
                            self.whole = at
                        continue
                    if block_type == pcapng.SECTION_HEADER:
                        self.interfaces.clear()
                    elif block_type == pcapng.INTERFACE_DESCRIPTION:
                        self.interfaces.append(self._described(body, layouts))
                    pieces.clear()
                    self.whole = at
            except RemoteError as error:
                sound = pcapng.resynchronise(self._view, error.offset + 4)
                if sound == len(self._view):
                    break
                self.damaged += sound - error.offset
                pieces.clear()
                at = sound
        self.torn = len(self._view) - self.whole

    def _described(self, body: memoryview, layouts: pcapng.Layouts) -> _Interface:
        name, last = "", -1
        for code, value in pcapng.options(body[layouts.interface.size :], layouts):
            if code == pcapng.OPTION_IF_NAME:
                name = value.decode(errors="replace")
            elif code == OPTION_LAST_SEQUENCE and len(value) == 8:
                last = int.from_bytes(value, "little", signed=True)
        link, _slash, stream = name.partition("/")
        return _Interface(link, stream, last, last)

    def _packet(
        self, body: memoryview, layouts: pcapng.Layouts, pieces: list[bytes], wanted: bool
    ) -> LinkChunk | None:
        fixed = layouts.enhanced.size
        if len(body) < fixed:
            self.foreign += 1
            return None
        number, high, low, captured, _original = layouts.enhanced.unpack_from(body, 0)
        if number >= len(self.interfaces) or fixed + captured > len(body):
            self.foreign += 1
            return None
        sequence, ert_ns, continued = -1, None, False
        options = bytes(body[fixed + captured + (-captured % 4) :])
        # Hot: nearly every packet has its sequence and nothing else.
        if len(options) == 16 and options.startswith(_SEQUENCE_ALONE) and options[12:] == _END:
            sequence = int.from_bytes(options[4:12], "little")
            options = b""
        for code, value in pcapng.options(memoryview(options), layouts) if options else ():
            if code == pcapng.OPTION_EPB_PACKETID and len(value) == 8:
                sequence = int.from_bytes(value, "little")
            elif code == OPTION_ERT_TAI_NS and len(value) == 8:
                ert_ns = int.from_bytes(value, "little", signed=True)
            elif code == OPTION_CONTINUED:
                continued = True
        if sequence < 0:
            self.foreign += 1
            return None
        interface = self.interfaces[number]
        if continued:
            pieces.append(bytes(body[fixed : fixed + captured]))
            return None
        interface.last_sequence = max(interface.last_sequence, sequence)
        if not wanted:
            pieces.clear()
            return LinkChunk(interface.stream, sequence, 0, b"")
        octets = bytes(body[fixed : fixed + captured])
        if pieces:
            octets = b"".join([*pieces, octets])
            pieces.clear()
        if ert_ns is None:
            unix_ns = min((high << 32) | low, MAX_UNIX_NS)
            if not 0 <= unix_ns - self._day_unix_ns < NS_PER_DAY:
                # Within a day of UTC the two differ by a constant.
                self._day_unix_ns = unix_ns - unix_ns % NS_PER_DAY
                self._behind_ns = tai_ns_from_unix_ns(self._day_unix_ns) - self._day_unix_ns
            ert_ns = unix_ns + self._behind_ns
        return LinkChunk(interface.stream, sequence, ert_ns, octets)


class CaptureReader:
    """Reads a capture, a directory or one of its files, also while it is being written.

    After (or during) `read`: `damaged_octets` were skipped between sound blocks, `torn_octets`
    end a file without being a whole chunk, `foreign_blocks` are packets that are not chunks.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged_octets = 0
        self.torn_octets = 0
        self.foreign_blocks = 0

    def files(self) -> list[tuple[int, Path]]:
        """Numbered files in order; a single file that is not ours by name has number 0."""
        if self.path.is_dir():
            return _numbered(self.path)
        return [(_number(self.path) or 0, self.path)]

    def read(self, position: CapturePosition = START) -> Iterator[CapturedChunk]:
        """Chunks behind `position`, in the order in which they were written.

        Ends at the end of the last whole chunk; call again with the last position for more.
        Files that retention has deleted are passed over.
        """
        for number, path in self.files():
            if number < position.file:
                continue
            start = position.offset if number == position.file else 0
            scan = _Scan(_mapped(path))
            for offset, chunk in scan.chunks(start):
                yield CapturedChunk(CapturePosition(number, offset), chunk)
            self.damaged_octets += scan.damaged
            self.torn_octets += scan.torn
            self.foreign_blocks += scan.foreign

    def follow(self, position: CapturePosition = START) -> Iterator[CapturedChunk | None]:
        """The same chunks, and None at each end; asked for more then, it goes on from there.

        Nothing is counted: whoever follows a capture reads what a writer has just written.
        """
        number, start = position
        scan = _Scan(memoryview(b""))
        while True:
            # Listed before the file is looked at: what it got before its successor is then seen.
            files = dict(self.files())
            successor = min((n for n in files if n > number), default=None)
            if number in files:
                scan.longer(_mapped(files[number]))
                for offset, chunk in scan.chunks(start):
                    yield CapturedChunk(CapturePosition(number, offset), chunk)
            if successor is None:
                yield None
            else:
                number, start = successor, 0
                scan = _Scan(memoryview(b""))


class CaptureWriter:
    """Appends chunks to a capture directory; one writer at a time (locked).

    link: name of the link, without `/`.  rotate_octets: a file that has reached this size is
    followed by the next.

    `append` has handed the octets to the operating system when it returns: a killed process
    loses nothing.  `sync` waits until the disk has them: a power cut loses nothing.  Acknowledge
    chunks after the one that the link promises.

    `resume` maps each known stream to the last sequence in the capture, for `Link.open`.
    """

    def __init__(self, directory: Path, *, link: str, rotate_octets: int = 256 << 20) -> None:
        if not link or "/" in link:
            raise LocalError(f"link name {link!r}: one or more characters without / are allowed")
        if rotate_octets < 4096:
            raise LocalError(f"rotate_octets = {rotate_octets}: at least 4096 is allowed")
        self._directory = directory
        self._link = link
        self._rotate_octets = rotate_octets
        self._interfaces: dict[str, int] = {}
        self.resume: dict[str, int] = {}
        #: Chunks of a damaged file that are behind one that is missing: not to be taken again.
        self._ahead: dict[str, set[int]] = {}
        #: The disk has refused what it had taken; how much of the file it has.
        self._failed: OSError | None = None
        self._on_disk = 0
        self.repaired_octets = 0
        self.duplicates = 0
        self._file = -1
        # `sync` may be called by another thread than the one that appends.
        self._swapping = threading.Lock()
        make_directory(directory)
        self._lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise LocalError(f"{directory}: another process is writing this capture") from None
        existing = _numbered(directory)
        self._number = existing[-1][0] if existing else -1
        if not existing or not self._reopen(existing[-1][1]):
            self._next_file()

    @property
    def position(self) -> CapturePosition:
        """End of the capture."""
        return CapturePosition(self._number, self._size)

    @property
    def path(self) -> Path:
        return self._directory / _name(self._number)

    def _reopen(self, path: Path) -> bool:
        """Take up the last file; False if it is better left alone."""
        view = _mapped(path)
        size = len(view)
        scan = _Scan(view)
        found: dict[str, list[int]] = {}
        for _offset, chunk in scan.chunks():
            found.setdefault(chunk.stream, []).append(chunk.sequence)
        for interface in scan.interfaces:
            numbers = found.get(interface.stream, [])
            if interface.last_sequence >= 0:
                self.resume[interface.stream] = interface.last_sequence
            if scan.damaged:
                self._go_back(interface.stream, interface.carried, numbers)
        interfaces = {
            interface.stream: number
            for number, interface in enumerate(scan.interfaces)
            if interface.link == self._link
        }
        if scan.damaged or scan.foreign or len(interfaces) != len(scan.interfaces):
            sync_found(path)
            return False
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        if scan.torn:
            os.ftruncate(self._file, scan.whole)
            self.repaired_octets = size - scan.whole
        # Whoever wrote it may have been killed before it waited for the disk; the link forgets what
        # it is opened with.
        sync_found(path)
        self._interfaces = interfaces
        self._size = self._on_disk = scan.whole
        if self._size == 0:
            self._write(_section_header())
        return True

    def _go_back(self, stream: str, carried: int, numbers: list[int]) -> None:
        """Of a damaged file: ask again for what is missing in it.  Where the power went, chunks
        behind it may be there that nobody had waited for; those are not taken twice."""
        last = carried
        for place, number in enumerate(numbers):
            if number > last + 1:
                self.resume[stream] = last
                self._ahead[stream] = set(numbers[place:])
                return
            last = number

    def _next_file(self) -> None:
        """Goes on in a file that appears with its whole head: what was acknowledged of a stream
        stands nowhere else that a restart looks.  OSError: it goes on in the old one."""
        if self._file >= 0:
            self._wait(self._file, self._size)
        carried = dict(list(self.resume.items())[-CARRIED_STREAMS:])
        described = [_interface(self._link, stream, last) for stream, last in carried.items()]
        head = b"".join([_section_header(), *described])
        path = self._directory / _name(self._number + 1)
        if path.exists():
            raise LocalError(f"{path} is there already, and is not of this capture")
        beginning = path.with_name(path.name + ".new")
        file = os.open(
            beginning, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644
        )
        try:
            os.write(file, head)
            if os.fstat(file).st_size != len(head):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(beginning))
            os.fdatasync(file)
            beginning.replace(path)
        except BaseException:
            os.close(file)
            raise
        with self._swapping:
            if self._file >= 0:
                os.close(self._file)
            self._file = file
        self._number += 1
        self._size = self._on_disk = len(head)
        self.resume = carried
        self._interfaces = {stream: number for number, stream in enumerate(carried)}
        # The file's name must survive a power cut as well as its content.
        sync_directory(self._directory)

    def _write(self, octets: bytes) -> None:
        if self._failed is not None:
            raise self._refusal(self._failed)
        view = memoryview(octets)
        done = 0
        try:
            while done < len(view):
                done += os.write(self._file, view[done:])
        except OSError:
            # Disk full: leave no torn block between this chunk and a later one.
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(octets)

    def append(self, chunks: Sequence[LinkChunk]) -> list[CapturedChunk]:
        """Write chunks in one go; returns those written, each with the position behind it.

        A chunk that the capture holds already (its sequence is not above the stream's last) is
        left out and counted in `duplicates`.  On OSError nothing of the call is in the capture.
        """
        if self._size >= self._rotate_octets:
            self._next_file()
        pieces: list[bytes] = []
        taken: list[CapturedChunk] = []
        interfaces = dict(self._interfaces)
        resume = dict(self.resume)
        size = self._size
        duplicates = 0
        for chunk in chunks:
            if chunk.sequence <= resume.get(chunk.stream, -1):
                duplicates += 1
                continue
            if chunk.sequence in self._ahead.get(chunk.stream, ()):
                resume[chunk.stream] = chunk.sequence
                duplicates += 1
                continue
            if chunk.stream not in interfaces:
                interfaces[chunk.stream] = len(interfaces)
                described = _interface(self._link, chunk.stream, -1)
                pieces.append(described)
                size += len(described)
            octets = _packets(interfaces[chunk.stream], chunk)
            pieces.append(octets)
            size += len(octets)
            # The newest stream last: that is the end that `_next_file` carries over.
            resume.pop(chunk.stream, None)
            resume[chunk.stream] = chunk.sequence
            taken.append(CapturedChunk(CapturePosition(self._number, size), chunk))
        if pieces:
            self._write(b"".join(pieces))
        self._interfaces, self.resume = interfaces, resume
        self.duplicates += duplicates
        return taken

    def forget(self, before: CapturePosition, *, keep_octets: int) -> int:
        """Delete the oldest files until no more than `keep_octets` are left, but none that holds
        anything behind `before`; how many went.  Any thread may call it."""
        files = [(number, path, path.stat().st_size) for number, path in _numbered(self._directory)]
        left = sum(size for _number, _path, size in files)
        gone = 0
        for number, path, size in files:
            if left <= keep_octets or number >= min(before.file, self._number):
                break
            path.unlink()
            left -= size
            gone += 1
        return gone

    def sync(self) -> None:
        """Wait until the disk has everything that was appended (fdatasync).  Any thread may call
        it, also while another appends."""
        with self._swapping:
            file, size = os.dup(self._file), self._size
        try:
            self._wait(file, size)
        finally:
            os.close(file)

    def _wait(self, file: int, size: int) -> None:
        """fdatasync.  One that has failed is not repeated: the next would succeed without the
        octets (Linux calls them written).  They leave the file, and this writer takes no more:
        whoever opens it again has them sent again."""
        if self._failed is not None:
            raise self._refusal(self._failed)
        try:
            os.fdatasync(file)
        except OSError as error:
            self._failed = error
            os.ftruncate(file, self._on_disk)
            raise self._refusal(error) from error
        self._on_disk = max(self._on_disk, size)

    def _refusal(self, error: OSError) -> OSError:
        return OSError(error.errno, os.strerror(error.errno or 0), str(self.path))

    def close(self) -> None:
        if self._file < 0:
            return
        try:
            if self._failed is None:
                self._wait(self._file, self._size)
        finally:
            os.close(self._file)
            self._file = -1
            os.close(self._lock)

    def __enter__(self) -> CaptureWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
