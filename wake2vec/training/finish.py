"""The finish: after training, rows that the text hardly taught are made anew of their words' pieces.

A row that is never a target learns nothing but the push of the softmax, which is one for all such rows: they collapse.
Here one linear map from a word's pieces to its row is learnt for all of them, from the trained base rows: by token
distillation (`wake2vec.training.distil`), whose teacher is the trained model reading the pieces, and by a share of the
next-token loss, without which these rows would take probability from all others.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from wake2vec.config import InitConfig, TrainConfig
from wake2vec.data.lessons import Lessons
from wake2vec.training.device import START_LOSS_SCALE
from wake2vec.training.distil import (
    BETAS,
    CONTEXTS,
    ROWS_AT_ONCE,
    Distance,
    SharedMap,
    finite_gradient,
    new_ids,
    set_rate,
)
from wake2vec.training.train import Training


@torch.no_grad()
def finish(
    training: Training,
    rare: Int[Tensor, " rare"],
    pieces: Sequence[Sequence[int]],
    lessons: Lessons,
    init: InitConfig,
    config: TrainConfig,
    at_once: int,
) -> None:
    """Make the input rows of these new tokens anew, as long as the base rows are in the mean; all others stay.

    What they were isn't read, so a second time it does nothing. `pieces`: the base ids that spelled each of them.
    `at_once`: passages in one forward pass at most.

    Raises:
        TrainingDivergedError: a loss or gradient isn't finite.
        MemoryExhaustedError: not even one passage at a time fits into the memory.
    """
    model, steps = training.model, config.finish_steps
    base_rows = model.matrix[: len(model.operand) - len(model.input.new_rows)]
    radius, rate = base_rows.norm(dim=1).mean(), init.distil_rate / base_rows.shape[1]
    learner = SharedMap(base_rows, pieces).to(model.device)
    optimizer = torch.optim.Adam(learner.parameters(), lr=rate, betas=BETAS)
    distance = Distance("states", base_rows[:0], model.scales)
    scale = START_LOSS_SCALE[model.operand.dtype]
    rare = rare.to(model.device)
    place = torch.full((len(model.input.new_rows),), -1, device=model.device)
    place[rare] = torch.arange(len(rare), device=model.device)

    def rows_of(words: Int[Tensor, " some"]) -> Float[Tensor, "some dim"]:
        return F.normalize(learner(words), dim=1) * radius

    def write() -> None:
        for words in torch.arange(len(rare), device=model.device).split(ROWS_AT_ONCE):
            model.input.new_rows[rare[words]] = rows_of(words)
        model.refresh()

    def gradient_of_map(words: Int[Tensor, " some"], of_rows: Float[Tensor, "some dim"]) -> Float[Tensor, "in dim"]:
        """Of length 1."""
        learner.zero_grad()
        with torch.enable_grad():
            for some, part in zip(words.split(ROWS_AT_ONCE), of_rows.split(ROWS_AT_ONCE), strict=True):
                rows_of(some).backward(part)
        assert learner.weight.grad is not None
        return F.normalize(learner.weight.grad.flatten(), dim=0).view_as(learner.weight)

    write()
    for step in range(steps):
        passages = lessons.draw(CONTEXTS)
        if passages is None:
            continue
        training.next_token_gradient(config.steps + step, rate)
        of_new = model.input.gradient[len(model.input.gradient) - len(place) :]
        of_text = gradient_of_map(torch.arange(len(rare), device=model.device), of_new[rare])
        gradient, at_once, scale = finite_gradient(model, passages, distance, at_once, scale, step)
        words = place[new_ids(model, passages)]
        of_lesson = gradient_of_map(words[words >= 0], gradient[words >= 0])
        learner.weight.grad = of_lesson + config.finish_share * of_text
        set_rate(optimizer, rate, step, steps)
        optimizer.step()
        write()
