"""What people change in MLflow's pages: after the next start every run is there once and whole, and nothing is trained.

The edits are made with MLflow's own client, as its pages make them. Each is met by the next start as it is, and then
once more as it was taken back.
"""

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from conftest import Silent
from typer.testing import CliRunner

import study.tracking.sync
from study.cli.main import app
from study.config import StudyConfig
from study.engine.drive import drive
from study.engine.driver import StudyOutcome
from study.runs.reader import read_record
from study.tracking import Tracker, relocate, tracking_uri
from wake2vec import Progress

# MLflow's own, when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
TRIAL, STUDY = "trial 2", "study small"
Edit = Callable[[mlflow.MlflowClient, "Named"], object]


class Named:
    """Ids by the names that stand in MLflow's pages."""

    def __init__(self, folder: Path) -> None:
        with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
            self.runs = dict(database.execute("SELECT name, run_uuid FROM runs").fetchall())
            (self.experiment,) = database.execute(
                "SELECT experiment_id FROM experiments WHERE name = 'small'"
            ).fetchone()
        self.experiment = str(self.experiment)


def without_tags(*keys: str, of: str = TRIAL) -> Edit:
    return lambda client, named: [client.delete_tag(named.runs[of], key) for key in keys]


EDITS: dict[str, tuple[Edit, Edit]] = {
    "a trial's run deleted": (
        lambda client, named: client.delete_run(named.runs[TRIAL]),
        lambda client, named: client.restore_run(named.runs[TRIAL]),
    ),
    "the study's run deleted": (
        lambda client, named: client.delete_run(named.runs[STUDY]),
        lambda client, named: client.restore_run(named.runs[STUDY]),
    ),
    "all runs deleted": (
        lambda client, named: [client.delete_run(run) for run in named.runs.values()],
        lambda client, named: [client.restore_run(run) for run in named.runs.values()],
    ),
    "the experiment deleted": (
        lambda client, named: client.delete_experiment(named.experiment),
        lambda client, named: client.restore_experiment(named.experiment),
    ),
    "the experiment renamed": (
        lambda client, named: client.rename_experiment(named.experiment, "mine"),
        lambda client, named: client.rename_experiment(named.experiment, "small"),
    ),
    "a run renamed": (
        lambda client, named: client.update_run(named.runs[TRIAL], name="mine"),
        lambda client, named: client.update_run(named.runs[TRIAL], name=TRIAL),
    ),
    "the study's run renamed": (
        lambda client, named: client.update_run(named.runs[STUDY], name="mine"),
        lambda client, named: client.update_run(named.runs[STUDY], name=STUDY),
    ),
    "a trial set running": (
        lambda client, named: client.update_run(named.runs[TRIAL], status="RUNNING"),
        lambda client, named: client.update_run(named.runs[TRIAL], status="FINISHED"),
    ),
    "a trial set failed": (
        lambda client, named: client.update_run(named.runs[TRIAL], status="FAILED"),
        lambda client, named: client.update_run(named.runs[TRIAL], status="FINISHED"),
    ),
    "the study set running": (
        lambda client, named: client.update_run(named.runs[STUDY], status="RUNNING"),
        lambda client, named: client.update_run(named.runs[STUDY], status="FINISHED"),
    ),
    "the number's tag deleted": (
        without_tags("wake2vec.trial"),
        lambda client, named: client.set_tag(named.runs[TRIAL], "wake2vec.trial", "2"),
    ),
    "all tags that tell what it is deleted": (
        without_tags("wake2vec.trial", "wake2vec.role", "wake2vec.state", "mlflow.parentRunId"),
        lambda client, named: client.set_tag(named.runs[TRIAL], "wake2vec.role", "trial"),
    ),
    "the number's tag changed": (
        lambda client, named: client.set_tag(named.runs[TRIAL], "wake2vec.trial", "1"),
        lambda client, named: client.set_tag(named.runs[TRIAL], "wake2vec.trial", "2"),
    ),
    "the study's tag deleted": (
        without_tags("wake2vec.role", of=STUDY),
        lambda client, named: client.set_tag(named.runs[STUDY], "wake2vec.role", "study"),
    ),
}


@pytest.fixture(autouse=True)
def _unpictured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study.tracking.sync, "draw_study", lambda record: [])


@pytest.fixture
def folder(done: tuple[Path, StudyOutcome], study_config: StudyConfig, tmp_path: Path) -> Path:
    copy = shutil.copytree(done[0], tmp_path / "mlruns")
    relocate(copy / "mlflow.db", done[0].resolve(), copy.resolve())
    return copy


