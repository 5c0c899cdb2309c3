"""Base models that can't be used: whatever is wrong with a folder, one line says so before anything is made."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from conftest import build_base

from bench.faults.attempt import one_step
from bench.faults.models import BAD_MODELS, TAKEN
from wake2vec.errors import ModelError
from wake2vec.training.folder import check_folder, check_model, quietly
from wake2vec.training.model import load_model


@pytest.fixture(scope="module")
def settings(inputs: Path) -> list[str]:
    """A trial of one step, as small as can be, but for its model."""
    return [
        f"corpus.path={inputs / 'corpus.txt'}",
        f"vocabulary.lexicon={inputs / 'lexicon.txt'}",
        *("corpus.block_tokens=32", "train.batch_blocks=2", "machine.threads=1", "study.anchors=null"),
        *("study.space.train.steps=null", "train.steps=1", "sample.count=1", "sample.new_tokens=2"),
        *("retention.path=" + str(inputs / "corpus.txt"), "corpus.validation_share=0.02"),
    ]


@pytest.fixture
def folder(inputs: Path, tmp_path: Path) -> Path:
    """A good base model, of links to its files, which may be replaced."""
    shutil.copytree(inputs / "model", tmp_path / "model", copy_function=os.link)
    return tmp_path / "model"


@pytest.mark.parametrize("name", [name for name in BAD_MODELS if name not in TAKEN])
def test_a_model_that_cant_be_used_is_one_line_and_nothing_is_made(
    name: str, folder: Path, settings: list[str]
) -> None:
    BAD_MODELS[name](folder)
    told = one_step([f"model.path={folder.name}", *settings], folder.parent, apart=False)
    assert told.fault == ""
    assert any(verb in told.errors for verb in ("; get ", "; give ", "; choose ", "; save ", "; merge ", "; see "))


@pytest.mark.parametrize("name", [None, *TAKEN])
def test_what_is_spoiled_where_nobody_looks_runs(name: str | None, folder: Path, settings: list[str]) -> None:
    if name is not None:
        BAD_MODELS[name](folder)
    told = one_step([f"model.path={folder.name}", *settings], folder.parent, apart=False)
    assert told.runs, told.said


def test_a_folder_is_read_by_who_may_read_it(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").write_text("{}")
    (folder / "config.json").chmod(0)
    if os.geteuid() == 0:
        for part in (folder, *folder.parents):
            if part == Path("/tmp"):  # noqa: S108
                break
            part.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(ModelError, match=r"config\.json can't be read: Permission denied; see who owns it"):
            check_folder(folder)
    finally:
        os.seteuid(os.getuid())


def test_without_the_special_token_that_is_no_token_the_folder_is_taken(folder: Path, settings: list[str]) -> None:
    path = folder / "tokenizer_config.json"
    good = path.read_text()
    path.unlink()
    path.write_text(json.dumps({**json.loads(good), "unk_token": ""}))
    told = one_step([f"model.path={folder.name}", *settings], folder.parent, apart=False)
    assert "has no unk_token ''; get the model again, or take that out of its tokenizer_config.json" in told.errors
    path.write_text(json.dumps({name: value for name, value in json.loads(good).items() if name != "unk_token"}))
    assert one_step([f"model.path={folder.name}", *settings], folder.parent, apart=False).runs


def test_a_mended_folder_is_looked_at_anew(folder: Path, inputs: Path) -> None:
    whole = (inputs / "model" / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(whole[:-1])
    with pytest.raises(ModelError, match=f"has {len(whole) - 1:,} of {len(whole):,} bytes, a download may have broken"):
        check_model(folder)
    (folder / "model.safetensors").write_bytes(whole)
    load_model(folder)


def test_the_hubs_cache_is_links_and_shards_are_read(text: str, tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    build_base(tmp_path / "blobs", text)
    model = LlamaForCausalLM.from_pretrained(tmp_path / "blobs")
    model.save_pretrained(tmp_path / "blobs", max_shard_size="40KB")
    (tmp_path / "blobs" / "model.safetensors").unlink(missing_ok=True)
    (tmp_path / "snapshot").mkdir()
    for file in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / file.name).symlink_to(file)
    assert len(list((tmp_path / "snapshot").glob("*.safetensors"))) > 1
    loaded = load_model(tmp_path / "snapshot")
    assert torch.equal(loaded.get_input_embeddings().weight, model.get_input_embeddings().weight)


def test_our_own_faults_and_a_full_memory_are_no_faults_of_a_folder() -> None:
    with pytest.raises(torch.OutOfMemoryError), quietly("x"):
        raise torch.OutOfMemoryError
    with pytest.raises(KeyboardInterrupt), quietly("x"):
        raise KeyboardInterrupt
    with pytest.raises(ModelError, match=r"^x: KeyError; get the model again$"), quietly("x"):
        raise KeyError
