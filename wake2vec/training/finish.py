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
from wake2vec.training.embedding_model import EmbeddingModel
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
    model, rare = training.model, rare.to(training.model.device)
    rows = RareRows(model, rare, pieces)
    rate = init.distil_rate / model.input.new_rows.shape[1]
    optimizer = torch.optim.Adam([rows.map.weight], lr=rate, betas=BETAS)
    distance = Distance("states", model.operand[:0], model.scales)
    scale = START_LOSS_SCALE[model.operand.dtype]
    rows.write()
    for step in range(config.finish_steps):
        passages = lessons.draw(CONTEXTS)
        if passages is None:
            continue
        training.next_token_gradient(config.steps + step)
        of_text = rows.direction(rare, model.input.new_gradient[rare])
        gradient, at_once, scale = finite_gradient(model, passages, distance, at_once, scale, step)
        of_lesson = rows.direction(new_ids(model, passages), gradient)
        rows.map.weight.grad = of_lesson + config.finish_share * of_text
        set_rate(optimizer, rate, step, config.finish_steps)
        optimizer.step()
        rows.write()


class RareRows:
    """The rows of some new tokens, as one map of their pieces' trained rows, as long as the base rows' mean."""

    def __init__(self, model: EmbeddingModel, rare: Int[Tensor, " rare"], pieces: Sequence[Sequence[int]]) -> None:
        """`rare`: their numbers, from 0, on the model's device; `pieces`: base ids of each.

        The map begins at the mean of the pieces.
        """
        self._model, self._rare = model, rare
        base_rows = model.matrix[: len(model.operand) - len(model.input.new_rows)]
        self._length = base_rows.norm(dim=1).mean()
        self.map = SharedMap(base_rows, pieces).to(model.device)
        self._place = torch.full((len(model.input.new_rows),), -1, device=model.device)
        self._place[self._rare] = torch.arange(len(rare), device=model.device)

    @torch.no_grad()
    def write(self) -> None:
        """Into the model, as the map has them now."""
        for words in self._rare.split(ROWS_AT_ONCE):
            self._model.input.new_rows[words] = self._rows(words)
        self._model.refresh()

    def direction(self, words: Int[Tensor, " some"], of_rows: Float[Tensor, "some dim"]) -> Float[Tensor, "in dim"]:
        """The gradient for the map, of length 1, by that for the rows of these new tokens; of others it takes none."""
        ours = self._place[words] >= 0
        self.map.zero_grad()
        with torch.enable_grad():
            for some, part in zip(words[ours].split(ROWS_AT_ONCE), of_rows[ours].split(ROWS_AT_ONCE), strict=True):
                self._rows(some).backward(part)
        assert self.map.weight.grad is not None
        return F.normalize(self.map.weight.grad.flatten(), dim=0).view_as(self.map.weight)

    def _rows(self, words: Int[Tensor, " some"]) -> Float[Tensor, "some dim"]:
        return F.normalize(self.map(self._place[words]), dim=1) * self._length
