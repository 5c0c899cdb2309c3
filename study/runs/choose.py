"""The choice of one trial, by a written rule: what it is, which come next, and why, in a sentence.

Only trials that keep all bounds are candidates, and of them only the front. A rule is a plain function of `RULES`: it
picks one of the candidates and says why; the runners-up are what it picks of those that are left.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from study.config import StudyConfig
from study.format import figure_name, shown_name
from study.runs.run import Run
from study.runs.trials import baseline_of, costs_of, front_numbers, units_of
from wake2vec import ConfigError

RUNNERS_UP = 3
Picked = tuple[Run, str]


@dataclass(frozen=True)
class Field:
    """What a rule measures candidates by."""

    trials: Sequence[Run]
    """All that keep the bounds."""
    baseline: Run
    config: StudyConfig
    deviations: Sequence[float] | None = None
    """Of the baseline over seeds, one an objective."""


Rule = Callable[[Sequence[Run], Field], Picked]


@dataclass(frozen=True)
class Choice:
    """The trial chosen, those that come next, and why, in a sentence without its full stop."""

    trial: Run
    reason: str
    runners_up: tuple[Run, ...] = ()
    """Best first."""


def choose(
    trials: Sequence[Run],
    config: StudyConfig,
    finalists: Sequence[Run] | None = None,
    deviations: Sequence[float] | None = None,
) -> Choice:
    """Choose by the rule of the study's settings.

    `finalists`, where given, are the candidates instead of the front: trials whose values, violations and bars are
    means over seeds. `deviations` are the baseline's standard deviations over seeds, one an objective.

    Raises:
        ConfigError: no trial has a value for every objective.
    """
    defined = [trial for trial in trials if all(map(math.isfinite, trial.values))]
    if not defined:
        raise without_result(config)
    feasible = [trial for trial in defined if trial.is_feasible]
    if not feasible:
        return _least_infeasible(defined, config, "no trial keeps all bounds")
    front = front_numbers(feasible, config)
    left = [trial for trial in finalists or feasible if trial.is_feasible and (trial.number in front or finalists)]
    if not left:
        assert finalists
        occasion = f"no finalist keeps all bounds in the mean of {config.study.seeds} seeds"
        return _least_infeasible(finalists, config, occasion)
    field = Field(feasible, baseline_of(defined), config, deviations)
    picks: list[Picked] = []
    while left and len(picks) <= RUNNERS_UP:
        picks.append(RULES[config.study.choice.rule](left, field))
        left = [trial for trial in left if trial.number != picks[-1][0].number]
    (chosen, why), *others = picks
    bounds = ", ".join(bound.told(figure_name) for bound in config.study.bounds)
    among = f"of {len(front)} on the front" + (f" of those that keep {bounds}" if bounds else "")
    if finalists:
        among += f", by the means over {config.study.seeds} seeds of {len(finalists)} finalists"
    return Choice(chosen, f"trial {chosen.number}, {among}, {why}", tuple(trial for trial, _ in others))


def without_result(config: StudyConfig) -> ConfigError:
    """The error of what can't be said of a study yet."""
    return ConfigError(
        f"the study {config.study.name} has no trial with a result yet: `make status` says how far it is"
    )


def bars(candidates: Sequence[Run], field: Field) -> Picked:
    """Of the trials that keep all bars, the best in the first objective.

    Where none keeps them: the one that breaks the fewest, then by the least in all, as shares of the bars' limits. Ties
    go to the earlier trial.
    """
    first = field.config.study.objectives[0]
    listed = [bar.told(figure_name) for bar in field.config.study.choice.bars]

    def rank(trial: Run) -> tuple[int, float, float, int]:
        broken = [excess for excess in trial.bars if excess > 0]
        return len(broken), sum(broken), costs_of(trial, field.config)[0], trial.number

    chosen = min(candidates, key=rank)
    best = f"the {'lowest' if first.sign > 0 else 'highest'} {shown_name(first)}, {chosen.values[0]:.4g}"
    if not listed:
        return chosen, f"has {best}"
    if chosen.keeps_bars:
        keeping = sum(trial.keeps_bars for trial in candidates)
        return chosen, f"has {best}, of the {keeping} that keep all bars ({', '.join(listed)})"
    broken = ", ".join(f"{bar} by {excess:.0%}" for bar, excess in zip(listed, chosen.bars, strict=True) if excess > 0)
    return chosen, f"breaks the fewest bars, since no trial keeps all {len(listed)}: {broken}"


