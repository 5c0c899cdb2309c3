"""The lexicon: the words to add, as a user's file lists them.

Capitals: which spellings of the lexicon's words become words of their own.

`exact`
    A word matches as the lexicon spells it, as in Phase 1: `riverrun` isn't `Riverrun`.
`added`
    The capitalised spelling of a word becomes a word too, where the text has it as a whole word and the lexicon
    hasn't. It gets a row of its own, so that decoding gives the letters' case back.
"""

import codecs
import io
import shlex
import stat
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import regex

from wake2vec.errors import LexiconError

MOST_WORDS = 1_000_000
MOST_LETTERS = 64
JOINERS = "\u200c\u200d"
"""Letters that aren't seen: they keep two letters apart, or together, as in Persian words and in emoji."""
SPACE = "▁"
"""Begins a piece that has the space before a word: `wake2vec.data.pieces`."""
_LETTERS = rf"\p{{L}}[\p{{L}}\p{{M}}{JOINERS}]*"
WORD = regex.compile(rf"(?<![\p{{L}}\p{{M}}\p{{N}}_]){_LETTERS}(?:['’\-‐]{_LETTERS})*(?![\p{{L}}\p{{M}}\p{{N}}_])")
"""A word of a text: letters with their marks and joiners, apostrophes and hyphens inside; nothing that touches a
digit."""


@dataclass(frozen=True)
class Lexicon:
    """Words in the file's order, each once."""

    words: tuple[str, ...]
    duplicates: int
    """Lines dropped because the same word stands above them."""
    capitalised: int = 0
    """How many of the last words are spellings that `wake2vec.data.lexicon` added."""
    commented: tuple[str, ...] = ()
    """Lines that are passed over as comments, and look like words: `#hashtag`."""


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
    numbered = [(number, line.strip(" \t")) for number, line in enumerate(lines, 1) if line.strip(" \t")]
    entries = [(number, word) for number, word in numbered if not word.startswith("#")]
    if not entries:
        raise LexiconError(
            f"a lexicon needs at least one word: {path} has none, its {len(numbered):,} lines begin with # and are "
            "comments; add words, one a line"
        )
    if len(entries) > MOST_WORDS:
        raise LexiconError(f"a lexicon holds at most {MOST_WORDS:,} words: {path} has {len(entries):,}; shorten it")
    _check_list([word for _, word in entries], path)
    faults, words = [], []
    first: dict[str, tuple[int, str]] = {}
    for number, word in entries:
        fault = fault_of(word.removeprefix(SPACE) or word)
        if fault is None:
            other_number, other = first.setdefault(unicodedata.normalize("NFC", word), (number, word))
            if other != word:
                fault = f"{word!r} is line {other_number}'s word in another Unicode form"
        if fault is None:
            words.append(word)
        else:
            faults.append(f"line {number}: {fault}")
    distinct = tuple(dict.fromkeys(words))
    commented = tuple(line for _, line in numbered if HASHED.match(line))
    return Lexicon(distinct, duplicates=len(words) - len(distinct), commented=commented), faults


def list_of_words(comments: Iterable[str], words: Iterable[str]) -> bytes:
    """A lexicon's file: one word a line, and above them lines that say where it is from."""
    lines = [*(f"# {' '.join(line.split())}" for line in comments), *words]
    return ("\n".join(lines) + "\n").encode()


HASHED = regex.compile(r"#\p{L}\S*$")


def _check_list(entries: Sequence[str], path: str | Path) -> None:
    """Raises LexiconError: the lines are rows of a table, or all of them quoted."""
    delimiter = delimiter_of(entries)
    is_quoted = 2 * sum(len(word) > 2 and word[0] == word[-1] == '"' for word in entries) > len(entries)
    if delimiter is None and not is_quoted:
        return
    found = "a table, as spreadsheets export it" if delimiter else "its words in quotes, as spreadsheets export them"
    raise LexiconError(
        f"a lexicon has one word a line: {path} has {found}: {entries[-1]!a}; write the column of words to a file of "
        f"its own with `{mending(path)}`"
    )


def mending(path: str | Path, rest: str = "") -> str:
    """The command that makes a lexicon of a list."""
    quoted = shlex.quote(str(path))
    return f"python -m study lexicon mend {quoted} --out {shlex.quote(Path(path).stem + '.mended.txt')}{rest}"


