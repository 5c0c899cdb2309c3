"""The material of a study: what its trials share, made once for each choice of model, corpus and vocabulary."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Float, Int
from safetensors.numpy import save
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from wake2vec.config import TRAINING_VERSION, CorpusConfig, Form, RetentionConfig, RunConfig, VocabularyConfig
from wake2vec.data.audit import audit
from wake2vec.data.audit_record import Audit
from wake2vec.data.corpus import Corpus, bos_id, build_corpus, corpus_of, retention_blocks, split_text, targets_behind
from wake2vec.data.forms import ExtendedVocabulary, base_pieces, extend, in_other_forms
from wake2vec.data.lexicon import Lexicon, read_lexicon, read_text, with_capitals
from wake2vec.data.places import (
    Passages,
    held_out_places,
    passages_around,
    with_words,
)
from wake2vec.data.tokenizer import ReferenceRows, base_kinds, base_texts, reference_rows
from wake2vec.errors import CorpusError, DamagedError, ModelError, NoFormError
from wake2vec.metrics.readings import Subject
from wake2vec.metrics.spacing import SpacingCensus, WordStock, count_spacing, fused_recall, stock_words
from wake2vec.metrics.teaching import undefined_gaps
from wake2vec.metrics.validation import target_counts
from wake2vec.result import retention_hash
from wake2vec.training.folder import check_model
from wake2vec.training.model import BaseModel, file_hash, fingerprint, load_base, load_tokenizer, resolve_folder, untied
from wake2vec.workfolder import Numbers, checked_arrays, with_checksum, write_atomic

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Material:
    """Everything that doesn't depend on how a trial trains."""

    base: BaseModel
    vocabulary: ExtendedVocabulary
    corpus: Corpus
    audit: Audit
    pieces: list[list[int]]
    """Base ids that spelled each new word before."""
    base_texts: list[str]
    """What each base token writes."""
    references: ReferenceRows
    """Base rows that no text reaches."""
    base_kinds: Int[Tensor, " base"]
    """What each base row stands for, as an index of `wake2vec.data.tokenizer.KINDS`."""
    words: WordStock
    """Of the training text and the lexicon."""
    spacing: SpacingCensus
    """Of the held-out text: the null of the samples' spacing rate."""
    fused_recall: float | None
    """Share of the held-out text's boundaries that would be found, were they fused."""
    retention: Dataset
    """Blocks of the retention text, as the base tokenizer cuts it."""
    retention_hash: str
    """Of that text."""
    passages: Mapping[str, Passages | None]
    """Of the held-out text, around new words: `held_out` as they stand, `unseen` with words that training never met."""
    not_in_cache: str = ""
    """Its name there; empty where it was read from there."""

    @property
    def constants(self) -> Numbers:
        """Figures that are the same for every trial of this material."""
        counts = target_counts(self.corpus, self.vocabulary.base_size)
        recall = {"sample.fused_recall": self.fused_recall}
        return {**self.audit.numbers(), **counts, **recall, **undefined_gaps(self.passages)}

    @property
    def device(self) -> torch.device:
        return next(self.base.body.parameters()).device

    @property
    def base_rows(self) -> Float[Tensor, "base dim"]:
        """In float32, on the CPU; a model may have more rows than its tokenizer has tokens: those are dropped."""
        return self.base.rows[: self.vocabulary.base_size]

    @property
    def head_rows(self) -> Float[Tensor, "base dim"] | None:
        """The same of a head that is a matrix of its own."""
        return None if self.base.head_rows is None else self.base.head_rows[: self.vocabulary.base_size]

    def base_rows_of(self, name: str) -> Float[Tensor, "base dim"]:
        """The base rows of `rows` or `head_rows`, as `EmbeddingModel.trained` names its matrices."""
        rows = self.base_rows if name == "rows" else self.head_rows
        assert rows is not None
        return rows

    def subject(
        self, matrix: Float[Tensor, "vocabulary dim"], new_before: Tensor | None = None, name: str = "rows"
    ) -> Subject:
        """A trained matrix of that name, with what is known of its rows."""
        return Subject(
            matrix,
            self.vocabulary.base_size,
            base_before=self.base_rows_of(name),
            new_before=new_before,
            reference_ids=self.references.ids,
            occurring_ids=self.corpus.base_ids_seen,
            new_counts=self.corpus.new_counts_train,
            base_kinds=self.base_kinds,
        )


