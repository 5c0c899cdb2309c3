"""`python -m bench.heads models/smollm2-135m`: what it costs to throw a model's own head away.

A tied model of Llama's architecture is untied without changing what it computes: the weights of its final norm go into
a head of its own. Then the same short trial is run on the original, on the untied one with its head, and on the untied
one with the input embedding in the head's place. The folder is written twice, the trials take some minutes each.
"""

import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.figures import Figure, publish
from wake2vec import RunConfig, RunResult, run
from wake2vec.config import (
    CorpusConfig,
    HeadName,
    InitConfig,
    ModelConfig,
    SampleConfig,
    TrainConfig,
    VocabularyConfig,
)

STEPS = 24
FIGURES = {
    "validation.start_loss": "loss at step 0",
    "validation.bits_per_byte": f"after {STEPS} steps",
    "validation.loss_new_seen_targets": "on new tokens seen in training",
    "geometry.norm_gap_d": "norm gap d",
    "geometry.isotropy_new": "isotropy of new rows",
    "geometry.collapse_share": "collapse",
    "retention.bits_per_byte": "English",
}
UNITS = {"validation.bits_per_byte": "bits a byte", "retention.bits_per_byte": "bits a byte"}


def main(model: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        untied = untie(model, Path(name) / "untied")
        results = {
            "tied original": trial(model, "native", Path(name)),
            "head of its own": trial(untied, "native", Path(name)),
            "the same, thrown away": trial(untied, "tied", Path(name)),
        }
    rows = [Figure("English in the base", results["tied original"].numbers["retention.base_bits_per_byte"] or 0, "")]
    for what, result in results.items():
        for address, words in FIGURES.items():
            unit = UNITS.get(address, "nats a token" if "loss" in address else "")
            rows.append(Figure(f"{what}: {words}", result.numbers[address] or 0.0, unit))
    publish("heads", f"python -m bench.heads models/{model.name}", rows)


def trial(model: Path, head: HeadName, folder: Path) -> RunResult:
    """With new rows of nearly the base's length, which alone are trained."""
    config = RunConfig(
        model=ModelConfig(path=str(model), head=head),
        corpus=CorpusConfig(block_tokens=128, validation_share=0.04),
        vocabulary=VocabularyConfig(form="space"),
        init=InitConfig(noise_scale=0.8),
        train=TrainConfig(steps=STEPS, lr=0.01, rows="new", batch_blocks=8, evaluate_every_steps=STEPS),
        sample=SampleConfig(count=0),
    )
    return run(config, folder / "trials")


def untie(model: Path, folder: Path) -> Path:
    """The model with a head of its own, which computes the same."""
    causal = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    rows, norm = causal.get_input_embeddings().weight.detach(), causal.base_model.norm.weight.detach()
    causal.config.tie_word_embeddings = False
    head = torch.nn.Linear(rows.shape[1], len(rows), bias=False)
    head.weight.data = rows * norm
    causal.set_output_embeddings(head)
    norm.fill_(1)
    causal.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main(Path(sys.argv[1]))
