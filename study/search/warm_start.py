"""Warm start: trials of earlier studies, told to a new study's sampler before its own first draw."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

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


def check_warm_start(folder: Path, config: StudyConfig, fingerprint: dict[str, Any]) -> None:
    """Refuse a warm start that gives nothing, before there is a study that was made with it.

    Raises:
        ConfigError: as `import_trials` does.
    """
    for name in config.study.warm_start:
        trials = _comparable(folder, name, config, fingerprint)
        if not any(_trial_of(folder, config, *trial) is not None for trial in trials):
            raise _nothing_taken(name)


def import_trials(
    study: optuna.Study,
    folder: Path,
    config: StudyConfig,
    fingerprint: dict[str, Any],
    archive: Callable[[str], None] = lambda digest: None,
) -> None:
    """Add the finished trials of the studies named in `warm_start`, once.

    A trial is taken if all its knobs that don't vary here have this study's values, and those that vary lie in this
    study's space; its objectives are read anew from its result, so that they may be others. It doesn't count as one
    of the study's trials. `archive` is given the digest of each before the study knows it.

    Raises:
        ConfigError: there is no such study, or none of its trials compares.
    """
    if "imported" in study.user_attrs:
        return
    known = {trial.user_attrs.get("from") for trial in study.get_trials(deepcopy=False)}  # a driver died amid them
    for name in config.study.warm_start:
        taken = 0
        for params, digest, source in _comparable(folder, name, config, fingerprint):
            if source not in known:
                trial = _trial_of(folder, config, params, digest, source)
                if trial is None:
                    continue
                archive(digest)
                study.add_trial(trial)
            taken += 1
        if not taken:
            raise _nothing_taken(name)
    study.set_user_attr("imported", True)


def _nothing_taken(name: str) -> ConfigError:
    return ConfigError(
        f"study.warm_start needs trials with this study's inputs and fixed knobs: {name} has none; leave it out, or "
        "fix what differs"
    )


def _comparable(
    folder: Path, name: str, config: StudyConfig, fingerprint: dict[str, Any]
) -> Iterator[tuple[dict[str, Value], str, str]]:
    """Of each trial of the earlier study that compares: the knobs that vary here, its digest, and whence it comes."""
    earlier = load_study(folder, name)
    old_knobs = ADDED_KNOBS | _knobs(json.loads(earlier.user_attrs["fingerprint"]))
    new_knobs = {key: value for key, value in ADDED_KNOBS.items() if key not in config.study.space}
    new_knobs |= _knobs(fingerprint)
    for trial in earlier.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        knobs = {**old_knobs, **trial.params}
        params = {key: knobs[key] for key in config.study.space if key in knobs}
        same = all(knobs.get(key) == value for key, value in new_knobs.items())
        if same and len(params) == len(config.study.space) and config.lies_in_space(params):
            yield params, trial.user_attrs["digest"], f"{name}, trial {trial.number}"


def _trial_of(
    folder: Path, config: StudyConfig, params: dict[str, Value], digest: str, source: str
) -> FrozenTrial | None:
    """As Optuna is told of it; None: its result is gone, damaged, or leaves an objective undefined."""
    work = WorkFolder(folder / "trials" / digest)
    if not work.result_path.exists():
        return None
    try:
        result = read_result(work)
        values = objective_values(result, config)
        broken = violations(result, _baseline(folder, config, result), config)
    except TrialFailedError:
        return None
    except DamagedError as fault:
        logger.warning("%s isn't taken: %s", source, fault)
        return None
    return create_trial(
        values=values,
        params=params,
        distributions=distributions(config),
        user_attrs={"digest": digest, "from": source, "violations": broken},
        constraints={str(bound): by for bound, by in zip(config.study.bounds, broken, strict=True)},
    )


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
