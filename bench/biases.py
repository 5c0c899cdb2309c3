"""A tied head with one bias a new row, for `bench.teaching`: to see what it does to rows that are never right.

A row that is never a target must have a low logit everywhere, which a tied matrix can only say by a common direction.
A bias could say it in its place. No architecture that is supported has one in a tied head, so that a trial of it
couldn't be exported: it is an experiment, and no knob.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wake2vec.training.embedding_model import EmbeddingModel, TrainedMatrix, add_rows
from wake2vec.training.loss import add_loss_gradients, token_losses


class Biases(TrainedMatrix):
    """One number for each new row, times `factor` in the logits: it moves by as many learning rates a step."""

    def __init__(self, count: int, factor: float, device: torch.device) -> None:
        super().__init__(torch.empty(0, 1), torch.zeros(count, 1, device=device), "new", torch.float32)
        self.factor = factor


class BiasedModel(EmbeddingModel):
    """A tied model whose logits are `hidden @ matrix.T + bias`, the base rows' biases being 0.

    The bias is one column more of the matrix, and one more of the hidden states, which is 1.
    """

    def __init__(self, plain: EmbeddingModel, factor: float) -> None:
        assert not plain.has_own_head and plain.scales.logits == 1
        self.__dict__.update(vars(plain))
        self.biases = Biases(len(plain.input.new_rows), factor, plain.device)

    @property
    def trained(self) -> dict[str, TrainedMatrix]:
        return {"rows": self.input, "biases": self.biases}

    @torch.no_grad()
    def losses(self, ids: Int[Tensor, "blocks tokens"]) -> Float[Tensor, "blocks tokens-1"]:
        hidden = _with_ones(self._hidden(self._inputs(ids)).flatten(0, 1))
        return token_losses(hidden, self._columns(), ids[:, 1:].flatten(), self.scales.cap).view(len(ids), -1)

    def add_gradients(self, ids: Int[Tensor, "blocks tokens"], scale: float) -> Float[Tensor, ""]:
        inputs = self._inputs(ids).requires_grad_()
        hidden = self._hidden(inputs)
        gradients, columns = self.input.gradient, self._columns()
        of_rows = gradients.new_zeros(len(gradients), columns.shape[1])
        losses, of_hidden = add_loss_gradients(
            _with_ones(hidden.detach().flatten(0, 1)),
            columns,
            ids[:, 1:].flatten(),
            scale,
            of_rows,
            self.scales.cap,
        )
        gradients += of_rows[:, :-1]
        of_biases = self.biases.gradient
        of_biases += self.biases.factor * of_rows[-len(of_biases) :, -1:]
        hidden.backward(of_hidden[:, :-1].view_as(hidden))
        assert inputs.grad is not None
        add_rows(
            gradients,
            ids[:, :-1].flatten(),
            self._input_factor * inputs.grad.flatten(0, 1),
            len(columns) - len(gradients),
        )
        return losses.sum()

    def _columns(self) -> Float[Tensor, "vocabulary dim+1"]:
        bias = self.operand.new_zeros(len(self.operand), 1)
        bias[-len(self.biases.new_rows) :] = self.biases.factor * self.biases.new_rows
        return torch.cat([self.operand, bias], dim=1)


def _with_ones(hidden: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens dim+1"]:
    return torch.cat([hidden, torch.ones_like(hidden[:, :1])], dim=1)
