import pytest
import torch
from torch import nn
from transformers import Adafactor as StockAdafactor

from wake2vec.training import optimizer as adafactor
from wake2vec.training.optimizer import Adafactor


def moved(own: bool, weight_decay: float, decay_rate: float = -0.8, lr: float = 1e-3) -> torch.Tensor:
    """Rows after ten steps by gradients of all lengths, some of whose updates are clipped, in float64."""
    random = torch.Generator().manual_seed(0)
    start = torch.randn(300, 7, generator=random, dtype=torch.float64)
    rows = nn.Parameter(start)
    optimizer: torch.optim.Optimizer
    if own:
        optimizer = Adafactor(rows, lr=lr, weight_decay=weight_decay)
    else:
        settings = {"scale_parameter": False, "relative_step": False, "decay_rate": decay_rate}
        optimizer = StockAdafactor([rows], lr=lr, weight_decay=weight_decay, **settings)
    for step in range(10):
        optimizer.param_groups[0]["lr"] = lr * (step + 1) / 10
        gradient = torch.randn(300, 7, generator=random, dtype=torch.float64)
        rows.grad = gradient * 10 ** torch.linspace(-6, 3, 300)[:, None] * (1 if step % 3 else 100)
        rows.grad[5] = 0
        optimizer.step()
    return rows.detach()


@pytest.mark.parametrize("part_elements", [1, 700, 2**20])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_the_rows_are_those_of_transformers(
    weight_decay: float, part_elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(adafactor.PART_ELEMENTS, "cpu", part_elements)
    ours, theirs = moved(True, weight_decay), moved(False, weight_decay)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)
    # The controls: another decay of the moments, and another of the rows, are told.
    assert (moved(False, weight_decay, decay_rate=-0.79) - theirs).abs().max() > 1e-6
    assert (moved(False, weight_decay + 1e-3) - theirs).abs().max() > 1e-6
