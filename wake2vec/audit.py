"""The audit: what an extension does to the text, before anything is trained."""

import re

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from transformers import PreTrainedTokenizerFast

from wake2vec.errors import CorpusError
from wake2vec.exposure import exposure_classes
from wake2vec.vocabulary import SPACE, ExtendedVocabulary

WORD = re.compile(r"[^\W\d_]+")


class Audit(BaseModel):
    """Counts and shares (0-1) of one lexicon, form, base tokenizer and text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    words_read: int
    """Distinct words of the lexicon."""
    words_duplicate: int
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

    def numbers(self) -> dict[str, float]:
        """All figures under their addresses, such as `vocabulary.words_cut_share`."""
        return {f"vocabulary.{name}": float(value) for name, value in self.model_dump().items()}


def audit(
    vocabulary: ExtendedVocabulary,
    text: str,
    duplicates: int,
    counts_train: np.ndarray,
    counts_validation: np.ndarray,
) -> Audit:
    """Measure an extension on the whole text.

    Raises:
        CorpusError: the extension corrupts spacing or letters that the base tokenizer keeps.
    """
    encoded = vocabulary.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = np.asarray(encoded["input_ids"]), np.asarray(encoded["offset_mapping"])
    base_ids = vocabulary.base_tokenizer(text, add_special_tokens=False)["input_ids"]
    decoded = _decode(vocabulary.tokenizer, ids.tolist())
    if decoded != text and _decode(vocabulary.base_tokenizer, base_ids) == text:
        raise CorpusError(
            f"the extended tokenizer changes the text that the base keeps ({first_difference(text, decoded)}): "
            "choose vocabulary.form=word or space"
        )
    fused, split = boundary_faults(text, decoded)
    words, known, cut = _cut_words(vocabulary, text, offsets[ids >= vocabulary.base_size])
    new = len(vocabulary.words)
    return Audit(
        words_read=new + vocabulary.words_in_base,
        words_duplicate=duplicates,
        words_in_base=vocabulary.words_in_base,
        words_added=new,
        base_vocabulary=vocabulary.base_size,
        new_share=new / vocabulary.size,
        corpus_words=words,
        words_cut_share=cut.size / max(words, 1),
        known_words_cut_share=float(known[cut].sum()) / max(words, 1),
        tokens_base=len(base_ids),
        tokens=len(ids),
        round_trip=decoded == text,
        boundaries_fused_share=fused,
        boundaries_split_share=split,
        **{
            f"{name}_share": float(members.double().mean())
            for name, members in exposure_classes(torch.from_numpy(counts_train)).items()
        },
        seen_validation_share=float((counts_validation > 0).mean()),
    )


def boundary_faults(text: str, decoded: str) -> tuple[float, float]:
    """Spaces lost and spaces added by decoding, both per space of the text; 0 where it has none.

    Spaces are compared by the number of other letters before them, so one fault doesn't shift the rest.
    """
    spaces, decoded_spaces = _boundaries(text), _boundaries(decoded)
    count = max(len(spaces), 1)
    return len(spaces - decoded_spaces) / count, len(decoded_spaces - spaces) / count


def first_difference(text: str, decoded: str) -> str:
    """The surroundings of the first letter in which two texts differ."""
    pairs = zip(text, decoded, strict=False)
    at = next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(text), len(decoded)))
    around = slice(max(at - 10, 0), at + 10)
    return f"{text[around]!r} -> {decoded[around]!r}"


def _boundaries(text: str) -> set[int]:
    is_space = np.array([letter.isspace() for letter in text], dtype=bool)
    return set(np.cumsum(~is_space)[is_space].tolist())


def _decode(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def _cut_words(
    vocabulary: ExtendedVocabulary, text: str, new_offsets: np.ndarray
) -> tuple[int, np.ndarray, np.ndarray]:
    """Count of the text's words, which of them the base knows whole, and the indices of those cut inside."""
    matches = list(WORD.finditer(text))
    starts = np.array([match.start() for match in matches])
    ends = np.array([match.end() for match in matches])
    base = vocabulary.base_tokenizer.get_vocab()
    known = np.array([SPACE + match.group() in base for match in matches])
    if not len(new_offsets) or not matches:
        return len(matches), known, np.array([], dtype=int)
    # The last letter of a token lies in the word that it cuts, or covers, or it lies in no word.
    word = np.searchsorted(starts, new_offsets[:, 1] - 1, side="right") - 1
    inside = (word >= 0) & (new_offsets[:, 1] <= ends[word])
    part = (new_offsets[:, 0] > starts[word]) | (new_offsets[:, 1] < ends[word])
    return len(matches), known, np.unique(word[inside & part])
