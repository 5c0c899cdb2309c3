"""Lexicons and texts as people have them, that a study can't take as they are; and what each is told to be."""

import unicodedata
from dataclasses import dataclass

from wake2vec.config import DEFAULT_FOLDER

FOLIO = (DEFAULT_FOLDER / "corpus.txt").read_text(encoding="utf-8")[:20_000]
WORDS = ("haue", "vpon", "loue", "selfe", "giue", "doe", "vnto")


@dataclass(frozen=True)
class Given:
    """A lexicon, a text, a form, and a part of what must be said; None: a good one."""

    told: str
    lexicon: bytes | None = None
    corpus: bytes | None = None
    form: str = "phase1"


def _listed(*words: str, end: str = "\n") -> str:
    return end.join((*words, ""))


PLAIN = _listed(*WORDS)
CAFE = " the café of naïve Zoë, and again the café of naïve Zoë\n" * 20 + FOLIO
CHINESE = "天地玄黃宇宙洪荒日月盈昃辰宿列張寒來暑往秋收冬藏\n" * 200
PERSIAN = "او می\u200cخواهم و خانه\u200cها را دید و گفت\n" * 300
EMOJI = "a family \U0001f468\u200d\U0001f469\u200d\U0001f467 came home and sang\n" * 300


def _table(delimiter: str, quote: str = "", head: bool = True, count_first: bool = False) -> bytes:
    rows = [[f"{quote}{word}{quote}", str(count)] for count, word in enumerate(WORDS, 3)]
    rows = [*([["word", "count"]] if head else []), *rows]
    return _listed(*(delimiter.join(row[::-1] if count_first else row) for row in rows)).encode()


TABLES: dict[str, Given] = {
    f"{name}, {head}, {first} first, {quotes}": Given(
        "a table, as spreadsheets export it",
        _table(delimiter, '"' * (quotes == "quoted"), head == "headed", first == "counts"),
    )
    for name, delimiter in (("semicolons", ";"), ("commas", ","), ("tabs", "\t"))
    for head in ("headed", "no head")
    for first in ("words", "counts")
    for quotes in ("plain", "quoted")
}
MENDED_LISTS: dict[str, Given] = {
    **TABLES,
    "quoted words": Given("in quotes, as spreadsheets export them", _listed(*(f'"{word}"' for word in WORDS)).encode()),
    "UTF-16 as Windows writes it": Given("it may be UTF-16", PLAIN.encode("utf-16")),
    "UTF-16 without a mark": Given("it may be UTF-16LE", PLAIN.encode("utf-16-le")),
    "UTF-16 of the other order": Given("it may be UTF-16BE", PLAIN.encode("utf-16-be")),
    "UTF-32": Given("it may be UTF-32", PLAIN.encode("utf-32")),
    "latin-1": Given("isn't at byte 3, it may be WINDOWS-1252", "café\nnaïve\n".encode("latin-1"), CAFE.encode()),
    "a table in latin-1": Given("it may be WINDOWS-1252", "mot;n\ncafé;2\nnaïve;3\n".encode("latin-1"), CAFE.encode()),
    "capitals": Given("in lower case, as 'haue'", PLAIN.upper().encode()),
    "lower case for a text in capitals": Given("in capitals, as 'HAUE'", PLAIN.encode(), FOLIO.upper().encode()),
    "decomposed letters": Given(
        "with composed letters (NFC)", unicodedata.normalize("NFD", "café\nnaïve\n").encode(), CAFE.encode()
    ),
    "composed letters for a decomposed text": Given(
        "with decomposed letters (NFD)", "café\nnaïve\n".encode(), unicodedata.normalize("NFD", CAFE).encode()
    ),
    "capitals and decomposed": Given(
        "in lower case, composed", unicodedata.normalize("NFD", "CAFÉ\nNAÏVE\n").encode(), CAFE.encode()
    ),
    "ligatures": Given(
        "plain letters for compatible ones (NFKC)", "\ufb01nd\n".encode(), ("we find and find it\n" * 400).encode()
    ),
    "full width": Given("plain letters for compatible ones (NFKC)", "\uff48\uff41\uff55\uff45\n".encode()),
}
"""`study lexicon mend` makes lexicons of these, which then run."""

