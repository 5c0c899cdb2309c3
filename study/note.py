"""The notes that MLflow shows of a study, in Markdown: what came of it, links that open on it, commands."""

import math
from collections.abc import Sequence

from study.config import PROFILES
from study.format import short_label, shown_name
from study.noise import Interval
from study.record import StudyRecord
from study.runs import Run
from study.show.values import shown_cautions, shown_differences, shown_figures, shown_intervals, shown_values
from study.table import UNDEFINED, goal_of, mark_of, markdown_table, show, shown_trials
from study.tracking import Links

MOST_ROWS = 20
"""Of the front, in a note: MLflow cuts a run's note at 8,000 characters."""


def experiment_note(record: StudyRecord, links: Links) -> str:
    """What stands above the list of runs: the outcome in two lines, and where to look."""
    return "\n\n".join([_outcome(record), _links(links), f"Choice: {record.choice.reason}."])


def study_note(record: StudyRecord, links: Links, pictures: Sequence[str]) -> str:
    """Of the study's own run; `pictures` are addresses of images."""
    parts = [
        _outcome(record),
        _links(links),
        f"**Choice**: {record.choice.reason}.{_runners_up(record)}",
        *_bounds(record),
        "\n".join(_front(record)),
        *shown_cautions(record),
        *_seeds(record),
        *_references(record),
        *(f"![]({picture})" for picture in pictures),
        _commands(record),
    ]
    return "\n\n".join(parts)


def _outcome(record: StudyRecord) -> str:
    goals = "; ".join(f"{shown_name(objective)} {goal_of(objective)}" for objective in record.config.study.objectives)
    counts = [f"{len(record.finished)} trials with a result"]
    counts += [f"{len(record.stopped)} stopped early"] if record.stopped else []
    counts += [f"{len(record.failed)} failed"] if record.failed else []
    return (
        f"**Study {record.config.study.name}**: {', '.join(counts)}; {len(record.front)} on the front; "
        f"chosen: **trial {record.choice.trial.number}**. Objectives: {goals}."
    )


def _links(links: Links) -> str:
    """The page of an experiment opens on an overview of something else."""
    return (
        f"Open: [all trials, sorted]({links.sorted_list}) · [charts]({links.charts}) · "
        f"[comparison]({links.comparison}) · [study: pictures and note]({links.study})"
    )


def _runners_up(record: StudyRecord) -> str:
    numbers = [str(trial.number) for trial in record.choice.runners_up]
    return f" Runners-up: trial {', '.join(numbers)}." if numbers else ""


def _bounds(record: StudyRecord) -> list[str]:
    bounds = record.config.study.bounds
    if not bounds:
        return []
    broken = sum(not trial.is_feasible for trial in record.finished)
    listed = ", ".join(f"`{bound}`" for bound in bounds)
    return [f"**Bounds**: {listed}; {broken} of {len(record.finished)} trials break one and can't be chosen."]


def _front(record: StudyRecord) -> list[str]:
    config, trials = record.config, record.finished
    header = ["trial", *map(shown_name, shown_figures(record)), *map(short_label, config.study.space), ""]
    shown = shown_trials(trials, config)
    kept = [*shown[:MOST_ROWS], *(trial for trial in shown[MOST_ROWS:] if trial.number == record.choice.trial.number)]
    rows = [
        [
            str(trial.number),
            *map(show, shown_values(record, trial)),
            *map(show, trial.params.values()),
            _mark(trial, record),
        ]
        for trial in kept
    ]
    more = [f"\n{len(shown) - len(kept)} more trials of the front: see the list."] if len(shown) > len(kept) else []
    return [*_table(header, rows), *more]


def _mark(trial: Run, record: StudyRecord) -> str:
    marks = [mark_of(trial, record.finished, record.choice, record.config), trial.name]
    marks += [] if trial.is_feasible else ["breaks a bound"]
    return ", ".join(mark for mark in marks if mark)


def _seeds(record: StudyRecord) -> list[str]:
    """Intervals of baseline and chosen trial, and of their difference, once both were run with other seeds."""
    baseline, chosen = record.baseline, record.choice.trial
    own, theirs = shown_intervals(record, chosen), shown_intervals(record, baseline)
    if min(own[0].count, theirs[0].count) < 2:
        return []
    rows = [
        [shown_name(figure), _interval(before), _interval(after), _interval(difference), _told(difference)]
        for figure, before, after, difference in zip(
            shown_figures(record), theirs, own, shown_differences(record, baseline, chosen), strict=True
        )
    ]
    header = ["", "baseline", f"trial {chosen.number}", "difference, seed by seed", ""]
    title = f"**Over {own[0].count} seeds**, means with 95 % intervals:"
    return ["\n".join([title, "", *_table(header, rows)])]


def _told(difference: Interval) -> str:
    return "within the noise" if difference.holds(0.0) else ""


def _interval(found: Interval) -> str:
    if math.isnan(found.mean):
        return UNDEFINED
    return f"{found.mean:.4g} ({found.low:.4g} to {found.high:.4g})"


def _references(record: StudyRecord) -> list[str]:
    """The recipes outside the search space."""
    if not record.references:
        return []
    header = ["reference", *map(shown_name, shown_figures(record))]
    rows = [[reference.name, *map(show, shown_values(record, reference))] for reference in record.references]
    return ["\n".join(_table(header, rows))]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """With a space after each cell: MLflow's page sets columns side by side without any."""
    return markdown_table(_padded(header), [_padded(row) for row in rows])


def _padded(cells: Sequence[str]) -> list[str]:
    return [f"{cell}&ensp;" for cell in cells]


def _commands(record: StudyRecord) -> str:
    name = record.config.study.name
    known = {path.stem for path in PROFILES.glob("*.yaml")}
    profile = "" if name == "tiny" else f" PROFILE={name}" if name in known else " PROFILE=<its YAML>"
    return (
        f"Commands: `make report{profile}` one page about the study; `make export{profile}` trial "
        f"{record.choice.trial.number} as a model folder; `make study{profile} TRIALS={record.ended + 8}` more trials."
    )
