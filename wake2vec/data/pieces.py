"""Pieces: parts of words that byte-pair merges make where the base tokenizer's own merges end.

A base of BPE (Sennrich et al. 2016, arXiv 1508.07909) was made by joining, again and again, the two neighbours that its
text had most often. The same goes on with another text, from the base's tokens on: continued BPE training (Purason et
al. 2025, arXiv 2512.03989). The merges are put behind the base's own in its table, so they act on what these leave: a
new piece stands for whole base tokens, and a text in which each new piece is cut up again is the base's text.

A list of pieces is in the order of their merges, and `▁` begins a piece that has the space before a word. Which two
tokens a piece is made of needn't be listed: they are what the merges before it cut it into.
"""

import csv
import heapq
import io
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

import regex
from tokenizers import Encoding
from transformers import PreTrainedTokenizerFast

from wake2vec.data.backend import Spelling, state_of
from wake2vec.data.lexicon import JOINERS, SPACE, fault_of, list_of_words
from wake2vec.data.tokenizer import text_of_tokens
from wake2vec.errors import LexiconError, NoFormError

PART = regex.compile(rf" ?[\p{{L}}\p{{M}}{JOINERS}]*")
"""What a merge may join: letters with their marks and joiners, and the space before them."""
Pair = tuple[int, int]
Token = TypeVar("Token", int, str)
"""Its id, or as the vocabulary writes it."""


@dataclass(frozen=True)
class Pieces:
    """New pieces in the order of their merges, and what they do to the text that they are made of."""

    words: tuple[str, ...]
    pairs: tuple[int, ...]
    """How often the text had the two tokens of each, side by side, when they were joined."""
    counts: tuple[int, ...]
    """How often the text, cut with all of the merges, has each: those that are parts of longer ones may have none."""
    tokens_base: int
    """Tokens of the text in the base."""
    tokens: int
    """The same with the pieces."""


def learn_pieces(text: str, base: PreTrainedTokenizerFast, count: int, min_count: int = 2) -> Pieces:
    """So many pieces; fewer where no two neighbours are left that the text has `min_count` times.

    Of pairs that are equally frequent the one of the lowest ids is joined, as the tokenizers library does it.

    Raises:
        NoFormError: the tokenizer's model isn't one of byte-pair merges.
        LexiconError: there is no pair to join.
    """
    check_merges(base)
    text_of = text_of_tokens(base)
    encoded = base.backend_tokenizer.encode(text, add_special_tokens=False)
    words = _runs(base, encoded)
    merging = _Merging(words)
    known, taken = base.get_vocab(), set[str]()
    tokens = {id_: token for token, id_ in known.items()}
    first = 1 + max(tokens)
    pieces: list[str] = []
    pairs: list[int] = []
    while len(pieces) < count and (found := merging.commonest(min_count)) is not None:
        pair, times = found
        token = "".join(tokens[id_] for id_ in pair)
        written = text_of(token)
        piece = SPACE + written[1:] if written.startswith(" ") else written
        normal = unicodedata.normalize("NFC", piece)
        if token in known or normal in taken or fault_of(written.strip()) is not None:
            merging.leave(pair)
            continue
        tokens[first + len(pieces)] = token
        merging.join(pair, first + len(pieces))
        taken.add(normal)
        pieces.append(piece)
        pairs.append(times)
    if not pieces:
        raise LexiconError(
            f"pieces need two neighbours that the text has {min_count} times inside its words: this one has none; give "
            "more text, or a smaller --min-count"
        )
    counts = merging.counts()
    saved = sum(words[run] * len(run) for run in words) - counts.total()
    return Pieces(
        tuple(pieces),
        tuple(pairs),
        tuple(counts[first + number] for number in range(len(pieces))),
        len(encoded.ids),
        len(encoded.ids) - saved,
    )


def pieces_file(pieces: Pieces, source: Iterable[str]) -> bytes:
    """The list, one piece a line; the lines of `source`, which say where it is from, are comments above it."""
    header = [
        *source,
        f"{len(pieces.words)} pieces for vocabulary.form=pieces, in the order of their merges",
        f"{SPACE} begins a piece that has the space before a word",
    ]
    return list_of_words(header, pieces.words)