def prepare(config: RunConfig, cache: Path | None = None, keep: bool = True) -> Material:
    """Read, check and encode the inputs, once a process for inputs of the same content.

    The encoded corpus and its audit are kept in the folder `cache`, under a hash of all that they depend on; not yet
    where they are to be looked at only (not `keep`), since that may be the first file of a results folder.

    Raises:
        Wake2VecError: an input can't be used.
    """
    inputs = fingerprint_inputs(config)
    base = load_base(
        resolve_folder(config.model.path),
        inputs["model.path"],
        config.train.precision,
        config.model.quantization,
        config.machine.device,
    )
    if config.model.head == "untied":
        base = untied(base)
    retention = (config.retention, retention_hash(config) or "")
    material = _prepare(base, config.corpus, config.vocabulary, retention, tuple(inputs.items()), cache)
    if cache and keep:
        keep_encoded(material, cache)
    return material


def keep_encoded(material: Material, cache: Path) -> None:
    """Keep its encoded corpus and audit in the folder, for other processes; once a process."""
    if material.not_in_cache:
        _keep(material, cache / f"{material.not_in_cache}.safetensors")


def fingerprint_inputs(config: RunConfig) -> dict[str, str]:
    """Hashes of what is trained on, under the addresses of its paths; for knobs that are `auto`, what these decide.

    Raises:
        Wake2VecError: an input is missing.
    """
    inputs = {
        "corpus.path": _hash(Path(config.corpus.path), "corpus"),
        "vocabulary.lexicon": _hash(Path(config.vocabulary.lexicon), "lexicon"),
    }
    folder = resolve_folder(config.model.path)  # which asks the model hub where there is none
    check_model(folder)
    inputs["model.path"] = fingerprint(folder)
    if config.corpus.bos == "auto" and _begins_with_bos(folder, inputs["model.path"]):
        inputs["corpus.bos"] = "always"
    return inputs


@lru_cache(maxsize=64)
def _begins_with_bos(folder: Path, contents: str) -> bool:
    """Whether the tokenizer begins a text with that token by itself; `contents` is the folder's fingerprint."""
    return bos_id(load_tokenizer(folder), "auto") is not None


