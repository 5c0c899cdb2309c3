"""Optuna's storage on the SQLite file of a results folder."""

import shlex
import sqlite3
from collections.abc import Callable
from pathlib import Path

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from study.runs.database import connect, database_url, identity, make_database, opened
from study.runs.faults import OtherVersionError, fault_of, replaced, tool

PATIENCE_S = 30.0
"""How long a driver waits for a lock in mid-study: a backup may take a while. Optuna tries some writes five times."""


def storage_to_write(folder: Path, before_commit: Callable[[], None]) -> RDBStorage:
    """On the folder's database, which is made if there is none.

    `before_commit` is called in each transaction before it is done, and ends it by what it raises.

    Raises:
        StorageFault: the database can't be used.
    """
    path = folder / "optuna.db"
    make_database(path, "version_info", _make)
    storage, at = open_storage(path, PATIENCE_S), identity(path)

    def check(_: object) -> None:
        before_commit()
        if identity(path) != at:
            raise replaced(path)

    sqlalchemy.event.listen(storage.engine, "commit", check)
    return storage


def _make(url: str) -> None:
    RDBStorage(url).engine.dispose()


def open_storage(path: Path, wait_s: float | None = None) -> RDBStorage:
    """Optuna's storage on a database that is there, and which it never makes: each transaction opens the file anew.

    So a file that was deleted or replaced is noticed, where an open one would be written to unseen.

    Raises:
        StorageFault: it can't be used; one of another version stays as it is.
    """
    engine = {"creator": lambda: connect(path, wait_s), "poolclass": sqlalchemy.NullPool}
    try:
        return RDBStorage(database_url(path), engine, skip_table_creation=True)
    except RuntimeError as fault:
        raise of_version(fault, str(path), database_url(path)) from None
    except (StorageInternalError, SQLAlchemyError, sqlite3.Error) as fault:
        raise fault_of(fault, path.parent) or fault from None


def of_version(fault: RuntimeError, where: str, url: str) -> OtherVersionError:
    """What Optuna's own check of its tables has found."""
    return OtherVersionError(
        f"{where} must have the tables of Optuna {optuna.__version__}: "
        + (
            f"it was made by an older one; copy it, then `{tool('optuna')} storage upgrade --storage "
            f"{shlex.quote(url)}`"
            if "storage upgrade" in str(fault)
            else "it was made by a newer one; use the version of this project that made it, or a newer one"
        )
    )


def names_in(path: Path) -> list[str]:
    """The studies in a database; none where there is none.

    Optuna isn't asked: it would make the tables of a database that a driver is just making, and one of the two would
    die of it.
    """
    if not path.exists():
        return []
    with opened(path) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'studies'").fetchone():
            return []  # a driver is just making it
        return sorted(name for (name,) in database.execute("SELECT study_name FROM studies"))
