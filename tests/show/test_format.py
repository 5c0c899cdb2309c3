"""Names that a person reads: each figure has its own, MLflow takes them, byte collapse stands by its objective."""

import math

import pytest
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_metric_name as validated

from study.format import (
    Beside,
    duration,
    figure_name,
    objective_label,
    over_seeds,
    row_of,
    short_label,
    shown,
    shown_name,
    signed,
    with_beside,
)
from study.noise import Interval, interval
from study.settings import Objective
from study.tracking import objective_key
from wake2vec import ALL_METRICS, HEADLINE, METRICS

LOSS = Objective(result="validation.loss", goal="minimize")
COLLAPSE = Objective(result="geometry.collapse_share", goal="minimize")


def test_every_figure_has_a_name_of_its_own() -> None:
    assert all(METRICS[address].shown for address in HEADLINE)
    assert len({figure_name(address) for address in ALL_METRICS}) == len(ALL_METRICS)
    assert figure_name("geometry.head.norm_gap_d") == "head norm gap d"
    assert short_label("geometry.head.norm_ks") == "head norm ks"
    assert figure_name("geometry.isotropy_new") == "isotropy of new rows"
    assert figure_name("validation.start_loss") == "validation start loss"  # without one: the address in words
    assert (figure_name("geometry.norm_ks"), short_label("train.lr")) == ("norm ks", "lr")


@pytest.mark.parametrize(
    ("result", "goal", "name", "label", "key"),
    [
        ("validation.loss", "minimize", "validation loss", "loss", "obj/validation loss"),
        ("geometry.norm_gap_d", 0.0, "norm gap |d|", "norm gap |d|", "obj/norm gap abs d"),
        ("geometry.norm_gap_d", -0.5, "norm gap |d + 0.5|", "norm gap |d + 0.5|", "obj/norm gap abs d  0.5"),
        (
            "geometry.norm_ratio",
            1.0,
            "|norm ratio, new / base - 1|",
            "|norm ratio - 1|",
            "obj/abs norm ratio new / base - 1",
        ),
    ],
)
def test_a_distance_has_bars_but_in_mlflow(result: str, goal: float, name: str, label: str, key: str) -> None:
    objective = Objective(result=result, goal=goal)
    assert (shown_name(objective), objective_label(objective), objective_key(objective)) == (name, label, key)


def test_mlflow_takes_the_key_of_any_objective() -> None:
    for address in ALL_METRICS:
        for goal in ("minimize", 0.0, -1e-5, 1e30):
            validated(objective_key(Objective(result=address, goal=goal)))
    with pytest.raises(MlflowException):
        validated("obj/norm gap |d|")


def test_byte_collapse_stands_behind_the_collapse_share_unless_it_is_an_objective_itself() -> None:
    figures = with_beside([COLLAPSE, LOSS])
    assert [figure.result for figure in figures] == [COLLAPSE.result, "geometry.byte_collapse_share", LOSS.result]
    assert [isinstance(figure, Beside) for figure in figures] == [False, True, False]
    own = Objective(result="geometry.byte_collapse_share", goal="minimize")
    assert with_beside([own, COLLAPSE]) == [own, COLLAPSE]
    assert row_of([COLLAPSE, LOSS], (0.5, 4.0), {"geometry.byte_collapse_share": 0.25}) == (0.5, 0.25, 4.0)
    assert math.isnan(row_of([COLLAPSE], (0.5,), {"geometry.byte_collapse_share": None})[1])


def test_counts_are_shown_whole_and_other_figures_to_four_digits() -> None:
    values = {33750.0: "33,750", 2338.0: "2338", 12345.6: "1.235e+04", 1e-5: "1e-05", 1e30: "1e+30", math.inf: "inf"}
    assert [shown(value) for value in values] == [*values.values()]
    assert [shown(None), shown(math.nan), shown(7), shown("word"), shown(0.123456, 3)] == [
        "–",
        "–",
        "7",
        "word",
        "0.123",
    ]


def test_an_interval_has_as_many_decimals_as_its_half_has_digits_that_say_something() -> None:
    assert over_seeds(Interval(4.3123, 4.291, 4.3336, 3)) == "4.312 ±0.021"
    assert over_seeds(Interval(4.3123, -math.inf, math.inf, 1)) == "4.312"
    assert over_seeds(Interval(1234.5, 1200.0, 1269.0, 2)) == "1234 ±34"
    assert over_seeds(Interval(0.5, 0.5, 0.5, 2)) == "0.5 ±0"
    assert over_seeds(Interval(math.nan, math.nan, math.nan, 2)) == "–"
    assert signed(Interval(-0.123, -0.144, -0.102, 3)) == "-0.123 ±0.021"
    assert signed(Interval(0.123, 0.102, 0.144, 3)) == "+0.123 ±0.021"
    assert [signed(interval([value])) for value in (0.0, 0.25, math.nan)] == ["0", "+0.25", "–"]


def test_ten_minutes_are_ten_minutes() -> None:
    times = {0.14: "0.14 s", 12: "12 s", 100: "2 min", 600: "10 min", 6000: "1.7 h", 28080: "7.8 h"}
    assert [duration(seconds) for seconds in times] == [*times.values()]