def pieces_table_file(pieces: Pieces) -> bytes:
    """The pieces with how often they were joined and how often the text has them, as CSV in the order of the list."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["piece", "joined", "count"])
    writer.writerows(zip(pieces.words, pieces.pairs, pieces.counts, strict=True))
    return table.getvalue().encode()


def merges_of(base: PreTrainedTokenizerFast, words: Sequence[str]) -> list[tuple[str, str]]:
    """The two tokens that each piece is made of, as the base's merges and those of the pieces before it cut it.

    Raises:
        LexiconError: a piece isn't made of two.
    """
    spelling, model = Spelling(base.backend_tokenizer), base.backend_tokenizer.model
    ranks: dict[tuple[str, str], int] = {}
    for word in words:
        tokens = [token.value for token in model.tokenize(letters_of(word, spelling))]
        cut = _merged(tokens, ranks)
        if len(cut) != 2 or "".join(cut) != letters_of(word, spelling):
            raise LexiconError(
                f"the form `pieces` takes a list of pieces, each made of two tokens: {word!r} is made of {len(cut)} "
                "here; make the list with `python -m study lexicon build CORPUS --base MODEL --pieces N`, or choose "
                "vocabulary.form=word"
            )
        ranks[cut[0], cut[1]] = len(ranks)
    return list(ranks)


def check_merges(base: PreTrainedTokenizerFast) -> None:
    """Raises NoFormError: the tokenizer's model has no byte-pair merges that could go on."""
    model = state_of(base)["model"]
    if model["type"] != "BPE":
        raise NoFormError(
            f"the form `pieces` needs a BPE model, whose merges go on: this tokenizer's is {model['type']}"
        )
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise NoFormError("the form `pieces` needs a BPE model that marks words by their space: this one marks parts")


def letters_of(word: str, spelling: Spelling) -> str:
    """The token of a piece, in the letters that the model's vocabulary has."""
    return spelling.letters(" " + word[1:] if word.startswith(SPACE) else word)


def _runs(base: PreTrainedTokenizerFast, encoded: Encoding) -> Counter[tuple[int, ...]]:
    """Neighbours that merges may join, and how often each run of them is there.

    They are of one chunk of the tokenizer's steps, letters, and none but the first has a space before it.
    """
    text_of, added = text_of_tokens(base), base.backend_tokenizer.get_added_tokens_decoder()
    texts = {token: text_of(token) for token in {*encoded.tokens}}
    apart = {token.content for token in added.values()}
    apart |= {token for token, text in texts.items() if not text or not PART.fullmatch(text)}
    runs: Counter[tuple[int, ...]] = Counter()
    run: list[int] = []
    before = None
    for id_, token, chunk in zip(encoded.ids, encoded.tokens, encoded.word_ids, strict=True):
        if run and (token in apart or chunk != before or texts[token].startswith(" ")):
            runs[tuple(run)] += 1
            run = []
        if token not in apart:
            run.append(id_)
        before = chunk
    if run:
        runs[tuple(run)] += 1
    return runs


@dataclass
class _Merging:
    """Words as tokens, with how often each is there: neighbours are counted once, and then where they change."""

    words: Mapping[tuple[int, ...], int]
    _runs: list[list[int]] = field(init=False)
    _times: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self._runs, self._times = [list(word) for word in self.words], list(self.words.values())
        self._pairs: Counter[Pair] = Counter()
        self._where: dict[Pair, set[int]] = defaultdict(set)
        self._left: set[Pair] = set()
        for number, run in enumerate(self._runs):
            self._count(number, pairwise(run), 1)
        self._heap = [(-times, pair) for pair, times in self._pairs.items()]
        heapq.heapify(self._heap)

    def commonest(self, least: int) -> tuple[Pair, int] | None:
        """The neighbours that are there most often, and how often; None: none is there so often."""
        while self._heap:
            times, pair = self._heap[0]
            now = 0 if pair in self._left else self._pairs[pair]
            if -times == now >= least:
                return pair, now
            heapq.heappop(self._heap)
            if now >= least:
                heapq.heappush(self._heap, (-now, pair))
        return None

    def leave(self, pair: Pair) -> None:
        """Never join these."""
        self._left.add(pair)

    def join(self, pair: Pair, joined: int) -> None:
        changed: set[Pair] = set()
        for number in sorted(self._where.pop(pair)):
            old = self._runs[number]
            new = _joined(old, pair, joined)
            if len(new) < len(old):
                self._count(number, pairwise(old), -1)
                self._count(number, pairwise(new), 1)
                changed.update(pairwise(new))
                self._runs[number] = new
        for other in changed:
            heapq.heappush(self._heap, (-self._pairs[other], other))

    def counts(self) -> Counter[int]:
        """How often each token is there."""
        found: Counter[int] = Counter()
        for run, times in zip(self._runs, self._times, strict=True):
            for token in run:
                found[token] += times
        return found

    def _count(self, number: int, pairs: Iterable[Pair], sign: int) -> None:
        for pair in pairs:
            self._pairs[pair] += sign * self._times[number]
            if sign > 0:
                self._where[pair].add(number)


def _joined(run: Sequence[Token], pair: tuple[Token, Token], joined: Token) -> list[Token]:
    """With one token from left to right, wherever the two are neighbours."""
    made: list[Token] = []
    at = 0
    while at < len(run):
        if tuple(run[at : at + 2]) == pair:
            made.append(joined)
            at += 2
        else:
            made.append(run[at])
            at += 1
    return made


def _merged(run: list[str], ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """As byte-pair merges do it: again and again the pair of the lowest rank."""
    while pairs := {pair for pair in pairwise(run) if pair in ranks}:
        pair = min(pairs, key=ranks.__getitem__)
        run = _joined(run, pair, "".join(pair))
    return run
