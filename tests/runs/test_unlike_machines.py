"""Trials of one study that were computed on unlike machines are told."""

from pathlib import Path

import pytest

from study.config import StudyConfig
from study.engine.driver import StudyOutcome
from study.runs.compare import shown_cautions
from study.runs.reader import read_record
from study.runs.record import StudyRecord
from wake2vec import RunResult


def test_trials_of_another_device_or_precision_are_named(
    done: tuple[Path, StudyOutcome], study_config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, read = read_record(study_config, done[0]), StudyRecord.result
    alike = shown_cautions(record)
    odd = record.finished[2].digest

    def result(self: StudyRecord, digest: str) -> RunResult:
        own = read(self, digest)
        if digest != odd:
            return own
        return own.model_copy(update={"computed": own.computed.model_copy(update={"precision": "float16"})})

    monkeypatch.setattr(StudyRecord, "result", result)
    (told,) = [caution for caution in shown_cautions(record) if caution not in alike]
    device = read(record, odd).computed.device
    assert told == (
        f"Trials were computed on {device} in float32, but trial 2 on {device} in float16: they differ by its "
        "rounding too."
    )
