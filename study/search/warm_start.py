"""Warm start: trials of earlier studies, told to a new study's sampler before its own first draw."""

import json
import logging
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from study.config import StudyConfig
from study.runs.objectives import objective_values, violations
from study.runs.storage import load_study
from study.search.proposal import distributions
from study.settings import Value
from wake2vec import (
    ADDED_KNOBS,
    ConfigError,
    DamagedError,
    RunResult,
    TrialFailedError,
    WorkFolder,
    content_hash,
    find_digest,
    read_result,
)

logger = logging.getLogger(__name__)


def import_trials(study: optuna.Study, folder: Path, config: StudyConfig, fingerprint: dict[str, Any]) -> None:
    """Add the finished trials of the studies named in `warm_start`, once.

    A trial is taken if all its knobs that don't vary here have this study's values, and those that vary lie in this
    study's space; its objectives are read anew from its result, so that they may be others. It doesn't count as one
    of the study's trials.

    Raises:
        ConfigError: there is no such study, or none of its trials compares.
    """
    if "imported" in study.user_attrs:
        return
    known = {trial.user_attrs.get("from") for trial in study.get_trials(deepcopy=False)}  # a driver died amid them
    for name in config.study.warm_start:
        earlier = load_study(folder, name)
        old_knobs = ADDED_KNOBS | _knobs(json.loads(earlier.user_attrs["fingerprint"]))
        new_knobs = {key: value for key, value in ADDED_KNOBS.items() if key not in config.study.space}
        new_knobs |= _knobs(fingerprint)
        taken = 0
        for trial in earlier.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            knobs = {**old_knobs, **trial.params}
            params = {key: knobs[key] for key in config.study.space if key in knobs}
            same = all(knobs.get(key) == value for key, value in new_knobs.items())
            if not (same and len(params) == len(config.study.space) and config.lies_in_space(params)):
                continue
            source = f"{name}, trial {trial.number}"
            taken += source in known or _import(study, folder, config, params, trial.user_attrs["digest"], source)
        if not taken:
            raise ConfigError(
                f"study.warm_start needs trials with this study's inputs and fixed knobs: {name} has none; "
                "leave it out, or fix what differs"
            )
    study.set_user_attr("imported", True)


def _import(
    study: optuna.Study, folder: Path, config: StudyConfig, params: dict[str, Value], digest: str, source: str
) -> bool:
    work = WorkFolder(folder / "trials" / digest)
    if not work.result_path.exists():
        return False
    try:
        result = read_result(work)
        values = objective_values(result, config)
        broken = violations(result, _baseline(folder, config, result), config)
    except TrialFailedError:
        return False
    except DamagedError as fault:
        logger.warning("%s isn't taken: %s", source, fault)
        return False
    study.add_trial(
        create_trial(
            values=values,
            params=params,
            distributions=distributions(config),
            user_attrs={"digest": digest, "from": source, "violations": broken},
            constraints={str(bound): by for bound, by in zip(config.study.bounds, broken, strict=True)},
        )
    )
    return True


def _baseline(folder: Path, config: StudyConfig, result: RunResult) -> RunResult | None:
    """The baseline's result, if an earlier study has it already."""
    digest = find_digest(config.run_config(config.study.baseline), result.fingerprints, folder / "trials")
    work = WorkFolder(folder / "trials" / digest)
    try:
        return read_result(work) if work.result_path.exists() else None
    except DamagedError:
        return None


def _knobs(fingerprint: dict[str, Any]) -> dict[str, Any]:
    return {
        key: content_hash(value) if isinstance(value, str) else value
        for key, value in fingerprint.items()
        if not key.startswith("study.")
    }
