"""Validation: cross-entropy per token, by kind of target, and bits per byte."""

import math

import torch
from jaxtyping import Int
from torch import Tensor

from wake2vec.corpus import Corpus
from wake2vec.model import EmbeddingModel


@torch.no_grad()
def validate(model: EmbeddingModel, corpus: Corpus, base_size: int, blocks_at_once: int) -> dict[str, float | None]:
    """Losses over all validation blocks, each block's first token given, so many blocks in one forward pass.

    `loss`: nats per target, lower is better; a uniform guess gives ln(vocabulary). Not comparable between
    token forms. `bits_per_byte`: total nats / ln 2 / UTF-8 bytes of the text that the targets stand for: comparable.
    `loss_*_targets`: nats per target of one kind: base tokens, new tokens that the training blocks hold
    (seen), new tokens that they don't (unseen); None where no target is of that kind.
    """
    ids = corpus.validation["input_ids"][:]
    losses = torch.cat([model.losses(part.to(model.device)) for part in ids.split(blocks_at_once)]).double().cpu()
    kinds = _kinds(ids[:, 1:], base_size, corpus.new_counts_train)
    nats = losses.sum().item()
    return {
        "validation.loss": nats / losses.numel(),
        "validation.bits_per_byte": nats / math.log(2) / int(corpus.validation["target_bytes"][:].sum()),
        **{
            f"validation.loss_{name}_targets": losses[kinds == kind].mean().item() if (kinds == kind).any() else None
            for kind, name in enumerate(["base", "new_seen", "new_unseen"])
        },
    }


def _kinds(
    targets: Int[Tensor, "blocks targets"], base_size: int, counts_train: Int[Tensor, " new"]
) -> Int[Tensor, "blocks targets"]:
    """0: base, 1: new and seen in training, 2: new and unseen."""
    kind_of_new = torch.where(counts_train > 0, 1, 2)
    kind_of_id = torch.cat([torch.zeros(base_size, dtype=torch.long), kind_of_new])
    return kind_of_id[targets]
