"""Importance of the knobs: how much of an objective's variance over the search space each explains.

fANOVA (Hutter, Hoos & Leyton-Brown 2014): a forest is fitted to the trials, and its variance is taken apart. Shares
from 0 to 1 of what single knobs explain, so of one objective together 1: what knobs do together is not in it. A knob
that does nothing reads 0, but with few trials noise reads anything: under some 30 trials the shares are a hint.
"""

from collections.abc import Callable

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial

from study.config import StudyConfig

FEWEST_TRIALS = 4
DEEPEST = 6
"""Of a tree: with 500 trials whole ones take twelve times as long, and say the same."""


def importances_of(study: optuna.Study, config: StudyConfig) -> dict[str, dict[str, float]]:
    """By objective, then by address of the knob, in the profile's order; empty with fewer than 4 trials."""
    done = [trial for trial in study.get_trials(deepcopy=False) if trial.values]
    if len(done) < FEWEST_TRIALS:
        return {}
    shares = {}
    for place, objective in enumerate(config.study.objectives):
        if len({trial.values[place] for trial in done}) == 1:
            continue  # nothing varies, so nothing explains it
        evaluator = FanovaImportanceEvaluator(max_depth=DEEPEST, seed=0)
        found = get_param_importances(study, evaluator=evaluator, target=_value_at(place))
        shares[objective.name] = {address: float(found.get(address, 0.0)) for address in config.study.space}
    return shares


def _value_at(place: int) -> Callable[[FrozenTrial], float]:
    return lambda trial: float(trial.values[place])
