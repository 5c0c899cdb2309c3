"""Parts of the report: the numbers of base and new rows under their names, with nulls and intervals beside them.

`{name}_null` is what noise of the same size reads; `{name}_low` and `{name}_high` bound the 95 % interval of what is
sampled.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from wake2vec.exposure import exposure_classes
from wake2vec.geometry import cosine, isotropy, norms, spectrum
from wake2vec.geometry.drift import drift
from wake2vec.geometry.group import Group
from wake2vec.geometry.spectrum import Axes

Numbers = dict[str, float | None]
Covariance = Float[Tensor, "dim dim"]


@dataclass(frozen=True)
class Part:
    """`numbers` under their names; `arrays` for pictures."""

    numbers: Numbers
    arrays: dict[str, np.ndarray]


def norm_part(base: Group, new: Group) -> Part:
    both = torch.cat([base.norms, new.norms])
    numbers: Numbers = {
        "norm_gap_d": norms.cohens_d(base.norms, new.norms),
        "norm_ratio": norms.norm_ratio(base.norms, new.norms),
        "norm_wasserstein": norms.wasserstein_distance(base.norms, new.norms),
        "norm_ks": cosine.ks_distance(base.norms, new.norms),
        "norm_ks_null": cosine.ks_distance_null(len(base), len(new)),
        "welch_t": norms.welch_t(base.norms, new.norms),
        "mann_whitney_u": norms.mann_whitney_u(base.norms, new.norms),
    }
    for name, values in (("all", both), ("base", base.norms), ("new", new.norms)):
        numbers |= {f"norm_{name}_mean": float(values.mean()), f"norm_{name}_std": float(values.std(correction=0))}
    return Part(numbers, {"norms": array(both), "base_count": np.array(len(base))})


def isotropy_part(whole: Group, groups: Mapping[str, Group], axes: Mapping[str, Axes]) -> Part:
    numbers: Numbers = {}
    for name, group in {"all": whole, **groups}.items():
        numbers |= {
            f"isotropy_{name}": isotropy.phase1_isotropy(group),
            f"isotropy_{name}_null": isotropy.phase1_isotropy_null(*group.rows.shape) if len(group) > 1 else None,
        }
    for name, group in groups.items():
        value, null = numbers[f"isotropy_{name}"], numbers[f"isotropy_{name}_null"]
        numbers |= {
            f"isotropy_{name}_excess": None if value is None or null is None else isotropy.isotropy_excess(value, null),
            f"partition_isotropy_{name}": isotropy.partition_isotropy(group, axes[name]),
            f"partition_isotropy_{name}_null": isotropy.partition_isotropy_null(group),
        }
    return Part(numbers, {})


def cosine_part(base: Group, new: Group) -> Part:
    means = {
        "base_base": cosine.mean_pairwise_cosine(base),
        "new_new": cosine.mean_pairwise_cosine(new),
        "base_new": cosine.mean_cross_cosine(base, new),
    }
    pairs = {"base_base": (base, base), "new_new": (new, new), "base_new": (base, new)}
    samples = {name: cosine.sample_pairwise_cosines(*groups) for name, groups in pairs.items()}
    numbers: Numbers = {f"cosine_{pair}_mean": mean for pair, mean in means.items()}
    for pair, sample in samples.items():
        low, high = cosine.std_interval(sample) or (None, None)
        numbers |= {
            f"cosine_{pair}_std": float(sample.std(correction=0)) if len(sample) else None,
            f"cosine_{pair}_std_low": low,
            f"cosine_{pair}_std_high": high,
            f"cosine_{pair}_std_null": cosine.cosine_std_null(base.rows.shape[1]),
        }
    apart = samples["base_base"], samples["new_new"]
    sizes = len(apart[0]), len(apart[1])
    distance = cosine.ks_distance(*apart)
    low, high = (None, None) if distance is None else cosine.ks_interval(distance, *sizes)
    numbers |= {
        "cosine_ks": distance,
        "cosine_ks_low": low,
        "cosine_ks_high": high,
        "cosine_ks_null": None if distance is None else cosine.ks_distance_null(*sizes),
    }
    for name, group in (("base", base), ("new", new)):
        numbers |= {
            f"common_share_{name}": cosine.common_share(group),
            f"common_share_{name}_null": 1 / math.sqrt(len(group)),
        }
    return Part(numbers, {f"cosines_{pair}": array(sample) for pair, sample in samples.items()})


def spectrum_part(groups: Mapping[str, Group], covariances: Mapping[str, Covariance]) -> Part:
    numbers: Numbers = {}
    arrays = {}
    for name, group in groups.items():
        values = spectrum.covariance_spectrum(covariances[name], group.mean)
        size = group.rows.shape
        numbers |= {
            f"top1_share_{name}": spectrum.top1_share(values),
            f"top1_share_{name}_null": spectrum.top1_share_null(*size),
            f"components_90_{name}": spectrum.components_for(values, 0.9),
            f"components_95_{name}": spectrum.components_for(values, 0.95),
            f"participation_ratio_{name}": spectrum.participation_ratio(values),
            f"participation_ratio_{name}_null": spectrum.participation_ratio_null(*size),
            f"effective_rank_{name}": spectrum.effective_rank(values),
            f"effective_rank_{name}_null": spectrum.effective_rank_null(*size),
            f"isoscore_{name}": spectrum.isoscore(values),
            f"isoscore_{name}_null": spectrum.isoscore_null(*size),
        }
        arrays[f"spectrum_{name}"] = array(values)
    return Part(numbers, arrays)


def drift_part(
    group: str, before: Float[Tensor, "rows dim"] | None, after: Float[Tensor, "rows dim"], counts: Tensor | None = None
) -> Part:
    """Of the rows `group`; split by exposure where they are the new rows."""
    moved = drift(before, after) if before is not None else None
    numbers: Numbers = {
        f"drift_{group}_cosine": moved.cosine_mean if moved else None,
        f"drift_{group}_cosine_std": moved.cosine_std if moved else None,
        f"drift_{group}_l2": moved.l2_mean if moved else None,
    }
    if group == "new":
        numbers |= by_exposure("drift_new_cosine", moved.cosines if moved else None, counts)
        numbers |= by_exposure("drift_new_l2", moved.distances if moved else None, counts)
    arrays = {
        f"drift_cosine_{group}": array(moved.cosines) if moved else np.array([]),
        f"drift_top_movers_{group}": np.array(moved.top_movers if moved else []),
    }
    return Part(numbers, arrays)


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
