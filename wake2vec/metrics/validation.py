"""Validation: cross-entropy per token, by kind of target, and bits per byte."""

import math
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from wake2vec.data.corpus import Corpus, exposure_classes
from wake2vec.metrics.registry import CLASSES, Metric, Shown, When, each, with_null
from wake2vec.workfolder import Numbers

METRICS = (
    Metric(
        "training.loss",
        "loss of the last batch, nats a token",
        unit="nats a token",
        better="lower",
        when=When.TRAINING,
        compares=False,
    ),
    Metric("training.lr", "learning rate of the last update", when=When.TRAINING, compares=False),
    Metric(
        "training.kept_step",
        "step whose rows the trial keeps: its figures are those of that step",
        unit="steps",
        when=When.TRAINING,
        compares=False,
    ),
    Metric("training.grad_norm", "norm of the last gradient before clipping", when=When.TRAINING, compares=False),
    Metric(
        "validation.loss",
        "validation loss, nats a token",
        unit="nats a token",
        better="lower",
        when=When.TRAINING,
        shown=Shown("validation loss", "loss", first=1),
    ),
    Metric(
        "validation.bits_per_byte",
        "validation loss, bits a byte of text",
        unit="bits a byte",
        better="lower",
        when=When.TRAINING,
        shown=Shown("bits per byte", "bits per byte", first=15),
    ),
    Metric(
        "validation.loss_base_targets",
        "validation loss on base tokens",
        unit="nats a token",
        better="lower",
        when=When.TRAINING,
        shown=Shown("loss on base tokens", "loss, base", first=16),
    ),
    Metric(
        "validation.loss_new_seen_targets",
        "validation loss on new tokens seen in training",
        unit="nats a token",
        better="lower",
        when=When.TRAINING,
        shown=Shown("loss on new tokens seen", "loss, seen", first=17),
    ),
    Metric(
        "validation.loss_new_unseen_targets",
        "validation loss on new tokens never seen",
        unit="nats a token",
        better="lower",
        when=When.TRAINING,
        shown=Shown("loss on new tokens never seen", "loss, unseen", first=18),
    ),
    *each(
        {"1": "once", "2_4": "2 to 4 times", "5_up": "5 times or more"},
        Metric(
            "validation.loss_seen_{}_targets",
            "validation loss on new tokens seen {} in training",
            unit="nats a token",
            better="lower",
            when=When.TRAINING,
        ),
    ),
    *with_null(
        Metric(
            "validation.loss_base_after_new",
            "validation loss on base tokens right behind a new one, where the base has them too",
            unit="nats a token",
            better="lower",
            when=When.TRAINING,
            shown=Shown("loss behind new tokens", "loss behind new", first=23),
        ),
        meaning="the same of the base model behind the word's base tokens",
        when=When.END,
    ),
    *each(
        {key: f"new tokens of the class {key}" for key in CLASSES},
        *with_null(
            Metric(
                "validation.loss_base_after_{}",
                "validation loss on such base tokens behind {}",
                unit="nats a token",
                better="lower",
                when=When.TRAINING,
            ),
            meaning="the same of the base model behind the word's base tokens",
            when=When.END,
        ),
    ),
    *each(
        {
            "base": "base tokens",
            **{key: f"new tokens of the class {key}" for key in CLASSES},
            "base_after_new": "base tokens right behind a new one, where the base has them too",
            **{f"base_after_{key}": f"such base tokens behind new tokens of the class {key}" for key in CLASSES},
        },
        Metric(
            "validation.targets_{}", "validation targets that are {}", unit="targets", when=When.END, compares=False
        ),
    ),
    Metric("validation.start_loss", "validation loss at step 0", unit="nats a token", when=When.TRAINING),
    Metric(
        "validation.start_loss_own_head",
        "validation loss at step 0 with the base's own head",
        unit="nats a token",
        when=When.TRAINING,
        compares=False,
        head="replaced",
    ),
    Metric(
        "validation.best_loss",
        "lowest validation loss of all evaluations",
        unit="nats a token",
        better="lower",
        when=When.TRAINING,
    ),
    Metric("validation.best_step", "its step", unit="steps", when=When.TRAINING),
)


@runtime_checkable  # the tests check types
class LanguageModel(Protocol):
    """What is asked of a model that is validated."""

    @property
    def device(self) -> torch.device: ...

    def losses(self, ids: Int[Tensor, "blocks tokens"]) -> Float[Tensor, "blocks tokens-1"]:
        """Nats of each token but a block's first."""