BAD_TEXTS: dict[str, Given] = {
    **{f"lexicon: {name}": given for name, given in MENDED_LISTS.items()},
    "lexicon: empty": Given("must not be empty", b""),
    "lexicon: blank lines": Given("must not be empty", b"\n \n\t\n"),
    "lexicon: a byte order mark alone": Given("must not be empty", b"\xef\xbb\xbf"),
    "lexicon: comments alone": Given("lines begin with # and are comments", b"# words\n# more\n"),
    "lexicon: hashtags": Given("lines begin with # and are comments", b"#haue\n#vpon\n"),
    "lexicon: a space inside": Given("has a space inside", b"haue\nvp on\n"),
    "lexicon: a hard space inside": Given("has a space inside", "haue\nvp\u00a0on\n".encode()),
    "lexicon: a sentence": Given("has a space inside", FOLIO.encode()),
    "lexicon: a NUL": Given("invisible character U+0000", b"haue\nvp\0on\n"),
    "lexicon: NULs alone": Given("has 64 NULs in 64 bytes", bytes(64)),
    "lexicon: an escape": Given("invisible character U+001B", b"haue\n\x1b[31mvpon\n"),
    "lexicon: a zero-width space": Given("invisible character U+200B", "haue\nvp\u200bon\n".encode()),
    "lexicon: a mark of direction": Given("invisible character U+202E", "haue\nvp\u202eon\n".encode()),
    "lexicon: a soft hyphen": Given("invisible character U+00AD", "haue\nvp\u00adon\n".encode()),
    "lexicon: a joiner first": Given("invisible character U+200D", "haue\n\u200dvpon\n".encode()),
    "lexicon: a joiner alone": Given("invisible character U+200C", "haue\n\u200c\n".encode()),
    "lexicon: a private letter": Given("invisible character U+E000", "haue\n\ue000\n".encode()),
    "lexicon: an unassigned letter": Given("invisible character U+0378", "haue\n\u0378\n".encode()),
    "lexicon: a surrogate": Given("it may be WINDOWS-1252", b"haue\n" + b"\xed\xa0\x80\n"),
    "lexicon: a special token": Given("the form of a special token", b"haue\n</s>\n"),
    "lexicon: a byte": Given("the form of a special token", b"haue\n<0x41>\n"),
    "lexicon: a tokenizer's word": Given(
        "choose vocabulary.form=pieces if the list is one of pieces, else take the sign away", "haue\n▁vpon\n".encode()
    ),
    "lexicon: a tokenizer's space": Given("U+2581, which stands for a space", "haue\nv▁pon\n".encode()),
    "lexicon: a word of 65 letters": Given("has 65 letters, more than 64", b"haue\n" + b"x" * 65 + b"\n"),
    "lexicon: a line of a million letters": Given("has 1000000 letters", b"haue\n" + b"x" * 10**6 + b"\n"),
    "lexicon: two Unicode forms of a word": Given("in another Unicode form", "caf\u00e9\ncafe\u0301\n".encode()),
    "lexicon: more than a million words": Given(
        "holds at most 1,000,000 words", b"\n".join(b"w%d" % number for number in range(1_000_001))
    ),
    "lexicon: no word of the text": Given("nor does it have them in another spelling", b"zzzzq\nqqqqz\n"),
    "lexicon: words that the base has": Given("the base vocabulary has all", b"the\n", form="word"),
    "lexicon: a picture": Given("lexicon", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)) * 4),
    "lexicon: an archive of a word processor": Given(
        "lexicon", b"PK\x03\x04\x14\x00\x06\x00\x08\x00" + bytes(range(256))
    ),
    "lexicon: words held out alone": Given(
        "in the part that is held out", b"zephyrous\n", (FOLIO + "zephyrous " * 3 + "\n").encode()
    ),
    "corpus: empty": Given("the corpus must not be empty", corpus=b""),
    "corpus: spaces": Given("the corpus must not be empty", corpus=b" \n\t\r\n"),
    "corpus: latin-1": Given("it may be WINDOWS-1252", corpus=CAFE.encode("latin-1")),
    "corpus: UTF-16": Given("it may be UTF-16", corpus=FOLIO.encode("utf-16")),
    "corpus: UTF-16 without a mark": Given("it may be UTF-16LE", corpus=FOLIO.encode("utf-16-le")),
    "corpus: UTF-32": Given("it may be UTF-32", corpus=FOLIO.encode("utf-32")),
    "corpus: cut inside a letter": Given("it may be WINDOWS-1252", corpus=CAFE.encode() + "é".encode()[:1]),
    "corpus: NULs alone": Given("NULs", corpus=bytes(100_000)),
    "corpus: padded with NULs": Given("NULs", corpus=FOLIO.encode() + bytes(4096)),
    "corpus: an archive": Given("corpus", corpus=b"PK\x03\x04\x14\x00\x06\x00\x08\x00" + bytes(range(256)) * 40),
    "corpus: a word": Given("must fill a block", corpus=b"haue"),
    "corpus: one line": Given("must fill a block", corpus=b"haue vpon loue selfe giue doe\n"),
    "corpus: other words": Given(
        "nor does it have them in another spelling", corpus=b"nothing of it is in here\n" * 400
    ),
    "corpus: Chinese in a form that wants spaces": Given(
        "choose vocabulary.form=phase1", "宇宙\n日月\n".encode(), CHINESE.encode(), "word"
    ),
    "corpus: Chinese in the form that carries the space": Given(
        "choose vocabulary.form=phase1", "宇宙\n日月\n".encode(), CHINESE.encode(), "space"
    ),
}
GOOD_TEXTS: dict[str, Given] = {
    "a capital each, as the text has some": Given("", _listed(*map(str.title, WORDS)).encode()),
    "Windows line ends and a mark": Given("", b"\xef\xbb\xbf" + PLAIN.replace("\n", "\r\n").encode()),
    "old Macintosh line ends": Given("", PLAIN.replace("\n", "\r").encode()),
    "no line end at the end": Given("", PLAIN.encode().rstrip(b"\n")),
    "spaces around words": Given("", _listed(*(f"  {word}\t" for word in WORDS)).encode()),
    "a comment and a blank line": Given("", b"# the Folio\n\n" + PLAIN.encode()),
    "every word twice": Given("", PLAIN.encode() * 2),
    "apostrophes and hyphens": Given("", b"o'haue\nwell-belou'd\nhaue\n"),
    "a Persian word with its joiner": Given("", "می\u200cخواهم\nخانه\u200cها\n".encode(), PERSIAN.encode()),
    "a family of emoji": Given("", "\U0001f468\u200d\U0001f469\u200d\U0001f467\n".encode(), EMOJI.encode()),
    "Chinese words": Given("", "宇宙\n日月\n".encode(), CHINESE.encode()),
    "a text with a NUL": Given("", corpus=FOLIO.encode() + b"\0haue vpon\n"),
    "a text of one line": Given("", corpus=FOLIO.replace("\n", " ").encode()),
    "a text with Windows line ends and a mark": Given(
        "", corpus=b"\xef\xbb\xbf" + FOLIO.replace("\n", "\r\n").encode()
    ),
}
"""The controls: these run."""
