"""The pictures say what they must, alike each time, and nothing in them warns (warnings are errors here)."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from study.pictures.canvas import save_png
from study.pictures.embedding_plot import embedding_figure
from study.pictures.study_plots import FrontPoint, curves_figure, front_figure

BASE, NEW, COLLAPSED = 640, 890, 534
TAUS = np.array([0.5, 0.8, 0.9, 0.95, 0.98])
NUMBERS: dict[str, float | None] = {
    "geometry.norm_gap_d": 5.488,
    "geometry.norm_base_mean": 0.67,
    "geometry.norm_new_mean": 0.4,
    "geometry.cosine_ks": 0.2902,
    "geometry.top1_share_base": 0.0929,
    "geometry.top1_share_new": 0.3337,
    "geometry.isotropy_new": 0.73,
    "geometry.isotropy_new_null": 0.9976,
    "geometry.collapse_share": 0.61,
    "geometry.byte_collapse_share": 0.6,
    "geometry.drift_base_cosine": 0.96,
    "geometry.drift_base_l2": 0.17,
}


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    byte = np.concatenate([np.full(COLLAPSED, 0.97), rng.uniform(0, 0.4, NEW - COLLAPSED)]).astype(np.float32)
    return {
        "norms": np.concatenate([rng.normal(0.67, 0.05, BASE), rng.normal(0.4, 0.05, NEW)]),
        "base_count": np.array([BASE]),
        "cosines_base_base": rng.normal(0.2, 0.1, 500),
        "cosines_new_new": np.concatenate([rng.normal(0.1, 0.1, 300), np.full(200, 0.97)]),
        "cosines_base_new": rng.normal(0.2, 0.1, 500),
        "spectrum_base": np.linspace(2, 0.1, 64),
        "spectrum_new": np.geomspace(9, 0.01, 64),
        "drift_cosine_base": 1 - rng.gamma(2, 0.02, BASE),
        "byte_cosines": byte,
        "curve_taus": TAUS,
        "curve_shares": np.array([(byte >= tau).mean() for tau in TAUS]),
    }


def points(objectives: int) -> list[FrontPoint]:
    values = np.random.default_rng(1).normal(size=(12, objectives))
    rows = enumerate(values.tolist())
    return [FrontPoint(i, tuple(row), i in (1, 2, 3), i == 0, i == 3) for i, row in rows]


def test_both_ways_of_collapse_are_drawn_at_every_threshold() -> None:
    together = arrays() | {"mutual_cosines": np.concatenate([np.full(50, 0.9), np.full(50, np.nan)])}
    byte, mutual, _ = embedding_figure(together, NUMBERS, "").axes[5].lines
    assert (byte.get_label(), mutual.get_label()) == ("onto byte rows", "onto each other")
    taus, shares = np.asarray(mutual.get_xdata()), np.asarray(mutual.get_ydata())
    assert set(shares[taus <= 0.9]) == {0.5} and set(shares[taus > 0.91]) == {0.0}
    alone = together | {"curve_shares": np.full(5, np.nan)}
    assert says(texts(embedding_figure(alone, NUMBERS, ""))[5], "onto byte rows: undefined")


def texts(figure: Figure) -> list[list[str]]:
    """What is written in each panel, in the order of the panels."""
    written = [[text.get_text() for text in ax.findobj(Text) if isinstance(text, Text)] for ax in figure.axes]
    return [[text for text in panel if text] for panel in written]


def says(panel: list[str], part: str) -> bool:
    return any(part in text for text in panel)


def test_every_panel_gives_its_number() -> None:
    panels = texts(embedding_figure(arrays(), NUMBERS, "trial 0"))
    parts = ["d = +5.49", "KS D = 0.290", "base 0.0929, new 0.334"]
    parts += ["mean cosine 0.960", "first new row, 640", "onto byte rows or each other 0.610"]
    assert [says(panel, part) for panel, part in zip(panels, parts, strict=True)] == [True] * 6


def test_the_collapse_curve_goes_through_the_planted_share() -> None:
    curve = embedding_figure(arrays(), NUMBERS, "")
    taus, shares = (np.asarray(data) for data in curve.axes[5].lines[0].get_data())
    assert shares[taus < 0.97] == pytest.approx(COLLAPSED / NEW)
    assert not shares[taus > 0.971].any()


@pytest.mark.parametrize("empty", [("byte_cosines", "curve_taus", "curve_shares"), ("byte_cosines",), ()])
def test_undefined_values_are_said_and_not_drawn(empty: tuple[str, ...]) -> None:
    bare = arrays() | {"curve_shares": np.full(5, np.nan)} | {name: np.array([]) for name in empty}
    figure = embedding_figure(bare, dict.fromkeys(NUMBERS), "trial 0")
    assert says(texts(figure)[5], "byte collapse undefined")
    assert not figure.axes[5].lines
    assert says(texts(figure)[0], "d = undefined")


@pytest.mark.parametrize(("length", "words"), [(0.0, "unchanged"), (None, "unchanged"), (0.2, "length only")])
def test_base_rows_that_kept_their_direction(length: float | None, words: str) -> None:
    still = arrays() | {"drift_cosine_base": np.full(BASE, 1 - 6e-8)}
    assert says(texts(embedding_figure(still, NUMBERS | {"geometry.drift_base_l2": length}, ""))[3], words)


@pytest.mark.parametrize(("objectives", "panels"), [(1, 1), (2, 1), (3, 3), (4, 6), (5, 10), (6, 15)])
def test_a_front_has_a_panel_for_every_pair(objectives: int, panels: int) -> None:
    names = [f"objective {i}" for i in range(objectives)]
    figure = front_figure(points(objectives), names, "", ["maximize", *["minimize"] * (objectives - 1)])
    assert len(figure.axes) == panels
    written = [text for panel in texts(figure) for text in panel]
    assert all(says(written, name) for name in names)
    assert says(written, "objective 0\nhigher is better →")
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "Phase 1 baseline, not on the front" in legend and "chosen trial" in legend
    assert all({"0", "3"} <= {note.get_text() for note in ax.texts} for ax in figure.axes)


def test_a_far_trial_leaves_the_axes_by_name_unless_it_is_the_best() -> None:
    crowd = points(2)
    far = FrontPoint(99, (1e3, 0.0), on_front=False, is_baseline=False, is_chosen=False)
    worse = front_figure([*crowd * 3, far], ["a", "b"], "", ["minimize", "minimize"]).axes[0]
    assert worse.get_xlim()[1] < 20
    assert worse.get_title("right") == "off the axes: 99"
    best = front_figure([*crowd * 3, far], ["a", "b"], "", ["maximize", "minimize"]).axes[0]
    assert best.get_xlim()[1] > 1e3 > 10 * abs(best.get_xlim()[0])


def test_a_front_without_directions_is_refused() -> None:
    with pytest.raises(ValueError, match=r"each with its direction.*\['a', 'b'\], \['minimize'\]"):
        front_figure(points(2), ["a", "b"], "", ["minimize"])


def test_curves_tell_the_baseline_and_the_chosen_trial() -> None:
    curves = {trial: [(step, 8.0 - trial * step / 30) for step in range(0, 31, 10)] for trial in range(5)}
    curves[4][2:] = [(20, float("nan")), (30, float("nan"))]
    legend = [text.get_text() for text in curves_figure(curves, 0, 3, "loss").legends[0].get_texts()]
    assert legend[0] == "other trials (n = 3)"
    assert legend[1] == "Phase 1 baseline (trial 0): lowest 8 at step 0, last 8"
    assert legend[2] == "chosen (trial 3): lowest 5 at step 30, last 5"
    both = curves_figure(curves, 0, 0, "loss").legends[0].get_texts()
    assert both[1].get_text().startswith("Phase 1 baseline, chosen (trial 0)")
    assert says(texts(curves_figure({}, 0, None, "loss"))[0], "no trial has a finite value")


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    names, directions = ["a", "b", "c"], ["minimize"] * 3
    for name in ("one", "two"):
        save_png(embedding_figure(arrays(), NUMBERS, "t"), tmp_path / f"{name}-embedding.png")
        front = front_figure(points(3), names, "t", directions)
        save_png(front, tmp_path / f"{name}-front.png")
    save_png(front, tmp_path / "again-front.png")
    assert len(list(tmp_path.iterdir())) == 5, "no temporary file is left"
    first = (tmp_path / "one-front.png").read_bytes()
    assert first == (tmp_path / "two-front.png").read_bytes() == (tmp_path / "again-front.png").read_bytes()
    assert (tmp_path / "one-embedding.png").read_bytes() == (tmp_path / "two-embedding.png").read_bytes()
    assert b"matplotlib" not in first.lower()
