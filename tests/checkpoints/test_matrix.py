"""An embedding matrix read from real folders, against the model that saved them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from wake2vec import ModelError
from wake2vec.checkpoints.matrix import read_matrix

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def llama(tied: bool, dtype: str) -> LlamaForCausalLM:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=96, tie_word_embeddings=tied, **sizes)
    return LlamaForCausalLM(config).to(DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("shard", ["1GB", "4KB"], ids=["whole", "sharded"])
def test_a_folder_gives_the_models_input_embedding(tmp_path: Path, shard: str, tied: bool, dtype: str) -> None:
    model = llama(tied, dtype)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard == "4KB")
    found = read_matrix(tmp_path)
    assert torch.equal(found.rows, model.get_input_embeddings().weight.detach().float())
    assert (found.tensor, found.dtype) == ("model.embed_tokens.weight", dtype)
    assert read_matrix(found.file).digest == found.digest


def test_of_a_sharded_model_only_the_shard_of_the_matrix_is_read(tmp_path: Path) -> None:
    llama(tied=False, dtype="float32").save_pretrained(tmp_path, max_shard_size="4KB")
    matrix = read_matrix(tmp_path)
    for file in tmp_path.glob("*.safetensors"):
        if file != matrix.file:
            file.unlink()
    (tmp_path / "config.json").unlink()
    assert read_matrix(tmp_path).digest == matrix.digest


def test_other_families_name_it_otherwise(tmp_path: Path) -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=8, n_layer=1, n_head=1, n_positions=16))
    model.save_pretrained(tmp_path)
    assert torch.equal(read_matrix(tmp_path).rows, model.transformer.wte.weight.detach())


def test_a_file_of_one_matrix_needs_no_name_and_of_several_takes_one(tmp_path: Path) -> None:
    rows = torch.randn(6, 4)
    save_file({"rows": rows, "step": torch.ones(3)}, tmp_path / "rows.safetensors")
    assert torch.equal(read_matrix(tmp_path / "rows.safetensors").rows, rows)
    save_file({"a.wte.weight": rows, "b.embed_tokens.weight": rows + 1}, tmp_path / "two.safetensors")
    with pytest.raises(ModelError, match=r"has 2 embeddings: a\.wte\.weight, b\.embed_tokens\.weight; give --tensor"):
        read_matrix(tmp_path / "two.safetensors")
    assert torch.equal(read_matrix(tmp_path / "two.safetensors", "b.embed_tokens.weight").rows, rows + 1)
    with pytest.raises(ModelError, match=r"no tensor c in .*give --tensor with one of its 2 matrices: a\.wte"):
        read_matrix(tmp_path / "two.safetensors", "c")


def test_what_cant_be_read_is_one_line(tmp_path: Path) -> None:
    def refused(path: Path, message: str) -> None:
        with pytest.raises(ModelError, match=message) as fault:
            read_matrix(path)
        assert "\n" not in str(fault.value)

    def file(name: str, **tensors: torch.Tensor) -> Path:
        save_file(tensors, tmp_path / name)
        return tmp_path / name

    refused(tmp_path / "gone", r"no folder or \.safetensors file .*gone")
    broken = torch.ones(5000, 64)
    broken[4097, 3], broken[4099, :2] = torch.nan, torch.inf
    refused(file("nan.safetensors", rows=broken), r"rows in .* has 3 that aren't, the first in row 4097")
    refused(file("int.safetensors", rows=torch.ones(4, 4, dtype=torch.int8)), r"float32, float16, bfloat16: rows .* I8")
    refused(file("none.safetensors", bias=torch.ones(4)), r"no tensor named like an input embedding.*holds no matrix")
    refused(file("heads.safetensors", a=torch.ones(4, 4), b=torch.ones(4, 4)), r"one of its 2 matrices: a, b")
    refused(file("empty.safetensors", rows=torch.ones(0, 4)), r"has rows and columns: .*\[0, 4\]")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "nan.safetensors").read_bytes()[:1000])
    refused(tmp_path / "cut.safetensors", "can't be read as safetensors: .*; get the file again")
    save_file({"rows": torch.ones(5000, 64)}, tmp_path / "cut.safetensors")
    assert torch.equal(read_matrix(tmp_path / "cut.safetensors").rows, torch.ones(5000, 64))
    folder = tmp_path / "folder"
    folder.mkdir()
    refused(folder, r"holds no \.safetensors file: give a model's folder")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    refused(folder, "its weights are pickled, save them as safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text("[]")
    refused(folder, r"index\.json must be a JSON object in UTF-8: it is a list")
    index.write_text("{}")
    refused(folder, "must map tensors to files")
    index.write_text(json.dumps({"weight_map": {"model.embed_tokens.weight": "../nan.safetensors"}}))
    refused(folder, r"folder/nan\.safetensors can't be read .* it isn't there")
