"""The model that is trained: a frozen body between the input embedding and the head, in one matrix or in two."""

import copy
from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from wake2vec.training.loss import add_loss_gradients, token_losses
from wake2vec.training.probe import PLAIN, Scales


class TrainedMatrix:
    """Base rows and new rows, of which all or the new ones alone are trained; those that are, are in float32.

    The products read `operand`, which has all of them in the body's type. Base rows that aren't trained lie on the
    device in that type alone.
    """

    def __init__(
        self,
        base_rows: Float[Tensor, "base dim"],
        new_rows: Float[Tensor, "new dim"],
        rows: Literal["all", "new"],
        dtype: torch.dtype,
    ) -> None:
        """The base rows may lie on the CPU; where they aren't trained they are asked for again by `matrix`."""
        device = new_rows.device
        self._base_rows = base_rows if rows == "new" else base_rows[:0]
        self._new_count = len(new_rows)
        self.operand: Float[Tensor, "vocabulary dim"] = torch.cat([base_rows.to(device, dtype), new_rows.to(dtype)])
        if dtype == torch.float32:
            # A view: what the optimizer writes stands in what the products read.
            trained = self.operand[len(self._base_rows) :]
        else:
            trained = new_rows.clone() if rows == "new" else torch.cat([base_rows.to(device), new_rows])
        self.trained_rows = nn.Parameter(trained)
        self.trained_rows.grad = torch.zeros_like(self.trained_rows)

    @property
    def matrix(self) -> Float[Tensor, "vocabulary dim"]:
        """In float32; of frozen base rows in half precision it is a copy, else what is written into it stays.

        A copy for which the device has no room lies on the CPU, where its geometry is measured then.
        """
        if len(self.trained_rows) == len(self.operand):
            return self.trained_rows.detach()
        if self.operand.dtype == torch.float32:
            return self.operand
        trained = self.trained_rows.detach()
        try:
            return torch.cat([self._base_rows.to(trained.device), trained])
        except torch.OutOfMemoryError:
            return torch.cat([self._base_rows, trained.cpu()])

    @property
    def new_rows(self) -> Float[Tensor, "new dim"]:
        """In float32."""
        return self.trained_rows.detach()[len(self.trained_rows) - self._new_count :]

    @property
    def new_gradient(self) -> Float[Tensor, "new dim"]:
        """Of the new rows."""
        return self.gradient[len(self.gradient) - self._new_count :]

    @property
    def bytes_beside_operand(self) -> int:
        """What the trained rows take where `operand` doesn't hold them itself."""
        return 0 if self.operand.dtype == torch.float32 else self.trained_rows.nbytes

    @property
    def gradient(self) -> Float[Tensor, "trained dim"]:
        """Of the trained rows; it is added to until somebody sets it to zero."""
        assert self.trained_rows.grad is not None
        return self.trained_rows.grad

    @torch.no_grad()
    def refresh(self) -> None:
        """Bring `operand` up to date, after the rows were changed."""
        if self.operand.dtype != torch.float32:
            self.operand[len(self.operand) - len(self.trained_rows) :].copy_(self.trained_rows)


