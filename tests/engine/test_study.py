"""A study from end to end: real SQLite, real MLflow, real training on the tiny base."""

import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from conftest import TRIALS, Silent
from stored import children, metric_rows, records, results

from study.config import StudyConfig, check_config
from study.engine.drive import drive
from study.engine.driver import StudyOutcome
from study.runs.run import State
from study.tracking import Tracker, tracking_uri
from wake2vec import METRICS, ConfigError, CorpusError, Progress

PICTURES = {"front.png", "curves.png", "hypervolume.png", "importances.png"}


def test_the_baseline_is_trial_0_and_the_wanted_number_of_trials_is_there(
    done: tuple[Path, StudyOutcome], study_config: StudyConfig
) -> None:
    folder, outcome = done
    assert [trial.number for trial in outcome.trials] == list(range(TRIALS))
    assert outcome.trials[0].params == study_config.study.baseline
    assert (outcome.added, outcome.failed) == (TRIALS, 0)
    assert oct(folder.stat().st_mode)[-3:] == "700"


def test_mlflow_holds_a_parent_and_a_child_a_trial_with_every_figure(done: tuple[Path, StudyOutcome]) -> None:
    folder, outcome = done
    client = mlflow.MlflowClient(tracking_uri(folder))
    experiment = client.get_experiment_by_name("small")
    (parent,) = client.search_runs([experiment.experiment_id], "tags.`wake2vec.role` = 'study'")
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == PICTURES
    assert parent.data.tags["wake2vec.chosen"] == str(outcome.choice.trial.number)
    runs = children(folder)
    assert len(runs) == TRIALS
    for run, trial in zip(runs, outcome.trials, strict=True):
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        result_numbers = {name for name in METRICS if name in run.data.metrics}
        undefined = set(METRICS) - result_numbers
        # Eight tokens of noise may hold no word boundary.
        undefined -= {name for name in METRICS if name.startswith("sample.") and name != "sample.words"}
        assert undefined <= {
            "validation.loss_new_unseen_targets",
            "validation.loss_seen_1_targets",
            "validation.loss_seen_2_4_targets",
            "validation.loss_seen_5_up_targets",
            "geometry.byte_collapse_share",
            "geometry.byte_collapse_centred_share",
            *(f"geometry.byte_collapse_share_{seen}" for seen in ("unseen", "seen_1", "seen_2_4", "seen_5_up")),
            "geometry.byte_collapse_null",
            "geometry.collapse_share_unseen",
            "geometry.collapse_share_seen_1",
            "geometry.collapse_share_seen_2_4",
            "geometry.collapse_share_seen_5_up",
            "geometry.reference_coherence",
            *(f"validation.loss_base_after_{seen}" for seen in ("unseen", "seen_1", "seen_2_4", "seen_5_up")),
            *(f"validation.loss_base_after_{seen}_null" for seen in ("unseen", "seen_1", "seen_2_4", "seen_5_up")),
            "teaching.hidden_gap_unseen",
        }
        assert run.data.metrics["obj/norm gap abs d"] == trial.values[1]
        assert set(run.data.params) == {*trial.params, *(f"Log10 {knob}" for knob in trial.params)}
        log10 = math.log10(trial.params["train.lr"])
        assert float(run.data.params["Log10 train.lr"]) == pytest.approx(log10, abs=1e-4)
        assert run.data.tags["train.optimizer"] == "adafactor"
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert files == {"result.json", "audit.json", "embedding.png", "sample.txt"}
        curve = client.get_metric_history(run.info.run_id, "training.loss")
        assert [point.step for point in curve] == list(range(1, trial.params["train.steps"] + 1))


def test_run_again_it_does_nothing(done: tuple[Path, StudyOutcome], study_config: StudyConfig) -> None:
    folder, outcome = done
    before = metric_rows(folder)
    again = drive(study_config, folder, Silent())
    assert again.added == 0
    assert results(folder, again) == results(folder, outcome)
    assert metric_rows(folder) == before
    Tracker(folder, study_config)  # as `make ui` does
    with sqlite3.connect(folder / "mlflow.db") as database:
        assert {status for (status,) in database.execute("SELECT status FROM runs")} == {"FINISHED"}


def test_more_trials_are_added_to_those_that_stand(
    done: tuple[Path, StudyOutcome], tree: dict[str, Any], tmp_path: Path
) -> None:
    folder = shutil.copytree(done[0], tmp_path / "mlruns")
    more = check_config({**tree, "study": {**tree["study"], "trials": TRIALS + 1}})
    outcome = drive(more, folder, Silent())
    assert outcome.added == 1
    assert results(folder, outcome)[:TRIALS] == results(*done)


def test_the_same_seeds_give_the_same_study_and_another_seed_another(
    done: tuple[Path, StudyOutcome], study_config: StudyConfig, tree: dict[str, Any], tmp_path: Path
) -> None:
    assert results(tmp_path / "a", drive(study_config, tmp_path / "a", Silent())) == results(*done)
    other = check_config({**tree, "study": {**tree["study"], "seed": 1}})
    assert results(tmp_path / "b", drive(other, tmp_path / "b", Silent())) != results(*done)


