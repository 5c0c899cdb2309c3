"""Token forms: how the words of a lexicon become tokens of a base tokenizer.

`phase1`
    Plain added tokens, as in Phase 1: they match anywhere, so they also cut words that the base knew whole
    (`shore` -> `▁s` + `hore`).
`word`
    Tokens that match whole words only. Spacing is exact, but each one costs a lone space before it.
`space`
    The token carries its leading space (`▁riverrun`, `Ġriverrun`) and stands in the tokenizer's own vocabulary: the
    shortest text. A new word without a space before it is cut as the base cuts it. Where tokens are bytes (GPT-2,
    Llama 3, Qwen), the tokenizer's own steps part the words: a token is found wherever they leave it whole.
`pieces`
    Parts of words, made by byte-pair merges behind the base's own: `wake2vec.data.pieces`. They are met oftener than
    whole words.

Text without a new word in it is cut by `word`, `space` and `pieces` just as by the base tokenizer. In every form all
tokens of the base, special ones too, keep their ids.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from wake2vec.config import Form
from wake2vec.data.backend import Spelling, rebuilt, state_of
from wake2vec.data.lexicon import SPACE, Lexicon
from wake2vec.data.own_vocabulary import add_merges, add_words
from wake2vec.data.patterns import Match
from wake2vec.data.pieces import check_merges, letters_of, merges_of
from wake2vec.errors import LexiconError, ModelError, NoFormError

PROBE = "a {0}, {0}\n{0} a"
"""A text that a form must keep, around a new word."""


NO_FORM = "no form of a word is met here; choose another base model, or put spaces around the words"


@dataclass(frozen=True)
class ExtendedVocabulary:
    """A base tokenizer with a lexicon's words added.

    New ids run from `base_size` without a gap: `words[i]` has the id `base_size + i`.
    """

    tokenizer: PreTrainedTokenizerFast
    base_tokenizer: PreTrainedTokenizerFast
    base_size: int
    words: tuple[str, ...]
    """Of pieces, `▁` stands for the space before a word."""
    words_in_base: int
    """Words of the lexicon that got no new id, since the base vocabulary has them."""
    bos_id: int | None = None
    """The beginning-of-sequence token, where each block and each prompt begins with it: `wake2vec.data.corpus`."""
    form: Form = "word"

    @property
    def size(self) -> int:
        return self.base_size + len(self.words)

    @property
    def row_names(self) -> list[str]:
        """The token of each base row, as the base tokenizer writes it, and the word of each new one."""
        base = self.base_tokenizer.convert_ids_to_tokens(list(range(self.base_size)))
        return [*(str(token) for token in base), *self.words]

    @property
    def of_pieces(self) -> bool:
        """Whether new tokens are parts of words, so that none can be put where a word stands."""
        return FORMS[self.form].of_pieces

    @property
    def texts(self) -> list[str]:
        """What each new token writes, without the space before it."""
        return [word.removeprefix(SPACE) for word in self.words]

    def begins_word(self, number: int) -> bool:
        """Whether that new token can stand behind a space, as a word does: not a piece that goes on inside one."""
        return not self.of_pieces or self.words[number].startswith(SPACE)

    def places_in(self, text: str) -> list[list[tuple[int, int]]]:
        """Where each new token stands in a text: from which letter to which, with the space that it may carry."""
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        places: list[list[tuple[int, int]]] = [[] for _ in self.words]
        for id_, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            if id_ >= self.base_size:
                places[id_ - self.base_size].append((start, end))
        return places

    @property
    def bounded(self) -> list[str]:
        """The same with `<` where its word begins and `>` where it ends: `<riverrun>`; of pieces `<river`, `run`."""
        if not self.of_pieces:
            return [f"<{word}>" for word in self.words]
        return [word.replace(SPACE, "<", 1) for word in self.words]


def extend(base: PreTrainedTokenizerFast, lexicon: Lexicon, form: Form) -> ExtendedVocabulary:
    """Add the words in the form named; `base` is left as it is.

    Raises:
        LexiconError: a word is a special token of the base, or the base has all words already.
        NoFormError: the form can't be had with this kind of tokenizer.
    """
    _check_words(lexicon, form)
    special = sorted(set(lexicon.words) & special_tokens(base))
    if special:
        raise LexiconError(f"special tokens can't be added as words: {', '.join(special[:5])}; remove them")
    added = FORMS[form].without_row(base, lexicon.words)
    words = tuple(word for word in lexicon.words if word not in added)
    if not words:
        raise LexiconError(
            f"nothing to add: the base vocabulary has all {len(lexicon.words)} words already; add others"
        )
    vocabulary = base.get_vocab()
    base_size = 1 + max(vocabulary.values())
    tokenizer = FORMS[form].extended(base, words)
    after = tokenizer.get_vocab()
    assert vocabulary.items() <= after.items(), "a token of the base was renumbered"
    assert len(after) == len(vocabulary) + len(words) and max(after.values()) == base_size + len(words) - 1
    return ExtendedVocabulary(tokenizer, base, base_size, words, len(lexicon.words) - len(words), form=form)


def _check_words(lexicon: Lexicon, form: Form) -> None:
    """Raises LexiconError: the list is one of pieces and the form isn't, or its words got spellings and it is."""
    piece = next((word for word in lexicon.words if word.startswith(SPACE)), None)
    if piece is not None and not FORMS[form].of_pieces:
        raise LexiconError(
            f"a word can't begin with {SPACE}, which begins a piece: {piece!r}; choose vocabulary.form=pieces if the "
            "list is one of pieces, else take the sign away"
        )
    if FORMS[form].of_pieces and lexicon.capitalised:
        raise LexiconError(
            "pieces are made of a text with its capitals, and get no spellings beside: vocabulary.capitals=added; give "
            "vocabulary.capitals=exact"
        )


