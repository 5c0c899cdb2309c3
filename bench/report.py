"""`python -m bench.report`: what the report of 100 trials takes, planted from the finished study `tiny` in mlruns/."""

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState, create_trial

from bench.figures import ROOT, Figure, publish
from study.config import load_config
from study.report.page import write_report
from study.runs.reader import read_record
from study.runs.record import StudyRecord
from study.runs.run import Run
from study.runs.storage import load_study
from study.runs.study_database import study_database
from study.search.proposal import distributions

TRIALS = 100
FILES = ("result.json", "geometry.safetensors")
STOPPED_EACH = 5
"""Every fifth trial is told as one that was stopped early."""


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    config = load_config("tiny")
    with tempfile.TemporaryDirectory() as folder:
        plant(read_record(config, ROOT / "mlruns"), Path(folder), TRIALS)
        started = time.perf_counter()
        page = write_report(config, Path(folder))
        seconds, size_mb = time.perf_counter() - started, page.stat().st_size / 1e6
    publish(
        "report",
        "python -m bench.report",
        [
            Figure(f"report of {TRIALS} trials: time to make", seconds, "s", "< 20", seconds < 20),
            Figure(f"report of {TRIALS} trials: size of the page", size_mb, "MB", "< 5", size_mb < 5),
        ],
    )


def plant(source: StudyRecord, folder: Path, trials: int) -> None:
    """A study of that many trials in an empty folder: those of `source` over and over, with other values and curves.

    The first is the baseline; of the others every fifth is told as stopped early.
    """
    config, rng = source.config, np.random.default_rng(0)
    directions = [objective.direction for objective in config.study.objectives]
    study = optuna.create_study(study_name=config.study.name, storage=study_database(folder).url, directions=directions)
    study.set_user_attr("fingerprint", load_study(source.folder, config.study.name).user_attrs["fingerprint"])
    draws = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(trials):
        model, factor = source.finished[number % len(source.finished)], rng.uniform(0.9, 1.1) if number else 1.0
        drawn = draws.ask(distributions(config)).params if number else config.study.baseline
        kept: dict[str, Any] = {"params": drawn, "distributions": distributions(config)}
        digest = f"{number:016x}"
        told: dict[str, Any] = {"digest": digest, "violations": [-1.0] * len(config.study.bounds)}
        if number % STOPPED_EACH == STOPPED_EACH - 1:
            kept["state"] = TrialState.PRUNED
            told |= {"stopped": "dominated: planted", "stopped_at": source.progress(model.digest)[-1].step}
        else:
            kept["values"] = _varied(model, factor, rng)
        _copy_trial(source, model, folder / "trials" / digest, factor)
        study.add_trial(create_trial(user_attrs=told, **kept))


def _varied(model: Run, factor: float, rng: np.random.Generator) -> list[float]:
    """Values near the trial's own; the baseline's stay."""
    if factor == 1.0:
        return list(model.values)
    return [float(value * rng.uniform(0.9, 1.1)) for value in model.values]


def _copy_trial(source: StudyRecord, model: Run, target: Path, factor: float) -> None:
    target.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(source.work_folder(model.digest).path / name, target / name)
    lines = []
    for record in source.progress(model.digest):
        numbers = dict(record.numbers)
        if (loss := numbers.get("validation.loss")) is not None:
            numbers["validation.loss"] = loss * factor
        lines.append(json.dumps({"step": record.step, "numbers": numbers, "time_s": record.time_s}) + "\n")
    (target / "progress.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
