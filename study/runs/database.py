"""The SQLite files of a results folder: opened so that what a killed process left is mended, and a fault is named.

A process that dies in a transaction leaves a journal beside its database. SQLite rolls it back at the next opening that
may write: whoever reads opens so too. It never does that under a living writer, whose lock it sees.
"""

import contextlib
import errno
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from wake2vec import ConfigError

logger = logging.getLogger(__name__)

WAIT_S = 5.0
"""How long a lock is waited for. Our own transactions take milliseconds."""
IN_ADDRESSES = "%?{}"
LEFT_OVERS = ("-journal", "-wal")
HALF_MADE = ".half-made"
MAKING = ".making"
"""Of the name of a lock: one process makes a folder's databases."""
IN_USE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
NO_DATABASE = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FORMAT}
NOT_PERMITTED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
DISK = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


class DatabaseInUseError(ConfigError):
    """Another program holds a lock on a database."""


def check_folder(folder: Path) -> None:
    """Raises ConfigError: databases can't lie there; nothing is made."""
    try:
        odd = sorted({letter for letter in str(folder.resolve()) if letter in IN_ADDRESSES})
        is_file = folder.exists() and not folder.is_dir()
    except (OSError, RuntimeError, ValueError) as fault:  # too long, links in a circle, a NUL
        raise ConfigError(f"a results folder must be one that can be made: {str(folder)[:80]}: {fault}") from None
    if odd:
        raise ConfigError(
            f"a results folder's path can't have the letter {odd[0]}, which addresses of databases have a meaning for: "
            f"{folder.resolve()}; give another --folder (RESULTS=... with make)"
        )
    if is_file:
        raise ConfigError(f"a results folder must be a folder: {folder} is a file; give another --folder")


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
        ConfigError: the folder doesn't take it, or another process makes it for longer than `WAIT_S`.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if _is_filled(path, filled):
        return
    try:
        with filelock.FileLock(path.with_name(f".{path.name}{MAKING}"), timeout=12 * WAIT_S):
            if _is_filled(path, filled):
                return
            beside = path.with_name(f".{path.name}.part")
            _forget(beside)
            make(database_url(beside))
            with beside.open("rb") as file:
                os.fsync(file.fileno())
            beside.chmod(0o600)
            if path.exists():
                aside = path.with_name(f"{path.name}.{time.time_ns()}{HALF_MADE}")
                path.rename(aside)
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
def opened(path: Path, to_write: bool = False) -> Iterator[sqlite3.Connection]:
    """A database that is there, for reading; with `to_write` it is known to take a change now. Nothing is made.

    Raises:
        DatabaseInUseError: another program holds it for longer than `WAIT_S`.
        ConfigError: it can't be read, or written; the message says which, and the remedy.
    """
    address = f"{path.resolve().as_uri()}?mode=rw"  # where it isn't permitted to write, SQLite opens it for reading
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=WAIT_S)) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the first look mends, and waits
            if to_write:
                database.execute("BEGIN IMMEDIATE")
                database.execute("ROLLBACK")
            yield database
    except sqlite3.Error as fault:
        raise _error(path, fault) from None


def check_database(path: Path, to_write: bool = False) -> None:
    """Raises ConfigError: a database of that name is there, and can't be opened as `opened` does."""
    if path.exists():
        with opened(path, to_write):
            pass


def check_not_in_use(path: Path) -> None:
    """Raises DatabaseInUseError: another program holds it; what else may ail it is no fault here."""
    try:
        check_database(path, to_write=True)
    except DatabaseInUseError:
        raise
    except ConfigError:
        return


def fault_in_words(fault: BaseException) -> str | None:
    """What ails a database or the disk, where that is at the bottom of a library's fault; None where it isn't."""
    cause: BaseException | None = fault
    while cause is not None:
        if isinstance(cause, sqlite3.Error) and _code(cause) in IN_USE | NO_DATABASE | NOT_PERMITTED | DISK:
            return str(_error(None, cause))
        if isinstance(cause, OSError) and cause.errno in NO_SPACE:
            return f"the disk must take what is written: {cause}; free some space, and the same command continues"
        cause = cause.__cause__
    return None


def _code(fault: sqlite3.Error) -> int | None:
    """Without what extends it; faults of Python's own module have none."""
    code: int | None = getattr(fault, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _error(path: Path | None, fault: sqlite3.Error) -> ConfigError:
    """`path` is None where a library doesn't tell which database it was."""
    what, code = "a database of the results folder" if path is None else str(path), _code(fault)
    if code in IN_USE:
        return DatabaseInUseError(
            f"{what} is in use by another program: it was locked for {WAIT_S:g} s; try again when it is done"
        )
    if code in NOT_PERMITTED or fault.sqlite_errorcode == sqlite3.SQLITE_IOERR_DELETE:  # of the journal
        return ConfigError(_not_permitted(what, path, fault))
    if code in DISK:
        return ConfigError(
            f"the disk must give and take {what}: {fault}; free some space or make the disk reachable, "
            "and the same command continues"
        )
    return ConfigError(f"{what} must be an SQLite database: {fault}; move it aside")


def _not_permitted(what: str, path: Path | None, fault: sqlite3.Error) -> str:
    left = [] if path is None else [path.name + end for end in LEFT_OVERS if Path(f"{path}{end}").exists()]
    if path is not None and left:
        return (
            f"{what} must be mended before it is read: a program that was killed left {left[0]}, and the folder "
            f"{path.parent} or the file can't be written; make both writable (chmod u+w), or let their owner run any "
            "command of these once"
        )
    return f"{what} must be a file that can be read and written: {fault}; see who owns it and its folder (chmod u+rw)"
