"""Places of new words in the held-out text, cut into new tokens and into base tokens: there a row shows what it tells.

Both cuts have the same letters, so that a model can be compared with itself: reading the new token, and reading the
word's base tokens as it always did.
"""

from bisect import bisect_right
from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from wake2vec.data.forms import ExtendedVocabulary

LEFT, RIGHT = 48, 32
"""Letters of a passage before a new word and behind it."""
MOST_PASSAGES = 128
MOST_POSITIONS = 4
"""Of a passage: behind the word's last letter, and behind the three tokens after it."""


@dataclass(frozen=True, eq=False)
class Passages:
    """Short pieces of text around a new word, in both vocabularies; right of a piece's end stands what isn't read."""

    extended_ids: Int[Tensor, "passages tokens"]
    base_ids: Int[Tensor, "passages base_tokens"]
    positions: Int[Tensor, "positions 3"]
    """Passage, token in `extended_ids`, token in `base_ids`: up to there both have the same letters."""

    @property
    def count(self) -> int:
        return len(self.extended_ids)

    def first(self, count: int) -> "Passages":
        """So many of them."""
        held = self.positions[self.positions[:, 0] < count]
        return Passages(self.extended_ids[:count], self.base_ids[:count], held)


def passages_around(
    places: Sequence[tuple[str, str, str]],
    vocabulary: ExtendedVocabulary,
    most_positions: int | None = MOST_POSITIONS,
    among: Container[int] | None = None,
) -> Passages | None:
    """Of these texts before a word, words and texts behind it; None: in none of them the word is a new token.

    `most_positions`: of each passage; None: all that it has. `among`: the new tokens that are meant, by number; None:
    all. A word may end in another one than it stands for where it is cut into pieces.
    """
    texts = ["".join(place) for place in places]
    extended: list[Tensor] = []
    base: list[Tensor] = []
    positions: list[tuple[int, int, int]] = []
    if not texts:
        return None
    in_new, in_base = (
        tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        for tokenizer in (vocabulary.tokenizer, vocabulary.base_tokenizer)
    )
    before = [] if vocabulary.bos_id is None else [vocabulary.bos_id]
    for number, (left, word, _) in enumerate(places):
        ids, ends = in_new["input_ids"][number], [end for _, end in in_new["offset_mapping"][number]]
        base_at = {end: at for at, (_, end) in enumerate(in_base["offset_mapping"][number])}
        word_end = len(left) + len(word)
        first = bisect_right(ends, word_end) - 1
        if first < 0 or ends[first] != word_end or ids[first] < vocabulary.base_size:
            continue
        if among is not None and ids[first] - vocabulary.base_size not in among:
            continue
        behind = range(first, len(ids))[:most_positions]
        whole = [at for at in behind if at + 1 == len(ids) or ends[at + 1] > ends[at]]  # not amid a letter's bytes
        positions += [
            (len(extended), len(before) + at, len(before) + base_at[ends[at]]) for at in whole if ends[at] in base_at
        ]
        extended.append(torch.tensor(before + ids))
        base.append(torch.tensor(before + in_base["input_ids"][number]))
    if not positions:
        return None
    return Passages(
        pad_sequence(extended, batch_first=True), pad_sequence(base, batch_first=True), torch.tensor(positions)
    )


def held_out_places(text: str, vocabulary: ExtendedVocabulary) -> list[tuple[str, str, str]]:
    """Some of the places at which a new token is a whole word of the text, spread evenly over it."""
    spans = sorted(trimmed(text, *span) for spans in vocabulary.places_in(text) for span in spans)
    whole = [(start, end) for start, end in spans if start < end and _is_word(text, start, end)]
    chosen = sorted({*np.linspace(0, len(whole) - 1, MOST_PASSAGES).astype(int).tolist()}) if whole else []
    return [passage_at(text, *whole[at]) for at in chosen]


def with_words(places: Sequence[tuple[str, str, str]], words: Sequence[str]) -> list[tuple[str, str, str]]:
    """The same places with other words in them, in the words' order; none without words or places."""
    spread = np.linspace(0, len(words) - 1, len(places)).astype(int).tolist() if words else []
    return [(left, words[at], right) for (left, _, right), at in zip(places, spread, strict=bool(words))]


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Without the space that a token may carry."""
    while start < end and text[start].isspace():
        start += 1
    return start, end


def _is_word(text: str, start: int, end: int) -> bool:
    return (start == 0 or text[start - 1].isspace()) and not text[end : end + 1].isalnum()


def passage_at(text: str, start: int, end: int) -> tuple[str, str, str]:
    """What stands before a word, the word, and what stands behind it; it begins with a word."""
    left = text[max(0, start - LEFT) : start]
    cut = left.find(" ") if start > LEFT else -1
    return left[cut + 1 :] if cut + 1 < len(left) else left, text[start:end], text[end : end + RIGHT]
