"""The audit: what an extension does to the text, before anything is trained."""

import re
from collections import Counter
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from wake2vec.data.audit_record import Audit, Cut, Unseen
from wake2vec.data.corpus import exposure_classes
from wake2vec.data.forms import ExtendedVocabulary, in_other_forms, known_whole
from wake2vec.data.lexicon import WORD, Lexicon
from wake2vec.errors import CorpusError

LETTERS = re.compile(r"[^\W\d_]+")
"""Letters in a row: what a new token may cut, the parts of a compound each by itself."""
WORST = 10


def audit(
    vocabulary: ExtendedVocabulary,
    text: str,
    lexicon: Lexicon,
    counts_train: np.ndarray,
    counts_validation: np.ndarray,
) -> Audit:
    """Measure an extension by a lexicon on the whole text; the counts are of each new token in the two parts' blocks.

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
            f"{in_other_forms(vocabulary.base_tokenizer, text, lexicon.words)}"
        )
    fused, split = boundary_faults(text, decoded)
    is_new = ids >= vocabulary.base_size
    cuts = _cut_words(vocabulary, text, ids[is_new] - vocabulary.base_size, offsets[is_new])
    unseen = [] if vocabulary.of_pieces else _unseen_written(vocabulary.words, text, counts_train)
    new = len(vocabulary.words)
    return Audit(
        words_read=len(lexicon.words) - lexicon.capitalised,
        words_duplicate=lexicon.duplicates,
        words_capitalised=lexicon.capitalised,
        words_in_base=vocabulary.words_in_base,
        words_added=new,
        base_vocabulary=vocabulary.base_size,
        new_share=new / vocabulary.size,
        corpus_words=cuts.words,
        words_cut_share=cuts.cut / max(cuts.words, 1),
        known_words_cut_share=cuts.known_cut / max(cuts.words, 1),
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
        **_classes("train", counts_train),
        **_classes("validation", counts_validation),
        validation_only=int(((counts_train == 0) & (counts_validation > 0)).sum()),
        unseen_written=len(unseen),
        worst_cuts=cuts.worst,
        worst_unseen=unseen[:WORST],
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


def _classes(part: str, counts: np.ndarray) -> dict[str, int]:
    """How many new tokens are of each class of exposure in a part's blocks."""
    return {
        f"{part}_{name}": int(members.sum()) for name, members in exposure_classes(torch.from_numpy(counts)).items()
    }


def _unseen_written(words: tuple[str, ...], text: str, counts_train: np.ndarray) -> list[Unseen]:
    """New words that the text has though their tokens never occur in training, those it has most often first."""
    own = set(words)
    as_listed: Counter[str] = Counter()
    otherwise: Counter[str] = Counter()
    for spelling, count in Counter(WORD.findall(text)).items():
        if spelling in own:
            as_listed[spelling] = count
        else:
            otherwise[spelling.lower()] += count
    unseen = [words[index] for index in np.flatnonzero(counts_train == 0).tolist()]
    found = [Unseen(word=word, written=as_listed[word] + otherwise[word.lower()]) for word in unseen]
    return sorted((one for one in found if one.written), key=lambda one: (-one.written, one.word))


class _Cuts(NamedTuple):
    words: int
    """Runs of letters in the text."""
    cut: int
    """Those cut inside."""
    known_cut: int
    """Those of them that the base knows whole."""
    worst: list[Cut]


def _cut_words(vocabulary: ExtendedVocabulary, text: str, new: np.ndarray, new_offsets: np.ndarray) -> _Cuts:
    """Which of the text's words are cut inside by new tokens, whose numbers and places in the text are given."""
    matches = list(LETTERS.finditer(text))
    if not len(new) or not matches:
        return _Cuts(len(matches), 0, 0, [])
    starts = np.array([match.start() for match in matches])
    ends = np.array([match.end() for match in matches])
    # The last letter of a token lies in the word that it cuts, or covers, or it lies in no word.
    word = np.searchsorted(starts, new_offsets[:, 1] - 1, side="right") - 1
    inside = (word >= 0) & (new_offsets[:, 1] <= ends[word])
    part = (new_offsets[:, 0] > starts[word]) | (new_offsets[:, 1] < ends[word])
    cutting = np.flatnonzero(inside & part)
    whole = {index: matches[index].group() for index in np.unique(word[cutting]).tolist()}
    in_base = known_whole(vocabulary.base_tokenizer, sorted(set(whole.values())))
    known = {index for index, text_word in whole.items() if text_word in in_base}
    pairs = {(token, index) for token, index in zip(new[cutting].tolist(), word[cutting].tolist(), strict=True)}
    places = Counter((vocabulary.words[token], matches[index].group()) for token, index in pairs if index in known)
    worst = sorted(places.items(), key=lambda item: (-item[1], item[0]))[:WORST]
    return _Cuts(
        len(matches),
        len(np.unique(word[cutting])),
        len(known),
        [Cut(new=token, word=whole, places=count) for (token, whole), count in worst],
    )
