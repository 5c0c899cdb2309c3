"""A base model that loads in milliseconds, for tests: a Llama of random weights, a tokenizer of 600 pieces."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaTokenizer


def build_base(folder: Path, text: str, **settings: object) -> None:
    """Make it in the folder; the pieces are learned from the text, the settings are laid over the model's own."""
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "removed"), pre_tokenizers.Metaspace(prepend_scheme="first")]
    )
    learner.train_from_iterator(
        text.split("\n\n"), trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    )
    learned = json.loads(learner.to_str())["model"]
    LlamaTokenizer(vocab=learned["vocab"], merges=[tuple(pair) for pair in learned["merges"]]).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    llama = LlamaConfig(
        **{
            "vocab_size": len(learned["vocab"]),
            **sizes,
            "num_key_value_heads": 1,
            "max_position_embeddings": 128,
            "tie_word_embeddings": True,
            "initializer_range": 0.1,
            **settings,
        }
    )
    LlamaForCausalLM(llama).save_pretrained(folder)
