import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from wake2vec.initialisers import INITIALISERS, InitMaterial

BASE_ROWS = 3 + torch.randn(500, 16, generator=torch.Generator().manual_seed(1)) * torch.linspace(0.1, 2, 16)


def material(new: int = 4000, noise_scale: float = 0.5, radius_factor: float = 1.0, seed: int = 0) -> InitMaterial:
    pieces = [[index % 500, (3 * index) % 500] for index in range(new)]
    return InitMaterial(BASE_ROWS, pieces, noise_scale, radius_factor, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", INITIALISERS)
def test_contract(name: str) -> None:
    rows = INITIALISERS[name](material())
    assert rows.shape == (4000, 16)
    assert rows.dtype == torch.float32
    assert rows.isfinite().all()
    assert torch.equal(rows, INITIALISERS[name](material()))
    if name != "piece_mean":
        assert not torch.equal(rows, INITIALISERS[name](material(seed=1)))


def test_gaussian_has_the_base_rows_mean_and_a_share_of_their_deviation() -> None:
    rows = INITIALISERS["gaussian"](material(new=200_000))
    torch.testing.assert_close(rows.mean(0), BASE_ROWS.mean(0), atol=0.01, rtol=0)
    torch.testing.assert_close(rows.std(0), 0.5 * BASE_ROWS.std(0, correction=0), rtol=0.01, atol=0)


def test_sphere_has_one_norm() -> None:
    rows = INITIALISERS["sphere"](material(radius_factor=1.5))
    torch.testing.assert_close(rows.norm(dim=1), torch.full((4000,), 1.5 * BASE_ROWS.norm(dim=1).mean().item()))


def test_piece_mean_is_the_mean_of_the_pieces() -> None:
    assert torch.equal(INITIALISERS["piece_mean"](material())[7], (BASE_ROWS[7] + BASE_ROWS[21]) / 2)


def test_library_default_is_what_transformers_does() -> None:
    llama = LlamaForCausalLM(
        LlamaConfig(vocab_size=500, hidden_size=16, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    )
    with torch.no_grad():
        llama.get_input_embeddings().weight.copy_(BASE_ROWS)
    llama.resize_token_embeddings(4500, mean_resizing=True)
    theirs = llama.get_input_embeddings().weight[500:].detach()
    ours = INITIALISERS["library_default"](material())
    torch.testing.assert_close(ours.mean(0), theirs.mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.cov(ours.T), torch.cov(theirs.T), atol=1e-9, rtol=0.1)
