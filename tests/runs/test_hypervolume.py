"""Hypervolume against closed forms, a count of random points, and Optuna's own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume

from study.config import load_config
from study.runs.run import Run, State
from study.runs.trials import growth_of, hypervolume, study_hypervolume, units_of

points = st.lists(st.tuples(*[st.floats(0, 1.2)] * 4), min_size=0, max_size=10)


@pytest.mark.parametrize(
    ("planted", "volume"),
    [
        ([], 0.0),
        ([(0.0, 0.0)], 1.0),
        ([(0.5, 0.5)], 0.25),
        ([(0.0, 0.5), (0.5, 0.0)], 0.75),
        ([(0.0, 1.0)], 0.0),  # not better than the reference in the second
        ([(-1.0, 0.5), (2.0, -9.0)], 1.0),
    ],
)
def test_closed_forms(planted: list[tuple[float, ...]], volume: float) -> None:
    assert hypervolume(planted, (1.0, 1.0)) == pytest.approx(volume)


@given(points)
def test_it_is_optunas_and_a_worse_point_adds_nothing(planted: list[tuple[float, ...]]) -> None:
    reference = (1.0,) * 4
    inside = np.array([point for point in planted if max(point) < 1]).reshape(-1, 4)
    expected = compute_hypervolume(inside, np.ones(4)) if len(inside) else 0.0
    found = hypervolume(planted, reference)
    assert found == pytest.approx(expected, abs=1e-12)
    worse = [tuple(value + 0.01 for value in point) for point in planted]
    assert hypervolume([*planted, *worse], reference) == pytest.approx(found, abs=1e-12)


def test_it_is_the_share_of_random_points_that_are_dominated() -> None:
    generator = np.random.default_rng(0)
    planted = generator.random((6, 3))
    thrown = generator.random((200_000, 3))
    share = np.mean((planted[:, None] <= thrown).all(2).any(0))
    assert hypervolume(map(tuple, planted.tolist()), (1.0,) * 3) == pytest.approx(share, abs=4e-3)


def test_every_objective_spans_an_edge_as_long_without_what_breaks_a_bound() -> None:
    """The baseline is .3 nats and 2 of |d| from the best; both are whole edges."""
    config = load_config("tiny")
    values = [(4.6, 2.0, 0.5, 0.8), (4.45, 1.0, 0.7, 0.4), (4.3, 0.0, 0.9, 0.0), (4.0, 0.0, 1.0, 0.0)]
    trials = [Run(State.FINISHED, n, {}, value, "", (float(n == 3),)) for n, value in enumerate(values)]
    assert growth_of(trials, trials[0], config).volumes == pytest.approx([0, 0.5**4, 1, 1])
    assert growth_of(trials[:2], trials[0], config).volumes == pytest.approx([0, 1])  # the best there is, so far


def test_an_objective_in_which_no_trial_is_better_spans_no_volume_but_must_be_kept() -> None:
    config = load_config("tiny")
    values = [(4.0, 0.0, 0.5, 0.5), (2.0, 0.0, 0.9, 0.25), (1.0, 0.1, 0.9, 0.0)]
    baseline, kept, lost = (Run(State.FINISHED, n, {}, value, "") for n, value in enumerate(values))
    units = units_of([baseline, kept, lost], baseline, config)
    assert units == pytest.approx((3.0, 0.0, 0.4, 0.5))
    assert study_hypervolume([baseline, kept, lost], baseline, config, units) == pytest.approx(2 / 3 * 1 * 0.5)
    assert study_hypervolume([baseline, kept], baseline, config, units_of([baseline], baseline, config)) == 0


figures = st.floats(0, 1) | st.sampled_from([0.0, 0.25, 0.5, 1.0])
planted_trials = st.lists(
    st.tuples(st.tuples(figures, figures, figures, figures), st.booleans()), min_size=1, max_size=25
)


@given(planted_trials)
def test_how_it_grows_is_what_each_prefix_has_to_the_last_bit(planted: list[tuple[tuple[float, ...], bool]]) -> None:
    """Gone on with after each trial, as a driver does, or computed anew."""
    config = load_config("tiny")
    trials = [
        Run(State.FINISHED, n, {}, values, "", (float(n and breaks),)) for n, (values, breaks) in enumerate(planted)
    ]
    growth = None
    for count in range(1, len(trials) + 1):
        growth = growth_of(trials[:count], trials[0], config, growth)
        kept = [[trial for trial in trials[:end] if trial.is_feasible] for end in range(1, count + 1)]
        units = units_of(kept[-1], trials[0], config)
        assert growth.volumes == [study_hypervolume(prefix, trials[0], config, units) for prefix in kept]
        assert sorted(growth.volumes) == growth.volumes
