"""The export, loaded with nothing of ours."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from study.config import StudyConfig
from study.driver import StudyOutcome
from study.export import export_trial
from wake2vec import ConfigError, ExportError, RunConfig, WorkFolder, export_folder, prepare, read_result, run

Done = tuple[Path, StudyOutcome]


def tree_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_plain_transformers_loads_it_with_the_logged_loss_and_it_writes(
    done: Done, study_config: StudyConfig, tmp_path: Path
) -> None:
    folder, outcome = done
    exported = export_trial(study_config, folder, None, tmp_path / "best")
    assert exported.trial == outcome.choice.trial.number
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "best")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "best")
    run_config = study_config.run_config(outcome.choice.trial.params)
    material = prepare(run_config)
    ids = material.corpus.validation["input_ids"][:]
    with torch.no_grad():
        loss = model(input_ids=ids, labels=ids).loss.item()
    assert loss == pytest.approx(exported.logged_loss, abs=1e-3)
    assert loss == pytest.approx(outcome.choice.trial.values[0], abs=1e-3)
    prompt = tokenizer("Enter the King", return_tensors="pt", add_special_tokens=False)
    assert model.generate(**prompt, max_new_tokens=4).shape[1] > prompt["input_ids"].shape[1]
    card = (tmp_path / "best" / "README.md").read_text()
    assert outcome.choice.trial.digest in card
    assert "| geometry.collapse_share |" in card


def test_exported_twice_it_is_the_same_and_another_export_is_not_overwritten(
    done: Done, study_config: StudyConfig, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    export_trial(study_config, done[0], 0, target)
    before = tree_bytes(target)
    export_trial(study_config, done[0], 0, target)
    assert tree_bytes(target) == before
    with pytest.raises(ExportError, match=r"holds another export: remove it, or give another OUT="):
        export_trial(study_config, done[0], 1, target)
    assert tree_bytes(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_result_of_another_version_is_refused_in_one_line(config: RunConfig, tmp_path: Path) -> None:
    result = run(config, tmp_path / "trials")
    work = WorkFolder(tmp_path / "trials" / result.digest)
    work.write_text("result.json", json.dumps({"format": 1, "sample": "of old"}))
    with pytest.raises(ConfigError, match=r"results must have the format \d+: .*result.json has 1, of another version"):
        read_result(work)


def test_an_export_that_isnt_the_trained_model_never_appears(config: RunConfig, tmp_path: Path) -> None:
    result = run(config, tmp_path / "trials")
    work = WorkFolder(tmp_path / "trials" / result.digest)
    work.write_arrays("rows", {"rows": work.read_arrays("rows")["rows"] * 1.1})
    with pytest.raises(ExportError, match="must have the logged validation loss"):
        export_folder(result, work, tmp_path / "out", "card")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["word", "space"])
@pytest.mark.parametrize("rows", ["all", "new"])
def test_all_forms_and_rows_export(vary: Callable[..., RunConfig], form: str, rows: str, tmp_path: Path) -> None:
    config = vary(vocabulary={"form": form}, train={"rows": rows})
    result = run(config, tmp_path / "trials")
    loss = export_folder(result, WorkFolder(tmp_path / "trials" / result.digest), tmp_path / "out", "card")
    assert loss == pytest.approx(result.numbers["validation.loss"], abs=1e-4)


def test_a_trial_that_isnt_there_is_refused(done: Done, study_config: StudyConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no trial 99 with a result: give one of 0, 1"):
        export_trial(study_config, done[0], 99, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"no study small in .*: run `make study` first"):
        export_trial(study_config, tmp_path, None, tmp_path / "out")
