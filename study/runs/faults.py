"""What befalls databases, the disk and the results folder: each one line with its own remedy, and its own exit code.

SQLite tells faults apart by codes, the system by `errno`; libraries wrap both. So a library's fault is searched for the
one at its bottom, and the file is looked at: a database "that can't be opened" may be gone, or forbidden.
"""

import errno
import os
import re
import shlex
import sqlite3
import sys
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import ClassVar

from safetensors import SafetensorError

from study.runs.addresses import MLFLOW_LOGIN, PGPASS, addresses_of
from wake2vec import ConfigError, StorageError


class Exit(IntEnum):
    """With what a command ends that doesn't end well: docs/terminal.md has the table."""

    UNUSABLE = 2
    """A setting, an input, a folder or a command that can't be used: nothing was made."""
    IN_USE = 3
    """Another driver has the study, or another program holds a database: later it works."""
    DISK = 4
    """The disk is full, or doesn't give or take."""
    NOT_PERMITTED = 5
    """A file or folder that may not be read or written."""
    GONE = 6
    """The results folder, or a file in it, vanished or was replaced while it was used."""
    OTHER_VERSION = 7
    """A database of an older or newer version."""
    DAMAGED = 8
    """A database that can't be read any more."""
    UNREACHABLE = 9
    """A server of a shared study that doesn't answer, or that was lost."""
    INTERRUPTED = 130
    """Ctrl-C; 143 is SIGTERM."""


SAME = "the same command continues"


class StorageFault(ConfigError):  # noqa: N818 (its kinds are errors)
    """Something that isn't the study's own doing; the message is one line with its remedy."""

    exit: ClassVar[Exit] = Exit.DISK


class InUseError(StorageFault):
    """Another driver or program has it."""

    exit = Exit.IN_USE


class DatabaseInUseError(InUseError):
    """Another program holds a lock on a database."""


class DiskError(StorageFault):
    """The disk is full or fails."""

    exit = Exit.DISK


class NotPermittedError(StorageFault):
    """A file or folder can't be read or written by this user."""

    exit = Exit.NOT_PERMITTED


class GoneError(StorageFault):
    """A file or folder isn't there any more."""

    exit = Exit.GONE


class OtherVersionError(StorageFault):
    """A database's tables are those of another version."""

    exit = Exit.OTHER_VERSION


class DamagedDatabaseError(StorageFault):
    """A database that isn't one any more."""

    exit = Exit.DAMAGED


class UnreachableError(StorageFault):
    """A server can't be reached."""

    exit = Exit.UNREACHABLE


class ConnectionLostError(StorageFault):
    """The study database was there, and isn't any more; with the connection what this process held is lost."""

    exit = Exit.UNREACHABLE

    def __init__(self, why: str = "its connection is closed") -> None:
        super().__init__(f"the study database must stay reachable: {why}; {SAME}")
        self.why = why


class PoolerError(StorageFault):
    """What answers isn't the server itself."""

    exit = Exit.UNUSABLE

    def __init__(self) -> None:
        super().__init__(
            "--storage must be the direct address of the server: a pooler in transaction mode answers there, which "
            "gives one session to several clients, so that two drivers would hold one trial; give the direct "
            "connection (the one without `-pooler`, or of port 5432)"
        )


LEFT_OVERS = ("-journal", "-wal")
IN_USE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
NO_DATABASE = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FORMAT}
NOT_PERMITTED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
DISK = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
REPLACED = sqlite3.SQLITE_READONLY_DBMOVED
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_DISK = {errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOTCONN}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
NOT_THERE = {errno.ENOENT, errno.ENOTDIR}
LONGEST = 200
"""Letters of what a server says."""
OF_SYSTEM = re.compile(r"\(os error (\d+)\)")
"""In a fault of safetensors, which tells those of the disk as its own."""
NO_TABLE = re.compile(r"no such (table|column)")
ANEW = f"Then {SAME}; without it, it makes one anew from the work folders and trains nothing again"


def exit_of(fault: Exception) -> Exit:
    """With what a command ends that the fault, one of `fault_of`'s or of the method's, ended."""
    if isinstance(fault, StorageFault):
        return fault.exit
    return Exit.DISK if isinstance(fault, StorageError) else Exit.UNUSABLE


