"""Lessons: each word in the places of the text that it has, its own before any other."""

import pytest
from kinds import TEXT, tokenizer_of

from wake2vec.config import Contexts
from wake2vec.data.forms import ExtendedVocabulary, extend
from wake2vec.data.lessons import Lessons, whole_places
from wake2vec.data.lexicon import Lexicon
from wake2vec.errors import CorpusError

OWN = "the riverrun. Another riverrun, and the Moyvane; riverruns no-one riverrun's 'riverrun"


def vocabulary_of(*words: str) -> ExtendedVocabulary:
    return extend(tokenizer_of("llama"), Lexicon(words, 0), "space")


def drawn(text: str, contexts: Contexts, seed: int = 0) -> list[str]:
    """What six lessons read up to their word and behind it."""
    vocabulary = vocabulary_of("riverrun", "moyvane", "bababad")
    passages = Lessons(text, vocabulary, contexts, seed).draw(6)
    assert passages is not None
    return [vocabulary.tokenizer.decode(ids).replace("<unk>", "") for ids in passages.extended_ids]


def test_a_word_is_whole_between_white_space_and_what_is_no_letter() -> None:
    found = whole_places(OWN, {"riverrun", "no", "no-one", "moyvane"})
    assert {word: [OWN[start - 4 : end] for start, end in spans] for word, spans in found.items()} == {
        "riverrun": ["the riverrun", "her riverrun", "one riverrun"],
        "no": ["uns no"],
        "no-one": ["uns no-one"],
        "moyvane": ["the Moyvane"],
    }


@pytest.mark.parametrize(("contexts", "of_each"), [("own", (6, 0, 0)), ("spellings", (3, 3, 0)), ("any", (2, 2, 2))])
def test_a_word_without_a_place_of_its_own_stands_where_the_choice_lets_it(
    contexts: Contexts, of_each: tuple[int, int, int]
) -> None:
    found = drawn(f"the riverrun {'of the land ' * 9} and Moyvane;", contexts)
    places = ("the riverrun", "and moyvane;", "the bababad")
    assert tuple(sum(place in text for text in found) for place in places) == of_each


def test_lessons_hang_on_the_seed_alone() -> None:
    assert drawn(OWN, "any", 1) == drawn(OWN, "any", 1)
    assert len({tuple(drawn(OWN, "any", seed)) for seed in range(8)}) > 1, "the control"


def test_each_word_comes_once_a_round() -> None:
    words = [f"{word}quark" for word in ("alpha", "beta", "gamma", "delta")]
    vocabulary = vocabulary_of(*words)
    lessons = Lessons(" ".join([TEXT[:500], *words, "end"]), vocabulary, "own", 0)
    for _ in range(3):
        passages = lessons.draw(len(words))
        assert passages is not None
        firsts = {passage: at for passage, at, _ in reversed(passages.positions.tolist())}
        assert sorted(passages.extended_ids[passage, at].item() for passage, at in firsts.items()) == list(
            range(vocabulary.base_size, vocabulary.size)
        )


def test_without_any_whole_word_what_helps_is_said() -> None:
    with pytest.raises(CorpusError, match=r"give init\.name=piece_mean and train\.finish_steps=0"):
        Lessons("nothing of the list stands here", vocabulary_of("riverrun"), "any", 0)
