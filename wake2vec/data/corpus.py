"""The corpus: one text, one split by position, cut into blocks of tokens."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from wake2vec.data.audit_record import COUNT_CLASSES
from wake2vec.data.forms import ExtendedVocabulary, in_other_forms
from wake2vec.data.mending import written_otherwise
from wake2vec.errors import CorpusError, ModelError


@dataclass(frozen=True, eq=False)
class TargetsBehind:
    """Base tokens right behind a new token that are targets in both cuts: the base ends a token where the new one ends.

    Where a new token is the beginning of a word, as the form `phase1` finds them, the base has no such end.
    """

    places: Int[Tensor, " targets"]
    """Among the targets of the held-out blocks, in new tokens."""
    base_ids: Int[Tensor, "blocks tokens"]
    """The held-out text in base tokens, cut into blocks of the same length."""
    base_places: Int[Tensor, " targets"]
    """Among the targets of these."""
    new_ids: Int[Tensor, " targets"]
    """The new token before each, from 0."""


@dataclass(frozen=True)
class Corpus:
    """Blocks to train on and to validate on, with the columns `input_ids` and `target_bytes`.

    A block's first token is given, every other one is a target: the beginning-of-sequence token, where blocks have it,
    or a token of the text. `target_bytes` is the UTF-8 length of the text that a block's targets stand for.
    """

    train: Dataset
    validation: Dataset
    new_counts_train: Int[Tensor, " new"]
    """How often each new token occurs in the training blocks."""
    new_counts_validation: Int[Tensor, " new"]
    base_ids_seen: Int[Tensor, " seen"]
    """Base ids that occur in the training blocks."""
    behind_new: TargetsBehind | None = None
    """Of the validation blocks; None: there are none."""


def bos_id(tokenizer: PreTrainedTokenizerFast, choice: Literal["auto", "always", "never"]) -> int | None:
    """The beginning-of-sequence token with which each block begins; None: blocks are of the text alone.

    A model that was trained with it on every sequence reads badly without: Gemma 3 270M reads plain English at 3.99
    nats a token without it, at 2.43 with it. `auto` takes it where the tokenizer itself puts it before a text.

    Raises:
        ModelError: `always`, and the tokenizer has no such token.
    """
    bos: int | None = tokenizer.bos_token_id
    if choice == "always" and bos is None:
        raise ModelError(
            "corpus.bos=always needs a tokenizer that has a beginning-of-sequence token: "
            f"{tokenizer.name_or_path} has none; give corpus.bos=auto"
        )
    if choice == "auto":
        ids: list[int] = tokenizer("x")["input_ids"]
        return bos if ids[:1] == [bos] else None
    return bos if choice == "always" else None


def split_text(text: str, validation_share: float) -> tuple[str, str]:
    """Training and validation part: the text is cut once, after the line in which the share begins.

    The cut depends on the text alone, so that all token forms are validated on the same words.
    """
    start = round((1 - validation_share) * len(text))
    line_end = text.find("\n", start)
    cut = line_end + 1 if 0 <= line_end < len(text) - 1 else start
    return text[:cut], text[cut:]


MOST_RETENTION_BLOCKS, MOST_RETENTION_TOKENS = 32, 8192
"""What is read of a retention text at each evaluation, so that it costs little beside the validation."""
HELD_OUT = "validation part of the corpus"
Blocks = dict[str, np.ndarray]
"""`input_ids`, int64 [blocks, block_tokens], and `target_bytes`, int64 [blocks]."""


def build_corpus(train_text: str, validation_text: str, vocabulary: ExtendedVocabulary, block_tokens: int) -> Corpus:
    """Encode both parts and cut them into blocks; what is left over at their ends is dropped.

    Raises:
        CorpusError: a part is shorter than one block, or no new token occurs in the training blocks.
    """
    corpus = corpus_of(
        _encode_blocks(
            vocabulary.tokenizer, vocabulary.bos_id, train_text, block_tokens, "training part of the corpus"
        ),
        _encode_blocks(vocabulary.tokenizer, vocabulary.bos_id, validation_text, block_tokens, HELD_OUT),
        vocabulary,
    )
    if not corpus.new_counts_train.any():
        raise CorpusError(_nothing_to_learn(train_text, validation_text, vocabulary))
    return corpus


def retention_blocks(text: str, vocabulary: ExtendedVocabulary, block_tokens: int) -> Dataset:
    """Blocks of a text in the base tokenizer's words, with the columns of a `Corpus`.

    Of a long text there are some blocks, spread evenly over it.

    Raises:
        CorpusError: the text is shorter than one block.
    """
    blocks = _encode_blocks(vocabulary.base_tokenizer, vocabulary.bos_id, text, block_tokens, "retention text")
    count = len(blocks["input_ids"])
    most = max(1, min(count, MOST_RETENTION_BLOCKS, MOST_RETENTION_TOKENS // block_tokens))
    places = np.arange(most) * count // most
    return Dataset.from_dict({name: column[places] for name, column in blocks.items()}).with_format("torch")


def _nothing_to_learn(text: str, held_out: str, vocabulary: ExtendedVocabulary) -> str:
    """Why no new token occurs, and what mends it: each remedy is tried."""
    words = vocabulary.words
    listed = next((word for word in words if word in text), None)
    if listed is not None:
        return (
            f"the training text has words of the lexicon, such as {listed!r}, nowhere as this form matches them, so "
            f"none can be learned: {in_other_forms(vocabulary.base_tokenizer, text, words)}"
        )
    rule = "no word of the lexicon occurs in the training text, so none can be learned"
    for way, (word, written) in written_otherwise(words, text).items():
        return f"{rule}: the text has {word!a} {way}, as {written!a}; write the list as the text does with `{MENDING}`"
    if any(word in held_out for word in words):
        return f"{rule}: it has them in the part that is held out; give more text, or a smaller corpus.validation_share"
    return f"{rule}, nor does it have them in another spelling; give the lexicon that belongs to this corpus"


MENDING = "python -m study lexicon mend LEXICON --corpus CORPUS --out mended.txt"


def corpus_of(train: Blocks, validation: Blocks, vocabulary: ExtendedVocabulary) -> Corpus:
    """The corpus of blocks that are encoded already."""
    counts_train, counts_validation = (_counts(part["input_ids"], vocabulary.size) for part in (train, validation))
    base = vocabulary.base_size
    return Corpus(
        train=Dataset.from_dict(train).with_format("torch"),
        validation=Dataset.from_dict(validation).with_format("torch"),
        new_counts_train=counts_train[base:],
        new_counts_validation=counts_validation[base:],
        base_ids_seen=torch.nonzero(counts_train[:base]).flatten(),
    )


def cut_blocks(
    tokenizer: PreTrainedTokenizerFast, bos: int | None, text: str, block_tokens: int, part: str
) -> tuple[np.ndarray, np.ndarray]:
    """Ids [blocks, tokens] of a text, and behind which of its letters each token of the text ends: without a column for
    the beginning-of-sequence token, where there is one.

    Raises:
        CorpusError: the text, which is that part, is shorter than one block.
    """
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    length = block_tokens - (bos is not None)
    count = len(encoded["input_ids"]) // length
    if count == 0:
        raise CorpusError(
            f"the {part} must fill a block of {length} tokens: "
            f"it has {len(encoded['input_ids'])}; give more text or a smaller corpus.block_tokens"
        )
    ids = np.asarray(encoded["input_ids"])[: count * length].reshape(count, length)
    ends = np.asarray(encoded["offset_mapping"])[: count * length, 1].reshape(count, length)
    return ids if bos is None else np.insert(ids, 0, bos, axis=1), ends


def _encode_blocks(
    tokenizer: PreTrainedTokenizerFast, bos: int | None, text: str, block_tokens: int, part: str
) -> Blocks:
    ids, ends = cut_blocks(tokenizer, bos, text, block_tokens, part)
    bytes_before = np.concatenate([[0], np.cumsum([len(letter.encode()) for letter in text])])
    # Where the text of a block's targets begins: after its first token, or where the block before ends.
    starts = ends[:, 0] if bos is None else np.concatenate([[0], ends[:-1, -1]])
    return {"input_ids": ids, "target_bytes": bytes_before[ends[:, -1]] - bytes_before[starts]}


def _counts(ids: np.ndarray, vocabulary_size: int) -> Int[Tensor, " vocabulary"]:
    return torch.from_numpy(np.bincount(ids.ravel(), minlength=vocabulary_size))


def targets_behind(text: str, vocabulary: ExtendedVocabulary, block_tokens: int) -> TargetsBehind | None:
    """Of the held-out text; None: there are none."""
    try:
        own, base = (
            _Targets.of(*cut_blocks(tokenizer, vocabulary.bos_id, text, block_tokens, HELD_OUT))
            for tokenizer in (vocabulary.tokenizer, vocabulary.base_tokenizer)
        )
    except CorpusError:  # in base tokens it may be shorter than a block
        return None
    at = {span: place for place, span in enumerate(base.spans())}
    before = own.before - vocabulary.base_size
    pairs = [
        (place, at[span], int(before[place]))
        for place, span in enumerate(own.spans())
        if before[place] >= 0 and span in at
    ]
    if not pairs:
        return None
    places, base_places, new_ids = torch.tensor(pairs, dtype=torch.long).view(-1, 3).unbind(1)
    return TargetsBehind(places, torch.from_numpy(base.blocks), base_places, new_ids)


@dataclass(frozen=True)
class _Targets:
    """Of blocks: each target, the token before it in its block, and the letters between which it stands."""

    blocks: np.ndarray
    ids: np.ndarray
    before: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, blocks: np.ndarray, ends: np.ndarray) -> "_Targets":
        """`ends`: see `wake2vec.data.corpus.cut_blocks`."""
        starts = np.concatenate([[0], ends.ravel()[:-1]]).reshape(ends.shape)
        given = ends.shape[1] - (blocks.shape[1] - 1)  # tokens of the text that are no targets: 1, or 0 behind a bos
        columns = blocks[:, 1:], blocks[:, :-1], starts[:, given:], ends[:, given:]
        return cls(blocks, *(column.ravel() for column in columns))

    def spans(self) -> list[tuple[int, int, int]]:
        """Where each begins and ends, and its id."""
        return list(zip(self.starts.tolist(), self.ends.tolist(), self.ids.tolist(), strict=True))


def exposure_classes(counts: Int[Tensor, " *shape"]) -> dict[str, Bool[Tensor, " *shape"]]:
    """Which counts, 0 up, lie in each class; every count is in exactly one. On the counts' device.

    A count is how often a new token occurs in the training blocks. A row that is never a target learns nothing but the
    softmax's push; one that is a target once is moved in one place of the text. So new rows are read by class.
    """
    return {
        name: (counts >= fewest) if most is None else (counts >= fewest) & (counts <= most)
        for name, (fewest, most) in COUNT_CLASSES.items()
    }
