"""Training of the embedding rows: the loop, and the optimizers by name."""

from collections.abc import Callable, Iterator

import torch
from torch import nn
from transformers import Adafactor

from wake2vec.config import TrainConfig
from wake2vec.corpus import Corpus
from wake2vec.errors import TrainingDivergedError
from wake2vec.model import EmbeddingModel
from wake2vec.schedule import batch_at, lr_at
from wake2vec.workfolder import Numbers

Optimizer = torch.optim.Optimizer


def adafactor(rows: nn.Parameter, config: TrainConfig) -> Optimizer:
    """transformers' Adafactor with an outside learning rate, as its Trainer sets it (Shazeer & Stern 2018)."""
    return Adafactor([rows], lr=config.lr, weight_decay=config.weight_decay, scale_parameter=False, relative_step=False)


def adamw(rows: nn.Parameter, config: TrainConfig) -> Optimizer:
    """torch's AdamW with its default moments (Loshchilov & Hutter 2019)."""
    return torch.optim.AdamW([rows], lr=config.lr, weight_decay=config.weight_decay)


OPTIMIZERS: dict[str, Callable[[nn.Parameter, TrainConfig], Optimizer]] = {
    "adafactor": adafactor,
    "adamw": adamw,
}


def train(
    model: EmbeddingModel,
    corpus: Corpus,
    config: TrainConfig,
    seed: int,
    evaluate: Callable[[], Numbers],
) -> Iterator[tuple[int, Numbers]]:
    """Train, and yield (updates done, figures): `training.*` after each update, `evaluate()` when it is due.

    Evaluation is due at step 0, every `evaluate_every_steps`, and after the last update.

    Raises:
        TrainingDivergedError: a loss or gradient isn't finite.
    """
    optimizer = OPTIMIZERS[config.optimizer](model.trained_rows, config)
    batch_blocks = config.micro_batch_blocks * config.accumulation_steps
    for step in range(config.steps):
        if step % config.evaluate_every_steps == 0:
            yield step, evaluate()
        lr = lr_at(step, steps=config.steps, peak=config.lr, warmup_share=config.warmup_share)
        batch = batch_at(step, blocks=len(corpus.train), batch_blocks=batch_blocks, seed=seed)
        optimizer.param_groups[0]["lr"] = lr
        numbers = _update(model, optimizer, corpus, batch, config)
        yield step + 1, {"training.lr": lr, **numbers}
    yield config.steps, evaluate()


def _update(
    model: EmbeddingModel, optimizer: Optimizer, corpus: Corpus, batch: list[int], config: TrainConfig
) -> Numbers:
    """One optimizer step over the batch, micro-batch by micro-batch; the loss is the mean over its targets."""
    ids = corpus.train[batch]["input_ids"].to(model.trained_rows.device)
    optimizer.zero_grad()
    loss = 0.0
    for part in ids.split(config.micro_batch_blocks):
        share = model.losses(part).mean() * (len(part) / len(ids))
        share.backward()
        loss += share.item()
    grad_norm = nn.utils.clip_grad_norm_([model.trained_rows], config.max_grad_norm).item()
    if not (torch.isfinite(torch.tensor([loss, grad_norm])).all()):
        raise TrainingDivergedError(
            f"losses and gradients must be finite: loss {loss}, gradient norm {grad_norm} at learning rate "
            f"{optimizer.param_groups[0]['lr']:.3g}; lower train.lr"
        )
    optimizer.step()
    return {"training.loss": loss, "training.grad_norm": grad_norm}
