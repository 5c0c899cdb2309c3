"""Capitals: which spellings of the lexicon's words become words of their own.

`exact`
    A word matches as the lexicon spells it, as in Phase 1: `riverrun` isn't `Riverrun`.
`added`
    The capitalised spelling of a word becomes a word too, where the text has it as a whole word and the lexicon
    hasn't. It gets a row of its own, so that decoding gives the letters' case back.
"""

import unicodedata
from collections.abc import Callable

import regex

from wake2vec.lexicon import WORD, Lexicon, fault_of

PART = regex.compile(r"[\p{L}\p{M}]+")
"""What lies between the apostrophes and hyphens of a word: tokens match there too."""


def with_capitals(lexicon: Lexicon, text: str, capitals: str) -> Lexicon:
    """The lexicon with the spellings that the choice adds from the text, behind its own words and in their order."""
    return CAPITALS[capitals](lexicon, text)


def capitalised(word: str) -> str:
    """`riverrun` -> `Riverrun`; the letters after the first stay as they are."""
    return word[:1].title() + word[1:]


def _exact(lexicon: Lexicon, text: str) -> Lexicon:
    return lexicon


def _added(lexicon: Lexicon, text: str) -> Lexicon:
    words = set(WORD.findall(text))
    written = words.union(*map(PART.findall, words))
    known = {unicodedata.normalize("NFC", word) for word in lexicon.words}
    spellings = dict.fromkeys(
        spelling
        for word in lexicon.words
        if (spelling := capitalised(word)) in written
        and unicodedata.normalize("NFC", spelling) not in known
        and fault_of(spelling) is None
    )
    return Lexicon((*lexicon.words, *spellings), lexicon.duplicates, len(spellings))


CAPITALS: dict[str, Callable[[Lexicon, str], Lexicon]] = {"exact": _exact, "added": _added}
