"""How a model makes inputs and logits of its matrix: read from a few tokens, never from the model's name.

`inputs = input factor * rows`, `logits = cap(logit factor * hidden @ head.T)`. What is none of these is refused, each
under its own name: it couldn't be trained as the model computes it.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from wake2vec.errors import ModelError

PROBE_TOKENS = 8
SIZES = [10.0**power for power in range(-3, 7)]
"""The largest raw logit of each probe: no cap bends the first, every cap flattens the last, its form shows between."""
TOLERANCE = 1e-4
"""Of the largest value, by which two ways to compute the same in float32 may differ."""


@dataclass(frozen=True)
class Scales:
    """What lies between a matrix and the model's inputs and logits."""

    inputs: float = 1.0
    """Times the row of a token: what the body is given. Gemma's is the root of the rows' width."""
    logits: float = 1.0
    """Times `hidden @ head.T`. Granite and Cohere have one."""
    cap: float | None = None
    """The soft cap: logits are `cap * tanh(logits / cap)`, as in Gemma 2; None: there is none."""


PLAIN = Scales()


@torch.no_grad()
def read_scales(model: PreTrainedModel, folder: Path) -> Scales:
    """Probe a model in float32.

    Raises:
        ModelError: its inputs or logits are made in another way; the message says which.
    """
    ids = torch.arange(1, 1 + PROBE_TOKENS, device=model.device).view(1, -1)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if not isinstance(embedding, nn.Embedding) or not isinstance(head, nn.Linear):
        raise _refusal(folder, "have one embedding matrix and one matrix as its head", "it has other modules there")
    rows = embedding.weight[ids]
    factor = _factor(embedding(ids), rows)
    if factor is None:
        raise _refusal(folder, "make its inputs of rows, times one factor", "it transforms them in another way")
    alone = "take from a token its row alone"
    try:
        hidden: Tensor = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        fed: Tensor = model.base_model(inputs_embeds=factor * rows, use_cache=False).last_hidden_state
    except (AttributeError, TypeError, ValueError, RuntimeError) as fault:  # as Gemma 4's, which looks its tokens up
        raise _refusal(folder, alone, f"its body can't be given rows ({str(fault).strip().splitlines()[0]})") from None
    if not _is_close(fed, hidden):
        raise _refusal(folder, alone, "given rows it computes something else than given their tokens")
    if head.bias is not None:
        raise _refusal(folder, "have a head without a bias", "it adds one to its logits, and new words have none")
    return Scales(factor, *_read_logits(model, head, hidden, ids, folder))


def _read_logits(
    model: PreTrainedModel, head: nn.Linear, hidden: Float[Tensor, "1 tokens dim"], ids: Tensor, folder: Path
) -> tuple[float, float | None]:
    """Factor and cap of the logits, from a head of a few rows in several sizes."""
    rows = head.weight[ids[0]]
    largest = F.linear(hidden, rows).abs().max()
    own, head.weight = head.weight, nn.Parameter(torch.cat([size / largest * rows for size in SIZES]))
    try:
        made: Tensor = model(input_ids=ids, use_cache=False).logits
        plain = F.linear(hidden, head.weight).split(PROBE_TOKENS, dim=-1)
    finally:
        head.weight = own
    logits = made.split(PROBE_TOKENS, dim=-1)
    factor, cap = _factor(logits[0], plain[0]), _rounded(logits[-1].abs().max())
    if factor is not None:
        if all(_is_close(one, factor * raw) for one, raw in zip(logits, plain, strict=True)):
            return factor, None
        if all(_is_close(one, cap * (factor / cap * raw).tanh()) for one, raw in zip(logits, plain, strict=True)):
            return factor, cap
    raise _refusal(
        folder,
        "make its logits by one matrix product, times a factor or under a soft cap",
        "it makes them in another way",
    )


def _factor(scaled: Tensor, plain: Tensor) -> float | None:
    """f where scaled = f * plain; None: there is no such number."""
    factor = _rounded((scaled.double() * plain).sum() / plain.double().square().sum())
    return factor if _is_close(scaled, factor * plain) else None


def _rounded(number: Tensor) -> float:
    """Without the digits that rounding in float32 makes: 1 is 1."""
    return float(f"{number.item():.6g}")


def _is_close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= TOLERANCE * other.abs().max())


def _refusal(folder: Path, rule: str, fault: str) -> ModelError:
    return ModelError(f"a base model must {rule}: {folder}: {fault}; choose another model of its size")
