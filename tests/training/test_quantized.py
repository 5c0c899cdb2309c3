"""A frozen body in 4 bits: what is quantized, what it computes, what is exported; and the refusal where it can't be."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from wake2vec import ModelError, RunConfig, WorkFolder, export_folder, prepare, run
from wake2vec.config import ADDED_KNOBS
from wake2vec.recipe import start_training
from wake2vec.training import quantized
from wake2vec.training.model import load_base, load_model

ROOT = Path(__file__).parents[2]
Vary = Callable[..., RunConfig]
LOGGED = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def test_without_the_packages_it_is_refused_with_what_brings_them(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantized, "find_spec", lambda name: None if name == "bitsandbytes" else object())
    with pytest.raises(ModelError, match=r"bitsandbytes missing; run `.*setup\.py quantized`, or give .*=none"):
        load_base(Path(config.model.path), "refused", "float32", "nf4")
    load_base(Path(config.model.path), "refused", "float32", "none")
    _, script, extra = quantized.REMEDY.split()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    brought = {re.split("[<>=~! ]", line)[0] for line in project["optional-dependencies"][extra]}
    assert (ROOT / script).is_file() and set(quantized.NEEDED) <= brought


def test_it_is_a_knob_of_the_digest_and_older_digests_hold(config: RunConfig, vary: Vary) -> None:
    inputs = {"model.path": "1", "corpus.path": "2", "vocabulary.lexicon": "3"}
    assert ADDED_KNOBS["model.quantization"] == "none"
    assert "model.quantization" not in config.identity(inputs)
    assert vary(model={"quantization": "nf4"}).digest(inputs) != config.digest(inputs)


@LOGGED
@pytest.mark.needs("bitsandbytes")
def test_a_quantized_body_computes_with_the_weights_that_it_stands_for_and_gives_their_gradient(vary: Vary) -> None:
    """Against a stock model of the same weights, brought back from 4 bits; the base's own are the control."""
    from bitsandbytes.functional import dequantize_4bit

    config = vary(model={"quantization": "nf4"}, train={"precision": "float32"})
    material = prepare(config)
    model = start_training(config, material).model
    stock = load_model(Path(config.model.path)).base_model
    with torch.no_grad():
        for ours, theirs in zip(model.body.parameters(), stock.parameters(), strict=True):
            if hasattr(ours, "quant_state"):
                theirs.copy_(dequantize_4bit(ours.data, ours.quant_state))
    assert quantized.weight_count(model.body) == sum(
        weight.numel() for weight in stock.parameters() if weight is not stock.get_input_embeddings().weight
    )
    assert quantized.stored_bytes(model.body) < 0.3 * 4 * quantized.weight_count(model.body)
    ids = material.corpus.train[[0, 1]]["input_ids"]
    found = {}
    for name, body in (
        ("ours", model.body),
        ("stock", stock),
        ("base", load_model(Path(config.model.path)).base_model),
    ):
        model.body = body.requires_grad_(False)
        model.input.gradient.zero_()
        loss = model.add_gradients(ids, 1.0).item()
        found[name] = loss, model.input.gradient.clone()
    assert found["ours"][0] == pytest.approx(found["stock"][0], rel=1e-5)
    assert torch.allclose(found["ours"][1], found["stock"][1], rtol=1e-3, atol=1e-4)
    assert found["ours"][0] != pytest.approx(found["base"][0], rel=1e-5)


@LOGGED
@pytest.mark.needs("bitsandbytes")
def test_a_trial_ends_and_its_export_has_the_bases_own_weights(vary: Vary, tmp_path: Path) -> None:
    config = vary(model={"quantization": "nf4"})
    result = run(config, tmp_path / "trials")
    exported = export_folder(result, WorkFolder(tmp_path / "trials" / result.digest), tmp_path / "export", "A card.\n")
    assert exported.loss == pytest.approx(result.numbers["validation.loss"], abs=1e-3)
    ours, base = (load_file(folder / "model.safetensors") for folder in (tmp_path / "export", Path(config.model.path)))
    assert {name for name in ours if not torch.equal(ours[name], base[name])} == {"model.embed_tokens.weight"}
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "export", dtype=torch.float32)
    ids = prepare(config).corpus.validation["input_ids"][:]
    assert plain(input_ids=ids, labels=ids).loss.item() != pytest.approx(exported.loss, abs=1e-5)  # in full: another
