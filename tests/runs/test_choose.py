"""Fronts and choices on planted trials with known answers: every rule, ties, bounds, nothing feasible or defined."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.config import StudyConfig, load_config
from study.runs.choose import RULES, choose, preferring
from study.runs.run import Run, State
from study.runs.trials import front_numbers
from study.settings import Bound, ChoiceSettings, Objective
from wake2vec import ConfigError

OBJECTIVES = [
    Objective(result="validation.loss", goal="minimize"),
    Objective(result="geometry.norm_gap_d", goal=0.0),
    Objective(result="geometry.isotropy_new", goal="maximize"),
    Objective(result="geometry.collapse_share", goal="minimize"),
]
Values = tuple[float, float, float, float]
BASELINE: Values = (4.5, 5.0, 0.7, 0.6)
BALANCED: Values = (4.4, 0.2, 0.9, 0.0)
EXTREME: Values = (4.0, 6.0, 0.5, 0.9)


BARS = ["validation.loss <= baseline", "|geometry.norm_gap_d| <= 0.2"]


def study(rule: str = "nearest_to_ideal", bounds: tuple[str, ...] = (), **choice: object) -> StudyConfig:
    tiny = load_config("tiny")
    settings = {
        "objectives": OBJECTIVES,
        "bounds": [Bound.model_validate(bound) for bound in bounds],
        "choice": ChoiceSettings.model_validate({"rule": rule, **choice}),
        "seeds": 5,
    }
    return tiny.model_copy(update={"study": tiny.study.model_copy(update=settings)})


CONFIG = study()


def planted(
    *values: Values, violations: tuple[tuple[float, ...], ...] = (), bars: tuple[tuple[float, ...], ...] = ()
) -> list[Run]:
    broken, excesses = violations or ((),) * len(values), bars or ((),) * len(values)
    return [
        Run(State.FINISHED, n, {}, value, f"{n:016x}", broken[n], bars=excesses[n]) for n, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("others", "front", "chosen"),
    [
        ([], {0}, 0),
        ([(4.0, 0.1, 0.9, 0.0)], {1}, 1),
        ([BALANCED, EXTREME], {1, 2}, 1),
        ([(4.0, 0.1, 0.9, 0.0), (4.0, 0.1, 0.9, 0.0)], {1, 2}, 1),
        ([(4.6, 5.1, 0.6, 0.7)], {0}, 0),
        ([BASELINE], {0, 1}, 0),
    ],
    ids=[
        "one trial",
        "one dominates",
        "a balanced one beats an extreme one",
        "tie",
        "worse",
        "equal to the baseline",
    ],
)
def test_the_front_and_the_choice(others: list[Values], front: set[int], chosen: int) -> None:
    trials = planted(BASELINE, *others)
    assert front_numbers(trials, CONFIG) == front
    assert choose(trials, CONFIG).trial.number == chosen


@pytest.mark.parametrize(
    ("config", "chosen"),
    [
        (study(), 1),
        (study(weights={"loss": 20, "norm_gap_d": 0, "isotropy_new": 0, "collapse_share": 0}), 2),
        (study("first_objective"), 2),
        (study("bars"), 2),
        (study("lexicographic"), 2),
        (study("lexicographic", tolerances={"loss": 0.5}), 1),
    ],
    ids=[
        "nearest",
        "nearest, weighted",
        "first",
        "bars, none given",
        "lexicographic",
        "lexicographic with a tolerance",
    ],
)
def test_each_rule_picks_what_it_says_and_names_its_runner_up(config: StudyConfig, chosen: int) -> None:
    choice = choose(planted(BASELINE, BALANCED, EXTREME), config)
    assert choice.trial.number == chosen
    assert choice.runners_up[0].number == 3 - chosen  # the front holds these two
    assert choice.reason.startswith(f"trial {chosen}, of 2 on the front, ")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("values", [[BASELINE], [BASELINE, BASELINE], [BASELINE, BALANCED, BALANCED]])
def test_under_every_rule_ties_go_to_the_earliest_and_one_trial_is_chosen(rule: str, values: list[Values]) -> None:
    assert choose(planted(*values), study(rule)).trial.number == values.index(values[-1])


@pytest.mark.parametrize("rule", RULES)
def test_under_every_rule_the_choice_keeps_the_bounds_where_a_trial_does(rule: str) -> None:
    config = study(rule, ("validation.loss <= baseline",))
    trials = planted(BASELINE, BALANCED, (4.6, 0.0, 1.0, 0.0), EXTREME, violations=((0.0,), (-0.1,), (0.1,), (0.5,)))
    choice = choose(trials, config)
    assert choice.trial.number == 1
    assert "of those that keep validation loss <= baseline" in choice.reason
    nothing = planted(BASELINE, BALANCED, EXTREME, violations=((0.3,), (0.1,), (0.2,)))
    choice = choose(nothing, config)
    assert choice.trial.number == 1
    assert [trial.number for trial in choice.runners_up] == [2, 0]
    assert choice.reason == ("no trial keeps all bounds: trial 1 breaks the fewest, validation.loss <= baseline by 0.1")


def test_of_those_that_keep_all_bars_the_lowest_loss_is_chosen_and_a_person_reads_why() -> None:
    config = study("bars", bars=BARS)
    trials = planted(
        BASELINE,
        (4.3, 0.1, 0.9, 0.0),
        (4.4, 0.0, 0.99, 0.0),
        EXTREME,
        bars=((0.0, 24.0), (-0.04, -0.5), (-0.02, -1.0), (-0.1, 29.0)),
    )
    choice = choose(trials, config)
    assert choice.trial.number == 1
    assert choice.runners_up[0].number == 2
    assert choice.reason.endswith(
        "has the lowest validation loss, 4.3, of the 2 that keep all bars "
        "(validation loss <= baseline, |norm gap d| <= 0.2)"
    )


def test_where_no_trial_keeps_the_bars_the_fewest_and_least_broken_are_taken_and_it_says_so() -> None:
    config = study("bars", bars=BARS)
    trials = planted(
        BASELINE, BALANCED, (4.3, 0.3, 0.8, 0.0), EXTREME, bars=((0.0, 24.0), (-0.1, 0.1), (-0.1, 0.5), (0.1, 29))
    )
    choice = choose(trials, config)
    assert choice.trial.number == 1
    assert choice.reason.endswith("breaks the fewest bars, since no trial keeps all 2: |norm gap d| <= 0.2 by 10%")


def test_a_trial_that_was_hardly_trained_is_no_goal() -> None:
    """Perfect in its geometry, it would draw the ideal point to itself; bars keep it out."""
    good, hardly = (4.3, 0.15, 0.9, 0.0), (4.49, 0.0, 0.999, 0.0)
    excesses = ((0.0, 24.0), (-0.04, -0.25), (0.1, -1.0))
    plain, barred = (
        choose(planted((4.5, 5.0, 0.7, 0.0), good, hardly, bars=bars), study()).reason
        for bars in (((), (), ()), excesses)
    )
    assert "distance 0.00 " in barred
    assert "distance 0.00 " not in plain


def test_what_is_less_than_the_noise_decides_nothing() -> None:
    trials = planted((4.5, 1.0, 0.9, 0.002), (4.3, 0.1, 0.9, 0.002), (4.4, 0.0, 0.9, 0.0))
    assert choose(trials, CONFIG).trial.number == 2  # the share's .002 is a whole unit
    assert choose(trials, CONFIG, deviations=[0.01, 0.05, 0.01, 0.01]).trial.number == 1


def test_a_trial_without_a_value_for_an_objective_is_never_chosen() -> None:
    trials = planted(BASELINE, (1.0, math.nan, 0.99, 0.0), BALANCED)
    assert choose(trials, CONFIG).trial.number == 2
    with pytest.raises(ConfigError, match="has no trial with a result yet"):
        choose(planted((math.nan, 0.0, 0.0, 0.0)), CONFIG)
    with pytest.raises(ConfigError, match="has no trial with a result yet"):
        choose([], CONFIG)


def test_finalists_are_chosen_among_by_their_means_over_seeds() -> None:
    trials = planted(BASELINE, BALANCED, (4.41, 0.1, 0.91, 0.0))
    means = planted(BASELINE, (4.4, 0.9, 0.8, 0.2), (4.41, 0.1, 0.91, 0.0))[1:]
    choice = choose(trials, CONFIG, means)
    assert choice.trial.number == 2
    assert "by the means over 5 seeds of 2 finalists" in choice.reason


def test_a_finalist_that_breaks_a_bound_in_the_mean_is_not_chosen() -> None:
    trials = planted(BASELINE, BALANCED, (4.45, 1.0, 0.8, 0.1), violations=((0.0,), (-0.1,), (-0.1,)))
    finalists = [replace(trials[1], violations=(0.02,)), trials[2]]
    config = study(bounds=("validation.loss <= baseline",))
    assert choose(trials, config).trial.number == 1
    assert choose(trials, config, finalists).trial.number == 2
    choice = choose(trials, config, finalists[:1])
    assert choice.trial.number == 1
    assert choice.reason.startswith("no finalist keeps all bounds in the mean of 5 seeds: trial 1 breaks the fewest")


@given(st.lists(st.tuples(*[st.floats(0.1, 10)] * 4), min_size=1, max_size=8), st.floats(0.01, 100))
def test_the_choice_doesnt_change_with_the_unit_of_an_objective(values: list[Values], unit: float) -> None:
    scaled = [(unit * a, b, c, d / unit) for a, b, c, d in values]
    ours, theirs = choose(planted(*values), CONFIG), choose(planted(*scaled), CONFIG)
    distances = [choice.reason.split("distance ")[1].split()[0] for choice in (ours, theirs)]
    assert ours.trial.number == theirs.trial.number or float(distances[0]) == pytest.approx(float(distances[1]))


def test_a_preference_is_read_as_a_person_writes_it() -> None:
    weights = preferring(CONFIG, "loss=2, collapse=1").study.choice.weights
    assert weights == {"validation.loss": 2.0, "geometry.collapse_share": 1.0}
    for wrong, message in (
        ("loss", "a preference has the form loss=2,collapse=1"),
        ("geometry=1", "'geometry' is part of 3"),
        ("speed=1", "'speed' is part of 0"),
        ("loss=-1", "a weight is 0 or more: it is -1"),
        ("loss=nan", "a weight is 0 or more"),
    ):
        with pytest.raises(ConfigError, match=message):
            preferring(CONFIG, wrong)


def test_without_a_baseline_there_is_still_a_choice() -> None:
    trials = planted(BASELINE, (4.0, 0.1, 0.9, 0.0), (4.1, 0.0, 0.9, 0.0))[1:]
    assert choose(trials, CONFIG).trial.number in {1, 2}


def test_a_goal_that_is_a_number_is_a_distance() -> None:
    objective = CONFIG.study.objectives[1]
    assert (objective.name, objective.direction) == ("geometry.norm_gap_d.distance", "minimize")
    assert objective.value(-1.25) == 1.25
