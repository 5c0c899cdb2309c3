"""The geometry report: the figures of `docs/metrics.md` from the matrix before and after, and what a picture needs.

`measure` is what every evaluation of a trial reads; `wake2vec.closing` adds what is read once, at its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from wake2vec.geometry import spectrum
from wake2vec.geometry.collapse import collapse_census, max_cosine_to
from wake2vec.geometry.group import Group, joined, read_group
from wake2vec.geometry.parts import (
    Part,
    array,
    by_exposure,
    cosine_part,
    drift_part,
    isotropy_part,
    norm_part,
    spectrum_part,
)
from wake2vec.geometry.spectrum import Axes
from wake2vec.workfolder import Numbers

Matrix = Float[Tensor, "vocabulary dim"]


@dataclass(frozen=True, eq=False)
class Subject:
    """A matrix, and what is known of its rows; what rests on something unknown is undefined."""

    matrix: Matrix
    """Base rows first, at least one, then the new rows, at least one."""
    base_size: int
    base_before: Float[Tensor, "base dim"] | None = None
    new_before: Float[Tensor, "new dim"] | None = None
    """The rows before training; those of the new rows may lie on the CPU."""
    reference_ids: Sequence[int] = ()
    """Base rows that no text reaches: see `wake2vec.data.tokenizer.reference_rows`."""
    occurring_ids: Int[Tensor, " occurring"] | None = None
    """Base ids that occur in the training blocks."""
    new_counts: Int[Tensor, " new"] | None = None
    """How often each new token occurs in the training blocks."""
    base_kinds: Int[Tensor, " base"] | None = None
    """What each base row stands for, as an index of `wake2vec.data.tokenizer.KINDS`."""

    def groups(self) -> dict[str, Group]:
        """The base rows and the new rows, read once."""
        base, new = (read_group(rows) for rows in self.matrix.tensor_split([self.base_size]))
        return {"base": base, "new": new}


@dataclass(frozen=True)
class Measurement:
    """`numbers` under their addresses; `arrays` for pictures: norms, sampled cosines, spectra, curves."""

    numbers: Numbers
    arrays: dict[str, np.ndarray]


def measure(subject: Subject) -> Measurement:
    """The report of one moment; each figure is None where it is undefined."""
    groups = subject.groups()
    base, new = groups.values()
    covariances = {name: spectrum.covariance(group) for name, group in groups.items()}
    axes = {name: spectrum.principal_axes(group, covariances[name]) for name, group in groups.items()}
    return gather(
        norm_part(base, new),
        isotropy_part(joined(base, new, subject.matrix), groups, axes),
        cosine_part(base, new),
        spectrum_part(groups, covariances),
        _collapse(base, new, axes["new"], subject),
        drift_part("base", subject.base_before, base.rows),
        drift_part("new", subject.new_before, new.rows, subject.new_counts),
    )


def gather(*parts: Part) -> Measurement:
    """All parts as one, the numbers under `geometry.`."""
    numbers = {f"geometry.{name}": value for part in parts for name, value in part.numbers.items()}
    return Measurement(numbers, {name: values for part in parts for name, values in part.arrays.items()})


def _collapse(base: Group, new: Group, new_axes: Axes, subject: Subject) -> Part:
    reference_ids = torch.tensor(subject.reference_ids, dtype=torch.long)
    references = read_group(base.rows[reference_ids.to(base.rows.device)])
    occurring_cosines = None
    if subject.occurring_ids is not None:
        occurring = subject.occurring_ids[~torch.isin(subject.occurring_ids, reference_ids)]
        occurring_cosines = max_cosine_to(base, references)[occurring]
    census = collapse_census(new, new_axes.vectors, references, occurring_cosines=occurring_cosines)
    counts = subject.new_counts
    numbers: Numbers = {
        "byte_collapse_share": census.byte_collapse_share,
        **by_exposure("byte_collapse_share", census.on_bytes, counts),
        "byte_collapse_null": census.byte_collapse_null,
        "mutual_collapse_share": census.mutual_collapse_share,
        **by_exposure("mutual_collapse_share", census.on_each_other, counts),
        "collapse_share": census.collapse_share,
        **by_exposure("collapse_share", census.collapsed, counts),
        **by_exposure("norm_new_mean", new.norms, counts),
        "reference_coherence": census.reference_coherence,
        "zero_norm_count": census.zero_norm_count,
    }
    curve = census.curve or {}
    arrays = {
        "byte_cosines": array(census.byte_cosines if census.curve else census.byte_cosines[:0]),
        "curve_taus": np.array(list(curve)),
        "curve_shares": np.array(list(curve.values())),
    }
    return Part(numbers, arrays)
