"""The census of collapse on planted rows, whose shares are known."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from wake2vec.metrics import collapse
from wake2vec.metrics import rows as chunks
from wake2vec.metrics.collapse import CollapseCensus
from wake2vec.metrics.mutual import mutual_collapse
from wake2vec.metrics.readings import by_exposure
from wake2vec.metrics.rows import read_group

DIM = 64


def gaussian(count: int, seed: int) -> Tensor:
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))


def around(centre: Tensor, count: int, seed: int) -> Tensor:
    """Rows of mixed lengths at cosine about .995 to the centre and .99 to each other."""
    rows = centre / centre.norm() + 0.1 * gaussian(count, seed) / DIM**0.5
    return rows * torch.linspace(0.5, 2, count)[:, None]


def collapse_census(
    rows: Tensor, references: Tensor, occurring_base_rows: Tensor | None = None, tau: float = 0.95
) -> CollapseCensus:
    census = collapse.collapse_census
    new, base = read_group(rows), read_group(references)
    occurring = None if occurring_base_rows is None else collapse.max_cosine_to(read_group(occurring_base_rows), base)
    return census(new, torch.eye(rows.shape[1]), base, tau=tau, occurring_cosines=occurring)


def collapsed(rows: Tensor, tau: float, k: int) -> Tensor:
    return mutual_collapse(read_group(rows), torch.eye(rows.shape[1]), tau, k)


BYTES, ELSEWHERE = gaussian(2, seed=7)
REFERENCES = around(BYTES, 40, seed=1)


def planted(total: int, on_bytes: int, on_each_other: int = 0) -> Tensor:
    free = gaussian(total - on_bytes - on_each_other, seed=2)
    return torch.cat([around(BYTES, on_bytes, seed=3), around(ELSEWHERE, on_each_other, seed=4), free])


@pytest.mark.parametrize("share", [0, 0.1, 0.6, 1])
def test_planted_shares_are_read_exactly(share: float) -> None:
    rows = planted(1300, round(1300 * share))
    census = collapse_census(rows, REFERENCES)
    assert census.byte_collapse_share == census.mutual_collapse_share == census.collapse_share == share
    assert census.collapsed.tolist() == [index < 1300 * share for index in range(1300)]
    assert census.curve == dict.fromkeys((0.5, 0.8, 0.9, 0.95, 0.98), share)


def test_a_collapse_away_from_the_bytes_is_seen_all_the_same() -> None:
    census = collapse_census(planted(1000, on_bytes=5, on_each_other=300), REFERENCES)
    assert census.byte_collapse_share == 0.005  # five rows on the bytes are too few to be mutual
    assert census.mutual_collapse_share == 0.3
    assert census.collapse_share == 0.305


@given(on_bytes=st.integers(0, 60), on_each_other=st.integers(0, 60), free=st.integers(1, 60))
def test_any_mixture_is_read_exactly(on_bytes: int, on_each_other: int, free: int) -> None:
    total = on_bytes + on_each_other + free
    census = collapse_census(planted(total, on_bytes, on_each_other), REFERENCES)
    mutual = sum(size for size in (on_bytes, on_each_other) if size > 10)
    assert census.byte_collapse_share == on_bytes / total
    assert census.mutual_collapse_share == mutual / total
    assert census.collapse_share == (on_bytes + (on_each_other if on_each_other > 10 else 0)) / total


def test_rotation_order_and_scale_change_nothing() -> None:
    rows = planted(700, on_bytes=50, on_each_other=90)
    order = torch.randperm(700, generator=torch.Generator().manual_seed(5))
    turn = torch.linalg.qr(gaussian(DIM, seed=6)).Q
    before, after = (
        collapse_census(rows, REFERENCES),
        collapse_census(rows[order] @ turn * 1e-3, REFERENCES @ turn),
    )
    assert torch.equal(after.collapsed, before.collapsed[order])
    assert torch.allclose(after.byte_cosines, before.byte_cosines[order], atol=1e-6)
    assert after.curve == before.curve


def test_tiles_make_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = gaussian(120, seed=8).abs()
    cosines = torch.nn.functional.cosine_similarity(rows.double()[:, None], rows.double()[None], dim=2)
    near = (cosines >= 0.7).sum(1) - 1
    for size in (1, 37, 100, 120, 4096):
        monkeypatch.setattr(chunks, "TILE_ROWS", size)
        monkeypatch.setattr(chunks, "TILE_COLUMNS", size)
        monkeypatch.setattr(chunks, "CHUNK_ELEMENTS", size * DIM)
        assert torch.equal(collapsed(rows, 0.7, k=12), near >= 12)
        nearest = collapse.max_cosine_to(read_group(rows), read_group(rows[:30]))
        assert torch.allclose(nearest.double(), cosines[:, :30].amax(1), atol=1e-6)
    assert 0 < int((near >= 12).sum()) < 120


def test_k_other_rows_are_needed() -> None:
    rows = planted(11, on_bytes=0, on_each_other=11)
    assert collapsed(rows, 0.95, k=10).all()
    assert not collapsed(rows, 0.95, k=11).any()
    assert not collapsed(rows[:10], 0.95, k=10).any()


@pytest.mark.parametrize("references", [REFERENCES[:0], REFERENCES[:1], gaussian(40, seed=9), torch.zeros(4, DIM)])
def test_byte_collapse_is_undefined_without_coherent_reference_rows(references: Tensor) -> None:
    census = collapse_census(planted(100, on_bytes=5, on_each_other=20), references, occurring_base_rows=REFERENCES)
    assert census.byte_collapse_share is None and census.byte_collapse_null is None and census.curve is None
    assert census.collapse_share == census.mutual_collapse_share == 0.2


def test_the_null_is_the_share_of_the_base_rows_that_occur() -> None:
    base = torch.cat([gaussian(97, seed=10), around(BYTES, 3, seed=11)])
    assert collapse_census(planted(50, 10), REFERENCES, occurring_base_rows=base).byte_collapse_null == 0.03
    assert collapse_census(planted(50, 10), REFERENCES).byte_collapse_null is None
    assert collapse_census(planted(50, 10), REFERENCES, occurring_base_rows=base[:0]).byte_collapse_null is None


def test_zero_rows_are_counted_apart_and_stay_in_the_denominator() -> None:
    rows = torch.cat([planted(60, on_bytes=20), torch.zeros(40, DIM)])
    census = collapse_census(rows, torch.cat([REFERENCES, torch.zeros(9, DIM)]), tau=-1.0)
    assert census.zero_norm_count == 40
    assert census.byte_collapse_share == census.mutual_collapse_share == census.collapse_share == 0.6
    assert census.byte_cosines.isnan().tolist() == [False] * 60 + [True] * 40
    nothing = collapse_census(torch.zeros(30, DIM), REFERENCES)
    assert nothing.collapse_share == 0 and nothing.zero_norm_count == 30


def test_a_value_splits_by_training_count() -> None:
    counts = torch.tensor([0, 0, 0, 1, 2, 4])
    split = by_exposure("share", torch.tensor([True, True, False, True, False, False]), counts)
    assert split == {"share_unseen": 2 / 3, "share_seen_1": 1.0, "share_seen_2_4": 0.0, "share_seen_5_up": None}
    nan = float("nan")  # a row without a direction
    split = by_exposure("cosine", torch.tensor([0.5, nan, 0.25, nan, 1, 0]), counts)
    assert list(split.values()) == [0.375, None, 0.5, None]
    assert set(by_exposure("cosine", None, counts).values()) == {None}
