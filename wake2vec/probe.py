"""How long the parts of a trial take on this machine: each from as much of it as some seconds bear."""

import dataclasses
import math
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from wake2vec.config import RunConfig
from wake2vec.inputs import Material
from wake2vec.metrics.measure import measure, measure_end
from wake2vec.metrics.readings import Subject
from wake2vec.metrics.teaching import hidden_gap
from wake2vec.recipe import finisher, initialise
from wake2vec.training.generate import sample_texts
from wake2vec.training.timing import Estimate, foretell, seconds_of
from wake2vec.training.train import Training
from wake2vec.workfolder import Numbers

START_S, FINISH_S, SAMPLES_S, TEACHING_S = 6.0, 6.0, 3.0, 3.0
PASSES_S, ROWS_S, VALIDATION_S, GEOMETRY_S, LAST_GEOMETRY_S = 16.0, 4.0, 5.0, 6.0, 2.0
"""What each of the measurements may take; the least that each has to do may take longer on a busy machine."""
LEAST_TARGETS = 16
SHARES = 32
"""Rows are measured in so many parts."""
LEAST_ROWS = 256
"""Of base rows and of new rows: figures of fewer are undefined, and take no time."""
LEAST_TOKENS = 1


def time_start(config: RunConfig, material: Material) -> Estimate:
    """The making of the new rows, where it is more than a draw."""
    if config.init.name != "distilled":
        return Estimate(0.0, 0.0, 0.0)
    return foretell(
        lambda steps: seconds_of(lambda: initialise(with_distil_steps(config, steps), material), material.device),
        _doublings(min(1, config.init.distil_steps), config.init.distil_steps),
        START_S,
    )


def with_distil_steps(config: RunConfig, steps: int) -> RunConfig:
    return config.model_copy(update={"init": config.init.model_copy(update={"distil_steps": steps})})


def time_finish(training: Training, material: Material, config: RunConfig) -> Estimate:
    """What is done after the last update, if anything is; it changes rows."""
    steps = config.train.finish_steps
    if not steps:
        return Estimate(0.0, 0.0, 0.0)

    def seconds_with(few: int) -> float:
        fewer = config.model_copy(update={"train": config.train.model_copy(update={"finish_steps": few})})
        return seconds_of(finisher(fewer, material, training), material.device)

    return foretell(seconds_with, _doublings(1, steps), FINISH_S)


def time_step(training: Training, batch_blocks: int) -> Estimate:
    """One optimizer step: its passes, and what it does with all rows."""
    ids, model = _first_blocks(training, training.micro_batch_blocks, "train"), training.model
    one_pass = foretell(
        lambda targets: seconds_of(lambda: model.add_gradients(_part(ids, targets), scale=1.0), model.device),
        _sizes(ids),
        PASSES_S,
    )
    rows = foretell(lambda _: seconds_of(training.pass_over_rows, model.device), [1], ROWS_S)
    return one_pass * (batch_blocks / len(ids)) + rows


def time_validation(training: Training, blocks: int) -> Estimate:
    """The passes over so many blocks that are read: held-out ones, and those of the retention text."""
    ids, model = _first_blocks(training, training.micro_batch_blocks, "validation"), training.model
    one_pass = foretell(
        lambda targets: seconds_of(lambda: model.losses(_part(ids, targets)), model.device), _sizes(ids), VALIDATION_S
    )
    return one_pass * (blocks / len(ids))


def time_geometry(subject: Subject) -> tuple[Estimate, Estimate]:
    """`measure`, whose time rises with the rows, and `measure_end`, whose time rises with their square."""
    numbers: dict[int, Numbers] = {}
    device = subject.matrix.device

    def time_now(share: int) -> float:
        part = _share_of(subject, share / SHARES)

        def work() -> None:
            numbers[share] = measure(part).numbers

        return seconds_of(work, device)

    def time_end(square: int) -> float:
        share = math.isqrt(square)
        if share not in numbers:
            time_now(share)
        part = _share_of(subject, share / SHARES)
        return seconds_of(lambda: measure_end(part, numbers[share]), device)

    shares = [1, 4, 16, SHARES]
    return foretell(time_now, shares, GEOMETRY_S), foretell(time_end, [n * n for n in shares], LAST_GEOMETRY_S)


