"""Importance of the knobs: how much of an objective's variance over the search space each explains.

fANOVA (Hutter, Hoos & Leyton-Brown 2014): a forest is fitted to the trials, and its variance is taken apart. Shares
from 0 to 1 of what single knobs explain, so of one objective together 1: what knobs do together is not in it. A knob
that does nothing reads 0, but with few trials noise reads anything.
"""

import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import optuna

from study.config import StudyConfig
from study.runs.run import Run
from study.search.proposal import distributions, own_trial

FEWEST_TRIALS = 4
TREES = 32
DEEPEST = 6
"""Of a tree: with 500 trials whole ones take twelve times as long, and say the same."""
ENOUGH_TRIALS = 20
"""Below it, importances are rough: they change with the next trials."""


@dataclass(frozen=True)
class Importances:
    """Of the knobs, for each objective."""

    trials: int
    """How many they were computed from."""
    shares: list[dict[str, float] | None]
    """By objective: each knob's share of the variance that the knobs explain, 0 to 1 and together 1, the largest first;
    None where all trials have one value, or there are fewer than 4."""


def importances(trials: Sequence[Run], config: StudyConfig) -> Importances:
    """The same for the same trials.

    A trial of a warm start counts like the study's own.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(directions=[objective.direction for objective in config.study.objectives])
        spaces = distributions(config)
        study.add_trials(own_trial(trial.params, spaces, trial.values) for trial in trials)
        columns = list(zip(*(trial.values for trial in trials), strict=True))
        return Importances(len(trials), [_of(study, place, column) for place, column in enumerate(columns)])


def _of(study: optuna.Study, place: int, column: Sequence[float]) -> dict[str, float] | None:
    if len(column) < FEWEST_TRIALS or statistics.pvariance(column) == 0:
        return None
    # It loads scikit-learn, for longer than most commands take.
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    evaluator = FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEEPEST, seed=0)
    found = get_param_importances(study, evaluator=evaluator, target=lambda trial: trial.values[place])
    return {knob: float(share) for knob, share in found.items()}
