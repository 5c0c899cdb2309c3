"""Copies: consistent snapshots of live databases, and what lies beside them, brought to another folder.

Files are copied whole or not at all, folders are deleted so that none looks whole half-way, links are never followed,
and what is there already isn't copied again.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from threading import Event
from typing import BinaryIO, Literal

from study.runs.database import opened
from study.runs.system import RECORDS
from wake2vec import MANIFEST, ConfigError, is_named, sealed_hashes

DatabaseName = Literal["mlflow.db", "optuna.db"]
DATABASES: tuple[DatabaseName, ...] = ("mlflow.db", "optuna.db")
"""In the order of taking and restoring: where the study stands, its tracking does, and is no newer."""
STAGE = ".mirror"

RESULT = "result.json"
CHECKPOINTS = "checkpoints"
CLOCK_NS = 2_000_000_000  # drives round a file's time, FAT to two seconds
TRIES = 3  # checkpoints of one trial in one pass: a copy slower than training finds each deleted
RESULT_FILE = r"^trials/[\w-]+/(result\.json|[\w-]+\.safetensors)$"
"""What a finished trial can't be without."""
CHUNK_BYTES = 1 << 20
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

Stamp = tuple[int, int]
"""A file's bytes and its time in ns: where both are equal, so is the content."""


def has_study(folder: Path) -> bool:
    return os.path.lexists(folder / "optuna.db")


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[Path]:
    """An empty place in the results folder for databases on their way; what a crash left there goes."""
    path = folder / STAGE
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def take_snapshots(folder: Path, beside: Path) -> dict[DatabaseName, Path]:
    """A copy in `beside` of each database that is there, each as of one moment; writers wait for milliseconds.

    Raises:
        OSError: the disk doesn't take them, or a database can't be read.
    """
    for name in DATABASES:
        if (folder / name).is_file():
            try:
                with opened(folder / name) as live, contextlib.closing(sqlite3.connect(beside / name)) as copy:
                    copy.execute("PRAGMA synchronous = OFF")  # a crash discards it
                    live.backup(copy, sleep=0.01)
            except ConfigError as fault:
                raise OSError(errno.EIO, f"no snapshot of the database: {fault}", str(folder / name)) from None
    return {name: beside / name for name in DATABASES if (beside / name).is_file()}


