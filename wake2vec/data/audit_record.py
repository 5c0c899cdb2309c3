"""The record of an audit: counts and shares of one lexicon, form, base tokenizer and text."""

from pydantic import BaseModel, ConfigDict

COUNT_CLASSES: dict[str, tuple[int, int | None]] = {
    "unseen": (0, 0),
    "seen_1": (1, 1),
    "seen_2_4": (2, 4),
    "seen_5_up": (5, None),
}
"""How often a new token occurs, in classes: fewest and most occurrences, both included; None: no limit. They partition
the counts."""


class Cut(BaseModel):
    """A new word that matches inside a word that the base knows whole."""

    model_config = ConfigDict(frozen=True)

    new: str
    word: str
    """The word cut."""
    places: int


class Unseen(BaseModel):
    """A new word whose token never occurs in the training blocks, though the text has the word."""

    model_config = ConfigDict(frozen=True)

    word: str
    written: int
    """Times that the text has it as a whole word: where its token doesn't match, in capitals that no other word of the
    lexicon stands for, or in what is held out."""


class Audit(BaseModel):
    """Counts and shares (0-1) of one lexicon, form, base tokenizer and text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    words_read: int
    """Distinct words of the lexicon's file."""
    words_duplicate: int
    words_capitalised: int
    """Capitalised spellings of them that `vocabulary.capitals` added."""
    words_in_base: int
    """Words without a new id: the base vocabulary has them."""
    words_added: int
    base_vocabulary: int
    new_share: float
    """New ids / all ids."""
    corpus_words: int
    """Runs of letters in the text."""
    words_cut_share: float
    """Share of those that a new token matches only in part, so that it cuts them inside."""
    known_words_cut_share: float
    """Share of the runs of letters that are one piece after a space in the base, but are cut by a new token."""
    tokens_base: int
    """Tokens of the text before the extension."""
    tokens: int
    """Tokens of the text after it."""
    round_trip: bool
    """Whether `decode(encode(text)) == text`."""
    boundaries_fused_share: float
    """Share of the text's spaces that are lost by encoding and decoding (`the next` -> `thenext`)."""
    boundaries_split_share: float
    """Spaces that encoding and decoding add, per space of the text (`brings` -> `bri ngs`)."""
    unseen_share: float
    """Share of the new tokens that never occur in the training blocks."""
    seen_1_share: float
    seen_2_4_share: float
    seen_5_up_share: float
    seen_validation_share: float
    """Share of the new tokens that occur in the validation blocks."""
    train_unseen: int
    """New tokens that never occur in the training blocks."""
    train_seen_1: int
    train_seen_2_4: int
    train_seen_5_up: int
    validation_unseen: int
    """New tokens that never occur in the validation blocks."""
    validation_seen_1: int
    validation_seen_2_4: int
    validation_seen_5_up: int
    validation_only: int
    """New tokens that occur in the validation blocks, but never in the training blocks."""
    unseen_written: int
    """New tokens that never occur in the training blocks, though the text has their word: see `Unseen`."""
    worst_cuts: list[Cut]
    """The ten cuts of words known whole that occur at most places."""
    worst_unseen: list[Unseen]
    """The ten unseen new words that the text has most often."""

    def numbers(self) -> dict[str, float]:
        """All figures under their addresses, such as `vocabulary.words_cut_share`."""
        return {f"vocabulary.{name}": float(getattr(self, name)) for name in FIGURES}


FIGURES = tuple(name for name, field in Audit.model_fields.items() if field.annotation in {int, float, bool})
"""Fields that are numbers: the others are lists."""
