"""Files and directories whose names survive a loss of power, not only their octets.

fsync of a file writes what is in it; that it exists, or has another name now, is written with its
directory (POSIX fsync; what ext4 and XFS add of their own accord is not relied on).
"""

from __future__ import annotations

import os
from pathlib import Path


def sync_file(path: Path) -> None:
    """Wait until the disk has what others wrote into it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_found(path: Path) -> None:
    """Wait until the disk has a file that was found, and its name: whoever wrote it may have been
    killed before it waited, and what is told because of it must survive a loss of power, too."""
    sync_file(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Wait until the disk has the names in it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """With its parents, each new one on disk; nothing to do if it is there."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def replace_file(path: Path, octets: bytes, mode: int | None = None) -> None:
    """The whole old file or the whole new one, whenever the power goes; on disk when this returns.

    mode: of the new file from its first instant on; None: as the process's umask has it.
    OSError: it is the old one.
    """
    temporary = path.with_name(path.name + ".new")
    if mode is not None:
        # What lies there, left over or planted, is never written into.
        temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if mode is None else os.O_EXCL)
    with open(os.open(temporary, flags, 0o666 if mode is None else mode), "wb") as file:
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


__all__ = ["make_directory", "replace_file", "sync_directory", "sync_file", "sync_found"]
