"""The lexicon: the words to add, as a user's file lists them.

Capitals: which spellings of the lexicon's words become words of their own.

`exact`
    A word matches as the lexicon spells it, as in Phase 1: `riverrun` isn't `Riverrun`.
`added`
    The capitalised spelling of a word becomes a word too, where the text has it as a whole word and the lexicon
    hasn't. It gets a row of its own, so that decoding gives the letters' case back.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import regex

from wake2vec.errors import LexiconError

MOST_WORDS = 1_000_000
MOST_LETTERS = 64
_LETTERS = r"\p{L}[\p{L}\p{M}]*"
WORD = regex.compile(rf"(?<![\p{{L}}\p{{M}}\p{{N}}_]){_LETTERS}(?:['’\-‐]{_LETTERS})*(?![\p{{L}}\p{{M}}\p{{N}}_])")
"""A word of a text: letters with their marks, apostrophes and hyphens inside; nothing that touches a digit."""


@dataclass(frozen=True)
class Lexicon:
    """Words in the file's order, each once."""

    words: tuple[str, ...]
    duplicates: int
    """Lines dropped because the same word stands above them."""
    capitalised: int = 0
    """How many of the last words are spellings that `wake2vec.data.lexicon` added."""


def read_lexicon(path: str | Path) -> Lexicon:
    """Read one word a line; blank lines and lines that begin with `#` are passed over, a BOM and CRs stripped.

    Raises:
        LexiconError: the file is missing, not UTF-8 or empty, or some of its lines can't be words; the
            message names the first ten of them.
    """
    lexicon, faults = parse_lexicon(path)
    if faults:
        more = f"; and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise LexiconError(f"{path}: {'; '.join(faults[:10])}{more}: correct or remove these lines")
    return lexicon


def parse_lexicon(path: str | Path) -> tuple[Lexicon, list[str]]:
    """The words that can be added, and what is wrong with each of the other lines.

    Raises:
        LexiconError: the file is missing, not UTF-8, empty or too long.
    """
    lines = read_text(Path(path), "lexicon", LexiconError).splitlines()
    entries = [(number, line.strip(" \t")) for number, line in enumerate(lines, 1)]
    entries = [(number, word) for number, word in entries if word and not word.startswith("#")]
    if not entries:
        raise LexiconError(f"a lexicon needs at least one word: {path} has none")
    if len(entries) > MOST_WORDS:
        raise LexiconError(f"a lexicon holds at most {MOST_WORDS:,} words: {path} has {len(entries):,}; shorten it")
    faults, words = [], []
    first: dict[str, tuple[int, str]] = {}
    for number, word in entries:
        fault = fault_of(word)
        if fault is None:
            other_number, other = first.setdefault(unicodedata.normalize("NFC", word), (number, word))
            if other != word:
                fault = f"{word!r} is line {other_number}'s word in another Unicode form"
        if fault is None:
            words.append(word)
        else:
            faults.append(f"line {number}: {fault}")
    distinct = tuple(dict.fromkeys(words))
    return Lexicon(distinct, duplicates=len(words) - len(distinct)), faults


def read_text(path: Path, what: str, error: type[LexiconError] | type[Exception]) -> str:
    """The file's text, without a byte order mark and with `\\n` line ends; `error` if that can't be had."""
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        raise error(f"the {what} must be a text file: {path} {state}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as fault:
        raise error(f"the {what} must be UTF-8: {path} isn't at byte {fault.start}; convert it") from None
    except OSError as fault:
        raise error(f"the {what} can't be read: {path}: {fault.strerror}") from None
    if not text.strip():
        raise error(f"the {what} must not be empty: {path}")
    return text


_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")


def is_unspaced(word: str) -> bool:
    """Whether a word has a letter of a script that is written without spaces between words, as Chinese and Thai."""
    return _UNSPACED.search(word) is not None


def fault_of(word: str) -> str | None:
    """Why `word` can't be added, or None."""
    for letter in word:
        if letter.isspace():
            return f"{word!r} has a space inside; a word is one token"
        if unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Co", "Cn"}:
            return f"{word!a} has the invisible character U+{ord(letter):04X}"
        if letter == "▁":
            return f"{word!r} has U+2581, which stands for a space in tokenizers"
    if len(word) > MOST_LETTERS:
        return f"{word[:20]!r}... has {len(word)} letters, more than {MOST_LETTERS}"
    if word.startswith("<") and word.endswith(">"):
        return f"{word!r} has the form of a special token"
    return None


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
