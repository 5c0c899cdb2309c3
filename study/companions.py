"""Runs beside the trials: references outside the search space, and repeats of trials with other seeds.

Optuna knows nothing of them, so they mislead no sampler. They need no bookkeeping either: a companion's configuration
follows from the study's, its work folder is named by its digest, and what became of it stands there.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from study.config import StudyConfig
from study.objectives import objective_values, violations
from study.runs import NO_NUMBER, Role, Run, State
from wake2vec import RunConfig, TrialFailedError, WorkFolder, find_digest, flatten, read_result, write_json


def references(config: StudyConfig) -> list[Run]:
    """The anchors that lie outside the space: the baseline with what they change."""
    runs = []
    for name, values in config.study.anchors.items():
        if not config.lies_in_space(values):
            knobs = flatten(config.run_config({**config.study.baseline, **values}).model_dump())
            params = {address: knobs[address] for address in (*config.study.space, *values)}
            runs.append(Run(State.WAITING, NO_NUMBER, params, name=name))
    return runs


def repeats(trial: Run, config: StudyConfig) -> list[Run]:
    """The trial with each other seed of the study, in order."""
    own = config.run_config(trial.params).seed
    return [
        Run(State.WAITING, trial.number, trial.params, seed=seed) for seed in range(own + 1, own + config.study.seeds)
    ]


def config_of(run: Run, config: StudyConfig) -> RunConfig:
    """What is trained for the run.

    Of a repeat nobody reads the curve or the samples: it is evaluated at its beginning and its end, and it writes
    no texts unless an objective or bound is counted in them.
    """
    own = config.run_config(run.params)
    if run.role is not Role.REPEAT:
        return own
    last_only = own.train.model_copy(update={"evaluate_every_steps": own.train.steps})
    judged = [objective.result for objective in config.study.objectives]
    judged += [bound.result for bound in (*config.study.bounds, *config.study.choice.bars)]
    reads_samples = any(address.startswith("sample.") for address in judged)
    sample = own.sample if reads_samples else own.sample.model_copy(update={"count": 0})
    return own.model_copy(update={"seed": run.seed, "train": last_only, "sample": sample})


def as_it_stands(run: Run, config: StudyConfig, folder: Path, inputs: Mapping[str, str]) -> Run:
    """The companion with its digest, its values and what became of it, as its work folder has it.

    One whose result leaves an objective or a bounded figure undefined has failed.
    `inputs` are the hashes of its inputs.
    """
    digest = find_digest(config_of(run, config), dict(inputs), folder / "trials")
    work = WorkFolder(folder / "trials" / digest)
    if work.result_path.exists():
        try:
            result = read_result(work)
            violations(result, None, config)
            return replace(run, state=State.FINISHED, digest=digest, values=objective_values(result, config))
        except TrialFailedError as fault:
            return replace(run, state=State.FAILED, digest=digest, reason=str(fault))
    if work.fault_path.exists():
        reason = str(json.loads(work.fault_path.read_text(encoding="utf-8"))["fault"])
        return replace(run, state=State.FAILED, digest=digest, reason=reason)
    return replace(run, digest=digest)


def note_fault(work: WorkFolder, fault: str) -> None:
    """Write down why the companion failed: it isn't tried again."""
    write_json(work.fault_path, {"fault": fault})
