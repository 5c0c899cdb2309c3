"""What the reading commands print as JSON, in full precision: docs/terminal.md has the keys."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from study.cli.status import bests, device_of, last_seen_s, spent, steps_asked
from study.format import COMMANDS, Beside, goal_of
from study.runs.compare import Pair, relative_differences, shown_figures, shown_intervals, shown_values
from study.runs.judge import is_done, kind_of, standing, verdict
from study.runs.record import StudyRecord
from study.runs.run import Role, Run, State
from study.show.tables import step_of
from wake2vec import HEADLINE, READ_FIRST, null_of

Content = dict[str, Any]


def as_json(content: object) -> str:
    """Figures that aren't finite are null: JSON knows no others. What is a command to a terminal is escaped."""
    text = json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False)
    return COMMANDS.sub(lambda found: "\n" if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def status_content(record: StudyRecord, driver: str | None) -> Content:
    study, companions = record.config.study, [companion.state for companion in record.companions]
    choice = record.choice if record.finished else None
    return {
        "study": study.name,
        "folder": str(record.folder),
        "driver": driver,
        "is_done": is_done(record),
        "asked": study.trials,
        "ended": record.ended,
        "finished": len(record.finished),
        "stopped": len(record.stopped),
        "failed": len(record.failed),
        "damaged": len(record.damaged),
        "imported": sum(bool(trial.source) for trial in record.finished),
        "open": [
            {
                "number": run.number,
                "step": step_of(run, record),
                "steps": steps_asked(run, record),
                "last_record_s": last_seen_s(run, record),
            }
            for run in record.running
        ],
        "companions": len(companions),
        "companions_done": companions.count(State.FINISHED),
        "companions_failed": companions.count(State.FAILED),
        "spent": {**asdict(spent(record)), "device": device_of(record)},
        "hypervolume": record.hypervolumes[-1] if choice else None,
        "trials_without_gain": record.trials_without_gain if choice else None,
        "patience": study.patience,
        "chosen": choice and choice.trial.number,
        "reason": choice and choice.reason,
        **_reached(record),
    }


def list_content(record: StudyRecord, runs: Sequence[Run]) -> Content:
    return {
        "study": record.config.study.name,
        "knobs": list(record.config.study.space),
        "objectives": {objective.name: objective.goal for objective in record.config.study.objectives},
        "trials": [_run(record, run) for run in runs],
        "references": [_run(record, run) for run in record.references],
    }


def show_content(record: StudyRecord, run: Run, pair: Pair | None) -> Content:
    result = record.result(run.digest) if run.values else None
    against, beside = (None, None) if pair is None else _compared(record, pair)
    bounds = zip(record.config.study.bounds, run.violations if run.is_finished_trial else (), strict=False)
    return {
        "study": record.config.study.name,
        "trial": _run(record, run),
        "against_baseline": against,
        "beside": beside,
        "step": pair and pair.step,
        "bounds": [{"bound": str(bound), "violation": by, "is_kept": by <= 0} for bound, by in bounds],
        "figures": result and {address: result.numbers[address] for address in (*HEADLINE, *result.figures)},
        "issues": result
        and {
            address: {"value": result.numbers[address], "null": null_of(address, result.numbers)}
            for address in READ_FIRST
        },
        "device": result and result.computed.device,
        "work_folder": str(record.work_folder(run.digest).path) if run.digest else None,
        "is_whole": record.checked(run).is_whole if result else None,
        "samples": result.samples if result else [],
    }


def compare_content(record: StudyRecord, pair: Pair) -> Content:
    objectives, beside = _compared(record, pair)
    return {
        "study": record.config.study.name,
        "trials": [_run(record, pair.before), _run(record, pair.after)],
        "step": pair.step,
        "knobs": pair.knobs,
        "objectives": objectives,
        "beside": beside,
        "figures": {
            address: {"values": [own[address] for own in pair.numbers], "relative": relative}
            for address, relative in relative_differences(*pair.numbers)
        },
    }


def _run(record: StudyRecord, run: Run) -> Content:
    """One trial or reference."""
    intervals = shown_intervals(record, run) if run.is_finished_trial else []
    is_repeated = bool(intervals) and intervals[0].count > 1
    objectives, beside = _split(record, shown_values(record, run)) if run.values else (None, None)
    stands = standing(run, record)
    return {
        "number": None if run.role is Role.REFERENCE else run.number,
        "name": run.name or None,
        "kind": kind_of(run),
        "is_baseline": stands.is_baseline,
        "is_chosen": stands.is_chosen,
        "is_on_front": stands.is_on_front,
        "beats_baseline": stands.beats_baseline,
        "keeps_bounds": run.is_feasible if run.is_finished_trial else None,
        "source": run.source or None,
        "params": run.params,
        "objectives": objectives,
        "beside": beside,
        "seeds": _split(record, [asdict(interval) for interval in intervals])[0] if is_repeated else None,
        "step": step_of(run, record),
        "seconds": record.cost(run.digest).seconds if run.digest else None,
        "digest": run.digest or None,
        "reason": run.reason or None,
    }


def _reached(record: StudyRecord) -> Content:
    """Where the study began in each objective, and the best that it has; none before the first result."""
    if not record.finished:
        return {"objectives": [], "beside": []}
    rows = zip(shown_figures(record), shown_values(record, record.baseline), bests(record), strict=True)
    objectives, beside = _split(
        record,
        [
            {"objective": figure.name, "goal": goal_of(figure), "baseline": before, "best": best and asdict(best)}
            for figure, before, best in rows
        ],
    )
    return {"objectives": [*objectives.values()], "beside": [*beside.values()]}


def _compared(record: StudyRecord, pair: Pair) -> tuple[Content, Content]:
    """The objectives, and the figures that stand beside one."""
    rows = zip(shown_figures(record), *pair.means, pair.differences, strict=True)
    return _split(
        record,
        [
            {
                "values": [before.mean, after.mean],
                "difference": asdict(difference),
                "verdict": verdict(figure, difference) or None,
            }
            for figure, before, after, difference in rows
        ],
    )


def _split(record: StudyRecord, row: Sequence[Any]) -> tuple[Content, Content]:
    """Under their names: what is of an objective, and what is of a figure that stands beside one."""
    pairs = list(zip(shown_figures(record), row, strict=True))
    return (
        {figure.name: content for figure, content in pairs if not isinstance(figure, Beside)},
        {figure.name: content for figure, content in pairs if isinstance(figure, Beside)},
    )


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
