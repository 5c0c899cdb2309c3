"""What the pictures of a study show, against closed forms."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from study.pictures.draw import moments_of
from study.pictures.history_plots import Moment, hypervolume_figure, importances_figure
from study.pictures.study_plots import curves_figure

from study.config import StudyConfig
from study.cost import Cost
from study.driver import StudyOutcome
from study.runs import Run, State
from study.search.importance import importances


def test_importances_are_the_shares_of_an_additive_function(study_config: StudyConfig) -> None:
    dice = random.Random(0)
    trials = []
    for number in range(200):
        first, second, third = dice.random(), dice.random(), dice.random()
        params = {
            "init.noise_scale": 0.05 * 40**first,
            "train.lr": 1e-4 * 100**second,
            "train.steps": int(4 * 2**third),
        }
        values = (3 * first + second, float(params["train.steps"]), -first, 1.0)
        trials.append(Run(State.FINISHED, number, params, values, ""))
    found = importances(trials, study_config)
    one, two, three, constant = found.shares
    assert constant is None, "nothing explains what doesn't vary"
    by_knob = [[shares[knob] for knob in study_config.study.space] for shares in (one, two, three) if shares]
    assert by_knob[0] == pytest.approx([0.9, 0.1, 0.0], abs=0.04)  # 9/12 and 1/12 of the variance
    assert by_knob[1] == pytest.approx([0.0, 0.0, 1.0], abs=0.02)
    assert by_knob[2] == pytest.approx([1.0, 0.0, 0.0], abs=0.02)
    assert importances(trials, study_config) == found
    assert importances(trials[:3], study_config).shares == [None] * 4


def test_what_was_spent_counts_stopped_trials_and_the_hypervolume_stays_meanwhile(
    done: tuple[Path, StudyOutcome],
) -> None:
    record = done[1].record
    stopped = Run(State.STOPPED, 9, {}, digest="0" * 16, step=3, reason="stuck")
    longer = replace(record, trials=[*record.finished, stopped])
    costs = {trial.number: Cost(10, 2.0) for trial in record.finished} | {9: Cost(3, 0.5)}
    moments = moments_of(longer, costs)
    assert [moment.steps for moment in moments] == [10, 20, 30, 40, 43]
    assert moments[-1].seconds == 8.5
    assert [moment.hypervolume for moment in moments] == [*record.hypervolumes, record.hypervolumes[-1]]


def test_a_stopped_trial_is_dashed_and_ends_in_a_cross() -> None:
    curves = {0: [(0, 3.0), (6, 2.0)], 1: [(0, 3.0), (3, 2.9)], 2: [(0, 3.0), (6, 1.0)], 3: [(0, 3.0), (6, 2.5)]}
    (ax,) = curves_figure(curves, 0, 2, "validation.loss", {1}).axes
    (cross,) = [line for line in ax.lines if line.get_marker() == "x"]
    assert list(cross.get_xdata()) == [0, 3]
    assert (cross.get_linestyle(), cross.get_markevery()) == ("--", [1])
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()][:2] == [
        "other trials (n = 1)",
        "stopped early (n = 1)",
    ]


def test_the_history_names_the_trials_that_raised_it() -> None:
    moments = [
        Moment(0, 10, 60.0, 0.0),
        Moment(1, 20, 120.0, 0.5),
        Moment(2, 30, 180.0, 0.5),
        Moment(3, 40, 240.0, 0.7),
    ]
    figure = hypervolume_figure(moments, "a study")
    for ax in figure.axes:
        assert {text.get_text() for text in ax.texts} == {"1", "3"}
    assert [ax.get_xlabel().split(",")[-1].strip() for ax in figure.axes] == ["stopped ones too", "minutes"]
    assert isinstance(hypervolume_figure([], "nothing yet"), Figure)


def test_each_objective_has_a_bar_for_each_knob() -> None:
    shares = {"loss": {"train.lr": 0.8, "seed": 0.2}, "gap": {"train.lr": 0.1, "seed": 0.9}}
    (ax,) = importances_figure(shares, "a study").axes
    assert sorted(bar.get_width() for bar in ax.patches) == [0.1, 0.2, 0.8, 0.9]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["train.lr", "seed"]
    assert isinstance(importances_figure({}, "nothing yet"), Figure)
