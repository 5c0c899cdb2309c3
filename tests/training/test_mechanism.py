"""The mechanism of collapse, on a toy: rows that are never a target fall onto each other and onto unused byte rows."""

from typing import Literal

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from transformers import LlamaConfig, LlamaModel

from wake2vec.config import RunConfig, TrainConfig
from wake2vec.data.corpus import Corpus
from wake2vec.metrics.measure import measure
from wake2vec.metrics.readings import Measured, Subject
from wake2vec.training.embedding_model import EmbeddingModel
from wake2vec.training.train import OPTIMIZERS, Training

BYTES, USED, NEW, DIM = 12, 20, 60, 32
BASE = BYTES + USED
SEEN = torch.arange(NEW) < 20
START_STD, STEPS, LR = 0.05, 120, 0.02
SGD_LR = 200 * LR
"""At which plain gradient descent learns the toy's text a little better than Adafactor does."""


def test_rows_that_are_never_a_target_collapse_onto_bytes_and_each_other_and_no_others_do() -> None:
    report, _ = train_toy("all")
    assert collapse(report) == {"byte": 2 / 3, "mutual": 2 / 3, "either": 2 / 3, "unseen": 1.0, "seen": 0.0}
    cosines = torch.from_numpy(report.arrays["byte_cosines"])
    assert cosines[~SEEN].min() > 0.97
    assert cosines[SEEN].max() < 0.7


def test_freezing_the_base_rows_hides_it_from_the_bytes_but_not_from_the_objective() -> None:
    report, _ = train_toy("new")
    assert collapse(report) == {"byte": 0.0, "mutual": 2 / 3, "either": 2 / 3, "unseen": 1.0, "seen": 0.0}
    assert torch.from_numpy(report.arrays["byte_cosines"]).max() < 0.7


def test_the_same_rows_do_not_collapse_where_the_text_holds_them() -> None:
    report, _ = train_toy("all", occurring=torch.ones(NEW, dtype=torch.bool))
    assert collapse(report) == {"byte": 0.0, "mutual": 0.0, "either": 0.0, "unseen": None, "seen": 0.0}


def test_the_push_alone_does_not_do_it_without_steps_of_a_normalised_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIMIZERS, "adamw", lambda rows, config: torch.optim.SGD([rows], lr=config.lr))
    adafactor_loss = train_toy("all")[1]
    report, loss = train_toy("all", optimizer="adamw", lr=SGD_LR)
    assert loss < adafactor_loss < 0.2
    assert collapse(report) == {"byte": 0.0, "mutual": 0.0, "either": 0.0, "unseen": 0.0, "seen": 0.0}
    assert torch.from_numpy(report.arrays["byte_cosines"]).max() < 0.8


def collapse(report: Measured) -> dict[str, float | None]:
    names = {
        "byte": "byte_collapse_share",
        "mutual": "mutual_collapse_share",
        "either": "collapse_share",
        "unseen": "collapse_share_unseen",
        "seen": "collapse_share_seen_5_up",
    }
    return {short: report.numbers[f"geometry.{name}"] for short, name in names.items()}


def train_toy(
    rows: Literal["all", "new"], optimizer: str = "adafactor", lr: float = LR, occurring: Tensor = SEEN
) -> tuple[Measured, float]:
    """The report after training, and the last loss.

    The body's weights are random. In the text each token is followed by one other, so that there is something to learn;
    it holds all base tokens but the bytes, and the new ones that are `occurring`.
    """
    torch.manual_seed(0)
    sizes = {"hidden_size": DIM, "intermediate_size": 2 * DIM, "num_hidden_layers": 1, "num_attention_heads": 2}
    body = LlamaModel(LlamaConfig(vocab_size=3, initializer_range=0.2, **sizes))
    # Unused byte rows lie together, as a pretrained model has them, and no nearer to the new rows than chance.
    base = torch.cat([gaussian(1, seed=1) + 0.1 * gaussian(BYTES, seed=2), gaussian(USED, seed=3)])
    model = EmbeddingModel(body, base, gaussian(NEW, seed=4), rows)
    tokens = torch.cat([torch.arange(BYTES, BASE), BASE + torch.nonzero(occurring).flatten()])
    order = tokens[torch.randperm(len(tokens), generator=torch.Generator().manual_seed(5))]
    blocks = order[(torch.arange(64)[:, None] + torch.arange(17)) % len(tokens)]
    data = Dataset.from_dict({"input_ids": blocks.numpy()}).with_format("torch")
    counts = torch.bincount(blocks.flatten(), minlength=BASE + NEW)[BASE:]
    corpus = Corpus(data, data, counts, counts, base_ids_seen=torch.arange(BYTES, BASE))
    settings = TrainConfig(steps=STEPS, lr=lr, optimizer=optimizer, rows=rows, max_grad_norm=1e3)
    training = Training(model, corpus, RunConfig(train=settings), micro_batch_blocks=16)
    while not training.is_done:
        numbers = training.update()
    loss = numbers["training.loss"]
    assert loss is not None
    return measure(Subject(model.matrix, BASE, reference_ids=range(BYTES), new_counts=counts)), loss


def gaussian(count: int, seed: int) -> Tensor:
    return START_STD * torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))
