"""The census of collapse: new rows that have fallen onto the byte rows, or onto each other.

A row that is never a target gets the same softmax push as every other such row, and an optimizer that
normalises its updates aligns them all: with each other, and with byte rows that no text reaches.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from wake2vec.metrics.cosine import mean_pairwise_cosine
from wake2vec.metrics.mutual import kth_cosines, mutual_collapse
from wake2vec.metrics.readings import Measured, Readings, array, by_exposure
from wake2vec.metrics.registry import (
    CLASSES,
    INVARIANT,
    SEEN,
    Metric,
    Shown,
    When,
    each,
    with_null,
)
from wake2vec.metrics.rows import Group, covariance, principal_axes, row_products, split_chosen
from wake2vec.metrics.statistics import sampled_share_interval

LEAST_COHERENCE = 0.5
"""Reference rows with a lower mean cosine among themselves aren't one place to collapse onto."""

CURVE_TAUS = (0.5, 0.8, 0.9, 0.95, 0.98)

METRICS = (
    *with_null(
        Metric(
            "geometry.byte_collapse_share",
            "new rows at cosine >= .95 to an unreachable byte row",
            better="lower",
            invariant=INVARIANT,
            shown=Shown("byte collapse", "byte collapse", first=5),
            needs=("reference_ids",),
        ),
        "the same share of base rows that occur",
        "geometry.byte_collapse_null",
        needs=("reference_ids", "occurring_ids"),
    ),
    Metric(
        "geometry.mutual_collapse_share",
        "new rows with 10 other new rows at cosine >= .95",
        better="lower",
        null=0.0,
        invariant=INVARIANT,
        shown=Shown("mutual collapse", "mutual collapse"),
    ),
    Metric(
        "geometry.collapse_share",
        "new rows in either collapse",
        better="lower",
        null=0.0,
        invariant=INVARIANT,
        shown=Shown("collapse", "collapse", first=4),
    ),
    *each(
        CLASSES,
        Metric(
            "geometry.collapse_share_{}",
            "new rows in either collapse, {}",
            better="lower",
            null=0.0,
            invariant=INVARIANT,
            needs=("new_counts",),
        ),
        shown={key: Shown(f"collapse, {seen}", f"collapse, {seen}", first=14) for key, seen in SEEN.items()},
    ),
    *each(
        CLASSES,
        Metric(
            "geometry.byte_collapse_share_{}",
            "new rows on unreachable byte rows, {}",
            better="lower",
            invariant=INVARIANT,
            needs=("reference_ids", "new_counts"),
        ),
        Metric(
            "geometry.mutual_collapse_share_{}",
            "new rows on each other, {}",
            better="lower",
            invariant=INVARIANT,
            needs=("new_counts",),
        ),
    ),
    Metric(
        "geometry.byte_collapse_centred_share",
        "byte collapse after the mean of all rows is taken off",
        better="lower",
        when=When.END,
        invariant=INVARIANT,
        needs=("reference_ids",),
    ),
    Metric(
        "geometry.mutual_collapse_centred_share",
        "mutual collapse after the mean of all rows is taken off",
        better="lower",
        when=When.END,
        invariant=INVARIANT,
    ),
    Metric(
        "geometry.collapse_centred_share",
        "new rows in either after the mean of all rows is taken off, a direction that some bases share so much of that "
        "rows which begin near it are collapsed from step 0",
        better="lower",
        null=0.0,
        when=When.END,
        invariant=INVARIANT,
        shown=Shown("collapse, mean taken off", "collapse, centred", first=7),
    ),
    Metric(
        "geometry.reference_coherence",
        "mean cosine among the unreachable byte rows",
        invariant=INVARIANT,
        needs=("reference_ids",),
    ),
    Metric(
        "geometry.zero_norm_count", "new rows without a direction", unit="rows", better="lower", invariant=INVARIANT
    ),
)


def at_evaluation(readings: Readings) -> Measured:
    base, new, subject = readings.base, readings.new, readings.subject
    references = readings.references(base)
    occurring_cosines = None
    if subject.occurring_ids is not None:
        occurring = subject.occurring_ids[~torch.isin(subject.occurring_ids, readings.reference_ids)]
        occurring_cosines = max_cosine_to(base, references)[occurring]
    census = collapse_census(new, readings.axes["new"].vectors, references, occurring_cosines=occurring_cosines)
    counts, curve = subject.new_counts, census.curve or {}
    return Measured(
        {
            "geometry.byte_collapse_share": census.byte_collapse_share,
            **by_exposure("geometry.byte_collapse_share", census.on_bytes, counts),
            "geometry.byte_collapse_null": census.byte_collapse_null,
            "geometry.mutual_collapse_share": census.mutual_collapse_share,
            **by_exposure("geometry.mutual_collapse_share", census.on_each_other, counts),
            "geometry.collapse_share": census.collapse_share,
            **by_exposure("geometry.collapse_share", census.collapsed, counts),
            "geometry.reference_coherence": census.reference_coherence,
            "geometry.zero_norm_count": census.zero_norm_count,
        },
        {
            "byte_cosines": array(census.byte_cosines if census.curve else census.byte_cosines[:0]),
            "curve_taus": np.array(list(curve)),
            "curve_shares": np.array(list(curve.values())),
        },
    )


