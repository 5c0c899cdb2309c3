"""Token forms: how the words of a lexicon become tokens of a base tokenizer.

`phase1`
    Plain added tokens, as in Phase 1: they match anywhere, so they also cut words that the base knew whole
    (`shore` -> `▁s` + `hore`).
`word`
    Added tokens that match whole words only. Spacing is exact, but each one costs a lone `▁` before it.
`space`
    The token carries its leading space (`▁riverrun`) and stands in the tokenizer's own vocabulary: the
    shortest text. A new word without a space before it is cut as the base cuts it.

Text without a new word in it is cut by `word` and `space` just as by the base tokenizer.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import regex
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from wake2vec.errors import LexiconError, ModelError
from wake2vec.lexicon import Lexicon

SPACE = "▁"


@dataclass(frozen=True)
class ExtendedVocabulary:
    """A base tokenizer with a lexicon's words added.

    New ids run from `base_size` without a gap: `words[i]` has the id `base_size + i`.
    """

    tokenizer: PreTrainedTokenizerFast
    base_tokenizer: PreTrainedTokenizerFast
    base_size: int
    words: tuple[str, ...]
    words_in_base: int
    """Words of the lexicon that got no new id, since the base vocabulary has them."""

    @property
    def size(self) -> int:
        return self.base_size + len(self.words)

    @property
    def row_names(self) -> list[str]:
        """The token of each base row, as the base tokenizer writes it, and the word of each new one."""
        base = self.base_tokenizer.convert_ids_to_tokens(list(range(self.base_size)))
        return [*(str(token) for token in base), *self.words]


def extend(base: PreTrainedTokenizerFast, lexicon: Lexicon, form: str) -> ExtendedVocabulary:
    """Add the words in the form named; `base` is left as it is.

    Raises:
        LexiconError: a word is a special token of the base, or the base has all words already.
        ModelError: the form can't be had with this kind of tokenizer.
    """
    vocabulary = base.get_vocab()
    special = sorted(set(lexicon.words) & set(base.all_special_tokens))
    if special:
        raise LexiconError(f"special tokens can't be added as words: {', '.join(special[:5])}; remove them")
    base_size = 1 + max(vocabulary.values())
    tokenizer, added = FORMS[form](base, lexicon.words, vocabulary)
    if not added:
        raise LexiconError(f"nothing to add: the base vocabulary has all {len(lexicon.words)} words already")
    return ExtendedVocabulary(tokenizer, base, base_size, added, len(lexicon.words) - len(added))


def base_pieces(vocabulary: ExtendedVocabulary) -> list[list[int]]:
    """The base ids that spelled each new word before it was added, as it stands after a space."""
    texts = [f"a {word}" for word in vocabulary.words]
    encoded = vocabulary.base_tokenizer(texts, add_special_tokens=False)["input_ids"]
    prefix = len(vocabulary.base_tokenizer("a", add_special_tokens=False)["input_ids"])
    return [ids[prefix:] for ids in encoded]


Extension = tuple[PreTrainedTokenizerFast, tuple[str, ...]]


def _phase1(base: PreTrainedTokenizerFast, words: tuple[str, ...], vocabulary: dict[str, int]) -> Extension:
    tokenizer = _rebuilt(base, _state(base))
    tokenizer.add_tokens(list(words))
    return tokenizer, tuple(word for word in words if word not in vocabulary)


def _word(base: PreTrainedTokenizerFast, words: tuple[str, ...], vocabulary: dict[str, int]) -> Extension:
    added = tuple(word for word in words if word not in vocabulary and SPACE + word not in vocabulary)
    tokenizer = _rebuilt(base, _state(base))
    tokenizer.add_tokens([AddedToken(word, single_word=True, normalized=False) for word in added])
    return tokenizer, added


def _space(base: PreTrainedTokenizerFast, words: tuple[str, ...], vocabulary: dict[str, int]) -> Extension:
    state = _state(base)
    if state["model"]["type"] != "BPE" or SPACE not in vocabulary:
        raise ModelError(
            f"the form `space` needs a BPE tokenizer that writes a space as {SPACE}: this one is "
            f"{state['model']['type']}; choose vocabulary.form=word"
        )
    added = tuple(word for word in words if SPACE + word not in vocabulary)
    first = 1 + max(vocabulary.values())
    state["model"]["vocab"] |= {SPACE + word: first + index for index, word in enumerate(added)}
    # A chunk that is in the vocabulary becomes one token, without merges leading there.
    state["model"]["ignore_merges"] = True
    isolate = {
        "type": "Split",
        "pattern": {"Regex": _whole_words(added)},
        "behavior": "Isolated",
        "invert": False,
    }
    before = state["pre_tokenizer"]
    state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [before, isolate] if before else [isolate]}
    return _rebuilt(base, state), added


FORMS: dict[str, Callable[[PreTrainedTokenizerFast, tuple[str, ...], dict[str, int]], Extension]] = {
    "phase1": _phase1,
    "word": _word,
    "space": _space,
}


def _state(base: PreTrainedTokenizerFast) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(base.backend_tokenizer.to_str())
    return state


def _rebuilt(base: PreTrainedTokenizerFast, state: dict[str, Any]) -> PreTrainedTokenizerFast:
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


def _whole_words(words: Iterable[str]) -> str:
    """A pattern that finds each word after a space and with no letter or digit behind it."""
    return rf"{SPACE}(?:{_trie_pattern(words)})(?![\p{{L}}\p{{M}}\p{{N}}_])"


def _trie_pattern(words: Iterable[str]) -> str:
    """The words as one pattern in which common beginnings stand once: fast with 45,000 words."""
    trie: dict[str, Any] = {}
    for word in words:
        node = trie
        for letter in word:
            node = node.setdefault(letter, {})
        node[""] = {}
    return _node_pattern(trie)


def _node_pattern(node: dict[str, Any]) -> str:
    branches = [regex.escape(letter) + _node_pattern(child) for letter, child in node.items() if letter]
    if not branches:
        return ""
    joined = branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
    return f"(?:{joined})?" if "" in node else joined
