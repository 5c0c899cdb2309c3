"""The model registry: an exported trial as a version of its study's model in MLflow, under an alias.

It lies where the trial's run lies: in the tracking database of the results folder, its files beside the other
artifacts, or on MLflow's server. One trial has one version, however often it is exported.
"""

import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow.transformers
import torch
import transformers
from huggingface_hub import ModelCard
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from study.runs.addresses import addresses_of
from study.runs.storage import study_run
from study.tracking import tracking_uri
from study.tracking.database import check_tracking
from wake2vec import ConfigError, ExportError

DIGEST = "wake2vec.digest"


@dataclass(frozen=True)
class Registered:
    uri: str
    """Under the last alias: `models:/tiny@best`."""
    version: int


def check_run(folder: Path, study: str, trial: int) -> None:
    """Look whether an export of the trial can be registered, before it is made.

    Raises:
        ConfigError: the trial has no run in the tracking database, or that keeps its artifacts elsewhere.
    """
    uri = tracking_uri(folder)
    _find_run(MlflowClient(uri, uri), folder, study, trial)


def register_export(
    folder: Path, study: str, trial: int, digest: str, export: Path, aliases: Sequence[str]
) -> Registered:
    """Log the exported folder as a model of the trial's run, register it under the study's name, and set the aliases.

    The model is loaded again and compared before it becomes a version. A trial that has a version keeps it; aliases
    move to it.

    Raises:
        ConfigError: the trial has no run in the tracking database, or that keeps its artifacts elsewhere.
        ExportError: the logged model isn't the exported one.
    """
    check_tracking(folder)
    uri = tracking_uri(folder)
    client = MlflowClient(uri, uri)
    experiment, run = _find_run(client, folder, study, trial)
    is_local = addresses_of(folder).tracking is None
    logged = _log_model(client, experiment, run, trial, digest, export, is_local)
    version = _find_version(client, study, digest)
    if version is None:
        source = logged.artifact_location  # for models:/<id> MLflow asks its global database, and makes one here
        if not is_local:  # a server takes nothing else
            mlflow.set_tracking_uri(uri)
            source = f"models:/{logged.model_id}"
        version = client.create_model_version(
            study, source, run, {DIGEST: digest, "wake2vec.trial": str(trial)}, model_id=logged.model_id
        )
    for alias in aliases:
        client.set_registered_model_alias(study, alias, version.version)
    return Registered(f"models:/{study}@{aliases[-1]}", int(version.version))


def _find_run(client: MlflowClient, folder: Path, study: str, trial: int) -> tuple[str, str]:
    """Ids of the study's experiment and of the trial's run."""
    trial_tag = f"tags.`wake2vec.trial` = '{trial}'"
    if addresses_of(folder).tracking is not None:
        if (parent := study_run(folder, study)) is not None:
            experiment_id: str = client.get_run(parent).info.experiment_id
            own = f"tags.`mlflow.parentRunId` = '{parent}' and {trial_tag}"
            if runs := client.search_runs([experiment_id], own, max_results=1):
                return experiment_id, runs[0].info.run_id
    elif (folder / "mlflow.db").exists() and (experiment := client.get_experiment_by_name(study)) is not None:
        runs = client.search_runs([experiment.experiment_id], trial_tag, max_results=1)
        if runs:
            _check_location(folder, experiment.artifact_location)
            return experiment.experiment_id, runs[0].info.run_id
    raise ConfigError(
        f"a registered model belongs to a run: MLflow in {folder} has none of trial {trial} of {study}; run "
        "`make study` again, or export with REGISTER=no"
    )


def _check_location(folder: Path, artifacts: str) -> None:
    """MLflow keeps absolute addresses: a results folder that was copied would write into the one it came from.

    Raises:
        ConfigError: it was copied or moved.
    """
    if not _path(artifacts).is_relative_to(folder.resolve()):
        raise ConfigError(
            f"{folder} was copied or moved: its tracking database keeps artifacts in {_path(artifacts)}; export from "
            "the folder that it was made in, or with REGISTER=no"
        )


def _find_version(client: MlflowClient, study: str, digest: str) -> ModelVersion | None:
    """The version that this trial has already; the study's registered model is made if there is none."""
    try:
        client.get_registered_model(study)
    except MlflowException:
        client.create_registered_model(study)
    found = client.search_model_versions(f"name = '{study}' and tags.`{DIGEST}` = '{digest}'")
    return found[0] if found else None


def _log_model(
    client: MlflowClient, experiment: str, run: str, trial: int, digest: str, export: Path, is_local: bool
) -> LoggedModel:
    """The logged model of this digest, whole: one that a crash left half is written again."""
    found = client.search_logged_models([experiment], f"tags.`{DIGEST}` = '{digest}'")
    logged = found[0] if found else client.create_logged_model(experiment, f"trial-{trial}", run, {DIGEST: digest})
    path = _path(logged.artifact_location)
    if logged.status == LoggedModelStatus.READY and (not is_local or (path / "MLmodel").exists()):
        return logged
    description = Model(run_id=run, model_id=logged.model_id)
    if is_local:
        shutil.rmtree(path, ignore_errors=True)
        # Straight into the artifacts: uploading would write 2 GB of TinyLlama a second time.
        _save_model(export, path, description)
    else:
        with tempfile.TemporaryDirectory(dir=export.resolve().parent) as beside:
            _save_model(export, Path(beside) / "model", description)
            client.log_model_artifacts(logged.model_id, str(Path(beside) / "model"))
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    outputs = client.get_run(run).outputs
    if outputs is None or logged.model_id not in {output.model_id for output in outputs.model_outputs}:
        client.log_outputs(run, [LoggedModelOutput(logged.model_id, 0)])
    return logged


def _save_model(export: Path, path: Path, description: Model) -> None:
    # By its absolute path: MLflow takes `exports/model` for a name on the hub, and asks there for a licence.
    model, tokenizer = _load(export.resolve())
    # It warns of a licence that it doesn't know: what is known stands in the model card.
    logging.getLogger("mlflow.transformers").setLevel(logging.ERROR)
    mlflow.transformers.save_model(
        {"model": model, "tokenizer": tokenizer},
        str(path),
        task="text-generation",
        torch_dtype=model.dtype,
        mlflow_model=description,
        model_card=ModelCard.load(export / "README.md"),
        pip_requirements=[f"{library.__name__}=={library.__version__}" for library in (torch, transformers)],
    )
    (path / "LICENSE.txt").unlink()  # MLflow's own words, of a hub's repository that doesn't exist
    loaded = mlflow.transformers.load_model(str(path), return_type="components")
    again: PreTrainedModel = loaded["model"]
    weights, weights_again = model.state_dict(), again.state_dict()
    same = weights.keys() == weights_again.keys() and all(
        torch.equal(weight, weights_again[name].cpu()) for name, weight in weights.items()
    )
    if not same or loaded["tokenizer"].backend_tokenizer.to_str() != tokenizer.backend_tokenizer.to_str():
        raise ExportError(f"the registered model must be the exported one: {path} isn't; nothing was registered")


def _load(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto"), AutoTokenizer.from_pretrained(folder)


def _path(location: str) -> Path:
    """A file's address as a path."""
    return Path(unquote(urlsplit(location).path))