def _hash(path: Path, what: Literal["corpus", "lexicon"]) -> str:
    """Of a text that can be used; one that hasn't changed since is checked once a process."""
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return _checked_hash(path, what, None)  # which says why
    return _checked_hash(path, what, (stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=64)
def _checked_hash(path: Path, what: Literal["corpus", "lexicon"], version: tuple[int, int] | None) -> str:
    if what == "corpus":
        read_text(path, what, CorpusError)
    else:
        read_lexicon(path)
    return file_hash(path)[:16]


@lru_cache(maxsize=4)
def _prepare(
    base: BaseModel,
    corpus: CorpusConfig,
    vocabulary: VocabularyConfig,
    retention: tuple[RetentionConfig, str],
    inputs: tuple[tuple[str, str], ...],
    cache: Path | None,
) -> Material:
    text = read_text(Path(corpus.path), "corpus", CorpusError)
    known_text = read_text(Path(retention[0].path), "retention text", CorpusError)
    lexicon = with_capitals(read_lexicon(vocabulary.lexicon), text, vocabulary.capitals)
    tokenizer = load_tokenizer(base.folder)
    extended = replace(_extended(tokenizer, lexicon, vocabulary.form, text), bos_id=bos_id(tokenizer, corpus.bos))
    train_text, validation_text = split_text(text, corpus.validation_share)
    choices = vocabulary.model_dump(exclude={"lexicon"})
    knobs = {**choices, **corpus.model_dump(exclude={"path"}), **dict(inputs), "format": TRAINING_VERSION}
    key = hashlib.sha256(json.dumps(knobs, sort_keys=True).encode()).hexdigest()[:16]
    encoded = _read_encoded(cache / f"{key}.safetensors", extended) if cache else None
    blocks, audited = encoded or encode(text, corpus, extended, lexicon)
    blocks = replace(blocks, behind_new=targets_behind(validation_text, extended, corpus.block_tokens))
    words = stock_words(train_text, () if extended.of_pieces else lexicon.words)
    return Material(
        base,
        extended,
        blocks,
        audited,
        pieces=base_pieces(extended),
        base_texts=base_texts(extended.base_tokenizer, extended.base_size),
        references=reference_rows(extended.base_tokenizer, base.rows),
        base_kinds=base_kinds(extended.base_tokenizer, extended.base_size),
        words=words,
        spacing=count_spacing([validation_text], words),
        fused_recall=fused_recall(validation_text, words),
        retention=retention_blocks(known_text, extended, corpus.block_tokens),
        retention_hash=retention[1],
        passages=_passages(validation_text, extended, blocks),
        not_in_cache="" if encoded else key,
    )


def _passages(held_out: str, vocabulary: ExtendedVocabulary, corpus: Corpus) -> dict[str, Passages | None]:
    places = held_out_places(held_out, vocabulary)
    texts, never = vocabulary.texts, torch.nonzero(corpus.new_counts_train == 0).flatten().tolist()
    unseen = [texts[number] for number in never if vocabulary.begins_word(number)]
    return {
        "held_out": passages_around(places, vocabulary),
        "unseen": passages_around(with_words(places, unseen), vocabulary, among={*never}),
    }


def _extended(tokenizer: PreTrainedTokenizerFast, lexicon: Lexicon, form: Form, text: str) -> ExtendedVocabulary:
    try:
        return extend(tokenizer, lexicon, form)
    except NoFormError as fault:
        raise ModelError(f"{fault}; {in_other_forms(tokenizer, text, lexicon.words)}") from None


def encode(text: str, config: CorpusConfig, vocabulary: ExtendedVocabulary, lexicon: Lexicon) -> tuple[Corpus, Audit]:
    """The text's blocks in an extended vocabulary, and what the extension by the lexicon does to the text.

    Raises:
        CorpusError: the text is too short, no new word occurs in its training part, or the extension corrupts it.
    """
    corpus = build_corpus(*split_text(text, config.validation_share), vocabulary, config.block_tokens)
    counts = (corpus.new_counts_train.numpy(), corpus.new_counts_validation.numpy())
    return corpus, audit(vocabulary, text, lexicon, *counts)


def _read_encoded(path: Path, vocabulary: ExtendedVocabulary) -> tuple[Corpus, Audit] | None:
    """What `_keep` wrote; None where there is nothing that can be read: it is encoded again."""
    if not path.exists():
        return None
    try:
        arrays = checked_arrays(path)
    except DamagedError as fault:
        logger.warning("an encoded text is made again: %s", fault)
        return None
    audited = Audit.model_validate_json(arrays["audit"].tobytes())
    train, validation = (
        {name: arrays[f"{part}.{name}"] for name in ("input_ids", "target_bytes")} for part in ("train", "validation")
    )
    return corpus_of(train, validation, vocabulary), audited


@lru_cache(maxsize=4)
def _keep(material: Material, path: Path) -> None:
    """Once a process."""
    corpus, audited = material.corpus, material.audit
    arrays = {
        f"{name}.{column}": part.with_format("numpy")[column][:]
        for name, part in (("train", corpus.train), ("validation", corpus.validation))
        for column in ("input_ids", "target_bytes")
    }
    arrays["audit"] = np.frombuffer(audited.model_dump_json().encode(), dtype=np.uint8)
    write_atomic(path, save(with_checksum(arrays)))
