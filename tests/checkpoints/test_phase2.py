"""On from an export: adapters are trained while the embedding stays, as docs/phase2.md does it."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from wake2vec import RunConfig, WorkFolder, export_folder, run


@pytest.fixture(scope="module")
def exported(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phase2")
    result = run(config, root / "trials")
    export_folder(result, WorkFolder(root / "trials" / result.digest), root / "out", "card", ())
    return root / "out"


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft's own call
@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "control"])
def test_adapters_move_and_a_frozen_embedding_does_not(exported: Path, text: str, frozen: bool) -> None:
    tokenizer = AutoTokenizer.from_pretrained(exported)
    lora = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
    torch.manual_seed(0)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(exported), lora)
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert not embedding.requires_grad
    assert not head.requires_grad, "no adapter sits on the head"
    embedding.requires_grad_(not frozen)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    ids = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"][:256]).view(4, 64)
    optimizer = torch.optim.AdamW((weight for weight in model.parameters() if weight.requires_grad), lr=1e-2)
    for block in ids.split(2):
        model(input_ids=block, labels=block).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    adapters = {name for name in before if "lora_" in name}
    rows = {name for name in before if "embed_tokens" in name}
    assert len(rows) == 1
    assert moved == adapters | (set() if frozen else rows)
    merged = model.merge_and_unload()
    name = next(iter(rows))
    assert torch.equal(merged.get_input_embeddings().weight, before[name]) == frozen