def working_forms(base: PreTrainedTokenizerFast, text: str, words: Sequence[str]) -> list[Form]:
    """The forms of whole words in which a new token occurs in the text and decoding keeps what the base's keeps.

    Each is tried: what an error advises must not end in another error.
    """
    keeps = read_back(base, text) == text
    return [form for form in WORD_FORMS if _works(base, text, Lexicon(tuple(words), 0), form, keeps)]


def _works(base: PreTrainedTokenizerFast, text: str, lexicon: Lexicon, form: Form, keeps: bool) -> bool:
    try:
        extended = extend(base, lexicon, form)
    except (LexiconError, ModelError):
        return False
    ids: list[int] = extended.tokenizer(text, add_special_tokens=False)["input_ids"]
    return max(ids, default=0) >= extended.base_size and (not keeps or read_back(extended.tokenizer, text) == text)


def in_other_forms(base: PreTrainedTokenizerFast, text: str, words: Sequence[str]) -> str:
    """The remedy where a form can't be used with this base and text."""
    forms = working_forms(base, text, words)
    return f"choose {' or '.join(f'vocabulary.form={form}' for form in forms)}" if forms else NO_FORM


def special_tokens(base: PreTrainedTokenizerFast) -> set[str]:
    """Those that the tokenizer names, and those that its file marks."""
    marked = base.backend_tokenizer.get_added_tokens_decoder().values()
    return {*base.all_special_tokens, *(token.content for token in marked if token.special)}


def pieces_of(base: PreTrainedTokenizerFast, words: Iterable[str]) -> list[list[int]]:
    """The base ids that spell each word as it stands after a space, inside a line."""
    texts = [f"a {word}" for word in words]
    before = len(base("a", add_special_tokens=False)["input_ids"])
    return [ids[before:] for ids in base(texts, add_special_tokens=False)["input_ids"]] if texts else []


def base_pieces(vocabulary: ExtendedVocabulary) -> list[list[int]]:
    """The base ids that spelled each new word before it was added, as it stands after a space; of a piece, as it is."""
    base = vocabulary.base_tokenizer
    if not vocabulary.of_pieces:
        return pieces_of(base, vocabulary.words)
    spelling, model = Spelling(base.backend_tokenizer), base.backend_tokenizer.model
    return [[token.id for token in model.tokenize(letters_of(word, spelling))] for word in vocabulary.words]


def known_whole(base: PreTrainedTokenizerFast, words: Sequence[str]) -> set[str]:
    """Words that the base writes as one token after a space, one of their own: not as the unknown one."""
    single = {word: ids for word, ids in zip(words, pieces_of(base, words), strict=True) if len(ids) == 1}
    decoded = base.backend_tokenizer.decode_batch(list(single.values()))
    return {word for word, text in zip(single, decoded, strict=True) if text.strip() == word}


def without_row(base: PreTrainedTokenizerFast, words: Sequence[str]) -> set[str]:
    """Words to which some form of whole words gives no row, since the base has them."""
    return set().union(*(FORMS[form].without_row(base, words) for form in WORD_FORMS))


@dataclass(frozen=True)
class TokenForm:
    """How words become tokens."""

    without_row: Callable[[PreTrainedTokenizerFast, Sequence[str]], set[str]]
    """Words that get no new token, since the base has them in this form."""
    extended: Callable[[PreTrainedTokenizerFast, Sequence[str]], PreTrainedTokenizerFast]
    """The tokenizer with all of the words as new tokens."""
    of_pieces: bool = False
    """Whether it takes a list of pieces, not of words."""


def _in_vocabulary(base: PreTrainedTokenizerFast, words: Sequence[str]) -> set[str]:
    return base.get_vocab().keys() & set(words)


