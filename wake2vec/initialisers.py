"""Initialisers: where the new rows of the embedding matrix start.

Each is a plain function of `InitMaterial` with the result `Float[Tensor, "new dim"]` in float32.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class InitMaterial:
    """What an initialiser may use."""

    base_rows: Float[Tensor, "base dim"]
    pieces: list[list[int]]
    """Base ids that spelled each new word before; its length is the number of new rows."""
    noise_scale: float
    radius_factor: float
    generator: torch.Generator


def gaussian(material: InitMaterial) -> Float[Tensor, "new dim"]:
    """`mean + noise_scale * std * N(0, 1)`, mean and population std of the base rows per dimension.

    Phase 1's, with noise_scale .1. Norms match the base rows' at noise_scale 1.
    """
    base = material.base_rows
    noise = _normal(material)
    return base.mean(dim=0) + material.noise_scale * base.std(dim=0, correction=0) * noise


def library_default(material: InitMaterial) -> Float[Tensor, "new dim"]:
    """Multivariate normal around the base rows' mean with 1e-9 of their covariance.

    What transformers' `resize_token_embeddings(mean_resizing=True)` does, after Hewitt 2021,
    "Initializing New Word Embeddings for Pretrained Language Models". All rows all but coincide.
    """
    base = material.base_rows.double()
    covariance = torch.cov(base.T, correction=0)
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp_min(0).sqrt()
    return (base.mean(dim=0) + 1e-9**0.5 * _normal(material).double() @ root.T).float()


def sphere(material: InitMaterial) -> Float[Tensor, "new dim"]:
    """A uniform direction, with `radius_factor` times the mean norm of the base rows: norm gap 0 at 1."""
    noise = _normal(material)
    radius = material.radius_factor * material.base_rows.norm(dim=1).mean()
    return radius * noise / noise.norm(dim=1, keepdim=True)


def piece_mean(material: InitMaterial) -> Float[Tensor, "new dim"]:
    """The mean of the rows of the base pieces that spelled the word: words of one stem start close.

    As in Gee et al. 2022, "Fast Vocabulary Transfer for Language Model Compression" (arXiv 2402.09977).
    """
    return torch.stack([material.base_rows[ids].mean(dim=0) for ids in material.pieces])


INITIALISERS: dict[str, Callable[[InitMaterial], Float[Tensor, "new dim"]]] = {
    "gaussian": gaussian,
    "library_default": library_default,
    "sphere": sphere,
    "piece_mean": piece_mean,
}


def _normal(material: InitMaterial) -> Float[Tensor, "new dim"]:
    return torch.randn(len(material.pieces), material.base_rows.shape[1], generator=material.generator)
