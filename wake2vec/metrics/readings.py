"""What metrics read: a matrix with what is known of its rows, and what several metrics need of it, made once."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from wake2vec.data.corpus import exposure_classes
from wake2vec.metrics.rows import Axes, Group, covariance, joined, principal_axes, read_group
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
    """The rows before training; they may lie on the CPU."""
    reference_ids: Sequence[int] = ()
    """Base rows that no text reaches: see `wake2vec.data.tokenizer.reference_rows`."""
    occurring_ids: Int[Tensor, " occurring"] | None = None
    """Base ids that occur in the training blocks."""
    new_counts: Int[Tensor, " new"] | None = None
    """How often each new token occurs in the training blocks."""
    base_kinds: Int[Tensor, " base"] | None = None
    """What each base row stands for, as an index of `wake2vec.data.tokenizer.KINDS`."""


@dataclass(frozen=True)
class Measured:
    """`numbers` under their addresses, None where one is undefined; `arrays` for pictures."""

    numbers: Numbers
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


class Readings:
    """A subject, and what its rows give to several metrics; `known` are the numbers that were measured before."""

    def __init__(self, subject: Subject, known: Numbers) -> None:
        self.subject = subject
        self.known = known

    def to_cpu(self) -> None:
        """From here on the rows are read on the CPU, and nothing that was read on another device is kept."""
        subject = self.subject
        before = None if subject.base_before is None else subject.base_before.cpu()
        known = self.known
        self.__dict__.clear()
        self.subject, self.known = replace(subject, matrix=subject.matrix.cpu(), base_before=before), known

    @cached_property
    def groups(self) -> dict[str, Group]:
        """The base rows and the new rows, read once."""
        base, new = (read_group(rows) for rows in self.subject.matrix.tensor_split([self.subject.base_size]))
        return {"base": base, "new": new}

    @property
    def base(self) -> Group:
        return self.groups["base"]

    @property
    def new(self) -> Group:
        return self.groups["new"]

    @cached_property
    def all_groups(self) -> dict[str, Group]:
        """All rows too."""
        return {"all": joined(self.base, self.new, self.subject.matrix), **self.groups}

    @cached_property
    def covariances(self) -> dict[str, Float[Tensor, "dim dim"]]:
        return {name: covariance(group) for name, group in self.groups.items()}

    @cached_property
    def axes(self) -> dict[str, Axes]:
        return {name: principal_axes(group, self.covariances[name]) for name, group in self.groups.items()}

    @cached_property
    def centred(self) -> dict[str, Group]:
        """The groups after the mean of all rows is taken off every row."""
        centre = (self.base.total + self.new.total) / len(self.subject.matrix)
        return {name: read_group(_less(group.rows, centre)) for name, group in self.groups.items()}

    def references(self, base: Group) -> Group:
        """Of these base rows, those that no text reaches."""
        return read_group(base.rows[self.reference_ids.to(base.rows.device)])

    @property
    def reference_ids(self) -> Int[Tensor, " references"]:
        return torch.tensor(self.subject.reference_ids, dtype=torch.long)


def _less(rows: Float[Tensor, "rows dim"], centre: Float[Tensor, " dim"]) -> Float[Tensor, "rows dim"]:
    return rows.detach() - centre.to(rows.dtype)


def by_exposure(
    name: str, values: Float[Tensor, " new"] | Bool[Tensor, " new"] | None, counts: Int[Tensor, " new"] | None
) -> Numbers:
    """The mean of a value of each new row over each class of `COUNT_CLASSES`, as `{name}_{class}`.

    NaN is left out. None where values or counts are unknown, and where a class is empty.
    """
    if values is None or counts is None:
        return {f"{name}_{key}": None for key in exposure_classes(torch.empty(0, dtype=torch.long))}
    values, numbers = values.double(), {}
    for key, members in exposure_classes(counts.to(values.device)).items():
        known = values[members & ~values.isnan()]
        numbers[f"{name}_{key}"] = float(known.mean()) if len(known) else None
    return numbers


def array(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
