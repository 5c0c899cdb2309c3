"""The sieves of mutual collapse mark the rows that all cosines in float64 mark, whatever they leave out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from wake2vec.metrics import mutual
from wake2vec.metrics import rows as chunks
from wake2vec.metrics.mutual import mutual_collapse
from wake2vec.metrics.rows import covariance, principal_axes, read_group

DIM, TAU, K = 48, 0.95, 10
TIE = 1e-6


def clump(cosine: float, count: int, random: torch.Generator) -> Tensor:
    """Rows of mixed lengths about one place, at about this cosine to each other."""
    place, own = torch.randn(1, DIM, generator=random), torch.randn(count, DIM, generator=random)
    return (cosine**0.5 * place + (1 - cosine) ** 0.5 * own) * (0.1 + torch.rand(count, 1, generator=random))


def near_counts(rows: Tensor, tau: float) -> Tensor:
    units = torch.nn.functional.normalize(rows.double(), dim=1, eps=1e-300)
    return (units @ units.T).fill_diagonal_(-2).ge(tau).sum(1)


def principal(rows: Tensor) -> Tensor:
    group = read_group(rows)
    return principal_axes(group, covariance(group)).vectors


@given(
    clumps=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 300)), min_size=1, max_size=6),
    zeros=st.integers(0, 3),
    rotated=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_marks_are_those_of_all_cosines(
    clumps: list[tuple[float, int]], zeros: int, rotated: bool, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    rows = torch.cat([*(clump(*each, random) for each in clumps), torch.zeros(zeros, DIM)])
    rows = rows[torch.randperm(len(rows), generator=random)]
    found = mutual_collapse(read_group(rows), principal(rows) if rotated else torch.eye(DIM), TAU, K)
    surely, perhaps = near_counts(rows, TAU + TIE) >= K, near_counts(rows, TAU - TIE) >= K
    assert not (surely & ~found).any() and not (found & ~perhaps).any()


@pytest.mark.parametrize("share", [0, 0.1, 0.6, 1])
@pytest.mark.parametrize("inside", [0.96, 0.999])
def test_planted_shares_are_read_exactly(share: float, inside: float) -> None:
    random = torch.Generator().manual_seed(1)
    places = torch.randn(20, 1, 512, generator=random)
    own = torch.randn(20, 60, 512, generator=random)
    count = round(20 * share)
    clumps = (inside**0.5 * places[:count] + (1 - inside) ** 0.5 * own[:count]).reshape(-1, 512)
    rows = torch.cat([clumps, own[count:].reshape(-1, 512)])
    found = mutual_collapse(read_group(rows), principal(rows), TAU, K)
    assert found.tolist() == [index < 60 * count for index in range(1200)]


@pytest.mark.parametrize(("cosine", "open_rows"), [(0.0, 0), (0.5, 0), (0.93, 1500)])
def test_the_second_sieve_settles_what_it_can_and_is_left_out_elsewhere(
    cosine: float, open_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at cosine .93 of each other is the worst case: no bound on half the axes tells .93 from .95."""
    dim, random = 768, torch.Generator().manual_seed(2)
    own = torch.randn(1500, dim, generator=random)
    rows = cosine**0.5 * torch.randn(1, dim, generator=random) + (1 - cosine) ** 0.5 * own
    sizes = []

    def counted(rows: Tensor, term: chunks.Term) -> Tensor:
        sizes.append(tuple(rows.shape))
        return chunks.pair_sums(rows, term)

    monkeypatch.setattr(mutual, "pair_sums", counted)
    assert not mutual_collapse(read_group(rows), principal(rows), TAU, K).any()
    *_, before, last = sizes
    assert last == (open_rows, dim)
    if not open_rows:
        assert before[0] > 0 and before[1] <= dim / 4 + 1