class Copier:
    """Copies one results folder to another, only what isn't there; never through a link, never out of `target`."""

    def __init__(self, source: Path, target: Path) -> None:
        self.source = source
        self.target = target
        self.known: dict[str, Stamp] = {}
        """What was copied or found there, under its relative name."""
        self.gone: list[str] = []
        """Files that were deleted before they could be copied."""
        self.damaged: dict[str, str] = {}
        """Work folders of finished trials that aren't what their results name, and why: none of them was copied whole,
        and what the target held of them stays."""
        self.cancelled = Event()

    def shared(self) -> None:
        """Copy pictures and artifacts. Raises OSError: the target doesn't take them."""
        for relative in shared_files(self.source):
            self._file_if_there(relative)

    def work_folder(self, relative: PurePosixPath) -> None:
        """Copy a finished trial, its result last, or of an unfinished one the record and the newest checkpoint.

        So where a result stands the trial is whole, and the record reaches the checkpoint's step at least.

        Raises:
            OSError: the target doesn't take it.
        """
        if (self.source / relative / RESULT).is_file():
            self.damaged.pop(str(relative), None)
            try:
                if all(self._file_if_there(file) for file in finished_files(self.source, relative)):
                    discard(self.target / relative / CHECKPOINTS)
            except DamagedSourceError as fault:
                self.damaged[str(relative)] = str(fault)
            return
        self._unfinished(relative)

    def copy_all(self) -> None:
        """Raises OSError: the target doesn't take it."""
        self.shared()
        for work in work_folders(self.source):
            self.work_folder(work)

    def results(self) -> dict[str, int]:
        """Names and bytes of files in the target that finished trials can't be without."""
        finished = {PurePosixPath(name).parent for name in self.known if PurePosixPath(name).name == RESULT}
        return {
            name: size
            for name, (size, _) in sorted(self.known.items())
            if re.fullmatch(RESULT_FILE, name) and PurePosixPath(name).parent in finished
        }

    def missing(self) -> Iterator[tuple[str, int]]:
        """Names and bytes of what the target is not known to hold; looks at the source alone."""
        files = list(shared_files(self.source))
        for work in work_folders(self.source):
            if (self.source / work / RESULT).is_file():
                files += finished_files(self.source, work)
            else:
                for step in checkpoints(self.source, work / CHECKPOINTS)[:1]:
                    if str(step / MANIFEST) not in self.known:
                        files += _files(self.source, step)
        for file in files:
            with contextlib.suppress(FileNotFoundError):  # deleted since
                found = stamp_of(os.lstat(self.source / file))
                if self.known.get(str(file)) != found:
                    yield str(file), found[0]

    def _file_if_there(self, relative: PurePosixPath) -> bool:
        """Whether the file was there to be copied."""
        try:
            self._file(relative)
        except SourceGoneError:
            self.gone.append(str(relative))
            return False
        return True

    def _file(self, relative: PurePosixPath) -> None:
        self._go_on()
        with open_source(self.source / relative) as content:
            found = stamp_of(os.fstat(content.fileno()))
            if not self._is_there(relative, found):
                make_folder(self.target, relative.parent)
                place(content, self.target / relative, found, lambda digest: self._fault(relative, digest))
            self.known[str(relative)] = found

    def _fault(self, relative: PurePosixPath, digest: str) -> str | None:
        """What is wrong with a file that has this SHA-256, by the result of its trial; None: nothing, or none tells."""
        if not re.match(RESULT_FILE, str(relative)):
            return None
        try:
            with open_source(self.source / relative.parent / RESULT) as content:
                hashes = sealed_hashes(content.read())
        except SourceGoneError:
            return None
        if hashes is None:
            return f"{relative.parent / RESULT} isn't what was written"
        return None if is_named(hashes, relative.name, digest) else f"{relative} isn't what its result names"

    def _is_there(self, relative: PurePosixPath, wanted: Stamp) -> bool:
        try:
            status = os.lstat(self.target / relative)
        except (FileNotFoundError, NotADirectoryError):
            return False
        if not stat.S_ISREG(status.st_mode) or status.st_size != wanted[0]:
            return False
        copied = self.known.get(str(relative))
        return copied == wanted if copied else abs(status.st_mtime_ns - wanted[1]) <= CLOCK_NS

    def _unfinished(self, work: PurePosixPath) -> None:
        """Copy the record and the newest checkpoint that is whole; all other checkpoints go when it stands.

        The record is read after the checkpoint was seen, so it reaches it, and stands before the checkpoint does.
        """
        folder, tried = work / CHECKPOINTS, set[PurePosixPath]()
        while True:
            newest = next((path for path in checkpoints(self.source, folder) if path not in tried), None)
            for record in RECORDS:
                if (self.source / work / record).is_file():
                    self._file_if_there(work / record)
            if newest is None or len(tried) == TRIES:
                return
            tried.add(newest)
            with contextlib.suppress(SourceGoneError):
                if self._checkpoint(newest):
                    self._keep_only(newest)
                    return

    def _keep_only(self, checkpoint: PurePosixPath) -> None:
        folder = self.target / checkpoint.parent
        for entry in entries(folder):
            if re.match(r"\.?step-", entry.name) and entry.name != checkpoint.name:
                discard(folder / entry.name)

    def _checkpoint(self, relative: PurePosixPath) -> bool:
        """Whether the checkpoint is whole, by the hashes of its manifest, and now stands in the target."""
        with open_source(self.source / relative / MANIFEST) as content:
            found, manifest = stamp_of(os.fstat(content.fileno())), content.read()
        hashes = hashes_of(manifest)
        if not hashes:
            return False
        if not self._has_checkpoint(relative, hashes, manifest):
            beside = relative.with_name(f".{relative.name}.part")
            discard(self.target / beside)
            make_folder(self.target, beside)
            for name in hashes:
                self._go_on()
                with open_source(self.source / relative / name) as content:
                    stamp = stamp_of(os.fstat(content.fileno()))
                    if place(content, self.target / beside / name, stamp) != hashes[name]:
                        return False
            place(io.BytesIO(manifest), self.target / beside / MANIFEST, found)
            discard(self.target / relative)
            os.replace(self.target / beside, self.target / relative)
            settle(self.target / relative.parent)
        self.known[str(relative / MANIFEST)] = found
        return True

    def _has_checkpoint(self, relative: PurePosixPath, hashes: dict[str, str], manifest: bytes) -> bool:
        """By its manifest and its files' sizes: to read it all again would take as long as to copy it."""
        there = self.target / relative
        sizes = {}
        for name in hashes:
            with open_source(self.source / relative / name) as content:
                sizes[there / name] = os.fstat(content.fileno()).st_size
        try:
            with open_source(there / MANIFEST) as content:
                is_alike = content.read() == manifest
        except SourceGoneError:
            return False
        return is_alike and all(has_size(path, size) for path, size in sizes.items())

    def _go_on(self) -> None:
        if self.cancelled.is_set():
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))


