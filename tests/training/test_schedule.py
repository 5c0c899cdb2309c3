from collections import Counter

import pytest
import torch
from transformers import get_linear_schedule_with_warmup

from wake2vec.training.optimizer import batch_at, lr_at


@pytest.mark.parametrize(("steps", "warmup_share", "warmup"), [(30, 0.1, 3), (25, 0.1, 3), (10, 0.0, 0), (1, 0.1, 1)])
def test_the_learning_rate_is_that_of_transformers_linear_schedule(
    steps: int, warmup_share: float, warmup: int
) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, steps)
    for step in range(steps):
        assert lr_at(step, steps=steps, peak=0.5, warmup_share=warmup_share) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


def test_every_epoch_has_each_block_once_in_another_order() -> None:
    seen = [index for step in range(10) for index in batch_at(step, blocks=25, batch_blocks=5, seed=7)]
    first, second = seen[:25], seen[25:]
    assert sorted(first) == sorted(second) == list(range(25))
    assert first != second


def test_batches_cross_epochs_without_losing_a_block() -> None:
    seen = Counter(index for step in range(7) for index in batch_at(step, blocks=7, batch_blocks=3, seed=1))
    assert set(seen.values()) == {3}


def test_a_batch_larger_than_the_corpus_takes_blocks_again() -> None:
    assert Counter(batch_at(2, blocks=2, batch_blocks=6, seed=0)) == {0: 3, 1: 3}