@torch.no_grad()
def validate(model: LanguageModel, corpus: Corpus, base_size: int, blocks_at_once: int) -> Numbers:
    """Losses over all validation blocks, each block's first token given, so many blocks in one forward pass.

    `loss`: nats per target, lower is better; a uniform guess gives ln(vocabulary). Not comparable between
    token forms. `bits_per_byte`: total nats / ln 2 / UTF-8 bytes of the text that the targets stand for: comparable.
    `loss_*_targets`: nats per target of one kind; None where no target is of that kind. Base tokens, new tokens that
    the training blocks hold (`new_seen`) and new tokens that they don't (`new_unseen`) partition the targets; the
    seen ones are split again by how often the training blocks hold them. `loss_base_after_*`: of the base targets
    right behind a new token that the base model reads too, in its own tokens: they show what a new row tells as an
    input. All of them (`new`), and by how often the training blocks hold the new token.
    """
    ids = corpus.validation["input_ids"][:]
    losses, behind = token_losses_of(model, ids, blocks_at_once), corpus.behind_new
    kinds = _kinds_of_targets(ids[:, 1:], base_size, corpus)
    nats = losses.sum().item()
    return {
        "validation.loss": nats / losses.numel(),
        "validation.bits_per_byte": nats / math.log(2) / int(corpus.validation["target_bytes"][:].sum()),
        **{
            f"validation.loss_{name}_targets": losses[members].mean().item() if members.any() else None
            for name, members in kinds.items()
        },
        **_means_behind(losses.flatten()[:0] if behind is None else losses.flatten()[behind.places], corpus),
    }


def null_behind_new(base: LanguageModel, corpus: Corpus, blocks_at_once: int) -> Numbers:
    """What `base`, the base model as it was, reads of the same base tokens behind the new words' base tokens.

    The nulls of `loss_base_after_*`: a row that tells what its word's base tokens tell reads as much, but for what the
    rows of new words take of the probability: here the softmax runs over the base rows.
    """
    behind = corpus.behind_new
    if behind is None:
        losses = torch.zeros(0)
    else:
        losses = token_losses_of(base, behind.base_ids, blocks_at_once).flatten()[behind.base_places]
    return {f"{address}_null": loss for address, loss in _means_behind(losses, corpus).items()}


def token_losses_of(
    model: LanguageModel, ids: Int[Tensor, "blocks tokens"], blocks_at_once: int
) -> Float[Tensor, "blocks tokens-1"]:
    """Nats of each token but a block's first, in float64 on the CPU; so many blocks in one forward pass."""
    return torch.cat([model.losses(part.to(model.device)) for part in ids.split(blocks_at_once)]).double().cpu()


def losses_without_targets(corpus: Corpus, base_size: int) -> list[str]:
    """Addresses of the losses that `validate` can't give, for any model: no target is of that kind."""
    kinds = _kinds_of_targets(corpus.validation["input_ids"][:][:, 1:], base_size, corpus)
    behind = [f"validation.loss_base_after_{name}" for name, own in _classes_behind(corpus).items() if not own.any()]
    return [
        *(f"validation.loss_{name}_targets" for name, members in kinds.items() if not members.any()),
        *(address for loss in behind for address in (loss, f"{loss}_null")),
    ]


def target_counts(corpus: Corpus, base_size: int) -> Numbers:
    """Targets of each class in the validation blocks: the weights of their losses, the same for a whole study."""
    targets = corpus.validation["input_ids"][:][:, 1:]
    classes = target_classes(targets, base_size, corpus.new_counts_train)
    of_behind = {f"base_after_{name}": members for name, members in _classes_behind(corpus).items()}
    return {f"validation.targets_{name}": float(members.sum()) for name, members in (classes | of_behind).items()}


def target_classes(
    targets: Int[Tensor, "blocks targets"], base_size: int, counts_train: Int[Tensor, " new"]
) -> dict[str, Bool[Tensor, "blocks targets"]]:
    """Which targets are base tokens, and which are new tokens of each class of exposure: a partition."""
    nothing = torch.zeros(base_size, dtype=torch.bool)
    of_new = exposure_classes(counts_train).items()
    return {"base": targets < base_size, **{name: torch.cat([nothing, ids])[targets] for name, ids in of_new}}


def _means_behind(losses: Float[Tensor, " targets"], corpus: Corpus) -> Numbers:
    """`loss_base_after_*`, of the losses at the corpus' targets behind new tokens."""
    return {
        f"validation.loss_base_after_{name}": losses[members].mean().item() if members.any() else None
        for name, members in _classes_behind(corpus).items()
    }


def _classes_behind(corpus: Corpus) -> dict[str, Bool[Tensor, " targets"]]:
    """Which of the targets behind new tokens are behind one of each class of exposure, and all of them."""
    new_ids = torch.zeros(0, dtype=torch.long) if corpus.behind_new is None else corpus.behind_new.new_ids
    counts = corpus.new_counts_train[new_ids]
    return {"new": counts >= 0, **exposure_classes(counts)}


def _kinds_of_targets(
    targets: Int[Tensor, "blocks targets"], base_size: int, corpus: Corpus
) -> dict[str, Bool[Tensor, "blocks targets"]]:
    """Which targets each loss is the mean of."""
    classes = target_classes(targets, base_size, corpus.new_counts_train)
    base, unseen = classes.pop("base"), classes.pop("unseen")
    return {"base": base, "new_seen": ~(base | unseen), "new_unseen": unseen, **classes}
