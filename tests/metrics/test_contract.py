"""What every number of the report is invariant to, and that neither chunks nor the device make a difference."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from wake2vec import METRICS, When
from wake2vec.data.tokenizer import KINDS
from wake2vec.metrics import mutual, neighbours, readings
from wake2vec.metrics import rows as chunks
from wake2vec.metrics.measure import measure, measure_end, measure_fully
from wake2vec.metrics.readings import Subject
from wake2vec.workfolder import Numbers

BASE, NEW, DIM = 330, 260, 24
DECLARED = {address: metric for address, metric in METRICS.items() if address.startswith("geometry.")}


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
    return measure_fully(subject).numbers


def same(found: float | None, value: float | None, tolerance: float) -> bool:
    assert found is not None and value is not None, "the planted subject defines every number"
    return math.isclose(found, value, rel_tol=tolerance, abs_tol=tolerance)


def test_every_number_that_is_declared_is_measured_when_it_says_and_no_other() -> None:
    subject = planted()
    first = measure(subject).numbers
    last = measure_end(subject, first).numbers
    assert {*first} == {address for address, metric in DECLARED.items() if metric.when is When.EVALUATION}
    assert {*last} == {address for address, metric in DECLARED.items() if metric.when is When.END}
    assert first | last == report(subject)


@pytest.mark.parametrize("change", CHANGES)
def test_every_number_is_invariant_to_what_it_declares_and_to_nothing_else(change: str) -> None:
    subject = planted()
    before, after = report(subject), report(CHANGES[change](subject))
    moved = {name for name, value in before.items() if not same(after[name], value, 2e-5)}
    assert moved == {name for name, metric in DECLARED.items() if change not in metric.invariant}


@pytest.mark.parametrize("size", [5, 64, 10_000])
def test_every_number_is_the_same_in_chunks(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = planted()
    before = report(subject)
    monkeypatch.setattr(chunks, "CHUNK_ELEMENTS", size * DIM)
    for module, name in (
        *((chunks, "TILE_ROWS"), (chunks, "TILE_COLUMNS"), (mutual, "TILE_COLUMNS")),
        *((neighbours, "TILE_ROWS"), (chunks, "PRODUCT_ROWS")),
    ):
        monkeypatch.setattr(module, name, size)
    after = report(subject)
    assert [name for name, value in before.items() if not same(after[name], value, 1e-6)] == []


def test_where_the_devices_memory_is_short_the_cpu_measures_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, tries = planted(), 0
    before = report(subject)
    read = chunks.covariance

    def short_of_memory(group: chunks.Group) -> Tensor:
        nonlocal tries
        tries += 1
        if tries <= shortages:
            raise torch.OutOfMemoryError("CUDA out of memory.\nmore")
        return read(group)

    monkeypatch.setattr(readings, "covariance", short_of_memory)
    shortages = 1
    assert report(subject) == before and tries > 1
    tries, shortages = 0, 9  # the control: nor does the CPU hold it
    with pytest.raises(torch.OutOfMemoryError):
        report(subject)


@pytest.mark.needs("gpu")
def test_every_number_is_the_same_on_a_gpu() -> None:
    subject = planted()
    before, after = report(subject), report(replace(subject, matrix=subject.matrix.cuda()))
    assert [name for name, value in before.items() if not same(after[name], value, 1e-5)] == []


def test_what_is_unknown_is_undefined_and_the_rest_is_the_same() -> None:
    subject = planted()
    known, bare = report(subject), report(Subject(subject.matrix, BASE))
    assert {name for name, value in bare.items() if value is None} == {
        name for name, metric in DECLARED.items() if metric.needs
    }
    differ = {name for name, value in bare.items() if value is not None and value != known[name]}
    assert differ <= {"geometry.collapse_share", "geometry.collapse_centred_share"}
