"""The SQLite files of a results folder: opened so that what a killed process left is mended, and a fault is named.

A process that dies in a transaction leaves a journal beside its database. SQLite rolls it back at the next opening that
may write: whoever reads opens so too. It never does that under a living writer, whose lock it sees. Where the folder
can't be written, a copy elsewhere is rolled back, and read.
"""

import contextlib
import logging
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from study.runs.faults import (
    LEFT_OVERS,
    DamagedDatabaseError,
    DatabaseInUseError,
    NotPermittedError,
    StorageFault,
    fault_of,
    of_database,
)
from wake2vec import ConfigError, private_folder

logger = logging.getLogger(__name__)

WAIT_S = 5.0
"""How long a lock is waited for. Our own transactions take milliseconds."""
IN_ADDRESSES = "%?{}"
HALF_MADE = ".half-made"
MAKING = ".making"
"""Of the name of a lock: one process makes a folder's databases."""
_mended: dict[Path, tempfile.TemporaryDirectory[str]] = {}
"""Copies of databases that can't be mended where they lie; they go with the process."""


def check_folder(folder: Path) -> None:
    """Raises ConfigError: databases can't lie there; nothing is made."""
    try:
        odd = sorted({letter for letter in str(folder.resolve()) if letter in IN_ADDRESSES})
        above = next(part for part in (folder, *folder.absolute().parents) if part.exists())
        str(folder).encode()
    except (OSError, RuntimeError, ValueError) as fault:  # too long, links in a circle, a NUL
        raise ConfigError(
            f"a results folder must be one that can be made: {str(folder)[:80]}: {fault}; give another --folder"
        ) from None
    if odd:
        raise ConfigError(
            f"a results folder's path can't have the letter {odd[0]}, which addresses of databases have a meaning for: "
            f"{folder.resolve()}; give another --folder (RESULTS=... with make)"
        )
    if not above.is_dir():
        raise ConfigError(f"a results folder must be a folder: {above} is none; give another --folder")


INSIDE = ("trials", "studies", "artifacts", "cache")
"""Folders of a results folder."""


