"""Where MLflow's database lies, how it is opened, and what is absolute in it."""

import contextlib
import functools
import logging
import os
import shlex
import sqlite3
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

from mlflow import MlflowClient, __version__
from mlflow.store.db.utils import _get_latest_schema_revision
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from study.runs.database import connect, database_url, make_database
from study.runs.faults import OtherVersionError, of_database, tool

LOCATIONS = (  # of MLflow 3.17's tables, the columns that hold absolute addresses of artifacts
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("workspaces", "default_artifact_root"),
    ("trace_tags", "value"),
)


def tracking_uri(folder: Path) -> str:
    return database_url(folder / "mlflow.db")


def make_tracking(folder: Path) -> None:
    """Make MLflow's database, unless it is there. Raises ConfigError: the folder doesn't take it."""

    def make(url: str) -> None:
        SqlAlchemyStore(url, (folder.resolve() / "artifacts").as_uri()).engine.dispose()

    make_database(folder / "mlflow.db", "experiments", make)


def open_client(folder: Path) -> MlflowClient:
    """MLflow's client on the folder's database, which is made if there is none.

    Each of its transactions opens the file anew: so one that was deleted or replaced is noticed, where an open one
    would be written to unseen. Its own log would print a traceback for what is told here in a line.

    Raises:
        StorageFault: the database can't be used.
    """
    os.environ["MLFLOW_SQLALCHEMYSTORE_POOLCLASS"] = "NullPool"
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    make_tracking(folder)
    check_version(folder / "mlflow.db")
    return MlflowClient(tracking_uri(folder))


@contextlib.contextmanager
def fenced(folder: Path, check: Callable[[], None]) -> Iterator[None]:
    """MLflow's transactions on the folder's database call `check` before they are done, and end by what it raises.

    So a driver that slept amid one, and was taken over from, writes nothing when it wakes.
    """
    path = str((folder / "mlflow.db").resolve())

    def before_commit(connection: Connection) -> None:
        if connection.engine.url.database == path:
            check()

    event.listen(Engine, "commit", before_commit)
    try:
        yield
    finally:
        event.remove(Engine, "commit", before_commit)


def check_version(path: Path) -> None:
    """Raises OtherVersionError: its tables are those of another version of MLflow; nothing is changed."""
    try:
        with contextlib.closing(connect(path)) as database:
            found = database.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as fault:
        raise of_database(path, fault) from None
    names = sorted(entry.name for entry in files("mlflow.store.db_migrations.versions").iterdir())
    own = {name.partition("_")[0] for name in names if name.endswith(".py")}
    version = found[0] if found else "none"
    if version not in own:
        raise OtherVersionError(
            f"{path} must have tables that MLflow {__version__} knows: it was made by a newer one ({version}); use the "
            "version of this project that made it, or a newer one"
        )
    if version != _newest():
        raise OtherVersionError(
            f"{path} must have the tables of MLflow {__version__}: it was made by an older one ({version}); copy it, "
            f"then `{tool('mlflow')} db upgrade {shlex.quote(database_url(path))}`"
        )


@functools.cache
def _newest() -> str:
    """The version of the tables that this MLflow makes."""
    return str(_get_latest_schema_revision())


def relocate(database: Path, old: Path, new: Path) -> None:
    """Make the artifact locations below the folder `old` lie below `new`, in a database that nobody uses meanwhile.

    Raises:
        sqlite3.Error: it isn't a database that can be written.
    """
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        for table, column in LOCATIONS:
            if not connection.execute("SELECT 1 FROM pragma_table_info(?) WHERE name = ?", (table, column)).fetchone():
                continue  # the copy was taken while MLflow was still making its tables
            for before, after in ((old.as_uri(), new.as_uri()), (str(old), str(new))):
                connection.execute(
                    f"UPDATE {table} SET {column} = :after || substr({column}, length(:before) + 1) "  # noqa: S608
                    f"WHERE {column} = :before OR substr({column}, 1, length(:before) + 1) = :before || '/'",
                    {"before": before, "after": after},
                )
