"""What the reading commands print as JSON, in full precision: docs/terminal.md has the keys."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from study.names import Beside
from study.noise import Interval
from study.record import StudyRecord
from study.runs import Role, Run
from study.shown import shown_figures, shown_intervals
from study.terminal.differences import judged
from study.terminal.figures import relative_differences
from study.terminal.lookup import kind_of, row_if_known, step_of
from study.terminal.pair import Pair
from study.terminal.status import Line, Status
from study.trials import beats_baseline
from wake2vec import HEADLINE, METRICS, READ_FIRST, null_of

Content = dict[str, Any]


def as_json(content: object) -> str:
    """Figures that aren't finite are null: JSON knows no others."""
    return json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False)


def status_content(status: Status) -> Content:
    return asdict(status)


def studies_content(lines: Iterable[Line]) -> Content:
    return {"studies": [asdict(line) for line in lines]}


def list_content(record: StudyRecord, trials: Sequence[Run], references: Sequence[Run]) -> Content:
    return {
        "study": record.config.study.name,
        "knobs": list(record.config.study.space),
        "objectives": {objective.name: objective.goal for objective in record.config.study.objectives},
        "trials": [run_content(record, run) for run in trials],
        "references": [run_content(record, run) for run in references],
    }


def show_content(record: StudyRecord, run: Run, pair: Pair | None) -> Content:
    result = record.result(run.digest) if run.values else None
    return {
        "study": record.config.study.name,
        "trial": run_content(record, run),
        "against_baseline": None if pair is None else _compared(record, pair)[0],
        "beside": None if pair is None else _compared(record, pair)[1],
        "step": None if pair is None else pair.step,
        "bounds": _bounds_content(record, run),
        "figures": None if result is None else {address: result.numbers[address] for address in (*HEADLINE, *METRICS)},
        "issues": None
        if result is None
        else {
            address: {"value": result.numbers[address], "null": null_of(address, result.numbers)}
            for address in READ_FIRST
        },
        "device": None if result is None else result.computed.device,
        "work_folder": None if not run.digest else str(record.work_folder(run.digest).path),
        "samples": [] if result is None else result.samples,
    }


def compare_content(record: StudyRecord, pair: Pair) -> Content:
    return {
        "study": record.config.study.name,
        "trials": [run_content(record, pair.before), run_content(record, pair.after)],
        "step": pair.step,
        "knobs": {address: list(values) for address, values in pair.knobs.items()},
        "objectives": _compared(record, pair)[0],
        "beside": _compared(record, pair)[1],
        "figures": {
            address: {"values": [own[address] for own in pair.numbers], "relative": relative}
            for address, relative in relative_differences(*pair.numbers)
        },
    }


def run_content(record: StudyRecord, run: Run) -> Content:
    """One trial or reference."""
    is_finished = run.is_finished_trial
    intervals = shown_intervals(record, run) if is_finished else []
    row = row_if_known(record, run)
    objectives, beside = (None, None) if row is None else _split(record, row)
    cost = record.cost(run.digest) if run.digest else None
    return {
        "number": None if run.role is Role.REFERENCE else run.number,
        "name": run.name or None,
        "kind": kind_of(run),
        "is_baseline": is_finished and run.is_baseline,
        "is_chosen": is_finished and run.number == record.choice.trial.number,
        "is_on_front": is_finished and run.number in record.front,
        "beats_baseline": is_finished and beats_baseline(run, record.baseline, record.config),
        "keeps_bounds": run.is_feasible if is_finished else None,
        "source": run.source or None,
        "params": run.params,
        "objectives": objectives,
        "beside": beside,
        "seeds": None
        if not intervals or intervals[0].count < 2
        else _split(record, list(map(_interval_content, intervals)))[0],
        "step": step_of(run, record),
        "seconds": None if cost is None else cost.seconds,
        "digest": run.digest or None,
        "reason": run.reason or None,
    }


def _compared(record: StudyRecord, pair: Pair) -> tuple[Content, Content]:
    """The objectives, and the figures that stand beside one."""
    return _split(
        record,
        [
            {
                "values": [before.mean, after.mean],
                "difference": _interval_content(difference),
                "verdict": judged(figure, difference) or None,
            }
            for figure, before, after, difference in zip(
                shown_figures(record), *pair.means, pair.differences, strict=True
            )
        ],
    )


def _split(record: StudyRecord, row: Sequence[Any]) -> tuple[Content, Content]:
    """Under their names: what is of an objective, and what is of a figure that stands beside one."""
    pairs = list(zip(shown_figures(record), row, strict=True))
    return (
        {figure.name: content for figure, content in pairs if not isinstance(figure, Beside)},
        {figure.name: content for figure, content in pairs if isinstance(figure, Beside)},
    )


def _bounds_content(record: StudyRecord, run: Run) -> list[Content]:
    violations = run.violations if run.is_finished_trial else ()
    pairs = zip(record.config.study.bounds, violations, strict=False)
    return [{"bound": str(bound), "violation": by, "is_kept": by <= 0} for bound, by in pairs]


def _interval_content(interval: Interval) -> Content:
    return asdict(interval)


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
