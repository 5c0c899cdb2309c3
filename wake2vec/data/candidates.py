"""Candidates: the words of a text that a base tokenizer splits, and what each would be worth as a token.

A word is written in lower case if the text has it so at least `min_count` times, otherwise in its commonest spelling
(`Hamlet`): every word listed is one that the text has. What is counted for the score is that spelling alone, since a
token matches as it is written.

Zipf frequencies are those of English in `wordfreq` (Speer 2022, doi 10.5281/zenodo.7199437): log10 of the times that a
word occurs in 10^9 words, about 1 to 8; 0 means that its lists, which reach down to 1, don't have the word. Of a word
with an apostrophe or a hyphen inside it may be an estimate from the parts.
"""

import csv
import io
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from importlib.metadata import version

from transformers import PreTrainedTokenizerFast

from wake2vec.config import Form
from wake2vec.data.forms import extend, pieces_of, without_row
from wake2vec.data.lexicon import WORD, Lexicon, capitalised, fault_of, list_of_words
from wake2vec.errors import LexiconError

ZIPF_TOP = 8.0
"""The scale's upper end: a word that were a tenth of all words. `the` has 7.73."""


@dataclass(frozen=True)
class Filters:
    """Which words aren't wanted; None: no limit."""

    min_count: int = 2
    """Least occurrences, in the spelling listed."""
    max_zipf: float | None = None
    min_letters: int | None = None
    max_letters: int | None = None


@dataclass(frozen=True)
class Candidate:
    """A word of the text."""

    word: str
    count: int
    """Times that the text has it in this spelling."""
    lower: int
    """Times that the text has it in lower case."""
    capitalised: int
    other: int
    """Times in other spellings: all capitals, capitals inside."""
    zipf: float
    pieces: int
    """Base tokens that spell it after a space."""

    @property
    def novelty(self) -> float:
        """How strange the word is to English: 1 - zipf / 8, from 0 to 1; 1 is a word that general English hasn't."""
        return 1 - min(self.zipf, ZIPF_TOP) / ZIPF_TOP

    @property
    def score(self) -> float:
        """novelty x count x (pieces - 1), above 0: the tokens it would save, weighted by its strangeness."""
        return self.novelty * self.count * (self.pieces - 1)


@dataclass(frozen=True)
class Tally:
    """Words, and the places of the text where they stand in any spelling."""

    words: int
    places: int


@dataclass(frozen=True)
class Candidates:
    """What became of a text's words."""

    found: Tally
    dropped: dict[str, Tally]
    """By the first filter that a word fails, under a phrase for it, in the filters' order."""
    kept: tuple[Candidate, ...]
    """By score, highest first; equal ones by word."""

    @property
    def places(self) -> int:
        """Places of the text where a kept word stands as it is listed."""
        return sum(candidate.count for candidate in self.kept)

    def lexicon(self) -> Lexicon:
        return Lexicon(tuple(candidate.word for candidate in self.kept), duplicates=0)


def find_candidates(text: str, base: PreTrainedTokenizerFast, filters: Filters) -> Candidates:
    """Count the text's words and keep those that the base splits and the filters let through.

    Raises:
        LexiconError: no word is left.
    """
    groups = _spellings(text)
    found = Tally(len(groups), sum(group.total() for group in groups.values()))
    words = {_listed(group, filters.min_count): group for group in groups.values()}
    pieces = {word: len(ids) for word, ids in zip(words, pieces_of(base, words), strict=True)}
    dropped = {}
    for reason, fails in _filters(base, filters, pieces, words).items():
        failed = [word for word in words if fails(word)]
        dropped[reason] = Tally(len(failed), sum(words.pop(word).total() for word in failed))
    if not words:
        counts = ", ".join(f"{reason} {tally.words:,}" for reason, tally in dropped.items() if tally.words)
        raise LexiconError(
            f"a lexicon needs at least one word, and none of the text's {found.words:,} is left "
            f"({counts or 'it has no words'}): give more text, or looser limits"
        )
    kept = [_candidate(word, group, pieces[word]) for word, group in words.items()]
    return Candidates(found, dropped, tuple(sorted(kept, key=lambda one: (-one.score, one.word))))


