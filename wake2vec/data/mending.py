"""Word lists as people have them, made into lexicons: spreadsheet exports, other encodings, other spellings.

A study takes a lexicon as it is, one word a line. What a list needs before is done here once, told, and written to a
file of its own.
"""

import csv
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wake2vec.data.lexicon import WORD, capitalised, delimiter_of, encoding_of, fault_of, read_bytes
from wake2vec.errors import LexiconError

DELIMITERS = {"\t": "tabs", ";": "semicolons", ",": "commas"}
HEADS = {"word", "words", "token", "tokens", "term", "lemma", "form", "type", "lexicon", "wort", "mot", "palabra"}


@dataclass(frozen=True)
class Mended:
    """A lexicon made of a list."""

    words: tuple[str, ...]
    """In the list's order, each once."""
    notes: tuple[str, ...]
    """What was done to the list, and what was left out of it."""


def mend(path: Path, column: int | None = None, text: str | None = None) -> Mended:
    """The words of a list: of one column of a table, in UTF-8, in the spelling that the text has.

    Raises:
        LexiconError: the file can't be read, has no such column, or no line that can be a word.
    """
    data = read_bytes(path, "word list", LexiconError)
    encoding = encoding_of(data)
    notes = [] if encoding == "utf-8-sig" else [f"read as {encoding.upper()}, written as UTF-8"]
    lines = data.decode(encoding, errors="replace").splitlines()
    entries = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if len(entries) < sum(bool(line.strip()) for line in lines):
        notes.append(f"{sum(line.lstrip().startswith('#') for line in lines):,} comments were left out")
    words = _column_of(entries, column, notes)
    if text is not None:
        words = _as_written(words, text, notes)
    faults = {word: fault for word in words if (fault := fault_of(word)) is not None}
    if faults:
        notes.append(f"{len(faults):,} lines can't be words and were left out, such as: {next(iter(faults.values()))}")
    usable: dict[str, str] = {}
    for word in words:
        if word not in faults:
            usable.setdefault(unicodedata.normalize("NFC", word), word)
    if not usable:
        fault = next(iter(faults.values()), "it has no words")
        raise LexiconError(f"a lexicon needs at least one word: {path}: {fault}; give another file or --column")
    if len(usable) < len(words) - len(faults):
        notes.append(f"{len(words) - len(faults) - len(usable):,} lines repeated a word and were left out")
    return Mended(tuple(usable.values()), tuple(notes))


def _column_of(entries: Sequence[str], column: int | None, notes: list[str]) -> list[str]:
    delimiter = delimiter_of(entries)
    rows = list(csv.reader(entries, delimiter=delimiter or "\x00"))
    width = max(map(len, rows), default=0)
    if column is not None and column > width:
        raise LexiconError(f"the list has {width} columns: there is no column {column}; give a --column up to {width}")
    columns = [[row[place].strip() if place < len(row) else "" for row in rows] for place in range(width)]
    chosen = column - 1 if column else max(range(width), key=lambda place: _word_share(columns[place]), default=0)
    words = list(columns[chosen]) if columns else []
    if delimiter is not None:
        notes.append(f"column {chosen + 1} of {width}, parted by {DELIMITERS[delimiter]}")
    if len(words) > 1 and words[0].casefold() in HEADS and (width > 1 or words.count(words[0]) == 1):
        notes.append(f"the head {words[0]!r} was left out")
        words = words[1:]
    return [word for word in words if word]


def _word_share(cells: Sequence[str]) -> tuple[float, int]:
    """How far a column is one of words: those with letters, then how many different ones."""
    with_letters = [cell for cell in cells if any(map(str.isalpha, cell)) and " " not in cell]
    return len(with_letters) / max(len(cells), 1), len(set(with_letters))


def _as_written(words: Iterable[str], text: str, notes: list[str]) -> list[str]:
    """Each word as the text has it: as it is listed, else in the first other way of `WAYS` in which the text has it."""
    known, done = known_in(text), Counter[str]()
    found = []
    for word in words:
        way, spelling = next(ways_written(word, known), ("", word))
        done.update([way] * bool(way))
        found.append(spelling)
    notes += [f"{count:,} words were written {way}, as the text has them" for way, count in done.items()]
    return found


WAYS: dict[str, Callable[[str], str]] = {
    "": lambda word: word,
    "with composed letters (NFC)": lambda word: unicodedata.normalize("NFC", word),
    "with decomposed letters (NFD)": lambda word: unicodedata.normalize("NFD", word),
    "in lower case": str.lower,
    "with a capital": lambda word: capitalised(word.lower()),
    "in capitals": str.upper,
    "in lower case, composed": lambda word: unicodedata.normalize("NFC", word.lower()),
    "in lower case, decomposed": lambda word: unicodedata.normalize("NFD", word.lower()),
    "with plain letters for compatible ones (NFKC)": lambda word: unicodedata.normalize("NFKC", word),
}
"""In what a word of a list and the same word of a text may differ."""


def known_in(text: str) -> set[str]:
    """The text's words, and its runs of letters between spaces."""
    return {*WORD.findall(text), *text.split()}


def written_otherwise(words: Iterable[str], text: str) -> dict[str, tuple[str, str]]:
    """Of words that a text hasn't as they are: the first way in which it has one, with such a word and its spelling."""
    known, found = known_in(text), dict[str, tuple[str, str]]()
    for word in words:
        if word not in text and (written := next(ways_written(word, known), None)):
            found.setdefault(written[0], (word, written[1]))
    return found


def ways_written(word: str, known: set[str]) -> Iterator[tuple[str, str]]:
    """The ways in which a text that has the words `known` has this one, as it is first, with the spellings."""
    return ((way, spelling) for way, change in WAYS.items() if (spelling := change(word)) in known)
