"""Charts show what the record and the rows say, alike each time; warnings are errors here."""

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from study.charts.canvas import COLOURS, figure_of, save_png, svg
from study.charts.run_charts import Side, collapse, embedding_figure, norms
from study.charts.study_charts import RING, StudyCharts
from study.config import StudyConfig, check_config
from study.engine.driver import StudyOutcome
from study.format import shown_name
from study.runs.record import StudyRecord
from study.runs.run import Run, State
from study.search.importance import Importances, importances
from wake2vec import Numbers

OBJECTIVES = [f"geometry.{name}" for name in ("norm_ks", "norm_base_mean", "norm_new_mean", "norm_ratio", "cosine_ks")]
OBJECTIVES.append("geometry.top1_share_new")
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


def embedding(numbers: Numbers = NUMBERS, **others: np.ndarray) -> Figure:
    return embedding_figure(Side("trial 0", numbers, arrays() | others))


def texts(figure: Figure) -> list[list[str]]:
    """What is written in each panel, in the order of the panels."""
    written = [[text.get_text() for text in ax.findobj(Text) if isinstance(text, Text)] for ax in figure.axes]
    return [[text for text in panel if text] for panel in written]


def says(panel: list[str], part: str) -> bool:
    return any(part in text for text in panel)


def study(record: StudyRecord, values: Sequence[Sequence[float]]) -> StudyCharts:
    """Trials with these values and no work folder: the first is the baseline, the best in the first value is chosen."""
    run = record.config.run.model_dump(mode="json")
    objectives = [{"result": address, "goal": "minimize"} for address in OBJECTIVES[: len(values[0])]]
    own = {"objectives": objectives, "choice": {"rule": "first_objective"}}
    config = check_config({**run, "study": {**record.config.study.model_dump(mode="json"), **own}})
    trials = [Run(State.FINISHED, number, record.baseline.params, tuple(own)) for number, own in enumerate(values)]
    return StudyCharts(replace(record, config=config, trials=trials))


def drawn(ax: Axes, key: str) -> np.ndarray:
    """Where a run's last mark lies, in the chart's own units."""
    lines = [line for line in ax.lines if str(line.get_gid()).endswith(f"|{key}")]
    return np.array(lines[-1].get_data(), dtype=float)[:, -1]


def test_every_panel_gives_its_number() -> None:
    parts = ["d = +5.49", "KS D = 0.290", "base 0.0929, new 0.334"]
    parts += ["mean cosine 0.960", "first new row, 640", "onto byte rows or each other 0.610"]
    assert [says(panel, part) for panel, part in zip(texts(embedding()), parts, strict=True)] == [True] * 6


def test_both_ways_of_collapse_are_drawn_at_every_threshold() -> None:
    together = {"mutual_cosines": np.concatenate([np.full(50, 0.9), np.full(50, np.nan)])}
    byte, mutual, _ = embedding(**together).axes[5].lines
    assert (byte.get_label(), mutual.get_label()) == ("onto byte rows", "onto each other")
    taus, shares = np.asarray(mutual.get_xdata()), np.asarray(mutual.get_ydata())
    assert set(shares[taus <= 0.9]) == {0.5} and set(shares[taus > 0.91]) == {0.0}
    taus, shares = np.asarray(byte.get_xdata()), np.asarray(byte.get_ydata())
    assert shares[taus < 0.97] == pytest.approx(COLLAPSED / NEW) and not shares[taus > 0.971].any()
    assert says(texts(embedding(**together, curve_shares=np.full(5, np.nan)))[5], "onto byte rows: undefined")


@pytest.mark.parametrize("empty", [("byte_cosines", "curve_taus", "curve_shares"), ("byte_cosines",), ()])
def test_undefined_values_are_said_and_not_drawn(empty: tuple[str, ...]) -> None:
    nothing = {"curve_shares": np.full(5, np.nan)} | {name: np.array([]) for name in empty}
    figure = embedding(dict.fromkeys(NUMBERS), **nothing)
    assert says(texts(figure)[5], "byte collapse undefined")
    assert not figure.axes[5].lines
    assert says(texts(figure)[0], "d = undefined")


@pytest.mark.parametrize(("length", "words"), [(0.0, "unchanged"), (None, "unchanged"), (0.2, "length only")])
def test_base_rows_that_kept_their_direction(length: float | None, words: str) -> None:
    still = embedding(NUMBERS | {"geometry.drift_base_l2": length}, drift_cosine_base=np.full(BASE, 1 - 6e-8))
    assert says(texts(still)[3], words)


def test_sides_are_drawn_on_the_same_axes() -> None:
    longer = arrays() | {"norms": 3 * arrays()["norms"]}
    sides = [Side("one", NUMBERS, arrays()), Side("other", NUMBERS, longer)]
    one, other = (figure_of([panel]).axes[0] for panel in norms(sides))
    assert (one.get_xlim(), one.get_ylim()) == (other.get_xlim(), other.get_ylim())
    alone = figure_of(norms(sides[:1])).axes[0]
    assert alone.get_xlim() != one.get_xlim()


