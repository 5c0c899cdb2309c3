"""Base tokens by their own strings: what each base row stands for, and which rows no text reaches.

Token forms: how the words of a lexicon become tokens of a base tokenizer.

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
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import regex
import torch
from jaxtyping import Int
from tokenizers import AddedToken, Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from wake2vec.data.lexicon import Lexicon
from wake2vec.errors import LexiconError, ModelError

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
    bos_id: int | None = None
    """The beginning-of-sequence token, where each block and each prompt begins with it: `wake2vec.data.corpus`."""

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


KINDS = ("byte", "special", "punctuation", "piece", "word")
"""A byte, or a part of a letter; a control or reserved token, or none; no letter and no digit; letters without, or
with, a space before them."""

BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
RESERVED = re.compile(r"[<\[].*(reserved|unused).*[>\]]")
"""Names of rows that are kept for later use, as `<|reserved_special_token_7|>` and `[unused7]`."""
NEVER_IN_UTF8 = {0xC0, 0xC1, *range(0xF5, 0x100)}
"""Byte-level BPE writes each of these bytes as the letter of its number, as it does all that print in Latin-1."""
PART = "\ufffd"
CONTEXTS = ("{}", " {}", "a{}", "a {}", "{}a", "\n{}", "1{}", ".{}")
"""Where a token may be reached that isn't reached alone."""


@dataclass(frozen=True)
class ReferenceRows:
    """Base rows that no text reaches, onto which new rows may collapse."""

    ids: tuple[int, ...]
    """Empty where there are none."""
    meaning: str
    """What they are, or why there are none."""


def base_texts(tokenizer: PreTrainedTokenizerFast, base_size: int) -> list[str]:
    """What each base token writes inside a line, with its leading space: ` upon`, `ing`.

    Empty for special tokens, for bytes (`<0x41>`, parts of a character) and for ids without a token.
    """
    text_of, special = _text_of(tokenizer), set(tokenizer.all_special_ids)
    tokens = tokenizer.convert_ids_to_tokens(list(range(base_size)))
    texts = ["" if token is None or id_ in special else text_of(token) for id_, token in enumerate(tokens)]
    return ["" if PART in text else text for text in texts]


def base_kinds(tokenizer: PreTrainedTokenizerFast, base_size: int) -> Int[Tensor, " base"]:
    """What each base row stands for, as an index of `KINDS`, by what its token writes.

    The tokenizer's decoder tells, to which SentencePiece's `▁` and byte-level BPE's `Ġ` are spaces. A word is a token
    that begins with a space and has letters or digits, so a word's beginning (`▁s`) counts as one too. An id without
    a token is special.
    """
    text_of, special = _text_of(tokenizer), set(tokenizer.all_special_ids)
    kinds = np.full(base_size, KINDS.index("special"))
    for token, id_ in tokenizer.get_vocab().items():
        if id_ < base_size and id_ not in special and not RESERVED.fullmatch(token):
            kinds[id_] = KINDS.index(_kind(text_of(token)))
    return torch.from_numpy(kinds)


def reference_rows(tokenizer: PreTrainedTokenizerFast) -> ReferenceRows:
    """The rows of the byte pieces `<0x00>`..`<0xFF>` that no text is encoded to; without such pieces, of other tokens.

    Below 0x80 a byte is reached where its character is encoded to it. Above, all bytes that occur in UTF-8
    are held to be reachable, by characters that the vocabulary lacks. Where there are no byte pieces (byte-level
    BPE), the rows are those that Land & Bartolo (2024, arXiv 2405.05417) call unreachable, tokens whose text is encoded
    without them, here in each of `CONTEXTS`, bytes that UTF-8 never has, and reserved tokens. Parts of letters are
    left out: they are reached by other letters.
    """
    vocabulary = tokenizer.get_vocab()
    pieces = {int(found[1], 16): id_ for token, id_ in vocabulary.items() if (found := BYTE_PIECE.fullmatch(token))}
    if pieces:
        ids = sorted(id_ for byte, id_ in pieces.items() if not _is_reached(tokenizer, byte, id_))
        return ReferenceRows(tuple(ids), "byte pieces that no text is encoded to" if ids else "text reaches all bytes")
    text_of = _text_of(tokenizer)
    reserved = {id_ for token, id_ in vocabulary.items() if RESERVED.fullmatch(token)}
    texts = {id_: text_of(token) for token, id_ in vocabulary.items() if id_ not in tokenizer.all_special_ids}
    never = set(map(chr, NEVER_IN_UTF8)) if _is_byte_level(tokenizer) else set()
    bytes_ = {vocabulary[letter] for letter in never & vocabulary.keys()}
    whole = {id_: text for id_, text in texts.items() if text and PART not in text and id_ not in reserved}
    ids = sorted(reserved | bytes_ | _unreached(tokenizer, whole))
    meaning = "tokens that no text is encoded to, and reserved ones"
    return ReferenceRows(tuple(ids), meaning if ids else "every token is reached by text, and none is reserved")


def _unreached(tokenizer: PreTrainedTokenizerFast, texts: dict[int, str]) -> set[int]:
    """Ids whose text is encoded without them, wherever it stands."""
    open_ = texts
    for context in CONTEXTS:
        if not open_:
            break
        encoded = tokenizer([context.format(text) for text in open_.values()], add_special_tokens=False)["input_ids"]
        open_ = {id_: text for (id_, text), ids in zip(open_.items(), encoded, strict=True) if id_ not in ids}
    return set(open_)


def _is_reached(tokenizer: PreTrainedTokenizerFast, byte: int, id_: int) -> bool:
    if byte >= 0x80:
        return byte not in NEVER_IN_UTF8
    ids: list[int] = tokenizer(f"a{chr(byte)}", add_special_tokens=False)["input_ids"]
    return id_ in ids


def _kind(text: str) -> str:
    if PART in text:
        return "byte"
    if not any(letter.isalnum() for letter in text):
        return "punctuation"
    return "word" if text[0].isspace() else "piece"


def _text_of(tokenizer: PreTrainedTokenizerFast) -> Callable[[str], str]:
    """From a token to what it writes inside a line, its space included; U+FFFD for bytes and other parts of letters."""
    decoder = tokenizer.backend_tokenizer.decoder

    def text(token: str) -> str:
        if BYTE_PIECE.fullmatch(token):
            return PART
        return decoder.decode(["a", token])[1:] if decoder else token.replace(SPACE, " ")

    return text


def _is_byte_level(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether tokens are written as letters that stand for bytes, as GPT-2 does."""
    decoder = tokenizer.backend_tokenizer.decoder
    return decoder is not None and b'"ByteLevel"' in decoder.__getstate__()
