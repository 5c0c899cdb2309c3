"""A checkpoint as the subject of a geometry report: which rows are base rows, and what its folder knows of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from wake2vec.checkpoints.matrix import StoredMatrix, has_tensor, read_matrix
from wake2vec.checkpoints.origin import Origin, base_border, given_ids, read_origin
from wake2vec.config import CorpusConfig
from wake2vec.data.corpus import split_text
from wake2vec.data.lexicon import read_text
from wake2vec.data.tokenizer import base_kinds, new_texts, reference_rows
from wake2vec.errors import ConfigError, CorpusError, ModelError
from wake2vec.metrics.readings import Subject
from wake2vec.training.device import device_for
from wake2vec.training.model import load_tokenizer

LEAST_ROWS = 2
"""Base rows and new rows that a report needs."""


@dataclass(frozen=True)
class Source:
    """What a report is asked of; whatever isn't given is taken from the folder where it tells."""

    model: Path
    """A Hugging Face folder, or a `.safetensors` file, of which nothing but the matrix is read."""
    base_size: int | None = None
    """Ids below it are base rows."""
    before: Path | None = None
    """The base model, or the checkpoint before training."""
    corpus: Path | None = None
    """The training text."""
    block_tokens: int | None = None
    validation_share: float | None = None
    """How that text was cut: the training blocks alone are counted."""
    references: tuple[int, ...] | None = None
    """Ids of base rows that no text reaches."""
    tensor: str | None = None


@dataclass(frozen=True, eq=False)
class StoredSubject:
    """A checkpoint's matrix with all that could be known of it, and why the rest can't."""

    subject: Subject
    matrix: StoredMatrix
    before: StoredMatrix | None
    ids: Int[Tensor, " rows"]
    """The id of each row of the subject in the stored matrix: padding is left out."""
    base_rule: str
    """What told the number of base rows."""
    notes: tuple[str, ...]
    """What a reader of the report must know of its rows."""
    unknown: dict[str, str]
    """Fields of the subject that aren't known, and why."""
    tokenizer: PreTrainedTokenizerFast | None

    @property
    def row_names(self) -> list[str]:
        """The token of each base row, and the word of each new one; without a tokenizer the row's id, `#613`."""
        ids = self.ids.tolist()
        if self.tokenizer is None:
            return [f"#{id_}" for id_ in ids]
        base, new = ids[: self.subject.base_size], ids[self.subject.base_size :]
        return [*map(str, self.tokenizer.convert_ids_to_tokens(base)), *new_texts(self.tokenizer, new)]


def read_subject(source: Source) -> StoredSubject:
    """Read matrix, tokenizer and text.

    Raises:
        Wake2VecError: something can't be read, or doesn't fit together; the message says what.
    """
    matrix = read_matrix(source.model, source.tensor)
    tokenizer, no_tokenizer = _tokenizer(source.model)
    origin = read_origin(source.model) if source.model.is_dir() else None
    ids, notes = given_ids(tokenizer, len(matrix.rows))
    # The same matrix where that model has it too; a tied head is the input embedding.
    same = source.before and source.tensor and has_tensor(source.before, source.tensor)
    before = read_matrix(source.before, source.tensor if same else None) if source.before else None
    before_size = _before_size(source, before, matrix)
    border, rule = base_border(source.model, source.base_size, origin, before_size, tokenizer, int(ids[-1]) + 1)
    base_size = int((ids < border).sum())
    _check_groups(source, base_size, len(ids), len(matrix.rows), border)
    device = device_for()
    whole = len(ids) == len(matrix.rows)
    subject = Subject((matrix.rows if whole else matrix.rows[ids]).to(device), base_size)
    unknown: dict[str, str] = {}
    subject = _with_before(subject, before, before_size, ids, unknown)
    subject = _with_references(subject, source, tokenizer, no_tokenizer, ids, unknown)
    subject = _with_counts(subject, source, origin, tokenizer, no_tokenizer, ids, unknown)
    if tokenizer is None:
        unknown["base_kinds"] = no_tokenizer
    else:
        kinds = base_kinds(tokenizer, int(ids[base_size - 1]) + 1)
        subject = replace(subject, base_kinds=kinds[ids[:base_size]])
    return StoredSubject(subject, matrix, before, ids, rule, tuple(notes), unknown, tokenizer)


