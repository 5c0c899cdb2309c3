"""The material of a study: what its trials share, made once for each choice of model, corpus and vocabulary."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from wake2vec.audit import Audit, audit
from wake2vec.config import CorpusConfig, ModelConfig, RunConfig, VocabularyConfig
from wake2vec.corpus import Corpus, build_corpus, split_text
from wake2vec.errors import CorpusError
from wake2vec.lexicon import read_lexicon, read_text
from wake2vec.measure import unreachable_byte_ids
from wake2vec.model import best_device, fingerprint, load_model, load_tokenizer, resolve_folder, stored_dtype
from wake2vec.vocabulary import ExtendedVocabulary, base_pieces, extend


@dataclass(frozen=True)
class Material:
    """Everything that doesn't depend on how a trial trains."""

    folder: Path
    model: PreTrainedModel
    vocabulary: ExtendedVocabulary
    corpus: Corpus
    audit: Audit
    pieces: list[list[int]]
    dtype: torch.dtype
    """Of the base model's weights in its folder; the model itself is loaded in float32."""
    reference_ids: list[int]
    """Byte rows that no text reaches."""

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def base_rows(self) -> Float[Tensor, "base dim"]:
        rows: Tensor = self.model.get_input_embeddings().weight.detach()
        return rows[: self.vocabulary.base_size]


@lru_cache(maxsize=1)
def prepare(model: ModelConfig, corpus: CorpusConfig, vocabulary: VocabularyConfig) -> Material:
    """Read, check and encode the inputs.

    Raises:
        Wake2VecError: an input can't be used.
    """
    text = read_text(Path(corpus.path), "corpus", CorpusError)
    lexicon = read_lexicon(vocabulary.lexicon)
    folder = resolve_folder(model.path)
    base = load_model(folder).to(best_device())
    extended = extend(load_tokenizer(folder), lexicon, vocabulary.form)
    train_text, validation_text = split_text(text, corpus.validation_share)
    blocks = build_corpus(train_text, validation_text, extended, corpus.block_tokens)
    counts = (blocks.new_counts_train.numpy(), blocks.new_counts_validation.numpy())
    return Material(
        folder,
        base,
        extended,
        blocks,
        audit(extended, text, lexicon.duplicates, *counts),
        base_pieces(extended),
        stored_dtype(folder),
        unreachable_byte_ids(extended.base_tokenizer),
    )


def fingerprint_inputs(config: RunConfig) -> dict[str, str]:
    """Hashes of the inputs' contents, under the addresses of their paths.

    Raises:
        Wake2VecError: an input is missing.
    """
    read_text(Path(config.corpus.path), "corpus", CorpusError)
    read_lexicon(config.vocabulary.lexicon)
    return {
        "model.path": fingerprint(resolve_folder(config.model.path)),
        "corpus.path": _hash(Path(config.corpus.path)),
        "vocabulary.lexicon": _hash(Path(config.vocabulary.lexicon)),
    }


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
