"""Tokenizers of the kinds that language models have, trained in the test on the embedded text."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from wake2vec.config import DEFAULT_FOLDER
from wake2vec.data.forms import WORD_FORMS
from wake2vec.data.lexicon import Lexicon
from wake2vec.data.pieces import learn_pieces

TEXT = (DEFAULT_FOLDER / "corpus.txt").read_text(encoding="utf-8")
SAMPLE = (
    TEXT[:120_000] + " this will shore. thine the will; he'll, we're café déjà naïve 世界 日本語 ไทย 1984 250\n" * 20
)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Mistral's tekken: it parts words at capitals inside."""
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def split(pattern: str, behavior: str = "isolated", invert: bool = False) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def trained(
    steps: list[pre_tokenizers.PreTokenizer],
    special: list[str],
    outside: list[AddedToken],
    normalizer: normalizers.Normalizer | None = None,
    ignore_merges: bool = False,
) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer; special tokens inside its model's vocabulary, and added ones outside."""
    learner = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer is not None:
        learner.normalizer = normalizer
    learner.pre_tokenizer = pre_tokenizers.Sequence(steps)
    learner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2500, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    learner.train_from_iterator([SAMPLE], trainer)
    learner.add_tokens(outside)
    end = special[0] if special else outside[0].content
    return PreTrainedTokenizerFast(
        tokenizer_object=learner, bos_token=end, eos_token=end, clean_up_tokenization_spaces=False
    )


def marked(*names: str) -> list[AddedToken]:
    return [AddedToken(f"<|{name}|>", special=True, normalized=False) for name in names]


def changed(change: Callable[[dict[str, Any]], None], outside: list[AddedToken]) -> PreTrainedTokenizerFast:
    """The embedded base's tokenizer, of Llama's kind, with its file changed."""
    base = AutoTokenizer.from_pretrained(DEFAULT_FOLDER / "base_model")
    state = json.loads(base.backend_tokenizer.to_str())
    change(state)
    backend = Tokenizer.from_str(json.dumps(state))
    backend.add_tokens(outside)
    named = {"bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **named, clean_up_tokenization_spaces=False)


def as_llama2(state: dict[str, Any]) -> None:
    """A space before each text is put there by the normaliser."""
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    state["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}
    state["pre_tokenizer"] = None


def as_gemma(state: dict[str, Any]) -> None:
    """No space before a text."""
    state["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    state["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"String": " "},
        "behavior": "MergedWithPrevious",
        "invert": False,
    }
    state["decoder"]["decoders"].pop()


BYTE_LEVEL: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "gpt2": lambda: trained([pre_tokenizers.ByteLevel(add_prefix_space=False)], [], marked("endoftext")),
    "llama3": lambda: trained(
        [split(LLAMA3), BYTES], [], marked("begin_of_text", "end_of_text", "reserved_special_token_0"), None, True
    ),
    "qwen": lambda: trained(
        [split(QWEN), BYTES], [], [*marked("endoftext", "im_start"), AddedToken("<think>")], normalizers.NFC()
    ),
    "smollm": lambda: trained(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
        ["<|endoftext|>", "<|im_start|>", "<repo_name>"],
        [],
    ),
    "olmo": lambda: trained(
        [split(LLAMA3, "removed", invert=True), BYTES],
        ["<|endoftext|>"],
        [AddedToken("  ", normalized=True), AddedToken("    ", normalized=True), *marked("extra_id_0")],
    ),
    "tekken": lambda: trained([split(TEKKEN), BYTES], ["<unk>", "<s>", "[INST]"], [], None, True),
    "falcon": lambda: trained(
        [
            pre_tokenizers.Punctuation("contiguous"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
            pre_tokenizers.Digits(individual_digits=False),
        ],
        [">>TITLE<<", "<|endoftext|>"],
        marked("pad"),
    ),
}
"""By the family whose steps they have."""
METASPACE: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "llama": lambda: changed(lambda state: None, []),
    "llama2": lambda: changed(as_llama2, []),
    "phi3": lambda: changed(as_llama2, marked("assistant", "user", "end")),
    "gemma": lambda: changed(as_gemma, [AddedToken("<image_soft_token>", special=True, normalized=False)]),
}
"""BPE with a letter for the space."""
KINDS = BYTE_LEVEL | METASPACE


@cache
def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    return KINDS[kind]()


def lexicon_of(form: str, base: PreTrainedTokenizerFast, words: Sequence[str], text: str = TEXT) -> Lexicon:
    """The words, or as many pieces of the text where the form takes these."""
    return Lexicon(tuple(words) if form in WORD_FORMS else learn_pieces(text, base, len(words)).words, 0)
