"""The pictures of a study as a whole, in its folder: front, curves, hypervolume, importances."""

from collections.abc import Mapping
from pathlib import Path

from study.cost import Cost, cost_of, loss_curve
from study.format import shown_name
from study.pictures.canvas import save_png
from study.pictures.history_plots import Moment, hypervolume_figure, importances_figure
from study.pictures.study_plots import FrontPoint, curves_figure, front_figure
from study.record import StudyRecord
from study.search.importance import importances


def draw_study(record: StudyRecord) -> list[Path]:
    """Draw them all anew, into `<results>/studies/<study>`; gives their paths."""
    name, choice, objectives = record.config.study.name, record.choice, record.config.study.objectives
    curves: dict[int, list[tuple[int, float]]] = {}
    costs: dict[int, Cost] = {}
    for trial in record.trained:
        progress = record.progress(trial.digest)  # of one trial at a time: a long one has thousands of records
        curves[trial.number] = loss_curve(progress)
        costs[trial.number] = cost_of(progress)
    stopped = {trial.number for trial in record.stopped}
    shares = importances(record.finished, record.config).shares
    known = {shown_name(o): shares for o, shares in zip(objectives, shares, strict=True) if shares is not None}
    count = len(record.finished)
    figures = {
        "front.png": front_figure(
            front_points(record),
            list(map(shown_name, objectives)),
            f"{name}: front of {count} trials",
            [objective.direction for objective in objectives],
        ),
        "curves.png": curves_figure(curves, 0, choice.trial.number, "validation loss, nats a token", stopped),
        "hypervolume.png": hypervolume_figure(moments_of(record, costs), f"{name}: what the trials gained"),
        "importances.png": importances_figure(known, f"{name}: what each knob decides, by {count} trials"),
    }
    folder = record.folder / "studies" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, figure in figures.items():
        save_png(figure, folder / file)
    return [folder / file for file in figures]


def front_points(record: StudyRecord) -> list[FrontPoint]:
    return [
        FrontPoint(
            trial.number,
            trial.values,
            trial.number in record.front,
            trial.is_baseline,
            trial.number == record.choice.trial.number,
        )
        for trial in record.finished
    ]


def moments_of(record: StudyRecord, costs: Mapping[int, Cost]) -> list[Moment]:
    """The hypervolume after each trial that ended, and what all had taken by then; an imported one was free."""
    volumes = dict(zip((trial.number for trial in record.finished), record.hypervolumes, strict=True))
    free = {trial.number for trial in record.finished if trial.source}
    moments, steps, seconds, volume = [], 0, 0.0, 0.0
    for trial in record.trained:
        volume = volumes.get(trial.number, volume)
        if trial.number not in free:
            steps += costs[trial.number].steps
            seconds += costs[trial.number].seconds
        moments.append(Moment(trial.number, steps, seconds, volume))
    return moments
