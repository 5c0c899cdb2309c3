"""`python -m bench.quantized [model folder]`: bodies in 4 bits: what they take on a Tesla T4, what they cost in loss.

The memory is reckoned from configurations, for 44,500 words and one block of 256 tokens in a pass. The loss is that of
the default base model on its text, and of any other folder, at step 0, in float32: it needs the extra `quantized`.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

from transformers import MistralConfig, PretrainedConfig, Qwen2Config

from bench.figures import Figure, publish
from bench.tinyllama import NEW_ROWS, T4_BYTES
from wake2vec import RunConfig, prepare
from wake2vec.config import DEFAULT_FOLDER, CorpusConfig, ModelConfig, Quantization, TrainConfig
from wake2vec.recipe import start_training
from wake2vec.training.quantized import NEEDED
from wake2vec.training.reckon import reckon_memory

BLOCKS = 16
SHAPES: dict[str, PretrainedConfig] = {
    "Mistral 7B": MistralConfig(
        vocab_size=32_000,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
    ),
    "Qwen 2.5 14B": Qwen2Config(
        vocab_size=152_064,
        hidden_size=5120,
        intermediate_size=13_824,
        num_hidden_layers=48,
        num_attention_heads=40,
        num_key_value_heads=8,
    ),
}


def main() -> None:
    figures = [figure for name, config in SHAPES.items() for figure in memory_figures(name, config)]
    if all(find_spec(name) for name in NEEDED):
        folders = [DEFAULT_FOLDER / "base_model", *map(Path, sys.argv[1:])]
        figures += [figure for folder in folders for figure in loss_figures(folder)]
    publish("quantized", "python -m bench.quantized", figures)


def memory_figures(name: str, config: PretrainedConfig) -> list[Figure]:
    """Whole in 4 bits and in float16, with each head and with all rows or the new ones trained."""
    figures = []
    kinds: list[tuple[Quantization, str, bool]] = [
        ("none", "all", False),
        ("nf4", "all", True),
        ("nf4", "all", False),
        ("nf4", "new", True),
        ("nf4", "new", False),
    ]
    for quantization, rows, own_head in kinds:
        parts = reckon_memory(
            config,
            NEW_ROWS,
            own_head=own_head,
            rows="all" if rows == "all" else "new",
            quantization=quantization,
        )
        what = f"{name}, {quantization}, {'native' if own_head else 'tied'} head, rows {rows}"
        total = sum(parts.values())
        print(what, {part: f"{count / 1e9:.2f}" for part, count in parts.items()})
        fits = "fits" if total <= T4_BYTES else "doesn't fit"
        figures.append(Figure(f"{what}: {fits} {T4_BYTES / 1e9:g} GB", total / 1e9, "GB"))
    return figures


def loss_figures(folder: Path) -> list[Figure]:
    losses = []
    kinds: tuple[Quantization, ...] = ("none", "nf4")
    for quantization in kinds:
        config = RunConfig(
            model=ModelConfig(path=str(folder), quantization=quantization),
            corpus=CorpusConfig(block_tokens=128),
            train=TrainConfig(precision="float32"),
        )
        material = prepare(config)
        ids = material.corpus.validation[:BLOCKS]["input_ids"]
        losses.append(start_training(config, material).model.losses(ids).mean().item())
    return [
        Figure(f"{folder.name}: loss at step 0 in float32", losses[0], "nats a token"),
        Figure(f"{folder.name}: its body in NF4, difference", losses[1] - losses[0], "nats a token"),
    ]


if __name__ == "__main__":
    main()
