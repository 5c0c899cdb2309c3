import random
import re
import shutil
from pathlib import Path

import mistral_common
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, LlamaTokenizer, PreTrainedTokenizerFast

from wake2vec import METRICS
from wake2vec.config import DEFAULT_FOLDER
from wake2vec.data.audit import audit, boundary_faults
from wake2vec.data.audit_record import Cut, Unseen
from wake2vec.data.corpus import build_corpus, split_text
from wake2vec.data.forms import WORD_FORMS, ExtendedVocabulary, base_pieces, extend
from wake2vec.data.lexicon import Lexicon, read_lexicon
from wake2vec.errors import LexiconError

BASE = AutoTokenizer.from_pretrained(DEFAULT_FOLDER / "base_model")
LEXICON = read_lexicon(DEFAULT_FOLDER / "lexicon.txt")
EXTENDED = {form: extend(BASE, LEXICON, form) for form in WORD_FORMS}


def cut(tokenizer: PreTrainedTokenizerFast, text: str) -> list[str]:
    return list(tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"]))


@pytest.mark.parametrize("form", WORD_FORMS)
def test_new_ids_follow_the_base_without_a_gap_and_the_base_stays_as_it_is(form: str) -> None:
    extended = EXTENDED[form]
    vocabulary = extended.tokenizer.get_vocab()
    prefix = "▁" if form == "space" else ""
    assert [vocabulary[prefix + word] for word in extended.words] == list(range(extended.base_size, extended.size))
    assert len(vocabulary) == extended.size
    assert len(BASE.get_vocab()) == extended.base_size
    assert len(extended.words) + extended.words_in_base == len(LEXICON.words)


def test_each_form_cuts_as_its_docstring_says() -> None:
    lexicon = Lexicon(("haue", "hore"), 0)
    cuts = {
        form: " ".join(cut(extend(BASE, lexicon, form).tokenizer, "to haue (haue) haues shore")) for form in WORD_FORMS
    }
    assert cuts == {
        "phase1": "▁to ▁ haue ▁( haue ) ▁ haue s ▁s hore",
        "word": "▁to ▁ haue ▁( haue ) ▁ha ues ▁sh ore",
        "space": "▁to ▁haue ▁( ha ue ) ▁ha ues ▁sh ore",
    }


@pytest.mark.parametrize("form", ["word", "space"])
@given(text=st.text(alphabet="abcdehinorstuv ,.'\n-é☃XY", max_size=60))
def test_text_without_a_new_word_keeps_its_base_pieces(form: str, text: str) -> None:
    words = set(re.findall(r"[^\W_]+", text))
    if not words & set(LEXICON.words):
        assert cut(EXTENDED[form].tokenizer, text) == cut(BASE, text)


@pytest.mark.parametrize("form", WORD_FORMS)
@given(
    words=st.lists(
        st.sampled_from([*LEXICON.words[::50], "the", "shore", "café", "☃", ",", "-", " ", "\n"]), max_size=12
    )
)
def test_decoding_gives_the_text_back(form: str, words: list[str]) -> None:
    text = "Enter " + " ".join(words)  # the base itself drops a space at the very start
    tokenizer = EXTENDED[form].tokenizer
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


@pytest.mark.parametrize("form", WORD_FORMS)
def test_a_saved_tokenizer_cuts_alike(form: str, tmp_path: Path) -> None:
    EXTENDED[form].tokenizer.save_pretrained(tmp_path)
    text = (DEFAULT_FOLDER / "corpus.txt").read_text(encoding="utf-8")[:5000]
    assert cut(AutoTokenizer.from_pretrained(tmp_path), text) == cut(EXTENDED[form].tokenizer, text)


def test_base_pieces_spell_the_words() -> None:
    pieces = base_pieces(EXTENDED["phase1"])
    assert [BASE.decode(ids).strip() for ids in pieces] == list(EXTENDED["phase1"].words)


def test_special_tokens_and_known_words_cannot_be_added() -> None:
    with pytest.raises(LexiconError, match="special tokens can't be added as words: </s>"):
        extend(BASE, Lexicon(("</s>",), 0), "word")
    with pytest.raises(LexiconError, match="the base vocabulary has all 1 words already"):
        extend(BASE, Lexicon(("the",), 0), "space")


def test_fused_and_split_boundaries_are_counted_by_the_letters_before_them() -> None:
    assert boundary_faults("to the next song", "to thenext song") == (1 / 3, 0)
    assert boundary_faults("he brings it", "he bri ngs it") == (0, 1 / 2)
    assert boundary_faults("a b", "a b") == (0, 0)


def audit_of(extended: ExtendedVocabulary, text: str) -> dict[str, float]:
    corpus = build_corpus(*split_text(text, 0.1), extended, 8)
    counts = corpus.new_counts_train.numpy(), corpus.new_counts_validation.numpy()
    return audit(extended, text, Lexicon(extended.words, 0), *counts).numbers()


def test_the_audit_counts_words_cut_inside() -> None:
    text = "the shore and the hore\n" * 40
    numbers = {form: audit_of(extend(BASE, Lexicon(("hore",), 0), form), text) for form in WORD_FORMS}
    assert {form: numbers[form]["vocabulary.words_cut_share"] for form in WORD_FORMS} == {
        "phase1": 0.2,
        "word": 0,
        "space": 0,
    }
    assert numbers["space"]["vocabulary.tokens"] < numbers["word"]["vocabulary.tokens"]


@pytest.fixture(scope="module")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    """A tokenizer of 32,000 pieces with byte fallback, of Llama's kind."""
    folder = tmp_path_factory.mktemp("mistral")
    shutil.copy(Path(mistral_common.__file__).parent / "data" / "tokenizer.model.v1", folder / "tokenizer.model")
    return LlamaTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("form", WORD_FORMS)
def test_44_000_words_go_into_32_000_pieces(form: str, mistral: PreTrainedTokenizerFast) -> None:
    text = (DEFAULT_FOLDER / "corpus.txt").read_text(encoding="utf-8")
    known = sorted(set(re.findall(r"[^\W\d_]{3,}", text)))
    chooser = random.Random(0)
    words = dict.fromkeys(known)
    while len(words) < 44_000:
        words[chooser.choice(known).lower() + chooser.choice(known).lower()] = None
    extended = extend(mistral, Lexicon(tuple(words), 0), form)
    numbers = audit_of(extended, text)
    assert extended.base_size == 32_000
    assert numbers["vocabulary.round_trip"] == 1
    assert numbers["vocabulary.words_added"] + numbers["vocabulary.words_in_base"] == 44_000
    if form == "space":
        assert numbers["vocabulary.tokens"] < 0.9 * numbers["vocabulary.tokens_base"]


def test_the_audit_names_the_worst_cuts_and_the_words_that_training_misses() -> None:
    text = "for thee, the shore and hee\n" * 40 + "Selfe Vpon vpon " * 9
    lexicon = Lexicon(("hee", "vpon", "Vpon", "selfe", "zephyrous"), 0)
    extended = extend(BASE, lexicon, "phase1")
    counts = np.array([3, 0, 0, 0, 0]), np.array([1, 7, 0, 2, 0])
    found = audit(extended, text, lexicon, *counts)
    assert found.worst_cuts == [Cut(new="hee", word="thee", places=40)]
    assert found.worst_unseen == [Unseen(word=word, written=9) for word in ("Vpon", "selfe", "vpon")]
    assert (found.unseen_written, found.validation_only) == (3, 2)
    assert (found.train_unseen, found.train_seen_1, found.train_seen_2_4, found.train_seen_5_up) == (4, 0, 1, 0)
    assert (found.validation_unseen, found.validation_seen_1) == (2, 1)
    assert (found.validation_seen_2_4, found.validation_seen_5_up) == (1, 1)
    assert {f"vocabulary.{name}" for name in ("worst_cuts", "worst_unseen")}.isdisjoint(found.numbers())
    assert set(found.numbers()) <= set(METRICS)