def held(folder: Path) -> list[list[tuple[object, ...]]]:
    """The runs that the pages show, under their names, with their figures and with what tells which they are."""
    queries = [
        "SELECT name, lifecycle_stage FROM experiments",
        "SELECT runs.name, status FROM runs JOIN experiments USING (experiment_id) "
        "WHERE runs.lifecycle_stage = 'active'",
        "SELECT value, count(*) FROM tags JOIN runs USING (run_uuid) "
        "WHERE lifecycle_stage = 'active' AND key IN ('wake2vec.role', 'wake2vec.state', 'wake2vec.trial') GROUP BY 1",
        "SELECT tags.value, metrics.key, step, metrics.value FROM metrics JOIN runs USING (run_uuid) "
        "JOIN tags USING (run_uuid) WHERE lifecycle_stage = 'active' AND tags.key = 'wake2vec.trial'",
    ]
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return [sorted(database.execute(query).fetchall(), key=str) for query in queries]


def start(config: StudyConfig, folder: Path) -> None:
    def trained(record: Progress) -> None:
        raise AssertionError("it was trained again")

    assert drive(config, folder, Silent(trained)).added == 0


@pytest.mark.parametrize("edit", EDITS)
def test_what_was_changed_by_hand_is_put_right_and_nothing_is_doubled(
    edit: str, folder: Path, study_config: StudyConfig
) -> None:
    before, named = held(folder), Named(folder)
    client, (change, take_back) = mlflow.MlflowClient(tracking_uri(folder)), EDITS[edit]
    change(client, named)
    assert held(folder) != before, "the edit can be seen"
    start(study_config, folder)
    assert held(folder) == before
    with contextlib.suppress(mlflow.MlflowException):  # it has been taken back already
        take_back(client, named)
    start(study_config, folder)
    assert held(folder) == before


@pytest.mark.parametrize("edit", ["the experiment deleted", "all runs deleted", None])
def test_sync_brings_what_is_missing(
    edit: str | None, folder: Path, tree: dict[str, Any], study_config: StudyConfig, tmp_path: Path
) -> None:
    start(study_config, folder)
    before = held(folder)
    if edit is None:
        (folder / "mlflow.db").unlink()
    else:
        EDITS[edit][0](mlflow.MlflowClient(tracking_uri(folder)), Named(folder))
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(tree))
    shown = CliRunner().invoke(app, ["sync", str(tmp_path / "small.yaml"), "--folder", str(folder)])
    assert (shown.exit_code, shown.stderr) == (0, ""), shown.output
    assert held(folder) == before


def test_runs_that_an_earlier_version_doubled_become_one(folder: Path, study_config: StudyConfig) -> None:
    """It made a run anew where one had been deleted; then that was restored."""
    before, named = held(folder), Named(folder)
    client = mlflow.MlflowClient(tracking_uri(folder))
    (folder / ".small.mlflow").unlink()
    held_tags = client.get_run(named.runs[TRIAL]).data.tags
    double = client.create_run(named.experiment, tags=held_tags, run_name=TRIAL)
    client.set_terminated(double.info.run_id)
    assert held(folder) != before
    start(study_config, folder)
    assert held(folder) == before
    assert client.get_run(double.info.run_id).info.lifecycle_stage == "deleted"  # as the pages delete: not for good


def test_a_run_that_is_trained_again_without_its_record_has_each_step_once(
    folder: Path, study_config: StudyConfig
) -> None:
    def curves() -> list[tuple[object, ...]]:
        query = (
            "SELECT runs.name, key, step, value FROM metrics JOIN runs USING (run_uuid) WHERE key NOT LIKE 'system%' "
        )
        with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
            return sorted(database.execute(query + "AND lifecycle_stage = 'active'").fetchall(), key=str)

    before, named = curves(), Named(folder)
    client = mlflow.MlflowClient(tracking_uri(folder))
    work = folder / "trials" / read_record(study_config, folder).trials[2].digest
    for path in (work / "result.json", work / "progress.jsonl"):
        path.rename(path.with_suffix(".aside"))
    trained: list[Progress] = []
    drive(study_config, folder, Silent(trained.append))
    assert trained, "the control: its steps have other times now"
    assert curves() == before
    client.restore_run(named.runs[TRIAL])
    assert curves() != before, "a curve that stands there twice is seen"
    start(study_config, folder)
    assert curves() == before


def test_a_run_of_somebody_else_in_the_experiment_stays_as_it_is(folder: Path, study_config: StudyConfig) -> None:
    client, named = mlflow.MlflowClient(tracking_uri(folder)), Named(folder)
    mine = client.create_run(named.experiment, tags={"mlflow.parentRunId": named.runs[STUDY]}, run_name="mine")
    start(study_config, folder)
    Tracker(folder, study_config).ended_runs(["trial 77"])
    found = client.get_run(mine.info.run_id)
    assert (found.info.status, found.info.lifecycle_stage) == ("RUNNING", "active")
    assert {key for key in found.data.tags if key.startswith("wake2vec")} == set()
