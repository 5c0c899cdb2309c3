"""The file behind a tokenizer: its state, its steps, and how they write a text before the model sees it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerFast

State = dict[str, Any]
"""A `tokenizer.json`, or a part of it."""

BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
"""Writes each byte of a text as a letter, as GPT-2 does: ` é` is `ĠÃ©`."""


def state_of(base: PreTrainedTokenizerFast) -> State:
    state: State = json.loads(base.backend_tokenizer.to_str())
    return state


def rebuilt(base: PreTrainedTokenizerFast, state: State) -> PreTrainedTokenizerFast:
    """A tokenizer whose file is its whole truth: the class of a model family would rebuild parts of it."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        bos_token=base.bos_token,
        eos_token=base.eos_token,
        unk_token=base.unk_token,
        pad_token=base.pad_token,
        clean_up_tokenization_spaces=False,
        model_max_length=base.model_max_length,
        chat_template=base.chat_template,
    )


def steps_of(pre_tokenizer: State | None) -> list[State]:
    """The steps of a pre-tokenizer in order, sequences inside it opened."""
    if pre_tokenizer is None:
        return []
    if pre_tokenizer["type"] != "Sequence":
        return [pre_tokenizer]
    return [step for part in pre_tokenizer["pretokenizers"] for step in steps_of(part)]


def sequence_of(steps: Sequence[State]) -> State | None:
    return {"type": "Sequence", "pretokenizers": list(steps)} if steps else None


@dataclass(frozen=True)
class Spelling:
    """How a tokenizer writes a text before its model sees it, as its own steps do it."""

    backend: Tokenizer

    @cached_property
    def byte_level(self) -> bool:
        """Whether a byte is written as a letter, so that tokens are bytes."""
        steps = self.backend.pre_tokenizer
        return steps is not None and b'"ByteLevel"' in steps.__getstate__()

    @cached_property
    def space(self) -> str | None:
        """What stands for a space inside a line: `▁`, `Ġ`; None where no token has it."""
        _, _, behind = self.written("a b").partition("a")
        letter, _, _ = behind.partition("b")
        return letter if len(letter) == 1 else None

    def written(self, text: str) -> str:
        """A whole text, in the letters that the vocabulary has."""
        return "".join(self.chunks(self._normal(text)))

    def chunks(self, normal: str) -> list[str]:
        """What the steps cut a normalised text into: no token goes beyond its chunk."""
        steps = self.backend.pre_tokenizer
        return [chunk for chunk, _ in steps.pre_tokenize_str(normal)] if steps is not None else [normal]

    def after_a_space(self, word: str) -> str:
        """A word with its space, normalised as it is inside a line."""
        return self._normal(f"a {word}").removeprefix(self._normal("a"))

    def piece(self, word: str) -> str:
        """The token that would write a word with its space."""
        return self.letters(self.after_a_space(word))

    def bare_piece(self, word: str) -> str:
        """The token that would write a word without its space."""
        return self.letters(self._normal(f"a{word}").removeprefix(self._normal("a")))

    def letters(self, text: str) -> str:
        """A normalised text, in the letters that the vocabulary has."""
        if self.byte_level:
            return "".join(chunk for chunk, _ in BYTES.pre_tokenize_str(text))
        return text.replace(" ", self.space or " ")

    def _normal(self, text: str) -> str:
        steps = self.backend.normalizer
        return steps.normalize_str(text) if steps is not None else text
