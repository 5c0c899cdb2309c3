"""The null that is shown beside a figure is what the figure reads of noise."""

import pytest
import torch

from study.nulls import CONSTANT, NAMED, null_of
from wake2vec import NUMBERS
from wake2vec.closing import measure_fully
from wake2vec.measure import Subject

BASE, NEW, DIM = 1500, 1200, 64
SUFFIXES = ("_null", "_low", "_high")


def noise() -> Subject:
    """Gaussian rows, the new ones like the base rows, of all classes of exposure."""
    matrix = torch.randn(BASE + NEW, DIM, generator=torch.Generator().manual_seed(0))
    return Subject(matrix, BASE, new_counts=torch.arange(NEW) % 7)


def test_a_null_is_what_noise_reads() -> None:
    numbers = measure_fully(noise()).numbers
    figures = {
        address: (value, null)
        for address, value in numbers.items()
        if not address.endswith(SUFFIXES) and (null := null_of(address, numbers)) is not None
    }
    assert {address for address in CONSTANT if address.startswith("geometry.")} <= figures.keys()
    assert len(figures) > 25
    for address, (value, null) in figures.items():
        assert value == pytest.approx(null, abs=0.05 + 0.15 * abs(null)), address


def test_every_null_is_of_a_figure_that_is_measured() -> None:
    assert {*CONSTANT, *NAMED, *NAMED.values()} <= NUMBERS.keys()


def test_a_null_that_is_undefined_is_none() -> None:
    assert null_of("geometry.isotropy_new", {"geometry.isotropy_new_null": None}) is None
    assert null_of("validation.loss", {"validation.loss": 4.0}) is None