def make_private(folder: Path) -> None:
    """A results folder in which nobody else reads: what is in it is for its owner alone, if the folder itself isn't.

    A folder that was there keeps its own permissions: whoever made it may want it seen.
    """
    private_folder(folder)
    for path in (*(folder / name for name in INSIDE), *(folder / "trials").glob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    for path in folder.glob("*.db*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o600)


def database_url(path: Path) -> str:
    """SQLAlchemy's address of an SQLite file in a folder that `check_folder` takes.

    Quoted letters would be right for SQLAlchemy; but MLflow makes a folder of the address as it is written.
    """
    return f"sqlite:///{path.resolve()}"


def make_database(path: Path, filled: str, make: Callable[[str], None]) -> None:
    """Let a library make a database, unless it is there: whole or not at all, whatever happens meanwhile.

    Libraries make their tables in many transactions. What a kill or a full disk left of them they take for a database
    and fail on for ever. So `make` gets the address of a file beside, which is renamed when it is done. A database
    whose table `filled` has no row, or which hasn't got it, holds nothing of a study: such a left-over is put aside,
    under a name that says so.

    Raises:
        StorageFault: the folder or its disk doesn't take it, or another process makes it for longer than `WAIT_S`.
    """
    private_folder(path.parent)
    if _is_filled(path, filled):
        return
    try:
        with filelock.FileLock(path.with_name(f".{path.name}{MAKING}"), timeout=12 * WAIT_S):
            if _is_filled(path, filled):
                return
            beside = path.with_name(f".{path.name}.part")
            _forget(beside)
            try:
                make(database_url(beside))
            except Exception as fault:
                if (said := fault_of(fault, path.parent, beside)) is None:
                    raise
                raise said from None
            with beside.open("rb") as file:
                os.fsync(file.fileno())
            beside.chmod(0o600)
            if path.exists():
                aside = put_aside(path, HALF_MADE)
                logger.warning("%s held nothing of a study, and lies aside as %s", path, aside.name)
            _forget(path)  # a journal of what is gone
            beside.replace(path)
    except filelock.Timeout:
        raise DatabaseInUseError(f"{path} is being made by another process: try again when it is done") from None


def _is_filled(path: Path, table: str) -> bool:
    if not path.exists():
        return False
    with opened(path) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
            return False
        return database.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None  # noqa: S608


def _forget(path: Path) -> None:
    for ending in ("", *LEFT_OVERS, "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


@contextlib.contextmanager
def opened(path: Path, to_write: bool = False, wait_s: float | None = None) -> Iterator[sqlite3.Connection]:
    """A database that is there, for reading; with `to_write` it is known to take a change now. Nothing is made.

    Raises:
        DatabaseInUseError: another program holds it for longer than `wait_s`; `WAIT_S` without it.
        StorageFault: it can't be read, or written; the message says which, and the remedy.
    """
    try:
        with contextlib.closing(connect(path if to_write else readable(path), wait_s)) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the first look mends, and waits
            if to_write:
                database.execute("BEGIN IMMEDIATE")
                database.execute("ROLLBACK")
            yield database
    except sqlite3.Error as fault:
        raise of_database(path, fault, WAIT_S if wait_s is None else wait_s) from None


def connect(path: Path, wait_s: float | None = None) -> sqlite3.Connection:
    """A connection to a database that is there; where it isn't permitted to write, for reading.

    Raises:
        sqlite3.Error: there is none, or it can't be read.
    """
    address = f"{path.resolve().as_uri()}?mode=rw"
    return sqlite3.connect(address, uri=True, timeout=WAIT_S if wait_s is None else wait_s, check_same_thread=False)


def identity(path: Path) -> tuple[int, int] | None:
    """Device and number of a file or folder: another of its name has others; None: there is none."""
    try:
        at = path.stat()
    except OSError:
        return None
    return at.st_dev, at.st_ino


def readable(path: Path) -> Path:
    """The database, or where a killed program's journal can't be rolled back in its place, a copy where it was.

    Raises:
        StorageFault: it can't be read.
    """
    left = [Path(f"{path}{ending}") for ending in LEFT_OVERS]
    if not any(journal.exists() for journal in left):
        return path
    try:
        with contextlib.closing(connect(path)) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return path
    except sqlite3.Error as fault:
        named = of_database(path, fault, WAIT_S)
        if not isinstance(named, NotPermittedError):
            raise named from None
    if path not in _mended:
        place = tempfile.TemporaryDirectory(prefix="wake2vec-")
        try:
            for part in (path, *left):
                if part.exists():
                    shutil.copyfile(part, Path(place.name) / part.name)
        except OSError:  # it may not even be read
            raise named from None
        _mended[path] = place
    return Path(_mended[path].name) / path.name


def check_database(path: Path, to_write: bool = False, wait_s: float | None = None) -> None:
    """Raises StorageFault: a database of that name is there, and can't be opened as `opened` does."""
    if path.exists():
        with opened(path, to_write, wait_s):
            pass


def is_damaged(path: Path) -> bool:
    """Whether SQLite itself finds the whole file to be no database: not just a fault of the moment."""
    try:
        with contextlib.closing(connect(path)) as database:
            return bool(database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",))
    except sqlite3.DatabaseError as fault:
        return isinstance(of_database(path, fault), DamagedDatabaseError)


def put_aside(path: Path, why: str) -> Path:
    """Rename a database, with what lies beside it of its journals, to a name that says why; nothing is deleted."""
    aside = path.with_name(f"{path.name}.{time.time_ns()}{why}")
    path.rename(aside)
    for ending in LEFT_OVERS:
        if (journal := Path(f"{path}{ending}")).exists():
            journal.rename(f"{aside}{ending}")
    return aside


def check_not_in_use(path: Path) -> None:
    """Raises DatabaseInUseError: another program holds it; what else may ail it is no fault here."""
    try:
        check_database(path, to_write=True)
    except DatabaseInUseError:
        raise
    except StorageFault:
        return