def tokens_saved(
    candidates: Candidates, text: str, base: PreTrainedTokenizerFast, form: Form = "space"
) -> tuple[int, int]:
    """Tokens of the text in the base, and with the kept words added in a form.

    Raises:
        ModelError: the base can't have that form.
    """
    extended = extend(base, candidates.lexicon(), form).tokenizer
    before, after = (len(one(text, add_special_tokens=False)["input_ids"]) for one in (base, extended))
    return before, after


def lexicon_file(candidates: Candidates, source: Iterable[str]) -> bytes:
    """The word list, one word a line; the lines of `source`, which say where it is from, are comments above it."""
    header = [
        *source,
        f"zipf: wordfreq {version('wordfreq')}, English",
        f"{len(candidates.kept)} words, by score, highest first; equal ones by code points",
        "score: (1 - zipf/8) x count x (base pieces - 1), count being that of the spelling listed",
    ]
    return list_of_words(header, (candidate.word for candidate in candidates.kept))


def scores_file(candidates: Candidates) -> bytes:
    """The kept words with all that is known of them, as CSV in the order of the word list."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    names = [field.name for field in fields(Candidate)]
    writer.writerow([*names, "novelty", "score"])
    for one in candidates.kept:
        writer.writerow([*(getattr(one, name) for name in names), f"{one.novelty:.5f}", f"{one.score:.4f}"])
    return table.getvalue().encode()


def _spellings(text: str) -> dict[str, Counter[str]]:
    """Each word of the text, whatever its case and Unicode form, with its spellings."""
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for spelling, count in Counter(WORD.findall(text)).items():
        groups[_folded(spelling)][spelling] += count
    return groups


def _folded(spelling: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", spelling).lower())


def _listed(group: Counter[str], min_count: int) -> str:
    """The spelling that a lexicon lists: lower case if that is frequent enough, else the commonest."""
    lower = {spelling: count for spelling, count in group.items() if spelling == spelling.lower()}
    spellings = lower if max(lower.values(), default=0) >= min_count else group
    # Of equally common ones the last in code points, where lower case comes after capitals.
    return max(spellings, key=lambda spelling: (spellings[spelling], spelling))


def _filters(
    base: PreTrainedTokenizerFast,
    filters: Filters,
    pieces: dict[str, int],
    groups: dict[str, Counter[str]],
) -> dict[str, Callable[[str], bool]]:
    """What each filter drops, in their order; those without a limit aren't there."""
    rowless = without_row(base, tuple(groups))
    least, commonest, shortest, longest = filters.min_count, filters.max_zipf, filters.min_letters, filters.max_letters
    chosen: dict[str, Callable[[str], bool]] = {
        "one piece in the base": lambda word: pieces[word] <= 1,
        # Some of the forms would give it no row.
        "a piece inside the base's words": lambda word: word in rowless,
        "too long or odd for a token": lambda word: fault_of(word) is not None,
        f"fewer than {least} times": lambda word: groups[word][word] < least,
    }
    if shortest is not None:
        chosen[f"fewer than {shortest} letters"] = lambda word: _letters(word) < shortest
    if longest is not None:
        chosen[f"more than {longest} letters"] = lambda word: _letters(word) > longest
    if commonest is not None:
        chosen[f"zipf above {commonest:g}"] = lambda word: _zipf(word) > commonest
    return chosen


def _letters(word: str) -> int:
    return sum(letter.isalpha() for letter in word)


def _candidate(word: str, group: Counter[str], pieces: int) -> Candidate:
    lower = sum(count for spelling, count in group.items() if spelling == spelling.lower())
    first = sum(
        count for spelling, count in group.items() if spelling == capitalised(spelling.lower()) != spelling.lower()
    )
    return Candidate(word, group[word], lower, first, group.total() - lower - first, _zipf(word), pieces)


def _zipf(word: str) -> float:
    from wordfreq import zipf_frequency  # a quarter of a second, which other commands needn't wait for

    return zipf_frequency(word, "en")
