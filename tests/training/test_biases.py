"""The biases of `bench.teaching heads`: their gradient, and that at 0 they change nothing."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.biases import BiasedModel
from wake2vec import RunConfig, prepare
from wake2vec.recipe import model_at_start

Vary = Callable[..., RunConfig]
FACTOR = 10.0


def models(vary: Vary) -> tuple[BiasedModel, Tensor]:
    """One with biases, and blocks to read."""
    config = vary(init={"noise_scale": 1.0})
    material = prepare(config)
    ids: Tensor = material.corpus.train[[0, 1]]["input_ids"]
    return BiasedModel(model_at_start(config, material), FACTOR), ids


def test_loss_and_gradients_are_those_of_autograd(vary: Vary) -> None:
    model, ids = models(vary)
    model.biases.trained_rows.data.normal_(generator=torch.Generator().manual_seed(0))
    total = model.add_gradients(ids, 1.0)
    matrix = model.operand.clone().requires_grad_()
    biases = model.biases.new_rows.clone().requires_grad_()
    hidden = model.body(inputs_embeds=F.embedding(ids[:, :-1], matrix), use_cache=False).last_hidden_state
    of_rows = torch.cat([torch.zeros(len(matrix) - len(biases)), FACTOR * biases.flatten()])
    logits = (hidden @ matrix.T + of_rows).flatten(0, 1)
    expected = F.cross_entropy(logits, ids[:, 1:].flatten(), reduction="sum")
    expected.backward()
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert model.losses(ids).sum().item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(model.input.gradient, matrix.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.biases.gradient, biases.grad, rtol=1e-4, atol=1e-5)
    assert model.biases.gradient.abs().max() > 0


def test_biases_of_0_change_no_loss_and_others_do(vary: Vary) -> None:
    model, ids = models(vary)
    config = vary(init={"noise_scale": 1.0})
    plain = model_at_start(config, prepare(config)).losses(ids)
    torch.testing.assert_close(model.losses(ids), plain)
    model.biases.trained_rows.data.fill_(0.1)
    assert (model.losses(ids) - plain).abs().max() > 0.01
