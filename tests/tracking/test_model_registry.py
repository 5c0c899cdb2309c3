"""The registered model, in real SQLite, loaded with MLflow alone."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file

from study.config import StudyConfig
from study.engine.driver import StudyOutcome
from study.export.export import Exported, export_trial
from study.export.registry import register_export
from study.tracking import relocate, tracking_uri
from wake2vec import ConfigError, prepare

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),  # MLflow's own, when it is imported
]


@pytest.fixture(scope="module")
def results(done: tuple[Path, StudyOutcome], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry") / "mlruns"
    shutil.copytree(done[0], folder)
    relocate(folder / "mlflow.db", done[0], folder)
    return folder


@pytest.fixture(scope="module")
def exported(results: Path, study_config: StudyConfig) -> Exported:
    return export_trial(study_config, results, None, None)


@pytest.fixture
def client(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """MLflow as a user sets it up, in a folder of its own: nothing may appear there."""
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(tracking_uri(results))
    yield MlflowClient()
    mlflow.set_tracking_uri(before)
    assert not list(tmp_path.iterdir())


def register(results: Path, exported: Exported, *aliases: str) -> int:
    return register_export(results, "small", exported.trial, exported.digest, exported.folder, aliases).version


def test_mlflow_loads_the_best_with_equal_rows_and_the_logged_loss(
    results: Path, study_config: StudyConfig, exported: Exported, client: MlflowClient
) -> None:
    version = register(results, exported, f"trial-{exported.trial}", "best")
    pipeline = mlflow.transformers.load_model("models:/small@best")
    assert pipeline("Enter the King", max_new_tokens=4)[0]["generated_text"].startswith("Enter the King")
    stored = load_file(exported.folder / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(pipeline.model.get_input_embeddings().weight, stored)
    run_config = study_config.run_config({})
    ids = prepare(run_config).corpus.validation["input_ids"][:]
    with torch.no_grad():
        loss = pipeline.model(input_ids=ids, labels=ids).loss.item()
    run = client.get_run(client.get_model_version("small", str(version)).run_id or "")
    assert run.data.tags["wake2vec.trial"] == str(exported.trial)
    assert loss == pytest.approx(run.data.metrics["validation.loss"], abs=1e-3)
    assert pipeline.tokenizer("haue")["input_ids"] == prepare(run_config).vocabulary.tokenizer("haue")["input_ids"]
    assert [model.model_id for model in run.outputs.model_outputs if run.outputs]


def test_a_trial_has_one_version_and_the_aliases_move(
    results: Path,
    study_config: StudyConfig,
    exported: Exported,
    client: MlflowClient,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    first = register(results, exported, "best")
    assert register(results, exported, "best") == first
    other = export_trial(study_config, results, 0, tmp_path_factory.mktemp("other") / "out")
    second = register(results, other, "trial-0")
    assert (client.get_model_version_by_alias("small", "best").version) == first
    register(results, other, "best")
    assert client.get_model_version_by_alias("small", "best").version == second
    assert len(client.search_model_versions("name = 'small'")) == 2
    assert set(client.get_registered_model("small").aliases) >= {"best", "trial-0"}


def test_what_a_crash_left_half_is_written_again(results: Path, exported: Exported, client: MlflowClient) -> None:
    version = register(results, exported, "best")
    (model,) = (
        found
        for found in client.search_logged_models([client.get_experiment_by_name("small").experiment_id])
        if found.name == f"trial-{exported.trial}"
    )
    folder = Path(model.artifact_location.removeprefix("file://"))
    (folder / "MLmodel").unlink()
    assert register(results, exported, "best") == version
    assert mlflow.transformers.load_model("models:/small@best") is not None


def test_results_that_were_copied_are_not_registered_into_the_folder_they_came_from(
    results: Path, exported: Exported, tmp_path: Path
) -> None:
    copy = shutil.copytree(results, tmp_path / "copy")
    before = sorted(results.rglob("*"))
    with pytest.raises(
        ConfigError, match=r"was copied or moved: its tracking database keeps artifacts in .*REGISTER=no"
    ):
        register(copy, exported, "best")
    with sqlite3.connect(copy / "mlflow.db") as database:
        database.execute("UPDATE experiments SET name = 'another' WHERE name = 'small'")
    database.close()
    with pytest.raises(ConfigError, match="has none of trial"):
        register(copy, exported, "best")
    assert sorted(results.rglob("*")) == before
