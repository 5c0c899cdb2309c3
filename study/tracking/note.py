"""The notes that MLflow shows of a study, in Markdown: what came of it, links that open on it, commands."""

from collections.abc import Sequence

from study.config import PROFILES
from study.format import goal_of, shown_name
from study.runs.compare import pair_of, shown_cautions
from study.runs.judge import front_runs
from study.runs.record import StudyRecord
from study.show.sentences import kept_told
from study.show.table import Table, first_rows, in_markdown
from study.show.tables import comparison_table, front_table, legend, references_table
from study.tracking.views import Links

MOST_ROWS = 12
"""Of the front, in a note: MLflow cuts a run's note at 8,000 characters."""


def experiment_note(record: StudyRecord, links: Links) -> str:
    """What stands above the list of runs: the outcome in two lines, and where to look."""
    return "\n\n".join([_outcome(record), _links(links), f"Choice: {record.choice.reason}."])


def study_note(record: StudyRecord, links: Links, pictures: Sequence[str]) -> str:
    """Of the study's own run; `pictures` are addresses of images."""
    front, references = front_runs(record), references_table(record)
    more = len(front) - MOST_ROWS
    parts = [
        _outcome(record),
        _links(links),
        f"**Choice**: {record.choice.reason}.{_runners_up(record)}",
        *_bounds(record),
        *_comparison(record),
        _shown(first_rows(front_table(record), min(len(front), MOST_ROWS))),
        *([f"{more} more trials of the front: see the list."] if more > 0 else []),
        *shown_cautions(record),
        *([_shown(references)] if references else []),
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


def _comparison(record: StudyRecord) -> list[str]:
    """The chosen trial against the baseline."""
    pair = pair_of(record, record.baseline, record.choice.trial)
    table = comparison_table(record, pair)
    kept = kept_told(record, record.baseline, record.choice.trial)
    told = " ".join(filter(None, (legend(pair.differences, record.config.study.seeds), kept)))
    return [f"**{table.title}**. {told}", _shown(table)]


def _shown(table: Table) -> str:
    """With a space after each cell: MLflow's page sets columns side by side without any."""
    return in_markdown(table, "&ensp;")


def _commands(record: StudyRecord) -> str:
    name = record.config.study.name
    known = {path.stem for path in PROFILES.glob("*.yaml")}
    profile = "" if name == "tiny" else f" PROFILE={name}" if name in known else " PROFILE=<its YAML>"
    return (
        f"Commands: `make report{profile}` one page about the study; `make export{profile}` trial "
        f"{record.choice.trial.number} as a model folder; `make study{profile} TRIALS={record.ended + 8}` more trials."
    )