def delimiter_of(entries: Sequence[str]) -> str | None:
    """What parts the columns of a table: most lines have it, and words without a space in one place; None: no table."""
    for delimiter in "\t;,":
        rows = [entry.split(delimiter) for entry in entries if delimiter in entry]
        if 2 * len(rows) > len(entries):
            places = range(max(map(len, rows)))
            single = (sum(place < len(row) and len(row[place].split()) == 1 for row in rows) for place in places)
            if 2 * max(single) > len(entries):
                return delimiter
    return None


FEW_NULS, MOST_NULS = 16, 0.01
"""That any text may have; share of its bytes above which it is none, or one in UTF-16."""
MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_text(path: Path, what: str, error: type[LexiconError] | type[Exception]) -> str:
    """The file's text, without a byte order mark and with `\\n` line ends; `error` if that can't be had."""
    data = read_bytes(path, what, error)
    encoding = encoding_of(data)
    if encoding != "utf-8-sig":
        at = "" if encoding.startswith("utf") else f" at byte {_first_odd(data)}"
        raise error(
            f"the {what} must be UTF-8: {path} isn't{at}, it may be {encoding.upper()}; convert it with "
            f"`iconv -f {encoding.upper()} -t UTF-8 {shlex.quote(str(path))} > {shlex.quote(path.stem + '.utf8.txt')}`"
        )
    if data.count(0) >= max(FEW_NULS, MOST_NULS * len(data)):
        raise error(f"the {what} must be text: {path} has {data.count(0):,} NULs in {len(data):,} bytes; give a text")
    text = io.TextIOWrapper(io.BytesIO(data), encoding=encoding).read()
    if not text.strip():
        raise error(f"the {what} must not be empty: {path}; give a text with words")
    return text


def read_bytes(path: Path, what: str, error: type[LexiconError] | type[Exception]) -> bytes:
    """What a plain file holds; nothing else is opened, as a named pipe would be waited on for ever."""
    remedy = f"give the path of the {what}"
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            state = "is a folder" if stat.S_ISDIR(mode) else "is no plain file"
            raise error(f"the {what} must be a text file: {path} {state}; {remedy}")
        return path.read_bytes()
    except FileNotFoundError:
        raise error(f"the {what} must be a text file: {path} does not exist; {remedy}") from None
    except (OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or str(fault)
        raise error(f"the {what} can't be read: {str(path)[:80]}: {reason}; {remedy}") from None


def encoding_of(data: bytes) -> str:
    """`utf-8-sig` where bytes are UTF-8; else what they may be: by their mark, their NULs, or what Windows writes."""
    marked = next((encoding for mark, encoding in MARKS.items() if data.startswith(mark)), None)
    if marked is not None:
        return marked
    pairs = max(len(data) // 2, 1)
    for place, encoding in ((1, "utf-16le"), (0, "utf-16be")):
        if len(data) > 1 and data[place::2].count(0) > pairs / 2 > 2 * data[1 - place :: 2].count(0):
            return encoding
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "windows-1252"
    return "utf-8-sig"


def _first_odd(data: bytes) -> int:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as fault:
        return fault.start
    return 0


_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")


def is_unspaced(word: str) -> bool:
    """Whether a word has a letter of a script that is written without spaces between words, as Chinese and Thai."""
    return _UNSPACED.search(word) is not None


def fault_of(word: str) -> str | None:
    """Why `word` can't be added, or None."""
    for place, letter in enumerate(word):
        if letter.isspace():
            return f"{word!r} has a space inside; a word is one token"
        if letter in JOINERS and place:
            continue
        if unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Co", "Cn"}:
            return f"{word!a} has the invisible character U+{ord(letter):04X}"
        if letter == "\ufffd":
            return f"{word!a} has U+FFFD, which stands for a letter that could not be read; convert the file again"
        if letter == SPACE:
            return f"{word!r} has U+2581, which stands for a space in tokenizers"
    if len(word) > MOST_LETTERS:
        return f"{word[:20]!r}... has {len(word)} letters, more than {MOST_LETTERS}"
    if word.startswith("<") and word.endswith(">"):
        return f"{word!r} has the form of a special token"
    return None


PART = regex.compile(rf"[\p{{L}}\p{{M}}{JOINERS}]+")
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
