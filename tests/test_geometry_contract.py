"""What every number of the report is invariant to, and that neither chunks nor the device make a difference."""

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from wake2vec import NUMBERS
from wake2vec.closing import measure_closing
from wake2vec.data.tokenizer import KINDS
from wake2vec.geometry import chunks, mutual, neighbours, spectrum
from wake2vec.measure import Subject, measure
from wake2vec.workfolder import Numbers

BASE, NEW, DIM = 330, 260, 24
CLASSES = "{unseen,seen_1,seen_2_4,seen_5_up}"
INVARIANT = {
    "rotation order scale": [
        "norm_{gap_d,ratio,ks,ks_null}",
        "{welch_t,mann_whitney_u}",
        "isotropy_{all,base,new}{,_low,_high,_null}",
        "isotropy_{base,new}_excess",
        "{isoscore,top1_share,participation_ratio,effective_rank,common_share}_{base,new}{,_null}",
        "components_{90,95}_{base,new}",
        "cosine_{base_base,new_new,base_new}_{mean,centred_mean,std_null}",
        "cosine_ks_null",
        "{byte_collapse,mutual_collapse,collapse}_{share,centred_share}",
        "{byte_collapse,mutual_collapse,collapse}_share_" + CLASSES,
        "{byte_collapse_null,reference_coherence,zero_norm_count}",
        "drift_{base,new}_{cosine,cosine_std}",
        "drift_new_cosine_" + CLASSES,
        "neighbour_cosine_{mean,mean_null}",
        "neighbour_cosine_mean_" + CLASSES,
        "neighbour_{byte,special,punctuation,piece,word}_share",
    ],
    "rotation scale": [  # other pairs are drawn
        "cosine_{base_base,new_new,base_new}_std{,_low,_high}",
        "cosine_ks{,_low,_high}",
    ],
    "rotation order": [
        "norm_wasserstein",
        "norm_{all,base,new}_{mean,std}",
        "norm_new_mean_" + CLASSES,
        "partition_isotropy_{base,new}{,_null}",
        "drift_{base,new}_l2",
        "drift_new_l2_" + CLASSES,
    ],
}


def expand(pattern: str) -> list[str]:
    """`a_{b,c}` -> `a_b`, `a_c`."""
    parts = [part[1:-1].split(",") if part[0] == "{" else [part] for part in re.findall(r"\{[^}]*\}|[^{}]+", pattern)]
    return ["".join(chosen) for chosen in itertools.product(*parts)]


TABLE = {name: kinds for kinds, patterns in INVARIANT.items() for pattern in patterns for name in expand(pattern)}


def rows_about(place: Tensor, count: int, random: torch.Generator) -> Tensor:
    return place / place.norm() + 0.1 * torch.randn(count, DIM, generator=random) / DIM**0.5


def planted() -> Subject:
    """40 reference rows in one place, 50 new rows there and 60 in another; the rest has a direction in common."""
    random = torch.Generator().manual_seed(0)
    bytes_, elsewhere, common = torch.randn(3, 1, DIM, generator=random)
    free = torch.randn(BASE + NEW - 150, DIM, generator=random) + 0.4 * common
    free *= 0.5 / DIM**0.5 * (1 + torch.rand(len(free), 1, generator=random))
    parts = [free[: BASE - 40], rows_about(bytes_, 90, random), rows_about(elsewhere, 60, random), free[BASE - 40 :]]
    matrix = torch.cat(parts)
    matrix *= 1 + 0.2 * torch.rand(len(matrix), 1, generator=random)
    before = matrix + 0.05 * torch.randn(matrix.shape, generator=random)
    return Subject(
        matrix,
        BASE,
        base_before=before[:BASE],
        new_before=before[BASE:],
        reference_ids=range(BASE - 40, BASE),
        occurring_ids=torch.arange(0, BASE, 3),
        new_counts=torch.arange(NEW) % 7,
        base_kinds=torch.arange(BASE) % len(KINDS),
    )


def mapped(subject: Subject, change: Callable[[Tensor], Tensor]) -> Subject:
    assert subject.base_before is not None and subject.new_before is not None
    return replace(
        subject,
        matrix=change(subject.matrix),
        base_before=change(subject.base_before),
        new_before=change(subject.new_before),
    )


