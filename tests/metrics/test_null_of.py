"""The null that is shown beside a figure is what the figure reads of noise."""

import pytest
import torch

from wake2vec import METRICS, Part, null_of
from wake2vec.metrics.measure import measure_fully
from wake2vec.metrics.readings import Subject

BASE, NEW, DIM = 1500, 1200, 64
CONSTANT = {address for address, metric in METRICS.items() if isinstance(metric.null, float)}


def noise() -> Subject:
    """Gaussian rows, the new ones like the base rows, of all classes of exposure."""
    matrix = torch.randn(BASE + NEW, DIM, generator=torch.Generator().manual_seed(0))
    return Subject(matrix, BASE, new_counts=torch.arange(NEW) % 7)


def test_a_null_is_what_noise_reads() -> None:
    numbers = measure_fully(noise()).numbers
    figures = {
        address: (value, null)
        for address, value in numbers.items()
        if METRICS[address].part is Part.VALUE and (null := null_of(address, numbers)) is not None
    }
    assert {address for address in CONSTANT if address.startswith("geometry.")} <= figures.keys()
    assert len(figures) > 25
    for address, (value, null) in figures.items():
        assert value == pytest.approx(null, abs=0.05 + 0.15 * abs(null)), address


def test_what_belongs_to_a_figure_says_so() -> None:
    parts = {address: metric for address, metric in METRICS.items() if metric.part is not Part.VALUE}
    assert len(parts) > 40
    for address, metric in parts.items():
        assert METRICS[metric.of].part is Part.VALUE, address
    nulls = {address for address, metric in parts.items() if metric.part is Part.NULL}
    assert nulls == {metric.null for metric in METRICS.values() if isinstance(metric.null, str)}


def test_a_null_that_is_undefined_is_none() -> None:
    assert null_of("geometry.isotropy_new", {"geometry.isotropy_new_null": None}) is None
    assert null_of("validation.loss", {"validation.loss": 4.0}) is None
