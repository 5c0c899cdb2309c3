"""Loss, gradients and losses of many steps in every precision, against the stock model in float64."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wake2vec import RunConfig, prepare
from wake2vec.recipe import start_training
from wake2vec.training import loss
from wake2vec.training.device import DTYPES, LOSS_TOLERANCE
from wake2vec.training.loss import CHUNK_TOKENS, add_loss_gradients, token_losses
from wake2vec.training.model import merged_model
from wake2vec.training.train import Training

Vary = Callable[..., RunConfig]
HALF = ["float16", "bfloat16"]


@given(
    tokens=st.sampled_from([1, 2, CHUNK_TOKENS - 1, CHUNK_TOKENS, CHUNK_TOKENS + 1, 2 * CHUNK_TOKENS + 7]),
    vocabulary=st.integers(2, 40),
    frozen=st.integers(0, 39),
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 99),
)
def test_the_chunked_loss_is_the_whole_one(tokens: int, vocabulary: int, frozen: int, scale: float, seed: int) -> None:
    torch.manual_seed(seed)
    frozen = min(frozen, vocabulary - 1)
    hidden, matrix = 3 * torch.randn(tokens, 5), 3 * torch.randn(vocabulary, 5)
    targets = torch.randint(vocabulary, (tokens,))
    h, m = hidden.double().requires_grad_(), matrix.double().requires_grad_()
    expected = torch.nn.functional.cross_entropy(h @ m.T, targets, reduction="none")
    (scale * expected.sum()).backward()
    assert h.grad is not None
    assert m.grad is not None
    before = torch.randn(vocabulary - frozen, 5)
    row_gradients = before.clone()
    losses, hidden_gradients = add_loss_gradients(hidden, matrix, targets, scale, row_gradients)
    torch.testing.assert_close(losses.double(), expected.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(token_losses(hidden, matrix, targets), losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(hidden_gradients.double(), h.grad, rtol=1e-4, atol=1e-4 * scale)
    added = (row_gradients - before).double()
    torch.testing.assert_close(added, m.grad[frozen:], rtol=1e-3, atol=1e-3 * max(scale, 1))


@pytest.mark.parametrize("dtype", DTYPES.values())
def test_parts_of_a_chunk_give_what_the_whole_chunk_gives(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    hidden, matrix = torch.randn(CHUNK_TOKENS + 7, 5).to(dtype), torch.randn(30, 5).to(dtype)
    targets = torch.randint(30, (len(hidden),))

    def all_results(part_elements: int) -> list[torch.Tensor]:
        monkeypatch.setitem(loss.PART_ELEMENTS, "cpu", part_elements)
        row_gradients = torch.zeros(20, 5)
        gradients = add_loss_gradients(hidden, matrix, targets, 0.1, row_gradients)
        return [*gradients, row_gradients, token_losses(hidden, matrix, targets)]

    whole = all_results(30 * CHUNK_TOKENS)
    for part_elements in (1, 30 * 11):
        for found, expected in zip(all_results(part_elements), whole, strict=True):
            assert torch.equal(found, expected)


def stock_gradient(config: RunConfig, matrix: torch.Tensor, ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Of the mean loss, for the tied rows, by plain transformers and autograd."""
    model = merged_model(prepare(config).base.folder, matrix).to(dtype).requires_grad_(False)
    rows = model.get_input_embeddings().weight.requires_grad_(True)
    model(input_ids=ids, labels=ids).loss.backward()
    assert rows.grad is not None
    return rows.grad.double()


@pytest.mark.parametrize("precision", DTYPES)
def test_the_gradient_of_the_rows_is_as_near_to_float64_as_the_stock_models(vary: Vary, precision: str) -> None:
    config = vary(train={"precision": precision})
    training = start_training(config, prepare(config))
    ids = training.corpus.train[[0, 1, 2, 3]]["input_ids"]
    exact = stock_gradient(config, training.model.matrix, ids, torch.float64)
    stock = stock_gradient(config, training.model.matrix, ids, DTYPES[precision])
    training.model.add_gradients(ids, 1024 / ids[:, 1:].numel())
    assert training.model.trained_rows.grad is not None
    ours = training.model.trained_rows.grad.double() / 1024
    assert (ours - exact).norm() <= 1.5 * (stock - exact).norm()
    assert (ours - exact).norm() <= 0.05 * exact.norm()


def losses_of_50_steps(config: RunConfig) -> list[float]:
    training = start_training(config, prepare(config))
    return [training.update()["training.loss"] or 0.0 for _ in range(50)]


@pytest.mark.parametrize("precision", HALF)
def test_50_steps_keep_the_tolerance_of_the_precision(vary: Vary, precision: str) -> None:
    full = losses_of_50_steps(vary(train={"steps": 50}))
    half = losses_of_50_steps(vary(train={"steps": 50, "precision": precision}))
    tolerance = LOSS_TOLERANCE[DTYPES[precision]]
    assert half == pytest.approx(full, rel=tolerance)
    # The controls: half precision was used, and the tolerance tells another batch order.
    assert half != full
    assert losses_of_50_steps(vary(train={"steps": 50, "precision": precision}, seed=1)) != pytest.approx(
        full, rel=tolerance
    )


def half_training(vary: Vary, loss_scale: float) -> Training:
    config = vary(train={"precision": "float16"})
    training = start_training(config, prepare(config))
    training.restore(dataclasses.replace(training.state(), loss_scale=loss_scale))
    return training


def test_a_loss_scale_that_overflows_is_halved_and_the_step_is_not_lost(vary: Vary) -> None:
    usual, high = half_training(vary, 2.0**12), half_training(vary, 2.0**30)
    for _ in range(3):
        assert high.update() == pytest.approx(usual.update(), rel=1e-3)
    assert high.state().loss_scale < 2.0**30
    assert high.step == usual.step == 3


def test_the_loss_scale_is_part_of_the_state(vary: Vary) -> None:
    """A checkpoint without it would not resume alike: what underflows depends on it."""
    rows = {}
    for name, scale in {"usual": 2.0**12, "again": 2.0**12, "other": 2.0**-4}.items():
        training = half_training(vary, scale)
        training.update()
        training.update()
        rows[name] = training.model.trained_rows.detach().clone()
    assert torch.equal(rows["usual"], rows["again"])
    assert not torch.equal(rows["usual"], rows["other"])


def test_the_rotary_frequencies_stay_in_float32_and_the_rows_too(vary: Vary, monkeypatch: pytest.MonkeyPatch) -> None:
    config = vary(train={"precision": "bfloat16", "rows": "new"})
    training = start_training(config, prepare(config))
    training.update()
    training.update()
    body = training.model.body
    assert {weight.dtype for weight in body.parameters()} == {torch.bfloat16}
    assert {buffer.dtype for buffer in body.buffers() if buffer.is_floating_point()} == {torch.float32}
    assert training.model.matrix.dtype == torch.float32
    assert torch.equal(training.model.operand, training.model.matrix.bfloat16())
    base = prepare(config).base_rows
    whole = training.model.matrix
    assert torch.equal(whole[: len(base)], base)
    with monkeypatch.context() as short:
        join, tries = torch.cat, iter([torch.OutOfMemoryError("CUDA out of memory.")])

        def once_short(parts: list[torch.Tensor]) -> torch.Tensor:
            for fault in tries:
                raise fault
            return join(parts)

        short.setattr(torch, "cat", once_short)
        assert torch.equal(training.model.matrix, whole)