@pytest.mark.parametrize(("objectives", "panels"), [(1, 1), (2, 1), (3, 3), (4, 6), (6, 15)])
def test_a_front_has_a_panel_for_every_pair_with_the_record_s_values(
    done: tuple[Path, StudyOutcome], objectives: int, panels: int
) -> None:
    values = np.random.default_rng(1).normal(size=(12, objectives)).tolist()
    charts = study(done[1].record, values)
    figure = figure_of(charts.front_pairs(), "title", keys=charts.keys())
    assert len(figure.axes) == panels
    written = [text for panel in texts(figure) for text in panel]
    names = map(shown_name, charts.record.config.study.objectives)
    assert all(says(written, f"{name}\n← better") for name in names)
    chosen = str(charts.record.choice.trial.number)
    assert all({"0", chosen} <= {note.get_text() for note in ax.texts} for ax in figure.axes)
    for number, own in enumerate(values):
        x, y = drawn(figure.axes[0], str(number))
        assert (x, y) == ((number, own[0]) if objectives == 1 else tuple(own[:2]))


def test_the_chosen_trial_has_a_ring_the_baseline_too(done: tuple[Path, StudyOutcome]) -> None:
    for values, chosen in (([[0.0, 0.0], [1.0, 1.0]], "0"), ([[1.0, 0.0], [0.0, 1.0]], "1")):
        (ax,) = figure_of(study(done[1].record, values).front_pairs()).axes
        rings = [str(line.get_gid()).split("|") for line in ax.lines if line.get_markersize() == RING["markersize"]]
        assert [(kinds.split()[-1], key) for kinds, key in rings] == [("chosen", chosen)]


def test_a_far_trial_is_drawn_at_the_border_by_name_unless_it_is_the_best(done: tuple[Path, StudyOutcome]) -> None:
    crowd = np.random.default_rng(1).normal(size=(36, 2)).tolist()
    (worse,) = figure_of(study(done[1].record, [*crowd, [1e3, 0.0]]).front_pairs()).axes
    assert worse.get_xlim()[1] < 20
    assert worse.get_title("left") == "at the border, off the axes: trial 36"
    assert drawn(worse, "36")[0] == worse.get_xlim()[1]
    (best,) = figure_of(study(done[1].record, [*crowd, [-1e3, 0.0]]).front_pairs()).axes
    assert best.get_xlim()[0] < -1e3 and not best.get_title("left")
    assert drawn(best, "36")[0] == -1e3


def test_curves_tell_the_baseline_and_the_chosen_trial_and_who_was_stopped(done: tuple[Path, StudyOutcome]) -> None:
    record = done[1].record
    stopped = replace(record.finished[-1], state=State.STOPPED, number=9, values=(), step=3, reason="stuck")
    charts = StudyCharts(replace(record, trials=[*record.finished, stopped]))
    (ax,) = (figure := figure_of([charts.curves()])).axes
    chosen, first = record.choice.trial, record.progress(record.baseline.digest)
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any(text.startswith(f"chosen (trial {chosen.number}): lowest ") for text in told)
    assert any(text.startswith("Phase 1 baseline (trial 0): lowest ") for text in told) and "stopped early" in told
    (cross,) = (line for line in ax.lines if line.get_marker() == "x")
    assert cross.is_dashed() and str(cross.get_gid()) == "run stopped|9"
    losses = [own.numbers["validation.loss"] for own in first if "validation.loss" in own.numbers]
    assert list(drawn(ax, "0")) == [first[-1].step, losses[-1]]
    nothing = study(record, [[1.0], [2.0]])
    assert says(texts(figure_of([nothing.curves()]))[0], "no trial has a finite value")


def test_the_curves_are_of_the_loss_that_the_study_judges_by(done: tuple[Path, StudyOutcome]) -> None:
    record = done[1].record
    run = record.config.run.model_dump(mode="json")
    judged = {"objectives": [{"result": "validation.bits_per_byte", "goal": "minimize"}], "choice": {}, "bounds": []}
    config = check_config({**run, "study": {**record.config.study.model_dump(mode="json"), **judged}})
    trials = [replace(trial, values=trial.values[:1]) for trial in record.trials]
    (ax,) = figure_of([StudyCharts(replace(record, config=config, trials=trials)).curves()]).axes
    last = record.result(record.baseline.digest).numbers
    assert ax.get_ylabel() == "validation loss, bits a byte of text\n← better"
    assert drawn(ax, "0")[1] == last["validation.bits_per_byte"] != last["validation.loss"]


def test_what_was_spent_counts_stopped_trials_and_the_hypervolume_stays_meanwhile(
    done: tuple[Path, StudyOutcome],
) -> None:
    record = done[1].record
    stopped = replace(record.finished[-1], state=State.STOPPED, number=9, values=(), step=3, reason="stuck")
    imported = replace(record.finished[-1], number=10, source="other, trial 3")
    _, volumes, steps, seconds = StudyCharts(replace(record, trials=[*record.finished, stopped])).history()
    own = [record.cost(trial.digest) for trial in [*record.finished, stopped]]
    assert steps == np.cumsum([cost.steps for cost in own]).tolist()
    assert seconds == pytest.approx(np.cumsum([cost.seconds for cost in own]))
    assert volumes == [*record.hypervolumes, record.hypervolumes[-1]]
    free = StudyCharts(replace(record, trials=[*record.finished, imported]))
    assert free.history()[2] == [*steps[:-1], steps[-2]], "an imported trial was free"


