import random
import re
from pathlib import Path

import pytest

from bench.forms import decoder_before, decoder_now, legacy_base
from wake2vec.config import DEFAULT_FOLDER
from wake2vec.data.audit import boundary_faults
from wake2vec.data.corpus import split_text
from wake2vec.data.forms import extend
from wake2vec.data.lexicon import read_lexicon
from wake2vec.metrics.spacing import SpacingCensus, count_spacing, excess_interval, fused_recall, stock_words
from wake2vec.training.model import load_tokenizer

TRAIN, HELD_OUT = split_text((DEFAULT_FOLDER / "corpus.txt").read_text(encoding="utf-8"), 0.1)
STOCK = stock_words(TRAIN, read_lexicon(DEFAULT_FOLDER / "lexicon.txt").words)
OWN = count_spacing([HELD_OUT], STOCK)
SMALL = stock_words(
    "the next song brings a man to the next song, brings a man to th' end\n" * 9, ["bri", "ngs", "ladle"]
)


def counted(text: str) -> tuple[int, int, int]:
    census = count_spacing([text], SMALL)
    return census.boundaries, census.fused, census.split


@pytest.mark.parametrize(
    ("text", "boundaries", "fused", "split"),
    [
        ("The next song brings a man", 5, 0, 0),
        ("Thenext song brings a man", 5, 1, 0),
        ("to thenextsong", 3, 2, 0),  # three words in a row: two boundaries lost
        ("songthe manbrings", 1, 0, 0),  # words both, which the text never has side by side
        ("the song,brings", 2, 1, 0),
        ("the song , brings", 2, 0, 1),
        ("the song bri ngs a man", 5, 0, 1),  # `bri` and `ngs` are in the lexicon, but not words of the text
        ("the song bri\nngs a man", 5, 0, 0),  # a line's end isn't one space
        ("amadle man", 1, 0, 0),  # `madle` is no word, so nothing tells
        ("athend", 0, 0, 0),  # `th` stands at an apostrophe: no word
        ("ladle th'end the-next", 2, 0, 0),  # a word of the lexicon is known
        ("", 0, 0, 0),
    ],
)
def test_each_rule(text: str, boundaries: int, fused: int, split: int) -> None:
    assert counted(text) == (boundaries, fused, split)


def test_texts_are_counted_apart() -> None:
    assert count_spacing(["the next", "song,"], SMALL) == SpacingCensus(words=3, boundaries=1, fused=0, split=0)


def test_the_held_out_text_of_the_corpus_has_few() -> None:
    assert OWN.rate is not None
    assert OWN.rate < 0.001
    assert OWN.words == pytest.approx(len(HELD_OUT.split()), rel=0.01)


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_planted_fusions_are_found(share: float) -> None:
    chooser = random.Random(0)
    planted = 0

    def fuse(match: re.Match[str]) -> str:
        nonlocal planted
        chosen = chooser.random() < share
        planted += chosen
        return "" if chosen else " "

    text = re.sub(r"(?<=[^\W\d_]) (?=[^\W\d_])", fuse, HELD_OUT)
    found = count_spacing([text], STOCK)
    recall = fused_recall(HELD_OUT, STOCK)
    assert recall is not None
    assert recall == pytest.approx(0.565, abs=0.005)
    assert abs((found.fused - OWN.fused) / planted - recall) < 3 * (recall * (1 - recall) / planted) ** 0.5
    assert found.split - OWN.split <= 2


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_planted_splits_are_found(share: float) -> None:
    chooser = random.Random(0)
    planted = 0

    def split(match: re.Match[str]) -> str:
        nonlocal planted
        if chooser.random() >= share:
            return match[0]
        planted += 1
        at = chooser.randrange(1, len(match[0]))
        return f"{match[0][:at]} {match[0][at:]}"

    text = re.sub(r"[^\W\d_]{4,}", split, HELD_OUT)
    found = count_spacing([text], STOCK)
    assert 0.85 < (found.split - OWN.split) / planted < 0.97
    assert (found.fused - OWN.fused) / planted < 0.1


def test_phase_1s_tokenizer_loses_the_space_before_new_words_in_decoding_and_it_is_seen(tmp_path: Path) -> None:
    base = load_tokenizer(legacy_base(tmp_path / "base"))
    vocabulary = extend(base, read_lexicon(DEFAULT_FOLDER / "lexicon.txt"), "phase1")
    assert vocabulary.tokenizer.tokenize("to the abate of abates") == ["▁to", "▁the", "▁abate", "▁of", "▁abate", "s"]
    ids = vocabulary.tokenizer(HELD_OUT, add_special_tokens=False)["input_ids"]
    assert decoder_now(vocabulary)(ids) == HELD_OUT
    before = decoder_before(vocabulary)(ids)
    assert boundary_faults(HELD_OUT, before) == (pytest.approx(0.112, abs=1e-3), 0)
    assert count_spacing([before], STOCK).rate == pytest.approx(0.059, abs=1e-3)


def test_the_excess_is_the_difference_with_newcombes_interval() -> None:
    # Newcombe 1998, table II, method 10: 56/70 less 48/80 is .2000, .0524 to .3339.
    found = excess_interval(SpacingCensus(71, 70, 50, 6), SpacingCensus(81, 80, 48, 0))
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert excess_interval(OWN, OWN) == pytest.approx((0, -0.0005, 0.0005), abs=1e-4)
    assert excess_interval(SpacingCensus(1, 0, 0, 0), OWN) is None


def test_a_run_of_more_than_three_words_is_left_alone() -> None:
    assert [STOCK.fused_parts("ofthe" * count) for count in (1, 2, 300)] == [2, 1, 1]
