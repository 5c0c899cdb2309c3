"""Where MLflow's database lies, how it is opened, and what is absolute in it."""

import contextlib
import functools
import logging
import os
import shlex
import sqlite3
import urllib.request
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from mlflow import MlflowClient, __version__
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import _get_latest_schema_revision
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from requests import RequestException
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from study.runs.addresses import addresses_of, belong, keep
from study.runs.database import check_database, connect, database_url, make_database
from study.runs.faults import OtherVersionError, UnreachableError, of_database, of_server, tool
from study.runs.postgres import PostgresDatabase
from wake2vec import ConfigError

SECONDS_TO_ANSWER = 5.0

LOCATIONS = (  # of MLflow 3.17's tables, the columns that hold absolute addresses of artifacts
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("workspaces", "default_artifact_root"),
    ("trace_tags", "value"),
)


CLIENT_DEFAULTS = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}
"""MLflow's own would try for minutes what is tried again anyway, when it is known that the server answers."""


def tracking_uri(folder: Path) -> str:
    """Of the server that the folder belongs to, else of its own database."""
    return addresses_of(folder).tracking or database_url(folder / "mlflow.db")


def check_tracking(folder: Path, wait_s: float | None = None) -> None:
    """Raises StorageFault: MLflow can't be written, in the folder's database or by its server."""
    server = addresses_of(folder).tracking
    if server is None:
        check_database(folder / "mlflow.db", to_write=True, wait_s=wait_s)
    else:
        check_server(server)


def check_server(address: str) -> None:
    """Raises UnreachableError: no MLflow answers there."""
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=SECONDS_TO_ANSWER) as answer:  # noqa: S310 (http, https)
            said = answer.read(100).decode(errors="replace").strip()
    except (OSError, ValueError, HTTPException) as fault:
        said = str(getattr(fault, "reason", fault))
    if said != "OK":
        raise UnreachableError(
            f"MLflow's server must answer: {address} says {said[:80]!r}; see whether the address after --tracking is "
            "right and whether it runs (mlflow server)"
        )


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
    server = addresses_of(folder).tracking
    if server is not None:
        return client_of(server)
    os.environ["MLFLOW_SQLALCHEMYSTORE_POOLCLASS"] = "NullPool"
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    make_tracking(folder)
    check_version(folder / "mlflow.db")
    return MlflowClient(tracking_uri(folder))


@contextlib.contextmanager
def faults_told(server: str) -> Iterator[None]:
    """Raises StorageFault: the server failed."""
    try:
        yield
    except (MlflowException, RequestException) as fault:
        raise of_server(fault, server) from None


def client_of(server: str) -> MlflowClient:
    """Raises StorageFault: it doesn't answer, or doesn't let this user in."""
    for name, value in CLIENT_DEFAULTS.items():
        os.environ.setdefault(name, value)
    check_server(server)
    client = MlflowClient(server)
    try:
        client.search_experiments(max_results=1)
    except MlflowException as fault:
        raise of_server(fault, server) from None
    return client


def join(folder: Path, storage: str | None, tracking: str | None) -> None:
    """Let a results folder belong to what lies at these addresses, once both have answered; without any, do nothing.

    Raises:
        ConfigError: an address can't be used, or the folder belongs elsewhere.
        StorageFault: a server doesn't answer, or doesn't let this user in.
    """
    asked = belong(folder, storage, tracking)
    if asked == addresses_of(folder):
        return
    if asked.storage is not None:
        PostgresDatabase(asked.storage).check()
    if asked.tracking is not None:
        _check_artifacts(client_of(asked.tracking), asked.tracking)
    keep(folder, asked)


def _check_artifacts(client: MlflowClient, server: str) -> None:
    """Raises ConfigError: clients are to write artifacts into a folder, of whatever machine they are on.

    A client would do so without a word.
    """
    offered = http_request(
        get_default_host_creds(server), "/api/2.0/mlflow-artifacts/artifacts", "GET", raise_on_status=False
    )
    if offered.status_code == HTTPStatus.OK:
        return
    (any_one,) = client.search_experiments(ViewType.ALL, max_results=1) or (None,)
    if any_one is not None and is_local(any_one.artifact_location):
        raise ConfigError(
            f"MLflow's server must keep artifacts for its clients: {server} would have them in "
            f"{any_one.artifact_location} of each machine; start it without --no-serve-artifacts, or with a "
            "--default-artifact-root that all reach"
        )


def is_local(location: str) -> bool:
    """Whether artifacts lie in a folder of the machine that asks."""
    return urlsplit(location).scheme in ("", "file")


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
