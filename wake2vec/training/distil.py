"""Token distillation: new input rows of which the frozen model makes what it makes of their words' base tokens.

Dobler, Elliott, de Melo 2025, "Token Distillation: Attention-aware Input Embeddings For New Tokens" (arXiv 2505.20133):
the row of a new token is moved until the hidden states behind it are those that the same model has behind the token's
pieces, in passages of text. There each row is learnt by itself, in passages with its own word. Here one linear map from
a word's pieces to its row may be learnt for all words, so that a passage with one word teaches the others too, and
words that no text has. Teacher and learner are the frozen model at step 0; only input rows are read.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from wake2vec.config import DistilLoss, InitConfig
from wake2vec.data.lessons import Lessons
from wake2vec.data.places import Passages
from wake2vec.errors import TrainingDivergedError
from wake2vec.training.device import START_LOSS_SCALE
from wake2vec.training.embedding_model import EmbeddingModel
from wake2vec.training.machine import in_fewer_at_once
from wake2vec.training.probe import Scales

CONTEXTS = 16
"""Passages a step: some 400 tokens. With three times as many a step takes twice as long, and teaches little more."""
WARMUP_STEPS = 5
BETAS = (0.8, 0.95)
"""Adam's: a few tens of steps are too few for longer averages."""
ROWS_AT_ONCE = 4096


def distil(
    model: EmbeddingModel,
    base_rows: Float[Tensor, "base dim"],
    head_rows: Float[Tensor, "base dim"] | None,
    pieces: Sequence[Sequence[int]],
    lessons: Lessons,
    config: InitConfig,
    at_once: int,
) -> Float[Tensor, "new dim"]:
    """The new rows, learnt from those that the model has; only new rows of the model are changed.

    `base_rows` are in float32; `head_rows` those of a head of its own. `pieces`: the base ids that spelled each new
    word. `at_once`: passages in one forward pass at most.

    Raises:
        TrainingDivergedError: a loss or gradient isn't finite.
        MemoryExhaustedError: not even one passage at a time fits into the memory.
    """
    start = model.input.new_rows.clone()
    radius = base_rows.norm(dim=1).mean().item()
    width = start.shape[1]
    learner: nn.Module
    optimizer: torch.optim.Optimizer
    if config.distil_learner == "map":
        learner, rate = SharedMap(base_rows, pieces), config.distil_rate / width
        optimizer = torch.optim.Adam(learner.parameters(), lr=rate, betas=BETAS)
    else:
        learner = nn.Embedding.from_pretrained(start.clone(), freeze=False, sparse=True)
        rate = config.distil_rate * radius / width**0.5
        optimizer = torch.optim.SparseAdam(learner.parameters(), lr=rate, betas=BETAS)
    learner.to(start.device)

    def rows_of(ids: Int[Tensor, " some"]) -> Float[Tensor, "some dim"]:
        rows: Tensor = learner(ids)
        return F.normalize(rows, dim=1) * radius if config.distil_norm == "base" else rows

    heads = base_rows if head_rows is None else head_rows
    asked = heads if config.distil_loss == "next_token" else heads[:0]
    distance = Distance(config.distil_loss, asked.to(start.device, model.operand.dtype), model.scales)
    scale = START_LOSS_SCALE[model.operand.dtype]
    for step in range(config.distil_steps):
        passages = lessons.draw(CONTEXTS)
        if passages is None:
            continue
        ids = new_ids(model, passages)
        rows = rows_of(ids)
        model.input.new_rows[ids] = rows.detach()
        model.refresh()
        gradient, at_once, scale = finite_gradient(model, passages, distance, at_once, scale, step)
        set_rate(optimizer, rate, step, config.distil_steps)
        optimizer.zero_grad()
        rows.backward(gradient)
        optimizer.step()
    with torch.no_grad():
        parts = torch.arange(len(start), device=start.device).split(ROWS_AT_ONCE)
        return torch.cat([rows_of(part) for part in parts])


def set_rate(optimizer: torch.optim.Optimizer, peak: float, step: int, steps: int) -> None:
    """Of the step, from 0: linear up to the peak, then linear to 0 after the last one."""
    for group in optimizer.param_groups:
        group["lr"] = peak * min(1.0, (step + 1) / WARMUP_STEPS) * (1 - step / steps)


