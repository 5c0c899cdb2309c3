"""Spacing artefacts of a text: word boundaries lost (`thenext song`) and added (`bri ngs`), found without its tokens.

Words are runs of letters, case-folded, with inner apostrophes and hyphens. *Known* is a word of the training text or
of the lexicon. *Parts* are what a fusion is put together from: words that the training text holds twice, or once where
the lexicon has them too; one of one or two letters must be at least one word in a thousand, or nearly every unknown
word would be a fusion. Words of the lexicon that the text lacks are no parts: a lexicon holds fragments (`bri`, `ngs`).
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import regex

WORD = regex.compile(r"['’]?\p{L}[\p{L}\p{M}]*(?:['’-]\p{L}[\p{L}\p{M}]*)*['’]?")
MARKS = ",;:.!?"
SHORT_LETTERS = 2
SHORT_WORD_SHARE = 0.001
MOST_PARTS = 3
Z_95 = 1.959964
"""95 % of a normal distribution lie within so many standard deviations."""


@dataclass(frozen=True, eq=False)
class WordStock:
    """What is a word, and what a fusion may be put together from; all case-folded."""

    known: frozenset[str]
    parts: frozenset[str]

    def fused_parts(self, word: str) -> int:
        """The fewest parts, 2 or 3, that an unknown word is put together from; 1 for a known word, or if it isn't."""
        if word in self.known:
            return 1
        return next((count for count in range(2, MOST_PARTS + 1) if self._is_chain(word, count)), 1)

    def is_split(self, left: str, right: str) -> bool:
        """Whether two neighbours are halves of a known word, and not words both."""
        return left + right in self.known and not (left in self.parts and right in self.parts)

    def _is_chain(self, letters: str, count: int) -> bool:
        if count == 1:
            return letters in self.parts
        ends = range(1, len(letters))
        return any(letters[:end] in self.parts and self._is_chain(letters[end:], count - 1) for end in ends)


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
        return wilson_interval(self.fused + self.split, self.boundaries) if self.boundaries else None


def stock_words(train_text: str, lexicon: Iterable[str]) -> WordStock:
    """The words of the training part of a corpus and of a lexicon."""
    counts = Counter(word for match in WORD.finditer(train_text) if _is_plain(word := match.group().casefold()))
    listed = {word.casefold() for word in lexicon}
    least_of_short = SHORT_WORD_SHARE * counts.total()
    parts = {
        word
        for word, count in counts.items()
        if (count >= 2 or word in listed) and (len(word) > SHORT_LETTERS or count >= least_of_short)
    }
    return WordStock(frozenset(counts) | listed, frozenset(parts))


def count_spacing(texts: Iterable[str], stock: WordStock) -> SpacingCensus:
    """Count the boundaries of some texts, and those that are fused or split.

    Fused: an unknown word that is two or three parts (one or two boundaries lost), or a letter right behind one of
    the marks `,;:.!?`. Split: two words parted by one space that together are a known word and aren't parts both, or
    a space right before such a mark. Neither can be told where the outcome is a word: `in deed`, `to day`.
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


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share of `count` independent trials, at least one (Wilson 1927). Within 0 and 1."""
    share, z2 = hits / count, Z_95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z_95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(centre - half, 0.0), min(centre + half, 1.0)


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


def _is_plain(word: str) -> bool:
    """Letters alone: what stands at an apostrophe is an abbreviation (`th'`, `tax'd`), neither a word nor a part."""
    return not any(letter in "'’-" for letter in word)
