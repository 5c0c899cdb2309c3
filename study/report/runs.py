"""What the drawing files read of a run; it goes with them."""

from collections.abc import Mapping
from dataclasses import dataclass

from study.cost import Cost, loss_curve
from study.record import StudyRecord
from study.runs import Run, State
from study.settings import Value
from study.show.tables import key_of
from study.show.values import Row, shown_values

Curve = list[tuple[int, float]]
DRAWN_FROM_BELOW = ("stopped", "other", "reference", "front", "baseline")
WORDS = {
    "baseline": "Phase 1 baseline",
    "front": "on the front",
    "other": "not on the front",
    "stopped": "stopped early",
    "reference": "reference",
}


@dataclass(frozen=True)
class ShownRun:
    key: str
    title: str
    kind: str
    is_chosen: bool
    params: Mapping[str, Value]
    values: tuple[float, ...] | None
    shown: Row | None
    curve: Curve
    cost: Cost


def shown_runs(record: StudyRecord) -> list[ShownRun]:
    """All runs in the order in which they are drawn: what matters most comes last, and lies on top."""
    runs = [_shown(run, record) for run in (*record.finished, *record.stopped, *record.references)]
    return sorted(runs, key=lambda run: (run.is_chosen, DRAWN_FROM_BELOW.index(run.kind)))


def _shown(run: Run, record: StudyRecord) -> ShownRun:
    is_trial = run.is_finished_trial
    kind = "stopped" if run.state is State.STOPPED else "reference" if not is_trial else "other"
    if is_trial and run.number in record.front:
        kind = "front"
    return ShownRun(
        key_of(run),
        run.title if is_trial or kind == "stopped" else f"Reference {run.name}",
        "baseline" if is_trial and run.is_baseline else kind,
        is_trial and run.number == record.choice.trial.number,
        {} if kind == "reference" else run.params,
        run.values or None,
        shown_values(record, run) or None,
        loss_curve(record.progress(run.digest)),
        record.cost(run.digest),
    )


def in_order(runs: list[ShownRun]) -> list[ShownRun]:
    """By number; references last."""
    return sorted(runs, key=lambda run: (run.kind == "reference", int(run.key) if run.key.isdigit() else 0))


def unit_of(seconds: float) -> tuple[str, float]:
    """Name and seconds of the unit that so long a time is told in."""
    return ("hours", 3600.0) if seconds >= 7200 else ("minutes", 60.0) if seconds >= 120 else ("seconds", 1.0)