def time_teaching(training: Training, material: Material) -> Estimate:
    """The passages around new words, read at a trial's end."""
    model, size, at_once = training.model, material.vocabulary.base_size, training.micro_batch_blocks
    found = [passages for passages in material.passages.values() if passages is not None]
    if not found:
        return Estimate(0.0, 0.0, 0.0)
    of_one = foretell(
        lambda few: seconds_of(lambda: hidden_gap(model, size, found[0].first(few), at_once), model.device),
        _doublings(1, found[0].count),
        TEACHING_S,
    )
    return of_one * len(found)


def time_samples(training: Training, material: Material, config: RunConfig) -> Estimate:
    """The texts of a trial, from their first tokens; of a large model from passes of one token of each text."""
    model, sample = training.model, config.sample
    if not sample.count:
        return Estimate(0.0, 0.0, 0.0)
    ids = torch.zeros(sample.count, 2, dtype=torch.long, device=model.device)
    first, second = (seconds_of(lambda: model.losses(ids), model.device) for _ in range(2))
    if second > SAMPLES_S / 8:
        low, high = sorted((first, second))
        return Estimate((low + high) / 2, low, high) * sample.new_tokens

    def time_of(tokens: int) -> float:
        few = sample.model_copy(update={"new_tokens": tokens})
        return seconds_of(lambda: sample_texts(causal_model, material.vocabulary, few, config.seed), model.device)

    with material.base.with_matrix(model.operand, model.head.operand) as causal_model:
        return foretell(time_of, _doublings(LEAST_TOKENS, sample.new_tokens), SAMPLES_S)


def _first_blocks(training: Training, count: int, part: str) -> Int[Tensor, "blocks tokens"]:
    blocks = getattr(training.corpus, part)
    ids: Tensor = blocks[: min(count, len(blocks))]["input_ids"]
    return ids.to(training.model.device)


def _sizes(ids: Int[Tensor, "blocks tokens"]) -> list[int]:
    """Targets of parts of these blocks: of a part of one, of one, of several, of all."""
    blocks, targets = len(ids), ids.shape[1] - 1
    return [*_doublings(LEAST_TARGETS, targets), *(targets * count for count in _doublings(1, blocks)[1:])]


def _part(ids: Int[Tensor, "blocks tokens"], targets: int) -> Int[Tensor, "some first"]:
    block = ids.shape[1] - 1
    return ids[:1, : targets + 1] if targets < block else ids[: targets // block]


def _doublings(least: int, most: int) -> list[int]:
    """From the one to the other: 16, 32, 64, 100."""
    return [*(least << power for power in range(64) if least << power < most), most]


def _share_of(subject: Subject, share: float) -> Subject:
    """As many of its base rows and of its new rows: the first of each."""
    size = subject.base_size
    base = min(size, max(LEAST_ROWS, round(share * size)))
    all_new = len(subject.matrix) - size
    new = min(all_new, max(LEAST_ROWS, round(share * all_new)))
    if (base, new) == (size, all_new):
        return subject

    def first(values: Any, count: int) -> Any:
        return None if values is None else values[:count]

    occurring = subject.occurring_ids
    return dataclasses.replace(
        subject,
        matrix=torch.cat([subject.matrix[:base], subject.matrix[size : size + new]]),
        base_size=base,
        base_before=first(subject.base_before, base),
        new_before=first(subject.new_before, new),
        reference_ids=[id_ for id_ in subject.reference_ids if id_ < base],
        occurring_ids=None if occurring is None else occurring[occurring < base],
        new_counts=first(subject.new_counts, new),
        base_kinds=first(subject.base_kinds, base),
    )
