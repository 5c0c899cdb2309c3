"""The SQLite files of a results folder: opened so that what a killed process left is mended, and a fault is named.

A process that dies in a transaction leaves a journal beside its database. SQLite rolls it back at the next opening that
may write: whoever reads opens so too. It never does that under a living writer, whose lock it sees.
"""

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from wake2vec import ConfigError

WAIT_S = 5.0
"""How long a lock is waited for. Our own transactions take milliseconds."""
LEFT_OVERS = ("-journal", "-wal")
IN_USE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
NO_DATABASE = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FORMAT}
NOT_PERMITTED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
DISK = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


class DatabaseInUseError(ConfigError):
    """Another program holds a lock on a database."""


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