def test_another_configuration_is_refused_with_the_difference_and_nothing_changes(
    done: tuple[Path, StudyOutcome], tree: dict[str, Any], tmp_path: Path
) -> None:
    folder = shutil.copytree(done[0], tmp_path / "mlruns")
    before = (folder / "optuna.db").read_bytes()
    other = check_config({**tree, "seed": 7})
    with pytest.raises(ConfigError, match=r"made with another configuration \(seed: 42 -> 7\)"):
        drive(other, folder, Silent())
    assert (folder / "optuna.db").read_bytes() == before


def test_a_database_that_is_none_is_refused_and_kept(study_config: StudyConfig, tmp_path: Path) -> None:
    (tmp_path / "optuna.db").write_bytes(b"not a database, but somebody's file" * 100)
    with pytest.raises(ConfigError, match=r"optuna\.db must be an SQLite database: .*: move it aside"):
        drive(study_config, tmp_path, Silent())
    assert [path.name for path in tmp_path.iterdir()] == ["optuna.db"]


def test_a_missing_input_makes_nothing(tree: dict[str, Any], tmp_path: Path) -> None:
    config = check_config({**tree, "corpus": {**tree["corpus"], "path": "nowhere.txt"}})
    with pytest.raises(CorpusError, match=r"nowhere\.txt does not exist"):
        drive(config, tmp_path / "mlruns", Silent())
    assert not (tmp_path / "mlruns").exists()


def test_a_second_driver_is_refused_and_told_of_the_first(study_config: StudyConfig, tmp_path: Path) -> None:
    def second(record: Progress) -> None:
        with pytest.raises(ConfigError, match=f"is being driven by process {os.getpid()}"):
            drive(study_config, tmp_path, Silent())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(study_config, tmp_path, Silent(second))


def test_a_diverged_trial_fails_with_its_reason_and_the_study_goes_on(tree: dict[str, Any], tmp_path: Path) -> None:
    space = {**tree["study"]["space"], "train.lr": {"low": 1e-4, "high": 1e30, "log": True}}
    study = {**tree["study"], "space": space}
    watcher = Silent()
    outcome = drive(check_config({**tree, "study": study}), tmp_path, watcher)
    reasons = [run.reason for run in watcher.ended if run.state is State.FAILED]
    assert outcome.failed == len(reasons) > 0
    assert all("must be finite" in reason for reason in reasons)
    failed = [run for run in children(tmp_path) if run.info.status == "FAILED"]
    assert sorted(run.data.tags["wake2vec.fault"] for run in failed) == sorted(reasons)


def test_a_killed_study_goes_on_under_the_same_numbers_with_the_same_results(
    done: tuple[Path, StudyOutcome], study_config: StudyConfig, tree: dict[str, Any], tmp_path: Path
) -> None:
    profile = tmp_path / "small.yaml"
    profile.write_text(yaml.safe_dump(tree))
    folder = tmp_path / "mlruns"
    # How often it checkpoints is the machine's affair: the study stays the same one.
    overrides = ["machine.checkpoint_every_s=0"]
    command = [sys.executable, "-m", "study", "run", str(profile), *overrides, "--folder", str(folder)]
    for wanted in (3, 25):  # records: in the baseline, and in a later trial
        victim = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},  # sums are bit-equal for one number of threads
        )
        while victim.poll() is None and records(folder) < wanted:
            time.sleep(0.01)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    outcome = drive(study_config, folder, Silent())
    assert results(folder, outcome) == results(*done)
    runs = children(folder)
    assert [run.data.tags["wake2vec.trial"] for run in runs] == [str(number) for number in range(TRIALS)]
    assert {run.info.status for run in runs} == {"FINISHED"}
    rows = [row[:3] for row in metric_rows(folder)]
    assert len(rows) == len(set(rows)), "a figure of one step stands twice"


def test_a_driver_that_dies_between_result_and_tell_doubles_nothing(
    done: tuple[Path, StudyOutcome],
    study_config: StudyConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("study.engine.driver.tell_end", die)
        with pytest.raises(KeyboardInterrupt):
            drive(study_config, tmp_path, Silent())
    outcome = drive(study_config, tmp_path, Silent())
    assert results(tmp_path, outcome) == results(*done)
    rows = [row[:3] for row in metric_rows(tmp_path)]
    assert len(rows) == len(set(rows))


def test_a_driver_that_dies_before_the_study_is_described_leaves_that_to_the_next(
    done: tuple[Path, StudyOutcome], study_config: StudyConfig, tmp_path: Path
) -> None:
    folder = shutil.copytree(done[0], tmp_path / "mlruns")
    shutil.rmtree(folder / "studies")
    with sqlite3.connect(folder / "mlflow.db") as database:
        database.execute("UPDATE runs SET status = 'RUNNING' WHERE name = 'study small'")
    drive(study_config, folder, Silent())
    assert {path.name for path in (folder / "studies" / "small").iterdir()} == PICTURES
    assert Tracker(folder, study_config).is_study_finished()