def fault_of(fault: BaseException, folder: Path | None = None, database: Path | None = None) -> StorageFault | None:
    """What ails a database, the disk or the results folder, at the bottom of a library's fault; None: nothing does.

    `folder` is the results folder: a file that isn't there, or is forbidden, is a fault of this kind in there alone.
    `database` is the one that was worked on; None: that of the library through which the fault came.
    """
    for cause in causes(fault):
        if isinstance(cause, StorageFault):
            return cause
        if (
            isinstance(cause, sqlite3.Error)
            and (said := _of_sqlite(cause, database or _database(fault, folder))) is not None
        ):
            return said
        if type(cause).__module__.startswith("psycopg"):
            return of_postgres(cause, is_lost=True)
        if type(cause).__module__ in MLFLOW_CLIENT and folder is not None and (server := addresses_of(folder).tracking):
            return of_server(cause, server)
        if isinstance(cause, SafetensorError) and (number := OF_SYSTEM.search(str(cause))) is not None:
            return _of_system(OSError(int(number[1]), os.strerror(int(number[1]))), folder)
        if isinstance(cause, OSError) and (said := _of_system(cause, folder)) is not None:
            return said
        if isinstance(cause, KeyError) and folder is not None and "optuna.storages" in _modules(cause):
            return GoneError(
                f"{folder / 'optuna.db'} must hold what was written to it: it lacks what this process wrote; was an "
                f"older copy put in its place? With it or with the newer one {SAME}"
            )
    return None


MLFLOW_CLIENT = {"mlflow.exceptions", "requests.exceptions"}
"""Modules of what MLflow's client raises."""
NO_LOGIN = re.compile(r"error code 40[13]|not authenticated|[Pp]ermission denied")


def of_server(fault: BaseException, address: str) -> StorageFault:
    """What ails MLflow's server at that address, or what it holds, by what its client raised."""
    said = " ".join(str(fault).split())[:LONGEST]
    answered = getattr(getattr(fault, "response", None), "status_code", None)
    status = answered or getattr(fault, "get_http_status_code", lambda: 503)()
    if status in (401, 403) or NO_LOGIN.search(said):
        return NotPermittedError(
            f"MLflow's server must let this user in: {address} says no; put the login into {MLFLOW_LOGIN}"
        )
    if 400 <= status < 500 and status not in (408, 429):  # it answers, and would again
        return GoneError(
            f"MLflow's server must keep what the study has there: {address}: {said}; put it back there, and {SAME}"
        )
    return UnreachableError(f"MLflow's server must answer: {address}: {said}; {SAME}")


LOGIN = re.compile(r"password|pg_hba|authentication|role .* (does not exist|is not permitted)|permission denied")
LOST = re.compile(r"08...|57P0[123]")
"""SQLSTATEs of a connection that is gone, and of a server that is going."""


def of_postgres(fault: BaseException, is_lost: bool = False) -> StorageFault:
    """What psycopg says, in a line; `is_lost`: a fault without a code is the end of a connection that was there."""
    code = getattr(fault, "sqlstate", None)
    # A server of several addresses is told once for each.
    said = " ".join(dict.fromkeys(line.strip() for line in str(fault).splitlines() if line.strip()))
    if (is_lost and code is None) or LOST.fullmatch(code or ""):
        return ConnectionLostError(said)
    if code == "42501" or (code or "").startswith("28") or LOGIN.search(said):
        return NotPermittedError(
            f"the study database must let this user in: {said}; user and database stand in --storage, a password in "
            f"{PGPASS}"
        )
    if code == "53300" or "too many" in said or "remaining connection slots" in said:
        return InUseError(f"the study database must have two connections for each driver: {said}; stop some")
    if code not in (None, "3D000"):
        return DiskError(f"the study database must take what is written: {said}; put that right there, and {SAME}")
    return UnreachableError(
        f"the study database must answer: {said}; see whether the address after --storage is right, whether its "
        "server runs and whether its database was made (createdb)"
    )


def causes(fault: BaseException) -> Iterator[BaseException]:
    """The fault, what it was raised from, and so on."""
    cause: BaseException | None = fault
    while cause is not None:
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def of_database(path: Path | None, fault: sqlite3.Error, wait_s: float | None = None) -> StorageFault:
    """The fault of a database; `path` is None where a library doesn't tell which one it was."""
    what, code = "a database of the results folder" if path is None else str(path), _code(fault)
    if path is not None and code not in NO_DATABASE | IN_USE and (gone := _gone(path, fault)) is not None:
        return gone
    if code in IN_USE:
        waited = "" if wait_s is None else f": it was locked for {wait_s:g} s"
        return DatabaseInUseError(f"{what} is in use by another program{waited}; try again when it is done")
    # The second is of a journal that may not be deleted.
    if code in NOT_PERMITTED or fault.sqlite_errorcode == sqlite3.SQLITE_IOERR_DELETE:
        return NotPermittedError(_not_permitted(what, path, fault))
    if code in DISK:
        return DiskError(
            f"the disk must give and take {what}: {fault}; free some space or make the disk reachable, and {SAME}"
        )
    if NO_TABLE.search(str(fault)):
        if path is not None and path.stat().st_size == 0:
            return GoneError(f"{path} must stay as it is while it is used: it was emptied; put it back. {ANEW}")
        return OtherVersionError(
            f"{what} must have the tables of this version: {fault}; it is another version's or another program's: "
            "use what made it, or give another --folder"
        )
    return DamagedDatabaseError(
        f"{what} must be an SQLite database: {fault}; it is damaged: move it aside, and the same command makes it "
        "anew from the work folders, without training again"
    )


