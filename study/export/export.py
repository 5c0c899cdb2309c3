"""Export of a study's trial: which one, its model card, and where the folder goes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study.config import StudyConfig
from study.engine.measures import fetch_rows
from study.export.card import model_card
from study.runs.reader import read_record
from study.runs.record import StudyRecord
from study.runs.run import Run
from study.show.sentences import kept_told
from wake2vec import TEXT_FORMATS, ConfigError, export_folder


@dataclass(frozen=True)
class Exported:
    trial: int
    digest: str
    """Of the trial's configuration and inputs."""
    reason: str
    folder: Path
    logged_loss: float
    reloaded_loss: float
    checked: str
    """Of the trial's arrays, in words: they are as they were written, or no hash tells."""
    text_formats: tuple[str, ...]
    """In which the new rows were written, beside safetensors."""
    kept: str
    """Which step the rows are of, in words, where it isn't the last."""


def export_trial(
    config: StudyConfig,
    folder: Path,
    number: int | None,
    target: Path | None,
    text_formats: Sequence[str] | None = None,
    rights: str | None = None,
) -> Exported:
    """Export trial `number`, or the one that the choice rule takes, to `target` or `exports/<study>-trial-<number>`.

    `text_formats`: see `wake2vec.export_folder`. `rights`: a sentence for the model card.

    Raises:
        Wake2VecError: no such study or trial, or the export isn't what was trained.
    """
    record = read_record(config, folder)
    chosen, reason = _picked(record, number)
    fetch_rows(config, folder, chosen.digest)
    result = record.result(chosen.digest)
    target = target or folder.parent / "exports" / f"{config.study.name}-trial-{chosen.number}"
    card = model_card(record, chosen, reason, rights)
    done = export_folder(result, record.work_folder(chosen.digest), target, card, text_formats)
    checked = record.checked(chosen).words
    logged = result.numbers["validation.loss"] or 0.0
    kept = kept_told(record, chosen)
    return Exported(chosen.number, result.digest, reason, target, logged, done.loss, checked, done.text_formats, kept)


def picked_trial(config: StudyConfig, folder: Path, number: int | None) -> int:
    """The number of the trial that `export_trial` would export. Raises Wake2VecError: no such study or trial."""
    return _picked(read_record(config, folder), number)[0].number


def parse_formats(text: str) -> tuple[str, ...]:
    """`word2vec`, `projector`, both of them in any order, `both` or `none`, as names of text formats.

    Raises:
        ConfigError: another name.
    """
    names = tuple(dict.fromkeys(text.replace(",", " ").split()))
    whole = {("none",): (), ("both",): tuple(TEXT_FORMATS)}
    if names in whole:
        return whole[names]
    if not names or any(name not in TEXT_FORMATS for name in names):
        raise ConfigError(f"the new rows can be written as {', '.join(TEXT_FORMATS)}, both or none: not as {text!r}")
    return tuple(name for name in TEXT_FORMATS if name in names)


def _picked(record: StudyRecord, number: int | None) -> tuple[Run, str]:
    """The trial and why: the same words for the chosen one, whether it was named or not."""
    choice = record.choice
    if number is None or number == choice.trial.number:
        return choice.trial, choice.reason
    for trial in record.finished:
        if trial.number == number:
            return trial, f"trial {number} was asked for; the study's rule takes trial {choice.trial.number}"
    known = ", ".join(str(trial.number) for trial in record.finished)
    name = record.config.study.name
    raise ConfigError(f"the study {name} has no trial {number} with a result: give one of {known}")