def _tokenizer(model: Path) -> tuple[PreTrainedTokenizerFast | None, str]:
    """The folder's tokenizer, or None and why."""
    if not model.is_dir():
        return None, f"{model.name} is a file, without a tokenizer"
    if not any((model / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")):
        return None, "the folder holds no tokenizer"
    try:
        return load_tokenizer(model), ""
    except ModelError as fault:
        return None, str(fault)


def _before_size(source: Source, before: StoredMatrix | None, matrix: StoredMatrix) -> int | None:
    """Rows of the matrix before that stand for tokens."""
    if before is None or source.before is None:
        return None
    if before.rows.shape[1] != matrix.rows.shape[1]:
        raise ModelError(
            f"rows before and after must be of one width: {source.before} has {before.rows.shape[1]}, "
            f"{source.model} {matrix.rows.shape[1]}; give the model that this one was made from"
        )
    tokenizer, _ = _tokenizer(source.before)
    size = len(before.rows)
    return size if tokenizer is None else min(size, 1 + max(tokenizer.get_vocab().values()))


def _check_groups(source: Source, base: int, rows: int, stored: int, border: int) -> None:
    if base < LEAST_ROWS or rows - base < LEAST_ROWS:
        of_rows = f"{rows:,} rows" if rows == stored else f"{rows:,} rows that have a token, of {stored:,},"
        raise ConfigError(
            f"a report needs at least {LEAST_ROWS} base and {LEAST_ROWS} new rows: {source.model} has {of_rows} and "
            f"the new ones begin at {border:,}; give another --base-size, or the .safetensors file for all its rows"
        )


def _with_before(
    subject: Subject, before: StoredMatrix | None, size: int | None, ids: Int[Tensor, " rows"], unknown: dict[str, str]
) -> Subject:
    if before is None or size is None:
        unknown |= dict.fromkeys(("base_before", "new_before"), "no --before was given")
        return subject
    base_ids, last = ids[: subject.base_size], int(ids[-1])
    if size <= int(base_ids[-1]):
        raise ModelError(
            f"the model before must have all base rows: it has {size:,}, the base rows go up to "
            f"{int(base_ids[-1]):,}; give another --before or --base-size"
        )
    subject = replace(subject, base_before=before.rows[base_ids])
    if size > last:
        return replace(subject, new_before=before.rows[ids[subject.base_size :]])
    unknown["new_before"] = "the model before has no new rows"
    return subject


def _with_references(
    subject: Subject,
    source: Source,
    tokenizer: PreTrainedTokenizerFast | None,
    no_tokenizer: str,
    ids: Int[Tensor, " rows"],
    unknown: dict[str, str],
) -> Subject:
    base_ids = ids[: subject.base_size]
    if source.references is not None:
        given: Sequence[int] = sorted(set(source.references))
        missing = [id_ for id_ in given if id_ not in set(base_ids.tolist())]
        if missing:
            raise ConfigError(f"reference rows are base rows: {missing[0]} isn't one of {subject.base_size:,}")
    elif tokenizer is None:
        unknown["reference_ids"] = f"{no_tokenizer}, and no --references were given"
        return subject
    else:
        kept = set(base_ids.tolist())
        references = reference_rows(tokenizer, _by_id(subject.matrix[: subject.base_size], base_ids))
        given = [id_ for id_ in references.ids if id_ in kept]
        if not given:
            unknown["reference_ids"] = f"{references.meaning}; --references may name some"
    return replace(subject, reference_ids=torch.searchsorted(base_ids, torch.tensor(given, dtype=torch.long)).tolist())


def _by_id(rows: Float[Tensor, "base dim"], ids: Int[Tensor, " base"]) -> Float[Tensor, "ids dim"]:
    """The rows at the places of their ids; zero where there is no row."""
    if len(rows) == int(ids[-1]) + 1:
        return rows
    placed = rows.new_zeros(int(ids[-1]) + 1, rows.shape[1])
    placed[ids] = rows
    return placed


def _with_counts(
    subject: Subject,
    source: Source,
    origin: Origin | None,
    tokenizer: PreTrainedTokenizerFast | None,
    no_tokenizer: str,
    ids: Int[Tensor, " rows"],
    unknown: dict[str, str],
) -> Subject:
    if source.corpus is None:
        unknown |= dict.fromkeys(("occurring_ids", "new_counts"), "no --corpus was given")
        return subject
    if tokenizer is None:
        raise ConfigError(f"to count tokens in {source.corpus} a tokenizer is needed: {no_tokenizer}")
    cut = origin or CorpusConfig(path=str(source.corpus))
    block = (source.block_tokens or cut.block_tokens) - (origin is not None and origin.bos)
    share = cut.validation_share if source.validation_share is None else source.validation_share
    text = split_text(read_text(source.corpus, "corpus", CorpusError), share)[0]
    encoded = np.asarray(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int64)
    whole = len(encoded) // block * block
    if not whole:
        raise CorpusError(f"the text must fill a block of {block} tokens: {source.corpus} has {len(encoded)}")
    counts = torch.from_numpy(np.bincount(encoded[:whole], minlength=int(ids[-1]) + 1))[ids]
    base, new = counts.tensor_split([subject.base_size])
    return replace(subject, occurring_ids=base.nonzero()[:, 0], new_counts=new)
