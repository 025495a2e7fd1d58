"""The keys directory: a service's or a person's own keys, and whom it trusts.

    KEYS/                   0700
      NAME.key              0600  secret keys of one service or person (`protocols.bus.access`)
      trusted/NAME.pub      0644  public keys of who may connect, and of whom we connect to

A secret key file that others than its owner and group may read is refused, and everything that
others than its owner may write, the directories among it: who writes there says who is trusted.
The owner is we, or root.  Files are replaced whole; what is running sees that within
`curve.REFRESH_S`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ground.durable_files import replace_file
from protocols.bus.access import PEOPLE, Holder, is_key_name
from protocols.errors import LocalError

SECRET_MODE = 0o600
#: A key file is some hundred octets.
MAX_KEY_FILE_OCTETS = 16_384
#: What the machine lacks, for now: it says nothing about a file.
_SHORT: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)
#: Which of several people's keys `l4` uses.
IDENTITY_VARIABLE = "L4_IDENTITY"


@dataclass(frozen=True, slots=True)
class Keyring:
    """A keys directory, and whose keys of it are ours."""

    directory: Path
    name: str

    @property
    def key_file(self) -> Path:
        return self.directory / f"{self.name}.key"

    def own(self) -> Holder:
        """Our keys.  LocalError: there are none, or others may read or change them; OSError: the
        machine is short of something."""
        check_directory(self.directory)
        try:
            holder = read_holder(self.key_file, secret=True)
        except FileNotFoundError:
            raise LocalError(
                f"{self.name} has no key in {self.directory}: `l4 keys new {self.name}` makes one"
            ) from None
        if holder.name != self.name or not all(key.secret for key in holder.keys):
            raise LocalError(f"{self.key_file}: not the secret keys of {self.name}")
        return holder

    def trusted(self, problems: list[str] | None = None) -> dict[str, Holder]:
        """See `read_trusted`."""
        return read_trusted(self.directory, problems)

    def stamp(self) -> tuple[object, ...]:
        """Differs once a file does, or who may read or write it."""
        trusted = self.directory / "trusted"
        stamps: list[object] = []
        for path in (self.directory, trusted, self.key_file, *_public_files(self.directory)):
            try:
                found = path.stat()
            except OSError:
                continue
            stamps.append((path.name, found.st_ctime_ns, found.st_ino, found.st_size))
        return tuple(stamps)


def _public_files(directory: Path) -> list[Path]:
    # Not Path.glob, which from Python 3.13 on finds nothing where the directory cannot be read.
    try:
        names = os.listdir(directory / "trusted")
    except FileNotFoundError:
        return []
    # What editors and file systems of other machines leave begins with a dot.
    return sorted(
        directory / "trusted" / name
        for name in names
        if name.endswith(".pub") and not name.startswith(".")
    )


def read_trusted(directory: Path, problems: list[str] | None = None) -> dict[str, Holder]:
    """Whom a keys directory trusts, by name.

    A file that is no key file, or that others may write, is trusted in nobody's name: it is told
    of in `problems`, or, where that is None, ends this by LocalError.
    LocalError: others may write into the directory itself: all of it may be theirs.
    OSError: the machine is short of something; who is trusted is not known.
    """
    check_directory(directory)
    found: dict[str, Holder] = {}
    for path in _public_files(directory):
        try:
            holder = read_holder(path)
            if holder.name != path.stem:
                raise LocalError(
                    f"{path}: keys of {holder.name}, it must be called {holder.name}.pub"
                )
        except FileNotFoundError:
            # Revoked since the directory was listed.
            continue
        except LocalError as error:
            if problems is None:
                raise
            problems.append(str(error))
            continue
        found[holder.name] = holder
    return found


def check_directory(directory: Path) -> None:
    """LocalError: others may write into a keys directory."""
    for path in (directory, directory / "trusted"):
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise LocalError(f"{path}: {error.strerror}") from None
        _check_access(path, found, 0o022)


def _check_access(path: Path, found: os.stat_result, refused: int) -> None:
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid not in (0, os.geteuid()):
        raise LocalError(
            f"{path}: its owner is user {found.st_uid}, who can change it; "
            f"{os.geteuid()}, who we are, or root wanted"
        )
    if mode & refused:
        right = f"{mode & ~refused:o}"
        can = "read or change it" if refused & 0o004 else "change it"
        more = ", and a new key if they may have" if refused & 0o004 else ""
        raise LocalError(f"{path}: mode {mode:04o}, others can {can}; `chmod {right}`{more}")


def read_holder(path: Path, *, secret: bool = False) -> Holder:
    """A key file.  FileNotFoundError; LocalError, which quotes none of it; others may change it,
    or, if it is secret, read it."""
    text = _read_checked(path, SECRET_FROM if secret else _PUBLIC_FROM)
    try:
        return Holder.parse(text)
    except LocalError as error:
        raise LocalError(f"{path}: {error}") from None


#: Bits of a mode that are refused, of a file with secrets and of one that says who is trusted.
#: Group may read secrets: that is how a service without a fixed user is given its keys.
SECRET_FROM = 0o037
_PUBLIC_FROM = 0o022


def _read_checked(path: Path, refused: int) -> str:
    try:
        # The file that is looked at is the one that is read; a FIFO keeps nobody waiting.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise LocalError(f"{path}: no file")
            _check_access(path, found, refused)
            return file.read(MAX_KEY_FILE_OCTETS).decode()
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _SHORT:
            raise
        raise LocalError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LocalError(f"{path}: no text") from None


def check_secret(path: Path) -> None:
    """LocalError: it cannot be read, or by others."""
    try:
        _check_access(path, path.stat(), SECRET_FROM)
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from None


def read_secret(path: Path) -> str:
    """Text of a file with secrets.  LocalError: there is none, or others may read it."""
    try:
        return _read_checked(path, SECRET_FROM)
    except FileNotFoundError as error:
        raise LocalError(f"{path}: {error.strerror}") from None


@contextlib.contextmanager
def changing(directory: Path) -> Iterator[None]:
    """One at a time changes a keys directory: of two rotations neither's key is lost."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_directory(directory)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_secret(path: Path, text: str) -> None:
    """Replace a file with secrets, whole; nobody else can read it at any instant."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, text.encode(), SECRET_MODE)


def write_trusted(directory: Path, holder: Holder) -> Path:
    """Trust a name with these keys and no others."""
    path = directory / "trusted" / f"{holder.name}.pub"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o755, exist_ok=True)
    replace_file(path, holder.public_only.build().encode(), 0o644)
    return path


def person(directory: Path) -> str:
    """Whose keys `l4` uses: L4_IDENTITY's, or those of the first person whose keys are here."""
    if chosen := os.environ.get(IDENTITY_VARIABLE):
        return chosen
    for path in sorted(directory.glob("*.key")):
        if is_key_name(path.stem) and os.access(path, os.R_OK):
            try:
                if read_holder(path, secret=True).role in PEOPLE:
                    return path.stem
            except (LocalError, FileNotFoundError):
                continue
    raise LocalError(
        f"no person's key in {directory}: `l4 keys new NAME --role operator` makes one"
    )
