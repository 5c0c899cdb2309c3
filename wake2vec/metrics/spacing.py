"""Spacing artefacts of a text: word boundaries lost (`thenext song`) and added (`bri ngs`), found without its tokens.

What a fusion is put together from must stand side by side in the training text. Were any two words enough, a model that
makes up words (`courtion`) would seem to lose spaces: such words are some 1 % of what a small model writes. So what is
found is almost surely there, and about half of what is there is found (`fused_recall` says how much).
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import regex

from wake2vec.metrics.registry import Metric, Part, Shown, When, with_interval
from wake2vec.metrics.statistics import wilson_interval
from wake2vec.workfolder import Numbers

METRICS = (
    Metric("sample.words", "words that the model wrote in all samples", unit="words", when=When.END),
    Metric("sample.fused_share", "word boundaries lost, of all in the samples", better="lower", when=When.END),
    Metric("sample.split_share", "word boundaries added, of all in the samples", better="lower", when=When.END),
    *with_interval(
        Metric(
            "sample.spacing_rate",
            "fused and split boundaries, of all in the samples",
            better="lower",
            null="sample.spacing_rate_corpus",
            when=When.END,
            shown=Shown("spacing artefacts", "spacing", first=19),
        )
    ),
    Metric(
        "sample.spacing_rate_corpus",
        "the same rate of the held-out text: its null",
        when=When.END,
        compares=False,
        part=Part.NULL,
        of="sample.spacing_rate",
    ),
    Metric(
        "sample.fused_recall",
        "share of the held-out text's boundaries found, were they fused",
        when=When.END,
        compares=False,
    ),
    *with_interval(
        Metric(
            "sample.spacing_excess",
            "spacing rate of the samples less the held-out text's",
            better=0.0,
            null=0.0,
            when=When.END,
            shown=Shown("spacing excess", "spacing excess", first=20),
        )
    ),
)

WORD = regex.compile(r"['’]?\p{L}[\p{L}\p{M}]*(?:['’-]\p{L}[\p{L}\p{M}]*)*['’]?")
"""A word as written: unlike the lexicon's it has the apostrophes at its ends (`th'`, `'tis`), and may touch a digit."""
MARKS = ",;:.!?"
SHORT_LETTERS, SHORT_WORD_SHARE = 2, 0.001
"""A word of so few letters must make up so much of the text: others are letters by themselves, or abbreviations."""


@dataclass(frozen=True, eq=False)
class WordStock:
    """What is a word, and which words stand side by side; all case-folded."""

    known: frozenset[str]
    """Words of the training text or of the lexicon: never a fusion."""
    words: frozenset[str]
    """Words of the training text that aren't chance: it holds them twice, or once and the lexicon has them too. (Words
    of the lexicon that the text lacks may be fragments, such as `bri` and `ngs`.)"""
    pairs: frozenset[str]
    """Two such words with nothing but white space between them somewhere in the training text, as `left right`."""

    def fused_parts(self, word: str) -> int:
        """The fewest parts, 2 or 3, that an unknown word is put together from; 1 for a known word, or if it isn't."""
        if word in self.known:
            return 1
        ends = range(1, len(word))
        starts = [(word[:end], word[end:]) for end in ends if word[:end] in self.words]
        if any(f"{left} {right}" in self.pairs for left, right in starts):
            return 2
        chains = any(
            f"{left} {rest[:end]}" in self.pairs and f"{rest[:end]} {rest[end:]}" in self.pairs
            for left, rest in starts
            for end in range(1, len(rest))
        )
        return 3 if chains else 1

    def is_split(self, left: str, right: str) -> bool:
        """Whether two neighbours are halves of a known word, and not words both."""
        return left + right in self.known and not (left in self.words and right in self.words)


