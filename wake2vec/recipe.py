"""What a configuration makes of its material: new rows, the model and training at step 0, the finish."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from wake2vec.config import RunConfig
from wake2vec.data.corpus import split_text
from wake2vec.data.lessons import Lessons
from wake2vec.data.lexicon import read_text
from wake2vec.data.places import LEFT, RIGHT
from wake2vec.errors import CorpusError
from wake2vec.inputs import Material
from wake2vec.training.distil import CONTEXTS, distil
from wake2vec.training.embedding_model import EmbeddingModel, TrainedMatrix
from wake2vec.training.finish import finish
from wake2vec.training.initialisers import INITIALISERS, InitMaterial
from wake2vec.training.machine import micro_batch_blocks
from wake2vec.training.train import Training

HEAD_STREAM, LESSON_STREAM, FINISH_STREAM = 1, 2, 3
"""Of the draws for the head's new rows, for distillation and for the finish; those for the input's new rows are the
seed's own."""


def initialise(config: RunConfig, material: Material, name: str = "rows") -> Float[Tensor, "new dim"]:
    """The new rows at step 0, drawn on the CPU: the same on every device, but for what distillation there computes.

    Those of `head_rows` are made by the same rule from the base rows of the head, with random numbers of their own.
    """
    seed = config.seed if name == "rows" else _stream(config.seed, HEAD_STREAM)
    generator = torch.Generator().manual_seed(seed)
    init = config.init
    rows = INITIALISERS[init.name](
        InitMaterial(
            base_rows=material.base_rows_of(name),
            base_texts=material.base_texts,
            words=material.vocabulary.bounded,
            pieces=material.pieces,
            noise_scale=init.noise_scale,
            radius_factor=init.radius_factor,
            generator=generator,
            distil=partial(_distil, config, material) if name == "rows" else None,
        )
    )
    return rows.to(material.device)


def start_training(config: RunConfig, material: Material) -> Training:
    """A trial at step 0, with as many blocks in one pass as the memory holds."""
    model = model_at_start(config, material)
    blocks = micro_batch_blocks(model, config.corpus.block_tokens, config.train.batch_blocks, config.machine)
    return Training(model, material.corpus, config, blocks)


def model_at_start(config: RunConfig, material: Material) -> EmbeddingModel:
    """What a trial begins with."""
    base, new_rows, head = material.base, initialise(config, material), None
    if base.head_rows is not None and config.model.head != "tied":
        head = material.base_rows_of("head_rows"), initialise(config, material, "head_rows")
    return EmbeddingModel(base.body, material.base_rows, new_rows, config.train.rows, base.scales, head)


def with_own_head(model: EmbeddingModel, material: Material, config: RunConfig) -> EmbeddingModel | None:
    """The model at step 0 with the head that is thrown away for its input embedding; None: it throws none away."""
    if material.head_rows is None or model.has_own_head:
        return None
    base, new = material.base_rows_of("head_rows"), initialise(config, material, "head_rows")
    return model.with_head(TrainedMatrix(base, new, "new", model.operand.dtype))


def finisher(config: RunConfig, material: Material, training: Training) -> Callable[[], None]:
    """What is to be done after the last update, once or again: `wake2vec.training.finish`, or nothing.

    Raises:
        CorpusError: it is asked for, and no row that it makes anew stands in the text.
    """
    rare = _rare(config, material)
    lessons = _lessons(config, material, FINISH_STREAM, rare) if rare else None  # now, and not when all is trained
    if lessons is None:
        return lambda: None

    def work() -> None:
        at_once = min(CONTEXTS, max(1, training.micro_batch_blocks * config.corpus.block_tokens // (LEFT + RIGHT)))
        lessons.begin()
        pieces = [material.pieces[number] for number in rare]
        finish(training, torch.tensor(rare), pieces, lessons, config.init, config.train, at_once)

    return work


def check_lessons(config: RunConfig, material: Material) -> None:
    """Raises CorpusError: it asks for distillation or for the finish, and no word that is taught stands in the text."""
    if config.init.name == "distilled":
        _lessons(config, material, LESSON_STREAM)
    if rare := _rare(config, material):
        _lessons(config, material, FINISH_STREAM, rare)


def _rare(config: RunConfig, material: Material) -> list[int]:
    """The new words whose rows are made anew at the end, by number; none where nothing is."""
    is_rare = material.corpus.new_counts_train <= config.train.finish_rare
    return torch.nonzero(is_rare).flatten().tolist() if config.train.finish_steps else []


def _lessons(config: RunConfig, material: Material, stream: int, chosen: list[int] | None = None) -> Lessons:
    corpus = config.corpus
    text, _ = split_text(read_text(Path(corpus.path), "corpus", CorpusError), corpus.validation_share)
    only = None if chosen is None else set(chosen)
    return Lessons(text, material.vocabulary, config.init.distil_contexts, _stream(config.seed, stream), only)


def _distil(config: RunConfig, material: Material, start: Float[Tensor, "new dim"]) -> Float[Tensor, "new dim"]:
    """These rows of the input embedding, taught in passages of the training text."""
    base, lessons = material.base, _lessons(config, material, LESSON_STREAM)
    model = EmbeddingModel(base.body, material.base_rows, start.to(material.device), "new", base.scales)
    at_once = micro_batch_blocks(model, LEFT + RIGHT, CONTEXTS, config.machine)
    return distil(model, material.base_rows, material.head_rows, material.pieces, lessons, config.init, at_once)


def _stream(seed: int, number: int) -> int:
    """The seed of other draws than those of the seed itself."""
    return int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1, np.uint64)[0])
