"""Runs beside the trials: references outside the search space, and repeats of trials with other seeds.

Optuna knows nothing of them, so they mislead no sampler. They need no bookkeeping either: a companion's configuration
follows from the study's, and its work folder is named by its digest.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from study.config import StudyConfig
from study.runs import Run
from wake2vec import RunConfig, WorkFolder, write_json

FAULT = "fault.json"
"""In the work folder of a companion that failed: why."""


@dataclass(frozen=True)
class Companion:
    """One run that is no trial."""

    name: str
    """`library default`, `trial 7, seed 43`."""
    run: RunConfig
    repeats: int | None
    """Number of the trial that it repeats; None: it is a reference."""

    def digest(self, fingerprints: Mapping[str, str]) -> str:
        """Of its work folder; `fingerprints` are those of the study's inputs."""
        return self.run.digest(dict(fingerprints))


def references(config: StudyConfig) -> list[Companion]:
    """The anchors that lie outside the space: the baseline with what they change."""
    return [
        Companion(name, config.run_config({**config.study.baseline, **values}), None)
        for name, values in config.study.anchors.items()
        if not config.lies_in_space(values)
    ]


def repeats(trial: Run, config: StudyConfig) -> list[Companion]:
    """The trial with each other seed of the study, in order.

    Of a repeat nobody reads the curve or the samples: it is evaluated at its beginning and its end, and it writes
    no texts unless an objective or bound is counted in them.
    """
    run = config.run_config(trial.params)
    last_only = run.train.model_copy(update={"evaluate_every_steps": run.train.steps})
    judged = [objective.result for objective in config.study.objectives]
    judged += [bound.result for bound in (*config.study.bounds, *config.study.choice.bars)]
    reads_samples = any(address.startswith("sample.") for address in judged)
    sample = run.sample if reads_samples else run.sample.model_copy(update={"count": 0})
    return [
        Companion(
            f"trial {trial.number}, seed {seed}",
            run.model_copy(update={"seed": seed, "train": last_only, "sample": sample}),
            trial.number,
        )
        for seed in range(run.seed + 1, run.seed + config.study.seeds)
    ]


def fault_of(work: WorkFolder) -> str | None:
    """Why the companion failed, in a sentence; None where it has a result, or wasn't tried."""
    path = work.path / FAULT
    if work.result_path.exists() or not path.exists():
        return None
    return str(json.loads(path.read_text(encoding="utf-8"))["fault"])


def note_fault(work: WorkFolder, fault: str) -> None:
    """Write down why the companion failed: it isn't tried again."""
    write_json(work.path / FAULT, {"fault": fault})
