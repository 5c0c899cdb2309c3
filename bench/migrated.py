"""MLflow's tables without the wait: its migrations take seconds, a copy of what they made takes none."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from unittest import mock

from mlflow.store.db import utils as mlflow_tables
from sqlalchemy.engine import Engine


@contextlib.contextmanager
def migrated_once() -> Iterator[Callable[[Engine], None]]:
    """The first database of this process is made by all migrations, others begin as copies; gives MLflow's function."""
    migrate = mlflow_tables._initialize_tables
    with contextlib.closing(sqlite3.connect(":memory:")) as made:

        def initialize(engine: Engine) -> None:
            is_empty = mlflow_tables._is_empty_database(engine)
            if is_empty and made.execute("SELECT 1 FROM sqlite_master").fetchone():
                with opened(engine) as connection:
                    made.backup(connection)
                return
            migrate(engine)
            if is_empty:
                with opened(engine) as connection:
                    connection.backup(made)

        with mock.patch.object(mlflow_tables, "_initialize_tables", initialize):
            yield migrate


@contextlib.contextmanager
def opened(engine: Engine) -> Iterator[sqlite3.Connection]:
    """The driver's own connection."""
    with contextlib.closing(engine.raw_connection()) as connection:
        assert isinstance(connection.driver_connection, sqlite3.Connection)
        yield connection.driver_connection
