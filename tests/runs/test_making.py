"""The libraries' databases are made whole or not at all: killed at any statement, the same command makes them."""

import os
import resource
import signal
import sqlite3
import traceback
from collections.abc import Callable
from pathlib import Path

import mlflow
import optuna
import pytest
import sqlalchemy
from mlflow import MlflowClient
from mlflow.store.db import utils as mlflow_tables
from sqlalchemy import event
from sqlalchemy.engine import Engine
from typer.testing import CliRunner

from study.cli.main import app
from study.config import StudyConfig
from study.runs.database import database_url
from study.runs.faults import DiskError
from study.runs.storage import open_study
from study.tracking.database import make_tracking, tracking_uri

Make = Callable[[Path], object]


def make_optuna(folder: Path, config: StudyConfig) -> None:
    open_study(folder, config, {"a": 1})


def killed_at(statement: int, make: Callable[[], object]) -> bool:
    """Whether a process that makes a database came so far as to be killed before that statement."""
    child = os.fork()
    if child == 0:
        left = [statement]

        def count(*_: object) -> None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            event.listen(Engine, "before_cursor_execute", count)
            make()
        except BaseException:  # noqa: BLE001 - the child must never go on as a second pytest
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def schema(path: Path) -> set[str]:
    with sqlite3.connect(path) as database:
        return {str(sql) for (sql,) in database.execute("SELECT sql FROM sqlite_master")}


@pytest.fixture(scope="module")
def whole(study_config: StudyConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    make_optuna(folder, study_config)
    make_tracking(folder)
    return folder


@pytest.mark.parametrize("statement", [0, 3, 10, 30, 45])
def test_optunas_database_is_made_after_a_kill(
    statement: int, study_config: StudyConfig, whole: Path, tmp_path: Path
) -> None:
    assert killed_at(statement, lambda: make_optuna(tmp_path, study_config))
    make_optuna(tmp_path, study_config)
    assert schema(tmp_path / "optuna.db") == schema(whole / "optuna.db")
    study = optuna.load_study(study_name=study_config.study.name, storage=database_url(tmp_path / "optuna.db"))
    assert [trial.params for trial in study.get_trials()] == [{}] * len(study.trials) and study.trials


def test_a_disk_that_is_full_meanwhile_is_called_that(study_config: StudyConfig, whole: Path, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(DiskError, match="free some space"):
            make_optuna(tmp_path, study_config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    make_optuna(tmp_path, study_config)
    assert schema(tmp_path / "optuna.db") == schema(whole / "optuna.db")


@pytest.fixture
def really(migrate: Callable[[Engine], None], monkeypatch: pytest.MonkeyPatch) -> Callable[[Make], Make]:
    """To call something with MLflow's own migrations."""

    def wrapped(make: Make) -> Make:
        def made(folder: Path) -> None:
            with monkeypatch.context() as patch:
                patch.setattr(mlflow_tables, "_initialize_tables", migrate)
                make(folder)

        return made

    return wrapped


@pytest.mark.parametrize("statement", [0, 60, 800, 1680])
def test_mlflows_database_is_made_after_a_kill(
    statement: int, whole: Path, tmp_path: Path, really: Callable[[Make], Make]
) -> None:
    assert killed_at(statement, lambda: really(make_tracking)(tmp_path))
    make_tracking(tmp_path)
    assert schema(tmp_path / "mlflow.db") == schema(whole / "mlflow.db")
    assert MlflowClient(tracking_uri(tmp_path)).create_experiment("mine")


def test_what_an_earlier_version_left_half_made_is_made_anew(
    whole: Path, tmp_path: Path, really: Callable[[Make], Make]
) -> None:
    """Made in its place, as MLflow does: also the control, since MLflow never gets over it."""
    in_place = really(lambda folder: MlflowClient(tracking_uri(folder)).search_experiments())
    assert killed_at(800, lambda: in_place(tmp_path))
    with pytest.raises((mlflow.MlflowException, sqlalchemy.exc.OperationalError)):
        in_place(tmp_path)
    half = schema(tmp_path / "mlflow.db")
    make_tracking(tmp_path)
    assert schema(tmp_path / "mlflow.db") == schema(whole / "mlflow.db") != half
    (aside,) = tmp_path.glob("mlflow.db.*.half-made")  # it may have been somebody's after all
    assert schema(aside) == half


NAMES = {"a#b", "ü ", "c;d=e&f", "[x]", "it's", '"q"', "a+b@c:d"}


def test_a_folder_may_have_any_name(study_config: StudyConfig, tmp_path: Path) -> None:
    for name in NAMES:
        folder = tmp_path / name
        make_optuna(folder, study_config)
        make_tracking(folder)
        experiment = MlflowClient(tracking_uri(folder)).get_experiment("0")
        assert (folder / "optuna.db").is_file() and (folder / "mlflow.db").is_file() and experiment is not None
    assert {path.name for path in tmp_path.iterdir()} == NAMES


@pytest.mark.parametrize(
    ("name", "said"),
    [*((name, "can't have the letter") for name in ("a?b", "a%20b", "{x}")), ("x" * 300, "File name too long")],
)
def test_a_folder_that_no_database_can_lie_in_is_refused_before_anything_is_made(
    name: str, said: str, tmp_path: Path
) -> None:
    for command in (["run"], ["list"], ["clean", "--yes"]):
        shown = CliRunner().invoke(app, [*command, "--folder", str(tmp_path / name)])
        assert shown.exit_code == 2 and said in shown.stderr and shown.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_databases_are_their_owners_alone(whole: Path) -> None:
    assert {(whole / name).stat().st_mode & 0o777 for name in ("optuna.db", "mlflow.db")} == {0o600}
