"""Which knobs matter for which objective: fANOVA importances of a study's trials."""

import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from study.config import StudyConfig
from study.space import distributions
from study.trials import FinishedTrial

TREES = 32
ENOUGH_TRIALS = 20
"""Below it, importances are rough: they change with the next trials."""


@dataclass(frozen=True)
class Importances:
    """Of the knobs, for each objective."""

    trials: int
    """How many they were computed from."""
    shares: list[dict[str, float] | None]
    """By objective: each knob's share of the variance that the knobs explain, 0 to 1 and together 1, the largest first;
    None where all trials have one value."""


def importances(trials: Sequence[FinishedTrial], config: StudyConfig) -> Importances:
    """Functional ANOVA on a random forest (Hutter et al. 2014), the same for the same trials.

    A trial of a warm start counts like the study's own.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(directions=[objective.direction for objective in config.study.objectives])
        for trial in trials:
            study.add_trial(
                optuna.trial.create_trial(
                    params=trial.params, distributions=distributions(config), values=list(trial.values)
                )
            )
        columns = list(zip(*(trial.values for trial in trials), strict=True))
        return Importances(len(trials), [_of(study, place, column) for place, column in enumerate(columns)])


def _of(study: optuna.Study, place: int, column: Sequence[float]) -> dict[str, float] | None:
    if len(set(column)) < 2 or statistics.pvariance(column) == 0:
        return None
    evaluator = FanovaImportanceEvaluator(n_trees=TREES, seed=0)
    found = get_param_importances(study, evaluator=evaluator, target=lambda trial: trial.values[place])
    return {knob: float(share) for knob, share in found.items()}
