"""MLflow as the notebook of a study that has everything: stopped, failed and infeasible trials, anchors, seeds."""

import dataclasses
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest
from conftest import Silent

from bench.report import plant
from study.config import StudyConfig, check_config
from study.engine.drive import drive
from study.engine.driver import StudyOutcome
from study.format import shown
from study.runs.judge import front_runs
from study.runs.reader import read_record
from study.runs.run import NO_NUMBER, Run, State
from study.runs.system import SECONDS_BETWEEN_SAMPLES, SYSTEM, SystemSampler
from study.tracking import MOST_COMPARED, Ended, Tracker, objective_key, tracking_uri
from study.tracking.note import MOST_ROWS, study_note
from study.tracking.sync import Projection
from study.tracking.tracker import DOUBLES
from study.tracking.views import links_into
from wake2vec import Progress, WorkFolder, fingerprint_inputs

STOPPED = "trial 4"
Everything = tuple[Path, StudyOutcome, StudyConfig]


@pytest.fixture(scope="module")
def everything(tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Everything:
    study = {
        **tree["study"],
        "trials": 5,
        "space": {**tree["study"]["space"], "train.lr": {"low": 1e-4, "high": 1e30, "log": True}},
        "anchors": {
            "noise 2.0": {"init.noise_scale": 2.0},
            "much too fast": {"train.lr": 1e30},
            "library default": {"train.weight_decay": 0.1},
        },
        "bounds": ["geometry.norm_ratio <= baseline + 0.01"],
        "stopping": {"grace_steps": 3, "stuck_nats": None, "keep_share": None},
        "seeds": 2,
        "finalists": 1,
    }
    config = check_config({**tree, "study": study})
    folder = tmp_path_factory.mktemp("everything") / "mlruns"
    return folder, drive(config, folder, Silent()), config


def runs_of(folder: Path) -> dict[str, mlflow.entities.Run]:
    client = mlflow.MlflowClient(tracking_uri(folder))
    (experiment,) = [found for found in client.search_experiments() if found.name == "small"]
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def tags_of(run: mlflow.entities.Run) -> dict[str, str]:
    return {key.removeprefix("wake2vec."): value for key, value in run.data.tags.items() if key.startswith("wake2vec.")}


def rows(folder: Path, table: str, columns: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(folder / "mlflow.db") as database:
        return sorted(database.execute(f"SELECT {columns} FROM {table}").fetchall(), key=str)  # noqa: S608


def contents(folder: Path) -> list[list[tuple[object, ...]]]:
    """All of MLflow that must be the same however often it was written, under the runs' names instead of their ids."""
    names = dict(rows(folder, "runs", "run_uuid, name"))
    tables = {"metrics": "run_uuid, key, step, timestamp, value", "params": "run_uuid, key, value"}
    found = [[(names[run], *rest) for run, *rest in rows(folder, table, cells)] for table, cells in tables.items()]
    tags = [(names[run], key, value) for run, key, value in rows(folder, "tags", "run_uuid, key, value")]
    plain = [tag for tag in tags if tag[1] not in {"mlflow.parentRunId", "mlflow.note.content"}]
    return [sorted(table, key=str) for table in (*found, plain)]


def test_each_way_in_which_a_trial_ends_is_told_by_its_tags(everything: Everything) -> None:
    runs = runs_of(everything[0])
    baseline, noisy = tags_of(runs["trial 0: Phase 1 baseline"]), tags_of(runs["trial 1: noise 2.0"])
    assert baseline | {"state": "finished", "baseline": "true", "feasible": "true"} == baseline
    assert noisy | {"state": "finished", "anchor": "noise 2.0", "feasible": "false", "chosen": "false"} == noisy
    assert "breaks geometry.norm_ratio <= baseline + 0.01" in noisy["mark"]
    stopped = tags_of(runs[STOPPED])
    assert (stopped["state"], stopped["mark"], stopped["stopped_at"]) == ("stopped", "stopped", "3")
    assert stopped["stopped"].startswith("diverged: validation loss")
    failed = tags_of(runs["trial 2: much too fast"])
    assert (failed["state"], failed["mark"]) == ("failed", "failed")
    assert "must be finite" in failed["fault"]
    assert {runs[name].info.status for name in (STOPPED, "trial 2: much too fast")} == {"KILLED", "FAILED"}


def test_references_and_repeats_have_roles_of_their_own(everything: Everything) -> None:
    runs = runs_of(everything[0])
    roles: dict[str, set[str]] = {}
    for name, run in runs.items():
        roles.setdefault(tags_of(run)["role"], set()).add(name)
    assert roles["reference"] == {"reference: library default"}
    assert roles["repeat"] == {"trial 0, seed 43"}
    assert len(roles["trial"]) == 5
    parent = runs["study small"].info.run_id
    assert all(run.data.tags["mlflow.parentRunId"] == parent for name, run in runs.items() if name != "study small")


def test_the_inputs_stand_with_their_digests(everything: Everything) -> None:
    folder, _, config = everything
    digests = fingerprint_inputs(config.run)
    for name in ("study small", "trial 1: noise 2.0", "trial 2: much too fast"):
        inputs = runs_of(folder)[name].inputs.dataset_inputs
        assert {(found.dataset.digest, found.tags[0].value) for found in inputs} == {
            (digests["corpus.path"], "corpus"),
            (digests["vocabulary.lexicon"], "lexicon"),
            (digests["model.path"], "base model"),
        }


def test_a_figure_without_a_curve_stands_at_step_0(everything: Everything) -> None:
    folder = everything[0]
    run = runs_of(folder)["trial 0: Phase 1 baseline"]
    client = mlflow.MlflowClient(tracking_uri(folder))
    (point,) = client.get_metric_history(run.info.run_id, "obj/validation loss")
    assert (point.step, point.value) == (0, run.data.metrics["validation.loss"])
    assert [at.step for at in client.get_metric_history(run.info.run_id, "validation.loss")] == [0, 3, 6, 8]


def test_the_note_tells_the_choice_the_bounds_the_references_and_links_that_need_no_server(
    everything: Everything,
) -> None:
    note = runs_of(everything[0])["study small"].data.tags["mlflow.note.content"]
    for part in (
        "2 trials with a result, 1 stopped early, 2 failed",
        "`geometry.norm_ratio <= baseline + 0.01`; 1 of 2 trials break one",
        "interval over 2 seeds",
        "| library default&ensp; |",
        "(/#/experiments/",
        "viewStateShareKey=trials",
        "get-artifact?path=importances.png",
        "| norm gap \\|d\\|&ensp; | isotropy of new rows&ensp; | collapse&ensp; | byte collapse&ensp; |",
        "Isotropy misleads by itself",
        "make export PROFILE=<its YAML>",
    ):
        assert part in note
    assert len(note) < 8000, "MLflow cuts it"


def test_the_note_of_a_large_study_is_cut_by_its_front_alone(
    done: tuple[Path, StudyOutcome], study_config: StudyConfig, tmp_path: Path
) -> None:
    plant(read_record(study_config, done[0]), tmp_path, 200)
    record = read_record(study_config, tmp_path)
    links = links_into("/", "1" * 18, "2" * 32, ["3" * 32] * MOST_COMPARED)
    note = study_note(record, links, ["get-artifact?path=importances.png&run_uuid=" + "2" * 32] * 6)
    assert f"{len(front_runs(record)) - MOST_ROWS} more trials of the front" in note
    assert len(note) < 8000 and note.endswith(" more trials.")


def test_the_study_s_own_run_tells_how_it_grew_what_it_chose_and_where_it_looked(everything: Everything) -> None:
    folder, outcome, config = everything
    run, record = runs_of(folder)["study small"], outcome.record
    client = mlflow.MlflowClient(tracking_uri(folder))
    curve = [(at.step, at.value) for at in client.get_metric_history(run.info.run_id, "hypervolume")]
    assert sorted(curve) == list(enumerate(record.hypervolumes, start=1))
    names = [objective_key(aim).replace("obj/", "chosen/") for aim in config.study.objectives]
    assert [run.data.metrics[name] for name in names] == list(record.choice.trial.values)
    assert {key: tags_of(run)[f"chosen.{key}"] for key in config.study.space} == {
        key: shown(value) for key, value in record.choice.trial.params.items()
    }
    assert run.data.params["train.lr"] == "0.0001 to 1e+30, log"
    assert set(run.data.params) == set(config.study.space)


def test_another_choice_is_told_as_the_latest(everything: Everything, tmp_path: Path) -> None:
    folder, outcome, config = everything
    copied = shutil.copytree(folder, tmp_path / "mlruns")
    other = next(trial for trial in outcome.record.finished if trial != outcome.record.choice.trial)
    for chosen in (other, outcome.record.choice.trial):
        record = read_record(config, copied)
        record.__dict__["choice"] = dataclasses.replace(outcome.record.choice, trial=chosen)
        Projection(config, copied, fingerprint_inputs(config.run)).study(record)
        told = runs_of(copied)["study small"].data
        shown = [objective_key(aim).replace("obj/", "chosen/") for aim in config.study.objectives]
        assert [told.metrics[name] for name in shown] == list(chosen.values)
        assert told.tags["wake2vec.chosen"] == str(chosen.number)


def test_pages_begin_with_the_loss(everything: Everything, tmp_path: Path) -> None:
    """The page that compares runs draws the first figure that MLflow holds, in the order in which they came."""
    folder, _, config = everything
    copied = shutil.copytree(folder, tmp_path / "mlruns")
    tracker = Tracker(copied, config)
    many = Progress(0, {"validation.loss": 5.0, **{f"figure {count}": 1.0 for count in range(2500)}}, 1.0)
    tracker.close(
        tracker.open(Run(State.WAITING, NO_NUMBER, {}, name="long"), config.run, {}),
        Ended(State.FINISHED, [many], {}),
    )
    names = dict(rows(copied, "runs", "run_uuid, name"))
    with sqlite3.connect(copied / "mlflow.db") as database:
        stored = database.execute("SELECT run_uuid, key FROM latest_metrics ORDER BY rowid").fetchall()
    firsts = {names[run]: key for run, key in reversed(stored)}
    assert {"reference: long", "trial 0: Phase 1 baseline", STOPPED, "reference: library default"} < set(firsts)
    assert {key for name, key in firsts.items() if name != "study small"} == {"validation.loss"}


def test_a_database_made_anew_holds_the_same_and_a_second_projection_adds_nothing(
    everything: Everything, tmp_path: Path
) -> None:
    folder = shutil.copytree(everything[0], tmp_path / "mlruns")
    (folder / "mlflow.db").unlink()
    shutil.rmtree(folder / "artifacts")
    config, inputs = everything[2], fingerprint_inputs(everything[2].run)
    before = None
    for _ in range(2):
        projection, record = Projection(config, folder, inputs), read_record(config, folder)
        projection.missing(record)
        projection.study(record)
        again = contents(folder)
        assert before is None or again == before
        before = again
    assert before == contents(everything[0])


def test_marks_are_written_where_they_changed_only(everything: Everything, tmp_path: Path) -> None:
    folder = shutil.copytree(everything[0], tmp_path / "mlruns")
    tracker = Tracker(folder, everything[2])
    with sqlite3.connect(folder / "mlflow.db") as database:
        database.execute("CREATE TABLE writes (run TEXT, key TEXT)")
        body = "BEGIN INSERT INTO writes VALUES (NEW.run_uuid, NEW.key); END"
        for event in ("INSERT", "UPDATE"):
            database.execute(f"CREATE TRIGGER on_{event} AFTER {event} ON tags {body}")
    tracker.mark_trials({0: {"wake2vec.baseline": "true", "wake2vec.chosen": "true"}, 1: {"wake2vec.chosen": "true"}})
    assert [key for _, key in rows(folder, "writes", "run, key")] == ["wake2vec.chosen"]


def test_mlflow_is_asked_for_all_runs_once_and_only_where_one_is_unknown(
    everything: Everything, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(everything[0], tmp_path / "mlruns")
    tracker, asked, search = Tracker(folder, everything[2]), [], mlflow.MlflowClient.search_runs

    def noted(client: mlflow.MlflowClient, *conditions: Any, **limits: Any) -> Any:
        asked.append(limits["max_results"])
        return search(client, *conditions, **limits)

    monkeypatch.setattr(mlflow.MlflowClient, "search_runs", noted)
    new = Run(State.RUNNING, 77, everything[2].study.baseline)
    run_id = tracker.open(new, everything[2].run, fingerprint_inputs(everything[2].run))
    assert tracker.ended_runs(["trial 77"]) == {}
    tracker.close(run_id, Ended(State.FINISHED, [], {}))
    assert [*tracker.ended_runs(["trial 77"])] == ["trial 77"]
    tracker.mark_trials({77: {"wake2vec.front": "true"}})
    assert asked == [DOUBLES]
    for _ in range(2):
        assert {*tracker.ended_runs(["trial 77", "trial 0", "trial 78"])} == {"trial 77", "trial 0"}
    assert asked[1:].count(DOUBLES) == 0 and len(asked) == 3, "a run that isn't there is asked for again"


def test_the_view_behind_the_links_names_what_is_there(everything: Everything) -> None:
    folder, _, config = everything
    client = mlflow.MlflowClient(tracking_uri(folder))
    experiment = client.get_experiment_by_name("small")
    view = json.loads(experiment.tags["mlflow.sharedViewState.trials"])
    run = runs_of(folder)["trial 0: Phase 1 baseline"]
    named = [column.split("`")[1] for column in view["selectedColumns"]]
    shown = [f"obj/{name}" for name in ("validation loss", "norm gap abs d", "isotropy of new rows", "collapse")]
    assert named[:6] == ["wake2vec.mark", *shown, "obj/byte collapse"]
    unknown = {"obj/byte collapse"}  # undefined for a model of random weights: an empty column
    assert {*named} - unknown <= {*run.data.tags, *run.data.metrics, *run.data.params}
    assert view["orderByKey"] == "metrics.`obj/validation loss`"
    (parallel,) = [chart for chart in view["compareRunCharts"] if chart["type"] == "PARALLEL"]
    assert set(parallel["selectedParams"]) <= set(run.data.params)
    assert set(parallel["selectedMetrics"]) <= set(run.data.metrics)
    assert parallel["selectedMetrics"][-1] == view["orderByKey"].split("`")[1], "the last axis colours the lines"
    found = client.search_runs([experiment.experiment_id], view["searchFilter"], order_by=[view["orderByKey"]])
    assert {tags_of(run)["role"] for run in found} == {"trial", "reference"}
    losses = [run.data.metrics[shown[0]] for run in found if shown[0] in run.data.metrics]
    assert losses == sorted(losses) and losses != losses[::-1]
    links = Tracker(folder, config).links()
    assert links.comparison.count("%22%2C%22") == 1, "two finished trials are compared"


def test_a_large_study_is_compared_by_its_front(everything: Everything, tmp_path: Path) -> None:
    folder, _, config = everything
    copied = shutil.copytree(folder, tmp_path / "mlruns")
    client = mlflow.MlflowClient(tracking_uri(copied))
    (experiment,) = [found for found in client.search_experiments() if found.name == "small"]
    for number in range(5, MOST_COMPARED + 10):
        marks = {"role": "trial", "trial": str(number), "state": "finished", "front": str(number % 10 == 0).lower()}
        client.create_run(experiment.experiment_id, tags={f"wake2vec.{key}": mark for key, mark in marks.items()})
    compared = Tracker(copied, config).links().comparison
    assert compared.count("%22%2C%22") + 1 <= 6


def test_the_load_of_the_machine_is_sampled_seldom_and_kept_beside_the_record(tmp_path: Path) -> None:
    work, times = WorkFolder(tmp_path / "trial"), iter([0.0, 1.0, 12.0, 12.0, 13.0, 25.0, 25.0])
    sampler = SystemSampler(work, lambda: next(times))
    samples = [sample for step in range(4) for sample in sampler(Progress(step, {}, 0.0))]
    sampler.close()
    assert [sample.step for sample in samples] == [1, 3]
    assert work.progress(SYSTEM) == samples
    memory = samples[0].numbers["system/process_memory_megabytes"]
    assert memory == pytest.approx(psutil.Process().memory_info().rss / 1e6, rel=0.5)
    assert not work.progress(), "the record of training is the trial's alone"
    assert SECONDS_BETWEEN_SAMPLES >= 5


def test_the_system_s_samples_reach_mlflow_with_the_trial(everything: Everything, tmp_path: Path) -> None:
    folder, _, config = everything
    copied = shutil.copytree(folder, tmp_path / "mlruns")
    record = read_record(config, copied)
    log = record.work_folder(record.baseline.digest).start_progress(SYSTEM)
    log.add(5, {"system/cpu_utilization_percentage": 50.0})
    log.close()
    (copied / "mlflow.db").unlink()
    Projection(config, copied, fingerprint_inputs(config.run)).missing(record)
    metrics = runs_of(copied)["trial 0: Phase 1 baseline"].data.metrics
    assert metrics["system/cpu_utilization_percentage"] == 50.0
