"""A study in words and tables: for the terminal, in 80 columns, and in Markdown for MLflow and the report."""

from collections.abc import Sequence

from rich.table import Table

from study.choose import Choice
from study.config import StudyConfig
from study.settings import Objective
from study.trials import FinishedTrial, baseline_of, beats_baseline, front_numbers


def front_table(trials: Sequence[FinishedTrial], choice: Choice, config: StudyConfig) -> Table:
    """The baseline and the front, sorted by the first objective."""
    title = f"Study {config.study.name}: baseline and front of {len(trials)} trials"
    table = Table(title=title, box=None, header_style="bold", width=80, padding=(0, 1, 0, 0))
    table.add_column("trial", justify="right")
    for label in [*map(short_label, config.study.space), *map(objective_label, config.study.objectives)]:
        table.add_column(label, justify="right")
    table.add_column("", no_wrap=True)
    for trial in shown_trials(trials, config):
        cells = [*(show(value, 3) for value in trial.params.values()), *map(show, trial.values)]
        table.add_row(str(trial.number), *cells, mark_of(trial, trials, choice, config))
    return table


def comparison_table(trials: Sequence[FinishedTrial], choice: Choice, config: StudyConfig) -> Table:
    """The chosen trial against the baseline, objective by objective."""
    baseline, chosen = baseline_of(trials), choice.trial
    table = Table(title=f"Trial {chosen.number} against the baseline", box=None, header_style="bold", width=80)
    for header in ("", "baseline", f"trial {chosen.number}", "difference", ""):
        table.add_column(header, justify="left" if not header else "right")
    for objective, before, after in zip(config.study.objectives, baseline.values, chosen.values, strict=True):
        table.add_row(
            shown_name(objective),
            show(before),
            show(after),
            f"{after - before:+.4f}",
            verdict(objective, before, after),
        )
    return table


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; bars inside cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def shown_trials(trials: Sequence[FinishedTrial], config: StudyConfig) -> list[FinishedTrial]:
    """The baseline, then the front in order of the first objective."""
    front = front_numbers(trials, config)
    sign = 1 if config.study.objectives[0].direction == "minimize" else -1
    others = [trial for trial in trials if trial.number in front and not trial.is_baseline]
    return [
        *(trial for trial in trials if trial.is_baseline),
        *sorted(others, key=lambda trial: sign * trial.values[0]),
    ]


def mark_of(trial: FinishedTrial, trials: Sequence[FinishedTrial], choice: Choice, config: StudyConfig) -> str:
    if trial.is_baseline:
        return "baseline"
    if trial.number == choice.trial.number:
        return "chosen"
    return "beats it" if beats_baseline(trial, baseline_of(trials), config) else ""


def verdict(objective: Objective, before: float, after: float) -> str:
    if before == after:
        return "equal"
    return "better" if (after < before) == (objective.direction == "minimize") else "worse"


def goal_of(objective: Objective) -> str:
    return objective.goal if isinstance(objective.goal, str) else f"to {objective.goal:g}"


def shown_name(objective: Objective) -> str:
    """`validation.loss`, `|geometry.norm_gap_d|`, `|x - 2|`."""
    if isinstance(objective.goal, str):
        return objective.result
    return f"|{objective.result}|" if objective.goal == 0 else f"|{objective.result} - {objective.goal:g}|"


def short_label(address: str) -> str:
    """The last part of an address, broken into words: a narrow column's head."""
    return address.rsplit(".", 1)[-1].replace("_", " ")


def objective_label(objective: Objective) -> str:
    label = short_label(objective.result)
    return label if isinstance(objective.goal, str) else f"|{label}|"


def show(value: float | int | str | bool, digits: int = 4) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)
