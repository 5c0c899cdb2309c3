"""The head and its loss, a chunk of tokens at a time: logits of all tokens are never held at once.

The logits of 4,080 tokens over 76,500 rows are 1.2 GB in float32, and autograd would keep three of them. Here the
gradients are made while a chunk's logits are at hand, as in the fused kernels (Hsu et al. 2024, "Liger Kernel",
arXiv 2410.10989), with plain matrix products that run on any device.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wake2vec.metrics.rows import row_products

CHUNK_TOKENS = 512
"""Enough that the passes over the gradient of all rows, one a chunk, cost little beside the products; few enough that
the logits of a small vocabulary stay in the cache, and those of 76,500 rows take 157 MB."""


PART_ELEMENTS = {"cpu": 2**19, "cuda": 2**24}
"""Logits of a chunk that are passed over at a time: 2 MB in float32, which stay in the cache from one pass to the next,
and 64 MB where each pass has to be sent to a GPU."""


def workspace_bytes(tokens: int, vocabulary: int, dtype: torch.dtype, device: torch.device) -> int:
    """What a chunk's logits take: in their type, and where that is a half precision a part of them in float32."""
    tokens = min(tokens, CHUNK_TOKENS)
    in_float32 = 0 if dtype is torch.float32 else min(tokens, _part_tokens(vocabulary, device)) * 4
    return (tokens * dtype.itemsize + in_float32) * vocabulary


@torch.no_grad()
def token_losses(
    hidden: Float[Tensor, "tokens dim"],
    matrix: Float[Tensor, "vocabulary dim"],
    targets: Int[Tensor, " tokens"],
    cap: float | None = None,
) -> Float[Tensor, " tokens"]:
    """Cross-entropy of each target in nats, in float32, for the logits `hidden @ matrix.T`.

    With a soft cap (Gemma Team 2024, arXiv 2408.00118) the logits are `cap * tanh(hidden @ matrix.T / cap)`.
    """
    losses = torch.empty(len(hidden), device=hidden.device)
    workspace = _workspace(hidden, matrix)
    for start in range(0, len(hidden), CHUNK_TOKENS):
        rows = slice(start, start + CHUNK_TOKENS)
        part, target, loss = hidden[rows], targets[rows, None], losses[rows]
        products = torch.mm(part, matrix.T, out=workspace[: len(part)])
        for at, logits in _float32_parts(products):
            if cap is not None:
                _cap(logits, cap)
            torch.log_softmax(logits, 1, out=logits)
            loss[at] = -logits.gather(1, target[at]).squeeze(1)
    return losses


@torch.no_grad()
def add_loss_gradients(
    hidden: Float[Tensor, "tokens dim"],
    matrix: Float[Tensor, "vocabulary dim"],
    targets: Int[Tensor, " tokens"],
    scale: float,
    row_gradients: Float[Tensor, "trained dim"],
    cap: float | None = None,
) -> tuple[Float[Tensor, " tokens"], Float[Tensor, "tokens dim"]]:
    """`token_losses`, and the gradient of `scale` times their sum for `hidden`.

    The gradient for the last rows of the matrix, as many as `row_gradients` has, is added to `row_gradients`, which is
    float32. Products are in the type of `hidden` and `matrix`; the softmax is in float32.
    """
    first_trained = len(matrix) - len(row_gradients)
    losses = torch.empty(len(hidden), device=hidden.device)
    hidden_gradients = torch.empty_like(hidden)
    workspace = _workspace(hidden, matrix)
    for start in range(0, len(hidden), CHUNK_TOKENS):
        rows = slice(start, start + CHUNK_TOKENS)
        part, target, loss = hidden[rows], targets[rows, None], losses[rows]
        gradient = torch.mm(part, matrix.T, out=workspace[: len(part)])  # the logits: their gradient takes their place
        for at, logits in _float32_parts(gradient):
            slopes = None if cap is None else _cap(logits, cap)
            highest = logits.amax(1, keepdim=True)
            of_target = logits.gather(1, target[at])
            torch.softmax(logits, 1, out=logits)  # takes half as long as exp_ alone
            # The most likely token's chance is 1 / sum(exp(logits - highest)).
            loss[at] = (highest - logits.amax(1, keepdim=True).log() - of_target).squeeze(1)
            # scale * (softmax - one at the target)
            logits.mul_(scale).scatter_add_(1, target[at], torch.full_like(of_target, -scale))
            if slopes is not None:
                logits.mul_(slopes)
            if logits.dtype is not gradient.dtype:
                gradient[at] = logits
        hidden_gradients[rows] = row_products(gradient, matrix.T)
        _add_product(row_gradients, gradient[:, first_trained:].T, part)
    return losses, hidden_gradients


def _cap(logits: Float[Tensor, "part vocabulary"], cap: float) -> Float[Tensor, "part vocabulary"]:
    """Put logits under a soft cap where they stand, and give the slope of the cap at each: 1 - tanh(logit / cap)^2."""
    shares = logits.div_(cap).tanh_()
    slopes = 1 - shares.square()
    logits.mul_(cap)
    return slopes


def _float32_parts(
    products: Float[Tensor, "tokens vocabulary"],
) -> Iterator[tuple[slice, Float[Tensor, "part vocabulary"]]]:
    """A few tokens' products at a time, in float32: the products themselves where they are that, else a copy.

    All copies are made in the same memory, so that it stays in the cache.
    """
    size = _part_tokens(products.shape[1], products.device)
    is_float32 = products.dtype is torch.float32
    memory = products[:size] if is_float32 else torch.empty_like(products[:size], dtype=torch.float32)
    for start in range(0, len(products), size):
        at = slice(start, start + size)
        part = products[at]
        yield at, part if is_float32 else memory[: len(part)].copy_(part)


def _part_tokens(vocabulary: int, device: torch.device) -> int:
    return max(1, PART_ELEMENTS[device.type] // vocabulary)


def _workspace(hidden: Float[Tensor, "tokens dim"], matrix: Float[Tensor, "vocabulary dim"]) -> Tensor:
    """One memory for all chunks: on a CPU, to touch new pages takes as long as to fill them."""
    return hidden.new_empty(min(CHUNK_TOKENS, len(hidden)), len(matrix))


def _add_product(sums: Float[Tensor, "a b"], left: Float[Tensor, "a k"], right: Float[Tensor, "k b"]) -> None:
    """sums += left @ right, where sums are float32; in another type a few rows at a time, which stay in the cache."""
    if left.dtype == sums.dtype:
        sums.addmm_(left, right)
        return
    size = max(1, PART_ELEMENTS[sums.device.type] // sums.shape[1])
    for rows, part in zip(sums.split(size), left.split(size), strict=True):
        rows.add_(part @ right)