def _of_sqlite(fault: sqlite3.Error, path: Path | None) -> StorageFault | None:
    known = _code(fault) in IN_USE | NO_DATABASE | NOT_PERMITTED | DISK or NO_TABLE.search(str(fault))
    return of_database(path, fault) if known else None


def _code(fault: sqlite3.Error) -> int | None:
    """Without what extends it; faults of Python's own module have none."""
    code: int | None = getattr(fault, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


DATABASES = {"mlflow": "mlflow.db", "optuna": "optuna.db", "study.runs.storage": "optuna.db"}
"""Which a fault is of, by a library or module that it came through."""


def _database(fault: BaseException, folder: Path | None) -> Path | None:
    """The database that the fault is of, by the library or module through which it came."""
    if folder is None:
        return None
    for cause in causes(fault):
        for module, name in DATABASES.items():
            if module in _modules(cause):
                return folder / name
    return None


def _modules(fault: BaseException) -> set[str]:
    """Those that the fault came through, and the packages around them."""
    found, trace = set(), fault.__traceback__
    while trace is not None:
        parts = str(trace.tb_frame.f_globals.get("__name__", "")).split(".")
        found |= {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
        trace = trace.tb_next
    return found


def _gone(path: Path, fault: sqlite3.Error) -> GoneError | None:
    try:
        if not path.parent.is_dir():
            return gone_folder(path.parent)
        if path.exists() and getattr(fault, "sqlite_errorcode", None) != REPLACED:
            return None
    except OSError:  # it may not be looked at
        return None
    return replaced(path)


def replaced(path: Path) -> GoneError:
    """A database isn't there any more, or is another file."""
    return GoneError(
        f"{path} must stay where it is while it is used: it was deleted, moved or replaced; put it back. {ANEW}"
    )


def tool(name: str) -> str:
    """A library's own command as a shell takes it, of the environment that this runs in: it needn't be in the PATH."""
    return shlex.quote(str(Path(sys.executable).with_name(name)))


def gone_folder(folder: Path) -> GoneError:
    """The results folder, or what it lies in, isn't there."""
    return GoneError(
        f"the results folder must stay where it is: {folder} is gone or is another; put it back and {SAME}"
    )


def _not_permitted(what: str, path: Path | None, fault: sqlite3.Error) -> str:
    left = [] if path is None else [path.name + end for end in LEFT_OVERS if Path(f"{path}{end}").exists()]
    if path is not None and left:
        return (
            f"{what} must be mended before it is written: a program that was killed left {left[0]}, and the folder "
            f"{path.parent} or the file can't be written; make both writable (chmod u+w), or let their owner run any "
            "command of these once"
        )
    return f"{what} must be a file that can be read and written: {fault}; see who owns it and its folder (chmod u+rw)"


def _of_system(fault: OSError, folder: Path | None) -> StorageFault | None:
    """A fault that the system gave."""
    if fault.errno in NO_SPACE:
        return DiskError(f"the disk must take what is written: {fault}; free some space, and {SAME}")
    if fault.errno in NO_DISK:
        return DiskError(f"the disk must give and take: {fault}; make it reachable, and {SAME}")
    if folder is None or not _lies_in(fault.filename, folder):
        return None
    if fault.errno in FORBIDDEN:
        return NotPermittedError(
            f"a results folder must be one that can be read and written: {fault}; see who owns it and whether its "
            f"disk may be written (chmod u+rwX), then {SAME}"
        )
    if fault.errno in NOT_THERE:
        if not folder.is_dir():
            return gone_folder(folder)
        return GoneError(
            f"what lies in a results folder must stay there: {fault}; put it back where it is left, and {SAME}; "
            "without it, what it holds is made anew"
        )
    return None


def _lies_in(name: object, folder: Path) -> bool:
    if not isinstance(name, (str, bytes)):
        return False
    return Path(os.fsdecode(name)).resolve().is_relative_to(folder.resolve())
