"""Initialisers: where the new rows of the embedding matrix start.

Each is a plain function of `InitMaterial` with the result `Float[Tensor, "new dim"]` in float32, drawn from the
material's generator alone. `docs/initialisers.md` compares them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from wake2vec.config import InitialiserName

NGRAMS = (2, 4)
SHARPNESS = 10.0
"""What similarities are multiplied by before sparsemax: higher ones leave fewer base tokens with a weight."""
CHUNK_WORDS = 1024


@dataclass(frozen=True)
class InitMaterial:
    """What an initialiser may use; it changes none of it but the generator."""

    base_rows: Float[Tensor, "base dim"]
    base_texts: Sequence[str]
    """What each base token writes, with its leading space; empty for special tokens, bytes and ids without a token."""
    words: Sequence[str]
    """What each new row's token writes, between `<` and `>` where it begins and ends a word: `<riverrun>`."""
    pieces: Sequence[Sequence[int]]
    """Base ids that spelled each new word before."""
    noise_scale: float
    radius_factor: float
    generator: torch.Generator
    distil: Callable[[Float[Tensor, "new dim"]], Float[Tensor, "new dim"]] | None = None
    """What the frozen model makes of such rows by `wake2vec.training.distil`; None: rows of a head, which it doesn't
    read."""


def gaussian(material: InitMaterial) -> Float[Tensor, "new dim"]:
    """`mean + noise_scale * std * N(0, 1)`, mean and population std of the base rows per dimension.

    Phase 1's, with noise_scale .1. The mean squared norm is that of the base rows at noise_scale 1.
    """
    base = material.base_rows
    noise = _normal(material)
    return base.mean(dim=0) + material.noise_scale * base.std(dim=0, correction=0) * noise


def base_normal(material: InitMaterial) -> Float[Tensor, "new dim"]:
    """Multivariate normal: the base rows' mean, and their whole covariance times noise_scale squared.

    Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models", who takes 1e-5 of the covariance:
    noise_scale .003. First and second moments are the base rows' at noise_scale 1, and so is the mean squared norm;
    unlike `gaussian` it keeps the correlations of the dimensions.
    """
    return _around_the_mean(material, material.noise_scale)


def library_default(material: InitMaterial) -> Float[Tensor, "new dim"]:
    """Multivariate normal around the base rows' mean with 1e-9 of their covariance.

    What transformers' `resize_token_embeddings(mean_resizing=True)` does, after Hewitt 2021 (see `base_normal`). All
    rows all but coincide: as far apart as 3e-5 of the base rows' spread. Where the base rows' mean is longer than that,
    as it is unless they were centred, cosines read it as collapse 1; where it isn't, only the norms tell.
    """
    return _around_the_mean(material, 1e-9**0.5)


def mean(material: InitMaterial) -> Float[Tensor, "new dim"]:
    """The mean of the base rows for every new row: covariance 0, collapse share 1.

    Hewitt 2021 (see `base_normal`): by Jensen's inequality exp(logit) of a new word is at most the mean of the old
    words', so k new words beside n old ones take k / (n + k) of the probability at most. The norm is that of the mean,
    short where the base rows point everywhere. Only text parts a row from the others; the unseen never part.
    """
    centre = material.base_rows.double().mean(dim=0).float()
    return centre.repeat(len(material.words), 1)


def sphere(material: InitMaterial) -> Float[Tensor, "new dim"]:
    """A uniform direction, with `radius_factor` times the mean norm of the base rows: norm gap 0 at 1.

    Mean 0, covariance radius² / dim times the identity (Muller 1959, "A note on a method for generating points
    uniformly on n-dimensional spheres"): isotropic, and blind to where the base rows lie.
    """
    noise = _normal(material)
    radius = material.radius_factor * material.base_rows.norm(dim=1).mean()
    return radius * noise / noise.norm(dim=1, keepdim=True)


def piece_mean(material: InitMaterial) -> Float[Tensor, "new dim"]:
    """The mean of the rows of the base pieces that spelled the word: words of one stem start close.

    As in Gee et al. 2022, "Fast Vocabulary Transfer for Language Model Compression" (arXiv 2402.09977). Not random.
    Of k pieces in unrelated directions the mean has 1 / sqrt(k) of their norm.
    """
    return torch.stack([material.base_rows[list(ids)].mean(dim=0) for ids in material.pieces])


