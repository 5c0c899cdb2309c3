"""Lessons on new words: passages of the training text in which each stands, in new tokens and in base tokens."""

import re
from collections import defaultdict
from collections.abc import Container

import numpy as np

from wake2vec.config import Contexts
from wake2vec.data.forms import ExtendedVocabulary
from wake2vec.data.places import Passages, passage_at, passages_around, trimmed
from wake2vec.errors import CorpusError

Span = tuple[int, int]
AT_ONCE = 64
"""Words that are tried together, when the first with a lesson is looked for."""
CHUNK = re.compile(r"(?<!\S)(?=\S)(([^\W_]*)(?:\S*[^\W_])?)")
"""What stands between white space, up to its last letter or digit; and up to the first that is none."""


class Lessons:
    """Drawn by a seed: each word in turn, in a new order each time round, at one of its own places.

    A word that has none stands where it does in other capitals, and else where another new word does, as far as
    `contexts` lets it; the others have no lesson. A piece has its own places alone, inside of words too.
    """

    def __init__(
        self,
        text: str,
        vocabulary: ExtendedVocabulary,
        contexts: Contexts,
        seed: int,
        chosen: Container[int] | None = None,
    ) -> None:
        """`chosen`: the words that have lessons, by number; None: all.

        Raises:
            CorpusError: none of them has one.
        """
        self._text, self._vocabulary = text, vocabulary
        self._words = vocabulary.texts
        places = (_of_pieces if vocabulary.of_pieces else _of_words)(text, vocabulary, contexts)
        self._places = {
            number: found for number, found in enumerate(places) if found and (chosen is None or number in chosen)
        }
        self._seed = seed
        self.begin()
        rounds = range(0, len(self._places), AT_ONCE)
        if all(self.draw(AT_ONCE) is None for _ in rounds):  # most often the first has some
            raise CorpusError(
                "distillation needs new words that stand in the training text as whole words: none does in this form; "
                "give init.name=piece_mean and train.finish_steps=0"
            )
        self.begin()

    def begin(self) -> None:
        """From the first lesson on, again."""
        self._random = np.random.default_rng(self._seed)
        self._left: list[int] = []

    def draw(self, count: int) -> Passages | None:
        """Of the next so many words; None: none of them is a new token where it stands."""
        return passages_around([self._next() for _ in range(count)], self._vocabulary, most_positions=None)

    def _next(self) -> tuple[str, str, str]:
        if not self._left:
            self._left = self._random.permutation(list(self._places)).tolist()
        number = self._left.pop()
        spans = self._places[number]
        left, _, right = passage_at(self._text, *spans[self._random.integers(len(spans))])
        return left, self._words[number], right


def _of_words(text: str, vocabulary: ExtendedVocabulary, contexts: Contexts) -> list[list[Span]]:
    """Where each new word may stand."""
    spellings = whole_places(text, {word.casefold() for word in vocabulary.words})
    own: dict[str, list[Span]] = {word: [] for word in vocabulary.words}
    for start, end in sorted(span for spans in spellings.values() for span in spans):
        if (word := text[start:end]) in own:
            own[word].append((start, end))
    if contexts == "own":
        spellings = {}
    rest = [span for spans in own.values() for span in spans] if contexts == "any" else []
    return [own[word] or spellings.get(word.casefold()) or rest for word in vocabulary.words]


def _of_pieces(text: str, vocabulary: ExtendedVocabulary, contexts: Contexts) -> list[list[Span]]:
    """Where each new piece is a token: a part of a word can't stand in another's place."""
    return [[trimmed(text, *span) for span in spans] for spans in vocabulary.places_in(text)]


def whole_places(text: str, words: set[str]) -> dict[str, list[Span]]:
    """Where each of these words stands, in any capitals, between white space and what isn't a letter or digit.

    Words are to be given, and are named, as `str.casefold` makes them.
    """
    found: dict[str, list[Span]] = defaultdict(list)
    for match in CHUNK.finditer(text):
        for word in {*match.groups()}:
            if (name := word.casefold()) in words:
                found[name].append((match.start(), match.start() + len(word)))
    return found
