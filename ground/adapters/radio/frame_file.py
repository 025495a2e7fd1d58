"""`file:PATH`: frames (or any octets) back to back in a file, read at any pace, or written."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

from ground.adapters.radio.adapter import Adapter, Block, Malformed, Result
from ground.adapters.radio.address import Option, choice, number, options
from ground.adapters.radio.octets import CARRIES, FRAME_LENGTH
from ground.adapters.radio.peer import Peer
from protocols.errors import LocalError

#: Octets of a block where no frame length is given.
CHUNK_OCTETS: Final = 1 << 16


class Pace:
    """Lets so many units a second pass, the first at once; 0: as many as come."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._began_s = time.monotonic()
        self._units = 0

    def wait(self, timeout_s: float) -> bool:
        """Whether the next unit's time has come, after waiting for it at most so long."""
        if not self._rate:
            return True
        left = self._began_s + self._units / self._rate - time.monotonic()
        if left > 0:
            time.sleep(min(left, timeout_s))
        return left <= timeout_s

    def passed(self, units: int) -> None:
        self._units += units


class FileAdapter(Adapter):
    """Blocks of `frame_length` octets; the state is ENDED when all is read."""

    SUMMARY = "frames back to back in a file, to be received or written"
    ADDRESS = "file:PATH"
    OPTIONS = options(
        frame_length=FRAME_LENGTH,
        carries=CARRIES,
        bit_rate=Option(number, 0.0, "bits a second to be read at; 0: as fast as it is taken"),
        mode=Option(choice("read", "write"), "read", "read, or write (appending)"),
    )
    TRANSMITS = True
    WAITS = True
    REPEATS = True

    _file: BinaryIO | None = None

    @property
    def receives(self) -> bool:
        return self.options["mode"] == "read"

    @property
    def transmits(self) -> bool:
        return self.options["mode"] == "write"

    def connect(self) -> None:
        path = Path(self.address.rest)
        try:
            self._file = path.open("rb" if self.receives else "ab", buffering=0)
        except OSError as error:
            # A recording that is not there does not come by waiting.
            raise LocalError(f"{path}: {error.strerror}") from error
        self._pace = Pace(self.options["bit_rate"])

    def disconnect(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def read(self, timeout_s: float) -> Sequence[Result]:
        assert self._file is not None
        if not self._pace.wait(timeout_s):
            return ()
        wanted = self.options["frame_length"]
        octets = self._file.read(wanted or CHUNK_OCTETS)
        if not octets:
            raise EOFError("end of the file")
        self._pace.passed(8 * len(octets))
        if len(octets) < wanted:
            return (Malformed(octets, f"{len(octets)} octets at the end, {wanted} are a frame"),)
        return (Block(octets),)

    def write(self, octets: bytes) -> bool:
        assert self._file is not None
        self._file.write(octets)
        return True

    @classmethod
    def peer(cls) -> Peer:
        return FilePeer()


class FilePeer(Peer):
    """A file that is there before it is read."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self._path = Path(self._directory.name, "frames")
        self._out = Path(self._directory.name, "out")
        self.uri = f"file:{self._path}?frame_length={self.block_octets}"
        self.out_uri = f"file:{self._out}?mode=write"

    def send(self, blocks: Sequence[bytes]) -> None:
        self._path.write_bytes(b"".join(blocks))

    def received(self) -> bytes:
        return self._out.read_bytes()

    def close(self) -> None:
        self._directory.cleanup()


__all__ = ["FileAdapter", "FilePeer", "Pace"]
