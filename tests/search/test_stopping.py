"""Early stopping on planted records with known answers, and against a plain count of fronts."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.config import StudyConfig, check_config
from study.runs.cost import evaluations_of
from study.runs.trials import ranks
from study.search.stopping import Stopper, trials_ahead
from wake2vec import Numbers, Progress

FIGURES = ("validation.loss", "geometry.norm_gap_d", "geometry.isotropy_new", "geometry.collapse_share")


def at(step: int, *figures: float | None) -> Progress:
    numbers: Numbers = dict(zip(FIGURES, figures, strict=True))
    return Progress(step, numbers, 0.0)


def stopping(tree: dict[str, Any], **settings: object) -> StudyConfig:
    return check_config(
        {**tree, "study": {**tree["study"], "stopping": {"grace_steps": 20, "keep_share": 0.5, **settings}}}
    )


def verdicts(config: StudyConfig, records: list[Progress], peers: list[list[Progress]]) -> list[str | None]:
    stopper = Stopper(config, 100, [(100, evaluations_of(peer)) for peer in peers])
    return [stopper.verdict(record) for record in records]


GOOD = [at(0, 6.0, 2.0, 0.9, 0.0), at(20, 5.0, 1.0, 0.9, 0.1), at(40, 4.5, 0.5, 0.9, 0.1)]


def test_a_dominated_trial_ends_at_the_first_rung_after_the_grace(tree: dict[str, Any]) -> None:
    bad = [at(0, 6.0, 3.0, 0.8, 0.2), at(20, 5.5, 2.0, 0.8, 0.2), at(40, 5.4, 2.0, 0.8, 0.2)]
    config = stopping(tree)
    reason = "dominated: at step 20 1 of 1 trials as long lie on better fronts"
    assert verdicts(config, bad[:2], [GOOD]) == [None, reason]
    assert verdicts(stopping(tree, grace_steps=40), bad, [GOOD])[:2] == [None, None]
    assert verdicts(stopping(tree, keep_share=None), bad, [GOOD]) == [None] * 3
    assert verdicts(config, GOOD, [bad]) == [None] * 3
    # A figure is compared with figures of the same step alone.
    assert verdicts(config, [at(60, 5.5, 2.0, 0.8, 0.2)], [GOOD]) == [None]


def test_a_shorter_trial_is_no_peer(tree: dict[str, Any]) -> None:
    bad = at(20, 5.5, 2.0, 0.8, 0.2)
    for length, judged in ((100, True), (101, True), (99, False)):
        assert (Stopper(stopping(tree), 100, [(length, evaluations_of(GOOD))]).verdict(bad) is not None) is judged


def test_a_trial_that_is_best_in_one_objective_goes_on(tree: dict[str, Any]) -> None:
    odd = [at(0, 6.0, 3.0, 0.8, 0.2), at(20, 9.0, 9.0, 0.91, 0.9)]
    assert verdicts(stopping(tree, diverged_nats=None), odd, [GOOD] * 5) == [None, None]


def test_diverged_and_stuck_trials_end_with_their_losses(tree: dict[str, Any]) -> None:
    config = stopping(tree)
    start = at(0, 6.0, 1.0, 0.9, 0.0)
    assert verdicts(config, [start, at(20, 6.6, 0.1, 0.99, 0.0)], []) == [
        None,
        "diverged: validation loss 6.600 at step 20, 6.000 at step 0",
    ]
    flat = at(60, 5.995, 0.1, 0.99, 0.0)
    assert verdicts(config, [start, flat], []) == [
        None,
        "stuck: validation loss 5.995 at step 60 of 100, 6.000 at step 0",
    ]
    assert verdicts(config, [start, at(40, 5.995, 0.1, 0.99, 0.0)], []) == [None, None]  # not half its steps
    assert verdicts(stopping(tree, stuck_nats=None), [start, flat], []) == [None, None]


def test_a_trial_that_goes_on_from_a_checkpoint_is_judged_by_its_own_start(tree: dict[str, Any]) -> None:
    stopper = Stopper(stopping(tree), 100, [])
    stopper.begin([at(0, 6.0, 1.0, 0.9, 0.0)])
    assert (stopper.verdict(at(60, 7.0, 1.0, 0.9, 0.0)) or "").startswith("diverged")


def test_an_undefined_figure_is_the_worst_and_a_finished_trial_isnt_judged(tree: dict[str, Any]) -> None:
    config = stopping(tree)
    assert "dominated" in (verdicts(config, [at(20, 5.0, 1.0, 0.9, None)], [GOOD])[0] or "")
    assert verdicts(config, [at(100, 9.0, 9.0, 0.1, 0.9)], [[at(100, 5.0, 1.0, 0.9, 0.1)]]) == [None]


costs = st.sampled_from([0.0, 1.0, 1.0, 2.0, 3.0, math.inf, -math.inf, math.nan])
points = st.lists(st.tuples(costs, costs, costs), min_size=1, max_size=12)


@given(points)
def test_fronts_and_trials_ahead_are_those_of_the_definition(costs: list[tuple[float, ...]]) -> None:
    """A rank is one more than the highest rank of what dominates the point; ties, infinities and NaN are among them."""

    def dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        return one != other and all(a <= b for a, b in zip(one, other, strict=True))

    def rank(point: tuple[float, ...]) -> int:
        return 1 + max((rank(other) for other in costs if dominates(other, point)), default=-1)

    own, *others = costs
    assert ranks(costs) == [rank(point) for point in costs]
    assert trials_ahead(own, others) == sum(rank(other) < rank(own) for other in others)


@pytest.mark.parametrize("worst", [math.inf, 1e300])
def test_the_worst_is_behind_all(worst: float) -> None:
    assert trials_ahead((worst, worst), [(0.0, 1.0), (1.0, 0.0)]) == 2
