"""Export of a study's trial: which one, its model card, and where the folder goes."""

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from study.choose import choose
from study.config import StudyConfig
from study.storage import finished_trials, load_study
from study.table import goal_of, show, shown_name
from study.trials import FinishedTrial, baseline_of
from wake2vec import NUMBERS, ConfigError, RunResult, WorkFolder, export_folder, read_result


@dataclass(frozen=True)
class Exported:
    trial: int
    reason: str
    folder: Path
    logged_loss: float
    reloaded_loss: float


def export_trial(config: StudyConfig, folder: Path, number: int | None, target: Path | None) -> Exported:
    """Export trial `number`, or the one that the choice rule takes, to `target` or `exports/<study>-trial-<number>`.

    Raises:
        Wake2VecError: no such study or trial, or the export isn't what was trained.
    """
    trials = finished_trials(load_study(folder, config.study.name))
    if not trials:
        raise ConfigError(f"the study {config.study.name} has no trial with a result yet")
    chosen, reason = _pick(trials, config, number)
    result, work = _read(folder, chosen)
    target = target or folder.parent / "exports" / f"{config.study.name}-trial-{chosen.number}"
    baseline = baseline_of(trials)
    card = model_card(config, chosen, result, baseline, _read(folder, baseline)[0], reason)
    loss = export_folder(result, work, target, card)
    return Exported(chosen.number, reason, target, result.numbers["validation.loss"] or 0.0, loss)


def model_card(
    config: StudyConfig,
    trial: FinishedTrial,
    result: RunResult,
    baseline: FinishedTrial,
    baseline_result: RunResult,
    reason: str,
) -> str:
    """The export's README: what it is, how it was made, every figure beside the baseline's."""
    template = Environment(loader=PackageLoader("study"), autoescape=False, undefined=StrictUndefined).get_template(
        "model_card.md"
    )
    objectives = [
        (shown_name(objective), goal_of(objective), show(before), show(after))
        for objective, before, after in zip(config.study.objectives, baseline.values, trial.values, strict=True)
    ]
    figures = [
        (address, meaning, _shown(baseline_result.numbers[address]), _shown(result.numbers[address]))
        for address, meaning in NUMBERS.items()
        if not address.startswith("vocabulary.")
    ]
    return template.render(
        study=config.study.name,
        trial=trial,
        result=result,
        reason=reason,
        objectives=objectives,
        figures=figures,
        audit=result.audit.model_dump(),
    )


def _pick(trials: list[FinishedTrial], config: StudyConfig, number: int | None) -> tuple[FinishedTrial, str]:
    if number is None:
        choice = choose(trials, config)
        return choice.trial, choice.reason
    for trial in trials:
        if trial.number == number:
            return trial, f"trial {number} was asked for"
    known = ", ".join(str(trial.number) for trial in trials)
    raise ConfigError(f"the study {config.study.name} has no trial {number} with a result: give one of {known}")


def _read(folder: Path, trial: FinishedTrial) -> tuple[RunResult, WorkFolder]:
    work = WorkFolder(folder / "trials" / trial.digest)
    if not work.result_path.exists():
        raise ConfigError(f"the result of trial {trial.number} is gone: {work.path} holds none; run `make study` again")
    return read_result(work), work


def _shown(figure: float | None) -> str:
    return "undefined" if figure is None else show(figure)