def similarity(material: InitMaterial) -> Float[Tensor, "new dim"]:
    """A convex combination of the rows of base tokens that are written alike.

    After FOCUS (Dobler & de Melo 2023, arXiv 2305.14481): weights are sparsemax (Martins & Astudillo 2016, arXiv
    1602.02068) of the similarities of the word to the base tokens. FOCUS takes these from fastText vectors trained
    on the target corpus; here they are cosines of TF-IDF vectors of character n-grams with word boundaries, which are
    fastText's subwords without training: nine in ten new words are too rare to have a context. Similarities are
    multiplied by `SHARPNESS`; tokens without a common n-gram have no weight. A word without any similar token is
    drawn as FOCUS does it: normal, with mean and std of the base rows per dimension; nothing else is random.

    A word that a base token writes whole starts at its row, or between the rows of those that differ in case alone.
    Rows lie in the convex hull of the base rows: none is longer than the longest, and of k unrelated rows with equal
    weights it is 1 / sqrt(k) of theirs.
    """
    base = material.base_rows.numpy()
    usable = np.array([index for index, text in enumerate(material.base_texts) if text.strip()], dtype=np.int64)
    forms = [word.lower() for word in material.words]
    tokens = [_with_boundaries(material.base_texts[index]) for index in usable]
    counted = TfidfVectorizer(
        analyzer="char", ngram_range=NGRAMS, lowercase=False, sublinear_tf=True, dtype=np.float32
    ).fit_transform([*forms, *tokens])
    word_vectors, token_vectors = counted[: len(forms)], counted[len(forms) :].T.tocsr()
    rows = np.empty((len(forms), base.shape[1]), dtype=np.float32)
    alone = []
    for first in range(0, len(forms), CHUNK_WORDS):
        products = _near_the_largest(word_vectors[first : first + CHUNK_WORDS] @ token_vectors)
        for index, (start, end) in enumerate(zip(products.indptr, products.indptr[1:], strict=False), first):
            if start == end:
                alone.append(index)
                continue
            weights = sparsemax(SHARPNESS * products.data[start:end].astype(np.float64))
            chosen = np.flatnonzero(weights)
            rows[index] = weights[chosen] @ base[usable[products.indices[start:end][chosen]]]
    if alone:
        spread, centre = torch.std_mean(material.base_rows, dim=0, correction=0)
        rows[alone] = (centre + spread * torch.randn(len(alone), len(centre), generator=material.generator)).numpy()
    return torch.from_numpy(rows)


def sparsemax(scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The point of the simplex nearest to `scores`: weights from 0, of sum 1, most of them 0 where scores differ.

    max(scores - t, 0) with the t that makes the sum 1 (Martins & Astudillo 2016, arXiv 1602.02068). At least one score.
    """
    falling = np.sort(scores)[::-1]
    sums = np.cumsum(falling)
    support = np.flatnonzero(1 + np.arange(1, len(scores) + 1) * falling > sums)[-1]
    return np.maximum(scores - (sums[support] - 1) / (support + 1), 0)


def distilled(material: InitMaterial) -> Float[Tensor, "new dim"]:
    """`piece_mean`, taught until the frozen model makes of a row what it makes of its word's base pieces.

    Token Distillation (Dobler, Elliott, de Melo 2025, arXiv 2505.20133): hidden states behind the new token are brought
    near those behind the pieces, in passages of the training text. By default one linear map from a word's pieces to
    its row is learnt for all words, and rows have the base rows' mean norm: norm gap 0: `wake2vec.training.distil`.
    Rows of a head of its own, which no text reads, are those of `piece_mean`.
    """
    start = piece_mean(material)
    return start if material.distil is None else material.distil(start)


INITIALISERS: dict[InitialiserName, Callable[[InitMaterial], Float[Tensor, "new dim"]]] = {
    "gaussian": gaussian,
    "base_normal": base_normal,
    "library_default": library_default,
    "mean": mean,
    "sphere": sphere,
    "piece_mean": piece_mean,
    "similarity": similarity,
    "distilled": distilled,
}


def _normal(material: InitMaterial) -> Float[Tensor, "new dim"]:
    return torch.randn(len(material.words), material.base_rows.shape[1], generator=material.generator)


def _around_the_mean(material: InitMaterial, scale: float) -> Float[Tensor, "new dim"]:
    """Normal around the base rows' mean, with scale² of their covariance."""
    base = material.base_rows.double()
    values, vectors = torch.linalg.eigh(torch.cov(base.T, correction=0))
    root = vectors * values.clamp_min(0).sqrt()
    return (base.mean(dim=0) + scale * _normal(material).double() @ root.T).float()


def _near_the_largest(products: csr_matrix) -> csr_matrix:
    """Of each row what may have a weight: sparsemax gives none to scores 1 or more below the largest."""
    largest = products.max(axis=1).toarray().ravel()
    products.data[products.data < np.repeat(largest - 1 / SHARPNESS, np.diff(products.indptr))] = 0
    products.eliminate_zeros()
    return products


def _with_boundaries(text: str) -> str:
    """` upon` -> `<upon>`, `ing` -> `ing>`: a token without a leading space goes on inside a word."""
    return ("<" if text[0].isspace() else "") + text.strip().lower() + ">"
