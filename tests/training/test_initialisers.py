"""One contract for every initialiser: one that is added to the dict is tested, and must document its moments here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import brentq
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from wake2vec import RunConfig, prepare
from wake2vec.recipe import initialise
from wake2vec.training.initialisers import INITIALISERS, NGRAMS, SHARPNESS, InitMaterial, sparsemax

BASE, DIM, NEW = 500, 16, 4000
TURN = torch.linalg.qr(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(2))).Q
BASE_ROWS = 1 + torch.randn(BASE, DIM, generator=torch.Generator().manual_seed(1)) * torch.linspace(0.1, 2, DIM) @ TURN
RANDOM = {"gaussian", "base_normal", "library_default", "sphere"}


def spelled(number: int, length: int) -> str:
    """A word of so many letters of which there are 12."""
    return "".join("aeiounrtslmd"[number // 12**place % 12] for place in range(length))


BASE_TEXTS = ["", "", "  ", *(" " * (index % 2) + spelled(37 * index, 1 + index % 4) for index in range(BASE - 3))]
WORDS = [spelled(11 * index + 5, 6) for index in range(NEW)]


def material(
    words: Sequence[str] = WORDS, seed: int = 0, pieces: Sequence[Sequence[int]] | None = None, **changes: Any
) -> InitMaterial:
    pieces = [[3 + index % 497, 3 + (3 * index) % 497] for index in range(len(words))] if pieces is None else pieces
    settings: dict[str, Any] = {"noise_scale": 0.5, "radius_factor": 1.5, "base_rows": BASE_ROWS.clone()} | changes
    return InitMaterial(
        base_texts=BASE_TEXTS,
        words=[f"<{word}>" for word in words],
        pieces=pieces,
        generator=torch.Generator().manual_seed(seed),
        **settings,
    )


@pytest.fixture(params=INITIALISERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_it_gives_a_finite_row_for_each_word_and_none_is_zero(name: str) -> None:
    rows = INITIALISERS[name](material())
    assert rows.shape == (NEW, DIM)
    assert rows.dtype == torch.float32
    assert rows.isfinite().all()
    assert rows.norm(dim=1).min() > 0
    assert rows.is_contiguous()


def test_it_is_a_function_of_its_material_alone(name: str) -> None:
    torch.manual_seed(1)
    given = material()
    rows = INITIALISERS[name](given)
    assert torch.equal(given.base_rows, BASE_ROWS)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(rows, INITIALISERS[name](material()))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(rows, INITIALISERS[name](material(seed=1))) == (name not in RANDOM)


@pytest.mark.parametrize(
    ("words", "pieces"),
    [(["riuer"], [[7]]), (["riuer"], [[7, 7, 9]]), (["riuer", "riuer", "a"], [[7], [7], [8]]), (["☃☃"], [[7]])],
)
def test_few_words_and_odd_ones_have_rows(name: str, words: list[str], pieces: list[list[int]]) -> None:
    rows = INITIALISERS[name](material(words, pieces=pieces))
    assert rows.shape == (len(words), DIM)
    assert rows.isfinite().all() and rows.norm(dim=1).min() > 0
    one = INITIALISERS[name](material(words[:1], pieces=pieces[:1], base_rows=torch.ones(BASE, DIM)))
    assert one.isfinite().all()  # base rows without a spread


@dataclass(frozen=True)
class Moments:
    mean: Tensor
    covariance: Tensor


def moments(rows: Tensor) -> Moments:
    rows = rows.double()
    return Moments(rows.mean(0), torch.cov(rows.T, correction=0))


BASE_MOMENTS = moments(BASE_ROWS)
RADIUS = 1.5 * BASE_ROWS.double().norm(dim=1).mean()
DOCUMENTED: dict[str, Callable[[], Moments]] = {
    "gaussian": lambda: Moments(BASE_MOMENTS.mean, 0.25 * BASE_MOMENTS.covariance.diag().diag()),
    "base_normal": lambda: Moments(BASE_MOMENTS.mean, 0.25 * BASE_MOMENTS.covariance),
    "library_default": lambda: Moments(BASE_MOMENTS.mean, 1e-9 * BASE_MOMENTS.covariance),
    "mean": lambda: Moments(BASE_MOMENTS.mean, 0 * BASE_MOMENTS.covariance),
    "sphere": lambda: Moments(torch.zeros(DIM).double(), RADIUS**2 / DIM * torch.eye(DIM).double()),
    "piece_mean": lambda: moments(torch.stack([BASE_ROWS.double()[ids].mean(0) for ids in material().pieces])),
    "similarity": lambda: moments(similarity_in_numpy(WORDS)),
    "distilled": lambda: moments(torch.stack([BASE_ROWS.double()[ids].mean(0) for ids in material().pieces])),
}


def test_it_has_the_moments_that_it_documents(name: str) -> None:
    expected, found = DOCUMENTED[name](), moments(INITIALISERS[name](material()))
    variances, axes = torch.linalg.eigh(expected.covariance)
    deviations = (found.mean - expected.mean) @ axes
    assert (deviations.abs() <= 4.5 * (variances.clamp_min(0) / NEW).sqrt() + 1e-6).all()
    if name in RANDOM:  # whitened: the identity in every direction, the least one too
        white = axes / variances.sqrt()
        torch.testing.assert_close(
            white.T @ found.covariance @ white, torch.eye(DIM).double(), atol=0.15, rtol=0, check_dtype=False
        )
    else:
        torch.testing.assert_close(found.covariance, expected.covariance, atol=1e-6, rtol=1e-5)


def similarity_in_numpy(words: Sequence[str]) -> Tensor:
    """The formula with dense float64 counts, and sparsemax by a root finder."""
    tokens = {
        index: ("<" if text[0] == " " else "") + text.strip() + ">"
        for index, text in enumerate(BASE_TEXTS)
        if text.strip()
    }
    documents = [f"<{word}>" for word in words] + list(tokens.values())
    counts = [ngrams(text) for text in documents]
    place = {ngram: index for index, ngram in enumerate(dict.fromkeys(gram for grams in counts for gram in grams))}
    weights = np.zeros((len(documents), len(place)))
    for row, grams in enumerate(counts):
        for ngram in grams:
            weights[row, place[ngram]] += 1
    holding = (weights > 0).sum(0)
    weights = np.where(weights > 0, 1 + np.log(np.maximum(weights, 1)), 0)
    weights *= 1 + np.log((1 + len(documents)) / (1 + holding))
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    cosines = weights[: len(words)] @ weights[len(words) :].T
    base = BASE_ROWS.double().numpy()[list(tokens)]
    return torch.from_numpy(np.stack([simplex_point(row[row > 0]) @ base[row > 0] for row in SHARPNESS * cosines]))


def ngrams(text: str) -> list[str]:
    low, high = NGRAMS
    return [text[at : at + size] for size in range(low, high + 1) for at in range(len(text) - size + 1)]


def simplex_point(scores: np.ndarray) -> np.ndarray:
    threshold = brentq(lambda t: np.maximum(scores - t, 0).sum() - 1, scores.min() - 2, scores.max(), xtol=1e-14)
    return np.maximum(scores - threshold, 0)


@given(hnp.arrays(float, st.integers(1, 40), elements=st.floats(-20, 20)))
def test_sparsemax_is_the_nearest_point_of_the_simplex(scores: np.ndarray) -> None:
    weights = sparsemax(scores)
    np.testing.assert_allclose(weights, simplex_point(scores), atol=1e-9)
    assert weights.sum() == pytest.approx(1)


def test_similarity_is_its_formula_row_by_row_and_in_the_hull_of_the_base_rows() -> None:
    rows = INITIALISERS["similarity"](material(WORDS[:300]))
    torch.testing.assert_close(rows, similarity_in_numpy(WORDS[:300]).float(), atol=2e-5, rtol=0)
    assert rows.norm(dim=1).max() <= BASE_ROWS.norm(dim=1).max()


def test_a_word_that_a_base_token_writes_starts_at_its_row() -> None:
    token = max(range(BASE), key=lambda index: (BASE_TEXTS[index].startswith(" "), len(BASE_TEXTS[index])))
    rows = INITIALISERS["similarity"](material([BASE_TEXTS[token].strip().upper()]))
    assert torch.equal(rows[0], BASE_ROWS[token])


def test_a_word_like_no_base_token_is_drawn_as_the_base_rows_are_spread() -> None:
    alone = [f"☃{chr(0x4E00 + index)}" for index in range(NEW)]
    rows = INITIALISERS["similarity"](material([*alone, WORDS[0]]))
    assert not torch.equal(rows, INITIALISERS["similarity"](material([*alone, WORDS[0]], seed=1)))
    drawn = INITIALISERS["gaussian"](material(alone, noise_scale=1.0))
    torch.testing.assert_close(rows[:-1], drawn, atol=1e-6, rtol=0)
    assert rows[-1].norm() <= BASE_ROWS.norm(dim=1).max()


def test_piece_mean_is_the_mean_of_the_pieces() -> None:
    rows = INITIALISERS["piece_mean"](material(["a", "b", "c"], pieces=[[7, 21], [7], [7, 7, 10]]))
    torch.testing.assert_close(
        rows, torch.stack([(BASE_ROWS[7] + BASE_ROWS[21]) / 2, BASE_ROWS[7], (2 * BASE_ROWS[7] + BASE_ROWS[10]) / 3])
    )


def test_library_default_is_what_transformers_does() -> None:
    llama = LlamaForCausalLM(
        LlamaConfig(vocab_size=BASE, hidden_size=DIM, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    )
    with torch.no_grad():
        llama.get_input_embeddings().weight.copy_(BASE_ROWS)
    llama.resize_token_embeddings(BASE + NEW, mean_resizing=True)
    theirs = llama.get_input_embeddings().weight[BASE:].detach()
    ours = INITIALISERS["library_default"](material())
    torch.testing.assert_close(ours.mean(0), theirs.mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.cov(ours.T), torch.cov(theirs.T), atol=1e-9, rtol=0.1)


def test_a_trial_knows_what_its_base_tokens_write(config: RunConfig, vary: Callable[..., RunConfig]) -> None:
    prepared = prepare(config)
    texts = prepared.base_texts
    assert len(texts) == prepared.vocabulary.base_size
    assert {text for text in texts if text.startswith(" t")} and "<0x41>" not in texts and "<s>" not in texts
    assert texts[prepared.vocabulary.base_tokenizer.convert_tokens_to_ids("▁the")] == " the"
    rows = initialise(vary(init={"name": "similarity"}), prepared)
    assert rows.shape == (len(prepared.vocabulary.words), prepared.base_rows.shape[1])
