"""The keys directory: a service's or a person's own keys, and whom it trusts.

    KEYS/                   0700
      NAME.key              0600  secret keys of one service or person (`protocols.bus.access`)
      trusted/NAME.pub      0644  public keys of who may connect, and of whom we connect to

A key file that others than its owner and group may read, or others than its owner may write, is
refused.  Files are replaced whole; what is running sees that within `curve.REFRESH_S`.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from protocols.bus.access import PEOPLE, Holder, is_key_name
from protocols.errors import LocalError

SECRET_MODE = 0o600
#: A key file is some hundred octets.
MAX_KEY_FILE_OCTETS = 16_384
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
        """Our keys.  LocalError: there are none, or everybody may read them."""
        if not self.key_file.exists():
            raise LocalError(
                f"{self.name} has no key in {self.directory}: `l4 keys new {self.name}` makes one"
            )
        holder = read_holder(self.key_file, secret=True)
        if holder.name != self.name or not all(key.secret for key in holder.keys):
            raise LocalError(f"{self.key_file}: not the secret keys of {self.name}")
        return holder

    def trusted(self) -> dict[str, Holder]:
        """By name.  LocalError: a file is none of ours."""
        return read_trusted(self.directory)

    def stamp(self) -> tuple[object, ...]:
        """Differs once a file does."""
        stamps: list[object] = []
        for path in (self.key_file, *sorted((self.directory / "trusted").glob("*.pub"))):
            try:
                found = path.stat()
            except OSError:
                continue
            stamps.append((path.name, found.st_mtime_ns, found.st_ino, found.st_size))
        return tuple(stamps)


def read_trusted(directory: Path) -> dict[str, Holder]:
    """Whom a keys directory trusts, by name."""
    found: dict[str, Holder] = {}
    for path in sorted((directory / "trusted").glob("*.pub")):
        holder = read_holder(path)
        if holder.name != path.stem:
            raise LocalError(f"{path}: keys of {holder.name}, it must be called {holder.name}.pub")
        found[holder.name] = holder
    return found


def read_holder(path: Path, *, secret: bool = False) -> Holder:
    """A key file.  LocalError, which quotes none of it; a secret one that others may read."""
    text = (
        read_secret(path)
        if secret
        else path.read_bytes()[:MAX_KEY_FILE_OCTETS].decode("ascii", "replace")
    )
    try:
        return Holder.parse(text)
    except LocalError as error:
        raise LocalError(f"{path}: {error}") from None


def check_secret(path: Path) -> None:
    """LocalError: it cannot be read, or by everybody."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from None
    # Group may read: that is how a service without a fixed user is given its keys.
    if mode & 0o037:
        raise LocalError(
            f"{path}: mode {mode:04o}, others can read or change it; `chmod {SECRET_MODE:o}`, "
            "and a new key if they may have"
        )


def read_secret(path: Path) -> str:
    """Text of a file with secrets.  LocalError: others may read it."""
    check_secret(path)
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY_FILE_OCTETS).decode()
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LocalError(f"{path}: no text") from None


def write_secret(path: Path, text: str) -> None:
    """Replace a file with secrets, whole; nobody else can read it at any instant."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _replace(path, text, SECRET_MODE)


def write_trusted(directory: Path, holder: Holder) -> Path:
    """Trust a name with these keys and no others."""
    path = directory / "trusted" / f"{holder.name}.pub"
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    _replace(path, holder.public_only.build(), 0o644)
    return path


def _replace(path: Path, text: str, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def person(directory: Path) -> str:
    """Whose keys `l4` uses: L4_IDENTITY's, or those of the first person whose keys are here."""
    if chosen := os.environ.get(IDENTITY_VARIABLE):
        return chosen
    for path in sorted(directory.glob("*.key")):
        if is_key_name(path.stem) and os.access(path, os.R_OK):
            try:
                if read_holder(path, secret=True).role in PEOPLE:
                    return path.stem
            except LocalError:
                continue
    raise LocalError(
        f"no person's key in {directory}: `l4 keys new NAME --role operator` makes one"
    )
