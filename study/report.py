"""The report: one self-contained HTML page about a study."""

import base64
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from study.choose import Choice
from study.config import StudyConfig
from study.record import read_record
from study.table import goal_of, mark_of, show, shown_name, shown_trials, verdict
from study.trials import FinishedTrial, baseline_of
from wake2vec import RunResult, WorkFolder, read_result, write_atomic


def write_report(config: StudyConfig, folder: Path) -> Path:
    """Write `<folder>/studies/<study>/report.html` and give its path.

    Raises:
        ConfigError: no such study, or no trial of it has a result.
    """
    record = read_record(config, folder)
    page = render(config, folder, record.finished, record.choice)
    path = folder / "studies" / config.study.name / "report.html"
    write_atomic(path, page.encode())
    return path


def render(config: StudyConfig, folder: Path, trials: list[FinishedTrial], choice: Choice) -> str:
    environment = Environment(loader=PackageLoader("study"), autoescape=True, undefined=StrictUndefined)
    baseline = baseline_of(trials)
    objectives = config.study.objectives
    pictures = folder / "studies" / config.study.name
    rows = [
        (
            trial.number,
            *map(show, trial.params.values()),
            *map(show, trial.values),
            mark_of(trial, trials, choice, config),
        )
        for trial in shown_trials(trials, config)
    ]
    comparison = [
        (
            shown_name(objective),
            goal_of(objective),
            show(before),
            show(after),
            verdict(objective, before, after),
        )
        for objective, before, after in zip(objectives, baseline.values, choice.trial.values, strict=True)
    ]
    return environment.get_template("report.html").render(
        config=config,
        trials=trials,
        choice=choice,
        baseline=baseline,
        header=["trial", *config.study.space, *map(shown_name, objectives), ""],
        rows=rows,
        comparison=comparison,
        front=_data_uri(pictures / "front.png"),
        curves=_data_uri(pictures / "curves.png"),
        results=[
            (trial, *_side(folder, trial))
            for trial in {baseline.number: baseline, choice.trial.number: choice.trial}.values()
        ],
    )


def _side(folder: Path, trial: FinishedTrial) -> tuple[RunResult, str]:
    work = WorkFolder(folder / "trials" / trial.digest)
    result = read_result(work)
    return result, _data_uri(work.path / "embedding.png")


def _data_uri(picture: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
