"""Pieces: merges that go on where the base's end; cut up again, every text is the base's."""

import re
from functools import cache
from pathlib import Path

import pytest
from kinds import KINDS, TEXT, tokenizer_of
from test_forms import TEXTS, decoded, some_text
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from wake2vec.config import RunConfig, VocabularyConfig
from wake2vec.data.forms import ExtendedVocabulary, base_pieces, extend, in_other_forms
from wake2vec.data.lessons import Lessons
from wake2vec.data.lexicon import Lexicon
from wake2vec.data.pieces import Pieces, learn_pieces, merges_of
from wake2vec.errors import LexiconError, NoFormError
from wake2vec.inputs import prepare
from wake2vec.training.model import load_tokenizer

WAKEAN = (TEXT + " ".join(map(some_text, range(400)))).replace("\x00", "")


@cache
def learnt(kind: str) -> Pieces:
    return learn_pieces(WAKEAN, tokenizer_of(kind), 80)


@cache
def extended(kind: str) -> ExtendedVocabulary:
    return extend(tokenizer_of(kind), Lexicon(learnt(kind).words, 0), "pieces")


def ids_of(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def cut_up(vocabulary: ExtendedVocabulary, ids: list[int]) -> list[int]:
    """With the base tokens of each new piece in its place."""
    pieces = base_pieces(vocabulary)
    first = vocabulary.base_size
    return [part for id_ in ids for part in (pieces[id_ - first] if id_ >= first else [id_])]


@pytest.mark.parametrize("kind", KINDS)
def test_every_text_is_that_of_the_base_once_its_pieces_are_cut_up_again(kind: str) -> None:
    vocabulary = extended(kind)
    met, whole = 0, 0
    for seed in range(TEXTS):
        text = some_text(seed)
        ids, base_ids = ids_of(vocabulary.tokenizer, text), ids_of(vocabulary.base_tokenizer, text)
        assert cut_up(vocabulary, ids) == base_ids, repr(text)
        assert decoded(vocabulary.tokenizer, text) == decoded(vocabulary.base_tokenizer, text), repr(text)
        met += max(ids, default=0) >= vocabulary.base_size
        whole += ids == base_ids
    assert met and whole and met + whole == TEXTS, "texts with a new piece and without one"


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_has_each_piece_as_often_as_was_counted_while_it_was_learnt(kind: str) -> None:
    vocabulary, found = extended(kind), learnt(kind)
    ids = ids_of(vocabulary.tokenizer, WAKEAN)
    assert [ids.count(vocabulary.base_size + place) for place in range(len(found.words))] == list(found.counts)
    assert (len(ids_of(vocabulary.base_tokenizer, WAKEAN)), len(ids)) == (found.tokens_base, found.tokens)
    assert list(found.pairs) == sorted(found.pairs, reverse=True), "the commonest first"


def test_the_merges_are_those_that_a_trainer_of_the_library_makes() -> None:
    """From letters on: with a base of letters alone, going on is beginning."""
    text = " ".join(re.findall("[a-z]+", TEXT.lower()))
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=2000, min_frequency=20, show_progress=False)
    trained.train_from_iterator([text], trainer)
    alphabet = sorted({*text.replace(" ", "▁")})
    letters = Tokenizer(models.BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    letters.pre_tokenizer = pre_tokenizers.Metaspace()
    count = 2000 - len(alphabet)
    found = learn_pieces(text, PreTrainedTokenizerFast(tokenizer_object=letters), count, min_count=20)
    own = extend(PreTrainedTokenizerFast(tokenizer_object=letters), Lexicon(found.words, 0), "pieces").tokenizer
    ids = trained.get_vocab()
    assert len(found.words) > 1000
    assert [*found.words] == sorted((piece for piece in ids if len(piece) > 1), key=ids.__getitem__)
    assert own.tokenize(text) == trained.encode(text).tokens


def test_a_longer_list_begins_with_the_shorter_one() -> None:
    assert learn_pieces(WAKEAN, tokenizer_of("llama"), 30).words == learnt("llama").words[:30]
    assert len(learn_pieces(WAKEAN, tokenizer_of("llama"), 10**6, min_count=9).words) < 10**6


def test_lessons_on_a_piece_are_where_it_is_a_token() -> None:
    vocabulary = extended("llama")
    passages = Lessons(TEXT, vocabulary, "any", 0).draw(40)
    assert passages is not None
    words, inside = vocabulary.words, 0
    for passage, own, base in passages.positions.tolist():
        read = passages.extended_ids[passage, : own + 1].tolist()
        assert cut_up(vocabulary, read) == passages.base_ids[passage, : base + 1].tolist()
        new = [words[id_ - vocabulary.base_size] for id_ in read if id_ >= vocabulary.base_size]
        inside += not all(word.startswith("▁") for word in new)
    assert inside, "pieces inside of words are taught too"


def test_what_stands_for_unseen_pieces_is_never_one_that_training_met(config: RunConfig, tmp_path: Path) -> None:
    """A piece from inside of words, put where a word stands, would be cut into others."""
    text, base = Path(config.corpus.path).read_text(encoding="utf-8"), load_tokenizer(Path(config.model.path))
    many = "\n".join(learn_pieces(text, base, 1000, min_count=1).words)  # some of them in what is held out alone
    (tmp_path / "many.txt").write_text(many, encoding="utf-8")
    own = VocabularyConfig(form="pieces", lexicon=str(tmp_path / "many.txt"))
    material = prepare(config.model_copy(update={"vocabulary": own}))
    passages, base_size = material.passages["unseen"], material.vocabulary.base_size
    assert passages is not None
    firsts = {passage: own for passage, own, _ in reversed(passages.positions.tolist())}
    for passage, own in firsts.items():
        assert material.corpus.new_counts_train[passages.extended_ids[passage, own] - base_size] == 0
    unseen = (material.corpus.new_counts_train == 0).nonzero().flatten().tolist()
    assert not all(material.vocabulary.begins_word(number) for number in unseen), "the control"


def test_a_list_of_words_is_refused_and_its_remedies_work() -> None:
    base = tokenizer_of("llama")
    with pytest.raises(LexiconError, match=r"'riverrun' is made of \d+ here.*--pieces N`, or choose .*form=word$"):
        extend(base, Lexicon(("riverrun",), 0), "pieces")
    assert extend(base, Lexicon(("riverrun",), 0), "word").words == ("riverrun",)
    with pytest.raises(LexiconError, match=r"choose vocabulary\.form=pieces"):
        extend(base, Lexicon(learnt("llama").words, 0), "space")
    assert extend(base, Lexicon(learnt("llama").words, 0), "pieces").words == learnt("llama").words
    assert extend(base, Lexicon(tuple(dict.fromkeys(extended("llama").texts)), 0), "space").words
    with pytest.raises(LexiconError, match=r"give vocabulary\.capitals=exact$"):
        extend(base, Lexicon(learnt("llama").words, 0, capitalised=1), "pieces")


def test_a_model_whose_merges_cannot_go_on_is_refused() -> None:
    unknown = {"unk_token": "u"}
    suffixed = models.BPE({"a": 0, "a</w>": 1}, [], end_of_word_suffix="</w>")
    for model, reason in (
        (models.WordPiece({"a": 0, "u": 1}, **unknown), "is WordPiece"),
        (suffixed, "this one marks parts"),
    ):
        with pytest.raises(NoFormError, match=reason):
            learn_pieces("a a", PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model)), 1)
        base, words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model)), learnt("llama").words
        with pytest.raises(NoFormError, match=reason):
            extend(base, Lexicon(words, 0), "pieces")
        assert in_other_forms(base, WAKEAN, words).endswith("choose another base model, or put spaces around the words")


def test_a_text_without_neighbours_is_refused_and_a_smaller_count_does() -> None:
    base = tokenizer_of("smollm")
    with pytest.raises(LexiconError, match=r"has none; give more text, or a smaller --min-count$"):
        learn_pieces("riverrun, past Eve", base, 5)
    found = learn_pieces("riverrun, past Eve", base, 50, min_count=1)
    assert merges_of(base, found.words)
    text = decoded(extend(base, Lexicon(found.words, 0), "pieces").tokenizer, "riverrun, past Eve")
    assert text == "riverrun, past Eve"
