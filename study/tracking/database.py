"""Where MLflow's database lies, and what is absolute in it."""

import contextlib
import sqlite3
from pathlib import Path

from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from study.runs.database import database_url, make_database

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
