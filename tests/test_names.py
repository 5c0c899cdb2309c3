"""Names that a person reads: each figure has its own, MLflow takes them, byte collapse stands by its objective."""

import math

import pytest
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_metric_name as validated

from study.names import Beside, figure_name, objective_label, row_of, short_label, shown_name, with_beside
from study.settings import Objective
from study.tracking import objective_key
from wake2vec import HEADLINE, METRICS

LOSS = Objective(result="validation.loss", goal="minimize")
COLLAPSE = Objective(result="geometry.collapse_share", goal="minimize")


def test_every_figure_has_a_name_of_its_own() -> None:
    assert all(METRICS[address].shown for address in HEADLINE)
    assert len({figure_name(address) for address in METRICS}) == len(METRICS)
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
    for address in METRICS:
        for goal in ("minimize", 0.0, -1e-5, 1e30):
            validated(objective_key(Objective(result=address, goal=goal)))
    with pytest.raises(MlflowException):
        validated("obj/norm gap |d|")


def test_byte_collapse_stands_behind_the_collapse_share_unless_it_is_an_objective_itself() -> None:
    shown = with_beside([COLLAPSE, LOSS])
    assert [figure.result for figure in shown] == [COLLAPSE.result, "geometry.byte_collapse_share", LOSS.result]
    assert [isinstance(figure, Beside) for figure in shown] == [False, True, False]
    own = Objective(result="geometry.byte_collapse_share", goal="minimize")
    assert with_beside([own, COLLAPSE]) == [own, COLLAPSE]
    assert row_of([COLLAPSE, LOSS], (0.5, 4.0), {"geometry.byte_collapse_share": 0.25}) == (0.5, 0.25, 4.0)
    assert math.isnan(row_of([COLLAPSE], (0.5,), {"geometry.byte_collapse_share": None})[1])
