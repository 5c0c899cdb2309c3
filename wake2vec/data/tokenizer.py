"""Base tokens by their own strings: what each base row stands for, and which rows no text reaches."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from wake2vec.data.backend import Spelling

KINDS = ("byte", "special", "punctuation", "piece", "word")
"""A byte, or a part of a letter; a control or reserved token, or none; no letter and no digit; letters without, or
with, a space before them."""

BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
RESERVED = re.compile(r"[<\[].*(reserved|unused).*[>\]]")
"""Names of rows that are kept for later use, as `<|reserved_special_token_7|>` and `[unused7]`."""
NEVER_IN_UTF8 = {0xC0, 0xC1, *range(0xF5, 0x100)}
"""Byte-level BPE writes each of these bytes as the letter of its number, as it does all that print in Latin-1."""
PART = "\ufffd"
ONE_PLACE = 0.99
FEWEST = 4
"""Special tokens that are taken for a place."""
CONTEXTS = ("{}", " {}", "a{}", "a {}", "{}a", "\n{}", "1{}", ".{}")
"""Where a token may be reached that isn't reached alone."""


@dataclass(frozen=True)
class ReferenceRows:
    """Base rows that no text reaches, onto which new rows may collapse."""

    ids: tuple[int, ...]
    """Empty where there are none."""
    meaning: str
    """What they are, or why there are none."""


def stands_by_itself(token: str) -> bool:
    """Whether no merges lead to a token because it is a byte or kept for later use."""
    return bool(BYTE_PIECE.fullmatch(token) or RESERVED.fullmatch(token))


def new_texts(tokenizer: PreTrainedTokenizerFast, ids: Iterable[int]) -> list[str]:
    """What tokens of any form write, without the space before."""
    text_of, added = text_of_tokens(tokenizer), tokenizer.backend_tokenizer.get_added_tokens_decoder()
    return [
        added[id_].content if id_ in added else text_of(str(tokenizer.convert_ids_to_tokens(id_))).strip()
        for id_ in ids
    ]


def base_texts(tokenizer: PreTrainedTokenizerFast, base_size: int) -> list[str]:
    """What each base token writes inside a line, with its leading space: ` upon`, `ing`.

    Empty for special tokens, for bytes (`<0x41>`, parts of a character) and for ids without a token.
    """
    text_of, special = text_of_tokens(tokenizer), set(tokenizer.all_special_ids)
    tokens = tokenizer.convert_ids_to_tokens(list(range(base_size)))
    texts = ["" if token is None or id_ in special else text_of(token) for id_, token in enumerate(tokens)]
    return ["" if PART in text else text for text in texts]


def base_kinds(tokenizer: PreTrainedTokenizerFast, base_size: int) -> Int[Tensor, " base"]:
    """What each base row stands for, as an index of `KINDS`, by what its token writes.

    The tokenizer's decoder tells, to which SentencePiece's `▁` and byte-level BPE's `Ġ` are spaces. A word is a token
    that begins with a space and has letters or digits, so a word's beginning (`▁s`) counts as one too. An id without
    a token is special.
    """
    text_of, special = text_of_tokens(tokenizer), set(tokenizer.all_special_ids)
    kinds = np.full(base_size, KINDS.index("special"))
    for token, id_ in tokenizer.get_vocab().items():
        if id_ < base_size and id_ not in special and not RESERVED.fullmatch(token):
            kinds[id_] = KINDS.index(_kind(text_of(token)))
    return torch.from_numpy(kinds)


def reference_rows(tokenizer: PreTrainedTokenizerFast, rows: Float[Tensor, "rows dim"]) -> ReferenceRows:
    """The rows of the byte pieces `<0x00>`..`<0xFF>` that no text is encoded to; without such pieces, of other tokens.

    Below 0x80 a byte is reached where its character is encoded to it. Above, all bytes that occur in UTF-8
    are held to be reachable, by characters that the vocabulary lacks. Where there are no byte pieces (byte-level
    BPE), the rows are those that Land & Bartolo (2024, arXiv 2405.05417) call unreachable, tokens whose text is encoded
    without them, here in each of `CONTEXTS`, bytes that UTF-8 never has, and reserved tokens. Parts of letters are
    left out: they are reached by other letters. A base without any of these may still have special tokens that its
    training never showed: those whose rows lie in one place (`_in_one_place`), beginning, end, padding and unknown
    left out. `rows` are the base rows, which nothing else is decided by.
    """
    vocabulary = tokenizer.get_vocab()
    pieces = {int(found[1], 16): id_ for token, id_ in vocabulary.items() if (found := BYTE_PIECE.fullmatch(token))}
    if pieces:
        ids = sorted(id_ for byte, id_ in pieces.items() if not _is_reached(tokenizer, byte, id_))
        return ReferenceRows(tuple(ids), "byte pieces that no text is encoded to" if ids else "text reaches all bytes")
    text_of = text_of_tokens(tokenizer)
    reserved = {id_ for token, id_ in vocabulary.items() if RESERVED.fullmatch(token)}
    texts = {id_: text_of(token) for token, id_ in vocabulary.items() if id_ not in tokenizer.all_special_ids}
    never = set(map(chr, NEVER_IN_UTF8)) if Spelling(tokenizer.backend_tokenizer).byte_level else set()
    bytes_ = {vocabulary[letter] for letter in never & vocabulary.keys()}
    whole = {id_: text for id_, text in texts.items() if text and PART not in text and id_ not in reserved}
    ids = sorted(reserved | bytes_ | _unreached(tokenizer, whole))
    if ids:
        return ReferenceRows(tuple(ids), "tokens that no text is encoded to, and reserved ones")
    ids = _in_one_place(_special_ids(tokenizer), rows)
    meaning = "special tokens whose rows lie in one place: training never showed them"
    return ReferenceRows(tuple(ids), meaning if ids else "every token is reached by text, and none is reserved")


def _special_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Of the special tokens but those that every text has: beginning, end, padding, unknown."""
    marked = tokenizer.backend_tokenizer.get_added_tokens_decoder().items()
    used = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id}
    return sorted({id_ for id_, token in marked if token.special} - used)


def _in_one_place(ids: Sequence[int], rows: Float[Tensor, "rows dim"]) -> list[int]:
    """The rows at cosine >= `ONE_PLACE` to the one that is nearest to all; none where that isn't most of them.

    Rows that are never a target get the same gradient step after step and end in one place; rows of tokens that are
    used don't: in SmolLM2 11 of the 17 special tokens have a mean cosine above .99999 (docs/log.md).
    """
    known = [id_ for id_ in ids if id_ < len(rows)]
    units = F.normalize(rows[known].double(), dim=1)
    cosines = units @ units.T
    if len(known) < FEWEST:
        return []
    near = cosines[int(cosines.median(1).values.argmax())] >= ONE_PLACE
    return [id_ for id_, is_near in zip(known, near.tolist(), strict=True) if is_near] if near.sum() >= FEWEST else []


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


def text_of_tokens(tokenizer: PreTrainedTokenizerFast) -> Callable[[str], str]:
    """From a token to what it writes inside a line, its space included; U+FFFD for bytes and other parts of letters."""
    decoder = tokenizer.backend_tokenizer.decoder

    def text(token: str) -> str:
        if BYTE_PIECE.fullmatch(token):
            return PART
        return decoder.decode(["a", token])[1:] if decoder else token.replace("▁", " ")

    return text
