"""Tiny models of the families that people use: random weights, their own architecture, a tokenizer of their kind.

Each has what makes its family special: how its tokenizer cuts and begins a text, tokens without rows or rows without
tokens, a head of its own, factors and caps. The real sizes don't matter to what is tested.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    CohereTokenizer,
    GemmaTokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
)

PIECES = 400
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "initializer_range": 0.1,
}
EACH_HEAD = {**SIZES, "num_key_value_heads": 2}
FEW_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.1}
GPT2_SIZES = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128, "initializer_range": 0.1}
OPT_SIZES = {**SIZES, "ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.1}


@dataclass(frozen=True)
class Learned:
    """What one training gives: byte-level pieces, and pieces that write a space as ▁."""

    byte_level: tuple[dict[str, int], list[tuple[str, str]]]
    spaced: tuple[dict[str, int], list[tuple[str, str]]]


def learn(text: str) -> Learned:
    """Some hundred pieces of each kind."""
    byte_level = Tokenizer(models.BPE())
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    byte_level.train_from_iterator(
        [text], trainers.BpeTrainer(vocab_size=PIECES, initial_alphabet=alphabet, show_progress=False)
    )
    spaced = Tokenizer(models.BPE())
    spaced.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "removed"), pre_tokenizers.Metaspace(prepend_scheme="first")]
    )
    spaced.train_from_iterator([text], trainers.BpeTrainer(vocab_size=PIECES, show_progress=False))
    return Learned(_parts(byte_level), _parts(spaced))


def _parts(learner: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    model = json.loads(learner.to_str())["model"]
    return model["vocab"], [(first, second) for first, second in model["merges"]]


def _first(tokens: list[str], vocabulary: dict[str, int]) -> dict[str, int]:
    """These tokens, then those of the vocabulary."""
    return {token: id_ for id_, token in enumerate([*tokens, *sorted(vocabulary, key=vocabulary.__getitem__)])}


def llama2(learned: Learned, **settings: Any) -> PreTrainedTokenizerFast:
    vocabulary, merges = learned.spaced
    return LlamaTokenizer(vocab=_first(["<unk>", "<s>", "</s>", *BYTES], vocabulary), merges=merges, **settings)


def gemma(learned: Learned, **settings: Any) -> PreTrainedTokenizerFast:
    vocabulary, merges = learned.spaced
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    return GemmaTokenizer(vocab=_first([*special, *BYTES, "\n"], vocabulary), merges=merges, **settings)


def gpt2(learned: Learned, **settings: Any) -> PreTrainedTokenizerFast:
    vocabulary, merges = learned.byte_level
    return GPT2Tokenizer(vocab=vocabulary | {"<|endoftext|>": len(vocabulary)}, merges=merges, **settings)


def qwen2(learned: Learned, **settings: Any) -> PreTrainedTokenizerFast:
    vocabulary, merges = learned.byte_level
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=merges, **settings)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return tokenizer


def cohere(learned: Learned, **settings: Any) -> PreTrainedTokenizerFast:
    vocabulary, merges = learned.byte_level
    special = ["<PAD>", "<UNK>", "<CLS>", "<SEP>", "<MASK_TOKEN>", "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"]
    return CohereTokenizer(vocab=_first(special, vocabulary), merges=merges, **settings)


def llama3(learned: Learned, **settings: Any) -> PreTrainedTokenizerFast:
    """Its pieces are those of Qwen; a template begins each text."""
    tokenizer = qwen2(learned)
    own = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    own.add_special_tokens(["<|begin_of_text|>", "<|eot_id|>"])
    first = own.token_to_id("<|begin_of_text|>")
    own.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing("<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", first)]),
        ]
    )
    own.decoder = decoders.ByteLevel()
    special = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
    return PreTrainedTokenizerFast(tokenizer_object=own, **special, **settings)


Build = Callable[..., PreTrainedTokenizerFast]


@dataclass(frozen=True, eq=False)
class Family:
    name: str
    model_type: str
    """As transformers names the architecture."""
    tokenizer: Build
    sizes: Mapping[str, Any] = field(default_factory=lambda: SIZES)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the architecture, beside sizes."""
    tokenizer_settings: Mapping[str, Any] = field(default_factory=dict)
    tied: bool = True
    padding: int = 0
    """Rows beyond the tokens; below 0: tokens beyond the rows."""
    refusal: str = ""
    """The rule that it doesn't keep, if it can't be trained."""

    def build(self, folder: Path, learned: Learned) -> None:
        """Write model and tokenizer."""
        tokenizer = self.tokenizer(learned, **self.tokenizer_settings)
        tokenizer.save_pretrained(folder)
        rows = 1 + max(tokenizer.get_vocab().values()) + self.padding
        torch.manual_seed(0)
        special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
        config = AutoConfig.for_model(
            self.model_type,
            **{"vocab_size": rows, "tie_word_embeddings": self.tied, **special, **self.sizes, **self.settings},
        )
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)


BOS = {"add_bos_token": True}
GRANITE = {"logits_scaling": 8.0, "embedding_multiplier": 12.0, "residual_multiplier": 0.2, "attention_multiplier": 0.1}
FAMILIES = (
    Family("Llama 2, TinyLlama", "llama", llama2, tokenizer_settings=BOS, tied=False),
    Family("Llama 3", "llama", llama3, tied=False),
    Family("Llama 3.2", "llama", llama3),
    Family("Mistral", "mistral", llama2, tokenizer_settings=BOS, tied=False),
    Family("Qwen 2.5", "qwen2", qwen2, padding=8),
    Family("Qwen 3", "qwen3", qwen2, padding=8),
    Family("Phi-3", "phi3", llama2, sizes=EACH_HEAD, tied=False, padding=8),
    Family("Gemma 1", "gemma", gemma, tokenizer_settings=BOS),
    Family("Gemma 2", "gemma2", gemma, tokenizer_settings=BOS, settings={"final_logit_softcapping": 3.0}),
    Family("Gemma 3", "gemma3_text", gemma, tokenizer_settings=BOS, padding=-1),
    Family("SmolLM2", "llama", gpt2),
    Family("SmolLM3", "smollm3", llama3),
    Family("GPT-2", "gpt2", gpt2, sizes=GPT2_SIZES),
    Family("Pythia", "gpt_neox", gpt2, sizes=EACH_HEAD, tied=False, padding=8),
    Family("OLMo 2", "olmo2", gpt2, sizes=EACH_HEAD, tied=False, padding=8),
    Family("Granite 3", "granite", gpt2, settings=GRANITE),
    Family("Cohere", "cohere", cohere, tokenizer_settings=BOS, settings={"logit_scale": 0.0625}),
    Family("Falcon", "falcon", gpt2, sizes=FEW_SIZES),
    Family("OPT", "opt", gpt2, sizes=OPT_SIZES, padding=8),
    Family("Bloom", "bloom", gpt2, sizes=FEW_SIZES, padding=8),
    Family("Mamba", "mamba", gpt2, sizes={"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
    Family("Phi-2", "phi", gpt2, tied=False, sizes=EACH_HEAD, refusal="have a head without a bias"),
    Family(
        "Falcon-H1",
        "falcon_h1",
        gpt2,
        settings={"embedding_multiplier": 5.0},
        refusal="take from a token its row alone",
    ),
)
