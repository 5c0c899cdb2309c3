"""The runs of a study on an MLflow server: found without asking for them, and put right as in a results folder."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from test_hand_edits import EDITS, TRIAL, Named, held

import study.tracking.index
import study.tracking.sync
from bench.servers import Mlflow, mlflow
from study.config import StudyConfig
from study.engine.driver import StudyOutcome
from study.runs.addresses import Addresses, keep
from study.runs.reader import read_record
from study.tracking import Tracker
from study.tracking.index import TAG
from study.tracking.sync import Projection

pytestmark = pytest.mark.xdist_group("servers")
UNSEEN = {"a run renamed", "the number's tag changed"}
"""Edits that no search of MLflow finds."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Mlflow]:
    with mlflow(tmp_path / "server", f"sqlite:///{tmp_path}/server/mlflow.db") as server:
        yield server


@pytest.fixture
def folder(done: tuple[Path, StudyOutcome], server: Mlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a study that the server has been told of."""
    monkeypatch.setattr(study.tracking.sync, "draw_study", lambda record: [])
    copy = tmp_path / "results"
    shutil.copytree(done[0], copy, ignore=shutil.ignore_patterns("mlflow.db*", "artifacts", ".small.mlflow"))
    keep(copy, Addresses(None, server.address))
    return copy


def bring(config: StudyConfig, folder: Path) -> Projection:
    """As a driver does it that has just come."""
    projection, record = Projection(config, folder, {}), read_record(config, folder)
    projection.missing(record)
    projection.study(record)
    return projection


def test_what_was_changed_by_hand_is_put_right_on_a_server_too(
    server: Mlflow, folder: Path, study_config: StudyConfig
) -> None:
    bring(study_config, folder)
    before, named, client = held(server.folder), Named(server.folder), MlflowClient(server.address)
    for edit in EDITS.keys() - UNSEEN:
        change, take_back = EDITS[edit]
        change(client, named)
        assert held(server.folder) != before, edit
        bring(study_config, folder)
        assert held(server.folder) == before, edit
        with contextlib.suppress(Exception):  # it has been taken back already
            take_back(client, named)
        bring(study_config, folder)
        assert held(server.folder) == before, edit


def test_runs_that_are_whole_are_not_asked_for(
    server: Mlflow, folder: Path, study_config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, labels = read_record(study_config, folder), ["trial 0", "trial 1", "trial 2", "trial 3"]
    bring(study_config, folder)
    client, found, search = MlflowClient(server.address), [0], MlflowClient.search_runs

    def noted(self: MlflowClient, *words: object, **limits: object) -> object:
        runs = search(self, *words, **limits)  # type: ignore[arg-type]
        found[0] += len(runs)
        return runs

    def looked() -> tuple[set[str], int]:
        """Which runs a new driver finds whole, and how many MLflow had to give it."""
        found[0] = 0
        tracker = Tracker(folder, study_config)
        whole = tracker.ended_runs(labels)
        marks = {trial.number: {"wake2vec.front": str(trial.number in record.front).lower()} for trial in record.trials}
        tracker.mark_trials(marks)
        return set(whole), found[0]

    monkeypatch.setattr(MlflowClient, "search_runs", noted)
    own_run = 3  # of the study, which lacks three of the tags
    whole = {trial.label for trial in record.trials if trial.label in labels}
    assert looked() == (whole, own_run)
    parent = Named(server.folder).runs["study small"]
    client.set_tag(parent, f"{TAG}{TRIAL}", "{")
    asked = looked()
    assert asked[0] == whole and asked[1] >= len(whole), "the control: all are asked for"
    assert looked() == (whole, own_run)
    monkeypatch.setattr(study.tracking.index, "LACKS", ["tags.`any` IS SOMETHING THAT AN OLD SERVER LACKS"])
    asked = looked()
    assert asked[0] == whole and asked[1] >= len(whole)
