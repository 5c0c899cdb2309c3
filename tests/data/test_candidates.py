"""The words of a text: counted by hand, and whatever the text is, a lexicon that can be read and added."""

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from wake2vec import Candidates, Filters, LexiconError, find_candidates, lexicon_file, scores_file, tokens_saved
from wake2vec.config import DEFAULT_FOLDER
from wake2vec.data.forms import WORD_FORMS, extend
from wake2vec.data.lexicon import Lexicon, read_lexicon

BASE: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(DEFAULT_FOLDER / "base_model")
EVERY = Filters(min_count=1)
TEXT = "the haue Haue haue HAUE, Hamlet Hamlet o'erthrow o'erthrow haue1 _haue war-like- the\nhaue"


def written(candidates: Candidates) -> dict[str, tuple[int, int, int, int]]:
    return {one.word: (one.count, one.lower, one.capitalised, one.other) for one in candidates.kept}


def test_words_are_counted_by_spelling_and_listed_as_the_text_has_them() -> None:
    found = find_candidates(TEXT, BASE, Filters(min_count=2))
    assert written(found) == {"haue": (3, 3, 1, 1), "Hamlet": (2, 0, 2, 0), "o'erthrow": (2, 2, 0, 0)}
    assert (found.found.words, found.found.places) == (5, 12)  # the, haue, hamlet, o'erthrow, war-like
    assert {reason: tally.words for reason, tally in found.dropped.items() if tally.words} == {
        "one piece in the base": 1,
        "fewer than 2 times": 1,
    }


def test_a_word_rare_in_lower_case_is_listed_in_its_commonest_spelling() -> None:
    text = "haue Haue Haue loue loue Loue Loue Loue"
    assert list(written(find_candidates(text, BASE, Filters(min_count=2)))) == ["loue", "Haue"]


def test_novelty_and_score_follow_their_formulas() -> None:
    one = {one.word: one for one in find_candidates(TEXT, BASE, EVERY).kept}
    haue, unknown = one["haue"], one["o'erthrow"]
    assert unknown.zipf == 0
    assert unknown.novelty == 1
    assert haue.zipf == pytest.approx(1.44, abs=0.01)  # wordfreq's list of English
    assert haue.novelty == pytest.approx(1 - haue.zipf / 8)
    assert haue.pieces == len(BASE("a haue", add_special_tokens=False)["input_ids"]) - 1
    assert haue.score == pytest.approx(haue.novelty * 3 * (haue.pieces - 1))


def test_each_filter_drops_what_it_says() -> None:
    text = "haue heere heere abandonement banishment banishment"
    kept = {name: set(written(find_candidates(text, BASE, limits))) for name, limits in LIMITS.items()}
    everything = {"haue", "heere", "abandonement", "banishment"}
    assert kept == {
        "none": everything,
        "count": {"heere", "banishment"},
        "zipf": everything - {"banishment"},
        "short": everything - {"haue"},
        "long": {"haue", "heere"},
    }


LIMITS = {
    "none": EVERY,
    "count": Filters(min_count=2),
    "zipf": Filters(min_count=1, max_zipf=2.5),
    "short": Filters(min_count=1, min_letters=5),
    "long": Filters(min_count=1, max_letters=6),
}


def test_the_tokens_saved_are_those_of_the_extended_tokenizer() -> None:
    text = "we haue and haue " * 20
    found = find_candidates(text, BASE, EVERY)
    before, after = tokens_saved(found, text, BASE)
    assert before - after == sum(one.count * (one.pieces - 1) for one in found.kept)


def test_no_word_left_is_an_error_that_says_where_they_went() -> None:
    with pytest.raises(LexiconError, match=r"none of the text's 2 is left \(fewer than 3 times 2\): give more text"):
        find_candidates("haue haue loue", BASE, Filters(min_count=3))
    with pytest.raises(LexiconError, match=r"none of the text's 0 is left \(it has no words\)"):
        find_candidates("12 + 13", BASE, EVERY)


WORDLIKE = st.text(alphabet="abehouvAEHUé'’-‐̈ſßİςΣ가ﬁ\u00ad\u200d1_#▁ \n\tʼ", max_size=60)


@given(text=WORDLIKE | st.text(max_size=60), form=st.sampled_from(list(WORD_FORMS)))
@settings(max_examples=150)
def test_whatever_the_text_the_lexicon_can_be_read_and_added_in_each_form(
    text: str, form: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    try:
        found = find_candidates(text, BASE, EVERY)
    except LexiconError:
        return
    path = tmp_path_factory.mktemp("made") / "lexicon.txt"
    path.write_bytes(lexicon_file(found, ["made by:\na test"]))
    lexicon = read_lexicon(path)
    assert lexicon == found.lexicon()
    assert extend(BASE, lexicon, form).words == lexicon.words
    dropped = found.dropped.values()
    assert found.found.words == len(found.kept) + sum(tally.words for tally in dropped)
    spelled = sum(one.lower + one.capitalised + one.other for one in found.kept)
    assert found.found.places == spelled + sum(tally.places for tally in dropped)
    assert all(1 <= one.count <= one.lower + one.capitalised + one.other for one in found.kept)
    assert all(0 <= one.novelty <= 1 and one.score > 0 and one.word in text for one in found.kept)


def test_the_same_text_gives_the_same_bytes_and_scores_in_the_lists_order(tmp_path: Path) -> None:
    text = (DEFAULT_FOLDER / "corpus.txt").read_text(encoding="utf-8")[:50_000]
    once, again = (find_candidates(text, BASE, Filters()) for _ in range(2))
    assert lexicon_file(once, []) == lexicon_file(again, [])
    assert scores_file(once) == scores_file(again)
    rows = list(csv.DictReader(scores_file(once).decode().splitlines()))
    assert [row["word"] for row in rows] == list(once.lexicon().words)
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert once.lexicon() == Lexicon(tuple(row["word"] for row in rows), 0)
