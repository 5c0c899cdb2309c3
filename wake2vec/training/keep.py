"""What a trial keeps: the rows after its last update, or those of its best evaluation."""

import math
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from wake2vec.config import TrainConfig
from wake2vec.metrics.registry import cost_of
from wake2vec.training.checkpoint import State
from wake2vec.training.embedding_model import EmbeddingModel
from wake2vec.workfolder import Numbers

PREFIX = "best."
"""Begins the names of these rows in a checkpoint."""


class BestRows:
    """The trained rows of the best evaluation so far, of every matrix, on the CPU; none with `train.keep=last`.

    They take the memory of the trained rows, and as much in each checkpoint. Of equal evaluations the earliest is kept.
    One in which the figure is undefined is never the best: where all are so, the last rows are the trial's.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._is_wanted = config.keep == "best"
        self._by = config.keep_by
        self.step: int | None = None
        """Updates done then; None: there are none."""
        self.rows: dict[str, Float[Tensor, "trained dim"]] = {}
        """By the names of `EmbeddingModel.trained`."""
        self._cost = math.inf

    def offer(self, step: int, numbers: Numbers, model: EmbeddingModel) -> None:
        """Take the model's rows if no evaluation before was as good; the record of an update is passed over."""
        if not self._is_wanted or self._by not in numbers:
            return
        cost = cost_of(self._by, numbers[self._by])
        if cost < self._cost:
            self.step, self._cost = step, cost
            # Not into the copy before, which may be on its way into a checkpoint; if it isn't, its memory is free now.
            self.rows = {}
            self.rows = {
                name: matrix.trained_rows.detach().to("cpu", copy=True).contiguous()
                for name, matrix in model.trained.items()
            }

    def added_to(self, state: State) -> State:
        """The state of a training, with these rows in it."""
        if self.step is None:
            return state
        rows = {f"{PREFIX}{name}": rows for name, rows in self.rows.items()}
        return replace(state, best_step=self.step, best_cost=self._cost, tensors={**state.tensors, **rows})

    def restore(self, state: State) -> None:
        """Go on from a state as if training had never stopped."""
        if state.best_step is None or state.best_cost is None:
            return
        self.step, self._cost = state.best_step, state.best_cost
        self.rows = {name.removeprefix(PREFIX): rows for name, rows in state.tensors.items() if name.startswith(PREFIX)}