class EmbeddingModel:
    """A frozen transformer body whose input embedding and head, or their new rows alone, are trained.

    `logits = hidden @ head.matrix.T`, but for the factors and the cap in `scales`. Where the head is tied it is the
    input embedding itself: one matrix, whose gradient is the sum of both uses. Else they are two, with nothing in
    common but their ids.
    """

    def __init__(
        self,
        body: nn.Module,
        base_rows: Float[Tensor, "base dim"],
        new_rows: Float[Tensor, "new dim"],
        rows: Literal["all", "new"],
        scales: Scales = PLAIN,
        head: tuple[Float[Tensor, "base dim"], Float[Tensor, "new dim"]] | None = None,
    ) -> None:
        """`head`: base rows and new rows of a head of its own; None: it is tied."""
        self.body = body.eval().requires_grad_(False)
        dtype = next(body.parameters()).dtype
        self.input = TrainedMatrix(base_rows, new_rows, rows, dtype)
        self.head = self.input if head is None else TrainedMatrix(*head, rows, dtype)
        # The embedding module rounds its factor to its type.
        self._input_factor = torch.tensor(scales.inputs, dtype=dtype).item()
        self.scales = scales

    @property
    def trained(self) -> dict[str, TrainedMatrix]:
        """All there is to train, under the names that checkpoints and results keep the trained rows by."""
        return {"rows": self.input, **({"head_rows": self.head} if self.has_own_head else {})}

    @property
    def has_own_head(self) -> bool:
        return self.head is not self.input

    @property
    def matrix(self) -> Float[Tensor, "vocabulary dim"]:
        """Of the input."""
        return self.input.matrix

    @property
    def operand(self) -> Float[Tensor, "vocabulary dim"]:
        """The input's matrix in the type of the body."""
        return self.input.operand

    @property
    def trained_rows(self) -> nn.Parameter:
        """Of the input."""
        return self.input.trained_rows

    @property
    def device(self) -> torch.device:
        return self.operand.device

    @torch.no_grad()
    def take(self, rows: Mapping[str, Float[Tensor, "trained dim"]]) -> None:
        """Make these, of any device, the trained rows of the matrices of these names."""
        for name, matrix in self.trained.items():
            matrix.trained_rows.copy_(rows[name])
        self.refresh()

    def refresh(self) -> None:
        """Bring what the products read up to date, after the rows were changed."""
        for matrix in self.trained.values():
            matrix.refresh()

    def with_head(self, head: TrainedMatrix) -> "EmbeddingModel":
        """The same model in front of another head; what is changed in the input or the body is changed in both."""
        other = copy.copy(self)
        other.head = head
        return other

    @torch.no_grad()
    def losses(self, ids: Int[Tensor, "blocks tokens"]) -> Float[Tensor, "blocks tokens-1"]:
        """Cross-entropy in nats of each token but a block's first, given those before it."""
        scales = self.scales
        hidden = _times(scales.logits, self._hidden(self._inputs(ids)).flatten(0, 1))
        return token_losses(hidden, self.head.operand, ids[:, 1:].flatten(), scales.cap).view(len(ids), -1)

    @torch.no_grad()
    def hidden_states(
        self, ids: Int[Tensor, "blocks tokens"], untold_from: int | None = None
    ) -> Float[Tensor, "blocks tokens dim"]:
        """What the body gives behind each token; `untold_from` reads the mean of the rows before it for ids from it on.

        So new tokens tell nothing of their words, without another matrix.
        """
        rows = F.embedding(ids, self.operand)
        if untold_from is not None:
            mean = self.operand[:untold_from].mean(0, dtype=torch.float32).to(rows.dtype)
            rows = torch.where((ids >= untold_from).unsqueeze(-1), mean, rows)
        return self._hidden(_times(self._input_factor, rows))

    def add_gradients(self, ids: Int[Tensor, "blocks tokens"], scale: float) -> Float[Tensor, ""]:
        """The sum of the blocks' `losses`; its gradient, times `scale`, is added to that of each trained matrix."""
        losses, of_inputs = self.gradients_of_pass(ids, scale)
        gradients = self.input.gradient
        add_rows(gradients, ids[:, :-1].flatten(), of_inputs, len(self.operand) - len(gradients))
        return losses.sum()

    def gradients_of_pass(
        self, ids: Int[Tensor, "blocks tokens"], scale: float
    ) -> tuple[Float[Tensor, " targets"], Float[Tensor, "targets dim"]]:
        """`losses`, and the gradient for the rows that were read, which is left to add; that of the head is added."""
        scales = self.scales
        inputs = self._inputs(ids).requires_grad_()
        hidden = self._hidden(inputs)
        losses, hidden_gradients = add_loss_gradients(
            _times(scales.logits, hidden.detach().flatten(0, 1)),
            self.head.operand,
            ids[:, 1:].flatten(),
            scale,
            self.head.gradient,
            scales.cap,
        )
        hidden.backward(_times(scales.logits, hidden_gradients).view_as(hidden))
        assert inputs.grad is not None
        return losses, _times(self._input_factor, inputs.grad.flatten(0, 1))

    def add_gradients_of(
        self,
        ids: Int[Tensor, "blocks tokens"],
        of: Callable[[Float[Tensor, "blocks tokens dim"]], Float[Tensor, ""]],
        scale: float,
    ) -> float:
        """A number made of `hidden_states`; its gradient, times `scale`, is added to that of the input's rows alone."""
        with torch.enable_grad():
            inputs = _times(self._input_factor, F.embedding(ids, self.operand)).requires_grad_()
            number = of(self._hidden(inputs))
            (scale * number).backward()
        assert inputs.grad is not None
        gradients, of_inputs = self.input.gradient, _times(self._input_factor, inputs.grad.flatten(0, 1))
        add_rows(gradients, ids.flatten(), of_inputs, len(self.operand) - len(gradients))
        return number.item()

    def pass_body(self, ids: Int[Tensor, "blocks tokens"]) -> None:
        """Forward and backward through the body alone, to no effect: what it takes is measured."""
        hidden = self._hidden(self._inputs(ids).requires_grad_())
        hidden.backward(torch.zeros_like(hidden))

    def _inputs(self, ids: Int[Tensor, "blocks tokens"]) -> Float[Tensor, "blocks tokens-1 dim"]:
        """What the body is given: of each token but a block's last."""
        return _times(self._input_factor, F.embedding(ids[:, :-1], self.operand))

    def _hidden(self, inputs: Float[Tensor, "blocks tokens dim"]) -> Float[Tensor, "blocks tokens dim"]:
        hidden: Tensor = self.body(inputs_embeds=inputs, use_cache=False).last_hidden_state
        return hidden.to(inputs.dtype)  # Mamba's is in float32, whatever its weights are in


def _times(factor: float, rows: Float[Tensor, "*shape dim"]) -> Float[Tensor, "*shape dim"]:
    """The product; the rows themselves where the factor is 1, as for most models."""
    return rows if factor == 1 else factor * rows


@torch.no_grad()
def add_rows(
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
