"""The model that is trained: a frozen body between one tied embedding matrix."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from wake2vec.training.loss import add_loss_gradients, token_losses


class EmbeddingModel:
    """A frozen transformer body whose tied embedding matrix, or its new rows alone, is trained.

    The matrix is both the input embedding and the head: `logits = hidden @ matrix.T`. Its rows are float32; where the
    body is in half precision the products read a copy of them in the body's type.
    """

    def __init__(
        self,
        body: nn.Module,
        base_rows: Float[Tensor, "base dim"],
        new_rows: Float[Tensor, "new dim"],
        rows: Literal["all", "new"],
    ) -> None:
        self.body = body.eval().requires_grad_(False)
        self.matrix: Float[Tensor, "vocabulary dim"] = torch.cat([base_rows, new_rows])
        first_trained = len(base_rows) if rows == "new" else 0
        # A view: what the optimizer writes stands in the matrix.
        self.trained_rows = nn.Parameter(self.matrix[first_trained:])
        self.trained_rows.grad = torch.zeros_like(self.trained_rows)
        # What the products read: the matrix in the body's type, itself where that is float32.
        self.operand = self.matrix.to(next(body.parameters()).dtype)

    @property
    def device(self) -> torch.device:
        return self.matrix.device

    @torch.no_grad()
    def refresh(self) -> None:
        """Bring `operand` up to date, after the rows were changed."""
        if self.operand is not self.matrix:
            self.operand.copy_(self.matrix)

    @torch.no_grad()
    def losses(self, ids: Int[Tensor, "blocks tokens"]) -> Float[Tensor, "blocks tokens-1"]:
        """Cross-entropy in nats of each token but a block's first, given those before it."""
        hidden = self._hidden(F.embedding(ids[:, :-1], self.operand))
        return token_losses(hidden.flatten(0, 1), self.operand, ids[:, 1:].flatten()).view(len(ids), -1)

    def add_gradients(self, ids: Int[Tensor, "blocks tokens"], scale: float) -> Float[Tensor, ""]:
        """The sum of the blocks' `losses`; its gradient, times `scale`, is added to `trained_rows.grad`."""
        inputs = F.embedding(ids[:, :-1], self.operand).requires_grad_()
        hidden = self._hidden(inputs)
        gradients: Tensor = self.trained_rows.grad  # type: ignore[assignment]
        losses, hidden_gradients = add_loss_gradients(
            hidden.detach().flatten(0, 1), self.operand, ids[:, 1:].flatten(), scale, gradients
        )
        hidden.backward(hidden_gradients.view_as(hidden))
        assert inputs.grad is not None
        _add_rows(gradients, ids[:, :-1].flatten(), inputs.grad.flatten(0, 1), len(self.matrix) - len(gradients))
        return losses.sum()

    def pass_body(self, ids: Int[Tensor, "blocks tokens"]) -> None:
        """Forward and backward through the body alone, to no effect: what it takes is measured."""
        hidden = self._hidden(F.embedding(ids[:, :-1], self.operand).requires_grad_())
        hidden.backward(torch.zeros_like(hidden))

    def _hidden(self, inputs: Float[Tensor, "blocks tokens dim"]) -> Float[Tensor, "blocks tokens dim"]:
        hidden: Tensor = self.body(inputs_embeds=inputs, use_cache=False).last_hidden_state
        return hidden


@torch.no_grad()
def _add_rows(
    sums: Float[Tensor, "trained dim"], ids: Int[Tensor, " n"], rows: Float[Tensor, "n dim"], first: int
) -> None:
    """sums[id - first] += row for each row whose id isn't below `first`; in the same order every time."""
    if first:
        trained = ids >= first
        ids, rows = ids[trained] - first, rows[trained]
    if sums.is_cuda:
        sums.index_put_((ids,), rows.to(sums.dtype), accumulate=True)  # sorts, where index_add_ would race
    else:
        sums.index_add_(0, ids, rows.to(sums.dtype))