def shuffled(subject: Subject) -> Subject:
    random = torch.Generator().manual_seed(1)
    base, new = torch.randperm(BASE, generator=random), torch.randperm(NEW, generator=random)
    place = base.argsort()
    assert subject.base_before is not None and subject.new_before is not None
    assert subject.occurring_ids is not None and subject.new_counts is not None and subject.base_kinds is not None
    return Subject(
        subject.matrix[torch.cat([base, BASE + new])],
        BASE,
        base_before=subject.base_before[base],
        new_before=subject.new_before[new],
        reference_ids=place[torch.tensor(subject.reference_ids)].tolist(),
        occurring_ids=place[subject.occurring_ids],
        new_counts=subject.new_counts[new],
        base_kinds=subject.base_kinds[base],
    )


TURN = torch.linalg.qr(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(2)).double()).Q
CHANGES: dict[str, Callable[[Subject], Subject]] = {
    "rotation": lambda subject: mapped(subject, lambda rows: (rows.double() @ TURN).float()),
    "order": shuffled,
    "scale": lambda subject: mapped(subject, lambda rows: 3 * rows),
}


def report(subject: Subject) -> Numbers:
    measured = measure(subject).numbers
    return {name.removeprefix("geometry."): value for name, value in whole(subject, measured).items()}


def whole(subject: Subject, measured: Numbers) -> Numbers:
    return measured | measure_closing(subject, measured).numbers


def same(found: float | None, value: float | None, tolerance: float) -> bool:
    assert found is not None and value is not None, "the planted subject defines every number"
    return math.isclose(found, value, rel_tol=tolerance, abs_tol=tolerance)


def test_the_table_has_every_number() -> None:
    geometry = {name.removeprefix("geometry.") for name in NUMBERS if name.startswith("geometry.")}
    assert set(TABLE) == geometry == set(report(planted()))


@pytest.mark.parametrize("change", CHANGES)
def test_every_number_is_invariant_to_what_the_table_says_and_to_nothing_else(change: str) -> None:
    subject = planted()
    before, after = report(subject), report(CHANGES[change](subject))
    moved = {name for name, value in before.items() if not same(after[name], value, 2e-5)}
    assert moved == {name for name, kinds in TABLE.items() if change not in kinds}


@pytest.mark.parametrize("size", [5, 64, 10_000])
def test_every_number_is_the_same_in_chunks(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = planted()
    before = report(subject)
    monkeypatch.setattr(chunks, "CHUNK_ELEMENTS", size * DIM)
    for module, name in (
        *((chunks, "TILE_ROWS"), (chunks, "TILE_COLUMNS"), (mutual, "TILE_COLUMNS")),
        *((neighbours, "TILE_ROWS"), (spectrum, "PRODUCT_ROWS")),
    ):
        monkeypatch.setattr(module, name, size)
    after = report(subject)
    assert [name for name, value in before.items() if not same(after[name], value, 1e-6)] == []


@pytest.mark.needs("gpu")
def test_every_number_is_the_same_on_a_gpu() -> None:
    subject = planted()
    before, after = report(subject), report(replace(subject, matrix=subject.matrix.cuda()))
    assert [name for name, value in before.items() if not same(after[name], value, 1e-5)] == []


def test_what_is_unknown_is_undefined_and_the_rest_is_the_same() -> None:
    subject = planted()
    known, bare = report(subject), report(Subject(subject.matrix, BASE))
    split = {name for name in TABLE for key in expand(CLASSES) if name.endswith(f"_{key}")}
    undefined = {name for name, value in bare.items() if value is None}
    assert undefined == split | {
        *expand("byte_collapse_{share,null,centred_share}"),
        *expand("drift_{base,new}_{cosine,cosine_std,l2}"),
        *expand("neighbour_{byte,special,punctuation,piece,word}_share"),
        "reference_coherence",
    }
    differ = {name for name, value in bare.items() if value is not None and value != known[name]}
    assert differ <= {"collapse_share", "collapse_centred_share"}