def nearest_to_ideal(candidates: Sequence[Run], field: Field) -> Picked:
    """The trial that lies nearest to the ideal point, in units of what the baseline lacks of it, times the weights.

    The ideal point has the best value in each objective of the trials that keep all bars, of all where none does: a
    trial that was hardly trained, and is perfect in its geometry, is no goal. Euclidean; ties go to the earlier trial.
    Independent of the objectives' units.
    """
    config = field.config
    weights = weights_of(config)
    keeping = [trial for trial in field.trials if trial.keeps_bars] or field.trials
    columns = list(zip(*(costs_of(trial, config) for trial in keeping), strict=True))
    ideal = [min(column) for column in columns]
    # Where the baseline is the best there is, what the worst lacks.
    units = [
        unit or (max(column) - min(column)) or 1.0
        for unit, column in zip(units_of(keeping, field.baseline, config, field.deviations), columns, strict=True)
    ]

    def distance(trial: Run) -> float:
        costs = costs_of(trial, config)
        beyond = (max(cost - best, 0.0) for cost, best in zip(costs, ideal, strict=True))
        return math.hypot(*(weight * by / unit for weight, by, unit in zip(weights, beyond, units, strict=True)))

    chosen = min(candidates, key=lambda trial: (distance(trial), trial.number))
    weighted = f", weighted by {_shown(config.study.choice.weights)}" if config.study.choice.weights else ""
    return chosen, (
        f"is nearest to the ideal point: distance {distance(chosen):.2f} in units of what the baseline lacks of it"
        f"{weighted} (the baseline itself: {distance(field.baseline):.2f})"
    )


def lexicographic(candidates: Sequence[Run], field: Field) -> Picked:
    """The best in the first objective; of those within its tolerance of the best, the best in the second; and so on.

    Tolerances are in the objectives' own units, 0 where none is given. Ties go to the earlier trial.
    """
    config = field.config
    tolerances = {config.study.objective_at(name): size for name, size in config.study.choice.tolerances.items()}
    left = sorted(candidates, key=lambda trial: trial.number)
    decided_by = 0
    for place in range(len(config.study.objectives)):
        best = min(costs_of(trial, config)[place] for trial in left)
        kept = [trial for trial in left if costs_of(trial, config)[place] <= best + tolerances.get(place, 0.0)]
        if len(kept) < len(left):
            decided_by = place
        left = kept
    order = ", ".join(objective.result for objective in config.study.objectives[: decided_by + 1])
    allowed = f", with tolerances {_shown(config.study.choice.tolerances)}" if tolerances else ""
    return left[0], f"is the best by the objectives in their order ({order} decided{allowed})"


def first_objective(candidates: Sequence[Run], field: Field) -> Picked:
    """The best in the first objective alone: the bounds hold the others. Ties go to the earlier trial."""
    config = field.config
    chosen = min(candidates, key=lambda trial: (costs_of(trial, config)[0], trial.number))
    return chosen, f"has the best {config.study.objectives[0].result}: {chosen.values[0]:.4g}"


RULES: dict[str, Rule] = {
    "bars": bars,
    "nearest_to_ideal": nearest_to_ideal,
    "lexicographic": lexicographic,
    "first_objective": first_objective,
}


def weights_of(config: StudyConfig) -> list[float]:
    """One for each objective, in the profile's order; 1 where none is given."""
    weights = [1.0] * len(config.study.objectives)
    for name, weight in config.study.choice.weights.items():
        weights[config.study.objective_at(name)] = weight
    return weights


def preferring(config: StudyConfig, prefer: str) -> StudyConfig:
    """The configuration with the nearest-to-ideal rule and weights as a person writes them: `loss=2,collapse=1`.

    Raises:
        ConfigError: it isn't of that form, or names no objective.
    """
    weights = {}
    for part in prefer.split(","):
        name, _, number = part.partition("=")
        try:
            weights[config.study.objectives[config.study.objective_at(name.strip())].result] = float(number)
            if not 0 <= float(number) < math.inf:
                raise ValueError(f"a weight is 0 or more: it is {number}")
        except ValueError as fault:
            raise ConfigError(f"a preference has the form loss=2,collapse=1: {fault}") from None
    choice = config.study.choice.model_copy(update={"rule": "nearest_to_ideal", "weights": weights})
    return config.model_copy(update={"study": config.study.model_copy(update={"choice": choice})})


def _least_infeasible(trials: Sequence[Run], config: StudyConfig, occasion: str) -> Choice:
    """The trial that breaks the fewest bounds, then by the least in all; `occasion` says that none keeps them."""

    def broken(trial: Run) -> tuple[int, float, int]:
        beyond = [violation for violation in trial.violations if violation > 0]
        return len(beyond), sum(beyond), trial.number

    chosen, *others = sorted(trials, key=broken)
    bounds = ", ".join(
        f"{bound} by {violation:.3g}"
        for bound, violation in zip(config.study.bounds, chosen.violations, strict=True)
        if violation > 0
    )
    return Choice(
        chosen,
        f"{occasion}: trial {chosen.number} breaks the fewest, {bounds}",
        tuple(others[:RUNNERS_UP]),
    )


def _shown(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {number:g}" for name, number in numbers.items())
