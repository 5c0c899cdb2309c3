"""A study in words: figures as texts, and its outcome in Markdown for MLflow and the report."""

import math
from collections.abc import Sequence

from study.choose import Choice
from study.config import StudyConfig
from study.format import Beside
from study.runs import Run
from study.settings import Objective
from study.trials import baseline_of, beats_baseline, front_numbers

UNDEFINED = "–"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; bars inside cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def shown_trials(trials: Sequence[Run], config: StudyConfig) -> list[Run]:
    """The baseline, then the front in order of the first objective."""
    front = front_numbers(trials, config)
    sign = 1 if config.study.objectives[0].direction == "minimize" else -1
    others = [trial for trial in trials if trial.number in front and not trial.is_baseline]
    return [
        *(trial for trial in trials if trial.is_baseline),
        *sorted(others, key=lambda trial: sign * trial.values[0]),
    ]


def mark_of(trial: Run, trials: Sequence[Run], choice: Choice, config: StudyConfig) -> str:
    if trial.is_baseline:
        return "baseline"
    if trial.number == choice.trial.number:
        return "chosen"
    return "beats it" if beats_baseline(trial, baseline_of(trials), config) else ""


def verdict(objective: Objective, before: float, after: float) -> str:
    """Empty where a figure is undefined."""
    if math.isnan(before) or math.isnan(after):
        return ""
    if before == after:
        return "equal"
    return "better" if (after < before) == (objective.direction == "minimize") else "worse"


def goal_of(objective: Objective) -> str:
    """`minimize`, `to 0`; of what is shown beside an objective, `no goal`."""
    if isinstance(objective, Beside):
        return "no goal"
    return objective.goal if isinstance(objective.goal, str) else f"to {objective.goal:g}"


def show(value: float | int | str | bool, digits: int = 4) -> str:
    """A figure or setting as text, NaN as undefined; counts are whole: `33,750`, not `3.375e+04`."""
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return UNDEFINED
    is_count = value.is_integer() and 10**digits <= abs(value) < 2**53  # from there on every float is whole
    return f"{value:,.0f}" if is_count else f"{value:.{digits}g}"


def duration(seconds: float) -> str:
    """`0.14 s`, `12 s`, `4 min`, `7.8 h`."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
