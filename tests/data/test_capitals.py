from functools import cache

from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from wake2vec.config import DEFAULT_FOLDER
from wake2vec.data.forms import WORD_FORMS, ExtendedVocabulary, extend
from wake2vec.data.lexicon import Lexicon, with_capitals

BASE = AutoTokenizer.from_pretrained(DEFAULT_FOLDER / "base_model")
LEXICON = Lexicon(("haue", "loue", "Giue", "giue", "o'er", "vpon"), duplicates=2)


def test_a_capitalised_spelling_is_added_where_the_text_has_it_as_a_whole_word_and_the_lexicon_has_not() -> None:
    text = "Haue louely Loues Giue O'er Vponthat x_Vpon selfe-Loue"
    added = with_capitals(LEXICON, text, "added")
    assert added == Lexicon((*LEXICON.words, "Haue", "Loue", "O'er"), duplicates=2, capitalised=3)
    assert with_capitals(added, text, "exact") is added


def test_nothing_is_added_by_exact() -> None:
    assert with_capitals(LEXICON, "Haue", "exact") == LEXICON


@cache
def extended(lexicon: Lexicon, form: str) -> ExtendedVocabulary:
    """Few capitals come of many texts."""
    return extend(BASE, lexicon, form)


@given(words=st.lists(st.sampled_from(["Haue", "haue", "HAUE", "Loue", "loue", "the", "\n", ",", "O'er"]), max_size=12))
def test_decoding_gives_the_letters_case_back(words: list[str]) -> None:
    text = "Enter " + " ".join(words)
    for form in WORD_FORMS:
        tokenizer = extended(with_capitals(LEXICON, text, "added"), form).tokenizer
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
