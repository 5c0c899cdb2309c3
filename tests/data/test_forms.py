"""Each token form on tokenizers of each kind: exact, and the base's tokens wherever no new one stands."""

import json
import os
import random
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from kinds import BYTE_LEVEL, KINDS, METASPACE, TEXT, lexicon_of, tokenizer_of
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from wake2vec.data.forms import FORMS, WORD_FORMS, ExtendedVocabulary, extend, in_other_forms, known_whole
from wake2vec.data.lexicon import Lexicon
from wake2vec.errors import NoFormError

TEXTS = int(os.environ.get("TEXTS", "60"))
"""Generated texts for each kind and form: `TEXTS=10000 pytest tests/data/test_forms.py -k generated`."""
WORDS = (
    *(
        "haue",
        "vpon",
        "loue",
        "selfe",
        "giue",
        "o'erthrow",
        "war-like",
        "th'",
        "'tis",
        "riverrun",
        "deathFête",
        "haue2",
    ),
    *(
        "générations",
        "brofèsor",
        "парадокс",
        "παράδοξος",
        "كلمة",
        "世界",
        "日本語",
        "ไทย",
        "cafe\u0301s",
        "2pence",
        "x_y",
    ),
    *("the", "this", "hore", "wil", "will", "king", "ing", "S", "parò", "²a", "naïve"),
)
"""Some of them every base has whole, some as pieces inside its words."""
AROUND = (
    *("the", "this", "shore", "will", "king", "made", "x", "S", "s", "1", "250", "²", "é", "\u0301", "ſ", "ﬁ", "_"),
    *(" ", " ", " ", " ", " ", "  ", "   ", "\n", "\n\n", " \n", "\t", "\r\n", "\u00a0", "\u200b", "\u3000", "\u2028"),
    *(",", ".", "'", "’", "'s", "'ll", "-", "(", ")", '"', "!", "!!", "...", "/", "<", ">", "|", "$", "+", "▁", "Ġ"),
    *(
        "世",
        "界",
        "人",
        "ไ",
        "ك",
        "☃",
        "👩‍🚀",
        "\x00",
        "\x7f",
        "http://a.b/c?d=1",
        "<0x41>",
        "<0xE4>",
        "<|assistant|>",
        "<s>",
    ),
    *("<|endoftext|>", "<image_soft_token>", "[INST]", "    "),
)


def some_text(seed: int) -> str:
    chooser = random.Random(seed)

    def part() -> str:
        word = chooser.choice(WORDS)
        match chooser.randrange(8):
            case 0 | 1:
                return f" {word}"
            case 2:
                return word
            case 3:
                return word[: chooser.randint(1, len(word))]
            case 4:
                return chooser.choice((word.upper(), word.title(), f" {word.title()}"))
            case _:
                return chooser.choice(AROUND)

    return "".join(part() for _ in range(chooser.randint(1, 14)))


Spans = list[tuple[int, int, int]]


def spans(tokenizer: PreTrainedTokenizerFast, text: str) -> Spans:
    """Start, end and id of each token."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return [(*span, id_) for span, id_ in zip(encoded["offset_mapping"], encoded["input_ids"], strict=True)]


def compared(extended: ExtendedVocabulary, text: str) -> Counter[str]:
    """New tokens, base tokens that they cut, and whether the others are the base's."""
    before, after = spans(extended.base_tokenizer, text), spans(extended.tokenizer, text)
    new = [span for span in after if span[2] >= extended.base_size]
    kept = Counter(after)  # a space that the tokenizer puts before a text has the place of the letter behind it
    replaced = []
    for span in before:
        if kept[span]:
            kept[span] -= 1
        elif any(_overlap(span, other) for other in new):
            replaced.append(span)
    cut = [span for span in replaced if not any(one[0] <= span[0] and span[1] <= one[1] for one in new)]
    rest = [span for span in after if span not in new and not any(_overlap(span, other) for other in cut)]
    other = list((Counter(before) - Counter(replaced)).elements())
    return Counter(new=len(new), cut=len(cut), differs=int(Counter(rest) != Counter(other)))