@dataclass(frozen=True)
class SpacingCensus:
    """What `count_spacing` counts."""

    words: int
    boundaries: int
    """Places where one word ends and the next begins: those with white space, and those that lost it."""
    fused: int
    split: int

    @property
    def rate(self) -> float | None:
        """Share of the boundaries that are fused or split, 0 up, lower is better; None where there are none.

        Its null isn't 0 but the rate of the corpus's own text, whose rare compounds are fusions to the rule.
        """
        return (self.fused + self.split) / self.boundaries if self.boundaries else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the rate (`wilson_interval`)."""
        return None if self.rate is None else wilson_interval(self.rate, float(self.boundaries))


def stock_words(train_text: str, lexicon: Iterable[str]) -> WordStock:
    """The words of the training part of a corpus and of a lexicon."""
    found = [(match.group().casefold(), match.span()) for match in WORD.finditer(train_text)]
    counts = Counter(word for word, _ in found if _is_plain(word))
    listed = {word.casefold() for word in lexicon}
    least_of_short = SHORT_WORD_SHARE * counts.total()
    words = {
        word
        for word, count in counts.items()
        if (count >= 2 or word in listed) and (len(word) > SHORT_LETTERS or count >= least_of_short)
    }
    pairs = {
        f"{left} {right}"
        for (left, (_, end)), (right, (start, _)) in pairwise(found)
        if left in words and right in words and train_text[end:start].isspace()
    }
    return WordStock(frozenset(counts) | listed, frozenset(words), frozenset(pairs))


def count_spacing(texts: Iterable[str], stock: WordStock) -> SpacingCensus:
    """Count the boundaries of some texts, and those that are fused or split.

    Fused: an unknown word that is two or three words in a row (one or two boundaries lost), each pair of which stands
    side by side in the training text; or a letter right behind one of the marks `,;:.!?`. Split: two neighbours parted
    by one space that together are a known word and aren't words both; or a space right before such a mark. Neither
    can be told where the outcome is words again: `in deed`, `to day`.
    """
    words = boundaries = fused = split = 0
    for text in texts:
        matches = list(WORD.finditer(text))
        found = [match.group().casefold() for match in matches]
        words += len(found)
        lost = sum(stock.fused_parts(word) - 1 for word in found if _is_plain(word))
        for index in range(1, len(found)):
            gap = text[matches[index - 1].end() : matches[index].start()]
            if len(gap) == 1 and gap in MARKS:
                lost += 1
            elif any(letter.isspace() for letter in gap):
                boundaries += 1
                left, right = found[index - 1 : index + 1]
                halves = gap == " " and _is_plain(left) and _is_plain(right) and stock.is_split(left, right)
                split += halves or (len(gap) > 1 and gap[0] == " " and gap[1] in MARKS)
        boundaries += lost
        fused += lost
    return SpacingCensus(words, boundaries, fused, split)


def fused_recall(text: str, stock: WordStock) -> float | None:
    """Share of a text's own boundaries that would be found, were each fused by itself; None where it has none.

    A share of found fusions, divided by it, is about the share of all. 0 to 1, a property of corpus and lexicon.
    """
    found = [(match.group().casefold(), match.span()) for match in WORD.finditer(text)]
    fusions = [
        left + right
        for (left, (_, end)), (right, (start, _)) in pairwise(found)
        if text[end:start] == " " and _is_plain(left) and _is_plain(right)
    ]
    return sum(stock.fused_parts(word) == 2 for word in fusions) / len(fusions) if fusions else None


def excess_interval(text: SpacingCensus, corpus: SpacingCensus) -> tuple[float, float, float] | None:
    """A text's rate less the corpus's own, with its 95 % interval: value, low, high; -1 to 1, 0 is null and best.

    The interval is that of a difference of two shares (Newcombe 1998, method 10); None where either has no boundary.
    """
    if text.rate is None or corpus.rate is None or text.interval is None or corpus.interval is None:
        return None
    excess = text.rate - corpus.rate
    below = math.hypot(text.rate - text.interval[0], corpus.interval[1] - corpus.rate)
    above = math.hypot(text.interval[1] - text.rate, corpus.rate - corpus.interval[0])
    return excess, excess - below, excess + above


def sample_numbers(samples: list[str], prompt: str, stock: WordStock, corpus: SpacingCensus) -> Numbers:
    """Spacing artefacts of what was written, without the prompt, beside those of the corpus's own text."""
    census = count_spacing([text.removeprefix(prompt) for text in samples], stock)
    low, high = census.interval or (None, None)
    excess, excess_low, excess_high = excess_interval(census, corpus) or (None, None, None)
    return {
        "sample.words": float(census.words),
        "sample.fused_share": census.fused / census.boundaries if census.boundaries else None,
        "sample.split_share": census.split / census.boundaries if census.boundaries else None,
        "sample.spacing_rate": census.rate,
        "sample.spacing_rate_low": low,
        "sample.spacing_rate_high": high,
        "sample.spacing_rate_corpus": corpus.rate,
        "sample.spacing_excess": excess,
        "sample.spacing_excess_low": excess_low,
        "sample.spacing_excess_high": excess_high,
    }


def _is_plain(word: str) -> bool:
    """Letters alone: what stands at an apostrophe is an abbreviation (`th'`, `tax'd`), neither a word nor a part."""
    return not any(letter in "'’-" for letter in word)