def work_folders(root: Path) -> list[PurePosixPath]:
    """Those of trials, by name; what isn't named like a digest isn't one."""
    names = (entry.name for entry in visible(root / "trials") if entry.is_dir(follow_symlinks=False))
    return [PurePosixPath("trials", name) for name in names if re.fullmatch(r"[0-9A-Za-z_-]{1,64}", name)]


def finished_files(root: Path, work: PurePosixPath) -> list[PurePosixPath]:
    """All that a finished trial leaves, the result last."""
    files = [file for file in _files(root, work) if CHECKPOINTS not in file.parts and file != work / RESULT]
    return [*files, work / RESULT]


def shared_files(root: Path) -> Iterator[PurePosixPath]:
    for tree in ("artifacts", "studies"):
        yield from _files(root, PurePosixPath(tree))


def checkpoints(root: Path, folder: PurePosixPath) -> list[PurePosixPath]:
    """Newest first."""
    names = [entry.name for entry in visible(root / folder) if entry.is_dir(follow_symlinks=False)]
    return [folder / name for name in reversed(names) if re.fullmatch(r"step-\d+", name)]


def hashes_of(manifest: bytes) -> dict[str, str]:
    """SHA-256 by name, as a checkpoint's manifest tells them; nothing where it can't be followed."""
    with contextlib.suppress(ValueError):
        told = json.loads(manifest)
        if isinstance(told, dict) and all(Path(name).name == name and name[0] != "." for name in told):
            return {name: str(told[name]) for name in sorted(told)}
    return {}


def _files(root: Path, relative: PurePosixPath) -> Iterator[PurePosixPath]:
    """Plain files below a folder; links and temporary names aren't followed."""
    for entry in visible(root / relative):
        if entry.is_dir(follow_symlinks=False):
            yield from _files(root, relative / entry.name)
        elif entry.is_file(follow_symlinks=False):
            yield relative / entry.name


class SourceGoneError(Exception):
    """A file that was to be copied was deleted or moved meanwhile: no fault of the target."""


class DamagedSourceError(Exception):
    """A file that isn't what its trial's result names."""


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


def place(
    content: BinaryIO, target: Path, stamp: Stamp, fault_of: Callable[[str], str | None] = lambda digest: None
) -> str:
    """Write a whole file or nothing: beside it, synced, then renamed. Gives its SHA-256.

    Raises:
        DamagedSourceError: it has one that `fault_of` finds a fault with; what stood there stays.
        OSError: the target doesn't take it; where it has no room, with the bytes needed and free.
    """
    beside = target.with_name(f".{target.name}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    try:
        with open(os.open(beside, flags, 0o600), "wb") as file:
            digest = pour(content, file)
            file.flush()
            os.fsync(file.fileno())
        if (fault := fault_of(digest)) is not None:
            beside.unlink()
            raise DamagedSourceError(fault)
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