def _overlap(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


@cache
def extended(kind: str, form: str) -> ExtendedVocabulary:
    base = tokenizer_of(kind)
    return extend(base, lexicon_of(form, base, WORDS, TEXT + 9 * " ".join(WORDS)), form)


def decoded(tokenizer: PreTrainedTokenizerFast, text: str) -> str:
    return str(tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]))


def cut(tokenizer: PreTrainedTokenizerFast, text: str) -> str:
    return " ".join(tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"]))


@pytest.mark.parametrize("form", WORD_FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_generated_texts_are_kept_and_cut_by_the_base_wherever_no_new_token_stands(kind: str, form: str) -> None:
    vocabulary, total = extended(kind, form), Counter[str]()
    for seed in range(TEXTS):
        text = some_text(seed)
        assert decoded(vocabulary.tokenizer, text) == decoded(vocabulary.base_tokenizer, text), repr(text)
        found = compared(vocabulary, text)
        total += found + Counter(with_new=int(found["new"] > 0))
        if form == "space" or not found["new"]:
            assert not found["differs"] and not found["cut"], repr(text)
    assert TEXTS / 4 < total["with_new"] < TEXTS, "texts with a new token and without one"


def test_the_comparison_sees_a_base_token_that_is_cut_otherwise() -> None:
    vocabulary = extended("smollm", "phase1")  # it cuts words that the base knows whole
    assert compared(vocabulary, "a shore") == Counter(new=1, cut=1)
    assert compared(ExtendedVocabulary(tokenizer_of("gpt2"), tokenizer_of("llama"), 9999, (), 0), "a shore")["differs"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_token_of_the_base_moves_and_the_saved_folder_gives_the_same_ids(
    kind: str, form: str, tmp_path: Path
) -> None:
    base, vocabulary = tokenizer_of(kind), extended(kind, form)
    vocabulary.tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    special = {token.content for token in base.added_tokens_decoder.values() if token.special}
    assert special, "a kind without special tokens shows nothing"
    text = "".join(f"{token}haue vpon, {token} o'erthrow générations\n" for token in sorted(special))
    text += " ".join(map(some_text, range(30)))
    for tokenizer in (vocabulary.tokenizer, loaded):
        known = tokenizer.get_vocab()
        assert {token: known[token] for token in base.get_vocab()} == base.get_vocab()
        assert len(known) == vocabulary.size == 1 + max(known.values())
        assert all(tokenizer(token, add_special_tokens=False)["input_ids"][-1] == known[token] for token in special)
    assert loaded(text)["input_ids"] == vocabulary.tokenizer(text)["input_ids"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_that_the_base_has_whole_gets_no_row_with_word_and_space(kind: str) -> None:
    base = tokenizer_of(kind)
    whole = known_whole(base, WORDS)
    assert {"the", "will", "king"} <= whole
    assert whole.isdisjoint({"riverrun", "παράδοξος"})
    for form in ("word", "space"):
        assert whole.isdisjoint(extended(kind, form).words)


@pytest.mark.parametrize("kind", KINDS)
def test_every_new_word_is_one_token_where_its_form_matches_it(kind: str) -> None:
    for form in WORD_FORMS:
        vocabulary = extended(kind, form)
        first = vocabulary.base_size
        for index, word in enumerate(vocabulary.words):
            ids = vocabulary.tokenizer(f"a {word} a", add_special_tokens=False)["input_ids"]
            assert first + index in ids, (form, word)


def test_each_form_cuts_bytes_as_its_docstring_says() -> None:
    base = tokenizer_of("smollm")
    lexicon = Lexicon(("selfie", "hore", "o'er"), 0)
    cuts = {
        form: cut(extend(base, lexicon, form).tokenizer, "to selfie (selfie) shore o'er o'ers") for form in WORD_FORMS
    }
    assert cuts == {
        "phase1": "to Ġ selfie Ġ( selfie ) Ġs hore Ġ o'er Ġ o'er s",
        "word": "to Ġ selfie Ġ( selfie ) Ġshore Ġ o'er Ġo ' ers",
        "space": "to Ġselfie Ġ( sel f ie ) Ġshore Ġo'er Ġo ' ers",
    }


def test_a_base_with_a_space_before_each_text_has_its_forms() -> None:
    """ByteLevel's add_prefix_space, as RoBERTa's relatives have it; and Llama 2's file, whose normaliser does that."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    learner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>"],
        show_progress=False,
    )
    learner.train_from_iterator([" would haue made it"] * 9, trainer)
    prefixed = PreTrainedTokenizerFast(tokenizer_object=learner)
    for base in (prefixed, tokenizer_of("llama2")):
        for form in ("word", "space"):
            tokenizer = extend(base, Lexicon(("vpon", "o'erthrow"), 0), form).tokenizer
            for text in ("I would vpon\nmade (o'erthrow, vpon) made", "vpon, it", " o'erthrow ,vpon"):
                assert decoded(tokenizer, text) == decoded(base, text)
                assert decoded(base, text).strip() == text.strip()


@pytest.mark.parametrize("kind", ["WordPiece", "Unigram", "spaces"])
def test_a_refusal_names_its_own_reason_and_its_remedy_works(kind: str) -> None:
    pieces = ["[UNK]", "a", "haue", "vpon", "##e", "h", "▁", "▁a", "##a"]
    unknown = {"unk_token": "[UNK]"}
    made: dict[str, models.Model] = {
        "WordPiece": models.WordPiece(dict(zip(pieces, range(9), strict=True)), **unknown),
        "Unigram": models.Unigram([(piece, -1.0) for piece in pieces], 0),
        "spaces": models.BPE({piece: id_ for id_, piece in enumerate("avpon")}, []),
    }
    learner = Tokenizer(made[kind])
    metaspace = pre_tokenizers.Metaspace()
    learner.pre_tokenizer = metaspace if kind == "Unigram" else pre_tokenizers.WhitespaceSplit()
    base = PreTrainedTokenizerFast(tokenizer_object=learner)
    reason = {"spaces": "this one drops spaces, or splits at them"}.get(kind, f"this tokenizer's is {kind}")
    with pytest.raises(NoFormError, match=f"{reason}$"):
        extend(base, Lexicon(("riverrun",), 0), "space")
    text = "a riverrun a"
    advised = re.findall(r"vocabulary\.form=(\w+)", in_other_forms(base, text, ("riverrun",)))
    assert advised and "space" not in advised
    for form in advised:
        extended = extend(base, Lexicon(("riverrun",), 0), form)
        assert extended.base_size in extended.tokenizer(text)["input_ids"]


@pytest.mark.parametrize("form", FORMS)
def test_new_ids_follow_the_highest_of_a_base_whose_ids_have_gaps(form: str) -> None:
    state = json.loads(tokenizer_of("smollm").backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary["Ġking"] = 7000
    base = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)))
    made = extend(base, lexicon_of(form, base, ("riverrun", "brillig"), 3 * " riverrun brillig"), form)
    assert made.base_size == 7001
    assert sorted(made.tokenizer.get_vocab().values())[-3:] == [7000, 7001, 7002]
    assert decoded(made.tokenizer, "the king brillig<|im_start|> riverrun") == "the king brillig<|im_start|> riverrun"


def test_the_kinds_are_what_they_are_named_for() -> None:
    inside = {kind: len(json.loads(tokenizer_of(kind).backend_tokenizer.to_str())["model"]["vocab"]) for kind in KINDS}
    outside = {kind for kind, size in inside.items() if size < len(tokenizer_of(kind))}
    assert outside == {"gpt2", "llama3", "qwen", "olmo", "falcon", "phi3", "gemma"}, "special tokens of both sorts"
    assert all("Ġking" in tokenizer_of(kind).get_vocab() for kind in BYTE_LEVEL)
    assert all("▁king" in tokenizer_of(kind).get_vocab() for kind in METASPACE)
