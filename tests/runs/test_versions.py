"""Databases of other versions: named as such before anything is changed, and the remedy that is named works."""

import contextlib
import shlex
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import alembic.command
import pytest
import sqlalchemy
from click.testing import CliRunner
from mlflow.db import commands
from mlflow.store.db.utils import _get_alembic_config

from study.config import StudyConfig
from study.runs.database import database_url
from study.runs.faults import Exit, OtherVersionError, exit_of
from study.runs.sqlite import open_storage
from study.runs.storage import open_study
from study.tracking.database import make_tracking, open_client

OLDER_OPTUNA = "v3.0.0.d"


@pytest.fixture
def folder(study_config: StudyConfig, tmp_path: Path) -> Path:
    folder = tmp_path / "my results"  # a shell takes the commands that are advised
    open_study(folder, study_config, {"a": 1})
    make_tracking(folder)
    return folder


def stamped(path: Path, version: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", (version,))


def stamp_of(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return str(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])


@pytest.mark.parametrize(
    ("name", "open_it"),
    [("optuna.db", lambda folder: open_storage(folder / "optuna.db")), ("mlflow.db", open_client)],
)
def test_a_newer_ones_is_left_as_it_is(name: str, open_it: Callable[[Path], object], folder: Path) -> None:
    open_it(folder)
    newest = stamp_of(folder / name)
    stamped(folder / name, "v99")
    before = (folder / name).read_bytes()
    with pytest.raises(OtherVersionError, match="it was made by a newer one") as fault:
        open_it(folder)
    assert exit_of(fault.value) == Exit.OTHER_VERSION
    assert "aside" not in str(fault.value) and "use the version of this project that made it" in str(fault.value)
    assert (folder / name).read_bytes() == before
    stamped(folder / name, newest)  # as the version that made it sees it
    open_it(folder)


def test_an_older_study_database_is_upgraded_as_it_says(folder: Path, study_config: StudyConfig) -> None:
    path = folder / "optuna.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("DROP INDEX IF EXISTS trials_study_id_key")  # what the newest version brought
    stamped(path, OLDER_OPTUNA)
    before = path.read_bytes()
    with pytest.raises(OtherVersionError, match="it was made by an older one") as fault:
        open_study(folder, study_config, {"a": 1})
    assert path.read_bytes() == before
    _, _, remedy = str(fault.value).partition("then `")
    subprocess.run(shlex.split(remedy.removesuffix("`")), check=True, capture_output=True)
    assert len(open_study(folder, study_config, {"a": 1}).trials) == 1


def test_an_older_mlflow_database_is_upgraded_as_it_says(folder: Path) -> None:
    path = folder / "mlflow.db"
    open_client(folder).create_experiment("mine")
    engine = sqlalchemy.create_engine(database_url(path))
    with engine.begin() as connection:
        config = _get_alembic_config(database_url(path))
        config.attributes["connection"] = connection
        alembic.command.downgrade(config, "-1")
    engine.dispose()
    before = path.read_bytes()
    with pytest.raises(OtherVersionError, match="it was made by an older one") as fault:
        open_client(folder)
    assert path.read_bytes() == before
    tool, db, *words = shlex.split(str(fault.value).partition("then `")[2].removesuffix("`"))
    assert Path(tool).is_file() and db == "db"
    shown = CliRunner().invoke(commands, words)  # as the tool does it: that would import MLflow once more
    assert shown.exit_code == 0, shown.output
    assert open_client(folder).get_experiment_by_name("mine") is not None
