"""Fronts and choices on planted trials with known answers."""

import pytest

from study.choose import choose
from study.config import load_config
from study.settings import Objective
from study.trials import FinishedTrial, beats_baseline, front_numbers

OBJECTIVES = [
    Objective(result="validation.loss", goal="minimize"),
    Objective(result="geometry.norm_gap_d", goal=0.0),
    Objective(result="geometry.isotropy_new", goal="maximize"),
    Objective(result="geometry.collapse_share", goal="minimize"),
]
TINY = load_config("tiny")
CONFIG = TINY.model_copy(update={"study": TINY.study.model_copy(update={"objectives": OBJECTIVES})})


def planted(*values: tuple[float, float, float, float]) -> list[FinishedTrial]:
    return [FinishedTrial(number, {}, value, f"{number:016x}") for number, value in enumerate(values)]


BASELINE = (4.5, 5.0, 0.7, 0.6)


@pytest.mark.parametrize(
    ("others", "front", "chosen"),
    [
        ([], {0}, 0),
        ([(4.0, 0.1, 0.9, 0.0)], {1}, 1),
        ([(4.4, 0.2, 0.9, 0.0), (4.0, 6.0, 0.5, 0.9)], {1, 2}, 1),
        ([(4.0, 0.1, 0.9, 0.0), (4.0, 0.1, 0.9, 0.0)], {1, 2}, 1),
        ([(4.6, 5.1, 0.6, 0.7)], {0}, 0),
        ([(4.5, 5.0, 0.7, 0.6)], {0, 1}, 0),
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
def test_the_front_and_the_choice(
    others: list[tuple[float, float, float, float]], front: set[int], chosen: int
) -> None:
    trials = planted(BASELINE, *others)
    assert front_numbers(trials, CONFIG) == front
    assert choose(trials, CONFIG).trial.number == chosen


def test_the_choice_doesnt_change_with_the_unit_of_an_objective() -> None:
    values = [BASELINE, (4.4, 0.2, 0.9, 0.0), (4.0, 6.0, 0.5, 0.9), (4.2, 1.0, 0.8, 0.3)]
    scaled = [(100 * a, b, c, d / 7) for a, b, c, d in values]
    assert choose(planted(*values), CONFIG).trial.number == choose(planted(*scaled), CONFIG).trial.number


def test_beating_the_baseline_takes_every_objective() -> None:
    baseline, better, mixed, same = planted(BASELINE, (4.5, 4.0, 0.8, 0.5), (4.6, 0.0, 1.0, 0.0), BASELINE)
    assert beats_baseline(better, baseline, CONFIG)
    assert not beats_baseline(mixed, baseline, CONFIG)
    assert not beats_baseline(same, baseline, CONFIG)


def test_without_a_baseline_there_is_still_a_choice() -> None:
    trials = planted(BASELINE, (4.0, 0.1, 0.9, 0.0), (4.1, 0.0, 0.9, 0.0))[1:]
    assert choose(trials, CONFIG).trial.number in {1, 2}


def test_a_goal_that_is_a_number_is_a_distance() -> None:
    objective = CONFIG.study.objectives[1]
    assert (objective.name, objective.direction) == ("geometry.norm_gap_d.distance", "minimize")
    assert objective.value(-1.25) == 1.25
