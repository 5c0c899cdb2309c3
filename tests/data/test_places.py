"""Passages around new words: both cuts have the same letters up to where they are compared."""

import re

import pytest
from kinds import KINDS, TEXT, lexicon_of, tokenizer_of
from transformers import PreTrainedTokenizerFast

from wake2vec.data.forms import FORMS, extend
from wake2vec.data.lexicon import Lexicon
from wake2vec.data.places import MOST_POSITIONS, held_out_places, passages_around, with_words

HELD_OUT = TEXT[-20_000:]
WORDS = tuple(sorted(set(re.findall(r"[a-z]{8,}", HELD_OUT))))
"""Few of them are whole in a small vocabulary."""


def letters(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> str:
    return "".join(tokenizer.decode(ids).split())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_compared_has_the_same_letters_before_it(kind: str, form: str) -> None:
    base = tokenizer_of(kind)
    vocabulary = extend(base, lexicon_of(form, base, WORDS), form)
    places = held_out_places(HELD_OUT, vocabulary)
    passages = passages_around(places, vocabulary)
    assert passages is not None and passages.count > 20
    shifted = 0
    for passage, own, base in passages.positions.tolist():
        ids, base_ids = passages.extended_ids[passage].tolist(), passages.base_ids[passage].tolist()
        read = letters(vocabulary.tokenizer, ids[: own + 1])
        assert read == letters(vocabulary.base_tokenizer, base_ids[: base + 1])
        shifted += read != letters(vocabulary.base_tokenizer, base_ids[: base + 2])
    assert shifted > len(passages.positions) / 2, "the control: one token more is seen"
    firsts = {passage: own for passage, own, _ in reversed(passages.positions.tolist())}
    assert all(passages.extended_ids[passage, own] >= vocabulary.base_size for passage, own in firsts.items())
    assert len(passages.positions) <= MOST_POSITIONS * passages.count


def test_other_words_stand_in_the_same_places() -> None:
    vocabulary = extend(tokenizer_of("llama"), Lexicon((*WORDS, "riverrun", "bababad"), 0), "space")
    places = held_out_places(HELD_OUT, vocabulary)
    others = with_words(places, ["riverrun", "bababad"])
    assert [place[::2] for place in others] == [place[::2] for place in places]
    assert {word for _, word, _ in others} == {"riverrun", "bababad"}
    assert with_words(places, []) == [] and passages_around([], vocabulary) is None