def at_end(readings: Readings) -> Measured:
    """Without the direction that all rows share; and the curve of mutual collapse over tau, on a sample."""
    base, new = readings.centred.values()
    axes = principal_axes(new, covariance(new))
    census = collapse_census(new, axes.vectors, readings.references(base))
    cosines = kth_cosines(readings.new)
    shares = [float((cosines >= tau).double().mean()) for tau in CURVE_TAUS]
    bounds = [sampled_share_interval(share, len(cosines), len(new)) for share in shares]
    return Measured(
        {
            "geometry.byte_collapse_centred_share": census.byte_collapse_share,
            "geometry.mutual_collapse_centred_share": census.mutual_collapse_share,
            "geometry.collapse_centred_share": census.collapse_share,
        },
        {
            "mutual_cosines": array(cosines),
            "mutual_curve_shares": np.array(shares),
            "mutual_curve_low": np.array([low for low, _ in bounds]),
            "mutual_curve_high": np.array([high for _, high in bounds]),
        },
    )


@dataclass(frozen=True, eq=False)
class CollapseCensus:
    """What `collapse_census` counts. Shares are of all new rows, zero rows too: 0 to 1, lower is better."""

    byte_collapse_share: float | None
    """New rows at cosine >= tau to a reference row; None without coherent reference rows."""
    byte_collapse_null: float | None
    """The same share of the base rows that do occur in text; None where it or the rows are missing."""
    mutual_collapse_share: float
    """New rows with enough other new rows at cosine >= tau."""
    collapse_share: float
    """New rows in either; where byte collapse is undefined, the mutual share."""
    curve: dict[float, float] | None
    """Byte collapse share by tau; None where it is undefined."""
    on_bytes: Bool[Tensor, " new"] | None
    """Which new rows `byte_collapse_share` counts; None where it is undefined."""
    on_each_other: Bool[Tensor, " new"]
    """Which new rows `mutual_collapse_share` counts."""
    reference_coherence: float | None
    """Mean cosine among the reference rows; None for fewer than two with a direction."""
    zero_norm_count: int
    """New rows without a direction: never counted as collapsed."""
    collapsed: Bool[Tensor, " new"]
    """Which new rows `collapse_share` counts."""
    byte_cosines: Float[Tensor, " new"]
    """Largest cosine to a reference row; NaN for zero rows and without reference rows."""


def collapse_census(
    new: Group,
    axes: Float[Tensor, "dim dim"],
    references: Group,
    tau: float = 0.95,
    neighbours: int = 10,
    curve_taus: tuple[float, ...] = CURVE_TAUS,
    occurring_cosines: Float[Tensor, " occurring"] | None = None,
) -> CollapseCensus:
    """Count the collapsed rows among at least one new row.

    `references` are the byte rows that no text reaches (or reserved or unreachable rows: Land & Bartolo
    2024, arXiv 2405.05417); `occurring_cosines`, the largest cosines to them of base rows that occur, give the
    null; `axes` decide nothing, only the time (`mutual_collapse`). Byte collapse alone can be gamed: with frozen
    base rows it reads 0 while unseen new rows still fall on each other, hence `collapse_share`. All shares are
    invariant to rotation, row order and scale of the rows. Null (Gaussian rows): 0.
    """
    assert len(new), "a census needs at least one new row"
    coherence = reference_coherence(references)
    defined = coherence is not None and coherence >= LEAST_COHERENCE
    cosines = max_cosine_to(new, references)
    mutual = mutual_collapse(new, axes, tau, neighbours)
    on_bytes = cosines >= tau if defined else None
    collapsed = mutual if on_bytes is None else mutual | on_bytes
    null = None
    if defined and occurring_cosines is not None and len(occurring_cosines):
        null = byte_collapse_share(occurring_cosines, tau)
    return CollapseCensus(
        byte_collapse_share=None if on_bytes is None else _share(on_bytes),
        byte_collapse_null=null,
        mutual_collapse_share=_share(mutual),
        collapse_share=_share(collapsed),
        curve={at: byte_collapse_share(cosines, at) for at in curve_taus} if defined else None,
        on_bytes=on_bytes,
        on_each_other=mutual,
        reference_coherence=coherence,
        zero_norm_count=len(new) - len(new.directed),
        collapsed=collapsed,
        byte_cosines=cosines,
    )


def max_cosine_to(group: Group, references: Group) -> Float[Tensor, " rows"]:
    """Largest cosine of every row of the group to a reference row, -1 to 1; zero reference rows are left out.

    NaN, which no tau counts, for zero rows and where no reference row has a direction.
    """
    usable = references.units(references.directed)
    everything = torch.arange(len(group), device=group.rows.device)
    if not len(usable):
        return torch.full((len(group),), torch.nan, device=group.rows.device)
    parts = split_chosen(everything, usable.shape[1])
    nearest = torch.cat([row_products(group.units(part), usable).amax(1) for part in parts])
    return torch.where(group.has_direction, nearest.clamp(-1, 1), torch.nan)


def reference_coherence(references: Group) -> float | None:
    """Mean cosine among the reference rows: near 1 where they share one place; null (Gaussian rows): 0."""
    return mean_pairwise_cosine(references)


def byte_collapse_share(max_cosines: Float[Tensor, " rows"], tau: float) -> float:
    """Share of all rows whose `max_cosine_to` the reference rows is at least tau; NaN isn't."""
    return _share(max_cosines >= tau)


def _share(marked: Bool[Tensor, " rows"]) -> float:
    return int(marked.sum()) / len(marked)
