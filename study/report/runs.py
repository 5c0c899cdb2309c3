"""The runs of a study as the report's charts show them: trials, stopped trials, and references."""

from collections.abc import Mapping
from dataclasses import dataclass

from study.charts.study_charts import KINDS
from study.cost import Cost, cost_of, loss_curve
from study.names import shown_name
from study.record import StudyRecord
from study.runs import Run
from study.settings import Value
from study.shown import Row, shown_figures, shown_values
from study.table import show

Curve = list[tuple[int, float]]
DRAWN_FROM_BELOW = ("stopped", "other", "reference", "front", "baseline")


@dataclass(frozen=True)
class ShownRun:
    """One run with all that charts and tables read of it."""

    key: str
    """`7`, or `reference <name>`: the same in every chart."""
    title: str
    kind: str
    """One of `KINDS`."""
    is_chosen: bool
    params: Mapping[str, Value]
    """Of the space's knobs; empty for a reference, which lies outside the space."""
    values: tuple[float, ...] | None
    """None where it was stopped."""
    shown: Row | None
    """The same with what stands beside an objective."""
    curve: Curve
    """Validation loss by step."""
    cost: Cost
    note: str = ""
    """Why it was stopped, or where it comes from."""


def shown_runs(record: StudyRecord) -> list[ShownRun]:
    """All runs in the order in which they are drawn: what matters most comes last, and lies on top."""
    runs = [
        *(_finished(trial, record) for trial in record.finished),
        *(_stopped(trial, record) for trial in record.stopped),
        *(_reference(reference, record) for reference in record.references),
    ]
    return sorted(runs, key=lambda run: (run.is_chosen, DRAWN_FROM_BELOW.index(run.kind)))


def inspected(runs: list[ShownRun], record: StudyRecord) -> list[dict[str, object]]:
    """What the page shows of a run that is pointed at, in the order of the trials."""
    names = list(map(shown_name, shown_figures(record)))
    return [
        {
            "key": run.key,
            "title": f"{run.title}: {KINDS[run.kind].words}" + (", chosen" if run.is_chosen else ""),
            "note": run.note,
            "values": [
                *([name, show(value)] for name, value in zip(names, run.shown or (), strict=False)),
                *([address, show(value)] for address, value in run.params.items()),
                ["trained", f"{run.cost.steps:,} steps, {minutes(run.cost.seconds)}"],
            ],
        }
        for run in in_order(runs)
    ]


def in_order(runs: list[ShownRun]) -> list[ShownRun]:
    """By number; references last."""
    return sorted(runs, key=lambda run: (run.kind == "reference", int(run.key) if run.key.isdigit() else 0))


def minutes(seconds: float) -> str:
    """`48 s`, `12.3 min`, `5.1 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _finished(trial: Run, record: StudyRecord) -> ShownRun:
    kind = "baseline" if trial.is_baseline else "front" if trial.number in record.front else "other"
    note = ", ".join(filter(None, (trial.name, trial.source and f"taken from {trial.source}")))
    is_chosen = trial.number == record.choice.trial.number
    key, title, shown = str(trial.number), f"Trial {trial.number}", shown_values(record, trial)
    return ShownRun(
        key, title, kind, is_chosen, trial.params, trial.values, shown, *_training(trial.digest, record), note
    )


def _stopped(trial: Run, record: StudyRecord) -> ShownRun:
    key, title, note = str(trial.number), f"Trial {trial.number}", f"at step {trial.step}: {trial.reason}"
    return ShownRun(key, title, "stopped", False, trial.params, None, None, *_training(trial.digest, record), note)


def _reference(reference: Run, record: StudyRecord) -> ShownRun:
    key, title = f"reference {reference.name}", f"Reference {reference.name}"
    shown = shown_values(record, reference)
    return ShownRun(key, title, "reference", False, {}, reference.values, shown, *_training(reference.digest, record))


def _training(digest: str, record: StudyRecord) -> tuple[Curve, Cost]:
    progress = record.progress(digest)
    return loss_curve(progress), cost_of(progress)
