"""Files and folders: copied whole or not at all, deleted so that none looks whole half-way, links not followed."""

import contextlib
import errno
import hashlib
import io
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

CHUNK_BYTES = 1 << 20
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

Stamp = tuple[int, int]
"""A file's bytes and its time in ns: where both are equal, so is the content."""


class SourceGoneError(Exception):
    """A file that was to be copied was deleted or moved meanwhile: no fault of the target."""


def sha256_of(path: Path) -> str | None:
    """None where there is no such file. Raises OSError: it can't be read."""
    try:
        with open_source(path) as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except SourceGoneError:
        return None


def has_size(path: Path, size: int) -> bool:
    """Raises OSError: the folder can't be looked into."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def place(content: BinaryIO, target: Path, stamp: Stamp) -> str:
    """Write a whole file or nothing: beside it, synced, then renamed. Gives its SHA-256.

    Raises:
        OSError: the target doesn't take it; where it has no room, with the bytes needed and free.
    """
    beside = target.with_name(f".{target.name}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    try:
        with open(os.open(beside, flags, 0o600), "wb") as file:
            digest = pour(content, file)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):  # some drives keep their own times
            os.utime(beside, ns=(stamp[1], stamp[1]))
        os.replace(beside, target)
    except OSError as fault:
        with contextlib.suppress(OSError):
            beside.unlink()
        if fault.errno in NO_ROOM:
            raise OSError(fault.errno, f"{fault.strerror}, {_room(stamp[0], target.parent)}", str(target)) from None
        raise
    settle(target.parent)
    return digest


def _room(needed: int, folder: Path) -> str:
    with contextlib.suppress(OSError):
        return f"{needed:,} bytes needed, {shutil.disk_usage(folder).free:,} free"
    return f"{needed:,} bytes needed"


def pour(content: BinaryIO, file: BinaryIO) -> str:
    """The SHA-256 of what was copied."""
    digest = hashlib.sha256()
    while chunk := content.read(CHUNK_BYTES):
        digest.update(chunk)
        file.write(chunk)
    return digest.hexdigest()


def make_folder(root: Path, relative: PurePosixPath) -> None:
    """Raises OSError: part of the way is a link or a file."""
    path = root
    for part in relative.parts:
        path = path / part
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "must be a folder, not a link or a file", str(path))


def discard(folder: Path) -> None:
    """Delete a folder so that a crash half-way leaves none that looks whole. Raises OSError: it can't be."""
    hidden = folder if folder.name.startswith(".") else folder.with_name(f".{folder.name}.gone")
    if hidden != folder and os.path.lexists(folder):
        if os.path.lexists(hidden):
            shutil.rmtree(hidden)
        os.replace(folder, hidden)
    if os.path.lexists(hidden):
        shutil.rmtree(hidden)


def settle(folder: Path) -> None:
    """Wait until a folder's list of names is on disk, where the drive can do that at all."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def open_source(path: Path) -> Iterator[io.BufferedReader]:
    """Raises SourceGoneError: it isn't there any more, or is a link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as fault:
        if fault.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            raise SourceGoneError(str(path)) from None
        raise
    with open(descriptor, "rb") as content:
        yield content


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """By name, temporary ones too; none where there is no such folder. Raises OSError: it can't be read."""
    try:
        if not stat.S_ISDIR(os.lstat(folder).st_mode):  # a link leads elsewhere
            return []
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def visible(folder: Path) -> list[os.DirEntry[str]]:
    """As `entries`, without temporary ones."""
    return [entry for entry in entries(folder) if not entry.name.startswith(".")]


def stamp_of(status: os.stat_result) -> Stamp:
    return status.st_size, status.st_mtime_ns