class SharedMap(nn.Module):
    """row = mean of the pieces' rows + [that mean, the first's, the last's, a constant] @ weight; weight from 0.

    The constant is as large as the entries of a row, so that a step means the same on every model.
    """

    def __init__(self, base_rows: Float[Tensor, "base dim"], pieces: Sequence[Sequence[int]]) -> None:
        """`pieces`: base ids of each word, at least one; the base rows are read where they lie."""
        super().__init__()
        self._base_rows, device, width = base_rows, base_rows.device, base_rows.shape[1]
        lists = [torch.tensor(ids) for ids in pieces]
        self._pieces = nn.utils.rnn.pad_sequence(lists, batch_first=True).to(device)
        self._counts = torch.tensor([len(ids) for ids in pieces], device=device)
        self._constant = base_rows.square().mean().sqrt()
        self.weight = nn.Parameter(torch.zeros(3 * width + 1, width))

    def forward(self, words: Int[Tensor, " some"]) -> Float[Tensor, "some dim"]:
        features = self._features(words.to(self._base_rows.device)).to(self.weight.device)
        return features[:, : self.weight.shape[1]] + features @ self.weight

    def _features(self, words: Int[Tensor, " some"]) -> Float[Tensor, "some features"]:
        pieces, counts = self._pieces[words], self._counts[words]
        is_piece = torch.arange(pieces.shape[1], device=pieces.device) < counts[:, None]
        means = F.embedding_bag(pieces[is_piece], self._base_rows, counts.cumsum(0) - counts, mode="mean")
        last = pieces.gather(1, counts[:, None] - 1).squeeze(1)
        constant = self._constant.expand(len(words), 1)
        return torch.cat([means, self._base_rows[pieces[:, 0]], self._base_rows[last], constant], dim=1)


@dataclass(frozen=True)
class Distance:
    """How far hidden states are from others, summed over positions; `own` may have gradients."""

    kind: DistilLoss
    head_rows: Float[Tensor, "base dim"]
    """Read by `next_token` alone."""
    scales: Scales

    def __call__(self, own: Float[Tensor, "n dim"], taught: Float[Tensor, "n dim"]) -> Float[Tensor, ""]:
        """`states`: squared difference, as a share of the square of what is taught; `cosine`: one less it.

        `next_token`: Kullback-Leibler divergence in nats of the next base token's distribution from the teacher's.
        """
        if self.kind == "states":
            return ((own.float() - taught.float()).square().sum(1) / taught.float().square().sum(1)).sum()
        if self.kind == "cosine":
            return (1 - F.cosine_similarity(own.float(), taught.float(), dim=1)).sum()
        logs, wanted = (self._log_probabilities(hidden) for hidden in (own, taught))
        return F.kl_div(logs, wanted, reduction="sum", log_target=True)

    def _log_probabilities(self, hidden: Float[Tensor, "n dim"]) -> Float[Tensor, "n base"]:
        logits = ((self.scales.logits * hidden) @ self.head_rows.T).float()
        cap = self.scales.cap
        return (logits if cap is None else cap * (logits / cap).tanh()).log_softmax(1)


def finite_gradient(
    model: EmbeddingModel, passages: Passages, distance: Distance, at_once: int, scale: float, step: int
) -> tuple[Float[Tensor, "some dim"], int, float]:
    """Of the mean distance, for the new rows that are read; with how many passages at once, at which loss scale."""
    while True:
        (loss, gradient), at_once = in_fewer_at_once(
            lambda few, scale=scale: distance_and_gradient(model, passages, distance, few, scale),  # type: ignore[misc]
            at_once,
        )
        if math.isfinite(loss) and gradient.isfinite().all():
            return gradient, at_once, scale
        if not math.isfinite(loss) or scale <= 1:
            raise TrainingDivergedError(
                f"distances of hidden states must be finite: {loss}, step {step} of distillation; lower "
                "init.distil_rate, or give train.precision=float32"
            )
        scale /= 2


def new_ids(model: EmbeddingModel, passages: Passages) -> Int[Tensor, " some"]:
    """The new tokens that stand in the passages, from 0, each once, in order."""
    new = passages.extended_ids.flatten() - (len(model.operand) - len(model.input.new_rows))
    return new[new >= 0].unique().to(model.device)


def distance_and_gradient(
    model: EmbeddingModel, passages: Passages, distance: Distance, at_once: int, scale: float = 1.0
) -> tuple[float, Float[Tensor, "some dim"]]:
    """The mean over the positions, and its gradient for the rows of `new_ids`: made of `scale` times the mean.

    The teacher is the same model reading base tokens.
    """
    total, device, count, ids = 0.0, model.device, len(passages.positions), new_ids(model, passages)
    model.input.new_gradient[ids] = 0
    for first in range(0, passages.count, at_once):
        held = passages.positions[:, 0].ge(first) & passages.positions[:, 0].lt(first + at_once)
        passage, at, base_at = passages.positions[held].to(device).unbind(1)
        part = slice(first, first + at_once)
        taught = model.hidden_states(passages.base_ids[part].to(device))[passage - first, base_at]
        total += model.add_gradients_of(
            passages.extended_ids[part].to(device),
            lambda states, place=(passage - first, at), taught=taught: distance(states[place], taught),  # type: ignore[misc]
            scale / count,
        )
    return total / count, model.input.new_gradient[ids] / scale