def _phase1(base: PreTrainedTokenizerFast, words: Sequence[str]) -> PreTrainedTokenizerFast:
    """Added tokens; where a word would be lost as one, words of the model's own vocabulary that match the same way.

    Tokenizers whose tokens are bytes read an added token as bytes too: `é`, a letter that stands for one, becomes half
    a character.
    """
    tokenizer = rebuilt(base, state_of(base))
    tokenizer.add_tokens(list(words))
    if _is_bpe(base) and _lost(base, tokenizer, words):
        return _of_own_vocabulary(base, words, Match.ANYWHERE)
    return tokenizer


def _known_as_words(base: PreTrainedTokenizerFast, words: Sequence[str]) -> set[str]:
    """Those that the base has whole, after a space or inside its words."""
    vocabulary, spelling = base.get_vocab(), Spelling(base.backend_tokenizer)
    inside = {word for word in words if word in vocabulary or spelling.bare_piece(word) in vocabulary}
    return inside | known_whole(base, words)


def _word(base: PreTrainedTokenizerFast, words: Sequence[str]) -> PreTrainedTokenizerFast:
    """Added tokens; where these would change the text, words of the model's own vocabulary.

    The steps of a tokenizer work on the text between two added tokens as on a text of its own. Those of Llama 2's
    file put a space before each text. Or a word itself would be lost: see `_phase1`.
    """
    tokenizer = rebuilt(base, state_of(base))
    tokenizer.add_tokens([AddedToken(word, single_word=True, normalized=False) for word in words])
    probe = PROBE.format(words[0])
    if _is_bpe(base) and (read_back(tokenizer, probe) != read_back(base, probe) or _lost(base, tokenizer, words)):
        return _of_own_vocabulary(base, words, Match.WHOLE)
    return tokenizer


def _is_bpe(base: PreTrainedTokenizerFast) -> bool:
    return bool(state_of(base)["model"]["type"] == "BPE")


def _lost(base: PreTrainedTokenizerFast, tokenizer: PreTrainedTokenizerFast, words: Sequence[str]) -> bool:
    """Whether the token of some word, which stands for the same position of `words`, isn't decoded to it."""
    first = 1 + max(base.get_vocab().values())
    decoded = tokenizer.backend_tokenizer.decode_batch([[first + index] for index in range(len(words))])
    return decoded != list(words)


def read_back(tokenizer: PreTrainedTokenizerFast, text: str) -> str:
    """What encoding and decoding make of a text."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def _known_with_space(base: PreTrainedTokenizerFast, words: Sequence[str]) -> set[str]:
    """Those whose token with a space is in the vocabulary, or is another word's: a normaliser may unite two."""
    seen, known = set(base.get_vocab()), set()
    spelling = Spelling(base.backend_tokenizer)
    for word in words:
        piece = spelling.piece(word)
        if piece in seen:
            known.add(word)
        seen.add(piece)
    return known


def _space(base: PreTrainedTokenizerFast, words: Sequence[str]) -> PreTrainedTokenizerFast:
    kind = state_of(base)["model"]["type"]
    if kind != "BPE":
        raise NoFormError(
            f"the form `space` needs a BPE model, which finds a word by its letters alone: this tokenizer's is {kind}"
        )
    if Spelling(base.backend_tokenizer).space is None:
        raise NoFormError(
            "the form `space` needs a tokenizer whose tokens carry the space before them: this one drops spaces, or "
            "splits at them"
        )
    return _of_own_vocabulary(base, words, Match.AFTER_SPACE)


def _of_own_vocabulary(base: PreTrainedTokenizerFast, words: Sequence[str], match: Match) -> PreTrainedTokenizerFast:
    state, spelling = state_of(base), Spelling(base.backend_tokenizer)
    piece_of = spelling.piece if match is Match.AFTER_SPACE else spelling.bare_piece
    pieces = [piece_of(word) for word in words]
    written = [spelling.after_a_space(word)[1:] for word in words]
    add_words(state, spelling, pieces, written, 1 + max(base.get_vocab().values()), match)
    return rebuilt(base, state)


def _pieces_in_base(base: PreTrainedTokenizerFast, words: Sequence[str]) -> set[str]:
    vocabulary, spelling = base.get_vocab(), Spelling(base.backend_tokenizer)
    return {word for word in words if letters_of(word, spelling) in vocabulary}


def _pieces(base: PreTrainedTokenizerFast, words: Sequence[str]) -> PreTrainedTokenizerFast:
    check_merges(base)
    state = state_of(base)
    merges, first = merges_of(base, words), 1 + max(base.get_vocab().values())
    add_merges(state, Spelling(base.backend_tokenizer), merges, first)
    return rebuilt(base, state)


FORMS: dict[Form, TokenForm] = {
    "phase1": TokenForm(_in_vocabulary, _phase1),
    "word": TokenForm(_known_as_words, _word),
    "space": TokenForm(_known_with_space, _space),
    "pieces": TokenForm(_pieces_in_base, _pieces, of_pieces=True),
}
WORD_FORMS: tuple[Form, ...] = tuple(form for form, made in FORMS.items() if not made.of_pieces)
"""The forms that take a list of words."""
