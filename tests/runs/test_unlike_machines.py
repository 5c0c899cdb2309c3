"""Trials of one study that were computed on unlike machines are told; a profile may demand a device."""

from pathlib import Path

import pytest
import torch
from conftest import Silent

from study.config import StudyConfig
from study.engine.drive import drive
from study.engine.driver import StudyOutcome
from study.runs.compare import shown_cautions
from study.runs.reader import read_record
from study.runs.record import StudyRecord
from wake2vec import (
    ConfigError,
    RunConfig,
    RunResult,
    WorkFolder,
    export_folder,
    read_result,
    remeasure,
    run,
    write_result,
)
from wake2vec.result import stored_content


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


def test_a_demanded_device_is_refused_where_it_isnt(
    study_config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def on(device: str) -> StudyConfig:
        machine = study_config.run.machine.model_copy(update={"device": device})
        return study_config.model_copy(update={"run": study_config.run.model_copy(update={"machine": machine})})

    folder = tmp_path / "mlruns"
    with pytest.raises(ConfigError, match=r"torch finds none on this machine; .* or give machine\.device=auto"):
        drive(on("cuda"), folder, Silent())
    assert not folder.exists()
    assert drive(on("auto"), folder, Silent()).added == study_config.study.trials
    assert drive(on("cpu"), folder, Silent()).added == 0, "it is the same study"


def test_what_was_trained_on_a_demanded_gpu_is_measured_again_and_exported_without_one(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    demanding = config.model_copy(update={"machine": config.machine.model_copy(update={"device": "cuda"})})
    with pytest.raises(ConfigError, match=r"machine\.device=cuda"):
        run(demanding, tmp_path)
    work = WorkFolder(tmp_path / run(config, tmp_path).digest)
    content = stored_content(work)
    content["config"]["machine"]["device"] = "cuda"
    gap = content["numbers"].pop("teaching.hidden_gap")
    write_result(work, content)
    remeasure(work, ["teaching.hidden_gap"], demanding)
    result = read_result(work)
    assert (result.config.machine.device, result.numbers["teaching.hidden_gap"]) == ("cuda", gap)
    export_folder(result, work, tmp_path / "out", "card")
    assert (tmp_path / "out" / "model.safetensors").exists()
