"""What a study left on disk and in MLflow, to be compared."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from safetensors.numpy import load_file

from study.engine.driver import StudyOutcome
from study.tracking import tracking_uri
from wake2vec import WorkFolder, write_result
from wake2vec.result import stored_content


def results(folder: Path, outcome: StudyOutcome) -> list[tuple[object, ...]]:
    """All that must not depend on when or how often a driver died."""
    rows = []
    for trial in outcome.trials:
        work = WorkFolder(folder / "trials" / trial.digest)
        records = [(record.step, record.numbers) for record in work.progress()]
        weights = load_file(work.path / "rows.safetensors")["rows"].tobytes()
        rows.append((trial.number, trial.params, trial.values, trial.digest, records, weights))
    return rows


def children(folder: Path) -> list[mlflow.entities.Run]:
    client = mlflow.MlflowClient(tracking_uri(folder))
    experiment = client.get_experiment_by_name("small")
    runs = client.search_runs([experiment.experiment_id], "tags.`wake2vec.role` = 'trial'")
    return sorted(runs, key=lambda run: int(run.data.tags["wake2vec.trial"]))


def metric_rows(folder: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(folder / "mlflow.db") as database:
        return sorted(database.execute("SELECT run_uuid, key, step, timestamp, value FROM metrics").fetchall())


def records(folder: Path) -> int:
    return sum(len(WorkFolder(path).progress()) for path in folder.glob("trials/*"))


def rewrite(work: WorkFolder, changes: Mapping[str, Any]) -> None:
    """A whole result with other parts, as another version or another trial would have written it."""
    write_result(work, {**stored_content(work), **changes})


def rewrite_arrays(work: WorkFolder, name: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Other arrays, as a trial would have written them."""
    digest = work.write_arrays(name, arrays)
    rewrite(work, {"hashes": {**stored_content(work)["hashes"], f"{name}.safetensors": digest}})
