"""Deaths while the libraries make their databases: at each statement, of Optuna's tables and of MLflow's migrations.

What a killed process leaves is what stands in its files at that moment. So one process makes the databases, and before
each statement its folder is copied where it differs from the copies; from each the same command must come to whole
databases.
"""

import hashlib
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from unittest import mock

from mlflow.store.db import utils as mlflow_tables
from sqlalchemy import event
from sqlalchemy.engine import Engine

from bench.faults.studies import Counts
from bench.migrated import migrated_once
from study.config import StudyConfig
from study.runs.database import make_database
from study.runs.storage import open_study
from study.tracking.database import make_tracking
from wake2vec import Wake2VecError

Make = Callable[[Path], object]


def each_statement(config: StudyConfig, place: Path) -> Counts:
    """Faults are statements here, and studies the states of files that they met."""
    counts = Counts()
    with migrated_once() as migrate:
        make_tracking(place / "first")  # later ones are copies of it

        def migrated(folder: Path) -> None:
            with mock.patch.object(mlflow_tables, "_initialize_tables", migrate):
                make_tracking(folder)

        _each(migrated, make_tracking, "mlflow.db", place / "mlflow", counts)

        def make_optuna(folder: Path) -> None:
            open_study(folder, config, {"a": 1})

        _each(make_optuna, make_optuna, "optuna.db", place / "optuna", counts)
    return counts


def _each(make: Make, again: Make, name: str, place: Path, counts: Counts) -> None:
    """`again` makes what `make` does, and may be quicker."""
    again(place / "whole")
    expected = content(place / "whole" / name)
    for left, statements in _left_at_each_statement(make, place).items():
        counts.faults += statements
        counts.studies += 1
        try:
            again(left)
            counts.identical += content(left / name) == expected
        except (Wake2VecError, sqlite3.Error):
            counts.stuck += 1
    print(f"{counts.faults} statements, {counts.identical} of {counts.studies} states identical", file=sys.stderr)


def _left_at_each_statement(make: Make, place: Path) -> Counter[Path]:
    """Copies of all that stood in the folder before a statement, and before how many it was the same to the byte."""
    folder = place / "making"
    folder.mkdir(parents=True)
    found: Counter[Path] = Counter()

    def look(*_: object) -> None:
        state = hashlib.sha256()
        for path in sorted(folder.rglob("*")):
            state.update(path.name.encode() + (path.read_bytes() if path.is_file() else b""))
        copy = place / state.hexdigest()[:16]
        if not copy.exists():
            shutil.copytree(folder, copy)
        found[copy] += 1

    event.listen(Engine, "before_cursor_execute", look)
    try:
        make(folder)
    finally:
        event.remove(Engine, "before_cursor_execute", look)
    return found


def content(path: Path) -> tuple[set[str], dict[str, int]]:
    """Tables and indices of a database, and how many rows each table has."""
    with closing(sqlite3.connect(path)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in tables}  # noqa: S608
        return {str(sql) for (sql,) in database.execute("SELECT sql FROM sqlite_master")}, rows


def controls(place: Path) -> dict[str, bool]:
    """A database that is made where it stands, as the libraries do, and dies half-way."""
    whole, half = place / "first" / "mlflow.db", place / "half.db"

    def die(url: str) -> None:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            database.execute("CREATE TABLE experiments (experiment_id INTEGER)")
            database.commit()

    make_database(half, "experiments", die)
    return {"a half-made database": content(half) != content(whole)}