def test_the_history_names_the_trials_that_raised_it(done: tuple[Path, StudyOutcome]) -> None:
    values = [[0.0, 0.0], [-1.0, -1.0], [-0.5, -0.5], [-2.0, -1.5], [3.0, 3.0]]
    figure = figure_of(study(done[1].record, values).growth())
    assert [{text.get_text() for text in ax.texts} for ax in figure.axes] == [{"1", "3"}] * 2


def test_importances_are_the_shares_of_an_additive_function(
    study_config: StudyConfig, done: tuple[Path, StudyOutcome]
) -> None:
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
    axes = figure_of(StudyCharts(done[1].record).importances(found)).axes
    knobs = [label.get_text() for label in axes[0].get_yticklabels()]
    assert dict(zip(knobs, (bar.get_width() for bar in axes[0].patches), strict=True)) == one
    assert says(texts(axes[3].get_figure(root=True))[3], "all trials have one value")  # type: ignore[arg-type]
    none = StudyCharts(done[1].record).importances(Importances(3, [None] * 4))
    assert says(texts(figure_of(none))[0], "too few trials to tell")


def test_parallel_coordinates_put_each_value_at_its_height(done: tuple[Path, StudyOutcome]) -> None:
    record = done[1].record
    host, *axes = figure_of([StudyCharts(record).parallel()]).axes
    for trial in record.finished:
        lines = [line for line in host.lines if str(line.get_gid()).endswith(f"|{trial.number}")]
        (line,) = (line for line in lines if line.get_linestyle() != "None")
        own = [*trial.params.values(), *trial.values]
        assert len(own) == len(axes)
        for ax, height, value in zip(axes, np.asarray(line.get_ydata()), own, strict=True):
            at = ax.transData.inverted().transform(host.transData.transform((0, height)))[1]
            assert at == pytest.approx(value, rel=1e-6, abs=1e-9)


def test_equal_inputs_give_equal_bytes(tmp_path: Path, done: tuple[Path, StudyOutcome]) -> None:
    for name in ("one", "two"):
        save_png(embedding(), tmp_path / f"{name}-embedding.png")
        front = figure_of(StudyCharts(done[1].record).front_pairs(), "t")
        save_png(front, tmp_path / f"{name}-front.png")
    save_png(front, tmp_path / "again-front.png")
    assert len(list(tmp_path.iterdir())) == 5, "no temporary file is left"
    first = (tmp_path / "one-front.png").read_bytes()
    assert first == (tmp_path / "two-front.png").read_bytes() == (tmp_path / "again-front.png").read_bytes()
    assert (tmp_path / "one-embedding.png").read_bytes() == (tmp_path / "two-embedding.png").read_bytes()
    assert b"matplotlib" not in first.lower()


def test_the_svg_is_plain_and_shows_the_same_values(done: tuple[Path, StudyOutcome]) -> None:
    values = np.random.default_rng(1).normal(size=(12, 2))
    (panel,) = study(done[1].record, values.tolist()).front_pairs()
    picture = svg(panel)
    assert picture == svg(panel)
    root = ElementTree.fromstring(picture)  # noqa: S314
    assert root.attrib["aria-label"] == panel.label and root.attrib["role"] == "img"
    assert not re.search(r"style|metadata|matplotlib|font-family", picture)
    assert set(re.findall(r'(?:fill|stroke)="(.*?)"', picture)) <= {"none", *(f"var(--{name})" for name in COLOURS)}
    groups = {group.attrib["data-trial"]: group for group in root.iter("g") if "data-trial" in group.attrib}
    assert len(groups) == len(values) == sum("data-trial" in group.attrib for group in root.iter("g"))
    marks = np.array([[float(groups[str(i)].findall("use")[-1].attrib[axis]) for axis in "xy"] for i in range(12)])
    for column, places in zip(values.T, marks.T, strict=True):  # a straight line, but for rounding to a tenth
        fitted = np.polyval(np.polyfit(column, places, 1), column)
        assert np.abs(places - fitted).max() < 0.11
        assert np.abs(places[::-1] - fitted).max() > 10, "in another order it is none"


def test_names_in_two_charts_of_a_page_differ(done: tuple[Path, StudyOutcome]) -> None:
    charts = StudyCharts(done[1].record)
    side = Side("one", NUMBERS, arrays())
    panels = [*charts.front_pairs(), *charts.costs(), *charts.growth(), charts.curves(), *norms([side])]
    panels += collapse([side, replace(side, title="other")])
    names = [name for panel in panels for name in re.findall(r'\bid="(.*?)"', svg(panel))]
    assert len(names) == len(set(names)) > 20
    assert names != [name for panel in panels[:1] * 2 for name in re.findall(r'\bid="(.*?)"', svg(panel))]
