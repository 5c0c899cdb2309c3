import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import build_base
from safetensors.torch import load_file, save_file

from wake2vec.data.tokenizer import reference_rows
from wake2vec.errors import ModelError
from wake2vec.training.model import load_model, load_tokenizer, resolve_folder


@pytest.fixture
def folder(inputs: Path, tmp_path: Path) -> Path:
    """A copy of the base model that a test may spoil."""
    return Path(shutil.copytree(inputs / "model", tmp_path / "model"))


def edit_weights(folder: Path, change: object) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)  # type: ignore[operator]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_good_model_loads_in_float32(folder: Path) -> None:
    assert {weight.dtype for weight in load_model(folder).parameters()} == {torch.float32}


def test_missing_weights_are_refused(folder: Path) -> None:
    edit_weights(folder, lambda weights: weights.pop("model.norm.weight"))
    with pytest.raises(ModelError, match=r"the weights don't fit the model: .*model\.norm\.weight"):
        load_model(folder)


def test_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    edit_weights(folder, lambda weights: weights["model.norm.weight"].fill_(float("nan")))
    with pytest.raises(ModelError, match="all weights must be finite"):
        load_model(folder)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a base model has a config\.json"):
        load_model(tmp_path)


def test_a_model_that_brings_code_is_refused_and_none_of_it_runs(folder: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (folder / "evil.py").write_text(f"open({str(canary)!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError):
        load_model(folder)
    assert not canary.exists()


def test_a_name_that_is_neither_folder_nor_on_the_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"no folder nobody/nothing, and the hub doesn't give it; give MODEL="):
        resolve_folder("nobody/nothing")


def test_padded_rows_of_the_base_matrix_are_no_base_rows(tmp_path: Path, text: str) -> None:
    from wake2vec.config import CorpusConfig, ModelConfig, RunConfig, VocabularyConfig
    from wake2vec.inputs import prepare

    build_base(tmp_path / "model", text, vocab_size=640)
    (tmp_path / "corpus.txt").write_text(text)
    (tmp_path / "lexicon.txt").write_text("haue\nvpon\n")
    material = prepare(
        RunConfig(
            model=ModelConfig(path=str(tmp_path / "model")),
            corpus=CorpusConfig(path=str(tmp_path / "corpus.txt"), block_tokens=32),
            vocabulary=VocabularyConfig(lexicon=str(tmp_path / "lexicon.txt")),
        )
    )
    assert material.vocabulary.base_size == len(material.vocabulary.base_tokenizer) < 640
    assert len(material.base_rows) == material.vocabulary.base_size


def test_byte_rows_are_unreachable_where_the_letter_has_a_piece_or_utf8_has_no_such_byte(
    inputs: Path,
) -> None:
    tokenizer = load_tokenizer(inputs / "model")
    bytes_ = {
        int(tokenizer.convert_ids_to_tokens(id_)[3:5], 16) for id_ in reference_rows(tokenizer, torch.zeros(0, 4)).ids
    }
    assert {ord("a"), ord(","), 0xC0, 0xF5, 0xFF} <= bytes_
    assert not bytes_ & {ord("\n"), 0x80, 0xC3, 0xE2, 0xF4}
